//! The plan of a run: the only source of what will be done.
//!
//! `klonwerk plan` prints it, the runner stores and executes it, tests compare it with what was recorded at the PCs. A
//! plan is a pure function of profiles and facts; making one changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::activation::preview::{MachineActivation, Preview, preview};
use crate::activation::strategy::Strategy;
use crate::boot::decide::{BootChoice, decide};
use crate::boot::firmware::{Architecture, Firmware, Loader};
use crate::boot::{BootSubject, KnownMachine, RunTicket};
use crate::image::{FirmwareKind, Hash, WindowsFacts};
use crate::profile::model::{BootEnvironment, Hook, Place, Profiles, Room};
use crate::room::{HookName, ImageRef, Mac, MachineName, RoomName, Selection};

/// What is known of the image that a room's profile names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// The version that the profile's wish resolves to today.
    pub image: ImageRef,
    /// Its root.
    pub root: Hash,
    /// How many leaves it has.
    pub leaves: u64,
    /// How many of them hold data that is stored and may be sent.
    pub stored_leaves: u64,
    /// The size of a leaf in bytes.
    pub leaf_bytes: u32,
    /// What is known of its Windows.
    pub windows: WindowsFacts,
}

/// What is known of a machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MachineFacts {
    /// The root that its disk had after its last committed run.
    pub last_root: Option<Hash>,
    /// How many leaves differed in its last committed run.
    pub last_dirty_leaves: Option<u64>,
    /// The run that left its disk half written, if one did.
    pub half_written: Option<u64>,
    /// What the confirmation store and the last report say.
    pub activation: MachineActivation,
}

/// Everything that a plan is made from, beside the profiles.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The image.
    pub image: ImageFacts,
    /// The machines; one without facts has never been seen.
    pub machines: BTreeMap<MachineName, MachineFacts>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A name in the selection is no machine of the room.
    #[error("room {room} has no machine {machine}; `klonwerk plan {room}` lists them")]
    Stranger {
        /// The room.
        room: RoomName,
        /// The name.
        machine: MachineName,
    },
    /// Nothing is left after the selection.
    #[error("the selection leaves no machine of room {0}; there is nothing to do")]
    Nobody(RoomName),
    /// A hook that the profile names is gone.
    #[error("the hook {0} is not declared in site.yaml; `klonwerk check` shows where it is used")]
    NoHook(HookName),
}

/// What a run would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The room.
    pub room: RoomName,
    /// The image.
    pub image: ImageRef,
    /// Its root.
    pub root: Hash,
    /// The git revision of the profiles, where there is one.
    pub profile_revision: Option<String>,
    /// One entry per machine, in the order of the profile.
    pub machines: Vec<MachinePlan>,
}

impl Plan {
    /// Activations that the run would spend, over all machines.
    pub fn activations_spent(&self) -> u64 {
        self.machines
            .iter()
            .filter_map(MachinePlan::activation)
            .map(|preview| u64::from(preview.activations_spent))
            .sum()
    }
}

/// One machine's part of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachinePlan {
    /// The machine.
    pub machine: MachineName,
    /// Its network card.
    pub mac: Mac,
    /// How its firmware gets from power-on to the boot environment; one chain per kind of firmware that it may have.
    pub boot: Vec<BootChain>,
    /// What happens then, in order.
    pub steps: Vec<Step>,
}

impl MachinePlan {
    /// The activation preview, if the plan has an activation hook.
    pub fn activation(&self) -> Option<&Preview> {
        self.steps.iter().find_map(|step| match step {
            Step::WindowsHook(HookPlan { action: HookAction::Activation { preview, .. }, .. }) => {
                Some(preview.as_ref())
            }
            _ => None,
        })
    }

    /// All hooks, in order.
    pub fn hooks(&self) -> impl Iterator<Item = (Place, &HookPlan)> {
        self.steps.iter().filter_map(|step| match step {
            Step::OfflineHook(hook) => Some((Place::Offline, hook)),
            Step::WindowsHook(hook) => Some((Place::Windows, hook)),
            _ => None,
        })
    }

    /// What the plan expects of the disk.
    pub fn expectation(&self) -> Option<&Expectation> {
        self.steps.iter().find_map(|step| match step {
            Step::Image { expect, .. } => Some(expect),
            _ => None,
        })
    }
}

/// How one kind of firmware gets to the boot environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootChain {
    /// The kind.
    pub firmware: FirmwareKind,
    /// Question and answer, one after the other.
    pub stages: Vec<BootStage>,
}

/// One question of a booting PC, and the answer to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootStage {
    /// Who asks.
    pub asks: Firmware,
    /// What it gets.
    pub gets: BootChoice,
}

/// What a plan expects to find on a disk, as far as earlier runs tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "disk")]
pub enum Expectation {
    /// Nobody knows this disk: all stored leaves may have to be sent.
    Unknown {
        /// So many leaves at most.
        at_most: u64,
    },
    /// It held another image.
    OtherImage {
        /// So many leaves at most.
        at_most: u64,
    },
    /// It held this image: what a day of use dirtied.
    SameImage {
        /// As many as last time, where that is known.
        about: Option<u64>,
    },
    /// A run was interrupted: the rest of it.
    Interrupted {
        /// So many leaves at most.
        at_most: u64,
    },
}

/// One thing that a machine run does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// The agent in the boot environment checks in and gets a session.
    CheckIn {
        /// Which environment.
        environment: BootEnvironment,
    },
    /// The disk becomes the image: gate closed, leaves written, verified.
    Image {
        /// What the disk is expected to hold before.
        expect: Expectation,
    },
    /// A hook on the written disk.
    OfflineHook(HookPlan),
    /// The gate opens: the disk boots again, as the image.
    Commit,
    /// The PC starts from its disk; the resident agent checks in.
    StartWindows,
    /// A hook inside Windows.
    WindowsHook(HookPlan),
    /// The PC switches off.
    PowerOff,
}

/// A planned hook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookPlan {
    /// Its place in the room's list, from 0.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// How long it may take.
    pub time_out: Duration,
    /// What it does.
    pub action: HookAction,
}

/// What a planned hook does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum HookAction {
    /// Names the PC.
    ComputerName,
    /// Applies the strategy.
    Activation {
        /// Which.
        strategy: Strategy,
        /// What that will do.
        preview: Box<Preview>,
    },
    /// Runs a program.
    Command {
        /// Program and arguments.
        command: Vec<String>,
    },
}

const HOOK_TIME: Duration = Duration::from_secs(300);

/// Makes the plan for `selection` of a room.
pub fn plan(profiles: &Profiles, room: &Room, selection: &Selection, facts: &Facts) -> Result<Plan, PlanError> {
    let names: Vec<&MachineName> = room.machines.iter().map(|machine| &machine.name).collect();
    if let Some(machine) = selection.strangers(&names).first() {
        return Err(PlanError::Stranger { room: room.name.clone(), machine: (*machine).clone() });
    }
    let unseen = MachineFacts::default();
    let mut machines = Vec::new();
    for machine in room.machines.iter().filter(|machine| selection.contains(&machine.name)) {
        let known = facts.machines.get(&machine.name).unwrap_or(&unseen);
        let mut steps = vec![
            Step::CheckIn { environment: room.environment },
            Step::Image { expect: expectation(&facts.image, known) },
        ];
        let hooks = hooks(profiles, room, machine.strategy(room), &facts.image, known)?;
        let (offline, windows): (Vec<_>, Vec<_>) = hooks.into_iter().partition(|(place, _)| *place == Place::Offline);
        steps.extend(offline.into_iter().map(|(_, hook)| Step::OfflineHook(hook)));
        steps.push(Step::Commit);
        steps.push(Step::StartWindows);
        steps.extend(windows.into_iter().map(|(_, hook)| Step::WindowsHook(hook)));
        steps.push(Step::PowerOff);
        machines.push(MachinePlan {
            machine: machine.name.clone(),
            mac: machine.mac,
            boot: boot_chains(profiles, room, machine.name.clone()),
            steps,
        });
    }
    if machines.is_empty() {
        return Err(PlanError::Nobody(room.name.clone()));
    }
    Ok(Plan {
        room: room.name.clone(),
        image: facts.image.image.clone(),
        root: facts.image.root,
        profile_revision: profiles.revision.clone(),
        machines,
    })
}

fn expectation(image: &ImageFacts, machine: &MachineFacts) -> Expectation {
    let at_most = image.stored_leaves;
    match machine.last_root {
        _ if machine.half_written.is_some() => Expectation::Interrupted { at_most },
        None => Expectation::Unknown { at_most },
        Some(root) if root == image.root => Expectation::SameImage { about: machine.last_dirty_leaves },
        Some(_) => Expectation::OtherImage { at_most },
    }
}

fn hooks(
    profiles: &Profiles,
    room: &Room,
    strategy: &Strategy,
    image: &ImageFacts,
    machine: &MachineFacts,
) -> Result<Vec<(Place, HookPlan)>, PlanError> {
    let mut out = Vec::new();
    for (index, hook) in room.hooks.iter().enumerate() {
        let (place, time_out, action) = match hook {
            Hook::ComputerName => (Place::Windows, HOOK_TIME, HookAction::ComputerName),
            Hook::Activation => {
                let preview = Box::new(preview(strategy, &image.windows, &machine.activation));
                (Place::Windows, HOOK_TIME, HookAction::Activation { strategy: strategy.clone(), preview })
            }
            Hook::Command(name) => {
                let hook = profiles.site.hooks.get(name).ok_or_else(|| PlanError::NoHook(name.clone()))?;
                (hook.place, hook.time_out, HookAction::Command { command: hook.command.clone() })
            }
        };
        out.push((place, HookPlan { index: index as u32, name: hook.name().to_owned(), time_out, action }));
    }
    Ok(out)
}

/// The boot chains of a machine of `room`, for the run that is being planned.
fn boot_chains(profiles: &Profiles, room: &Room, machine: MachineName) -> Vec<BootChain> {
    let subject = BootSubject::Known(KnownMachine {
        machine,
        room: room.name.clone(),
        environment: room.environment,
        idle: room.idle,
        run: Some(RunTicket { run: 0, language: profiles.site.language }),
    });
    let kinds = room.firmware.map_or(vec![FirmwareKind::Uefi, FirmwareKind::Bios], |kind| vec![kind]);
    kinds
        .into_iter()
        .map(|firmware| {
            let architecture = match firmware {
                FirmwareKind::Bios => Architecture::Bios,
                FirmwareKind::Uefi => Architecture::UefiX64,
            };
            let stages = [Loader::Pxe, Loader::Ipxe]
                .into_iter()
                .map(|loader| {
                    let asks = Firmware { architecture, loader };
                    BootStage { asks, gets: decide(&subject, asks) }
                })
                .collect();
            BootChain { firmware, stages }
        })
        .collect()
}
