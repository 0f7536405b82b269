//! Disks: the seam through which imaging reads and writes, and its implementations.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

pub mod buffer;
#[cfg(target_os = "linux")]
pub mod file;
pub mod memory;
pub mod recording;
#[cfg(target_os = "linux")]
pub mod usage;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

pub use buffer::AlignedBuffer;
#[cfg(target_os = "linux")]
pub use file::{Access, FileDisk};
pub use memory::MemoryDisk;
pub use recording::RecordingDisk;

/// Why a disk could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system refused an operation.
    #[error("cannot {action} {} at byte {offset}", .path.display())]
    Io {
        /// What was tried: `read`, `write`, `flush`, …
        action: &'static str,
        /// The disk.
        path: PathBuf,
        /// Where on it.
        offset: u64,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Something else uses the disk.
    #[error("{} is in use ({by}); unmount it or stop what holds it, then try again", .path.display())]
    InUse {
        /// The disk.
        path: PathBuf,
        /// Who holds it, as far as can be told.
        by: String,
    },
    /// Neither a block device nor a plain file.
    #[error("{} is neither a block device nor a plain file", .path.display())]
    NotADisk {
        /// The path that was given.
        path: PathBuf,
    },
    /// An access past the end.
    #[error("{len} bytes at {offset} lie outside a disk of {size} bytes")]
    OutOfRange {
        /// Where the access began.
        offset: u64,
        /// How long it was.
        len: u64,
        /// The disk's size in bytes.
        size: u64,
    },
    /// A write that does not begin and end on a sector.
    #[error("{len} bytes at {offset} are not whole sectors of {sector} bytes")]
    NotWholeSectors {
        /// Where the write began.
        offset: u64,
        /// How long it was.
        len: u64,
        /// The disk's sector size in bytes.
        sector: u32,
    },
    /// The power was cut, in the recording form of the seam.
    #[error("the power is off")]
    PowerCut,
}

/// Checks that an access lies on the disk.
fn check_range(offset: u64, len: usize, size: u64) -> Result<(), DiskError> {
    let len = len as u64;
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(DiskError::OutOfRange { offset, len, size }),
    }
}

/// Checks that a write lies on the disk and covers whole sectors.
fn check_write(offset: u64, len: usize, size: u64, sector: u32) -> Result<(), DiskError> {
    check_range(offset, len, size)?;
    let len = len as u64;
    if offset.is_multiple_of(u64::from(sector)) && len.is_multiple_of(u64::from(sector)) {
        Ok(())
    } else {
        Err(DiskError::NotWholeSectors { offset, len, sector })
    }
}

/// A disk, or what stands in for one. Writes may stay in caches until [`Disk::flush`] returns; until then a power cut
/// may lose any of them, in any order, and a write of several sectors in part. One sector is written whole or not at
/// all. Reads may begin and end anywhere, writes cover whole sectors.
pub trait Disk: Debug + Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Its logical sector size in bytes.
    fn sector_bytes(&self) -> u32;

    /// Fills `buf` from byte `offset` on.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError>;

    /// Fills `buf` from byte `offset` on with what the medium holds, not what a cache remembers, as far as the system allows.
    fn read_past_cache(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError>;

    /// Writes `buf` from byte `offset` on.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), DiskError>;

    /// Returns when everything written before is on the medium.
    fn flush(&self) -> Result<(), DiskError>;

    /// Makes the system read the partition table again.
    fn rescan(&self) -> Result<(), DiskError>;

    /// Lets go of an exclusive claim, so that the system can mount what is on the disk, until [`Disk::claim`].
    fn release(&self) -> Result<(), DiskError> {
        Ok(())
    }

    /// Takes the exclusive claim again, and fails while something else uses the disk.
    fn claim(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

impl<D: Disk + ?Sized> Disk for Arc<D> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn sector_bytes(&self) -> u32 {
        (**self).sector_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        (**self).read_at(offset, buf)
    }

    fn read_past_cache(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        (**self).read_past_cache(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), DiskError> {
        (**self).write_at(offset, buf)
    }

    fn flush(&self) -> Result<(), DiskError> {
        (**self).flush()
    }

    fn rescan(&self) -> Result<(), DiskError> {
        (**self).rescan()
    }

    fn release(&self) -> Result<(), DiskError> {
        (**self).release()
    }

    fn claim(&self) -> Result<(), DiskError> {
        (**self).claim()
    }
}
