//! NTFS, read only: which clusters of a volume count, whether it may be captured, and what Windows is on it.
//!
//! The layout is the one that Windows has written since XP, as the Linux-NTFS project documents it and ntfs-3g reads it
//! (`include/ntfs-3g/layout.h`). A volume is hostile input here: every length is checked against the volume, every walk
//! has a budget, and anything that does not fit is [`NtfsError::Damaged`].

use std::io;

use super::{Extent, WindowsFacts};

mod boot;
mod directory;
mod field;
mod file_system;
mod free;
mod record;
mod runs;
mod state;
mod stream;
#[cfg(test)]
mod tests;

pub(in crate::image) use field::{u8_at, u16_at, u32_at};
pub use file_system::FileSystem;

/// How much of the head of a page or hibernation file is part of every image, as zeros, so that yesterday's hibernation
/// can never be resumed on top of today's volume.
pub const HEAD_BYTES: u64 = 64 * 1024;

/// Holds the memory of a hibernated Windows.
const HIBERNATION: &str = "hiberfil.sys";

/// The files in the root of a volume whose contents Windows makes anew.
const MEMORY_FILES: [&str; 3] = [HIBERNATION, "pagefile.sys", "swapfile.sys"];

/// Where the bytes of a volume come from. Offsets count from the volume's first byte.
pub trait ReadAt {
    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// What the medium says; an access past the end is an error too.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let past_end = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let start = usize::try_from(offset).map_err(|_| past_end())?;
        let end = start.checked_add(buf.len()).ok_or_else(past_end)?;
        buf.copy_from_slice(self.get(start..end).ok_or_else(past_end)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, buf)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buf)
    }
}

/// Why a volume cannot be captured.
#[derive(Debug, thiserror::Error)]
pub enum NtfsError {
    /// Another file system, or none.
    #[error("this is not an NTFS volume")]
    NotNtfs,
    /// Encrypted, so that each PC's sectors differ.
    #[error(
        "the volume is encrypted with BitLocker; switch it off on the master (manage-bde -off C:) and wait until it is \
         decrypted"
    )]
    BitLocker,
    /// Windows marked the volume for a check.
    #[error(
        "the volume is marked dirty; start Windows on the master, run chkdsk /f, shut it down fully, capture again"
    )]
    Dirty,
    /// `hiberfil.sys` holds a memory image that would be resumed.
    #[error(
        "Windows is hibernated on this volume (Fast Startup does that at every shutdown); run powercfg /h off on the \
         master, shut it down fully (shutdown /s /t 0), capture again"
    )]
    Hibernated,
    /// The journal says that Windows keeps part of the metadata in its memory.
    #[error(
        "the volume was left with metadata in the Windows cache (Fast Startup, a mounted volume or a power cut); run \
         powercfg /h off on the master, shut it down fully (shutdown /s /t 0), capture again"
    )]
    FastStartup,
    /// The journal holds changes that were not carried out.
    #[error("the volume's journal is not empty; start Windows on the master, shut it down fully, capture again")]
    JournalNotClean,
    /// The structures on the volume contradict each other.
    #[error("the NTFS volume is damaged ({what}); run chkdsk /f on the master, capture again")]
    Damaged {
        /// What does not fit.
        what: String,
    },
    /// A file whose contents this program does not unpack.
    #[error("{path} is {how}, which is not read")]
    Unreadable {
        /// Which file.
        path: String,
        /// `compressed`, `encrypted` or `too large`.
        how: &'static str,
    },
    /// A path that does not exist.
    #[error("there is no {path} on the volume")]
    NoSuchFile {
        /// Which file.
        path: String,
    },
    /// The medium did not answer.
    #[error("cannot read the volume at byte {offset}")]
    Io {
        /// Where.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn damaged(what: impl Into<String>) -> NtfsError {
    NtfsError::Damaged { what: what.into() }
}

/// What capture needs to know of a volume. Extents count from the volume's first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The size of a cluster in bytes.
    pub cluster_bytes: u32,
    /// What does not count: free clusters, and the contents of page and hibernation files behind their heads. Sorted,
    /// without overlap. Sectors that `$Bitmap` does not cover, such as the backup boot sector, are never in it.
    pub masked: Vec<Extent>,
    /// The heads of page and hibernation files ([`HEAD_BYTES`]), which are zeros in every image.
    pub zero: Vec<Extent>,
    /// What Windows it is, as far as its registry tells.
    pub windows: WindowsFacts,
    /// Bytes in clusters that are in use, page and hibernation files included.
    pub used_bytes: u64,
    /// The volume's name, where it has one.
    pub label: Option<String>,
}

/// Reads all that capture needs from the volume of `volume_bytes` bytes.
///
/// # Errors
/// [`NtfsError`]: each situation in which the volume must not be captured.
pub fn inspect(volume: &dyn ReadAt, volume_bytes: u64) -> Result<Volume, NtfsError> {
    let files = FileSystem::open(volume, volume_bytes)?;
    let label = state::label(&files)?;
    let mut memory_files = Vec::new();
    for name in MEMORY_FILES {
        let Some(record) = files.find(name)? else { continue };
        let data = files.data(record)?;
        if name == HIBERNATION {
            state::check_hibernation(&files, &data)?;
        }
        memory_files.push(data);
    }
    state::check_flags(&files)?;
    state::check_journal(&files)?;
    let free = free::free_clusters(&files)?;
    let cluster_bytes = u64::from(files.cluster_bytes());
    let used_bytes = (files.clusters() - free.clusters) * cluster_bytes;
    let mut masked = free.extents;
    let mut zero = Vec::new();
    for file in &memory_files {
        file.split_head(cluster_bytes, &mut zero, &mut masked);
    }
    let masked = super::Mask::new(masked).extents().to_vec();
    let zero = super::Mask::new(zero).extents().to_vec();
    Ok(Volume { cluster_bytes: files.cluster_bytes(), masked, zero, windows: windows(&files), used_bytes, label })
}

/// A hive that cannot be read leaves its facts unknown; it does not stop a capture.
fn windows(files: &FileSystem<'_>) -> WindowsFacts {
    let software = files.read_file("Windows/System32/config/SOFTWARE").ok();
    let system = files.read_file("Windows/System32/config/SYSTEM").ok();
    super::hive::windows_facts(software.as_deref(), system.as_deref())
}
