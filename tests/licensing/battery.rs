//! What holds of every licensing service, whoever plays it.

#![expect(clippy::expect_used, reason = "a service that cannot be read must fail the test")]

use klonwerk::activation::codes::Code;
use klonwerk::activation::confirmation::{ConfirmationId, InstallationId, check_digit};
use klonwerk::activation::key::ProductKey;
use klonwerk::activation::licensing::{
    LicenseStatus, LicensingCall, LicensingError, LicensingService, Product, ProductScope, VlActivationType,
};

const WINDOWS_8: u32 = 9200;

type Pc = Box<dyn LicensingService>;

fn with_key(pc: &mut Pc) -> Vec<Product> {
    pc.products(ProductScope::WithKey).expect("readable")
}

fn digits(groups: usize, size: usize) -> String {
    let body = "1".repeat(size - 1);
    format!("{body}{}", check_digit(&body)).repeat(groups)
}

/// The whole battery, each part on a service of its own, of a Windows with this build.
pub(crate) fn all(name: &str, build: u32, make: impl Fn() -> Pc) {
    reads_change_nothing(name, &mut make());
    products_are_complete(name, build, &mut make());
    versions_are_told_apart(name, build, &mut make());
    a_refusal_names_its_call_and_changes_nothing(name, &mut make());
}

fn reads_change_nothing(name: &str, pc: &mut Pc) {
    let (products, all, service) = (with_key(pc), pc.products(ProductScope::All).expect("readable"), pc.service());
    let key = pc.firmware_key().expect("readable");
    pc.refresh_license_status().expect("always there");
    assert_eq!(with_key(pc), products, "{name}");
    assert_eq!(pc.products(ProductScope::All).expect("readable"), all, "{name}");
    assert_eq!(pc.service(), service, "{name}");
    assert_eq!(pc.firmware_key().expect("readable"), key, "{name}");
    assert_eq!(service.expect("readable").firmware_key.unwrap_or(false), key.is_some(), "{name}");
}

fn products_are_complete(name: &str, build: u32, pc: &mut Pc) {
    let (products, all) = (with_key(pc), pc.products(ProductScope::All).expect("readable"));
    assert_eq!(all.iter().filter(|product| product.partial_key.is_some()).count(), products.len(), "{name}");
    let mut ids: Vec<String> = all.iter().map(|product| product.id.to_ascii_lowercase()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "{name}: an activation ID is one product's");
    assert!(products.iter().filter(|product| product.is_windows()).count() <= 1, "{name}: Windows has one key");
    for product in products {
        assert_eq!(product.partial_key.as_deref().map(str::len), Some(5), "{name}");
        assert!(product.channel().is_some() && product.status.is_some() && product.reason.is_some(), "{name}");
        let iid = product.installation_id.expect("a key has an installation ID");
        assert!(iid.check_digits_fit(), "{name}");
        let lengths: &[usize] = if build < WINDOWS_8 { &[54] } else { &[54, 63] };
        assert!(lengths.contains(&iid.digits().len()), "{name}");
        let licensed = product.status == Some(LicenseStatus::Licensed);
        assert_eq!(product.reason == Some(Code::OK), licensed, "{name}: a reason for every other status");
        assert!(licensed || product.vl_activation_type.is_none(), "{name}");
        let grace = product.status.is_some_and(LicenseStatus::is_grace);
        assert!(licensed || grace == (product.grace_minutes > Some(0)), "{name}: minutes are left in grace only");
    }
}

fn versions_are_told_apart(name: &str, build: u32, pc: &mut Pc) {
    let service = pc.service().expect("readable");
    assert_eq!(service.firmware_key.is_some(), build >= WINDOWS_8, "{name}");
    assert!(service.client_machine_id.is_some() && service.rearms_left.is_some(), "{name}");
    for product in with_key(pc) {
        let later = [product.remaining_sku_rearms.is_some(), product.vl_activation_type_enabled.is_some()];
        assert_eq!(later, [build >= WINDOWS_8; 2], "{name}");
        assert!(build >= WINDOWS_8 || product.key_channel.is_none(), "{name}");
    }
    if build < WINDOWS_8 {
        assert!(pc.set_vl_activation_type(None, VlActivationType::Kms).is_err(), "{name}");
        assert!(pc.clear_vl_activation_type(None).is_err(), "{name}");
    }
}

fn a_refusal_names_its_call_and_changes_nothing(name: &str, pc: &mut Pc) {
    let before = with_key(pc);
    let iid = InstallationId::parse(&digits(9, 7)).expect("digits");
    let cid = ConfirmationId::parse(&digits(8, 6)).expect("digits");
    let unknown = ProductKey::parse("BBBBB-BBBBB-BBBBB-BBBBB-BBBBB").expect("a key");
    let refused = [
        (LicensingCall::Activate, pc.activate("no such product")),
        (LicensingCall::UninstallProductKey, pc.uninstall_product_key("no such product")),
        (LicensingCall::InstallProductKey, pc.install_product_key(&unknown)),
        (
            LicensingCall::DepositOfflineConfirmationId,
            pc.deposit_offline_confirmation_id("no such product", &iid, &cid),
        ),
        (
            LicensingCall::SetVlActivationType,
            pc.set_vl_activation_type(Some("no such product"), VlActivationType::ActiveDirectory),
        ),
        (LicensingCall::ClearVlActivationType, pc.clear_vl_activation_type(Some("no such product"))),
    ];
    for (call, answer) in refused {
        let Err(LicensingError::Failed { call: named, code }) = answer else { panic!("{name}: {call:?} was taken") };
        assert_eq!(named, call, "{name}");
        assert_ne!(code, Code::OK, "{name}");
    }
    assert_eq!(with_key(pc), before, "{name}");
}
