//! A school whose PCs have reported their installation IDs, and its server.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use klonwerk::activation::confirmation::{ConfirmationId, InstallationId, ProductRef, check_digit};
use klonwerk::clock::SystemClock;
use klonwerk::room::MachineName;
use klonwerk::serve::StateFolder;
use klonwerk::store::{Store, StoreKey};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

pub(crate) use crate::program::Said;
use crate::program::{self, Served};

const SITE: &str = "\
name: Testschule
time_zone: Europe/Berlin
server:
  address: 127.0.0.1
images:
  win11: { build: 26100, edition: Education, generalized: true, key_channel: mak, firmware: uefi }
keys:
  mak-win11: { type: mak, edition: Education, in_image: 3V66T }
";

fn room(number: u32) -> String {
    let machines: String =
        (1..4).map(|pc| format!("  - {{ name: R{number}-0{pc}, mac: '52:54:00:00:0{number}:0{pc}' }}\n")).collect();
    format!("title: Raum {number}\nimage: win11\nactivation:\n  mak-proxy: {{ key: mak-win11 }}\nmachines:\n{machines}")
}

/// The activation ID of Windows 10 and 11 Pro with a volume key.
pub(crate) const PRO: &str = "2de67392-b7a7-462a-b1ca-108dd189f588";

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
    numbers(8, 6, seed)
}

pub(crate) fn product() -> ProductRef {
    ProductRef { activation_id: PRO.into(), partial_key: "3V66T".into() }
}

pub(crate) fn machine(name: &str) -> MachineName {
    name.parse().expect("a name")
}

pub(crate) struct School {
    folder: TempDir,
    _server: Served,
}

impl School {
    /// R1-01 to R1-03 and R2-01 have reported installation IDs 1 to 4, R2-02 and R2-03 both number 5.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("profiles/rooms")).expect("made");
        fs::write(path("profiles/site.yaml"), SITE).expect("written");
        for number in [1, 2] {
            fs::write(path(&format!("profiles/rooms/r{number}.yaml")), room(number)).expect("written");
        }
        let state = StateFolder(path("state"));
        fs::create_dir_all(&state.0).expect("made");
        let key = StoreKey::open_or_create(&state.database_key()).expect("a key");
        let store = Store::open(&state.database(), key, Arc::new(SystemClock)).expect("a store");
        for (pc, seed) in [("R1-01", 1), ("R1-02", 2), ("R1-03", 3), ("R2-01", 4), ("R2-02", 5), ("R2-03", 5)] {
            let iid = InstallationId::parse(&iid(seed)).expect("digits");
            store.pending(&machine(pc), &product(), &iid).expect("noted");
        }
        store.close();
        let (server, _) = Served::start(folder.path(), None);
        Self { folder, _server: server }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn klonwerk(&self, arguments: &[&str]) -> Said {
        Said::of(program::with_state(self.folder.path(), arguments).output().expect("run"))
    }

    /// Writes a file and imports it.
    pub(crate) fn import(&self, name: &str, bytes: &[u8], arguments: &[&str]) -> Said {
        fs::write(self.path(name), bytes).expect("written");
        self.klonwerk(&[&["activation", "import", name], arguments].concat())
    }

    /// Everything in the database that an import could change, byte for byte.
    pub(crate) fn contents(&self) -> Vec<String> {
        let state = StateFolder(self.path("state"));
        let database = Connection::open_with_flags(state.database(), OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opened");
        let mut contents = Vec::new();
        for table in ["confirmation", "confirmation_history", "forgotten", "audit", "ledger"] {
            let mut query = database.prepare(&format!("SELECT * FROM {table} ORDER BY rowid")).expect("a table");
            let columns = query.column_count();
            let rows = query.query_map([], |row| {
                let values: Vec<String> =
                    (0..columns).map(|at| row.get_ref(at).map(shown)).collect::<Result<_, _>>()?;
                Ok(format!("{table}: {}", values.join(", ")))
            });
            contents.extend(rows.expect("read").map(|row| row.expect("a row")));
        }
        contents
    }

    /// The confirmation IDs that stand in no answer: those of seeds 1 to 99.
    pub(crate) fn must_not_show(said: &Said) {
        for seed in 1..99 {
            let digits = cid(seed);
            let grouped = ConfirmationId::parse(&digits).expect("digits").groups().collect::<Vec<_>>().join("-");
            assert!(!said.out.contains(&digits) && !said.out.contains(&grouped), "{said:?}");
            assert!(!said.err.contains(&digits) && !said.err.contains(&grouped), "{said:?}");
        }
    }
}

fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    }
}
