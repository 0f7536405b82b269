//! The licensing state of a simulated Windows: what an image holds and a clone starts from.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::activation::codes::Code;
use crate::activation::confirmation::InstallationId;
use crate::activation::licensing::{Channel, LicenseStatus};
use crate::image::{KeyChannel, WindowsFacts};
use crate::sim::licensing::digits::{grouped_digits, guid};
use crate::sim::licensing::{Hardware, MINUTE, WINDOWS_8, add};

/// The installed product key; its value is not kept, as Windows does not keep a MAK's either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledKey {
    /// The last five characters.
    pub partial: String,
    /// Its kind.
    pub channel: Channel,
}

/// Whether and how Windows is activated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Licence {
    /// Not at all.
    Unactivated,
    /// For good, on the hardware with this board.
    Permanent {
        /// The board.
        board: String,
    },
    /// By a KMS host, for 180 days.
    Volume {
        /// Until then.
        until: Timestamp,
    },
}

/// The licensing state inside an image or a PC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicensingState {
    /// The Windows build.
    pub build: u32,
    /// The edition, as the registry's `EditionID` names it.
    pub edition: String,
    /// The key.
    pub key: Option<InstalledKey>,
    /// The licence.
    pub licence: Licence,
    /// `sysprep /generalize` was the last thing that happened: the next boot is a first boot.
    pub generalized: bool,
    /// SkipRearm: generalizing resets neither timers nor client machine ID.
    pub skip_rearm: bool,
    /// `SoftwareProtectionPlatform\Activation\Manual`: Windows does not activate by itself.
    pub manual: bool,
    /// The client machine ID.
    pub cmid: String,
    /// Since when Windows or its key has been installed: it activates by itself some days later.
    pub since: Timestamp,
    /// The end of the grace period, on Windows 7.
    pub grace_until: Option<Timestamp>,
    /// `RemainingWindowsReArmCount`.
    pub rearms_left: u32,
    /// The KMS host that was set.
    pub kms: Option<(String, u16)>,
}

impl LicensingState {
    /// The state of an image with these facts, made at `made`, whose key ends in `partial`. What is not known of the image
    /// is taken as Windows 11 Education, generalized, with a MAK.
    pub fn of_image(facts: &WindowsFacts, partial: &str, made: Timestamp) -> Self {
        let channel = match facts.key_channel {
            Some(KeyChannel::Mak) | None => Some(Channel::Mak),
            Some(KeyChannel::Gvlk) => Some(Channel::KmsClient),
            Some(KeyChannel::Oem) => Some(Channel::Oem),
            Some(KeyChannel::Retail) => Some(Channel::Retail),
            Some(KeyChannel::None) => None,
        };
        let build = facts.build.unwrap_or(22631);
        let seven = build < WINDOWS_8;
        Self {
            build,
            edition: facts.edition.clone().unwrap_or_else(|| "Education".to_owned()),
            key: channel.map(|channel| InstalledKey { partial: partial.to_ascii_uppercase(), channel }),
            licence: Licence::Unactivated,
            generalized: facts.generalized != Some(false),
            skip_rearm: facts.skip_rearm == Some(true),
            manual: false,
            cmid: guid(&["image", &build.to_string(), partial, &made.to_string()]),
            since: made,
            grace_until: seven.then(|| add(made, 30 * 24 * 60)),
            // Windows 7 lets itself be rearmed three times, later versions 1001 times.
            rearms_left: if seven { 3 } else { 1001 },
            kms: None,
        }
    }

    pub(super) fn is_windows_7(&self) -> bool {
        self.build < WINDOWS_8
    }

    /// The activation ID: one for each Windows, edition and kind of key.
    pub(super) fn activation_id(&self, channel: Channel) -> String {
        let generation = if self.is_windows_7() { "7" } else { "8 and later" };
        guid(&["product", generation, &self.edition, &format!("{channel:?}")])
    }

    pub(super) fn installation_id(&self, key: &InstalledKey, hardware: &Hardware) -> Option<InstallationId> {
        let size = if self.is_windows_7() { 6 } else { 7 };
        let product = self.activation_id(key.channel);
        let parts = ["installation", &hardware.board, &hardware.extras, &key.partial, &product];
        InstallationId::parse(&grouped_digits(&parts, 9, size)).ok()
    }

    /// Status, reason and remaining minutes, as WMI shows them.
    pub(super) fn standing(&self, hardware: &Hardware, now: Timestamp) -> (LicenseStatus, Code, u32) {
        match &self.licence {
            Licence::Permanent { board } if *board == hardware.board => (LicenseStatus::Licensed, Code::OK, 0),
            Licence::Permanent { .. } if self.is_windows_7() => {
                (LicenseStatus::OotGrace, Code::HARDWARE_CHANGED, 30 * 24 * 60)
            }
            Licence::Permanent { .. } => (LicenseStatus::Notification, Code::HARDWARE_CHANGED, 0),
            Licence::Volume { until } if *until > now => (LicenseStatus::Licensed, Code::OK, minutes(now, *until)),
            Licence::Volume { until } => {
                // A lapsed KMS activation is followed by 30 days out of tolerance.
                let end = add(*until, 30 * 24 * 60);
                if end > now {
                    (LicenseStatus::OotGrace, Code(0x4004_F00D), minutes(now, end))
                } else {
                    (LicenseStatus::Notification, Code::NOT_BY_KMS, 0)
                }
            }
            Licence::Unactivated => match self.grace_until {
                Some(end) if end > now => (LicenseStatus::OobGrace, Code::IN_GRACE, minutes(now, end)),
                Some(_) => (LicenseStatus::Notification, Code::GRACE_EXPIRED, 0),
                None if self.key.as_ref().is_some_and(|key| key.channel == Channel::KmsClient) => {
                    (LicenseStatus::Notification, Code::NOT_BY_KMS, 0)
                }
                None => (LicenseStatus::Notification, Code::NO_LICENCE, 0),
            },
        }
    }
}

fn minutes(from: Timestamp, to: Timestamp) -> u32 {
    let seconds = to.as_second().saturating_sub(from.as_second()).max(0);
    u32::try_from(seconds / MINUTE).unwrap_or(u32::MAX)
}
