//! The hardware of a simulated PC, as far as activation looks at it.

use crate::activation::key::ProductKey;

/// The ACPI table with which a vendor marks its PCs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slic {
    /// Whose table it is (`OEMID`).
    pub vendor: String,
    /// Whether it holds the Windows marker of a PC that was sold with Windows.
    pub windows_marker: bool,
}

/// The hardware of a simulated PC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardware {
    /// What Windows does not tolerate a change of.
    pub board: String,
    /// What changes the installation ID, but is tolerated: a dock, a disk.
    pub extras: String,
    /// The firmware's SLIC table (Windows 7).
    pub slic: Option<Slic>,
    /// The key in the firmware's MSDM table (Windows 8 and later).
    pub msdm: Option<ProductKey>,
}

impl Hardware {
    /// A PC with this board and nothing else.
    pub fn new(board: &str) -> Self {
        Self { board: board.to_owned(), extras: String::new(), slic: None, msdm: None }
    }

    /// The same PC with extras.
    pub fn with_extras(self, extras: &str) -> Self {
        Self { extras: extras.to_owned(), ..self }
    }

    /// The same PC with a vendor's SLIC table.
    pub fn with_slic(self, vendor: &str, windows_marker: bool) -> Self {
        Self { slic: Some(Slic { vendor: vendor.to_owned(), windows_marker }), ..self }
    }

    /// The same PC with a key in its firmware.
    pub fn with_msdm(self, key: ProductKey) -> Self {
        Self { msdm: Some(key), ..self }
    }
}
