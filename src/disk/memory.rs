//! A disk in memory: for simulated PCs and tests.

use std::sync::{PoisonError, RwLock};

use super::{Disk, DiskError, check_range, check_write};

/// Bytes in memory that behave as a disk. Flushing does nothing.
#[derive(Debug)]
pub struct MemoryDisk {
    bytes: RwLock<Vec<u8>>,
    size: u64,
    sector: u32,
}

impl MemoryDisk {
    /// A disk with these contents.
    pub fn new(bytes: Vec<u8>, sector_bytes: u32) -> Self {
        Self { size: bytes.len() as u64, bytes: RwLock::new(bytes), sector: sector_bytes }
    }

    /// What is on it now.
    pub fn contents(&self) -> Vec<u8> {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Disk for MemoryDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_bytes(&self) -> u32 {
        self.sector
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        check_range(offset, buf.len(), self.size)?;
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        buf.copy_from_slice(&bytes[offset as usize..offset as usize + buf.len()]);
        Ok(())
    }

    fn read_past_cache(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), DiskError> {
        check_write(offset, buf.len(), self.size, self.sector)?;
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        bytes[offset as usize..offset as usize + buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn rescan(&self) -> Result<(), DiskError> {
        Ok(())
    }
}
