//! `klonwerk activation import`: confirmation IDs in.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::activation::exchange::{ImportResult, MOST_BYTES, RowFault};
use crate::cli::ask::Asker;
use crate::cli::output::{Output, pick};
use crate::cli::place::who_asks;
use crate::http::admin_api::ImportView;

/// Store the confirmation IDs of tables, such as `pending` wrote and somebody filled in, or of VAMT's .cil and .cilx.
#[derive(Debug, Args)]
#[command(after_help = "Examples: klonwerk activation import ids.csv
          klonwerk activation import room-1.cilx room-2.cilx")]
pub(super) struct ImportArgs {
    /// The files; - reads standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Imported {
    file: PathBuf,
    #[serde(flatten)]
    view: ImportView,
}

#[derive(Debug, Serialize)]
struct AllImported {
    files: Vec<Imported>,
    stored: usize,
    unchanged: usize,
    open: usize,
    refused: usize,
}

/// Tells whether something is stored and nothing was refused. Each file is taken by itself.
pub(super) fn run(args: &ImportArgs, asker: &Asker, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let lang = pick(to.language, "de", "en");
    let path = format!("/v1/activation/import?lang={lang}&by={}", escaped(&who_asks()));
    let mut all = AllImported { files: Vec::new(), stored: 0, unchanged: 0, open: 0, refused: 0 };
    for file in &args.files {
        let view = match read(file)? {
            Some(bytes) => asker.post_bytes(&path, bytes.into())?,
            None => {
                let refused = vec![RowFault::too_large()];
                ImportView::of(&ImportResult { refused, ..ImportResult::default() }, to.language)
            }
        };
        if !to.json {
            lines(file, args.files.len() > 1, &view, to)?;
        }
        all.stored += view.stored;
        all.unchanged += view.unchanged;
        all.open += view.open;
        all.refused += view.refused.len();
        all.files.push(Imported { file: file.clone(), view });
    }
    if to.json {
        to.json(&all)?;
    } else {
        sums(&all, to)?;
    }
    Ok(all.refused == 0 && all.stored + all.unchanged > 0)
}

/// The file, unless it is too large: then it is not read to its end.
fn read(file: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let most = MOST_BYTES as u64;
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(most + 1).read_to_end(&mut bytes).context("cannot read standard input")?;
    } else {
        let cannot = || format!("cannot read {}", file.display());
        let opened = File::open(file).with_context(cannot)?;
        if opened.metadata().with_context(cannot)?.len() > most {
            return Ok(None);
        }
        opened.take(most + 1).read_to_end(&mut bytes).with_context(cannot)?;
    }
    Ok((bytes.len() <= MOST_BYTES).then_some(bytes))
}

fn lines(file: &Path, named: bool, view: &ImportView, to: &mut Output<'_>) -> anyhow::Result<()> {
    let name = if named { format!("{}: ", file.display()) } else { String::new() };
    for fault in &view.refused {
        writeln!(to.out, "{name}{}: {}", to.text("abgelehnt", "refused"), fault.text)?;
    }
    for fault in &view.warnings {
        writeln!(to.out, "{name}{}: {}", to.text("Hinweis", "note"), fault.text)?;
    }
    if view.refused_whole {
        writeln!(
            to.out,
            "{name}{}",
            to.text("nichts aus dieser Datei gespeichert", "nothing of this file was stored")
        )?;
    }
    Ok(())
}

fn sums(all: &AllImported, to: &mut Output<'_>) -> anyhow::Result<()> {
    let AllImported { stored, unchanged, refused, .. } = all;
    match (stored, unchanged, refused) {
        (0, 0, 0) => to.say(
            "Die Tabelle enthält keine neue Bestätigungs-ID; die Spalte confirmation_id ausfüllen.",
            "The table holds no new confirmation ID; fill in its column confirmation_id.",
        ),
        (0, known, 0) => to.say(
            &format!("Alle Bestätigungs-IDs ({known}) waren schon gespeichert; nichts wurde geändert."),
            &format!("All confirmation IDs ({known}) were stored already; nothing was changed."),
        ),
        (_, 0, _) => to.say(
            &format!("Bestätigungs-IDs gespeichert: {stored}, abgelehnt: {refused}."),
            &format!("Confirmation IDs stored: {stored}, refused: {refused}."),
        ),
        _ => to.say(
            &format!("Bestätigungs-IDs gespeichert: {stored}, schon vorhanden: {unchanged}, abgelehnt: {refused}."),
            &format!("Confirmation IDs stored: {stored}, there already: {unchanged}, refused: {refused}."),
        ),
    }
}

/// For a query.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
