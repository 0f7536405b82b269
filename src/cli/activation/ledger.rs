//! `klonwerk activation ledger`: what each key has spent, what is left, and how long it lasts.

use clap::Args;

use crate::activation::KeyKind;
use crate::activation::codes::{Code, explain};
use crate::cli::ask::Asker;
use crate::cli::output::{Output, moment, pick, table};
use crate::cli::place::who_asks;
use crate::http::admin_api::{LedgerView, ReleaseRequest, ReleaseView};
use crate::night::ledger::KeyLedger;
use crate::room::{KeyName, Language};
use crate::store::{EntryKind, EntryState, LedgerEntry};

/// Show what each product key has spent, what is left of its budget, and how long that lasts.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  klonwerk activation ledger\n  klonwerk activation ledger mak-win11 --json\n  klonwerk activation ledger --release mak-win11"
)]
pub(super) struct LedgerArgs {
    /// Show this key alone, with its attempts.
    #[arg(conflicts_with = "release")]
    key: Option<KeyName>,
    /// Use this key again: Microsoft called it used up or blocked, and you have looked into it.
    #[arg(long, value_name = "KEY")]
    release: Option<KeyName>,
}

pub(super) fn run(args: &LedgerArgs, asker: &Asker, to: &mut Output<'_>) -> anyhow::Result<bool> {
    if let Some(key) = &args.release {
        let path = format!("/v1/activation/ledger/{key}/release");
        let view: ReleaseView = asker.post(&path, &ReleaseRequest { asked_by: who_asks() })?;
        released(&view, to)?;
        return Ok(true);
    }
    let path = match &args.key {
        Some(key) => format!("/v1/activation/ledger/{key}"),
        None => "/v1/activation/ledger".to_owned(),
    };
    let view: LedgerView = asker.get(&path)?;
    show(&view, args.key.is_some(), to)?;
    Ok(true)
}

fn released(view: &ReleaseView, to: &mut Output<'_>) -> anyhow::Result<()> {
    if to.json {
        return to.json(view);
    }
    let key = &view.key;
    match view.released {
        true => to.say(
            &format!("{key} ist freigegeben. Was als verbraucht gilt, bleibt gezählt."),
            &format!("{key} is released. What counts as spent stays counted."),
        ),
        false => to.say(
            &format!("{key} war nicht gesperrt; es gibt nichts freizugeben."),
            &format!("{key} was not on hold; there is nothing to release."),
        ),
    }
}

fn show(view: &LedgerView, one: bool, to: &mut Output<'_>) -> anyhow::Result<()> {
    if to.json {
        return to.json(view);
    }
    if view.keys.is_empty() {
        return to.say(
            "Kein Profil nennt einen Produktschlüssel, und keiner wurde je benutzt.",
            "No profile names a product key, and none was ever used.",
        );
    }
    let mut table = table();
    table.set_header([
        to.text("Schlüssel", "key"),
        to.text("Art", "type"),
        to.text("Ende", "ends in"),
        to.text("verbraucht", "spent"),
        to.text("durch Klonen", "by re-cloning"),
        to.text("erteilte CIDs", "CIDs issued"),
        to.text("Budget", "budget"),
        to.text("Reserve", "reserve"),
        to.text("übrig", "left"),
        to.text("Ausblick", "outlook"),
    ]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for key in &view.keys {
        table.add_row([
            key.key.to_string(),
            kind(key.kind, to.language).to_owned(),
            or_dash(key.partial_key.clone()),
            key.sums.spent.to_string(),
            key.sums.spent_by_recloning.to_string(),
            key.sums.cids_issued.to_string(),
            or_dash(key.budget.map(|budget| budget.to_string())),
            or_dash(key.budget.map(|_| key.reserve.to_string())),
            or_dash(key.remaining.map(|remaining| remaining.to_string())),
            or_dash(key.outlook.map(|outlook| outlook.text(to.language))),
        ]);
    }
    writeln!(to.out, "{}", table.trim_fmt())?;
    for key in &view.keys {
        remarks(key, to)?;
    }
    if let (true, [key]) = (one, view.keys.as_slice()) {
        attempts(key, to)?;
    }
    Ok(())
}

/// What a person should look at.
fn remarks(key: &KeyLedger, to: &mut Output<'_>) -> anyhow::Result<()> {
    let name = &key.key;
    if let Some(hold) = &key.hold {
        let (since, why) = (moment(to.language, hold.since), explain(hold.code, to.language));
        let machine = &hold.machine;
        to.say(
            &format!("\n{name} ist gesperrt seit {since} ({machine}): {why}\nWenn das geklärt ist: klonwerk activation ledger --release {name}"),
            &format!("\n{name} is on hold since {since} ({machine}): {why}\nOnce that is settled: klonwerk activation ledger --release {name}"),
        )?;
    }
    let unsettled = key.sums.open + key.sums.unknown;
    if unsettled > 0 {
        to.say(
            &format!("\n{name}: Ausgang offen bei {unsettled}; sie gelten als verbraucht, bis der PC neu gelesen ist."),
            &format!("\n{name}: outcome unknown for {unsettled}; they count as spent until the PC is read again."),
        )?;
    }
    if let Some(problem) = &key.problem {
        writeln!(to.out, "\n{problem}")?;
    }
    Ok(())
}

fn attempts(key: &KeyLedger, to: &mut Output<'_>) -> anyhow::Result<()> {
    if key.entries.is_empty() {
        return to.say("\nMit diesem Schlüssel wurde noch nichts versucht.", "\nNothing was tried with this key yet.");
    }
    let mut table = table();
    table.set_header([
        to.text("wann", "when"),
        "PC",
        to.text("Lauf", "run"),
        to.text("was", "what"),
        to.text("Ergebnis", "outcome"),
    ]);
    for entry in &key.entries {
        table.add_row([
            moment(to.language, entry.at),
            entry.machine.to_string(),
            entry.run.map_or_else(|| "-".to_owned(), |run| run.to_string()),
            what(entry.kind, to.language).to_owned(),
            outcome(entry, to.language),
        ]);
    }
    Ok(writeln!(to.out, "\n{}", table.trim_fmt())?)
}

fn kind(kind: Option<KeyKind>, language: Language) -> &'static str {
    match kind {
        Some(kind) => kind.name(),
        None => pick(language, "nicht mehr im Profil", "in no profile"),
    }
}

fn what(kind: EntryKind, language: Language) -> &'static str {
    match kind {
        EntryKind::Deposit => pick(language, "CID eingetragen", "CID deposited"),
        EntryKind::Activate => pick(language, "aktivieren", "activate"),
        EntryKind::ConfirmationRequest => pick(language, "CID anfragen", "ask for CID"),
    }
}

fn outcome(entry: &LedgerEntry, language: Language) -> String {
    let word = match entry.state {
        EntryState::Open => pick(language, "offen, zählt", "open, counts"),
        EntryState::Unknown => pick(language, "unbekannt, zählt", "unknown, counts"),
        EntryState::Succeeded => pick(language, "gelungen", "succeeded"),
        EntryState::Failed => pick(language, "gescheitert", "failed"),
        EntryState::Refused => pick(language, "nicht erlaubt", "not permitted"),
    };
    let why = entry.refusal.as_deref().map(|name| refusal(name, language).to_owned());
    let code = entry.code.filter(|code| *code != Code::OK).map(|code| code.to_string());
    match why.or(code) {
        Some(why) => format!("{word}: {why}"),
        None => word.to_owned(),
    }
}

/// A refusal's short name in words.
fn refusal(name: &str, language: Language) -> &str {
    let (german, english) = match name {
        "on-hold" => ("Schlüssel gesperrt", "key on hold"),
        "budget-spent" => ("Budget verbraucht", "budget spent"),
        "run-limit" => ("Grenze des Laufs", "limit of the run"),
        "outcome-unknown" => ("voriger Ausgang offen", "earlier outcome unknown"),
        "request-open" => ("schon angefragt", "asked for already"),
        "already-issued" => ("schon erteilt", "issued already"),
        other => return other,
    };
    pick(language, german, english)
}

#[cfg(test)]
mod tests;
