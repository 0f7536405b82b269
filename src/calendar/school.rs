//! The school's own calendar: on which days there are lessons.
//!
//! A *school night* is the night that ends on a school day. Everything else in a schedule takes no notice of it: a room
//! that is re-cloned every night is re-cloned in the holidays too.

use jiff::Span;
use jiff::civil::{Date, Weekday};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest stretch of days that one entry may have: longer than any holidays, shorter than a slip in the year.
pub const LONGEST_HOLIDAYS: u32 = 100;

/// The most entries of a calendar: some ten years of a German state.
pub const MOST_HOLIDAYS: usize = 200;

/// Why a calendar cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// Not a date.
    #[error("'{text}' is not a date; write year, month and day, such as 2026-12-24")]
    NoDate {
        /// What the profile says.
        text: String,
    },
    /// Holidays that end before they begin.
    #[error("these holidays end on {to}, before they begin on {from}")]
    Reversed {
        /// The first day.
        from: Date,
        /// The last day.
        to: Date,
    },
    /// Holidays longer than any are.
    #[error("these holidays last {days} days; no holidays last more than {LONGEST_HOLIDAYS}")]
    TooLong {
        /// How many days they have.
        days: u32,
    },
    /// More entries than a calendar has.
    #[error("{count} entries are listed; a calendar has at most {MOST_HOLIDAYS}")]
    TooMany {
        /// How many are listed.
        count: usize,
    },
    /// A school without a day of lessons.
    #[error("no day of the week is a school day; there would be no school night")]
    NoSchoolDay,
}

/// A day of the week, as profiles write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the days are what they are called")]
pub enum SchoolDay {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl From<Weekday> for SchoolDay {
    fn from(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Monday,
            Weekday::Tuesday => Self::Tuesday,
            Weekday::Wednesday => Self::Wednesday,
            Weekday::Thursday => Self::Thursday,
            Weekday::Friday => Self::Friday,
            Weekday::Saturday => Self::Saturday,
            Weekday::Sunday => Self::Sunday,
        }
    }
}

/// Days without lessons, the first and the last among them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holidays {
    /// The first day.
    pub from: Date,
    /// The last day.
    pub to: Date,
    /// What they are called; a single day needs no name.
    pub name: Option<String>,
}

impl Holidays {
    /// Checks a stretch of days.
    ///
    /// # Errors
    /// When it ends before it begins, or is longer than holidays are.
    pub fn new(from: Date, to: Date, name: Option<String>) -> Result<Self, CalendarError> {
        if from > to {
            return Err(CalendarError::Reversed { from, to });
        }
        match days(from, to).saturating_add(1) {
            days if days > LONGEST_HOLIDAYS => Err(CalendarError::TooLong { days }),
            _ => Ok(Self { from, to, name }),
        }
    }

    /// Whether `day` is one of them.
    pub fn contains(&self, day: Date) -> bool {
        (self.from..=self.to).contains(&day)
    }
}

/// On which days there are lessons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchoolCalendar {
    school_days: Vec<SchoolDay>,
    holidays: Vec<Holidays>,
}

impl Default for SchoolCalendar {
    /// Monday to Friday, the whole year.
    fn default() -> Self {
        use SchoolDay::{Friday, Monday, Thursday, Tuesday, Wednesday};
        Self { school_days: vec![Monday, Tuesday, Wednesday, Thursday, Friday], holidays: Vec::new() }
    }
}

impl SchoolCalendar {
    /// A calendar; holidays may overlap. Without a school day there would be no school night, so none means Monday to
    /// Friday.
    pub fn new(mut school_days: Vec<SchoolDay>, mut holidays: Vec<Holidays>) -> Self {
        school_days.sort_unstable();
        school_days.dedup();
        if school_days.is_empty() {
            school_days = Self::default().school_days;
        }
        holidays.sort();
        Self { school_days, holidays }
    }

    /// The days of the week with lessons, Monday first.
    pub fn school_days(&self) -> &[SchoolDay] {
        &self.school_days
    }

    /// The holidays by their first day.
    pub fn holidays(&self) -> &[Holidays] {
        &self.holidays
    }

    /// Whether there are lessons on `day`.
    pub fn is_school_day(&self, day: Date) -> bool {
        self.school_days.contains(&SchoolDay::from(day.weekday()))
            && !self.holidays.iter().any(|holidays| holidays.contains(day))
    }

    /// The first and the last day that the holidays tell of; none where there are none.
    pub fn span(&self) -> Option<(Date, Date)> {
        let first = self.holidays.iter().map(|holidays| holidays.from).min()?;
        Some((first, self.holidays.iter().map(|holidays| holidays.to).max()?))
    }

    /// The holidays that have days in common with the time from `from` to `to`, the longest first.
    pub fn between(&self, from: Date, to: Date) -> Vec<&Holidays> {
        let mut all: Vec<_> = self.holidays.iter().filter(|h| h.from <= to && from <= h.to).collect();
        all.sort_by_key(|holidays| (std::cmp::Reverse(days(holidays.from, holidays.to)), holidays.from));
        all
    }
}

/// Days from one date to another; 0 where the second is not later.
pub fn days(from: Date, to: Date) -> u32 {
    let days = from.until(to).ok().as_ref().map_or(0, Span::get_days);
    u32::try_from(days).unwrap_or(0)
}

/// Reads a date: year, month and day in digits (RFC 3339, `full-date`), and nothing else that a date can look like.
///
/// # Errors
/// [`CalendarError::NoDate`] for anything else, the 30th of February included.
pub fn date(text: &str) -> Result<Date, CalendarError> {
    let digits = |(i, b): (usize, u8)| if matches!(i, 4 | 7) { b == b'-' } else { b.is_ascii_digit() };
    let text = text.trim();
    let shape = text.len() == 10 && text.bytes().enumerate().all(digits);
    let date = shape.then(|| text.parse::<Date>().ok()).flatten();
    date.ok_or_else(|| CalendarError::NoDate { text: text.to_owned() })
}
