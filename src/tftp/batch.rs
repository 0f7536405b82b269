//! What leaves in answer to one event: nothing, one packet, or a window of blocks.

/// Datagrams to one destination, back to back in one buffer. All have the same size but the last, which may be shorter,
/// so that a system that can cut up a buffer itself (Linux: `UDP_SEGMENT`) sends them in one call.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    segment: usize,
}

impl Batch {
    /// Forgets what it holds; the buffer stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.segment = 0;
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All datagrams as one buffer.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The size of each datagram but the last.
    pub fn segment(&self) -> usize {
        self.segment
    }

    /// The datagrams one by one.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(self.segment.max(1))
    }

    /// Replaces the content by one datagram.
    pub(crate) fn set(&mut self, datagram: &[u8]) {
        self.clear();
        self.bytes.extend_from_slice(datagram);
        self.segment = datagram.len();
    }

    /// Replaces the content by zeros for datagrams of `segment` bytes, `len` bytes in all, and hands out the buffer.
    pub(crate) fn reserve(&mut self, segment: usize, len: usize) -> &mut [u8] {
        self.segment = segment;
        self.bytes.resize(len, 0);
        &mut self.bytes
    }
}
