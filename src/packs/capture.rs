//! Capture: a master's disk becomes an image.
//!
//! The disk must stand still. What could be told beforehand is refused beforehand (in use, hibernated, dirty, encrypted);
//! what changes meanwhile is looked for at the end, as far as that can be seen: tables, volumes and a sample of leaves are
//! read again and must be the same.

use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use serde::Serialize;

use super::{ImageStore, PackError};
use crate::disk::{Disk, DiskError};
use crate::image::layout::LayoutError;
use crate::image::leaf::LeafError;
use crate::image::manifest::{Manifest, ManifestError, check_header};
use crate::image::ntfs::NtfsError;
use crate::image::{Hash, Header, ImageFile, WindowsFacts};
use crate::room::ImageRef;

mod master;
mod pipeline;

use master::Master;

/// Why a disk was not captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The disk could not be read.
    #[error("the master's disk cannot be read")]
    Disk(#[from] DiskError),
    /// Its partition table was refused.
    #[error("the master's disk cannot be captured")]
    Layout(#[from] LayoutError),
    /// A volume was refused.
    #[error("partition {partition} cannot be captured")]
    Volume {
        /// Its number in the table.
        partition: u32,
        /// Why.
        #[source]
        source: NtfsError,
    },
    /// Something wrote to the disk.
    #[error("the disk changed while it was read ({what}); nothing may use it during a capture, try again")]
    Changed {
        /// What is not as it was.
        what: String,
    },
    /// The image's numbers do not fit the format.
    #[error("this disk does not make an image: {0}")]
    Unfit(String),
    /// A leaf could not be compressed.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] PackError),
    /// The manifest could not be made.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// What the administrator says about a capture.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// The name and version that the image gets.
    pub image: ImageRef,
    /// The size of a leaf in bytes, [`crate::image::LEAF_BYTES`] unless there is a reason.
    pub leaf_bytes: u32,
    /// Facts that are known better than the disk tells them.
    pub facts: WindowsFacts,
    /// The time of the capture.
    pub now: Timestamp,
    /// How many threads read, hash and compress.
    pub threads: usize,
}

/// What a capture is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapturePhase {
    /// Reading table and file systems.
    Examining,
    /// Reading, hashing and storing leaves.
    Reading,
    /// Looking for changes.
    Checking,
}

/// How far a capture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureProgress {
    /// What it is doing.
    pub phase: CapturePhase,
    /// Leaves done in this phase.
    pub done: u64,
    /// All leaves of this phase.
    pub total: u64,
}

/// A fact that nobody knows, which `check` may ask for one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MissingFact {
    /// Its field in [`WindowsFacts`].
    pub fact: &'static str,
    /// The option of `klonwerk image capture` that gives it.
    pub flag: &'static str,
}

/// Something about a master that will trouble its clones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureWarning {
    /// SkipRearm is set: sysprep leaves timers and client machine ID as they are, so all clones count as one PC at a KMS
    /// host, and a grace period does not begin anew (TechNet ff716063).
    SkipRearm,
    /// The registry says that it is set, and whoever captures says that it is not.
    SkipRearmDenied,
    /// sysprep /generalize was not run last: clones share client machine ID and SIDs.
    NotGeneralized,
}

/// What a master tells before it is captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Examined {
    /// The facts that the image would have.
    pub windows: WindowsFacts,
    /// Facts that could not be read and were not given.
    pub missing: Vec<MissingFact>,
    /// What will trouble the clones.
    pub warnings: Vec<CaptureWarning>,
}

/// Looks at a master without reading its leaves: table, file systems, registry. `given` are facts that are known better.
///
/// # Errors
/// What would refuse a capture too.
pub fn examine(disk: &dyn Disk, given: &WindowsFacts) -> Result<Examined, CaptureError> {
    let master = Master::examine(disk)?;
    let windows = master.facts(given);
    Ok(Examined { missing: master.missing(&windows), warnings: master.warnings(given), windows })
}

/// What a capture made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaptureReport {
    /// The image.
    pub image: ImageRef,
    /// Its root.
    pub root: Hash,
    /// Its facts.
    pub windows: WindowsFacts,
    /// Facts that could not be read and were not given.
    pub missing: Vec<MissingFact>,
    /// What will trouble the clones.
    pub warnings: Vec<CaptureWarning>,
    /// The disk's size in bytes.
    pub disk_bytes: u64,
    /// Bytes that count: used clusters, and whole partitions of other file systems.
    pub used_bytes: u64,
    /// Bytes read from the disk.
    pub read_bytes: u64,
    /// All leaves.
    pub leaves: u64,
    /// Leaves that are empty or wholly masked, which are neither stored nor sent.
    pub zero_leaves: u64,
    /// Leaves that the store did not have.
    pub new_leaves: u64,
    /// Bytes that the store grew by.
    pub stored_bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Makes an image of `disk` in `store`, signed by `key`. `monitor` is called on this thread.
///
/// # Errors
/// [`CaptureError`]; the store then has no new image, at most packs that the next clean-up removes.
pub fn capture(
    disk: &dyn Disk,
    options: &CaptureOptions,
    store: &ImageStore,
    key: &SigningKey,
    monitor: &dyn Fn(CaptureProgress),
) -> Result<CaptureReport, CaptureError> {
    let started = Instant::now();
    store.check_new(&options.image)?;
    // Held to the end, so that no clean-up takes the leaves before the image names them.
    let mut writer = store.leaves().writer()?;
    monitor(CaptureProgress { phase: CapturePhase::Examining, done: 0, total: 1 });
    let master = Master::examine(disk)?;
    let windows = master.facts(&options.facts);
    let layout = &master.layout;
    let header = Header {
        format: 1,
        image: options.image.clone(),
        created: options.now,
        disk_bytes: disk.size(),
        sector_bytes: layout.sector_bytes,
        leaf_bytes: options.leaf_bytes,
        table: layout.table,
        regions: layout.regions.clone(),
        gate: layout.gate.clone(),
        note: layout.note,
        windows: windows.clone(),
    };
    check_header(&header).map_err(CaptureError::Unfit)?;
    let read = pipeline::read(disk, &header, &master, &mut writer, store.leaves(), options.threads, monitor)?;
    master.check_unchanged(disk, &header, &read.leaves, monitor)?;
    let appended = writer.finish()?;
    let manifest = Manifest { header, mask: master.mask.clone(), leaves: read.leaves };
    let stored = store.put(ImageFile::sign(&manifest, key)?)?;
    let elapsed: Duration = started.elapsed();
    Ok(CaptureReport {
        image: options.image.clone(),
        root: stored.root(),
        missing: master.missing(&windows),
        warnings: master.warnings(&options.facts),
        windows,
        disk_bytes: disk.size(),
        used_bytes: master.used_bytes,
        read_bytes: read.read_bytes,
        leaves: manifest.leaves.len() as u64,
        zero_leaves: read.zero_leaves,
        new_leaves: appended.leaves,
        stored_bytes: appended.bytes,
        seconds: elapsed.as_secs_f64(),
    })
}
