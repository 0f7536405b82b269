//! The licensing service of a simulated PC, by the documented rules: counts, check digits, grace periods, client machine
//! IDs, KMS threshold, error codes. It records every call.
//!
//! What Microsoft does not document is chosen and said here: changed `extras` of the hardware change the installation ID
//! but are tolerated, a changed `board` is not; Windows activates a MAK by itself three days after its first boot unless
//! `manual` is set; a KMS client does not ask its host by itself. Nothing here was measured on real Windows.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::activation::codes::Code;
use crate::activation::confirmation::{ConfirmationId, InstallationId};
use crate::activation::key::{ProductKey, gvlk};
use crate::activation::licensing::{
    Channel, LicensingCall, LicensingError, LicensingService, NO_SUCH_METHOD, Product, ProductScope, Service,
    VlActivationType, WINDOWS_APPLICATION,
};
use crate::sim::portal::confirmation_of;

pub(in crate::sim) mod digits;
mod state;
mod world;

pub use state::{InstalledKey, Licence, LicensingState};
pub use world::{Microsoft, SimKmsHost, World};

use world::Origin;

const MINUTE: i64 = 60;

/// The first build of Windows 8.
const WINDOWS_8: u32 = 9200;

/// How long a KMS activation holds, in minutes: 180 days.
pub const KMS_VALIDITY: u32 = 180 * 24 * 60;

/// How many minutes a client's clock may differ from its KMS host's.
const KMS_CLOCK_TOLERANCE: u32 = 4 * 60;

/// After how many minutes Windows activates by itself: three days.
const AUTOMATIC_ACTIVATION: u32 = 3 * 24 * 60;

/// The trusted store was rearmed; a restart is due.
const RESTART_DUE: Code = Code(0xC004_D302);

fn add(time: Timestamp, minutes: u32) -> Timestamp {
    time.checked_add(SignedDuration::from_mins(i64::from(minutes))).unwrap_or(Timestamp::MAX)
}

/// The hardware of a simulated PC, as far as activation looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// What Windows does not tolerate a change of.
    pub board: String,
    /// What changes the installation ID, but is tolerated: a dock, a disk.
    pub extras: String,
}

impl Hardware {
    /// A PC with this board and nothing else.
    pub fn new(board: &str) -> Self {
        Self { board: board.to_owned(), extras: String::new() }
    }
}

/// The licensing service of one simulated PC.
#[derive(Debug, Clone)]
pub struct SimLicensing {
    state: LicensingState,
    hardware: Hardware,
    world: World,
    /// How far the PC's clock is ahead of the world's, in minutes.
    clock_skew: i32,
    restart_due: bool,
    calls: Vec<LicensingCall>,
}

impl SimLicensing {
    /// A PC that was just cloned from an image with this state, and has booted once. Whatever the PC had before is gone:
    /// that is what makes re-cloning cost activations.
    pub fn after_clone(image: &LicensingState, hardware: &Hardware, world: &World) -> Self {
        let mut pc = Self {
            state: image.clone(),
            hardware: hardware.clone(),
            world: world.clone(),
            clock_skew: 0,
            restart_due: false,
            calls: Vec::new(),
        };
        if image.generalized {
            pc.state.generalized = false;
            if !image.skip_rearm {
                pc.reset_timers();
            }
        }
        pc
    }

    /// What rearming does at the next boot: new timers, a new client machine ID, no activation.
    fn reset_timers(&mut self) {
        let now = self.world.now();
        let number = self.world.next_first_boot().to_string();
        self.state.cmid = digits::guid(&["cmid", &self.hardware.board, &number]);
        self.state.licence = Licence::Unactivated;
        self.state.since = now;
        self.state.grace_until = self.state.is_windows_7().then(|| add(now, 30 * 24 * 60));
    }

    /// The calls made so far, in order.
    pub fn calls(&self) -> &[LicensingCall] {
        &self.calls
    }

    /// The state as it is now: what an image captured from this PC would hold.
    pub fn state(&self) -> &LicensingState {
        &self.state
    }

    /// Today's installation ID, where there is a key.
    pub fn installation_id(&self) -> Option<InstallationId> {
        self.state.key.as_ref().and_then(|key| self.state.installation_id(key, &self.hardware))
    }

    /// Puts other hardware around the disk.
    pub fn replace_hardware(&mut self, hardware: Hardware) {
        self.hardware = hardware;
    }

    /// Sets the PC's clock ahead of the world's, or behind it, in minutes.
    pub fn set_clock_skew(&mut self, minutes: i32) {
        self.clock_skew = minutes;
    }

    /// Restarts the PC, which brings a rearm into force.
    pub fn restart(&mut self) {
        if std::mem::take(&mut self.restart_due) {
            self.reset_timers();
        }
    }

    /// Lets Windows do what it has done by itself until now: activate a key that counts, unless `manual` is set.
    pub fn settle(&mut self) {
        let due = add(self.state.since, AUTOMATIC_ACTIVATION) <= self.world.now();
        let key = self.state.key.clone().filter(|key| matches!(key.channel, Channel::Mak | Channel::Retail));
        if let Some(key) = key.filter(|_| due && !self.state.manual && self.state.licence == Licence::Unactivated)
            && self.world.activate_online(&key.partial).is_ok()
        {
            self.state.licence = Licence::Permanent { board: self.hardware.board.clone() };
        }
    }

    fn begin(&mut self, call: LicensingCall) -> impl FnOnce(Code) -> LicensingError + use<> {
        self.settle();
        self.calls.push(call);
        move |code| LicensingError::Failed { call, code }
    }

    /// The installed key, if `product` is its activation ID.
    fn key_of(&self, product: &str) -> Result<InstalledKey, Code> {
        let key = self.state.key.clone().ok_or(Code::NO_KEY)?;
        let id = self.state.activation_id(key.channel);
        if id.eq_ignore_ascii_case(product) { Ok(key) } else { Err(Code::NO_SUCH_PRODUCT) }
    }

    fn product(&self) -> Option<Product> {
        let key = self.state.key.as_ref()?;
        let (status, reason, grace) = self.state.standing(&self.hardware, self.world.now());
        let iid = self.state.installation_id(key, &self.hardware);
        let id = self.state.activation_id(key.channel);
        if let Some(iid) = &iid {
            let origin = Origin {
                board: self.hardware.board.clone(),
                partial_key: key.partial.clone(),
                activation_id: id.clone(),
            };
            self.world.remember(iid, origin);
        }
        let (key_channel, token) = match key.channel {
            Channel::Mak => ("Volume:MAK", "VOLUME_MAK"),
            Channel::KmsClient => ("Volume:GVLK", "VOLUME_KMSCLIENT"),
            Channel::KmsHost => ("Volume:CSVLK", "VOLUME_KMS"),
            Channel::Retail => ("Retail", "RETAIL"),
            Channel::Oem => ("OEM:DM", "OEM_DM"),
            Channel::Other => ("Other", "TIMEBASED_EVAL"),
        };
        Some(Product {
            id,
            name: Some(format!("Windows(R), {} edition", self.state.edition)),
            description: Some(format!("Windows(R) Operating System, {token} channel")),
            application_id: Some(WINDOWS_APPLICATION.to_owned()),
            family: Some(self.state.edition.clone()),
            addon: Some(false),
            partial_key: Some(key.partial.clone()),
            key_channel: (!self.state.is_windows_7()).then(|| key_channel.to_owned()),
            status: Some(status),
            reason: Some(reason),
            grace_minutes: Some(grace),
            installation_id: iid,
            kms_host: self.state.kms.as_ref().map(|(host, _)| host.clone()),
            kms_port: self.state.kms.as_ref().map(|(_, port)| *port),
            is_kms_host: Some(key.channel == Channel::KmsHost),
            ..Product::default()
        })
    }

    fn try_activate(&mut self, product: &str) -> Result<(), Code> {
        if self.restart_due {
            return Err(RESTART_DUE);
        }
        let key = self.key_of(product)?;
        match key.channel {
            Channel::KmsClient => {
                if self.clock_skew.unsigned_abs() > KMS_CLOCK_TOLERANCE {
                    return Err(Code::KMS_CLOCK);
                }
                let set = self.state.kms.as_ref().map(|(host, port)| (host.as_str(), *port));
                self.world.ask_kms(set, &self.state.cmid)?;
                self.state.licence = Licence::Volume { until: add(self.world.now(), KMS_VALIDITY) };
            }
            Channel::Mak | Channel::Retail | Channel::KmsHost => {
                self.world.activate_online(&key.partial)?;
                self.state.licence = Licence::Permanent { board: self.hardware.board.clone() };
            }
            Channel::Oem => return Err(Code::OEM_ONLINE),
            Channel::Other => return Err(Code::KEY_TYPE),
        }
        Ok(())
    }

    fn try_deposit(&mut self, product: &str, iid: &InstallationId, cid: &ConfirmationId) -> Result<(), Code> {
        if self.restart_due {
            return Err(RESTART_DUE);
        }
        let key = self.key_of(product)?;
        if matches!(key.channel, Channel::KmsClient | Channel::Other) {
            return Err(Code::KEY_TYPE);
        }
        let today = self.state.installation_id(&key, &self.hardware).ok_or(Code::UNSPECIFIED)?;
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
            if origin.partial_key != key.partial || origin.activation_id != self.state.activation_id(key.channel) {
                return Err(Code::OTHER_KEY);
            }
            if origin.board != self.hardware.board {
                return Err(Code::OTHER_HARDWARE);
            }
        }
        self.state.licence = Licence::Permanent { board: self.hardware.board.clone() };
        Ok(())
    }

    fn try_install(&mut self, key: &ProductKey) -> Result<(), Code> {
        let setup_key = gvlk(&self.state.edition, self.state.build).filter(|setup| setup == key);
        let channel = match setup_key {
            Some(_) => Channel::KmsClient,
            None => self.world.channel_of(key).ok_or(Code::KEY_INVALID)?,
        };
        let installed = InstalledKey { partial: key.partial().to_owned(), channel };
        if self.state.key.as_ref() != Some(&installed) {
            self.state.key = Some(installed);
            self.state.licence = Licence::Unactivated;
            self.state.since = self.world.now();
        }
        Ok(())
    }
}

impl LicensingService for SimLicensing {
    fn products(&mut self, scope: ProductScope) -> Result<Vec<Product>, LicensingError> {
        let _ = self.begin(LicensingCall::Products);
        let mut products: Vec<Product> = self.product().into_iter().collect();
        if scope == ProductScope::All {
            products.push(Product {
                id: digits::guid(&["extended security updates"]),
                name: Some("Windows(R), extended security updates".to_owned()),
                application_id: Some(WINDOWS_APPLICATION.to_owned()),
                addon: Some(true),
                status: Some(crate::activation::licensing::LicenseStatus::Unlicensed),
                ..Product::default()
            });
        }
        Ok(products)
    }

    fn service(&mut self) -> Result<Service, LicensingError> {
        let _ = self.begin(LicensingCall::Service);
        Ok(Service {
            version: Some(if self.state.is_windows_7() { "6.1.7601.17514" } else { "10.0.22621.1" }.to_owned()),
            client_machine_id: Some(self.state.cmid.clone()),
            rearms_left: Some(self.state.rearms_left),
            kms_host: self.state.kms.as_ref().map(|(host, _)| host.clone()),
            kms_port: self.state.kms.as_ref().map(|(_, port)| *port),
            ..Service::default()
        })
    }

    fn install_product_key(&mut self, key: &ProductKey) -> Result<(), LicensingError> {
        let failed = self.begin(LicensingCall::InstallProductKey);
        self.try_install(key).map_err(failed)
    }

    fn uninstall_product_key(&mut self, product: &str) -> Result<(), LicensingError> {
        let failed = self.begin(LicensingCall::UninstallProductKey);
        self.key_of(product).map_err(failed)?;
        self.state.key = None;
        self.state.licence = Licence::Unactivated;
        Ok(())
    }

    fn activate(&mut self, product: &str) -> Result<(), LicensingError> {
        let failed = self.begin(LicensingCall::Activate);
        self.try_activate(product).map_err(failed)
    }

    fn deposit_offline_confirmation_id(
        &mut self,
        product: &str,
        iid: &InstallationId,
        cid: &ConfirmationId,
    ) -> Result<(), LicensingError> {
        let failed = self.begin(LicensingCall::DepositOfflineConfirmationId);
        self.try_deposit(product, iid, cid).map_err(failed)
    }

    fn set_kms(&mut self, host: &str, port: u16) -> Result<(), LicensingError> {
        let _ = self.begin(LicensingCall::SetKms);
        self.state.kms = Some((host.to_owned(), port));
        Ok(())
    }

    fn clear_kms(&mut self) -> Result<(), LicensingError> {
        let _ = self.begin(LicensingCall::ClearKms);
        self.state.kms = None;
        Ok(())
    }

    fn refresh_license_status(&mut self) -> Result<(), LicensingError> {
        let _ = self.begin(LicensingCall::RefreshLicenseStatus);
        Ok(())
    }

    fn rearm_windows(&mut self) -> Result<(), LicensingError> {
        let failed = self.begin(LicensingCall::RearmWindows);
        if self.state.skip_rearm {
            return Ok(());
        }
        self.state.rearms_left = self.state.rearms_left.checked_sub(1).ok_or(Code::REARM_LIMIT).map_err(failed)?;
        self.restart_due = true;
        Ok(())
    }

    fn set_vl_activation_type(
        &mut self,
        _product: Option<&str>,
        _kind: VlActivationType,
    ) -> Result<(), LicensingError> {
        let failed = self.begin(LicensingCall::SetVlActivationType);
        if self.state.is_windows_7() { Err(failed(NO_SUCH_METHOD)) } else { Ok(()) }
    }

    fn clear_vl_activation_type(&mut self, _product: Option<&str>) -> Result<(), LicensingError> {
        let failed = self.begin(LicensingCall::ClearVlActivationType);
        if self.state.is_windows_7() { Err(failed(NO_SUCH_METHOD)) } else { Ok(()) }
    }

    fn clear_product_key_from_registry(&mut self) -> Result<(), LicensingError> {
        let _ = self.begin(LicensingCall::ClearProductKeyFromRegistry);
        Ok(())
    }

    fn firmware_key(&mut self) -> Result<Option<ProductKey>, LicensingError> {
        let _ = self.begin(LicensingCall::FirmwareKey);
        Ok(None)
    }
}
