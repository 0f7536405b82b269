//! Re-cloning as decisions: what a run does, step by step, and how far each machine has come.
//!
//! [`plan`] is what will be done, [`state`] is one machine's part of a run as a state machine; [`intent`] is something asked for, which expires. Pure:
//! the clock's time is handed in, nothing is stored or sent here.

use std::fmt;

use serde::{Deserialize, Serialize};

pub mod intent;
pub mod plan;
pub mod state;

pub use intent::{Intent, IntentId, IntentKind};
pub use state::{Event, MachineState, Refused, Stage, Transition};

/// The number of a run, counted from 1 and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How often a machine run has changed its state; together with the state it is what a change is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
