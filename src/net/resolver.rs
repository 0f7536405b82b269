//! The sockets under [`crate::dns`]: synchronous, one fresh port for each question.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::dns::DnsName;
use crate::dns::lookup::{Lookup, Next, Outcome, Transport};
use crate::dns::message::RecordKind;
use crate::dns::resolver_file::{self, ResolverFile};

/// Where this system's way of asking is written down.
pub const RESOLVER_FILE: &str = "/etc/resolv.conf";

/// The port of name servers.
const PORT: u16 = 53;
/// The longest datagram that a server sends to who does not ask for longer ones (RFC 1035 §4.2.1); more does no harm.
const DATAGRAM: usize = 4096;

/// Not an address of a name server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not the address of a DNS server; such as 10.0.0.1, 10.0.0.1:5353 or [fd00::1]:53")]
pub struct ServerError(pub String);

/// Asks name servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    patience: Duration,
    rounds: u32,
}

/// The text of this system's resolver file and what it says; the defaults where there is none.
pub fn system(file: &Path) -> ResolverFile {
    resolver_file::read(&std::fs::read_to_string(file).unwrap_or_default())
}

/// An address with a port, or without one for port 53.
///
/// # Errors
/// [`ServerError`].
pub fn server_address(text: &str) -> Result<SocketAddr, ServerError> {
    let bare = text.trim();
    let address = bare.parse().ok().or_else(|| bare.parse().ok().map(|address: IpAddr| SocketAddr::new(address, PORT)));
    address.or_else(|| zoned(bare)).filter(|address| address.port() != 0).ok_or_else(|| ServerError(text.to_owned()))
}

/// A link-local address with the interface that it is meant on, such as `fe80::1%eth0`.
fn zoned(text: &str) -> Option<SocketAddr> {
    let (address, zone) = text.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let plain =
        zone.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@')) && !zone.contains("..");
    let index = match zone.parse() {
        Ok(index) => index,
        Err(_) if plain => {
            std::fs::read_to_string(format!("/sys/class/net/{zone}/ifindex")).ok()?.trim().parse().ok()?
        }
        Err(_) => return None,
    };
    Some(SocketAddr::V6(SocketAddrV6::new(address, PORT, 0, index)))
}

impl Resolver {
    /// Asks `servers`, each `rounds` times, and waits `patience` for each.
    pub fn new(servers: Vec<SocketAddr>, patience: Duration, rounds: u32) -> Self {
        Self { servers, patience, rounds }
    }

    /// Asks as this system does. `patience` counts instead of the file's where it is less.
    pub fn of_system(file: &ResolverFile, patience: Duration) -> Self {
        let servers = file.servers.iter().filter_map(|server| server_address(server).ok()).collect();
        Self::new(servers, patience.min(file.patience), file.rounds.min(2))
    }

    /// The servers, in the order in which they are asked.
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Asks for `name` and waits for what comes of it.
    pub fn ask(&self, name: &DnsName, kind: RecordKind) -> Outcome {
        let mut lookup = Lookup::new(name.clone(), kind, self.servers.clone(), self.patience, self.rounds);
        let mut socket: Option<(SocketAddr, UdpSocket)> = None;
        loop {
            match lookup.next(Instant::now(), fresh_id()) {
                Next::Done(outcome) => return outcome,
                Next::Send { to, over: Transport::Udp, bytes } => match send(to, &bytes) {
                    Ok(opened) => socket = Some((to, opened)),
                    Err(_) => lookup.unreachable(to),
                },
                Next::Send { to, over: Transport::Tcp, bytes } => match exchange(to, &bytes, self.patience) {
                    Ok(answer) => {
                        lookup.heard(to, Transport::Tcp, &answer);
                        // A connection has one answer; if it was none, nothing else comes.
                        lookup.unreachable(to);
                    }
                    Err(_) => lookup.unreachable(to),
                },
                Next::Wait { until } => {
                    if let Some((from, socket)) = &socket {
                        wait(&mut lookup, *from, socket, until);
                    }
                }
            }
        }
    }
}

/// The source port is random too, so a generator that fails leaves an attacker something to guess.
fn fresh_id() -> u16 {
    let mut id = [0; 2];
    let _ = getrandom::fill(&mut id);
    u16::from_be_bytes(id)
}

/// A connected socket: the kernel drops what comes from elsewhere, and tells when nothing listens.
fn send(to: SocketAddr, bytes: &[u8]) -> io::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    socket.send(bytes)?;
    Ok(socket)
}

fn wait(lookup: &mut Lookup, from: SocketAddr, socket: &UdpSocket, until: Instant) {
    // A time-out of zero would mean for ever.
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut bytes = [0; DATAGRAM];
    match socket.set_read_timeout(Some(left)).and_then(|()| socket.recv(&mut bytes)) {
        Ok(len) => lookup.heard(from, Transport::Udp, bytes.get(..len).unwrap_or_default()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(_) => lookup.unreachable(from),
    }
}

/// One question and its answer over TCP, each after its length in two bytes (RFC 1035 §4.2.2).
fn exchange(to: SocketAddr, question: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    let until = Instant::now() + patience;
    let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&to, left())?;
    stream.set_write_timeout(Some(left()))?;
    let len = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes()[..], question].concat())?;
    let mut read = |want: usize| {
        let mut bytes = vec![0; want];
        let mut have = 0;
        while have < want {
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // Anew each time: a server that sends a byte now and then has no more time than any other.
            stream.set_read_timeout(Some(left()))?;
            match stream.read(bytes.get_mut(have..).unwrap_or_default())? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                len => have += len,
            }
        }
        Ok(bytes)
    };
    let len = read(2)?;
    let len = len.first_chunk().map_or(0, |len| usize::from(u16::from_be_bytes(*len)));
    read(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses() {
        let text = |text: &str| server_address(text).map(|address| address.to_string());
        assert_eq!(text("10.0.0.1").unwrap(), "10.0.0.1:53");
        assert_eq!(text("10.0.0.1:5353").unwrap(), "10.0.0.1:5353");
        assert_eq!(text("fd00::1").unwrap(), "[fd00::1]:53");
        assert_eq!(text("[fd00::1]:54").unwrap(), "[fd00::1]:54");
        assert_eq!(text("fe80::1%3").unwrap(), "[fe80::1%3]:53");
        assert_eq!(text("fe80::1%lo").unwrap(), "[fe80::1%1]:53");
        for wrong in ["", "router", "10.0.0", "10.0.0.1:0", "fe80::1%../x", "fe80::1%nothing"] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
    }
}
