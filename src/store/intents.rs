//! The queue of what was asked for.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::row::{Failure, Scope, instant, json, json_or_none, limit, number, sql, text, to_json};
use super::{Store, StoreError};
use crate::job::intent::{IntentOutcome, NewIntent};
use crate::job::{Intent, IntentId, RunId};

const INTENT: &str = "SELECT id, room, selection, asked_by, asked_at, not_before, expires_at, kind FROM intent";

fn intent_of(row: &Row<'_>) -> rusqlite::Result<Intent> {
    Ok(Intent {
        id: IntentId(number(row, 0)?),
        room: text(row, 1)?,
        selection: json(row, 2)?,
        asked_by: row.get(3)?,
        asked_at: instant(row, 4)?,
        not_before: instant(row, 5)?,
        expires_at: instant(row, 6)?,
        kind: json(row, 7)?,
    })
}

fn expire(scope: &Scope<'_>, now: Timestamp) -> Result<(), Failure> {
    scope.tx.execute(
        "UPDATE intent SET finished_at = ?1, outcome = ?2 WHERE finished_at IS NULL AND expires_at <= ?1",
        params![now.as_microsecond(), to_json(&IntentOutcome::Expired)?],
    )?;
    Ok(())
}

/// Finishes an open intent; the same outcome again is accepted, another is not.
fn finish(scope: &Scope<'_>, id: IntentId, outcome: &IntentOutcome) -> Result<(), Failure> {
    let open = scope.tx.execute(
        "UPDATE intent SET finished_at = ?2, outcome = ?3 WHERE id = ?1 AND finished_at IS NULL",
        params![sql(id.0), scope.now.as_microsecond(), to_json(outcome)?],
    )?;
    if open == 1 {
        return Ok(());
    }
    let query = "SELECT outcome FROM intent WHERE id = ?1";
    let before = scope.tx.query_row(query, [sql(id.0)], |row| json_or_none::<IntentOutcome>(row, 0)).optional()?;
    match before {
        None => Err(StoreError::NoSuchIntent(id).into()),
        Some(Some(before)) if before == *outcome => Ok(()),
        Some(_) => Err(StoreError::IntentFinished(id).into()),
    }
}

/// Turns an intent into `run`, if it is open and its window is not over by the store's own clock.
pub(super) fn start(scope: &Scope<'_>, id: IntentId, run: RunId) -> Result<(), Failure> {
    let over = scope.tx.query_row("SELECT expires_at FROM intent WHERE id = ?1", [sql(id.0)], |row| instant(row, 0));
    match over.optional()? {
        None => Err(StoreError::NoSuchIntent(id).into()),
        Some(end) if scope.now >= end => Err(StoreError::IntentFinished(id).into()),
        Some(_) => finish(scope, id, &IntentOutcome::Started { run }),
    }
}

impl Store {
    /// Puts an intent into the queue.
    pub fn add_intent(&self, new: NewIntent) -> Result<IntentId, StoreError> {
        self.write("keep an intent", move |scope| {
            scope.tx.execute(
                "INSERT INTO intent (room, selection, asked_by, asked_at, not_before, expires_at, kind)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    new.room.as_str(),
                    to_json(&new.selection)?,
                    new.asked_by,
                    scope.now.as_microsecond(),
                    new.not_before.as_microsecond(),
                    new.expires_at.as_microsecond(),
                    to_json(&new.kind)?,
                ],
            )?;
            Ok(IntentId(u64::try_from(scope.tx.last_insert_rowid()).unwrap_or_default()))
        })
    }

    /// The intents that may act at `now`, oldest first. Those whose window is over are finished as expired by this, and are
    /// never handed out.
    pub fn due_intents(&self, now: Timestamp) -> Result<Vec<Intent>, StoreError> {
        self.write("read the intents", move |scope| {
            expire(scope, now)?;
            let mut query = scope.tx.prepare_cached(&format!(
                "{INTENT} WHERE finished_at IS NULL AND not_before <= ?1 AND expires_at > ?1 ORDER BY id"
            ))?;
            Ok(query.query_map([now.as_microsecond()], intent_of)?.collect::<Result<_, _>>()?)
        })
    }

    /// The intents that are not finished, those that wait for their window included, by the beginning of their window.
    pub fn open_intents(&self) -> Result<Vec<Intent>, StoreError> {
        self.read("read the intents", |scope| {
            let mut query =
                scope.tx.prepare_cached(&format!("{INTENT} WHERE finished_at IS NULL ORDER BY not_before, id"))?;
            Ok(query.query_map([], intent_of)?.collect::<Result<_, _>>()?)
        })
    }

    /// The newest finished intents with what became of them, newest first.
    pub fn finished_intents(&self, at_most: usize) -> Result<Vec<(Intent, IntentOutcome)>, StoreError> {
        self.read("read the intents", move |scope| {
            let mut query = scope.tx.prepare_cached(
                "SELECT id, room, selection, asked_by, asked_at, not_before, expires_at, kind, outcome FROM intent
                 WHERE finished_at IS NOT NULL ORDER BY finished_at DESC, id DESC LIMIT ?1",
            )?;
            let found = query.query_map([limit(at_most)], |row| Ok((intent_of(row)?, json(row, 8)?)))?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }

    /// Notes what became of an intent. The same outcome again is accepted. A run is noted by [`Store::start_run`], which
    /// makes it in the same transaction.
    ///
    /// # Errors
    /// [`StoreError::NoSuchIntent`]; [`StoreError::IntentFinished`] when another outcome was noted before.
    pub fn finish_intent(&self, id: IntentId, outcome: IntentOutcome) -> Result<(), StoreError> {
        self.write("finish an intent", move |scope| finish(scope, id, &outcome))
    }
}
