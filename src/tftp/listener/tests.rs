use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::boot::files::{BootFile, BootFiles, BootShelf, NoScripts};
use crate::tftp::packet::{ErrorCode, Options, Packet, PacketError, Request};
use crate::tftp::{Batch, Decision, Limits, Listener, Outcome, TransferId};
use crate::tftp::{listener::Refusal, transfer::Repeat};

fn shelf() -> BootShelf {
    let mut files = BootFiles::default();
    for name in ["Boot/BCD", "snponly.efi"] {
        files.insert(name, BootFile::from_bytes(name, vec![1; 5000].into())).unwrap();
    }
    BootShelf::new(files, Arc::new(NoScripts))
}

fn client(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, 9], port))
}

fn read(file: &str, options: Options) -> Vec<u8> {
    Packet::Read(Request { file, options }).encode()
}

fn plain(file: &str) -> Vec<u8> {
    read(file, Options::default())
}

fn started(
    listener: &mut Listener,
    now: Instant,
    from: SocketAddr,
    datagram: &[u8],
) -> (TransferId, Option<TransferId>) {
    let answer = listener.handle(now, from, datagram, &shelf());
    match answer.decision {
        Decision::Start(start) => (start.id, answer.replaces),
        other => panic!("{other:?}"),
    }
}

fn refused(datagram: &[u8]) -> Option<(ErrorCode, Refusal)> {
    let mut listener = Listener::new(Limits::default());
    match listener.handle(Instant::now(), client(2000), datagram, &shelf()).decision {
        Decision::Refuse { reply, refusal } => match Packet::decode(&reply) {
            Ok(Packet::Error { code, .. }) => Some((code, refusal)),
            other => panic!("{other:?}"),
        },
        Decision::Ignore => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_served_is_answered_at_once_and_what_is_no_request_never() {
    let missing = refused(&plain("autoexec.ipxe"));
    assert_eq!(missing, Some((ErrorCode::NotFound, Refusal::NotFound { name: "autoexec.ipxe".to_owned() })));
    let write = Packet::Write(Request { file: "x", options: Options::default() }).encode();
    assert_eq!(refused(&write), Some((ErrorCode::Access, Refusal::Write)));
    let mail = refused(b"\0\x01f\0mail\0");
    assert_eq!(mail, Some((ErrorCode::Illegal, Refusal::Malformed(PacketError::Mode))));
    let binary = refused(b"\0\x01\xff\xfe\0octet\0");
    assert_eq!(binary, Some((ErrorCode::NotFound, Refusal::Malformed(PacketError::NotText))));
    for noise in [b"".as_slice(), b"\0", b"\0\x05\0\x01no\0", b"\0\x04\0\x01", b"\0\x03\0\x01abc", b"\x01\0f\0octet\0"]
    {
        assert_eq!(refused(noise), None, "{noise:?}");
    }
}

#[test]
fn senders_that_nobody_can_answer_are_ignored() {
    let mut listener = Listener::new(Limits::default());
    for from in ["10.0.0.1:0", "0.0.0.0:2000", "239.1.1.1:2000"] {
        let answer = listener.handle(Instant::now(), from.parse().unwrap(), &plain("snponly.efi"), &shelf());
        assert!(matches!(answer.decision, Decision::Ignore), "{from}");
    }
}

#[test]
fn another_request_from_the_same_port_replaces_the_transfer() {
    let (mut listener, now) = (Listener::new(Limits::default()), Instant::now());
    let (first, _) = started(&mut listener, now, client(2000), &plain("snponly.efi"));
    let (second, replaced) = started(&mut listener, now, client(2000), &plain("Boot\\BCD"));
    assert_eq!(replaced, Some(first));
    assert_eq!(listener.transfers(), 1);
    assert_eq!(listener.ended(first), None, "the place was free already");
    let answer = listener.handle(now, client(2000), &plain("missing"), &shelf());
    assert_eq!(answer.replaces, Some(second), "even a request that is refused ends what the client has given up");
    assert_eq!(listener.transfers(), 0);
}

#[test]
fn the_same_request_again_goes_to_its_transfer() {
    let (mut listener, now) = (Listener::new(Limits::default()), Instant::now());
    let request = read("snponly.efi", Options { block_size: Some(1468), ..Options::default() });
    let Decision::Start(mut start) = listener.handle(now, client(2000), &request, &shelf()).decision else { panic!() };
    let again = listener.handle(now, client(2000), &request, &shelf());
    assert!(matches!(again.decision, Decision::Repeat(id) if id == start.id), "{again:?}");

    let mut reader = |_: u64, buffer: &mut [u8]| {
        buffer.fill(1);
        Ok(())
    };
    let mut out = Batch::default();
    start.transfer.begin(now, &mut reader, &mut out);
    assert_eq!(start.transfer.repeat(now, &mut reader, &mut out), Repeat::Answered);
    assert!(matches!(Packet::decode(out.bytes()), Ok(Packet::OptionAck(_))), "the client heard nothing: once more");
    start.transfer.handle(now, &Packet::Ack { block: 0 }.encode(), &mut reader, &mut out);
    assert_eq!(start.transfer.repeat(now, &mut reader, &mut out), Repeat::Answered);
    assert!(out.is_empty(), "this repetition was sent before the client had heard");
    let later = now + Duration::from_secs(1);
    assert_eq!(start.transfer.repeat(later, &mut reader, &mut out), Repeat::Restart);
    assert_eq!(start.transfer.outcome(), Some(&Outcome::Replaced));
    assert_eq!(listener.ended(start.id), Some((client(2000), request)));
}

#[test]
fn transfers_are_limited_per_client_and_in_all() {
    let limits = Limits { transfers: 3, transfers_per_client: 2, ..Limits::default() };
    let (mut listener, now) = (Listener::new(limits), Instant::now());
    let request = plain("snponly.efi");
    let (first, _) = started(&mut listener, now, client(1), &request);
    started(&mut listener, now, client(2), &request);
    let busy = |listener: &mut Listener, from| {
        matches!(listener.handle(now, from, &request, &shelf()).decision, Decision::Busy)
    };
    assert!(busy(&mut listener, client(3)), "two for one address");
    started(&mut listener, now, "10.77.0.10:1".parse().unwrap(), &request);
    assert!(busy(&mut listener, "10.77.0.11:1".parse().unwrap()), "three in all");
    listener.ended(first);
    started(&mut listener, now, client(3), &request);
}
