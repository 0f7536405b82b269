//! What a plan says beforehand is what is recorded at the simulated PCs afterwards, for every room of the sample school.
//!
//! The witness is the PCs' own record: boot answers, files, bytes on the disk, calls at the licensing service. The
//! runner's log is not looked at.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use klonwerk::agent::client::Patience;
use klonwerk::boot::decide::BootChoice;
use klonwerk::boot::script;
use klonwerk::clock::SystemClock;
use klonwerk::job::MachineState;
use klonwerk::job::plan::{Expectation, HookAction, MachinePlan, Plan, Step};
use klonwerk::job::state::{Pending, Readiness};
use klonwerk::night::key_values::Sources;
use klonwerk::profile::load;
use klonwerk::progress::{Monitor, Unwatched};
use klonwerk::rehearsal::{NightReport, RoomSource, School, SchoolOptions};
use klonwerk::room::MachineName;
use klonwerk::sim::record::Recorded;

const SEED: u64 = 20_261_124;

fn sample() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles")
}

/// A key that has the form of one, as systemd would hand it over.
fn credentials(folder: &Path) -> Sources {
    std::fs::write(folder.join("mak-win11"), "BCDFG-HJKMP-QRTVW-XY234-67893\n").expect("credential");
    Sources { credentials: Some(folder.to_owned()), environment: BTreeMap::new() }
}

fn school(room: &str, machines: usize, folder: &Path) -> School {
    let keys = folder.join("credentials");
    let work = folder.join("work");
    std::fs::create_dir_all(&keys).expect("folder");
    std::fs::create_dir_all(&work).expect("folder");
    let options = SchoolOptions {
        machines,
        image: None,
        bytes_used: 256 << 20,
        seed: SEED,
        folder: work,
        room: RoomSource::Given { profiles: sample(), room: room.parse().expect("room") },
        key_values: credentials(&keys),
        patience: Patience::default(),
    };
    School::open(options, Arc::new(SystemClock), &|_| {}).expect("a school")
}

fn night(school: &mut School) -> NightReport {
    let quiet = |_: &MachineName| -> Box<dyn Monitor> { Box::new(Unwatched) };
    school.night(&quiet).expect("a night")
}

/// What the plan promises, one line a thing.
fn promised(plan: &MachinePlan) -> Vec<String> {
    let mut lines = Vec::new();
    for stage in plan.boot.iter().flat_map(|chain| &chain.stages) {
        match &stage.gets {
            BootChoice::Silent(_) => lines.push(format!("{} gets no answer", stage.asks)),
            BootChoice::Loader { file, .. } => {
                lines.push(format!("{} gets {}", stage.asks, file.name()));
                lines.push(format!("fetches {}", file.name()));
            }
            BootChoice::Script(_) => {
                lines.push(format!("{} gets {}", stage.asks, script::path(plan.mac)));
                lines.push(format!("fetches {}", script::path(plan.mac)));
            }
        }
    }
    for step in &plan.steps {
        match step {
            Step::CheckIn { .. } => lines.push("the imaging agent starts".to_owned()),
            Step::Image { expect } => {
                if *expect != (Expectation::SameImage { about: Some(0) }) {
                    lines.push("the disk is written".to_owned());
                }
            }
            Step::OfflineHook(hook) => lines.push(format!("offline hook {}", hook.name)),
            Step::Commit => lines.push("the disk is the image".to_owned()),
            Step::StartWindows => lines.push("Windows starts".to_owned()),
            Step::WindowsHook(hook) => match &hook.action {
                HookAction::ComputerName => lines.push(format!("is called {}", plan.machine)),
                HookAction::Activation { preview, .. } => {
                    if !preview.calls().is_empty() {
                        lines.push(format!("licensing: {:?}", preview.calls()));
                    }
                }
                HookAction::Command { command } => lines.push(format!("runs {command:?}")),
            },
            Step::PowerOff => lines.push("switches off".to_owned()),
        }
    }
    lines
}

/// What was recorded, in the same words. Restarts between hooks belong to the hooks.
fn happened(record: &[Recorded]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut started = false;
    for entry in record {
        match entry {
            Recorded::Asked { asks, got: None } => lines.push(format!("{asks} gets no answer")),
            Recorded::Asked { asks, got: Some(got) } => lines.push(format!("{asks} gets {}", without_server(got))),
            Recorded::Fetched { name, .. } => {
                let name = without_server(name);
                // The boot environment's own files follow from the script, whose own test compares them.
                if !name.starts_with("/boot/") || name.ends_with(".ipxe") {
                    lines.push(format!("fetches {name}"));
                }
            }
            Recorded::AgentStarted => lines.push("the imaging agent starts".to_owned()),
            Recorded::DiskWritten { .. } => lines.push("the disk is written".to_owned()),
            Recorded::OfflineHook { hook } => lines.push(format!("offline hook {hook}")),
            Recorded::Committed => lines.push("the disk is the image".to_owned()),
            Recorded::WindowsStarted if started => {}
            Recorded::WindowsStarted => {
                started = true;
                lines.push("Windows starts".to_owned());
            }
            Recorded::NothingToStart => lines.push("nothing to start".to_owned()),
            Recorded::Renamed { name } => lines.push(format!("is called {name}")),
            Recorded::Ran { command } => lines.push(format!("runs {command:?}")),
            Recorded::Licensing { calls } => lines.push(format!("licensing: {calls:?}")),
            Recorded::PoweredOff => lines.push("switches off".to_owned()),
        }
    }
    lines
}

fn without_server(name: &str) -> &str {
    match name.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| &rest[at..])) {
        Some(path) => path,
        None => name,
    }
}

fn compare(plan: &Plan, school: &School) {
    assert_eq!(plan.activations_spent(), 0, "no strategy of the sample school spends");
    for (pc, part) in school.pcs.iter().zip(&plan.machines) {
        let (promised, happened) = (promised(part), happened(&pc.record.take()));
        assert_eq!(promised, happened, "{} in {}", part.machine, plan.room);
        // The comparison has teeth: without any one step the two would differ.
        for i in 0..promised.len() {
            let mut less = promised.clone();
            less.remove(i);
            assert_ne!(less, happened);
        }
    }
}

fn rehearse(room: &str, check: impl Fn(&str, &MachineState)) {
    let folder = tempfile::tempdir().expect("folder");
    let mut school = school(room, 2, folder.path());

    let plan = school.plan().expect("a plan");
    let first = night(&mut school);
    compare(&plan, &school);
    first.states.values().for_each(|state| check("first", state));

    school.issue_confirmations().expect("confirmations");
    school.day(0.02, SEED).expect("a day");
    let plan = school.plan().expect("a plan");
    let second = night(&mut school);
    compare(&plan, &school);
    second.states.values().for_each(|state| check("second", state));
    assert!(school.differences().expect("disks").is_empty());

    // A third night after an idle day: nothing differs, and the plan says so.
    let plan = school.plan().expect("a plan");
    let third = night(&mut school);
    compare(&plan, &school);
    third.states.values().for_each(|state| check("third", state));
    assert_eq!(school.world.microsoft().activations(school.partial_key()), 0);
}

fn ready(state: &MachineState) -> bool {
    *state == MachineState::Done { result: Readiness::Ready }
}

#[test]
fn a_room_with_stored_confirmation_ids() {
    rehearse("r101", |night, state| match night {
        "first" => {
            let waits = Readiness::ReadyPending { why: Pending::PendingIid };
            assert_eq!(*state, MachineState::Done { result: waits });
        }
        _ => assert!(ready(state), "{night} night: {state:?}"),
    });
}

#[test]
fn a_room_with_a_kms_host() {
    rehearse("r102", |night, state| assert!(ready(state), "{night} night: {state:?}"));
}

#[test]
fn a_room_in_its_grace_period() {
    rehearse("lib", |night, state| assert!(ready(state), "{night} night: {state:?}"));
}

#[test]
fn these_are_all_rooms_of_the_sample_school() {
    let profiles = load::load(&sample()).expect("the sample school");
    let rooms: Vec<&str> = profiles.rooms.keys().map(klonwerk::room::RoomName::as_str).collect();
    assert_eq!(rooms, ["lib", "r101", "r102"]);
}
