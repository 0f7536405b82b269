//! Activation through the public surface: hook, preview and exchange against simulated PCs, a simulated KMS host and
//! Microsoft's counters. What is asserted is what was recorded there, not what the hook says of itself.
#![cfg(target_os = "linux")]

use klonwerk::activation::Strategy;
use klonwerk::activation::codes::Code;
use klonwerk::activation::confirmation::{
    ConfirmationId, InstallationId, ProductRef, ReleasedConfirmation, check_digit,
};
use klonwerk::activation::exchange::{ExchangeRow, Separator, Why, read_confirmations, write_csv};
use klonwerk::activation::hook::{ActivationOrder, ActivationReport, ConfirmationAnswer, HookError, Outcome, run};
use klonwerk::activation::licensing::{Channel, LicenseStatus, LicensingCall, LicensingService, ProductScope};
use klonwerk::activation::preview::{MachineActivation, WINDOWS_7_GRACE, Warning, preview};
use klonwerk::image::{KeyChannel, WindowsFacts};
use klonwerk::room::Language;
use klonwerk::sim::licensing::{
    Hardware, InstalledKey, KMS_VALIDITY, LicensingState, Microsoft, SimKmsHost, SimLicensing,
};
use klonwerk::sim::portal::Portal;

#[path = "activation/agreement.rs"]
mod agreement;
#[path = "activation/school.rs"]
mod school;
#[path = "activation/versions.rs"]
mod versions;

use school::*;

#[test]
fn recloning_spends_nothing_once_the_confirmation_ids_are_there() {
    let clock = clock();
    let world = world(&clock);
    let facts = facts(22631, KeyChannel::Mak);
    let image = image(&facts, &world);
    let order = order(&mak_proxy(), &facts, false);
    let store = Store::default();
    let boards = ["board 1", "board 2", "board 3", "board 4", "board 5"];

    for (i, board) in boards.iter().enumerate() {
        let (report, pc) = night(&world, &image, &order, &store, i + 1, board);
        assert_eq!(report.outcome, Outcome::PendingIid);
        assert_eq!(writes(pc.calls()), [], "a PC without a confirmation ID stays as it is");
    }

    let portal = Portal::of(&world);
    let issue = |row: ExchangeRow| {
        let cid = portal.issue(&row.iid, &row.product).expect("digits");
        ExchangeRow { cid: Some(cid), ..row }
    };
    let open = read_confirmations(&write_csv(&store.pending(), Separator::Semicolon), |iid| store.known(iid));
    assert_eq!((open.accepted.len(), open.open), (0, 5));
    let filled: Vec<ExchangeRow> = store.pending().into_iter().map(issue).collect();
    let import = read_confirmations(&write_csv(&filled, Separator::Semicolon), |iid| store.known(iid));
    assert_eq!((import.accepted.len(), import.refused.len(), import.warnings.len()), (5, 0, 0));
    for row in &import.accepted {
        store.put(&row.machine, &row.product, &row.iid, row.cid.clone());
    }
    assert_eq!(world.microsoft().cids_issued("7HKMQ"), 5);

    for _ in 0..200 {
        clock.advance(DAY);
        for (i, board) in boards.iter().enumerate() {
            let (report, mut pc) = night(&world, &image, &order, &store, i + 1, board);
            assert_eq!(report.outcome, Outcome::Activated);
            assert_eq!((report.status, report.grace_minutes), (Some(LicenseStatus::Licensed), Some(0)));
            let again = run(&order, &mut pc, &mut Closed).expect("a report");
            assert_eq!(again.outcome, Outcome::AlreadyGood);
            assert_eq!(writes(&again.calls), []);
        }
    }
    let microsoft = world.microsoft();
    assert_eq!((microsoft.activations("7HKMQ"), microsoft.cids_issued("7HKMQ")), (0, 5));
}

#[test]
fn the_portal_counts_an_installation_id_once() {
    let clock = clock();
    let world = world(&clock);
    let state = image(&facts(7601, KeyChannel::Mak), &world);
    let iid = SimLicensing::after_clone(&state, &Hardware::new("a"), &world).installation_id().expect("a key");
    assert_eq!(iid.digits().len(), 54);
    assert!(iid.check_digits_fit());
    let product = ProductRef { activation_id: "x".into(), partial_key: "7HKMQ".into() };
    let portal = Portal::of(&world);
    assert_eq!(portal.issue(&iid, &product), portal.issue(&iid, &product));
    assert_eq!(world.microsoft().cids_issued("7HKMQ"), 1);
}

#[test]
fn changed_hardware_makes_a_pair_stale_and_a_dock_does_not() {
    let clock = clock();
    let world = world(&clock);
    let facts = facts(22631, KeyChannel::Mak);
    let image = image(&facts, &world);
    let order = order(&mak_proxy(), &facts, false);
    let store = Store::default();
    night(&world, &image, &order, &store, 1, "board 1");
    let portal = Portal::of(&world);
    let import = || {
        let row = store.pending().remove(0);
        store.put(&row.machine, &row.product, &row.iid, portal.issue(&row.iid, &row.product).expect("digits"));
        row
    };
    let row = import();

    let docked = Hardware::new("board 1").with_extras("dock");
    let (report, pc) = night_on(&world, &image, &order, &store, 1, &docked);
    assert_ne!(pc.installation_id().expect("a key"), row.iid, "another installation ID");
    assert_eq!(report.outcome, Outcome::Activated, "the stored pair is tolerated");
    assert_eq!(store.get(&row.machine).and_then(|stored| stored.stale), None);

    let (report, pc) = night(&world, &image, &order, &store, 1, "board 2");
    assert_eq!(report.outcome, Outcome::StaleConfirmation { code: Code::OTHER_HARDWARE });
    assert_eq!(report.status, Some(LicenseStatus::Notification));
    assert!(!pc.calls().contains(&LicensingCall::Activate));
    let stored = store.get(&row.machine).expect("recorded");
    assert_eq!((stored.iid, stored.stale), (pc.installation_id().expect("a key"), Some(Code::OTHER_HARDWARE)));
    let (report, _) = night(&world, &image, &order, &store, 1, "board 2");
    assert_eq!(report.outcome, Outcome::PendingIid, "the stale pair is not tried again");

    import();
    let (report, _) = night(&world, &image, &order, &store, 1, "board 2");
    assert_eq!(report.outcome, Outcome::Activated);
    assert_eq!((world.microsoft().activations("7HKMQ"), world.microsoft().cids_issued("7HKMQ")), (0, 2));
}

#[test]
fn a_wrong_confirmation_id_is_refused_with_windows_reason() {
    let clock = clock();
    let world = world(&clock);
    let facts = facts(22631, KeyChannel::Mak);
    let image = image(&facts, &world);
    let portal = Portal::of(&world);
    let mut pc = SimLicensing::after_clone(&image, &Hardware::new("board 1"), &world);
    let product = pc.products(ProductScope::WithKey).expect("readable").remove(0);
    let of = product.product_ref().expect("a key");
    let iid = product.installation_id.clone().expect("a key");
    let good = portal.issue(&iid, &of).expect("digits");
    let deposit = |pc: &mut SimLicensing, iid: &InstallationId, cid: &ConfirmationId| {
        pc.deposit_offline_confirmation_id(&product.id, iid, cid).map_err(|error| error.code())
    };

    let typed = format!("{}{}", &good.expose()[..47], if good.expose().ends_with('9') { '8' } else { '9' });
    let typed = ConfirmationId::parse(&typed).expect("48 digits");
    assert_eq!(deposit(&mut pc, &iid, &typed), Err(Code::CHECK_DIGITS));

    let mut other_pc = SimLicensing::after_clone(&image, &Hardware::new("board 2"), &world);
    let other = other_pc.products(ProductScope::WithKey).expect("readable").remove(0).installation_id.expect("a key");
    let others = portal.issue(&other, &of).expect("digits");
    assert_eq!(deposit(&mut pc, &iid, &others), Err(Code::NOT_ITS_CONFIRMATION));
    assert_eq!(deposit(&mut pc, &other, &others), Err(Code::OTHER_HARDWARE));

    let mut rekeyed = pc.clone();
    rekeyed.install_product_key(&key(OTHER_MAK)).expect("known");
    assert_eq!(deposit(&mut rekeyed, &iid, &good), Err(Code::OTHER_KEY));

    let short: String = (0..9).map(|_| format!("12345{}", check_digit("12345"))).collect();
    let short = InstallationId::parse(&short).expect("54 digits");
    assert_eq!(deposit(&mut pc, &short, &good), Err(Code::CONFIRMATION_LENGTH));
    let elsewhere = pc.deposit_offline_confirmation_id("no such id", &iid, &good).map_err(|error| error.code());
    assert_eq!(elsewhere, Err(Code::NO_SUCH_PRODUCT));
    assert_eq!(pc.products(ProductScope::WithKey).expect("readable")[0].status, Some(LicenseStatus::Notification));
    assert_eq!(deposit(&mut pc, &iid, &good), Ok(()));
    assert!(pc.products(ProductScope::WithKey).expect("readable")[0].is_permanent());

    // The hook: a typing error is Windows' refusal, but the pair is not stale.
    let store = Store::default();
    let order = order(&mak_proxy(), &facts, false);
    store.put(&machine(1), &of, &iid, typed);
    let (report, _) = night(&world, &image, &order, &store, 1, "board 1");
    assert_eq!(report.outcome, Outcome::Failed { code: Code::CHECK_DIGITS });
    assert_eq!(store.get(&machine(1)).and_then(|stored| stored.stale), None);
    store.put(&machine(1), &of, &iid, others);
    let (report, _) = night(&world, &image, &order, &store, 1, "board 1");
    assert_eq!(report.outcome, Outcome::StaleConfirmation { code: Code::NOT_ITS_CONFIRMATION });
}

#[test]
fn a_key_is_installed_only_if_the_order_brings_it() {
    let clock = clock();
    let world = world(&clock);
    let facts = facts(22631, KeyChannel::None);
    let image = image(&facts, &world);
    let mut pc = SimLicensing::after_clone(&image, &Hardware::new("a"), &world);
    let refused = run(&order(&mak_proxy(), &facts, false), &mut pc, &mut Closed);
    assert_eq!(refused, Err(HookError::KeyNotInImage { expected: "7HKMQ".into(), found: None }));
    assert_eq!(writes(pc.calls()), []);

    let (report, pc) = night(&world, &image, &order(&mak_proxy(), &facts, true), &Store::default(), 1, "a");
    assert_eq!(report.outcome, Outcome::PendingIid);
    assert_eq!(writes(pc.calls()), [LicensingCall::InstallProductKey, LicensingCall::RefreshLicenseStatus]);
    assert_eq!(report.partial_key.as_deref(), Some("7HKMQ"));
}

#[test]
fn an_unreachable_server_leaves_the_pc_as_it_is() {
    let clock = clock();
    let world = world(&clock);
    let facts = facts(22631, KeyChannel::Mak);
    let mut pc = SimLicensing::after_clone(&image(&facts, &world), &Hardware::new("a"), &world);
    let before = pc.state().clone();
    let error = run(&order(&mak_proxy(), &facts, false), &mut pc, &mut Closed).expect_err("nobody answers");
    assert!(matches!(error, HookError::Desk(_)));
    assert_eq!((pc.state(), writes(pc.calls())), (&before, vec![]));
}

#[test]
fn windows_spends_by_itself_unless_it_is_told_not_to() {
    let clock = clock();
    let world = world(&clock);
    let manual = image(&facts(22631, KeyChannel::Mak), &world);
    let automatic = LicensingState { manual: false, ..manual.clone() };
    let mut told = SimLicensing::after_clone(&manual, &Hardware::new("a"), &world);
    let mut untold = SimLicensing::after_clone(&automatic, &Hardware::new("b"), &world);
    for expected in [0, 1] {
        clock.advance(DAY * 2);
        told.settle();
        untold.settle();
        assert_eq!(world.microsoft().activations("7HKMQ"), expected);
    }
    // The next clone knows nothing of it, and spends again.
    let mut again = SimLicensing::after_clone(&automatic, &Hardware::new("b"), &world);
    clock.advance(DAY * 4);
    again.settle();
    assert_eq!(world.microsoft().activations("7HKMQ"), 2);
    world.limit_key("7HKMQ", 2);
    let mut third = SimLicensing::after_clone(&manual, &Hardware::new("b"), &world);
    let id = third.products(ProductScope::WithKey).expect("readable")[0].id.clone();
    assert_eq!(third.activate(&id).map_err(|e| e.code()), Err(Code::MAK_LIMIT));
}

/// How many PCs a KMS host takes these for.
fn machine_ids(reports: &[ActivationReport]) -> usize {
    reports.iter().filter_map(|report| report.cmid.as_deref()).collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn a_kms_host_answers_from_the_twenty_fifth_pc_on() {
    let clock = clock();
    let world = world(&clock);
    world.add_kms_host("kms.example.school", 1688, SimKmsHost::default());
    let facts = facts(22631, KeyChannel::Gvlk);
    let image = image(&facts, &world);
    let order = order(&kms(Some("kms.example.school")), &facts, false);
    let store = Store::default();
    let mut reports = Vec::new();
    for n in 1..=24 {
        let (report, _) = night(&world, &image, &order, &store, n, &format!("board {n}"));
        assert_eq!(report.outcome, Outcome::CountTooLow, "PC {n}");
        assert_eq!(report.reason, Some(Code::NOT_BY_KMS));
        reports.push(report);
    }
    let (report, _) = night(&world, &image, &order, &store, 25, "board 25");
    assert_eq!((report.outcome, report.grace_minutes), (Outcome::Activated, Some(KMS_VALIDITY)));
    reports.push(report);
    assert_eq!(machine_ids(&reports), 25);
    let count = || world.kms_host("kms.example.school", 1688).expect("added").count(world.now());
    assert_eq!(count(), 25);
    // A generalized image gives the same PC a new client machine ID: the host counts clones, not PCs.
    night(&world, &image, &order, &store, 25, "board 25");
    assert_eq!(count(), 26);
    assert_eq!(world.microsoft(), Microsoft::default());
}

#[test]
fn clones_of_an_image_with_skip_rearm_count_as_one() {
    let clock = clock();
    let world = world(&clock);
    world.add_kms_host("kms", 1688, SimKmsHost::default());
    let facts = WindowsFacts { skip_rearm: Some(true), ..facts(22631, KeyChannel::Gvlk) };
    let image = image(&facts, &world);
    let order = order(&kms(Some("kms")), &facts, false);
    let reports: Vec<ActivationReport> =
        (1..=30).map(|n| night(&world, &image, &order, &Store::default(), n, &n.to_string()).0).collect();
    assert!(reports.iter().all(|report| report.outcome == Outcome::CountTooLow));
    assert_eq!(machine_ids(&reports), 1);
    assert!(preview(&kms(None), &facts, &MachineActivation::default()).warnings.contains(&Warning::SharedMachineId));
}

#[test]
fn kms_faults_are_told_apart() {
    let clock = clock();
    let world = world(&clock);
    world.add_kms_host("kms", 1688, SimKmsHost::new(1));
    world.add_kms_host("silent", 1688, SimKmsHost::new(1).unreachable());
    let facts = facts(22631, KeyChannel::Gvlk);
    let image = image(&facts, &world);
    let outcome = |host: Option<&str>, skew: i32| {
        let mut pc = SimLicensing::after_clone(&image, &Hardware::new("a"), &world);
        pc.set_clock_skew(skew);
        run(&order(&kms(host), &facts, false), &mut pc, &mut Closed).expect("a report").outcome
    };
    assert_eq!(outcome(Some("kms"), 0), Outcome::Activated);
    assert_eq!(outcome(Some("silent"), 0), Outcome::KmsUnreachable);
    assert_eq!(outcome(Some("nowhere"), 0), Outcome::KmsUnreachable);
    assert_eq!(outcome(None, 0), Outcome::KmsUnreachable, "nothing in DNS");
    assert_eq!(outcome(Some("kms"), -300), Outcome::Failed { code: Code::KMS_CLOCK });
    world.set_kms_in_dns(Some(("KMS", 1688)));
    assert_eq!(outcome(None, 0), Outcome::Activated);
    world.set_kms_reachable("kms", 1688, false);
    assert_eq!(outcome(None, 0), Outcome::KmsUnreachable);
}

#[test]
fn a_keyless_image_gets_the_published_setup_key() {
    let clock = clock();
    let world = world(&clock);
    world.add_kms_host("kms", 1688, SimKmsHost::new(1));
    for build in [7601, 9600, 26100] {
        let facts = WindowsFacts { edition: Some("Enterprise".into()), ..facts(build, KeyChannel::None) };
        let order = order(&kms(Some("kms")), &facts, false);
        let (report, _) = night(&world, &image(&facts, &world), &order, &Store::default(), 1, "a");
        assert_eq!(report.outcome, Outcome::Activated, "{build}");
        assert_eq!(report.channel, Some(Channel::KmsClient));
    }
    let facts = facts(26100, KeyChannel::Oem);
    let mut pc = SimLicensing::after_clone(&image(&facts, &world), &Hardware::new("a"), &world);
    let refused = run(&order(&kms(Some("kms")), &facts, false), &mut pc, &mut Closed);
    assert_eq!(refused, Err(HookError::WrongChannel { expected: Channel::KmsClient, found: Some(Channel::Oem) }));
    assert_eq!(writes(pc.calls()), []);
}

#[test]
fn a_kms_hosts_key_is_removed_from_a_client() {
    let clock = clock();
    let world = world(&clock);
    let facts = facts(22631, KeyChannel::Gvlk);
    let mut state = image(&facts, &world);
    state.key = Some(InstalledKey { partial: "9VWXY".into(), channel: Channel::KmsHost });
    for strategy in [kms(None), mak_proxy()] {
        let mut pc = SimLicensing::after_clone(&state, &Hardware::new("a"), &world);
        let refused = run(&order(&strategy, &facts, false), &mut pc, &mut Closed);
        assert_eq!(refused, Err(HookError::HostKey { partial_key: "9VWXY".into(), removed: true }));
        assert_eq!(pc.state().key, None);
        assert!(!pc.calls().contains(&LicensingCall::Activate));
    }
    assert_eq!(world.microsoft().activations("9VWXY"), 0);
}

#[test]
fn grace_is_reported_and_nothing_is_touched() {
    let clock = clock();
    let world = world(&clock);
    let strategy = Strategy::Grace { accept_notification: true };
    for (build, channel, expected) in [
        (7601, KeyChannel::Gvlk, Outcome::InGrace { minutes: WINDOWS_7_GRACE }),
        (7601, KeyChannel::Retail, Outcome::InGrace { minutes: WINDOWS_7_GRACE }),
        (26100, KeyChannel::Gvlk, Outcome::Notification),
        (9600, KeyChannel::Retail, Outcome::Notification),
    ] {
        let facts = facts(build, channel);
        let order = order(&strategy, &facts, false);
        let (report, pc) = night(&world, &image(&facts, &world), &order, &Store::default(), 1, "a");
        assert_eq!(report.outcome, expected);
        assert!(report.outcome.satisfies(&strategy));
        assert_eq!(writes(pc.calls()), []);
    }
    assert!(!Outcome::Notification.satisfies(&Strategy::Grace { accept_notification: false }));
    // Thirty days later the period is over; a clone begins it anew, for a generalized image only.
    let generalized = facts(7601, KeyChannel::Gvlk);
    let plain = WindowsFacts { generalized: Some(false), ..generalized.clone() };
    let (fresh, aged) = (image(&generalized, &world), image(&plain, &world));
    let order = order(&strategy, &generalized, false);
    let clone = |state: &LicensingState| night(&world, state, &order, &Store::default(), 1, "a").0.outcome;
    clock.advance(DAY * 20);
    assert_eq!(clone(&fresh), Outcome::InGrace { minutes: WINDOWS_7_GRACE });
    assert_eq!(clone(&aged), Outcome::InGrace { minutes: 10 * 24 * 60 });
    clock.advance(DAY * 20);
    assert_eq!(clone(&fresh), Outcome::InGrace { minutes: WINDOWS_7_GRACE });
    assert_eq!(clone(&aged), Outcome::Notification);
}

#[test]
fn a_mak_in_a_grace_image_is_an_error() {
    let clock = clock();
    let world = world(&clock);
    let facts = facts(7601, KeyChannel::Mak);
    let mut pc = SimLicensing::after_clone(&image(&facts, &world), &Hardware::new("a"), &world);
    let strategy = Strategy::Grace { accept_notification: false };
    let refused = run(&order(&strategy, &facts, false), &mut pc, &mut Closed);
    assert_eq!(refused, Err(HookError::MakInGraceImage { partial_key: "7HKMQ".into() }));
    assert_eq!(writes(pc.calls()), []);
}

#[test]
fn rearms_end_and_a_clone_brings_the_images_number_back() {
    let clock = clock();
    let world = world(&clock);
    let state = image(&facts(7601, KeyChannel::Gvlk), &world);
    let mut pc = SimLicensing::after_clone(&state, &Hardware::new("a"), &world);
    clock.advance(DAY * 29);
    for left in [2, 1, 0] {
        pc.rearm_windows().expect("one is left");
        assert_eq!(pc.service().expect("readable").rearms_left, Some(left));
    }
    assert_eq!(pc.rearm_windows().map_err(|e| e.code()), Err(Code::REARM_LIMIT));
    let grace = |pc: &mut SimLicensing| pc.products(ProductScope::WithKey).expect("readable")[0].grace_minutes;
    assert_eq!(grace(&mut pc), Some(24 * 60), "not before the restart");
    pc.restart();
    assert_eq!(grace(&mut pc), Some(WINDOWS_7_GRACE));
    let mut again = SimLicensing::after_clone(&state, &Hardware::new("a"), &world);
    assert_eq!(again.service().expect("readable").rearms_left, Some(3));
}

#[test]
fn none_and_spending_orders_touch_nothing() {
    let clock = clock();
    let world = world(&clock);
    let facts = facts(22631, KeyChannel::Mak);
    let mut pc = SimLicensing::after_clone(&image(&facts, &world), &Hardware::new("a"), &world);
    let report = run(&order(&Strategy::None, &facts, false), &mut pc, &mut Closed).expect("a report");
    assert_eq!(report.outcome, Outcome::Untouched);
    let spending = ActivationOrder { may_spend: true, ..order(&mak_proxy(), &facts, true) };
    assert_eq!(run(&spending, &mut pc, &mut Closed), Err(HookError::SpendingOrder));
    assert_eq!(pc.calls(), []);
}

#[test]
fn nothing_that_holds_a_secret_prints_it() {
    let clock = clock();
    let world = world(&clock);
    let facts = facts(22631, KeyChannel::Mak);
    let order = order(&mak_proxy(), &facts, true);
    let state = image(&facts, &world);
    let pc = SimLicensing::after_clone(&state, &Hardware::new("a"), &world);
    let iid = pc.installation_id().expect("a key");
    let product = ProductRef { activation_id: "x".into(), partial_key: "7HKMQ".into() };
    let cid = Portal::of(&world).issue(&iid, &product).expect("digits");
    let answer = ConfirmationAnswer::Found { cid: ReleasedConfirmation(cid.clone()), iid: iid.clone() };
    let store = Store::default();
    store.put(&machine(1), &product, &iid, cid.clone());
    let row = ExchangeRow { machine: machine(1), product, iid, cid: Some(cid.clone()), title: String::new() };
    let table = write_csv(std::slice::from_ref(&row), Separator::Comma);
    let import = read_confirmations(&table, |iid| store.known(iid));
    assert_eq!(import.accepted.len(), 1);
    let refused = read_confirmations(&table.replace("R101-01", "R101-02"), |iid| store.known(iid));
    assert_eq!(refused.refused[0].why, Why::OtherMachine { owner: machine(1) });
    let shown = [
        format!("{order:?}"),
        format!("{answer:?}"),
        format!("{row:?}"),
        format!("{import:?}{refused:?}{}", refused.refused[0].text(Language::De)),
        format!("{world:?}{state:?}{pc:?}"),
        format!("{store:?}"),
        format!("{:?}", key(MAK)),
    ];
    let grouped: Vec<&str> = cid.groups().take(2).collect();
    for text in shown {
        assert!(!text.contains(&cid.expose()[..12]) && !text.contains(&grouped.join("-")), "{text}");
        assert!(!text.contains("BBBBB-CCCCC"), "{text}");
    }
}

#[test]
fn order_and_report_survive_the_wire() {
    let facts = facts(22631, KeyChannel::None);
    for strategy in [Strategy::None, mak_proxy(), kms(None), kms(Some("kms"))] {
        let order = order(&strategy, &facts, true);
        let json = serde_json::to_string(&order).expect("a value");
        assert_eq!(serde_json::from_str::<ActivationOrder>(&json).expect("the same"), order);
    }
    let result: Result<ActivationReport, HookError> =
        Err(HookError::HostKey { partial_key: "9VWXY".into(), removed: true });
    let json = serde_json::to_string(&result).expect("a value");
    let back: Result<ActivationReport, HookError> = serde_json::from_str(&json).expect("the same");
    assert_eq!(back, result);
    let unsent = serde_json::to_string(&order(&mak_proxy(), &facts, false)).expect("a value");
    assert!(!unsent.contains("product_key") && unsent.contains("\"may_spend\":false"), "{unsent}");
}
