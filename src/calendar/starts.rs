//! The starts of a schedule, one after the other.

use croner::Cron;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan, Zoned};

use super::{Nights, Schedule, SchoolCalendar, parse};

/// How many nights in a row may be passed over: all that a calendar of the greatest size can have.
const MOST_PASSED: usize = super::school::MOST_HOLIDAYS * super::school::LONGEST_HOLIDAYS as usize + 8;

/// The starts of a schedule after a moment. Ends only where the calendar of the world does.
#[derive(Debug)]
pub struct Starts<'a> {
    cron: Option<Cron>,
    nights: Nights,
    zone: &'a TimeZone,
    calendar: &'a SchoolCalendar,
    /// The last start, or the moment from which on starts are wanted.
    last: Timestamp,
    /// On the wall clock, taken as if it were UTC, where no time is skipped and none comes twice.
    wall: Option<Zoned>,
}

impl<'a> Starts<'a> {
    pub(super) fn new(schedule: &Schedule, now: Timestamp, zone: &'a TimeZone, calendar: &'a SchoolCalendar) -> Self {
        // Cron counts in minutes; a start within this one is looked at, and passed over if it has begun.
        let wall =
            zone.to_datetime(now).checked_sub(1.minute()).ok().and_then(|wall| wall.to_zoned(TimeZone::UTC).ok());
        Self { cron: parse(&schedule.cron), nights: schedule.nights, zone, calendar, last: now, wall }
    }

    fn meant(&self, wall: DateTime) -> bool {
        match self.nights {
            Nights::All => true,
            Nights::School => {
                // A night that begins in the evening ends on the next day.
                let morning = if wall.hour() >= 12 { wall.date().tomorrow().ok() } else { Some(wall.date()) };
                morning.is_some_and(|day| self.calendar.is_school_day(day))
            }
        }
    }
}

impl Iterator for Starts<'_> {
    type Item = Zoned;

    fn next(&mut self) -> Option<Zoned> {
        for _ in 0..MOST_PASSED {
            let wall = self.cron.as_ref()?.find_next_occurrence(self.wall.as_ref()?, false).ok()?;
            let at = wall.datetime();
            self.wall = Some(wall);
            if !self.meant(at) {
                continue;
            }
            let start = instant(at, self.zone)?;
            if start.timestamp() > self.last {
                self.last = start.timestamp();
                return Some(start);
            }
        }
        None
    }
}

/// When the clock at the wall shows this: the first time, where it comes twice, and the first instant after the gap,
/// where it is skipped.
fn instant(wall: DateTime, zone: &TimeZone) -> Option<Zoned> {
    let ambiguous = zone.to_ambiguous_zoned(wall);
    if let AmbiguousOffset::Gap { before, .. } = ambiguous.offset() {
        // By the old offset, the time lies after the change of the clock, which is the last one up to it.
        let reckoned = before.to_timestamp(wall).ok()?;
        let after = reckoned.checked_add(1.second()).ok()?;
        let change = zone.preceding(after).next()?.timestamp();
        return Some(change.to_zoned(zone.clone()));
    }
    ambiguous.compatible().ok()
}
