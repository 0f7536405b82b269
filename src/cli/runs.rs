//! `klonwerk status` and `klonwerk runs`: what is going on, and what has been.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use comfy_table::CellAlignment;
use serde_json::Value;

use crate::cli::ask::Asker;
use crate::cli::output::{Output, moment, span, table};
use crate::cli::place::{Place, who_asks};
use crate::cli::words;
use crate::http::admin_api::{MachineView, RunRequest, RunStarted, RunView, Status};
use crate::job::{MachineState, RunId, Stage};
use crate::room::{Language, MachineName, Selection};
use crate::store::{MachineRun, Run};

/// `klonwerk status …`
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    place: Place,
}

/// `klonwerk runs …`
#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a run with its machines, or all that happened to one of them.
    #[command(after_help = "Example: klonwerk runs show 7 R101-03")]
    Show {
        /// The run's number.
        run: u64,
        /// One of its machines.
        machine: Option<MachineName>,
    },
    /// Stop a run, on every machine whose disk is not half written.
    Cancel {
        /// The run's number.
        run: u64,
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Try the machines of a run again that failed or missed its window.
    Retry {
        /// The run's number.
        run: u64,
        #[command(flatten)]
        chosen: Chosen,
    },
}

#[derive(Debug, Args)]
struct Chosen {
    /// Only these machines.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<MachineName>,
    /// All machines but these.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    except: Vec<MachineName>,
}

/// Runs `klonwerk status`.
pub(super) fn status(args: &StatusArgs, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let mut status: Status = Asker::open(&args.place.state(), to.language)?.get("/v1/status")?;
    if to.json {
        let runs: Vec<Value> = status.open_runs.drain(..).map(|view| view_json(&view)).collect::<Result<_, _>>()?;
        let mut value = serde_json::to_value(&status)?;
        value["open_runs"] = runs.into();
        to.json(&value)?;
        return Ok(true);
    }
    writeln!(to.out, "{}, klonwerk {}", status.site, status.version)?;
    if status.open_runs.is_empty() {
        to.say("Kein Lauf ist offen.", "No run is open.")?;
    }
    for view in &status.open_runs {
        let (run, room, image) = (view.run.id, &view.run.room, &view.run.image);
        let counts = counts(&view.machines, to);
        match to.language {
            Language::De => writeln!(to.out, "Lauf {run}, Raum {room}, {image}: {counts}")?,
            Language::En => writeln!(to.out, "Run {run}, room {room}, {image}: {counts}")?,
        }
    }
    for (machine, run) in &status.half_written {
        to.say(
            &format!(
                "Die Platte von {machine} ist halb geschrieben (Lauf {run}); sie wird beim nächsten Netzstart fertig."
            ),
            &format!("The disk of {machine} is half written (run {run}); it is finished at its next network boot."),
        )?;
    }
    match status.pending_confirmations {
        0 => to.say(
            "Keine Installations-ID wartet auf eine Bestätigungs-ID.",
            "No installation ID waits for a confirmation ID.",
        )?,
        count => to.say(
            &format!("Auf eine Bestätigungs-ID warten: {count}. Liste: klonwerk activation pending"),
            &format!("Waiting for a confirmation ID: {count}. List: klonwerk activation pending"),
        )?,
    }
    match status.unknown_machines {
        0 => to.say("Kein unbekannter PC hat gefragt.", "No unknown PC has asked.")?,
        count => to.say(
            &format!("Unbekannte PCs: {count}. Liste: klonwerk machines unknown"),
            &format!("Unknown PCs: {count}. List: klonwerk machines unknown"),
        )?,
    }
    Ok(true)
}

/// `12 ready, 3 imaging`, in the order of a run.
fn counts(machines: &[MachineRun], to: &Output<'_>) -> String {
    let mut counts: BTreeMap<Stage, usize> = BTreeMap::new();
    for machine in machines {
        *counts.entry(machine.state.stage()).or_default() += 1;
    }
    let parts: Vec<String> =
        counts.iter().map(|(stage, count)| format!("{count} {}", words::stage(to.language, *stage))).collect();
    parts.join(", ")
}

/// Runs `klonwerk runs`.
pub(super) fn run(args: &RunsArgs, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let asker = Asker::open(&args.place.state(), to.language)?;
    match &args.command {
        None => list(&asker.get::<Vec<Run>>("/v1/runs")?, to)?,
        Some(Command::Show { run, machine: None }) => {
            let view: RunView = asker.get(&format!("/v1/runs/{run}"))?;
            if to.json {
                to.json(&view_json(&view)?)?;
            } else {
                let machines = machine_views(&asker, &view)?;
                head(&view.run, to)?;
                results(&view.run, &machines, to)?;
            }
        }
        Some(Command::Show { run, machine: Some(machine) }) => {
            let view: MachineView = asker.get(&format!("/v1/runs/{run}/machines/{machine}"))?;
            if to.json {
                to.json(&machine_json(&view)?)?;
            } else {
                history(&view, to)?;
            }
        }
        Some(Command::Cancel { run, chosen }) => {
            let started: RunStarted = asker.post(&format!("/v1/runs/{run}/cancel"), &request(chosen))?;
            after(
                &asker,
                started.run,
                "abgebrochen, soweit keine Platte halb geschrieben ist",
                "cancelled, as far as no disk is half written",
                to,
            )?;
        }
        Some(Command::Retry { run, chosen }) => {
            let started: RunStarted = asker.post(&format!("/v1/runs/{run}/retry"), &request(chosen))?;
            after(
                &asker,
                started.run,
                "gescheiterte PCs kommen noch einmal an die Reihe",
                "machines that failed get another turn",
                to,
            )?;
        }
    }
    Ok(true)
}

fn request(chosen: &Chosen) -> RunRequest {
    let selection = Selection { only: chosen.only.clone(), except: chosen.except.clone() };
    RunRequest { asked_by: who_asks(), selection }
}

fn after(asker: &Asker, run: RunId, german: &str, english: &str, to: &mut Output<'_>) -> anyhow::Result<()> {
    let view: RunView = asker.get(&format!("/v1/runs/{run}"))?;
    if to.json {
        return to.json(&view_json(&view)?);
    }
    let counts = counts(&view.machines, to);
    to.say(&format!("Lauf {run}: {german}. Stand: {counts}"), &format!("Run {run}: {english}. Now: {counts}"))
}

/// A run with its plan as JSON instead of JSON in a string.
fn run_json(run: &Run, with_plan: bool) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(run)?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("plan_json");
        if with_plan {
            fields.insert("plan".to_owned(), serde_json::from_str(&run.plan_json).unwrap_or_default());
        }
    }
    Ok(value)
}

fn without_plan(machine: &MachineRun) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(machine)?;
    if let Some(fields) = value.as_object_mut() {
        // The run's plan holds it already.
        fields.remove("plan_json");
    }
    Ok(value)
}

/// A run with its machines, as JSON.
pub(super) fn view_json(view: &RunView) -> anyhow::Result<Value> {
    let machines: Vec<Value> = view.machines.iter().map(without_plan).collect::<Result<_, _>>()?;
    Ok(serde_json::json!({ "run": run_json(&view.run, true)?, "machines": machines }))
}

fn machine_json(view: &MachineView) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(view)?;
    value["machine"] = without_plan(&view.machine)?;
    Ok(value)
}

fn list(runs: &[Run], to: &mut Output<'_>) -> anyhow::Result<()> {
    if to.json {
        let runs: Vec<Value> = runs.iter().map(|run| run_json(run, false)).collect::<Result<_, _>>()?;
        return to.json(&runs);
    }
    if runs.is_empty() {
        return to.say(
            "Noch keine Läufe. Der erste beginnt mit: klonwerk reclone RAUM",
            "No runs yet. Begin the first one with: klonwerk reclone ROOM",
        );
    }
    let mut table = table();
    table.set_header(match to.language {
        Language::De => ["Lauf", "Raum", "Image", "von", "Beginn", "Ende"],
        Language::En => ["run", "room", "image", "asked by", "began", "ended"],
    });
    for run in runs {
        let ended = run.closed_at.map_or_else(|| to.text("läuft", "open").to_owned(), |at| moment(to.language, at));
        table.add_row([
            run.id.to_string(),
            run.room.to_string(),
            run.image.to_string(),
            run.asked_by.clone(),
            moment(to.language, run.created_at),
            ended,
        ]);
    }
    if let Some(column) = table.column_mut(0) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(writeln!(to.out, "{}", table.trim_fmt())?)
}

fn head(run: &Run, to: &mut Output<'_>) -> anyhow::Result<()> {
    let (id, room, image, who) = (run.id, &run.room, &run.image, &run.asked_by);
    let began = moment(to.language, run.created_at);
    let end = match run.closed_at {
        Some(at) => format!("{} {}", to.text("beendet", "ended"), moment(to.language, at)),
        None => format!(
            "{} {}",
            to.text("läuft, Zeitfenster bis", "open, window until"),
            moment(to.language, run.expires_at)
        ),
    };
    to.say(
        &format!("Lauf {id}, Raum {room}, Image {image}, von {who}, begonnen {began}, {end}"),
        &format!("Run {id}, room {room}, image {image}, asked by {who}, began {began}, {end}"),
    )
}

/// All machines of a run with what happened to them.
pub(super) fn machine_views(asker: &Asker, view: &RunView) -> anyhow::Result<Vec<MachineView>> {
    let run = view.run.id;
    view.machines.iter().map(|part| asker.get(&format!("/v1/runs/{run}/machines/{}", part.machine))).collect()
}

/// The machines of a run: result, time, numbers, activation.
pub(super) fn results(run: &Run, machines: &[MachineView], to: &mut Output<'_>) -> anyhow::Result<()> {
    let mut table = table();
    table.set_header(match to.language {
        Language::De => ["PC", "Ergebnis", "Dauer", "geholt", "geschrieben", "geänderte Blätter", "Aktivierung"],
        Language::En => ["PC", "result", "time", "fetched", "written", "dirty leaves", "activation"],
    });
    for view in machines {
        let part = &view.machine;
        let number = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        table.add_row([
            part.machine.to_string(),
            words::state(to.language, &part.state),
            span(part.since.duration_since(run.created_at).as_secs()),
            number(part.totals.map(|totals| to.bytes(totals.fetched))),
            number(part.totals.map(|totals| to.bytes(totals.written))),
            number(part.totals.map(|totals| totals.dirty_leaves.to_string())),
            number(words::activation(to.language, view)),
        ]);
    }
    for column in 2..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Ok(writeln!(to.out, "{}", table.trim_fmt())?)
}

/// Whether every machine runs its image.
pub(super) fn all_done(machines: &[MachineRun]) -> bool {
    machines.iter().all(|machine| matches!(machine.state, MachineState::Done { .. }))
}

fn history(view: &MachineView, to: &mut Output<'_>) -> anyhow::Result<()> {
    let part = &view.machine;
    let state = words::state(to.language, &part.state);
    let (machine, run) = (&part.machine, part.run);
    to.say(&format!("{machine} in Lauf {run}: {state}\n"), &format!("{machine} in run {run}: {state}\n"))?;
    let mut changes = table();
    changes.set_header([to.text("Zeit", "time"), to.text("Zustand", "state"), to.text("Grund", "reason")]);
    for change in &view.history {
        changes.add_row([
            moment(to.language, change.at),
            words::state(to.language, &change.state),
            change.reason.clone(),
        ]);
    }
    writeln!(to.out, "{}", changes.trim_fmt())?;
    if view.hooks.is_empty() {
        return Ok(());
    }
    let mut hooks = table();
    hooks.set_header([
        to.text("Nacharbeit", "hook"),
        to.text("Versuch", "attempt"),
        to.text("Beginn", "began"),
        to.text("Ergebnis", "result"),
    ]);
    for attempt in &view.hooks {
        let result = match &attempt.result_json {
            Some(json) => words::hook_result(to.language, json),
            None => to.text("noch keines", "none yet").to_owned(),
        };
        hooks.add_row([
            attempt.index.saturating_add(1).to_string(),
            attempt.number.to_string(),
            moment(to.language, attempt.begun_at),
            result,
        ]);
    }
    Ok(writeln!(to.out, "\n{}", hooks.trim_fmt())?)
}
