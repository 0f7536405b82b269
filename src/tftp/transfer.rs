//! One file on its way to one client.

use std::fmt;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::tftp::batch::Batch;
use crate::tftp::packet::{self, ErrorCode, Options, Packet, Request};
use crate::tftp::round_trip::RoundTrip;
use crate::tftp::{Limits, PLAIN_BLOCK_SIZE};

#[cfg(test)]
mod tests;

/// A repeated request that arrives this soon after the client's first answer was sent before that answer.
const REPEAT_GRACE: Duration = Duration::from_millis(50);

/// Where a transfer takes its bytes from.
pub trait BlockReader {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// Any failure ends the transfer.
    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl<F: FnMut(u64, &mut [u8]) -> io::Result<()>> BlockReader for F {
    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self(offset, buffer)
    }
}

/// How much work a transfer was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of the file that the client has acknowledged.
    pub bytes: u64,
    /// Blocks that it has acknowledged.
    pub blocks: u64,
    /// Packets that were sent more than once.
    pub retransmits: u64,
    /// From the request to the end.
    pub duration: Duration,
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The client has the whole file.
    Completed,
    /// The client ended it.
    ClientAborted {
        /// With this code.
        code: ErrorCode,
        /// And these words, at most some hundred bytes.
        message: String,
        /// UEFI firmware asks for the size first and aborts (error 8, or any error right after the size was told), then
        /// asks again. Not a failure.
        probe: bool,
    },
    /// The client fell silent.
    TimedOut,
    /// The client's system says that nobody listens.
    Unreachable {
        /// Whether everything had been sent: many loaders close without a last acknowledgement.
        after_last_block: bool,
    },
    /// The client started anew from the same port.
    Replaced,
    /// The file could not be read, or became shorter.
    ReadFailed {
        /// The system's reason.
        reason: String,
    },
    /// The server stopped.
    Cancelled,
}

impl Outcome {
    /// Whether somebody should look at it.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Completed | Self::Replaced | Self::Cancelled => false,
            Self::ClientAborted { probe, .. } => !probe,
            Self::Unreachable { after_last_block } => !after_last_block,
            Self::TimedOut | Self::ReadFailed { .. } => true,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::ClientAborted { probe: true, .. } => f.write_str("size asked for"),
            Self::ClientAborted { code, message, .. } => {
                write!(f, "aborted by the client: error {} `{}`", code.number(), message.escape_debug())
            }
            Self::TimedOut => f.write_str("the client fell silent"),
            Self::Unreachable { after_last_block: true } => f.write_str("completed, last block not acknowledged"),
            Self::Unreachable { after_last_block: false } => f.write_str("the client stopped listening"),
            Self::Replaced => f.write_str("asked for anew"),
            Self::ReadFailed { reason } => write!(f, "the file could not be read: {reason}"),
            Self::Cancelled => f.write_str("the server stopped"),
        }
    }
}

/// What a repeated request means for a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The client had not heard yet, or the request was late: answered here.
    Answered,
    /// The client began anew: this transfer is over, the request needs a new one.
    Restart,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// The options are granted, block 0 is to be acknowledged.
    Offering,
    /// Blocks are in flight.
    Sending,
    /// Over.
    Ended(Outcome),
}

/// The state of one transfer. Every call that may send fills a [`Batch`], which is empty when there is nothing to send.
#[derive(Debug)]
pub struct Transfer {
    len: u64,
    block_size: u64,
    window: u64,
    granted: Options,
    phase: Phase,
    /// The last block that the client has acknowledged; counted on, while the wire wraps at 65536.
    acked: u64,
    /// The last block that was sent.
    sent: u64,
    /// Whether the blocks in flight were sent once only, so that their round trip counts.
    fresh: bool,
    /// Whether a lost first block was already answered in this window.
    fast_resent: bool,
    /// How often the whole window in flight was sent again: as many surplus acknowledgements may follow its first.
    resends: u32,
    /// Acknowledgements still to come that mean nothing (Sorcerer's Apprentice, RFC 1123 section 4.2.3.1).
    surplus: u32,
    round_trip: RoundTrip,
    sent_at: Instant,
    deadline: Instant,
    started_at: Instant,
    progress_at: Instant,
    confirmed_at: Option<Instant>,
    patience: Duration,
    first_patience: Duration,
    retransmits: u64,
    duration: Duration,
}

impl Transfer {
    /// A transfer of a file of `len` bytes; grants of what was asked for as much as the limits allow.
    /// [`Transfer::begin`] sends the first packet.
    pub fn new(now: Instant, request: &Request<'_>, len: u64, limits: &Limits) -> Self {
        let asked = request.options;
        let granted = Options {
            block_size: asked.block_size.map(|size| size.min(limits.block_size.max(8))),
            timeout: asked.timeout,
            transfer_size: asked.transfer_size.map(|_| len),
            window_size: asked.window_size.map(|size| size.min(limits.window_size.max(1))),
        };
        // A client may ask for minutes; it then also waits for minutes, and sending earlier does no harm.
        let asked_wait = granted.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        let ceiling = asked_wait.unwrap_or(limits.timeout).min(limits.first_patience / 4);
        Self {
            len,
            block_size: granted.block_size.unwrap_or(PLAIN_BLOCK_SIZE).into(),
            window: granted.window_size.unwrap_or(1).into(),
            granted,
            phase: if granted.is_empty() { Phase::Sending } else { Phase::Offering },
            acked: 0,
            sent: 0,
            fresh: true,
            fast_resent: false,
            resends: 0,
            surplus: 0,
            round_trip: RoundTrip::new(ceiling),
            sent_at: now,
            deadline: now,
            started_at: now,
            progress_at: now,
            confirmed_at: None,
            patience: limits.patience,
            first_patience: limits.first_patience,
            retransmits: 0,
            duration: Duration::ZERO,
        }
    }

    /// Sends the first packet: the granted options, or block 1 where none were asked for.
    pub fn begin(&mut self, now: Instant, reader: &mut impl BlockReader, out: &mut Batch) {
        out.clear();
        self.send(now, reader, out);
    }

    /// Takes a datagram that came from the client.
    pub fn handle(&mut self, now: Instant, datagram: &[u8], reader: &mut impl BlockReader, out: &mut Batch) {
        out.clear();
        match Packet::decode(datagram) {
            _ if self.outcome().is_some() => {}
            Ok(Packet::Ack { block }) => self.acknowledged(now, block, reader, out),
            Ok(Packet::Error { code, message }) => {
                let asked_for_size = self.phase == Phase::Offering && self.granted.transfer_size.is_some();
                let probe = asked_for_size || code == ErrorCode::OptionRefused;
                self.end(now, Outcome::ClientAborted { code, message, probe });
            }
            // Whatever else comes is not worth an answer: it would be one more packet that a forger can provoke.
            Ok(_) | Err(_) => {}
        }
    }

    /// When [`Transfer::on_timeout`] wants to be called; `None` when the transfer has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.outcome().is_none().then_some(self.deadline)
    }

    /// Time has passed. Does nothing before [`Transfer::poll_timeout`].
    pub fn on_timeout(&mut self, now: Instant, reader: &mut impl BlockReader, out: &mut Batch) {
        out.clear();
        if self.outcome().is_some() || now < self.deadline {
            return;
        }
        if now >= self.give_up_at() {
            self.end(now, Outcome::TimedOut);
            return;
        }
        self.round_trip.back_off();
        self.resend(now, reader, out);
    }

    /// The client sent its request once more, byte for byte.
    pub fn repeat(&mut self, now: Instant, reader: &mut impl BlockReader, out: &mut Batch) -> Repeat {
        out.clear();
        match self.confirmed_at {
            _ if self.outcome().is_some() => Repeat::Restart,
            None => {
                self.resend(now, reader, out);
                Repeat::Answered
            }
            Some(confirmed) if now.saturating_duration_since(confirmed) <= REPEAT_GRACE => Repeat::Answered,
            Some(_) => {
                self.end(now, Outcome::Replaced);
                Repeat::Restart
            }
        }
    }

    /// The client asked for something else from the same port.
    pub fn replaced(&mut self, now: Instant) {
        self.end(now, Outcome::Replaced);
    }

    /// The client's system answered that nobody listens at its port.
    pub fn unreachable(&mut self, now: Instant) {
        let after_last_block = self.phase == Phase::Sending && self.sent == self.last_block();
        self.end(now, Outcome::Unreachable { after_last_block });
    }

    /// The server stops; the client is told, so that it need not wait.
    pub fn cancel(&mut self, now: Instant, out: &mut Batch) {
        out.clear();
        if self.outcome().is_none() {
            out.set(&packet::error(ErrorCode::Undefined, "server is stopping"));
            self.end(now, Outcome::Cancelled);
        }
    }

    /// The file cannot be read; the client is told.
    pub fn read_failed(&mut self, now: Instant, reason: &io::Error, out: &mut Batch) {
        out.clear();
        if self.outcome().is_none() {
            out.set(&packet::error(ErrorCode::Undefined, "file cannot be read"));
            self.end(now, Outcome::ReadFailed { reason: reason.to_string() });
        }
    }

    /// How it ended; `None` while it runs.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Ended(outcome) => Some(outcome),
            Phase::Offering | Phase::Sending => None,
        }
    }

    /// How much work it was so far, or until it ended.
    pub fn totals(&self) -> Totals {
        let bytes = self.acked.saturating_mul(self.block_size).min(self.len);
        Totals { bytes, blocks: self.acked, retransmits: self.retransmits, duration: self.duration }
    }

    /// The bytes of the file that [`Transfer::handle`] may read when it is given this datagram, or that
    /// [`Transfer::begin`], [`Transfer::on_timeout`] and [`Transfer::repeat`] may read when it is `None`. Lets the caller
    /// fetch them before, without blocking.
    pub fn reads(&self, datagram: Option<&[u8]>) -> Range<u64> {
        let from = match (&self.phase, datagram.map(Packet::decode)) {
            (Phase::Sending, None) => self.acked,
            (Phase::Sending, Some(Ok(Packet::Ack { block }))) => {
                self.acked.saturating_add(self.distance(block).unwrap_or(0))
            }
            (Phase::Offering, Some(Ok(Packet::Ack { .. }))) => 0,
            _ => return 0..0,
        };
        let start = from.saturating_mul(self.block_size).min(self.len);
        start..start.saturating_add(self.window.saturating_mul(self.block_size)).min(self.len)
    }

    /// How many blocks an acknowledgement moves the transfer forward: 0 for the block before the window, `None` for
    /// anything outside. A window is far smaller than the 65536 blocks after which numbers come again.
    fn distance(&self, block: u16) -> Option<u64> {
        // Truncation is the wire's own rule.
        let distance = u64::from(block.wrapping_sub(self.acked as u16));
        (distance <= self.sent.saturating_sub(self.acked)).then_some(distance)
    }

    fn acknowledged(&mut self, now: Instant, block: u16, reader: &mut impl BlockReader, out: &mut Batch) {
        if self.phase == Phase::Offering {
            if block == 0 {
                self.advance(now);
                self.phase = Phase::Sending;
                self.send(now, reader, out);
            }
            return;
        }
        match self.distance(block) {
            None => {}
            // Either an echo of a window that was sent twice, or the client lacks the window's first block.
            Some(0) if self.surplus > 0 => self.surplus -= 1,
            Some(0) if self.fast_resent || self.is_duplicate(now) => {}
            Some(0) => {
                self.fast_resent = true;
                self.resend(now, reader, out);
            }
            Some(distance) => {
                let in_flight = self.sent.saturating_sub(self.acked);
                self.acked = self.acked.saturating_add(distance);
                self.surplus = if distance == in_flight { self.resends } else { 0 };
                self.advance(now);
                if self.acked == self.last_block() {
                    self.end(now, Outcome::Completed);
                } else {
                    // RFC 7440 section 4: what follows a gap was thrown away and is sent again.
                    self.retransmits = self.retransmits.saturating_add(in_flight.saturating_sub(distance));
                    self.send(now, reader, out);
                }
            }
        }
    }

    /// Whether an acknowledgement that brings no progress is but a copy on the wire. A client that takes block by block
    /// cannot see a gap: it repeats itself only after silence, and must not be answered before (RFC 1123 section
    /// 4.2.3.1).
    fn is_duplicate(&self, now: Instant) -> bool {
        self.window == 1 && now.saturating_duration_since(self.sent_at) < self.round_trip.plain_wait()
    }

    /// The client has brought the transfer forward.
    fn advance(&mut self, now: Instant) {
        if self.fresh {
            self.round_trip.measured(now.saturating_duration_since(self.sent_at));
        }
        self.confirmed_at.get_or_insert(now);
        self.progress_at = now;
        self.fresh = true;
        self.fast_resent = false;
        self.resends = 0;
    }

    fn resend(&mut self, now: Instant, reader: &mut impl BlockReader, out: &mut Batch) {
        self.fresh = false;
        self.resends = self.resends.saturating_add(1);
        self.retransmits = self.retransmits.saturating_add(self.sent.saturating_sub(self.acked).max(1));
        self.send(now, reader, out);
    }

    /// Sends what is due: the granted options, or the window behind the last acknowledged block.
    fn send(&mut self, now: Instant, reader: &mut impl BlockReader, out: &mut Batch) {
        match &self.phase {
            Phase::Ended(_) => return,
            Phase::Offering => out.set(&Packet::OptionAck(self.granted).encode()),
            Phase::Sending => {
                self.sent = self.acked.saturating_add(self.window).min(self.last_block());
                if let Err(error) = self.fill(reader, out) {
                    self.read_failed(now, &error, out);
                    return;
                }
            }
        }
        self.sent_at = now;
        self.deadline = now.checked_add(self.round_trip.wait()).unwrap_or(now).min(self.give_up_at());
    }

    /// Puts the blocks from `acked + 1` to `sent` into the batch.
    fn fill(&self, reader: &mut impl BlockReader, out: &mut Batch) -> io::Result<()> {
        let start = self.acked.saturating_mul(self.block_size);
        let blocks = self.sent.saturating_sub(self.acked);
        let payload = self.len.saturating_sub(start).min(blocks.saturating_mul(self.block_size));
        let bytes = |count: u64| usize::try_from(count).map_err(io::Error::other);
        let segment = bytes(self.block_size + 4)?;
        let buffer = out.reserve(segment, bytes(payload + 4 * blocks)?);
        let mut block = self.acked;
        let mut offset = start;
        for datagram in buffer.chunks_mut(segment) {
            block += 1;
            if let Some((head, payload)) = datagram.split_first_chunk_mut::<4>() {
                *head = packet::data_head(block as u16);
                if !payload.is_empty() {
                    reader.read_exact_at(offset, payload)?;
                }
                offset += payload.len() as u64;
            }
        }
        Ok(())
    }

    /// The number of the last block, which is the first one that is not full (RFC 1350 section 6).
    fn last_block(&self) -> u64 {
        self.len / self.block_size + 1
    }

    fn give_up_at(&self) -> Instant {
        let patience = if self.confirmed_at.is_some() { self.patience } else { self.first_patience };
        self.progress_at.checked_add(patience).unwrap_or(self.progress_at)
    }

    fn end(&mut self, now: Instant, outcome: Outcome) {
        if self.outcome().is_none() {
            self.duration = now.saturating_duration_since(self.started_at);
            self.phase = Phase::Ended(outcome);
        }
    }
}
