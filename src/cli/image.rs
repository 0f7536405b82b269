//! `klonwerk image`: capture, list, show, verify and clean up.

use std::time::Duration;

use anyhow::Context;
use comfy_table::{CellAlignment, Table};
use ed25519_dalek::VerifyingKey;
use jiff::Timestamp;

pub use crate::cli::output::Output;
use crate::cli::output::table;
use crate::disk::Disk;
use crate::image::{FirmwareKind, KeyChannel, RegionKind, TableKind, WindowsFacts};
use crate::packs::{
    self, CaptureOptions, CaptureProgress, ImageStore, ImageSummary, SigningKeyFile, VerifyFault, VerifyProgress,
};
use crate::room::{ImageWish, Language};

/// Captures `disk` as a new image.
///
/// # Errors
/// What refused the capture, with what to do.
pub fn capture(
    store: &ImageStore,
    key: &SigningKeyFile,
    disk: &dyn Disk,
    options: &CaptureOptions,
    progress: &dyn Fn(CaptureProgress),
    to: &mut Output<'_>,
) -> anyhow::Result<()> {
    let report = packs::capture(disk, options, store, &key.signing_key(), progress)?;
    if to.json {
        return to.json(&report);
    }
    let (used, stored) = (to.bytes(report.used_bytes), to.bytes(report.stored_bytes));
    let seconds = to.number(report.seconds, 1);
    let (image, leaves, new) = (&report.image, report.leaves, report.new_leaves);
    match to.language {
        Language::De => writeln!(
            to.out,
            "{image} ist aufgenommen: {used} belegt, {leaves} Blätter, davon {new} neu ({stored} im Speicher), {seconds} s."
        )?,
        Language::En => writeln!(
            to.out,
            "{image} is captured: {used} used, {leaves} leaves, {new} of them new ({stored} stored), {seconds} s."
        )?,
    }
    for missing in &report.missing {
        let fact = fact_name(to, missing.fact);
        match to.language {
            Language::De => writeln!(to.out, "Unbekannt: {fact}. Angeben mit {}.", missing.flag)?,
            Language::En => writeln!(to.out, "Unknown: {fact}. Give it with {}.", missing.flag)?,
        }
    }
    Ok(())
}

fn fact_name<'t>(to: &Output<'_>, fact: &'t str) -> &'t str {
    match fact {
        "build" => to.text("Build-Nummer", "build number"),
        "edition" => to.text("Edition", "edition"),
        "product" => to.text("Produkt", "product"),
        "generalized" => to.text("mit sysprep verallgemeinert", "generalized by sysprep"),
        "skip_rearm" => to.text("SkipRearm gesetzt", "SkipRearm set"),
        "key_channel" => to.text("Art des Produktschlüssels", "product key channel"),
        "firmware" => to.text("Firmware", "firmware"),
        other => other,
    }
}

/// The list without any image.
pub(super) fn none(to: &mut Output<'_>) -> anyhow::Result<()> {
    if to.json {
        return to.json(&[(); 0]);
    }
    to.say(
        "Noch keine Images. Das erste entsteht mit: klonwerk image capture",
        "No images yet. Make the first one with: klonwerk image capture",
    )
}

/// Lists the images of the store.
///
/// # Errors
/// Only what the output says.
pub fn list(store: &ImageStore, to: &mut Output<'_>) -> anyhow::Result<()> {
    let images = store.list();
    if to.json {
        return to.json(&images);
    }
    if images.is_empty() {
        return none(to);
    }
    let mut table = table();
    table.set_header([
        "Image",
        to.text("Tags", "Tags"),
        to.text("Aufgenommen", "Captured"),
        "Windows",
        "Firmware",
        to.text("Platte ab", "Disk from"),
        to.text("Wurzel", "Root"),
    ]);
    for image in &images {
        table.add_row([
            image.header.image.to_string(),
            image.tags.join(", "),
            image.header.created.strftime("%Y-%m-%d %H:%M UTC").to_string(),
            windows_cell(&image.header.windows, to),
            firmware_name(image.header.windows.firmware).to_owned(),
            to.bytes(image.header.disk_bytes),
            image.root.to_string().chars().take(12).collect(),
        ]);
    }
    if let Some(column) = table.column_mut(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(writeln!(to.out, "{}", table.trim_fmt())?)
}

fn windows_name(facts: &WindowsFacts) -> String {
    let name = facts.product.clone().or_else(|| facts.edition.clone()).unwrap_or_else(|| "?".to_owned());
    match facts.build {
        Some(build) => format!("{name} ({build})"),
        None => name,
    }
}

/// What the list says of the Windows: with the vendor or the PC that it belongs to, since it serves no other.
fn windows_cell(facts: &WindowsFacts, to: &Output<'_>) -> String {
    let vendor = facts.oem_vendor.as_ref().map(|vendor| format!("OEM {vendor}"));
    let bound = facts.bound_to.map(|pc| format!("{} {}", to.text("nur PC", "only PC"), pc.short()));
    [Some(windows_name(facts)), vendor, bound].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn firmware_name(firmware: Option<FirmwareKind>) -> &'static str {
    match firmware {
        Some(FirmwareKind::Bios) => "BIOS",
        Some(FirmwareKind::Uefi) => "UEFI",
        None => "?",
    }
}

fn channel_name(channel: KeyChannel) -> &'static str {
    match channel {
        KeyChannel::Mak => "MAK",
        KeyChannel::Gvlk => "GVLK",
        KeyChannel::Oem => "OEM",
        KeyChannel::Retail => "Retail",
        KeyChannel::None => "-",
    }
}

/// Shows one image: its facts and how its disk is divided.
///
/// # Errors
/// The image is not there.
pub fn show(store: &ImageStore, wish: &ImageWish, to: &mut Output<'_>) -> anyhow::Result<()> {
    let image = store.find(wish)?;
    let found = store.list().into_iter().find(|summary| summary.header.image == image);
    let summary = found.with_context(|| format!("image {image} was deleted meanwhile"))?;
    if to.json {
        return to.json(&summary);
    }
    let facts = facts_table(&summary, to);
    writeln!(to.out, "{}\n", facts.trim_fmt())?;
    let mut regions = table();
    regions.set_header([to.text("Bereich", "Region"), to.text("Beginn", "Start"), to.text("Größe", "Size"), ""]);
    for region in &summary.header.regions {
        let (name, detail) = match &region.kind {
            RegionKind::Table => (to.text("Partitionstabelle", "partition table").to_owned(), String::new()),
            RegionKind::BackupTable => {
                (to.text("Sicherung der Tabelle", "backup of the table").to_owned(), String::new())
            }
            RegionKind::Partition { number, esp, file_system } => {
                let esp = if *esp { to.text("EFI-Systempartition", "EFI system partition") } else { "" };
                let detail = [file_system.as_str(), esp].into_iter().filter(|text| !text.is_empty());
                (format!("Partition {number}"), detail.collect::<Vec<_>>().join(", "))
            }
        };
        regions.add_row([name, to.bytes(region.extent.start), to.bytes(region.extent.len), detail]);
    }
    for column in [1, 2] {
        if let Some(column) = regions.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Ok(writeln!(to.out, "{}", regions.trim_fmt())?)
}

fn facts_table(summary: &ImageSummary, to: &Output<'_>) -> Table {
    let header = &summary.header;
    let windows = &header.windows;
    let unknown = || to.text("unbekannt", "unknown").to_owned();
    let yes_no = |fact: Option<bool>| fact.map_or_else(unknown, |value| to.yes_no(value).to_owned());
    let kind = match header.table {
        TableKind::Gpt => "GPT",
        TableKind::Mbr => "MBR",
    };
    let disk = match to.language {
        Language::De => format!("{}, {kind}, Sektoren zu {} Byte", to.bytes(header.disk_bytes), header.sector_bytes),
        Language::En => format!("{}, {kind}, sectors of {} bytes", to.bytes(header.disk_bytes), header.sector_bytes),
    };
    let mut table = table();
    let rows = [
        ("Image", header.image.to_string()),
        (to.text("Tags", "Tags"), summary.tags.join(", ")),
        (to.text("Wurzel", "Root"), summary.root.to_string()),
        (to.text("Aufgenommen", "Captured"), header.created.to_string()),
        ("Windows", windows_name(windows)),
        (to.text("Edition", "Edition"), windows.edition.clone().unwrap_or_else(unknown)),
        (to.text("Verallgemeinert", "Generalized"), yes_no(windows.generalized)),
        ("SkipRearm", yes_no(windows.skip_rearm)),
        (
            to.text("Schlüsselart", "Key channel"),
            windows.key_channel.map_or_else(unknown, |channel| channel_name(channel).to_owned()),
        ),
        ("Firmware", firmware_name(windows.firmware).to_owned()),
    ];
    table.add_rows(rows.map(|(name, value)| [name.to_owned(), value]));
    if let Some(vendor) = &windows.oem_vendor {
        table.add_row([to.text("OEM-Hersteller", "OEM vendor"), vendor]);
    }
    if let Some(bound) = windows.bound_to {
        table.add_row([to.text("Nur für PC", "Only for PC"), &bound.to_string()]);
    }
    let rows = [
        (to.text("Platte", "Disk"), disk),
        (to.text("Blätter", "Leaves"), format!("{} × {} KiB", header.leaf_count(), header.leaf_bytes / 1024)),
    ];
    table.add_rows(rows.map(|(name, value)| [name.to_owned(), value]));
    table
}

/// Re-hashes everything. Gives whether all is as it was stored.
///
/// # Errors
/// The store cannot be read.
pub fn verify(
    store: &ImageStore,
    key: Option<&VerifyingKey>,
    threads: usize,
    progress: &dyn Fn(VerifyProgress),
    to: &mut Output<'_>,
) -> anyhow::Result<bool> {
    let report = store.verify(key, threads, progress)?;
    let good = report.faults.is_empty();
    if to.json {
        to.json(&report)?;
        return Ok(good);
    }
    for fault in &report.faults {
        match to.language {
            Language::De => writeln!(to.out, "{}", in_german(fault))?,
            Language::En => writeln!(to.out, "{fault}")?,
        }
    }
    let (images, leaves, packs, bytes) = (report.images, report.leaves, report.packs, to.bytes(report.bytes));
    let faults = report.faults.len();
    match to.language {
        Language::De => writeln!(
            to.out,
            "Geprüft: {images} Images, {leaves} Blätter in {packs} Packs ({bytes}). Fehler: {faults}."
        )?,
        Language::En => {
            writeln!(to.out, "Checked: {images} images, {leaves} leaves in {packs} packs ({bytes}). Faults: {faults}.")?
        }
    }
    Ok(good)
}

fn in_german(fault: &VerifyFault) -> String {
    match fault {
        VerifyFault::Pack { pack, .. } => format!("Pack {pack} ist beschädigt."),
        VerifyFault::Leaf { pack, leaf } => format!("Blatt {leaf} in Pack {pack} ist beschädigt."),
        VerifyFault::Lacking { image, count, first } => {
            format!("Image {image} fehlen {count} Blätter, eines davon {first}; bitte neu aufnehmen.")
        }
        VerifyFault::Image { image, .. } => format!("Die Datei von Image {image} ist beschädigt."),
        VerifyFault::Signature { image } => {
            format!("Image {image} ist nicht von diesem Server unterschrieben; die Agenten lehnen es ab.")
        }
    }
}

/// Gives the room of leaves back that no image needs.
///
/// # Errors
/// An image file is damaged, or the store is busy.
pub fn gc(store: &ImageStore, grace: Duration, now: Timestamp, to: &mut Output<'_>) -> anyhow::Result<()> {
    let report = store.gc(grace, now)?;
    if to.json {
        return to.json(&report);
    }
    let (freed, waiting) = (to.bytes(report.freed_bytes), to.bytes(report.waiting_bytes));
    let (deleted, rewritten) = (report.deleted, report.rewritten);
    match to.language {
        Language::De => writeln!(
            to.out,
            "{deleted} Packs gelöscht ({freed} frei), {rewritten} neu gepackt; {waiting} werden nach der Schonfrist frei."
        )?,
        Language::En => writeln!(
            to.out,
            "{deleted} packs deleted ({freed} freed), {rewritten} repacked; {waiting} will be freed after their grace."
        )?,
    }
    Ok(())
}
