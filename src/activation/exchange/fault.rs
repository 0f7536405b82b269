//! What can be wrong with a row or a file.

use std::fmt;

use crate::activation::exchange::encoding::Encoding;
use crate::room::{Language, MachineName};

mod words;

/// A place in a file, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character of the line.
    pub character: usize,
}

impl Position {
    /// The first character.
    pub const START: Self = Self { line: 1, character: 1 };

    /// Where one is after `text`. Lines end with LF, CR LF or CR.
    pub(super) fn after(self, text: &str) -> Self {
        let mut at = self;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c == '\n' || (c == '\r' && chars.peek() != Some(&'\n')) {
                at = Self { line: at.line + 1, character: 1 };
            } else {
                at.character += 1;
            }
        }
        at
    }

    pub(super) fn fault(self, why: Why) -> RowFault {
        RowFault { line: self.line, character: self.character, column: None, why }
    }
}

/// A name in lower case and without what does not count in it.
pub(super) fn folded(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

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

    /// By our name, VAMT's, ActivationWs', or what people write in English and German; in any case, with or without blanks,
    /// hyphens and underscores.
    pub(super) fn from_header(text: &str) -> Option<Self> {
        Some(match folded(text).as_str() {
            "machine"
            | "machinename"
            | "computer"
            | "computername"
            | "pc"
            | "pcname"
            | "host"
            | "hostname"
            | "dnsname"
            | "fqdn"
            | "fullyqualifieddomainname"
            | "rechner"
            | "rechnername"
            | "gerät"
            | "gerätename"
            | "geraet"
            | "geraetename" => Column::Machine,
            "activationid" | "actid" | "sku" | "skuid" | "aktivierungsid" | "aktivierungskennung" => {
                Column::ActivationId
            }
            "partialkey"
            | "partialproductkey"
            | "teilschlüssel"
            | "teilschluessel"
            | "teilproductkey"
            | "teilweiserproductkey"
            | "letztefünfzeichen" => Column::PartialKey,
            "installationid" | "installationsid" | "installationskennung" | "iid" => Column::InstallationId,
            "confirmationid"
            | "bestätigungsid"
            | "bestaetigungsid"
            | "bestätigungsnummer"
            | "bestaetigungsnummer"
            | "bestätigungskennung"
            | "cid" => Column::ConfirmationId,
            _ => return None,
        })
    }
}

/// Why a row, or the whole file, was not taken as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The file is larger than any school needs.
    TooLarge,
    /// The file has more rows than any school needs.
    TooManyRows,
    /// There is nothing in the file.
    EmptyFile,
    /// A workbook of a spreadsheet program, not a text.
    Workbook,
    /// The file says that it is in this encoding, or begins like it, and is not.
    NotInEncoding(Encoding),
    /// A character set that is not read here.
    UnknownEncoding,
    /// A character that no text file has.
    Control(u32),
    /// A quote is not closed.
    UnclosedQuote,
    /// Neither the first lines name this column nor does any column look like it.
    NoColumn,
    /// XML that ends before its last element.
    CutOff,
    /// XML that is not well-formed.
    NotXml,
    /// XML with a document type, where entities can be defined that fill the memory or read other files.
    DocumentType,
    /// XML with an entity that XML itself does not define.
    Entity,
    /// XML that is nested deeper, or with more attributes in one element, than any export.
    TooDeep,
    /// XML without a single installation ID.
    NoInstallation,
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
    /// No profile has a PC of this name.
    UnknownMachine {
        /// The name.
        machine: MachineName,
    },
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

impl Why {
    /// Whether the file as a whole cannot be trusted, so that nothing of it is stored.
    pub fn is_structural(&self) -> bool {
        use Why::*;
        match self {
            TooLarge | TooManyRows | EmptyFile | Workbook | NotInEncoding(_) | UnknownEncoding | Control(_)
            | UnclosedQuote | NoColumn | CutOff | NotXml | DocumentType | Entity | TooDeep | NoInstallation => true,
            Empty
            | Rounded
            | NotDigits
            | DigitCount(_)
            | CheckDigits
            | NotAName
            | UnknownMachine { .. }
            | UnknownInstallation
            | OtherMachine { .. }
            | OtherProduct
            | SharedInstallation { .. }
            | Contradiction { .. } => false,
        }
    }

    /// Its name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Why::TooLarge => "too-large",
            Why::TooManyRows => "too-many-rows",
            Why::EmptyFile => "empty-file",
            Why::Workbook => "workbook",
            Why::NotInEncoding(_) => "not-in-encoding",
            Why::UnknownEncoding => "unknown-encoding",
            Why::Control(_) => "control-character",
            Why::UnclosedQuote => "unclosed-quote",
            Why::NoColumn => "no-column",
            Why::CutOff => "cut-off",
            Why::NotXml => "not-xml",
            Why::DocumentType => "document-type",
            Why::Entity => "entity",
            Why::TooDeep => "too-deep",
            Why::NoInstallation => "no-installation-id",
            Why::Empty => "empty",
            Why::Rounded => "rounded",
            Why::NotDigits => "not-digits",
            Why::DigitCount(_) => "digit-count",
            Why::CheckDigits => "check-digits",
            Why::NotAName => "not-a-name",
            Why::UnknownMachine { .. } => "unknown-machine",
            Why::UnknownInstallation => "unknown-installation-id",
            Why::OtherMachine { .. } => "other-machine",
            Why::OtherProduct => "other-product",
            Why::SharedInstallation { .. } => "shared-installation-id",
            Why::Contradiction { .. } => "contradiction",
        }
    }
}

/// A fault of one row, or of the whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// The line of the file, from 1.
    pub line: usize,
    /// The character of that line, from 1.
    pub character: usize,
    /// The column, where the fault lies in one.
    pub column: Option<Column>,
    /// What is wrong.
    pub why: Why,
}

impl RowFault {
    /// What a file above the size limit gets, before it is read.
    pub fn too_large() -> Self {
        Position::START.fault(Why::TooLarge)
    }

    /// Whether it is more than a typing error: one installation ID under several PCs.
    pub fn is_alarm(&self) -> bool {
        matches!(self.why, Why::SharedInstallation { .. })
    }

    /// One line for people: where, what, what to do.
    pub fn text(&self, language: Language) -> String {
        let line = match language {
            Language::En => "line",
            Language::De => "Zeile",
        };
        let column = self.column.map(|column| format!(", {}", column.name())).unwrap_or_default();
        format!("{line} {}:{}{column}: {}", self.line, self.character, self.why.text(language, self.column))
    }
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Language::En))
    }
}
