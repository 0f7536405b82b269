//! The confirmation store: what any implementation has to pass.

use std::time::Duration;

use klonwerk::activation::confirmation::{ConfirmationId, InstallationId, ProductRef};
use klonwerk::store::{ConfirmationState, StoreError};

use super::{Bench, machine};

pub(crate) const REFUSED: u32 = 0xC004_F031;

pub(crate) fn product() -> ProductRef {
    ProductRef { activation_id: "2de67392-b7a7-462a-b1ca-108dd189f588".into(), partial_key: "ABCDE".into() }
}

pub(crate) fn iid(digit: char) -> InstallationId {
    InstallationId::parse(&digit.to_string().repeat(63)).expect("IID")
}

pub(crate) fn cid(first: u64) -> ConfirmationId {
    ConfirmationId::parse(&format!("{first:06}{}", "135792468013579246801357924680135792468013")).expect("CID")
}

#[test]
fn a_pair_is_found_exactly_or_as_the_newest_of_its_machine_and_product() {
    let mut bench = Bench::new();
    let (pc, product) = (machine("pc-1"), product());
    assert!(bench.store.confirmation(&pc, &product, &iid('1')).expect("read").is_none());
    for (digit, first) in [('1', 1), ('2', 2), ('3', 3)] {
        assert!(bench.store.import_confirmation(&pc, &product, &iid(digit), &cid(first)).expect("stored").new);
        bench.clock.advance(Duration::from_secs(60));
    }
    bench.reopen();
    let exact = bench.store.confirmation(&pc, &product, &iid('2')).expect("read").expect("found");
    assert_eq!((exact.cid, exact.exact), (cid(2), true));
    let newest = bench.store.confirmation(&machine("PC-1"), &product, &iid('9')).expect("read").expect("found");
    assert_eq!((newest.cid, newest.iid, newest.exact), (cid(3), iid('3'), false));

    let other_key = ProductRef { partial_key: "VWXYZ".into(), ..product.clone() };
    assert!(bench.store.confirmation(&pc, &other_key, &iid('2')).expect("read").is_none());
    assert!(bench.store.confirmation(&machine("pc-2"), &product, &iid('2')).expect("read").is_none());
    let shouted = ProductRef { activation_id: product.activation_id.to_uppercase(), partial_key: "abcde".into() };
    assert!(bench.store.confirmation(&pc, &shouted, &iid('2')).expect("read").is_some());
}

#[test]
fn a_waiting_installation_id_is_listed_once_until_its_confirmation_comes() {
    let bench = Bench::new();
    let (pc, product) = (machine("pc-1"), product());
    for _ in 0..3 {
        let asked = bench.store.pending(&pc, &product, &iid('1')).expect("noted");
        assert_eq!((asked.state, asked.alarm), (ConfirmationState::Pending, None));
    }
    let waiting = bench.store.pending_list().expect("read");
    assert_eq!(waiting.iter().map(|w| (&w.machine, &w.iid)).collect::<Vec<_>>(), [(&pc, &iid('1'))]);
    assert_eq!(bench.store.senders(&iid('1')).expect("read").len(), 1);

    assert!(bench.store.import_confirmation(&pc, &product, &iid('1'), &cid(1)).expect("stored").new);
    assert!(!bench.store.import_confirmation(&pc, &product, &iid('1'), &cid(1)).expect("stored").new);
    assert!(bench.store.pending_list().expect("read").is_empty());
    assert_eq!(bench.store.pending(&pc, &product, &iid('1')).expect("noted").state, ConfirmationState::Known);
    let sums = bench.store.ledger(&"mak".parse().expect("key"), "abcde").expect("read");
    assert_eq!((sums.cids_imported, sums.spent), (1, 0), "storing the same one twice counts once");
}

#[test]
fn a_refused_pair_is_not_tried_again_until_somebody_brings_one() {
    let bench = Bench::new();
    let (pc, product) = (machine("pc-1"), product());
    bench.store.import_confirmation(&pc, &product, &iid('1'), &cid(1)).expect("stored");
    for _ in 0..2 {
        bench.store.mark_stale(&pc, &product, &iid('1'), REFUSED).expect("noted");
    }
    assert!(bench.store.confirmation(&pc, &product, &iid('1')).expect("read").is_none());
    let summary = &bench.store.confirmation_state(&pc).expect("read")[0];
    assert_eq!((summary.state, summary.stale_code), (ConfirmationState::Stale, Some(REFUSED)));

    assert_eq!(bench.store.pending(&pc, &product, &iid('1')).expect("noted").state, ConfirmationState::Pending);
    assert!(bench.store.confirmation(&pc, &product, &iid('1')).expect("read").is_none());
    assert!(!bench.store.import_confirmation(&pc, &product, &iid('1'), &cid(1)).expect("stored").new);
    assert_eq!(bench.store.confirmation(&pc, &product, &iid('1')).expect("read").expect("found").cid, cid(1));
    bench.store.mark_stale(&pc, &product, &iid('1'), REFUSED).expect("noted");
    assert!(bench.store.import_confirmation(&pc, &product, &iid('1'), &cid(2)).expect("stored").new);
    assert_eq!(bench.store.confirmation(&pc, &product, &iid('1')).expect("read").expect("found").cid, cid(2));

    use ConfirmationState::{Known, Pending, Stale};
    let history = bench.store.confirmation_history(&pc).expect("read");
    let states: Vec<_> = history.iter().map(|change| change.state).collect();
    assert_eq!(states, [Pending, Known, Stale, Pending, Known, Stale, Known]);
    bench.store.mark_stale(&pc, &product, &iid('7'), REFUSED).expect("a pair that is not stored is left alone");
    assert_eq!(bench.store.confirmation_history(&pc).expect("read").len(), states.len());
}

#[test]
fn one_installation_id_under_two_machines_is_an_alarm() {
    let bench = Bench::new();
    let product = product();
    assert_eq!(bench.store.pending(&machine("pc-1"), &product, &iid('1')).expect("noted").alarm, None);
    assert_eq!(bench.store.pending(&machine("PC-1"), &product, &iid('1')).expect("noted").alarm, None);
    let alarm = bench.store.pending(&machine("pc-2"), &product, &iid('1')).expect("noted").alarm.expect("alarm");
    assert_eq!((alarm.iid, alarm.machines), (iid('1'), vec![machine("pc-1"), machine("pc-2")]));
    let imported = bench.store.import_confirmation(&machine("pc-1"), &product, &iid('1'), &cid(1)).expect("stored");
    assert!(imported.alarm.is_some());
    let refused: Result<_, StoreError> = bench.store.confirmation(&machine("pc-2"), &product, &iid('1'));
    assert!(refused.expect("read").is_none(), "the pair stays with the machine that it was stored for");
}
