//! What is seen of a run while it goes: bars on a terminal, lines in a file, events as JSON.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::output::{in_bytes, pick};
use crate::cli::reclone::title;
use crate::cli::words;
use crate::http::admin_api::RunView;
use crate::job::MachineState;
use crate::night::RunEvent;
use crate::progress::ImagingEvent;
use crate::room::{Language, MachineName};

/// The form of what is seen.
pub(super) enum Screen {
    /// A bar for each machine, on standard error.
    Bars(Language, MultiProgress, BTreeMap<MachineName, ProgressBar>),
    /// A line for each change.
    Lines(Language),
    /// The events as they came.
    Json,
}

// A screen that cannot be written to stops nobody: the run goes on, and its result is told by the exit code.
impl Screen {
    /// The form that fits where it is shown.
    pub(super) fn new(language: Language, json: bool, view: &RunView) -> Self {
        if json {
            return Self::Json;
        }
        if !(std::io::stderr().is_terminal() && std::io::stdout().is_terminal()) {
            return Self::Lines(language);
        }
        let (all, mut bars) = (MultiProgress::new(), BTreeMap::new());
        let width = view.machines.iter().map(|part| part.machine.as_str().len()).max().unwrap_or(0);
        for part in &view.machines {
            let bar = all.add(ProgressBar::new(0));
            bar.set_style(waiting());
            bar.set_prefix(format!("{:width$}", part.machine.as_str()));
            bar.set_message(words::state(language, &part.state));
            bar.enable_steady_tick(Duration::from_millis(250));
            bars.insert(part.machine.clone(), bar);
        }
        Self::Bars(language, all, bars)
    }

    /// The beginning.
    pub(super) fn begin(&self, view: &RunView, out: &mut dyn Write) {
        let _ = match self {
            Self::Bars(language, all, _) => all.println(title(*language, view)),
            Self::Lines(language) => writeln!(out, "{}", title(*language, view)),
            Self::Json => Ok(()),
        };
    }

    /// An event, as it came and as it reads.
    pub(super) fn event(&self, line: &str, event: Option<&RunEvent>, out: &mut dyn Write) {
        if let Self::Json = self {
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
            return;
        }
        match event {
            Some(RunEvent::State { machine, state, reason, .. }) => self.state(machine, state, reason, out),
            Some(RunEvent::Imaging { machine, progress, .. }) => self.imaging(machine, progress, out),
            Some(RunEvent::Hook { machine, hook, what, .. }) => self.line(&format!("{machine}: {hook}: {what}"), out),
            Some(RunEvent::Alarm { what }) => self.line(&format!("!! {what}"), out),
            Some(RunEvent::Started { .. }) | None => {}
        }
    }

    /// A machine's new state.
    pub(super) fn state(&self, machine: &MachineName, state: &MachineState, reason: &str, out: &mut dyn Write) {
        match self {
            Self::Bars(language, _, bars) => {
                if let Some(bar) = bars.get(machine) {
                    let text = words::state(*language, state);
                    if !matches!(state, MachineState::Imaging { .. }) {
                        bar.set_style(waiting());
                    }
                    if state.is_final() {
                        let mark = if matches!(state, MachineState::Done { .. }) { "✓" } else { "✗" };
                        bar.finish_with_message(format!("{mark} {text}"));
                    } else {
                        bar.set_message(text);
                    }
                }
            }
            Self::Lines(language) => {
                let text = words::state(*language, state);
                let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
                let _ = writeln!(out, "{machine}: {text}{reason}");
            }
            Self::Json => {}
        }
    }

    fn imaging(&self, machine: &MachineName, event: &ImagingEvent, out: &mut dyn Write) {
        match self {
            Self::Bars(language, _, bars) => {
                if let Some(bar) = bars.get(machine) {
                    show(*language, bar, event);
                }
            }
            Self::Lines(language) => {
                // The states tell the rest.
                if matches!(event, ImagingEvent::Scanned { .. } | ImagingEvent::Committed(_)) {
                    let _ = writeln!(out, "{machine}: {}", words::imaging(*language, event));
                }
            }
            Self::Json => {}
        }
    }

    fn line(&self, text: &str, out: &mut dyn Write) {
        let _ = match self {
            Self::Bars(_, all, _) => all.println(text),
            Self::Lines(_) => writeln!(out, "{text}"),
            Self::Json => Ok(()),
        };
    }

    /// Leaves the bars as they are.
    pub(super) fn end(&self) {
        if let Self::Bars(_, _, bars) = self {
            for bar in bars.values().filter(|bar| !bar.is_finished()) {
                bar.abandon();
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants below; a test reads each.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

const WAITING: &str = "{prefix}  {spinner} {msg}";
const IN_BYTES: &str = "{prefix}  {bar:24} {percent:>3} %  {msg}, {decimal_bytes}/{decimal_total_bytes}";
const IN_LEAVES: &str = "{prefix}  {bar:24} {percent:>3} %  {msg}";

fn waiting() -> ProgressStyle {
    style(WAITING)
}

/// Shows an imaging event on a bar.
pub(super) fn show(language: Language, bar: &ProgressBar, event: &ImagingEvent) {
    let words = words::imaging(language, event);
    let (form, done, total, message) = match event {
        ImagingEvent::Scanning { done, total } => (IN_BYTES, *done, *total, words),
        ImagingEvent::Writing { done, total, fetched } => {
            let fetched = in_bytes(language, *fetched);
            (IN_LEAVES, *done, *total, format!("{words}, {} {fetched}", pick(language, "geholt:", "fetched:")))
        }
        ImagingEvent::Verifying { done, total } => (IN_LEAVES, *done, *total, words),
        _ => {
            bar.set_style(waiting());
            bar.set_message(words);
            return;
        }
    };
    bar.set_style(style(form));
    bar.set_length(total);
    bar.set_position(done);
    bar.set_message(message);
}

/// A bar of its own for one PC.
pub(super) fn single(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    bar.set_style(waiting());
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_read() {
        for template in [WAITING, IN_BYTES, IN_LEAVES] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
