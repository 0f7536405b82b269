//! Installation IDs on their way out: as a table, for the telephone or Microsoft's portal, and for ActivationWs. None of them
//! holds a confirmation ID.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::activation::exchange::{ExchangeRow, Separator, write_csv};
use crate::room::{Language, MachineName, RoomName};

/// In which form installation IDs go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// Our table, which comes back with confirmation IDs.
    #[default]
    Csv,
    /// One block for each, to be read aloud or typed in.
    Text,
    /// The bodies of `POST /api/v1/activationservice/confirmation-id` at an ActivationWs server
    /// (github.com/dadorner-msft/activationws), which takes 63 digits only.
    ActivationWs,
}

impl ExportFormat {
    /// As it is chosen.
    pub fn name(self) -> &'static str {
        match self {
            ExportFormat::Csv => "csv",
            ExportFormat::Text => "text",
            ExportFormat::ActivationWs => "activationws",
        }
    }
}

/// A word that names no form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no format '{0}'; there are csv, text and activationws")]
pub struct NoFormat(String);

impl FromStr for ExportFormat {
    type Err = NoFormat;

    fn from_str(text: &str) -> Result<Self, NoFormat> {
        let all = [ExportFormat::Csv, ExportFormat::Text, ExportFormat::ActivationWs];
        all.into_iter().find(|format| format.name() == text).ok_or_else(|| NoFormat(text.to_owned()))
    }
}

/// An installation ID that goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRow {
    /// The PC, the product and the ID. A confirmation ID in it stays here.
    pub row: ExchangeRow,
    /// The PC's room, if a profile still names it.
    pub room: Option<RoomName>,
    /// `ProductKeyID`, if the PC has told it.
    pub extended_product_id: Option<String>,
}

/// A PC whose installation ID cannot go out in the chosen form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotPossible {
    /// The PC.
    pub machine: MachineName,
    /// Why, for people.
    pub why: String,
}

/// What goes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// How many installation IDs are in it.
    pub rows: usize,
    /// The table, the blocks, or a JSON object.
    pub text: String,
    /// Who is not in it.
    pub not_possible: Vec<NotPossible>,
}

/// The installation IDs in a form.
pub fn export(rows: &[PendingRow], format: ExportFormat, language: Language) -> Export {
    match format {
        ExportFormat::Csv => {
            let rows: Vec<ExchangeRow> = rows.iter().map(|row| ExchangeRow { cid: None, ..row.row.clone() }).collect();
            let text = write_csv(&rows, Separator::for_language(language));
            Export { rows: rows.len(), text, not_possible: Vec::new() }
        }
        ExportFormat::Text => {
            let blocks: Vec<String> = rows.iter().map(|row| block(row, language)).collect();
            Export { rows: rows.len(), text: blocks.join("\n"), not_possible: Vec::new() }
        }
        ExportFormat::ActivationWs => activation_ws(rows, language),
    }
}

fn block(row: &PendingRow, language: Language) -> String {
    let (room, product, key, iid, cid) = match language {
        Language::En => ("room", "product", "key ending in", "installation ID", "confirmation ID"),
        Language::De => ("Raum", "Produkt", "Schlüssel mit dem Ende", "Installations-ID", "Bestätigungs-ID"),
    };
    let place = row.room.as_ref().map(|name| format!(" ({room} {name})")).unwrap_or_default();
    let ExchangeRow { machine, product: of, title, .. } = &row.row;
    let title = if title.is_empty() { plain(&of.activation_id) } else { title.clone() };
    let mut text = format!("{machine}{place}\n  {product}: {title}, {key} {}\n  {iid}:\n", plain(&of.partial_key));
    let groups: Vec<String> = row.row.iid.groups().enumerate().map(|(i, g)| format!("{}: {g}", i + 1)).collect();
    for line in groups.chunks(3) {
        text.push_str(&format!("    {}\n", line.join("    ")));
    }
    text.push_str(&format!("  {cid}:\n"));
    for letters in ["ABCD", "EFGH"] {
        let line: Vec<String> = letters.chars().map(|letter| format!("{letter}: ______")).collect();
        text.push_str(&format!("    {}\n", line.join("    ")));
    }
    text
}

/// PCs say these; a terminal must not obey them.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '?' }).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    host_name: &'a str,
    installation_id: &'a str,
    extended_product_id: &'a str,
}

#[derive(Serialize)]
struct Requests<'a> {
    requests: Vec<Request<'a>>,
    not_possible: &'a [NotPossible],
}

fn activation_ws(rows: &[PendingRow], language: Language) -> Export {
    let mut requests = Vec::new();
    let mut not_possible = Vec::new();
    for row in rows {
        let digits = row.row.iid.digits();
        let why = match (&row.extended_product_id, language) {
            (_, Language::En) if digits.len() != 63 => {
                format!(
                    "the installation ID has {} digits, ActivationWs takes 63 only; use the portal or VAMT",
                    digits.len()
                )
            }
            (_, Language::De) if digits.len() != 63 => format!(
                "die Installations-ID hat {} Ziffern, ActivationWs nimmt nur 63; das Portal oder VAMT verwenden",
                digits.len()
            ),
            (Some(extended_product_id), _) => {
                let host_name = row.row.machine.as_str();
                requests.push(Request { host_name, installation_id: digits, extended_product_id });
                continue;
            }
            (None, Language::En) => {
                "the PC has not told its extended product ID, which ActivationWs asks for; use the portal or VAMT"
                    .into()
            }
            (None, Language::De) => {
                "der PC hat seine erweiterte Produkt-ID nicht gemeldet, die ActivationWs verlangt; \
                                     das Portal oder VAMT verwenden"
                    .into()
            }
        };
        not_possible.push(NotPossible { machine: row.row.machine.clone(), why });
    }
    let count = requests.len();
    let mut text =
        serde_json::to_string_pretty(&Requests { requests, not_possible: &not_possible }).unwrap_or_default();
    text.push('\n');
    Export { rows: count, text, not_possible }
}

/// The name of a product for people, by its activation ID. Sources: Microsoft's page of KMS client keys with VAMT's
/// database, and the page on extended security updates for Windows 10.
pub fn product_title(activation_id: &str) -> Option<&'static str> {
    const TITLES: [(&str, &str); 6] = [
        ("b92e9980-b9d5-4821-9c94-140f632f6312", "Windows 7 Professional"),
        ("ae2ee509-1b34-41c0-acb7-6d4650168915", "Windows 7 Enterprise"),
        ("2de67392-b7a7-462a-b1ca-108dd189f588", "Windows 10/11 Pro"),
        ("f520e45e-7413-4a34-a497-d2765967d094", "Windows 10 ESU 1"),
        ("1043add5-23b1-4afb-9a0f-64343c8f3f8d", "Windows 10 ESU 2"),
        ("83d49986-add3-41d7-ba33-87c7bfb5c0fb", "Windows 10 ESU 3"),
    ];
    TITLES.iter().find(|(id, _)| id.eq_ignore_ascii_case(activation_id)).map(|(_, title)| *title)
}
