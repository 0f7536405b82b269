//! What each key has spent, and who was given what.

use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::row::{Scope, instant, limit, number, sql, text_or_none};
use super::{Store, StoreError};
use crate::job::RunId;
use crate::room::{KeyName, MachineName};

/// What was tried with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptKind {
    /// A stored confirmation ID was deposited, which spends nothing.
    Deposit,
    /// Windows was told to activate at Microsoft, which spends an activation when it succeeds.
    Activate,
}

/// The number of an entry in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LedgerId(pub u64);

/// What the ledger says about one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSums {
    /// Deposits of stored confirmation IDs; these spend nothing.
    pub deposits: u64,
    /// Confirmation IDs that were stored for the first time. Microsoft's counter has moved at most once for each.
    pub cids_imported: u64,
    /// Activations at Microsoft that succeeded, or whose outcome is not known.
    pub spent: u64,
    /// Those of them that a run made.
    pub spent_by_recloning: u64,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who did it or was given it.
    pub who: String,
    /// What, without any secret in it.
    pub what: String,
    /// For which machine.
    pub machine: Option<MachineName>,
}

/// Writes a line into the audit log, together with what it tells of.
pub(super) fn audit(scope: &Scope<'_>, who: &str, what: &str, machine: Option<&MachineName>) -> rusqlite::Result<()> {
    scope.tx.execute(
        "INSERT INTO audit (at, who, what, machine) VALUES (?1, ?2, ?3, ?4)",
        params![scope.now.as_microsecond(), who, what, machine.map(MachineName::as_str)],
    )?;
    Ok(())
}

impl Store {
    /// Enters an attempt with a key. For [`AttemptKind::Activate`] it is entered before the attempt and without a code:
    /// until [`Store::settle_attempt`] it counts as spent.
    pub fn record_attempt(
        &self,
        key: &KeyName,
        run: Option<RunId>,
        machine: &MachineName,
        kind: AttemptKind,
        code: Option<u32>,
    ) -> Result<LedgerId, StoreError> {
        let (key, machine) = (key.clone(), machine.clone());
        let kind = match kind {
            AttemptKind::Deposit => "deposit",
            AttemptKind::Activate => "activate",
        };
        self.write("enter an attempt in the ledger", move |scope| {
            scope.tx.execute(
                "INSERT INTO ledger (key, run, machine, kind, code, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    key.as_str(),
                    run.map(|run| sql(run.0)),
                    machine.as_str(),
                    kind,
                    code,
                    scope.now.as_microsecond()
                ],
            )?;
            Ok(LedgerId(u64::try_from(scope.tx.last_insert_rowid()).unwrap_or_default()))
        })
    }

    /// Enters the outcome of an attempt: 0 for success, else Windows' error code. An outcome that is known stays.
    pub fn settle_attempt(&self, id: LedgerId, code: u32) -> Result<(), StoreError> {
        self.write("settle an attempt in the ledger", move |scope| {
            scope.tx.execute("UPDATE ledger SET code = ?2 WHERE id = ?1 AND code IS NULL", params![sql(id.0), code])?;
            Ok(())
        })
    }

    /// The sums for a key. Confirmation IDs are counted where they are stored, by the key's last five characters.
    pub fn ledger(&self, key: &KeyName, partial_key: &str) -> Result<LedgerSums, StoreError> {
        let (key, partial_key) = (key.clone(), partial_key.to_ascii_uppercase());
        self.read("read the ledger", move |scope| {
            let query = "SELECT coalesce(sum(imports), 0) FROM (SELECT partial_key, imports FROM confirmation
                         UNION ALL SELECT partial_key, imports FROM forgotten) WHERE partial_key = ?1";
            let cids_imported = scope.tx.query_row(query, [&partial_key], |row| number(row, 0))?;
            // An attempt without a code may have succeeded.
            let sums = scope.tx.query_row(
                "SELECT count(*) FILTER (WHERE kind = 'deposit'),
                        count(*) FILTER (WHERE kind = 'activate' AND coalesce(code, 0) = 0),
                        count(*) FILTER (WHERE kind = 'activate' AND coalesce(code, 0) = 0 AND run IS NOT NULL)
                 FROM ledger WHERE key = ?1",
                [key.as_str()],
                |row| {
                    Ok(LedgerSums {
                        deposits: number(row, 0)?,
                        cids_imported,
                        spent: number(row, 1)?,
                        spent_by_recloning: number(row, 2)?,
                    })
                },
            )?;
            Ok(sums)
        })
    }

    /// Writes a line into the audit log: before a key or confirmation ID is released, and for every act of a person.
    pub fn audit(&self, who: &str, what: &str, machine: Option<&MachineName>) -> Result<(), StoreError> {
        let (who, what, machine) = (who.to_owned(), what.to_owned(), machine.cloned());
        self.write("write the audit log", move |scope| Ok(audit(scope, &who, &what, machine.as_ref())?))
    }

    /// The newest lines of the audit log, newest first.
    pub fn audit_log(&self, at_most: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.read("read the audit log", move |scope| {
            let mut query =
                scope.tx.prepare_cached("SELECT at, who, what, machine FROM audit ORDER BY id DESC LIMIT ?1")?;
            let entries = query.query_map([limit(at_most)], |row| {
                Ok(AuditEntry {
                    at: instant(row, 0)?,
                    who: row.get(1)?,
                    what: row.get(2)?,
                    machine: text_or_none(row, 3)?,
                })
            })?;
            Ok(entries.collect::<Result<_, _>>()?)
        })
    }
}
