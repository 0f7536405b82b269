//! Runs, sessions, hooks, intents, ledger, settings: what any implementation has to pass.

use std::collections::BTreeSet;
use std::time::Duration;

use klonwerk::activation::kms::Standing;
use klonwerk::job::intent::{IntentOutcome, NewIntent};
use klonwerk::job::state::{FailureReason, Stage, step};
use klonwerk::job::{Epoch, Event, IntentKind, MachineState, RunId};
use klonwerk::progress::ImagingTotals;
use klonwerk::room::{Mac, Selection};
use klonwerk::store::{AttemptKind, LicensingReport, SessionStanding, SharedMachineId, StoreError, TokenHash};
use proptest::prelude::*;

use super::{Bench, TO_THE_GATE, machine, new_run};

#[test]
fn a_run_is_kept_as_it_was_made() {
    let mut bench = Bench::new();
    let new = new_run(&["pc-2", "pc-1"], bench.in_minutes(240));
    let id = bench.store.create_run(new.clone()).expect("made");
    bench.reopen();
    let run = bench.store.run(id).expect("there");
    assert_eq!((&run.room, &run.image, run.root), (&new.room, &new.image, new.root));
    assert_eq!(
        (run.asked_by, run.profile_revision, run.plan_json),
        (new.asked_by, new.profile_revision, new.plan_json)
    );
    assert_eq!((run.created_at, run.expires_at, run.closed_at), (bench.now(), new.expires_at, None));

    let machines = bench.store.machine_runs(id).expect("read");
    let names: Vec<&str> = machines.iter().map(|m| m.machine.as_str()).collect();
    assert_eq!(names, ["pc-2", "pc-1"], "the room's order stays");
    assert_eq!(machines[0].state, MachineState::Queued { until: new.expires_at, half_written: false });
    assert_eq!((machines[0].epoch, machines[0].totals), (Epoch(0), None));
    assert_eq!(bench.store.history(id, &machine("PC-1")).expect("read").len(), 1, "names count without case");

    assert!(matches!(bench.store.run(RunId(77)), Err(StoreError::NoSuchRun(RunId(77)))));
    assert!(matches!(bench.store.run(RunId(u64::MAX)), Err(StoreError::NoSuchRun(_))));
    assert!(matches!(bench.store.machine_run(id, &machine("pc-9")), Err(StoreError::NoSuchMachineRun { .. })));
    assert!(matches!(bench.store.create_run(new_run(&[], bench.now())), Err(StoreError::NoMachines)));
}

#[test]
fn a_machine_is_in_one_open_run_only() {
    let bench = Bench::new();
    let first = bench.run(&["pc-1", "pc-2"]);
    let refused = bench.store.create_run(new_run(&["pc-3", "PC-2"], bench.in_minutes(240)));
    assert!(matches!(refused, Err(StoreError::MachineBusy { run, .. }) if run == first), "{refused:?}");
    assert_eq!(bench.store.runs(10).expect("read").len(), 1, "the refused run left nothing behind");
    assert!(bench.store.open_machine_run(&machine("pc-3")).expect("read").is_none());

    bench.play(first, "pc-2", &[Event::Cancel]);
    let second = bench.run(&["pc-2"]);
    assert_eq!(bench.store.open_machine_run(&machine("pc-2")).expect("read").map(|m| m.run), Some(second));

    // The older run's part is not taken up again, neither beside the newer one nor after it.
    for _ in 0..2 {
        let seen = bench.store.machine_run(first, &machine("pc-2")).expect("there");
        let to = MachineState::Queued { until: bench.in_minutes(9), half_written: false };
        let refused = bench.store.advance(first, &seen.machine, (&seen.state, seen.epoch), to, "retry");
        assert!(matches!(refused, Err(StoreError::Superseded { by, .. }) if by == second), "{refused:?}");
        bench.play(second, "pc-2", &[Event::Cancel]);
    }
}

#[test]
fn a_run_is_closed_with_its_last_machine_and_opened_by_a_retry() {
    let bench = Bench::new();
    let run = bench.run(&["pc-1", "pc-2"]);
    bench.play(run, "pc-1", &[Event::Cancel]);
    assert_eq!(bench.store.open_runs().expect("read").len(), 1);
    bench.clock.advance(Duration::from_secs(60));
    let closed_at = bench.now();
    bench.play(run, "pc-2", &[Event::Armed, Event::TimedOut]);
    assert_eq!(bench.store.run(run).expect("there").closed_at, Some(closed_at));
    assert!(bench.store.open_runs().expect("read").is_empty());
    bench.play(run, "pc-2", &[Event::Retry { until: bench.in_minutes(60) }]);
    assert_eq!(bench.store.run(run).expect("there").closed_at, None);
}

#[test]
fn a_change_is_compared_with_what_was_seen() {
    let bench = Bench::new();
    let run = bench.run(&["pc-1"]);
    let name = machine("pc-1");
    let seen = bench.store.machine_run(run, &name).expect("there");
    let to = step(&seen.state, &Event::Armed, bench.now()).expect("accepted").to;
    let expect = (&seen.state, seen.epoch);
    assert_eq!(bench.store.advance(run, &name, expect, to.clone(), "armed").expect("advanced"), Epoch(1));
    match bench.store.advance(run, &name, expect, to.clone(), "armed") {
        Err(StoreError::Conflict { found, epoch, .. }) => assert_eq!((*found, epoch), (to.clone(), Epoch(1))),
        other => panic!("{other:?}"),
    }
    // The right state with another epoch is no match either: it was left and reached again.
    assert!(matches!(
        bench.store.advance(run, &name, (&to, Epoch(0)), seen.state.clone(), "back"),
        Err(StoreError::Conflict { .. })
    ));
    // Moving to where it is stores nothing.
    assert_eq!(bench.store.advance(run, &name, (&to, Epoch(1)), to.clone(), "again").expect("same"), Epoch(1));
    let history = bench.store.history(run, &name).expect("read");
    let told: Vec<(u64, &str)> = history.iter().map(|c| (c.epoch.0, c.reason.as_str())).collect();
    assert_eq!(told, [(0, "the run was made"), (1, "armed")]);
}

#[test]
fn of_many_that_change_at_once_one_wins_each_time() {
    const THREADS: usize = 6;
    const WINS: u64 = 20;
    let bench = Bench::new();
    let run = bench.run(&["pc-1"]);
    let name = machine("pc-1");
    let until = bench.in_minutes(240);
    let conflicts: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (store, name) = (bench.store.clone(), name.clone());
                scope.spawn(move || {
                    let (mut won, mut lost) = (0, 0);
                    while won < WINS {
                        let seen = store.machine_run(run, &name).expect("there");
                        let to = match seen.state {
                            MachineState::AwaitingBoot { .. } => MachineState::Booting { until, half_written: false },
                            _ => MachineState::AwaitingBoot { until, half_written: false },
                        };
                        match store.advance(run, &name, (&seen.state, seen.epoch), to, "turn") {
                            Ok(epoch) => {
                                assert_eq!(epoch.0, seen.epoch.0 + 1);
                                won += 1;
                            }
                            Err(StoreError::Conflict { .. }) => lost += 1,
                            Err(other) => panic!("{other}"),
                        }
                    }
                    lost
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    let history = bench.store.history(run, &name).expect("read");
    let epochs: Vec<u64> = history.iter().map(|change| change.epoch.0).collect();
    assert_eq!(epochs, (0..=WINS * THREADS as u64).collect::<Vec<_>>(), "every win is one change, no conflict is");
    assert!(conflicts > 0, "nobody was in anybody's way, so nothing was tested");
}

#[test]
fn the_half_written_mark_outlives_its_run() {
    let mut bench = Bench::new();
    let name = machine("pc-1");
    let first = bench.run(&["pc-1", "pc-2"]);
    bench.play(first, "pc-1", &TO_THE_GATE[..3]);
    assert_eq!(bench.store.half_written(&name).expect("read"), None);
    bench.play(first, "pc-1", &[Event::GateClosed, Event::TimedOut]);
    bench.reopen();
    assert_eq!(bench.store.half_written(&name).expect("read"), Some(first));

    // A newer run takes the disk over, with the mark.
    let second = bench.run(&["PC-1"]);
    assert_eq!(bench.store.half_written_list().expect("read"), [(name.clone(), second)]);
    let seen = bench.store.machine_run(second, &name).expect("there");
    assert!(seen.state.disk_may_be_half_written());
    bench.play(second, "pc-1", &[Event::Armed, Event::IntentExpired]);
    bench.clock.advance(Duration::from_secs(86_400));
    let (state, _) = bench.play(second, "pc-1", &[Event::BootAnswered, Event::CheckedIn, Event::Committed]);
    assert_eq!(state, MachineState::Committed, "resumed after its window");
    assert_eq!(bench.store.half_written(&name).expect("read"), None);
}

#[test]
fn numbers_of_an_imaging_are_kept() {
    let bench = Bench::new();
    let run = bench.run(&["pc-1"]);
    let totals = ImagingTotals { read: 1 << 40, fetched: 7, written: 8, dirty_leaves: 9 };
    bench.store.set_numbers(run, &machine("pc-1"), totals).expect("kept");
    assert_eq!(bench.store.machine_runs(run).expect("read")[0].totals, Some(totals));
    assert!(bench.store.set_numbers(run, &machine("pc-2"), totals).is_err());
}

#[test]
fn a_newer_session_voids_the_older_and_two_claimants_are_held() {
    let bench = Bench::new();
    let run = bench.run(&["pc-1", "pc-2"]);
    let name = machine("pc-1");
    let [a, b, c, d] = [b"a", b"b", b"c", b"d"].map(|token| TokenHash::of(token));
    let standing = |token| bench.store.session(token).expect("read").expect("there").standing;

    assert_eq!(bench.store.open_session(&name, run, a).expect("opened").epoch, 1);
    bench.clock.advance(Duration::from_secs(5));
    bench.store.touch_session(a).expect("noted");
    assert_eq!(bench.store.session(a).expect("read").expect("there").last_seen, bench.now());
    let second = bench.store.open_session(&name, run, b).expect("opened");
    assert_eq!((second.epoch, second.standing, second.machine), (2, SessionStanding::Live, name.clone()));
    assert_eq!((standing(a), standing(b)), (SessionStanding::Void, SessionStanding::Live));
    assert_eq!(bench.store.newest_session(&name).expect("read").map(|s| s.epoch), Some(2));

    bench.store.hold_sessions(&name).expect("held");
    let third = bench.store.open_session(&name, run, c).expect("opened");
    assert_eq!((third.standing, standing(b)), (SessionStanding::Held, SessionStanding::Held), "no way around it");
    bench.store.release_sessions(&name).expect("released");
    assert_eq!((standing(b), standing(c)), (SessionStanding::Void, SessionStanding::Void));
    assert!(bench.store.newest_session(&name).expect("read").is_none());
    assert_eq!(bench.store.open_session(&name, run, d).expect("opened").standing, SessionStanding::Live);

    assert!(bench.store.session(TokenHash::of(b"z")).expect("read").is_none());
    let stranger = bench.store.open_session(&machine("pc-9"), run, TokenHash::of(b"y"));
    assert!(matches!(stranger, Err(StoreError::NoSuchMachineRun { .. })));
}

#[test]
fn a_hook_credential_names_its_machine_run() {
    let bench = Bench::new();
    let run = bench.run(&["pc-1"]);
    let [old, new] = [b"old", b"new"].map(|token| TokenHash::of(token));
    for token in [old, new] {
        bench.store.set_hook_credential(run, &machine("pc-1"), token).expect("kept");
    }
    assert_eq!(bench.store.hook_credential(new).expect("read"), Some((run, machine("pc-1"))));
    assert_eq!(bench.store.hook_credential(old).expect("read"), None, "the one on the disk is the newest");
}

#[test]
fn a_hook_result_is_stored_once() {
    let bench = Bench::new();
    let run = bench.run(&["pc-1"]);
    let name = machine("pc-1");
    let first = bench.store.begin_hook(run, &name, 0).expect("begun");
    assert_eq!(bench.store.begin_hook(run, &name, 0).expect("begun").id, first.id, "a restart goes on with it");
    for _ in 0..2 {
        bench.store.finish_hook(first.id, r#"{"ok":false}"#).expect("recorded");
    }
    let other = bench.store.finish_hook(first.id, r#"{"ok":true}"#);
    assert!(matches!(other, Err(StoreError::AttemptFinished(id)) if id == first.id));

    let second = bench.store.begin_hook(run, &name, 0).expect("begun");
    assert_eq!((second.number, second.result_json.as_deref()), (2, None));
    bench.store.begin_hook(run, &name, 1).expect("begun");
    bench.store.finish_hook(second.id, r#"{"ok":true}"#).expect("recorded");
    let results = bench.store.hook_results(run, &name).expect("read");
    let told: Vec<_> = results.iter().map(|r| (r.index, r.number, r.result_json.as_deref())).collect();
    assert_eq!(told, [(0, 1, Some(r#"{"ok":false}"#)), (0, 2, Some(r#"{"ok":true}"#)), (1, 1, None)]);
}

fn intent(bench: &Bench, not_before: u64, expires: u64) -> NewIntent {
    NewIntent {
        room: "r101".parse().expect("room"),
        selection: Selection { only: vec![machine("pc-1")], except: vec![] },
        asked_by: "Frau Weber".to_owned(),
        not_before: bench.in_minutes(not_before),
        expires_at: bench.in_minutes(expires),
        kind: IntentKind::Reclone { image: None },
    }
}

#[test]
fn an_intent_acts_once_and_inside_its_window() {
    let bench = Bench::new();
    let now = bench.now();
    let due = bench.store.add_intent(intent(&bench, 0, 60)).expect("kept");
    let early = bench.store.add_intent(intent(&bench, 30, 60)).expect("kept");
    let found = bench.store.due_intents(now).expect("read");
    assert_eq!(found.iter().map(|i| i.id).collect::<Vec<_>>(), [due]);
    assert_eq!((found[0].selection.only.len(), found[0].asked_at), (1, now));

    let run = bench.store.start_run(due, new_run(&["pc-1"], bench.in_minutes(60))).expect("made");
    let again = bench.store.start_run(due, new_run(&["pc-2"], bench.in_minutes(60)));
    assert!(matches!(again, Err(StoreError::IntentFinished(id)) if id == due));
    assert_eq!(bench.store.runs(10).expect("read").len(), 1, "the second run was not made");
    bench.store.finish_intent(due, IntentOutcome::Started { run }).expect("the same outcome again");
    assert!(bench.store.finish_intent(due, IntentOutcome::Done).is_err());

    // 60 minutes later the other one has missed its window: it never runs, not even for who still has its number.
    bench.clock.advance(Duration::from_secs(3600));
    let late = bench.store.start_run(early, new_run(&["pc-3"], bench.in_minutes(60)));
    assert!(matches!(late, Err(StoreError::IntentFinished(_))), "{late:?}");
    assert!(bench.store.due_intents(bench.now()).expect("read").is_empty());
    let outcomes: Vec<IntentOutcome> =
        bench.store.finished_intents(10).expect("read").into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, [IntentOutcome::Expired, IntentOutcome::Started { run }]);
    assert!(bench.store.open_intents().expect("read").is_empty());
}

#[test]
fn the_ledger_counts_what_is_unknown_as_spent() {
    let bench = Bench::new();
    let run = bench.run(&["pc-1"]);
    let (key, name) = ("mak-win11".parse().expect("key"), machine("pc-1"));
    let enter = |run, kind, code| bench.store.record_attempt(&key, run, &name, kind, code).expect("entered");
    enter(Some(run), AttemptKind::Deposit, Some(0));
    enter(None, AttemptKind::Activate, Some(0));
    enter(Some(run), AttemptKind::Activate, Some(0xC004_C008));
    let open = enter(Some(run), AttemptKind::Activate, None);
    let sums = bench.store.ledger(&key, "ABCDE").expect("read");
    assert_eq!((sums.deposits, sums.spent, sums.spent_by_recloning, sums.cids_imported), (1, 2, 1, 0));
    bench.store.settle_attempt(open, 0xC004_C008).expect("settled");
    bench.store.settle_attempt(open, 0).expect("a settled one stays");
    let sums = bench.store.ledger(&key, "ABCDE").expect("read");
    assert_eq!((sums.spent, sums.spent_by_recloning), (1, 0));
    assert_eq!(bench.store.ledger(&"other".parse().expect("key"), "ABCDE").expect("read").spent, 0);
}

#[test]
fn the_audit_log_keeps_its_order() {
    let bench = Bench::new();
    bench.store.audit("agent of pc-1", "confirmation ID released", Some(&machine("pc-1"))).expect("written");
    bench.store.audit("admin", "server started", None).expect("written");
    let log = bench.store.audit_log(10).expect("read");
    assert_eq!(log.iter().map(|e| e.who.as_str()).collect::<Vec<_>>(), ["admin", "agent of pc-1"]);
    assert_eq!(log[1].machine, Some(machine("pc-1")));
    assert_eq!(bench.store.audit_log(1).expect("read").len(), 1);
}

#[test]
fn unknown_machines_are_counted_and_bounded() {
    let bench = Bench::new();
    let mac = |n: u16| Mac([0x52, 0x54, 0, 0, (n >> 8) as u8, n as u8]);
    let uuid = "4c4c4544-0042-4a10-8052-b4c04f513233".parse().expect("UUID");
    bench.store.seen_unknown(mac(0), Some(uuid), "uefi-x64", bench.now()).expect("noted");
    bench.store.seen_unknown(mac(0), None, "bios", bench.in_minutes(1)).expect("noted");
    let list = bench.store.unknown_list().expect("read");
    assert_eq!((list[0].times, list[0].uuid, list[0].architecture.as_str()), (2, Some(uuid), "bios"));
    assert_eq!((list[0].first_seen, list[0].last_seen), (bench.now(), bench.in_minutes(1)));
    for n in 1..=1000 {
        bench.store.seen_unknown(mac(n), None, "bios", bench.in_minutes(2)).expect("noted");
    }
    let list = bench.store.unknown_list().expect("read");
    assert_eq!(list.len(), 1000);
    assert!(list.iter().all(|m| m.mac != mac(0)), "the one seen longest ago went");
}

#[test]
fn settings_are_kept_apart_from_secrets() {
    let mut bench = Bench::new();
    bench.store.set_setting("identity", "one").expect("kept");
    bench.store.set_setting("identity", "two").expect("kept");
    bench.store.set_secret_setting("identity", b"hidden").expect("kept");
    bench.reopen();
    assert_eq!(bench.store.setting("identity").expect("read").as_deref(), Some("two"));
    let secret = bench.store.secret_setting("identity").expect("read").expect("there");
    assert_eq!(secret.expose(), b"hidden");
    assert_eq!(bench.store.setting("key-check").expect("read"), None);
}

#[test]
fn licensing_reports_tell_who_shares_a_client_machine_id() {
    let mut bench = Bench::new();
    let among: BTreeSet<_> = ["pc-1", "pc-2", "pc-3"].map(machine).into();
    let report =
        |cmid: &str| LicensingReport { cmid: Some(cmid.to_owned()), at_kms: true, standing: Standing::CountTooLow };
    let keep = |bench: &Bench, run, name: &str, cmid: &str| {
        bench.store.keep_licensing_report(run, &machine(name), report(cmid), &among).expect("kept")
    };
    let first = bench.run(&["pc-1", "pc-2", "pc-3", "gone"]);
    assert_eq!(keep(&bench, first, "gone", "AA"), None);
    assert_eq!(keep(&bench, first, "pc-1", "AA"), None, "the other one is in no profile");
    assert_eq!(keep(&bench, first, "PC-1", "aa"), None, "its own report again");
    let shared = |others: &[&str], first_in_run| {
        Some(SharedMachineId { others: others.iter().map(|name| machine(name)).collect(), first_in_run })
    };
    assert_eq!(keep(&bench, first, "pc-2", "aa"), shared(&["pc-1"], true));
    assert_eq!(keep(&bench, first, "pc-3", "aA"), shared(&["pc-1", "pc-2"], false), "once a run");
    for name in ["pc-1", "pc-2", "pc-3", "gone"] {
        bench.play(first, name, &[Event::Cancel]);
    }

    // The next night of a rebuilt image: what a PC had last counts.
    bench.clock.advance(Duration::from_secs(24 * 3600));
    let second = bench.run(&["pc-1", "pc-2", "pc-3"]);
    assert_eq!(keep(&bench, second, "pc-1", "b1"), None);
    assert_eq!(keep(&bench, second, "pc-2", "b2"), None);
    assert_eq!(keep(&bench, second, "pc-3", "aa"), None, "nobody of the profiles has the old one any more");
    assert_eq!(keep(&bench, second, "pc-3", "B2"), shared(&["pc-2"], true), "another run, another alarm");

    let refused = bench.store.keep_licensing_report(second, &machine("pc-9"), report("c"), &among);
    assert!(matches!(refused, Err(StoreError::NoSuchMachineRun { .. })), "{refused:?}");

    bench.reopen();
    let all = bench.store.licensing_reports(bench.now()).expect("read");
    assert_eq!(all.len(), 7);
    let last = &all[6];
    assert_eq!((last.run, last.cmid.as_deref(), last.at_kms), (second, Some("b2"), true));
    assert_eq!((last.standing, last.at, last.room.as_str()), (Standing::CountTooLow, bench.now(), "r101"));
    // After the window only each machine's last one is left, and after a year and more nothing.
    bench.clock.advance(Duration::from_secs(31 * 24 * 3600));
    assert_eq!(bench.store.licensing_reports(bench.now()).expect("read").len(), 4);
    bench.clock.advance(Duration::from_secs(400 * 24 * 3600));
    for name in ["pc-1", "pc-2", "pc-3"] {
        bench.play(second, name, &[Event::Cancel]);
    }
    let third = bench.run(&["pc-1"]);
    assert_eq!(keep(&bench, third, "pc-1", "c1"), None);
    assert_eq!(bench.store.licensing_reports(bench.now()).expect("read").len(), 1);
}

#[test]
fn a_closed_store_says_so() {
    let bench = Bench::new();
    bench.store.close();
    assert!(matches!(bench.store.runs(1), Err(StoreError::Closed)));
    assert!(matches!(bench.store.set_setting("a", "b"), Err(StoreError::Closed)));
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Armed),
        Just(Event::BootAnswered),
        Just(Event::CheckedIn),
        Just(Event::GateClosed),
        Just(Event::Committed),
        Just(Event::WindowsCheckedIn),
        Just(Event::AllHooksDone { pending: None }),
        Just(Event::Failed { reason: FailureReason::Server { what: "test".into() } }),
        Just(Event::TimedOut),
        Just(Event::SecondClaimant),
        Just(Event::Resolved),
        Just(Event::Cancel),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever happens over several runs: the mark says the same as the machine's newest state.
    #[test]
    fn the_mark_follows_the_states(events in proptest::collection::vec(event(), 1..30)) {
        let bench = Bench::new();
        let name = machine("pc-1");
        let mut run = bench.run(&["pc-1"]);
        let mut changes = 0;
        for event in events {
            let seen = bench.store.machine_run(run, &name).expect("there");
            if let Ok(next) = step(&seen.state, &event, bench.now()) {
                changes += u64::from(next.changes(&seen.state));
                let epoch = bench.store.advance(run, &name, (&seen.state, seen.epoch), next.to, &next.reason);
                prop_assert_eq!(epoch.expect("advanced").0, changes);
            } else if seen.state.is_final() {
                run = bench.run(&["pc-1"]);
                changes = 0;
            }
            let now = bench.store.machine_run(run, &name).expect("there");
            let expected = now.state.disk_may_be_half_written().then_some(run);
            prop_assert_eq!(bench.store.half_written(&name).expect("read"), expected);
            prop_assert_eq!(bench.store.run(run).expect("there").closed_at.is_some(), now.state.is_final());
            prop_assert!(now.state.stage() != Stage::Hooks || !now.state.disk_may_be_half_written());
        }
    }
}
