//! Brings a disk to its image, so that a power cut at any moment leaves the old state, the image, or a disk that does
//! not start and comes back to the network.
//!
//! There is no journal. [`image_disk`] hashes the disk, fetches the leaves that differ, writes them, reads them back; to
//! resume is to do it again. What makes this safe is the *gate*: the sectors without which no firmware starts the disk.
//!
//! # The gate
//!
//! Firmware starts a disk through sector 0 (BIOS: its code and active flag) or through a FAT file system (UEFI: the EFI
//! system partitions that a table names). The gate is sector 0 and the first sector of every such partition. Closed, the
//! first sector of a partition is zeros: no FAT there. Closed, sector 0 keeps its records, disk signature and boot
//! signature, so that the operating system still finds the partitions and offline hooks can mount them; its active flags
//! are cleared and its code is `INT 18h`, by which a BIOS goes on to the next boot device, the network. Each gate sector
//! is written alone, since a disk writes one sector whole or not at all.
//!
//! # The order, and why
//!
//! 1. Everything that can refuse does so before the first write: sizes, mask, head, and the gate's own leaves are fetched.
//! 2. Tell that the gate closes, so that the server knows before the disk does; close the gate of the *old* tables, of
//!    every copy, and flush. Until this flush has returned, nothing else is
//!    touched: a cut leaves the old state, with some of its ways to start closed. Afterwards nothing starts.
//! 3. Close the gate of the *new* table and flush. These sectors may lie inside old files, so they must wait for step 2.
//!    They may also be the start of a FAT that an image before the last left there, which the new table would make
//!    startable, so step 4 must wait for them.
//! 4. Write table and leaves, with every gate sector, old or new, in its closed form; flush; read back past every cache;
//!    re-read the table. A cut in here may leave any mixture of tables: the old one, the new one, or a torn one, for which
//!    firmware takes the backup in the disk's last sector (UEFI specification 2.10, section 5.3.2). Whichever it is, the
//!    partitions that it names are closed, also where the image has an ordinary FAT at an old system partition's place.
//! 5. What the image has at the places that only old tables had a gate: these tables are gone from the medium now, and an
//!    operating system's volume may begin there. Offline hooks on the closed disk. The note for the resident agent. Flush.
//! 6. Open: write the true gate sectors, one by one; flush; read them back. Whatever part of them a cut leaves, what it
//!    starts is the image.
//!
//! On a disk larger than the image, the image's backup table stays where the image has it, and the last sector belongs to
//! no region. Should it hold the backup header of an older table, that is erased in step 3: some firmware restores it over
//! a damaged first copy, and Windows and Linux offer to.
//!
//! Flushes are made even where nothing was written just before: the run before this one may have died with writes in the
//! disk's cache. Where nothing differs and no hook is to run, the gate stays open and only the note is written; it lies
//! outside every partition, and its reader must tell a torn note from a whole one.
//!
//! # What is written
//!
//! Runs of 4 KiB that differ, cut down to sectors that are not wholly masked. Masked sectors are neither scanned nor
//! written, with two exceptions: the note, and the gate of the old tables, which may lie where the image has free space.

use std::error::Error;
use std::io;
use std::sync::atomic::AtomicBool;

use crate::disk::{Disk, DiskError};
use crate::image::manifest::{ManifestError, VerifiedHead};
use crate::image::{Extent, Mask};
use crate::progress::{ImagingEvent, ImagingTotals, Monitor};

mod gate;
mod index;
mod medium;
mod scan;
mod source;
pub mod target;
mod transfer;
mod verify;

pub use crate::image::PackedLeaf;
use gate::{Gate, OldGates};
use medium::Medium;
pub use source::{Declined, ImageSource, SourceError};
use transfer::Transfer;

/// How often a source is asked again for something that did not come or did not fit.
const TRIES: u32 = 5;

/// Why a disk was not brought to its image. Whatever the reason, the disk is as it was, or does not start and is resumed
/// by imaging it again.
#[derive(Debug, thiserror::Error)]
pub enum ImagingError {
    /// The disk is smaller than the captured one.
    #[error("the disk has {disk} bytes, the image needs {image}; use a larger disk or capture from a smaller one")]
    TooSmall {
        /// The disk's size in bytes.
        disk: u64,
        /// The size of the captured disk in bytes.
        image: u64,
    },
    /// The disk's sectors have another size than the captured disk's.
    #[error(
        "the disk has sectors of {disk} bytes, the image of {image}; such a copy does not start, capture another image"
    )]
    SectorSize {
        /// The disk's sector size in bytes.
        disk: u32,
        /// The image's.
        image: u32,
    },
    /// The image contradicts itself.
    #[error("the image cannot be written: {why}; capture it again")]
    Unfit {
        /// What does not fit.
        why: String,
    },
    /// The note is longer than its place, or there is no place.
    #[error("the note for the resident agent has {len} bytes, the image leaves room for {room}")]
    NoRoomForNote {
        /// The note's length in bytes.
        len: usize,
        /// The room in bytes.
        room: u64,
    },
    /// The index of the image could not be had.
    #[error("the image's {what} could not be fetched")]
    Fetch {
        /// Which part.
        what: &'static str,
        /// What the source said.
        #[source]
        source: SourceError,
    },
    /// No source had the index of the image as it was signed.
    #[error("no source has the image's {what} as it was signed; verify the server's store")]
    Index {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// Some leaves did not come, or only wrong ones.
    #[error(
        "{missing} leaves of the image could not be fetched, leaf {first} among them; wrong ones came {refused} times; \
         check the network and verify the server's store"
    )]
    Leaves {
        /// How many.
        missing: usize,
        /// The first of them.
        first: u64,
        /// How many leaves came with other contents than signed.
        refused: u64,
        /// What the source said last, if it said something.
        #[source]
        source: Option<SourceError>,
    },
    /// The disk failed.
    #[error("the disk failed while {step}")]
    Disk {
        /// At which step.
        step: &'static str,
        /// What it said.
        #[source]
        source: DiskError,
    },
    /// The disk's present tables could not be read.
    #[error("the disk's present partition tables could not be read")]
    OldTables(#[source] io::Error),
    /// The disk did not keep what was written to it.
    #[error("the disk returned other data at byte {offset} than was written there; replace it")]
    NotKept {
        /// Where the first difference lies, to a leaf.
        offset: u64,
    },
    /// An offline hook failed.
    #[error("the offline hooks failed; the disk stays closed until it is imaged again")]
    Hooks(#[source] Box<dyn Error + Send + Sync>),
    /// It was told to stop.
    #[error("stopped; a disk that was being written does not start until it is imaged again")]
    Stopped,
}

/// Adds the step to what a disk said.
fn at(step: &'static str) -> impl Fn(DiskError) -> ImagingError {
    move |source| ImagingError::Disk { step, source }
}

/// Finds the gate sectors of the tables that a disk has now: [`crate::image::layout::gates_of`].
pub type OldGateFinder<'a> = dyn Fn(&dyn Disk) -> io::Result<Vec<Extent>> + 'a;

/// The offline hooks, as one call, made while the disk is written, closed and not claimed.
pub type OfflineHooks<'a> = dyn FnMut() -> Result<(), Box<dyn Error + Send + Sync>> + 'a;

/// How to image.
pub struct ImagingOptions<'a> {
    /// Threads for hashing and writing; 0: one per core.
    pub threads: usize,
    /// What to leave for the resident agent. `None` erases an older note.
    pub note: Option<Vec<u8>>,
    /// What to do with the written disk before it may start. An error leaves it closed.
    pub hooks: Option<&'a mut OfflineHooks<'a>>,
    /// Finds the gate sectors of the tables that the disk has now, in every copy.
    pub old_gates: &'a OldGateFinder<'a>,
}

impl std::fmt::Debug for ImagingOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The note carries a credential.
        f.debug_struct("ImagingOptions")
            .field("threads", &self.threads)
            .field("note", &self.note.as_ref().map(Vec::len))
            .field("hooks", &self.hooks.is_some())
            .finish_non_exhaustive()
    }
}

impl<'a> ImagingOptions<'a> {
    /// No note, no hooks, one thread per core.
    pub fn new(old_gates: &'a OldGateFinder<'a>) -> Self {
        Self { threads: 0, note: None, hooks: None, old_gates }
    }

    fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            threads => threads,
        }
    }
}

/// Brings `disk` to the image of `head`, with leaves from `source`, none of which is trusted.
///
/// `stop` ends it between two writes. What happened in which order is told to `monitor`; the last event is
/// [`ImagingEvent::Committed`].
///
/// # Errors
/// [`ImagingError`]. After any of them, calling again resumes.
pub fn image_disk(
    disk: &dyn Disk,
    head: &VerifiedHead,
    source: &dyn ImageSource,
    mut options: ImagingOptions<'_>,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<ImagingTotals, ImagingError> {
    let threads = options.thread_count();
    let medium = Medium::new(disk, stop);
    let mask = check(disk, head, source, options.note.as_deref())?;
    let new_gates = gate::sectors_of(&head.header, &mask)?;
    let old_gates = OldGates::find(&medium, options.old_gates)?;

    let watched = gate::leaves_under(&head.header, old_gates.touched().chain(new_gates.iter().copied()));
    let scan = scan::scan(&medium, head, &mask, &watched, threads, monitor)?;
    let dirty = index::dirty_leaves(head, source, &scan)?;
    let leaves = head.header.leaf_count();
    monitor.event(ImagingEvent::Scanned { dirty_leaves: dirty.len() as u64, leaves });

    if dirty.is_empty() && options.hooks.is_none() {
        write_note(&medium, head, options.note.as_deref())?;
        medium.flush("making the note durable")?;
    } else {
        let transfer = Transfer { medium: &medium, head, mask: &mask, source, threads, monitor };
        let backup = old_gates.foreign_backup(&head.header, &dirty);
        let touched =
            gate::leaves_under(&head.header, old_gates.named().chain(new_gates.iter().copied()).chain(backup));
        let held = transfer.hold(&touched, &dirty, &scan.watched)?;
        let gate = Gate::new(&head.header, &mask, &new_gates, &old_gates, &held)?;

        // Told before the first write: whoever listens stores it, or stops the imaging here.
        monitor.event(ImagingEvent::GateClosed);
        old_gates.close(&medium)?;
        medium.flush("closing the old gate")?;
        gate.close(&medium)?;
        if let Some(offset) = backup {
            gate::erase(&medium, offset)?;
        }
        medium.flush("closing the new gate")?;

        let wanted = index::with_held(&dirty, &held);
        transfer.write(&gate, &wanted, &held)?;
        medium.flush("making the leaves durable")?;
        verify::verify(&medium, head, &mask, &gate, &wanted, threads, monitor)?;
        gate.restore(&medium)?;
        let rescanned = disk.rescan().map_err(at("having its partition table read again"));
        if let Some(hooks) = options.hooks.take() {
            rescanned?;
            disk.release().map_err(at("being released for the offline hooks"))?;
            hooks().map_err(ImagingError::Hooks)?;
            disk.claim().map_err(at("being claimed again after the offline hooks"))?;
            medium.mark_written();
        }
        write_note(&medium, head, options.note.as_deref())?;
        medium.flush_writes("making hooks and note durable")?;
        gate.open(&medium)?;
        monitor.event(ImagingEvent::GateOpened);
    }
    let totals = ImagingTotals {
        read: scan.read,
        fetched: source.fetched(),
        written: medium.written(),
        dirty_leaves: dirty.len() as u64,
    };
    monitor.event(ImagingEvent::Committed(totals));
    Ok(totals)
}

/// Everything that can be refused before the disk is looked at; then the mask.
fn check(
    disk: &dyn Disk,
    head: &VerifiedHead,
    source: &dyn ImageSource,
    note: Option<&[u8]>,
) -> Result<Mask, ImagingError> {
    let header = &head.header;
    if disk.sector_bytes() != header.sector_bytes {
        return Err(ImagingError::SectorSize { disk: disk.sector_bytes(), image: header.sector_bytes });
    }
    if disk.size() < header.disk_bytes {
        return Err(ImagingError::TooSmall { disk: disk.size(), image: header.disk_bytes });
    }
    let len = note.map_or(0, <[u8]>::len);
    let room = header.note.map_or(0, |place| place.len);
    if len as u64 > room {
        return Err(ImagingError::NoRoomForNote { len, room });
    }
    let mask = index::mask(head, source)?;
    if let Some(place) = header.note
        && !mask.covers(place)
    {
        return Err(ImagingError::Unfit { why: format!("its place for a note at byte {} is part of it", place.start) });
    }
    Ok(mask)
}

fn write_note(medium: &Medium<'_>, head: &VerifiedHead, note: Option<&[u8]>) -> Result<(), ImagingError> {
    let Some(place) = head.header.note else { return Ok(()) };
    let mut wanted = note.unwrap_or_default().to_vec();
    wanted.resize(place.len as usize, 0);
    let mut found = vec![0; wanted.len()];
    medium.read(place.start, &mut found).map_err(at("reading the note"))?;
    if found == wanted {
        return Ok(());
    }
    medium.write(place.start, &wanted, "writing the note")
}
