//! Backup and restore of the state, through the command line and the library.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use klonwerk::activation::confirmation::{ConfirmationId, InstallationId, ProductRef};
use klonwerk::clock::VirtualClock;
use klonwerk::secret::Secret;
use klonwerk::serve::StateFolder;
use klonwerk::serve::backup::sealed::{Cost, SealedError};
use klonwerk::serve::backup::{self, BackupError, Snapshot};
use klonwerk::store::{Store, StoreKey};
use tempfile::TempDir;

#[path = "lab/program.rs"]
mod program;

use program::{Said, Served};

const SITE: &str = "\
name: Testschule
time_zone: Europe/Berlin
server:
  address: 127.0.0.1
images:
  win11: { build: 22631, edition: Education, generalized: true, key_channel: mak, firmware: uefi }
keys:
  mak-win11: { type: mak, edition: Education, in_image: 3V66T }
";

const ROOM: &str = "\
title: Raum 1
image: win11
activation:
  mak-proxy: { key: mak-win11 }
machines:
  - { name: R1-01, mac: '52:54:00:00:01:01' }
";

const PASSPHRASE: &str = "sieben Ziegen zogen";

fn iid() -> InstallationId {
    InstallationId::parse(&"1".repeat(63)).expect("digits")
}

fn cid() -> String {
    "864209".repeat(8)
}

fn product() -> ProductRef {
    ProductRef { activation_id: "2de67392-b7a7-462a-b1ca-108dd189f588".into(), partial_key: "3V66T".into() }
}

struct School {
    folder: TempDir,
    server: Option<Served>,
}

impl School {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        fs::create_dir_all(folder.path().join("profiles/rooms")).expect("made");
        fs::write(folder.path().join("profiles/site.yaml"), SITE).expect("written");
        fs::write(folder.path().join("profiles/rooms/r1.yaml"), ROOM).expect("written");
        fs::write(folder.path().join("pass"), format!("{PASSPHRASE}\n")).expect("written");
        fs::set_permissions(folder.path().join("pass"), fs::Permissions::from_mode(0o600)).expect("chmod");
        Self { folder, server: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn state(&self) -> StateFolder {
        StateFolder(self.path("state"))
    }

    fn store(&self) -> Store {
        let clock = VirtualClock::new("2026-11-24T08:00:00Z".parse().expect("time"));
        let key = StoreKey::open_or_create(&self.state().database_key()).expect("key");
        Store::open(&self.state().database(), key, Arc::new(clock)).expect("store")
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let said = Said::of(program::with_state(self.folder.path(), arguments).output().expect("run"));
        assert!(!format!("{said:?}").contains(PASSPHRASE), "{said:?}");
        said
    }

    fn serve(&mut self) {
        self.server = Some(Served::start(self.folder.path(), None).0);
    }

    fn stop(&mut self) {
        let mut server = self.server.take().expect("a server");
        let pid = rustix::process::Pid::from_child(&server.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
        assert!(server.child.wait().expect("ended").success());
    }
}

fn read_all(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        // A server that was killed leaves its socket behind.
        if path.is_dir() {
            all.extend(read_all(&path));
        } else if path.is_file() {
            all.push((path.clone(), fs::read(&path).expect("read")));
        }
    }
    all.sort();
    all
}

#[test]
fn a_state_comes_back_with_its_secrets_and_its_keys_on_hold() {
    let mut school = School::new();
    fs::create_dir_all(&school.state().0).expect("made");
    let store = school.store();
    let machine = "R1-01".parse().expect("name");
    let cid = ConfirmationId::parse(&cid()).expect("digits");
    store.import_confirmation(&machine, &product(), &iid(), &cid).expect("stored");
    store.close();
    school.serve();

    // Beside a running server.
    let backed_up = school.run(&["state", "backup", "out.kwb", "--passphrase-file", "pass", "--json"]);
    assert_eq!(backed_up.code, Some(0), "{backed_up:?}");
    let mode = fs::metadata(school.path("out.kwb")).expect("there").mode() & 0o777;
    assert_eq!(mode, 0o600);
    let file = fs::read(school.path("out.kwb")).expect("read");
    for secret in [cid.expose().as_bytes(), b"klonwerk signing key", b"PRIVATE KEY", b"SQLite format", b"klonwerk.db"] {
        assert!(!file.windows(secret.len()).any(|part| part == secret));
    }
    let left: Vec<_> = read_all(&school.state().0).into_iter().map(|(path, _)| path).collect();
    assert!(left.iter().all(|path| !path.to_string_lossy().contains("snapshot")), "{left:?}");

    // Not over a running server, and not over a state without a word.
    let running = school.run(&["state", "restore", "out.kwb", "--passphrase-file", "pass", "--force"]);
    assert!(running.code == Some(1) && running.err.contains("running klonwerk"), "{running:?}");
    school.stop();
    let there = school.run(&["state", "restore", "out.kwb", "--passphrase-file", "pass"]);
    assert!(there.code == Some(1) && there.err.contains("--force"), "{there:?}");

    // What happened after the backup is gone with the restore, and kept aside.
    let pem = fs::read(school.path("state/tls/authority.pem")).expect("read");
    let signing = fs::read(school.state().signing_key()).expect("read");
    school.store().set_setting("later", "yes").expect("kept");
    let restored = school.run(&["state", "restore", "out.kwb", "--passphrase-file", "pass", "--force", "--json"]);
    let json = restored.json();
    assert_eq!(json["on_hold"], serde_json::json!(["mak-win11"]));
    let kept = json["kept"].as_str().expect("a folder");
    // Named as the command named the state: from where it was started.
    assert!(school.path(kept).join("klonwerk.db").exists());
    assert_eq!(fs::read(school.path("state/tls/authority.pem")).expect("read"), pem);
    assert_eq!(fs::read(school.state().signing_key()).expect("read"), signing);
    let store = school.store();
    assert_eq!(store.setting("later").expect("read"), None);
    let stored = store.confirmation(&machine, &product(), &iid()).expect("read").expect("stored");
    assert_eq!(stored.cid.expose(), cid.expose());
    assert!(store.hold(&"mak-win11".parse().expect("name"), "3V66T").expect("read").is_some());
    store.close();
    // A server starts on it, and the key is free once a person says so.
    school.serve();
    let ledger = school.run(&["activation", "ledger"]);
    assert!(ledger.out.contains("restored from a backup"), "{ledger:?}");
    assert_eq!(school.run(&["activation", "ledger", "--release", "mak-win11"]).code, Some(0));
    assert!(!school.run(&["activation", "ledger"]).out.contains("on hold"));
}

#[test]
fn a_backup_of_a_stopped_server_restores_into_an_empty_folder() {
    let school = School::new();
    let none = school.run(&["state", "backup", "out.kwb", "--passphrase-file", "pass"]);
    assert!(none.code == Some(1) && none.err.contains("no state"), "{none:?}");
    fs::create_dir_all(&school.state().0).expect("made");
    school.store().close();
    let first = school.run(&["state", "backup", "out.kwb", "--passphrase-file", "pass"]);
    assert!(first.code == Some(0) && first.out.contains("Backed up"), "{first:?}");
    let again = school.run(&["state", "backup", "out.kwb", "--passphrase-file", "pass"]);
    assert!(again.code == Some(1) && again.err.contains("--force"), "{again:?}");
    assert_eq!(school.run(&["state", "backup", "out.kwb", "--passphrase-file", "pass", "--force"]).code, Some(0));
    let dry = school.run(&["state", "restore", "out.kwb", "--passphrase-file", "pass", "--dry-run", "--lang", "de"]);
    assert!(dry.code == Some(0) && dry.out.contains("heil"), "{dry:?}");
    fs::remove_dir_all(&school.state().0).expect("gone");
    let back = school.run(&["state", "restore", "out.kwb", "--passphrase-file", "pass", "--lang", "de"]);
    assert!(back.code == Some(0) && back.out.contains("Gesperrt"), "{back:?}");
    assert_eq!(fs::metadata(school.state().database()).expect("there").mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&school.state().0).expect("there").mode() & 0o777, 0o700);
    // Without profiles nobody knows which keys to hold.
    let blind =
        school.run(&["state", "restore", "out.kwb", "--passphrase-file", "pass", "--force", "--profiles", "none"]);
    assert!(blind.code == Some(1) && blind.err.contains("put on hold"), "{blind:?}");
}

#[test]
fn passphrases_are_not_taken_from_anywhere() {
    let school = School::new();
    fs::create_dir_all(&school.state().0).expect("made");
    school.store().close();
    let asked = school.run(&["state", "backup", "out.kwb"]);
    assert!(asked.code == Some(1) && asked.err.contains("--passphrase-file"), "{asked:?}");
    fs::write(school.path("short"), "too short\n").expect("written");
    fs::set_permissions(school.path("short"), fs::Permissions::from_mode(0o600)).expect("chmod");
    let short = school.run(&["state", "backup", "out.kwb", "--passphrase-file", "short"]);
    assert!(short.code == Some(1) && short.err.contains("at least 12"), "{short:?}");
    fs::set_permissions(school.path("pass"), fs::Permissions::from_mode(0o644)).expect("chmod");
    let open = school.run(&["state", "backup", "out.kwb", "--passphrase-file", "pass"]);
    assert!(open.code == Some(1) && open.err.contains("chmod 600"), "{open:?}");
    assert!(!school.path("out.kwb").exists());
}

#[test]
fn whatever_is_wrong_with_a_backup_the_state_stays_as_it_is() {
    let cheap = Cost { memory: 8, passes: 1, lanes: 1 };
    let school = School::new();
    fs::create_dir_all(&school.state().0).expect("made");
    school.store().set_setting("mine", &"x".repeat(200_000)).expect("kept");
    let clock = Arc::new(VirtualClock::new("2026-11-24T09:00:00Z".parse().expect("time")));
    let passphrase = Secret::new(PASSPHRASE.to_owned());
    let snapshot = Snapshot::take(&school.state(), clock.clone()).expect("taken");
    let target = school.path("out.kwb");
    let now = "2026-11-24T09:00:00Z".parse().expect("time");
    backup::write(&school.state(), &snapshot, &target, &passphrase, cheap, false, now).expect("written");
    drop(snapshot);
    let whole = fs::read(&target).expect("read");
    let before = read_all(&school.state().0);
    let try_one = |bytes: &[u8], text: &str| {
        fs::write(&target, bytes).expect("written");
        let error = backup::restore(&school.state(), &target, &Secret::new(text.to_owned()), true, &[], clock.clone())
            .expect_err("refused");
        assert_eq!(read_all(&school.state().0), before, "{error}");
        error
    };
    let sealed = |error| match error {
        BackupError::Sealed { source, .. } => source,
        other => panic!("{other}"),
    };
    assert!(matches!(sealed(try_one(&whole, "another passphrase")), SealedError::WrongPassphrase));
    assert!(matches!(sealed(try_one(&whole[..whole.len() - 1], PASSPHRASE)), SealedError::Truncated { .. }));
    assert!(matches!(sealed(try_one(&whole[..50], PASSPHRASE)), SealedError::Truncated { .. }));
    assert!(matches!(sealed(try_one(b"PK\x03\x04", PASSPHRASE)), SealedError::NotABackup));
    for at in [20, 200, whole.len() / 2, whole.len() - 5] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        assert!(matches!(sealed(try_one(&damaged, PASSPHRASE)), SealedError::Damaged { .. }), "{at}");
    }
    fs::write(&target, &whole).expect("written");
    backup::restore(&school.state(), &target, &passphrase, true, &[], clock.clone()).expect("restored");
}

#[test]
fn a_restore_that_was_cut_short_stops_the_server() {
    let mut school = School::new();
    fs::create_dir_all(&school.state().0).expect("made");
    school.store().close();
    assert_eq!(school.run(&["state", "backup", "out.kwb", "--passphrase-file", "pass"]).code, Some(0));
    // Between the old state, which is moved aside, and the new one.
    fs::File::create(school.state().unfinished_restore()).expect("marked");
    fs::remove_file(school.state().database()).expect("gone");
    let refused = school.run(&["serve", "--loopback"]);
    assert!(refused.code == Some(1) && refused.err.contains("cut short"), "{refused:?}");
    assert!(!school.state().database().exists());
    let again = school.run(&["state", "restore", "out.kwb", "--passphrase-file", "pass", "--force"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    school.serve();
    school.stop();
}
