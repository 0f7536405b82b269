//! `klonwerk reclone`: asks for a run and watches it until it is over.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::ask::{AskError, Asker, Events};
use crate::cli::output::Output;
use crate::cli::place::{Place, who_asks};
use crate::cli::plan::{self, Wanted};
use crate::cli::runs;
use crate::cli::screen::Screen;
use crate::http::admin_api::{RecloneRequest, RunStarted, RunView};
use crate::job::{MachineState, RunId};
use crate::night::RunEvent;
use crate::room::{Language, MachineName};

/// How often the run is looked at beside its events, in case one was lost.
const LOOK: Duration = Duration::from_secs(5);

/// How often in a row a look may fail before the server counts as gone.
const MISSES: u32 = 12;

/// `klonwerk reclone …`
#[derive(Debug, Args)]
pub(super) struct RecloneArgs {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    place: Place,
    /// How long the run may still begin on a machine, such as 90m or 2h.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = window)]
    window: Duration,
    /// Show what would be done, and do nothing: the same as `klonwerk plan`.
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for the end.
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
}

fn window(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "write a time such as 90m or 2h".to_owned())?;
    let span = Duration::try_from(span).map_err(|_| "a window cannot be negative".to_owned())?;
    if span.is_zero() { Err("a window needs some time".to_owned()) } else { Ok(span) }
}

/// Asks for the run; tells whether every machine runs its image at the end.
pub(super) fn run(args: &RecloneArgs, to: &mut Output<'_>) -> anyhow::Result<bool> {
    if args.dry_run {
        return plan::dry_run(&args.wanted, &args.place, to);
    }
    let language = to.language;
    let asker = Asker::open(&args.place.state(), language)?;
    let request = RecloneRequest {
        room: args.wanted.room.clone(),
        selection: args.wanted.selection(),
        image: args.wanted.image.clone(),
        asked_by: who_asks(),
        window_seconds: Some(args.window.as_secs()),
    };
    if args.detach {
        let started: RunStarted = asker.post("/v1/reclone", &request)?;
        if to.json {
            to.json(&started)?;
        } else {
            let run = started.run;
            to.say(
                &format!("Lauf {run} hat begonnen; Stand mit: klonwerk runs show {run}"),
                &format!("Run {run} has begun; see how it goes with: klonwerk runs show {run}"),
            )?;
        }
        return Ok(true);
    }
    let body = serde_json::to_vec(&request)?;
    let mut interrupt = {
        let _inside = asker.runtime.enter();
        signal(SignalKind::interrupt())?
    };
    let watched = asker.runtime.block_on(async {
        // Listened to before it is asked for, so that nothing is missed.
        let events = asker.events().await?;
        let started: RunStarted = asker.tell("/v1/reclone", body).await?;
        watch(&asker, started.run, events, &mut interrupt, to).await
    });
    match watched.map_err(|error| error.told(language))? {
        Watched::Over(view) => {
            if to.json {
                writeln!(to.out, "{}", json!({ "event": "closed", "view": runs::view_json(&view)? }))?;
            } else {
                let machines = runs::machine_views(&asker, &view)?;
                writeln!(to.out)?;
                runs::results(&view.run, &machines, to)?;
                for machine in
                    view.machines.iter().filter(|machine| matches!(machine.state, MachineState::Failed { .. }))
                {
                    let (machine, run) = (&machine.machine, view.run.id);
                    to.say(
                        &format!("Was mit {machine} war: klonwerk runs show {run} {machine}"),
                        &format!("What happened to {machine}: klonwerk runs show {run} {machine}"),
                    )?;
                }
            }
            Ok(runs::all_done(&view.machines))
        }
        Watched::Left(run) => {
            // Standard output may be JSON that somebody reads.
            let text = to.text("Der Lauf geht auf dem Server weiter", "The run goes on at the server");
            writeln!(std::io::stderr(), "{text}: klonwerk runs show {run}")?;
            Ok(false)
        }
    }
}

enum Watched {
    /// The run has ended.
    Over(Box<RunView>),
    /// The person at the terminal went away.
    Left(RunId),
}

/// Shows what happens to a run until it is over.
async fn watch(
    asker: &Asker,
    run: RunId,
    mut events: Events,
    interrupt: &mut Signal,
    to: &mut Output<'_>,
) -> Result<Watched, AskError> {
    let path = format!("/v1/runs/{run}");
    let view: RunView = asker.fetch(&path).await?;
    let mut states: BTreeMap<MachineName, MachineState> = BTreeMap::new();
    let screen = Screen::new(to.language, to.json, &view);
    screen.begin(&view, to.out);
    for part in view.machines {
        states.insert(part.machine, part.state);
    }
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut listening, mut misses) = (true, 0);
    loop {
        let mut look = false;
        tokio::select! {
            event = events.next(), if listening => match event {
                Some((line, event)) => {
                    if event.as_ref().is_none_or(|event| concerns(event, run)) {
                        screen.event(&line, event.as_ref(), to.out);
                    }
                    if let Some(RunEvent::State { run: of, machine, state, .. }) = event
                        && of == run
                    {
                        look = state.is_final();
                        states.insert(machine, state);
                    }
                }
                // From here on only the looks tell.
                None => listening = false,
            },
            _ = looks.tick() => look = true,
            _ = interrupt.recv() => {
                screen.end();
                return Ok(Watched::Left(run));
            }
        }
        if !look {
            continue;
        }
        match asker.fetch::<RunView>(&path).await {
            Ok(view) => {
                misses = 0;
                for part in &view.machines {
                    if states.insert(part.machine.clone(), part.state.clone()).as_ref() != Some(&part.state) {
                        screen.state(&part.machine, &part.state, "", to.out);
                    }
                }
                if view.run.closed_at.is_some() || view.machines.iter().all(|part| part.state.is_final()) {
                    screen.end();
                    return Ok(Watched::Over(Box::new(view)));
                }
            }
            // A server that is being restarted comes back, and the run goes on with it.
            Err(error) => {
                misses += 1;
                if misses >= MISSES {
                    screen.end();
                    return Err(error);
                }
            }
        }
        if !listening && let Ok(again) = asker.events().await {
            events = again;
            listening = true;
        }
    }
}

/// Whether an event is about this run, or about all.
fn concerns(event: &RunEvent, run: RunId) -> bool {
    match event {
        RunEvent::Started { run: of, .. }
        | RunEvent::State { run: of, .. }
        | RunEvent::Imaging { run: of, .. }
        | RunEvent::Hook { run: of, .. } => *of == run,
        RunEvent::Alarm { .. } => true,
    }
}

/// The sentence above the machines.
pub(super) fn title(language: Language, view: &RunView) -> String {
    let (run, room, image, count) = (view.run.id, &view.run.room, &view.run.image, view.machines.len());
    let pcs = if count == 1 { "PC" } else { "PCs" };
    match language {
        Language::De => format!(
            "Lauf {run}: Raum {room} wird auf {image} zurückgesetzt, {count} {pcs}. Strg-C: nicht weiter zusehen."
        ),
        Language::En => format!("Run {run}: room {room} goes back to {image}, {count} {pcs}. Ctrl-C: stop watching."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_times_that_last() {
        assert_eq!(window("90m"), Ok(Duration::from_secs(5400)));
        assert_eq!(window("1h 30m"), Ok(Duration::from_secs(5400)));
        for text in ["", "soon", "-1h", "0s"] {
            assert!(window(text).is_err(), "{text}");
        }
    }
}
