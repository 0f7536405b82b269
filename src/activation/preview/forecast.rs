//! A PC as it is expected to be after its clone: just enough of a licensing service for the hook to run against.

use crate::activation::codes::Code;
use crate::activation::confirmation::{ConfirmationId, InstallationId, ProductRef, ReleasedConfirmation};
use crate::activation::hook::{ConfirmationAnswer, ConfirmationDesk, DeskError, OrderedKey, Outcome};
use crate::activation::key::{ProductKey, ReleasedKey};
use crate::activation::licensing::{
    LicenseStatus, LicensingCall, LicensingError, LicensingService, Product, ProductScope, Service, VlActivationType,
};
use crate::activation::preview::{KnownKey, MachineActivation, WINDOWS_7_GRACE};
use crate::activation::strategy::Strategy;
use crate::image::{KeyChannel, WindowsFacts};

/// The first build of Windows 8: from here on there is no grace period to speak of, and installation IDs are longer.
pub(super) const WINDOWS_8: u32 = 9200;

/// Any key: the forecast looks at nothing of it.
const ANY_KEY: &str = "BBBBB-BBBBB-BBBBB-BBBBB-BBBBB";

pub(super) fn ordered_key(key: &KnownKey) -> OrderedKey {
    let value = key.released.then(|| ProductKey::parse(ANY_KEY).ok()).flatten();
    OrderedKey { partial_key: key.partial_key.clone(), product_key: value.map(ReleasedKey) }
}

/// The grace period after the clone, where it is known: as measured at the last clone of this image, else by the rules of
/// the Windows version.
pub(super) fn grace_minutes(image: &WindowsFacts, machine: &MachineActivation) -> Option<u32> {
    let measured = machine
        .last
        .as_ref()
        .filter(|report| matches!(report.outcome, Outcome::InGrace { .. } | Outcome::Notification));
    if let Some(report) = measured {
        return report.grace_minutes;
    }
    if image.build? >= WINDOWS_8 {
        return Some(0);
    }
    let restarts = image.generalized == Some(true) && image.skip_rearm != Some(true);
    restarts.then_some(WINDOWS_7_GRACE)
}

#[derive(Debug, Clone)]
pub(super) struct Forecast {
    product: Option<Product>,
    /// What an installed key becomes.
    installs: Product,
    /// What Windows says to a deposit or an activation.
    pub(super) answer: Result<(), Code>,
    pub(super) calls: Vec<LicensingCall>,
}

impl Forecast {
    pub(super) fn after_clone(strategy: &Strategy, image: &WindowsFacts, machine: &MachineActivation) -> Self {
        let seven = image.build.is_some_and(|build| build < WINDOWS_8);
        let minutes = grace_minutes(image, machine);
        let (status, minutes) = match minutes {
            Some(0) => (LicenseStatus::Notification, 0),
            Some(minutes) => (LicenseStatus::OobGrace, minutes),
            // The clock of such an image has been running: this is the most that can be left.
            None if seven => (LicenseStatus::OobGrace, WINDOWS_7_GRACE),
            None => (LicenseStatus::Notification, 0),
        };
        let digits = if seven { 54 } else { 63 };
        let fresh = |channel: &str| Product {
            partial_key: Some(machine.key.as_ref().map_or_else(|| "?????".to_owned(), |key| key.partial_key.clone())),
            key_channel: Some(channel.to_owned()),
            status: Some(status),
            grace_minutes: Some(minutes),
            installation_id: InstallationId::parse(&"0".repeat(digits)).ok(),
            ..Product::default()
        };
        let suitable = match strategy {
            Strategy::MakProxy { .. } => "Volume:MAK",
            Strategy::None | Strategy::Grace { .. } | Strategy::Kms { .. } => "Volume:GVLK",
        };
        let product = match image.key_channel {
            Some(KeyChannel::None) => None,
            Some(KeyChannel::Mak) => Some(fresh("Volume:MAK")),
            Some(KeyChannel::Gvlk) => Some(fresh("Volume:GVLK")),
            Some(KeyChannel::Oem) => Some(fresh("OEM:DM")),
            Some(KeyChannel::Retail) => Some(fresh("Retail")),
            None => Some(fresh(suitable)),
        };
        // Only the right kind of key can be the profile's.
        let product = product.map(|product| match (strategy, image.key_channel) {
            (Strategy::MakProxy { .. }, Some(channel)) if channel != KeyChannel::Mak => {
                Product { partial_key: Some("?????".to_owned()), ..product }
            }
            _ => product,
        });
        let mut pc = Self { product, installs: fresh(suitable), answer: Ok(()), calls: Vec::new() };
        if machine.last.as_ref().is_some_and(|report| report.outcome == Outcome::AlreadyGood) {
            pc.license();
        }
        pc
    }

    pub(super) fn license(&mut self) {
        if let Some(product) = &mut self.product {
            product.status = Some(LicenseStatus::Licensed);
            product.grace_minutes = Some(0);
        }
    }

    fn answered(&mut self) -> Result<(), Code> {
        self.answer?;
        self.license();
        Ok(())
    }
}

fn failed(call: LicensingCall) -> impl FnOnce(Code) -> LicensingError {
    move |code| LicensingError::Failed { call, code }
}

impl LicensingService for Forecast {
    fn products(&mut self, _scope: ProductScope) -> Result<Vec<Product>, LicensingError> {
        self.calls.push(LicensingCall::Products);
        Ok(self.product.clone().into_iter().collect())
    }

    fn service(&mut self) -> Result<Service, LicensingError> {
        self.calls.push(LicensingCall::Service);
        Ok(Service::default())
    }

    fn install_product_key(&mut self, _key: &ProductKey) -> Result<(), LicensingError> {
        self.calls.push(LicensingCall::InstallProductKey);
        self.product = Some(self.installs.clone());
        Ok(())
    }

    fn uninstall_product_key(&mut self, _product: &str) -> Result<(), LicensingError> {
        self.calls.push(LicensingCall::UninstallProductKey);
        self.product = None;
        Ok(())
    }

    fn activate(&mut self, _product: &str) -> Result<(), LicensingError> {
        self.calls.push(LicensingCall::Activate);
        self.answered().map_err(failed(LicensingCall::Activate))
    }

    fn deposit_offline_confirmation_id(
        &mut self,
        _product: &str,
        _iid: &InstallationId,
        _cid: &ConfirmationId,
    ) -> Result<(), LicensingError> {
        self.calls.push(LicensingCall::DepositOfflineConfirmationId);
        self.answered().map_err(failed(LicensingCall::DepositOfflineConfirmationId))
    }

    fn set_kms(&mut self, _host: &str, _port: u16) -> Result<(), LicensingError> {
        self.calls.push(LicensingCall::SetKms);
        Ok(())
    }

    fn clear_kms(&mut self) -> Result<(), LicensingError> {
        self.calls.push(LicensingCall::ClearKms);
        Ok(())
    }

    fn refresh_license_status(&mut self) -> Result<(), LicensingError> {
        self.calls.push(LicensingCall::RefreshLicenseStatus);
        Ok(())
    }

    fn rearm_windows(&mut self) -> Result<(), LicensingError> {
        self.calls.push(LicensingCall::RearmWindows);
        Ok(())
    }

    fn set_vl_activation_type(
        &mut self,
        _product: Option<&str>,
        _kind: VlActivationType,
    ) -> Result<(), LicensingError> {
        self.calls.push(LicensingCall::SetVlActivationType);
        Ok(())
    }

    fn clear_vl_activation_type(&mut self, _product: Option<&str>) -> Result<(), LicensingError> {
        self.calls.push(LicensingCall::ClearVlActivationType);
        Ok(())
    }

    fn clear_product_key_from_registry(&mut self) -> Result<(), LicensingError> {
        self.calls.push(LicensingCall::ClearProductKeyFromRegistry);
        Ok(())
    }

    fn firmware_key(&mut self) -> Result<Option<ProductKey>, LicensingError> {
        self.calls.push(LicensingCall::FirmwareKey);
        Ok(None)
    }
}

/// A desk that has a confirmation ID for everybody, or for nobody.
pub(super) struct ForecastDesk {
    pub(super) present: bool,
}

impl ConfirmationDesk for ForecastDesk {
    fn confirmation(&mut self, iid: &InstallationId, _: &ProductRef) -> Result<ConfirmationAnswer, DeskError> {
        if !self.present {
            return Ok(ConfirmationAnswer::Pending);
        }
        let cid = ConfirmationId::parse(&"0".repeat(48)).map_err(|e| DeskError { reason: e.to_string() })?;
        Ok(ConfirmationAnswer::Found { cid: ReleasedConfirmation(cid), iid: iid.clone() })
    }

    fn pending(&mut self, _: &InstallationId, _: &ProductRef) -> Result<(), DeskError> {
        Ok(())
    }

    fn stale(&mut self, _: &InstallationId, _: &ProductRef, _: Code) -> Result<(), DeskError> {
        Ok(())
    }
}
