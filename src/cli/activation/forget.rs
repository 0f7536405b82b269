//! `klonwerk activation forget`: away with a PC's installation and confirmation IDs.

use anyhow::anyhow;
use clap::Args;

use crate::activation::confirmation::InstallationId;
use crate::cli::ask::Asker;
use crate::cli::output::{Output, moment, table};
use crate::cli::place::who_asks;
use crate::http::admin_api::{ForgetRequest, Forgotten};
use crate::room::MachineName;
use crate::store::ConfirmationState;

/// Forget the installation and confirmation IDs of a PC.
#[derive(Debug, Args)]
#[command(after_help = "A forgotten confirmation ID has to be got from Microsoft again, who may count it again.

Examples: klonwerk activation forget R101-07 --all --dry-run
          klonwerk activation forget R101-07 --iid 0000315-0079502-…")]
pub(super) struct ForgetArgs {
    /// The PC; it need not be in a profile any more.
    machine: MachineName,
    /// Only this installation ID, with or without hyphens.
    #[arg(long, value_name = "DIGITS", conflicts_with = "all")]
    iid: Option<String>,
    /// Everything that is stored for the PC.
    #[arg(long)]
    all: bool,
    /// Only show what would be forgotten.
    #[arg(long)]
    dry_run: bool,
}

/// Tells whether there was something to forget and it was said what.
pub(super) fn run(args: &ForgetArgs, asker: &Asker, to: &mut Output<'_>) -> anyhow::Result<bool> {
    if !args.dry_run && !args.all && args.iid.is_none() {
        return Err(anyhow!(
            to.text(
                "nichts vergessen: --iid ZIFFERN oder --all angeben; --dry-run zeigt, was gespeichert ist",
                "nothing was forgotten: name --iid DIGITS or --all; --dry-run shows what is stored",
            )
            .to_owned()
        ));
    }
    let request = ForgetRequest {
        machine: args.machine.clone(),
        installation_id: args.iid.as_deref().map(|digits| parse(digits, to)).transpose()?,
        dry_run: args.dry_run,
        asked_by: who_asks(),
    };
    let forgotten: Forgotten = asker.post("/v1/activation/forget", &request)?;
    show(&forgotten, to)?;
    Ok(!forgotten.forgotten.is_empty())
}

fn parse(digits: &str, to: &Output<'_>) -> anyhow::Result<InstallationId> {
    InstallationId::parse(digits).map_err(|error| {
        anyhow!("{}: {error}", to.text("--iid ist keine Installations-ID", "--iid is no installation ID"))
    })
}

fn show(forgotten: &Forgotten, to: &mut Output<'_>) -> anyhow::Result<()> {
    if to.json {
        return to.json(forgotten);
    }
    let (machine, count) = (&forgotten.machine, forgotten.forgotten.len());
    if count == 0 {
        return to.say(
            &format!("Für {machine} ist nichts dergleichen gespeichert."),
            &format!("Nothing of the kind is stored for {machine}."),
        );
    }
    let mut rows = table();
    for row in &forgotten.forgotten {
        let state = match row.state {
            ConfirmationState::Pending => to.text("wartet auf eine Bestätigungs-ID", "waits for a confirmation ID"),
            ConfirmationState::Known => to.text("Bestätigungs-ID gespeichert", "confirmation ID stored"),
            ConfirmationState::Stale => to.text("von Windows abgelehnt", "refused by Windows"),
        };
        let since = moment(to.language, row.asked_at);
        rows.add_row([state, &row.product.activation_id, &row.product.partial_key, &since]);
    }
    writeln!(to.out, "{rows}")?;
    match forgotten.dry_run {
        true => to.say(
            &format!("{machine}: {count} würden vergessen. Nichts wurde geändert."),
            &format!("{machine}: {count} would be forgotten. Nothing was changed."),
        ),
        false => to.say(&format!("{machine}: {count} vergessen."), &format!("{machine}: {count} forgotten.")),
    }
}
