use super::*;
use proptest::prelude::*;

fn cron_of(when: &str) -> String {
    Schedule::new(when, None, None).map(|s| s.cron).unwrap_or_else(|error| format!("{error:?}"))
}

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").expect("time zone data")
}

fn next(when: &str, now: &str) -> String {
    let schedule = Schedule::new(when, None, None).expect("schedule");
    schedule.next_after(now.parse().expect("time"), &berlin()).expect("a next start").to_string()
}

#[test]
fn plain_forms_are_cron_expressions() {
    for (plain, cron) in [
        ("every night at 02:00", "0 2 * * *"),
        ("Every school night at 2:15", "15 2 * * 1-5"),
        ("every school night at 22:30", "30 22 * * 0-4"),
        ("on saturday at 03:30", "30 3 * * 6"),
        ("on Monday and Thursday at 02:00", "0 2 * * 1,4"),
        ("on fri, mon and wed at 02:00", "0 2 * * 1,3,5"),
        ("jede Nacht um 02:00", "0 2 * * *"),
        ("jede Nacht um 2 Uhr", "0 2 * * *"),
        ("jede Schulnacht um 02:00 Uhr", "0 2 * * 1-5"),
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
    let start = schedule.next_after("2026-11-24T12:00:00Z".parse().expect("time"), &berlin()).expect("start");
    assert_eq!(start.to_string(), "2026-11-24T22:00:00+01:00[Europe/Berlin]");
    assert_eq!(schedule.closes(&start).to_string(), "2026-11-25T02:00:00+01:00[Europe/Berlin]");
    assert_eq!(
        schedule.ready(&start).map(|z| z.to_string()).as_deref(),
        Some("2026-11-25T06:30:00+01:00[Europe/Berlin]")
    );
}

#[test]
fn the_longest_gap_is_the_longest() {
    let gap = |when: &str| {
        let schedule = Schedule::new(when, None, None).expect("schedule");
        schedule.longest_gap("2026-01-01T00:00:00Z".parse().expect("time"), &TimeZone::UTC).map(|g| g.as_secs() / 86400)
    };
    assert_eq!(gap("every night at 02:00"), Some(1));
    assert_eq!(gap("every school night at 02:00"), Some(3));
    assert_eq!(gap("0 2 1 * *"), Some(31));
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
        let next = schedule.next_after(now, &TimeZone::UTC).expect("a next start");
        prop_assert!(next.timestamp() > now);
        prop_assert!(between(now, next.timestamp()) <= Duration::from_secs(86400));
        prop_assert_eq!((next.hour(), next.minute()), (hour, minute));
    }
}
