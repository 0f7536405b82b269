//! `klonwerk kms`: whether PCs would find their KMS host, the record that announces it, and what is known of its count.

use clap::{Args, Subcommand};

use crate::cli::output::Output;
use crate::cli::place::Place;

mod check;
mod dns;
mod status;

/// `klonwerk kms …`
#[derive(Debug, Args)]
pub(super) struct KmsArgs {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look for the KMS host as a PC does: SRV record, addresses, port. Nothing is sent to the host.
    #[command(
        after_help = "Ends with 0 if every PC would reach a KMS host; warnings do not change that. Without --domain and --host: the hosts of \
                      the profiles, and this system's search domain.\n\nExamples:\n  klonwerk kms check\n  klonwerk kms check --domain musterschule.example --dns 10.0.0.1\n  klonwerk kms check --host kms.musterschule.example:1688"
    )]
    Check(check::CheckArgs),
    /// Print the SRV record with which a domain announces its KMS host.
    #[command(
        after_help = "Example: klonwerk kms dns --domain musterschule.example --host kms --format dnsmasq > /etc/dnsmasq.d/kms.conf"
    )]
    Dns(dns::DnsArgs),
    /// Show what re-cloned PCs reported about the KMS host: its count, and PCs that it takes for one.
    #[command(after_help = "Example: klonwerk kms status --json")]
    Status,
}

/// Runs `klonwerk kms`; tells whether all is well.
pub(super) fn run(args: &KmsArgs, to: &mut Output<'_>) -> anyhow::Result<bool> {
    match &args.command {
        Command::Check(check) => check::run(check, &args.place, to),
        Command::Dns(dns) => dns::run(dns, to),
        Command::Status => status::run(&args.place, to),
    }
}
