//! `klonwerk check`: everything that is wrong with a set of profiles, or what it says.

use std::io::Write;
use std::path::Path;

use jiff::{Timestamp, Zoned};
use serde_json::{Value, json};

use crate::clock::{Clock, SystemClock};
use crate::profile::faults::{Fault, Severity};
use crate::profile::load::{Checked, check};
use crate::profile::{Profiles, Room};
use crate::room::Language;

/// Prints the faults of the profiles in `dir` and, if they can be used, a summary; tells whether they can be used.
///
/// # Errors
/// When `out` cannot be written.
pub fn run(dir: &Path, language: Language, json: bool, out: &mut dyn Write) -> anyhow::Result<bool> {
    report(dir, language, json, SystemClock.now(), out)
}

/// As [`run`], at a time that is handed in.
///
/// # Errors
/// When `out` cannot be written.
pub fn report(dir: &Path, language: Language, json: bool, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<bool> {
    let checked = check(dir);
    if json {
        writeln!(out, "{:#}", as_json(&checked, language, now))?;
    } else {
        if !checked.faults.is_empty() {
            write!(out, "{}", checked.faults.render(language))?;
        }
        if let Some(profiles) = &checked.profiles {
            if !checked.faults.is_empty() {
                writeln!(out)?;
            }
            summary(profiles, language, now, out)?;
        }
    }
    Ok(checked.profiles.is_some())
}

fn summary(profiles: &Profiles, language: Language, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<()> {
    let site = &profiles.site;
    let machines: usize = profiles.rooms.values().map(|room| room.machines.len()).sum();
    let counts = (profiles.rooms.len(), machines, site.images.len(), site.keys.len());
    let (rooms, machines, images, keys) = counts;
    match language {
        Language::En => {
            writeln!(out, "{}: {rooms} rooms, {machines} PCs, {images} images, {keys} keys", site.name)?;
        }
        Language::De => {
            writeln!(out, "{}: {rooms} Räume, {machines} PCs, {images} Images, {keys} Schlüssel", site.name)?;
        }
    }
    if let Some(revision) = &profiles.revision {
        match language {
            Language::En => writeln!(out, "git revision {revision}")?,
            Language::De => writeln!(out, "Git-Stand {revision}")?,
        }
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(match language {
        Language::En => ["room", "PCs", "image", "activation", "next run", "ready by"],
        Language::De => ["Raum", "PCs", "Image", "Aktivierung", "nächster Lauf", "fertig bis"],
    });
    for room in profiles.rooms.values() {
        let next = next_run(profiles, room, now);
        let ready = next.as_ref().and_then(|start| room.schedule.as_ref()?.ready(start));
        let never = match language {
            Language::En => "when asked",
            Language::De => "auf Wunsch",
        };
        table.add_row([
            room.name.to_string(),
            room.machines.len().to_string(),
            room.image.to_string(),
            strategies(room),
            next.map_or_else(|| never.to_owned(), |start| moment(&start, language)),
            ready.map_or_else(String::new, |ready| ready.strftime("%H:%M").to_string()),
        ]);
    }
    writeln!(out, "{}", table.trim_fmt())?;
    Ok(())
}

fn next_run(profiles: &Profiles, room: &Room, now: Timestamp) -> Option<Zoned> {
    room.schedule.as_ref()?.next(now, &profiles.site.zone(), &profiles.site.calendar)
}

/// The room's strategy first, then those of single PCs.
fn strategies(room: &Room) -> String {
    let mut names = vec![room.activation.name()];
    for machine in &room.machines {
        let name = machine.strategy(room).name();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

fn moment(time: &Zoned, language: Language) -> String {
    let german = ["Mo", "Di", "Mi", "Do", "Fr", "Sa", "So"];
    let index = usize::try_from(time.weekday().to_monday_zero_offset()).unwrap_or(0);
    match language {
        Language::En => time.strftime("%a %Y-%m-%d %H:%M").to_string(),
        Language::De => format!("{} {}", german.get(index).unwrap_or(&""), time.strftime("%d.%m.%Y %H:%M")),
    }
}

fn as_json(checked: &Checked, language: Language, now: Timestamp) -> Value {
    let faults: Vec<Value> = checked.faults.list().iter().map(|fault| fault_json(fault, language)).collect();
    let rooms: Vec<Value> = checked
        .profiles
        .iter()
        .flat_map(|profiles| profiles.rooms.values().map(move |room| room_json(profiles, room, now)))
        .collect();
    json!({
        "usable": checked.profiles.is_some(),
        "revision": checked.profiles.as_ref().and_then(|profiles| profiles.revision.clone()),
        "faults": faults,
        "faults_not_shown": checked.faults.more(),
        "rooms": rooms,
    })
}

fn fault_json(fault: &Fault, language: Language) -> Value {
    json!({
        "severity": match fault.severity() { Severity::Error => "error", Severity::Warning => "warning" },
        "place": fault.place.to_string(),
        "line": fault.place.line,
        "column": fault.place.column,
        "text": fault.text(language),
        "advice": fault.advice(language),
        "excerpt": fault.excerpt,
    })
}

fn room_json(profiles: &Profiles, room: &Room, now: Timestamp) -> Value {
    json!({
        "name": room.name,
        "title": room.title,
        "machines": room.machines.len(),
        "image": room.image,
        "activation": strategies(room),
        "next_run": next_run(profiles, room, now).map(|start| start.timestamp().to_string()),
    })
}
