//! What a datagram at the well-known port means, given what is under way already.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::boot::files::{FileSource, OpenFile};
use crate::tftp::Limits;
use crate::tftp::packet::{self, ErrorCode, Packet, PacketError, Request};
use crate::tftp::transfer::Transfer;

#[cfg(test)]
mod tests;

/// Names a transfer for as long as the listener lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(u64);

/// A transfer that is to begin.
#[derive(Debug)]
pub struct Start {
    /// Its name.
    pub id: TransferId,
    /// The client.
    pub peer: SocketAddr,
    /// The file as the client spelled it.
    pub name: String,
    /// The file.
    pub file: OpenFile,
    /// Its state.
    pub transfer: Transfer,
}

/// What a datagram means.
#[derive(Debug)]
pub struct Answer {
    /// A transfer to the same port that is over: the client began anew. Tell it by [`Transfer::replaced`].
    pub replaces: Option<TransferId>,
    /// What to do.
    pub decision: Decision,
}

/// Why a request is answered by an error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No such file. Belongs to most boots: loaders try names.
    NotFound {
        /// The name as the client spelled it.
        name: String,
    },
    /// Nothing is ever written.
    Write,
    /// A request that cannot be read.
    Malformed(PacketError),
}

/// What to do about a datagram.
#[derive(Debug)]
pub enum Decision {
    /// Begin a transfer.
    Start(Box<Start>),
    /// The client repeated the request that this transfer answers: ask [`Transfer::repeat`], and if that says restart (or
    /// the transfer has ended meanwhile), hand the request in again after [`Listener::ended`].
    Repeat(TransferId),
    /// Send this datagram.
    Refuse {
        /// An error packet.
        reply: Vec<u8>,
        /// Why.
        refusal: Refusal,
    },
    /// Too many transfers. No answer: the client asks again, while an error would end its boot.
    Busy,
    /// Nothing that deserves an answer.
    Ignore,
}

#[derive(Debug)]
struct Live {
    id: TransferId,
    request: Vec<u8>,
}

/// The transfers under way, by client port.
#[derive(Debug)]
pub struct Listener {
    limits: Limits,
    next: u64,
    live: HashMap<SocketAddr, Live>,
    peers: HashMap<TransferId, SocketAddr>,
    per_client: HashMap<IpAddr, usize>,
}

impl Listener {
    /// Nothing is under way.
    pub fn new(limits: Limits) -> Self {
        let (live, peers, per_client) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { limits, next: 0, live, peers, per_client }
    }

    /// Decides about a datagram.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], files: &dyn FileSource) -> Answer {
        let mut replaces = None;
        let decision = self.decide(now, from, datagram, files, &mut replaces);
        Answer { replaces, decision }
    }

    fn decide(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        files: &dyn FileSource,
        replaces: &mut Option<TransferId>,
    ) -> Decision {
        if from.port() == 0 || from.ip().is_multicast() || from.ip().is_unspecified() {
            return Decision::Ignore;
        }
        let request = match Packet::decode(datagram) {
            Ok(Packet::Read(request)) => request,
            Ok(Packet::Write(_)) => return refuse(ErrorCode::Access, "this server is read-only", Refusal::Write),
            Ok(_) => return Decision::Ignore,
            Err(error) => return malformed(datagram, error),
        };
        if let Some(previous) = self.live.get(&from) {
            let id = previous.id;
            if previous.request == datagram {
                return Decision::Repeat(id);
            }
            self.ended(id);
            *replaces = Some(id);
        }
        let Some(file) = files.open(request.file) else {
            let refusal = Refusal::NotFound { name: request.file.to_owned() };
            return refuse(ErrorCode::NotFound, "file not found", refusal);
        };
        let of_client = self.per_client.get(&from.ip()).copied().unwrap_or(0);
        if self.peers.len() >= self.limits.transfers || of_client >= self.limits.transfers_per_client {
            return Decision::Busy;
        }
        Decision::Start(Box::new(self.start(now, from, datagram, &request, file)))
    }

    fn start(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        datagram: &[u8],
        request: &Request<'_>,
        file: OpenFile,
    ) -> Start {
        let id = TransferId(self.next);
        self.next = self.next.wrapping_add(1);
        self.live.insert(peer, Live { id, request: datagram.to_owned() });
        self.peers.insert(id, peer);
        *self.per_client.entry(peer.ip()).or_default() += 1;
        let transfer = Transfer::new(now, request, file.len, &self.limits);
        Start { id, peer, name: request.file.to_owned(), file, transfer }
    }

    /// A transfer is over, and its place is free. Hands back client and request, for a client that has asked again.
    /// `None` for one that was replaced before.
    pub fn ended(&mut self, id: TransferId) -> Option<(SocketAddr, Vec<u8>)> {
        let peer = self.peers.remove(&id)?;
        if let Some(count) = self.per_client.get_mut(&peer.ip()) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_client.remove(&peer.ip());
            }
        }
        let live = self.live.remove(&peer)?;
        Some((peer, live.request))
    }

    /// How many transfers are under way.
    pub fn transfers(&self) -> usize {
        self.peers.len()
    }
}

fn refuse(code: ErrorCode, message: &str, refusal: Refusal) -> Decision {
    Decision::Refuse { reply: packet::error(code, message), refusal }
}

/// Only what claims to be a request is answered: an error must never answer an error.
fn malformed(datagram: &[u8], error: PacketError) -> Decision {
    if !matches!(datagram, [0, 1 | 2, ..]) {
        return Decision::Ignore;
    }
    let (code, message) = match error {
        PacketError::NotText | PacketError::NoName => (ErrorCode::NotFound, "file not found"),
        PacketError::Mode => (ErrorCode::Illegal, "only octet and netascii"),
        _ => (ErrorCode::Illegal, "not a request"),
    };
    refuse(code, message, Refusal::Malformed(error))
}
