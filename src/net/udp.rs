//! UDP sockets of one network interface, and where replies go.
//!
//! A service on an interface needs two: one bound to every address, which is the only kind that hears broadcasts, and one
//! bound to the server's own address, which is what replies must come from. Both are tied to the interface, so a request is
//! answered in the network that it came from.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::dhcp::{CLIENT_PORT, Destination, SERVER_PORT};

/// Room for a whole school that is switched on at once: some thousand messages.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

/// Why a socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The address or port is taken, or this process may not have it.
    #[error(
        "cannot listen at {address}{}: is another DHCP or PXE server running on this machine, or are rights missing?",
        on(interface)
    )]
    Bind {
        /// The address.
        address: SocketAddrV4,
        /// The interface, where it was to be one.
        interface: Option<String>,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

fn on(interface: &Option<String>) -> String {
    interface.as_ref().map(|interface| format!(" on {interface}")).unwrap_or_default()
}

/// A bound UDP socket for tokio. With an `interface` it hears and sends there only, and may broadcast.
///
/// A port that is not the system's own choice is shared with other servers of this machine that allow it, such as a DHCP
/// server at port 67: each gets every broadcast.
pub fn bind(interface: Option<&str>, address: SocketAddrV4) -> Result<UdpSocket, SocketError> {
    let socket = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        if address.port() != 0 {
            socket.set_reuse_address(true)?;
        }
        if let Some(interface) = interface {
            socket.bind_device(Some(interface.as_bytes()))?;
            socket.set_broadcast(true)?;
        }
        // The kernel gives what its limit allows.
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.bind(&SocketAddr::V4(address).into())?;
        UdpSocket::from_std(socket.into())
    };
    socket().map_err(|source| SocketError::Bind { address, interface: interface.map(str::to_owned), source })
}

/// How destinations become addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// In a real network.
    Network,
    /// On the loopback interface: every reply goes back to where its request came from, since nobody can be reached there
    /// by broadcast or at ports 67 and 68.
    Loopback,
}

impl Mapping {
    /// The address for a reply to a request from `source`.
    pub fn address(self, destination: Destination, source: SocketAddrV4) -> SocketAddrV4 {
        match (self, destination) {
            (Self::Loopback, _) => source,
            (Self::Network, Destination::Broadcast) => SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT),
            (Self::Network, Destination::Unicast(address)) => address,
            (Self::Network, Destination::Relay(relay)) => SocketAddrV4::new(relay, SERVER_PORT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_map_to_addresses() {
        let source = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 20), 4011);
        let relay = Ipv4Addr::new(10, 2, 0, 1);
        let network = |destination| Mapping::Network.address(destination, source).to_string();
        assert_eq!(network(Destination::Broadcast), "255.255.255.255:68");
        assert_eq!(network(Destination::Unicast(source)), "10.1.0.20:4011");
        assert_eq!(network(Destination::Relay(relay)), "10.2.0.1:67");
        for destination in [Destination::Broadcast, Destination::Relay(relay)] {
            assert_eq!(Mapping::Loopback.address(destination, source), source);
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = bind(None, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(address) = first.local_addr().unwrap() else { panic!("IPv4") };
        let error = bind(None, address).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
