//! The disk while it is imaged: counts, stops, and remembers the first failure of several threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{ImagingError, at};
use crate::disk::{Disk, DiskError};
use crate::image::{Extent, Mask};
use crate::progress::{ImagingEvent, Monitor};

/// The disk, with the numbers of this run.
#[derive(Debug)]
pub(super) struct Medium<'a> {
    disk: &'a dyn Disk,
    stop: &'a AtomicBool,
    written: AtomicU64,
    unflushed: AtomicBool,
}

impl<'a> Medium<'a> {
    pub(super) fn new(disk: &'a dyn Disk, stop: &'a AtomicBool) -> Self {
        Self { disk, stop, written: AtomicU64::new(0), unflushed: AtomicBool::new(false) }
    }

    pub(super) fn disk(&self) -> &'a dyn Disk {
        self.disk
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn check_stop(&self) -> Result<(), ImagingError> {
        if self.stop.load(Ordering::Relaxed) { Err(ImagingError::Stopped) } else { Ok(()) }
    }

    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.disk.read_at(offset, buf)
    }

    /// One sector.
    pub(super) fn sector(&self, offset: u64) -> Result<Vec<u8>, DiskError> {
        let mut sector = vec![0; self.disk.sector_bytes() as usize];
        self.read(offset, &mut sector)?;
        Ok(sector)
    }

    /// Fills `buf` past the cache; where that fails, with its unmasked parts alone, since a sector that nobody uses may be
    /// broken. `false`: those cannot be read either. Returns how much was read.
    pub(super) fn read_counting(&self, mask: &Mask, start: u64, buf: &mut [u8]) -> Result<Option<u64>, DiskError> {
        match self.disk.read_past_cache(start, buf) {
            Ok(()) => return Ok(Some(buf.len() as u64)),
            Err(DiskError::Io { .. }) => {}
            Err(error) => return Err(error),
        }
        buf.fill(0);
        let mut read = 0;
        for part in mask.outside(Extent { start, len: buf.len() as u64 }) {
            let from = (part.start - start) as usize;
            match self.disk.read_past_cache(part.start, &mut buf[from..from + part.len as usize]) {
                Ok(()) => read += part.len,
                Err(DiskError::Io { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(read))
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8], step: &'static str) -> Result<(), ImagingError> {
        self.check_stop()?;
        self.write_regardless(offset, bytes, step)
    }

    /// Writes even when told to stop: the few sectors of the opening.
    pub(super) fn write_regardless(&self, offset: u64, bytes: &[u8], step: &'static str) -> Result<(), ImagingError> {
        self.unflushed.store(true, Ordering::Relaxed);
        self.disk.write_at(offset, bytes).map_err(at(step))?;
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn flush(&self, step: &'static str) -> Result<(), ImagingError> {
        self.unflushed.store(false, Ordering::Relaxed);
        self.disk.flush().map_err(at(step))
    }

    /// Notes that somebody else wrote.
    pub(super) fn mark_written(&self) {
        self.unflushed.store(true, Ordering::Relaxed);
    }

    /// Flushes if anything was written since the last flush of this run.
    pub(super) fn flush_writes(&self, step: &'static str) -> Result<(), ImagingError> {
        if self.unflushed.load(Ordering::Relaxed) { self.flush(step) } else { Ok(()) }
    }
}

/// The first failure of several threads, which ends the others.
#[derive(Debug, Default)]
pub(super) struct Failure {
    halted: AtomicBool,
    first: Mutex<Option<ImagingError>>,
}

impl Failure {
    pub(super) fn halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, error: ImagingError) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.halted.store(true, Ordering::Relaxed);
    }

    pub(super) fn result(self) -> Result<(), ImagingError> {
        self.first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// Tells a monitor how far a step is, some hundred times and not at every leaf.
pub(super) struct Progress<'a> {
    monitor: &'a dyn Monitor,
    total: u64,
    done: AtomicU64,
}

impl<'a> Progress<'a> {
    pub(super) fn new(monitor: &'a dyn Monitor, total: u64) -> Self {
        Self { monitor, total, done: AtomicU64::new(0) }
    }

    pub(super) fn add(&self, amount: u64, event: impl FnOnce(u64, u64) -> ImagingEvent) {
        let before = self.done.fetch_add(amount, Ordering::Relaxed);
        let done = before + amount;
        let step = (self.total / 200).max(1);
        if before / step != done / step || done == self.total {
            self.monitor.event(event(done, self.total));
        }
    }
}
