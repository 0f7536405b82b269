//! A whole night with stored confirmation IDs, at the highest log level: no product key and no confirmation ID is in what
//! was logged, answered to the command line, told to listeners or stored.
//!
//! Alone in its binary, since the logger is the process's.
#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "in a test, what is unexpected ends it")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use klonwerk::agent::client::Patience;
use klonwerk::clock::SystemClock;
use klonwerk::night::key_values::Sources;
use klonwerk::progress::{Monitor, Unwatched};
use klonwerk::rehearsal::{RoomSource, School, SchoolOptions};
use klonwerk::room::MachineName;
use klonwerk::secret::Secret;
use klonwerk::sim::master::LEAST_USED;
use klonwerk::sim::portal::Portal;
use tokio::sync::broadcast::error::TryRecvError;
use tracing_subscriber::fmt::MakeWriter;

/// Two keys: of the room, from the environment, and of another room, from a file. Neither is a real one.
const ROOM_KEY: [&str; 5] = ["QWMBH", "7TGXC", "P4RDV", "K9YFJ", "3V66T"];
const FILE_KEY: [&str; 5] = ["XJ2TN", "RRVMY", "8DGBQ", "C6HWK", "9PF4D"];

const SITE: &str = "\
name: Geheim
language: de
time_zone: Europe/Berlin
server: { address: 127.0.0.1 }
network: proxy
images:
  win11: { build: 22631, edition: Education, generalized: true, skip_rearm: false, key_channel: mak, firmware: uefi }
keys:
  mak-room: { type: mak, edition: Education, environment: ROOM_KEY }
  mak-file: { type: mak, edition: Education, file: FOLDER/mak-file }
";

const ROOM: &str = "\
title: Raum ROOM
image: win11
environment: linux
idle: local
activation: { mak-proxy: { key: KEY } }
machines:
  - { name: ROOM-01, mac: '52:54:00:00:0N:01' }
  - { name: ROOM-02, mac: '52:54:00:00:0N:02' }
";

/// Everything that was logged.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Write for Log {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(buf);
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The forms in which a secret would be found, each of which would give it away.
#[derive(Debug, Default)]
struct Wanted(Vec<(String, Vec<u8>)>);

impl Wanted {
    fn add(&mut self, what: &str, text: &str) {
        for text in [text.to_owned(), text.to_lowercase()] {
            let wide = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            self.0.push((what.to_owned(), wide));
            self.0.push((what.to_owned(), text.into_bytes()));
        }
    }

    /// Each group but the last, by which Windows shows a key.
    fn add_key(&mut self, groups: [&str; 5]) {
        for group in &groups[..4] {
            self.add(&format!("the key ending in {}", groups[4]), group);
        }
    }

    /// Two groups that follow each other, however they are joined: one alone might be a fraction of a second.
    fn add_confirmation(&mut self, machine: &MachineName, groups: &[&str]) {
        for pair in groups.windows(2) {
            for joint in ["", "-", " ", ",", ", ", ";", "\", \"", "\",\"", "\n", "\r\n"] {
                self.add(&format!("the confirmation ID of {machine}"), &pair.join(joint));
            }
        }
    }

    /// What of it is in `bytes`, and where.
    fn found_in(&self, bytes: &[u8]) -> Option<(&str, usize)> {
        // Most places are passed by at the first look: logs at the highest level are long.
        let mut by_first: Vec<Vec<&(String, Vec<u8>)>> = vec![Vec::new(); 1 << 16];
        for wanted in &self.0 {
            by_first[usize::from(u16::from_le_bytes([wanted.1[0], wanted.1[1]]))].push(wanted);
        }
        bytes.windows(2).enumerate().find_map(|(at, two)| {
            let candidates = &by_first[usize::from(u16::from_le_bytes([two[0], two[1]]))];
            candidates.iter().find(|(_, text)| bytes[at..].starts_with(text)).map(|(what, _)| (what.as_str(), at))
        })
    }

    fn must_not_be_in(&self, place: &str, bytes: &[u8]) {
        if let Some((what, at)) = self.found_in(bytes) {
            // The beginning of its line says who wrote it, and nothing of the secret.
            let line = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let before = String::from_utf8_lossy(&bytes[line..at.min(line + 200)]).into_owned();
            panic!("{what} is in {place}, in the line that begins with: {before}");
        }
    }
}

/// Files below `folder`, but those that are images or profiles.
fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        let kind = fs::symlink_metadata(&path).expect("entry").file_type();
        if kind.is_dir() && !path.ends_with("images") && !path.ends_with("pcs") {
            files(&path, out);
        } else if kind.is_file() && !path.ends_with("master.disk") {
            out.push(path);
        }
    }
}

/// An answer to the command line, with its head.
fn ask(socket: &Path, path: &str) -> Vec<u8> {
    let mut socket = UnixStream::connect(socket).expect("connected");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    write!(socket, "GET {path} HTTP/1.1\r\nhost: klonwerk\r\nconnection: close\r\n\r\n").expect("asked");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("answered");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
    answer
}

fn profiles(folder: &Path) -> PathBuf {
    let profiles = folder.join("profiles");
    fs::create_dir_all(profiles.join("rooms")).expect("folder");
    let site = SITE.replace("FOLDER", folder.to_str().expect("UTF-8"));
    fs::write(profiles.join("site.yaml"), site).expect("written");
    for (number, room, key) in [("1", "r1", "mak-room"), ("2", "r2", "mak-file")] {
        let text = ROOM.replace("ROOM", &room.to_uppercase()).replace("KEY", key).replace('N', number);
        fs::write(profiles.join(format!("rooms/{room}.yaml")), text).expect("written");
    }
    let key = folder.join("mak-file");
    fs::write(&key, FILE_KEY.join("-")).expect("written");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("protected");
    profiles
}

#[test]
fn no_key_and_no_confirmation_id_is_logged_told_or_stored_in_clear() {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .try_init()
        .expect("the first logger");
    let folder = tempfile::tempdir().expect("folder");
    let profiles = profiles(folder.path());
    let work = folder.path().join("school");
    fs::create_dir(&work).expect("folder");
    let environment = BTreeMap::from([("ROOM_KEY".to_owned(), Secret::new(ROOM_KEY.join("-")))]);
    let options = SchoolOptions {
        machines: 2,
        image: None,
        bytes_used: LEAST_USED,
        seed: 15,
        folder: work.clone(),
        room: RoomSource::Given { profiles, room: "r1".parse().expect("room") },
        key_values: Sources { environment, ..Sources::default() },
        patience: Patience::default(),
    };
    let mut school = School::open(options, Arc::new(SystemClock), &|_| {}).expect("opened");
    assert_eq!(school.partial_key(), ROOM_KEY[4]);
    let mut events = school.server().expect("runs").night.listen();
    let unwatched = |_: &MachineName| -> Box<dyn Monitor> { Box::new(Unwatched) };
    school.night(&unwatched).expect("the first night");

    // The portal gives the same answer again, so the confirmation IDs are known here.
    let mut wanted = Wanted::default();
    wanted.add_key(ROOM_KEY);
    wanted.add_key(FILE_KEY);
    let pending = school.server().expect("runs").night.store().pending_list().expect("read");
    assert_eq!(pending.len(), 2);
    let portal = Portal::of(&school.world);
    for asked in &pending {
        let cid = portal.issue(&asked.iid, &asked.product).expect("issued");
        let groups: Vec<&str> = cid.groups().collect();
        assert_eq!(groups.len(), 8);
        wanted.add_confirmation(&asked.machine, &groups);
        // That the search finds what there is to find.
        for form in [groups.join("-"), groups.concat(), format!("{groups:?}")] {
            assert!(wanted.found_in(format!("some {form} text").as_bytes()).is_some(), "{form}");
        }
    }
    assert!(wanted.found_in(ROOM_KEY.join("-").as_bytes()).is_some());
    assert!(wanted.found_in(ROOM_KEY[4].as_bytes()).is_none());

    assert_eq!(school.issue_confirmations().expect("imported"), 2);
    school.night(&unwatched).expect("the second night");
    assert_eq!(school.activated(), 2);

    let night = school.server().expect("runs").night.clone();
    let audit = night.store().audit_log(1000).expect("read");
    let releases = audit.iter().filter(|entry| entry.what.contains("released a confirmation ID")).count();
    assert_eq!(releases, 2, "{audit:?}");
    wanted.must_not_be_in("the audit log", format!("{audit:?}").as_bytes());
    for name in school.names() {
        let history = night.store().confirmation_history(name).expect("read");
        assert!(!history.is_empty());
        wanted.must_not_be_in("the history of confirmation IDs", format!("{history:?}").as_bytes());
    }
    for (pc, name) in school.pcs.iter().zip(school.names()) {
        let record = serde_json::to_vec(&pc.record.take()).expect("JSON");
        assert!(record.len() > 1000);
        wanted.must_not_be_in(&format!("the record of {name}"), &record);
        let mut first = vec![0; 1 << 20];
        fs::File::open(pc.disk()).and_then(|mut disk| disk.read_exact(&mut first)).expect("read");
        assert!(first.windows(7).any(|bytes| bytes == b"KWNOTE\x01"));
        wanted.must_not_be_in(&format!("the note on the disk of {name}"), &first);
    }

    let socket = school.server().expect("runs").addresses.admin.clone();
    for path in [
        "/v1/status",
        "/v1/plan/r1",
        "/v1/plan/r2",
        "/v1/runs",
        "/v1/runs/1",
        "/v1/runs/2",
        "/v1/runs/2/machines/R1-01",
        "/v1/runs/2/machines/R1-02",
        "/v1/activation/pending?lang=de",
        "/v1/activation/ledger",
        "/v1/activation/ledger/mak-room",
        "/v1/activation/ledger/mak-file",
    ] {
        wanted.must_not_be_in(path, &ask(&socket, path));
    }
    let mut told = 0;
    loop {
        match events.try_recv() {
            Ok(event) => {
                told += 1;
                wanted.must_not_be_in("an event", &serde_json::to_vec(&event).expect("JSON"));
                wanted.must_not_be_in("an event", format!("{event:?}").as_bytes());
            }
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    assert!(told > 20, "only {told} events");
    for name in school.names() {
        let script = format!("http://{}/boot/ipxe/", school.server().expect("runs").addresses.boot);
        let pc = school.names().iter().position(|other| other == name).expect("there");
        let url = format!("{script}{}.ipxe", school.pcs[pc].mac().dashed());
        let text = ureq::get(&url).call().and_then(|mut answer| answer.body_mut().read_to_vec()).expect("a script");
        assert!(text.starts_with(b"#!ipxe"));
        wanted.must_not_be_in(&url, &text);
    }

    // Once with the database's log beside it, once folded in.
    let mut looked_at = 0;
    for running in [true, false] {
        if !running {
            school.stop_server();
        }
        let mut paths = Vec::new();
        files(&work, &mut paths);
        assert!(paths.iter().any(|path| path.ends_with("klonwerk.db")), "{paths:?}");
        for path in paths {
            wanted.must_not_be_in(&path.display().to_string(), &fs::read(&path).expect("read"));
            looked_at += 1;
        }
    }
    assert!(looked_at > 20, "only {looked_at} files");

    let text = log.bytes();
    let readable = String::from_utf8_lossy(&text);
    for sure in ["DEBUG", "machine run", "rustls", "ureq", "the disk is the image"] {
        assert!(readable.contains(sure), "{sure} is not in the log of {} bytes", text.len());
    }
    assert!(!readable.contains("Bearer "), "the token of a session is in the log");
    wanted.must_not_be_in("the log", &text);
}
