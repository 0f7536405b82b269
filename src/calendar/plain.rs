//! Schedules in plain words, English and German.
//!
//! | form | meaning |
//! |---|---|
//! | `every night at 02:00` · `jede Nacht um 02:00` | every day |
//! | `every school night at 02:00` · `jede Schulnacht um 02:00` | the nights that end on a school day |
//! | `on monday and thursday at 02:00` · `montags und donnerstags um 02:00` | on these days of the week |
//!
//! Case does not matter; days can be short (`mon`, `di`), `every`, `jeden` and `am` may stand before them.

use super::{Nights, ScheduleError, time_of_day};

/// Sunday first, as cron counts: English, German and their short forms.
const DAYS: [[&str; 4]; 7] = [
    ["sunday", "sun", "sonntag", "so"],
    ["monday", "mon", "montag", "mo"],
    ["tuesday", "tue", "dienstag", "di"],
    ["wednesday", "wed", "mittwoch", "mi"],
    ["thursday", "thu", "donnerstag", "do"],
    ["friday", "fri", "freitag", "fr"],
    ["saturday", "sat", "samstag", "sa"],
];

/// The cron expression of a plain form and which of its nights are meant, or none where `text` is no plain form.
///
/// # Errors
/// When `text` is a plain form with an impossible time of day.
pub(super) fn cron(text: &str) -> Result<Option<(String, Nights)>, ScheduleError> {
    let folded = text.to_lowercase();
    let words: Vec<&str> = folded.split(|c: char| c.is_whitespace() || c == ',').filter(|w| !w.is_empty()).collect();
    let Some(at) = words.iter().position(|word| matches!(*word, "at" | "um")) else { return Ok(None) };
    let (days, rest) = words.split_at(at);
    let time = match rest {
        [_, time] => *time,
        [_, time, "uhr"] => *time,
        _ => return Ok(None),
    };
    let Some((days, nights)) = self::nights(days) else { return Ok(None) };
    let clock = if time.contains(':') || !rest.contains(&"uhr") { time.to_owned() } else { format!("{time}:00") };
    let time = time_of_day(&clock)?;
    Ok(Some((format!("{} {} * * {days}", time.minute(), time.hour()), nights)))
}

/// The days of the week as cron writes them, and which of the nights are meant.
fn nights(words: &[&str]) -> Option<(String, Nights)> {
    match words {
        ["every", "night" | "day"] | ["jede", "nacht"] | ["jeden", "tag"] | ["täglich" | "daily"] => {
            return Some(("*".to_owned(), Nights::All));
        }
        ["every", "school", "night"] | ["every", "school-night"] | ["jede", "schulnacht"] => {
            return Some(("*".to_owned(), Nights::School));
        }
        _ => {}
    }
    let words = match words {
        ["on" | "every" | "am" | "jeden", rest @ ..] => rest,
        all => all,
    };
    let mut days = Vec::new();
    for word in words.iter().filter(|word| !matches!(**word, "and" | "und")) {
        let day = day(word)?;
        if !days.contains(&day) {
            days.push(day);
        }
    }
    days.sort_unstable();
    let days = days.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    (!days.is_empty()).then_some((days, Nights::All))
}

fn day(word: &str) -> Option<usize> {
    // `samstags` and `saturdays` are the days again and again, which is what is meant here anyway.
    let once = word.strip_suffix('s').filter(|rest| rest.len() > 3).unwrap_or(word);
    DAYS.iter().position(|names| names.contains(&word) || names.contains(&once))
}
