//! A writer that is killed at any moment loses no run that it was told of, and makes none twice.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use klonwerk::clock::{Clock, SystemClock};
use klonwerk::job::intent::{IntentOutcome, NewIntent};
use klonwerk::job::{Event, IntentKind, RunId, state};
use klonwerk::room::Selection;
use klonwerk::store::{Store, StoreKey};

use super::{TO_THE_GATE, machine, new_run};

const ROUNDS: usize = 20;
const FOLDER: &str = "KLONWERK_KILL_TEST";

fn open(folder: &Path) -> Store {
    let key = StoreKey::open_or_create(&folder.join("store.key")).expect("key");
    Store::open(&folder.join("state.sqlite"), key, Arc::new(SystemClock)).expect("opened")
}

/// The process that gets killed: turns one intent after the other into a run, and says so only after it is stored.
#[test]
#[ignore = "is started by the test below, with a folder to write to"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = open(Path::new(&folder));
    let mut out = std::io::stdout();
    loop {
        let now = SystemClock.now();
        let intents = store.due_intents(now).expect("read");
        let Some(intent) = intents.first() else { return };
        let mut new = new_run(&[&format!("pc-{}", intent.id)], intent.expires_at);
        new.asked_by = format!("intent {}", intent.id);
        let name = new.machines[0].machine.clone();
        let run = store.start_run(intent.id, new).expect("made");
        writeln!(out, "\nmade {run}").and_then(|()| out.flush()).expect("told");
        for event in TO_THE_GATE {
            let seen = store.machine_run(run, &name).expect("there");
            let next = state::step(&seen.state, &event, now).expect("accepted");
            store.advance(run, &name, (&seen.state, seen.epoch), next.to, &next.reason).expect("advanced");
            if event == Event::GateClosed {
                writeln!(out, "\ngate {run}").and_then(|()| out.flush()).expect("told");
            }
        }
    }
}

#[test]
fn twenty_kills_lose_nothing_and_double_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let now = SystemClock.now();
    for _ in 0..600 {
        let new = NewIntent {
            room: "r101".parse().expect("room"),
            selection: Selection::default(),
            asked_by: "schedule".into(),
            not_before: now,
            expires_at: now + Duration::from_secs(86_400),
            kind: IntentKind::Reclone { image: None },
        };
        store.add_intent(new).expect("kept");
    }
    store.close();

    let (mut made, mut gates) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "kill::child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut heard = BufReader::new(child.stdout.take().expect("piped")).lines();
        // Another number of messages each time; the child goes on writing while it is being killed.
        let mut note = |line: &str| {
            let Some((what, run)) = line.split_once(' ') else { return false };
            let Ok(run) = run.parse().map(RunId) else { return false };
            match what {
                "made" => made.insert(run),
                "gate" => gates.insert(run),
                _ => false,
            }
        };
        let mut wanted = 1 + round * 5 % 13;
        while wanted > 0 {
            let line = heard.next().expect("the child lives until it is killed").expect("text");
            wanted -= usize::from(note(&line));
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
        // What it had still said before it died counts too.
        heard.map_while(Result::ok).for_each(|line| {
            note(&line);
        });

        let connection = rusqlite::Connection::open(folder.path().join("state.sqlite")).expect("opened");
        let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
        assert_eq!(verdict, "ok", "after kill {round}");
        drop(connection);
    }

    let store = open(folder.path());
    let runs = store.runs(usize::MAX).expect("read");
    let ids: BTreeSet<RunId> = runs.iter().map(|run| run.id).collect();
    assert!(made.len() >= ROUNDS && made.is_subset(&ids), "every run that was reported is there");
    let asked: BTreeSet<&str> = runs.iter().map(|run| run.asked_by.as_str()).collect();
    assert_eq!(asked.len(), runs.len(), "no intent became two runs");
    let started: BTreeSet<RunId> = store
        .finished_intents(usize::MAX)
        .expect("read")
        .into_iter()
        .map(|(_, outcome)| match outcome {
            IntentOutcome::Started { run } => run,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(started, ids, "an intent is finished exactly when its run is there");
    for run in &runs {
        let machines = store.machine_runs(run.id).expect("read");
        assert_eq!(machines.len(), 1, "a run is there with its machine");
        let history = store.history(run.id, &machines[0].machine).expect("read");
        assert_eq!(history.len() as u64, machines[0].epoch.0 + 1);
        assert_eq!(history.last().map(|change| &change.state), Some(&machines[0].state));
        let marked = store.half_written(&machine(machines[0].machine.as_str())).expect("read");
        assert_eq!(marked.is_some(), machines[0].state.disk_may_be_half_written());
        assert!(marked.is_some() || !gates.contains(&run.id), "a gate that was reported closed is marked");
    }
}
