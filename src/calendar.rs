//! When a room is re-cloned by itself.
//!
//! A profile says it as a cron expression or in plain words ([`plain`]); both end as a [`Schedule`], which tells its
//! starts in the school's time zone and by the school's calendar ([`school`]). Time, zone and calendar are handed in.
//!
//! Starts are times on the clock at the wall. In the two nights in which that clock is changed:
//! - a start at a time that is skipped happens at the first instant after the gap;
//! - a start at a time that comes twice happens the first time;
//! - starts that would fall together happen once.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{Time, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};

pub mod plain;
pub mod school;
mod starts;

pub use school::SchoolCalendar;
pub use starts::Starts;

/// How long after its start a run may still begin on a PC, unless the profile says otherwise.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(4 * 3600);

/// The least time between a start and the moment at which the room must be ready.
const LEAST_LEAD: Duration = Duration::from_secs(15 * 60);

/// A room that is ready more than this after its start is meant to be ready *before* it: a slip of the pen.
const MOST_LEAD: Duration = Duration::from_secs(16 * 3600);

/// Starts that follow each other faster than this would run into each other.
const LEAST_PERIOD: Duration = Duration::from_secs(3600);

/// How many starts are looked at when a schedule is checked: more than a year of daily ones.
const LOOK_AHEAD: usize = 400;

/// Which of the nights that a cron expression gives are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nights {
    /// All of them, holidays or not.
    #[default]
    All,
    /// Those that end on a school day.
    School,
}

/// A checked schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The text of the profile, for people.
    pub text: String,
    /// The same as a cron expression, in the site's time zone.
    pub cron: String,
    /// Which of its nights are meant.
    #[serde(default)]
    pub nights: Nights,
    /// How long after its start a run may still begin on a PC; later intents expire.
    pub window: Duration,
    /// When the room must be ready.
    pub ready_by: Option<Time>,
}

/// Why a schedule cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Neither a plain form nor a cron expression.
    #[error("'{text}' is not a schedule; write `every night at 02:00`, or a cron expression of five fields")]
    NotUnderstood {
        /// What the profile says.
        text: String,
    },
    /// A time of day that no clock shows.
    #[error("'{text}' is not a time of day; write hours and minutes, such as 02:00")]
    NoSuchTime {
        /// What the profile says.
        text: String,
    },
    /// A field of a cron expression is out of range.
    #[error("the cron expression '{text}' has an impossible field")]
    BadCron {
        /// What the profile says.
        text: String,
    },
    /// There is no such day.
    #[error("'{text}' never happens; no year has that day")]
    NeverFires {
        /// What the profile says.
        text: String,
    },
    /// The next start would come while the last one is still going on.
    #[error("'{text}' starts again after {minutes} minutes; leave at least an hour between two runs")]
    TooOften {
        /// What the profile says.
        text: String,
        /// The time between two starts.
        minutes: u64,
    },
    /// The room should be ready before the run starts, or as it starts.
    #[error("a run that starts at {start} cannot be ready by {ready_by}")]
    ReadyBeforeStart {
        /// A start.
        start: Time,
        /// When the room should be ready.
        ready_by: Time,
    },
    /// A PC could begin when it should be ready.
    #[error("PCs may still begin {} minutes after {start}, past the moment ({ready_by}) at which they must be ready", .window.as_secs() / 60)]
    WindowPastReady {
        /// A start.
        start: Time,
        /// How long PCs may begin after it.
        window: Duration,
        /// When the room should be ready.
        ready_by: Time,
    },
}

impl Schedule {
    /// Checks a schedule: `when` is a cron expression of five fields or one of the [`plain`] forms. Without a window,
    /// PCs may begin for [`DEFAULT_WINDOW`], or until the room must be ready where that is sooner.
    ///
    /// # Errors
    /// When `when` is not understood, never happens, or does not go together with the window and `ready_by`.
    pub fn new(when: &str, window: Option<Duration>, ready_by: Option<Time>) -> Result<Self, ScheduleError> {
        let text = when.trim().to_owned();
        let (expression, nights) =
            plain::cron(&text)?.unwrap_or_else(|| (text.split_whitespace().collect::<Vec<_>>().join(" "), Nights::All));
        let Some(cron) = parse(&expression) else {
            return Err(if looks_like_cron(&text) {
                ScheduleError::BadCron { text }
            } else {
                ScheduleError::NotUnderstood { text }
            });
        };

        let starts = sample(&cron);
        if starts.is_empty() {
            return Err(ScheduleError::NeverFires { text });
        }
        let shortest = starts.windows(2).filter_map(|pair| match pair {
            [first, second] => Some(between(first.timestamp(), second.timestamp())),
            _ => None,
        });
        if let Some(gap) = shortest.min().filter(|gap| *gap < LEAST_PERIOD) {
            return Err(ScheduleError::TooOften { text, minutes: gap.as_secs() / 60 });
        }

        let mut longest_window = DEFAULT_WINDOW;
        if let Some(ready_by) = ready_by {
            for start in starts.iter().map(Zoned::time) {
                let lead = lead(start, ready_by);
                if !(LEAST_LEAD..=MOST_LEAD).contains(&lead) {
                    return Err(ScheduleError::ReadyBeforeStart { start, ready_by });
                }
                if let Some(window) = window.filter(|window| *window > lead) {
                    return Err(ScheduleError::WindowPastReady { start, window, ready_by });
                }
                longest_window = longest_window.min(lead);
            }
        }
        Ok(Self { text, cron: expression, nights, window: window.unwrap_or(longest_window), ready_by })
    }

    /// The first start after `now`, in the school's time zone. A start at this very moment has begun. None only where
    /// the calendar ends.
    pub fn next(&self, now: Timestamp, zone: &TimeZone, calendar: &SchoolCalendar) -> Option<Zoned> {
        self.starts(now, zone, calendar).next()
    }

    /// All starts after `now`, one after the other.
    pub fn starts<'a>(&self, now: Timestamp, zone: &'a TimeZone, calendar: &'a SchoolCalendar) -> Starts<'a> {
        Starts::new(self, now, zone, calendar)
    }

    /// The starts after `after`, up to and with `until`.
    pub fn runs_between(
        &self,
        after: Timestamp,
        until: Timestamp,
        zone: &TimeZone,
        calendar: &SchoolCalendar,
    ) -> Vec<Zoned> {
        self.starts(after, zone, calendar).take_while(|start| start.timestamp() <= until).collect()
    }

    /// The two starts within a time that lie furthest apart, for what must happen again in time. None where there are no
    /// two.
    pub fn longest_gap(
        &self,
        after: Timestamp,
        until: Timestamp,
        zone: &TimeZone,
        calendar: &SchoolCalendar,
    ) -> Option<(Zoned, Zoned)> {
        let runs = self.runs_between(after, until, zone, calendar);
        let pairs = runs.iter().zip(runs.iter().skip(1));
        // The first of several that are alike, which `max_by_key` would not give.
        let longest = pairs.rev().max_by_key(|(first, second)| between(first.timestamp(), second.timestamp()))?;
        Some((longest.0.clone(), longest.1.clone()))
    }

    /// Until when PCs may begin a run that started at `start`.
    pub fn closes(&self, start: &Zoned) -> Zoned {
        start.checked_add(self.window).unwrap_or_else(|_| start.clone())
    }

    /// When the room must be ready after a run that started at `start`: the first such time of day after it.
    pub fn ready(&self, start: &Zoned) -> Option<Zoned> {
        let ready_by = self.ready_by?;
        let date = if ready_by > start.time() { start.date() } else { start.date().tomorrow().ok()? };
        start.time_zone().to_zoned(date.to_datetime(ready_by)).ok()
    }
}

/// Reads a time of day: `2:00`, `02:00`.
///
/// # Errors
/// [`ScheduleError::NoSuchTime`] for anything else, `25:00` included.
pub fn time_of_day(text: &str) -> Result<Time, ScheduleError> {
    let wrong = || ScheduleError::NoSuchTime { text: text.to_owned() };
    let (hours, minutes) = text.trim().split_once(':').ok_or_else(wrong)?;
    let digits = |part: &str, most: usize| part.len() <= most && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(hours, 2) || !digits(minutes, 2) || minutes.len() != 2 {
        return Err(wrong());
    }
    let hour = hours.parse().map_err(|_| wrong())?;
    let minute = minutes.parse().map_err(|_| wrong())?;
    Time::new(hour, minute, 0, 0).map_err(|_| wrong())
}

fn parse(expression: &str) -> Option<Cron> {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(expression).ok()
}

fn looks_like_cron(text: &str) -> bool {
    text.split_whitespace().count() == 5 && text.starts_with(|c: char| c.is_ascii_digit() || c == '*')
}

/// Starts from a fixed day on, at UTC, where no clock is changed: what is checked must not depend on today.
fn sample(cron: &Cron) -> Vec<Zoned> {
    let mut starts = Vec::new();
    let Ok(mut last) = date(2024, 1, 1).to_zoned(TimeZone::UTC) else { return starts };
    while starts.len() < LOOK_AHEAD {
        let Ok(next) = cron.find_next_occurrence(&last, starts.is_empty()) else { break };
        starts.push(next.clone());
        last = next;
    }
    starts
}

fn between(first: Timestamp, second: Timestamp) -> Duration {
    Duration::try_from(second.duration_since(first)).unwrap_or(Duration::ZERO)
}

/// From a start to the first `ready_by` on a clock after it.
fn lead(start: Time, ready_by: Time) -> Duration {
    let second = |t: Time| i64::from(t.hour()) * 3600 + i64::from(t.minute()) * 60 + i64::from(t.second());
    let seconds = (second(ready_by) - second(start)).rem_euclid(24 * 3600);
    Duration::from_secs(seconds.unsigned_abs())
}

#[cfg(test)]
mod tests;
