//! The DHCP core against packets of real firmware: what is read, what is answered, and what hostile packets do.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use klonwerk::boot::decide::Silence;
use klonwerk::boot::firmware::{Architecture, Firmware, Loader};
use klonwerk::boot::{BootDirectory, BootSubject};
use klonwerk::dhcp::request::{BootRequest, MessageKind, NotOurs};
use klonwerk::dhcp::{Destination, NoReply, ProxyDhcp, Received, Reply, Service};
use klonwerk::profile::Idle;
use klonwerk::room::{Mac, MachineUuid};

use crate::captures::Datagram;
use crate::school::known;

#[path = "lab/captures.rs"]
mod captures;
#[path = "dhcp/hostile.rs"]
mod hostile;
#[path = "dhcp/loopback.rs"]
mod loopback;
#[path = "lab/school.rs"]
mod school;

/// Says the same of every MAC address, and records what it was told.
#[derive(Debug)]
struct School {
    subject: BootSubject,
    seen: Mutex<Vec<(Mac, Option<MachineUuid>, Firmware)>>,
    answered: Mutex<Vec<(Mac, u64)>>,
}

impl School {
    fn of(subject: BootSubject) -> Self {
        Self { subject, seen: Mutex::default(), answered: Mutex::default() }
    }
}

impl BootDirectory for School {
    fn subject(&self, _: Mac, _: Option<MachineUuid>) -> BootSubject {
        self.subject.clone()
    }

    fn seen(&self, mac: Mac, uuid: Option<MachineUuid>, _: &BootSubject, firmware: Firmware) {
        self.seen.lock().expect("lock").push((mac, uuid, firmware));
    }

    fn answered(&self, mac: Mac, run: u64) {
        self.answered.lock().expect("lock").push((mac, run));
    }
}

/// Our address, which is nobody's in the captures.
const OURS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 5);

fn service_of(datagram: &Datagram) -> Service {
    if datagram.destination.port() == 67 { Service::Dhcp } else { Service::Proxy }
}

fn ask(proxy: &mut ProxyDhcp, datagram: &Datagram, local: Ipv4Addr) -> Result<Reply, NoReply> {
    let received = Received { service: service_of(datagram), bytes: &datagram.bytes, source: datagram.source, local };
    proxy.handle(Instant::now(), &received)
}

fn proxy_for(subject: BootSubject) -> (Arc<School>, ProxyDhcp) {
    let school = Arc::new(School::of(subject));
    (school.clone(), ProxyDhcp::new(school, 8080))
}

fn all_client_messages() -> Vec<(String, Datagram)> {
    let names = captures::names();
    names
        .into_iter()
        .flat_map(|name| captures::client_messages(&name).into_iter().map(move |d| (name.clone(), d)))
        .collect()
}

/// Reads options the plain way, as a second opinion beside the product's decoder: code, length, data.
fn options(bytes: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut rest = bytes.get(240..).unwrap_or_default();
    while let [code, tail @ ..] = rest {
        match (code, tail) {
            (0, _) => rest = tail,
            (255, _) => break,
            (code, [len, tail @ ..]) if tail.len() >= usize::from(*len) => {
                let (data, after) = tail.split_at(usize::from(*len));
                found.entry(*code).or_insert_with(|| data.to_vec());
                rest = after;
            }
            _ => break,
        }
    }
    found
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

/// One message as `dhcp-messages.txt` tells it.
#[derive(Debug)]
struct Told {
    kind: String,
    head: BTreeMap<String, String>,
    options: BTreeMap<u8, String>,
}

fn told() -> BTreeMap<(String, usize), Told> {
    let text = std::fs::read_to_string(captures::folder().join("dhcp-messages.txt")).unwrap();
    let mut all = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(line) = line.strip_prefix('[') {
            let words: Vec<&str> = line.split(' ').collect();
            let frame = words[1].trim_start_matches('#').parse().unwrap();
            let head =
                words.iter().filter_map(|w| w.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            let told = Told { kind: words[3].to_owned(), head, options: BTreeMap::new() };
            current = Some((words[0].to_owned(), frame));
            assert!(all.insert(current.clone().unwrap(), told).is_none(), "{line}");
        } else if let Some(option) = line.strip_prefix("  opt ") {
            let (code, rest) = option.split_once(" len ").unwrap();
            let value = rest.split_once(": ").map_or("", |(_, value)| value);
            let told: &mut Told = all.get_mut(current.as_ref().unwrap()).unwrap();
            told.options.insert(code.parse().unwrap(), value.to_owned());
        }
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn every_client_message_reads_as_another_decoder_reads_it() {
    let mut told = told();
    told.retain(|_, told| matches!(told.kind.as_str(), "DISCOVER" | "REQUEST" | "INFORM"));
    let mut compared = 0;
    for (name, datagram) in all_client_messages() {
        let at = format!("{name} #{}", datagram.frame);
        let told = told.remove(&(name, datagram.frame)).unwrap_or_else(|| panic!("{at} is not in dhcp-messages.txt"));
        let class = told.options.get(&60).map(|text| text.trim_matches('\'').to_owned());
        let read = BootRequest::decode(&datagram.bytes);
        if !class.as_deref().is_some_and(|c| c.starts_with("PXEClient") || c.starts_with("HTTPClient")) {
            assert_eq!(read, Err(NotOurs::NotABootClient), "{at}");
            continue;
        }
        let read = read.unwrap_or_else(|error| panic!("{at}: {error}"));
        compared += 1;
        let class = class.unwrap();
        let kind = match read.kind {
            MessageKind::Discover => "DISCOVER",
            MessageKind::Request => "REQUEST",
            MessageKind::Inform => "INFORM",
        };
        assert_eq!(kind, told.kind, "{at}");
        assert_eq!(format!("{:08x}", read.xid), told.head["xid"], "{at}");
        assert_eq!(read.secs.to_string(), told.head["secs"], "{at}");
        assert_eq!(if read.broadcast { "8000" } else { "0000" }, told.head["flags"], "{at}");
        assert_eq!(read.ciaddr.to_string(), told.head["ciaddr"], "{at}");
        assert!(class.starts_with(read.vendor_class.text()), "{at}");
        let arch_of_class = class.split(':').nth(2).unwrap().parse::<u16>().unwrap();
        assert_eq!(read.architecture_code, arch_of_class, "{at}");

        let address = |a: Option<Ipv4Addr>| a.map(|a| hex(&a.octets()));
        let list = |l: &[u8]| l.iter().map(u8::to_string).collect::<Vec<_>>().join(" ");
        for (code, value) in [
            (50, address(read.requested_address)),
            (54, address(read.server_id)),
            (55, (!read.parameters.is_empty()).then(|| list(&read.parameters))),
            (57, read.max_message.map(|max| hex(&max.to_be_bytes()))),
            (61, read.client_id.as_deref().map(hex)),
            (77, read.user_classes.first().map(|c| format!("'{}'", text_of(c)))),
            (93, Some(hex(&read.architecture_code.to_be_bytes()))),
            (94, read.interface_version.map(|v| hex(&v))),
            (97, read.machine_id.as_deref().map(hex)),
        ] {
            assert_eq!(value.as_ref(), told.options.get(&code), "{at}: option {code}");
        }
        assert_eq!(read.firmware.loader == Loader::Ipxe, told.options.contains_key(&175), "{at}");
    }
    assert!(compared > 90, "only {compared} messages");
    assert_eq!(told.keys().next(), None, "messages that the captures do not have");
}

/// The rules that every answer obeys, checked on its bytes.
fn check_answer(at: &str, request: &Datagram, reply: &Reply, local: Ipv4Addr) {
    let asked = options(&request.bytes);
    let given = options(&reply.bytes);
    let class = text_of(&asked[&60]);
    let is_http = class.starts_with("HTTPClient");
    let is_ipxe = asked.contains_key(&175);
    let is_bios = asked[&93] == [0, 0];
    let is_offer = asked[&53] == [1];
    assert!((300..=1472).contains(&reply.bytes.len()), "{at}: length");
    assert_eq!(reply.bytes[0], 2, "{at}: op");
    assert_eq!(reply.bytes[4..8], request.bytes[4..8], "{at}: xid");
    assert_eq!(reply.bytes[28..44], request.bytes[28..44], "{at}: chaddr");
    assert_eq!(reply.bytes[16..20], [0; 4], "{at}: a proxy leases no address");
    assert_eq!(reply.bytes[20..24], local.octets(), "{at}: iPXE takes no offer without siaddr");
    for code in [1, 3, 6, 51] {
        assert!(!given.contains_key(&code), "{at}: option {code} belongs to the DHCP server");
    }
    assert_eq!(given[&53], [if is_offer { 2 } else { 5 }], "{at}");
    assert_eq!(given[&54], local.octets(), "{at}");
    assert_eq!(text_of(&given[&60]), if is_http { "HTTPClient" } else { "PXEClient" }, "{at}");
    assert_eq!(given.get(&97), asked.get(&97), "{at}: echo");
    let file = given.get(&67).map(|file| text_of(file));
    if is_ipxe {
        let file = file.clone().unwrap_or_else(|| panic!("{at}: script"));
        let mac = hex(&request.bytes[28..34]);
        let script = file.replace('-', "");
        assert!(script.starts_with(&format!("http://{local}:8080/boot/ipxe/{mac}")), "{at}: {file}");
    } else if is_http {
        assert_eq!(file.as_deref(), Some(format!("http://{local}:8080/boot/snponly.efi").as_str()), "{at}");
        assert!(!given[&67].ends_with(b"\0"), "{at}: the URL ends where the option does");
    } else if is_bios {
        assert_eq!(file.as_deref(), Some("undionly.kpxe"), "{at}");
    } else if is_offer {
        assert_eq!(file, None, "{at}: UEFI is told the file at 4011");
        assert_eq!(reply.bytes[108], 0, "{at}");
    } else {
        let name = if asked[&93] == [0, 6] { "snponly-ia32.efi" } else { "snponly.efi" };
        assert_eq!(file.as_deref(), Some(name), "{at}");
    }
    if is_bios {
        assert_eq!(given[&43], [6, 1, 8, 255], "{at}");
    } else {
        assert_eq!(given.get(&43), None, "{at}: UEFI takes a menu for a menu");
    }
    if let Some(file) = file.filter(|_| !is_http) {
        assert_eq!(text_of(&reply.bytes[108..236]), file, "{at}: field file");
        assert!(given[&67].ends_with(b"\0") && given[&66].ends_with(b"\0"), "{at}: terminators");
    }
    match request.destination.port() {
        67 => {
            assert_eq!(reply.destination, Destination::Broadcast, "{at}");
            assert_eq!(reply.bytes[10..12], [0x80, 0], "{at}: broadcast flag");
        }
        _ => assert_eq!(reply.destination, Destination::Unicast(request.source), "{at}"),
    }
}

/// One line of the table of answers.
fn line(datagram: &Datagram, outcome: &Result<Reply, NoReply>) -> String {
    let asked = options(&datagram.bytes);
    let kind = ["", "DISCOVER", "OFFER", "REQUEST"][usize::from(asked[&53][0])];
    let firmware = BootRequest::decode(&datagram.bytes).map(|r| r.firmware.to_string()).unwrap_or_default();
    let mut line = format!("{kind} to {} ({firmware}): ", datagram.destination.port());
    match outcome {
        Ok(reply) => {
            let given = options(&reply.bytes);
            let file = given.get(&67).map_or("no file".to_owned(), |file| text_of(file));
            let vendor = given.get(&43).map(|v| format!(", 43={}", hex(v))).unwrap_or_default();
            write!(line, "{:?}, {file}{vendor}", reply.destination).unwrap();
        }
        Err(why) => write!(line, "- {why}").unwrap(),
    }
    line
}

#[test]
fn every_capture_gets_the_answers_that_its_firmware_takes() {
    let mut table = String::new();
    for name in captures::names() {
        // In these captures the server at .1 is a proxy as we are; in the others it leases, and we stand beside it.
        let local = if name.starts_with("proxydhcp") { Ipv4Addr::new(10, 77, 0, 1) } else { OURS };
        let (school, mut proxy) = proxy_for(known(Idle::Silent, Some(17)));
        let mut lines: Vec<String> = Vec::new();
        let mut answers = 0;
        for datagram in captures::client_messages(&name) {
            let outcome = ask(&mut proxy, &datagram, local);
            if let Ok(reply) = &outcome {
                check_answer(&format!("{name} #{}", datagram.frame), &datagram, reply, local);
                answers += 1;
            }
            let line = line(&datagram, &outcome);
            if lines.last() != Some(&line) {
                lines.push(line);
            }
        }
        assert!(answers > 0, "{name}");
        assert_eq!(school.answered.lock().unwrap().len(), answers, "{name}: each answer opens the check-in");
        writeln!(table, "{name}\n  {}", lines.join("\n  ")).unwrap();
    }
    insta::assert_snapshot!("answers", table);
}

#[test]
fn strangers_and_idle_machines_get_nothing() {
    let impostor = BootSubject::Impostor { machine: "R101-01".parse().unwrap() };
    for (subject, is_expected) in [
        (BootSubject::Unknown, (|why| matches!(why, Silence::Unknown)) as fn(&Silence) -> bool),
        (impostor, |why| matches!(why, Silence::Impostor(_))),
        (known(Idle::Silent, None), |why| matches!(why, Silence::Idle(_))),
    ] {
        for (name, datagram) in all_client_messages() {
            let (school, mut proxy) = proxy_for(subject.clone());
            match ask(&mut proxy, &datagram, OURS) {
                Err(NoReply::Silent { why, .. }) => {
                    assert!(is_expected(&why), "{name}: {why}");
                    assert_eq!(school.seen.lock().unwrap().len(), 1, "{name}: recorded");
                }
                Err(NoReply::AnotherServer | NoReply::NotOurs(NotOurs::NotABootClient)) => {
                    assert_eq!(school.seen.lock().unwrap().len(), 0, "{name}");
                }
                other => panic!("{name} #{}: {other:?}", datagram.frame),
            }
            assert_eq!(school.answered.lock().unwrap().len(), 0);
        }
    }
}

#[test]
fn an_idle_machine_with_a_local_loader_is_answered_but_not_expected() {
    let (school, mut proxy) = proxy_for(known(Idle::Local, None));
    let discover = &captures::client_messages("uefi-ovmf2025-pxe-snponly2019.pcap")[0];
    assert!(ask(&mut proxy, discover, OURS).is_ok());
    assert_eq!(school.answered.lock().unwrap().len(), 0);
}

/// The first message of a BIOS ROM, which the tests below bend.
fn bios_discover() -> Datagram {
    captures::client_messages("bios-ipxe2025-rom.pcap")[0].clone()
}

/// A message with the same header and other options.
fn with_options(header: &[u8], options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = header[..240].to_vec();
    for (code, data) in options {
        bytes.extend([*code, u8::try_from(data.len()).unwrap()]);
        bytes.extend(*data);
    }
    bytes.push(255);
    bytes
}

const DISCOVER: (u8, &[u8]) = (53, &[1]);
const REQUEST: (u8, &[u8]) = (53, &[3]);
const INFORM: (u8, &[u8]) = (53, &[8]);
const PXE_X64: (u8, &[u8]) = (60, b"PXEClient:Arch:00007:UNDI:003000");
const ARCH_X64: (u8, &[u8]) = (93, &[0, 7]);

fn decode(options: &[(u8, &[u8])]) -> Result<BootRequest, NotOurs> {
    BootRequest::decode(&with_options(&bios_discover().bytes, options))
}

#[test]
fn headers_that_lie_are_refused() {
    let good = bios_discover().bytes;
    let bent = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        BootRequest::decode(&bytes)
    };
    assert!(BootRequest::decode(&good).is_ok());
    for hlen in (0..=255).filter(|hlen| *hlen != 6) {
        assert_eq!(bent(2, hlen), Err(NotOurs::NotEthernet { htype: 1, hlen }));
    }
    assert_eq!(bent(1, 32), Err(NotOurs::NotEthernet { htype: 32, hlen: 6 }));
    assert_eq!(bent(0, 2), Err(NotOurs::NotARequest));
    assert_eq!(bent(236, 0), Err(NotOurs::NoCookie));
    assert_eq!(bent(28, 0xff), Err(NotOurs::NotOneCard));
    for address in [12, 24] {
        assert!(matches!(bent(address, 224), Err(NotOurs::NotOneHost(_))), "forged group address at {address}");
    }
    for len in 0..240 {
        assert_eq!(BootRequest::decode(&good[..len]), Err(NotOurs::TooShort(len)));
    }
}

#[test]
fn one_bad_option_does_not_hide_the_others() {
    // A host name in Latin-1, a 94 that is too short and a 150 of odd length: each of them made other decoders give up.
    let read = decode(&[DISCOVER, (12, b"B\xfccherei"), (94, &[1]), (150, &[1, 2, 3]), PXE_X64, ARCH_X64]).unwrap();
    let expected = Firmware { architecture: Architecture::UefiX64, loader: Loader::Pxe };
    assert_eq!((read.firmware, read.interface_version), (expected, None));
}

#[test]
fn the_architecture_is_found_where_clients_put_it() {
    let architecture = |options: &[(u8, &[u8])]| decode(options).map(|read| read.firmware.architecture);
    assert_eq!(architecture(&[DISCOVER, PXE_X64]), Ok(Architecture::UefiX64), "from option 60");
    assert_eq!(
        architecture(&[DISCOVER, PXE_X64, (93, &[0, 9, 0, 7])]),
        Ok(Architecture::UefiX64),
        "the first of a list"
    );
    assert_eq!(architecture(&[DISCOVER, (60, b"PXEClient\0"), (93, &[0, 11])]), Ok(Architecture::UefiArm64));
    assert_eq!(architecture(&[DISCOVER, (60, b"PXEClient")]), Err(NotOurs::NotABootClient));
    assert_eq!(architecture(&[DISCOVER, (60, b"PXEClient:Arch:0x007:")]), Err(NotOurs::NotABootClient));
    assert_eq!(architecture(&[DISCOVER, ARCH_X64]), Err(NotOurs::NotABootClient));
    assert_eq!(architecture(&[DISCOVER, (60, b"MSFT 5.0"), ARCH_X64]), Err(NotOurs::NotABootClient));
    assert_eq!(architecture(&[(53, &[4]), PXE_X64]), Err(NotOurs::Kind(Some(4))), "DECLINE");
    assert_eq!(architecture(&[PXE_X64]), Err(NotOurs::Kind(None)), "BOOTP");
}

#[test]
fn the_machine_identifier_is_empty_or_whole() {
    let uuid = |id: &[u8]| decode(&[DISCOVER, PXE_X64, (97, id)]).map(|read| read.uuid());
    assert_eq!(uuid(&[]), Ok(None));
    assert_eq!(uuid(&[0; 17]), Ok(None), "firmware without a UUID sends zeros");
    assert!(uuid(b"\0abcdefghijklmnop").unwrap().is_some());
    assert_eq!(uuid(&[0; 16]), Err(NotOurs::MachineId));
    assert_eq!(uuid(b"\x01abcdefghijklmnop"), Err(NotOurs::MachineId));
}

#[test]
fn ipxe_is_known_by_its_user_class_in_either_form() {
    let read = |options: &[(u8, &[u8])]| {
        let read = decode(&[&[DISCOVER, PXE_X64], options].concat()).unwrap();
        (read.firmware.loader, read.bare_ipxe)
    };
    assert_eq!(read(&[(77, b"iPXE")]), (Loader::Ipxe, false), "as iPXE sends it");
    assert_eq!(read(&[(77, b"\x04iPXE")]), (Loader::Ipxe, false), "as RFC 3004 wants it");
    assert_eq!(read(&[(77, b"\x06office\x04iPXE")]), (Loader::Ipxe, false));
    assert_eq!(read(&[(77, b"office")]), (Loader::Pxe, false));
    assert_eq!(read(&[(175, &[0x13, 1, 1])]), (Loader::Ipxe, false));
    // A ROM that speaks no HTTP could not fetch the script: it gets our iPXE first.
    assert_eq!(read(&[(77, b"iPXE"), (175, &[0x15, 1, 1])]), (Loader::Pxe, true));
}

#[test]
fn ipxe_without_http_gets_the_loader_by_url() {
    let (_, mut proxy) = proxy_for(known(Idle::Silent, Some(3)));
    let mut discover = bios_discover();
    let options_given: [(u8, &[u8]); 3] = [DISCOVER, (60, b"PXEClient:Arch:00000:UNDI:002001"), (175, &[0x15, 1, 1])];
    discover.bytes = with_options(&discover.bytes, &options_given);
    let reply = ask(&mut proxy, &discover, OURS).unwrap();
    assert_eq!(text_of(&options(&reply.bytes)[&67]), "tftp://10.77.0.5/undionly.kpxe");
}

#[test]
fn port_4011_answers_to_where_the_request_came_from() {
    let (_, mut proxy) = proxy_for(known(Idle::Silent, Some(3)));
    let client = Ipv4Addr::new(10, 77, 0, 90);
    let mut asked = bios_discover();
    asked.destination = SocketAddrV4::new(OURS, 4011);
    for kind in [REQUEST, INFORM] {
        for port in [68, 4011, 2070] {
            asked.source = SocketAddrV4::new(client, port);
            asked.bytes = with_options(&asked.bytes, &[kind, PXE_X64, ARCH_X64]);
            let reply = ask(&mut proxy, &asked, OURS).unwrap();
            assert_eq!(reply.destination, Destination::Unicast(asked.source));
            assert_eq!(text_of(&options(&reply.bytes)[&67]), "snponly.efi");
        }
    }
    // Without an address of its own, the client is reached by what it says of itself, or by broadcast.
    asked.source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
    assert_eq!(ask(&mut proxy, &asked, OURS).unwrap().destination, Destination::Broadcast);
    asked.bytes[12..16].copy_from_slice(&client.octets());
    let reply = ask(&mut proxy, &asked, OURS).unwrap();
    assert_eq!(reply.destination, Destination::Unicast(SocketAddrV4::new(client, 68)));
    assert_eq!(reply.bytes[12..16], client.octets());

    asked.bytes = with_options(&asked.bytes, &[REQUEST, PXE_X64, ARCH_X64, (54, &[10, 77, 0, 254])]);
    assert!(matches!(ask(&mut proxy, &asked, OURS), Err(NoReply::AnotherServer)));
    asked.bytes = with_options(&asked.bytes, &[DISCOVER, PXE_X64, ARCH_X64]);
    assert!(matches!(ask(&mut proxy, &asked, OURS), Err(NoReply::WrongPort(MessageKind::Discover))));
}

#[test]
fn a_boot_item_is_echoed() {
    let (_, mut proxy) = proxy_for(known(Idle::Silent, Some(3)));
    let mut asked = bios_discover();
    asked.destination = SocketAddrV4::new(OURS, 4011);
    asked.source = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 90), 68);
    let item: (u8, &[u8]) = (43, &[71, 4, 0x12, 0x34, 0, 1, 255]);
    asked.bytes = with_options(&asked.bytes, &[REQUEST, PXE_X64, ARCH_X64, item]);
    assert_eq!(options(&ask(&mut proxy, &asked, OURS).unwrap().bytes)[&43], item.1);
}

#[test]
fn relays_get_the_reply_with_their_own_words() {
    let (_, mut proxy) = proxy_for(known(Idle::Silent, Some(3)));
    let relay = Ipv4Addr::new(10, 88, 0, 1);
    let mut asked = bios_discover();
    asked.source = SocketAddrV4::new(relay, 67);
    asked.bytes[24..28].copy_from_slice(&relay.octets());
    let information: (u8, &[u8]) = (82, b"\x01\x04port\x02\x03sw1");
    let class: (u8, &[u8]) = (60, b"PXEClient:Arch:00000:UNDI:002001");
    asked.bytes = with_options(&asked.bytes, &[DISCOVER, class, information]);
    let reply = ask(&mut proxy, &asked, OURS).unwrap();
    assert_eq!(reply.destination, Destination::Relay(relay));
    assert_eq!(reply.bytes[24..28], relay.octets());
    assert_eq!(options(&reply.bytes)[&82], information.1);
    // RFC 3046 section 2.1: the last option.
    let end = reply.bytes.iter().rposition(|b| *b == 255).unwrap();
    assert!(reply.bytes[..end].ends_with(information.1));
}

#[test]
fn a_reply_that_the_client_cannot_take_is_not_sent() {
    let (school, mut proxy) = proxy_for(known(Idle::Silent, Some(3)));
    let mut asked = bios_discover();
    let class: (u8, &[u8]) = (60, b"PXEClient:Arch:00000:UNDI:002001");
    let mut ask_with = |max: Option<[u8; 2]>| {
        let mut given = vec![DISCOVER, class, (82, &[7; 250])];
        if let Some(max) = &max {
            given.push((57, max));
        }
        asked.bytes = with_options(&asked.bytes, &given);
        ask(&mut proxy, &asked, OURS)
    };
    assert!(matches!(ask_with(None), Err(NoReply::Reply { .. })));
    assert!(matches!(ask_with(Some([0, 1])), Err(NoReply::Reply { .. })));
    assert!(ask_with(Some([0xff, 0])).is_ok(), "what OVMF asks for in its REQUEST");
    assert_eq!(school.answered.lock().unwrap().len(), 1, "only what was sent opens the check-in");
}

#[test]
fn a_machine_that_asks_too_often_waits() {
    let (_, mut proxy) = proxy_for(known(Idle::Silent, Some(3)));
    let discover = bios_discover();
    let start = Instant::now();
    let mut answers_at = |seconds| {
        let received =
            Received { service: Service::Dhcp, bytes: &discover.bytes, source: discover.source, local: OURS };
        let now = start + Duration::from_secs(seconds);
        (0..100).filter(|_| proxy.handle(now, &received).is_ok()).count()
    };
    assert_eq!(answers_at(0), 20);
    assert_eq!(answers_at(5), 5);
}

#[test]
fn a_flood_of_strangers_is_neither_recorded_without_end_nor_in_the_way_of_others() {
    let (school, mut proxy) = proxy_for(BootSubject::Unknown);
    let mut discover = bios_discover();
    let start = Instant::now();
    for number in 0..50_000u32 {
        discover.bytes[30..34].copy_from_slice(&number.to_be_bytes());
        let received =
            Received { service: Service::Dhcp, bytes: &discover.bytes, source: discover.source, local: OURS };
        assert!(proxy.handle(start, &received).is_err());
    }
    assert_eq!(school.seen.lock().unwrap().len(), 100);
}
