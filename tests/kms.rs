//! `klonwerk kms` against a small name server and a host that must not be sent a single byte.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

const DOMAIN: &str = "schule.example";
const SERVICE: &str = "_vlmcs._tcp.schule.example";
/// How long a stand-in sleeps before it looks whether it should end.
const GLANCE: Duration = Duration::from_millis(50);
/// Patience for what must happen.
const DEADLINE: Duration = Duration::from_secs(60);

const A: u16 = 1;
const CNAME: u16 = 5;
const SRV: u16 = 33;

/// What the name server does with a question.
#[derive(Clone)]
enum Does {
    /// Answers with these records: kind and data.
    Records(Vec<(u16, Vec<u8>)>),
    /// Answers with a code: 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    Code(u8),
    /// Over UDP only that the answer does not fit; over TCP the records.
    TooLong(Vec<(u16, Vec<u8>)>),
    /// Others answer first: with another number, another question, a pointer to itself, and from another port.
    Forged(Vec<(u16, Vec<u8>)>),
    /// Says nothing.
    Silence,
}

fn name(text: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    let mut out: Vec<u8> = text.split('.').filter(|text| !text.is_empty()).flat_map(label).collect();
    out.push(0);
    out
}

fn srv(port: u16, target: &str) -> (u16, Vec<u8>) {
    (SRV, [&[0, 0, 0, 0][..], &port.to_be_bytes(), &name(target)].concat())
}

fn address(octets: [u8; 4]) -> (u16, Vec<u8>) {
    (A, octets.to_vec())
}

/// The name and kind of a question.
fn asked(question: &[u8]) -> (String, u16) {
    let mut labels = Vec::new();
    let mut rest = &question[12..];
    while rest[0] != 0 {
        let (label, after) = rest[1..].split_at(usize::from(rest[0]));
        labels.push(String::from_utf8(label.to_vec()).unwrap());
        rest = after;
    }
    (labels.join("."), u16::from_be_bytes([rest[1], rest[2]]))
}

fn answer(question: &[u8], flags: [u8; 2], records: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut out = question.to_vec();
    out[2..4].copy_from_slice(&flags);
    out[7] = u8::try_from(records.len()).unwrap();
    for (kind, data) in records {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60]);
        out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend(data);
    }
    out
}

/// A name server on loopback.
struct NameServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    questions: Arc<Mutex<Vec<(String, u16)>>>,
}

impl NameServer {
    fn start(zone: Vec<(&str, u16, Does)>) -> Self {
        let zone: Arc<BTreeMap<_, _>> =
            Arc::new(zone.into_iter().map(|(name, kind, does)| ((name.to_owned(), kind), does)).collect());
        // A name server has one port for both, and what is free with UDP may be taken with TCP.
        let (udp, tcp) = (0..100)
            .find_map(|_| {
                let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let tcp = TcpListener::bind(udp.local_addr().unwrap()).ok()?;
                Some((udp, tcp))
            })
            .expect("a port that is free with UDP and TCP");
        let address = udp.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let questions = Arc::new(Mutex::new(Vec::new()));
        let (until, known, heard) = (Arc::clone(&stop), Arc::clone(&zone), Arc::clone(&questions));
        udp.set_read_timeout(Some(GLANCE)).unwrap();
        let datagrams = std::thread::spawn(move || {
            let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let mut bytes = [0; 2048];
            while !until.load(Ordering::Relaxed) {
                let Ok((len, from)) = udp.recv_from(&mut bytes) else { continue };
                let question = &bytes[..len];
                heard.lock().unwrap().push(asked(question));
                let say = |answer: Vec<u8>| drop(udp.send_to(&answer, from));
                match known.get(&asked(question)) {
                    None => say(answer(question, [0x81, 0x83], &[])),
                    Some(Does::Silence) => {}
                    Some(Does::Code(code)) => say(answer(question, [0x81, 0x80 | code], &[])),
                    Some(Does::Records(records)) => say(answer(question, [0x81, 0x80], records)),
                    Some(Does::TooLong(_)) => say(answer(question, [0x83, 0x80], &[])),
                    Some(Does::Forged(records)) => {
                        let bad = [srv(1, "bad.example")];
                        let mut other = question.to_vec();
                        other[1] ^= 1;
                        say(answer(&other, [0x81, 0x80], &bad));
                        let mut other = question.to_vec();
                        other[13] = b'x';
                        say(answer(&other, [0x81, 0x80], &bad));
                        let mut looped = answer(question, [0x81, 0x80], &bad);
                        let pointer = u16::try_from(len).unwrap() | 0xc000;
                        looped[len..len + 2].copy_from_slice(&pointer.to_be_bytes());
                        say(looped);
                        drop(stranger.send_to(&answer(question, [0x81, 0x80], &bad), from));
                        say(answer(question, [0x81, 0x80], records));
                    }
                }
            }
        });
        let until = Arc::clone(&stop);
        tcp.set_nonblocking(true).unwrap();
        let connections = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = tcp.accept() else {
                    std::thread::sleep(GLANCE);
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                let mut len = [0; 2];
                stream.read_exact(&mut len).unwrap();
                let mut question = vec![0; usize::from(u16::from_be_bytes(len))];
                stream.read_exact(&mut question).unwrap();
                if let Some(Does::TooLong(records)) = zone.get(&asked(&question)) {
                    let answer = answer(&question, [0x81, 0x80], records);
                    stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
                    // In two pieces, as a network may deliver it.
                    let (one, two) = answer.split_at(20);
                    stream.write_all(one).unwrap();
                    stream.write_all(two).unwrap();
                }
            }
        });
        Self { address, stop, threads: vec![datagrams, connections], questions }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the name server failed");
        }
    }
}

/// A host that stands in for the KMS host, and tells of each connection how many bytes it was sent.
struct KmsHost {
    port: u16,
    sent: Receiver<usize>,
}

impl KmsHost {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, sent) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream: TcpStream = stream.unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                let mut bytes = Vec::new();
                let read = stream.read_to_end(&mut bytes);
                // A reset is an end too.
                if tell.send(bytes.len()).is_err() || read.is_err() {
                    return;
                }
            }
        });
        Self { port, sent }
    }

    /// One connection, with nothing in it, and no second one.
    fn was_knocked_at_once(&self) {
        assert_eq!(self.sent.recv_timeout(DEADLINE), Ok(0), "bytes that were sent to the host");
        assert!(self.sent.recv_timeout(4 * GLANCE).is_err(), "a second connection");
    }
}

fn klonwerk(words: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(assert_cmd::cargo::cargo_bin!("klonwerk"))
        .args(words)
        .current_dir(folder.path())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The check of the domain at this server, as JSON.
fn checked(server: SocketAddr, more: &[&str]) -> (Option<i32>, Value) {
    let server = server.to_string();
    let words = ["kms", "check", "--json", "--domain", DOMAIN, "--dns", &server];
    let (code, out, err) = klonwerk(&[&words[..], more].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")))
}

fn findings(said: &Value) -> Vec<&str> {
    said["findings"].as_array().unwrap().iter().map(|finding| finding["finding"].as_str().unwrap()).collect()
}

#[test]
fn a_host_that_is_announced_is_found_and_sent_nothing() {
    let host = KmsHost::start();
    let server = NameServer::start(vec![
        (SERVICE, SRV, Does::Records(vec![srv(host.port, "kms.schule.example")])),
        ("kms.schule.example", A, Does::Records(vec![address([127, 0, 0, 1])])),
    ]);
    let (code, said) = checked(server.address, &[]);
    assert_eq!((code, &said["good"]), (Some(0), &Value::Bool(true)), "{said:#}");
    assert_eq!(findings(&said), ["other-port"], "{said:#}");
    let steps: Vec<_> = said["steps"].as_array().unwrap().iter().map(|step| step["result"].as_str().unwrap()).collect();
    assert_eq!(steps, ["found", "found", "no-such-name", "open"]);
    assert!(said["steps"].as_array().unwrap().iter().all(|step| step["milliseconds"].is_u64()), "{said:#}");
    host.was_knocked_at_once();
    assert_eq!(
        *server.questions.lock().unwrap(),
        [(SERVICE.to_owned(), SRV), ("kms.schule.example".to_owned(), A), ("kms.schule.example".to_owned(), 28)]
    );
}

#[test]
fn what_is_wrong_with_the_record_is_told_apart() {
    for (does, finding, text) in [
        (Does::Code(3), "no-record", "has no SRV record"),
        (Does::Records(vec![]), "no-record", "has no SRV record"),
        (Does::Code(2), "dns", "answered SERVFAIL"),
        (Does::Code(5), "dns", "answered REFUSED"),
        (Does::Records(vec![srv(1688, "")]), "not-offered", "no KMS here"),
        (Does::Records(vec![srv(1688, "gone.schule.example")]), "no-address", "has no address"),
        (Does::Records(vec![(CNAME, vec![0xc0, 12])]), "dns", "in a circle"),
    ] {
        let server = NameServer::start(vec![(SERVICE, SRV, does)]);
        let (code, said) = checked(server.address, &[]);
        assert_eq!((code, findings(&said)), (Some(1), vec![finding]), "{said:#}");
        assert!(said["findings"][0]["text"].as_str().unwrap().contains(text), "{said:#}");
        assert!(!said["findings"][0]["advice"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_server_that_is_silent_or_not_there_does_not_keep_anybody_waiting() {
    let silent = NameServer::start(vec![(SERVICE, SRV, Does::Silence)]);
    let begun = Instant::now();
    let (code, said) = checked(silent.address, &["--timeout", "200ms"]);
    assert!(begun.elapsed() < DEADLINE);
    assert_eq!((code, &said["findings"][0]["failure"]["reason"]), (Some(1), &Value::from("timed-out")), "{said:#}");
    assert_eq!(silent.questions.lock().unwrap().len(), 2, "asked twice");
    // A socket that is connected elsewhere hears nothing here, and nobody else can take its port.
    let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    held.connect((Ipv4Addr::LOCALHOST, 9)).unwrap();
    let nobody = held.local_addr().unwrap();
    let (code, said) = checked(nobody, &[]);
    assert_eq!((code, &said["findings"][0]["failure"]["reason"]), (Some(1), &Value::from("unreachable")), "{said:#}");
}

#[test]
fn long_answers_come_over_tcp() {
    let host = KmsHost::start();
    let many = (0..40).map(|n| srv(host.port, &format!("kms{n}.schule.example"))).collect();
    let server = NameServer::start(vec![
        (SERVICE, SRV, Does::TooLong(many)),
        ("kms0.schule.example", A, Does::TooLong(vec![address([127, 0, 0, 1])])),
    ]);
    let (_, said) = checked(server.address, &[]);
    assert_eq!(said["steps"][0]["over"], "tcp", "{said:#}");
    assert!(findings(&said).contains(&"many-hosts"), "{said:#}");
    host.was_knocked_at_once();
}

#[test]
fn what_others_answer_does_not_count() {
    let host = KmsHost::start();
    let server = NameServer::start(vec![
        (SERVICE, SRV, Does::Forged(vec![srv(host.port, "kms.schule.example")])),
        ("kms.schule.example", A, Does::Records(vec![address([127, 0, 0, 1])])),
    ]);
    let (code, said) = checked(server.address, &[]);
    assert_eq!(code, Some(0), "{said:#}");
    assert_eq!(said["steps"][0]["records"][0]["srv"]["target"], "kms.schule.example");
    host.was_knocked_at_once();
}

#[test]
fn a_target_that_is_an_alias_works_and_is_warned_about() {
    let host = KmsHost::start();
    let server = NameServer::start(vec![
        (SERVICE, SRV, Does::Records(vec![srv(host.port, "kms.schule.example")])),
        ("kms.schule.example", A, Does::Records(vec![(CNAME, name("server1.schule.example"))])),
        ("server1.schule.example", A, Does::Records(vec![address([127, 0, 0, 1])])),
    ]);
    let (code, said) = checked(server.address, &[]);
    assert_eq!((code, findings(&said)), (Some(0), vec!["other-port", "target-is-alias"]), "{said:#}");
    assert_eq!(said["findings"][1]["weight"], "warning");
    host.was_knocked_at_once();
}

#[test]
fn a_closed_port_is_an_error_with_advice_in_german_too() {
    // Bound, so that nobody else takes the port, but not listening.
    let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    held.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let closed = held.local_addr().unwrap().as_socket().unwrap().port();
    let host = format!("127.0.0.1:{closed}");
    let (code, out, err) = klonwerk(&["kms", "check", "--host", &host, "--lang", "de"]);
    assert_eq!((code, err.as_str()), (Some(1), ""), "{out}");
    let shown = out.replace(&closed.to_string(), "PORT");
    let shown: Vec<&str> = shown.lines().map(|line| line.split("  ").next().unwrap()).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn records_are_printed_with_a_line_on_where_they_go() {
    let mut shown = String::new();
    for language in ["en", "de"] {
        for format in ["bind", "dnsmasq", "windows"] {
            let words =
                ["kms", "dns", "--domain", "example.school", "--host", "kms", "--format", format, "--lang", language];
            let (code, out, err) = klonwerk(&words);
            assert_eq!((code, err.as_str()), (Some(0), ""));
            shown += &out;
        }
    }
    insta::assert_snapshot!(shown);
    let words =
        ["kms", "dns", "--domain", "example.school", "--host", "kms", "--format", "bind", "--port", "1700", "--json"];
    let said: Value = serde_json::from_str(&klonwerk(&words).1).unwrap();
    assert_eq!(said["record"], "_vlmcs._tcp  3600 IN SRV 0 0 1700 kms.example.school.");
}

#[test]
fn wrong_words_are_refused_with_what_is_right() {
    for (words, said) in [
        (&["kms", "dns", "--domain", "x.example", "--host", "10.0.0.5", "--format", "bind"][..], "is an address"),
        (
            &["kms", "dns", "--domain", "x.example", "--host", "kms", "--format", "unbound"],
            "use bind, dnsmasq or windows",
        ),
        (&["kms", "dns", "--domain", "x.example", "--host", "kms", "--format", "bind", "--port", "0"], "0"),
        (&["kms", "check", "--dns", "router"], "is not the address of a DNS server"),
        (&["kms", "check", "--domain", "a b"], "is not a DNS name"),
        (&["kms", "check", "--timeout", "2h"], "between 10ms and 60s"),
        (&["kms", "check", "--host", "kms:0"], "no usable port"),
    ] {
        let (code, out, err) = klonwerk(words);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{words:?}");
        assert!(err.contains(said), "{err}");
    }
}
