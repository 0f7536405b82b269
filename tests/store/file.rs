//! The file that the default implementation keeps: what is refused, and what nobody can read in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use klonwerk::clock::SystemClock;
use klonwerk::store::{Store, StoreError, StoreKey};
use rusqlite::Connection;

use super::confirmations::{cid, iid, product};
use super::{Bench, machine};

const KEY: [u8; 32] = [7; 32];

fn try_open(path: &Path, key: [u8; 32]) -> Result<Store, StoreError> {
    Store::open(path, StoreKey::new(key), Arc::new(SystemClock))
}

/// A closed store with something in it.
fn made(folder: &Path) -> PathBuf {
    let path = folder.join("state.sqlite");
    let store = try_open(&path, KEY).expect("made");
    store.set_setting("school", "Schiller-Gymnasium").expect("kept");
    for n in 0..200 {
        store.audit("test", &format!("line {n} of some length, so that the file has a few pages"), None).expect("kept");
    }
    store.close();
    path
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("folder");
    let path = made(folder.path());
    Connection::open(&path).expect("opened").pragma_update(None, "user_version", 99).expect("set");
    let before = fs::read(&path).expect("read");
    let refused = try_open(&path, KEY).expect_err("refused");
    assert!(matches!(refused, StoreError::Newer { found: 99, .. }), "{refused}");
    assert!(refused.to_string().contains(&path.display().to_string()), "{refused}");
    assert_eq!(fs::read(&path).expect("read"), before);
}

#[test]
fn another_key_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = made(folder.path());
    let refused = try_open(&path, [8; 32]).expect_err("refused");
    assert!(matches!(refused, StoreError::WrongKey { .. }), "{refused}");
    let store = try_open(&path, KEY).expect("the right key still opens it");
    assert_eq!(store.setting("school").expect("read").as_deref(), Some("Schiller-Gymnasium"));
}

#[test]
fn a_damaged_or_foreign_file_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let garbage = folder.path().join("garbage");
    fs::write(&garbage, vec![b'x'; 8192]).expect("written");
    assert!(matches!(try_open(&garbage, KEY), Err(StoreError::Damaged { .. })));

    let path = made(folder.path());
    let whole = fs::read(&path).expect("read");
    let mut holed = whole.clone();
    // All pages but the first, so that it still looks like a database.
    holed[4096..].fill(0xa5);
    fs::write(&path, &holed).expect("written");
    let refused = try_open(&path, KEY).expect_err("refused");
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    let refused = try_open(&path, KEY).expect_err("refused");
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");

    let foreign = folder.path().join("foreign");
    Connection::open(&foreign).expect("opened").execute_batch("CREATE TABLE theirs (a)").expect("made");
    let before = fs::read(&foreign).expect("read");
    assert!(matches!(try_open(&foreign, KEY), Err(StoreError::Foreign { .. })));
    assert_eq!(fs::read(&foreign).expect("read"), before);

    let nowhere = folder.path().join("no/such/folder");
    assert!(matches!(try_open(&nowhere, KEY), Err(StoreError::Open { .. })));
}

#[test]
fn the_file_is_its_owners_and_whole_after_closing() {
    let folder = tempfile::tempdir().expect("folder");
    let path = made(folder.path());
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(!path.with_extension("sqlite-wal").exists(), "closing folds the log into the file");
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_confirmation_id_is_nowhere_readable() {
    let bench = Bench::new();
    let secret = cid(424_242);
    bench.store.import_confirmation(&machine("pc-1"), &product(), &iid('5'), &secret).expect("stored");
    bench.store.set_secret_setting("tls", b"-----BEGIN PRIVATE KEY-----").expect("kept");
    let look = |expect_log: bool| {
        let mut seen_iid = false;
        for entry in fs::read_dir(bench.folder.path()).expect("listed") {
            let path = entry.expect("entry").path();
            let bytes = fs::read(&path).expect("read");
            seen_iid |= contains(&bytes, iid('5').digits());
            for start in 0..=(48 - 12) {
                assert!(!contains(&bytes, &secret.expose()[start..start + 12]), "{}", path.display());
            }
            assert!(!contains(&bytes, "BEGIN PRIVATE KEY"), "{}", path.display());
        }
        assert!(seen_iid, "the search finds what is readable");
        assert_eq!(bench.folder.path().join("state.sqlite-wal").exists(), expect_log);
    };
    look(true);
    bench.store.close();
    look(false);
}

#[test]
fn a_confirmation_id_opens_in_its_own_row_only() {
    let mut bench = Bench::new();
    for (pc, digit, first) in [("pc-1", '1', 1), ("pc-2", '2', 2)] {
        bench.store.import_confirmation(&machine(pc), &product(), &iid(digit), &cid(first)).expect("stored");
    }
    bench.store.close();
    let swap = "UPDATE confirmation SET sealed = (SELECT sealed FROM confirmation c WHERE c.id = 3 - confirmation.id)";
    let connection = Connection::open(bench.folder.path().join("state.sqlite")).expect("opened");
    // A subquery sees rows that were changed before it, so the second value is kept aside.
    let second: Vec<u8> =
        connection.query_row("SELECT sealed FROM confirmation WHERE id = 2", [], |row| row.get(0)).expect("there");
    connection.execute(&format!("{swap} WHERE id = 2"), []).expect("moved");
    connection.execute("UPDATE confirmation SET sealed = ?1 WHERE id = 1", [second]).expect("moved");
    drop(connection);
    bench.reopen();
    for (pc, digit) in [("pc-1", '1'), ("pc-2", '2')] {
        let refused = bench.store.confirmation(&machine(pc), &product(), &iid(digit));
        assert!(matches!(refused, Err(StoreError::Sealed { .. })), "{refused:?}");
    }
}
