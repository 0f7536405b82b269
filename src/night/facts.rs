//! What a plan is made from, gathered from the stores. Reads only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::NightError;
use super::key_values::{self, Sources};
use crate::activation::codes::Code;
use crate::activation::hardware::HardwareFacts;
use crate::activation::hook::ActivationReport;
use crate::activation::preview::{ConfirmationState, KnownKey, MachineActivation};
use crate::activation::strategy::Strategy;
use crate::image::{Hash, WindowsFacts};
use crate::job::plan::{Facts, ImageFacts, MachineFacts};
use crate::packs::{ImageStore, StoredImage};
use crate::profile::{Machine, Profiles, Room};
use crate::room::MachineName;
use crate::store::{ConfirmationState as Stored, Store};

/// What a machine's last committed run left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastClone {
    /// The image's root.
    pub(super) root: Hash,
    /// How many leaves differed.
    pub(super) dirty_leaves: u64,
    /// What the activation hook reported afterwards.
    #[serde(default)]
    pub(super) activation: Option<ActivationReport>,
}

/// Under which name a machine's last clone is kept.
pub(super) fn last_clone_name(machine: &MachineName) -> String {
    format!("last-clone/{}", machine.as_str().to_ascii_lowercase())
}

/// A machine's last clone, where there was one.
pub(super) fn last_clone(store: &Store, machine: &MachineName) -> Result<Option<LastClone>, NightError> {
    let text = store.setting(&last_clone_name(machine))?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Under which name a machine's hardware is kept.
fn hardware_name(machine: &MachineName) -> String {
    format!("hardware/{}", machine.as_str().to_ascii_lowercase())
}

/// What a machine's firmware said at its agent's last check-in, where one told it.
pub fn hardware(store: &Store, machine: &MachineName) -> Result<Option<HardwareFacts>, NightError> {
    let text = store.setting(&hardware_name(machine))?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Keeps what a machine's firmware said. It holds no key: that there is one, and no more.
pub(super) fn keep_hardware(store: &Store, machine: &MachineName, facts: &HardwareFacts) -> Result<(), NightError> {
    // A value of this type always has a JSON form; without one, nothing would be known of the machine.
    let text = serde_json::to_string(facts).unwrap_or_default();
    if store.setting(&hardware_name(machine))?.as_deref() == Some(text.as_str()) {
        return Ok(());
    }
    Ok(store.set_setting(&hardware_name(machine), &text)?)
}

/// Everything that a plan for `room` needs. Without a store nothing is known of the machines yet.
pub fn gather(
    store: Option<&Store>,
    images: &ImageStore,
    profiles: &Profiles,
    room: &Room,
    sources: &Sources,
) -> Result<Facts, NightError> {
    let image = image_facts(profiles, room, &images.resolve(&room.image)?);
    let mut machines = BTreeMap::new();
    for machine in &room.machines {
        machines.insert(machine.name.clone(), machine_facts(store, profiles, room, machine, &image, sources)?);
    }
    Ok(Facts { image, machines })
}

/// What is known of an image: what the capture recorded, completed by what the administrator says in the profile.
pub(super) fn image_facts(profiles: &Profiles, room: &Room, image: &StoredImage) -> ImageFacts {
    let header = image.header();
    let said = profiles.site.images.get(&room.image.name).cloned().unwrap_or_default();
    let zero = Hash::of_zeros(u64::from(header.leaf_bytes));
    ImageFacts {
        image: image.image().clone(),
        root: image.root(),
        leaves: header.leaf_count(),
        stored_leaves: image.leaves().iter().filter(|leaf| **leaf != zero).count() as u64,
        leaf_bytes: header.leaf_bytes,
        windows: merged(&header.windows, said),
    }
}

/// What was read at capture holds; the profile fills the gaps.
pub(super) fn merged(read: &WindowsFacts, said: WindowsFacts) -> WindowsFacts {
    WindowsFacts {
        build: read.build.or(said.build),
        edition: read.edition.clone().or(said.edition),
        product: read.product.clone().or(said.product),
        generalized: read.generalized.or(said.generalized),
        skip_rearm: read.skip_rearm.or(said.skip_rearm),
        key_channel: read.key_channel.or(said.key_channel),
        firmware: read.firmware.or(said.firmware),
        oem_vendor: read.oem_vendor.clone().or(said.oem_vendor),
        bound_to: read.bound_to.or(said.bound_to),
    }
}

fn machine_facts(
    store: Option<&Store>,
    profiles: &Profiles,
    room: &Room,
    machine: &Machine,
    image: &ImageFacts,
    sources: &Sources,
) -> Result<MachineFacts, NightError> {
    let last = store.map(|store| last_clone(store, &machine.name)).transpose()?.flatten();
    let key = match machine.strategy(room) {
        Strategy::MakProxy { key: name } => match profiles.site.keys.get(name) {
            Some(key) => Some(KnownKey { partial_key: key_values::partial(name, key, sources)?, released: false }),
            None => None,
        },
        _ => None,
    };
    let confirmation = match (&key, store) {
        (Some(key), Some(store)) => confirmation(store, &machine.name, &key.partial_key)?,
        _ => ConfirmationState::Missing,
    };
    let same_image = last.as_ref().is_some_and(|last| last.root == image.root);
    let report = last.as_ref().filter(|_| same_image).and_then(|last| last.activation.clone());
    Ok(MachineFacts {
        last_root: last.as_ref().map(|last| last.root),
        last_dirty_leaves: last.map(|last| last.dirty_leaves),
        half_written: store.map(|store| store.half_written(&machine.name)).transpose()?.flatten().map(|run| run.0),
        activation: MachineActivation { key, confirmation, last: report },
    })
}

fn confirmation(store: &Store, machine: &MachineName, partial: &str) -> Result<ConfirmationState, NightError> {
    let all = store.confirmation_state(machine)?;
    let mut of_key = all.iter().filter(|summary| summary.product.partial_key.eq_ignore_ascii_case(partial));
    let newest = of_key.clone().find(|summary| summary.state == Stored::Known).or_else(|| of_key.next());
    Ok(match newest {
        None => ConfirmationState::Missing,
        Some(summary) => match summary.state {
            Stored::Known => ConfirmationState::Present,
            Stored::Pending => ConfirmationState::Pending,
            Stored::Stale => ConfirmationState::Stale { code: Code(summary.stale_code.unwrap_or_default()) },
        },
    })
}
