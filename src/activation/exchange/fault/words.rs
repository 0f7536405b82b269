//! The faults in words.

use crate::activation::exchange::fault::{Column, Why};
use crate::room::{Language, MachineName};

fn names(machines: &[MachineName]) -> String {
    machines.iter().map(MachineName::as_str).collect::<Vec<_>>().join(", ")
}

impl Why {
    pub(super) fn text(&self, language: Language, column: Option<Column>) -> String {
        let (en, de) = match self {
            Why::TooLarge => (
                "the file has more than 16 MiB; is it the right one? import the rooms one by one",
                "die Datei hat mehr als 16 MiB; ist es die richtige? Räume einzeln importieren",
            ),
            Why::TooManyRows => (
                "the file has more than 50,000 rows; import the rooms one by one",
                "die Datei hat mehr als 50.000 Zeilen; Räume einzeln importieren",
            ),
            Why::EmptyFile => ("the file is empty", "die Datei ist leer"),
            Why::Workbook => (
                "this is a workbook of a spreadsheet program; save the sheet as CSV",
                "das ist eine Arbeitsmappe einer Tabellenkalkulation; das Blatt als CSV speichern",
            ),
            Why::NotInEncoding(encoding) => {
                return match language {
                    Language::En => format!("these bytes are not {}; save the file again as UTF-8", encoding.name()),
                    Language::De => {
                        format!("diese Bytes sind kein {}; die Datei neu als UTF-8 speichern", encoding.name())
                    }
                };
            }
            Why::UnknownEncoding => (
                "the character set named here is not read; save the file as UTF-8",
                "der hier genannte Zeichensatz wird nicht gelesen; die Datei als UTF-8 speichern",
            ),
            Why::Control(code) => {
                return match language {
                    Language::En => {
                        format!(
                            "the character U+{code:04X} is in no text file: the file is damaged or no text; export it again"
                        )
                    }
                    Language::De => format!(
                        "das Zeichen U+{code:04X} steht in keiner Textdatei: die Datei ist beschädigt oder kein Text; neu exportieren"
                    ),
                };
            }
            Why::CutOff => (
                "the file ends before its end: it was cut off; export or copy it again",
                "die Datei hört vor ihrem Ende auf: sie wurde abgeschnitten; neu exportieren oder kopieren",
            ),
            Why::NotXml => (
                "this is not well-formed XML; export the file again and do not edit it",
                "das ist kein wohlgeformtes XML; die Datei neu exportieren und nicht bearbeiten",
            ),
            Why::DocumentType => (
                "the file defines a document type, which no export of VAMT does; it may be hostile and is not read",
                "die Datei definiert einen Dokumenttyp, was kein Export von VAMT tut; sie ist womöglich feindlich und wird nicht gelesen",
            ),
            Why::Entity => (
                "an entity that XML does not define; export the file again and do not edit it",
                "eine Entität, die XML nicht definiert; die Datei neu exportieren und nicht bearbeiten",
            ),
            Why::TooDeep => (
                "the XML is nested deeper than 64 elements or has more than 256 attributes in one; that is no export of VAMT",
                "das XML ist tiefer als 64 Elemente verschachtelt oder hat mehr als 256 Attribute in einem; das ist kein Export von VAMT",
            ),
            Why::NoInstallation => (
                "there is no installation ID in this file; export it from VAMT with proxy activation data",
                "in dieser Datei steht keine Installations-ID; aus VAMT mit den Daten der Proxyaktivierung exportieren",
            ),
            Why::UnclosedQuote => (
                "a quotation mark is not closed: the file was cut off or edited; nothing of it is stored",
                "ein Anführungszeichen ist nicht geschlossen: die Datei wurde abgeschnitten oder bearbeitet; nichts davon wird gespeichert",
            ),
            Why::NoColumn => (
                "the first line does not name this column, and no column looks like it",
                "die erste Zeile nennt diese Spalte nicht, und keine Spalte sieht so aus",
            ),
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
            Why::UnknownMachine { machine } => {
                return match language {
                    Language::En => {
                        format!("no profile has a PC {machine}; correct the name, or add the PC to its room")
                    }
                    Language::De => {
                        format!(
                            "kein Profil kennt einen PC {machine}; den Namen berichtigen oder den PC in seinen Raum eintragen"
                        )
                    }
                };
            }
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
