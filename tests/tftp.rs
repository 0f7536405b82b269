//! The TFTP server over loopback: a client by RFC 7440, the probe of real firmware, aborts and retries, async-tftp.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use klonwerk::boot::files::{BootFile, BootFiles, BootShelf, NoScripts, directory};
use klonwerk::tftp::packet::{ErrorCode, Options, Packet, Request};
use klonwerk::tftp::{Limits, Outcome};
use klonwerk::tftp_server::{Config, Server, TransferEvent};
use tokio_util::sync::CancellationToken;

/// What a test waits for at most; never reached unless the test fails.
const LONG: Duration = Duration::from_secs(20);

/// "At once": well below the second after which servers and loaders repeat themselves.
const AT_ONCE: Duration = Duration::from_millis(700);

fn content(len: usize) -> Vec<u8> {
    (0..len as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

struct Running {
    address: SocketAddr,
    events: Receiver<TransferEvent>,
    cancel: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    fn start(files: BootFiles, limits: Limits) -> Self {
        let (sender, events) = channel();
        let (ready, address) = channel();
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let shelf = Arc::new(BootShelf::new(files, Arc::new(NoScripts)));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let config = Config { listen: "127.0.0.1:0".parse().unwrap(), limits, ports: None };
                let observer = Arc::new(move |event| {
                    let _nobody_listens_at_the_end = sender.send(event);
                });
                let server = Server::bind(config, shelf, observer).await.unwrap();
                ready.send(server.local_addr()).unwrap();
                server.run(stop).await;
            });
        });
        Self { address: address.recv().unwrap(), events, cancel, thread: Some(thread) }
    }

    fn with(files: &[(&str, Vec<u8>)]) -> Self {
        let mut table = BootFiles::default();
        for (name, bytes) in files {
            table.insert(name, BootFile::from_bytes(name, bytes.clone().into())).unwrap();
        }
        Self::start(table, Limits::default())
    }

    fn ended(&self) -> (Outcome, klonwerk::tftp::Totals) {
        loop {
            if let TransferEvent::Ended { outcome, totals, .. } = self.events.recv_timeout(LONG).unwrap() {
                return (outcome, totals);
            }
        }
    }

    fn stop(&mut self) {
        self.cancel.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A small TFTP client (RFC 7440), which can lose what it receives.
struct Client {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Client {
    fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        Self { socket, server }
    }

    fn ask(&self, file: &str, options: Options) {
        self.socket.send_to(&Packet::Read(Request { file, options }).encode(), self.server).unwrap();
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        let (len, from) = self.socket.recv_from(&mut buffer).unwrap();
        (buffer[..len].to_vec(), from)
    }

    fn option_ack(&self) -> (Options, SocketAddr) {
        let (datagram, from) = self.receive();
        match Packet::decode(&datagram) {
            Ok(Packet::OptionAck(options)) => (options, from),
            other => panic!("{other:?}"),
        }
    }

    fn ack(&self, block: u16, to: SocketAddr) {
        self.socket.send_to(&Packet::Ack { block }.encode(), to).unwrap();
    }

    fn abort(&self, to: SocketAddr) {
        let message = "User aborted the transfer".to_owned();
        self.socket.send_to(&Packet::Error { code: ErrorCode::OptionRefused, message }.encode(), to).unwrap();
    }

    /// Fetches a file; `lose` says which of the received blocks never arrived.
    fn fetch(&self, file: &str, options: Options, mut lose: impl FnMut(u64) -> bool) -> Vec<u8> {
        self.ask(file, options);
        let (mut block_size, mut window) = (512usize, 1u64);
        let mut transfer = None;
        if options != Options::default() {
            let (granted, from) = self.option_ack();
            block_size = granted.block_size.map_or(512, usize::from);
            window = granted.window_size.map_or(1, u64::from);
            self.ack(0, from);
            transfer = Some(from);
        }
        let (mut bytes, mut expected, mut in_window, mut counted, mut gap) = (Vec::new(), 1u64, 0, 0, false);
        loop {
            let (datagram, from) = self.receive();
            assert_eq!(*transfer.get_or_insert(from), from);
            let Ok(Packet::Data { block, payload }) = Packet::decode(&datagram) else { panic!("{datagram:?}") };
            counted += 1;
            if lose(counted) {
                continue;
            }
            if block != expected as u16 {
                if !gap && block.wrapping_sub(expected as u16) < 0x8000 {
                    gap = true;
                    in_window = 0;
                    self.ack((expected - 1) as u16, from);
                }
                continue;
            }
            gap = false;
            bytes.extend_from_slice(payload);
            in_window += 1;
            let last = payload.len() < block_size;
            if last || in_window == window {
                self.ack(block, from);
                in_window = 0;
            }
            if last {
                return bytes;
            }
            expected += 1;
        }
    }
}

fn options(block_size: u16, window_size: Option<u16>) -> Options {
    Options { block_size: Some(block_size), window_size, ..Options::default() }
}

#[test]
fn files_of_every_size_arrive_with_every_window() {
    let sizes = [0usize, 1, 511, 512, 513, 1468 * 64, 1_000_003];
    let files: Vec<_> = sizes.iter().map(|size| (format!("f{size}"), content(*size))).collect();
    let named: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let server = Running::with(&named);
    for (name, bytes) in &files {
        for asked in [Options::default(), options(1468, None), options(1468, Some(64)), options(512, Some(4))] {
            let got = Client::new(server.address).fetch(name, asked, |_| false);
            assert!(got == *bytes, "{name} {asked:?}");
            let (outcome, totals) = server.ended();
            assert_eq!((outcome, totals.bytes), (Outcome::Completed, bytes.len() as u64), "{name} {asked:?}");
        }
    }
}

#[test]
fn files_on_disk_arrive_whole_and_block_numbers_wrap() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = content(64 * 70_000 + 5);
    std::fs::create_dir(folder.path().join("sources")).unwrap();
    std::fs::write(folder.path().join("sources/boot.wim"), &bytes).unwrap();
    let server = Running::start(directory::scan(folder.path(), None).unwrap(), Limits::default());
    for (block_size, window) in [(64, Some(64)), (1468, Some(64)), (1468, Some(16)), (1456, None)] {
        let got = Client::new(server.address).fetch("\\Sources\\BOOT.wim", options(block_size, window), |_| false);
        assert!(got == bytes, "{block_size} {window:?}");
    }
}

#[test]
fn a_lost_block_is_no_stall() {
    let bytes = content(1468 * 2000);
    let server = Running::with(&[("f", bytes.clone())]);
    for (window, first_of_window) in [(Some(16), 17), (Some(16), 23), (None, 17), (Some(64), 64)] {
        let started = Instant::now();
        let mut lost = 0;
        let got = Client::new(server.address).fetch("f", options(1468, window), |counted| {
            let lose = counted % 400 == first_of_window;
            lost += u64::from(lose);
            lose
        });
        assert!(got == bytes && lost >= 5);
        assert_eq!(server.ended().0, Outcome::Completed);
        // A server with a timer of a second would need `lost` seconds for the blocks that nobody can miss.
        assert!(started.elapsed() < Duration::from_secs(lost), "{window:?}: {:?} for {lost}", started.elapsed());
    }
}

/// `uefi-ovmf2025-pxe-snponly2019`: size probe, abort, the same file without `tsize` from the next port, then names that
/// do not exist.
#[test]
fn the_probe_of_uefi_firmware_is_answered_and_is_no_failure() {
    let bytes = content(173_792);
    let server = Running::with(&[("snponly.efi", bytes.clone())]);
    let probe = Client::new(server.address);
    let asked = Options { transfer_size: Some(0), ..options(1468, Some(4)) };
    probe.ask("snponly.efi", asked);
    let (granted, from) = probe.option_ack();
    assert_eq!(granted, Options { transfer_size: Some(173_792), ..asked });
    probe.abort(from);
    let (outcome, totals) = server.ended();
    assert!(matches!(outcome, Outcome::ClientAborted { probe: true, .. }) && !outcome.is_failure());
    assert_eq!(totals.bytes, 0);

    let got = Client::new(server.address).fetch("snponly.efi", options(1468, Some(4)), |_| false);
    assert!(got == bytes);
    for name in ["autoexec.ipxe", "revocations_sku.efi", "pxelinux.cfg/01-52-54-00-77-00-47", "../../etc/passwd"] {
        let client = Client::new(server.address);
        let started = Instant::now();
        client.ask(name, options(512, Some(4)));
        let (answer, _) = client.receive();
        assert!(matches!(Packet::decode(&answer), Ok(Packet::Error { code: ErrorCode::NotFound, .. })), "{name}");
        assert!(started.elapsed() < AT_ONCE);
    }
}

#[test]
fn after_an_abort_the_same_port_is_answered_at_once_and_no_zombie_sends() {
    let bytes = content(50_000);
    let server = Running::with(&[("f", bytes.clone()), ("g", bytes.clone())]);
    let client = Client::new(server.address);
    for round in 0..20 {
        // The very same request each time: the harder case, since it looks like a repetition.
        client.ask("f", options(1468, None));
        let (_, from) = client.option_ack();
        client.abort(from);
        let started = Instant::now();
        client.ask("f", options(1468, None));
        let (_, second) = client.option_ack();
        assert!(started.elapsed() < AT_ONCE, "round {round}");
        client.abort(second);
        assert!(!server.ended().0.is_failure() && !server.ended().0.is_failure());
    }
    client.socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    assert!(client.socket.recv_from(&mut [0; 2048]).is_err(), "an aborted transfer sent something");
}

#[test]
fn a_client_that_starts_over_without_a_word_is_answered_at_once() {
    let bytes = content(50_000);
    let server = Running::with(&[("f", bytes.clone()), ("g", bytes.clone())]);
    let client = Client::new(server.address);
    client.ask("f", options(1468, None));
    let (_, first) = client.option_ack();
    client.ack(0, first);
    client.receive();
    // Another file: its port replaces the transfer at once.
    client.ask("g", options(1468, None));
    let (_, second) = client.option_ack();
    assert_ne!(first, second);
    assert_eq!(server.ended().0, Outcome::Replaced);
    client.ack(0, second);
    client.receive();
    // A request that is repeated before anything was heard is answered by the transfer that it started.
    let other = Client::new(server.address);
    other.ask("f", options(1468, None));
    let (_, third) = other.option_ack();
    other.ask("f", options(1468, None));
    assert_eq!(other.option_ack().1, third);
}

#[test]
fn writing_is_refused_and_noise_is_ignored() {
    let server = Running::with(&[("f", content(100))]);
    let client = Client::new(server.address);
    for noise in [&b"\0\x04\0\x01"[..], b"\0\x05\0\0\0", b"", b"\xff\xff\xff", b"\0\x06blksize\08\0"] {
        client.socket.send_to(noise, server.address).unwrap();
    }
    client.socket.send_to(&[b"\0\x01f\0octet\0".as_slice(), &[b'x'; 1400]].concat(), server.address).unwrap();
    let (answer, _) = client.receive();
    assert!(matches!(Packet::decode(&answer), Ok(Packet::Error { code: ErrorCode::Illegal, .. })), "too long");
    let write = Packet::Write(Request { file: "f", options: Options::default() }).encode();
    client.socket.send_to(&write, server.address).unwrap();
    let (answer, _) = client.receive();
    assert!(matches!(Packet::decode(&answer), Ok(Packet::Error { code: ErrorCode::Access, .. })));
    assert_eq!(client.fetch("f", Options::default(), |_| false), content(100), "and the server serves on");
}

#[test]
fn stopping_the_server_tells_its_clients() {
    let mut server = Running::with(&[("f", content(100_000))]);
    let client = Client::new(server.address);
    client.ask("f", options(1468, None));
    let (_, from) = client.option_ack();
    server.stop();
    let (answer, said_by) = client.receive();
    assert!(matches!(Packet::decode(&answer), Ok(Packet::Error { .. })));
    assert_eq!(said_by, from);
    assert_eq!(server.ended().0, Outcome::Cancelled);
}

#[test]
fn a_client_that_closed_its_port_is_noticed_at_once() {
    let server = Running::with(&[("f", content(100_000))]);
    let client = Client::new(server.address);
    let started = Instant::now();
    client.ask("f", options(1468, None));
    let (_, from) = client.option_ack();
    client.ack(0, from);
    drop(client);
    assert_eq!(server.ended().0, Outcome::Unreachable { after_last_block: false });
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_client_beyond_the_limit_is_served_when_there_is_room() {
    let mut table = BootFiles::default();
    table.insert("f", BootFile::from_bytes("f", content(2000).into())).unwrap();
    let server = Running::start(table, Limits { transfers: 1, ..Limits::default() });
    let (first, second) = (Client::new(server.address), Client::new(server.address));
    first.ask("f", options(1468, None));
    let (_, from) = first.option_ack();
    second.ask("f", options(1468, None));
    let busy = |event: &TransferEvent| matches!(event, TransferEvent::Busy { .. });
    while !busy(&server.events.recv_timeout(LONG).unwrap()) {}
    first.abort(from);
    server.ended();
    assert_eq!(second.fetch("f", options(1468, None), |_| false), content(2000));
}

#[test]
fn many_clients_at_once_are_served_side_by_side() {
    let bytes = content(300_000);
    let mut table = BootFiles::default();
    table.insert("f", BootFile::from_bytes("f", bytes.clone().into())).unwrap();
    let server = Running::start(table, Limits { transfers_per_client: 64, ..Limits::default() });
    thread::scope(|scope| {
        for index in 0..32 {
            let (bytes, address) = (&bytes, server.address);
            scope.spawn(move || {
                let window = [None, Some(4), Some(16)][index % 3];
                assert!(Client::new(address).fetch("f", options(1468, window), |_| false) == *bytes);
            });
        }
    });
    for _ in 0..32 {
        assert_eq!(server.ended().0, Outcome::Completed);
    }
}

/// The same client against async-tftp, so that what it assumes of a server does not come from this one; and the two
/// servers give the same bytes.
#[test]
fn the_client_of_these_tests_understands_another_server() {
    let bytes = content(200_001);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), &bytes).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let server = async_tftp::server::TftpServerBuilder::with_dir_ro(folder.path()).unwrap().std_socket(socket).unwrap();
    // Ends with the test's process: async-tftp has no way to stop.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            if let Ok(server) = server.build().await {
                let _ends_never = server.serve().await;
            }
        });
    });
    for window in [None, Some(4), Some(16)] {
        assert!(Client::new(address).fetch("f", options(1456, window), |_| false) == bytes);
    }
}

#[test]
fn curl_takes_a_file_over_loopback() {
    let bytes = content(1_000_000);
    let server = Running::with(&[("boot/f", bytes.clone())]);
    let url = format!("tftp://{}/Boot/F", server.address);
    let Ok(curl) = std::process::Command::new("curl").args(["-sS", "--max-time", "20", &url]).output() else {
        assert!(std::env::var("KLONWERK_LAB").as_deref() != Ok("required"), "curl is missing");
        println!("skipped: no curl");
        return;
    };
    assert!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
    assert!(curl.stdout == bytes);
}
