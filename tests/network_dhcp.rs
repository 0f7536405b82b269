//! The DHCP proxy in a real network, beside a real DHCP server, with real clients and with what real firmware sent.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a lab that is skipped says so, and roles speak to the test by their output")]

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use klonwerk::boot::firmware::Firmware;
use klonwerk::boot::{BootDirectory, BootSubject};
use klonwerk::dhcp_server::{self, Attachment, DhcpConfig};
use klonwerk::profile::Idle;
use klonwerk::room::{Mac, MachineUuid};
use tokio_util::sync::CancellationToken;

use crate::captures::Datagram;
use crate::netns::{DEADLINE, Lab, Node, Running};
use crate::school::known;

#[path = "lab/captures.rs"]
mod captures;
#[path = "lab/netns.rs"]
mod netns;
#[path = "lab/school.rs"]
mod school;

/// Our server, and the router that leases the addresses.
const OURS: &str = "10.77.0.5";
const ROUTER: &str = "10.77.0.254";
/// The server's address in captures of a proxy.
const CAPTURED: [u8; 4] = [10, 77, 0, 1];
/// Machines that always have a run, whose answers show that everything before them was dealt with.
const CANARIES: [u8; 4] = [0x52, 0x54, 0, 0];

/// Tells a copy of this test program which part it plays in a namespace.
const ROLE: &str = "KLONWERK_TEST_ROLE";

/// What the server knows of the machines of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knows {
    /// Every machine has run 17.
    Runs,
    /// Every machine is idle, and its room says `idle: silent`.
    Idle,
    /// No machine at all.
    Nobody,
}

/// Starts the server on `node`: the one place to change when the program itself is to be started.
fn start_server(node: &Node, knows: Knows) -> Running {
    let mut running = node.start(role(node, &format!("serve {knows:?}")));
    running.wait_for("server", |line| line.contains("answering").then_some(()));
    running
}

/// This test program again, inside `node`, playing a role.
fn role(node: &Node, role: &str) -> Command {
    let mut command = node.command(std::env::current_exe().unwrap());
    command.args(["--exact", "play_a_role", "--ignored", "--nocapture"]).env(ROLE, role);
    command
}

#[test]
#[ignore = "a part of the other tests, which start it inside a namespace"]
fn play_a_role() {
    let role = std::env::var(ROLE).expect("only for the other tests");
    match role.as_str() {
        "serve Runs" => serve(Knows::Runs),
        "serve Idle" => serve(Knows::Idle),
        "serve Nobody" => serve(Knows::Nobody),
        "firmware" => firmware(),
        other => panic!("no role {other}"),
    }
}

#[derive(Debug)]
struct Everybody(Knows);

impl BootDirectory for Everybody {
    fn subject(&self, mac: Mac, _: Option<MachineUuid>) -> BootSubject {
        match self.0 {
            _ if mac.0.starts_with(&CANARIES) => known(Idle::Silent, Some(1)),
            Knows::Runs => known(Idle::Silent, Some(17)),
            Knows::Idle => known(Idle::Silent, None),
            Knows::Nobody => BootSubject::Unknown,
        }
    }

    fn seen(&self, _: Mac, _: Option<MachineUuid>, _: &BootSubject, _: Firmware) {}

    fn answered(&self, _: Mac, _: u64) {}
}

/// The server's role: serves until its input ends.
fn serve(knows: Knows) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address: Ipv4Addr = OURS.parse().unwrap();
        let names = klonwerk::net::interfaces::towards(address).unwrap();
        assert_eq!(names, ["eth0"]);
        let config = DhcpConfig { address, boot_port: 8080, attachment: Attachment::Interfaces(names) };
        let server = dhcp_server::DhcpServer::bind(config).unwrap();
        println!("answering at {:?}", server.ports());
        let cancel = CancellationToken::new();
        let until = cancel.clone();
        std::thread::spawn(move || {
            std::io::stdin().lines().for_each(drop);
            until.cancel();
        });
        server.run(Arc::new(Everybody(knows)), cancel).await.unwrap();
    });
}

/// The firmware's role: sends what it is told (`PORT DESTINATION HEX`, a line each) and says what it hears at ports 68 and
/// 4011 (`heard PORT SOURCE HEX`).
fn firmware() {
    let mut sockets = BTreeMap::new();
    for port in [68, 4011] {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        socket.bind_device(Some(b"eth0")).unwrap();
        socket.set_broadcast(true).unwrap();
        // One socket hears here what a room of PCs hears in the school.
        socket.set_recv_buffer_size(4 << 20).unwrap();
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into()).unwrap();
        let socket = std::net::UdpSocket::from(socket);
        let hears = socket.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 2048];
            while let Ok((len, source)) = hears.recv_from(&mut bytes) {
                println!("heard {port} {source} {}", data_encoding::HEXLOWER.encode(&bytes[..len]));
            }
        });
        sockets.insert(port, socket);
    }
    println!("listening");
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let [port, destination, hex] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
        let port: u16 = port.parse().unwrap();
        sockets[&port].send_to(&bytes, destination.parse::<SocketAddrV4>().unwrap()).unwrap();
    }
}

/// A PC whose firmware is under the test's control.
struct FirmwarePc {
    running: Running,
}

/// A reply that a PC heard.
#[derive(Debug, Clone)]
struct Heard {
    port: u16,
    source: SocketAddrV4,
    bytes: Vec<u8>,
}

impl FirmwarePc {
    fn start(node: &Node) -> Self {
        let mut running = node.start(role(node, "firmware"));
        running.wait_for("firmware", |line| line.contains("listening").then_some(()));
        Self { running }
    }

    fn send(&mut self, from: u16, to: SocketAddrV4, bytes: &[u8]) {
        let hex = data_encoding::HEXLOWER.encode(bytes);
        writeln!(self.running.stdin.as_mut().unwrap(), "{from} {to} {hex}").unwrap();
    }

    fn broadcast(&mut self, bytes: &[u8]) {
        self.send(68, SocketAddrV4::new(Ipv4Addr::BROADCAST, 67), bytes);
    }

    /// The next reply that `wanted` accepts; others are dropped.
    fn hear(&mut self, what: &str, wanted: impl Fn(&Heard) -> bool) -> Heard {
        self.running.wait_for(what, |line| {
            let [_, port, source, hex] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
            let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).ok()?;
            Some(Heard { port: port.parse().ok()?, source: source.parse().ok()?, bytes }).filter(&wanted)
        })
    }
}

impl Heard {
    fn xid(&self) -> [u8; 4] {
        self.bytes[4..8].try_into().unwrap()
    }

    fn option(&self, code: u8) -> Option<Vec<u8>> {
        let mut rest = &self.bytes[240..];
        while let [given, len, tail @ ..] = rest {
            if *given == 255 {
                break;
            }
            let (data, after) = tail.split_at(usize::from(*len));
            if *given == code {
                return Some(data.to_vec());
            }
            rest = after;
        }
        None
    }

    fn text(&self, code: u8) -> Option<String> {
        Some(String::from_utf8(self.option(code)?).unwrap().trim_end_matches('\0').to_owned())
    }

    fn is_from(&self, address: &str) -> bool {
        self.source.ip().to_string() == address
    }
}

/// A message of a capture, as another transaction, towards our server where it was towards the captured one.
fn sent_as(message: &Datagram, xid: u32) -> Vec<u8> {
    let ours: Ipv4Addr = OURS.parse().unwrap();
    let mut bytes =
        replaced(&message.bytes, &[&[54, 4], &CAPTURED[..]].concat(), &[&[54, 4], &ours.octets()[..]].concat());
    bytes[4..8].copy_from_slice(&xid.to_be_bytes());
    bytes
}

/// Replaces `from` wherever it stands in `bytes`.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut out = bytes.to_vec();
    for at in 0..bytes.len() - from.len() {
        if &bytes[at..at + from.len()] == from {
            out[at..at + from.len()].copy_from_slice(to);
        }
    }
    out
}

/// A DISCOVER of a machine that is always answered; each is another one, since one machine may not ask that often.
fn canary(xid: u32) -> Vec<u8> {
    let mut bytes = sent_as(&captures::client_messages("bios-ipxe2025-rom.pcap")[0], xid);
    let [.., a, b] = xid.to_be_bytes();
    bytes[28..34].copy_from_slice(&[&CANARIES[..], &[a, b]].concat());
    bytes
}

/// The school's own DHCP server, on a router.
fn start_router(node: &Node, folder: &std::path::Path) -> Running {
    let mut command = node.command("dnsmasq");
    command
        .args(["--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces"])
        .args(["--user=root", "--pid-file=", "--log-dhcp", "--log-facility=-", "--no-resolv", "--no-hosts"])
        // Without it each new address costs three seconds of probing.
        .args(["--no-ping", "--dhcp-range=10.77.0.100,10.77.0.199,1h"])
        .arg(format!("--dhcp-leasefile={}", folder.join("leases").display()));
    let mut running = node.start(command);
    running.wait_for("router", |line| line.contains("sockets bound exclusively").then_some(()));
    running
}

/// A script for udhcpc that prints what it was given, and the folder that it lies in.
fn udhcpc_script(folder: &std::path::Path) -> String {
    let path = folder.join("udhcpc.sh");
    std::fs::write(&path, "#!/bin/sh\n[ \"$1\" = bound ] && env | sed 's/^/got /'\nexit 0\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn udhcpc(node: &Node, script: &str, more: &[&str]) -> BTreeMap<String, String> {
    let common = ["udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "20", "-T", "1", "-s", script, "-O", "bootfile"];
    let output = node.must("busybox", &[&common[..], more].concat());
    let got = output.lines().filter_map(|line| line.strip_prefix("got ")?.split_once('='));
    got.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn ordinary_clients_get_their_lease_as_if_we_were_not_there() {
    let Some(mut lab) = Lab::new(&["dnsmasq", "busybox", "dhclient"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let router = lab.plug("router", None, Some(&format!("{ROUTER}/24")));
    let _router = start_router(&router, folder.path());
    let ours = lab.plug("ours", None, Some(&format!("{OURS}/24")));
    let _ours = start_server(&ours, Knows::Runs);

    let pc = lab.plug("pc1", None, None);
    let got = udhcpc(&pc, &udhcpc_script(folder.path()), &[]);
    assert_eq!(got["serverid"], ROUTER);
    assert!(got["ip"].starts_with("10.77.0.1"), "{got:?}");
    assert_eq!((got.get("boot_file"), got.get("bootfile")), (None, None), "{got:?}");

    let pc = lab.plug("pc2", None, None);
    let leases = folder.path().join("dhclient.leases");
    let pid = folder.path().join("dhclient.pid");
    let files = ["-lf", leases.to_str().unwrap(), "-pf", pid.to_str().unwrap()];
    let mut command = pc.command("dhclient");
    command.args(["-1", "-d", "-sf", "/bin/true", "-cf", "/dev/null"]).args(files).arg("eth0");
    let mut running = pc.start(command);
    running.wait_for("lease", |line| line.contains("bound to 10.77.0.1").then_some(()));
    let lease = std::fs::read_to_string(leases).unwrap();
    assert!(lease.contains(&format!("dhcp-server-identifier {ROUTER}")), "{lease}");
    assert!(!lease.contains("filename"), "{lease}");
}

#[test]
fn a_boot_client_of_another_make_understands_our_answer() {
    let Some(mut lab) = Lab::new(&["busybox"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let ours = lab.plug("ours", None, Some(&format!("{OURS}/24")));
    let _ours = start_server(&ours, Knows::Runs);
    let script = udhcpc_script(folder.path());
    let uuid = "97:0044454c4c4200104a8052b4c04f513233";
    for (name, architecture, class, file) in [
        ("bios", "93:0000", "PXEClient:Arch:00000:UNDI:002001", "undionly.kpxe"),
        ("uefi", "93:0007", "PXEClient:Arch:00007:UNDI:003000", "snponly.efi"),
        ("uefi32", "93:0006", "PXEClient:Arch:00006:UNDI:003000", "snponly-ia32.efi"),
        ("http", "93:0010", "HTTPClient:Arch:00016:UNDI:003000", "http://10.77.0.5:8080/boot/snponly.efi"),
    ] {
        let pc = lab.plug(name, None, None);
        let got = udhcpc(&pc, &script, &["-x", architecture, "-x", "94:010300", "-x", uuid, "-V", class]);
        assert_eq!(got["serverid"], OURS, "{name}");
        assert_eq!(got["siaddr"], OURS, "{name}");
        let given = got.get("bootfile").or(got.get("boot_file"));
        assert_eq!(given.map(String::as_str), Some(file), "{name}: {got:?}");
    }
}

#[test]
fn uefi_firmware_boots_beside_the_router() {
    let Some(mut lab) = Lab::new(&["dnsmasq"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let router = lab.plug("router", None, Some(&format!("{ROUTER}/24")));
    let _router = start_router(&router, folder.path());
    let ours = lab.plug("ours", None, Some(&format!("{OURS}/24")));
    let _ours = start_server(&ours, Knows::Runs);
    let node = lab.plug("pc", None, None);
    let mut pc = FirmwarePc::start(&node);
    let messages = captures::client_messages("proxydhcp-uefi-ovmf2025-pxe.pcap");
    let [discover, request, boot_request, ipxe_discover, ..] = messages.as_slice() else { panic!("five messages") };
    let router_bytes = ROUTER.parse::<Ipv4Addr>().unwrap().octets();

    // Both offers arrive, in either order: the address from the router, the boot server from us.
    pc.broadcast(&sent_as(discover, 1));
    let first = pc.hear("offer", |heard| heard.xid() == [0, 0, 0, 1]);
    let second = pc.hear("offer", |heard| heard.xid() == [0, 0, 0, 1] && heard.source != first.source);
    let (lease, boot) = if first.is_from(OURS) { (second, first) } else { (first, second) };
    assert!(lease.is_from(ROUTER) && boot.is_from(OURS), "{lease:?} {boot:?}");
    let address: [u8; 4] = lease.bytes[16..20].try_into().unwrap();
    assert_eq!((boot.port, boot.source.port()), (68, 67));
    assert_eq!((&boot.bytes[16..20], boot.text(60).as_deref()), (&[0; 4][..], Some("PXEClient")));
    assert_eq!((boot.option(67), boot.option(43)), (None, None));

    // The client takes the router's address; our server keeps out of that.
    let mut bytes = replaced(&sent_as(request, 2), &[50, 4, 10, 77, 0, 114], &[&[50, 4], &address[..]].concat());
    bytes = replaced(&bytes, &[54, 4, 10, 77, 0, 254], &[&[54, 4], &router_bytes[..]].concat());
    pc.broadcast(&bytes);
    pc.hear("lease", |heard| {
        assert!(heard.xid() != [0, 0, 0, 2] || heard.is_from(ROUTER), "we answer no request for the router");
        heard.xid() == [0, 0, 0, 2]
    });
    // The canary's answer comes after what we would have said to that.
    pc.broadcast(&canary(3));
    pc.hear("canary", |heard| {
        assert!(heard.xid() != [0, 0, 0, 2], "we answer no request for the router");
        heard.xid() == [0, 0, 0, 3]
    });

    // With its address it asks at port 4011, from port 4011.
    let address = Ipv4Addr::from(address);
    node.address(&format!("{address}/24"));
    let mut bytes = sent_as(boot_request, 4);
    bytes[12..16].copy_from_slice(&address.octets());
    pc.send(4011, format!("{OURS}:4011").parse().unwrap(), &bytes);
    let file = pc.hear("file", |heard| heard.xid() == [0, 0, 0, 4]);
    assert_eq!((file.port, file.source), (4011, format!("{OURS}:4011").parse().unwrap()));
    assert_eq!(file.text(67).as_deref(), Some("snponly.efi"));

    // iPXE runs, and is told its script.
    pc.broadcast(&sent_as(ipxe_discover, 5));
    let script = pc.hear("script", |heard| heard.xid() == [0, 0, 0, 5] && heard.is_from(OURS));
    assert_eq!(script.text(67).as_deref(), Some("http://10.77.0.5:8080/boot/ipxe/52-54-00-77-00-11.ipxe"));
    assert_eq!(script.bytes[20..24], [10, 77, 0, 5], "without the server's address iPXE does not take it");
}

/// Everything that real firmware ever sent, from a PC that has an address or not; what we answer by transaction.
fn replay_all(knows: Knows) -> Option<BTreeMap<u32, Heard>> {
    let mut lab = Lab::new(&[])?;
    let ours = lab.plug("ours", None, Some(&format!("{OURS}/24")));
    let _ours = start_server(&ours, knows);
    let node = lab.plug("pc", None, Some("10.77.0.90/24"));
    let mut pc = FirmwarePc::start(&node);
    let mut heard = BTreeMap::new();
    let start = Instant::now();
    for (number, (name, message)) in all_messages().into_iter().enumerate() {
        assert!(start.elapsed() < DEADLINE, "{name}");
        let number = u32::try_from(number).unwrap();
        let bytes = sent_as(&message, number);
        match message.destination.port() {
            67 => pc.broadcast(&bytes),
            port => pc.send(message.source.port(), format!("{OURS}:{port}").parse().unwrap(), &bytes),
        }
        // The canary's answer shows that the message before it was dealt with, at either port.
        let mut at_4011 = canary(0x8000_0000 | number);
        at_4011[12..16].copy_from_slice(&[10, 77, 0, 90]);
        let at_4011 = replaced(&at_4011, &[53, 1, 1, 57], &[53, 1, 3, 57]);
        let port = message.source.port();
        pc.send(port, format!("{OURS}:4011").parse().unwrap(), &at_4011);
        pc.broadcast(&canary(0x4000_0000 | number));
        let answers = std::cell::RefCell::new(Vec::new());
        let canaries = std::cell::Cell::new(0);
        pc.hear("canaries", |answer| {
            match u32::from_be_bytes(answer.xid()) {
                xid if xid == number => answers.borrow_mut().push(answer.clone()),
                _ => canaries.set(canaries.get() + 1),
            }
            canaries.get() == 2
        });
        let mut answers = answers.into_inner();
        assert!(answers.len() <= 1, "{name} #{}: {answers:?}", message.frame);
        heard.extend(answers.pop().map(|answer| (number, answer)));
    }
    Some(heard)
}

fn all_messages() -> Vec<(String, Datagram)> {
    let names = captures::names();
    let messages = |name: String| captures::client_messages(&name).into_iter().map(move |m| (name.clone(), m));
    names.into_iter().flat_map(messages).collect()
}

#[test]
fn every_firmware_that_was_ever_captured_hears_us_when_it_has_a_run() {
    let Some(heard) = replay_all(Knows::Runs) else { return };
    for (number, (name, message)) in all_messages().into_iter().enumerate() {
        let at = format!("{name} #{}", message.frame);
        let answer = heard.get(&u32::try_from(number).unwrap());
        let is_boot_client = message.bytes.windows(9).any(|w| w == b"PXEClient" || w == b"HTTPClien");
        let is_discover = message.bytes[240..].windows(3).any(|w| w == [53, 1, 1]);
        let expected = is_boot_client && (is_discover || message.destination.port() == 4011);
        // A request is for the server that leased the address in the capture, which is not us now.
        let is_for_captured = message.bytes.windows(6).any(|w| w == [54, 4, 10, 77, 0, 1]);
        assert_eq!(answer.is_some(), expected || (is_boot_client && is_for_captured), "{at}: {answer:?}");
        let Some(answer) = answer else { continue };
        assert_eq!(answer.source, SocketAddrV4::new(OURS.parse().unwrap(), message.destination.port()), "{at}");
        assert_eq!(answer.port, message.source.port(), "{at}: where the client listens");
    }
    assert!(heard.len() > 60);
}

#[test]
fn idle_pcs_hear_nothing() {
    let Some(heard) = replay_all(Knows::Idle) else { return };
    assert!(heard.is_empty(), "{heard:?}");
}

#[test]
fn unknown_pcs_hear_nothing() {
    let Some(heard) = replay_all(Knows::Nobody) else { return };
    assert!(heard.is_empty(), "{heard:?}");
}

#[test]
fn a_room_that_is_switched_on_at_once_is_answered_at_once() {
    let Some(mut lab) = Lab::new(&[]) else { return };
    let ours = lab.plug("ours", None, Some(&format!("{OURS}/24")));
    let _ours = start_server(&ours, Knows::Runs);
    let node = lab.plug("pc", None, None);
    let mut pc = FirmwarePc::start(&node);
    let discover = &captures::client_messages("uefi-ovmf2025-pxe-snponly2019.pcap")[0];
    let start = Instant::now();
    for number in 1..=200u8 {
        let mut bytes = sent_as(discover, u32::from(number));
        bytes[33] = number;
        pc.broadcast(&bytes);
    }
    let answered = std::cell::RefCell::new(std::collections::BTreeSet::new());
    pc.hear("200 offers", |heard| {
        answered.borrow_mut().insert(heard.xid());
        answered.borrow().len() == 200
    });
    // iPXE waits two seconds for a proxy after the router's offer; a busy machine gets some more here.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
