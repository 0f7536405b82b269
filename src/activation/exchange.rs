//! Installation IDs out, confirmation IDs in: the table that travels between us and whoever obtains confirmation IDs.
//!
//! Our own CSV (RFC 4180): `machine,activation_id,partial_key,installation_id,confirmation_id,product`. Long numbers are
//! written in hyphenated groups, since spreadsheets turn bare ones into 1.2E+62. The reader takes what spreadsheets and
//! people make of it, and the column names of VAMT's database. It never panics, and no fault repeats a confirmation ID.

use crate::activation::confirmation::{ConfirmationId, InstallationId, ProductRef};
use crate::room::{Language, MachineName};

mod candidate;
mod csv;
mod encoding;
mod export;
mod fault;
mod read;
mod table;
mod vamt;
mod xml;

pub use encoding::Encoding;
pub use export::{Export, ExportFormat, NotPossible, PendingRow, export, product_title};
pub use fault::{Column, Position, RowFault, Why};
pub use read::{ConfirmationRow, Form, ImportResult, KnownInstallation, MOST_BYTES, read_confirmations};

/// What separates the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separator {
    /// As RFC 4180 says.
    Comma,
    /// As spreadsheets in German expect it.
    Semicolon,
}

impl Separator {
    /// What a spreadsheet in this language opens as columns.
    pub fn for_language(language: Language) -> Self {
        match language {
            Language::En => Separator::Comma,
            Language::De => Separator::Semicolon,
        }
    }

    fn char(self) -> char {
        match self {
            Separator::Comma => ',',
            Separator::Semicolon => ';',
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeRow {
    /// The PC.
    pub machine: MachineName,
    /// What the confirmation is for.
    pub product: ProductRef,
    /// The PC's installation ID.
    pub iid: InstallationId,
    /// Its confirmation ID, where there is one.
    pub cid: Option<ConfirmationId>,
    /// The product's name for people, such as `Windows 11 Education`.
    pub title: String,
}

/// The columns, in the order in which they are written.
pub const COLUMNS: [&str; 6] =
    ["machine", "activation_id", "partial_key", "installation_id", "confirmation_id", "product"];

/// The table with these rows. It holds the confirmation IDs of rows that have one.
pub fn write_csv(rows: &[ExchangeRow], separator: Separator) -> String {
    let separator = separator.char();
    let mut text = COLUMNS.join(&separator.to_string());
    text.push_str("\r\n");
    for row in rows {
        let iid = row.iid.groups().collect::<Vec<_>>().join("-");
        let cid = row.cid.as_ref().map(|cid| cid.groups().collect::<Vec<_>>().join("-")).unwrap_or_default();
        let fields =
            [row.machine.as_str(), &row.product.activation_id, &row.product.partial_key, &iid, &cid, &row.title];
        let fields: Vec<String> = fields.iter().map(|field| csv::quote(field)).collect();
        text.push_str(&fields.join(&separator.to_string()));
        text.push_str("\r\n");
    }
    text
}

#[cfg(test)]
mod tests;
