//! TFTP for boot loaders, without sockets or clocks: RFC 1350 with the options of RFC 2347 to 2349 and 7440, read only.
//!
//! - [`packet`] is the codec.
//! - [`transfer`] sends one file: `handle(now, datagram)`, `poll_timeout()`, `on_timeout(now)`.
//! - [`listener`] decides what a datagram at the well-known port means.
//! - [`batch`] is what they hand back: datagrams that may leave in one system call.
//!
//! What differs from other servers, and why: `docs/decisions/001-own-tftp-engine.md`. [`crate::tftp_server`] moves the bytes.

use std::time::Duration;

pub mod batch;
pub mod listener;
pub mod packet;
pub mod round_trip;
pub mod transfer;

pub use batch::Batch;
pub use listener::{Decision, Listener, TransferId};
pub use packet::{ErrorCode, Packet, Request};
pub use transfer::{BlockReader, Outcome, Totals, Transfer};

/// The block size of a transfer that did not ask for one (RFC 1350).
pub const PLAIN_BLOCK_SIZE: u16 = 512;

/// The largest block that fits into an Ethernet frame unfragmented: 1500 less 20 (IPv4), 8 (UDP) and 4 (TFTP). Larger
/// blocks would be fragments, which firmware and switches lose.
pub const MAX_BLOCK_SIZE: u16 = 1468;

/// What the server grants, and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest block granted, at most [`MAX_BLOCK_SIZE`] on Ethernet.
    pub block_size: u16,
    /// The most blocks in flight that are granted (RFC 7440).
    pub window_size: u16,
    /// The time until the first retransmission while no round trip has been measured, and the ceiling later on, unless
    /// the client asked for another one (RFC 2349).
    pub timeout: Duration,
    /// How long a client that has answered before may say nothing that brings the transfer forward.
    pub patience: Duration,
    /// How long a client that never answered is waited for: requests can have forged senders.
    pub first_patience: Duration,
    /// The most transfers at once.
    pub transfers: usize,
    /// The most transfers at once of one address.
    pub transfers_per_client: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            block_size: MAX_BLOCK_SIZE,
            window_size: 64,
            timeout: Duration::from_secs(1),
            patience: Duration::from_secs(20),
            first_patience: Duration::from_secs(6),
            transfers: 1024,
            transfers_per_client: 8,
        }
    }
}
