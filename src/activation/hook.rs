//! The activation hook: detect, act, re-read.
//!
//! One function over two seams: the licensing service of the PC and the [`ConfirmationDesk`], the channel to the server.
//! It judges by what the service says after the act, never by an exit code or a text. What is already good for its
//! strategy is left alone, so that it can be run again at any time. It never activates a key that counts: the one place
//! that calls `Activate` does so for a KMS client key only.

use crate::activation::codes::Code;
use crate::activation::confirmation::{InstallationId, ProductRef};
use crate::activation::key::ProductKey;
use crate::activation::licensing::{
    Channel, LicenseStatus, LicensingCall, LicensingError, LicensingService, Product, ProductScope, Service,
};

mod desk;
mod order;
mod report;

pub use desk::{ConfirmationAnswer, ConfirmationDesk, DeskError};
pub use order::{ActivationOrder, KeyMissing, OrderedKey, OrderedStrategy};
pub use report::{ActivationReport, HookError, Outcome};

/// Applies `order` to this PC.
///
/// Fails when the order must not be carried out here, when the service cannot be read or when the server cannot be
/// asked; whatever Windows says of an act is an [`Outcome`].
pub fn run(
    order: &ActivationOrder,
    service: &mut dyn LicensingService,
    desk: &mut dyn ConfirmationDesk,
) -> Result<ActivationReport, HookError> {
    if order.may_spend {
        return Err(HookError::SpendingOrder);
    }
    if order.strategy == OrderedStrategy::None {
        return Ok(ActivationReport::untouched());
    }
    let mut visit = Visit::begin(service, order.activation_id.as_deref())?;
    let outcome = match &order.strategy {
        OrderedStrategy::None => Outcome::Untouched,
        OrderedStrategy::Grace => grace(&visit)?,
        OrderedStrategy::MakProxy { key } => mak_proxy(&mut visit, key, desk)?,
        OrderedStrategy::Kms { host, port, product_key } => {
            kms(&mut visit, host.as_deref(), *port, product_key.as_ref().map(|key| &key.0))?
        }
    };
    Ok(visit.report(outcome))
}

/// One visit at the licensing service, with what it last said and every call made.
struct Visit<'a> {
    service: &'a mut dyn LicensingService,
    wanted: Option<&'a str>,
    about: Service,
    product: Option<Product>,
    calls: Vec<LicensingCall>,
}

impl<'a> Visit<'a> {
    fn begin(service: &'a mut dyn LicensingService, wanted: Option<&'a str>) -> Result<Self, HookError> {
        let about = service.service().map_err(HookError::Licensing)?;
        let mut visit = Self { service, wanted, about, product: None, calls: vec![LicensingCall::Service] };
        visit.read()?;
        Ok(visit)
    }

    /// Reads the product anew.
    fn read(&mut self) -> Result<(), HookError> {
        self.calls.push(LicensingCall::Products);
        let products = self.service.products(ProductScope::WithKey).map_err(HookError::Licensing)?;
        self.product = products.into_iter().filter(|product| product.partial_key.is_some()).find(|product| {
            self.wanted.map_or_else(|| product.is_windows(), |wanted| product.id.eq_ignore_ascii_case(wanted))
        });
        Ok(())
    }

    /// Makes one call that changes something, then refreshes and re-reads, whatever came of it.
    fn act(
        &mut self,
        call: LicensingCall,
        act: impl FnOnce(&mut dyn LicensingService) -> Result<(), LicensingError>,
    ) -> Result<Result<(), Code>, HookError> {
        self.calls.push(call);
        let done = act(self.service).map_err(|error| error.code());
        self.calls.push(LicensingCall::RefreshLicenseStatus);
        self.service.refresh_license_status().map_err(HookError::Licensing)?;
        self.read()?;
        Ok(done)
    }

    fn partial_key(&self) -> Option<&str> {
        self.product.as_ref().and_then(|product| product.partial_key.as_deref())
    }

    fn channel(&self) -> Option<Channel> {
        self.product.as_ref().and_then(Product::channel)
    }

    fn licensed(&self) -> bool {
        self.product.as_ref().is_some_and(|product| product.status == Some(LicenseStatus::Licensed))
    }

    fn reason(&self) -> Code {
        self.product.as_ref().map_or(Code::NO_KEY, |product| product.reason.unwrap_or(Code::UNSPECIFIED))
    }

    /// A KMS host's key on a client uses up the host's few activations: it goes, and the administrator hears of it.
    fn refuse_host_key(&mut self) -> Result<(), HookError> {
        let Some(product) = self.product.clone().filter(|product| product.channel() == Some(Channel::KmsHost)) else {
            return Ok(());
        };
        let removed =
            self.act(LicensingCall::UninstallProductKey, |service| service.uninstall_product_key(&product.id))?;
        let partial_key = product.partial_key.unwrap_or_default();
        Err(HookError::HostKey { partial_key, removed: removed.is_ok() })
    }

    fn report(self, outcome: Outcome) -> ActivationReport {
        let product = self.product.unwrap_or_default();
        ActivationReport {
            outcome,
            channel: product.channel(),
            activation_id: product.partial_key.is_some().then(|| product.id.to_ascii_lowercase()),
            status: product.status,
            reason: product.reason,
            grace_minutes: product.grace_minutes,
            partial_key: product.partial_key,
            cmid: self.about.client_machine_id,
            rearms_left: self.about.rearms_left,
            // Nothing here can spend: `activate_at_kms` is the only way to `Activate`, and it refuses other keys.
            activations_spent: 0,
            calls: self.calls,
        }
    }
}

fn grace(visit: &Visit<'_>) -> Result<Outcome, HookError> {
    let Some(product) = &visit.product else { return Ok(Outcome::Failed { code: Code::NO_KEY }) };
    if visit.channel() == Some(Channel::Mak) {
        return Err(HookError::MakInGraceImage { partial_key: product.partial_key.clone().unwrap_or_default() });
    }
    Ok(match product.status {
        Some(LicenseStatus::Licensed) => Outcome::AlreadyGood,
        Some(status) if status.is_grace() => Outcome::InGrace { minutes: product.grace_minutes.unwrap_or(0) },
        Some(_) => Outcome::Notification,
        None => Outcome::Failed { code: visit.reason() },
    })
}

fn mak_proxy(visit: &mut Visit<'_>, key: &OrderedKey, desk: &mut dyn ConfirmationDesk) -> Result<Outcome, HookError> {
    visit.refuse_host_key()?;
    if !has_key(visit, &key.partial_key) {
        let Some(value) = &key.product_key else { return Err(key_not_in_image(visit, key)) };
        if let Err(code) = install(visit, &value.0)? {
            return Ok(Outcome::Failed { code });
        }
        visit.refuse_host_key()?;
        if !has_key(visit, &key.partial_key) {
            return Err(key_not_in_image(visit, key));
        }
    }
    if let Some(found) = visit.channel().filter(|channel| *channel != Channel::Mak) {
        return Err(HookError::WrongChannel { expected: Channel::Mak, found: Some(found) });
    }
    if visit.product.as_ref().is_some_and(Product::is_permanent) {
        return Ok(Outcome::AlreadyGood);
    }
    let (today, product, id) = match &visit.product {
        Some(Product { id, installation_id: Some(iid), partial_key: Some(partial), .. }) => {
            let partial_key = partial.to_ascii_uppercase();
            (iid.clone(), ProductRef { activation_id: id.to_ascii_lowercase(), partial_key }, id.clone())
        }
        _ => return Err(HookError::NoInstallationId),
    };
    match desk.confirmation(&today, &product).map_err(HookError::Desk)? {
        ConfirmationAnswer::Pending => {
            desk.pending(&today, &product).map_err(HookError::Desk)?;
            Ok(Outcome::PendingIid)
        }
        ConfirmationAnswer::Found { cid, iid } => {
            let deposited = visit.act(LicensingCall::DepositOfflineConfirmationId, |service| {
                service.deposit_offline_confirmation_id(&id, &iid, &cid.0)
            })?;
            match deposited {
                Ok(()) if visit.licensed() => Ok(Outcome::Activated),
                Ok(()) => Ok(Outcome::Failed { code: visit.reason() }),
                Err(code) if code.makes_pair_stale() => give_up(desk, &today, &iid, &product, code),
                Err(code) => Ok(Outcome::Failed { code }),
            }
        }
    }
}

/// The pair no longer fits: the server forgets it, and gets today's installation ID to ask for a new one.
fn give_up(
    desk: &mut dyn ConfirmationDesk,
    today: &InstallationId,
    stored: &InstallationId,
    product: &ProductRef,
    code: Code,
) -> Result<Outcome, HookError> {
    desk.stale(stored, product, code).map_err(HookError::Desk)?;
    desk.pending(today, product).map_err(HookError::Desk)?;
    Ok(Outcome::StaleConfirmation { code })
}

fn has_key(visit: &Visit<'_>, partial: &str) -> bool {
    visit.partial_key().is_some_and(|found| found.eq_ignore_ascii_case(partial))
}

fn key_not_in_image(visit: &Visit<'_>, key: &OrderedKey) -> HookError {
    HookError::KeyNotInImage { expected: key.partial_key.clone(), found: visit.partial_key().map(str::to_owned) }
}

fn install(visit: &mut Visit<'_>, key: &ProductKey) -> Result<Result<(), Code>, HookError> {
    visit.act(LicensingCall::InstallProductKey, |service| service.install_product_key(key))
}

fn kms(
    visit: &mut Visit<'_>,
    host: Option<&str>,
    port: u16,
    product_key: Option<&ProductKey>,
) -> Result<Outcome, HookError> {
    visit.refuse_host_key()?;
    if visit.channel() != Some(Channel::KmsClient) {
        let wrong = HookError::WrongChannel { expected: Channel::KmsClient, found: visit.channel() };
        let Some(key) = product_key else { return Err(wrong) };
        if let Err(code) = install(visit, key)? {
            return Ok(Outcome::Failed { code });
        }
        visit.refuse_host_key()?;
    }
    if visit.channel() == Some(Channel::KmsClient) && visit.licensed() {
        return Ok(Outcome::AlreadyGood);
    }
    let called = match host {
        Some(_) => LicensingCall::SetKms,
        None => LicensingCall::ClearKms,
    };
    visit.calls.push(called);
    let set = match host {
        Some(host) => visit.service.set_kms(host, port),
        None => visit.service.clear_kms(),
    };
    if let Err(error) = set {
        return Ok(Outcome::Failed { code: error.code() });
    }
    match activate_at_kms(visit)? {
        Ok(()) if visit.licensed() => Ok(Outcome::Activated),
        Ok(()) => Ok(kms_outcome(visit.reason())),
        Err(code) => Ok(kms_outcome(code)),
    }
}

/// The only call of `Activate`: refused for every key but a KMS client's, since each other one could count.
fn activate_at_kms(visit: &mut Visit<'_>) -> Result<Result<(), Code>, HookError> {
    match &visit.product {
        Some(product) if product.channel() == Some(Channel::KmsClient) => {
            let id = product.id.clone();
            visit.act(LicensingCall::Activate, |service| service.activate(&id))
        }
        _ => Err(HookError::WrongChannel { expected: Channel::KmsClient, found: visit.channel() }),
    }
}

fn kms_outcome(code: Code) -> Outcome {
    match code {
        Code::COUNT_TOO_LOW => Outcome::CountTooLow,
        code if code.kms_unreachable() => Outcome::KmsUnreachable,
        code => Outcome::Failed { code },
    }
}
