//! What an image records of the Windows on it, since that decides which activation can work.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::activation::hardware::HardwareIdentity;

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
    /// Whose Windows it is, for an OEM Windows 7: the vendor as the SLIC table of its PCs names it, such as `DELL`.
    // Left out where nobody said it: heads of older images keep their bytes, and so their signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oem_vendor: Option<String>,
    /// The PC that it belongs to, if it was captured in the activated state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_to: Option<HardwareIdentity>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_images_without_vendor_and_pc_keep_their_bytes() {
        let json = serde_json::to_string(&WindowsFacts::default()).unwrap();
        assert_eq!(
            json,
            r#"{"build":null,"edition":null,"product":null,"generalized":null,"skip_rearm":null,"key_channel":null,"firmware":null}"#
        );
        assert_eq!(serde_json::from_str::<WindowsFacts>(&json).unwrap(), WindowsFacts::default());
        let bound = WindowsFacts {
            oem_vendor: Some("DELL".to_owned()),
            bound_to: Some(HardwareIdentity(crate::image::Hash([7; 32]))),
            ..WindowsFacts::default()
        };
        let json = serde_json::to_string(&bound).unwrap();
        assert!(json.ends_with(&format!(r#""oem_vendor":"DELL","bound_to":"{}"}}"#, "07".repeat(32))), "{json}");
        assert_eq!(serde_json::from_str::<WindowsFacts>(&json).unwrap(), bound);
    }
}
