//! What happened in a simulated world, as Microsoft, the KMS hosts, the directories and the PCs' licensing services saw
//! it. Reads are not in it, nor is any key, installation ID or confirmation ID.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::activation::codes::Code;
use crate::activation::licensing::LicensingCall;

/// One event. The log only grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldEvent {
    /// Its place in the log, from 0.
    pub number: u64,
    /// When, by the world's clock.
    pub at: Timestamp,
    /// The board of the PC; empty where Microsoft does not know it.
    pub board: String,
    /// The rest of its hardware.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub extras: String,
    /// The activation ID of the product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// The last five characters of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial_key: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub what: WorldDeed,
    /// What came of it: 0 for success.
    pub code: Code,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum WorldDeed {
    /// On the PC: a clone started for the first time.
    FirstBoot {
        /// Whether the image was generalized and not kept from rearming, so that the licence began anew.
        anew: bool,
        /// The client machine ID from now on.
        cmid: String,
    },
    /// On the PC: a restart brought a rearm into force.
    Rearmed {
        /// The client machine ID from now on.
        cmid: String,
    },
    /// On the PC: other hardware was put around the disk; the event names the new one.
    HardwareReplaced {
        /// The board until now.
        from: String,
    },
    /// On the PC: a call at the licensing service that is no mere read.
    Called {
        /// Which.
        call: LicensingCall,
    },
    /// At Microsoft: a PC asked for online activation.
    OnlineActivation {
        /// Whether the key's counter moved.
        counted: bool,
        /// Whether Windows asked without being told to.
        by_itself: bool,
    },
    /// At Microsoft: somebody asked for a confirmation ID.
    Confirmation {
        /// Whether the key's counter moved: it does so once for each installation ID.
        counted: bool,
    },
    /// At a KMS host, or on the way to it.
    KmsRequest {
        /// The host, by name; empty where DNS named none.
        host: String,
        /// Its port.
        port: u16,
        /// The client machine ID that asked.
        cmid: String,
        /// How many different ones the host has seen in its window, this one included; 0 if it was not reached.
        count: u32,
        /// Whether Windows asked without being told to.
        by_itself: bool,
    },
    /// At Active Directory.
    DirectoryRequest {
        /// The domain; empty where the PC is in none.
        domain: String,
        /// Whether Windows asked without being told to.
        by_itself: bool,
    },
}
