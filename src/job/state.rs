//! One machine's part of a run, as a state machine: [`step`] is the only way from one [`MachineState`] to another.
//!
//! Two rules are kept here rather than by those who call:
//!
//! - Every state before the first write carries the end of its window. An event that would lead towards a write after
//!   that end leads to [`MachineState::Expired`] instead, so no PC is formatted in the morning because it missed the night.
//! - The one exception: a machine whose disk is half written has nothing to boot, so the window does not hold it back.
//!   It is resumed at its next boot, whenever that is, even out of a final state.
//!
//! The same event twice is harmless: the second leads to the state that is already there.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::activation::refusal::ImagingRefusal;
use crate::progress::ImagingEvent;

/// What an imaging agent is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Reading and hashing the disk.
    Scanning,
    /// Fetching and writing what differs.
    Writing,
    /// Reading back what was written.
    Verifying,
    /// Running hooks on the written disk.
    OfflineHooks,
}

/// Why a machine run is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldReason {
    /// Two live agents say that they are this machine, and one of them lies.
    TwoClaimants,
}

/// What is still open on a machine that is otherwise ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Pending {
    /// Its installation ID waits for a confirmation ID.
    PendingIid,
    /// Windows no longer accepts the stored confirmation ID.
    StaleConfirmation,
    /// Windows is not activated, for a reason that needs no confirmation ID.
    NotActivated {
        /// The reason.
        why: String,
    },
}

/// How well a machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "as")]
pub enum Readiness {
    /// It runs its image, and everything is done.
    Ready,
    /// It runs its image; something is open that a lesson does not need.
    ReadyPending {
        /// What is open.
        why: Pending,
    },
}

/// Why a machine run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "because")]
pub enum FailureReason {
    /// Nothing was heard for longer than the state allows.
    TimedOut {
        /// In which state.
        stage: Stage,
    },
    /// The imaging agent gave up.
    Imaging {
        /// What it said.
        what: String,
    },
    /// A hook failed.
    Hook {
        /// Its name.
        hook: String,
        /// What it said.
        what: String,
    },
    /// The image does not belong on this PC; its disk was left alone.
    Refused {
        /// Why.
        why: ImagingRefusal,
    },
    /// The server could not go on.
    Server {
        /// What hindered it.
        what: String,
    },
}

/// How far a machine has come in a run.
///
/// `until` is the end of the window, `half_written` whether the disk may hold neither the old nor the new content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum MachineState {
    /// Waits for its turn.
    Queued {
        /// The end of the window.
        until: Timestamp,
        /// Whether an earlier run left the disk half written.
        half_written: bool,
    },
    /// Armed: it is told to boot from the network, and awaited there.
    AwaitingBoot {
        /// The end of the window.
        until: Timestamp,
        /// Whether the disk is half written.
        half_written: bool,
    },
    /// The boot server has answered it; its agent is awaited.
    Booting {
        /// The end of the window.
        until: Timestamp,
        /// Whether the disk is half written.
        half_written: bool,
    },
    /// Its imaging agent has checked in and works.
    Imaging {
        /// At what.
        phase: Phase,
        /// The end of the window, which holds until the gate is closed.
        until: Timestamp,
        /// Whether the gate has been closed.
        half_written: bool,
    },
    /// The disk is the image, durably; the imaging agent is about to restart the PC.
    Committed,
    /// Windows starts; its resident agent is awaited.
    AwaitingWindows,
    /// The resident agent works through the hooks.
    Hooks {
        /// The hook that is next, from 0.
        next: u32,
    },
    /// Stopped until a person decides.
    Held {
        /// Why.
        why: HeldReason,
        /// The state before, which is never itself a held one.
        was: Box<MachineState>,
    },
    /// It runs its image.
    Done {
        /// How well.
        result: Readiness,
    },
    /// It does not run its image, or not as it should.
    Failed {
        /// Why.
        reason: FailureReason,
        /// Whether the disk is half written.
        half_written: bool,
    },
    /// The window ended before its disk was touched by this run.
    Expired {
        /// Whether an earlier run left the disk half written.
        half_written: bool,
    },
    /// A person stopped it.
    Cancelled {
        /// Whether the disk is half written.
        half_written: bool,
    },
}

/// A [`MachineState`] without its data: for names, counts and colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is described at the variant of MachineState with the same name")]
pub enum Stage {
    Queued,
    AwaitingBoot,
    Booting,
    Imaging,
    Committed,
    AwaitingWindows,
    Hooks,
    Held,
    Done,
    Failed,
    Expired,
    Cancelled,
}

impl Stage {
    /// The name that is stored and shown, such as `awaiting-boot`.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Queued => "queued",
            Stage::AwaitingBoot => "awaiting-boot",
            Stage::Booting => "booting",
            Stage::Imaging => "imaging",
            Stage::Committed => "committed",
            Stage::AwaitingWindows => "awaiting-windows",
            Stage::Hooks => "hooks",
            Stage::Held => "held",
            Stage::Done => "done",
            Stage::Failed => "failed",
            Stage::Expired => "expired",
            Stage::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl MachineState {
    /// Which state it is, without its data.
    pub fn stage(&self) -> Stage {
        match self {
            MachineState::Queued { .. } => Stage::Queued,
            MachineState::AwaitingBoot { .. } => Stage::AwaitingBoot,
            MachineState::Booting { .. } => Stage::Booting,
            MachineState::Imaging { .. } => Stage::Imaging,
            MachineState::Committed => Stage::Committed,
            MachineState::AwaitingWindows => Stage::AwaitingWindows,
            MachineState::Hooks { .. } => Stage::Hooks,
            MachineState::Held { .. } => Stage::Held,
            MachineState::Done { .. } => Stage::Done,
            MachineState::Failed { .. } => Stage::Failed,
            MachineState::Expired { .. } => Stage::Expired,
            MachineState::Cancelled { .. } => Stage::Cancelled,
        }
    }

    /// How long the state may last before [`Event::TimedOut`]; none where the end of the window bounds it.
    ///
    /// A state in which an agent reports is left by its next phase or hook, so these are bounds for one phase or hook on
    /// the slowest PCs that are still in use: a whole hard disk of 1 TB is read in about three hours.
    pub fn budget(&self) -> Option<Duration> {
        let minutes = match self {
            // When a PC is switched on is not the runner's to know: the end of the window bounds the waiting.
            MachineState::Queued { .. } | MachineState::AwaitingBoot { .. } => return None,
            MachineState::Booting { .. } => 15,
            MachineState::Imaging { phase: Phase::OfflineHooks, .. } => 30,
            MachineState::Imaging { .. } => 240,
            MachineState::Committed => 10,
            MachineState::AwaitingWindows => 45,
            MachineState::Hooks { .. } => 30,
            MachineState::Held { .. } => 12 * 60,
            MachineState::Done { .. }
            | MachineState::Failed { .. }
            | MachineState::Expired { .. }
            | MachineState::Cancelled { .. } => return None,
        };
        Some(Duration::from_secs(minutes * 60))
    }

    /// Whether a state entered at `since` has lasted longer than its budget.
    pub fn overdue(&self, since: Timestamp, now: Timestamp) -> bool {
        self.budget().is_some_and(|budget| since.checked_add(budget).is_ok_and(|end| now >= end))
    }

    /// The end of the window, where it still binds: before the disk is touched.
    pub fn window_end(&self) -> Option<Timestamp> {
        match self {
            MachineState::Queued { until, half_written }
            | MachineState::AwaitingBoot { until, half_written }
            | MachineState::Booting { until, half_written }
            | MachineState::Imaging { until, half_written, .. } => (!half_written).then_some(*until),
            MachineState::Held { was, .. } => was.window_end(),
            _ => None,
        }
    }

    /// Whether the machine's part of the run is over. A half-written disk is resumed all the same, see [`step`].
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            MachineState::Done { .. }
                | MachineState::Failed { .. }
                | MachineState::Expired { .. }
                | MachineState::Cancelled { .. }
        )
    }

    /// Whether the disk may hold neither its old nor its new content, so that it cannot boot and has to be finished.
    pub fn disk_may_be_half_written(&self) -> bool {
        match self {
            MachineState::Queued { half_written, .. }
            | MachineState::AwaitingBoot { half_written, .. }
            | MachineState::Booting { half_written, .. }
            | MachineState::Imaging { half_written, .. }
            | MachineState::Failed { half_written, .. }
            | MachineState::Expired { half_written }
            | MachineState::Cancelled { half_written } => *half_written,
            MachineState::Held { was, .. } => was.disk_may_be_half_written(),
            MachineState::Committed
            | MachineState::AwaitingWindows
            | MachineState::Hooks { .. }
            | MachineState::Done { .. } => false,
        }
    }

    /// Whether the disk is known to be the image as a whole.
    pub fn disk_is_image(&self) -> bool {
        match self {
            MachineState::Committed
            | MachineState::AwaitingWindows
            | MachineState::Hooks { .. }
            | MachineState::Done { .. } => true,
            MachineState::Held { was, .. } => was.disk_is_image(),
            _ => false,
        }
    }
}

/// What happens to a machine run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// It is its turn: the machine is told to boot from the network.
    Armed,
    /// The boot server told the machine to boot for this run.
    BootAnswered,
    /// Its imaging agent checked in.
    CheckedIn,
    /// Its imaging agent entered a phase.
    Progress {
        /// Which.
        phase: Phase,
    },
    /// Its imaging agent asks to close the gate. The agent may do so only after the new state, with `half_written` set,
    /// is stored and it was told so: the mark has to be there before the first write.
    GateClosed,
    /// The disk is the image, durably.
    Committed,
    /// The imaging agent has its answer and restarts the PC into Windows.
    Restarting,
    /// The resident agent checked in.
    WindowsCheckedIn,
    /// A hook's result is recorded.
    HookDone {
        /// Which hook, from 0.
        index: u32,
    },
    /// No hook is left.
    AllHooksDone {
        /// What is still open.
        pending: Option<Pending>,
    },
    /// Something went wrong for good.
    Failed {
        /// What.
        reason: FailureReason,
    },
    /// The state has lasted longer than [`MachineState::budget`].
    TimedOut,
    /// The window is over.
    IntentExpired,
    /// A person stops it.
    Cancel,
    /// A second live agent says that it is this machine.
    SecondClaimant,
    /// A person has removed the false claimant.
    Resolved,
    /// A person, or the plan's declared branch, tries a failed machine again.
    Retry {
        /// The end of the new window.
        until: Timestamp,
    },
}

impl Event {
    /// Its name in reasons and refusals.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Armed => "armed",
            Event::BootAnswered => "boot-answered",
            Event::CheckedIn => "checked-in",
            Event::Progress { .. } => "progress",
            Event::GateClosed => "gate-closed",
            Event::Committed => "committed",
            Event::Restarting => "restarting",
            Event::WindowsCheckedIn => "windows-checked-in",
            Event::HookDone { .. } => "hook-done",
            Event::AllHooksDone { .. } => "all-hooks-done",
            Event::Failed { .. } => "failed",
            Event::TimedOut => "timed-out",
            Event::IntentExpired => "intent-expired",
            Event::Cancel => "cancel",
            Event::SecondClaimant => "second-claimant",
            Event::Resolved => "resolved",
            Event::Retry { .. } => "retry",
        }
    }

    /// What an imaging agent's own event means for the machine run; none where it changes nothing.
    pub fn of_imaging(event: &ImagingEvent) -> Option<Self> {
        match event {
            ImagingEvent::Scanning { .. } => Some(Event::Progress { phase: Phase::Scanning }),
            ImagingEvent::GateClosed => Some(Event::GateClosed),
            ImagingEvent::Writing { .. } => Some(Event::Progress { phase: Phase::Writing }),
            ImagingEvent::Verifying { .. } => Some(Event::Progress { phase: Phase::Verifying }),
            ImagingEvent::OfflineHook { .. } => Some(Event::Progress { phase: Phase::OfflineHooks }),
            ImagingEvent::Committed(_) => Some(Event::Committed),
            ImagingEvent::Scanned { .. } | ImagingEvent::GateOpened => None,
        }
    }
}

/// Where an event leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The new state, which may be the old one.
    pub to: MachineState,
    /// Why, for the history.
    pub reason: String,
}

impl Transition {
    /// Whether there is anything to store.
    pub fn changes(&self, from: &MachineState) -> bool {
        self.to != *from
    }
}

/// Why an event does not lead anywhere. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The event has no meaning in this state.
    #[error("'{event}' is not expected while the machine is '{stage}'; nothing was changed")]
    NotExpected {
        /// The event's name.
        event: &'static str,
        /// The state.
        stage: Stage,
    },
    /// The machine's part of the run is over.
    #[error("'{event}' comes too late: the machine's part of the run ended as '{stage}'; start a new run or retry it")]
    Final {
        /// The event's name.
        event: &'static str,
        /// How it ended.
        stage: Stage,
    },
    /// The disk is half written and has to be finished.
    #[error("the disk is half written and could not boot; imaging goes on and cannot be stopped here")]
    MustFinish,
    /// A result for a hook whose turn has not come.
    #[error("a result for hook {got} came while hook {expected} is next; nothing was changed")]
    HookOrder {
        /// The hook that is next, from 0.
        expected: u32,
        /// The hook that the result is for.
        got: u32,
    },
}

fn to(state: MachineState, reason: impl Into<String>) -> Result<Transition, Refused> {
    Ok(Transition { to: state, reason: reason.into() })
}

fn stay(state: &MachineState, event: &Event) -> Result<Transition, Refused> {
    to(state.clone(), format!("'{}' again", event.name()))
}

/// Where `event` leads from `state` at time `now`.
///
/// # Errors
/// An event that has no meaning in `state` is refused; that is no fault of the run, only of whoever sent it.
pub fn step(state: &MachineState, event: &Event, now: Timestamp) -> Result<Transition, Refused> {
    if state.is_final() {
        return step_final(state, event, now);
    }
    match event {
        Event::TimedOut => {
            let reason = FailureReason::TimedOut { stage: state.stage() };
            let half_written = state.disk_may_be_half_written();
            to(MachineState::Failed { reason, half_written }, format!("no news in time while '{}'", state.stage()))
        }
        Event::Retry { .. } => stay(state, event),
        _ => match state {
            MachineState::Held { was, .. } => step_held(state, was, event, now),
            MachineState::Queued { until, half_written }
            | MachineState::AwaitingBoot { until, half_written }
            | MachineState::Booting { until, half_written }
            | MachineState::Imaging { until, half_written, .. } => {
                step_before_commit(state, event, now, *until, *half_written)
            }
            _ => step_after_commit(state, event),
        },
    }
}

fn not_expected(state: &MachineState, event: &Event) -> Result<Transition, Refused> {
    Err(Refused::NotExpected { event: event.name(), stage: state.stage() })
}

/// The states up to and including imaging.
fn step_before_commit(
    state: &MachineState,
    event: &Event,
    now: Timestamp,
    until: Timestamp,
    half_written: bool,
) -> Result<Transition, Refused> {
    use MachineState as S;
    let leads_to_a_write = matches!(event, Event::Armed | Event::BootAnswered | Event::CheckedIn | Event::GateClosed);
    if leads_to_a_write && !half_written && now >= until {
        return to(S::Expired { half_written }, "the window ended before the disk was touched");
    }
    match (state, event) {
        (S::Queued { .. }, Event::Armed) => to(S::AwaitingBoot { until, half_written }, "armed"),
        (_, Event::Armed) => stay(state, event),

        (S::Queued { .. }, Event::BootAnswered | Event::CheckedIn) => not_expected(state, event),
        (S::Booting { .. }, Event::BootAnswered) => stay(state, event),
        (S::Imaging { .. }, Event::BootAnswered) => {
            to(S::Booting { until, half_written }, "booted again in the middle of imaging")
        }
        (_, Event::BootAnswered) => to(S::Booting { until, half_written }, "the boot server answered"),

        (S::Imaging { phase: Phase::Scanning, .. }, Event::CheckedIn) => stay(state, event),
        (_, Event::CheckedIn) => {
            to(S::Imaging { phase: Phase::Scanning, until, half_written }, "the imaging agent checked in")
        }

        // A boot answer can be noted after the check-in that it led to, so a booting machine's agent is believed too.
        (S::Booting { .. } | S::Imaging { .. }, Event::Progress { phase }) => {
            // Whoever writes has closed the gate, even if that message was lost.
            let half_written = half_written || *phase != Phase::Scanning;
            to(S::Imaging { phase: *phase, until, half_written }, format!("imaging: {phase:?}").to_lowercase())
        }
        (S::Imaging { phase, .. }, Event::GateClosed) if *phase != Phase::Scanning => stay(state, event),
        (S::Booting { .. } | S::Imaging { .. }, Event::GateClosed) => {
            to(S::Imaging { phase: Phase::Writing, until, half_written: true }, "the boot gate is closed")
        }
        (S::Booting { .. } | S::Imaging { .. }, Event::Committed) => to(S::Committed, "the disk is the image"),

        (S::Imaging { .. }, Event::IntentExpired) if half_written => stay(state, event),
        (_, Event::IntentExpired) => to(S::Expired { half_written }, "the window is over"),
        (S::Imaging { .. }, Event::Cancel) if half_written => Err(Refused::MustFinish),
        (_, Event::Cancel) => to(S::Cancelled { half_written }, "stopped by a person"),
        (_, Event::Failed { reason }) => to(S::Failed { reason: reason.clone(), half_written }, "failed"),
        (S::Queued { .. }, Event::SecondClaimant) => not_expected(state, event),
        (_, Event::SecondClaimant) => hold(state),
        _ => not_expected(state, event),
    }
}

/// The states in which the disk is the image.
fn step_after_commit(state: &MachineState, event: &Event) -> Result<Transition, Refused> {
    use MachineState as S;
    match (state, event) {
        // Late repeats of what led here.
        (_, Event::Armed | Event::Committed | Event::IntentExpired) => stay(state, event),

        (S::Committed, Event::Restarting) => to(S::AwaitingWindows, "the PC restarts into Windows"),
        (_, Event::Restarting) => stay(state, event),
        (S::Hooks { .. }, Event::WindowsCheckedIn) => stay(state, event),
        (_, Event::WindowsCheckedIn) => to(S::Hooks { next: 0 }, "the resident agent checked in"),

        (S::Hooks { next }, Event::HookDone { index }) if index < next => stay(state, event),
        (S::Hooks { next }, Event::HookDone { index }) if index > next => {
            Err(Refused::HookOrder { expected: *next, got: *index })
        }
        (S::Hooks { next }, Event::HookDone { index }) => {
            to(S::Hooks { next: next.saturating_add(1) }, format!("hook {index} is done"))
        }
        (_, Event::AllHooksDone { pending: None }) => to(S::Done { result: Readiness::Ready }, "everything is done"),
        (_, Event::AllHooksDone { pending: Some(why) }) => {
            to(S::Done { result: Readiness::ReadyPending { why: why.clone() } }, "ready, with something open")
        }
        (_, Event::Failed { reason }) => to(S::Failed { reason: reason.clone(), half_written: false }, "failed"),
        (_, Event::Cancel) => to(S::Cancelled { half_written: false }, "stopped by a person"),
        (_, Event::SecondClaimant) => hold(state),
        _ => not_expected(state, event),
    }
}

fn hold(state: &MachineState) -> Result<Transition, Refused> {
    let held = MachineState::Held { why: HeldReason::TwoClaimants, was: Box::new(state.clone()) };
    to(held, "two live agents claim to be this machine")
}

/// While held, nothing that an agent says counts: it may come from the false one.
fn step_held(state: &MachineState, was: &MachineState, event: &Event, now: Timestamp) -> Result<Transition, Refused> {
    use MachineState as S;
    let half_written = was.disk_may_be_half_written();
    match event {
        Event::SecondClaimant => stay(state, event),
        Event::Resolved => match was {
            _ if was.window_end().is_some_and(|end| now >= end) => {
                to(S::Expired { half_written }, "the window ended while held")
            }
            // Its agent checks in again: which one was the true one, nobody knew before.
            S::Imaging { until, half_written, .. } => {
                to(S::Booting { until: *until, half_written: *half_written }, "the false claimant is gone")
            }
            _ => to(was.clone(), "the false claimant is gone"),
        },
        Event::IntentExpired if was.disk_is_image() => stay(state, event),
        Event::IntentExpired => to(S::Expired { half_written }, "the window ended while held"),
        Event::Cancel => to(S::Cancelled { half_written }, "stopped by a person"),
        _ => not_expected(state, event),
    }
}

/// Final states are left in two ways only, both declared here.
fn step_final(state: &MachineState, event: &Event, now: Timestamp) -> Result<Transition, Refused> {
    use MachineState as S;
    let half_written = state.disk_may_be_half_written();
    match (state, event) {
        // The exception to all windows: a half-written disk boots nothing, so whatever the hour, finishing it is all that
        // helps whoever sits in front of it. The window is over and is not consulted while the disk is half written.
        (_, Event::BootAnswered) if half_written => {
            to(S::Booting { until: now, half_written }, "resumed: the disk is half written")
        }
        (S::Failed { .. } | S::Expired { .. } | S::Cancelled { .. }, Event::Retry { until }) => {
            to(S::Queued { until: *until, half_written }, "tried again")
        }
        (S::Done { .. }, Event::AllHooksDone { .. } | Event::HookDone { .. } | Event::WindowsCheckedIn)
        | (S::Failed { .. }, Event::Failed { .. } | Event::TimedOut)
        | (S::Expired { .. }, Event::IntentExpired)
        | (S::Cancelled { .. }, Event::Cancel) => stay(state, event),
        _ => Err(Refused::Final { event: event.name(), stage: state.stage() }),
    }
}

#[cfg(test)]
mod tests;
