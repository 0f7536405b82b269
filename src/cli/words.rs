//! States and results in the words of people.

use crate::agent::protocol::HookResult;
use crate::cli::output::pick;
use crate::http::admin_api::MachineView;
use crate::job::MachineState;
use crate::job::state::{FailureReason, HeldReason, Pending, Phase, Readiness, Stage};
use crate::progress::ImagingEvent;
use crate::room::Language;

/// The name of a stage.
pub(super) fn stage(language: Language, stage: Stage) -> &'static str {
    let (german, english) = match stage {
        Stage::Queued => ("wartet", "waiting"),
        Stage::AwaitingBoot => ("wartet auf den Netzstart", "awaiting network boot"),
        Stage::Booting => ("startet", "booting"),
        Stage::Imaging => ("wird geklont", "imaging"),
        Stage::Committed => ("Platte fertig", "disk is done"),
        Stage::AwaitingWindows => ("startet Windows", "starting Windows"),
        Stage::Hooks => ("in den Nacharbeiten", "in its hooks"),
        Stage::Held => ("angehalten", "held"),
        Stage::Done => ("fertig", "ready"),
        Stage::Failed => ("gescheitert", "failed"),
        Stage::Expired => ("Zeitfenster vorbei", "window is over"),
        Stage::Cancelled => ("abgebrochen", "cancelled"),
    };
    pick(language, german, english)
}

/// A state with what matters of it.
pub(super) fn state(language: Language, of: &MachineState) -> String {
    let name = stage(language, of.stage());
    let more = match of {
        MachineState::Imaging { phase, .. } => match phase {
            Phase::Scanning => pick(language, "liest die Platte", "reading the disk").to_owned(),
            Phase::Writing => pick(language, "schreibt", "writing").to_owned(),
            Phase::Verifying => pick(language, "prüft", "verifying").to_owned(),
            Phase::OfflineHooks => pick(language, "Nacharbeiten auf der Platte", "hooks on the disk").to_owned(),
        },
        MachineState::Hooks { next: 0 } => String::new(),
        MachineState::Hooks { next } => format!("{next} {}", pick(language, "erledigt", "done")),
        MachineState::Held { why: HeldReason::TwoClaimants, .. } => {
            pick(language, "zwei PCs geben sich für ihn aus", "two PCs say that they are this one").to_owned()
        }
        MachineState::Done { result: Readiness::ReadyPending { why } } => pending(language, why),
        MachineState::Failed { reason, .. } => failure(language, reason),
        _ => String::new(),
    };
    let half = if of.is_final() && of.disk_may_be_half_written() {
        pick(
            language,
            "; die Platte ist halb geschrieben und wird beim nächsten Start fertig",
            "; the disk is half written and is finished at its next boot",
        )
    } else {
        ""
    };
    let separator = if more.is_empty() { "" } else { ": " };
    format!("{name}{separator}{more}{half}")
}

fn pending(language: Language, why: &Pending) -> String {
    match why {
        Pending::PendingIid => {
            pick(language, "die Bestätigungs-ID fehlt noch", "its confirmation ID is still to come").to_owned()
        }
        Pending::StaleConfirmation => {
            pick(language, "braucht eine neue Bestätigungs-ID", "needs a new confirmation ID").to_owned()
        }
        Pending::NotActivated { why } => format!("{}: {why}", pick(language, "nicht aktiviert", "not activated")),
    }
}

fn failure(language: Language, reason: &FailureReason) -> String {
    match reason {
        FailureReason::TimedOut { stage: at } => {
            let quiet = pick(language, "nichts mehr gehört, zuletzt", "nothing more was heard, last");
            format!("{quiet} '{}'", stage(language, *at))
        }
        FailureReason::Imaging { what } => what.clone(),
        FailureReason::Hook { hook, what } => format!("{hook}: {what}"),
        FailureReason::Refused { why } => why.text(language),
        FailureReason::Server { what } => format!("{}: {what}", pick(language, "Server", "server")),
    }
}

/// What an imaging agent does at the moment.
pub(super) fn imaging(language: Language, event: &ImagingEvent) -> String {
    match event {
        ImagingEvent::Scanning { .. } => pick(language, "liest die Platte", "reading the disk").to_owned(),
        ImagingEvent::Scanned { dirty_leaves, leaves } => match language {
            Language::De => format!("{dirty_leaves} von {leaves} Blättern weichen ab"),
            Language::En => format!("{dirty_leaves} of {leaves} leaves differ"),
        },
        ImagingEvent::GateClosed => {
            pick(language, "die Platte startet bis zum Ende nicht", "the disk does not start until the end").to_owned()
        }
        ImagingEvent::Writing { .. } => pick(language, "schreibt", "writing").to_owned(),
        ImagingEvent::Verifying { .. } => pick(language, "prüft", "verifying").to_owned(),
        ImagingEvent::OfflineHook { hook } => format!("{} {hook}", pick(language, "Nacharbeit", "hook")),
        ImagingEvent::GateOpened => pick(language, "die Platte startet wieder", "the disk starts again").to_owned(),
        ImagingEvent::Committed(totals) => {
            let written = crate::cli::output::in_bytes(language, totals.written);
            match language {
                Language::De => format!("die Platte ist das Image, {written} geschrieben"),
                Language::En => format!("the disk is the image, {written} written"),
            }
        }
    }
}

/// A hook's stored result.
pub(super) fn hook_result(language: Language, json: &str) -> String {
    match serde_json::from_str::<HookResult>(json) {
        Ok(HookResult::Done { what }) => what,
        Ok(HookResult::Activation { report }) => report.outcome.text(language),
        Ok(HookResult::Failed { why }) => format!("{}: {why}", pick(language, "gescheitert", "failed")),
        Err(_) => json.to_owned(),
    }
}

/// What the activation hook of a machine found last; none where it has not run.
pub(super) fn activation(language: Language, machine: &MachineView) -> Option<String> {
    machine.hooks.iter().rev().find_map(|attempt| {
        match serde_json::from_str::<HookResult>(attempt.result_json.as_deref()?) {
            Ok(HookResult::Activation { report }) => Some(report.outcome.text(language)),
            _ => None,
        }
    })
}
