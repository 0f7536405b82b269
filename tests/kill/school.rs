//! A school in a folder: a small master, its image, profiles; and what the command line asks the server.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gptman::{GPT, GPTPartitionEntry};
use klonwerk::activation::confirmation::{InstallationId, ProductRef};
use klonwerk::activation::exchange::{ExchangeRow, Separator, write_csv};
use klonwerk::clock::{Clock, SystemClock};
use klonwerk::disk::{Access, Disk, FileDisk};
use klonwerk::http::admin_api::{ImportView, RecloneRequest, RunStarted, RunView, Status};
use klonwerk::image::ntfs::HEAD_BYTES;
use klonwerk::image::{Extent, FirmwareKind, KeyChannel, LEAF_BYTES, WindowsFacts};
use klonwerk::job::RunId;
use klonwerk::packs::{CaptureOptions, ImageStore, SigningKeyFile, StoredImage, capture};
use klonwerk::room::{Language, MachineName, Selection};
use klonwerk::serve::StateFolder;
use klonwerk::sim::licensing::World;
use klonwerk::sim::master::{DirtyReport, dirty, equal_under_mask};
use klonwerk::sim::portal::Portal;
use klonwerk::sim::volume::fat::FatBuilder;
use klonwerk::sim::volume::{NtfsBuilder, noise};
use klonwerk::store::{Run, Store, StoreKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::pc::facts;

const MIB: u64 = 1 << 20;
const ESP: Extent = Extent { start: MIB, len: 40 * MIB };
const WINDOWS: Extent = Extent { start: 41 * MIB, len: 48 * MIB };
const DISK_BYTES: u64 = 90 * MIB;
pub(crate) const PARTIAL: &str = "3V66T";

/// How often an intent's window has to be looked at: the server's own tick, and a little.
pub(crate) const TICK: Duration = Duration::from_millis(1500);

pub(crate) struct School {
    folder: Option<TempDir>,
    path: PathBuf,
    pub(crate) image: StoredImage,
    zero: Vec<Extent>,
    pub(crate) names: Vec<MachineName>,
    pub(crate) boot_port: u16,
}

impl School {
    pub(crate) fn new(machines: usize, seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().to_owned();
        let state = StateFolder(path.join("server"));
        for folder in [state.boot(), path.join("profiles/rooms"), path.join("pcs")] {
            fs::create_dir_all(folder).expect("folder");
        }
        let zero = master(&path.join("master.disk"), seed);
        let image = take(&path.join("master.disk"), &state);
        for name in ["undionly.kpxe", "snponly.efi", "vmlinuz", "initrd.img"] {
            fs::write(state.boot().join(name), name.repeat(100)).expect("boot file");
        }
        let names: Vec<MachineName> = (1..=machines).map(|n| format!("PC-{n}").parse().expect("name")).collect();
        let boot_port = write_profiles(&path, &names);
        let school = Self { folder: Some(folder), path, image, zero, names, boot_port };
        for pc in 0..machines {
            school.blank(pc);
        }
        school
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn state(&self) -> StateFolder {
        StateFolder(self.path.join("server"))
    }

    pub(crate) fn disk(&self, pc: usize) -> PathBuf {
        self.path.join(format!("pcs/{}.disk", self.names[pc]))
    }

    /// Puts an empty disk into a PC.
    pub(crate) fn blank(&self, pc: usize) {
        fs::File::create(self.disk(pc)).expect("disk").set_len(DISK_BYTES).expect("size");
    }

    /// A day with pupils.
    pub(crate) fn day(&self, pc: usize, fraction: f64, seed: u64) -> DirtyReport {
        let disk = FileDisk::open(&self.disk(pc), Access::Exclusive).expect("disk");
        let mask = self.image.mask().expect("mask");
        dirty(&disk, self.image.header(), &mask, fraction, seed).expect("a day")
    }

    /// Changes a file on a PC's disk, which starts all the same.
    pub(crate) fn spoil(&self, pc: usize) {
        let disk = FileDisk::open(&self.disk(pc), Access::Exclusive).expect("disk");
        disk.write_at(WINDOWS.start + 16 * MIB, &[0x55; 4096]).expect("written");
        disk.flush().expect("flushed");
    }

    /// Fails unless a PC's disk is the master, byte for byte under the mask.
    pub(crate) fn must_be_the_image(&self, pc: usize) {
        let mask = self.image.mask().expect("mask");
        let master = self.path.join("master.disk");
        let found = equal_under_mask(&master, &self.disk(pc), self.image.header(), &mask, &self.zero);
        assert_eq!(found.expect("compared"), None, "{}", self.names[pc]);
    }

    /// The state store, while no server runs.
    pub(crate) fn store(&self) -> Store {
        let state = self.state();
        let key = StoreKey::open_or_create(&state.database_key()).expect("key");
        Store::open(&state.database(), key, Arc::new(SystemClock)).expect("store")
    }

    /// Whether the server listens to the command line.
    pub(crate) fn answers(&self) -> bool {
        self.ask::<Status>("GET", "/v1/status", "").is_ok()
    }

    /// Asks over the server's Unix socket.
    pub(crate) fn ask<T: DeserializeOwned>(&self, method: &str, path: &str, body: &str) -> io::Result<T> {
        serde_json::from_str(&self.exchange(method, path, body)?).map_err(io::Error::other)
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> io::Result<String> {
        let mut socket = self.send(method, path, body)?;
        receive(&mut socket)
    }

    /// Sends a question and leaves the answer to be read.
    fn send(&self, method: &str, path: &str, body: &str) -> io::Result<UnixStream> {
        let mut socket = UnixStream::connect(self.state().socket())?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let len = body.len();
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nhost: klonwerk\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n{body}"
        )?;
        Ok(socket)
    }

    /// Asks for a re-clone and waits for the answer.
    pub(crate) fn reclone(&self, asked_by: &str, window_seconds: u64) -> RunId {
        let run: RunStarted = self.ask("POST", "/v1/reclone", &request(asked_by, window_seconds)).expect("a run");
        run.run
    }

    /// Asks for a re-clone; the answer is read only after `meanwhile`, and may never come.
    pub(crate) fn reclone_while(&self, asked_by: &str, meanwhile: impl FnOnce()) -> Option<RunId> {
        let socket = self.send("POST", "/v1/reclone", &request(asked_by, 3600));
        meanwhile();
        let text = receive(&mut socket.ok()?).ok()?;
        Some(serde_json::from_str::<RunStarted>(&text).expect("a run").run)
    }

    pub(crate) fn runs(&self) -> Vec<Run> {
        self.ask("GET", "/v1/runs", "").expect("the runs")
    }

    pub(crate) fn run(&self, run: RunId) -> RunView {
        self.ask("GET", &format!("/v1/runs/{run}"), "").expect("the run")
    }

    /// Gets a confirmation ID for every installation ID that waits for one; how many.
    pub(crate) fn confirm_all(&self) -> usize {
        let table = self.exchange("GET", "/v1/activation/pending?lang=en", "").expect("the table");
        let portal = Portal::of(&World::new(Arc::new(SystemClock)));
        let rows: Vec<ExchangeRow> = table.lines().skip(1).map(|line| confirmed(line, &portal)).collect();
        let table = write_csv(&rows, Separator::for_language(Language::En));
        let import: ImportView = self.ask("POST", "/v1/activation/import?lang=en", &table).expect("imported");
        assert_eq!((import.refused.len(), import.stored), (0, rows.len()), "{import:?}");
        import.stored
    }
}

impl Drop for School {
    fn drop(&mut self) {
        let wanted = std::thread::panicking() || std::env::var_os("KLONWERK_KEEP").is_some();
        if wanted && let Some(folder) = self.folder.take() {
            eprintln!("everything was left in {}", folder.keep().display());
        }
    }
}

/// A line of the table of pending installation IDs, with its confirmation ID.
fn confirmed(line: &str, portal: &Portal) -> ExchangeRow {
    let fields: Vec<&str> = line.split(',').map(|field| field.trim_matches('"')).collect();
    let [machine, activation_id, partial_key, iid, "", _] = fields[..] else { panic!("{line}") };
    let product = ProductRef { activation_id: activation_id.to_owned(), partial_key: partial_key.to_owned() };
    let iid = InstallationId::parse(iid).expect("an installation ID");
    let cid = Some(portal.issue(&iid, &product).expect("issued"));
    ExchangeRow { machine: machine.parse().expect("name"), product, iid, cid, title: String::new() }
}

fn request(asked_by: &str, window_seconds: u64) -> String {
    let request = RecloneRequest {
        room: "r101".parse().expect("room"),
        selection: Selection::default(),
        image: None,
        asked_by: asked_by.to_owned(),
        window_seconds: Some(window_seconds),
    };
    json(&request)
}

pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("JSON")
}

/// Reads an answer to its end; an error when it is not a whole, good one.
fn receive(socket: &mut UnixStream) -> io::Result<String> {
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("no answer"))?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(io::Error::other(text.clone()));
    }
    let len =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    match len.and_then(|len| len.trim().parse::<usize>().ok()) {
        Some(len) if len == body.len() => Ok(body.to_owned()),
        _ => Err(io::Error::other("half an answer")),
    }
}

/// Writes the master's disk; where its page file has its head.
fn master(path: &Path, seed: u64) -> Vec<Extent> {
    const ESP_TYPE: [u8; 16] =
        [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
    const DATA_TYPE: [u8; 16] =
        [0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7];
    let mut disk = fs::File::options().read(true).write(true).create_new(true).open(path).expect("master");
    disk.set_len(DISK_BYTES).expect("size");
    GPT::write_protective_mbr_into(&mut disk, 512).expect("MBR");
    let mut gpt = GPT::new_from(&mut disk, 512, [7; 16]).expect("GPT");
    for (number, kind, extent) in [(1, ESP_TYPE, ESP), (2, DATA_TYPE, WINDOWS)] {
        gpt[number] = GPTPartitionEntry {
            partition_type_guid: kind,
            unique_partition_guid: [number as u8; 16],
            starting_lba: extent.start / 512,
            ending_lba: extent.end() / 512 - 1,
            attribute_bits: 0,
            partition_name: "part".into(),
        };
    }
    gpt.write_into(&mut disk).expect("GPT");
    let esp = FatBuilder::new(ESP.len, seed as u32, "SYSTEM", (ESP.start / 512) as u32)
        .file("EFI/BOOT/BOOTX64.EFI", vec![0x4d; 200_000]);
    esp.build(&disk, ESP.start).expect("ESP");
    let mut volume = NtfsBuilder::new(WINDOWS.len, 4096, seed | 1, "Windows").gaps(3);
    for n in 0..150 {
        let len = 20_000 + (n * 7919) % 350_000;
        volume.file(&format!("Windows/file {n}.dll"), noise::contents(seed ^ n, len)).expect("file");
    }
    volume.scattered("pagefile.sys", vec![0xaa; 2 << 20], 3).expect("page file");
    let written = volume.build(&disk, WINDOWS.start).expect("volume");
    let mut left = HEAD_BYTES;
    let mut heads = Vec::new();
    for piece in &written.scattered["pagefile.sys"] {
        let len = piece.len.min(left);
        left -= len;
        heads.push(Extent { start: WINDOWS.start + piece.start, len });
    }
    heads
}

/// Captures the master.
fn take(master: &Path, state: &StateFolder) -> StoredImage {
    let disk = FileDisk::open(master, Access::ReadOnly).expect("master");
    let store = ImageStore::open(&state.images()).expect("images");
    let signing = SigningKeyFile::open_or_create(&state.signing_key()).expect("key");
    let options = CaptureOptions {
        image: "win11@1".parse().expect("image"),
        leaf_bytes: LEAF_BYTES,
        facts: WindowsFacts { firmware: Some(FirmwareKind::Uefi), ..facts() },
        now: SystemClock.now(),
        threads: 2,
    };
    let report = capture(&disk, &options, &store, &signing.signing_key(), &|_| {}).expect("captured");
    assert_eq!(report.windows.key_channel, Some(KeyChannel::Mak));
    store.by_root(&report.root).expect("read").expect("stored")
}

/// A port that nobody uses and that the kernel hands to nobody else meanwhile: below those that it gives to connections.
fn port(taken: &[u16]) -> u16 {
    let mut bytes = [0; 2];
    loop {
        getrandom::fill(&mut bytes).expect("random numbers");
        let port = 20_000 + u16::from_le_bytes(bytes) % 12_000;
        if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Writes the profiles; the port of plain HTTP.
fn write_profiles(path: &Path, names: &[MachineName]) -> u16 {
    let boot = port(&[]);
    let agents = port(&[boot]);
    let tftp = port(&[boot, agents]);
    let site = format!(
        "name: Kill\nlanguage: en\ntime_zone: Europe/Berlin\nserver: {{ address: 127.0.0.1, boot_port: {boot}, \
         agent_port: {agents}, tftp_port: {tftp} }}\nnetwork: off\nimages:\n  win11: {{ build: 22631, edition: Education }}\nkeys:\n  mak: {{ type: mak, edition: Education, \
         in_image: {PARTIAL} }}\nhooks:\n  offline-step: {{ place: offline, command: ['true'], time_out: 20s }}\n"
    );
    let mut room = String::from(
        "title: Room 101\nimage: win11\nenvironment: linux\nidle: local\nfirmware: uefi\n\
         activation: { mak-proxy: { key: mak } }\nhooks: [computer-name, activation, offline-step]\nmachines:\n",
    );
    for (i, name) in names.iter().enumerate() {
        room.push_str(&format!("  - {{ name: {name}, mac: '{}' }}\n", crate::pc::mac(i)));
    }
    fs::write(path.join("profiles/site.yaml"), site).expect("site");
    fs::write(path.join("profiles/rooms/r101.yaml"), room).expect("room");
    boot
}
