//! Reads `tests/captures`: classic pcap files of Ethernet frames, of which only UDP over IPv4 matters.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

/// One datagram of a capture.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    /// The number of its frame, from 1.
    pub(crate) frame: usize,
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: SocketAddrV4,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

/// The names of all captures, in order.
pub(crate) fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).expect("tests/captures");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
        .filter(|name| name.ends_with(".pcap"))
        .collect();
    names.sort();
    names
}

/// The UDP datagrams of a capture.
pub(crate) fn datagrams(name: &str) -> Vec<Datagram> {
    let file = std::fs::read(folder().join(name)).expect("capture");
    assert_eq!(file[..4], 0xa1b2_c3d4_u32.to_le_bytes(), "{name}: little-endian pcap with microseconds");
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("4 bytes")) as usize;
    let mut found = Vec::new();
    let (mut at, mut frame) = (24, 0);
    while at + 16 <= file.len() {
        let len = word(at + 8);
        frame += 1;
        if let Some((source, destination, bytes)) = udp(&file[at + 16..at + 16 + len]) {
            found.push(Datagram { frame, source, destination, bytes });
        }
        at += 16 + len;
    }
    found
}

/// What clients sent by DHCP in a capture.
pub(crate) fn client_messages(name: &str) -> Vec<Datagram> {
    let mut all = datagrams(name);
    all.retain(|d| matches!(d.destination.port(), 67 | 4011) && d.bytes.first() == Some(&1));
    all
}

fn udp(frame: &[u8]) -> Option<(SocketAddrV4, SocketAddrV4, Vec<u8>)> {
    let (ethernet, ip) = frame.split_at_checked(14)?;
    if ethernet[12..] != [8, 0] {
        return None;
    }
    let header = usize::from(ip.first()? & 15) * 4;
    let (head, rest) = ip.split_at_checked(header)?;
    if head.get(9) != Some(&17) {
        return None;
    }
    let host = |at: usize| -> Option<Ipv4Addr> { Some(<[u8; 4]>::try_from(head.get(at..at + 4)?).ok()?.into()) };
    let short = |at: usize| -> Option<u16> { Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?)) };
    let bytes = rest.get(8..usize::from(short(4)?))?.to_vec();
    Some((SocketAddrV4::new(host(12)?, short(0)?), SocketAddrV4::new(host(16)?, short(2)?), bytes))
}
