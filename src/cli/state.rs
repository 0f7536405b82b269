//! `klonwerk state`: backup and restore of what cannot be made again.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::ask::Asker;
use crate::cli::output::{Output, moment};
use crate::cli::place::{Place, key_sources};
use crate::clock::{Clock, SystemClock};
use crate::http::admin_api::SnapshotView;
use crate::night::key_values;
use crate::profile::load;
use crate::room::KeyName;
use crate::serve::backup::sealed::Cost;
use crate::serve::backup::{self, Contents, Restored, Snapshot};

mod passphrase;

use passphrase::PassphraseArgs;

/// `klonwerk state …`
#[derive(Debug, Args)]
pub(super) struct StateArgs {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write database, keys and the server's authority into one encrypted file. The server may go on running.
    #[command(
        after_help = "Images and boot files are not part of it.\n\nExamples:\n  klonwerk state backup /mnt/backup/klonwerk-2026-11-24.kwb\n  klonwerk state backup /mnt/backup/klonwerk.kwb --force --passphrase-file /etc/klonwerk/backup-passphrase"
    )]
    Backup(BackupArgs),
    /// Bring the state of a backup back. The server must be stopped; every MAK is on hold until you release it.
    #[command(
        after_help = "What was spent after the backup is not in it. So every key whose activations count is put on hold; look with VAMT how many\nare left, then: klonwerk activation ledger --release KEY\n\nExamples:\n  klonwerk state restore /mnt/backup/klonwerk-2026-11-24.kwb --dry-run\n  klonwerk state restore /mnt/backup/klonwerk-2026-11-24.kwb --force"
    )]
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
struct BackupArgs {
    /// The backup.
    file: PathBuf,
    /// Replace a file of this name.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    /// The backup.
    file: PathBuf,
    /// Replace the state that is there; it is kept beside the new one.
    #[arg(long)]
    force: bool,
    /// Only read the backup to its end, and say what is in it.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(super) fn run(args: &StateArgs, to: &mut Output<'_>) -> anyhow::Result<bool> {
    match &args.command {
        Command::Backup(backup) => self::backup(&args.place, backup, to),
        Command::Restore(restore) => self::restore(&args.place, restore, to),
    }
    .map(|()| true)
}

fn backup(place: &Place, args: &BackupArgs, to: &mut Output<'_>) -> anyhow::Result<()> {
    let state = place.state();
    let passphrase = args.passphrase.read(true, to)?;
    let snapshot = match Asker::find(&state, to.language)? {
        Some(asker) => Snapshot::of(asker.post::<SnapshotView>("/v1/state/snapshot", &json!({}))?.path),
        None => Snapshot::take(&state, Arc::new(SystemClock))?,
    };
    let now = SystemClock.now();
    let contents = backup::write(&state, &snapshot, &args.file, &passphrase, Cost::USUAL, args.force, now)?;
    if to.json {
        return to.json(&json!({ "file": args.file, "contents": contents }));
    }
    let (file, bytes) = (args.file.display(), to.bytes(bytes(&contents)));
    to.say(
        &format!("Gesichert in {file}: {bytes}. Ohne die Passphrase ist die Datei wertlos; sie getrennt aufbewahren."),
        &format!("Backed up to {file}: {bytes}. Without the passphrase the file is worth nothing; keep it elsewhere."),
    )
}

fn restore(place: &Place, args: &RestoreArgs, to: &mut Output<'_>) -> anyhow::Result<()> {
    if args.dry_run {
        let contents = backup::verify(&args.file, &args.passphrase.read(false, to)?)?;
        if to.json {
            return to.json(&json!({ "dry_run": true, "contents": contents }));
        }
        let (created, bytes) = (moment(to.language, contents.created), to.bytes(bytes(&contents)));
        let names: Vec<&str> = contents.files.iter().map(|entry| entry.name.as_str()).collect();
        let names = names.join(", ");
        return to.say(
            &format!("Die Sicherung vom {created} ist heil: {bytes}, {names}. Nichts wurde geändert."),
            &format!("The backup of {created} is whole: {bytes}, {names}. Nothing was changed."),
        );
    }
    let counted = counted_keys(place, to)?;
    let passphrase = args.passphrase.read(false, to)?;
    let state = place.state();
    let restored = backup::restore(&state, &args.file, &passphrase, args.force, &counted, Arc::new(SystemClock))?;
    if to.json {
        return to.json(&restored);
    }
    show(&restored, to)
}

/// The keys that have to wait for a person. Without profiles nobody knows them, and then nothing is restored.
fn counted_keys(place: &Place, to: &Output<'_>) -> anyhow::Result<Vec<(KeyName, Option<String>)>> {
    let Ok(profiles) = load::load(&place.profiles) else {
        let folder = place.profiles.display();
        return Err(anyhow!(match to.language {
            crate::room::Language::De => format!(
                "die Profile in {folder} lassen sich nicht verwenden, und ohne sie ist nicht bekannt, welche Schlüssel zu sperren sind; den Ordner mit --profiles nennen oder seine Fehler beheben (`klonwerk check {folder}`)"
            ),
            crate::room::Language::En => format!(
                "the profiles in {folder} cannot be used, and without them nobody knows which keys to put on hold; name their folder with --profiles, or correct them (`klonwerk check {folder}`)"
            ),
        }));
    };
    let sources = key_sources(&profiles);
    let counted = profiles.site.keys.iter().filter(|(_, key)| key.kind.counts());
    Ok(counted.map(|(name, key)| (name.clone(), key_values::partial(name, key, &sources).ok())).collect())
}

fn show(restored: &Restored, to: &mut Output<'_>) -> anyhow::Result<()> {
    let created = moment(to.language, restored.contents.created);
    to.say(
        &format!("Der Zustand vom {created} ist zurück. Läufe und Aktivierungen danach stehen nicht darin."),
        &format!("The state of {created} is back. Runs and activations after it are not in it."),
    )?;
    if let Some(kept) = &restored.kept {
        let kept = kept.display();
        to.say(&format!("Der vorige liegt in {kept}."), &format!("The one before is in {kept}."))?;
    }
    if !restored.on_hold.is_empty() {
        let keys: Vec<&str> = restored.on_hold.iter().map(KeyName::as_str).collect();
        let keys = keys.join(", ");
        to.say(
            &format!(
                "Gesperrt, bis jemand nachgesehen hat: {keys}. Danach: klonwerk activation ledger --release SCHLÜSSEL"
            ),
            &format!("On hold until somebody has looked: {keys}. Then: klonwerk activation ledger --release KEY"),
        )?;
    }
    to.say(
        "PCs, deren Platte seither halb beschrieben wurde, kennt er nicht: Räume mit späteren Läufen einmal neu klonen.",
        "PCs whose disk was half written since are not known to it: re-clone rooms that had later runs.",
    )
}

fn bytes(contents: &Contents) -> u64 {
    contents.files.iter().map(|entry| entry.bytes).sum()
}
