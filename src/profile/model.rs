//! The checked model of a school: every reference in it resolves, every name is well formed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::activation::{KeyKind, Strategy};
use crate::calendar::{Schedule, SchoolCalendar};
use crate::image::{FirmwareKind, WindowsFacts};
use crate::room::{HookName, ImageName, ImageWish, KeyName, Language, Mac, MachineName, MachineUuid, RoomName};

/// A whole set of profiles, as one folder holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profiles {
    /// What holds for the whole school.
    pub site: Site,
    /// The rooms by name.
    pub rooms: BTreeMap<RoomName, Room>,
    /// The git revision of the folder, where it is in a work tree: 40 hexadecimal digits, `+` added when files differ from it.
    pub revision: Option<String>,
}

impl Profiles {
    /// The machine with this name, and its room.
    pub fn machine(&self, name: &MachineName) -> Option<(&Room, &Machine)> {
        self.rooms.values().find_map(|room| room.machines.iter().find(|m| m.name == *name).map(|m| (room, m)))
    }

    /// The machine with this MAC address, and its room.
    pub fn machine_by_mac(&self, mac: Mac) -> Option<(&Room, &Machine)> {
        self.rooms.values().find_map(|room| room.machines.iter().find(|m| m.mac == mac).map(|m| (room, m)))
    }

    /// The machine with this SMBIOS UUID, and its room, where a profile gives it.
    pub fn machine_by_uuid(&self, uuid: MachineUuid) -> Option<(&Room, &Machine)> {
        self.rooms.values().find_map(|room| room.machines.iter().find(|m| m.uuid == Some(uuid)).map(|m| (room, m)))
    }

    /// All machines with their rooms, room by room.
    pub fn machines(&self) -> impl Iterator<Item = (&Room, &Machine)> {
        self.rooms.values().flat_map(|room| room.machines.iter().map(move |machine| (room, machine)))
    }

    /// What the site says of the Windows on a room's image.
    pub fn windows(&self, room: &Room) -> Option<&WindowsFacts> {
        self.site.images.get(&room.image.name)
    }

    /// A room's hooks in their order, commands with what they run.
    pub fn hooks<'a>(&'a self, room: &'a Room) -> impl Iterator<Item = (&'a Hook, Option<&'a CommandHook>)> {
        room.hooks.iter().map(|hook| match hook {
            Hook::Command(name) => (hook, self.site.hooks.get(name)),
            Hook::ComputerName | Hook::Activation => (hook, None),
        })
    }
}

impl Site {
    /// The school's time zone. A checked site's name is known; UTC where the zone data have gone since.
    pub fn zone(&self) -> TimeZone {
        TimeZone::get(&self.time_zone).unwrap_or(TimeZone::UTC)
    }
}

/// What holds for the whole school: `site.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The school's name.
    pub name: String,
    /// The language of reports and screens.
    pub language: Language,
    /// How the server is reached.
    pub server: Server,
    /// What it does about DHCP.
    pub network: NetworkMode,
    /// The school's time zone, an IANA name such as `Europe/Berlin`.
    pub time_zone: String,
    /// On which days there are lessons.
    pub calendar: SchoolCalendar,
    /// The images that rooms may name, and what the administrator says of them.
    pub images: BTreeMap<ImageName, WindowsFacts>,
    /// The product keys that rooms may name.
    pub keys: BTreeMap<KeyName, Key>,
    /// The command hooks that rooms may name.
    pub hooks: BTreeMap<HookName, CommandHook>,
    /// The ActivationWs server, where there is one.
    pub activation_ws: Option<ActivationWs>,
}

/// An ActivationWs server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivationWs {
    /// Its address.
    pub url: String,
    /// The certificates of its authority, where the system's are not meant.
    pub ca_file: Option<PathBuf>,
    /// Whether it may be asked without encryption.
    pub allow_http: bool,
}

/// How PCs reach the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address that PCs use, as it stands in boot files and certificates.
    pub address: IpAddr,
    /// The network interfaces to serve; empty means every one that has `address`'s network.
    pub interfaces: Vec<String>,
    /// The port of plain HTTP, for public boot files.
    pub boot_port: u16,
    /// The port of HTTPS, for agents.
    pub agent_port: u16,
    /// The port of TFTP.
    pub tftp_port: u16,
    /// Where state and images are kept, unless the command line says otherwise.
    pub state: Option<PathBuf>,
}

/// What the server does about DHCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// Answer PXE clients beside the school's own DHCP server.
    Proxy,
    /// Leave DHCP alone: the school's DHCP server names our boot file.
    Off,
}

/// A product key by reference. The value never stands in a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What kind of key it is.
    pub kind: KeyKind,
    /// The edition that it is for, as Windows calls it.
    pub edition: Option<String>,
    /// Where the value comes from.
    pub source: KeySource,
    /// How many activations may ever be spent with it; none sets no limit.
    pub budget: Option<u32>,
    /// How many of the budget stay untouched.
    pub reserve: u32,
}

/// Where a product key's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A systemd credential of this name (`LoadCredential=`).
    Credential(String),
    /// A file that only the server may read.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// The key is inside the image and never sent; its last five characters are enough to recognise it.
    InImage {
        /// The last five characters, as Windows shows them.
        partial: String,
    },
    /// In the firmware of the PC itself, where Windows finds it. It is never read, stored or sent.
    Firmware,
}

/// Where a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the boot environment, on the written disk, before its first boot.
    Offline,
    /// Inside Windows.
    Windows,
}

/// A command of the administrator's, run after the clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandHook {
    /// Where it runs.
    pub place: Place,
    /// Program and arguments; no shell is in between.
    pub command: Vec<String>,
    /// How long it may take.
    pub time_out: Duration,
}

/// One hook of a room, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Gives the PC its name.
    ComputerName,
    /// Applies the activation strategy.
    Activation,
    /// Runs a command of the site's `hooks`.
    Command(HookName),
}

impl Hook {
    /// The hook's name as profiles, plans and reports write it.
    pub fn name(&self) -> &str {
        match self {
            Hook::ComputerName => "computer-name",
            Hook::Activation => "activation",
            Hook::Command(name) => name.as_str(),
        }
    }
}

/// What writes the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootEnvironment {
    /// The small Linux environment.
    Linux,
    /// Windows PE, which the administrator brings.
    Winpe,
}

/// What a PC gets that boots the network first while nothing is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Idle {
    /// No answer; firmware goes on with the disk after its own time-out.
    Silent,
    /// A loader that starts the disk at once.
    Local,
}

/// Which disk of a PC may be written. USB disks never.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRule {
    /// At least this many bytes.
    pub min_bytes: Option<u64>,
    /// At most this many bytes.
    pub max_bytes: Option<u64>,
    /// The kernel's name of the bus: `nvme`, `sata`, `virtio`, …
    pub bus: Option<String>,
    /// The disk's serial number.
    pub serial: Option<String>,
}

/// A room: one file in `rooms/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Its short name.
    pub name: RoomName,
    /// Its name for people.
    pub title: String,
    /// The image that its PCs get.
    pub image: ImageWish,
    /// What writes the image.
    pub environment: BootEnvironment,
    /// What idle PCs get.
    pub idle: Idle,
    /// Which firmware its PCs have, where all have the same.
    pub firmware: Option<FirmwareKind>,
    /// Which disk is written.
    pub disk: DiskRule,
    /// When it is re-cloned by itself.
    pub schedule: Option<Schedule>,
    /// How its Windows is activated.
    pub activation: Strategy,
    /// What happens after the clone, in this order.
    pub hooks: Vec<Hook>,
    /// Its PCs, in the order of the file.
    pub machines: Vec<Machine>,
}

/// A PC of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: MachineName,
    /// Its network card.
    pub mac: Mac,
    /// Its SMBIOS UUID, where the profile gives it. A known MAC with another UUID is never imaged.
    pub uuid: Option<MachineUuid>,
    /// Its activation strategy, where it differs from the room's.
    pub activation: Option<Strategy>,
}

impl Machine {
    /// The strategy that holds for this machine in `room`.
    pub fn strategy<'a>(&'a self, room: &'a Room) -> &'a Strategy {
        self.activation.as_ref().unwrap_or(&room.activation)
    }
}
