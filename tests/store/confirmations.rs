//! The confirmation store: what any implementation has to pass.

use std::time::Duration;

use klonwerk::activation::confirmation::{ConfirmationId, InstallationId, ProductRef};
use klonwerk::activation::exchange::read_confirmations;
use klonwerk::store::{ConfirmationState, StoreError};
use rusqlite::Connection;

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

#[test]
fn the_rows_of_a_file_are_stored_together_or_not_at_all() {
    let bench = Bench::new();
    let table = format!(
        "machine,activation_id,partial_key,iid,cid\npc-1,{0},ABCDE,{1},{2}\npc-2,{0},ABCDE,{3},{4}\n",
        product().activation_id,
        "0".repeat(63),
        cid(1).expose(),
        "1000001".repeat(9),
        cid(2).expose(),
    );
    let rows = read_confirmations(&table, |_| Vec::new()).accepted;
    assert_eq!(rows.len(), 2);
    let database = Connection::open(bench.folder.path().join("state.sqlite")).expect("opened");
    let full = "CREATE TRIGGER full BEFORE INSERT ON confirmation WHEN NEW.machine = 'pc-2'
                BEGIN SELECT raise(ABORT, 'full'); END";
    database.execute_batch(full).expect("made");
    let failed = bench.store.import_confirmations("anna", &rows);
    assert!(matches!(failed, Err(StoreError::Database { .. })), "{failed:?}");
    assert!(bench.store.confirmation_list().expect("read").is_empty());
    assert!(bench.store.audit_log(9).expect("read").is_empty());

    database.execute_batch("DROP TRIGGER full").expect("dropped");
    for changed in [true, false] {
        let imported = bench.store.import_confirmations("anna", &rows).expect("stored");
        assert_eq!(imported.iter().map(|row| row.changed).collect::<Vec<_>>(), [changed; 2]);
        let log = bench.store.audit_log(9).expect("read");
        assert_eq!(log.iter().map(|entry| entry.who.as_str()).collect::<Vec<_>>(), ["anna"; 2]);
    }
}

#[test]
fn what_is_forgotten_is_gone_but_stays_counted() {
    let mut bench = Bench::new();
    let (pc, product) = (machine("pc-1"), product());
    for (digit, first) in [('1', 1), ('2', 2)] {
        bench.store.import_confirmation(&pc, &product, &iid(digit), &cid(first)).expect("stored");
    }
    bench.store.pending(&pc, &product, &iid('3')).expect("noted");
    bench.store.pending(&machine("pc-2"), &product, &iid('4')).expect("noted");
    let forget = |bench: &Bench, iid: Option<&InstallationId>, dry| {
        bench.store.forget_confirmations("anna", &machine("PC-1"), iid, dry).expect("looked up").len()
    };
    assert_eq!((forget(&bench, None, true), forget(&bench, Some(&iid('4')), false)), (3, 0));
    assert_eq!((forget(&bench, Some(&iid('1')), false), forget(&bench, None, false)), (1, 2));
    bench.reopen();
    assert!(bench.store.confirmation(&pc, &product, &iid('1')).expect("read").is_none());
    assert!(bench.store.confirmation_history(&pc).expect("read").is_empty());
    assert_eq!(bench.store.confirmation_list().expect("read").len(), 1, "another PC's stay");
    let log = bench.store.audit_log(9).expect("read");
    let said: Vec<_> = log.iter().map(|entry| (entry.who.as_str(), entry.what.as_str())).collect();
    assert_eq!(
        said,
        [
            ("anna", "forgot installation IDs: 2, with a confirmation ID: 1"),
            ("anna", "forgot installation IDs: 1, with a confirmation ID: 1")
        ]
    );
    let sums = bench.store.ledger(&"mak".parse().expect("key"), "abcde").expect("read");
    assert_eq!(sums.cids_imported, 2, "Microsoft has counted them");
    bench.store.import_confirmation(&pc, &product, &iid('1'), &cid(1)).expect("stored");
    assert_eq!(forget(&bench, None, false), 1);
    assert_eq!(bench.store.ledger(&"mak".parse().expect("key"), "abcde").expect("read").cids_imported, 3);
}

#[test]
fn an_extended_product_id_is_kept_beside_its_installation_id() {
    let bench = Bench::new();
    let pc = machine("pc-1");
    bench.store.pending(&pc, &product(), &iid('1')).expect("noted");
    for epid in ["03612-00000-000-000000-03-1031-7601", "03612-00000-000-000000-03-1031-9600"] {
        bench.store.note_extended_product_id(&pc, &product(), &iid('1'), epid).expect("noted");
        let row = &bench.store.pending_list().expect("read")[0];
        assert_eq!(row.extended_product_id.as_deref(), Some(epid), "the last one counts");
    }
    bench.store.note_extended_product_id(&pc, &product(), &iid('9'), "x").expect("one that nobody waits for is left");
    assert_eq!(bench.store.pending_list().expect("read").len(), 1);
}
