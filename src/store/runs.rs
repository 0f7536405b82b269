//! Runs, their machines, and what happened to each.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::row::{Failure, Scope, instant, instant_or_none, json, json_or_none, limit, number, sql, text, to_json};
use super::{Store, StoreError};
use crate::image::Hash;
use crate::job::{Epoch, IntentId, MachineState, RunId};
use crate::progress::ImagingTotals;
use crate::room::{ImageRef, Mac, MachineName, RoomName};

/// A run before it has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// The room.
    pub room: RoomName,
    /// The image that its machines get.
    pub image: ImageRef,
    /// That image's root, which agents are told to expect.
    pub root: Hash,
    /// Who asked: a person's name, or `schedule`.
    pub asked_by: String,
    /// The git revision of the profiles.
    pub profile_revision: Option<String>,
    /// The plan, as JSON, for all its machines.
    pub plan_json: String,
    /// Its machines, in the room's order.
    pub machines: Vec<NewMachineRun>,
    /// The end of its window.
    pub expires_at: Timestamp,
}

/// One machine of a run before it has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMachineRun {
    /// The machine.
    pub machine: MachineName,
    /// Its network card.
    pub mac: Mac,
    /// Its part of the plan, as JSON.
    pub plan_json: String,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// The room.
    pub room: RoomName,
    /// The image that its machines get.
    pub image: ImageRef,
    /// That image's root.
    pub root: Hash,
    /// Who asked.
    pub asked_by: String,
    /// The git revision of the profiles.
    pub profile_revision: Option<String>,
    /// The plan, as JSON.
    pub plan_json: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The end of its window.
    pub expires_at: Timestamp,
    /// When the last of its machines came to an end; none while one is open.
    pub closed_at: Option<Timestamp>,
}

/// One machine's part of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRun {
    /// The run.
    pub run: RunId,
    /// The machine.
    pub machine: MachineName,
    /// Its network card.
    pub mac: Mac,
    /// Its part of the plan, as JSON.
    pub plan_json: String,
    /// How far it is.
    pub state: MachineState,
    /// How often that has changed.
    pub epoch: Epoch,
    /// When it changed last.
    pub since: Timestamp,
    /// The numbers of its imaging.
    pub totals: Option<ImagingTotals>,
}

/// One change of a machine run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// The number of the change, from 0 for the beginning.
    pub epoch: Epoch,
    /// The new state.
    pub state: MachineState,
    /// Why.
    pub reason: String,
}

const RUN: &str =
    "SELECT id, room, image, root, asked_by, profile_revision, plan, created_at, expires_at, closed_at FROM run";

fn run_of(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        id: RunId(number(row, 0)?),
        room: text(row, 1)?,
        image: text(row, 2)?,
        root: text(row, 3)?,
        asked_by: row.get(4)?,
        profile_revision: row.get(5)?,
        plan_json: row.get(6)?,
        created_at: instant(row, 7)?,
        expires_at: instant(row, 8)?,
        closed_at: instant_or_none(row, 9)?,
    })
}

const MACHINE_RUN: &str = "SELECT run, machine, mac, plan, state, epoch, since, totals FROM machine_run";

fn machine_run_of(row: &Row<'_>) -> rusqlite::Result<MachineRun> {
    Ok(MachineRun {
        run: RunId(number(row, 0)?),
        machine: text(row, 1)?,
        mac: text(row, 2)?,
        plan_json: row.get(3)?,
        state: json(row, 4)?,
        epoch: Epoch(number(row, 5)?),
        since: instant(row, 6)?,
        totals: json_or_none(row, 7)?,
    })
}

fn find_machine_run(scope: &Scope<'_>, run: RunId, machine: &MachineName) -> Result<MachineRun, Failure> {
    let found = scope.tx.query_row(
        &format!("{MACHINE_RUN} WHERE run = ?1 AND machine = ?2"),
        params![sql(run.0), machine.as_str()],
        machine_run_of,
    );
    Ok(found.optional()?.ok_or_else(|| StoreError::NoSuchMachineRun { run, machine: machine.clone() })?)
}

/// A foreign key would refuse a stranger too, but without saying who it is.
pub(super) fn require_machine_run(scope: &Scope<'_>, run: RunId, machine: &MachineName) -> Result<(), Failure> {
    find_machine_run(scope, run, machine).map(|_| ())
}

fn refuse_if_busy(scope: &Scope<'_>, machine: &MachineName) -> Result<(), Failure> {
    let busy = scope.tx.query_row(
        "SELECT run FROM machine_run WHERE machine = ?1 AND is_final = 0",
        [machine.as_str()],
        |row| number(row, 0),
    );
    match busy.optional()? {
        Some(run) => Err(StoreError::MachineBusy { machine: machine.clone(), run: RunId(run) }.into()),
        None => Ok(()),
    }
}

/// Only the newest run of a machine may be taken up again: what an older one says about the disk no longer holds.
fn refuse_if_superseded(scope: &Scope<'_>, run: RunId, machine: &MachineName) -> Result<(), Failure> {
    let query = "SELECT max(run) FROM machine_run WHERE machine = ?1";
    let newest = RunId(scope.tx.query_row(query, [machine.as_str()], |row| number(row, 0))?);
    if newest == run {
        return Ok(());
    }
    Err(StoreError::Superseded { machine: machine.clone(), run, by: newest }.into())
}

fn find_half_written(scope: &Scope<'_>, machine: &MachineName) -> rusqlite::Result<Option<RunId>> {
    let sql = "SELECT run FROM half_written WHERE machine = ?1";
    scope.tx.query_row(sql, [machine.as_str()], |row| number(row, 0).map(RunId)).optional()
}

/// The mark is a shadow of the states: set and cleared with them, and it outlives the run.
fn mark(scope: &Scope<'_>, run: RunId, machine: &MachineName, state: &MachineState) -> rusqlite::Result<()> {
    if state.disk_may_be_half_written() {
        scope.tx.execute(
            "INSERT INTO half_written (machine, run, since) VALUES (?1, ?2, ?3)
             ON CONFLICT (machine) DO UPDATE SET run = excluded.run",
            params![machine.as_str(), sql(run.0), scope.now.as_microsecond()],
        )?;
    } else if state.disk_is_image() {
        scope.tx.execute("DELETE FROM half_written WHERE machine = ?1", [machine.as_str()])?;
    }
    Ok(())
}

fn record(
    scope: &Scope<'_>,
    run: RunId,
    machine: &MachineName,
    epoch: Epoch,
    state: &str,
    reason: &str,
) -> rusqlite::Result<()> {
    scope.tx.execute(
        "INSERT INTO machine_run_history (run, machine, epoch, at, state, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![sql(run.0), machine.as_str(), sql(epoch.0), scope.now.as_microsecond(), state, reason],
    )?;
    Ok(())
}

pub(super) fn insert_run(scope: &Scope<'_>, new: &NewRun) -> Result<RunId, Failure> {
    if new.machines.is_empty() {
        return Err(StoreError::NoMachines.into());
    }
    scope.tx.execute(
        "INSERT INTO run (room, image, root, asked_by, profile_revision, plan, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            new.room.as_str(),
            new.image.to_string(),
            new.root.to_string(),
            new.asked_by,
            new.profile_revision,
            new.plan_json,
            scope.now.as_microsecond(),
            new.expires_at.as_microsecond(),
        ],
    )?;
    let id = RunId(u64::try_from(scope.tx.last_insert_rowid()).unwrap_or_default());
    for (machine, position) in new.machines.iter().zip(0i64..) {
        let NewMachineRun { machine, mac, plan_json } = machine;
        refuse_if_busy(scope, machine)?;
        let half_written = find_half_written(scope, machine)?.is_some();
        let state = MachineState::Queued { until: new.expires_at, half_written };
        let state_json = to_json(&state)?;
        scope.tx.execute(
            "INSERT INTO machine_run (run, position, machine, mac, plan, state, is_final, epoch, since)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7)",
            params![
                sql(id.0),
                position,
                machine.as_str(),
                mac.to_string(),
                plan_json,
                state_json,
                scope.now.as_microsecond()
            ],
        )?;
        record(scope, id, machine, Epoch(0), &state_json, "the run was made")?;
        // From now on this run is the one that finishes the disk.
        mark(scope, id, machine, &state)?;
    }
    Ok(id)
}

impl Store {
    /// Makes a run with all its machines waiting. A machine whose disk an earlier run left half written starts with that
    /// mark, and is finished by this run.
    ///
    /// # Errors
    /// [`StoreError::MachineBusy`] when one of the machines is in a run that is not over.
    pub fn create_run(&self, new: NewRun) -> Result<RunId, StoreError> {
        self.write("make a run", move |scope| insert_run(scope, &new))
    }

    /// Makes the run that `intent` asked for and finishes the intent, in one: after a crash it is either still to be done
    /// or done, never done twice.
    ///
    /// # Errors
    /// As [`Store::create_run`]; [`StoreError::IntentFinished`] when the intent was dealt with or has expired.
    pub fn start_run(&self, intent: IntentId, new: NewRun) -> Result<RunId, StoreError> {
        self.write("make a run", move |scope| {
            let run = insert_run(scope, &new)?;
            super::intents::start(scope, intent, run)?;
            Ok(run)
        })
    }

    /// The run with this number.
    ///
    /// # Errors
    /// [`StoreError::NoSuchRun`].
    pub fn run(&self, id: RunId) -> Result<Run, StoreError> {
        self.read("read a run", move |scope| {
            let found = scope.tx.query_row(&format!("{RUN} WHERE id = ?1"), [sql(id.0)], run_of).optional()?;
            Ok(found.ok_or(StoreError::NoSuchRun(id))?)
        })
    }

    /// The newest runs, newest first.
    pub fn runs(&self, at_most: usize) -> Result<Vec<Run>, StoreError> {
        self.read("read the runs", move |scope| {
            let mut query = scope.tx.prepare_cached(&format!("{RUN} ORDER BY id DESC LIMIT ?1"))?;
            Ok(query.query_map([limit(at_most)], run_of)?.collect::<Result<_, _>>()?)
        })
    }

    /// The runs that have an open machine run, oldest first.
    pub fn open_runs(&self) -> Result<Vec<Run>, StoreError> {
        self.read("read the runs", |scope| {
            let mut query = scope.tx.prepare_cached(&format!("{RUN} WHERE closed_at IS NULL ORDER BY id"))?;
            Ok(query.query_map([], run_of)?.collect::<Result<_, _>>()?)
        })
    }

    /// The machines of a run, in the room's order. Empty when there is no such run.
    pub fn machine_runs(&self, run: RunId) -> Result<Vec<MachineRun>, StoreError> {
        self.read("read a run's machines", move |scope| {
            let mut query = scope.tx.prepare_cached(&format!("{MACHINE_RUN} WHERE run = ?1 ORDER BY position"))?;
            Ok(query.query_map([sql(run.0)], machine_run_of)?.collect::<Result<_, _>>()?)
        })
    }

    /// One machine of a run.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMachineRun`].
    pub fn machine_run(&self, run: RunId, machine: &MachineName) -> Result<MachineRun, StoreError> {
        let machine = machine.clone();
        self.read("read a machine run", move |scope| find_machine_run(scope, run, &machine))
    }

    /// The open machine run of a machine; there is at most one.
    pub fn open_machine_run(&self, machine: &MachineName) -> Result<Option<MachineRun>, StoreError> {
        let machine = machine.clone();
        self.read("read a machine run", move |scope| {
            let query = format!("{MACHINE_RUN} WHERE machine = ?1 AND is_final = 0");
            Ok(scope.tx.query_row(&query, [machine.as_str()], machine_run_of).optional()?)
        })
    }

    /// Moves a machine run on, if it is still in the state and at the epoch that the caller saw. With it go the history,
    /// the half-written mark and, with the last machine, the run's end. Moving to the state that is there changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] with what is there now; [`StoreError::Superseded`] when a machine run that was over would be
    /// taken up again although a newer run has had the machine.
    pub fn advance(
        &self,
        run: RunId,
        machine: &MachineName,
        expect: (&MachineState, Epoch),
        to: MachineState,
        reason: &str,
    ) -> Result<Epoch, StoreError> {
        let (machine, expect, reason) = (machine.clone(), (expect.0.clone(), expect.1), reason.to_owned());
        self.write("change a machine run", move |scope| {
            let found = find_machine_run(scope, run, &machine)?;
            if (&found.state, found.epoch) != (&expect.0, expect.1) {
                let MachineRun { state, epoch, .. } = found;
                return Err(StoreError::Conflict { run, machine, found: Box::new(state), epoch }.into());
            }
            if found.state == to {
                return Ok(found.epoch);
            }
            if found.state.is_final() && !to.is_final() {
                refuse_if_superseded(scope, run, &machine)?;
            }
            let epoch = Epoch(found.epoch.0.saturating_add(1));
            let state = to_json(&to)?;
            scope.tx.execute(
                "UPDATE machine_run SET state = ?3, is_final = ?4, epoch = ?5, since = ?6 WHERE run = ?1 AND machine = ?2",
                params![
                    sql(run.0),
                    machine.as_str(),
                    state,
                    to.is_final(),
                    sql(epoch.0),
                    scope.now.as_microsecond()
                ],
            )?;
            record(scope, run, &machine, epoch, &state, &reason)?;
            mark(scope, run, &machine, &to)?;
            scope.tx.execute(
                "UPDATE run SET closed_at = CASE
                     WHEN EXISTS (SELECT 1 FROM machine_run WHERE run = ?1 AND is_final = 0) THEN NULL
                     ELSE coalesce(closed_at, ?2) END
                 WHERE id = ?1",
                params![sql(run.0), scope.now.as_microsecond()],
            )?;
            Ok(epoch)
        })
    }

    /// What happened to a machine in a run, oldest first.
    pub fn history(&self, run: RunId, machine: &MachineName) -> Result<Vec<Change>, StoreError> {
        let machine = machine.clone();
        self.read("read a machine run's history", move |scope| {
            let mut query = scope.tx.prepare_cached(
                "SELECT at, epoch, state, reason FROM machine_run_history WHERE run = ?1 AND machine = ?2 ORDER BY epoch",
            )?;
            let changes = query.query_map(params![sql(run.0), machine.as_str()], |row| {
                Ok(Change {
                    at: instant(row, 0)?,
                    epoch: Epoch(number(row, 1)?),
                    state: json(row, 2)?,
                    reason: row.get(3)?,
                })
            })?;
            Ok(changes.collect::<Result<_, _>>()?)
        })
    }

    /// Keeps the numbers of a machine's imaging; later ones replace earlier ones.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMachineRun`].
    pub fn set_numbers(&self, run: RunId, machine: &MachineName, totals: ImagingTotals) -> Result<(), StoreError> {
        let machine = machine.clone();
        self.write("keep a machine's numbers", move |scope| {
            let changed = scope.tx.execute(
                "UPDATE machine_run SET totals = ?3 WHERE run = ?1 AND machine = ?2",
                params![sql(run.0), machine.as_str(), to_json(&totals)?],
            )?;
            if changed == 0 {
                return Err(StoreError::NoSuchMachineRun { run, machine }.into());
            }
            Ok(())
        })
    }

    /// The run that has to finish a machine's half-written disk; none when the disk is whole. Outlives runs: set with the
    /// closing of the gate, cleared with the commit, handed on to a newer run of the machine.
    pub fn half_written(&self, machine: &MachineName) -> Result<Option<RunId>, StoreError> {
        let machine = machine.clone();
        self.read("read the half-written mark", move |scope| Ok(find_half_written(scope, &machine)?))
    }

    /// All machines whose disk may be half written, with the run that has to finish each.
    pub fn half_written_list(&self) -> Result<Vec<(MachineName, RunId)>, StoreError> {
        self.read("read the half-written marks", |scope| {
            let mut query = scope.tx.prepare_cached("SELECT machine, run FROM half_written ORDER BY machine")?;
            let marks = query.query_map([], |row| Ok((text(row, 0)?, RunId(number(row, 1)?))))?;
            Ok(marks.collect::<Result<_, _>>()?)
        })
    }
}
