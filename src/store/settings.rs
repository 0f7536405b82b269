//! Single values that the server keeps for itself, and the machines that nobody knows.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::row::{instant, number, text, text_or_none};
use super::{Store, StoreError};
use crate::room::{Mac, MachineUuid};
use crate::secret::Secret;

/// Unknown machines that are kept; anybody on the network can make one up.
const UNKNOWN_KEPT: i64 = 1000;

/// A machine that asked for a boot and that no profile names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownMachine {
    /// Its network card.
    pub mac: Mac,
    /// The UUID that it gave last.
    pub uuid: Option<MachineUuid>,
    /// What firmware it said it has.
    pub architecture: String,
    /// When it was seen first.
    pub first_seen: Timestamp,
    /// When it was seen last.
    pub last_seen: Timestamp,
    /// How often it was noted.
    pub times: u64,
}

impl Store {
    /// A value of the server's own.
    pub fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.read("read a setting", move |scope| {
            let query = "SELECT value FROM setting WHERE name = ?1 AND value IS NOT NULL";
            Ok(scope.tx.query_row(query, [format!("plain:{name}")], |row| row.get(0)).optional()?)
        })
    }

    /// Keeps a value of the server's own; it lies readable in the file.
    pub fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.write("keep a setting", move |scope| {
            scope.tx.execute(
                "INSERT INTO setting (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [format!("plain:{name}"), value],
            )?;
            Ok(())
        })
    }

    /// A secret of the server's own, such as its TLS key.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when the stored value does not open.
    pub fn secret_setting(&self, name: &str) -> Result<Option<Secret<Vec<u8>>>, StoreError> {
        let name = name.to_owned();
        self.read("read a secret", move |scope| {
            let query = "SELECT sealed FROM setting WHERE name = ?1 AND sealed IS NOT NULL";
            let sealed = scope.tx.query_row(query, [format!("secret:{name}")], |row| row.get::<_, Vec<u8>>(0));
            let Some(sealed) = sealed.optional()? else { return Ok(None) };
            let opened = scope.seal.open(&["setting", "sealed", "secret", &name], &sealed);
            let mut opened = opened.map_err(|_| StoreError::Sealed { what: "setting" })?;
            Ok(Some(Secret::new(std::mem::take(&mut *opened))))
        })
    }

    /// Keeps a secret of the server's own, encrypted.
    pub fn set_secret_setting(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), Zeroizing::new(value.to_vec()));
        self.write("keep a secret", move |scope| {
            let sealed = scope.seal.close(&["setting", "sealed", "secret", &name], &value)?;
            scope.tx.execute(
                "INSERT INTO setting (name, sealed) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed",
                params![format!("secret:{name}"), sealed],
            )?;
            Ok(())
        })
    }

    /// Notes that a machine which no profile names asked for a boot. The newest 1000 are kept.
    pub fn seen_unknown(
        &self,
        mac: Mac,
        uuid: Option<MachineUuid>,
        architecture: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let architecture = architecture.to_owned();
        self.write("note an unknown machine", move |scope| {
            scope.tx.execute(
                "INSERT INTO unknown_machine (mac, uuid, architecture, first_seen, last_seen, times)
                 VALUES (?1, ?2, ?3, ?4, ?4, 1)
                 ON CONFLICT (mac) DO UPDATE SET uuid = coalesce(excluded.uuid, uuid),
                     architecture = excluded.architecture, last_seen = excluded.last_seen, times = times + 1",
                params![mac.to_string(), uuid.map(|uuid| uuid.to_string()), architecture, now.as_microsecond()],
            )?;
            scope.tx.execute(
                "DELETE FROM unknown_machine WHERE mac IN
                     (SELECT mac FROM unknown_machine ORDER BY last_seen DESC, rowid DESC LIMIT -1 OFFSET ?1)",
                [UNKNOWN_KEPT],
            )?;
            Ok(())
        })
    }

    /// The machines that no profile names, seen last first.
    pub fn unknown_list(&self) -> Result<Vec<UnknownMachine>, StoreError> {
        self.read("read the unknown machines", |scope| {
            let mut query = scope.tx.prepare_cached(
                "SELECT mac, uuid, architecture, first_seen, last_seen, times FROM unknown_machine
                 ORDER BY last_seen DESC, rowid DESC",
            )?;
            let machines = query.query_map([], |row| {
                Ok(UnknownMachine {
                    mac: text(row, 0)?,
                    uuid: text_or_none(row, 1)?,
                    architecture: row.get(2)?,
                    first_seen: instant(row, 3)?,
                    last_seen: instant(row, 4)?,
                    times: number(row, 5)?,
                })
            })?;
            Ok(machines.collect::<Result<_, _>>()?)
        })
    }
}
