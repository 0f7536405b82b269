//! A writer of NTFS volumes for simulated masters: whole volumes from a list of files, in one pass.
//!
//! What it writes mounts with ntfs-3g and has everything that chkdsk expects of a freshly formatted 3.1 volume but the
//! optional files of `$Extend`. Files lie in one piece unless asked otherwise, with gaps of free space between them. The
//! same builder with the same serial number always gives the same bytes. Layout: ntfs-3g's `include/ntfs-3g/layout.h`
//! and `ntfsprogs/mkntfs.c`.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::image::Extent;

pub mod fat;
mod files;
pub mod hive;
mod index;
pub mod noise;
mod plan;
mod record;
mod space;
mod system;
mod tree;

use tree::Tree;

/// Where a volume's bytes go.
pub trait WriteAt: Sync {
    /// Writes `bytes` from byte `offset` on.
    ///
    /// # Errors
    /// What the medium says.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

impl WriteAt for File {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }
}

/// Why a volume could not be written.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The files need more room than the volume has.
    #[error("the files do not fit into a volume of {bytes} bytes; make it larger")]
    Full {
        /// The size of the volume in bytes.
        bytes: u64,
    },
    /// A path that cannot be made.
    #[error("{path} cannot be made: {why}")]
    BadPath {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A size that NTFS does not have, or that this writer does not write.
    #[error("a volume of {bytes} bytes with clusters of {cluster_bytes} bytes is not written")]
    Size {
        /// The size of the volume in bytes.
        bytes: u64,
        /// The size of a cluster in bytes.
        cluster_bytes: u32,
    },
    /// The medium refused.
    #[error("cannot write at byte {offset}")]
    Io {
        /// Where.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Fills a piece of a file, given the offset of the piece, a multiple of 4096.
pub type Fill = Box<dyn Fn(u64, &mut [u8]) + Send + Sync>;

/// What a file holds.
pub enum Contents {
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many bytes, made when they are written.
    Made {
        /// How many.
        len: u64,
        /// What makes them.
        fill: Fill,
    },
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contents of {} bytes", self.len())
    }
}

impl From<Vec<u8>> for Contents {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl Contents {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Made { len, .. } => *len,
        }
    }

    fn fill(&self, offset: u64, buf: &mut [u8]) {
        match self {
            Self::Bytes(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let source = bytes.get(from..).unwrap_or_default();
                let n = source.len().min(buf.len());
                buf[..n].copy_from_slice(&source[..n]);
            }
            Self::Made { fill, .. } => fill(offset, buf),
        }
    }
}

/// What was written. Extents count from the volume's first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Bytes in clusters that are in use.
    pub used_bytes: u64,
    /// Free clusters.
    pub free: Vec<Extent>,
    /// Files and folders, those of the file system not counted.
    pub files: u64,
    /// Where the file table lies.
    pub file_table: Extent,
    /// Where the files asked for with [`NtfsBuilder::scattered`] lie, by path, in the order of their contents.
    pub scattered: HashMap<String, Vec<Extent>>,
}

/// A volume to be: files are added, then [`NtfsBuilder::build`] writes it.
#[derive(Debug)]
pub struct NtfsBuilder {
    bytes: u64,
    cluster_bytes: u32,
    serial: u64,
    label: String,
    hidden_sectors: u32,
    gaps: u64,
    tree: Tree,
}

impl NtfsBuilder {
    /// A volume of `bytes` bytes. `cluster_bytes` is a power of two from 512 to 65536; the serial number also decides
    /// where gaps lie.
    pub fn new(bytes: u64, cluster_bytes: u32, serial: u64, label: &str) -> Self {
        let label = label.to_owned();
        Self { bytes, cluster_bytes, serial, label, hidden_sectors: 0, gaps: 4, tree: Tree::new() }
    }

    /// The sector at which the partition starts on its disk.
    pub fn hidden_sectors(mut self, sectors: u32) -> Self {
        self.hidden_sectors = sectors;
        self
    }

    /// After one in `files` files free clusters are left, as many as half the file has; 0 leaves none.
    pub fn gaps(mut self, files: u64) -> Self {
        self.gaps = files;
        self
    }

    /// Makes a folder, and those above it; `/` separates.
    ///
    /// # Errors
    /// [`VolumeError::BadPath`].
    pub fn folder(&mut self, path: &str) -> Result<(), VolumeError> {
        self.tree.folder(path).map(|_| ())
    }

    /// Makes a file, and the folders above it.
    ///
    /// # Errors
    /// [`VolumeError::BadPath`].
    pub fn file(&mut self, path: &str, contents: impl Into<Contents>) -> Result<(), VolumeError> {
        self.tree.file(path, contents.into(), 1)
    }

    /// Makes a file that lies in so many pieces, hidden and marked as a system file.
    ///
    /// # Errors
    /// [`VolumeError::BadPath`].
    pub fn scattered(&mut self, path: &str, contents: impl Into<Contents>, pieces: u64) -> Result<(), VolumeError> {
        self.tree.file(path, contents.into(), pieces.max(2))
    }

    /// Writes the volume, its first byte at `offset` of `out`. Free clusters are not written.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn build(self, out: &dyn WriteAt, offset: u64) -> Result<Written, VolumeError> {
        let plan = plan::Plan::new(self)?;
        let written = plan.written();
        run(out, offset, &plan)?;
        Ok(written)
    }
}

/// How much one thread writes at a time.
const PIECE: u64 = 1 << 20;

/// Writes all pieces, from several threads, since making contents takes longer than writing them.
fn run(out: &dyn WriteAt, offset: u64, plan: &plan::Plan) -> Result<(), VolumeError> {
    let mut jobs = Vec::new();
    for (contents, extents) in plan.contents() {
        let mut at = 0;
        for extent in extents {
            let end = (at + extent.len).min(contents.len());
            let mut from = at;
            while from < end {
                let len = (end - from).min(PIECE);
                jobs.push((contents, from, extent.start + (from - at), len));
                from += len;
            }
            at += extent.len;
        }
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = Vec::new();
        while let Some((contents, from, place, len)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            buffer.clear();
            buffer.resize(*len as usize, 0);
            contents.fill(*from, &mut buffer);
            let offset = offset + place;
            out.write_at(offset, &buffer).map_err(|source| VolumeError::Io { offset, source })?;
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}
