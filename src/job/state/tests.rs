use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// The window of the tests ends at second 1000.
fn queued() -> MachineState {
    MachineState::Queued { until: at(1000), half_written: false }
}

fn play(from: MachineState, events: &[Event], now: i64) -> MachineState {
    events.iter().fold(from, |state, event| step(&state, event, at(now)).expect("accepted").to)
}

fn imaging() -> Vec<Event> {
    vec![Event::Armed, Event::BootAnswered, Event::CheckedIn, Event::GateClosed]
}

#[test]
fn a_night_without_trouble() {
    let mut events = imaging();
    events.extend([
        Event::Progress { phase: Phase::Verifying },
        Event::Committed,
        Event::Restarting,
        Event::WindowsCheckedIn,
        Event::HookDone { index: 0 },
        Event::HookDone { index: 0 },
        Event::HookDone { index: 1 },
    ]);
    let state = play(queued(), &events, 10);
    assert_eq!(state, MachineState::Hooks { next: 2 }, "a result that comes twice counts once");
    let done = play(state, &[Event::AllHooksDone { pending: Some(Pending::PendingIid) }], 10);
    assert_eq!(done, MachineState::Done { result: Readiness::ReadyPending { why: Pending::PendingIid } });
}

#[test]
fn a_room_without_windows_hooks_is_done_with_the_commit() {
    let state = play(queued(), &[Event::Armed, Event::BootAnswered, Event::CheckedIn, Event::Committed], 10);
    assert_eq!(
        play(state, &[Event::AllHooksDone { pending: None }], 10),
        MachineState::Done { result: Readiness::Ready }
    );
}

#[test]
fn nothing_is_written_after_the_window() {
    let mut state = queued();
    for event in imaging() {
        let late = step(&state, &event, at(1000)).expect("accepted").to;
        assert_eq!(late, MachineState::Expired { half_written: false }, "{event:?} at {state:?}");
        state = step(&state, &event, at(999)).expect("accepted").to;
    }
}

#[test]
fn a_half_written_disk_is_resumed_at_any_hour() {
    let half = play(queued(), &imaging(), 10);
    assert_eq!(step(&half, &Event::Cancel, at(10)), Err(Refused::MustFinish));
    assert_eq!(play(half.clone(), &[Event::IntentExpired], 2000), half, "the window does not end a write");
    let failed = play(half, &[Event::TimedOut], 2000);
    assert!(failed.is_final() && failed.disk_may_be_half_written());
    let events = [Event::BootAnswered, Event::CheckedIn, Event::GateClosed, Event::Committed];
    assert_eq!(play(failed, &events, 90_000), MachineState::Committed);
}

#[test]
fn a_lost_gate_message_does_not_hide_a_write() {
    let events = [Event::Armed, Event::BootAnswered, Event::CheckedIn, Event::Progress { phase: Phase::Writing }];
    assert!(play(queued(), &events, 10).disk_may_be_half_written());
}

#[test]
fn a_restarted_agent_or_pc_goes_on_where_the_disk_is() {
    let half = play(queued(), &imaging(), 10);
    for events in [vec![Event::CheckedIn], vec![Event::BootAnswered, Event::CheckedIn]] {
        let again = play(half.clone(), &events, 5000);
        assert_eq!(again, MachineState::Imaging { phase: Phase::Scanning, until: at(1000), half_written: true });
    }
}

#[test]
fn a_boot_answer_that_is_noted_late_does_not_lose_the_agent() {
    let mut events = imaging();
    events.extend([Event::BootAnswered, Event::Progress { phase: Phase::Verifying }, Event::Committed]);
    assert_eq!(play(queued(), &events, 10), MachineState::Committed);
}

#[test]
fn two_claimants_hold_the_machine_until_a_person_decides() {
    let held = play(queued(), &[imaging(), vec![Event::SecondClaimant]].concat(), 10);
    for event in [Event::CheckedIn, Event::BootAnswered, Event::GateClosed, Event::Committed] {
        assert!(step(&held, &event, at(10)).is_err(), "{event:?}");
    }
    assert!(held.disk_may_be_half_written());
    assert_eq!(
        play(held, &[Event::SecondClaimant, Event::Resolved], 10),
        MachineState::Booting { until: at(1000), half_written: true }
    );
    let windows = play(MachineState::Hooks { next: 3 }, &[Event::SecondClaimant, Event::Resolved], 10);
    assert_eq!(windows, MachineState::Hooks { next: 3 });
}

#[test]
fn a_hook_out_of_its_order_is_refused() {
    let refused = step(&MachineState::Hooks { next: 1 }, &Event::HookDone { index: 2 }, at(0));
    assert_eq!(refused, Err(Refused::HookOrder { expected: 1, got: 2 }));
}

#[test]
fn a_failed_machine_can_be_tried_again_in_a_new_window() {
    let failed = play(queued(), &[Event::Armed, Event::TimedOut], 900);
    assert_eq!(step(&failed, &Event::BootAnswered, at(900)).map_err(|r| r.to_string().contains("too late")), Err(true));
    let again = play(failed, &[Event::Retry { until: at(5000) }], 2000);
    assert_eq!(play(again, &imaging()[..3], 3000).stage(), Stage::Imaging);
}

#[test]
fn stored_form() {
    let half = play(queued(), &[imaging(), vec![Event::SecondClaimant]].concat(), 10);
    insta::assert_json_snapshot!(half, @r#"
    {
      "state": "held",
      "why": "two-claimants",
      "was": {
        "state": "imaging",
        "phase": "writing",
        "until": "1970-01-01T00:16:40Z",
        "half_written": true
      }
    }
    "#);
}

fn any_event() -> impl Strategy<Value = Event> {
    let phase =
        prop_oneof![Just(Phase::Scanning), Just(Phase::Writing), Just(Phase::Verifying), Just(Phase::OfflineHooks)];
    let pending = prop_oneof![Just(None), Just(Some(Pending::PendingIid))];
    prop_oneof![
        3 => Just(Event::Armed),
        3 => Just(Event::BootAnswered),
        3 => Just(Event::CheckedIn),
        2 => phase.prop_map(|phase| Event::Progress { phase }),
        3 => Just(Event::GateClosed),
        3 => Just(Event::Committed),
        2 => Just(Event::Restarting),
        2 => Just(Event::WindowsCheckedIn),
        2 => (0u32..3).prop_map(|index| Event::HookDone { index }),
        1 => pending.prop_map(|pending| Event::AllHooksDone { pending }),
        1 => Just(Event::Failed { reason: FailureReason::Imaging { what: "disk".into() } }),
        1 => Just(Event::TimedOut),
        1 => Just(Event::IntentExpired),
        1 => Just(Event::Cancel),
        1 => Just(Event::SecondClaimant),
        1 => Just(Event::Resolved),
        1 => (0i64..3000).prop_map(|until| Event::Retry { until: at(until) }),
    ]
}

proptest! {
    #[test]
    fn the_rules_hold_for_every_history(
        events in proptest::collection::vec((any_event(), 0i64..60), 0..60),
        half_written: bool,
    ) {
        let mut state = MachineState::Queued { until: at(1000), half_written };
        let mut now = 0;
        for (event, pause) in events {
            now += pause;
            let Ok(transition) = step(&state, &event, at(now)) else { continue };
            let next = &transition.to;

            // The same event twice is harmless.
            if let Ok(again) = step(next, &event, at(now)) {
                prop_assert_eq!(&again.to, next, "{:?} at {:?}", event, state);
            }
            // Final states are left in the declared ways only.
            if state.is_final() && transition.changes(&state) {
                let resumed = state.disk_may_be_half_written() && event == Event::BootAnswered;
                let retried = matches!(event, Event::Retry { .. }) && state.stage() != Stage::Done;
                prop_assert!(resumed || retried, "{event:?} left {state:?}");
            }
            // The mark goes with a commit only, and comes with the gate only.
            if state.disk_may_be_half_written() && !next.disk_may_be_half_written() {
                prop_assert_eq!(&event, &Event::Committed);
            }
            if !state.disk_may_be_half_written() && next.disk_may_be_half_written() {
                let writes = matches!(event, Event::GateClosed | Event::Progress { .. });
                prop_assert!(writes, "{:?} marked {:?}", event, state);
            }
            // No gate is closed after the window.
            if event == Event::GateClosed && !state.disk_may_be_half_written() && next.disk_may_be_half_written() {
                prop_assert!(state.window_end().is_some_and(|end| at(now) < end));
            }
            // Held states do not nest, and everything ends.
            if let MachineState::Held { was, .. } = next {
                prop_assert!(was.stage() != Stage::Held);
            }
            if !next.is_final() {
                let ended = step(next, &Event::TimedOut, at(now)).expect("every open state times out").to;
                prop_assert!(ended.is_final());
                prop_assert!(next.budget().is_some() || next.window_end().is_some() || next.disk_may_be_half_written());
            }
            let text = serde_json::to_string(next).expect("serialises");
            prop_assert_eq!(&serde_json::from_str::<MachineState>(&text).expect("reads back"), next);
            state = transition.to;
        }
    }
}
