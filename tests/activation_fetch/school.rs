//! A school whose PCs have reported their installation IDs, with its runner in this process or its server in another.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use klonwerk::activation::confirmation::{InstallationId, ProductRef, check_digit};
use klonwerk::activation::ledger::Refusal;
use klonwerk::clock::{Clock, VirtualClock};
use klonwerk::night::{Night, Parts, key_values};
use klonwerk::packs::{ImageStore, SigningKeyFile};
use klonwerk::profile::load;
use klonwerk::room::{KeyName, MachineName};
use klonwerk::serve::StateFolder;
use klonwerk::store::{LedgerSums, Store, StoreKey};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::program::{self, Said};

const PARTIAL: &str = "3V66T";

/// The activation ID of Windows 10 and 11 Pro with a volume key.
const PRO: &str = "2de67392-b7a7-462a-b1ca-108dd189f588";

const EPID: &str = "03612-03311-000-000001-03-1031-22631.0000-3282026";

fn site(key: &str, more: &str) -> String {
    format!(
        "name: Testschule\ntime_zone: Europe/Berlin\nserver:\n  address: 127.0.0.1\nimages:\n  \
         win11: {{ build: 22631, edition: Education, generalized: true, key_channel: mak, firmware: uefi }}\nkeys:\n  \
         mak-win11: {{ type: mak, edition: Education, in_image: {PARTIAL}{key} }}\n{more}"
    )
}

fn room(number: u32) -> String {
    let machines: String =
        (1..4).map(|pc| format!("  - {{ name: R{number}-0{pc}, mac: '52:54:00:00:0{number}:0{pc}' }}\n")).collect();
    format!("title: Raum {number}\nimage: win11\nactivation:\n  mak-proxy: {{ key: mak-win11 }}\nmachines:\n{machines}")
}

fn numbers(groups: u64, size: usize, seed: u64) -> String {
    (0..groups)
        .map(|group| {
            let body = format!("{:0width$}", (seed * 31 + group * 7919) % 100_000, width = size - 1);
            format!("{body}{}", check_digit(&body))
        })
        .collect()
}

/// Installation IDs of 63 digits, and of 54 from 50 on.
pub(crate) fn iid(seed: u64) -> String {
    numbers(9, if seed < 50 { 7 } else { 6 }, seed)
}

pub(crate) fn cid(seed: u64) -> String {
    numbers(8, 6, seed + 500)
}

pub(crate) fn key() -> KeyName {
    "mak-win11".parse().expect("a name")
}

fn machine(name: &str) -> MachineName {
    name.parse().expect("a name")
}

fn product(partial_key: &str) -> ProductRef {
    ProductRef { activation_id: PRO.into(), partial_key: partial_key.into() }
}

fn write_profiles(folder: &Path, key: &str, more: &str) {
    fs::create_dir_all(folder.join("profiles/rooms")).expect("made");
    fs::write(folder.join("profiles/site.yaml"), site(key, more)).expect("written");
    for number in [1, 2] {
        fs::write(folder.join(format!("profiles/rooms/r{number}.yaml")), room(number)).expect("written");
    }
}

/// Opens the store of a state folder, in which installation IDs wait: three of R1 that can be asked about, and six that cannot.
fn store(folder: &Path, clock: &VirtualClock) -> Store {
    let state = StateFolder(folder.join("state"));
    fs::create_dir_all(&state.0).expect("made");
    let key = StoreKey::open_or_create(&state.database_key()).expect("a key");
    let store = Store::open(&state.database(), key, Arc::new(clock.clone())).expect("a store");
    let all = [
        ("R1-01", 1, PARTIAL, true),
        ("R1-02", 2, PARTIAL, true),
        ("R1-03", 3, PARTIAL, true),
        ("R2-01", 51, PARTIAL, true),
        ("R2-01", 6, PARTIAL, false),
        ("R2-02", 5, PARTIAL, true),
        ("R2-03", 5, PARTIAL, true),
        ("R9-01", 7, PARTIAL, true),
        ("R1-03", 8, "QQQQQ", true),
    ];
    for (pc, seed, partial, with_product_id) in all {
        let iid = InstallationId::parse(&iid(seed)).expect("digits");
        store.pending(&machine(pc), &product(partial), &iid).expect("noted");
        if with_product_id {
            store.note_extended_product_id(&machine(pc), &product(partial), &iid, EPID).expect("noted");
        }
    }
    store
}

fn clock() -> VirtualClock {
    VirtualClock::new("2026-11-24T08:00:00Z".parse().expect("a time"))
}

pub(crate) struct School {
    folder: TempDir,
    clock: VirtualClock,
    pub(crate) night: Night,
}

impl School {
    /// With this budget and reserve of its key.
    pub(crate) fn new(budget: Option<(u32, u32)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = clock();
        let key = budget.map(|(budget, reserve)| format!(", budget: {budget}, reserve: {reserve}")).unwrap_or_default();
        write_profiles(folder.path(), &key, "");
        let store = store(folder.path(), &clock);
        let images = ImageStore::open(&folder.path().join("images")).expect("images");
        let signing = SigningKeyFile::open_or_create(&folder.path().join("sign.key")).expect("a key");
        let night = Night::new(Parts {
            store,
            images,
            public_key: signing.verifying_key().to_bytes(),
            profiles: load::load(&folder.path().join("profiles")).expect("profiles"),
            clock: Arc::new(clock.clone()),
            key_values: key_values::Sources::default(),
        });
        Self { folder, clock, night: night.expect("a runner") }
    }

    pub(crate) fn ledger(&self) -> LedgerSums {
        self.night.store().ledger(&key(), PARTIAL).expect("read")
    }

    pub(crate) fn held(&self) -> bool {
        self.night.store().hold(&key(), PARTIAL).expect("read").is_some()
    }

    pub(crate) fn stored(&self, pc: &str, seed: u64) -> Option<String> {
        let iid = InstallationId::parse(&iid(seed)).expect("digits");
        let stored = self.night.store().confirmation(&machine(pc), &product(PARTIAL), &iid).expect("read");
        stored.map(|stored| stored.cid.expose().to_owned())
    }

    pub(crate) fn audited(&self, what: &str) -> bool {
        self.night.store().audit_log(100).expect("read").iter().any(|line| line.what == what && line.who == "tester")
    }

    /// Why a question that was asked and not answered is not asked again.
    pub(crate) fn open(&self, pc: &str) -> Refusal {
        Refusal::RequestOpen { machine: machine(pc), since: self.clock.now() }
    }

    /// From here on the ledger takes nothing more, as on a full disk.
    pub(crate) fn break_ledger(&self) {
        let state = StateFolder(self.folder.path().join("state"));
        let database = Connection::open(state.database()).expect("opened");
        let full = "CREATE TRIGGER full BEFORE INSERT ON ledger BEGIN SELECT RAISE(ABORT, 'disk full'); END;";
        database.execute_batch(full).expect("broken");
    }
}

/// The same with the server as a process of its own, which logs all that it can.
pub(crate) struct Served {
    folder: TempDir,
    server: Option<program::Served>,
}

impl Served {
    /// With more lines in site.yaml.
    pub(crate) fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_profiles(folder.path(), "", more);
        store(folder.path(), &clock()).close();
        let mut school = Self { folder, server: None };
        school.serve();
        school
    }

    pub(crate) fn serve(&mut self) {
        self.server = Some(program::Served::start(self.folder.path(), Some("trace")).0);
    }

    pub(crate) fn kill_server(&mut self) {
        self.server = None;
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program::with_state(self.folder.path(), arguments);
        command.env("RUST_LOG", "trace");
        command
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).output().expect("run"))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("serve.log")).unwrap_or_default()
    }
}
