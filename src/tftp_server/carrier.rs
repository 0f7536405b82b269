//! A transfer's own socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
use tokio::net::UdpSocket;

use crate::tftp::Batch;

/// The most bytes in one call: a UDP datagram before the system cuts it.
const CALL_BYTES: usize = 65_507;

/// The most segments in one call (the kernel's `UDP_MAX_SEGMENTS` before Linux 6.9).
const CALL_SEGMENTS: usize = 64;

/// Smaller segments are not worth the call, and an error packet could be larger than one and be cut up.
const SMALLEST_SEGMENT: usize = 516;

/// What became of a datagram or a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The system took it. Whether it arrives is another matter, and so is a full queue: both are loss.
    Away,
    /// Nobody listens at the client's port any more.
    Unreachable,
}

/// A socket that is connected to one client.
pub(super) struct Carrier {
    socket: UdpSocket,
    /// The size at which the system cuts up what it is given; `None` while it was not told.
    segment: Option<usize>,
    /// Whether it can do that at all for this client's route.
    can_cut: bool,
}

impl Carrier {
    /// A socket of its own port at `local`, connected to `peer`.
    pub(super) async fn open(local: IpAddr, ports: Option<RangeInclusive<u16>>, peer: SocketAddr) -> io::Result<Self> {
        let socket = match ports {
            None => UdpSocket::bind((local, 0)).await?,
            Some(ports) => {
                let mut last = Err(io::ErrorKind::AddrInUse.into());
                for port in ports {
                    last = UdpSocket::bind((local, port)).await;
                    if last.is_ok() {
                        break;
                    }
                }
                last?
            }
        };
        socket.connect(peer).await?;
        Ok(Self { socket, segment: None, can_cut: true })
    }

    /// Waits for a datagram; `None` when nobody listens at the client's port any more.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            match self.socket.recv(buffer).await {
                Ok(len) => return Some(len),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return None,
                // Whatever else a connected socket reports (a route that comes and goes) passes, or time runs out.
                Err(error) => {
                    tracing::debug!(%error, "cannot receive");
                    tokio::time::sleep(super::PAUSE).await;
                }
            }
        }
    }

    /// Sends a batch, in as few calls as the system allows.
    pub(super) async fn send(&mut self, batch: &Batch) -> Sent {
        if batch.is_empty() {
            return Sent::Away;
        }
        if batch.bytes().len() > batch.segment() && self.cuts_at(batch.segment()) {
            let segments = (CALL_BYTES / batch.segment()).clamp(1, CALL_SEGMENTS);
            for run in batch.bytes().chunks(batch.segment().saturating_mul(segments)) {
                match self.socket.send(run).await {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Sent::Unreachable,
                    Err(error) => {
                        // No checksum offload on this card, or a route with a smaller frame: from now on one by one.
                        tracing::debug!(%error, "the system does not cut up datagrams here");
                        self.can_cut = false;
                        let _reset = setsockopt(&self.socket, UdpGsoSegment, &0);
                        return self.send_singly(batch).await;
                    }
                }
            }
            return Sent::Away;
        }
        self.send_singly(batch).await
    }

    async fn send_singly(&self, batch: &Batch) -> Sent {
        for datagram in batch.datagrams() {
            match self.socket.send(datagram).await {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Sent::Unreachable,
                Err(error) => tracing::debug!(%error, "datagram not sent"),
            }
        }
        Sent::Away
    }

    /// Tells the system once where to cut.
    fn cuts_at(&mut self, segment: usize) -> bool {
        if !self.can_cut || segment < SMALLEST_SEGMENT {
            return false;
        }
        if self.segment != Some(segment) {
            let told = i32::try_from(segment).is_ok_and(|size| setsockopt(&self.socket, UdpGsoSegment, &size).is_ok());
            self.can_cut = told;
            self.segment = told.then_some(segment);
        }
        self.can_cut
    }
}
