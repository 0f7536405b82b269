//! When a room is re-cloned by itself.

use std::time::Duration;

use jiff::civil::Time;
use serde::{Deserialize, Serialize};

/// A checked schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The text of the profile, for people.
    pub text: String,
    /// The same as a cron expression, in the site's time zone.
    pub cron: String,
    /// How long after its start a run may still begin on a PC; later intents expire.
    pub window: Duration,
    /// When the room must be ready.
    pub ready_by: Option<Time>,
}
