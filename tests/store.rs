//! The store through its public surface. `battery` is what any implementation has to pass; `file` is about the one file
//! that the default implementation keeps; `kill` ends writers in the middle.
#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "in a test, what is unexpected ends it")]

#[path = "store/battery.rs"]
mod battery;
#[path = "store/confirmations.rs"]
mod confirmations;
#[path = "store/file.rs"]
mod file;
#[path = "store/kill.rs"]
mod kill;
#[path = "store/reservations.rs"]
mod reservations;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use klonwerk::clock::{Clock, ManualClock};
use klonwerk::image::Hash;
use klonwerk::job::{Epoch, Event, MachineState, RunId, state};
use klonwerk::room::MachineName;
use klonwerk::store::{NewMachineRun, NewRun, Store, StoreKey};
use tempfile::TempDir;

/// A store of a test's own, at 2026-11-24 02:00 UTC.
struct Bench {
    folder: TempDir,
    clock: ManualClock,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let clock = ManualClock::new("2026-11-24T02:00:00Z".parse().expect("instant"));
        let store = open(&folder, &clock);
        Self { folder, clock, store }
    }

    /// Closes the store and opens it again.
    fn reopen(&mut self) {
        self.store.close();
        self.store = open(&self.folder, &self.clock);
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn in_minutes(&self, minutes: u64) -> Timestamp {
        self.now() + Duration::from_secs(60 * minutes)
    }

    fn run(&self, machines: &[&str]) -> RunId {
        self.store.create_run(new_run(machines, self.in_minutes(240))).expect("made")
    }

    /// Plays events as the runner does.
    fn play(&self, run: RunId, name: &str, events: &[Event]) -> (MachineState, Epoch) {
        let machine = machine(name);
        for event in events {
            let seen = self.store.machine_run(run, &machine).expect("there");
            let next = state::step(&seen.state, event, self.now()).expect("accepted");
            self.store.advance(run, &machine, (&seen.state, seen.epoch), next.to, &next.reason).expect("advanced");
        }
        let seen = self.store.machine_run(run, &machine).expect("there");
        (seen.state, seen.epoch)
    }
}

fn open(folder: &TempDir, clock: &ManualClock) -> Store {
    let key = StoreKey::open_or_create(&folder.path().join("store.key")).expect("key");
    Store::open(&folder.path().join("state.sqlite"), key, Arc::new(clock.clone())).expect("opened")
}

fn machine(name: &str) -> MachineName {
    name.parse().expect("machine name")
}

fn new_run(machines: &[&str], expires_at: Timestamp) -> NewRun {
    NewRun {
        room: "r101".parse().expect("room"),
        image: "win11@2026-11".parse().expect("image"),
        root: Hash::of(b"root"),
        asked_by: "schedule".to_owned(),
        profile_revision: Some("0123abcd".to_owned()),
        plan_json: r#"{"steps":[]}"#.to_owned(),
        machines: machines
            .iter()
            .map(|name| NewMachineRun {
                machine: machine(name),
                mac: "52:54:00:00:00:01".parse().expect("MAC"),
                plan_json: format!(r#"{{"for":"{name}"}}"#),
            })
            .collect(),
        expires_at,
    }
}

const TO_THE_GATE: [Event; 4] = [Event::Armed, Event::BootAnswered, Event::CheckedIn, Event::GateClosed];
