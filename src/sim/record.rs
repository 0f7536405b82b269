//! What was recorded at a simulated PC: the only witness that tests compare a plan with.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::activation::licensing::LicensingCall;
use crate::boot::firmware::Firmware;
use crate::image::Hash;

/// One thing that happened to a PC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "at")]
pub enum Recorded {
    /// It asked for a boot file.
    Asked {
        /// As what.
        asks: Firmware,
        /// The name or address that it got; none when nobody answered.
        got: Option<String>,
    },
    /// It fetched a boot file.
    Fetched {
        /// The name or address.
        name: String,
        /// Its size in bytes.
        bytes: u64,
        /// What came.
        hash: Hash,
    },
    /// Its imaging agent started.
    AgentStarted,
    /// Something was written to its disk, once or more often.
    DiskWritten {
        /// Bytes in all.
        bytes: u64,
    },
    /// A program ran on the written disk.
    OfflineHook {
        /// The hook.
        hook: String,
    },
    /// Its imaging agent was done: the disk is the image.
    Committed,
    /// It started from its disk.
    WindowsStarted,
    /// Firmware found nothing to start on its disk.
    NothingToStart,
    /// It was given a name.
    Renamed {
        /// The name.
        name: String,
    },
    /// A program ran in Windows.
    Ran {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// The hook called the licensing service.
    Licensing {
        /// The calls, in order.
        calls: Vec<LicensingCall>,
    },
    /// It was switched off.
    PoweredOff,
}

impl Recorded {
    pub(super) fn fetched(name: &str, bytes: &[u8]) -> Self {
        Self::Fetched { name: name.to_owned(), bytes: bytes.len() as u64, hash: Hash::of(bytes) }
    }
}

/// The record of one PC.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Vec<Recorded>>>);

impl Record {
    /// Notes something.
    pub fn add(&self, what: Recorded) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Takes everything that was noted.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
