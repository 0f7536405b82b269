//! `klonwerk demo`: a room re-cloned on this machine, twice.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::agent::client::Patience;
use crate::clock::SystemClock;
use crate::job::MachineState;
use crate::job::state::{Pending, Readiness};
use crate::night::key_values::Sources;
use crate::progress::{ImagingEvent, Monitor};
use crate::rehearsal::{NightReport, RoomSource, RoomStrategy, School, SchoolOptions};
use crate::room::{Language, MachineName};
use crate::sim::master::Difference;

/// How much of the used leaves a school day changes.
const DAY: f64 = 0.02;

/// `klonwerk demo …`
#[derive(Debug, Args)]
pub(super) struct DemoOptions {
    /// How many PCs the room has.
    #[arg(long, default_value_t = 12)]
    machines: usize,
    /// A raw disk file to use as the master, instead of one that the demo makes (a GPT or MBR disk with NTFS).
    #[arg(long)]
    image: Option<PathBuf>,
    /// Decides all made-up contents and what the school day changes; without it, a random one, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Work in this folder and leave everything there.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// The last line of `demo --json`.
#[derive(Debug, Serialize)]
struct Outcome {
    machines: usize,
    verified: usize,
    activated: usize,
    spent_by_recloning: u32,
    cids_issued: u32,
    dirtied_bytes: u64,
    dirty_leaves_compressed: u64,
    index_bytes: u64,
    night1_bytes: u64,
    night2_bytes: u64,
    night1_seconds: f64,
    night2_seconds: f64,
    seed: u64,
    seconds: f64,
}

struct Words {
    german: bool,
}

impl Words {
    fn pick<'a>(&self, german: &'a str, english: &'a str) -> &'a str {
        if self.german { german } else { english }
    }

    fn megabytes(&self, bytes: u64) -> String {
        let text = format!("{:.1}", bytes as f64 / 1e6);
        if self.german { format!("{} MB", text.replace('.', ",")) } else { format!("{text} MB") }
    }

    fn seconds(&self, time: Duration) -> String {
        let text = format!("{:.1} s", time.as_secs_f64());
        if self.german { text.replace('.', ",") } else { text }
    }
}

/// Runs the demo; tells whether every PC ended as it should.
pub(super) fn run(options: DemoOptions, language: Language, json: bool, out: &mut dyn Write) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let words = Words { german: language == Language::De };
    let seed = match options.seed {
        Some(seed) => seed,
        None => {
            let mut bytes = [0; 4];
            getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
            u64::from(u32::from_le_bytes(bytes))
        }
    };
    let temporary = match options.keep {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("cannot make a temporary folder")?),
    };
    let folder = match (&options.keep, &temporary) {
        (Some(folder), _) => folder.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => bail!("there is no folder to work in"),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    if std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?.next().is_some() {
        bail!("{} is not empty; give an empty folder with --keep", folder.display());
    }

    let stdout = std::cell::RefCell::new(out);
    let say = |text: &str| {
        if !json {
            // A closed pipe ends the demo at its last line, where it is looked at.
            let _ = writeln!(stdout.borrow_mut(), "{text}");
        }
    };
    let n = options.machines;
    say(&match words.german {
        true => format!("Klonwerk-Vorführung: ein Raum mit {n} PCs auf diesem Rechner (Startwert {seed})."),
        false => format!("Klonwerk demo: a room of {n} PCs on this machine (seed {seed})."),
    });
    let step = |text: &str| say(&format!("  · {}", translated(text, &words)));
    let mut school = School::open(
        SchoolOptions {
            machines: n,
            image: options.image.clone(),
            bytes_used: 256 << 20,
            seed,
            folder,
            room: RoomSource::Made(RoomStrategy::MakProxy),
            key_values: Sources::default(),
            patience: Patience::default(),
        },
        Arc::new(SystemClock),
        &step,
    )?;
    let capture = &school.capture;
    let (used, leaves, stored) =
        (words.megabytes(capture.used_bytes), capture.leaves, words.megabytes(capture.stored_bytes));
    say(&match words.german {
        true => format!("  · Image: {used} belegt, {leaves} Blätter, {stored} gespeichert"),
        false => format!("  · image: {used} used, {leaves} leaves, {stored} stored"),
    });

    say("");
    say(words.pick(
        "Nacht eins: leere Platten, noch keine Bestätigungs-IDs",
        "Night one: empty disks, no confirmation IDs yet",
    ));
    let one = play(&mut school, json)?;
    say(&night_line(&one, &words));
    let issued = school.issue_confirmations()?;
    say(&match words.german {
        true => format!("  · {issued} Bestätigungs-IDs vom (simulierten) Portal geholt und eingelesen"),
        false => format!("  · {issued} confirmation IDs fetched from the (simulated) portal and imported"),
    });

    let day = school.day(DAY, seed)?;
    let (dirtied, masked) = (words.megabytes(day.bytes), words.megabytes(day.masked_bytes));
    say("");
    say(&match words.german {
        true => format!(
            "Ein Schultag: {dirtied} auf allen Platten geändert ({} Blätter), dazu {masked} im freien Platz",
            day.leaves
        ),
        false => {
            format!("A school day: {dirtied} changed on all disks ({} leaves), and {masked} in free space", day.leaves)
        }
    });

    say("");
    say(words.pick("Nacht zwei: nur was sich unterscheidet", "Night two: only what differs"));
    let two = play(&mut school, json)?;
    say(&night_line(&two, &words));

    let wrong = school.differences()?;
    for (name, difference) in &wrong {
        let Difference { offset, expected, found } = difference;
        say(&match words.german {
            true => format!("  ! {name}: Byte {offset} ist {found:02x} statt {expected:02x}"),
            false => format!("  ! {name}: byte {offset} is {found:02x} instead of {expected:02x}"),
        });
    }
    let verified = n - wrong.len();
    let activated = school.activated();
    let microsoft = school.world.microsoft();
    let outcome = Outcome {
        machines: n,
        verified,
        activated,
        spent_by_recloning: microsoft.activations(school.partial_key()),
        cids_issued: microsoft.cids_issued(school.partial_key()),
        dirtied_bytes: day.bytes,
        dirty_leaves_compressed: day.compressed,
        index_bytes: school.index_bytes() * n as u64,
        night1_bytes: one.fetched(),
        night2_bytes: two.fetched(),
        night1_seconds: one.took.as_secs_f64(),
        night2_seconds: two.took.as_secs_f64(),
        seed,
        seconds: 0.0,
    };
    let good = verified == n
        && activated == n
        && outcome.spent_by_recloning == 0
        && ready(&two) == n
        && outcome.cids_issued as usize == n;
    drop(school);
    let outcome = Outcome { seconds: begun.elapsed().as_secs_f64(), ..outcome };
    if json {
        writeln!(stdout.borrow_mut(), "{}", serde_json::to_string(&outcome)?)?;
    } else {
        summary(&outcome, options.image.is_none(), &words, &mut **stdout.borrow_mut())?;
    }
    Ok(good)
}

fn translated<'a>(text: &'a str, words: &Words) -> &'a str {
    match text {
        "making a master's disk" => words.pick("Platte eines Muster-PCs anlegen", text),
        "capturing it as an image" => words.pick("als Image aufnehmen", text),
        "starting the server" => words.pick("Server starten", text),
        _ => text,
    }
}

fn ready(report: &NightReport) -> usize {
    report.states.values().filter(|state| matches!(state, MachineState::Done { result: Readiness::Ready })).count()
}

fn pending(report: &NightReport) -> usize {
    let waits = |state: &&MachineState| {
        matches!(state, MachineState::Done { result: Readiness::ReadyPending { why: Pending::PendingIid } })
    };
    report.states.values().filter(waits).count()
}

fn night_line(report: &NightReport, words: &Words) -> String {
    let (fetched, written) = (words.megabytes(report.fetched()), words.megabytes(report.written()));
    let (ready, pending, took) = (ready(report), pending(report), words.seconds(report.took));
    match words.german {
        true => format!(
            "  · {took}: {fetched} übertragen, {written} geschrieben; {ready} PCs bereit und aktiviert, {pending} warten auf eine Bestätigungs-ID"
        ),
        false => format!(
            "  · {took}: {fetched} sent, {written} written; {ready} PCs ready and activated, {pending} waiting for a confirmation ID"
        ),
    }
}

fn summary(outcome: &Outcome, self_made: bool, words: &Words, out: &mut dyn Write) -> anyhow::Result<()> {
    let n = outcome.machines;
    let ratio = outcome.night2_bytes as f64 / outcome.dirty_leaves_compressed.max(1) as f64;
    writeln!(out)?;
    if words.german {
        writeln!(out, "Ergebnis nach {:.0} s", outcome.seconds)?;
        writeln!(out, "  Platten, Byte für Byte gleich dem Muster:   {} von {n}", outcome.verified)?;
        writeln!(out, "  Windows aktiviert, neu abgefragt:           {} von {n}", outcome.activated)?;
        writeln!(out, "  Aktivierungen durch das Klonen verbraucht:  {}", outcome.spent_by_recloning)?;
        writeln!(out, "  Bestätigungs-IDs ausgestellt, einmalig:     {}", outcome.cids_issued)?;
        writeln!(
            out,
            "  Nacht zwei übertrug {} (Nacht eins: {}), {ratio:.2}-mal die geänderten Blätter",
            words.megabytes(outcome.night2_bytes),
            words.megabytes(outcome.night1_bytes)
        )?;
        writeln!(out)?;
        writeln!(
            out,
            "Echt waren: Server, DHCP, TFTP, HTTP, TLS, Imaging-Agent, Plattendateien, Bestätigungsspeicher. Simuliert waren: \
             die PCs, ihr Windows, Microsofts Portal und Zähler; die Bootdateien sind Platzhalter{}.",
            if self_made { ", die NTFS-Platte hat die Vorführung selbst geschrieben" } else { "" }
        )?;
        writeln!(out, "Aktivierung ist keine Lizenzierung: Jeder PC braucht eine gültige Lizenz.")?;
        return Ok(());
    }
    writeln!(out, "Result after {:.0} s", outcome.seconds)?;
    writeln!(out, "  disks equal to the master, byte for byte:   {} of {n}", outcome.verified)?;
    writeln!(out, "  Windows activated, asked anew:              {} of {n}", outcome.activated)?;
    writeln!(out, "  activations spent by re-cloning:            {}", outcome.spent_by_recloning)?;
    writeln!(out, "  confirmation IDs issued, once and for all:  {}", outcome.cids_issued)?;
    writeln!(
        out,
        "  night two sent {} (night one: {}), {ratio:.2} times the changed leaves",
        words.megabytes(outcome.night2_bytes),
        words.megabytes(outcome.night1_bytes)
    )?;
    writeln!(out)?;
    writeln!(
        out,
        "Real were: server, DHCP, TFTP, HTTP, TLS, imaging agent, disk files, confirmation store. Simulated were: the PCs, \
         their Windows, Microsoft's portal and counter; the boot files are stand-ins{}.",
        if self_made { ", and the demo wrote the NTFS disk itself" } else { "" }
    )?;
    writeln!(out, "Activation is not licensing: every PC needs a valid licence.")?;
    Ok(())
}

fn play(school: &mut School, json: bool) -> anyhow::Result<NightReport> {
    let shown = !json && std::io::stderr().is_terminal();
    let bars = MultiProgress::with_draw_target(match shown {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    });
    let style = ProgressStyle::with_template("    {prefix:<8} {bar:30.cyan/blue} {msg}")?.progress_chars("━━╌");
    let monitor = |name: &MachineName| -> Box<dyn Monitor> {
        let bar = bars.add(ProgressBar::new(100));
        bar.set_style(style.clone());
        bar.set_prefix(name.to_string());
        bar.set_message("boots");
        Box::new(Bar(bar))
    };
    let report = school.night(&monitor)?;
    bars.clear()?;
    Ok(report)
}

struct Bar(ProgressBar);

impl Monitor for Bar {
    fn event(&self, event: ImagingEvent) {
        let (done, total, word) = match event {
            ImagingEvent::Scanning { done, total } => (done, total, "reads"),
            ImagingEvent::Scanned { dirty_leaves, leaves } => (leaves - dirty_leaves.min(leaves), leaves, "compares"),
            ImagingEvent::GateClosed => (0, 1, "closes the gate"),
            ImagingEvent::Writing { done, total, .. } => (done, total, "writes"),
            ImagingEvent::Verifying { done, total } => (done, total, "verifies"),
            ImagingEvent::OfflineHook { .. } => (1, 1, "hooks"),
            ImagingEvent::GateOpened => (1, 1, "opens the gate"),
            ImagingEvent::Committed(_) => (1, 1, "is the image; starts Windows"),
        };
        self.0.set_length(total.max(1));
        self.0.set_position(done);
        self.0.set_message(word);
    }
}
