//! Agents and server as processes that are killed in the middle (SIGKILL), again and again: every disk ends as the image,
//! no run is lost and none counts twice.
//!
//! The processes are this test binary itself: `child_server` is the server as `klonwerk serve` composes it, `child_pc` a PC
//! with the real agents. Nothing but files survives a kill, and whoever was killed starts again from them.
#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, clippy::print_stderr, reason = "in a test, what is unexpected ends it and is told")]

#[path = "kill/pc.rs"]
mod pc;
#[path = "kill/school.rs"]
mod school;
#[path = "kill/stage.rs"]
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use klonwerk::agent::client::Client;
use klonwerk::agent::protocol::{CheckIn, CheckInAnswer, HookResult, ImagingReport};
use klonwerk::clock::SystemClock;
use klonwerk::http::admin_api::MachineView;
use klonwerk::image::Hash;
use klonwerk::job::intent::IntentOutcome;
use klonwerk::job::state::{Pending, Readiness};
use klonwerk::job::{MachineState, RunId, Stage as At};
use klonwerk::night::key_values;
use klonwerk::serve::{ServeOptions, Server, StateFolder};
use school::{PARTIAL, School};
use stage::Stage;

const PCS_KILLED: usize = 50;
const SERVERS_KILLED: usize = 20;

fn folder() -> Option<PathBuf> {
    std::env::var_os("KILL_FOLDER").map(PathBuf::from)
}

fn number(name: &str) -> usize {
    std::env::var(name).expect(name).parse().expect("a number")
}

/// The server, until it is killed.
#[test]
#[ignore = "is started by the tests below"]
fn child_server() {
    let Some(folder) = folder() else { return };
    let level = tracing_subscriber::EnvFilter::new("info");
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(level).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let options = ServeOptions {
            profiles: folder.join("profiles"),
            state: StateFolder(folder.join("server")),
            loopback: false,
            key_values: key_values::Sources::default(),
        };
        let mut server = Server::start(options, Arc::new(SystemClock)).await.expect("started");
        let part = server.failed().await;
        panic!("{part} ended");
    });
}

/// A PC, until it is off or killed.
#[test]
#[ignore = "is started by the tests below"]
fn child_pc() {
    let Some(folder) = folder() else { return };
    let pc = number("KILL_PC");
    let disk = folder.join(format!("pcs/PC-{}.disk", pc + 1));
    std::process::exit(pc::live(&disk, pc, number("KILL_BOOT_PORT") as u16));
}

fn seed() -> u64 {
    let seed = match std::env::var("KLONWERK_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => {
            let mut bytes = [0; 4];
            getrandom::fill(&mut bytes).expect("random numbers");
            u64::from(u32::from_le_bytes(bytes))
        }
    };
    eprintln!("KLONWERK_SEED={seed} plays this again");
    seed
}

#[test]
fn fifty_killed_agents_and_twenty_killed_servers_lose_nothing_and_double_nothing() {
    let seed = seed();
    let begun = Instant::now();
    let mut stage = Stage::new(School::new(4, seed), seed);
    let pcs = stage.school.names.len();
    let mut asked = BTreeMap::new();
    let mut confirmed = 0;
    while stage.tally.pcs_killed < PCS_KILLED || stage.tally.servers_killed < SERVERS_KILLED {
        let round = asked.len();
        assert!(round < 20, "moments keep missing: {:?}", stage.tally);
        for pc in 0..pcs {
            match (round + pc) % 3 {
                0 => stage.school.blank(pc),
                1 => drop(stage.school.day(pc, 0.5, seed ^ (round * pcs + pc) as u64)),
                _ => {}
            }
        }
        let asked_by = format!("round {round}");
        let run = stage.ask_while_the_server_dies(&asked_by);
        let each = (PCS_KILLED.saturating_sub(stage.tally.pcs_killed)).div_ceil(pcs).min(4);
        let servers = SERVERS_KILLED.saturating_sub(stage.tally.servers_killed).min(4);
        stage.play(each, servers);
        stage.wait_for_server();
        let view = stage.school.run(run);
        assert!(view.run.closed_at.is_some(), "all PCs are off, and run {run} is still open: {:?}", view.machines);
        for pc in 0..pcs {
            stage.school.must_be_the_image(pc);
        }
        if round == 0 {
            confirmed = stage.school.confirm_all();
        }
        asked.insert(run, asked_by);
    }
    eprintln!("{:?} in {:.0?}", stage.tally, begun.elapsed());
    let closed = ["writing", "verifying", "offline-hook"].iter().filter_map(|mark| stage.tally.after.get(*mark));
    assert!(closed.sum::<usize>() > 0, "no PC was ever killed with its gate closed");
    stage.kill_server();
    judge(&stage.school, &asked, confirmed);
}

/// Looks at what the store says in the end.
fn judge(school: &School, asked: &BTreeMap<RunId, String>, confirmed: usize) {
    let connection = rusqlite::Connection::open(school.state().database()).expect("opened");
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
    assert_eq!(verdict, "ok");
    drop(connection);

    let store = school.store();
    let runs: BTreeMap<RunId, String> =
        store.runs(usize::MAX).expect("read").into_iter().map(|run| (run.id, run.asked_by)).collect();
    assert_eq!(&runs, asked, "every run that was asked for is there once, and no other");
    assert!(store.open_intents().expect("read").is_empty());
    let intents = store.finished_intents(usize::MAX).expect("read");
    let started: BTreeSet<RunId> = intents
        .iter()
        .map(|(_, outcome)| match outcome {
            IntentOutcome::Started { run } => *run,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((intents.len(), started.len()), (runs.len(), runs.len()));
    assert!(store.half_written_list().expect("read").is_empty());

    for (round, run) in runs.keys().enumerate() {
        let machines = store.machine_runs(*run).expect("read");
        assert_eq!(machines.len(), school.names.len());
        for machine_run in machines {
            let who = format!("{} in run {run}", machine_run.machine);
            let ready = match round {
                0 => Readiness::ReadyPending { why: Pending::PendingIid },
                _ => Readiness::Ready,
            };
            assert_eq!(machine_run.state, MachineState::Done { result: ready }, "{who}");
            assert!(machine_run.totals.is_some_and(|totals| totals.written > 0), "{who}");
            let history = store.history(*run, &machine_run.machine).expect("read");
            assert_eq!(history.len() as u64, machine_run.epoch.0 + 1, "{who}");
            let times = |stage: At| history.iter().filter(|change| change.state.stage() == stage).count();
            assert_eq!((times(At::Committed), times(At::Done)), (1, 1), "{who}: {history:?}");
            for stage in [At::Failed, At::Expired, At::Held, At::Cancelled] {
                assert_eq!(times(stage), 0, "{who}: {history:?}");
            }
            let attempts = store.hook_results(*run, &machine_run.machine).expect("read");
            for hook in [0, 1] {
                let results = attempts.iter().filter(|attempt| attempt.index == hook && attempt.result_json.is_some());
                assert_eq!(results.count(), 1, "{who}, hook {hook}: {attempts:?}");
            }
            assert!(attempts.iter().any(|attempt| attempt.index == 2), "{who}");
        }
    }

    assert_eq!(confirmed, school.names.len(), "each PC asked for one confirmation ID");
    assert!(store.pending_list().expect("read").is_empty());
    let sums = store.ledger(&"mak".parse().expect("name"), PARTIAL).expect("read");
    assert_eq!((sums.cids_imported, sums.spent, sums.spent_by_recloning), (confirmed as u64, 0, 0));
    for machine in &school.names {
        assert_eq!(store.confirmation_state(machine).expect("read").len(), 1, "{machine}");
    }
}

fn hash(path: &Path) -> Hash {
    Hash::of(&fs::read(path).expect("disk"))
}

/// Waits for what time alone brings.
fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A window of seconds: who had not begun stays as it was, whose disk is half written is finished whenever it boots.
#[test]
fn after_its_window_a_run_finishes_half_written_disks_and_touches_no_other() {
    let seed = seed();
    let mut stage = Stage::new(School::new(3, seed), seed);
    const HALF: usize = 0;
    const SCANNED: usize = 1;
    const ABSENT: usize = 2;
    stage.wait_for_server();
    stage.school.reclone("the night before", 3600);
    stage.play(0, 0);
    stage.school.day(HALF, 0.5, seed);
    for pc in [SCANNED, ABSENT] {
        stage.school.spoil(pc);
    }
    let before = [SCANNED, ABSENT].map(|pc| hash(&stage.school.disk(pc)));
    let window = 12;
    let run = stage.school.reclone("a short window", window);
    let begun = Instant::now();
    for (pc, mark) in [(HALF, "writing"), (SCANNED, "scanned")] {
        stage.switch_on(pc, Some(mark));
        stage.wait_for_mark(pc, mark);
        assert!(stage.kill_pc(pc));
    }
    assert!(begun.elapsed() < Duration::from_secs(window - 1), "too slow a machine for this window");
    // The server dies with them, and sees the end of the window only after its next start, or not at all.
    stage.kill_server();
    std::thread::sleep((begun + Duration::from_secs(window + 1)).saturating_duration_since(Instant::now()));
    stage.start_server();
    stage.wait_for_server();

    let states = |school: &School| -> Vec<MachineState> {
        school.run(run).machines.into_iter().map(|machine_run| machine_run.state).collect()
    };
    wait_for("the end of the window", || states(&stage.school)[SCANNED..].iter().all(MachineState::is_final));
    let seen = states(&stage.school);
    let untouched = MachineState::Expired { half_written: false };
    assert_eq!(seen[SCANNED..], [untouched.clone(), untouched]);
    assert!(seen[HALF].disk_may_be_half_written(), "{:?}", seen[HALF]);
    for pc in [SCANNED, ABSENT] {
        assert_eq!(hash(&stage.school.disk(pc)), before[pc - 1], "PC {pc} was touched");
    }

    // In the morning all of them are switched on. Two start what they have, and nobody writes to it.
    for pc in [HALF, SCANNED, ABSENT] {
        stage.switch_on(pc, None);
        stage.wait_until_off(pc);
    }
    stage.school.must_be_the_image(HALF);
    let view = stage.school.run(run);
    assert!(matches!(view.machines[HALF].state, MachineState::Done { .. }), "{:?}", view.machines[HALF].state);
    assert!(view.run.closed_at.is_some());
    for pc in [SCANNED, ABSENT] {
        assert_eq!(hash(&stage.school.disk(pc)), before[pc - 1], "PC {pc} was touched");
    }
}

/// The boot environment takes a minute to start; a server that is restarted meanwhile knows who is on the way.
#[test]
fn a_server_that_restarts_between_boot_and_check_in_knows_the_pc() {
    let seed = seed();
    let mut stage = Stage::new(School::new(1, seed), seed);
    stage.wait_for_server();
    let run = stage.school.reclone("somebody", 3600);
    stage.switch_on(0, Some("booted"));
    stage.wait_for_mark(0, "booted");
    wait_for("the boot's note", || stage.school.run(run).machines[0].state.stage() == At::Booting);
    stage.kill_server();
    stage.start_server();
    fs::write(stage.school.path().join(pc::LET_GO), "").expect("let go");
    stage.wait_until_off(0);
    stage.school.must_be_the_image(0);
}

/// Killed between two steps of its own: a hook's result is stored, that it is done is not.
#[test]
fn a_hook_whose_result_was_stored_last_is_not_run_again_and_holds_up_none() {
    let seed = seed();
    let mut stage = Stage::new(School::new(1, seed), seed);
    stage.wait_for_server();
    let run = stage.school.reclone("somebody", 3600);
    stage.switch_on(0, Some("windows"));
    stage.wait_for_mark(0, "windows");
    stage.kill_server();
    let (store, machine) = (stage.school.store(), stage.school.names[0].clone());
    let attempt = store.begin_hook(run, &machine, 0).expect("begun");
    let result = school::json(&HookResult::Done { what: "renamed".to_owned() });
    store.finish_hook(attempt.id, &result).expect("stored");
    store.close();
    stage.start_server();
    fs::write(stage.school.path().join(pc::LET_GO), "").expect("let go");
    stage.wait_until_off(0);
    let view = stage.school.run(run);
    assert_eq!(view.machines[0].state.stage(), At::Done, "{:?}", view.machines[0].state);
    let machine: MachineView =
        stage.school.ask("GET", &format!("/v1/runs/{run}/machines/{machine}"), "").expect("the machine");
    let indexes: Vec<u32> = machine.hooks.iter().map(|attempt| attempt.index).collect();
    assert_eq!(indexes, [0, 1, 2], "{:?}", machine.hooks);
}

/// An agent that does not hear the answer says it again.
#[test]
fn an_offline_hook_that_is_told_twice_in_a_session_counts_once() {
    let seed = seed();
    let mut stage = Stage::new(School::new(1, seed), seed);
    stage.wait_for_server();
    let run = stage.school.reclone("somebody", 3600);
    for session in 1..3 {
        let start = pc::boot(0, stage.school.boot_port).expect("a run");
        let client = Client::connect(&start.server, &start.pin.parse().expect("pin"), pc::PATIENCE).expect("connected");
        let hello = CheckIn { mac: pc::mac(0), uuid: None, token: None, version: String::from("test"), hardware: None };
        let CheckInAnswer::Work(work) = client.check_in(&hello).expect("answered") else { panic!("no work") };
        let client = client.with_bearer(&work.session);
        for _ in 0..3 {
            let result = HookResult::Done { what: "done".to_owned() };
            client.report(&ImagingReport::Hook { index: 2, result }).expect("taken");
        }
        let machine: MachineView =
            stage.school.ask("GET", &format!("/v1/runs/{run}/machines/PC-1"), "").expect("the machine");
        assert_eq!(machine.hooks.len() as u64, session, "{:?}", machine.hooks);
    }
}
