//! Reading confirmation IDs from a file that somebody else filled.

use std::collections::BTreeMap;

use crate::activation::confirmation::{ConfirmationError, ConfirmationId, InstallationId, ProductRef};
use crate::activation::exchange::candidate::Candidate;
use crate::activation::exchange::encoding::{Encoding, decode};
use crate::activation::exchange::fault::{Column, Position, RowFault, Why};
use crate::activation::exchange::{table, vamt};
use crate::room::MachineName;

/// The largest file that is read, in bytes. 20 rooms of 35 PCs make 150 KB of CSV, and a few megabytes of VAMT's XML.
pub const MOST_BYTES: usize = 16 << 20;

/// What a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// A table with separators.
    #[default]
    Table,
    /// XML, such as VAMT exports it.
    Vamt,
}

impl Form {
    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Form::Table => "table",
            Form::Vamt => "vamt",
        }
    }
}

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
    /// Where the row begins; in XML, where its installation ID does.
    pub at: Position,
    /// The PC.
    pub machine: MachineName,
    /// The product.
    pub product: ProductRef,
    /// Its installation ID.
    pub iid: InstallationId,
    /// Its confirmation ID.
    pub cid: ConfirmationId,
    /// Where the file names the PC, if none has reported the installation ID.
    pub unreported: Option<Position>,
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
    /// Of those accepted, how many changed nothing, since the store had them. Known once they are stored.
    pub unchanged: usize,
    /// What the file is.
    pub form: Form,
    /// How it was written.
    pub encoding: Encoding,
}

impl ImportResult {
    fn refusal(faults: Vec<RowFault>) -> Self {
        Self { refused: faults, ..Self::default() }
    }

    /// Whether nothing of the file is to be stored, because it cannot be trusted as a whole.
    pub fn is_refusal(&self) -> bool {
        self.refused.iter().any(|fault| fault.why.is_structural())
    }

    /// Refuses the rows of PCs that are not `ours` and that nobody has reported.
    pub fn refuse_strangers(&mut self, ours: impl Fn(&MachineName) -> bool) {
        let (accepted, strangers) = std::mem::take(&mut self.accepted)
            .into_iter()
            .partition(|row| row.unreported.is_none() || ours(&row.machine));
        self.accepted = accepted;
        for row in strangers {
            let at = row.unreported.unwrap_or(Position::START);
            let why = Why::UnknownMachine { machine: row.machine };
            self.refused.push(RowFault { column: Some(Column::Machine), ..at.fault(why) });
        }
        self.refused.sort_by_key(|fault| (fault.line, fault.character));
    }
}

/// Reads the confirmation IDs of a file: our table or another one, or VAMT's XML; which of them is seen from what is in it.
/// `known` names the PCs that have reported an installation ID.
///
/// A row needs an installation ID and a confirmation ID. If a PC has reported the installation ID, the rest of the row
/// must not contradict it; else the row must name machine, activation ID and partial key, and the installation ID's check
/// digits must fit. A fault of the file as a whole leaves nothing accepted ([`ImportResult::is_refusal`]).
pub fn read_confirmations(
    file: &(impl AsRef<[u8]> + ?Sized),
    known: impl Fn(&InstallationId) -> Vec<KnownInstallation>,
) -> ImportResult {
    let bytes = file.as_ref();
    if bytes.len() > MOST_BYTES {
        return ImportResult::refusal(vec![RowFault::too_large()]);
    }
    let (text, encoding) = match decode(bytes) {
        Ok(decoded) => decoded,
        Err(fault) => return ImportResult::refusal(vec![fault]),
    };
    let form = if text.trim_start().starts_with('<') { Form::Vamt } else { Form::Table };
    let candidates = match form {
        Form::Table => table::candidates(&text, &known),
        Form::Vamt => vamt::candidates(&text).map_err(|fault| vec![fault]),
    };
    let candidates = match candidates {
        Ok(candidates) => candidates,
        Err(faults) => return ImportResult { form, encoding, ..ImportResult::refusal(faults) },
    };
    let mut result = ImportResult { form, encoding, ..ImportResult::default() };
    for candidate in &candidates {
        match candidate.read(&known, &mut result.warnings) {
            Ok(rows) if rows.is_empty() => result.open += 1,
            Ok(rows) => result.accepted.extend(rows),
            Err(fault) => result.refused.push(fault),
        }
    }
    settle(&mut result);
    result
}

/// Compares the rows with each other: the same twice counts once, contradictions go, and one installation ID under several
/// PCs is an alarm.
fn settle(result: &mut ImportResult) {
    let mut by_iid: BTreeMap<InstallationId, Vec<ConfirmationRow>> = BTreeMap::new();
    for row in result.accepted.drain(..) {
        by_iid.entry(row.iid.clone()).or_default().push(row);
    }
    for mut rows in by_iid.into_values() {
        let Some(first) = rows.first() else { continue };
        if let Some(other) = rows.iter().find(|row| row.cid != first.cid) {
            // Nobody can say which of them is right.
            result.refused.extend([(first, other), (other, first)].map(|(row, against)| RowFault {
                column: Some(Column::ConfirmationId),
                ..row.at.fault(Why::Contradiction { line: against.at.line })
            }));
            continue;
        }
        rows.sort_by(|a, b| (&a.machine, &a.product).cmp(&(&b.machine, &b.product)).then(a.at.cmp(&b.at)));
        rows.dedup_by(|later, earlier| (&later.machine, &later.product) == (&earlier.machine, &earlier.product));
        let machines = machines(rows.iter().map(|row| &row.machine));
        if machines.len() > 1 {
            let mut places: Vec<Position> = rows.iter().map(|row| row.at).collect();
            places.sort();
            places.dedup();
            result.warnings.extend(places.into_iter().map(|at| RowFault {
                column: Some(Column::InstallationId),
                ..at.fault(Why::SharedInstallation { machines: machines.clone() })
            }));
        }
        result.accepted.extend(rows);
    }
    result.accepted.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.machine.cmp(&b.machine)));
    result.refused.sort_by_key(|fault| (fault.line, fault.character));
    result.warnings.sort_by_key(|fault| (fault.line, fault.character));
    result.warnings.dedup();
}

fn machines<'a>(names: impl Iterator<Item = &'a MachineName>) -> Vec<MachineName> {
    let mut machines: Vec<MachineName> = names.cloned().collect();
    machines.sort();
    machines.dedup();
    machines
}

impl Candidate {
    fn fault(&self, column: Column, why: Why) -> RowFault {
        RowFault { column: Some(column), ..self.place(column).fault(why) }
    }

    fn digits<T>(
        &self,
        column: Column,
        parse: impl FnOnce(&str) -> Result<T, ConfirmationError>,
    ) -> Result<T, RowFault> {
        let cell = self.text(column);
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

    /// What is to be stored: nothing while the confirmation ID is missing, else one row, and more only if several PCs have
    /// reported the installation ID and this does not say which is meant.
    fn read(
        &self,
        known: &impl Fn(&InstallationId) -> Vec<KnownInstallation>,
        warnings: &mut Vec<RowFault>,
    ) -> Result<Vec<ConfirmationRow>, RowFault> {
        if self.text(Column::ConfirmationId).is_empty() {
            return Ok(Vec::new());
        }
        let iid = self.digits(Column::InstallationId, InstallationId::parse)?;
        let cid = self.digits(Column::ConfirmationId, ConfirmationId::parse)?;
        let machine = self.machine()?;
        let owners = known(&iid);
        let mut remarks = Vec::new();
        if !iid.check_digits_fit() {
            let fault = self.fault(Column::InstallationId, Why::CheckDigits);
            // One that Windows itself reported is not a typing error: our rule is wrong then, not the number.
            if owners.is_empty() {
                return Err(fault);
            }
            remarks.push(fault);
        }
        let rows = self.owners(&owners, machine)?;
        if !cid.check_digits_fit() {
            remarks.push(self.fault(Column::ConfirmationId, Why::CheckDigits));
        }
        let sharing = machines(owners.iter().map(|owner| &owner.machine));
        if sharing.len() > 1 {
            let why = Why::SharedInstallation { machines: sharing };
            remarks.push(RowFault { column: Some(Column::InstallationId), ..self.at.fault(why) });
        }
        warnings.append(&mut remarks);
        let unreported = owners.is_empty().then(|| self.place(Column::Machine));
        let row = |(machine, product)| ConfirmationRow {
            at: self.at,
            machine,
            product,
            iid: iid.clone(),
            cid: cid.clone(),
            unreported,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// The machine that the row names; of a full domain name the first label.
    fn machine(&self) -> Result<Option<MachineName>, RowFault> {
        let label = self.text(Column::Machine).split('.').next().unwrap_or_default();
        if label.is_empty() {
            return Ok(None);
        }
        label.parse().map(Some).map_err(|_| self.fault(Column::Machine, Why::NotAName))
    }

    fn owners(
        &self,
        owners: &[KnownInstallation],
        machine: Option<MachineName>,
    ) -> Result<Vec<(MachineName, ProductRef)>, RowFault> {
        let activation_id = self.text(Column::ActivationId).trim_matches(['{', '}']).to_ascii_lowercase();
        let partial_key = self.text(Column::PartialKey).to_ascii_uppercase();
        let Some(first) = owners.first() else {
            return match machine {
                Some(machine) if !activation_id.is_empty() && !partial_key.is_empty() => {
                    Ok(vec![(machine, ProductRef { activation_id, partial_key })])
                }
                _ => Err(self.fault(Column::InstallationId, Why::UnknownInstallation)),
            };
        };
        let meant: Vec<&KnownInstallation> =
            owners.iter().filter(|owner| machine.as_ref().is_none_or(|machine| *machine == owner.machine)).collect();
        if meant.is_empty() {
            return Err(self.fault(Column::Machine, Why::OtherMachine { owner: first.machine.clone() }));
        }
        let fits = |product: &ProductRef| {
            (activation_id.is_empty() || activation_id == product.activation_id.to_ascii_lowercase())
                && (partial_key.is_empty() || partial_key == product.partial_key.to_ascii_uppercase())
        };
        let mut rows: Vec<(MachineName, ProductRef)> = Vec::new();
        for owner in meant {
            if fits(&owner.product) && rows.iter().all(|(machine, _)| *machine != owner.machine) {
                rows.push((owner.machine.clone(), owner.product.clone()));
            }
        }
        if rows.is_empty() { Err(self.fault(Column::ActivationId, Why::OtherProduct)) } else { Ok(rows) }
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
