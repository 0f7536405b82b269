//! What keeps an image off a PC at its agent's check-in, before a byte is written.

use crate::activation::hardware::HardwareFacts;
use crate::activation::refusal::before_imaging;
use crate::image::WindowsFacts;
use crate::job::state::FailureReason;

/// Why a PC with this hardware must not get `image` under the strategy of this name; nothing where it may. An agent that
/// told nothing has unknown hardware.
pub fn refuse_before_imaging(
    strategy: &str,
    image: &WindowsFacts,
    hardware: Option<&HardwareFacts>,
) -> Option<FailureReason> {
    let unknown = HardwareFacts::default();
    before_imaging(strategy, image, hardware.unwrap_or(&unknown)).map(|why| FailureReason::Refused { why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::hardware::{Acpi, Table};
    use crate::room::MachineUuid;

    #[test]
    fn a_pc_that_tells_nothing_is_refused_where_hardware_decides() {
        let image = WindowsFacts { build: Some(7601), oem_vendor: Some("DELL".to_owned()), ..WindowsFacts::default() };
        for strategy in ["oem", "preactivated"] {
            let reason = refuse_before_imaging(strategy, &image, None);
            assert!(matches!(reason, Some(FailureReason::Refused { .. })), "{strategy}: {reason:?}");
        }
        for strategy in ["none", "grace", "mak", "mak-proxy", "kms", "ad"] {
            assert_eq!(refuse_before_imaging(strategy, &image, None), None, "{strategy}");
        }
    }

    #[test]
    fn what_fits_is_not_refused() {
        let hardware = HardwareFacts {
            acpi: Acpi { slic: Table::Absent, msdm: Table::Absent },
            uuid: Some(MachineUuid([7; 16])),
            ..HardwareFacts::default()
        };
        let image = WindowsFacts { build: Some(22_631), bound_to: hardware.identity(), ..WindowsFacts::default() };
        for strategy in ["oem", "preactivated"] {
            assert_eq!(refuse_before_imaging(strategy, &image, Some(&hardware)), None, "{strategy}");
        }
        let reason =
            refuse_before_imaging("oem", &WindowsFacts { build: Some(7601), ..image }, Some(&hardware)).unwrap();
        let json = serde_json::to_string(&reason).unwrap();
        assert_eq!(serde_json::from_str::<FailureReason>(&json).unwrap(), reason, "{json}");
    }
}
