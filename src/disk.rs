//! Disks: the seam through which imaging reads and writes, and its implementations.

use std::fmt::Debug;
use std::path::PathBuf;

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
    /// The power was cut, in the recording form of the seam.
    #[error("the power is off")]
    PowerCut,
}

/// A disk, or what stands in for one. Writes may stay in caches until [`Disk::flush`] returns.
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
}
