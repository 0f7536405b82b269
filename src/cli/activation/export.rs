//! `klonwerk activation export`: installation IDs for whoever gets the confirmation IDs.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::activation::exchange::{Export, ExportFormat};
use crate::cli::ask::Asker;
use crate::cli::output::{Output, pick};
use crate::room::RoomName;

/// Give installation IDs as a table, as text for telephone or portal, or for ActivationWs. Never a confirmation ID.
#[derive(Debug, Args)]
#[command(after_help = "Examples: klonwerk activation export --room r101 --format text
          klonwerk activation export --format activationws --output requests.json")]
pub(super) struct ExportArgs {
    /// Of this room only.
    #[arg(long)]
    room: Option<RoomName>,
    /// csv, text or activationws.
    #[arg(long, value_name = "FORMAT", default_value = "csv")]
    format: ExportFormat,
    /// Also those whose confirmation ID is stored or was refused by Windows.
    #[arg(long)]
    all: bool,
    /// Write into this file.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &ExportArgs, asker: &Asker, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let lang = pick(to.language, "de", "en");
    let format = args.format.name();
    let room = args.room.as_ref().map(|room| format!("&room={room}")).unwrap_or_default();
    let path = format!("/v1/activation/export?lang={lang}&format={format}&all={}{room}", args.all);
    let exported: Export = asker.get(&path)?;
    show(args, &exported, to)?;
    Ok(true)
}

fn show(args: &ExportArgs, exported: &Export, to: &mut Output<'_>) -> anyhow::Result<()> {
    let Export { rows, text, not_possible } = exported;
    if let Some(path) = &args.output {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if to.json {
        return to.json(&json!({
            "format": args.format,
            "rows": rows,
            "text": text,
            "not_possible": not_possible,
            "written_to": args.output,
        }));
    }
    if *rows == 0 && not_possible.is_empty() {
        return match args.all {
            true => to.say("Kein PC hat eine Installations-ID gemeldet.", "No PC has reported an installation ID."),
            false => to.say(
                "Keine Installations-ID wartet auf eine Bestätigungs-ID.",
                "No installation ID waits for a confirmation ID.",
            ),
        };
    }
    let Some(path) = &args.output else { return Ok(write!(to.out, "{text}")?) };
    for row in not_possible {
        writeln!(to.out, "{}: {}: {}", to.text("nicht möglich", "not possible"), row.machine, row.why)?;
    }
    let path = path.display();
    to.say(&format!("Installations-IDs in {path}: {rows}"), &format!("Installation IDs in {path}: {rows}"))
}
