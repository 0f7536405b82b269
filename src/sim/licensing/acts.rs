//! What a simulated PC does when it is told to, or by itself: install a key, activate, take a confirmation ID.

use jiff::{SignedDuration, Timestamp};

use crate::activation::codes::Code;
use crate::activation::confirmation::{ConfirmationId, InstallationId};
use crate::activation::key::{ProductKey, gvlk, is_gvlk};
use crate::activation::licensing::{Channel, LicenseStatus, VlActivationType};
use crate::sim::licensing::keys::KeyFacts;
use crate::sim::licensing::standing::{OUT_OF_TOLERANCE, vendor_match};
use crate::sim::licensing::world::Asker;
use crate::sim::licensing::{
    AUTOMATIC_ACTIVATION, DIGITAL_DELAY, Installed, InstalledKey, KMS_RENEWAL, KMS_RETRY, KMS_VALIDITY, Licence,
    SimLicensing, SimProduct, add,
};
use crate::sim::portal::confirmation_of;

/// The trusted store was rearmed; a restart is due.
const RESTART_DUE: Code = Code(0xC004_D302);
/// The key belongs to another edition or version.
const OTHER_EDITION: Code = Code(0xC004_E016);
/// A vendor's key belongs to another edition.
const OTHER_EDITION_OEM: Code = Code(0xC004_F212);
/// The PC was not sold with a Windows that a volume key could upgrade.
const NOT_QUALIFYING: Code = Code(0xC004_F035);
/// An addition's base is not activated.
const BASE_MISSING: Code = Code(0xC004_F066);
/// The clock differs too much for the activation server.
const CLOCK_WRONG: Code = Code(0xC004_B011);
/// The clock differs so much that Microsoft's certificate does not hold.
const CERTIFICATE_TIME: Code = Code(0x8007_2F8F);

/// How many minutes a client's clock may differ from its KMS host's.
const KMS_CLOCK_TOLERANCE: u32 = 4 * 60;
/// How many it may differ from the activation server's.
const ONLINE_CLOCK_TOLERANCE: u32 = 24 * 60;
/// How long a volume activation holds on when its renewal is due.
const VALIDITY_BEYOND_RENEWAL: SignedDuration = SignedDuration::from_mins((KMS_VALIDITY - KMS_RENEWAL) as i64);
/// From how many on no certificate holds: a year.
const CERTIFICATE_TOLERANCE: u32 = 365 * 24 * 60;

impl SimLicensing {
    /// The product and key that `product` is the activation ID of.
    pub(super) fn find(&self, product: &str) -> Result<(SimProduct, InstalledKey), Code> {
        let mut with_key = self.state.products().filter_map(|p| Some((p, self.state.key_of(p)?))).peekable();
        if with_key.peek().is_none() {
            return Err(Code::NO_KEY);
        }
        let of = |(p, key): &(SimProduct, &InstalledKey)| {
            self.state.activation_id(*p, key.channel).eq_ignore_ascii_case(product)
        };
        with_key.find(of).map(|(p, key)| (p, key.clone())).ok_or(Code::NO_SUCH_PRODUCT)
    }

    fn license(&mut self, product: SimProduct, licence: Licence) {
        if product == SimProduct::Windows {
            self.state.out_of_tolerance_since = None;
        }
        if let Some(place) = self.state.place(product) {
            *place.licence = licence;
        }
    }

    /// An addition cannot be activated before its base is.
    fn check_base(&self, product: SimProduct) -> Result<(), Code> {
        let (base, ..) = self.state.standing(SimProduct::Windows, &self.hardware, self.world.now());
        if product.is_addition() && base != LicenseStatus::Licensed { Err(BASE_MISSING) } else { Ok(()) }
    }

    /// Windows 7 takes no volume key on a PC whose SLIC table lacks the Windows marker.
    fn check_qualifying(&self, channel: Channel) -> Result<(), Code> {
        let volume = matches!(channel, Channel::Mak | Channel::KmsClient);
        let unmarked = self.hardware.slic.as_ref().is_some_and(|slic| !slic.windows_marker);
        if self.state.is_windows_7() && volume && unmarked { Err(NOT_QUALIFYING) } else { Ok(()) }
    }

    pub(super) fn try_activate(&mut self, id: &str) -> Result<(), Code> {
        if self.restart_due {
            return Err(RESTART_DUE);
        }
        let (product, key) = self.find(id)?;
        self.activate_product(product, &key, false)
    }

    fn activate_product(&mut self, product: SimProduct, key: &InstalledKey, by_itself: bool) -> Result<(), Code> {
        self.check_base(product)?;
        self.check_qualifying(key.channel)?;
        match key.channel {
            Channel::KmsClient => self.volume(product, key, by_itself),
            Channel::Mak | Channel::Retail | Channel::KmsHost => self.online(product, key, by_itself),
            Channel::Oem if self.state.is_windows_7() => match vendor_match(&self.state, &self.hardware) {
                Ok(()) => Ok(()),
                // An image of an activated PC keeps its licence; on another board it is out of tolerance.
                Err(_) if self.state.out_of_tolerance_since.is_some() => Err(OUT_OF_TOLERANCE),
                Err(_) => Err(Code::OEM_ONLINE),
            },
            Channel::Oem => {
                let own = self.hardware.msdm.as_ref().is_some_and(|own| own.partial() == key.partial);
                if own { self.online(product, key, by_itself) } else { Err(Code::OEM_ONLINE) }
            }
            Channel::Other => Err(Code::KEY_TYPE),
        }
    }

    fn online(&mut self, product: SimProduct, key: &InstalledKey, by_itself: bool) -> Result<(), Code> {
        match self.clock_skew.unsigned_abs() {
            off if off > CERTIFICATE_TOLERANCE => return Err(CERTIFICATE_TIME),
            off if off > ONLINE_CLOCK_TOLERANCE => return Err(CLOCK_WRONG),
            _ => {}
        }
        let id = self.state.activation_id(product, key.channel);
        self.state.asked.insert(product, self.world.now());
        let asker =
            Asker { hardware: &self.hardware, product, activation_id: &id, partial_key: &key.partial, by_itself };
        let answer = self.world.activate_online(asker, key.channel, self.state.digital_edition(product));
        if answer.licensed {
            self.license(product, Licence::Permanent { board: self.hardware.board.clone() });
        }
        answer.said
    }

    /// Active Directory first, then KMS, as far as both are allowed.
    fn volume(&mut self, product: SimProduct, key: &InstalledKey, by_itself: bool) -> Result<(), Code> {
        let now = self.world.now();
        let id = self.state.activation_id(product, key.channel);
        let asker =
            Asker { hardware: &self.hardware, product, activation_id: &id, partial_key: &key.partial, by_itself };
        self.state.asked.insert(product, now);
        let until = add(now, KMS_VALIDITY);
        let allowed = self.state.vl_type(product);
        let domain = self.state.domain.clone();
        let directory = match allowed {
            VlActivationType::Any => !self.state.is_windows_7() && domain.is_some(),
            VlActivationType::ActiveDirectory => true,
            VlActivationType::Kms => false,
            VlActivationType::Token => return Err(Code::KEY_TYPE),
        };
        if directory {
            match (self.world.ask_directory(asker, domain.as_deref()), domain) {
                (Ok(object), Some(domain)) => {
                    self.license(product, Licence::Directory { until, domain, object });
                    return Ok(());
                }
                (Err(code), _) if allowed == VlActivationType::ActiveDirectory => return Err(code),
                _ => {}
            }
        }
        if self.clock_skew.unsigned_abs() > KMS_CLOCK_TOLERANCE {
            return Err(Code::KMS_CLOCK);
        }
        let set = self.state.kms.as_ref().map(|(host, port)| (host.as_str(), *port));
        self.world.ask_kms(asker, set, &self.state.cmid)?;
        self.license(product, Licence::Volume { until });
        Ok(())
    }

    pub(super) fn try_deposit(&mut self, id: &str, iid: &InstallationId, cid: &ConfirmationId) -> Result<(), Code> {
        if self.restart_due {
            return Err(RESTART_DUE);
        }
        let (product, key) = self.find(id)?;
        if matches!(key.channel, Channel::KmsClient | Channel::Other) {
            return Err(Code::KEY_TYPE);
        }
        self.check_base(product)?;
        let today = self.state.installation_id(product, &key, &self.hardware).ok_or(Code::UNSPECIFIED)?;
        if iid.digits().len() != today.digits().len() {
            return Err(Code::CONFIRMATION_LENGTH);
        }
        if !iid.check_digits_fit() || !cid.check_digits_fit() {
            return Err(Code::CHECK_DIGITS);
        }
        if confirmation_of(iid).map_err(|_| Code::UNSPECIFIED)? != *cid {
            return Err(Code::NOT_ITS_CONFIRMATION);
        }
        if *iid != today {
            let origin = self.world.origin(iid).ok_or(Code::OTHER_HARDWARE)?;
            let id = self.state.activation_id(product, key.channel);
            if origin.partial_key != key.partial || origin.activation_id != id {
                return Err(Code::OTHER_KEY);
            }
            if origin.board != self.hardware.board {
                return Err(Code::OTHER_HARDWARE);
            }
        }
        self.license(product, Licence::Permanent { board: self.hardware.board.clone() });
        Ok(())
    }

    pub(super) fn try_install(&mut self, key: &ProductKey) -> Result<SimProduct, Code> {
        let facts = self.recognise(key)?;
        let installed = InstalledKey { partial: key.partial().to_owned(), channel: facts.channel };
        let now = self.world.now();
        let product = facts.product;
        if product.is_addition() && self.state.licence_of(product).is_none() {
            let (key, licence) = (None, Licence::Unactivated);
            self.state.others.push(Installed { product, key, licence, since: now });
        }
        // Without Office there is nobody who knows an Office key.
        let place = self.state.place(product).ok_or(Code::KEY_INVALID)?;
        if place.key.as_ref() != Some(&installed) {
            *place.key = Some(installed);
            *place.licence = Licence::Unactivated;
            *place.since = now;
            self.state.asked.remove(&product);
        }
        if product == SimProduct::Windows {
            self.state.key_in_registry = facts.channel == Channel::Retail;
        }
        Ok(product)
    }

    /// What Windows' key configuration knows of a key.
    fn recognise(&self, key: &ProductKey) -> Result<KeyFacts, Code> {
        let (edition, build) = (self.state.edition.as_str(), self.state.build);
        if gvlk(edition, build).is_some_and(|setup| setup == *key) {
            return Ok(KeyFacts::windows(Channel::KmsClient));
        }
        let known = self.world.key_facts(key);
        let in_firmware = !self.state.is_windows_7() && self.hardware.msdm.as_ref() == Some(key);
        let facts = match known {
            Some(facts) => facts,
            None if in_firmware => KeyFacts::windows(Channel::Oem),
            None if is_gvlk(key.partial()) => return Err(OTHER_EDITION),
            None => return Err(Code::KEY_INVALID),
        };
        if facts.product == SimProduct::Office || facts.fits(edition, build) {
            return Ok(facts);
        }
        Err(if facts.channel == Channel::Oem { OTHER_EDITION_OEM } else { OTHER_EDITION })
    }

    /// Lets Windows do what it does by itself, as of now: activate a key that counts some days after its installation,
    /// ask its KMS host every two hours and after success every seven days. It does none of it if `manual` is set.
    ///
    /// It looks at the world as it is at this moment; call it as often as a simulation wants such things to happen. Every
    /// call at the service does so too.
    pub fn settle(&mut self) {
        if !self.acts_by_itself || self.state.manual || self.restart_due {
            return;
        }
        let now = self.world.now();
        for product in self.state.products() {
            let Some(key) = self.state.key_of(product).cloned() else { continue };
            let due = match key.channel {
                Channel::KmsClient => self.asks_kms_by_itself && self.request_due(product) <= now,
                Channel::Mak | Channel::Retail | Channel::Oem => {
                    let digital = self.state.digital_edition(product).is_some_and(|edition| {
                        key.channel == Channel::Retail && self.world.has_digital_licence(&self.hardware.board, edition)
                    });
                    let delay = if digital { DIGITAL_DELAY } else { AUTOMATIC_ACTIVATION };
                    let (status, ..) = self.state.standing(product, &self.hardware, now);
                    let tried = self.state.asked.get(&product).is_some_and(|at| add(*at, KMS_RETRY) > now);
                    status != LicenseStatus::Licensed && !tried && add(self.state.since_of(product), delay) <= now
                }
                Channel::KmsHost | Channel::Other => false,
            };
            // What comes of it shows in the status.
            let _ = due.then(|| self.activate_product(product, &key, true));
        }
    }

    /// When a volume client asks next: seven days after its last success, and two hours after a failure.
    fn request_due(&self, product: SimProduct) -> Timestamp {
        let asked = self.state.asked.get(&product).copied();
        match self.state.licence_of(product) {
            Some(Licence::Volume { until } | Licence::Directory { until, .. })
                if asked.is_none_or(|asked| add(asked, KMS_VALIDITY) <= *until) =>
            {
                until.checked_sub(VALIDITY_BEYOND_RENEWAL).unwrap_or(Timestamp::MIN)
            }
            _ => add(asked.unwrap_or(self.state.since_of(product)), KMS_RETRY),
        }
    }
}
