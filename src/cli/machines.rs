//! `klonwerk machines`: PCs that no profile names, and tokens for work by hand.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::activation::hardware::HardwareFacts;
use crate::boot::unknown_line;
use crate::cli::ask::Asker;
use crate::cli::hardware::{self, WrittenFacts};
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
    /// Show what a machine's firmware told at its last network boot: licence tables, vendor, identity.
    #[command(
        after_help = "With --json it is the file that binds an image to this machine:\n  klonwerk machines hardware R101-03 --json > pc.json\n  klonwerk image capture --bind-to-hardware pc.json …"
    )]
    Hardware {
        /// The machine's name.
        machine: MachineName,
    },
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
        Command::Hardware { machine } => {
            let facts: Option<HardwareFacts> = asker.get(&format!("/v1/machines/{machine}/hardware"))?;
            return told(machine, facts, to);
        }
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

/// Shows what a machine told; tells whether it did.
fn told(machine: &MachineName, facts: Option<HardwareFacts>, to: &mut Output<'_>) -> anyhow::Result<bool> {
    match facts {
        Some(facts) => hardware::show(&WrittenFacts::new(facts), to).map(|()| true),
        None if to.json => to.json(&json!({ "hardware": null, "identity": null })).map(|()| false),
        None => to
            .say(
                &format!(
                    "{machine} hat noch nichts über seine Hardware gemeldet; das geschieht bei seinem nächsten Klonen."
                ),
                &format!("{machine} has told nothing of its hardware yet; it does so when it is cloned next."),
            )
            .map(|()| false),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Language;

    #[test]
    fn unknown_pcs_come_with_their_lines() {
        let at = "2026-11-24T08:00:00Z".parse().unwrap();
        let pc = UnknownMachine {
            mac: "52:54:00:12:34:56".parse().unwrap(),
            uuid: None,
            architecture: "64-bit UEFI, PXE".to_owned(),
            first_seen: at,
            last_seen: at,
            times: 2,
        };
        let mut out = Vec::new();
        unknown(std::slice::from_ref(&pc), &mut Output { out: &mut out, language: Language::En, json: false }).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("first seen"), "{text}");
        let line = "  - { name: PC-123456, mac: \"52:54:00:12:34:56\" } # 64-bit UEFI, PXE\n";
        assert!(text.ends_with(line), "{text}");
        let mut out = Vec::new();
        unknown(&[pc], &mut Output { out: &mut out, language: Language::En, json: true }).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json[0]["pc"]["mac"], "52:54:00:12:34:56");
    }
}
