//! What a PC's firmware says of it, for people: `klonwerk agent hardware` on the PC, `klonwerk machines hardware` for what
//! it told the server.

use serde::{Deserialize, Serialize};

use crate::activation::hardware::{HardwareFacts, HardwareIdentity, Label, Table};
use crate::agent::linux::hardware;
use crate::cli::output::{Output, table};
use crate::disk::usage::KernelView;

/// The form in which the facts are written, and read again by `image capture --bind-to-hardware`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WrittenFacts {
    /// What the firmware says.
    pub(super) hardware: HardwareFacts,
    /// Which PC it is; made from the facts, and not read again.
    #[serde(default)]
    identity: Option<HardwareIdentity>,
}

impl WrittenFacts {
    pub(super) fn new(hardware: HardwareFacts) -> Self {
        Self { identity: hardware.identity(), hardware }
    }
}

/// Runs `klonwerk agent hardware`; tells whether the PC can be told from others.
pub(super) fn run(view: &KernelView, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let written = WrittenFacts::new(hardware::facts(view));
    let told = written.identity.is_some();
    show(&written, to)?;
    Ok(told)
}

/// Shows facts, wherever they come from.
pub(super) fn show(written: &WrittenFacts, to: &mut Output<'_>) -> anyhow::Result<()> {
    if to.json {
        return to.json(written);
    }
    let facts = &written.hardware;
    let unknown = || to.text("unbekannt", "unknown").to_owned();
    let label = |label: &Option<Label>| label.as_ref().map_or_else(unknown, ToString::to_string);
    let slic = state(&facts.acpi.slic, to, |slic| match &slic.marker {
        Some(marker) => format!(
            "{} {}, {} {}.{}",
            slic.oem_id,
            slic.oem_table_id,
            to.text("Windows-Kennung", "Windows marker"),
            marker.version >> 16,
            marker.version & 0xFFFF
        ),
        None => {
            format!("{} {}, {}", slic.oem_id, slic.oem_table_id, to.text("ohne Windows-Kennung", "no Windows marker"))
        }
    });
    let msdm = state(&facts.acpi.msdm, to, |msdm| {
        if msdm.has_key {
            to.text("mit Schlüssel (wird nicht gezeigt)", "with a key (not shown)").to_owned()
        } else {
            to.text("ohne brauchbaren Schlüssel", "without a usable key").to_owned()
        }
    });
    let identity = written.identity.map_or_else(
        || to.text("nicht bestimmbar (nur root liest alles)", "cannot be told (only root reads all of it)").to_owned(),
        |identity| identity.to_string(),
    );
    let rows = [
        (to.text("Hersteller", "Vendor"), label(&facts.vendor)),
        (to.text("Modell", "Model"), label(&facts.model)),
        ("UUID", facts.uuid.map_or_else(unknown, |uuid| uuid.to_string())),
        (to.text("SLIC (Windows 7)", "SLIC (Windows 7)"), slic),
        (to.text("MSDM (Windows 8 und neuer)", "MSDM (Windows 8 and later)"), msdm),
        (to.text("Hardware-Identität", "Hardware identity"), identity),
    ];
    let mut table = table();
    table.add_rows(rows.map(|(name, value)| [name.to_owned(), value]));
    Ok(writeln!(to.out, "{}", table.trim_fmt())?)
}

fn state<T>(table: &Table<T>, to: &Output<'_>, present: impl Fn(&T) -> String) -> String {
    match table {
        Table::Unknown => to.text("unbekannt (nur root darf es lesen)", "unknown (only root may read it)").to_owned(),
        Table::Absent => to.text("keine", "none").to_owned(),
        Table::Damaged { .. } => to.text("beschädigt", "damaged").to_owned(),
        Table::Present(content) => present(content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::acpi::{self, samples};
    use crate::activation::hardware::Acpi;
    use crate::room::Language;

    #[test]
    fn facts_are_shown_without_the_key_and_read_again() {
        let facts = HardwareFacts {
            acpi: Acpi {
                slic: Table::read(&samples::slic(b"DELL  ", Some(0x2_0001)), acpi::slic),
                msdm: Table::read(&samples::msdm(b"BCDFG-HJKMP-QRTVW-XY234-6789N"), acpi::msdm),
            },
            uuid: "4c4c4544-0042-4a10-8052-b4c04f513233".parse().ok(),
            vendor: Some(Label::new("Dell Inc.")),
            model: Some(Label::new("OptiPlex 7010")),
            board_serial: HardwareFacts::board_serial("CN1234567890"),
        };
        let shown = |language, json| {
            let mut out = Vec::new();
            show(&WrittenFacts::new(facts.clone()), &mut Output { out: &mut out, language, json }).unwrap();
            String::from_utf8(out).unwrap()
        };
        let (english, json) = (shown(Language::En, false), shown(Language::De, true));
        insta::assert_snapshot!(english, @r"
        Vendor                      Dell Inc.
        Model                       OptiPlex 7010
        UUID                        4c4c4544-0042-4a10-8052-b4c04f513233
        SLIC (Windows 7)            DELL MODEL, Windows marker 2.1
        MSDM (Windows 8 and later)  with a key (not shown)
        Hardware identity           cb5b88901cac8a51a5fe8d8b6a830ae15c3bb3837c60626b4070dad65b95b806
        ");
        assert!(shown(Language::De, false).contains("mit Schlüssel (wird nicht gezeigt)"));
        for text in [&english, &json] {
            assert!(!text.contains("6789N") && !text.contains("CN1234567890"), "{text}");
        }
        let read: WrittenFacts = serde_json::from_str(&json).unwrap();
        assert_eq!(read.hardware, facts);
    }

    #[test]
    fn a_pc_that_tells_nothing_is_no_success() {
        let folder = tempfile::tempdir().unwrap();
        let view = KernelView { proc: folder.path().join("proc"), sys: folder.path().join("sys") };
        let mut out = Vec::new();
        assert!(!run(&view, &mut Output { out: &mut out, language: Language::En, json: false }).unwrap());
        assert!(String::from_utf8(out).unwrap().contains("cannot be told"));
    }
}
