//! Preview and deed agree, for whatever strategy, image and past.

use klonwerk::activation::Strategy;
use klonwerk::activation::codes::Code;
use klonwerk::activation::hook::{ConfirmationDesk, run};
use klonwerk::activation::licensing::{LicensingCall, LicensingService, ProductScope};
use klonwerk::activation::preview::{ConfirmationState, Expectation, KnownKey, MachineActivation, preview};
use klonwerk::image::{KeyChannel, WindowsFacts};
use klonwerk::sim::licensing::{Hardware, SimKmsHost, SimLicensing};
use klonwerk::sim::portal::Portal;
use proptest::prelude::*;
use proptest::strategy::Strategy as _;

use crate::school::{MAK, Store, clock, facts, image, key, kms, machine, mak_proxy, order, world};

fn strategies() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![
        Just(Strategy::None),
        any::<bool>().prop_map(|accept_notification| Strategy::Grace { accept_notification }),
        Just(mak_proxy()),
        Just(kms(None)),
        Just(kms(Some("kms"))),
    ]
}

fn channels() -> impl proptest::strategy::Strategy<Value = KeyChannel> {
    prop_oneof![
        Just(KeyChannel::Mak),
        Just(KeyChannel::Gvlk),
        Just(KeyChannel::Oem),
        Just(KeyChannel::Retail),
        Just(KeyChannel::None),
    ]
}

/// What an earlier night left in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    Pending,
    Pair,
    StalePair,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What is said beforehand is what a PC records, call by call, and how it ends.
    #[test]
    fn the_preview_is_what_happens(
        strategy in strategies(),
        channel in channels(),
        build in prop_oneof![Just(7601u32), Just(9600), Just(22631), Just(26100)],
        edition in prop_oneof![Just("Professional"), Just("Enterprise"), Just("Core")],
        generalized: bool,
        sent: bool,
        kms_answer in prop_oneof![Just(None), Just(Some(Code::COUNT_TOO_LOW)), Just(Some(Code::KMS_UNREACHABLE))],
        known in prop_oneof![Just(Known::Nothing), Just(Known::Pending), Just(Known::Pair), Just(Known::StalePair)],
    ) {
        let clock = clock();
        let world = world(&clock);
        let host = SimKmsHost::new(if kms_answer == Some(Code::COUNT_TOO_LOW) { 25 } else { 1 });
        let host = if kms_answer == Some(Code::KMS_UNREACHABLE) { host.unreachable() } else { host };
        world.add_kms_host("kms", 1688, host);
        world.set_kms_in_dns(Some(("kms", 1688)));
        let facts = WindowsFacts {
            edition: Some(edition.to_owned()),
            generalized: Some(generalized),
            ..facts(build, channel)
        };
        let state = image(&facts, &world);
        let hardware = Hardware::new("board 1");
        let order = order(&strategy, &facts, sent);
        let store = Store::default();

        if known != Known::Nothing {
            let mut pc = SimLicensing::after_clone(&state, &hardware, &world);
            pc.install_product_key(&key(MAK)).expect("known");
            let product = pc.products(ProductScope::WithKey).expect("readable").remove(0);
            let (iid, of) = (product.installation_id.clone().expect("a key"), product.product_ref().expect("a key"));
            let mut desk = store.desk(&machine(1));
            desk.pending(&iid, &of).expect("in memory");
            if known != Known::Pending {
                store.put(&machine(1), &of, &iid, Portal::of(&world).issue(&iid, &of).expect("digits"));
            }
            if known == Known::StalePair {
                desk.stale(&iid, &of, Code::OTHER_HARDWARE).expect("in memory");
            }
        }
        let confirmation = match known {
            Known::Nothing => ConfirmationState::Missing,
            Known::Pending => ConfirmationState::Pending,
            Known::Pair => ConfirmationState::Present,
            Known::StalePair => ConfirmationState::Stale { code: Code::OTHER_HARDWARE },
        };
        let known_key = Some(KnownKey { partial_key: "7HKMQ".into(), released: sent });
        let said = preview(&strategy, &facts, &MachineActivation { key: known_key, confirmation, last: None });

        let mut pc = SimLicensing::after_clone(&state, &hardware, &world);
        let done = run(&order, &mut pc, &mut store.desk(&machine(1)));
        let expected = said.expected.clone().expect("an order");
        match (kms_answer, &strategy) {
            // Not as expected: one of the branches that were listed besides.
            (Some(_), Strategy::Kms { .. }) if done.is_ok() => {
                let outcome = Expectation::Outcome(done.clone().expect("a report").outcome);
                let listed = said.otherwise.iter().any(|branch| branch.calls == pc.calls() && branch.ends == outcome);
                prop_assert!(listed, "{:?} {:?} is not in {:?}", pc.calls(), outcome, said.otherwise);
            }
            _ => {
                prop_assert_eq!(said.calls(), pc.calls());
                match (&expected.ends, &done) {
                    (Expectation::Outcome(said), Ok(report)) => prop_assert_eq!(said, &report.outcome),
                    (Expectation::Refused(said), Err(refused)) => {
                        prop_assert_eq!(std::mem::discriminant(said), std::mem::discriminant(refused));
                    }
                    (said, done) => prop_assert!(false, "{said:?} but {done:?}"),
                }
            }
        }
        prop_assert_eq!(said.activations_spent, 0);
        prop_assert_eq!(world.microsoft().activations("7HKMQ"), 0);
        if !matches!(strategy, Strategy::Kms { .. }) {
            prop_assert!(!pc.calls().contains(&LicensingCall::Activate));
        }
    }
}
