//! What a PC is, as its firmware tells: which Windows it was sold with, and which PC of all it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::acpi::{Msdm, Slic, TableFault};
use crate::image::Hash;
use crate::room::MachineUuid;

/// The most characters of a [`Label`].
const LABEL_CHARS: usize = 64;

/// SMBIOS UUIDs that boards of many PCs share, because nobody set their own.
const SHARED_UUIDS: [&str; 3] = [
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
];

/// What stands for a serial number where nobody wrote one.
const NO_SERIALS: [&str; 10] = [
    "to be filled by o.e.m.",
    "default string",
    "system serial number",
    "base board serial number",
    "not specified",
    "not applicable",
    "none",
    "n/a",
    "0123456789",
    "123456789",
];

/// A short name that firmware gave: printable, without blanks around it, at most 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Label(String);

impl Label {
    /// Takes a text; what is not printable is left out.
    pub fn new(text: &str) -> Self {
        let kept: String = text.trim().chars().filter(|c| !c.is_control()).take(LABEL_CHARS).collect();
        Self(kept.trim_end().to_owned())
    }

    /// From a field of fixed length, padded with blanks or zeros.
    pub fn of_firmware(field: &[u8]) -> Self {
        let text: String = field
            .iter()
            .take_while(|byte| **byte != 0)
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' })
            .collect();
        Self::new(&text)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this name, in whatever case and with whatever blanks around it.
    pub fn is(&self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name.trim())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Label {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> String {
        label.0
    }
}

/// What is known of a firmware table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "table")]
pub enum Table<T> {
    /// Nobody could look.
    #[default]
    Unknown,
    /// The firmware has none.
    Absent,
    /// There is one, and it is damaged.
    Damaged {
        /// In which way.
        fault: TableFault,
    },
    /// There is one.
    Present(T),
}

impl<T> Table<T> {
    /// From the bytes of a table that is there.
    pub fn read(bytes: &[u8], parse: impl Fn(&[u8]) -> Result<T, TableFault>) -> Self {
        parse(bytes).map_or_else(|fault| Table::Damaged { fault }, Table::Present)
    }
}

/// What the firmware says about the Windows that the PC was sold with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acpi {
    /// For Windows Vista and 7.
    #[serde(default)]
    pub slic: Table<Slic>,
    /// For Windows 8 and later.
    #[serde(default)]
    pub msdm: Table<Msdm>,
}

/// What is known of a PC's hardware.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardwareFacts {
    /// Its licence tables.
    #[serde(default)]
    pub acpi: Acpi,
    /// Its SMBIOS UUID.
    #[serde(default)]
    pub uuid: Option<MachineUuid>,
    /// Who sold it.
    #[serde(default)]
    pub vendor: Option<Label>,
    /// Its model.
    #[serde(default)]
    pub model: Option<Label>,
    /// Its main board's serial number, hashed: it is compared and never read.
    #[serde(default)]
    pub board_serial: Option<Hash>,
}

impl HardwareFacts {
    /// A main board's serial number in the only form in which it is kept; nothing where it is none.
    pub fn board_serial(text: &str) -> Option<Hash> {
        let serial = text.trim();
        let folded = serial.to_ascii_lowercase();
        let first = folded.chars().next()?;
        if NO_SERIALS.contains(&folded.as_str()) || folded.chars().all(|c| c == first) {
            return None;
        }
        Some(Hash::of(format!("klonwerk board serial 1\n{serial}\n").as_bytes()))
    }

    /// Which PC it is; nothing where the firmware says too little to tell it from others.
    pub fn identity(&self) -> Option<HardwareIdentity> {
        let own = |uuid: &MachineUuid| {
            MachineUuid::from_smbios(&uuid.to_smbios()).is_some() && !SHARED_UUIDS.contains(&uuid.to_string().as_str())
        };
        let uuid = self.uuid.filter(own);
        if uuid.is_none() && self.board_serial.is_none() {
            return None;
        }
        let part = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let (uuid, board) =
            (part(uuid.map(|uuid| uuid.to_string())), part(self.board_serial.map(|hash| hash.to_string())));
        let text = format!("klonwerk hardware identity 1\nuuid {uuid}\nboard {board}\n");
        Some(HardwareIdentity(Hash::of(text.as_bytes())))
    }
}

/// Which PC an image or a file belongs to: a hash over SMBIOS UUID and main board serial number.
///
/// Another main board makes another identity. Disks, memory and cards do not count: Windows judges those itself
/// (0xC004F00F), by weights that are not published.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HardwareIdentity(pub Hash);

impl HardwareIdentity {
    /// Its beginning, for people.
    pub fn short(&self) -> String {
        self.0.to_string().chars().take(12).collect()
    }
}

impl fmt::Display for HardwareIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for HardwareIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::activation::acpi::{self, samples};

    fn pc(uuid: &str, serial: &str) -> HardwareFacts {
        HardwareFacts {
            uuid: uuid.parse().ok(),
            board_serial: HardwareFacts::board_serial(serial),
            ..HardwareFacts::default()
        }
    }

    const UUID: &str = "4c4c4544-0042-4a10-8052-b4c04f513233";

    #[test]
    fn two_pcs_have_two_identities() {
        let one = pc(UUID, "CN1234567890").identity().unwrap();
        assert_eq!(pc(UUID, " CN1234567890\n").identity(), Some(one));
        assert_ne!(pc(UUID, "CN1234567891").identity(), Some(one));
        assert_ne!(pc("4c4c4544-0042-4a10-8052-b4c04f513234", "CN1234567890").identity(), Some(one));
        let renamed = HardwareFacts { vendor: Some(Label::new("Other")), ..pc(UUID, "CN1234567890") };
        assert_eq!(renamed.identity(), Some(one), "a firmware update may rename the model");
    }

    #[test]
    fn what_many_pcs_share_is_no_identity() {
        for serial in ["", "To be filled by O.E.M.", "Default string", "0000000", "........", "None", "123456789"] {
            assert_eq!(HardwareFacts::board_serial(serial), None, "{serial}");
        }
        for uuid in SHARED_UUIDS.iter().chain(&["00000000-0000-0000-0000-000000000000", ""]) {
            assert_eq!(pc(uuid, "Default string").identity(), None, "{uuid}");
            assert!(pc(uuid, "CN1").identity().is_some(), "the board's serial number still tells them apart");
        }
    }

    #[test]
    fn facts_have_a_stable_form_without_secrets() {
        let facts = HardwareFacts {
            acpi: Acpi {
                slic: Table::read(&samples::slic(b"DELL  ", Some(0x2_0001)), acpi::slic),
                msdm: Table::read(&samples::msdm(b"BCDFG-HJKMP-QRTVW-XY234-6789N"), acpi::msdm),
            },
            vendor: Some(Label::new("Dell Inc.")),
            model: Some(Label::new("OptiPlex 7010")),
            ..pc(UUID, "CN1234567890")
        };
        let json = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<HardwareFacts>(&json).unwrap(), facts);
        assert!(!json.contains("CN1234567890") && !json.contains("BCDFG") && !json.contains("6789N"), "{json}");
        assert!(json.contains(r#""msdm":{"table":"present","has_key":true}"#), "{json}");
        let little = serde_json::from_str::<HardwareFacts>("{}").unwrap();
        assert_eq!(little, HardwareFacts::default());
        let absent = serde_json::from_str::<Acpi>(
            r#"{"slic":{"table":"absent"},"msdm":{"table":"damaged","fault":"checksum"}}"#,
        );
        assert_eq!(absent.unwrap().msdm, Table::Damaged { fault: TableFault::Checksum });
    }

    proptest! {
        #[test]
        fn labels_are_short_and_printable(text in "\\PC{0,100}[\\x00-\\x1f]{0,5}.{0,100}") {
            let json = serde_json::to_string(&text).unwrap();
            let label: Label = serde_json::from_str(&json).unwrap();
            prop_assert!(label.as_str().chars().count() <= LABEL_CHARS);
            prop_assert!(label.as_str().chars().all(|c| !c.is_control()));
            prop_assert_eq!(Label::new(label.as_str()), label);
        }

        #[test]
        fn no_serial_panics(text in ".{0,40}") {
            let _ = HardwareFacts::board_serial(&text);
        }
    }
}
