//! One room: its machines, schedule, hooks and strategy.

use std::collections::BTreeMap;

use super::{Listed, RoomInput, SHIPPED_HOOKS, Taken, duration, nearest, optional, optional_text, port};
use super::{required, suitability, text};
use crate::activation::Strategy;
use crate::calendar::{self, Schedule};
use crate::profile::faults::{FaultKind, Named, Place};
use crate::profile::model::{BootEnvironment, DiskRule, Hook, Idle, Machine, Room, Site};
use crate::profile::quantity;
use crate::profile::tree::Recorder;
use crate::profile::wire::{Activation, DiskFields, Field, MachineFields, RoomFile, ScheduleFields, Spot};
use crate::room::{ImageWish, KeyName, Mac, MachineName, MachineUuid, RoomError, RoomName};

/// The port of KMS, as registered with IANA.
const KMS_PORT: u16 = 1688;

/// What a room refers to.
type Known<'a> = Option<&'a (Site, Listed)>;

/// Checks a room. None where it has no name, no image or no strategy that could be read.
pub(super) fn room(input: &RoomInput<'_>, known: Known<'_>, taken: &mut Taken) -> Option<Room> {
    let RoomInput { file, recorder, .. } = *input;
    let top = Spot::default();
    let name = input.name.parse::<RoomName>().ok();
    if name.is_none() {
        recorder.note(top, FaultKind::BadName { named: Named::Room, text: input.name.to_owned() });
    }
    let title = text(&file.title, "title", top, recorder);
    let image = required(&file.image, "image", top, recorder)
        .and_then(|(wish, at)| self::image(wish, at, known, recorder).map(|image| (image, at)));
    let schedule = optional(&file.schedule).and_then(|(fields, at)| self::schedule(fields, at, recorder));
    let activation = required(&file.activation, "activation", top, recorder)
        .and_then(|(activation, at)| strategy(activation, at, known, recorder).map(|strategy| (strategy, at)));
    let Hooks { list: hooks, at: hooks_at, complete } = hooks(&file.hooks, known, recorder);
    let machines = machines(file, known, recorder, taken);

    let mut strategies: Vec<(&Strategy, Spot)> = Vec::new();
    let all_differ = !machines.is_empty() && machines.iter().all(|(machine, _)| machine.activation.is_some());
    strategies.extend(activation.iter().filter(|_| !all_differ).map(|(strategy, at)| (strategy, *at)));
    strategies.extend(machines.iter().filter_map(|(machine, at)| Some((machine.activation.as_ref()?, *at))));
    let mut judged: Vec<&Strategy> = Vec::new();
    for (strategy, at) in strategies {
        // Thirty PCs with one strategy have one fault, not thirty.
        if judged.contains(&strategy) {
            continue;
        }
        judged.push(strategy);
        if let (Some((site, _)), Some((wish, _))) = (known, &image) {
            let unreadable_schedule = file.schedule.spot.is_some() && schedule.is_none();
            let case = suitability::Case { site, image: &wish.name, schedule: schedule.as_ref(), unreadable_schedule };
            suitability::strategy(&case, strategy, |kind| recorder.note(at, kind));
        }
        if *strategy != Strategy::None && complete && !hooks.contains(&Hook::Activation) {
            let kind = FaultKind::NoActivationHook { strategy: strategy.name() };
            recorder.note(hooks_at.unwrap_or(at), kind);
        }
    }
    if let (Some((site, _)), Some((wish, at))) = (known, &image) {
        suitability::image(site, &wish.name, file.firmware.value, |kind| recorder.note(*at, kind));
    }

    Some(Room {
        name: name?,
        title,
        image: image?.0,
        environment: file.environment.value.unwrap_or(BootEnvironment::Linux),
        idle: file.idle.value.unwrap_or(Idle::Silent),
        firmware: file.firmware.value,
        disk: optional(&file.disk).map(|(fields, at)| disk(fields, at, recorder)).unwrap_or_default(),
        schedule,
        activation: activation?.0,
        hooks,
        machines: machines.into_iter().map(|(machine, _)| machine).collect(),
    })
}

fn image(wish: &str, at: Spot, known: Known<'_>, recorder: &Recorder) -> Option<ImageWish> {
    let Ok(wish) = wish.parse::<ImageWish>() else {
        recorder.note(at, FaultKind::BadName { named: Named::ImageWish, text: wish.to_owned() });
        return None;
    };
    if let Some((_, listed)) = known
        && !listed.images.contains(wish.name.as_str())
    {
        let near = nearest(wish.name.as_str(), listed.images.iter().map(String::as_str));
        recorder.note(at, FaultKind::DanglingImage { image: wish.name.clone(), near });
    }
    Some(wish)
}

fn schedule(fields: &ScheduleFields, at: Spot, recorder: &Recorder) -> Option<Schedule> {
    let when = required(&fields.when, "when", at, recorder);
    let window = duration(&fields.window, (15 * 60, "15m"), (16 * 3600, "16h"), recorder);
    let ready_by = optional(&fields.ready_by).map(|(text, at)| {
        calendar::time_of_day(text).map_err(|error| recorder.note(at, FaultKind::Schedule(error))).ok()
    });
    let (when, when_at) = when?;
    let unreadable = (fields.window.spot.is_some() && window.is_none()) || ready_by == Some(None);
    match Schedule::new(when, window, ready_by.flatten()) {
        Ok(schedule) => (!unreadable).then_some(schedule),
        Err(error) => {
            let at = match error {
                calendar::ScheduleError::ReadyBeforeStart { .. } => fields.ready_by.spot,
                calendar::ScheduleError::WindowPastReady { .. } => fields.window.spot,
                _ => None,
            };
            recorder.note(at.unwrap_or(when_at), FaultKind::Schedule(error));
            None
        }
    }
}

/// The strategy with its references followed.
fn strategy(activation: &Activation, at: Spot, known: Known<'_>, recorder: &Recorder) -> Option<Strategy> {
    match activation {
        Activation::None => Some(Strategy::None),
        Activation::Grace { accept_notification } => {
            Some(Strategy::Grace { accept_notification: accept_notification.value.unwrap_or(false) })
        }
        Activation::MakProxy { key } => {
            let (text, at) = required(key, "key", at, recorder)?;
            let Ok(name) = text.parse::<KeyName>() else {
                recorder.note(at, FaultKind::BadName { named: Named::Key, text: text.clone() });
                return None;
            };
            if let Some((_, listed)) = known
                && !listed.keys.contains(text)
            {
                let near = nearest(text, listed.keys.iter().map(String::as_str));
                recorder.note(at, FaultKind::DanglingKey { key: name.clone(), near });
            }
            Some(Strategy::MakProxy { key: name })
        }
        Activation::Kms { host, port: field } => {
            let host = optional(host).map(|(text, at)| {
                if !is_host(text) {
                    recorder.note(at, FaultKind::BadHost { text: text.clone() });
                }
                text.clone()
            });
            Some(Strategy::Kms { host, port: port(field, KMS_PORT, recorder) })
        }
    }
}

/// A DNS name (RFC 1123, section 2.1) or an address, without a port.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.parse::<std::net::IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(label))
}

/// A room's hooks.
struct Hooks {
    /// In their order.
    list: Vec<Hook>,
    /// Where the profile lists them.
    at: Option<Spot>,
    /// Whether all that the profile lists could be read.
    complete: bool,
}

fn hooks(field: &Field<Vec<Field<String>>>, known: Known<'_>, recorder: &Recorder) -> Hooks {
    let usual = vec![Hook::ComputerName, Hook::Activation];
    let Some((entries, list_at)) = optional(field) else {
        return Hooks { list: usual, at: None, complete: field.spot.is_none() };
    };
    let mut hooks: Vec<Hook> = Vec::new();
    let mut complete = entries.iter().all(|entry| entry.value.is_some());
    for (text, at) in entries.iter().filter_map(optional) {
        let hook = match text.as_str() {
            "computer-name" => Hook::ComputerName,
            "activation" => Hook::Activation,
            _ => {
                let Ok(name) = text.parse() else {
                    recorder.note(at, FaultKind::BadName { named: Named::Hook, text: text.clone() });
                    complete = false;
                    continue;
                };
                if let Some((_, listed)) = known
                    && !listed.hooks.contains(text)
                {
                    let all = SHIPPED_HOOKS.into_iter().chain(listed.hooks.iter().map(String::as_str));
                    let near = nearest(text, all);
                    recorder.note(at, FaultKind::DanglingHook { hook: name, near });
                    complete = false;
                    continue;
                }
                Hook::Command(name)
            }
        };
        if hooks.contains(&hook) {
            recorder.note(at, FaultKind::HookTwice { hook: text.clone() });
            continue;
        }
        if let Some(before) = hooks.iter().find(|earlier| rank(earlier) > rank(&hook)) {
            recorder.note(at, FaultKind::HookOrder { hook: text.clone(), before: before.name().to_owned() });
        }
        hooks.push(hook);
    }
    Hooks { list: hooks, at: Some(list_at), complete }
}

/// A name is part of what is activated, and a command may need both.
fn rank(hook: &Hook) -> u8 {
    match hook {
        Hook::ComputerName => 0,
        Hook::Activation => 1,
        Hook::Command(_) => 2,
    }
}

fn disk(fields: &DiskFields, at: Spot, recorder: &Recorder) -> DiskRule {
    let size = |field: &Field<String>| {
        let (text, at) = optional(field)?;
        let size = quantity::bytes(text);
        if size.is_none() {
            recorder.note(at, FaultKind::BadSize { text: text.clone() });
        }
        size
    };
    let (min_bytes, max_bytes) = (size(&fields.min_size), size(&fields.max_size));
    if min_bytes.zip(max_bytes).is_some_and(|(min, max)| min > max) {
        recorder.note(fields.max_size.spot.unwrap_or(at), FaultKind::SizesCrossed);
    }
    DiskRule {
        min_bytes,
        max_bytes,
        bus: optional_text(&fields.bus, recorder),
        serial: optional_text(&fields.serial, recorder),
    }
}

/// The machines, each with the place of its strategy or else of itself.
fn machines(file: &RoomFile, known: Known<'_>, recorder: &Recorder, taken: &mut Taken) -> Vec<(Machine, Spot)> {
    let Some((list, at)) = required(&file.machines, "machines", Spot::default(), recorder) else { return Vec::new() };
    if list.is_empty() {
        recorder.note(at, FaultKind::EmptyRoom);
    }
    list.iter()
        .filter_map(optional)
        .filter_map(|(fields, at)| {
            let machine = machine(fields, at, known, recorder, taken)?;
            Some((machine, fields.activation.spot.unwrap_or(at)))
        })
        .collect()
}

fn machine(
    fields: &MachineFields,
    at: Spot,
    known: Known<'_>,
    recorder: &Recorder,
    taken: &mut Taken,
) -> Option<Machine> {
    let name = required(&fields.name, "name", at, recorder).and_then(|(text, at)| {
        let name: Option<MachineName> = text.parse().ok();
        match &name {
            None => recorder.note(at, FaultKind::BadMachineName { text: text.clone() }),
            Some(name) => unique(&mut taken.names, name.clone(), at, recorder, |name, first| {
                FaultKind::DuplicateMachine { name, first }
            }),
        }
        name
    });
    let mac = required(&fields.mac, "mac", at, recorder).and_then(|(text, at)| match text.parse::<Mac>() {
        Ok(mac) => {
            unique(&mut taken.macs, mac, at, recorder, |mac, first| FaultKind::DuplicateMac { mac, first });
            Some(mac)
        }
        Err(RoomError::MacNotUnicast(mac)) => {
            recorder.note(at, FaultKind::GroupMac { mac });
            None
        }
        Err(_) => {
            recorder.note(at, FaultKind::BadMac { text: text.clone() });
            None
        }
    });
    let uuid = optional(&fields.uuid).and_then(|(text, at)| {
        let uuid: Option<MachineUuid> = text.parse().ok();
        match uuid {
            None => recorder.note(at, FaultKind::BadUuid { text: text.clone() }),
            Some(uuid) if MachineUuid::from_smbios(&uuid.0).is_none() => recorder.note(at, FaultKind::BlankUuid),
            Some(uuid) => {
                unique(&mut taken.uuids, uuid, at, recorder, |uuid, first| FaultKind::DuplicateUuid { uuid, first })
            }
        }
        uuid
    });
    let activation = optional(&fields.activation).and_then(|(own, at)| strategy(own, at, known, recorder));
    Some(Machine { name: name?, mac: mac?, uuid, activation })
}

fn unique<T: Ord + Clone>(
    taken: &mut BTreeMap<T, Place>,
    value: T,
    at: Spot,
    recorder: &Recorder,
    fault: impl FnOnce(T, Place) -> FaultKind,
) {
    match taken.get(&value) {
        Some(first) => recorder.note(at, fault(value, first.clone())),
        None => {
            taken.insert(value, recorder.place(at));
        }
    }
}
