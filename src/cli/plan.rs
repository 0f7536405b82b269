//! `klonwerk plan`: what a re-clone would do, before it does.

use std::io::Write;
use std::sync::Arc;

use clap::Args;

use crate::boot::decide::{BootChoice, Purpose};
use crate::cli::ask::{Asker, query};
use crate::cli::output::Output;
use crate::cli::place::{Place, key_sources};
use crate::clock::SystemClock;
use crate::image::FirmwareKind;
use crate::job::plan::{BootChain, Expectation, HookAction, HookPlan, MachinePlan, Plan, Step};
use crate::profile::load;
use crate::profile::model::{BootEnvironment, Place as HookPlace};
use crate::room::{ImageWish, Language, MachineName, RoomName, Selection};
use crate::serve::offline;

/// Which machines of which room, and what they get.
#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// The room's short name: that of its file in rooms/.
    pub(super) room: RoomName,
    /// Only these machines.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<MachineName>,
    /// All machines but these.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    except: Vec<MachineName>,
    /// Another image than the room's own: name, name@version or name@tag.
    #[arg(long, value_name = "IMAGE")]
    pub(super) image: Option<ImageWish>,
}

impl Wanted {
    pub(super) fn selection(&self) -> Selection {
        Selection { only: self.only.clone(), except: self.except.clone() }
    }
}

/// `klonwerk plan …`
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    place: Place,
}

/// Prints the plan; tells whether the profiles could be used.
pub(super) fn run(args: &PlanArgs, to: &mut Output<'_>) -> anyhow::Result<bool> {
    dry_run(&args.wanted, &args.place, to)
}

/// The plan that a running server would execute; without one, what the next would.
pub(super) fn dry_run(wanted: &Wanted, place: &Place, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let selection = wanted.selection();
    let plan: Plan = match Asker::find(&place.state(), to.language)? {
        Some(asker) => {
            let image = wanted.image.as_ref().map_or_else(String::new, |image| format!("&image={image}"));
            asker.get(&format!("/v1/plan/{}?{}{image}", wanted.room, query(&selection)))?
        }
        None => {
            let profiles = match load::load(&place.profiles) {
                Ok(profiles) => profiles,
                Err(faults) => {
                    write!(std::io::stderr(), "{}", faults.render(to.language))?;
                    return Ok(false);
                }
            };
            let (state, sources) = (place.state_of(Some(&profiles)), key_sources(&profiles));
            let (room, image) = (&wanted.room, wanted.image.as_ref());
            offline::plan(&place.profiles, &state, room, &selection, image, &sources, Arc::new(SystemClock))?
        }
    };
    if to.json {
        to.json(&plan)?;
    } else {
        print(&plan, to)?;
    }
    Ok(true)
}

/// The plan for people: machines for which the same is planned stand together.
fn print(plan: &Plan, to: &mut Output<'_>) -> anyhow::Result<()> {
    let revision = plan.profile_revision.as_ref().map_or_else(String::new, |revision| {
        let short: String = revision.chars().take(12).collect();
        format!(", {} {short}", to.text("Profile im Git-Stand", "profiles at git revision"))
    });
    let (room, image) = (&plan.room, &plan.image);
    writeln!(to.out, "{} {room}, {} {image}{revision}", to.text("Raum", "Room"), to.text("Image", "image"))?;
    let mut groups: Vec<(&MachinePlan, Vec<&MachinePlan>)> = Vec::new();
    for machine in &plan.machines {
        match groups.iter_mut().find(|(first, _)| first.boot == machine.boot && first.steps == machine.steps) {
            Some((_, others)) => others.push(machine),
            None => groups.push((machine, vec![machine])),
        }
    }
    for (first, machines) in groups {
        let names: Vec<String> = machines.iter().map(|machine| machine.machine.to_string()).collect();
        writeln!(to.out, "\n{}", names.join(", "))?;
        part(first, to)?;
    }
    let (count, spent) = (plan.machines.len(), plan.activations_spent());
    let pcs = if count == 1 { "PC" } else { "PCs" };
    to.say(
        &format!("\n{count} {pcs}, verbrauchte Aktivierungen: {spent}. Es wurde nichts getan."),
        &format!("\n{count} {pcs}, activations spent: {spent}. Nothing was done."),
    )
}

fn part(machine: &MachinePlan, to: &mut Output<'_>) -> anyhow::Result<()> {
    for chain in &machine.boot {
        let firmware = match chain.firmware {
            FirmwareKind::Bios => "BIOS",
            FirmwareKind::Uefi => "UEFI",
        };
        let stages = stages(chain, to);
        writeln!(to.out, "  {:<11} {stages}", format!("{} {firmware}", to.text("Start", "boot")))?;
    }
    for step in &machine.steps {
        if let Step::CheckIn { environment } = step {
            let name = match environment {
                BootEnvironment::Linux => "Linux",
                BootEnvironment::Winpe => "Windows PE",
            };
            writeln!(to.out, "  {:<11} {name}", to.text("Umgebung", "environment"))?;
        }
    }
    if let Some(expect) = machine.expectation() {
        writeln!(to.out, "  {:<11} {}", to.text("Platte", "disk"), expectation(*expect, to))?;
    }
    let hooks: Vec<String> = machine.hooks().map(|(place, hook)| self::hook(place, hook, to)).collect();
    let none = to.text("keine", "none").to_owned();
    let hooks = if hooks.is_empty() { vec![none] } else { hooks };
    lines(to.text("Nacharbeit", "hooks"), &hooks, to)?;
    if let Some(preview) = machine.activation() {
        let said = preview.lines(to.language);
        lines(to.text("Aktivierung", "activation"), &said, to)?;
    }
    Ok(())
}

fn lines(title: &str, lines: &[String], to: &mut Output<'_>) -> anyhow::Result<()> {
    for (number, line) in lines.iter().enumerate() {
        let title = if number == 0 { title } else { "" };
        writeln!(to.out, "  {title:<11} {line}")?;
    }
    Ok(())
}

/// Question and answer, one after the other.
fn stages(chain: &BootChain, to: &Output<'_>) -> String {
    let stages: Vec<String> = chain
        .stages
        .iter()
        .map(|stage| {
            let answer = match &stage.gets {
                BootChoice::Silent(why) => format!("{} ({why})", to.text("keine Antwort", "no answer")),
                BootChoice::Loader { file, .. } => file.name().to_owned(),
                BootChoice::Script(Purpose::Run(_)) => to.text("Skript des Laufs", "the run's script").to_owned(),
                BootChoice::Script(Purpose::LocalDisk) => {
                    to.text("Skript, das die Platte startet", "a script that starts the disk").to_owned()
                }
            };
            format!("{} → {answer}", stage.asks)
        })
        .collect();
    stages.join("; ")
}

fn expectation(expect: Expectation, to: &Output<'_>) -> String {
    match (expect, to.language) {
        (Expectation::Unknown { at_most }, Language::De) => {
            format!("noch nie geklont, höchstens {at_most} Blätter zu übertragen")
        }
        (Expectation::Unknown { at_most }, Language::En) => {
            format!("never cloned yet, at most {at_most} leaves to transfer")
        }
        (Expectation::OtherImage { at_most }, Language::De) => {
            format!("trägt ein anderes Image, höchstens {at_most} Blätter zu übertragen")
        }
        (Expectation::OtherImage { at_most }, Language::En) => {
            format!("holds another image, at most {at_most} leaves to transfer")
        }
        (Expectation::SameImage { about: Some(about) }, Language::De) => {
            format!("trägt dieses Image, etwa {about} Blätter zu übertragen wie beim letzten Mal")
        }
        (Expectation::SameImage { about: Some(about) }, Language::En) => {
            format!("holds this image, about {about} leaves to transfer as last time")
        }
        (Expectation::SameImage { about: None }, Language::De) => {
            "trägt dieses Image, nur das Geänderte ist zu übertragen".to_owned()
        }
        (Expectation::SameImage { about: None }, Language::En) => {
            "holds this image, only what has changed is transferred".to_owned()
        }
        (Expectation::Interrupted { at_most }, Language::De) => {
            format!("halb geschrieben, wird fertig: höchstens {at_most} Blätter zu übertragen")
        }
        (Expectation::Interrupted { at_most }, Language::En) => {
            format!("half written, will be finished: at most {at_most} leaves to transfer")
        }
    }
}

fn hook(place: HookPlace, hook: &HookPlan, to: &Output<'_>) -> String {
    let place = match place {
        HookPlace::Offline => to.text("auf der Platte", "on the disk"),
        HookPlace::Windows => "Windows",
    };
    let what = match &hook.action {
        HookAction::ComputerName | HookAction::Activation { .. } => String::new(),
        HookAction::Command { command } => format!(": {}", command.join(" ")),
    };
    format!("{}. {} ({place}){what}", hook.index.saturating_add(1), hook.name)
}
