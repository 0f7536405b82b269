//! The one decision of network booting: from who asks and what its firmware is, to what it gets.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::boot::firmware::{Architecture, Firmware, Loader};
use crate::boot::{BootSubject, KnownMachine};
use crate::profile::Idle;
use crate::room::MachineName;

/// iPXE for BIOS, which keeps using the network card's own UNDI driver.
pub const UNDIONLY: &str = "undionly.kpxe";
/// iPXE for 64-bit UEFI, which uses the firmware's own network driver.
pub const SNPONLY: &str = "snponly.efi";
/// The same for 32-bit UEFI.
pub const SNPONLY_IA32: &str = "snponly-ia32.efi";

/// What a client gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootChoice {
    /// No answer: firmware goes on with its next boot entry.
    Silent(Silence),
    /// The first file, which then asks again as iPXE.
    Loader {
        /// Which.
        file: LoaderFile,
        /// What it leads to.
        purpose: Purpose,
    },
    /// iPXE asks: the URL of its script ([`crate::boot::script::path`]).
    Script(Purpose),
}

/// A first file, by its name in the boot folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoaderFile {
    /// [`UNDIONLY`].
    Undionly,
    /// [`SNPONLY`].
    Snponly,
    /// [`SNPONLY_IA32`].
    SnponlyIa32,
}

impl LoaderFile {
    /// Its name in the boot folder, by TFTP and in URLs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Undionly => UNDIONLY,
            Self::Snponly => SNPONLY,
            Self::SnponlyIa32 => SNPONLY_IA32,
        }
    }

    /// The loader for a processor and firmware, where there is one.
    fn of(architecture: Architecture) -> Option<Self> {
        match architecture {
            Architecture::Bios => Some(Self::Undionly),
            Architecture::UefiX64 => Some(Self::Snponly),
            Architecture::UefiIa32 => Some(Self::SnponlyIa32),
            // The boot environments are built for x86 only.
            Architecture::UefiArm64 | Architecture::Other(_) => None,
        }
    }
}

/// What a boot chain leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The boot environment, for this run.
    Run(u64),
    /// The PC's own disk, at once.
    LocalDisk,
}

/// Why a client gets no answer. `Display` is the line for logs and the list of unknown machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Silence {
    /// No profile names it.
    Unknown,
    /// It has a known MAC address and a foreign UUID.
    Impostor(MachineName),
    /// Nothing is to be done, and the room's profile says `idle: silent`.
    Idle(MachineName),
    /// There is no loader for it.
    Architecture(Architecture),
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no profile names its MAC address"),
            Self::Impostor(machine) => write!(
                f,
                "it has the MAC address of {machine} but another UUID: a dock or a network card on a foreign device, or a \
                 new main board (then correct the UUID in the profile)"
            ),
            Self::Idle(machine) => write!(f, "nothing to do for {machine}, and its room is set to idle: silent"),
            Self::Architecture(architecture) => {
                write!(f, "no boot environment runs on its firmware ({architecture})")
            }
        }
    }
}

/// What `subject` gets from the network when its `firmware` asks.
///
/// - Unknown machines and foreign devices behind a known MAC address get no answer, whatever they run.
/// - A machine with a run gets the chain of its firmware: iPXE as the first file (BIOS and UEFI PXE by TFTP, UEFI HTTP
///   Boot by URL), then the script.
/// - A machine without one gets what its profile says: no answer, or the same first file and a script that starts the disk.
pub fn decide(subject: &BootSubject, firmware: Firmware) -> BootChoice {
    let known = match subject {
        BootSubject::Unknown => return BootChoice::Silent(Silence::Unknown),
        BootSubject::Impostor { machine } => return BootChoice::Silent(Silence::Impostor(machine.clone())),
        BootSubject::Known(known) => known,
    };
    let Some(file) = LoaderFile::of(firmware.architecture) else {
        return BootChoice::Silent(Silence::Architecture(firmware.architecture));
    };
    let purpose = purpose(known);
    if purpose == Purpose::LocalDisk && known.idle == Idle::Silent {
        return BootChoice::Silent(Silence::Idle(known.machine.clone()));
    }
    match firmware.loader {
        Loader::Ipxe => BootChoice::Script(purpose),
        Loader::Pxe | Loader::Http => BootChoice::Loader { file, purpose },
    }
}

fn purpose(known: &KnownMachine) -> Purpose {
    known.run.as_ref().map_or(Purpose::LocalDisk, |ticket| Purpose::Run(ticket.run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::RunTicket;
    use crate::profile::BootEnvironment;
    use crate::room::Language;

    fn known(idle: Idle, run: Option<u64>) -> BootSubject {
        BootSubject::Known(KnownMachine {
            machine: "R101-01".parse().unwrap(),
            room: "r101".parse().unwrap(),
            environment: BootEnvironment::Linux,
            idle,
            run: run.map(|run| RunTicket { run, language: Language::De }),
        })
    }

    fn firmware(architecture: Architecture, loader: Loader) -> Firmware {
        Firmware { architecture, loader }
    }

    #[test]
    fn strangers_get_no_answer_from_any_firmware() {
        let impostor = BootSubject::Impostor { machine: "R101-01".parse().unwrap() };
        for code in 0..40 {
            for loader in [Loader::Pxe, Loader::Http, Loader::Ipxe] {
                let firmware = firmware(Architecture::from_code(code), loader);
                assert_eq!(decide(&BootSubject::Unknown, firmware), BootChoice::Silent(Silence::Unknown));
                assert!(matches!(decide(&impostor, firmware), BootChoice::Silent(Silence::Impostor(_))));
            }
        }
    }

    #[test]
    fn a_run_takes_the_chain_of_each_firmware() {
        let subject = known(Idle::Silent, Some(7));
        for (architecture, loader, file) in [
            (Architecture::Bios, Loader::Pxe, "undionly.kpxe"),
            (Architecture::UefiX64, Loader::Pxe, "snponly.efi"),
            (Architecture::UefiX64, Loader::Http, "snponly.efi"),
            (Architecture::UefiIa32, Loader::Pxe, "snponly-ia32.efi"),
        ] {
            let choice = decide(&subject, firmware(architecture, loader));
            let BootChoice::Loader { file: given, purpose } = choice else { panic!("{choice:?}") };
            assert_eq!((given.name(), purpose), (file, Purpose::Run(7)), "{architecture} {loader}");
            let then = decide(&subject, firmware(architecture, Loader::Ipxe));
            assert_eq!(then, BootChoice::Script(Purpose::Run(7)));
        }
        let arm = decide(&subject, firmware(Architecture::UefiArm64, Loader::Pxe));
        assert_eq!(arm, BootChoice::Silent(Silence::Architecture(Architecture::UefiArm64)));
    }

    #[test]
    fn an_idle_machine_gets_what_its_profile_says() {
        let bios = firmware(Architecture::Bios, Loader::Pxe);
        assert!(matches!(decide(&known(Idle::Silent, None), bios), BootChoice::Silent(Silence::Idle(_))));
        assert_eq!(
            decide(&known(Idle::Local, None), bios),
            BootChoice::Loader { file: LoaderFile::Undionly, purpose: Purpose::LocalDisk }
        );
        let ipxe = firmware(Architecture::Bios, Loader::Ipxe);
        assert!(matches!(decide(&known(Idle::Silent, None), ipxe), BootChoice::Silent(Silence::Idle(_))));
        assert_eq!(decide(&known(Idle::Local, None), ipxe), BootChoice::Script(Purpose::LocalDisk));
    }
}
