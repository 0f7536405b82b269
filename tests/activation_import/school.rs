//! A school whose PCs have reported their installation IDs, and its server.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use klonwerk::activation::confirmation::{ConfirmationId, InstallationId, ProductRef, check_digit};
use klonwerk::clock::SystemClock;
use klonwerk::room::MachineName;
use klonwerk::serve::StateFolder;
use klonwerk::store::{Store, StoreKey};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;

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

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) struct School {
    folder: TempDir,
    server: Option<Child>,
}

impl School {
    /// R1-01 to R1-03 and R2-01 have reported installation IDs 1 to 4, R2-02 and R2-03 both number 5.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut school = Self { folder, server: None };
        fs::create_dir_all(school.path("profiles/rooms")).expect("made");
        fs::write(school.path("profiles/site.yaml"), SITE).expect("written");
        for number in [1, 2] {
            fs::write(school.path(&format!("profiles/rooms/r{number}.yaml")), room(number)).expect("written");
        }
        let state = StateFolder(school.path("state"));
        fs::create_dir_all(&state.0).expect("made");
        let key = StoreKey::open_or_create(&state.database_key()).expect("a key");
        let store = Store::open(&state.database(), key, Arc::new(SystemClock)).expect("a store");
        for (pc, seed) in [("R1-01", 1), ("R1-02", 2), ("R1-03", 3), ("R2-01", 4), ("R2-02", 5), ("R2-03", 5)] {
            let iid = InstallationId::parse(&iid(seed)).expect("digits");
            store.pending(&machine(pc), &product(), &iid).expect("noted");
        }
        store.close();
        school.server = Some(school.serve());
        school
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("klonwerk"));
        command
            .args(arguments)
            .args(["--state", "state"])
            .current_dir(self.folder.path())
            .env_remove("LC_ALL")
            .env_remove("LC_MESSAGES")
            .env_remove("RUST_LOG")
            .env_remove("SUDO_USER")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("USER", "tester")
            .stdin(Stdio::null());
        command
    }

    fn serve(&self) -> Child {
        let log = self.path("serve.log");
        let mut child = self
            .command(&["serve", "--loopback", "--json"])
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("read");
        assert!(line.starts_with('{'), "{line}\n{}", fs::read_to_string(&log).expect("read"));
        child
    }

    pub(crate) fn klonwerk(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().expect("run");
        Said {
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
            code: output.status.code(),
        }
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

impl Drop for School {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            // Gone already if it failed.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
