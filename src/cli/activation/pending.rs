//! `klonwerk activation pending`: the installation IDs that wait for a confirmation ID.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::cli::ask::Asker;
use crate::cli::output::{Output, pick};

/// Give the installation IDs that wait for a confirmation ID, as a CSV table.
#[derive(Debug, Args)]
#[command(after_help = "Example: klonwerk activation pending --output ids.csv")]
pub(super) struct PendingArgs {
    /// Write the table into this file.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &PendingArgs, asker: &Asker, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let lang = pick(to.language, "de", "en");
    let csv = asker.get_text(&format!("/v1/activation/pending?lang={lang}"))?;
    show(&csv, args.output.as_deref(), to)?;
    Ok(true)
}

fn show(csv: &str, output: Option<&Path>, to: &mut Output<'_>) -> anyhow::Result<()> {
    let rows = csv.lines().count().saturating_sub(1);
    if let Some(path) = output {
        std::fs::write(path, csv).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match (to.json, output, rows) {
        (true, _, _) => to.json(&json!({ "rows": rows, "csv": csv, "written_to": output })),
        (false, _, 0) => to.say(
            "Keine Installations-ID wartet auf eine Bestätigungs-ID.",
            "No installation ID waits for a confirmation ID.",
        ),
        (false, Some(path), _) => {
            let path = path.display();
            to.say(&format!("Installations-IDs in {path}: {rows}"), &format!("Installation IDs in {path}: {rows}"))
        }
        (false, None, _) => Ok(write!(to.out, "{csv}")?),
    }
}
