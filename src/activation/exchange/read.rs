//! Reading confirmation IDs from a table that somebody else filled.

use std::collections::BTreeMap;

use crate::activation::confirmation::{ConfirmationError, ConfirmationId, InstallationId, ProductRef};
use crate::activation::exchange::csv::{Record, records, unguard};
use crate::activation::exchange::fault::{Column, RowFault, Why};
use crate::room::MachineName;

/// More than any school: 20 rooms of 35 PCs make 150 KB.
const MOST_BYTES: usize = 8 << 20;

/// A PC that has reported an installation ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownInstallation {
    /// The PC.
    pub machine: MachineName,
    /// The product that it was for.
    pub product: ProductRef,
}

/// A confirmation ID to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmationRow {
    /// The line of the file, from 1.
    pub line: usize,
    /// The PC.
    pub machine: MachineName,
    /// The product.
    pub product: ProductRef,
    /// Its installation ID.
    pub iid: InstallationId,
    /// Its confirmation ID.
    pub cid: ConfirmationId,
}

/// What came of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportResult {
    /// To be stored.
    pub accepted: Vec<ConfirmationRow>,
    /// Not taken.
    pub refused: Vec<RowFault>,
    /// Taken, but somebody should look.
    pub warnings: Vec<RowFault>,
    /// Rows whose confirmation ID is still empty.
    pub open: usize,
}

/// Reads the confirmation IDs of a table. `known` names the PCs that have reported an installation ID.
///
/// A row needs an installation ID and a confirmation ID. If a PC has reported the installation ID, the rest of the row
/// must not contradict it; else the row must name machine, activation ID and partial key, and the installation ID's check
/// digits must fit.
pub fn read_confirmations(text: &str, known: impl Fn(&InstallationId) -> Vec<KnownInstallation>) -> ImportResult {
    let mut result = ImportResult::default();
    if text.len() > MOST_BYTES {
        result.refused.push(RowFault { line: 1, column: None, why: Why::TooLarge });
        return result;
    }
    let mut records = records(text).into_iter();
    let header = records.next();
    let columns: Vec<Option<Column>> =
        header.iter().flat_map(|record| &record.fields).map(|field| Column::from_header(unguard(field))).collect();
    for needed in [Column::InstallationId, Column::ConfirmationId] {
        if !columns.contains(&Some(needed)) {
            let line = header.as_ref().map_or(1, |record| record.line);
            result.refused.push(RowFault { line, column: Some(needed), why: Why::NoColumn });
        }
    }
    if !result.refused.is_empty() {
        return result;
    }
    for record in records {
        let row = Row { record: &record, columns: &columns };
        match row.read(&known, &mut result.warnings) {
            Ok(Some(accepted)) => result.accepted.push(accepted),
            Ok(None) => result.open += 1,
            Err(fault) => result.refused.push(fault),
        }
    }
    settle(&mut result);
    result
}

/// Compares the rows with each other: the same twice counts once, contradictions and shared installation IDs go.
fn settle(result: &mut ImportResult) {
    let mut by_iid: BTreeMap<InstallationId, Vec<ConfirmationRow>> = BTreeMap::new();
    for row in result.accepted.drain(..) {
        by_iid.entry(row.iid.clone()).or_default().push(row);
    }
    for rows in by_iid.into_values() {
        let Some(first) = rows.first() else { continue };
        let mut machines: Vec<MachineName> = rows.iter().map(|row| row.machine.clone()).collect();
        machines.sort();
        machines.dedup();
        if machines.len() > 1 {
            result.refused.extend(rows.iter().map(|row| RowFault {
                line: row.line,
                column: Some(Column::InstallationId),
                why: Why::SharedInstallation { machines: machines.clone() },
            }));
        } else if let Some(other) = rows.iter().find(|row| row.cid != first.cid) {
            // Nobody can say which of them is right.
            result.refused.extend([(first.line, other.line), (other.line, first.line)].map(|(line, against)| {
                RowFault { line, column: Some(Column::ConfirmationId), why: Why::Contradiction { line: against } }
            }));
        } else {
            result.accepted.push(first.clone());
        }
    }
    result.accepted.sort_by_key(|row| row.line);
    result.refused.sort_by_key(|fault| fault.line);
}

struct Row<'a> {
    record: &'a Record,
    columns: &'a [Option<Column>],
}

impl Row<'_> {
    fn cell(&self, column: Column) -> &str {
        let at = self.columns.iter().position(|found| *found == Some(column));
        at.and_then(|at| self.record.fields.get(at)).map_or("", |field| unguard(field))
    }

    fn fault(&self, column: Column, why: Why) -> RowFault {
        RowFault { line: self.record.line, column: Some(column), why }
    }

    fn digits<T>(
        &self,
        column: Column,
        parse: impl FnOnce(&str) -> Result<T, ConfirmationError>,
    ) -> Result<T, RowFault> {
        let cell = self.cell(column);
        parse(cell).map_err(|error| {
            let why = match error {
                _ if cell.is_empty() => Why::Empty,
                ConfirmationError::NotDigits if looks_rounded(cell) => Why::Rounded,
                ConfirmationError::NotDigits => Why::NotDigits,
                ConfirmationError::InstallationLength(count) | ConfirmationError::ConfirmationLength(count) => {
                    Why::DigitCount(count)
                }
            };
            self.fault(column, why)
        })
    }

    fn read(
        &self,
        known: &impl Fn(&InstallationId) -> Vec<KnownInstallation>,
        warnings: &mut Vec<RowFault>,
    ) -> Result<Option<ConfirmationRow>, RowFault> {
        if self.record.unclosed {
            return Err(RowFault { line: self.record.line, column: None, why: Why::UnclosedQuote });
        }
        if self.cell(Column::ConfirmationId).is_empty() {
            return Ok(None);
        }
        let iid = self.digits(Column::InstallationId, InstallationId::parse)?;
        let cid = self.digits(Column::ConfirmationId, ConfirmationId::parse)?;
        let machine = self.machine()?;
        let owners = known(&iid);
        if !iid.check_digits_fit() {
            let fault = self.fault(Column::InstallationId, Why::CheckDigits);
            // One that Windows itself reported is not a typing error: our rule is wrong then, not the number.
            if owners.is_empty() {
                return Err(fault);
            }
            warnings.push(fault);
        }
        let (machine, product) = self.owner(&owners, machine)?;
        if !cid.check_digits_fit() {
            warnings.push(self.fault(Column::ConfirmationId, Why::CheckDigits));
        }
        Ok(Some(ConfirmationRow { line: self.record.line, machine, product, iid, cid }))
    }

    /// The machine that the row names; of a full domain name the first label.
    fn machine(&self) -> Result<Option<MachineName>, RowFault> {
        let cell = self.cell(Column::Machine);
        let label = cell.split('.').next().unwrap_or_default();
        if label.is_empty() {
            return Ok(None);
        }
        label.parse().map(Some).map_err(|_| self.fault(Column::Machine, Why::NotAName))
    }

    fn owner(
        &self,
        owners: &[KnownInstallation],
        machine: Option<MachineName>,
    ) -> Result<(MachineName, ProductRef), RowFault> {
        let activation_id = self.cell(Column::ActivationId).trim_matches(['{', '}']).to_ascii_lowercase();
        let partial_key = self.cell(Column::PartialKey).to_ascii_uppercase();
        let mut machines: Vec<MachineName> = owners.iter().map(|owner| owner.machine.clone()).collect();
        machines.sort();
        machines.dedup();
        match machines.as_slice() {
            [] => match machine {
                Some(machine) if !activation_id.is_empty() && !partial_key.is_empty() => {
                    Ok((machine, ProductRef { activation_id, partial_key }))
                }
                _ => Err(self.fault(Column::InstallationId, Why::UnknownInstallation)),
            },
            [owner] if machine.as_ref().is_some_and(|machine| machine != owner) => {
                Err(self.fault(Column::Machine, Why::OtherMachine { owner: owner.clone() }))
            }
            [owner] => owners
                .iter()
                .map(|known| &known.product)
                .find(|product| {
                    (activation_id.is_empty() || activation_id == product.activation_id.to_ascii_lowercase())
                        && (partial_key.is_empty() || partial_key == product.partial_key.to_ascii_uppercase())
                })
                .map(|product| (owner.clone(), product.clone()))
                .ok_or_else(|| self.fault(Column::ActivationId, Why::OtherProduct)),
            _ => Err(self.fault(Column::InstallationId, Why::SharedInstallation { machines })),
        }
    }
}

/// `1.23457E+62`, with comma or point.
fn looks_rounded(cell: &str) -> bool {
    let upper = cell.to_ascii_uppercase();
    upper.split_once("E+").is_some_and(|(mantissa, exponent)| {
        mantissa.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b','))
            && exponent.bytes().all(|b| b.is_ascii_digit())
    })
}
