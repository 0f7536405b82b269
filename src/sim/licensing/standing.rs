//! What WMI shows of a simulated product: status, reason, remaining minutes.

use jiff::Timestamp;

use crate::activation::codes::Code;
use crate::activation::licensing::{Channel, LicenseStatus};
use crate::sim::licensing::state::GRACE;
use crate::sim::licensing::world::NO_ACTIVATION_OBJECT;
use crate::sim::licensing::{Hardware, Licence, LicensingState, MINUTE, SimProduct, add};

/// The firmware has no SLIC table.
const NO_SLIC: Code = Code(0xC004_F057);
/// Its SLIC table lacks the Windows marker.
const NO_MARKER: Code = Code(0xC004_F058);
/// The OEM certificate is missing, or is another vendor's than the SLIC table.
const OTHER_VENDOR: Code = Code(0xC004_F063);
/// The security processor finds the hardware out of tolerance.
pub(super) const OUT_OF_TOLERANCE: Code = Code(0xC004_D309);
/// In the grace period after a lapsed activation.
const LAPSED: Code = Code(0x4004_F00D);

/// What Windows 7 finds when it compares a vendor's image with the firmware.
pub(super) fn vendor_match(state: &LicensingState, hardware: &Hardware) -> Result<(), Code> {
    let slic = hardware.slic.as_ref().ok_or(NO_SLIC)?;
    if !slic.windows_marker {
        return Err(NO_MARKER);
    }
    let own = state.oem_vendor.as_ref().is_some_and(|vendor| vendor.eq_ignore_ascii_case(&slic.vendor));
    if own { Ok(()) } else { Err(OTHER_VENDOR) }
}

impl LicensingState {
    /// Status, reason and remaining minutes, as WMI shows them.
    pub(super) fn standing(
        &self,
        product: SimProduct,
        hardware: &Hardware,
        now: Timestamp,
    ) -> (LicenseStatus, Code, u32) {
        match self.licence_of(product).unwrap_or(&Licence::Unactivated) {
            Licence::Permanent { board } if *board == hardware.board => (LicenseStatus::Licensed, Code::OK, 0),
            Licence::Permanent { .. } if self.is_windows_7() => {
                let end = add(self.out_of_tolerance_since.unwrap_or(now), GRACE);
                if end > now {
                    (LicenseStatus::OotGrace, OUT_OF_TOLERANCE, minutes(now, end))
                } else {
                    (LicenseStatus::Notification, Code::GRACE_EXPIRED, 0)
                }
            }
            Licence::Permanent { .. } => (LicenseStatus::Notification, Code::HARDWARE_CHANGED, 0),
            Licence::Directory { domain, .. } if self.domain.as_ref() != Some(domain) => {
                (LicenseStatus::Notification, NO_ACTIVATION_OBJECT, 0)
            }
            Licence::Volume { until } | Licence::Directory { until, .. } if *until > now => {
                (LicenseStatus::Licensed, Code::OK, minutes(now, *until))
            }
            Licence::Volume { until } | Licence::Directory { until, .. } => {
                // A lapsed volume activation is followed by 30 days out of tolerance.
                let end = add(*until, GRACE);
                if end > now {
                    (LicenseStatus::OotGrace, LAPSED, minutes(now, end))
                } else {
                    (LicenseStatus::Notification, Code::NOT_BY_KMS, 0)
                }
            }
            Licence::Unactivated => self.unactivated(product, hardware, now),
        }
    }

    fn unactivated(&self, product: SimProduct, hardware: &Hardware, now: Timestamp) -> (LicenseStatus, Code, u32) {
        if product.is_addition() {
            return (LicenseStatus::Unlicensed, Code::NO_LICENCE, 0);
        }
        let channel = self.key_of(product).map(|key| key.channel);
        let not_yet = if channel == Some(Channel::KmsClient) { Code::NOT_BY_KMS } else { Code::NO_LICENCE };
        let Some(grace_until) = self.grace_until.filter(|_| product == SimProduct::Windows) else {
            return (LicenseStatus::Notification, not_yet, 0);
        };
        // Windows 7 compares a vendor's image with the firmware by itself, without any network.
        let fault = match channel {
            Some(Channel::Oem) => match vendor_match(self, hardware) {
                Ok(()) => return (LicenseStatus::Licensed, Code::OK, 0),
                Err(code) => Some(code),
            },
            _ => None,
        };
        if grace_until > now {
            (LicenseStatus::OobGrace, fault.unwrap_or(Code::IN_GRACE), minutes(now, grace_until))
        } else {
            (LicenseStatus::Notification, fault.unwrap_or(Code::GRACE_EXPIRED), 0)
        }
    }
}

fn minutes(from: Timestamp, to: Timestamp) -> u32 {
    let seconds = to.as_second().saturating_sub(from.as_second()).max(0);
    u32::try_from(seconds / MINUTE).unwrap_or(u32::MAX)
}
