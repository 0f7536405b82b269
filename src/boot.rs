//! Booting over the network: who asks, and what it gets.
//!
//! [`firmware`] reads what a client says it is, [`decide`] is the one decision, [`script`] renders the boot scripts of
//! `pxe/`, [`start`] is what a script hands to the agent, [`files`] is the table of virtual boot files that TFTP and HTTP
//! share. [`BootDirectory`] is how the packet path asks about a machine without touching a database.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::profile::{BootEnvironment, Idle};
use crate::room::{Mac, MachineName, MachineUuid, RoomName};

pub mod decide;
pub mod files;
pub mod firmware;
pub mod script;
pub mod start;

/// Who a network-boot client is, as far as profiles and runs can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootSubject {
    /// No profile names its MAC address.
    Unknown,
    /// The MAC is known but the UUID is another PC's: a dock or a network card on a foreign device. Never imaged.
    Impostor {
        /// The machine that has this MAC.
        machine: MachineName,
    },
    /// A machine of a room.
    Known(KnownMachine),
}

/// A machine of a room, as the boot decision sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownMachine {
    /// Its name.
    pub machine: MachineName,
    /// Its room.
    pub room: RoomName,
    /// What writes its image.
    pub environment: BootEnvironment,
    /// What it gets when nothing is to be done.
    pub idle: Idle,
    /// The run that waits for it, or whose half-written disk it has to finish.
    pub run: Option<RunTicket>,
}

/// A run that waits for a machine to boot. Public: it grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTicket {
    /// The run's number.
    pub run: u64,
    /// The language of the boot environment's screen.
    pub language: crate::room::Language,
}

/// The in-memory answer to "who is this?"; asked for every packet, so it must not block.
pub trait BootDirectory: Send + Sync {
    /// Who has this MAC address and, where the client gave one, this UUID.
    fn subject(&self, mac: Mac, uuid: Option<MachineUuid>) -> BootSubject;

    /// A client asked; unknown ones are listed for the administrator.
    fn seen(&self, mac: Mac, uuid: Option<MachineUuid>, subject: &BootSubject, firmware: firmware::Firmware);

    /// A client was told to boot for a run: from now on its check-in is expected.
    fn answered(&self, mac: Mac, run: u64);
}

/// The line that adds an unknown PC to a room's `machines`, ready to paste. The name is made from the MAC address; the
/// firmware stands behind it as a comment.
pub fn unknown_line(mac: Mac, uuid: Option<MachineUuid>, firmware: impl fmt::Display) -> String {
    let [.., a, b, c] = mac.0;
    // In quotation marks, because older YAML tools read six pairs of digits as a number in base 60.
    let uuid = uuid.map(|uuid| format!(", uuid: \"{uuid}\"")).unwrap_or_default();
    format!("- {{ name: PC-{a:02X}{b:02X}{c:02X}, mac: \"{mac}\"{uuid} }} # {firmware}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_for_an_unknown_pc_is_yaml_with_valid_names() {
        #[derive(Deserialize)]
        struct Entry {
            name: MachineName,
            mac: Mac,
            uuid: Option<MachineUuid>,
        }
        let mac: Mac = "08:00:27:12:34:56".parse().unwrap();
        let uuid: MachineUuid = "4c4c4544-0042-4a10-8052-b4c04f513233".parse().unwrap();
        let firmware =
            firmware::Firmware { architecture: firmware::Architecture::UefiX64, loader: firmware::Loader::Pxe };
        for uuid in [None, Some(uuid)] {
            let line = unknown_line(mac, uuid, firmware);
            let entries: Vec<Entry> = serde_yaml::from_str(&line).unwrap();
            assert_eq!((entries[0].mac, entries[0].uuid), (mac, uuid), "{line}");
            assert_eq!(entries[0].name.as_str(), "PC-123456");
        }
    }
}
