//! `klonwerk activation`: installation IDs out, confirmation IDs in. One file a subcommand.

use clap::{Args, Subcommand};

use crate::cli::ask::Asker;
use crate::cli::output::Output;
use crate::cli::place::Place;

mod export;
mod fetch;
mod forget;
mod import;
mod ledger;
mod pending;

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
    Pending(pending::PendingArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Fetch(fetch::FetchArgs),
    Forget(forget::ForgetArgs),
    Ledger(ledger::LedgerArgs),
}

/// Runs `klonwerk activation`; tells whether the subcommand reached what it was started for.
pub(super) fn run(args: &ActivationArgs, to: &mut Output<'_>) -> anyhow::Result<bool> {
    match &args.command {
        Command::Pending(command) => pending::run(command, &asker(args, to)?, to),
        Command::Export(command) => export::run(command, &asker(args, to)?, to),
        Command::Import(command) => import::run(command, &asker(args, to)?, to),
        Command::Fetch(command) => fetch::run(command, &asker(args, to)?, to),
        Command::Forget(command) => forget::run(command, &asker(args, to)?, to),
        Command::Ledger(command) => ledger::run(command, &asker(args, to)?, to),
    }
}

fn asker(args: &ActivationArgs, to: &Output<'_>) -> anyhow::Result<Asker> {
    Asker::open(&args.place.state(), to.language)
}
