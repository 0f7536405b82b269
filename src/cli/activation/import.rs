//! `klonwerk activation import`: confirmation IDs in.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::cli::ask::Asker;
use crate::cli::output::{Output, pick};
use crate::http::admin_api::ImportView;

/// Store the confirmation IDs of a table, such as `pending` wrote it, filled in.
#[derive(Debug, Args)]
#[command(after_help = "Example: klonwerk activation import ids.csv")]
pub(super) struct ImportArgs {
    /// The table; - reads standard input.
    file: PathBuf,
}

/// Tells whether something was stored and nothing refused.
pub(super) fn run(args: &ImportArgs, asker: &Asker, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let lang = pick(to.language, "de", "en");
    let table = read(&args.file)?;
    let view: ImportView = asker.post_bytes(&format!("/v1/activation/import?lang={lang}"), table.into())?;
    show(&view, to)?;
    Ok(view.refused.is_empty() && view.stored > 0)
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

fn show(view: &ImportView, to: &mut Output<'_>) -> anyhow::Result<()> {
    if to.json {
        return to.json(view);
    }
    for line in &view.refused {
        writeln!(to.out, "{}: {line}", to.text("abgelehnt", "refused"))?;
    }
    for line in &view.warnings {
        writeln!(to.out, "{}: {line}", to.text("Hinweis", "note"))?;
    }
    if view.stored == 0 && view.refused.is_empty() {
        return to.say(
            "Die Tabelle enthält keine neue Bestätigungs-ID; die Spalte confirmation_id ausfüllen.",
            "The table holds no new confirmation ID; fill in its column confirmation_id.",
        );
    }
    let (stored, refused) = (view.stored, view.refused.len());
    to.say(
        &format!("Bestätigungs-IDs gespeichert: {stored}, abgelehnt: {refused}."),
        &format!("Confirmation IDs stored: {stored}, refused: {refused}."),
    )
}
