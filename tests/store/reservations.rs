//! Permission to spend: whatever the order of asking, settling and crashing, no more is granted than the limits allow.

use std::time::Duration;

use klonwerk::activation::codes::Code;
use klonwerk::activation::ledger::{
    Limits, NewReservation, Purpose, Refusal, Reservation, ReservationId, SpendOutcome, puts_on_hold,
};
use klonwerk::job::{Event, RunId};
use klonwerk::room::KeyName;
use klonwerk::store::{AttemptKind, EntryKind, EntryState, StoreError};
use proptest::prelude::*;

use super::confirmations::{cid, iid, product};
use super::{Bench, TO_THE_GATE, machine};

const PARTIAL: &str = "3V66T";
const UNREACHABLE: Code = Code(0xC004_B007);

fn key() -> KeyName {
    "mak-lab".parse().expect("a name")
}

fn limits(budget: Option<u32>, reserve: u32, run_limit: Option<u32>) -> Limits {
    Limits { budget, reserve, run_limit }
}

fn ask(run: Option<RunId>, pc: &str, limits: Limits) -> NewReservation {
    let (key, machine, purpose) = (key(), machine(pc), Purpose::Activate);
    NewReservation { key, partial_key: PARTIAL.into(), run, machine, purpose, limits }
}

fn ask_for_cid(pc: &str, digit: char) -> NewReservation {
    NewReservation {
        purpose: Purpose::ConfirmationRequest { iid: iid(digit) },
        ..ask(None, pc, limits(Some(50), 0, None))
    }
}

fn granted(answer: Result<Reservation, Refusal>) -> ReservationId {
    answer.expect("granted").id
}

#[test]
fn the_budget_ends_at_the_reserve() {
    let mut bench = Bench::new();
    let run = Some(bench.run(&["pc-1"]));
    let five = limits(Some(5), 2, Some(100));
    let mut ids = Vec::new();
    for pc in ["pc-1", "pc-2", "pc-3"] {
        ids.push(granted(bench.store.reserve(ask(run, pc, five))));
    }
    let spent = Refusal::BudgetSpent { key: key(), budget: 5, reserve: 2, spent: 3 };
    assert_eq!(bench.store.reserve(ask(run, "pc-4", five)), Err(spent.clone()));
    // Spent and unknown ones stay counted, also for the next process and under another name of the same key.
    bench.store.settle(ids[0], SpendOutcome::Spent).expect("settled");
    bench.store.settle(ids[1], SpendOutcome::Unknown { code: None }).expect("settled");
    bench.reopen();
    assert_eq!(bench.store.reserve(ask(run, "pc-4", five)), Err(spent));
    let renamed = NewReservation { key: "other".parse().expect("a name"), ..ask(run, "pc-4", five) };
    assert!(matches!(bench.store.reserve(renamed), Err(Refusal::BudgetSpent { spent: 3, .. })));
    // What was not spent is free again.
    bench.store.settle(ids[2], SpendOutcome::NotSpent { code: UNREACHABLE }).expect("settled");
    granted(bench.store.reserve(ask(run, "pc-4", five)));
    assert!(bench.store.reserve(ask(run, "pc-5", five)).is_err());

    let sums = bench.store.ledger(&key(), PARTIAL).expect("read");
    assert_eq!((sums.attempts, sums.succeeded, sums.unknown, sums.failed, sums.open), (4, 1, 1, 1, 1));
    assert_eq!((sums.spent, sums.spent_by_recloning, sums.refused), (3, 3, 4));
    assert_eq!(five.remaining(sums.spent), Some(0));
    assert_eq!(bench.store.spends(&key(), PARTIAL).expect("read").len(), 3);
}

#[test]
fn a_run_spends_what_its_preview_said() {
    let bench = Bench::new();
    let (run, next) = (bench.run(&["pc-1"]), bench.run(&["pc-2"]));
    let two = limits(None, 0, Some(2));
    for pc in ["pc-1", "pc-2"] {
        granted(bench.store.reserve(ask(Some(run), pc, two)));
    }
    let refused = bench.store.reserve(ask(Some(run), "pc-3", two));
    assert_eq!(refused, Err(Refusal::RunLimit { key: key(), limit: 2, spent: 2 }));
    granted(bench.store.reserve(ask(Some(next), "pc-3", two)));
    // A run whose preview said nothing spends nothing, and 0 is 0 for a person too.
    let unsaid = bench.store.reserve(ask(Some(next), "pc-4", limits(None, 0, None)));
    assert!(matches!(unsaid, Err(Refusal::RunLimit { limit: 0, .. })), "{unsaid:?}");
    assert!(bench.store.reserve(ask(None, "pc-4", limits(None, 0, Some(0)))).is_err());
    granted(bench.store.reserve(ask(None, "pc-4", limits(None, 0, None))));
}

#[test]
fn asking_again_while_it_is_open_gives_the_same_one() {
    let bench = Bench::new();
    let (run, next) = (Some(bench.run(&["pc-1"])), Some(bench.run(&["pc-2"])));
    let one = limits(Some(1), 0, Some(1));
    let first = bench.store.reserve(ask(run, "pc-1", one)).expect("granted");
    assert!(!first.repeated);
    let again = bench.store.reserve(ask(run, "PC-1", one)).expect("the same");
    assert_eq!((again.id, again.repeated), (first.id, true));
    // Another run has not re-cloned the PC yet, so that its Windows can still be asked.
    let other = bench.store.reserve(ask(next, "pc-1", limits(Some(9), 0, Some(9))));
    assert!(matches!(other, Err(Refusal::OutcomeUnknown { .. })), "{other:?}");
    assert_eq!(bench.store.ledger(&key(), PARTIAL).expect("read").attempts, 1);
}

#[test]
fn an_unknown_outcome_is_settled_by_reading_again() {
    let bench = Bench::new();
    let run = Some(bench.run(&["pc-1"]));
    let ten = limits(Some(10), 0, Some(10));
    let id = granted(bench.store.reserve(ask(run, "pc-1", ten)));
    bench.store.settle(id, SpendOutcome::Unknown { code: Some(UNREACHABLE) }).expect("settled");
    let refused = bench.store.reserve(ask(run, "pc-1", ten));
    assert_eq!(refused, Err(Refusal::OutcomeUnknown { machine: machine("pc-1"), since: bench.now() }));
    assert_eq!(bench.store.reread(&machine("pc-2"), &key(), true).expect("read"), 0);
    assert_eq!(bench.store.reread(&machine("pc-1"), &key(), false).expect("read"), 1);
    assert_eq!(bench.store.ledger(&key(), PARTIAL).expect("read").spent, 0);

    let again = granted(bench.store.reserve(ask(run, "pc-1", ten)));
    assert_ne!(again, id);
    assert_eq!(bench.store.reread(&machine("PC-1"), &key(), true).expect("read"), 1);
    let sums = bench.store.ledger(&key(), PARTIAL).expect("read");
    assert_eq!((sums.succeeded, sums.failed, sums.unknown, sums.open), (1, 1, 0, 0));
    // That it was spent is never taken back; a late word that it was is believed.
    bench.store.settle(again, SpendOutcome::NotSpent { code: UNREACHABLE }).expect("ignored");
    bench.store.settle(id, SpendOutcome::Spent).expect("believed");
    assert_eq!(bench.store.ledger(&key(), PARTIAL).expect("read").succeeded, 2);
    let nobody = bench.store.settle(ReservationId(99), SpendOutcome::Spent);
    assert!(matches!(nobody, Err(StoreError::NoSuchReservation(ReservationId(99)))), "{nobody:?}");
}

#[test]
fn a_reclone_hides_what_was_spent_before_it() {
    let bench = Bench::new();
    let run = bench.run(&["pc-1", "pc-2"]);
    let ten = limits(Some(10), 0, Some(10));
    bench.play(run, "pc-1", &TO_THE_GATE);
    // What was asked for while the disk was being written is of the Windows before it.
    let id = granted(bench.store.reserve(ask(Some(run), "pc-1", ten)));
    bench.play(run, "pc-1", &[Event::Committed]);
    assert_eq!(bench.store.reread(&machine("pc-1"), &key(), false).expect("read"), 0);
    let sums = bench.store.ledger(&key(), PARTIAL).expect("read");
    assert_eq!((sums.spent, sums.unknown), (1, 1), "the new Windows knows nothing of the old one's activation");
    // The new Windows may be activated, and that counts on its own.
    let next = bench.store.reserve(ask(Some(run), "pc-1", ten)).expect("granted");
    assert!(!next.repeated && next.id != id);
    assert_eq!(bench.store.reread(&machine("pc-1"), &key(), true).expect("read"), 1);
    let sums = bench.store.ledger(&key(), PARTIAL).expect("read");
    assert_eq!((sums.spent, sums.unknown, sums.succeeded), (2, 1, 1));
}

#[test]
fn a_limit_error_holds_the_key_until_a_person_lifts_it() {
    let mut bench = Bench::new();
    let run = Some(bench.run(&["pc-1"]));
    let many = limits(Some(100), 0, Some(100));
    let id = granted(bench.store.reserve(ask(run, "pc-1", many)));
    let open = granted(bench.store.reserve(ask(run, "pc-2", many)));
    bench.store.settle(id, SpendOutcome::NotSpent { code: Code::MAK_LIMIT }).expect("settled");
    bench.reopen();
    let hold = bench.store.hold(&key(), PARTIAL).expect("read").expect("on hold");
    assert_eq!((hold.code, hold.run, hold.machine), (Code::MAK_LIMIT, run, machine("pc-1")));
    // Also who holds a permission already, and whoever uses the key under another name.
    for asked in [ask(run, "pc-2", many), ask(run, "pc-3", many), ask_for_cid("pc-3", '3')] {
        assert!(matches!(bench.store.reserve(asked.clone()), Err(Refusal::OnHold { .. })));
        let renamed = NewReservation { key: "other".parse().expect("a name"), ..asked };
        assert!(matches!(bench.store.reserve(renamed), Err(Refusal::OnHold { .. })));
    }
    assert!(!bench.store.release(&"wrong".parse().expect("a name"), "QQQQQ", "admin").expect("nothing there"));
    assert!(bench.store.release(&key(), PARTIAL, "admin").expect("released"));
    assert!(!bench.store.release(&key(), PARTIAL, "admin").expect("once"));
    let audit = bench.store.audit_log(10).expect("read");
    assert_eq!(audit.len(), 1);
    assert!(audit[0].who == "admin" && audit[0].what.contains("mak-lab") && audit[0].what.contains("0xC004C020"));
    granted(bench.store.reserve(ask(run, "pc-3", many)));
    // A settled one that is settled again the same way does not put the key on hold again.
    bench.store.settle(id, SpendOutcome::NotSpent { code: Code::MAK_LIMIT }).expect("known");
    assert_eq!(bench.store.hold(&key(), PARTIAL).expect("read"), None);
    bench.store.settle(open, SpendOutcome::NotSpent { code: UNREACHABLE }).expect("settled");
    assert_eq!(bench.store.hold(&key(), PARTIAL).expect("read"), None);
}

#[test]
fn a_confirmation_id_is_asked_for_once() {
    let bench = Bench::new();
    let id = granted(bench.store.reserve(ask_for_cid("pc-1", '1')));
    for pc in ["pc-1", "pc-2"] {
        let refused = bench.store.reserve(ask_for_cid(pc, '1'));
        let open = Refusal::RequestOpen { machine: machine("pc-1"), since: bench.now() };
        assert_eq!(refused, Err(open), "one lock for each installation ID, whoever sent it");
    }
    granted(bench.store.reserve(ask_for_cid("pc-2", '2')));
    bench.store.settle(id, SpendOutcome::Spent).expect("settled");
    let refused = bench.store.reserve(ask_for_cid("pc-1", '1'));
    assert_eq!(refused, Err(Refusal::AlreadyIssued { machine: machine("pc-1"), at: bench.now() }));

    // Nobody knows: not again until a person has looked, and counted all the same.
    let lost = granted(bench.store.reserve(ask_for_cid("pc-3", '3')));
    bench.store.settle(lost, SpendOutcome::Unknown { code: None }).expect("settled");
    assert_eq!(bench.store.reread(&machine("pc-3"), &key(), false).expect("read"), 0, "Windows cannot know");
    assert!(matches!(bench.store.reserve(ask_for_cid("pc-3", '3')), Err(Refusal::RequestOpen { .. })));
    assert!(bench.store.release(&key(), PARTIAL, "admin").expect("released"));
    granted(bench.store.reserve(ask_for_cid("pc-3", '3')));

    // A request that failed can be made again; what came in by another way need not be.
    let failed = granted(bench.store.reserve(ask_for_cid("pc-4", '4')));
    bench.store.settle(failed, SpendOutcome::NotSpent { code: UNREACHABLE }).expect("settled");
    granted(bench.store.reserve(ask_for_cid("pc-4", '4')));
    bench.store.import_confirmation(&machine("pc-5"), &product(), &iid('5'), &cid(5)).expect("stored");
    assert!(matches!(bench.store.reserve(ask_for_cid("pc-5", '5')), Err(Refusal::AlreadyIssued { .. })));

    let sums = bench.store.ledger(&key(), PARTIAL).expect("read");
    assert_eq!((sums.spent, sums.spent_by_recloning), (5, 0));
    assert_eq!((sums.cids_imported, sums.cids_issued), (0, 4), "two permissions for one installation ID are one ID");
}

#[test]
fn every_attempt_is_listed() {
    let bench = Bench::new();
    let run = bench.run(&["pc-1"]);
    let id = granted(bench.store.reserve(ask(Some(run), "pc-1", limits(Some(1), 0, Some(1)))));
    bench.clock.advance(Duration::from_secs(60));
    bench.store.settle(id, SpendOutcome::NotSpent { code: UNREACHABLE }).expect("settled");
    assert!(bench.store.reserve(ask(Some(run), "pc-1", limits(Some(0), 0, Some(1)))).is_err());
    bench.store.record_attempt(&key(), Some(run), &machine("pc-1"), AttemptKind::Deposit, Some(0)).expect("entered");
    let entries = bench.store.ledger_entries(&key(), PARTIAL, 10).expect("read");
    let seen: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.state, entry.code)).collect();
    assert_eq!(
        seen,
        [
            (EntryKind::Deposit, EntryState::Succeeded, Some(Code::OK)),
            (EntryKind::Activate, EntryState::Refused, None),
            (EntryKind::Activate, EntryState::Failed, Some(UNREACHABLE)),
        ]
    );
    assert_eq!(entries[1].refusal.as_deref(), Some("budget-spent"));
    assert_eq!((entries[2].run, entries[2].settled_at), (Some(run), Some(bench.now())));
    assert_eq!(bench.store.ledger_entries(&key(), PARTIAL, 1).expect("read").len(), 1);
    assert_eq!(bench.store.ledger_keys().expect("read"), [(key(), Some(PARTIAL.to_owned()))]);
}

#[test]
fn without_a_ledger_nothing_is_granted() {
    let bench = Bench::new();
    // A run that the ledger has never heard of.
    let strange = bench.store.reserve(ask(Some(RunId(77)), "pc-1", limits(None, 0, Some(9))));
    assert!(matches!(strange, Err(Refusal::NoLedger { .. })), "{strange:?}");
    assert_eq!(bench.store.ledger(&key(), PARTIAL).expect("read").attempts, 0);
    bench.store.close();
    let closed = bench.store.reserve(ask(None, "pc-1", limits(None, 0, None)));
    assert!(matches!(&closed, Err(Refusal::NoLedger { reason }) if reason.contains("closed")), "{closed:?}");
}

#[test]
fn many_that_ask_at_once_get_no_more_than_there_is() {
    const THREADS: usize = 6;
    const PCS: usize = 20;
    let bench = Bench::new();
    let (first, second) = (bench.run(&["a-1"]), bench.run(&["a-2"]));
    let bounds = limits(Some(30), 5, Some(15));
    let granted: Vec<(RunId, usize)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (store, run) = (bench.store.clone(), if thread % 2 == 0 { first } else { second });
                scope.spawn(move || {
                    let mut got = Vec::new();
                    for pc in 0..PCS {
                        // Every other one fails, so that permissions come back while others ask.
                        let answer = store.reserve(ask(Some(run), &format!("pc-{thread}-{pc}"), bounds));
                        if let Ok(reservation) = answer {
                            let fails = pc % 2 == 0;
                            let outcome = match fails {
                                true => SpendOutcome::NotSpent { code: UNREACHABLE },
                                false => SpendOutcome::Spent,
                            };
                            store.settle(reservation.id, outcome).expect("settled");
                            if !fails {
                                got.push((run, pc));
                            }
                        }
                    }
                    got
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let of = |run| granted.iter().filter(|(of, _)| *of == run).count();
    assert!(granted.len() <= 25 && of(first) <= 15 && of(second) <= 15, "{}", granted.len());
    assert!(granted.len() >= 20, "only {} of 25: the threads were not in each other's way", granted.len());
    let sums = bench.store.ledger(&key(), PARTIAL).expect("read");
    assert_eq!((sums.spent, sums.open), (granted.len() as u64, 0));
}

/// What can happen, with PCs and runs by number.
#[derive(Debug, Clone)]
enum Step {
    Reserve { run: Option<usize>, pc: usize },
    Settle { which: prop::sample::Index, outcome: SpendOutcome },
    Reread { pc: usize, licensed: bool },
    Release,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(SpendOutcome::Spent),
        3 => Just(SpendOutcome::NotSpent { code: UNREACHABLE }),
        2 => Just(SpendOutcome::Unknown { code: None }),
        1 => Just(SpendOutcome::NotSpent { code: Code::MAK_LIMIT }),
    ];
    prop_oneof![
        8 => (prop::option::weighted(0.8, 0..2usize), 0..5usize).prop_map(|(run, pc)| Step::Reserve { run, pc }),
        6 => (any::<prop::sample::Index>(), outcome).prop_map(|(which, outcome)| Step::Settle { which, outcome }),
        2 => (0..5usize, any::<bool>()).prop_map(|(pc, licensed)| Step::Reread { pc, licensed }),
        1 => Just(Step::Release),
        1 => Just(Step::Crash),
    ]
}

/// A ledger as one would keep it on paper.
#[derive(Debug, Default)]
struct Paper {
    lines: Vec<(ReservationId, Option<usize>, usize, EntryState)>,
    held: bool,
}

impl Paper {
    fn spent(&self, run: Option<usize>) -> u32 {
        let counts = |state| matches!(state, EntryState::Open | EntryState::Unknown | EntryState::Succeeded);
        let of =
            |line: &&(_, Option<usize>, _, EntryState)| run.is_none_or(|run| line.1 == Some(run)) && counts(line.3);
        self.lines.iter().filter(of).count() as u32
    }

    /// What is granted: a line that is there, a new one, or none.
    fn reserve(&self, run: Option<usize>, pc: usize, limits: Limits) -> Result<Option<ReservationId>, &'static str> {
        let unclear = |line: &&(_, _, usize, EntryState)| {
            line.2 == pc && matches!(line.3, EntryState::Open | EntryState::Unknown)
        };
        if self.held {
            return Err("on-hold");
        }
        match self.lines.iter().find(unclear) {
            Some((id, of, _, EntryState::Open)) if *of == run => return Ok(Some(*id)),
            Some(_) => return Err("outcome-unknown"),
            None => {}
        }
        let usable = limits.budget.map(|budget| budget.saturating_sub(limits.reserve));
        if usable.is_some_and(|usable| self.spent(None) >= usable) {
            return Err("budget-spent");
        }
        match run {
            Some(_) if self.spent(run) >= limits.run_limit.unwrap_or(0) => Err("run-limit"),
            None if limits.run_limit == Some(0) => Err("run-limit"),
            _ => Ok(None),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_does_as_paper_does(
        budget in prop::option::of(0..7u32),
        reserve in 0..3u32,
        run_limit in prop::option::of(0..5u32),
        steps in prop::collection::vec(step(), 1..50),
    ) {
        let mut bench = Bench::new();
        let runs = [bench.run(&["a-1"]), bench.run(&["a-2"])];
        let bounds = limits(budget, reserve, run_limit);
        let mut paper = Paper::default();
        for step in steps {
            match step {
                Step::Reserve { run, pc } => {
                    let answer = bench.store.reserve(ask(run.map(|run| runs[run]), &format!("pc-{pc}"), bounds));
                    match (paper.reserve(run, pc, bounds), answer) {
                        (Ok(Some(id)), Ok(granted)) => prop_assert!(granted.id == id && granted.repeated),
                        (Ok(None), Ok(granted)) => {
                            prop_assert!(!granted.repeated && paper.lines.iter().all(|line| line.0 != granted.id));
                            paper.lines.push((granted.id, run, pc, EntryState::Open));
                        }
                        (Err(why), Err(refusal)) => prop_assert_eq!(why, refusal.name()),
                        (paper, store) => prop_assert!(false, "{:?} on paper, {:?} in the store", paper, store),
                    }
                }
                Step::Settle { which, outcome } if !paper.lines.is_empty() => {
                    let line = which.get(&paper.lines).0;
                    let line = paper.lines.iter_mut().find(|(id, ..)| *id == line).expect("there");
                    let state = match outcome {
                        SpendOutcome::Spent => EntryState::Succeeded,
                        SpendOutcome::NotSpent { .. } => EntryState::Failed,
                        SpendOutcome::Unknown { .. } => EntryState::Unknown,
                    };
                    // A late word that it was spent after all is the truth, whatever the limits are; tested above.
                    if line.3 == EntryState::Failed && state == EntryState::Succeeded {
                        continue;
                    }
                    bench.store.settle(line.0, outcome).expect("settled");
                    if matches!(line.3, EntryState::Open | EntryState::Unknown) {
                        line.3 = state;
                        paper.held |= matches!(outcome, SpendOutcome::NotSpent { code } if puts_on_hold(code));
                    }
                }
                Step::Settle { .. } => {}
                Step::Reread { pc, licensed } => {
                    let mut settled = 0;
                    for line in paper.lines.iter_mut().filter(|line| line.2 == pc) {
                        if matches!(line.3, EntryState::Open | EntryState::Unknown) {
                            line.3 = if licensed { EntryState::Succeeded } else { EntryState::Failed };
                            settled += 1;
                        }
                    }
                    let pc = machine(&format!("pc-{pc}"));
                    prop_assert_eq!(bench.store.reread(&pc, &key(), licensed).expect("read"), settled);
                }
                Step::Release => {
                    let held = std::mem::take(&mut paper.held);
                    prop_assert_eq!(bench.store.release(&key(), PARTIAL, "admin").expect("released"), held);
                }
                Step::Crash => bench.reopen(),
            }
            let sums = bench.store.ledger(&key(), PARTIAL).expect("read");
            prop_assert_eq!(sums.spent, u64::from(paper.spent(None)));
            if let Some(budget) = budget {
                prop_assert!(sums.spent <= u64::from(budget.saturating_sub(reserve)));
            }
            for run in [0, 1] {
                prop_assert!(paper.spent(Some(run)) <= run_limit.unwrap_or(0));
            }
            prop_assert_eq!(sums.attempts, sums.succeeded + sums.failed + sums.unknown + sums.open);
        }
    }
}
