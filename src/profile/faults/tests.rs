use std::collections::BTreeSet;

use super::*;
use crate::activation::grace_plan::{GraceRules, ImageGrace, plan};
use crate::calendar::SchoolCalendar;

fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a name")
}

fn grace_plan() -> GracePlan {
    let image = ImageGrace { build: Some(7601), generalized: Some(true), ..ImageGrace::default() };
    let cloned = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
    plan(&GraceRules::of(&image, false).expect("rules"), &cloned, &[], &SchoolCalendar::default())
}

/// One fault of each kind.
fn samples() -> Vec<FaultKind> {
    vec![
        FaultKind::Unreadable { reason: "gone".to_owned() },
        FaultKind::NotUtf8,
        FaultKind::TooLarge { bytes: 1, most: 1 },
        FaultKind::EmptyFile,
        FaultKind::NoSite,
        FaultKind::NoRooms,
        FaultKind::DuplicateFile { name: "x".to_owned(), other: "site.yml".into() },
        FaultKind::IgnoredFile,
        FaultKind::TooManyRooms { most: 5 },
        FaultKind::ProductKey,
        FaultKind::Syntax { message: "colon".to_owned() },
        FaultKind::Tab,
        FaultKind::TooComplex,
        FaultKind::SecondDocument,
        FaultKind::NotForProfiles,
        FaultKind::DuplicateKey { key: "x".to_owned(), first_line: 3 },
        FaultKind::UnknownField { field: "x".to_owned(), known: vec!["a"], near: None },
        FaultKind::MissingField { field: "x".to_owned() },
        FaultKind::WrongShape { expected: Shape::Text, found: Found::List },
        FaultKind::UnknownChoice { found: "x".to_owned(), choices: vec!["a"], near: None },
        FaultKind::NotOneChoice { choices: vec!["a"] },
        FaultKind::EmptyEntry,
        FaultKind::EmptyText,
        FaultKind::BadName { named: Named::Key, text: "x".to_owned() },
        FaultKind::BadMachineName { text: "x".to_owned() },
        FaultKind::BadMac { text: "x".to_owned() },
        FaultKind::GroupMac { mac: Mac([2; 6]) },
        FaultKind::BadUuid { text: "x".to_owned() },
        FaultKind::BlankUuid,
        FaultKind::BadSize { text: "x".to_owned() },
        FaultKind::SizesCrossed,
        FaultKind::BadDuration { text: "x".to_owned() },
        FaultKind::DurationOutside { least: "1s", most: "1s" },
        FaultKind::BadAddress { text: "x".to_owned() },
        FaultKind::UnusableAddress { text: "x".to_owned() },
        FaultKind::BadPort { port: 7 },
        FaultKind::BadTimeZone { text: "x".to_owned(), near: None },
        FaultKind::BadHost { text: "x".to_owned() },
        FaultKind::RelativePath { text: "x".to_owned() },
        FaultKind::BadPartialKey,
        FaultKind::KeySources { count: 2 },
        FaultKind::EmptyCommand,
        FaultKind::ShippedHookName { hook: name("win11") },
        FaultKind::Schedule(ScheduleError::NeverFires { text: "x".to_owned() }),
        FaultKind::Calendar(CalendarError::NoSchoolDay),
        FaultKind::ActivationWs(AddressError::NotAnAddress),
        FaultKind::EmptyRoom,
        FaultKind::DuplicateMachine { name: name("win11"), first: Place::whole("x") },
        FaultKind::DuplicateMac { mac: Mac([2; 6]), first: Place::whole("x") },
        FaultKind::DuplicateUuid { uuid: MachineUuid([7; 16]), first: Place::whole("x") },
        FaultKind::DanglingImage { image: name("win11"), near: None },
        FaultKind::DanglingKey { key: name("win11"), near: None },
        FaultKind::DanglingHook { hook: name("win11"), near: None },
        FaultKind::HookTwice { hook: "x".to_owned() },
        FaultKind::HookOrder { hook: "x".to_owned(), before: "x".to_owned() },
        FaultKind::NoActivationHook { strategy: "kms" },
        FaultKind::FirmwareMismatch { room: FirmwareKind::Bios, image: FirmwareKind::Bios, name: name("win11") },
        FaultKind::KeyKindMismatch { key: name("win11"), kind: KeyKind::Gvlk, strategy: "kms" },
        FaultKind::KeyEditionMismatch {
            key: name("win11"),
            key_edition: "A".to_owned(),
            image: name("win11"),
            image_edition: "B".to_owned(),
        },
        FaultKind::GraceOnNewWindows { image: name("win11"), build: 26100 },
        FaultKind::GraceWithMak { image: name("win11") },
        FaultKind::NotGeneralized { image: name("win11"), strategy: "kms" },
        FaultKind::GraceEnds(Box::new(grace_plan())),
        FaultKind::GraceWithoutSchedule { grace_days: 30 },
        FaultKind::KmsChannel { image: name("win11"), channel: KeyChannel::Mak },
        FaultKind::KmsSkipRearm { image: name("win11") },
        FaultKind::MakProxyChannel { image: name("win11") },
        FaultKind::UnknownFacts { image: name("win11"), strategy: "kms", field: "build" },
        FaultKind::SharedSids { image: name("win11"), build: 26100 },
        FaultKind::KmsFewMachines { count: 2 },
        FaultKind::HostKey,
        FaultKind::OemKeyValue,
        FaultKind::PublishedKey { kind: KeyKind::Mak },
        FaultKind::BudgetOnUncounted { field: "budget", kind: KeyKind::Gvlk },
        FaultKind::ReserveWithoutBudget,
        FaultKind::ReserveAboveBudget { reserve: 9, budget: 5 },
    ]
}

/// A number for each kind. A new kind does not compile until it is here, and then misses in [`samples`].
fn number(kind: &FaultKind) -> usize {
    match kind {
        FaultKind::Unreadable { .. } => 0,
        FaultKind::NotUtf8 => 1,
        FaultKind::TooLarge { .. } => 2,
        FaultKind::EmptyFile => 3,
        FaultKind::NoSite => 4,
        FaultKind::NoRooms => 5,
        FaultKind::DuplicateFile { .. } => 6,
        FaultKind::IgnoredFile => 7,
        FaultKind::TooManyRooms { .. } => 8,
        FaultKind::ProductKey => 9,
        FaultKind::Syntax { .. } => 10,
        FaultKind::Tab => 11,
        FaultKind::TooComplex => 12,
        FaultKind::SecondDocument => 13,
        FaultKind::NotForProfiles => 14,
        FaultKind::DuplicateKey { .. } => 15,
        FaultKind::UnknownField { .. } => 16,
        FaultKind::MissingField { .. } => 17,
        FaultKind::WrongShape { .. } => 18,
        FaultKind::UnknownChoice { .. } => 19,
        FaultKind::NotOneChoice { .. } => 20,
        FaultKind::EmptyEntry => 21,
        FaultKind::EmptyText => 22,
        FaultKind::BadName { .. } => 23,
        FaultKind::BadMachineName { .. } => 24,
        FaultKind::BadMac { .. } => 25,
        FaultKind::GroupMac { .. } => 26,
        FaultKind::BadUuid { .. } => 27,
        FaultKind::BlankUuid => 28,
        FaultKind::BadSize { .. } => 29,
        FaultKind::SizesCrossed => 30,
        FaultKind::BadDuration { .. } => 31,
        FaultKind::DurationOutside { .. } => 32,
        FaultKind::BadAddress { .. } => 33,
        FaultKind::UnusableAddress { .. } => 34,
        FaultKind::BadPort { .. } => 35,
        FaultKind::BadTimeZone { .. } => 36,
        FaultKind::BadHost { .. } => 37,
        FaultKind::RelativePath { .. } => 38,
        FaultKind::BadPartialKey => 39,
        FaultKind::KeySources { .. } => 40,
        FaultKind::EmptyCommand => 41,
        FaultKind::ShippedHookName { .. } => 42,
        FaultKind::Schedule(_) => 43,
        FaultKind::EmptyRoom => 44,
        FaultKind::DuplicateMachine { .. } => 45,
        FaultKind::DuplicateMac { .. } => 46,
        FaultKind::DuplicateUuid { .. } => 47,
        FaultKind::DanglingImage { .. } => 48,
        FaultKind::DanglingKey { .. } => 49,
        FaultKind::DanglingHook { .. } => 50,
        FaultKind::HookTwice { .. } => 51,
        FaultKind::HookOrder { .. } => 52,
        FaultKind::NoActivationHook { .. } => 53,
        FaultKind::FirmwareMismatch { .. } => 54,
        FaultKind::KeyKindMismatch { .. } => 55,
        FaultKind::KeyEditionMismatch { .. } => 56,
        FaultKind::GraceOnNewWindows { .. } => 57,
        FaultKind::GraceWithMak { .. } => 58,
        FaultKind::NotGeneralized { .. } => 59,
        FaultKind::GraceEnds(_) => 60,
        FaultKind::GraceWithoutSchedule { .. } => 61,
        FaultKind::KmsChannel { .. } => 62,
        FaultKind::KmsSkipRearm { .. } => 63,
        FaultKind::MakProxyChannel { .. } => 64,
        FaultKind::UnknownFacts { .. } => 65,
        FaultKind::SharedSids { .. } => 66,
        FaultKind::KmsFewMachines { .. } => 67,
        FaultKind::HostKey => 68,
        FaultKind::OemKeyValue => 69,
        FaultKind::PublishedKey { .. } => 70,
        FaultKind::BudgetOnUncounted { .. } => 71,
        FaultKind::ReserveWithoutBudget => 72,
        FaultKind::ReserveAboveBudget { .. } => 73,
        FaultKind::Calendar(_) => 74,
        FaultKind::ActivationWs(_) => 75,
    }
}

const KINDS: usize = 76;

#[test]
fn every_kind_speaks_both_languages() {
    let numbers: BTreeSet<usize> = samples().iter().map(number).collect();
    assert_eq!(numbers, (0..KINDS).collect());
    let mut texts = BTreeSet::new();
    for kind in samples() {
        let fault = Fault { kind, place: Place::whole("site.yaml"), excerpt: None };
        let words = [
            (fault.text(Language::En), fault.text(Language::De)),
            (fault.advice(Language::En), fault.advice(Language::De)),
        ];
        for (english, german) in &words {
            assert!(english.len() > 5 && german.len() > 5 && english != german, "{fault:?}");
            assert!(!english.contains("  ") && !german.contains("  "), "{fault:?}");
            assert!(!english.ends_with('.') && !german.ends_with('.'), "{fault:?}");
        }
        assert!(texts.insert(fault.text(Language::En)) && texts.insert(fault.text(Language::De)), "{fault:?}");
    }
}

#[test]
fn every_impossible_schedule_speaks_both_languages() {
    let text = || "x".to_owned();
    let time = jiff::civil::time(2, 0, 0, 0);
    let errors = [
        ScheduleError::NotUnderstood { text: text() },
        ScheduleError::NoSuchTime { text: text() },
        ScheduleError::BadCron { text: text() },
        ScheduleError::NeverFires { text: text() },
        ScheduleError::TooOften { text: text(), minutes: 5 },
        ScheduleError::ReadyBeforeStart { start: time, ready_by: time },
        ScheduleError::WindowPastReady { start: time, window: std::time::Duration::from_secs(60), ready_by: time },
    ];
    let mut texts = BTreeSet::new();
    for error in errors {
        let fault = Fault { kind: FaultKind::Schedule(error), place: Place::whole("site.yaml"), excerpt: None };
        for language in [Language::En, Language::De] {
            assert!(texts.insert(fault.text(language)) && texts.insert(fault.advice(language)), "{fault:?}");
        }
    }
}

#[test]
fn every_impossible_calendar_speaks_both_languages() {
    let day = jiff::civil::date(2026, 12, 24);
    let errors = [
        CalendarError::NoDate { text: "x".to_owned() },
        CalendarError::Reversed { from: day, to: day },
        CalendarError::TooLong { days: 400 },
        CalendarError::TooMany { count: 300 },
        CalendarError::NoSchoolDay,
    ];
    let mut texts = BTreeSet::new();
    for error in errors {
        let fault = Fault { kind: FaultKind::Calendar(error), place: Place::whole("site.yaml"), excerpt: None };
        for language in [Language::En, Language::De] {
            assert!(texts.insert(fault.text(language)) && texts.insert(fault.advice(language)), "{fault:?}");
        }
    }
}

#[test]
fn an_excerpt_fits_the_screen_and_moves_no_cursor() {
    let line = format!("{}\tvalue\u{1b}[2J\u{202e}", "x".repeat(500));
    let excerpt = Excerpt::new(&line, 502, 5);
    assert!(excerpt.line.chars().count() <= 120);
    let marked: String = excerpt.line.chars().skip(excerpt.before).take(excerpt.marked).collect();
    assert_eq!(marked, "value");
    assert!(!excerpt.line.contains(['\u{1b}', '\t', '\u{202e}']));
    let beyond = Excerpt::new("short", 4000, u32::MAX);
    assert!(beyond.before <= 5 && beyond.marked == 1);
}

#[test]
fn errors_are_kept_when_warnings_are_many() {
    let place = |line| Place { file: "a.yaml".into(), line, column: 1 };
    let fault = |kind, line| Fault { kind, place: place(line), excerpt: None };
    let mut list: Vec<Fault> = (1..=MOST_FAULTS as u32).map(|line| fault(FaultKind::IgnoredFile, line)).collect();
    list.push(fault(FaultKind::EmptyRoom, 9999));
    let faults = Faults::new(list);
    assert!(faults.refuse());
    assert_eq!(faults.more(), 1);
    assert_eq!(faults.list().last().map(|fault| &fault.kind), Some(&FaultKind::EmptyRoom));
}
