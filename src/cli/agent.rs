//! `klonwerk agent`: this PC's disk becomes its image. By hand, or as the boot environment starts it.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::json;

use crate::agent::client::Patience;
use crate::agent::imaging::target::choose;
use crate::agent::linux::{hardware as firmware, identity, target};
use crate::agent::visit::{self, Visit, Visitor};
use crate::boot::start::StartParameters;
use crate::cli::output::{Output, pick};
use crate::cli::{hardware, screen, serve, words};
use crate::disk::Disk;
use crate::disk::file::{Access, FileDisk};
use crate::disk::usage::{DeviceNumber, KernelView};
use crate::image::Hash;
use crate::profile::model::DiskRule;
use crate::progress::{ImagingEvent, Monitor};
use crate::room::{Language, Mac, MachineUuid};

/// `klonwerk agent …`
#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a disk back to its image by hand, for a run that waits for this PC.
    #[command(
        after_help = "Example, with a token from `klonwerk machines token R101-03` at the server:\n  klonwerk agent image --server https://10.1.0.5:8443 --pin 3f0c… --disk /dev/sda --token …"
    )]
    Image(ImageArgs),
    /// Do what the boot parameters say, as a boot environment does at its start.
    Start {
        /// The file with the parameters, as WinPE has it. Without it: the kernel's command line.
        #[arg(long, value_name = "FILE")]
        start: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Show what this PC's firmware says of it: licence tables, vendor, identity. Changes nothing, asks no server.
    #[command(
        after_help = "Only root may read all of it. The file binds an image to this PC:\n  klonwerk agent hardware --json > pc.json\n  klonwerk image capture --bind-to-hardware pc.json …"
    )]
    Hardware,
}

#[derive(Debug, Args)]
struct ImageArgs {
    /// The server's address for agents, as `klonwerk serve` prints it.
    #[arg(long, value_name = "URL")]
    server: String,
    /// The fingerprint of its authority, as `klonwerk serve` prints it.
    #[arg(long, value_name = "FINGERPRINT")]
    pin: Hash,
    /// The disk or file that is overwritten. Without it: the disk that the room's rule names.
    #[arg(long, value_name = "PATH")]
    disk: Option<PathBuf>,
    /// The network card that the profile names. Without it: this PC's own.
    #[arg(long)]
    mac: Option<Mac>,
    /// The SMBIOS UUID. Without it: this PC's own, if it may be read.
    #[arg(long)]
    uuid: Option<MachineUuid>,
    /// A token of the administrator's, for a PC that has not just booted from the server.
    #[arg(long)]
    token: Option<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Threads for hashing. Without it: one for each processor.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// How many seconds a server that does not answer is asked again.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    patience: u64,
}

impl How {
    fn patience(&self) -> Patience {
        Patience { total: Duration::from_secs(self.patience), ..Patience::default() }
    }

    fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or_else(all).max(1)
    }
}

/// Runs `klonwerk agent`; tells whether the disk is the image, or the boot parameters had nothing for it to do.
pub(super) fn run(args: &AgentArgs, said: Option<Language>, to: &mut Output<'_>) -> anyhow::Result<bool> {
    serve::log("warn", to.json);
    match &args.command {
        Command::Image(image) => {
            let view = KernelView::default();
            let mac = match image.mac {
                Some(mac) => mac,
                None => identity::mac(&view)?,
            };
            // A card that was named by hand may be another PC's, and then so is the UUID.
            let uuid = image.uuid.or_else(|| image.mac.is_none().then(|| identity::uuid(&view)).flatten());
            let hardware = (image.mac.is_none() && image.uuid.is_none()).then(|| firmware::facts(&view));
            let visitor = Visitor {
                token: image.token.clone(),
                hardware,
                ..visitor(image.server.clone(), image.pin, mac, uuid, &image.how)
            };
            Ok(visit(&visitor, image.disk.as_deref(), to)? == Ended::Committed)
        }
        Command::Hardware => hardware::run(&KernelView::default(), to),
        Command::Start { start, how } => {
            let parameters = parameters(start.as_deref())?;
            to.language = said.unwrap_or(parameters.language);
            let pin: Hash = parameters.pin.parse().context("the boot parameter klonwerk.pin is no fingerprint")?;
            let view = KernelView::default();
            let uuid = identity::uuid(&view);
            let visitor = Visitor {
                hardware: Some(firmware::facts(&view)),
                ..visitor(parameters.server, pin, parameters.mac, uuid, how)
            };
            visit(&visitor, None, to)?;
            Ok(true)
        }
    }
}

fn parameters(file: Option<&Path>) -> anyhow::Result<StartParameters> {
    let path = file.unwrap_or(Path::new("/proc/cmdline"));
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let read =
        if file.is_some() { StartParameters::from_ini(&text) } else { StartParameters::from_command_line(&text) };
    read.with_context(|| format!("{} holds no start parameters", path.display()))
}

fn visitor(server: String, pin: Hash, mac: Mac, uuid: Option<MachineUuid>, how: &How) -> Visitor {
    let (patience, threads) = (how.patience(), how.threads());
    Visitor { server, pin, mac, uuid, token: None, hardware: None, patience, threads }
}

#[derive(PartialEq, Eq)]
enum Ended {
    Committed,
    Nothing,
}

fn visit(visitor: &Visitor, disk: Option<&Path>, to: &mut Output<'_>) -> anyhow::Result<Ended> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(stop.clone(), to.language)?;
    let progress = Progress::new(to.language, to.json, &visitor.mac.to_string());
    let ended = visit::make(visitor, &|rule| open(rule, disk), &progress, &stop);
    progress.end();
    match ended? {
        Visit::Committed { machine, run, totals } => {
            if to.json {
                let line = json!({ "at": "end", "machine": machine, "run": run, "totals": totals });
                writeln!(to.out, "{line}")?;
            } else {
                let (fetched, written) = (to.bytes(totals.fetched), to.bytes(totals.written));
                let dirty = totals.dirty_leaves;
                to.say(
                    &format!("{machine} trägt sein Image (Lauf {run}): {dirty} Blätter wichen ab, {fetched} geholt, {written} geschrieben."),
                    &format!("{machine} holds its image (run {run}): {dirty} leaves differed, {fetched} fetched, {written} written."),
                )?;
            }
            Ok(Ended::Committed)
        }
        Visit::Nothing { why } => {
            if to.json {
                writeln!(to.out, "{}", json!({ "at": "nothing", "why": why }))?;
            } else {
                to.say(
                    &format!("Nichts zu tun, die Platte bleibt, wie sie ist: {why}"),
                    &format!("Nothing to do, the disk stays as it is: {why}"),
                )?;
            }
            Ok(Ended::Nothing)
        }
    }
}

/// Opens the disk that the rule names. A block device that was named by hand has to be that one; a plain file is no PC's
/// disk, and no rule is about it.
fn open(rule: &DiskRule, named: Option<&Path>) -> Result<Box<dyn Disk>, String> {
    let of_rule = || -> Result<PathBuf, String> {
        let disks = target::disks(&KernelView::default())
            .map_err(|error| format!("the disks of this PC cannot be listed: {error}"))?;
        choose(rule, &disks).map(|disk| disk.path.clone()).map_err(|error| error.to_string())
    };
    let path = match named {
        None => of_rule()?,
        Some(path) => {
            if let Some(device) = DeviceNumber::of(path) {
                let meant = of_rule().map_err(|why| format!("{} is not written: {why}", path.display()))?;
                if DeviceNumber::of(&meant) != Some(device) {
                    return Err(format!(
                        "{} is not the disk that the profile's rule names, which is {}; correct the rule or --disk",
                        path.display(),
                        meant.display()
                    ));
                }
            }
            path.to_owned()
        }
    };
    match FileDisk::open(&path, Access::Exclusive) {
        Ok(disk) => Ok(Box::new(disk)),
        Err(error) => {
            let source = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
            Err(format!("{error}{source}"))
        }
    }
}

/// The first SIGINT or SIGTERM lets the work end at the next safe place, the second ends the process where it is.
fn stop_on_signals(stop: Arc<AtomicBool>, language: Language) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let listen = move || {
        runtime.block_on(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if stop.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
                let text = pick(
                    language,
                    "Ende an der nächsten sicheren Stelle; noch einmal, um sofort zu enden.",
                    "Ending at the next safe place; once more to end at once.",
                );
                // Nothing is left to tell if standard error is gone too.
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        });
    };
    if let Err(error) = std::thread::Builder::new().name("signals".to_owned()).spawn(listen) {
        bail!("cannot start a thread: {error}");
    }
    Ok(())
}

/// What is seen of the work. Its thread is not the one that holds [`Output`], so it writes for itself.
struct Progress {
    language: Language,
    json: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new(language: Language, json: bool, name: &str) -> Self {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| screen::single(name));
        Self { language, json, bar }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Monitor for Progress {
    fn event(&self, event: ImagingEvent) {
        // A screen that cannot be written to stops no imaging.
        let mut out = std::io::stdout();
        if self.json {
            if let Ok(line) = serde_json::to_string(&event) {
                let _ = writeln!(out, "{line}");
            }
        } else if let Some(bar) = &self.bar {
            screen::show(self.language, bar, &event);
        } else {
            let counts = match &event {
                ImagingEvent::Scanning { done, total } => Some((*done, *total)),
                ImagingEvent::Writing { done, total, .. } | ImagingEvent::Verifying { done, total } => {
                    Some((*done, *total))
                }
                _ => None,
            };
            // Numbers make bars; of them a log gets the end.
            if counts.is_none_or(|(done, total)| done == total) {
                let _ = writeln!(out, "{}", words::imaging(self.language, &event));
            }
        }
    }
}
