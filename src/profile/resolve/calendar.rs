//! The school's calendar.

use jiff::civil::Date;

use super::{optional, optional_text, required};
use crate::calendar::SchoolCalendar;
use crate::calendar::school::{self, CalendarError, Holidays, MOST_HOLIDAYS};
use crate::profile::faults::FaultKind;
use crate::profile::tree::Recorder;
use crate::profile::wire::{CalendarFields, HolidayEntry, HolidayFields, Spot};

pub(super) fn calendar(fields: &CalendarFields, recorder: &Recorder) -> SchoolCalendar {
    let note = |at, error| recorder.note(at, FaultKind::Calendar(error));
    let school_days = optional(&fields.school_days).map(|(list, at)| {
        if list.is_empty() {
            note(at, CalendarError::NoSchoolDay);
        }
        list.iter().filter_map(|day| day.value).collect()
    });
    let mut holidays = Vec::new();
    if let Some((list, at)) = optional(&fields.holidays) {
        if list.len() > MOST_HOLIDAYS {
            note(at, CalendarError::TooMany { count: list.len() });
        }
        let entries = list.iter().take(MOST_HOLIDAYS).filter_map(optional);
        holidays.extend(entries.filter_map(|(entry, at)| match entry {
            HolidayEntry::Day(text) => {
                let day = date(text, at, recorder)?;
                Some(Holidays { from: day, to: day, name: None })
            }
            HolidayEntry::Days(fields) => self::holidays(fields, at, recorder),
        }));
    }
    SchoolCalendar::new(school_days.unwrap_or_default(), holidays)
}

fn holidays(fields: &HolidayFields, at: Spot, recorder: &Recorder) -> Option<Holidays> {
    let name = optional_text(&fields.name, recorder);
    let from = required(&fields.from, "from", at, recorder).and_then(|(text, at)| date(text, at, recorder));
    let (text, to_at) = required(&fields.to, "to", at, recorder)?;
    let to = date(text, to_at, recorder)?;
    let holidays = Holidays::new(from?, to, name);
    holidays.map_err(|error| recorder.note(to_at, FaultKind::Calendar(error))).ok()
}

fn date(text: &str, at: Spot, recorder: &Recorder) -> Option<Date> {
    school::date(text).map_err(|error| recorder.note(at, FaultKind::Calendar(error))).ok()
}
