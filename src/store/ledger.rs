//! What each key has spent, and who was given what.
//!
//! One row is one attempt with a key. [`reservations`] decides what may be spent; here it is counted and listed. A key is
//! its name or its last five characters: what was spent under another name of the same key counts too.

use jiff::Timestamp;
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use super::row::{Scope, instant, instant_or_none, limit, number, sql, text, text_or_none};
use super::{Store, StoreError};
use crate::activation::codes::Code;
use crate::activation::ledger::Spend;
use crate::job::RunId;
use crate::room::{KeyName, MachineName};

mod reservations;

pub use reservations::Hold;

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
    /// Permissions to spend that were given out. Each became one of `succeeded`, `failed`, `unknown`, `open`.
    pub attempts: u64,
    /// Those that spent an activation.
    pub succeeded: u64,
    /// Those that spent nothing.
    pub failed: u64,
    /// Those whose outcome nobody knows; they count as spent.
    pub unknown: u64,
    /// Those that are not settled yet; they count as spent.
    pub open: u64,
    /// Permissions that were refused.
    pub refused: u64,
    /// Deposits of stored confirmation IDs; these spend nothing.
    pub deposits: u64,
    /// Confirmation IDs that were stored for the first time. Microsoft's counter has moved at most once for each.
    pub cids_imported: u64,
    /// Confirmation IDs that Microsoft has issued, as far as is known: those imported, and those asked for and not imported.
    pub cids_issued: u64,
    /// What counts as spent by us: succeeded, unknown and open.
    pub spent: u64,
    /// Those of them that a run made.
    pub spent_by_recloning: u64,
}

/// What an entry of the ledger is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// A stored confirmation ID was deposited.
    Deposit,
    /// Windows was to activate at Microsoft.
    Activate,
    /// Microsoft was to be asked for a confirmation ID.
    ConfirmationRequest,
}

/// How it stands with an entry of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryState {
    /// Permitted, not settled.
    Open,
    /// Nobody knows what came of it.
    Unknown,
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed,
    /// It was not permitted.
    Refused,
}

/// One attempt with a key. The installation ID of a request is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Its number.
    pub id: LedgerId,
    /// When.
    pub at: Timestamp,
    /// The key, by name.
    pub key: KeyName,
    /// The run; none where a person asked.
    pub run: Option<RunId>,
    /// The machine.
    pub machine: MachineName,
    /// What was tried.
    pub kind: EntryKind,
    /// How it stands with it.
    pub state: EntryState,
    /// With which code it ended, where one is known.
    pub code: Option<Code>,
    /// Why it was refused, by the short name of [`crate::activation::ledger::Refusal`].
    pub refusal: Option<String>,
    /// When its outcome was entered.
    pub settled_at: Option<Timestamp>,
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

impl EntryKind {
    fn of(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        Ok(match row.get_ref(column)?.as_str()? {
            "deposit" => Self::Deposit,
            "activate" => Self::Activate,
            _ => Self::ConfirmationRequest,
        })
    }
}

impl EntryState {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Unknown => "unknown",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }

    fn of(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        Ok(match row.get_ref(column)?.as_str()? {
            "open" => Self::Open,
            "succeeded" => Self::Succeeded,
            "failed" => Self::Failed,
            "refused" => Self::Refused,
            _ => Self::Unknown,
        })
    }

    fn of_code(kind: AttemptKind, code: Option<u32>) -> Self {
        match (code, kind) {
            (Some(0), _) => Self::Succeeded,
            (Some(_), _) => Self::Failed,
            (None, AttemptKind::Deposit) => Self::Unknown,
            (None, AttemptKind::Activate) => Self::Open,
        }
    }
}

/// A key as it is searched for: by name, and by its last five characters.
fn names(key: &KeyName, partial_key: &str) -> [String; 2] {
    [key.as_str().to_owned(), partial_key.to_ascii_uppercase()]
}

impl Store {
    /// Enters an attempt with a key. An [`AttemptKind::Activate`] without a code counts as spent until
    /// [`Store::settle_attempt`]; what is still to be spent is asked for with [`Store::reserve`].
    pub fn record_attempt(
        &self,
        key: &KeyName,
        run: Option<RunId>,
        machine: &MachineName,
        kind: AttemptKind,
        code: Option<u32>,
    ) -> Result<LedgerId, StoreError> {
        let (key, machine) = (key.clone(), machine.clone());
        let state = EntryState::of_code(kind, code).name();
        let kind = match kind {
            AttemptKind::Deposit => "deposit",
            AttemptKind::Activate => "activate",
        };
        self.write("enter an attempt in the ledger", move |scope| {
            scope.tx.execute(
                "INSERT INTO ledger (key, run, machine, kind, state, code, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    key.as_str(),
                    run.map(|run| sql(run.0)),
                    machine.as_str(),
                    kind,
                    state,
                    code,
                    scope.now.as_microsecond()
                ],
            )?;
            Ok(LedgerId(u64::try_from(scope.tx.last_insert_rowid()).unwrap_or_default()))
        })
    }

    /// Enters the outcome of an attempt: 0 for success, else Windows' error code. An outcome that is known stays.
    pub fn settle_attempt(&self, id: LedgerId, code: u32) -> Result<(), StoreError> {
        let state = EntryState::of_code(AttemptKind::Activate, Some(code)).name();
        self.write("settle an attempt in the ledger", move |scope| {
            scope.tx.execute(
                "UPDATE ledger SET code = ?2, state = ?3, settled_at = ?4
                 WHERE id = ?1 AND code IS NULL AND state IN ('open', 'unknown')",
                params![sql(id.0), code, state, scope.now.as_microsecond()],
            )?;
            Ok(())
        })
    }

    /// The sums for a key. Confirmation IDs are counted where they are stored, by the key's last five characters.
    pub fn ledger(&self, key: &KeyName, partial_key: &str) -> Result<LedgerSums, StoreError> {
        let key = names(key, partial_key);
        self.read("read the ledger", move |scope| {
            let query = "SELECT coalesce(sum(imports), 0) FROM (SELECT partial_key, imports FROM confirmation
                         UNION ALL SELECT partial_key, imports FROM forgotten) WHERE partial_key = ?1";
            let cids_imported = scope.tx.query_row(query, [&key[1]], |row| number(row, 0))?;
            let asked_only = scope.tx.query_row(
                "SELECT count(DISTINCT iid) FROM ledger
                 WHERE (key = ?1 OR partial_key = ?2) AND kind = 'confirmation-request'
                   AND state IN ('open', 'unknown', 'succeeded')
                   AND NOT EXISTS (SELECT 1 FROM confirmation c WHERE c.iid = ledger.iid AND c.imports > 0)",
                [&key[0], &key[1]],
                |row| number(row, 0),
            )?;
            let sums = scope.tx.query_row(
                "SELECT count(*) FILTER (WHERE kind = 'deposit'),
                        count(*) FILTER (WHERE kind <> 'deposit' AND state <> 'refused'),
                        count(*) FILTER (WHERE kind <> 'deposit' AND state = 'succeeded'),
                        count(*) FILTER (WHERE kind <> 'deposit' AND state = 'failed'),
                        count(*) FILTER (WHERE kind <> 'deposit' AND state = 'unknown'),
                        count(*) FILTER (WHERE kind <> 'deposit' AND state = 'open'),
                        count(*) FILTER (WHERE state = 'refused'),
                        count(*) FILTER (WHERE kind <> 'deposit' AND state IN ('open', 'unknown', 'succeeded')),
                        count(*) FILTER (WHERE kind <> 'deposit' AND state IN ('open', 'unknown', 'succeeded')
                                           AND run IS NOT NULL)
                 FROM ledger WHERE key = ?1 OR partial_key = ?2",
                [&key[0], &key[1]],
                |row| {
                    Ok(LedgerSums {
                        deposits: number(row, 0)?,
                        attempts: number(row, 1)?,
                        succeeded: number(row, 2)?,
                        failed: number(row, 3)?,
                        unknown: number(row, 4)?,
                        open: number(row, 5)?,
                        refused: number(row, 6)?,
                        cids_imported,
                        cids_issued: cids_imported + asked_only,
                        spent: number(row, 7)?,
                        spent_by_recloning: number(row, 8)?,
                    })
                },
            )?;
            Ok(sums)
        })
    }

    /// What counts as spent with a key, the oldest first.
    pub fn spends(&self, key: &KeyName, partial_key: &str) -> Result<Vec<Spend>, StoreError> {
        let key = names(key, partial_key);
        self.read("read the ledger", move |scope| {
            let mut query = scope.tx.prepare_cached(
                "SELECT at, run FROM ledger
                 WHERE (key = ?1 OR partial_key = ?2) AND kind <> 'deposit' AND state IN ('open', 'unknown', 'succeeded')
                 ORDER BY at, id",
            )?;
            let spends = query.query_map([&key[0], &key[1]], |row| {
                Ok(Spend { at: instant(row, 0)?, run: run_of(row, 1)? })
            })?;
            Ok(spends.collect::<Result<_, _>>()?)
        })
    }

    /// The newest entries for a key, newest first.
    pub fn ledger_entries(
        &self,
        key: &KeyName,
        partial_key: &str,
        at_most: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        let key = names(key, partial_key);
        self.read("read the ledger", move |scope| {
            let mut query = scope.tx.prepare_cached(
                "SELECT id, at, key, run, machine, kind, state, code, refusal, settled_at FROM ledger
                 WHERE key = ?1 OR partial_key = ?2 ORDER BY id DESC LIMIT ?3",
            )?;
            let entries = query.query_map(params![key[0], key[1], limit(at_most)], |row| {
                Ok(LedgerEntry {
                    id: LedgerId(number(row, 0)?),
                    at: instant(row, 1)?,
                    key: text(row, 2)?,
                    run: run_of(row, 3)?,
                    machine: text(row, 4)?,
                    kind: EntryKind::of(row, 5)?,
                    state: EntryState::of(row, 6)?,
                    code: row.get::<_, Option<u32>>(7)?.map(Code),
                    refusal: row.get(8)?,
                    settled_at: instant_or_none(row, 9)?,
                })
            })?;
            Ok(entries.collect::<Result<_, _>>()?)
        })
    }

    /// The names of all keys that the ledger has entries of, with the last five characters that were entered last.
    pub fn ledger_keys(&self) -> Result<Vec<(KeyName, Option<String>)>, StoreError> {
        self.read("read the ledger", move |scope| {
            let mut query = scope.tx.prepare_cached(
                "SELECT key, (SELECT partial_key FROM ledger l WHERE l.key = names.key AND partial_key IS NOT NULL
                              ORDER BY id DESC LIMIT 1)
                 FROM (SELECT DISTINCT key FROM ledger) names ORDER BY key",
            )?;
            let keys = query.query_map([], |row| Ok((text(row, 0)?, row.get(1)?)))?;
            Ok(keys.collect::<Result<_, _>>()?)
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

fn run_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<RunId>> {
    Ok(row.get::<_, Option<i64>>(column)?.and_then(|run| u64::try_from(run).ok()).map(RunId))
}
