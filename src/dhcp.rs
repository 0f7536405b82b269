//! DHCP for network booting beside the school's own DHCP server (proxyDHCP; RFC 2131, RFC 4578, PXE 2.1), without I/O.
//!
//! [`request`] reads what a client sent, distrusting every byte. [`proxy`] is the service: it decides whether and what to
//! answer, and names a [`Destination`] that the network layer maps to an address. [`reply`] writes the packet, [`pxe`] is
//! the codec of option 43. No address is ever leased here.

use std::net::{Ipv4Addr, SocketAddrV4};

pub mod proxy;
pub mod pxe;
mod rate;
pub mod reply;
pub mod request;

pub use proxy::{NoReply, ProxyDhcp};
pub use request::BootRequest;

/// Where DHCP servers and relays listen (RFC 2131 section 4.1).
pub const SERVER_PORT: u16 = 67;
/// Where DHCP clients listen.
pub const CLIENT_PORT: u16 = 68;
/// Where PXE boot servers listen (PXE 2.1 section 2.2).
pub const PROXY_PORT: u16 = 4011;

/// The service that a datagram came to, whatever the port's number is in the loopback form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Port [`SERVER_PORT`].
    Dhcp,
    /// Port [`PROXY_PORT`].
    Proxy,
}

/// A datagram, as it was received.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Which service it came to. The reply must leave from the same port: iPXE drops one that does not.
    pub service: Service,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Where it came from.
    pub source: SocketAddrV4,
    /// Our own address on the network that it came from: what the reply names as server.
    pub local: Ipv4Addr,
}

/// A datagram to send, from the port of the service that the request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where it goes.
    pub destination: Destination,
}

/// Where a reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To everybody on the network that the request came from, at the clients' port. A client without an address needs it.
    Broadcast,
    /// To a client that has an address.
    Unicast(SocketAddrV4),
    /// To a relay, at the servers' port (RFC 2131 section 4.1).
    Relay(Ipv4Addr),
}
