//! Where results go, and how numbers, times and tables look.

use std::io::Write;

use comfy_table::{Table, presets};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::room::Language;

/// Where a command's result goes, and in which form.
pub struct Output<'a> {
    /// The screen or a pipe.
    pub out: &'a mut dyn Write,
    /// The language of sentences.
    pub language: Language,
    /// JSON instead of sentences and tables.
    pub json: bool,
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("language", &self.language).field("json", &self.json).finish_non_exhaustive()
    }
}

impl Output<'_> {
    pub(in crate::cli) fn text<'t>(&self, german: &'t str, english: &'t str) -> &'t str {
        match self.language {
            Language::De => german,
            Language::En => english,
        }
    }

    pub(in crate::cli) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        serde_json::to_writer_pretty(&mut *self.out, value)?;
        Ok(writeln!(self.out)?)
    }

    pub(in crate::cli) fn number(&self, value: f64, digits: usize) -> String {
        number(self.language, value, digits)
    }

    pub(in crate::cli) fn bytes(&self, bytes: u64) -> String {
        in_bytes(self.language, bytes)
    }

    /// One sentence.
    pub(in crate::cli) fn say(&mut self, german: &str, english: &str) -> anyhow::Result<()> {
        let text = self.text(german, english);
        Ok(writeln!(self.out, "{text}")?)
    }

    pub(in crate::cli) fn yes_no(&self, value: bool) -> &'static str {
        match (self.language, value) {
            (Language::De, true) => "ja",
            (Language::De, false) => "nein",
            (Language::En, true) => "yes",
            (Language::En, false) => "no",
        }
    }
}

pub(in crate::cli) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

pub(in crate::cli) fn pick<'t>(language: Language, german: &'t str, english: &'t str) -> &'t str {
    match language {
        Language::De => german,
        Language::En => english,
    }
}

fn number(language: Language, value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match language {
        Language::De => text.replace('.', ","),
        Language::En => text,
    }
}

pub(in crate::cli) fn in_bytes(language: Language, bytes: u64) -> String {
    let units = ["KB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", number(language, value, 1), units.get(unit).copied().unwrap_or_default())
}

/// A moment in this machine's time zone.
pub(in crate::cli) fn moment(language: Language, at: Timestamp) -> String {
    let form = pick(language, "%d.%m.%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S");
    at.to_zoned(TimeZone::system()).strftime(form).to_string()
}

/// How long something took: `1 h 02 min`, `3 min 07 s`, `12 s`.
pub(in crate::cli) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_short() {
        assert_eq!([-5, 12, 187, 3720].map(span), ["0 s", "12 s", "3 min 07 s", "1 h 02 min"]);
        assert_eq!(in_bytes(Language::De, 1_500_000), "1,5 MB");
        assert_eq!(in_bytes(Language::En, 999), "999 B");
    }
}
