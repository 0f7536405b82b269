//! Permission to spend: given out in one transaction with the count that it rests on.
//!
//! The writer takes one transaction after the other, and a permission is on disk before anybody has it. So whatever ends in
//! between, and however many ask at once, no more is given out than the limits allow.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::{EntryState, names, run_of};
use crate::activation::codes::Code;
use crate::activation::ledger::{
    NewReservation, Purpose, Refusal, Reservation, ReservationId, SpendOutcome, puts_on_hold,
};
use crate::job::{MachineState, RunId};
use crate::room::{KeyName, MachineName};
use crate::store::row::{Failure, Scope, instant, json, number, sql, text};
use crate::store::{Store, StoreError};

/// A key that is not used until a person has looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The key, by the name under which it was used.
    pub key: KeyName,
    /// The code that stopped it.
    pub code: Code,
    /// Since when.
    pub since: Timestamp,
    /// The run that got the code; none where a person did.
    pub run: Option<RunId>,
    /// The machine that got it.
    pub machine: MachineName,
}

/// Stands where a hold names the machine that caused it, if none did.
const NO_MACHINE: &str = "SERVER";

/// An earlier permission that may have been spent.
struct Earlier {
    id: ReservationId,
    state: EntryState,
    run: Option<RunId>,
    at: Timestamp,
    recloned_since: bool,
}

impl Store {
    /// Asks to spend one activation. What is granted counts as spent until it is settled. For [`Purpose::Activate`], who
    /// asks again for the same run and machine while it is open gets the same one; a request for a confirmation ID is
    /// granted once.
    ///
    /// # Errors
    /// A refusal, which the ledger keeps too. If the ledger cannot be written, nothing is granted.
    pub fn reserve(&self, new: NewReservation) -> Result<Reservation, Refusal> {
        let answer = self.write("reserve an activation in the ledger", move |scope| {
            let names = names(&new.key, &new.partial_key);
            match decide(scope, &new, &names)? {
                Ok(Some(open)) => Ok(Ok(Reservation { id: open, repeated: true })),
                Ok(None) => {
                    let id = enter(scope, &new, &names, None)?;
                    Ok(Ok(Reservation { id, repeated: false }))
                }
                Err(refusal) => {
                    enter(scope, &new, &names, Some(&refusal))?;
                    Ok(Err(refusal))
                }
            }
        });
        answer.unwrap_or_else(|error| Err(Refusal::NoLedger { reason: reason(&error) }))
    }

    /// Enters what came of a reservation. That it was spent is never taken back; a late word that it was is believed. A
    /// code that says that the key is used up or blocked puts it on hold.
    pub fn settle(&self, id: ReservationId, outcome: SpendOutcome) -> Result<(), StoreError> {
        self.write("settle a reservation in the ledger", move |scope| {
            let found = scope.tx.query_row(
                "SELECT state, key, coalesce(partial_key, ''), run, machine FROM ledger
                 WHERE id = ?1 AND kind <> 'deposit' AND state <> 'refused'",
                [sql(id.0)],
                |row| {
                    Ok((
                        EntryState::of(row, 0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, String>(2)?,
                        run_of(row, 3)?,
                        row.get::<_, String>(4)?,
                    ))
                },
            );
            let Some((before, key, partial, run, machine)) = found.optional()? else {
                return Err(StoreError::NoSuchReservation(id).into());
            };
            let (state, code) = match outcome {
                SpendOutcome::Spent => (EntryState::Succeeded, Some(Code::OK)),
                SpendOutcome::NotSpent { code } => (EntryState::Failed, Some(code)),
                SpendOutcome::Unknown { code } => (EntryState::Unknown, code),
            };
            let news = match before {
                EntryState::Open => true,
                EntryState::Unknown => state != EntryState::Unknown || code.is_some(),
                EntryState::Failed => state == EntryState::Succeeded,
                EntryState::Succeeded | EntryState::Refused => false,
            };
            if !news {
                return Ok(());
            }
            let now = scope.now.as_microsecond();
            scope.tx.execute(
                "UPDATE ledger SET state = ?2, code = ?3, settled_at = ?4 WHERE id = ?1",
                params![sql(id.0), state.name(), code.map(|code| code.0), now],
            )?;
            if let Some(code) = code.filter(|code| puts_on_hold(*code)) {
                scope.tx.execute(
                    "INSERT INTO key_hold (key, partial_key, code, since, run, machine) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT DO NOTHING",
                    params![key, partial, code.0, now, run.map(|run| sql(run.0)), machine],
                )?;
            }
            Ok(())
        })
    }

    /// Settles what was open or unknown for a machine by what its licensing service says now, and gives how many entries
    /// that settled. Only what happened since its last re-clone can be told so: a disk that was written anew says nothing of
    /// the Windows before it, whose activations stay unknown and go on counting as spent.
    pub fn reread(&self, machine: &MachineName, key: &KeyName, licensed: bool) -> Result<u64, StoreError> {
        let (machine, key) = (machine.clone(), key.clone());
        self.write("settle the ledger by what a PC says", move |scope| {
            let partial =
                "SELECT partial_key FROM ledger WHERE key = ?1 AND partial_key IS NOT NULL ORDER BY id DESC LIMIT 1";
            let partial: Option<String> = scope.tx.query_row(partial, [key.as_str()], |row| row.get(0)).optional()?;
            let mut settled = 0;
            for earlier in earlier(scope, &machine, &names(&key, partial.as_deref().unwrap_or_default()))? {
                let state = match (earlier.recloned_since, licensed) {
                    (true, _) => EntryState::Unknown,
                    (false, true) => EntryState::Succeeded,
                    (false, false) => EntryState::Failed,
                };
                settled += u64::from(!earlier.recloned_since);
                scope.tx.execute(
                    "UPDATE ledger SET state = ?2, settled_at = ?3 WHERE id = ?1 AND state <> ?2",
                    params![sql(earlier.id.0), state.name(), scope.now.as_microsecond()],
                )?;
            }
            Ok(settled)
        })
    }

    /// Why a key is on hold; none where it is not.
    pub fn hold(&self, key: &KeyName, partial_key: &str) -> Result<Option<Hold>, StoreError> {
        let names = names(key, partial_key);
        self.read("read the ledger", move |scope| held(scope, &names))
    }

    /// Puts these keys on hold, and all that the ledger knows to have been spent, with `code`; a hold that is there stays.
    /// Gives the names of the keys that are on hold now.
    pub fn hold_all(&self, keys: &[(KeyName, Option<String>)], code: Code) -> Result<Vec<KeyName>, StoreError> {
        let keys = keys.to_vec();
        self.write("put keys on hold", move |scope| {
            let mut insert = scope.tx.prepare_cached(
                "INSERT INTO key_hold (key, partial_key, code, since, run, machine) VALUES (?1, ?2, ?3, ?4, NULL, ?5)
                 ON CONFLICT DO NOTHING",
            )?;
            let now = scope.now.as_microsecond();
            for (key, partial) in &keys {
                let partial = partial.as_deref().unwrap_or_default().to_ascii_uppercase();
                insert.execute(params![key.as_str(), partial, code.0, now, NO_MACHINE])?;
            }
            scope.tx.execute(
                "INSERT INTO key_hold (key, partial_key, code, since, run, machine)
                 SELECT key, coalesce(max(partial_key), ''), ?1, ?2, NULL, ?3 FROM ledger WHERE kind <> 'deposit' GROUP BY key
                 ON CONFLICT DO NOTHING",
                params![code.0, now, NO_MACHINE],
            )?;
            let mut query = scope.tx.prepare_cached("SELECT key FROM key_hold ORDER BY key")?;
            let names = query.query_map([], |row| text(row, 0))?.collect::<Result<_, _>>()?;
            Ok(names)
        })
    }

    /// Lets a key be used again that was on hold, and asks for confirmation IDs again whose request got no answer. What
    /// counted as spent goes on doing so. Tells whether there was anything to release; the audit log says who did it.
    pub fn release(&self, key: &KeyName, partial_key: &str, who: &str) -> Result<bool, StoreError> {
        let (key, names, who) = (key.clone(), names(key, partial_key), who.to_owned());
        self.write("release a key", move |scope| {
            let held = held(scope, &names)?;
            scope.tx.execute(
                "DELETE FROM key_hold WHERE key = ?1 OR (partial_key = ?2 AND partial_key <> '')",
                [&names[0], &names[1]],
            )?;
            let requests = scope.tx.execute(
                "UPDATE ledger SET state = 'unknown', looked_at = ?3
                 WHERE (key = ?1 OR partial_key = ?2) AND kind = 'confirmation-request'
                   AND state IN ('open', 'unknown') AND looked_at IS NULL",
                params![names[0], names[1], scope.now.as_microsecond()],
            )?;
            if held.is_none() && requests == 0 {
                return Ok(false);
            }
            let what = match held {
                Some(held) => format!(
                    "released the key {key}, on hold with {}; requests without an answer: {requests}",
                    held.code
                ),
                None => format!("released the key {key}; requests without an answer: {requests}"),
            };
            scope.tx.execute(
                "INSERT INTO audit (at, who, what) VALUES (?1, ?2, ?3)",
                params![scope.now.as_microsecond(), who, what],
            )?;
            Ok(true)
        })
    }
}

/// The error with its causes, in one line.
fn reason(error: &StoreError) -> String {
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    line
}

/// The open permission that is asked for again, none for a new one, or why there is none.
fn decide(
    scope: &Scope<'_>,
    new: &NewReservation,
    names: &[String; 2],
) -> Result<Result<Option<ReservationId>, Refusal>, Failure> {
    if let Some(hold) = held(scope, names)? {
        return Ok(Err(Refusal::OnHold { key: hold.key, code: hold.code, since: hold.since }));
    }
    match &new.purpose {
        Purpose::Activate => {
            for earlier in earlier(scope, &new.machine, names)? {
                match earlier.state {
                    // Whoever held it had another Windows on the disk, so it is nobody's any more.
                    _ if earlier.recloned_since => {
                        scope.tx.execute(
                            "UPDATE ledger SET state = 'unknown' WHERE id = ?1 AND state = 'open'",
                            [sql(earlier.id.0)],
                        )?;
                    }
                    EntryState::Open if earlier.run == new.run => return Ok(Ok(Some(earlier.id))),
                    _ => {
                        let (machine, since) = (new.machine.clone(), earlier.at);
                        return Ok(Err(Refusal::OutcomeUnknown { machine, since }));
                    }
                }
            }
        }
        Purpose::ConfirmationRequest { iid } => {
            if let Some(refusal) = asked_before(scope, iid.digits())? {
                return Ok(Err(refusal));
            }
        }
    }
    let limits = new.limits;
    let spent = count(scope, names, None)?;
    if let (Some(budget), Some(0)) = (limits.budget, limits.remaining(spent)) {
        return Ok(Err(Refusal::BudgetSpent { key: new.key.clone(), budget, reserve: limits.reserve, spent }));
    }
    let (limit, spent) = match (new.run, limits.run_limit) {
        (Some(run), limit) => (limit.unwrap_or(0), count(scope, names, Some(run))?),
        (None, Some(0)) => (0, 0),
        (None, _) => return Ok(Ok(None)),
    };
    if spent >= u64::from(limit) {
        return Ok(Err(Refusal::RunLimit { key: new.key.clone(), limit, spent }));
    }
    Ok(Ok(None))
}

/// What counts as spent with a key, in all or in one run.
fn count(scope: &Scope<'_>, names: &[String; 2], run: Option<RunId>) -> Result<u64, Failure> {
    Ok(scope.tx.query_row(
        "SELECT count(*) FROM ledger
         WHERE (key = ?1 OR partial_key = ?2) AND kind <> 'deposit' AND state IN ('open', 'unknown', 'succeeded')
           AND (?3 IS NULL OR run = ?3)",
        params![names[0], names[1], run.map(|run| sql(run.0))],
        |row| number(row, 0),
    )?)
}

fn held(scope: &Scope<'_>, names: &[String; 2]) -> Result<Option<Hold>, Failure> {
    let query = "SELECT key, code, since, run, machine FROM key_hold
                 WHERE key = ?1 OR (partial_key = ?2 AND partial_key <> '') ORDER BY since LIMIT 1";
    let held = scope.tx.query_row(query, [&names[0], &names[1]], |row| {
        Ok(Hold {
            key: text(row, 0)?,
            code: Code(row.get(1)?),
            since: instant(row, 2)?,
            run: run_of(row, 3)?,
            machine: text(row, 4)?,
        })
    });
    Ok(held.optional()?)
}

/// The activations of a machine with a key whose outcome is not known.
fn earlier(scope: &Scope<'_>, machine: &MachineName, names: &[String; 2]) -> Result<Vec<Earlier>, Failure> {
    let mut query = scope.tx.prepare_cached(
        "SELECT id, state, run, at, seen_change FROM ledger
         WHERE machine = ?1 AND kind = 'activate' AND state IN ('open', 'unknown')
           AND (key = ?2 OR partial_key = ?3) ORDER BY id",
    )?;
    let rows = query.query_map([machine.as_str(), &names[0], &names[1]], |row| {
        let earlier = Earlier {
            id: ReservationId(number(row, 0)?),
            state: EntryState::of(row, 1)?,
            run: run_of(row, 2)?,
            at: instant(row, 3)?,
            recloned_since: false,
        };
        Ok((earlier, row.get::<_, i64>(4)?))
    })?;
    let rows: Vec<(Earlier, i64)> = rows.collect::<Result<_, _>>()?;
    let found = rows.into_iter().map(|(earlier, seen)| {
        let recloned_since = recloned_since(scope, machine, seen)?;
        Ok(Earlier { recloned_since, ..earlier })
    });
    found.collect()
}

/// Whether the machine's disk was written after its change number `seen`.
fn recloned_since(scope: &Scope<'_>, machine: &MachineName, seen: i64) -> Result<bool, Failure> {
    let mut query = scope
        .tx
        .prepare_cached("SELECT state FROM machine_run_history WHERE machine = ?1 AND id > ?2 ORDER BY id DESC")?;
    let mut states = query.query_map(params![machine.as_str(), seen], |row| json::<MachineState>(row, 0))?;
    let written = states.find_map(|state| match state {
        Ok(MachineState::Committed) => Some(Ok(true)),
        Ok(state) => state.disk_may_be_half_written().then_some(Ok(true)),
        Err(error) => Some(Err(error)),
    });
    Ok(written.unwrap_or(Ok(false))?)
}

/// Why a confirmation ID is not asked for: it is here, it was issued, or nobody knows.
fn asked_before(scope: &Scope<'_>, iid: &str) -> Result<Option<Refusal>, Failure> {
    let stored = "SELECT machine, changed_at FROM confirmation WHERE iid = ?1 AND state = 'known' LIMIT 1";
    let of = |row: &Row<'_>| Ok((text::<MachineName>(row, 0)?, instant(row, 1)?));
    if let Some((machine, at)) = scope.tx.query_row(stored, [iid], of).optional()? {
        return Ok(Some(Refusal::AlreadyIssued { machine, at }));
    }
    let asked = "SELECT machine, at, state FROM ledger
                 WHERE iid = ?1 AND (state = 'succeeded' OR (state IN ('open', 'unknown') AND looked_at IS NULL))
                 ORDER BY state = 'succeeded' DESC, id LIMIT 1";
    let asked = scope.tx.query_row(asked, [iid], |row| Ok((of(row)?, EntryState::of(row, 2)?))).optional()?;
    Ok(asked.map(|((machine, at), state)| match state {
        EntryState::Succeeded => Refusal::AlreadyIssued { machine, at },
        _ => Refusal::RequestOpen { machine, since: at },
    }))
}

fn enter(
    scope: &Scope<'_>,
    new: &NewReservation,
    names: &[String; 2],
    refusal: Option<&Refusal>,
) -> Result<ReservationId, Failure> {
    let (kind, iid) = match &new.purpose {
        Purpose::Activate => ("activate", None),
        Purpose::ConfirmationRequest { iid } => ("confirmation-request", Some(iid.digits())),
    };
    let state = if refusal.is_some() { EntryState::Refused } else { EntryState::Open };
    scope.tx.execute(
        "INSERT INTO ledger (key, partial_key, run, machine, kind, iid, state, refusal, at, seen_change)
         VALUES (?1, nullif(?2, ''), ?3, ?4, ?5, ?6, ?7, ?8, ?9,
                 (SELECT coalesce(max(id), 0) FROM machine_run_history WHERE machine = ?4))",
        params![
            names[0],
            names[1],
            new.run.map(|run| sql(run.0)),
            new.machine.as_str(),
            kind,
            iid,
            state.name(),
            refusal.map(Refusal::name),
            scope.now.as_microsecond(),
        ],
    )?;
    Ok(ReservationId(u64::try_from(scope.tx.last_insert_rowid()).unwrap_or_default()))
}
