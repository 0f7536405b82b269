//! What a long task tells about itself: typed events to whoever listens. Nothing below knows of bars or logs.

use serde::{Deserialize, Serialize};

/// What one PC's imaging is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "at")]
pub enum ImagingEvent {
    /// Reading and hashing the disk.
    Scanning {
        /// Bytes looked at so far.
        done: u64,
        /// Bytes that the image covers.
        total: u64,
    },
    /// The disk is read; this much of it differs from the image.
    Scanned {
        /// Leaves that differ.
        dirty_leaves: u64,
        /// All leaves.
        leaves: u64,
    },
    /// The gate is about to close: the disk may not boot from here on, until [`ImagingEvent::GateOpened`]. Told before the
    /// first write, so that it can be stored first.
    GateClosed,
    /// Fetching and writing what differs.
    Writing {
        /// Leaves written so far.
        done: u64,
        /// Leaves to write.
        total: u64,
        /// Bytes received so far, as they came over the wire.
        fetched: u64,
    },
    /// Reading back what was written, past every cache.
    Verifying {
        /// Leaves read back so far.
        done: u64,
        /// Leaves to read back.
        total: u64,
    },
    /// An offline hook runs.
    OfflineHook {
        /// Its name.
        hook: String,
    },
    /// The disk may boot again.
    GateOpened,
    /// The disk is the image, durably.
    Committed(ImagingTotals),
}

/// The numbers of one imaging, kept for every night.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagingTotals {
    /// Bytes read from the disk while scanning.
    pub read: u64,
    /// Bytes received from any source, index included.
    pub fetched: u64,
    /// Bytes written to the disk.
    pub written: u64,
    /// Leaves that differed.
    pub dirty_leaves: u64,
}

/// Listens to a task.
pub trait Monitor: Send + Sync {
    /// Takes one event. Must not block.
    fn event(&self, event: ImagingEvent);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Monitor for Unwatched {
    fn event(&self, _event: ImagingEvent) {}
}
