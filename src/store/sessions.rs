//! Who may speak for a machine, and what its hooks reported. Tokens are known by their hashes only.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::row::{Failure, Scope, instant, instant_or_none, number, sql, text};
use super::runs::require_machine_run;
use super::{Store, StoreError};
use crate::job::RunId;
use crate::room::MachineName;

/// The SHA-256 of a session token or hook credential, which is all that is stored of it. Tokens are long and random, so
/// nothing slower is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of a token as it comes over the wire.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// Whether a session counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionStanding {
    /// It counts.
    Live,
    /// It waits until a person has decided which of two claimants is the machine.
    Held,
    /// A newer one took its place.
    Void,
}

/// An agent's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The run.
    pub run: RunId,
    /// The machine that the agent says to be.
    pub machine: MachineName,
    /// The how many-th session of the machine in the run this is, from 1.
    pub epoch: u64,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was last noted to be alive.
    pub last_seen: Timestamp,
    /// Whether it counts.
    pub standing: SessionStanding,
}

/// One attempt at a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(pub u64);

impl std::fmt::Display for AttemptId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// What is known of one attempt at a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookAttempt {
    /// Its number.
    pub id: AttemptId,
    /// The hook's place in the plan, from 0.
    pub index: u32,
    /// The how many-th attempt at this hook, from 1.
    pub number: u64,
    /// When it began.
    pub begun_at: Timestamp,
    /// When its result came.
    pub finished_at: Option<Timestamp>,
    /// The result, as JSON.
    pub result_json: Option<String>,
}

const SESSION: &str = "SELECT run, machine, epoch, opened_at, last_seen, standing FROM session";

fn session_of(row: &Row<'_>) -> rusqlite::Result<Session> {
    let standing = match row.get_ref(5)?.as_str()? {
        "live" => SessionStanding::Live,
        "held" => SessionStanding::Held,
        _ => SessionStanding::Void,
    };
    Ok(Session {
        run: RunId(number(row, 0)?),
        machine: text(row, 1)?,
        epoch: number(row, 2)?,
        opened_at: instant(row, 3)?,
        last_seen: instant(row, 4)?,
        standing,
    })
}

const ATTEMPT: &str = "SELECT id, hook, number, begun_at, finished_at, result FROM hook_attempt";

fn attempt_of(row: &Row<'_>) -> rusqlite::Result<HookAttempt> {
    Ok(HookAttempt {
        id: AttemptId(number(row, 0)?),
        index: row.get(1)?,
        number: number(row, 2)?,
        begun_at: instant(row, 3)?,
        finished_at: instant_or_none(row, 4)?,
        result_json: row.get(5)?,
    })
}

fn find_session(scope: &Scope<'_>, token: &TokenHash) -> Result<Option<Session>, Failure> {
    Ok(scope.tx.query_row(&format!("{SESSION} WHERE token = ?1"), [token.0], session_of).optional()?)
}

impl Store {
    /// Opens a session for a machine in a run; its older ones, in whatever run, no longer count. While the machine is held,
    /// the new session is held too.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMachineRun`].
    pub fn open_session(&self, machine: &MachineName, run: RunId, token: TokenHash) -> Result<Session, StoreError> {
        let machine = machine.clone();
        self.write("open a session", move |scope| {
            require_machine_run(scope, run, &machine)?;
            let name = machine.as_str();
            let held = scope.tx.prepare("SELECT 1 FROM session WHERE machine = ?1 AND standing = 'held'")?.exists([name])?;
            scope.tx.execute("UPDATE session SET standing = 'void' WHERE machine = ?1 AND standing = 'live'", [name])?;
            scope.tx.execute(
                "INSERT INTO session (run, machine, epoch, token, opened_at, last_seen, standing)
                 SELECT ?1, ?2, coalesce(max(epoch), 0) + 1, ?3, ?4, ?4, ?5 FROM session WHERE run = ?1 AND machine = ?2",
                params![sql(run.0), name, token.0, scope.now.as_microsecond(), if held { "held" } else { "live" }],
            )?;
            Ok(find_session(scope, &token)?.ok_or(StoreError::NoSuchMachineRun { run, machine })?)
        })
    }

    /// The session that a token opens, whatever its standing.
    pub fn session(&self, token: TokenHash) -> Result<Option<Session>, StoreError> {
        self.read("read a session", move |scope| find_session(scope, &token))
    }

    /// The newest session of a machine that is live or held: who would lose it if another claimant came.
    pub fn newest_session(&self, machine: &MachineName) -> Result<Option<Session>, StoreError> {
        let machine = machine.clone();
        self.read("read a session", move |scope| {
            let query = format!("{SESSION} WHERE machine = ?1 AND standing <> 'void' ORDER BY id DESC LIMIT 1");
            Ok(scope.tx.query_row(&query, [machine.as_str()], session_of).optional()?)
        })
    }

    /// Notes that a session is alive. Once a minute is enough: each note is a write.
    pub fn touch_session(&self, token: TokenHash) -> Result<(), StoreError> {
        self.write("note a sign of life", move |scope| {
            let sql = "UPDATE session SET last_seen = ?2 WHERE token = ?1";
            scope.tx.execute(sql, params![token.0, scope.now.as_microsecond()])?;
            Ok(())
        })
    }

    /// Holds all live sessions of a machine: two claim to be it.
    pub fn hold_sessions(&self, machine: &MachineName) -> Result<(), StoreError> {
        let machine = machine.clone();
        self.write("hold a machine's sessions", move |scope| {
            let sql = "UPDATE session SET standing = 'held' WHERE machine = ?1 AND standing = 'live'";
            scope.tx.execute(sql, [machine.as_str()])?;
            Ok(())
        })
    }

    /// Ends the holding: all held sessions are void, and the true machine checks in again.
    pub fn release_sessions(&self, machine: &MachineName) -> Result<(), StoreError> {
        let machine = machine.clone();
        self.write("release a machine's sessions", move |scope| {
            let sql = "UPDATE session SET standing = 'void' WHERE machine = ?1 AND standing = 'held'";
            scope.tx.execute(sql, [machine.as_str()])?;
            Ok(())
        })
    }

    /// Keeps the hash of the credential that the imaging agent leaves on the disk; a newer one replaces it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMachineRun`].
    pub fn set_hook_credential(&self, run: RunId, machine: &MachineName, token: TokenHash) -> Result<(), StoreError> {
        let machine = machine.clone();
        self.write("keep a hook credential", move |scope| {
            require_machine_run(scope, run, &machine)?;
            scope.tx.execute(
                "INSERT INTO hook_credential (run, machine, token, made_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (run, machine) DO UPDATE SET token = excluded.token, made_at = excluded.made_at",
                params![sql(run.0), machine.as_str(), token.0, scope.now.as_microsecond()],
            )?;
            Ok(())
        })
    }

    /// The machine run that a hook credential was made for.
    pub fn hook_credential(&self, token: TokenHash) -> Result<Option<(RunId, MachineName)>, StoreError> {
        self.read("read a hook credential", move |scope| {
            let found =
                scope.tx.query_row("SELECT run, machine FROM hook_credential WHERE token = ?1", [token.0], |row| {
                    Ok((RunId(number(row, 0)?), text(row, 1)?))
                });
            Ok(found.optional()?)
        })
    }

    /// Begins an attempt at a hook. While one has no result, it is this one again: an agent that restarts goes on with it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMachineRun`].
    pub fn begin_hook(&self, run: RunId, machine: &MachineName, index: u32) -> Result<HookAttempt, StoreError> {
        let machine = machine.clone();
        self.write("begin a hook", move |scope| {
            require_machine_run(scope, run, &machine)?;
            let key = params![sql(run.0), machine.as_str(), index];
            let open = format!("{ATTEMPT} WHERE run = ?1 AND machine = ?2 AND hook = ?3 AND finished_at IS NULL");
            if let Some(attempt) = scope.tx.query_row(&open, key, attempt_of).optional()? {
                return Ok(attempt);
            }
            scope.tx.execute(
                "INSERT INTO hook_attempt (run, machine, hook, number, begun_at)
                 SELECT ?1, ?2, ?3, coalesce(max(number), 0) + 1, ?4 FROM hook_attempt
                 WHERE run = ?1 AND machine = ?2 AND hook = ?3",
                params![sql(run.0), machine.as_str(), index, scope.now.as_microsecond()],
            )?;
            Ok(scope.tx.query_row(&open, key, attempt_of)?)
        })
    }

    /// Records the result of an attempt, as JSON. The same result again is accepted and stored once.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAttempt`]; [`StoreError::AttemptFinished`] when another result was recorded: the first stands.
    pub fn finish_hook(&self, attempt: AttemptId, result_json: &str) -> Result<(), StoreError> {
        let result = result_json.to_owned();
        self.write("record a hook's result", move |scope| {
            let query = "SELECT result FROM hook_attempt WHERE id = ?1";
            let found =
                scope.tx.query_row(query, [sql(attempt.0)], |row| row.get::<_, Option<String>>(0)).optional()?;
            match found {
                None => Err(StoreError::NoSuchAttempt(attempt).into()),
                Some(Some(before)) if before == result => Ok(()),
                Some(Some(_)) => Err(StoreError::AttemptFinished(attempt).into()),
                Some(None) => {
                    scope.tx.execute(
                        "UPDATE hook_attempt SET finished_at = ?2, result = ?3 WHERE id = ?1",
                        params![sql(attempt.0), scope.now.as_microsecond(), result],
                    )?;
                    Ok(())
                }
            }
        })
    }

    /// All attempts at the hooks of a machine run, those without a result included, in order of hook and attempt.
    pub fn hook_results(&self, run: RunId, machine: &MachineName) -> Result<Vec<HookAttempt>, StoreError> {
        let machine = machine.clone();
        self.read("read hooks' results", move |scope| {
            let mut query =
                scope.tx.prepare_cached(&format!("{ATTEMPT} WHERE run = ?1 AND machine = ?2 ORDER BY hook, number"))?;
            Ok(query.query_map(params![sql(run.0), machine.as_str()], attempt_of)?.collect::<Result<_, _>>()?)
        })
    }
}
