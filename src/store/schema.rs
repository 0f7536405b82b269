//! Opening the database file: is it ours, is it whole, is it of a version that we know; and bringing it up to date.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use super::StoreError;
use super::row::Failure;
use super::seal::Seal;

/// `KLON`: marks the file as ours, for `file(1)` and for us.
const APPLICATION_ID: i64 = 0x4b4c_4f4e;

/// The numbered steps; the number of the last one is the version that this program knows. Published ones never change.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/001.sql"),
    include_str!("schema/002.sql"),
    include_str!("schema/003.sql"),
    include_str!("schema/004.sql"),
];

const KEY_CHECK: &[&str] = &["setting", "sealed", "key-check"];
const KEY_CHECK_TEXT: &[u8] = b"this key opens this store";

/// Turns what the database said into a situation.
pub(super) fn explain(failure: Failure, what: &'static str, path: &Path) -> StoreError {
    let source = match failure {
        Failure::Store(error) => return error,
        Failure::Sql(error) => error,
    };
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged { path, what: source.to_string() }
        }
        _ => StoreError::Database { what, path, source: Box::new(source) },
    }
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;")?;
    Ok(connection)
}

/// A second connection that can only read.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| explain(e.into(), "open the state", path))
}

/// A connection to a file that nobody writes to at the moment: reads what the last checkpoint left, makes no file beside it.
pub(super) fn open_frozen(path: &Path) -> Result<Connection, StoreError> {
    let failed = |e: rusqlite::Error| explain(e.into(), "open the state", path);
    let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags).map_err(failed)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version != known {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known });
    }
    Ok(connection)
}

/// The writing connection to a checked, up-to-date file, which is made where there is none.
pub(super) fn open_writer(path: &Path, seal: &Seal) -> Result<Connection, StoreError> {
    // Made here rather than by the database, which would let the group read it.
    let made = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    made.map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
    prepare(path, seal).map_err(|failure| explain(failure, "open the state", path))
}

fn prepare(path: &Path, seal: &Seal) -> Result<Connection, Failure> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let pragma = |connection: &Connection, name: &str| connection.pragma_query_value(None, name, |row| row.get(0));
    let application: i64 = pragma(&connection, "application_id")?;
    let version: i64 = pragma(&connection, "user_version")?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (application, version, tables) != (0, 0, 0) {
        return Err(StoreError::Foreign { path: path.to_owned() }.into());
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known }.into());
    }
    let complaint: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if complaint != "ok" {
        return Err(StoreError::Damaged { path: path.to_owned(), what: complaint }.into());
    }
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;

    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (step, number) in MIGRATIONS.iter().zip(1i64..) {
        if number > version {
            tx.execute_batch(step)?;
            tx.pragma_update(None, "user_version", number)?;
        }
    }
    if application != APPLICATION_ID {
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    let stored = tx.query_row("SELECT sealed FROM setting WHERE name = 'key-check'", [], |row| row.get(0));
    let stored: Option<Vec<u8>> = stored.optional()?;
    match stored {
        Some(stored) => {
            if seal.open(KEY_CHECK, &stored).is_err() {
                return Err(StoreError::WrongKey { path: path.to_owned() }.into());
            }
        }
        // Without the check value nothing would tell a wrong key from the right one; only a new file may lack it.
        None if version > 0 => {
            let what = "its key check value is missing".to_owned();
            return Err(StoreError::Damaged { path: path.to_owned(), what }.into());
        }
        None => {
            let sealed = seal.close(KEY_CHECK, KEY_CHECK_TEXT)?;
            tx.execute("INSERT INTO setting (name, sealed) VALUES ('key-check', ?1)", [sealed])?;
        }
    }
    tx.commit()?;
    Ok(connection)
}
