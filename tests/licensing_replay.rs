//! The hook over every record of a licensing service, under each strategy that needs no key from the server.

#![expect(clippy::expect_used, reason = "a test that cannot be set up must fail")]

use std::fs;
use std::path::Path;

use klonwerk::activation::Strategy;
use klonwerk::activation::codes::Code;
use klonwerk::activation::confirmation::{
    ConfirmationId, InstallationId, ProductRef, ReleasedConfirmation, check_digit,
};
use klonwerk::activation::hook::{ActivationOrder, ConfirmationAnswer, ConfirmationDesk, DeskError, OrderedKey, run};
use klonwerk::activation::key::ProductKey;
use klonwerk::activation::licensing::{
    Channel, LicenseStatus, LicensingCall, LicensingError, LicensingService, ProductScope, VlActivationType,
};
use klonwerk::image::WindowsFacts;
use klonwerk::sim::replay::{NOT_IN_RECORD, RecordOrigin, Replay, ReplayError};

#[path = "licensing/battery.rs"]
mod battery;

/// The records by name.
fn records() -> Vec<(String, Replay)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/licensing");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("the records").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).expect("readable");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let replay = Replay::from_json(&text).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        (name, replay)
    };
    files.iter().map(read).collect()
}

fn record(name: &str) -> Replay {
    records().into_iter().find(|(found, _)| found == name).expect("there").1
}

/// A desk that has a confirmation ID for everybody.
struct Full;

impl ConfirmationDesk for Full {
    fn confirmation(&mut self, iid: &InstallationId, _: &ProductRef) -> Result<ConfirmationAnswer, DeskError> {
        let digits: String = (0..8).map(|_| format!("12345{}", check_digit("12345"))).collect();
        let cid = ConfirmationId::parse(&digits).expect("48 digits");
        Ok(ConfirmationAnswer::Found { cid: ReleasedConfirmation(cid), iid: iid.clone() })
    }

    fn pending(&mut self, _: &InstallationId, _: &ProductRef) -> Result<(), DeskError> {
        Ok(())
    }

    fn stale(&mut self, _: &InstallationId, _: &ProductRef, _: Code) -> Result<(), DeskError> {
        Ok(())
    }
}

fn order(strategy: &Strategy) -> ActivationOrder {
    let key = OrderedKey { partial_key: "7HKMQ".into(), product_key: None };
    ActivationOrder::new(strategy, &WindowsFacts::default(), Some(key)).expect("an order")
}

#[test]
fn the_hook_meets_every_record() {
    let strategies = [
        Strategy::Grace { accept_notification: true },
        Strategy::MakProxy { key: "mak".parse().expect("a name") },
        Strategy::Kms { host: Some("kms.example.school".into()), port: 1688 },
    ];
    let mut lines = Vec::new();
    for (name, replay) in records() {
        lines.push(name);
        for strategy in &strategies {
            let mut pc = replay.clone();
            let outcome = match run(&order(strategy), &mut pc, &mut Full) {
                Ok(report) => format!("{:?}", report.outcome),
                Err(error) => format!("refused: {error:?}"),
            };
            let acts = pc.calls().iter().filter(|call| !call.reads() && **call != LicensingCall::RefreshLicenseStatus);
            let acts: Vec<&str> = acts.map(|call| call.name()).collect();
            lines.push(format!("  {}: {outcome} [{}]", strategy.name(), acts.join(", ")));
            assert!(!pc.calls().contains(&LicensingCall::Activate) || strategy.name() == "kms");
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_record_is_a_licensing_service() {
    for (name, replay) in records() {
        assert!(replay.about().contains("Synthetic") && replay.origin() == RecordOrigin::Synthetic, "{name}");
        battery::all(&name, replay.build(), || Box::new(replay.clone()));
    }
}

#[test]
fn the_records_show_what_their_names_say() {
    let only = |name: &str| {
        let mut replay = record(name);
        let mut products = replay.products(ProductScope::WithKey).expect("readable");
        assert_eq!(products.len(), 1, "{name}");
        products.remove(0)
    };
    assert_eq!(record("windows-7-without-key").products(ProductScope::WithKey).expect("readable"), []);
    assert_eq!(record("windows-7-without-key").products(ProductScope::All).expect("readable").len(), 2);
    let unactivated = only("windows-8.1-gvlk-unactivated");
    assert_eq!((unactivated.status, unactivated.reason), (Some(LicenseStatus::Notification), Some(Code::NOT_BY_KMS)));
    let volume = only("windows-10-kms-activated");
    assert_eq!((volume.grace_minutes, volume.vl_activation_type), (Some(259_200), Some(VlActivationType::Kms)));
    assert_eq!(volume.discovered_kms_host.as_deref(), Some("kms.example.school"));
    let directory = only("windows-11-ad-activated");
    assert_eq!(directory.vl_activation_type, Some(VlActivationType::ActiveDirectory));
    assert_eq!(directory.ad_activation_object.as_deref(), Some("School volume licence"));
    assert!(only("windows-11-mak-activated").is_permanent());
    let host = only("windows-10-kms-host-key");
    assert_eq!((host.channel(), host.kms_count), (Some(Channel::KmsHost), Some(3)));
    let german = only("windows-11-german");
    assert_eq!((german.channel(), german.reason), (Some(Channel::KmsClient), Some(Code::NOT_BY_KMS)));

    let products = record("windows-10-mak-and-esu").products(ProductScope::WithKey).expect("readable");
    let (addition, base) = (&products[0], &products[1]);
    assert!(base.is_windows() && base.is_permanent() && !addition.is_windows());
    assert_eq!(addition.depends_on.as_deref(), Some(base.id.as_str()));
    assert_eq!(addition.status, Some(LicenseStatus::Unlicensed));
}

#[test]
fn a_firmware_key_is_installed_and_activated_by_script() {
    let mut pc = record("windows-11-oem-keyless");
    assert_eq!(pc.service().expect("readable").firmware_key, Some(true));
    let key = pc.firmware_key().expect("readable").expect("a key");
    pc.install_product_key(&key).expect("in the script");
    let found = pc.products(ProductScope::WithKey).expect("readable").remove(0);
    assert_eq!((found.partial_key.as_deref(), found.channel()), (Some("8JPRT"), Some(Channel::Oem)));
    pc.activate(&found.id).expect("in the script");
    assert!(pc.products(ProductScope::WithKey).expect("readable")[0].is_permanent());
    assert_eq!(pc.acts_left(), 0);
    let again = pc.activate(&found.id).expect_err("the script has ended");
    assert_eq!(again, LicensingError::Failed { call: LicensingCall::Activate, code: NOT_IN_RECORD });
    assert!(!format!("{pc:?}").contains("BBBBB-CCCCC"));
    let unknown = ProductKey::parse("BBBBB-CCCCC-DDDDD-FFFFF-9VWXY").expect("a key");
    assert!(pc.install_product_key(&unknown).is_err());
}

#[test]
fn a_record_that_cannot_be_played_says_why() {
    let record = |products: &str, acts: &str| {
        let text = format!(
            r#"{{"about":"x","origin":"synthetic","build":7601,"service":{{}},"products":{products},"acts":{acts}}}"#
        );
        Replay::from_json(&text).map(|_| ())
    };
    assert!(record(r#"[{"ID":"a"}]"#, "[]").is_ok());
    assert!(matches!(record(r#"[{"ID":"a"},{"Name":"b"}]"#, "[]"), Err(ReplayError::Product { number: 2, .. })));
    let elsewhere = record(r#"[{"ID":"a"}]"#, r#"[{"call":"activate","then":{"b":{"LicenseStatus":1}}}]"#);
    assert!(matches!(elsewhere, Err(ReplayError::NoSuchProduct { id }) if id == "b"));
    let wrong = record(r#"[{"ID":"a"}]"#, r#"[{"call":"activate","then":{"A":{"LicenseStatus":9}}}]"#);
    assert!(matches!(wrong, Err(ReplayError::Product { number: 1, .. })), "the script is read to its end");
    assert!(matches!(record("7", "[]"), Err(ReplayError::Form(_))));
    assert!(matches!(record("[]", r#"[{"call":"guess"}]"#), Err(ReplayError::Form(_))));
}
