//! Keeps the next stretch of a file in memory, so that a slow disk never holds up the thread that serves everybody.

use std::io;
use std::ops::Range;

use tokio::task;

use crate::boot::files::{Content, OpenFile};
use crate::tftp::BlockReader;

/// What is read at once at least. Times the number of transfers this is the server's memory.
const STRETCH: u64 = 128 * 1024;

/// A file with a stretch of it in memory.
#[derive(Debug)]
pub(super) struct ReadAhead {
    file: OpenFile,
    start: u64,
    stretch: Vec<u8>,
}

impl ReadAhead {
    /// Nothing is read yet.
    pub(super) fn new(file: OpenFile) -> Self {
        Self { file, start: 0, stretch: Vec::new() }
    }

    /// Makes sure that this range can be read without waiting.
    pub(super) async fn cover(&mut self, range: Range<u64>) -> io::Result<()> {
        let end = self.start.saturating_add(self.stretch.len() as u64);
        let covered = self.start <= range.start && range.end <= end;
        if covered || range.is_empty() || matches!(self.file.content, Content::Bytes(_)) {
            return Ok(());
        }
        let wanted = range.end.saturating_sub(range.start);
        let len = wanted.saturating_mul(2).max(STRETCH).min(self.file.len.saturating_sub(range.start));
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let (content, mut stretch) = (self.file.content.clone(), std::mem::take(&mut self.stretch));
        let read = move || {
            stretch.resize(len, 0);
            content.read_exact_at(range.start, &mut stretch).map(|()| (range.start, stretch))
        };
        (self.start, self.stretch) = task::spawn_blocking(read).await.map_err(io::Error::other)??;
        Ok(())
    }
}

impl BlockReader for ReadAhead {
    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if matches!(self.file.content, Content::Bytes(_)) {
            return self.file.content.read_exact_at(offset, buffer);
        }
        let start = offset.checked_sub(self.start).and_then(|start| usize::try_from(start).ok());
        let range = start.and_then(|start| Some(start..start.checked_add(buffer.len())?));
        let source = range.and_then(|range| self.stretch.get(range)).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(source);
        Ok(())
    }
}
