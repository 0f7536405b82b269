//! The licensing state of a simulated Windows: what an image holds and a clone starts from.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::activation::confirmation::InstallationId;
use crate::activation::licensing::{Channel, VlActivationType};
use crate::image::{KeyChannel, WindowsFacts};
use crate::sim::licensing::digits::{grouped_digits, guid};
use crate::sim::licensing::{Hardware, SimProduct, WINDOWS_8, WINDOWS_10, add};

/// The grace period of Windows 7, first or out of tolerance, and that after a lapsed volume activation: 30 days.
pub(super) const GRACE: u32 = 30 * 24 * 60;

/// The installed product key; its value is not kept, as Windows does not keep a MAK's either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledKey {
    /// The last five characters.
    pub partial: String,
    /// Its kind.
    pub channel: Channel,
}

/// Whether and how a product is activated.
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
    /// By Active Directory, for 180 days and as long as the PC is in the domain.
    Directory {
        /// Until then.
        until: Timestamp,
        /// The domain.
        domain: String,
        /// The activation object.
        object: String,
    },
}

/// A product beside Windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Which.
    pub product: SimProduct,
    /// Its key.
    pub key: Option<InstalledKey>,
    /// Its licence.
    pub licence: Licence,
    /// Since when the product or its key has been installed.
    pub since: Timestamp,
}

/// The licensing state inside an image or a PC. `key`, `licence` and `since` are those of Windows itself.
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
    /// Office and additions.
    #[serde(default)]
    pub others: Vec<Installed>,
    /// How volume activation may be done, where that was restricted.
    #[serde(default)]
    pub vl_types: BTreeMap<SimProduct, VlActivationType>,
    /// When a product's activation was last asked for, at Microsoft, Active Directory or a KMS host.
    #[serde(default)]
    pub asked: BTreeMap<SimProduct, Timestamp>,
    /// The domain that the PC has joined.
    #[serde(default)]
    pub domain: Option<String>,
    /// The vendor whose OEM certificate the image holds (Windows 7).
    #[serde(default)]
    pub oem_vendor: Option<String>,
    /// Since when Windows 7 runs on hardware that it was not activated on.
    #[serde(default)]
    pub out_of_tolerance_since: Option<Timestamp>,
    /// A retail key can be read out of the registry.
    #[serde(default)]
    pub key_in_registry: bool,
}

/// One product's place in the state.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) key: &'a mut Option<InstalledKey>,
    pub(super) licence: &'a mut Licence,
    pub(super) since: &'a mut Timestamp,
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
            grace_until: seven.then(|| add(made, GRACE)),
            // Windows 7 lets itself be rearmed three times, later versions 1001 times.
            rearms_left: if seven { 3 } else { 1001 },
            kms: None,
            others: Vec::new(),
            vl_types: BTreeMap::new(),
            asked: BTreeMap::new(),
            domain: None,
            oem_vendor: None,
            out_of_tolerance_since: None,
            key_in_registry: channel == Some(Channel::Retail),
        }
    }

    /// The same image with `SoftwareProtectionPlatform\Activation\Manual` set or cleared offline.
    pub fn with_manual(self, manual: bool) -> Self {
        Self { manual, ..self }
    }

    /// The same image with Office in it, without a key.
    pub fn with_office(mut self) -> Self {
        if self.licence_of(SimProduct::Office).is_none() {
            let since = self.since;
            let (key, licence) = (None, Licence::Unactivated);
            self.others.push(Installed { product: SimProduct::Office, key, licence, since });
        }
        self
    }

    /// The same image, captured from the activated PC with this board and not generalized.
    pub fn activated_on(self, board: &str) -> Self {
        Self { licence: Licence::Permanent { board: board.to_owned() }, generalized: false, ..self }
    }

    /// The same image with the OEM certificate of a vendor (Windows 7).
    pub fn with_oem_vendor(self, vendor: &str) -> Self {
        Self { oem_vendor: Some(vendor.to_owned()), ..self }
    }

    pub(super) fn is_windows_7(&self) -> bool {
        self.build < WINDOWS_8
    }

    /// The edition, on a Windows that has digital licences.
    pub(super) fn digital_edition(&self, product: SimProduct) -> Option<&str> {
        (product == SimProduct::Windows && self.build >= WINDOWS_10).then_some(self.edition.as_str())
    }

    /// The products that are installed, Windows first.
    pub(super) fn products(&self) -> impl Iterator<Item = SimProduct> + use<> {
        let others: Vec<SimProduct> = self.others.iter().map(|other| other.product).collect();
        std::iter::once(SimProduct::Windows).chain(others)
    }

    pub(super) fn key_of(&self, product: SimProduct) -> Option<&InstalledKey> {
        match product {
            SimProduct::Windows => self.key.as_ref(),
            _ => self.others.iter().find(|other| other.product == product)?.key.as_ref(),
        }
    }

    pub(super) fn licence_of(&self, product: SimProduct) -> Option<&Licence> {
        match product {
            SimProduct::Windows => Some(&self.licence),
            _ => self.others.iter().find(|other| other.product == product).map(|other| &other.licence),
        }
    }

    pub(super) fn since_of(&self, product: SimProduct) -> Timestamp {
        self.others.iter().find(|other| other.product == product).map_or(self.since, |other| other.since)
    }

    pub(super) fn place(&mut self, product: SimProduct) -> Option<Place<'_>> {
        if product == SimProduct::Windows {
            return Some(Place { key: &mut self.key, licence: &mut self.licence, since: &mut self.since });
        }
        let other = self.others.iter_mut().find(|other| other.product == product)?;
        Some(Place { key: &mut other.key, licence: &mut other.licence, since: &mut other.since })
    }

    pub(super) fn vl_type(&self, product: SimProduct) -> VlActivationType {
        self.vl_types.get(&product).copied().unwrap_or(VlActivationType::Any)
    }

    /// The activation ID: the documented one of an addition, else one for each product, Windows, edition and kind of key.
    pub(super) fn activation_id(&self, product: SimProduct, channel: Channel) -> String {
        let generation = if self.is_windows_7() { "7" } else { "8 and later" };
        match product.documented_id() {
            Some(id) => id.to_owned(),
            None if product == SimProduct::Office => guid(&["office", &format!("{channel:?}")]),
            None => guid(&["product", generation, &self.edition, &format!("{channel:?}")]),
        }
    }

    /// The installation ID: of the key's generation, so short on Windows 7 and for Office.
    pub(super) fn installation_id(
        &self,
        product: SimProduct,
        key: &InstalledKey,
        hardware: &Hardware,
    ) -> Option<InstallationId> {
        let size = if self.is_windows_7() || product == SimProduct::Office { 6 } else { 7 };
        let id = self.activation_id(product, key.channel);
        let parts = ["installation", &hardware.board, &hardware.extras, &key.partial, &id];
        InstallationId::parse(&grouped_digits(&parts, 9, size)).ok()
    }
}
