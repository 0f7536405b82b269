//! What a profile can ask for.

use serde::{Deserialize, Serialize};

use crate::room::KeyName;

/// How a room's Windows is activated after a clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Touch nothing.
    None,
    /// Leave Windows in its grace period.
    Grace {
        /// On Windows 8 and later there is hardly any grace: whether the reminders are accepted.
        accept_notification: bool,
    },
    /// Re-apply the stored confirmation ID.
    MakProxy {
        /// The MAK, by reference.
        key: KeyName,
    },
    /// Activate at the school's KMS host.
    Kms {
        /// The host; none lets Windows find it through DNS (`_vlmcs._tcp`).
        host: Option<String>,
        /// Its TCP port.
        port: u16,
    },
}

impl Strategy {
    /// The name that profiles, plans and reports use.
    pub fn name(&self) -> &'static str {
        match self {
            Strategy::None => "none",
            Strategy::Grace { .. } => "grace",
            Strategy::MakProxy { .. } => "mak-proxy",
            Strategy::Kms { .. } => "kms",
        }
    }
}
