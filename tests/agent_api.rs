//! The server's doors against those who do not keep to the protocol: wrong bodies, wrong tokens, wrong bytes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use klonwerk::agent::client::{Client, ClientError, Patience};
use klonwerk::agent::protocol::{CheckIn, ImagingReport};
use klonwerk::clock::SystemClock;
use klonwerk::image::Hash;
use klonwerk::night::key_values::Sources;
use klonwerk::serve::{ServeError, ServeOptions, Server, StateFolder};

const SITE: &str = "name: Test\nlanguage: en\ntime_zone: Europe/Berlin\nserver: { address: 127.0.0.1 }\nnetwork: proxy\n\
    images:\n  win: { build: 22631, edition: Education, generalized: true, key_channel: mak }\n";
const ROOM: &str = "title: Room\nimage: win\nenvironment: linux\nidle: silent\nactivation: none\nhooks: [computer-name]\nmachines:\n  \
    - { name: PC-1, mac: '52:54:00:00:00:01' }\n";

struct Bench {
    _folder: tempfile::TempDir,
    options: ServeOptions,
    runtime: tokio::runtime::Runtime,
    server: Option<Server>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let profiles = folder.path().join("profiles");
        fs::create_dir_all(profiles.join("rooms")).expect("folder");
        fs::write(profiles.join("site.yaml"), SITE).expect("site");
        fs::write(profiles.join("rooms/r1.yaml"), ROOM).expect("room");
        let state = StateFolder(folder.path().join("state"));
        let options = ServeOptions { profiles, state, loopback: true, key_values: Sources::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
        let server = runtime.block_on(Server::start(options.clone(), Arc::new(SystemClock))).expect("a server");
        Self { _folder: folder, options, runtime, server: Some(server) }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("running")
    }

    fn client(&self) -> Client {
        let addresses = &self.server().addresses;
        Client::connect(&addresses.agent_url, &addresses.pin, hurry()).expect("connected")
    }

    /// One request over the command line's socket, as raw as can be; the whole answer.
    fn local(&self, request: &[u8]) -> String {
        let mut socket = UnixStream::connect(&self.server().addresses.admin).expect("the socket");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("time-out");
        // The server may close while a hostile request is still being written.
        let _ = socket.write_all(request);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn post(&self, path: &str, body: &str) -> String {
        self.local(
            format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

fn hurry() -> Patience {
    Patience { total: Duration::from_millis(200), first_pause: Duration::from_millis(20) }
}

fn status(error: ClientError) -> u16 {
    match error {
        ClientError::Refused { status, .. } => status,
        other => panic!("not a refusal: {other}"),
    }
}

#[test]
fn agents_without_rights_are_refused_with_a_reason() {
    let bench = Bench::new();
    let client = bench.client();
    let hello = |mac: &str| CheckIn {
        mac: mac.parse().expect("mac"),
        uuid: None,
        token: None,
        version: "test".to_owned(),
        hardware: None,
    };
    assert_eq!(status(client.check_in(&hello("52:54:00:00:00:99")).expect_err("a stranger")), 403);
    let failed = ImagingReport::Failed { reason: "x".to_owned() };
    assert_eq!(status(client.report(&failed).expect_err("no token")), 401);
    assert_eq!(status(client.with_bearer("guess").report(&failed).expect_err("no session")), 401);
    assert_eq!(status(client.with_bearer("guess").head(&Hash::of(b"x")).expect_err("no session")), 401);
    assert_eq!(status(client.with_bearer(&"x".repeat(5000)).report(&failed).expect_err("too long")), 401);
}

#[test]
fn another_server_is_recognised_before_anything_is_sent() {
    let (ours, theirs) = (Bench::new(), Bench::new());
    let connected = Client::connect(&theirs.server().addresses.agent_url, &ours.server().addresses.pin, hurry());
    assert!(matches!(connected, Err(ClientError::Pin { .. })));
    assert!(matches!(Client::connect("http://127.0.0.1:1", &Hash::of(b""), hurry()), Err(ClientError::Address(_))));
    assert!(matches!(
        Client::connect("https://127.0.0.1:1", &Hash::of(b""), hurry()),
        Err(ClientError::Unreachable { .. })
    ));
}

#[test]
fn bad_bodies_get_a_clear_error_and_change_nothing() {
    let bench = Bench::new();
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"room\":\"r1\",\"asked_by\":\"x\",\"extra\":1}",
        "{\"room\":\"R 1\",\"asked_by\":\"x\"}",
    ] {
        let answer = bench.post("/v1/reclone", body);
        assert!(answer.starts_with("HTTP/1.1 400"), "{body}: {answer}");
        assert!(answer.contains("\"error\""), "{answer}");
    }
    let deep = "[".repeat(100_000);
    assert!(bench.post("/v1/reclone", &deep).starts_with("HTTP/1.1 400"));
    assert!(bench.post("/v1/reclone", "{\"room\":\"nowhere\",\"asked_by\":\"x\"}").starts_with("HTTP/1.1 404"));
    assert!(bench.post("/v1/runs/99/cancel", "{\"asked_by\":\"x\"}").contains("no run 99"));
    assert!(bench.post("/v1/nothing", "{}").starts_with("HTTP/1.1 404"));
    let huge = format!(
        "POST /v1/activation/import HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{}",
        9 << 20,
        "x".repeat(5 << 20)
    );
    assert!(!bench.local(huge.as_bytes()).starts_with("HTTP/1.1 2"));
    let not_text =
        b"POST /v1/activation/import HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n\xff\xfe";
    assert!(bench.local(not_text).starts_with("HTTP/1.1 400"));
    assert!(bench.server().night.store().runs(10).expect("runs").is_empty());
}

#[test]
fn bytes_that_are_no_protocol_leave_the_server_standing() {
    let bench = Bench::new();
    let mut noise = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..40 {
        let bytes: Vec<u8> = (0..300)
            .map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise as u8
            })
            .collect();
        for address in [bench.server().addresses.agents, bench.server().addresses.boot] {
            let mut socket = TcpStream::connect(address).expect("a door");
            // It may be slammed.
            let _ = socket.write_all(&bytes);
        }
        bench.local(&bytes);
    }
    assert!(
        bench.local(b"GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").starts_with("HTTP/1.1 200")
    );
    bench.client();
}

#[test]
fn a_state_folder_has_one_owner() {
    let bench = Bench::new();
    let second = bench.runtime.block_on(Server::start(bench.options.clone(), Arc::new(SystemClock)));
    assert!(matches!(second, Err(ServeError::Lock(_))));
}

#[test]
fn changed_profiles_come_into_force_as_a_whole_or_not_at_all() {
    let bench = Bench::new();
    let room = bench.options.profiles.join("rooms/r1.yaml");
    let machines = || bench.server().night.profiles().machines().count();
    let wait_for = |wanted: usize| {
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while machines() != wanted && std::time::Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        assert_eq!(machines(), wanted);
    };
    // A fault beside a good change: neither comes into force. The good set after it shows that the server has looked.
    fs::write(&room, format!("{ROOM}  - {{ name: PC-2, mac: 'nonsense' }}\n")).expect("write");
    let two = format!("{ROOM}  - {{ name: PC-2, mac: '52:54:00:00:00:02' }}\n");
    wait_for(1);
    fs::write(&room, two).expect("write");
    wait_for(2);
}
