//! What PCs reported about their activation, for the count at KMS hosts and shared client machine IDs.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Row, params};

use super::row::{instant, number, sql, text};
use super::{Store, StoreError};
use crate::activation::kms::{Sighting, Standing, window_start};
use crate::job::RunId;
use crate::room::MachineName;

/// A report to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LicensingReport {
    /// The client machine ID; none where Windows did not tell.
    pub cmid: Option<String>,
    /// Whether the PC was to be activated at a KMS host.
    pub at_kms: bool,
    /// What came of it.
    pub standing: Standing,
}

/// What keeping a report showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedMachineId {
    /// Other PCs whose last report has the same client machine ID.
    pub others: Vec<MachineName>,
    /// Whether it is the first time that this is seen in this run.
    pub first_in_run: bool,
}

const SIGHTING: &str = "SELECT r.run, run.room, r.machine, r.cmid, r.at_kms, r.standing, r.at FROM licensing_report r \
                        JOIN run ON run.id = r.run";

fn sighting_of(row: &Row<'_>) -> rusqlite::Result<Sighting> {
    let name: String = row.get(5)?;
    let standing = Standing::from_name(&name).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(5, Type::Text, format!("no standing '{name}'").into())
    })?;
    Ok(Sighting {
        run: RunId(number(row, 0)?),
        room: text(row, 1)?,
        machine: text(row, 2)?,
        cmid: row.get(3)?,
        at_kms: row.get(4)?,
        standing,
        at: instant(row, 6)?,
    })
}

impl Store {
    /// Keeps what a machine reported in a run; a later report of the same run takes the place of an earlier one. Reports of
    /// more than a year ago go. Tells, if so, who of `among` has the same client machine ID.
    pub fn keep_licensing_report(
        &self,
        run: RunId,
        machine: &MachineName,
        report: LicensingReport,
        among: &BTreeSet<MachineName>,
    ) -> Result<Option<SharedMachineId>, StoreError> {
        let (machine, among) = (machine.clone(), among.clone());
        self.write("keep a licensing report", move |scope| {
            super::runs::require_machine_run(scope, run, &machine)?;
            let cmid = report.cmid.map(|cmid| cmid.to_ascii_lowercase());
            scope.tx.execute(
                "INSERT INTO licensing_report (run, machine, cmid, at_kms, standing, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (run, machine) DO UPDATE SET cmid = excluded.cmid, at_kms = excluded.at_kms,
                     standing = excluded.standing, at = excluded.at",
                params![
                    sql(run.0),
                    machine.as_str(),
                    cmid,
                    report.at_kms,
                    report.standing.name(),
                    scope.now.as_microsecond()
                ],
            )?;
            let year = jiff::SignedDuration::from_hours(24 * 400);
            let old = scope.now.checked_sub(year).unwrap_or(Timestamp::MIN);
            scope.tx.execute("DELETE FROM licensing_report WHERE at < ?1", [old.as_microsecond()])?;
            let Some(cmid) = cmid else { return Ok(None) };
            let mut query = scope.tx.prepare_cached(
                "SELECT machine FROM licensing_report r WHERE cmid = ?1 AND machine <> ?2
                     AND at = (SELECT max(at) FROM licensing_report last WHERE last.machine = r.machine)
                 GROUP BY machine ORDER BY machine",
            )?;
            let others = query.query_map(params![cmid, machine.as_str()], |row| text(row, 0))?;
            let mut others: Vec<MachineName> = others.collect::<Result<_, _>>()?;
            others.retain(|other| among.contains(other));
            if others.is_empty() {
                return Ok(None);
            }
            let raised = scope.tx.execute(
                "INSERT INTO shared_cmid_alarm (run, at) VALUES (?1, ?2) ON CONFLICT (run) DO NOTHING",
                params![sql(run.0), scope.now.as_microsecond()],
            )?;
            Ok(Some(SharedMachineId { others, first_in_run: raised > 0 }))
        })
    }

    /// The reports that matter at `now`: all of the window that a KMS host remembers, and each machine's last.
    pub fn licensing_reports(&self, now: Timestamp) -> Result<Vec<Sighting>, StoreError> {
        let since = window_start(now);
        self.read("read the licensing reports", move |scope| {
            let mut query = scope.tx.prepare_cached(&format!(
                "{SIGHTING} WHERE r.at >= ?1
                     OR r.at = (SELECT max(at) FROM licensing_report last WHERE last.machine = r.machine)
                 ORDER BY r.at, r.run, r.machine"
            ))?;
            Ok(query.query_map([since.as_microsecond()], sighting_of)?.collect::<Result<_, _>>()?)
        })
    }
}
