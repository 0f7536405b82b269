//! Tables: ours, ActivationWs', and what people put together. Columns are found by their header, else by what is in them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::activation::confirmation::InstallationId;
use crate::activation::exchange::candidate::{Candidate, Cell, by_content};
use crate::activation::exchange::csv::{Record, records, unguard};
use crate::activation::exchange::fault::{Column, Position, RowFault, Why};
use crate::activation::exchange::read::KnownInstallation;

/// How many lines may stand above the header: a title, a date.
const ABOVE_HEADER: usize = 10;
/// Rows that are looked at to find out what a column holds.
const SAMPLE: usize = 200;

/// The rows of a table, and which column each cell is of.
pub(super) fn candidates(
    text: &str,
    known: &impl Fn(&InstallationId) -> Vec<KnownInstallation>,
) -> Result<Vec<Candidate>, Vec<RowFault>> {
    let records = records(text).map_err(|fault| vec![fault])?;
    if records.is_empty() {
        return Err(vec![Position::START.fault(Why::EmptyFile)]);
    }
    let header = header(&records);
    let mut columns = header.map(|at| names(records.get(at))).unwrap_or_default();
    let rows = records.get(header.map_or(0, |at| at + 1)..).unwrap_or_default();
    find_by_content(&mut columns, rows);
    let missing: Vec<RowFault> = [Column::InstallationId, Column::ConfirmationId]
        .into_iter()
        .filter(|needed| !columns.contains_key(needed))
        .map(|needed| {
            let at = header.and_then(|at| records.get(at)).or(records.first()).map_or(Position::START, |row| row.at);
            RowFault { column: Some(needed), ..at.fault(Why::NoColumn) }
        })
        .collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    if header.is_none() {
        find_machines(&mut columns, rows, known);
    }
    Ok(rows.iter().map(|record| candidate(record, &columns)).collect())
}

type Columns = BTreeMap<Column, usize>;

fn names(record: Option<&Record>) -> Columns {
    let mut columns = Columns::new();
    for (at, field) in record.iter().flat_map(|record| record.fields.iter().enumerate()) {
        if let Some(column) = Column::from_header(unguard(&field.text)) {
            columns.entry(column).or_insert(at);
        }
    }
    columns
}

/// Of the first lines the one that names most columns; of equal ones the first.
fn header(records: &[Record]) -> Option<usize> {
    let named = records.iter().take(ABOVE_HEADER).map(|record| names(Some(record)).len()).enumerate();
    let most = named.filter(|(_, named)| *named > 0).max_by_key(|(at, named)| (*named, Reverse(*at)));
    most.map(|(at, _)| at)
}

/// Columns that no header names and that hold what only they can hold.
fn find_by_content(columns: &mut Columns, rows: &[Record]) {
    let mut seen: BTreeMap<(Column, usize), usize> = BTreeMap::new();
    for row in rows.iter().take(SAMPLE) {
        for (at, field) in row.fields.iter().enumerate() {
            if let Some(column) = by_content(unguard(&field.text)) {
                *seen.entry((column, at)).or_default() += 1;
            }
        }
    }
    for wanted in [Column::InstallationId, Column::ConfirmationId, Column::ActivationId] {
        let taken: Vec<usize> = columns.values().copied().collect();
        let found = seen
            .iter()
            .filter(|((column, at), _)| *column == wanted && !taken.contains(at))
            .max_by_key(|((_, at), rows)| (**rows, Reverse(*at)));
        if let Some(((_, at), _)) = found
            && !columns.contains_key(&wanted)
        {
            columns.insert(wanted, *at);
        }
    }
}

/// Without a header the column that most often names the PC that reported the row's installation ID.
fn find_machines(columns: &mut Columns, rows: &[Record], known: &impl Fn(&InstallationId) -> Vec<KnownInstallation>) {
    let Some(iid) = columns.get(&Column::InstallationId).copied() else { return };
    let mut hits: BTreeMap<usize, usize> = BTreeMap::new();
    for row in rows.iter().take(SAMPLE) {
        let Some(Ok(iid)) = row.fields.get(iid).map(|field| InstallationId::parse(unguard(&field.text))) else {
            continue;
        };
        let owners = known(&iid);
        for (at, field) in row.fields.iter().enumerate() {
            let label = unguard(&field.text).split('.').next().unwrap_or_default();
            if owners.iter().any(|owner| owner.machine.as_str().eq_ignore_ascii_case(label)) {
                *hits.entry(at).or_default() += 1;
            }
        }
    }
    if let Some((at, _)) = hits.into_iter().max_by_key(|(at, hits)| (*hits, Reverse(*at))) {
        columns.insert(Column::Machine, at);
    }
}

fn candidate(record: &Record, columns: &Columns) -> Candidate {
    let mut cells = BTreeMap::new();
    for (column, at) in columns {
        if let Some(field) = record.fields.get(*at) {
            let text = unguard(&field.text).to_owned();
            if !text.is_empty() {
                cells.insert(*column, Cell { text, at: field.at });
            }
        }
    }
    Candidate { at: record.at, cells }
}
