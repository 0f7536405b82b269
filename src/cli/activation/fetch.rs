//! `klonwerk activation fetch`: confirmation IDs from an ActivationWs server.

use clap::Args;

use crate::cli::ask::Asker;
use crate::cli::output::Output;
use crate::cli::place::who_asks;
use crate::http::admin_api::{FetchLine, FetchRequest};
use crate::night::fetch::{FetchResult, FetchStep, FetchSums};
use crate::room::{MachineName, RoomName};

/// Get confirmation IDs from the school's ActivationWs server. Each can spend an activation; nothing else ever asks for one.
#[derive(Debug, Args)]
#[command(
    after_help = "Each question is entered in the ledger before it is sent and counts as spent until its outcome is known.\nInstallation IDs of Windows 7 (54 digits) cannot be asked about; use export and import for them.\n\nExamples:\n  klonwerk activation fetch --max 5\n  klonwerk activation fetch --max 15 --room r101"
)]
pub(super) struct FetchArgs {
    /// Ask at most so many questions.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max: u32,
    /// Ask this server instead of the one in site.yaml.
    #[arg(long)]
    url: Option<String>,
    /// For this room only.
    #[arg(long)]
    room: Option<RoomName>,
}

/// Tells whether every installation ID that could be asked about, within the limit, has its confirmation ID now.
pub(super) fn run(args: &FetchArgs, asker: &Asker, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let request = FetchRequest { max: args.max, url: args.url.clone(), room: args.room.clone(), asked_by: who_asks() };
    let mut shown = Shown { out: to, results: Vec::new(), sums: None, failed: None };
    asker.lines("/v1/activation/fetch", &request, &mut |line| shown.line(line))?;
    let Shown { results, sums, failed, .. } = shown;
    if to.json {
        to.json(&serde_json::json!({ "results": results, "sums": sums, "error": failed }))?;
    }
    if let Some(error) = failed {
        return Err(anyhow::Error::msg(error));
    }
    let lost = to.text(
        "die Antwort des Servers brach ab; `klonwerk activation ledger` zeigt, was gefragt wurde",
        "the server's answer broke off; `klonwerk activation ledger` shows what was asked",
    );
    let sums = sums.ok_or_else(|| anyhow::Error::msg(lost.to_owned()))?;
    Ok(sums.failed == 0)
}

struct Shown<'a, 'b> {
    out: &'a mut Output<'b>,
    results: Vec<FetchStep>,
    sums: Option<FetchSums>,
    failed: Option<String>,
}

impl Shown<'_, '_> {
    fn line(&mut self, line: FetchLine) -> anyhow::Result<()> {
        let step = match line {
            FetchLine::Step(step) => step,
            FetchLine::Failed { error } => {
                self.failed = Some(error);
                return Ok(());
            }
        };
        match step {
            FetchStep::Ended { sums } => {
                self.sums = Some(sums);
                if self.out.json { Ok(()) } else { self.ended(sums) }
            }
            step if self.out.json => {
                if matches!(step, FetchStep::Done { .. }) {
                    self.results.push(step);
                }
                Ok(())
            }
            FetchStep::Begun { waiting: 0, .. } => self.out.say(
                "Keine Installations-ID wartet auf eine Bestätigungs-ID.",
                "No installation ID waits for a confirmation ID.",
            ),
            FetchStep::Begun { waiting, max } => self.out.say(
                &format!("Wartende Installations-IDs: {waiting}. Höchstens {max} werden angefragt."),
                &format!("Installation IDs that wait: {waiting}. At most {max} are asked for."),
            ),
            FetchStep::Asking { machine } => {
                self.out.say(&format!("{machine}: wird angefragt …"), &format!("{machine}: asking …"))
            }
            FetchStep::Done { machine, result, check_digits_off, .. } => self.done(&machine, &result, check_digits_off),
        }
    }

    fn done(&mut self, machine: &MachineName, result: &FetchResult, check_digits_off: bool) -> anyhow::Result<()> {
        let text = result.text(self.out.language);
        writeln!(self.out.out, "{machine}: {text}")?;
        if check_digits_off {
            self.out.say(
                &format!("{machine}: Prüfziffern passen nicht; für Bestätigungs-IDs ist die Regel nicht bestätigt, Windows entscheidet."),
                &format!("{machine}: check digits do not fit; for confirmation IDs the rule is not confirmed, Windows decides."),
            )?;
        }
        Ok(())
    }

    fn ended(&mut self, sums: FetchSums) -> anyhow::Result<()> {
        let FetchSums { asked, stored, spent, skipped, failed, left, stopped } = sums;
        if asked + skipped + failed + left == 0 {
            return Ok(());
        }
        self.out.say(
            &format!("Gefragt: {asked}, gespeichert: {stored}, gilt als verbraucht: {spent}, übergangen: {skipped}, gescheitert: {failed}, offen: {left}."),
            &format!("Asked: {asked}, stored: {stored}, counts as spent: {spent}, skipped: {skipped}, failed: {failed}, left: {left}."),
        )?;
        if stopped {
            self.out.say(
                "Vorzeitig beendet: die nächste Anfrage wäre kaum besser verlaufen. Erst die Ursache beheben.",
                "Ended early: the next question would hardly have fared better. Remove the cause first.",
            )?;
        }
        Ok(())
    }
}
