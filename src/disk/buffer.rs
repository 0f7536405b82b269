//! Memory that begins where direct I/O wants it to begin.

use std::ops::{Deref, DerefMut};

/// What every disk and file system accepts as the alignment of memory and offsets in direct I/O, in bytes.
pub const DIRECT_ALIGNMENT: usize = 4096;

/// A zeroed buffer whose first byte is aligned to [`DIRECT_ALIGNMENT`], so that direct I/O needs no copy.
#[derive(Debug)]
pub struct AlignedBuffer {
    room: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// A buffer of `len` bytes.
    pub fn new(len: usize) -> Self {
        let room = vec![0; len + DIRECT_ALIGNMENT];
        let start = room.as_ptr().addr().wrapping_neg() % DIRECT_ALIGNMENT;
        Self { room, start, len }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.room[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.start + self.len]
    }
}
