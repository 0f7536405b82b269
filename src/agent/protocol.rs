//! The messages between agents and server: JSON over TLS, leaves as binary frames. `docs/formats/agent-protocol.md`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::activation::confirmation::{InstallationId, ProductRef};
use crate::activation::hardware::HardwareFacts;
use crate::activation::hook::{ActivationOrder, ActivationReport};
use crate::image::{Hash, WindowsFacts};
use crate::profile::model::DiskRule;
use crate::progress::{ImagingEvent, ImagingTotals};
use crate::room::{ImageRef, Language, Mac, MachineName, MachineUuid};

/// What an imaging agent says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckIn {
    /// Its network card.
    pub mac: Mac,
    /// Its SMBIOS UUID, if the firmware has one.
    pub uuid: Option<MachineUuid>,
    /// A one-time token of the administrator's, for use by hand; otherwise the PC must just have booted from us.
    pub token: Option<String>,
    /// The agent's version.
    pub version: String,
    /// What its firmware says, where the agent could look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareFacts>,
}

/// What the server answers to a check-in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum CheckInAnswer {
    /// Bring the disk back to an image.
    Work(Box<Work>),
    /// Nothing to do: leave the disk alone and restart or power off.
    Nothing {
        /// Why, for the screen.
        why: String,
    },
    /// Ask again later.
    Wait {
        /// After so many seconds.
        seconds: u64,
        /// Why, for the screen.
        why: String,
    },
}

/// What an imaging agent has to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// The bearer token of this session; voids any older one.
    pub session: String,
    /// The run.
    pub run: u64,
    /// The PC's name.
    pub machine: MachineName,
    /// The language of the screen.
    pub language: Language,
    /// The image, for people.
    pub image: ImageRef,
    /// The root that the signed head must have.
    pub root: Hash,
    /// The server's image signing key, Ed25519, 64 hexadecimal digits.
    pub public_key: Hash,
    /// Which disk may be written.
    pub disk: DiskRule,
    /// Hooks to run on the written disk before its gate opens, in order.
    pub offline_hooks: Vec<OfflineHook>,
    /// The credential that the resident agent will need; goes into the note on the disk.
    pub credential: String,
}

/// A hook of place `offline`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfflineHook {
    /// Its place in the run's list of hooks.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub time_out: Duration,
}

/// Asks for the leaf hashes of groups; the answer is the hashes, 32 bytes each, group after group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsWanted {
    /// The groups' numbers.
    pub groups: Vec<u64>,
}

/// Asks for leaves; the answer is a stream of frames, see [`FRAME_HEAD`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeavesWanted {
    /// The leaves' numbers.
    pub leaves: Vec<u64>,
}

/// The bytes before each leaf's compressed bytes: number (u64), raw length (u32), compressed length (u32), little-endian.
pub const FRAME_HEAD: usize = 16;

/// The most groups that one request may name.
pub const MAX_GROUPS_PER_REQUEST: usize = 1024;

/// The most leaves that one request may name.
pub const MAX_LEAVES_PER_REQUEST: usize = 1024;

/// What an imaging agent reports while it works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "report")]
pub enum ImagingReport {
    /// It got on.
    Progress {
        /// With what.
        event: ImagingEvent,
    },
    /// An offline hook ended.
    Hook {
        /// Which.
        index: u32,
        /// How.
        result: HookResult,
    },
    /// The disk is the image, durably.
    Committed {
        /// The night's numbers.
        totals: ImagingTotals,
    },
    /// It gave up.
    Failed {
        /// Why, for the report.
        reason: String,
    },
}

/// What a resident agent says first; its credential is the bearer token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowsCheckIn {
    /// Its network card.
    pub mac: Mac,
    /// What Windows calls the PC at the moment.
    pub computer_name: String,
    /// What is known of this Windows.
    pub windows: WindowsFacts,
}

/// What is left for a resident agent to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowsWork {
    /// The run.
    pub run: u64,
    /// Hooks that have no result yet, in order.
    pub hooks: Vec<WindowsHook>,
    /// What to do after the last one.
    pub then: Afterwards,
}

/// What a PC does when its part of a run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Afterwards {
    /// Switch off.
    PowerOff,
    /// Stay on.
    Stay,
}

/// A hook of place `windows`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowsHook {
    /// Its place in the run's list of hooks.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// How long it may take.
    pub time_out: Duration,
    /// What to do.
    pub action: WindowsAction,
}

/// What a hook inside Windows does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum WindowsAction {
    /// Give the PC its name; a restart follows if it had another.
    ComputerName {
        /// The name.
        name: MachineName,
    },
    /// Apply the activation strategy.
    Activation {
        /// Which, and what it needs.
        order: ActivationOrder,
    },
    /// Run a program.
    Command {
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// How a hook ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum HookResult {
    /// It is done.
    Done {
        /// What changed, for people.
        what: String,
    },
    /// The activation hook's findings.
    Activation {
        /// As re-read from the licensing service.
        report: Box<ActivationReport>,
    },
    /// It did not work.
    Failed {
        /// Why, for the report.
        why: String,
    },
}

/// Asks for the confirmation ID of an installation ID; the answer is a
/// [`crate::activation::hook::ConfirmationAnswer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmationWanted {
    /// Today's installation ID.
    pub installation_id: InstallationId,
    /// The product it belongs to.
    pub product: ProductRef,
    /// `ProductKeyID` of the product's key, which an ActivationWs server asks for beside the installation ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_product_id: Option<String>,
}

/// Tells that Windows refused a stored pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmationRefused {
    /// The pair's installation ID.
    pub installation_id: InstallationId,
    /// The product it belongs to.
    pub product: ProductRef,
    /// The code that Windows gave, as a number.
    pub code: u32,
}

/// An error as the server sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What happened and what to do, for people.
    pub error: String,
}
