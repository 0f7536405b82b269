//! What a network-boot client says it is (RFC 4578, DHCP options 60, 77, 93 and 97).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The processor and firmware of a client, from DHCP option 93 (RFC 4578 section 2.1, IANA "Processor Architecture Types").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// 0: legacy BIOS.
    Bios,
    /// 6: 32-bit UEFI.
    UefiIa32,
    /// 7, and 9 which firmware uses for the same: 64-bit UEFI.
    UefiX64,
    /// 11: 64-bit ARM UEFI.
    UefiArm64,
    /// Any other code, which is recorded and not served.
    Other(u16),
}

/// How a client fetches its first file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loader {
    /// The firmware's PXE: DHCP option 60 begins with `PXEClient`, file by TFTP.
    Pxe,
    /// UEFI HTTP Boot: option 60 begins with `HTTPClient`, file by URL.
    Http,
    /// iPXE: takes a script by URL.
    Ipxe,
}

/// A client's firmware, as its DHCP message describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Firmware {
    /// Processor and kind.
    pub architecture: Architecture,
    /// What asks.
    pub loader: Loader,
}

impl Architecture {
    /// From the code of option 93; the HTTP boot codes 15, 16, 17 and 19 name the same processors.
    pub fn from_code(code: u16) -> Self {
        match code {
            0 => Self::Bios,
            6 | 15 => Self::UefiIa32,
            7 | 9 | 16 | 17 => Self::UefiX64,
            11 | 19 => Self::UefiArm64,
            other => Self::Other(other),
        }
    }

    /// Whether its firmware is UEFI of any kind that is served.
    pub fn is_uefi(self) -> bool {
        matches!(self, Self::UefiIa32 | Self::UefiX64 | Self::UefiArm64)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bios => f.write_str("BIOS"),
            Self::UefiIa32 => f.write_str("32-bit UEFI"),
            Self::UefiX64 => f.write_str("64-bit UEFI"),
            Self::UefiArm64 => f.write_str("64-bit ARM UEFI"),
            Self::Other(code) => write!(f, "architecture {code}"),
        }
    }
}

impl fmt::Display for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pxe => "PXE",
            Self::Http => "HTTP boot",
            Self::Ipxe => "iPXE",
        })
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.architecture, self.loader)
    }
}
