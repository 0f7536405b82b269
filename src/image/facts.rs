//! What an image records of the Windows on it, since that decides which activation can work.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which firmware can start the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FirmwareKind {
    /// Legacy BIOS, from the MBR.
    Bios,
    /// UEFI, from the EFI system partition.
    Uefi,
}

/// The channel of the product key inside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyChannel {
    /// Multiple activation key.
    Mak,
    /// Generic volume licence key, for KMS and Active Directory.
    Gvlk,
    /// Vendor's key.
    Oem,
    /// Retail key.
    Retail,
    /// No key at all.
    None,
}

/// Facts about the Windows of an image: read from the disk where that is possible, else said by the administrator.
/// `None` means that nobody knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsFacts {
    /// The build number, such as 26100.
    pub build: Option<u32>,
    /// The edition as Windows calls it, such as `Education`.
    pub edition: Option<String>,
    /// The product name, such as `Windows 11 Education`.
    pub product: Option<String>,
    /// Whether `sysprep /generalize` was run last, so that each clone gets identities of its own.
    pub generalized: Option<bool>,
    /// Whether SkipRearm is set, which leaves every clone with the same client machine ID.
    pub skip_rearm: Option<bool>,
    /// The channel of the key inside.
    pub key_channel: Option<KeyChannel>,
    /// Which firmware starts it.
    pub firmware: Option<FirmwareKind>,
}
