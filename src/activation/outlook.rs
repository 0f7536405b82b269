//! How long a key lasts: on which day its budget is used up if all goes on as it does.
//!
//! Two rhythms are looked at, and the one that ends sooner counts. The plan: each scheduled run of a room spends one
//! activation a PC, and what people spend by hand goes on beside it. The past: everything that was spent goes on at the pace
//! of the last year. Pure; time and zone are handed in.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::activation::ledger::Spend;
use crate::calendar::{Schedule, SchoolCalendar};
use crate::room::Language;

/// Nobody plans a school's keys further ahead; what lasts longer lasts.
const YEARS: i64 = 10;

const DAY: i64 = 24 * 3600;

/// How far back spending is looked at.
const LOOK_BACK: i64 = 365 * DAY;

/// The shortest time from which a pace is taken: what was spent in one night is not spent every night.
const LEAST_SPAN: i64 = 28 * DAY;

/// A room whose scheduled runs spend activations of the key.
#[derive(Debug, Clone, Copy)]
pub struct SpendingRoom<'a> {
    /// When it is re-cloned.
    pub schedule: &'a Schedule,
    /// Activations that each run spends: one a PC.
    pub per_run: u32,
}

/// How long a key lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Outlook {
    /// No budget bounds it.
    NoBudget,
    /// Nothing is left to spend.
    Already,
    /// The last one is spent on this day.
    UsedUp {
        /// The day, in the school's time zone.
        on: Date,
    },
    /// Not within ten years, or nothing spends it.
    Never,
}

impl Outlook {
    /// One line for people.
    pub fn text(&self, language: Language) -> String {
        match (self, language) {
            (Outlook::NoBudget, Language::En) => "no budget is set".to_owned(),
            (Outlook::NoBudget, Language::De) => "kein Budget gesetzt".to_owned(),
            (Outlook::Already, Language::En) => "used up already".to_owned(),
            (Outlook::Already, Language::De) => "schon verbraucht".to_owned(),
            (Outlook::UsedUp { on }, Language::En) => format!("used up on {on} at this rhythm"),
            (Outlook::UsedUp { on }, Language::De) => {
                format!("bei diesem Rhythmus verbraucht am {}", on.strftime("%d.%m.%Y"))
            }
            (Outlook::Never, Language::En) => "not used up at this rhythm".to_owned(),
            (Outlook::Never, Language::De) => "wird bei diesem Rhythmus nicht verbraucht".to_owned(),
        }
    }
}

/// The day on which the `left` activations of a key are used up: none `left` means that nothing bounds them. `spends` is what
/// was spent with it, `rooms` the rooms that spend it.
pub fn outlook(
    left: Option<u64>,
    spends: &[Spend],
    rooms: &[SpendingRoom<'_>],
    now: Timestamp,
    zone: &TimeZone,
    calendar: &SchoolCalendar,
) -> Outlook {
    let Some(left) = left else { return Outlook::NoBudget };
    if left == 0 {
        return Outlook::Already;
    }
    let all: Vec<Timestamp> = spends.iter().map(|spend| spend.at).collect();
    let by_hand: Vec<Timestamp> = spends.iter().filter(|spend| spend.run.is_none()).map(|spend| spend.at).collect();
    let past = Pace::of(&all, now).and_then(|pace| pace.reaches(left, now));
    let plan = planned(left, Pace::of(&by_hand, now), rooms, now, zone, calendar);
    let end = now.checked_add(SignedDuration::from_hours(YEARS * 366 * 24)).unwrap_or(Timestamp::MAX);
    match past.into_iter().chain(plan).min().filter(|at| *at <= end) {
        Some(at) => Outlook::UsedUp { on: at.to_zoned(zone.clone()).date() },
        None => Outlook::Never,
    }
}

/// So many in so many seconds.
#[derive(Debug, Clone, Copy)]
struct Pace {
    count: u64,
    seconds: u64,
}

impl Pace {
    /// The pace of the last year; none where nothing was spent in it.
    fn of(spent: &[Timestamp], now: Timestamp) -> Option<Self> {
        let ages = spent.iter().map(|at| now.duration_since(*at).as_secs().max(0)).filter(|age| *age <= LOOK_BACK);
        let (mut count, mut longest) = (0, LEAST_SPAN);
        for age in ages {
            count += 1;
            longest = longest.max(age);
        }
        (count > 0).then_some(Self { count, seconds: longest.unsigned_abs() })
    }

    /// When it has spent `wanted` from `now` on; none where the calendar ends before.
    fn reaches(self, wanted: u64, now: Timestamp) -> Option<Timestamp> {
        let seconds = (u128::from(wanted) * u128::from(self.seconds)).div_ceil(u128::from(self.count.max(1)));
        now.checked_add(SignedDuration::from_secs(i64::try_from(seconds).ok()?)).ok()
    }
}

/// When the scheduled runs, and what goes on beside them, have spent `left`.
fn planned(
    left: u64,
    beside: Option<Pace>,
    rooms: &[SpendingRoom<'_>],
    now: Timestamp,
    zone: &TimeZone,
    calendar: &SchoolCalendar,
) -> Option<Timestamp> {
    let end = now.checked_add(SignedDuration::from_hours(YEARS * 366 * 24)).unwrap_or(Timestamp::MAX);
    let next_of = |room: &SpendingRoom<'_>, after: Timestamp| {
        room.schedule.next(after, zone, calendar).map(|at| at.timestamp()).filter(|at| *at <= end && *at > after)
    };
    let mut rooms: Vec<(&SpendingRoom<'_>, Timestamp)> = rooms
        .iter()
        .filter(|room| room.per_run > 0)
        .filter_map(|room| next_of(room, now).map(|next| (room, next)))
        .collect();
    let mut in_runs = 0u64;
    loop {
        // What is spent beside the runs may use the rest up before the next of them.
        let alone = beside.and_then(|pace| pace.reaches(left - in_runs, now));
        let Some((which, at)) = rooms.iter().enumerate().min_by_key(|(_, room)| room.1).map(|(i, room)| (i, room.1))
        else {
            return alone;
        };
        if let Some(alone) = alone.filter(|alone| *alone <= at) {
            return Some(alone);
        }
        let room = rooms[which].0;
        in_runs = in_runs.saturating_add(u64::from(room.per_run));
        if in_runs >= left || beside.and_then(|pace| pace.reaches(left - in_runs, now)).is_some_and(|then| then <= at) {
            return Some(at);
        }
        match next_of(room, at) {
            Some(next) => rooms[which].1 = next,
            None => {
                rooms.swap_remove(which);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::job::RunId;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().expect("instant")
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").expect("a zone")
    }

    fn weekly() -> Schedule {
        Schedule::new("on saturday at 03:00", None, None).expect("a schedule")
    }

    fn days_ago(days: i64, run: Option<u64>) -> Spend {
        Spend { at: now() - SignedDuration::from_hours(24 * days), run: run.map(RunId) }
    }

    fn on(year: i16, month: i8, day: i8) -> Outlook {
        Outlook::UsedUp { on: date(year, month, day) }
    }

    #[test]
    fn the_schedule_tells_the_day() {
        let schedule = weekly();
        let rooms = [SpendingRoom { schedule: &schedule, per_run: 15 }];
        let at = |left| outlook(left, &[], &rooms, now(), &berlin(), &SchoolCalendar::default());
        assert_eq!(at(None), Outlook::NoBudget);
        assert_eq!(at(Some(0)), Outlook::Already);
        // Tuesday; the next run is on Saturday, 28 November.
        assert_eq!(at(Some(1)), on(2026, 11, 28));
        assert_eq!(at(Some(15)), on(2026, 11, 28));
        assert_eq!(at(Some(16)), on(2026, 12, 5));
        assert_eq!(at(Some(45)), on(2026, 12, 12));
        assert_eq!(at(Some(15 * 52 * 12)), Outlook::Never);
        assert_eq!(outlook(Some(40), &[], &[], now(), &berlin(), &SchoolCalendar::default()), Outlook::Never);
    }

    #[test]
    fn a_second_room_uses_it_up_sooner() {
        let (weekly, nightly) = (weekly(), Schedule::new("every night at 02:00", None, None).expect("a schedule"));
        let rooms = [
            SpendingRoom { schedule: &weekly, per_run: 15 },
            SpendingRoom { schedule: &nightly, per_run: 2 },
            SpendingRoom { schedule: &nightly, per_run: 0 },
        ];
        // 25, 26, 27 and 28 November: 8 in the nights, 15 on Saturday, and one more night.
        assert_eq!(outlook(Some(23), &[], &rooms, now(), &berlin(), &SchoolCalendar::default()), on(2026, 11, 28));
        assert_eq!(outlook(Some(24), &[], &rooms, now(), &berlin(), &SchoolCalendar::default()), on(2026, 11, 29));
    }

    #[test]
    fn without_a_schedule_the_past_tells() {
        // Ten in the last hundred days: the next ten in a hundred days more.
        let spends: Vec<Spend> = (1..=10).map(|n| days_ago(10 * n, None)).collect();
        assert_eq!(outlook(Some(10), &spends, &[], now(), &berlin(), &SchoolCalendar::default()), on(2027, 3, 4));
        // One evening's work is not taken for a habit.
        let spends: Vec<Spend> = (0..28).map(|_| days_ago(1, None)).collect();
        assert_eq!(outlook(Some(28), &spends, &[], now(), &berlin(), &SchoolCalendar::default()), on(2026, 12, 22));
        // What was long ago does not count.
        assert_eq!(
            outlook(Some(28), &[days_ago(400, None)], &[], now(), &berlin(), &SchoolCalendar::default()),
            Outlook::Never
        );
    }

    #[test]
    fn what_people_spend_beside_the_runs_counts() {
        let schedule = weekly();
        let rooms = [SpendingRoom { schedule: &schedule, per_run: 1 }];
        let alone = outlook(Some(10), &[], &rooms, now(), &berlin(), &SchoolCalendar::default());
        assert_eq!(alone, on(2027, 1, 30));
        let by_hand: Vec<Spend> = (0..28).map(|_| days_ago(28, None)).collect();
        assert_eq!(outlook(Some(10), &by_hand, &rooms, now(), &berlin(), &SchoolCalendar::default()), on(2026, 12, 3));
        // What runs spent before is in the schedule already; it only counts by itself.
        let by_runs: Vec<Spend> = (0..4).map(|week| days_ago(7 * week, Some(1))).collect();
        assert_eq!(outlook(Some(10), &by_runs, &rooms, now(), &berlin(), &SchoolCalendar::default()), alone);
    }

    #[test]
    fn it_speaks_both_languages() {
        let day = on(2027, 3, 4);
        assert_eq!(day.text(Language::De), "bei diesem Rhythmus verbraucht am 04.03.2027");
        for outlook in [Outlook::NoBudget, Outlook::Already, day, Outlook::Never] {
            assert_ne!(outlook.text(Language::De), outlook.text(Language::En));
        }
    }

    /// When it ends, as a number that grows with time.
    fn rank(outlook: Outlook) -> i64 {
        match outlook {
            Outlook::Already => i64::MIN,
            Outlook::UsedUp { on } => i64::from(on.duration_since(date(2026, 1, 1)).as_hours() as i32),
            Outlook::Never | Outlook::NoBudget => i64::MAX,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn more_pcs_or_fewer_left_never_end_later(
            left in 0..300u64,
            more_left in 0..200u64,
            pcs in 0..40u32,
            more_pcs in 0..40u32,
            nightly: bool,
            spends in prop::collection::vec((0..500i64, prop::option::of(1..3u64)), 0..40),
        ) {
            let spends: Vec<Spend> = spends.into_iter().map(|(days, run)| days_ago(days, run)).collect();
            let (first, second) = (weekly(), Schedule::new("every night at 02:00", None, None).expect("a schedule"));
            let schedule = if nightly { &second } else { &first };
            let end = |left, rooms: &[SpendingRoom<'_>]| rank(outlook(Some(left), &spends, rooms, now(), &berlin(), &SchoolCalendar::default()));
            let rooms = [SpendingRoom { schedule, per_run: pcs }];
            let larger = [SpendingRoom { schedule, per_run: pcs + more_pcs }];
            let two = [rooms[0], SpendingRoom { schedule: &first, per_run: more_pcs }];
            prop_assert!(end(left, &larger) <= end(left, &rooms));
            prop_assert!(end(left, &two) <= end(left, &rooms));
            prop_assert!(end(left, &rooms) <= end(left, &[]));
            prop_assert!(end(left, &rooms) <= end(left + more_left, &rooms));
            prop_assert_eq!(end(left, &rooms) == i64::MIN, left == 0);
        }

        #[test]
        fn no_number_panics(left: u64, per_run: u32, at in -3_000_000_000i64..3_000_000_000) {
            let schedule = weekly();
            let spend = Spend { at: Timestamp::from_second(at).expect("in range"), run: None };
            let rooms = [SpendingRoom { schedule: &schedule, per_run }];
            for now in [now(), Timestamp::MIN, Timestamp::MAX] {
                outlook(Some(left), &[spend], &rooms, now, &TimeZone::UTC, &SchoolCalendar::default()).text(Language::De);
            }
        }
    }
}
