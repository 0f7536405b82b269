//! The file that the default implementation keeps: what is refused, and what nobody can read in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use klonwerk::activation::codes::Code;
use klonwerk::activation::key::ProductKey;
use klonwerk::activation::ledger::{Limits, NewReservation, Purpose, SpendOutcome};
use klonwerk::clock::SystemClock;
use klonwerk::room::KeyName;
use klonwerk::store::{AttemptKind, Store, StoreError, StoreKey};
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

#[test]
fn an_older_ledger_is_brought_up_to_date() {
    let folder = tempfile::tempdir().expect("folder");
    let newer = Connection::open(made(folder.path())).expect("opened");
    let check: Vec<u8> =
        newer.query_row("SELECT sealed FROM setting WHERE name = 'key-check'", [], |row| row.get(0)).expect("there");
    let path = folder.path().join("older.sqlite");
    let older = Connection::open(&path).expect("opened");
    older.execute_batch(include_str!("../../src/store/schema/001.sql")).expect("made");
    older.execute("INSERT INTO setting (name, sealed) VALUES ('key-check', ?1)", [check]).expect("kept");
    older
        .execute_batch(
            "INSERT INTO ledger (key, machine, kind, code, at) VALUES
                 ('mak', 'pc-1', 'activate', 0, 1), ('mak', 'pc-2', 'activate', NULL, 2),
                 ('mak', 'pc-3', 'activate', 3221537823, 3), ('mak', 'pc-1', 'deposit', 0, 4);
             PRAGMA user_version = 1; PRAGMA application_id = 1263292238;",
        )
        .expect("filled");
    drop(older);
    let store = try_open(&path, KEY).expect("brought up to date");
    let key = "mak".parse().expect("a name");
    let sums = store.ledger(&key, "3V66T").expect("read");
    assert_eq!((sums.succeeded, sums.open, sums.failed, sums.deposits, sums.spent), (1, 1, 1, 1, 2));
    assert_eq!(store.reread(&machine("pc-2"), &key, false).expect("read"), 1, "what was open can be settled");
    let next = store.ledger_entries(&key, "3V66T", 1).expect("read")[0].id.0;
    store.record_attempt(&key, None, &machine("pc-1"), AttemptKind::Deposit, Some(0)).expect("entered");
    assert_eq!(store.ledger_entries(&key, "3V66T", 1).expect("read")[0].id.0, next + 1);
}

/// A text in the forms in which a file could hold it.
fn forms(groups: &[&str]) -> Vec<Vec<u8>> {
    let joined = ["", "-", " ", ",", "\n"].map(|joint| groups.join(joint));
    let mut forms = Vec::new();
    for text in joined {
        for text in [text.clone(), text.to_lowercase()] {
            forms.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
            forms.push(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
            forms.push(text.into_bytes());
        }
    }
    forms
}

/// Where two groups that follow each other stand in `bytes`, in whatever form.
fn found(bytes: &[u8], groups: &[&str]) -> bool {
    let of_pair = |pair: &[&str]| forms(pair).iter().any(|form| bytes.windows(form.len()).any(|w| w == &form[..]));
    groups.windows(2).any(of_pair)
}

#[test]
fn a_stolen_file_gives_no_key_and_no_confirmation_id_away() {
    const MAK: &str = "QWMBH-7TGXC-P4RDV-K9YFJ-3V66T";
    let bench = Bench::new();
    let run = bench.run(&["pc-1"]);
    let secret = cid(424_242);
    let (pc, key) = (machine("pc-1"), "mak-lab".parse().expect("a name"));
    // What a night and a day do with a key: its value is read and released, activations and confirmation IDs come of it.
    let value = ProductKey::parse(MAK).expect("a key");
    let purposes = [Purpose::Activate, Purpose::ConfirmationRequest { iid: iid('5') }, Purpose::Activate];
    for (purpose, code) in purposes.into_iter().zip([Code::OK, Code::OK, Code::MAK_LIMIT]) {
        let asked = NewReservation {
            key: KeyName::clone(&key),
            partial_key: value.partial().to_owned(),
            run: matches!(purpose, Purpose::Activate).then_some(run),
            machine: pc.clone(),
            purpose,
            limits: Limits { budget: Some(50), reserve: 5, run_limit: Some(2) },
        };
        let reservation = bench.store.reserve(asked).expect("granted");
        let outcome = if code == Code::OK { SpendOutcome::Spent } else { SpendOutcome::NotSpent { code } };
        bench.store.settle(reservation.id, outcome).expect("settled");
        bench.store.audit("runner", &format!("released the key {value:?}"), Some(&pc)).expect("kept");
    }
    bench.store.import_confirmation(&pc, &product(), &iid('5'), &secret).expect("stored");
    bench.store.record_attempt(&key, Some(run), &pc, AttemptKind::Deposit, Some(0)).expect("entered");
    bench.store.set_secret_setting("key/mak-lab", value.expose().as_bytes()).expect("kept");
    bench.store.release(&key, value.partial(), "admin").expect("released");

    let key_groups: Vec<&str> = MAK.split('-').collect();
    let cid_groups: Vec<&str> = secret.groups().collect();
    for (groups, text) in [(&key_groups, MAK.to_owned()), (&cid_groups, cid_groups.concat())] {
        assert!(found(text.as_bytes(), groups), "the search finds what is readable");
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(found(&wide, groups));
    }
    for closed in [false, true] {
        if closed {
            bench.store.close();
        }
        let (mut partial, mut looked_at) = (false, Vec::new());
        for entry in fs::read_dir(bench.folder.path()).expect("listed") {
            let path = entry.expect("entry").path();
            let bytes = fs::read(&path).expect("read");
            partial |= contains(&bytes, "3V66T") && contains(&bytes, "mak-lab");
            assert!(!found(&bytes, &key_groups), "a product key is in {}", path.display());
            assert!(!found(&bytes, &cid_groups), "a confirmation ID is in {}", path.display());
            looked_at.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
        looked_at.sort();
        let there: &[&str] = match closed {
            false => &["state.sqlite", "state.sqlite-shm", "state.sqlite-wal", "store.key"],
            true => &["state.sqlite", "store.key"],
        };
        assert_eq!(looked_at, there);
        assert!(partial, "what may be known is readable");
    }
}
