//! Wake-on-LAN: the packet that switches a PC on (AMD "Magic Packet Technology").

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::net::udp::{self, SocketError};
use crate::room::Mac;

/// The port "discard": network cards look at the content only.
const PORT: u16 = 9;
/// A packet may get lost, and a sleeping card does not ask for it again.
const REPEATS: u8 = 3;

/// Why PCs could not be woken.
#[derive(Debug, thiserror::Error)]
pub enum WakeError {
    /// No socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The packet could not be sent.
    #[error("cannot send the wake-up packet for {mac} on {interface}")]
    Send {
        /// For whom.
        mac: Mac,
        /// Where.
        interface: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Six bytes of ones, and sixteen times the address.
pub fn magic_packet(mac: Mac) -> [u8; 102] {
    let mut packet = [0xff; 102];
    for (byte, value) in packet.iter_mut().skip(6).zip(mac.0.iter().cycle()) {
        *byte = *value;
    }
    packet
}

/// Wakes the PCs `macs` in the network of `interface`. That they are woken shows when they boot.
pub async fn wake(interface: &str, macs: &[Mac]) -> Result<(), WakeError> {
    let socket = udp::bind(Some(interface), SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    for _ in 0..REPEATS {
        for &mac in macs {
            let sent = socket.send_to(&magic_packet(mac), (Ipv4Addr::BROADCAST, PORT)).await;
            sent.map_err(|source| WakeError::Send { mac, interface: interface.to_owned(), source })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_is_ones_and_sixteen_addresses() {
        let mac: Mac = "52:54:00:12:34:56".parse().unwrap();
        let packet = magic_packet(mac);
        assert_eq!(packet[..6], [0xff; 6]);
        assert!(packet[6..].chunks(6).all(|chunk| chunk == mac.0));
        assert_eq!(packet[6..].chunks(6).count(), 16);
    }
}
