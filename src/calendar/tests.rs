use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Weekday};
use proptest::prelude::*;

use super::school::{Holidays, SchoolDay};
use super::*;

fn cron_of(when: &str) -> String {
    Schedule::new(when, None, None).map(|s| s.cron).unwrap_or_else(|error| format!("{error:?}"))
}

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").expect("time zone data")
}

fn next(when: &str, now: &str) -> String {
    let schedule = Schedule::new(when, None, None).expect("schedule");
    let plain = SchoolCalendar::default();
    schedule.next(now.parse().expect("time"), &berlin(), &plain).expect("a next start").to_string()
}

#[test]
fn plain_forms_are_cron_expressions() {
    for (plain, cron) in [
        ("every night at 02:00", "0 2 * * *"),
        ("Every school night at 2:15", "15 2 * * *"),
        ("every school night at 22:30", "30 22 * * *"),
        ("on saturday at 03:30", "30 3 * * 6"),
        ("on Monday and Thursday at 02:00", "0 2 * * 1,4"),
        ("on fri, mon and wed at 02:00", "0 2 * * 1,3,5"),
        ("jede Nacht um 02:00", "0 2 * * *"),
        ("jede Nacht um 2 Uhr", "0 2 * * *"),
        ("jede Schulnacht um 02:00 Uhr", "0 2 * * *"),
        ("samstags um 03:30", "30 3 * * 6"),
        ("montags und donnerstags um 02:00", "0 2 * * 1,4"),
        ("am Dienstag um 02:00", "0 2 * * 2"),
        ("0 2  * * MON-FRI", "0 2 * * MON-FRI"),
    ] {
        assert_eq!(cron_of(plain), cron, "{plain}");
    }
}

#[test]
fn impossible_schedules_are_told_apart() {
    let of = |when: &str| Schedule::new(when, None, None).expect_err(when);
    assert!(matches!(of("0 2 30 2 *"), ScheduleError::NeverFires { .. }));
    assert!(matches!(of("0 2 31 4,6,9,11 *"), ScheduleError::NeverFires { .. }));
    assert!(matches!(of("every night at 25:00"), ScheduleError::NoSuchTime { .. }));
    assert!(matches!(of("jede Nacht um 2:60"), ScheduleError::NoSuchTime { .. }));
    assert!(matches!(of("0 25 * * *"), ScheduleError::BadCron { .. }));
    assert!(matches!(of("*/5 * * * *"), ScheduleError::TooOften { minutes: 5, .. }));
    for text in ["", "sometimes", "every full moon at 02:00", "at 02:00", "0 0 2 * * *", "every night at"] {
        assert!(matches!(of(text), ScheduleError::NotUnderstood { .. }), "{text}");
    }
}

#[test]
fn readiness_must_follow_the_start() {
    let at = |text: &str| time_of_day(text).expect("time");
    let of = |when: &str, window: Option<u64>, ready: &str| {
        Schedule::new(when, window.map(|h| Duration::from_secs(h * 3600)), Some(at(ready)))
    };
    let fine = of("every night at 02:00", None, "07:00").expect("schedule");
    assert_eq!(fine.window, DEFAULT_WINDOW);
    let short = of("every night at 05:30", None, "07:00").expect("schedule");
    assert_eq!(short.window, Duration::from_secs(5400));
    let evening = of("every school night at 22:00", Some(6), "06:30").expect("schedule");
    assert_eq!(evening.window, Duration::from_secs(6 * 3600));
    for (when, ready) in
        [("every night at 08:00", "07:30"), ("every night at 02:00", "02:00"), ("0 6,13 * * *", "07:30")]
    {
        assert!(matches!(of(when, None, ready), Err(ScheduleError::ReadyBeforeStart { .. })), "{when} {ready}");
    }
    assert!(matches!(of("every night at 02:00", Some(6), "07:00"), Err(ScheduleError::WindowPastReady { .. })));
}

#[test]
fn the_next_start_follows_the_school_s_clock() {
    assert_eq!(next("every night at 02:00", "2026-11-24T12:00:00Z"), "2026-11-25T02:00:00+01:00[Europe/Berlin]");
    // A start at this very moment has begun.
    assert_eq!(next("every night at 02:00", "2026-11-24T01:00:00Z"), "2026-11-25T02:00:00+01:00[Europe/Berlin]");
    assert_eq!(next("every school night at 02:00", "2026-11-27T12:00:00Z"), "2026-11-30T02:00:00+01:00[Europe/Berlin]");
    // 02:30 does not exist on the last Sunday of March and exists twice on the last one of October.
    assert_eq!(next("every night at 02:30", "2026-03-28T12:00:00Z"), "2026-03-29T03:00:00+02:00[Europe/Berlin]");
    assert_eq!(next("every night at 02:30", "2026-10-24T12:00:00Z"), "2026-10-25T02:30:00+02:00[Europe/Berlin]");
    assert_eq!(next("every night at 02:30", "2026-10-25T00:45:00Z"), "2026-10-26T02:30:00+01:00[Europe/Berlin]");
}

#[test]
fn a_night_closes_and_is_ready() {
    let schedule = Schedule::new("every school night at 22:00", None, time_of_day("06:30").ok()).expect("schedule");
    let plain = SchoolCalendar::default();
    let start = schedule.next("2026-11-24T12:00:00Z".parse().expect("time"), &berlin(), &plain).expect("start");
    assert_eq!(start.to_string(), "2026-11-24T22:00:00+01:00[Europe/Berlin]");
    assert_eq!(schedule.closes(&start).to_string(), "2026-11-25T02:00:00+01:00[Europe/Berlin]");
    assert_eq!(
        schedule.ready(&start).map(|z| z.to_string()).as_deref(),
        Some("2026-11-25T06:30:00+01:00[Europe/Berlin]")
    );
}

fn bavaria() -> SchoolCalendar {
    let days = |name: &str, from: &str, to: &str| Holidays {
        from: from.parse().expect("date"),
        to: to.parse().expect("date"),
        name: Some(name.to_owned()),
    };
    SchoolCalendar::new(
        Vec::new(),
        vec![days("Weihnachten", "2026-12-24", "2027-01-08"), days("Sommer", "2027-08-02", "2027-09-13")],
    )
}

fn dates(when: &str, after: &str, until: &str, calendar: &SchoolCalendar) -> Vec<String> {
    let schedule = Schedule::new(when, None, None).expect("schedule");
    let time = |text: &str| text.parse().expect("time");
    let runs = schedule.runs_between(time(after), time(until), &berlin(), calendar);
    runs.iter().map(|start| start.strftime("%m-%d").to_string()).collect()
}

#[test]
fn a_school_night_ends_on_a_school_day() {
    let (after, until) = ("2026-12-21T12:00:00Z", "2027-01-13T12:00:00Z");
    let morning = dates("every school night at 02:00", after, until, &bavaria());
    assert_eq!(morning, ["12-22", "12-23", "01-11", "01-12", "01-13"]);
    let evening = dates("jede Schulnacht um 22:00", after, until, &bavaria());
    assert_eq!(evening, ["12-21", "12-22", "01-10", "01-11", "01-12"]);
    let every = dates("every night at 02:00", after, until, &bavaria());
    assert_eq!(every.len(), 23);
    let saturdays = SchoolCalendar::new(vec![SchoolDay::Saturday, SchoolDay::Monday], bavaria().holidays().to_vec());
    assert_eq!(dates("every school night at 02:00", after, until, &saturdays), ["01-09", "01-11"]);
}

#[test]
fn both_change_nights_follow_the_rules() {
    let of = |when: &str, after: &str, until: &str| {
        let schedule = Schedule::new(when, None, None).expect("schedule");
        let time = |text: &str| text.parse().expect("time");
        let runs = schedule.runs_between(time(after), time(until), &berlin(), &SchoolCalendar::default());
        runs.iter().map(|start| start.strftime("%d %H:%M%:z").to_string()).collect::<Vec<_>>()
    };
    let (spring, autumn) =
        (("2027-03-27T12:00:00Z", "2027-03-28T12:00:00Z"), ("2027-10-30T12:00:00Z", "2027-10-31T12:00:00Z"));
    // Skipped: 02:00 up to 02:59. They start as soon as the clock goes on.
    for when in ["every night at 02:00", "every night at 02:30", "every night at 02:59", "every night at 03:00"] {
        assert_eq!(of(when, spring.0, spring.1), ["28 03:00+02:00"], "{when}");
    }
    assert_eq!(of("every night at 01:59", spring.0, spring.1), ["28 01:59+01:00"]);
    // Twice: 02:00 up to 02:59. The first time counts.
    assert_eq!(of("every night at 02:00", autumn.0, autumn.1), ["31 02:00+02:00"]);
    assert_eq!(of("every night at 02:59", autumn.0, autumn.1), ["31 02:59+02:00"]);
    assert_eq!(of("every night at 03:00", autumn.0, autumn.1), ["31 03:00+01:00"]);
    // Two that fall together are one.
    assert_eq!(of("0 2,3 * * *", spring.0, spring.1), ["28 03:00+02:00"]);
    assert_eq!(of("0 2,3 * * *", autumn.0, autumn.1), ["31 02:00+02:00", "31 03:00+01:00"]);
    // In the hour that comes a second time, the start of this night has been.
    let second = "2027-10-31T01:15:00Z";
    assert_eq!(of("every night at 02:30", second, "2027-11-01T12:00:00Z"), ["01 02:30+01:00"]);
}

/// What a patient person with a clock would see: minute after minute, a start happens at the first one at which the
/// clock at the wall has reached its time.
fn naive(hour: i8, minute: i8, school: bool, first: Date, days: i64, calendar: &SchoolCalendar) -> Vec<Timestamp> {
    let zone = berlin();
    let mut free = std::collections::BTreeSet::new();
    for holidays in calendar.holidays() {
        let mut day = holidays.from;
        while day <= holidays.to {
            free.insert(day);
            day = day.tomorrow().expect("date");
        }
    }
    let lessons = |day: Date| {
        let week: Vec<SchoolDay> = calendar.school_days().to_vec();
        week.contains(&SchoolDay::from(day.weekday())) && !free.contains(&day)
    };
    let mut due: Vec<DateTime> = Vec::new();
    for n in 0..days {
        let day = first.checked_add(n.days()).expect("date");
        let ends = if hour < 12 { day } else { day.tomorrow().expect("date") };
        if !school || lessons(ends) {
            due.push(day.at(hour, minute, 0, 0));
        }
    }
    let mut starts: Vec<Timestamp> = Vec::new();
    let mut now = first.to_zoned(zone.clone()).expect("midnight").timestamp();
    let mut due = due.into_iter().peekable();
    while let Some(time) = due.peek() {
        if zone.to_datetime(now) >= *time {
            starts.push(now);
            due.next();
        } else {
            now = now.checked_add(1.minute()).expect("time");
        }
    }
    starts.dedup();
    starts
}

#[test]
fn the_longest_gap_is_the_longest() {
    let gap = |when: &str, calendar: &SchoolCalendar| {
        let schedule = Schedule::new(when, None, None).expect("schedule");
        let (after, until) =
            ("2026-09-15T00:00:00Z".parse().expect("time"), "2027-09-20T00:00:00Z".parse().expect("time"));
        let (first, second) = schedule.longest_gap(after, until, &berlin(), calendar).expect("two runs");
        (first.date().to_string(), school::days(first.date(), second.date()))
    };
    let plain = SchoolCalendar::default();
    // The night in which the clock is set back has an hour more.
    assert_eq!(gap("every night at 02:00", &bavaria()), ("2026-10-25".into(), 1));
    assert_eq!(gap("every school night at 02:00", &plain), ("2026-09-18".into(), 3));
    assert_eq!(gap("every school night at 02:00", &bavaria()), ("2027-07-30".into(), 46));
    assert_eq!(gap("0 2 1 * *", &bavaria()), ("2026-10-01".into(), 31));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn runs_are_those_that_a_patient_person_would_see(
        // About both change nights of 2027, and any other time.
        (first, days) in prop_oneof![Just((date(2027, 3, 25), 7)), Just((date(2027, 10, 28), 7)),
            (0i64..700).prop_map(|n| (date(2026, 1, 1).checked_add(n.days()).expect("date"), 30))],
        (hour, minute) in prop_oneof![(0i8..24, 0i8..60), (1i8..4, 0i8..60)],
        school: bool,
        week in prop::collection::vec(0i8..7, 0..6),
        breaks in prop::collection::vec((0i64..740, 0i64..45), 0..6),
    ) {
        let week = week.iter().map(|n| SchoolDay::from(Weekday::from_monday_zero_offset(*n).expect("day"))).collect();
        let breaks = breaks.iter().map(|(from, long)| {
            let from = date(2026, 1, 1).checked_add(from.days()).expect("date");
            Holidays { from, to: from.checked_add(long.days()).expect("date"), name: None }
        });
        let calendar = SchoolCalendar::new(week, breaks.collect());
        let nights = if school { "school night" } else { "night" };
        let schedule = Schedule::new(&format!("every {nights} at {hour:02}:{minute:02}"), None, None).expect("schedule");
        let end = first.checked_add(days.days()).expect("date").to_zoned(berlin()).expect("midnight").timestamp();
        let after = first.to_zoned(berlin()).expect("midnight").timestamp().checked_sub(1.second()).expect("time");
        let until = end.checked_sub(1.second()).expect("time");
        let runs: Vec<Timestamp> =
            schedule.runs_between(after, until, &berlin(), &calendar).iter().map(Zoned::timestamp).collect();
        prop_assert_eq!(&runs, &naive(hour, minute, school, first, days, &calendar));
        // Asked anew after each start, the answer is the same.
        let mut now = after;
        for start in &runs {
            let next = schedule.next(now, &berlin(), &calendar).expect("a next start").timestamp();
            prop_assert_eq!(next, *start);
            now = next;
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,40}", plain in "(every|on|jede|am|at|um|night|monday|und|[0-9]{1,2}|:|\\*| ){0,10}") {
        let _ = Schedule::new(&text, None, None);
        let _ = Schedule::new(&plain, None, None);
        let _ = time_of_day(&text);
    }

    #[test]
    fn a_next_start_is_later_and_on_time(hour in 0i8..24, minute in 0i8..60, second in 0i64..4_000_000_000) {
        let schedule = Schedule::new(&format!("every night at {hour:02}:{minute:02}"), None, None).expect("schedule");
        let now = Timestamp::from_second(second).expect("time");
        let plain = SchoolCalendar::default();
        let next = schedule.next(now, &TimeZone::UTC, &plain).expect("a next start");
        prop_assert!(next.timestamp() > now);
        prop_assert!(between(now, next.timestamp()) <= Duration::from_secs(86400));
        prop_assert_eq!((next.hour(), next.minute()), (hour, minute));
    }
}
