use jiff::civil::date;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::calendar::Schedule;
use crate::calendar::school::Holidays;
use crate::room::Language;

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").expect("time zone data")
}

fn at(text: &str) -> Zoned {
    text.parse::<Timestamp>().expect("time").to_zoned(berlin())
}

fn summer() -> SchoolCalendar {
    let from = date(2027, 8, 2);
    let holidays = Holidays { from, to: date(2027, 9, 13), name: Some("Sommerferien".to_owned()) };
    SchoolCalendar::new(Vec::new(), vec![holidays])
}

fn seven() -> ImageGrace {
    ImageGrace { build: Some(7601), generalized: Some(true), rearms_left: Some(3), ..ImageGrace::default() }
}

fn judged(image: &ImageGrace, rearm: bool, when: &str, calendar: &SchoolCalendar) -> GracePlan {
    let schedule = Schedule::new(when, None, None).expect("schedule");
    let (from, until) = (at("2027-06-01T00:00:00Z"), at("2027-10-15T00:00:00Z"));
    let runs = schedule.runs_between(from.timestamp(), until.timestamp(), &berlin(), calendar);
    let (first, rest) = runs.split_first().expect("runs");
    plan(&GraceRules::of(image, rearm).expect("rules"), first, rest, calendar)
}

#[test]
fn the_summer_break_is_longer_than_the_grace_of_windows_7() {
    let found = judged(&seven(), false, "every school night at 02:00", &summer());
    assert_eq!((found.level, found.notification), (Level::Warn, Some(date(2027, 8, 29))));
    let gap = found.longest.clone().expect("a gap");
    assert_eq!((gap.from, gap.to, gap.days), (date(2027, 7, 30), Some(date(2027, 9, 14)), Some(46)));
    assert_eq!(found.shortfall.as_ref().and_then(|shortfall| shortfall.lessons), None);
    insta::assert_snapshot!(
        [Language::En, Language::De].map(|l| format!("{}\n  {}", found.text(l), found.advice(l))).join("\n")
    );
    // A rearm after the clone has nothing to add to its 30 days, whatever the count.
    assert_eq!(judged(&seven(), true, "every school night at 02:00", &summer()), found);
    // In the middle of the day the lessons of the first school day come before the run.
    let late = judged(&seven(), false, "every school night at 11:00", &summer());
    let lessons = late.shortfall.expect("too long").lessons;
    assert_eq!((late.level, lessons), (Level::Refuse, Some(date(2027, 9, 14))));
    let fine = judged(&seven(), false, "every night at 02:00", &summer());
    assert_eq!((fine.level, fine.notification, fine.advice), (Level::Fine, None, vec![]));
}

#[test]
fn lessons_at_reminding_pcs_are_refused() {
    let found = judged(&seven(), false, "0 2 1 * *", &SchoolCalendar::default());
    assert_eq!(found.notification, Some(date(2027, 7, 31)));
    // The 31st of July is a Saturday, the day before the next run; the others that are short end in lessons.
    let decides = found.shortfall.clone().expect("too long");
    assert_eq!((found.level, decides.shows), (Level::Refuse, date(2027, 8, 31)));
    assert_eq!(found.advice, [Advice::MoreOften, Advice::OtherStrategy]);
    insta::assert_snapshot!(
        [Language::En, Language::De].map(|l| format!("{}\n  {}", found.text(l), found.advice(l))).join("\n")
    );
}

#[test]
fn one_missed_run_is_allowed_for() {
    let found = judged(&seven(), false, "0 2 1,20 * *", &SchoolCalendar::default());
    assert_eq!((found.level, found.notification), (Level::Warn, None));
    assert!(matches!(found.shortfall.expect("a warning").cause, Cause::MissedRun { .. }));
    assert_eq!(judged(&seven(), false, "on monday at 02:00", &SchoolCalendar::default()).level, Level::Fine);
}

#[test]
fn an_image_that_was_not_generalized_ages() {
    let captured = "2027-06-10T12:00:00Z".parse().ok();
    let image = ImageGrace { generalized: Some(false), captured, ..seven() };
    let found = judged(&image, false, "every night at 02:00", &SchoolCalendar::default());
    assert_eq!((found.level, found.notification), (Level::Refuse, Some(date(2027, 7, 10))));
    assert_eq!(found.advice, [Advice::Rearm, Advice::NewImage, Advice::OtherStrategy]);
    // The hook starts the 30 days anew in each clone, which brings its own count along.
    let rearmed = judged(&image, true, "every night at 02:00", &SchoolCalendar::default());
    assert_eq!((rearmed.level, rearmed.notification), (Level::Fine, None));
    let none_left = ImageGrace { rearms_left: Some(0), ..image.clone() };
    let found = judged(&none_left, true, "every night at 02:00", &SchoolCalendar::default());
    assert_eq!(found.advice, [Advice::NewImage, Advice::OtherStrategy]);
    // SkipRearm leaves the clock as it is, and what was measured counts more than a rule.
    let measured = Some((5 * MINUTES_A_DAY, "2027-06-20T12:00:00Z".parse().expect("time")));
    let skipped = ImageGrace { skip_rearm: Some(true), measured, ..seven() };
    let found = judged(&skipped, false, "every night at 02:00", &SchoolCalendar::default());
    assert_eq!(found.notification, Some(date(2027, 6, 25)));
}

#[test]
fn later_versions_have_what_was_measured() {
    let eleven = ImageGrace { build: Some(22631), ..seven() };
    let found = judged(&eleven, true, "every night at 02:00", &SchoolCalendar::default());
    assert_eq!((found.level, found.notification), (Level::Refuse, Some(date(2027, 6, 2))));
    assert_eq!(found.shortfall.expect("none").cause, Cause::NoGrace);
    let measured = Some((3 * MINUTES_A_DAY, Timestamp::UNIX_EPOCH));
    let few = ImageGrace { measured, ..eleven };
    assert_eq!(judged(&few, false, "every night at 02:00", &SchoolCalendar::default()).level, Level::Fine);
    assert_eq!(judged(&few, false, "on monday at 02:00", &SchoolCalendar::default()).level, Level::Refuse);
    assert_eq!(GraceRules::of(&ImageGrace { build: None, ..few }, false), None);
    assert_eq!(GraceRules::of(&ImageGrace { generalized: None, ..seven() }, false), None);
}

#[test]
fn without_a_further_run_the_grace_ends() {
    let rules = GraceRules::of(&seven(), false).expect("rules");
    let found = plan(&rules, &at("2027-06-01T00:00:00Z"), &[], &SchoolCalendar::default());
    assert_eq!((found.level, found.notification), (Level::Refuse, Some(date(2027, 7, 1))));
    assert!(!found.text(Language::De).is_empty());
}

/// Hour after hour, a PC that counts down.
fn naive(rules: &GraceRules, cloned: &Zoned, runs: &[Zoned]) -> Option<Date> {
    let end = runs.last()?;
    let mut now = cloned.clone();
    let mut left = 0i64;
    while now < *end {
        if now == *cloned || runs.contains(&now) {
            left = match rules.grace {
                Grace::Fresh { minutes } => i64::from(minutes),
                Grace::Running { ends } => ends.duration_since(now.timestamp()).as_mins().max(0),
            };
            let next = runs.iter().find(|run| **run > now).expect("a next run");
            let until = next.timestamp().duration_since(now.timestamp()).as_mins();
            if let Some(minutes) = rules.rearm.map(i64::from)
                && left < until.min(minutes - 1440)
            {
                left = minutes;
            }
        }
        if left <= 0 {
            return Some(now.date());
        }
        left -= 60;
        now = now.checked_add(1.hour()).expect("time");
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_pc_that_counts_down_shows_it_on_that_day(
        gaps in prop::collection::vec(1i64..60 * 24, 1..6),
        days in 0u32..40, running: bool, rearm: bool, aged in 0i64..60,
    ) {
        let cloned = at("2027-01-10T01:00:00Z");
        let mut runs = vec![];
        let mut last = cloned.clone();
        for gap in gaps {
            last = last.checked_add(gap.hours()).expect("time");
            runs.push(last.clone());
        }
        let grace = if running {
            Grace::Running { ends: cloned.checked_add((aged * 24).hours()).expect("time").timestamp() }
        } else {
            Grace::Fresh { minutes: days * MINUTES_A_DAY }
        };
        let rules = GraceRules { grace, rearm: rearm.then_some(WINDOWS_7_MINUTES), rearm_possible: rearm };
        let found = plan(&rules, &cloned, &runs, &SchoolCalendar::default());
        prop_assert_eq!(found.notification, naive(&rules, &cloned, &runs));
        prop_assert_eq!(found.level == Level::Fine, found.shortfall.is_none());
        prop_assert!(found.notification.is_none() || found.level > Level::Fine);
    }

    #[test]
    fn less_of_anything_is_never_better(
        breaks in prop::collection::vec((0i64..330, 0i64..60), 0..4),
        more in (0i64..330, 0i64..60),
        minutes in 0u32..45 * MINUTES_A_DAY, extra in 0u32..10 * MINUTES_A_DAY,
        evening: bool, rearm: bool,
    ) {
        let holidays = |(from, long): (i64, i64)| {
            let from = date(2027, 1, 20).checked_add(from.days()).expect("date");
            Holidays { from, to: from.checked_add(long.days()).expect("date"), name: None }
        };
        let few: Vec<Holidays> = breaks.into_iter().map(holidays).collect();
        let many = few.iter().cloned().chain([holidays(more)]).collect();
        let (few, many) = (SchoolCalendar::new(vec![], few), SchoolCalendar::new(vec![], many));
        let when = if evening { "every school night at 22:00" } else { "every school night at 02:00" };
        let schedule = Schedule::new(when, None, None).expect("schedule");
        let cloned = at("2027-01-10T01:00:00Z");
        let of = |calendar: &SchoolCalendar, minutes: u32, rearm: bool| {
            let until = at("2028-06-01T00:00:00Z").timestamp();
            let runs = schedule.runs_between(cloned.timestamp(), until, &berlin(), calendar);
            let rules = GraceRules {
                grace: Grace::Fresh { minutes },
                rearm: rearm.then_some(WINDOWS_7_MINUTES),
                rearm_possible: true,
            };
            let found = plan(&rules, &cloned, &runs, calendar);
            (found.notification.unwrap_or(Date::MAX), found.longest.and_then(|gap| gap.days))
        };
        let ((day, longest), (sooner, longer)) = (of(&few, minutes, rearm), of(&many, minutes, rearm));
        prop_assert!(sooner <= day && longer >= longest, "more holidays");
        prop_assert!(of(&few, minutes + extra, false).0 >= of(&few, minutes, false).0, "more grace");
        prop_assert!(of(&few, minutes, true).0 >= of(&few, minutes, false).0, "a rearm");
    }
}
