//! `klonwerk activation`: installation IDs out, confirmation IDs in.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::ask::Asker;
use crate::cli::output::{Output, pick};
use crate::cli::place::Place;
use crate::http::admin_api::ImportView;

/// `klonwerk activation …`
#[derive(Debug, Args)]
pub(super) struct ActivationArgs {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give the installation IDs that wait for a confirmation ID, as a CSV table.
    #[command(after_help = "Example: klonwerk activation pending --output ids.csv")]
    Pending {
        /// Write the table into this file.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Store the confirmation IDs of a table, such as `pending` wrote it, filled in.
    #[command(after_help = "Example: klonwerk activation import ids.csv")]
    Import {
        /// The table; - reads standard input.
        file: PathBuf,
    },
}

/// Runs `klonwerk activation`; tells whether every row was taken.
pub(super) fn run(args: &ActivationArgs, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let asker = Asker::open(&args.place.state(), to.language)?;
    let lang = pick(to.language, "de", "en");
    match &args.command {
        Command::Pending { output } => {
            let csv = asker.get_text(&format!("/v1/activation/pending?lang={lang}"))?;
            pending(&csv, output.as_deref(), to)?;
            Ok(true)
        }
        Command::Import { file } => {
            let table = read(file)?;
            let view: ImportView = asker.post_bytes(&format!("/v1/activation/import?lang={lang}"), table.into())?;
            imported(&view, to)?;
            Ok(view.refused.is_empty())
        }
    }
}

fn pending(csv: &str, output: Option<&Path>, to: &mut Output<'_>) -> anyhow::Result<()> {
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
            to.say(
                &format!("{rows} Installations-IDs stehen in {path}."),
                &format!("{rows} installation IDs are in {path}."),
            )
        }
        (false, None, _) => Ok(write!(to.out, "{csv}")?),
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
    } else {
        bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    Ok(bytes)
}

fn imported(view: &ImportView, to: &mut Output<'_>) -> anyhow::Result<()> {
    if to.json {
        return to.json(view);
    }
    for line in &view.refused {
        writeln!(to.out, "{}: {line}", to.text("abgelehnt", "refused"))?;
    }
    for line in &view.warnings {
        writeln!(to.out, "{}: {line}", to.text("Hinweis", "note"))?;
    }
    let (stored, refused) = (view.stored, view.refused.len());
    to.say(
        &format!("Bestätigungs-IDs gespeichert: {stored}, abgelehnt: {refused}."),
        &format!("Confirmation IDs stored: {stored}, refused: {refused}."),
    )
}
