//! Whether an image can serve what a room asks of it. Sources: Microsoft's volume activation documents; sysprep and
//! SkipRearm (TechNet ff716063); duplicate SIDs refused by Windows 11 24H2 and Server 2025.

use jiff::ToSpan;
use jiff::civil::date;

use crate::activation::grace_plan::{GraceRules, ImageGrace, Level, plan};
use crate::activation::{KeyKind, Strategy};
use crate::calendar::Schedule;
use crate::image::{FirmwareKind, KeyChannel, WindowsFacts};
use crate::profile::faults::FaultKind;
use crate::profile::model::Site;
use crate::room::{ImageName, KeyName};

/// The first build after Windows 7 (7600, 7601): Windows 8.
const WINDOWS_8: u32 = 9200;

/// Windows 11 24H2.
const WINDOWS_11_24H2: u32 = 26100;

/// The initial grace period of Windows 7, which begins anew with each clone of a generalized image.
const GRACE_DAYS: u64 = 30;

/// How many days before and after the calendar's holidays are looked at: more than a grace period.
const MARGIN_DAYS: i64 = 70;

/// What a strategy is judged by.
pub(super) struct Case<'a> {
    pub(super) site: &'a Site,
    pub(super) image: &'a ImageName,
    pub(super) schedule: Option<&'a Schedule>,
    /// There is a schedule, but it has a fault of its own.
    pub(super) unreadable_schedule: bool,
}

/// Notes what stands against the strategy.
pub(super) fn strategy(case: &Case<'_>, strategy: &Strategy, note: impl Fn(FaultKind)) {
    // An image that the site does not list is a fault already.
    let Some(facts) = case.site.images.get(case.image) else { return };
    match strategy {
        Strategy::None => {}
        Strategy::Grace { accept_notification } => grace(case, facts, *accept_notification, note),
        Strategy::MakProxy { key } => mak_proxy(case, facts, key, note),
        Strategy::Kms { .. } => kms(case, facts, note),
    }
}

/// Notes what stands against the image itself in a room whose PCs have this firmware.
pub(super) fn image(site: &Site, name: &ImageName, room: Option<FirmwareKind>, note: impl Fn(FaultKind)) {
    let Some(facts) = site.images.get(name) else { return };
    if let (Some(room), Some(image)) = (room, facts.firmware)
        && room != image
    {
        note(FaultKind::FirmwareMismatch { room, image, name: name.clone() });
    }
    if let (Some(build), Some(false)) = (facts.build, facts.generalized)
        && build >= WINDOWS_11_24H2
    {
        note(FaultKind::SharedSids { image: name.clone(), build });
    }
}

fn grace(case: &Case<'_>, facts: &WindowsFacts, accept_notification: bool, note: impl Fn(FaultKind)) {
    let image = case.image;
    let unknown = |field| FaultKind::UnknownFacts { image: image.clone(), strategy: "grace", field };
    match facts.key_channel {
        Some(KeyChannel::Mak) => note(FaultKind::GraceWithMak { image: image.clone() }),
        Some(_) => {}
        None => note(unknown("key_channel")),
    }
    match facts.generalized {
        Some(true) => {}
        Some(false) => note(FaultKind::NotGeneralized { image: image.clone(), strategy: "grace" }),
        None => note(unknown("generalized")),
    }
    match facts.build {
        Some(build) if build >= WINDOWS_8 => {
            if !accept_notification {
                note(FaultKind::GraceOnNewWindows { image: image.clone(), build });
            }
        }
        Some(_) => grace_lasts(case, facts, note),
        None => note(unknown("build")),
    }
}

/// The grace of Windows 7 must last from one clone to the next.
fn grace_lasts(case: &Case<'_>, facts: &WindowsFacts, note: impl Fn(FaultKind)) {
    let Some(schedule) = case.schedule else {
        if !case.unreadable_schedule {
            note(FaultKind::GraceWithoutSchedule { grace_days: GRACE_DAYS });
        }
        return;
    };
    // An image that is not generalized has its fault already; here it is about the rhythm.
    let grace = ImageGrace { build: facts.build, generalized: Some(true), ..ImageGrace::default() };
    let Some(rules) = GraceRules::of(&grace, false) else { return };
    let site = case.site;
    let (zone, calendar) = (site.zone(), &site.calendar);
    // What is checked must not depend on today: the time that the calendar tells of and what lies about it, or any year.
    let (first, last) = calendar.span().unwrap_or((date(2026, 3, 12), date(2026, 12, 31)));
    let moment = |day: jiff::civil::Date, days: i64| {
        let day = day.checked_add(days.days()).unwrap_or(day);
        zone.to_zoned(day.at(0, 0, 0, 0)).map(|zoned| zoned.timestamp()).unwrap_or_default()
    };
    let runs = schedule.runs_between(moment(first, -MARGIN_DAYS), moment(last, MARGIN_DAYS), &zone, calendar);
    let Some((cloned, runs)) = runs.split_first() else { return };
    let plan = plan(&rules, cloned, runs, calendar);
    if plan.level > Level::Fine {
        note(FaultKind::GraceEnds(Box::new(plan)));
    }
}

fn mak_proxy(case: &Case<'_>, facts: &WindowsFacts, name: &KeyName, note: impl Fn(FaultKind)) {
    if facts.key_channel == Some(KeyChannel::Gvlk) {
        note(FaultKind::MakProxyChannel { image: case.image.clone() });
    }
    let Some(key) = case.site.keys.get(name) else { return };
    if key.kind != KeyKind::Mak {
        note(FaultKind::KeyKindMismatch { key: name.clone(), kind: key.kind, strategy: "mak-proxy" });
    }
    if let (Some(key_edition), Some(image_edition)) = (&key.edition, &facts.edition)
        && !key_edition.eq_ignore_ascii_case(image_edition)
    {
        note(FaultKind::KeyEditionMismatch {
            key: name.clone(),
            key_edition: key_edition.clone(),
            image: case.image.clone(),
            image_edition: image_edition.clone(),
        });
    }
}

fn kms(case: &Case<'_>, facts: &WindowsFacts, note: impl Fn(FaultKind)) {
    let image = case.image;
    let unknown = |field| FaultKind::UnknownFacts { image: image.clone(), strategy: "kms", field };
    match facts.key_channel {
        Some(KeyChannel::Gvlk) => {}
        Some(channel) => note(FaultKind::KmsChannel { image: image.clone(), channel }),
        None => note(unknown("key_channel")),
    }
    match (facts.generalized, facts.skip_rearm) {
        (Some(false), _) => note(FaultKind::NotGeneralized { image: image.clone(), strategy: "kms" }),
        (None, _) => note(unknown("generalized")),
        (Some(true), Some(true)) => note(FaultKind::KmsSkipRearm { image: image.clone() }),
        (Some(true), _) => {}
    }
}
