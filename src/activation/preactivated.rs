//! Strategy `preactivated`: an image captured in the activated state belongs to one PC, and to no other.
//!
//! Restoring it there keeps its activation, which is why single PCs are set up so. On any other hardware Windows would
//! find itself out of tolerance, and the licence would be another PC's: refused before a disk is written.

use serde::{Deserialize, Serialize};

use super::codes::{Code, in_windows_words};
use super::hardware::{HardwareFacts, HardwareIdentity};
use crate::image::WindowsFacts;
use crate::room::Language;

/// Why an image does not belong on a PC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "because")]
pub enum PreactivatedRefusal {
    /// The image belongs to no hardware.
    #[error(
        "the image belongs to no hardware; capture it again with `klonwerk image capture --bind-to-hardware`, or use another strategy"
    )]
    NotBound,
    /// Which PC this is could not be told.
    #[error(
        "which PC this is cannot be told: its firmware gives neither a UUID of its own nor a board serial number, or they could not be read"
    )]
    UnknownHardware,
    /// It is another PC.
    #[error(
        "the image belongs to hardware {}, this PC is {}; on other hardware it needs an activation of its own: capture this PC, or use another strategy",
        .image.short(),
        .pc.short()
    )]
    OtherHardware {
        /// What the image is bound to.
        image: HardwareIdentity,
        /// What the PC is.
        pc: HardwareIdentity,
    },
}

impl PreactivatedRefusal {
    /// The code that Windows would give, where it has one for this.
    pub fn code(&self) -> Option<Code> {
        match self {
            PreactivatedRefusal::OtherHardware { .. } => Some(Code::HARDWARE_CHANGED),
            PreactivatedRefusal::NotBound | PreactivatedRefusal::UnknownHardware => None,
        }
    }

    /// For people: what is wrong and what to do, and what Windows would say.
    pub fn text(&self, language: Language) -> String {
        let line = match language {
            Language::En => self.to_string(),
            Language::De => self.german(),
        };
        match self.code() {
            Some(code) => format!("{line} {}", in_windows_words(code, language)),
            None => line,
        }
    }

    fn german(&self) -> String {
        match self {
            PreactivatedRefusal::NotBound => {
                "das Image gehört zu keiner Hardware; mit `klonwerk image capture --bind-to-hardware` neu aufnehmen oder eine andere Strategie verwenden".to_owned()
            }
            PreactivatedRefusal::UnknownHardware => {
                "welcher PC das ist, lässt sich nicht sagen: Die Firmware nennt weder eine eigene UUID noch eine Seriennummer der Hauptplatine, oder sie waren nicht lesbar".to_owned()
            }
            PreactivatedRefusal::OtherHardware { image, pc } => format!(
                "das Image gehört zur Hardware {}, dieser PC ist {}; auf anderer Hardware braucht es eine eigene Aktivierung: diesen PC aufnehmen oder eine andere Strategie verwenden",
                image.short(),
                pc.short()
            ),
        }
    }
}

/// Whether `image` belongs to the PC with `hardware`.
///
/// # Errors
/// [`PreactivatedRefusal`]: nothing may be written then.
pub fn fit(image: &WindowsFacts, hardware: &HardwareFacts) -> Result<(), PreactivatedRefusal> {
    let bound = image.bound_to.ok_or(PreactivatedRefusal::NotBound)?;
    let pc = hardware.identity().ok_or(PreactivatedRefusal::UnknownHardware)?;
    if bound == pc { Ok(()) } else { Err(PreactivatedRefusal::OtherHardware { image: bound, pc }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::room::MachineUuid;

    fn pc(uuid: Option<[u8; 16]>, serial: Option<&str>) -> HardwareFacts {
        HardwareFacts {
            uuid: uuid.map(MachineUuid),
            board_serial: serial.and_then(HardwareFacts::board_serial),
            ..HardwareFacts::default()
        }
    }

    fn image(of: &HardwareFacts) -> WindowsFacts {
        WindowsFacts { bound_to: of.identity(), ..WindowsFacts::default() }
    }

    #[test]
    fn an_image_returns_to_its_own_pc_only() {
        let (own, other) = (pc(Some([7; 16]), Some("CN1")), pc(Some([8; 16]), Some("CN1")));
        assert_eq!(fit(&image(&own), &own), Ok(()));
        let refusal = fit(&image(&own), &other).unwrap_err();
        assert_eq!(refusal.code(), Some(Code::HARDWARE_CHANGED));
        insta::assert_snapshot!(refusal.text(Language::En), @"the image belongs to hardware e0b10fc65fef, this PC is 312e8560cd34; on other hardware it needs an activation of its own: capture this PC, or use another strategy (Windows would say 0xC004F00F: The hardware has changed beyond what Windows tolerates)");
        insta::assert_snapshot!(refusal.text(Language::De), @"das Image gehört zur Hardware e0b10fc65fef, dieser PC ist 312e8560cd34; auf anderer Hardware braucht es eine eigene Aktivierung: diesen PC aufnehmen oder eine andere Strategie verwenden (Windows würde melden: 0xC004F00F: Die Hardware hat sich stärker geändert, als Windows duldet)");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let own = pc(Some([7; 16]), Some("CN1"));
        assert_eq!(fit(&WindowsFacts::default(), &own), Err(PreactivatedRefusal::NotBound));
        for hardware in [HardwareFacts::default(), pc(Some([0; 16]), None), pc(None, Some("Default string"))] {
            assert_eq!(fit(&image(&own), &hardware), Err(PreactivatedRefusal::UnknownHardware));
            assert_eq!(fit(&image(&hardware), &hardware), Err(PreactivatedRefusal::NotBound), "unknown is not equal");
        }
        let json = serde_json::to_string(&fit(&image(&own), &pc(Some([8; 16]), None)).unwrap_err()).unwrap();
        assert!(serde_json::from_str::<PreactivatedRefusal>(&json).is_ok());
    }

    proptest! {
        #[test]
        fn it_fits_where_both_are_the_same_pc(
            first in proptest::option::of(any::<[u8; 16]>()),
            second in proptest::option::of(any::<[u8; 16]>()),
            serials in proptest::array::uniform2(proptest::option::of("[A-C]{2}[12]")),
        ) {
            let (one, two) = (pc(first, serials[0].as_deref()), pc(second, serials[1].as_deref()));
            prop_assert_eq!(fit(&image(&one), &one).is_ok(), one.identity().is_some());
            let same = one.identity().is_some() && one.uuid == two.uuid && one.board_serial == two.board_serial;
            prop_assert_eq!(fit(&image(&one), &two).is_ok(), same);
        }
    }
}
