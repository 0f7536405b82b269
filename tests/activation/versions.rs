//! What the Windows versions show, as far as the hook reads it.

use klonwerk::activation::Strategy;
use klonwerk::activation::confirmation::{ConfirmationId, InstallationId};
use klonwerk::activation::hook::{ActivationReport, HookError, Outcome, run};
use klonwerk::activation::key::ProductKey;
use klonwerk::activation::licensing::{
    Channel, LicenseStatus, LicensingCall, LicensingError, LicensingService, Product, ProductScope, Service,
    WINDOWS_APPLICATION,
};
use klonwerk::image::KeyChannel;

use crate::school::{Closed, facts, kms, mak_proxy, order};

/// A PC that only answers questions, or refuses them.
struct Still(Result<Vec<Product>, LicensingError>);

type Done = Result<(), LicensingError>;

impl LicensingService for Still {
    fn products(&mut self, _: ProductScope) -> Result<Vec<Product>, LicensingError> {
        self.0.clone()
    }

    fn service(&mut self) -> Result<Service, LicensingError> {
        Ok(Service::default())
    }

    fn install_product_key(&mut self, _: &ProductKey) -> Done {
        panic!("must not be called")
    }

    fn uninstall_product_key(&mut self, _: &str) -> Done {
        panic!("must not be called")
    }

    fn activate(&mut self, _: &str) -> Done {
        panic!("must not be called")
    }

    fn deposit_offline_confirmation_id(&mut self, _: &str, _: &InstallationId, _: &ConfirmationId) -> Done {
        panic!("must not be called")
    }

    fn set_kms(&mut self, _: &str, _: u16) -> Done {
        panic!("must not be called")
    }

    fn clear_kms(&mut self) -> Done {
        panic!("must not be called")
    }

    fn refresh_license_status(&mut self) -> Done {
        panic!("must not be called")
    }

    fn rearm_windows(&mut self) -> Done {
        panic!("must not be called")
    }
}

fn see(strategy: &Strategy, products: Vec<Product>) -> Result<ActivationReport, HookError> {
    run(&order(strategy, &facts(22631, KeyChannel::Mak), false), &mut Still(Ok(products)), &mut Closed)
}

/// As Windows 7 shows it: without the properties of later versions.
fn windows(token: &str, status: LicenseStatus, grace: u32) -> Product {
    Product {
        id: "2DE67392-B7A7-462A-B1CA-108DD189F588".into(),
        description: Some(format!("Windows(R), {token} channel")),
        application_id: Some(WINDOWS_APPLICATION.into()),
        partial_key: Some("7hkmq".into()),
        status: Some(status),
        grace_minutes: Some(grace),
        ..Product::default()
    }
}

#[test]
fn windows_is_found_among_office_and_additions() {
    let addon = Product { addon: Some(true), ..windows("VOLUME_MAK", LicenseStatus::Unlicensed, 0) };
    let office = Product {
        application_id: Some("0ff1ce16-a989-479d-af46-f275c6370663".into()),
        ..windows("VOLUME_MAK", LicenseStatus::Unlicensed, 0)
    };
    let keyless = Product { partial_key: None, ..windows("VOLUME_MAK", LicenseStatus::Unlicensed, 0) };
    let licensed = windows("VOLUME_MAK", LicenseStatus::Licensed, 0);
    let report = see(&mak_proxy(), vec![keyless, office, addon, licensed]).expect("a report");
    assert_eq!(report.outcome, Outcome::AlreadyGood);
    assert_eq!(report.activation_id.as_deref(), Some("2de67392-b7a7-462a-b1ca-108dd189f588"));
    assert_eq!(report.calls, [LicensingCall::Service, LicensingCall::Products]);
}

#[test]
fn a_volume_activation_of_180_days_is_good() {
    let volume = see(&kms(None), vec![windows("VOLUME_KMSCLIENT", LicenseStatus::Licensed, 259_200)]);
    assert_eq!(volume.map(|report| report.outcome), Ok(Outcome::AlreadyGood));
}

#[test]
fn a_vendors_key_and_no_key_do_not_fit_kms() {
    let oem = see(&kms(None), vec![windows("OEM_DM", LicenseStatus::Licensed, 0)]);
    assert!(matches!(oem, Err(HookError::WrongChannel { found: Some(Channel::Oem), .. })));
    assert!(matches!(see(&kms(None), vec![]), Err(HookError::WrongChannel { found: None, .. })));
}

#[test]
fn a_key_without_an_installation_id_is_an_error() {
    let no_iid = see(&mak_proxy(), vec![windows("VOLUME_MAK", LicenseStatus::Notification, 0)]);
    assert_eq!(no_iid, Err(HookError::NoInstallationId));
}

#[test]
fn grace_minutes_are_taken_as_they_are() {
    let grace = Strategy::Grace { accept_notification: false };
    let outcome = |status, minutes| see(&grace, vec![windows("RETAIL", status, minutes)]).map(|report| report.outcome);
    assert_eq!(outcome(LicenseStatus::OobGrace, 43_200), Ok(Outcome::InGrace { minutes: 43_200 }));
    assert_eq!(outcome(LicenseStatus::OotGrace, 1), Ok(Outcome::InGrace { minutes: 1 }));
    assert_eq!(outcome(LicenseStatus::Notification, 0), Ok(Outcome::Notification));
    assert_eq!(outcome(LicenseStatus::Licensed, 0), Ok(Outcome::AlreadyGood));
}

#[test]
fn a_service_that_cannot_be_read_is_an_error_of_its_own() {
    let failed = LicensingError::Failed { call: LicensingCall::Products, code: "-1073418203".parse().expect("a code") };
    let order = order(&kms(None), &facts(22631, KeyChannel::Gvlk), false);
    let error = run(&order, &mut Still(Err(failed.clone())), &mut Closed).expect_err("cannot be read");
    assert_eq!(error, HookError::Licensing(failed));
    assert!(error.text(klonwerk::room::Language::De).contains("0xC004F025"));
}
