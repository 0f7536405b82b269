//! Block devices and plain files as disks, on Linux.
//!
//! A block device is read and written past the page cache wherever the request is aligned: a buffered write of one
//! sector would rewrite the whole page around it, and partitions have page caches of their own that know nothing of the
//! disk's. What is not aligned goes through a copy.
//!
//! The exclusive claim (`O_EXCL` on a block device, which the kernel refuses to a second holder, to `mount` and to
//! `mkfs`; a lock on a plain file) is a handle of its own: [`Disk::release`] lets go of it so that a partition can be
//! mounted for offline hooks, and the kernel re-reads a partition table only for a disk that nobody claims.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;

use super::buffer::DIRECT_ALIGNMENT;
use super::usage::{DeviceNumber, KernelView};
use super::{AlignedBuffer, Disk, DiskError, check_range, check_write};

/// What a disk is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read it while nobody may change it.
    ReadOnly,
    /// To read and write it alone.
    Exclusive,
}

/// A block device or a plain file.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    size: u64,
    sector: u32,
    block: Option<DeviceNumber>,
    cached: File,
    direct: Option<File>,
    claim: Mutex<Option<File>>,
    unsynced: AtomicBool,
}

impl FileDisk {
    /// Opens `path`. A plain file gets sectors of 512 bytes.
    ///
    /// A block device is refused when it or one of its partitions is mounted, is swap, or is held by another layer or
    /// program; to read it, also when a program has it open for writing. A plain file is refused when it is locked.
    pub fn open(path: &Path, access: Access) -> Result<Self, DiskError> {
        Self::open_with_sector(path, access, 512)
    }

    /// Opens `path` as [`FileDisk::open`] does; a plain file gets sectors of `sector_bytes`.
    pub fn open_with_sector(path: &Path, access: Access, sector_bytes: u32) -> Result<Self, DiskError> {
        let io = |action: &'static str| io_error(path, action, 0);
        let kind = std::fs::metadata(path).map_err(io("open"))?.file_type();
        let block = DeviceNumber::of(path);
        if block.is_none() && !kind.is_file() {
            return Err(DiskError::NotADisk { path: path.to_owned() });
        }
        let claim = take_claim(path, access, block)?;
        let open = |flags: OFlags| {
            let write = access == Access::Exclusive;
            OpenOptions::new().read(true).write(write).custom_flags(flags.bits().cast_signed()).open(path)
        };
        let mut cached = open(OFlags::empty()).map_err(io("open"))?;
        let size = cached.seek(SeekFrom::End(0)).map_err(io("measure"))?;
        let sector = match block {
            Some(_) => {
                rustix::fs::ioctl_blksszget(&cached).map_err(|error| io("ask for the sector size of")(error.into()))?
            }
            None => sector_bytes,
        };
        // Not every file system has direct I/O; those without are read through the cache.
        let direct = open(OFlags::DIRECT).ok();
        Ok(Self {
            path: path.to_owned(),
            size: size - size % u64::from(sector),
            sector,
            block,
            cached,
            direct,
            claim: Mutex::new(Some(claim)),
            unsynced: AtomicBool::new(false),
        })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn io(&self, action: &'static str, offset: u64) -> impl FnOnce(io::Error) -> DiskError {
        io_error(&self.path, action, offset)
    }

    /// The alignment of offsets and lengths in direct I/O.
    fn direct_step(&self) -> u64 {
        if self.block.is_some() { u64::from(self.sector) } else { DIRECT_ALIGNMENT as u64 }
    }

    fn fits_direct(&self, offset: u64, buf: &[u8]) -> bool {
        let step = self.direct_step();
        offset.is_multiple_of(step)
            && (buf.len() as u64).is_multiple_of(step)
            && buf.as_ptr().addr().is_multiple_of(512)
    }

    fn read_direct(&self, direct: &File, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if self.fits_direct(offset, buf) {
            return direct.read_exact_at(buf, offset);
        }
        let step = self.direct_step();
        let start = offset - offset % step;
        let skip = (offset - start) as usize;
        let mut copy = AlignedBuffer::new((skip + buf.len()).next_multiple_of(step as usize));
        let mut filled = 0;
        while filled < skip + buf.len() {
            match direct.read_at(&mut copy[filled..], start + filled as u64) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buf.copy_from_slice(&copy[skip..skip + buf.len()]);
        Ok(())
    }

    fn read_uncached(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if self.unsynced.swap(false, Ordering::AcqRel) {
            self.cached.sync_data()?;
        }
        if let Some(len) = NonZeroU64::new(buf.len() as u64) {
            rustix::fs::fadvise(&self.cached, offset, Some(len), rustix::fs::Advice::DontNeed)?;
        }
        self.cached.read_exact_at(buf, offset)
    }
}

impl Disk for FileDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_bytes(&self) -> u32 {
        self.sector
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        check_range(offset, buf.len(), self.size)?;
        match &self.direct {
            Some(direct) if self.block.is_some() => self.read_direct(direct, offset, buf),
            _ => self.cached.read_exact_at(buf, offset),
        }
        .map_err(self.io("read", offset))
    }

    fn read_past_cache(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        check_range(offset, buf.len(), self.size)?;
        let read = match &self.direct {
            Some(direct) => match self.read_direct(direct, offset, buf) {
                // A file system that takes the flag may still refuse the alignment.
                Err(error) if error.kind() == ErrorKind::InvalidInput => self.read_uncached(offset, buf),
                other => other,
            },
            None => self.read_uncached(offset, buf),
        };
        read.map_err(self.io("read", offset))
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), DiskError> {
        check_write(offset, buf.len(), self.size, self.sector)?;
        self.unsynced.store(true, Ordering::Release);
        match &self.direct {
            Some(direct) if self.block.is_some() && self.fits_direct(offset, buf) => direct.write_all_at(buf, offset),
            Some(direct) if self.block.is_some() => {
                let mut copy = AlignedBuffer::new(buf.len());
                copy.copy_from_slice(buf);
                direct.write_all_at(&copy, offset)
            }
            _ => self.cached.write_all_at(buf, offset),
        }
        .map_err(self.io("write", offset))
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.unsynced.store(false, Ordering::Release);
        self.cached.sync_data().map_err(|error| {
            self.unsynced.store(true, Ordering::Release);
            self.io("flush", 0)(error)
        })
    }

    fn rescan(&self) -> Result<(), DiskError> {
        if self.block.is_none() {
            return Ok(());
        }
        let held = self.claim.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        self.release()?;
        let done = Command::new("blockdev").arg("--rereadpt").arg(&self.path).output();
        if held {
            self.claim()?;
        }
        match done {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
            Err(error) => Err(error),
        }
        .map_err(self.io("re-read the partition table of", 0))
    }

    fn release(&self) -> Result<(), DiskError> {
        if self.block.is_some() {
            *self.claim.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Ok(())
    }

    fn claim(&self) -> Result<(), DiskError> {
        let mut claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        if claim.is_none() {
            *claim = Some(exclusive(&self.path, self.block, &KernelView::default())?);
        }
        Ok(())
    }
}

fn io_error(path: &Path, action: &'static str, offset: u64) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError::Io { action, path, offset, source }
}

fn in_use(path: &Path, by: impl Into<String>) -> DiskError {
    DiskError::InUse { path: path.to_owned(), by: by.into() }
}

fn take_claim(path: &Path, access: Access, block: Option<DeviceNumber>) -> Result<File, DiskError> {
    if block.is_some() {
        let view = KernelView::default();
        let claim = exclusive(path, block, &view)?;
        let writer = block.filter(|_| access == Access::ReadOnly).and_then(|number| view.writer_of(number));
        return match writer {
            Some(by) => Err(in_use(path, format!("{by} may write to it"))),
            None => Ok(claim),
        };
    }
    let write = access == Access::Exclusive;
    let file = OpenOptions::new().read(true).write(write).open(path).map_err(io_error(path, "open", 0))?;
    let locked = if write { file.try_lock() } else { file.try_lock_shared() };
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(in_use(path, "another program holds its lock")),
        Err(TryLockError::Error(error)) => Err(io_error(path, "lock", 0)(error)),
    }
}

/// The exclusive claim on a block device that nothing uses.
fn exclusive(path: &Path, block: Option<DeviceNumber>, view: &KernelView) -> Result<File, DiskError> {
    if let Some(by) = block.and_then(|number| view.user_of(number)) {
        return Err(in_use(path, by));
    }
    match OpenOptions::new().read(true).custom_flags(OFlags::EXCL.bits().cast_signed()).open(path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {
            Err(in_use(path, "another program or layer holds it exclusively"))
        }
        Err(error) => Err(io_error(path, "claim", 0)(error)),
    }
}
