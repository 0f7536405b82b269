//! Whether the grace period lasts from one clone to the next, holidays included, and on which day it would not.
//!
//! Pure: starts and calendar are handed in. The rules, from Microsoft's documents on volume activation (sysprep, SkipRearm,
//! `slmgr /rearm`) and from what follows from them:
//!
//! - Windows 7 has 30 days from the first boot of a generalized image. On Windows 8 and later only what was measured at the
//!   first boot of that version of the image counts (`GracePeriodRemaining`); unknown is none.
//! - An image that was not generalized, or with SkipRearm, brings its own clock along: it ends on one day for all clones.
//! - A rearm (`ReArmWindows`) starts the 30 days of Windows 7 anew. The hook does it after a clone, if what is left does
//!   not last until the next one; it spends the count inside that PC's copy, and the next clone restores it. So it helps
//!   an image that has aged, and adds nothing to a clone that has its 30 days.

use jiff::civil::{Date, time};
use jiff::{Timestamp, ToSpan, Zoned};
use serde::Serialize;

use crate::calendar::school::{SchoolCalendar, days};

mod text;

/// The first build of Windows 8, which has no grace period to count on.
const WINDOWS_8: u32 = 9200;

/// The grace period of Windows 7 in minutes: 30 days, from the first boot or a rearm on.
pub const WINDOWS_7_MINUTES: u32 = 30 * MINUTES_A_DAY;

const MINUTES_A_DAY: u32 = 24 * 60;

/// What is known of an image's grace period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageGrace {
    /// The Windows build.
    pub build: Option<u32>,
    /// Whether `sysprep /generalize` was run last.
    pub generalized: Option<bool>,
    /// Whether SkipRearm is set: generalized, but the clock runs on.
    pub skip_rearm: Option<bool>,
    /// When the image was captured.
    pub captured: Option<Timestamp>,
    /// `GracePeriodRemaining` in minutes as a PC reported it after a clone of this version of the image, and when.
    pub measured: Option<(u32, Timestamp)>,
    /// `RemainingWindowsReArmCount` inside the image.
    pub rearms_left: Option<u32>,
}

/// How long a clone lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// It begins anew with each clone.
    Fresh {
        /// How long it is.
        minutes: u32,
    },
    /// It runs inside the image, and ends for all clones at once.
    Running {
        /// When.
        ends: Timestamp,
    },
}

/// What a plan is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraceRules {
    /// How long a clone lasts.
    pub grace: Grace,
    /// The minutes that a rearm after the clone brings; none where the profile does not let the hook rearm, where the image
    /// has none left, or where it is not known to have.
    pub rearm: Option<u32>,
    /// Whether a rearm could bring anything if the profile allowed it.
    pub rearm_possible: bool,
}

impl GraceRules {
    /// The rules for an image, `rearm` being the profile's word. None where the Windows version is not known, or where the
    /// clock runs inside the image and nobody knows since when.
    pub fn of(image: &ImageGrace, rearm: bool) -> Option<Self> {
        let seven = image.build? < WINDOWS_8;
        let anew = image.generalized == Some(true) && image.skip_rearm != Some(true);
        let grace = match (anew, image.measured) {
            (true, Some((minutes, _))) => Grace::Fresh { minutes },
            (true, None) if seven => Grace::Fresh { minutes: WINDOWS_7_MINUTES },
            (true, None) => Grace::Fresh { minutes: 0 },
            (false, Some((minutes, at))) => Grace::Running { ends: later(at, minutes) },
            // The most that it can be: the master PC may have run for days before it was captured.
            (false, None) => Grace::Running { ends: later(image.captured?, if seven { WINDOWS_7_MINUTES } else { 0 }) },
        };
        let rearm_possible = seven && image.rearms_left.is_some_and(|left| left > 0);
        Some(Self { grace, rearm: (rearm && rearm_possible).then_some(WINDOWS_7_MINUTES), rearm_possible })
    }

    /// When a clone made at `clone` would show that it is not activated, if `next` is when the next one is made.
    fn ends(&self, clone: Timestamp, next: Option<Timestamp>) -> Timestamp {
        let ends = match self.grace {
            Grace::Fresh { minutes } => later(clone, minutes),
            Grace::Running { ends } => ends.max(clone),
        };
        let short = next.is_none_or(|next| ends < next);
        match self.rearm {
            // With a day less than a rearm brings, it is not worth one.
            Some(minutes) if short => match later(clone, minutes.saturating_sub(MINUTES_A_DAY)) {
                worth if ends < worth => later(clone, minutes),
                _ => ends,
            },
            _ => ends,
        }
    }
}

/// How serious it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The grace period lasts, even if one run is missed.
    Fine,
    /// It does not last over days without lessons, or lasts only if no run is missed.
    Warn,
    /// Lessons would be held at PCs that say that they are not activated.
    Refuse,
}

/// A stretch of time between two clones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The day of the first.
    pub from: Date,
    /// The day of the second; none where no further one is planned.
    pub to: Option<Date>,
    /// The days between them, if there is a second.
    pub days: Option<u32>,
    /// The holidays in it that are called something, the longest.
    pub holidays: Option<String>,
}

/// Why a plan is not fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// There is no grace period at all.
    NoGrace,
    /// Too much time passes between two clones.
    Gap,
    /// The clock inside the image has run out.
    ImageAged,
    /// It lasts, but not if this run is missed.
    MissedRun {
        /// The day of the run.
        run: Date,
    },
}

/// What can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Advice {
    /// Re-clone once more, at the latest on this day.
    ExtraRun {
        /// The last day on which it helps.
        by: Date,
    },
    /// Re-clone more often.
    MoreOften,
    /// Let the hook rearm.
    Rearm,
    /// Capture a generalized image again.
    NewImage,
    /// Leave the PCs off until the next clone.
    KeepOff,
    /// Use another strategy.
    OtherStrategy,
}

/// Where the grace period does not last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shortfall {
    /// Why.
    pub cause: Cause,
    /// The first day on which the PCs would say that they are not activated.
    pub shows: Date,
    /// The days that a clone of this gap lasts.
    pub grace_days: u32,
    /// Between which clones.
    pub gap: Gap,
    /// The first school day with such PCs.
    pub lessons: Option<Date>,
}

/// Whether the grace period lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GracePlan {
    /// How serious it is.
    pub level: Level,
    /// The earliest day on which a PC would show the notification if every run is made; none where none would.
    pub notification: Option<Date>,
    /// The longest time between two clones.
    pub longest: Option<Gap>,
    /// What decides the level.
    pub shortfall: Option<Shortfall>,
    /// What can be done, the best first.
    pub advice: Vec<Advice>,
}

/// Looks at all clones from `cloned` on, the last one that was or will be made, over the `runs` that follow. What comes
/// after the last of them is not judged, unless there is none at all.
pub fn plan(rules: &GraceRules, cloned: &Zoned, runs: &[Zoned], calendar: &SchoolCalendar) -> GracePlan {
    let clones: Vec<&Zoned> = std::iter::once(cloned).chain(runs.iter().filter(|run| *run > cloned)).collect();
    let mut shortfalls: Vec<Shortfall> = Vec::new();
    let mut missed: Option<Shortfall> = None;
    for (n, clone) in clones.iter().enumerate() {
        let next = clones.get(n + 1).copied();
        if next.is_some() || clones.len() == 1 {
            shortfalls.extend(shortfall(rules, clone, next, calendar));
        }
        if let (Some(next), Some(after), None) = (next, clones.get(n + 2), &missed) {
            let found = shortfall(rules, clone, Some(after), calendar).filter(|found| found.cause == Cause::Gap);
            missed = found.map(|found| Shortfall { cause: Cause::MissedRun { run: next.date() }, ..found });
        }
    }
    let notification = shortfalls.iter().map(|shortfall| shortfall.shows).min();
    let (level, decides) = match shortfalls.iter().position(|shortfall| shortfall.lessons.is_some()) {
        Some(at) => (Level::Refuse, Some(shortfalls.swap_remove(at))),
        None if !shortfalls.is_empty() => (Level::Warn, Some(shortfalls.swap_remove(0))),
        None if missed.is_some() => (Level::Warn, missed),
        None => (Level::Fine, None),
    };
    let advice = decides.as_ref().map(|shortfall| advice(rules, level, shortfall)).unwrap_or_default();
    GracePlan { level, notification, longest: longest(&clones, calendar), shortfall: decides, advice }
}

fn shortfall(rules: &GraceRules, clone: &Zoned, next: Option<&Zoned>, calendar: &SchoolCalendar) -> Option<Shortfall> {
    let ends = rules.ends(clone.timestamp(), next.map(Zoned::timestamp));
    if next.is_some_and(|next| next.timestamp() <= ends) {
        return None;
    }
    let shows = ends.to_zoned(clone.time_zone().clone());
    let none = matches!(rules.grace, Grace::Fresh { minutes: 0 });
    let cause = match rules.grace {
        _ if none => Cause::NoGrace,
        Grace::Running { .. } if rules.rearm.is_none() => Cause::ImageAged,
        _ => Cause::Gap,
    };
    let minutes = u64::try_from(ends.duration_since(clone.timestamp()).as_mins()).unwrap_or(0);
    Some(Shortfall {
        cause,
        shows: shows.date(),
        grace_days: u32::try_from(minutes / u64::from(MINUTES_A_DAY)).unwrap_or(u32::MAX),
        gap: gap(clone, next, calendar),
        lessons: lessons(&shows, next, calendar),
    })
}

/// The first school day from `shows` on, up to the next clone, if a PC is used on it before that.
fn lessons(shows: &Zoned, next: Option<&Zoned>, calendar: &SchoolCalendar) -> Option<Date> {
    let mut day = shows.date();
    // Beyond a year of holidays there are lessons somewhere.
    for _ in 0..400 {
        let zone = shows.time_zone();
        let begin = zone.to_zoned(day.to_datetime(time(7, 0, 0, 0))).ok()?;
        if next.is_some_and(|next| *next <= begin) {
            return None;
        }
        let end = zone.to_zoned(day.to_datetime(time(17, 0, 0, 0))).ok()?;
        if *shows < end && calendar.is_school_day(day) {
            return Some(day);
        }
        day = day.tomorrow().ok()?;
    }
    None
}

fn gap(from: &Zoned, to: Option<&Zoned>, calendar: &SchoolCalendar) -> Gap {
    let holidays = to.map(|to| calendar.between(from.date(), to.date())).unwrap_or_default();
    Gap {
        from: from.date(),
        to: to.map(Zoned::date),
        days: to.map(|to| days(from.date(), to.date())),
        holidays: holidays.into_iter().find_map(|holidays| holidays.name.clone()),
    }
}

fn longest(clones: &[&Zoned], calendar: &SchoolCalendar) -> Option<Gap> {
    let pairs = clones.iter().zip(clones.iter().skip(1)).rev();
    let (from, to) = pairs.max_by_key(|(from, to)| days(from.date(), to.date()))?;
    Some(gap(from, Some(to), calendar))
}

fn advice(rules: &GraceRules, level: Level, shortfall: &Shortfall) -> Vec<Advice> {
    let rearm_helps = rules.rearm_possible
        && rules.rearm.is_none()
        && shortfall.gap.days.is_some_and(|days| days.saturating_mul(MINUTES_A_DAY) <= WINDOWS_7_MINUTES);
    let mut advice = Vec::new();
    match shortfall.cause {
        Cause::NoGrace => {}
        Cause::ImageAged => {
            advice.extend(rearm_helps.then_some(Advice::Rearm));
            advice.push(Advice::NewImage);
        }
        Cause::Gap => {
            advice.extend(rearm_helps.then_some(Advice::Rearm));
            // The day before, while the PCs still say nothing.
            let by = shortfall.shows.checked_sub(1.day()).unwrap_or(shortfall.shows);
            let once = shortfall.gap.holidays.is_some() && by > shortfall.gap.from;
            advice.push(if once { Advice::ExtraRun { by } } else { Advice::MoreOften });
        }
        Cause::MissedRun { .. } => advice.push(Advice::MoreOften),
    }
    if level == Level::Warn && shortfall.lessons.is_none() {
        advice.push(Advice::KeepOff);
    }
    advice.push(Advice::OtherStrategy);
    advice
}

fn later(from: Timestamp, minutes: u32) -> Timestamp {
    from.checked_add(i64::from(minutes).minutes()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
