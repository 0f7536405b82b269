//! `klonwerk machines`: PCs that no profile names, and tokens for work by hand.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::boot::unknown_line;
use crate::cli::ask::Asker;
use crate::cli::output::{Output, moment, table};
use crate::cli::place::Place;
use crate::http::admin_api::RunStarted;
use crate::room::MachineName;
use crate::store::UnknownMachine;

/// `klonwerk machines …`
#[derive(Debug, Args)]
pub(super) struct MachinesArgs {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the PCs that asked for a network boot and stand in no profile, each with its line for one.
    Unknown,
    /// Make a token with which `klonwerk agent image` may work for a machine, once, within an hour.
    Token {
        /// The machine's name.
        machine: MachineName,
    },
    /// Let a held machine go on: two agents said that they were it, and the false one is gone.
    Resolve {
        /// The machine's name.
        machine: MachineName,
    },
}

/// Runs `klonwerk machines`.
pub(super) fn run(args: &MachinesArgs, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let asker = Asker::open(&args.place.state(), to.language)?;
    match &args.command {
        Command::Unknown => unknown(&asker.get::<Vec<UnknownMachine>>("/v1/machines/unknown")?, to)?,
        Command::Token { machine } => {
            let token: String = asker.post(&format!("/v1/machines/{machine}/token"), &())?;
            if to.json {
                to.json(&json!({ "machine": machine, "token": token }))?;
            } else {
                writeln!(to.out, "{token}")?;
                // On standard error, so that the token alone can be taken over by a script.
                let hint = to.text(
                    "gilt eine Stunde und einmal, für: klonwerk agent image --token …",
                    "good for one hour and once, for: klonwerk agent image --token …",
                );
                writeln!(std::io::stderr(), "{hint}")?;
            }
        }
        Command::Resolve { machine } => {
            let resolved: RunStarted = asker.post(&format!("/v1/machines/{machine}/resolve"), &())?;
            if to.json {
                to.json(&resolved)?;
            } else {
                let run = resolved.run;
                to.say(
                    &format!("{machine} macht in Lauf {run} weiter, sobald der PC wieder vom Netz startet."),
                    &format!("{machine} goes on in run {run} as soon as it boots from the network again."),
                )?;
            }
        }
    }
    Ok(true)
}

fn unknown(list: &[UnknownMachine], to: &mut Output<'_>) -> anyhow::Result<()> {
    let line = |pc: &UnknownMachine| unknown_line(pc.mac, pc.uuid, &pc.architecture);
    if to.json {
        let with_lines: Vec<_> = list.iter().map(|pc| json!({ "pc": pc, "line": line(pc) })).collect();
        return to.json(&with_lines);
    }
    if list.is_empty() {
        return to.say(
            "Kein unbekannter PC hat nach einem Netzstart gefragt.",
            "No unknown PC has asked for a network boot.",
        );
    }
    let mut table = table();
    table.set_header([
        "MAC",
        "UUID",
        "Firmware",
        to.text("zuerst gesehen", "first seen"),
        to.text("zuletzt gesehen", "last seen"),
    ]);
    for pc in list {
        table.add_row([
            pc.mac.to_string(),
            pc.uuid.map_or_else(|| "-".to_owned(), |uuid| uuid.to_string()),
            pc.architecture.clone(),
            moment(to.language, pc.first_seen),
            moment(to.language, pc.last_seen),
        ]);
    }
    writeln!(to.out, "{}\n", table.trim_fmt())?;
    to.say(
        "Zeilen für `machines:` in der Datei ihres Raums (die Namen bitte anpassen):",
        "Lines for `machines:` in their room's file (adapt the names):",
    )?;
    for pc in list {
        writeln!(to.out, "  {}", line(pc))?;
    }
    Ok(())
}
