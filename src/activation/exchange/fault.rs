//! What can be wrong with a row, for people.

use std::fmt;

use crate::room::{Language, MachineName};

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// `machine`
    Machine,
    /// `activation_id`
    ActivationId,
    /// `partial_key`
    PartialKey,
    /// `installation_id`
    InstallationId,
    /// `confirmation_id`
    ConfirmationId,
}

impl Column {
    /// Its name in our table.
    pub fn name(self) -> &'static str {
        match self {
            Column::Machine => "machine",
            Column::ActivationId => "activation_id",
            Column::PartialKey => "partial_key",
            Column::InstallationId => "installation_id",
            Column::ConfirmationId => "confirmation_id",
        }
    }

    /// By our name or VAMT's, in any case, with or without blanks, hyphens and underscores.
    pub(super) fn from_header(text: &str) -> Option<Self> {
        let name: String = text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        Some(match name.as_str() {
            "machine" | "computer" | "computername" | "pc" | "host" | "fullyqualifieddomainname" => Column::Machine,
            "activationid" | "actid" | "sku" | "skuid" => Column::ActivationId,
            "partialkey" | "partialproductkey" => Column::PartialKey,
            "installationid" | "installationsid" | "iid" => Column::InstallationId,
            "confirmationid" | "bestätigungsid" | "bestätigungsnummer" | "cid" => Column::ConfirmationId,
            _ => return None,
        })
    }
}

/// Why a row, or the whole table, was not taken as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The table is larger than any school needs.
    TooLarge,
    /// A quote is not closed.
    UnclosedQuote,
    /// The first line does not name this column.
    NoColumn,
    /// The cell is empty.
    Empty,
    /// A spreadsheet has turned the digits into a rounded number: they are lost.
    Rounded,
    /// Something else than digits, blanks and hyphens.
    NotDigits,
    /// So many digits.
    DigitCount(usize),
    /// The check digits do not fit.
    CheckDigits,
    /// Not a computer name.
    NotAName,
    /// No PC of ours has reported the installation ID, and the row does not say enough to go without.
    UnknownInstallation,
    /// The installation ID belongs to another PC.
    OtherMachine {
        /// The PC that reported it.
        owner: MachineName,
    },
    /// The installation ID belongs to another product or key of the same PC.
    OtherProduct,
    /// Several PCs have the same installation ID.
    SharedInstallation {
        /// Which.
        machines: Vec<MachineName>,
    },
    /// An earlier row gives another confirmation ID for the same installation ID.
    Contradiction {
        /// The line of the earlier row.
        line: usize,
    },
}

/// A fault of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// The line of the file, from 1.
    pub line: usize,
    /// The column, where the fault lies in one.
    pub column: Option<Column>,
    /// What is wrong.
    pub why: Why,
}

impl RowFault {
    /// Whether it is more than a typing error: one installation ID under several PCs.
    pub fn is_alarm(&self) -> bool {
        matches!(self.why, Why::SharedInstallation { .. })
    }

    /// One line for people: where, what, what to do.
    pub fn text(&self, language: Language) -> String {
        let place = match (language, self.column) {
            (Language::En, Some(column)) => format!("line {}, {}", self.line, column.name()),
            (Language::En, None) => format!("line {}", self.line),
            (Language::De, Some(column)) => format!("Zeile {}, {}", self.line, column.name()),
            (Language::De, None) => format!("Zeile {}", self.line),
        };
        format!("{place}: {}", self.why.text(language, self.column))
    }
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Language::En))
    }
}

fn names(machines: &[MachineName]) -> String {
    machines.iter().map(MachineName::as_str).collect::<Vec<_>>().join(", ")
}

impl Why {
    fn text(&self, language: Language, column: Option<Column>) -> String {
        let (en, de) = match self {
            Why::TooLarge => (
                "the table is too large; import the rooms one by one",
                "die Tabelle ist zu groß; Räume einzeln importieren",
            ),
            Why::UnclosedQuote => ("a quotation mark is not closed", "ein Anführungszeichen ist nicht geschlossen"),
            Why::NoColumn => ("the first line does not name this column", "die erste Zeile nennt diese Spalte nicht"),
            Why::Empty => ("the cell is empty", "die Zelle ist leer"),
            Why::Rounded => (
                "a spreadsheet has rounded the number, its digits are lost; set the column to text and enter it again",
                "eine Tabellenkalkulation hat die Zahl gerundet, ihre Ziffern sind verloren; Spalte als Text einstellen und neu eingeben",
            ),
            Why::NotDigits => (
                "there is something else than digits, blanks and hyphens",
                "hier steht etwas anderes als Ziffern, Leerzeichen und Bindestriche",
            ),
            Why::DigitCount(count) => {
                let wanted = if column == Some(Column::ConfirmationId) { "48" } else { "54/63" };
                return match language {
                    Language::En => format!("{count} digits instead of {wanted}"),
                    Language::De => format!("{count} Ziffern statt {wanted}"),
                };
            }
            Why::CheckDigits if column == Some(Column::ConfirmationId) => (
                "the check digits do not look right; compare the digits (Windows decides)",
                "die Prüfziffern sehen falsch aus; Ziffern vergleichen (Windows entscheidet)",
            ),
            Why::CheckDigits => (
                "the check digits do not fit: a typing error, compare the digits",
                "die Prüfziffern passen nicht: ein Tippfehler, Ziffern vergleichen",
            ),
            Why::NotAName => ("this is not a computer name", "das ist kein Computername"),
            Why::UnknownInstallation => (
                "no PC has reported this installation ID; compare it, or give machine, activation_id and partial_key",
                "kein PC hat diese Installations-ID gemeldet; vergleichen, oder machine, activation_id und partial_key angeben",
            ),
            Why::OtherMachine { owner } => {
                return match language {
                    Language::En => format!("the installation ID belongs to {owner}, not to the PC of this row"),
                    Language::De => format!("die Installations-ID gehört zu {owner}, nicht zum PC dieser Zeile"),
                };
            }
            Why::OtherProduct => (
                "the installation ID belongs to another product or key of this PC",
                "die Installations-ID gehört zu einem anderen Produkt oder Schlüssel dieses PCs",
            ),
            Why::SharedInstallation { machines } => {
                let machines = names(machines);
                return match language {
                    Language::En => format!(
                        "ALARM: several PCs have this installation ID ({machines}); look at their firmware's serial numbers"
                    ),
                    Language::De => format!(
                        "ALARM: mehrere PCs haben diese Installations-ID ({machines}); Seriennummern ihrer Firmware ansehen"
                    ),
                };
            }
            Why::Contradiction { line } => {
                return match language {
                    Language::En => format!("line {line} gives another confirmation ID for the same installation ID"),
                    Language::De => {
                        format!("Zeile {line} nennt zur selben Installations-ID eine andere Bestätigungs-ID")
                    }
                };
            }
        };
        match language {
            Language::En => en.to_owned(),
            Language::De => de.to_owned(),
        }
    }
}
