//! A TFTP client as small as firmware's: RFC 1350 with block size (RFC 2348) and window size (RFC 7440).
//!
//! Written apart from [`crate::tftp`], so that the two check each other.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const BLOCK: usize = 1468;
const WINDOW: u16 = 8;
const TRIES: u32 = 8;

/// Fetches a file.
///
/// # Errors
/// What the server or the network said.
pub fn fetch(server: SocketAddr, name: &str) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut request = vec![0, 1];
    for text in [name, "octet", "blksize", &BLOCK.to_string(), "windowsize", &WINDOW.to_string()] {
        request.extend_from_slice(text.as_bytes());
        request.push(0);
    }
    let mut buffer = [0; BLOCK + 4];
    let mut file = Vec::new();
    let mut peer = None;
    let mut window = 1;
    let mut expected: u16 = 0;
    let mut in_window = 0;
    let mut last_sent = request;
    let mut tries = 0;
    socket.send_to(&last_sent, server)?;
    loop {
        let (len, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                tries += 1;
                if tries > TRIES {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{name} did not come")));
                }
                socket.send_to(&last_sent, peer.unwrap_or(server))?;
                continue;
            }
            Err(error) => return Err(error),
        };
        if peer.is_some_and(|peer| peer != from) {
            continue;
        }
        let packet = buffer.get(..len).unwrap_or_default();
        match packet {
            [0, 6, options @ ..] if expected == 0 => {
                peer = Some(from);
                let mut words = options.split(|byte| *byte == 0).map(String::from_utf8_lossy);
                while let (Some(option), Some(value)) = (words.next(), words.next()) {
                    if option.eq_ignore_ascii_case("windowsize") {
                        window = value.parse().map_err(|_| io::Error::other("a window size that is no number"))?;
                    }
                }
                expected = 1;
                last_sent = vec![0, 4, 0, 0];
                socket.send_to(&last_sent, from)?;
            }
            [0, 3, high, low, data @ ..] => {
                peer = Some(from);
                let block = u16::from_be_bytes([*high, *low]);
                if block == expected.max(1) {
                    expected = block.wrapping_add(1);
                    file.extend_from_slice(data);
                    in_window += 1;
                    tries = 0;
                    let over = data.len() < BLOCK;
                    if over || in_window >= window {
                        in_window = 0;
                        last_sent = vec![0, 4, *high, *low];
                        socket.send_to(&last_sent, from)?;
                    }
                    if over {
                        return Ok(file);
                    }
                } else {
                    // A block is missing: ask for the window again from the last one that came in order.
                    in_window = 0;
                    let last = expected.max(1).wrapping_sub(1).to_be_bytes();
                    last_sent = vec![0, 4, last[0], last[1]];
                    socket.send_to(&last_sent, from)?;
                }
            }
            [0, 5, _, code, text @ ..] => {
                let text = String::from_utf8_lossy(text);
                return Err(io::Error::other(format!("{name}: TFTP error {code}: {}", text.trim_end_matches('\0'))));
            }
            _ => {}
        }
    }
}
