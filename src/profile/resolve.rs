//! From what the files say to the checked model: values are read, references are followed, strategies are held against
//! images. Whatever is wrong is noted, and the rest goes on with a stand-in, so that one fault does not cause others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::faults::{FaultKind, Named, Place};
use super::model::{ActivationWs, CommandHook, Key, KeySource, NetworkMode, Profiles, Room, Server, Site};
use super::near::nearest;
use super::quantity;
use super::tree::Recorder;
use super::wire::{
    self, ActivationWsFields, Field, HookFields, ImageFields, KeyFields, RoomFile, ServerFields, SiteFile, Spot,
};
use crate::activation::activation_ws::endpoint;
use crate::activation::key::is_gvlk;
use crate::activation::{KeyKind, Strategy};
use crate::image::WindowsFacts;
use crate::room::{Language, Mac, MachineName, MachineUuid, RoomName};

mod calendar;
mod room;
mod suitability;

/// The hooks that come with Klonwerk.
const SHIPPED_HOOKS: [&str; 2] = ["computer-name", "activation"];

/// How long a command may take, unless its hook says otherwise.
const USUAL_TIME_OUT: Duration = Duration::from_secs(300);

/// PCs from which on a KMS host activates Windows clients.
const KMS_THRESHOLD: usize = 25;

/// The file of one room.
pub(super) struct RoomInput<'a> {
    /// The file's name without its ending.
    pub(super) name: &'a str,
    pub(super) file: &'a RoomFile,
    pub(super) recorder: &'a Recorder,
}

/// The names that a site lists, well formed or not: what is listed with a fault is not missing as well.
#[derive(Debug, Default)]
struct Listed {
    images: BTreeSet<String>,
    keys: BTreeSet<String>,
    hooks: BTreeSet<String>,
}

/// What must be unique in the whole school, with its first place.
#[derive(Debug, Default)]
struct Taken {
    names: BTreeMap<MachineName, Place>,
    macs: BTreeMap<Mac, Place>,
    uuids: BTreeMap<MachineUuid, Place>,
}

/// The set, which is only usable if no error was noted. None where there is no site to hold the rooms against; their own
/// faults are noted all the same.
pub(super) fn profiles(site: Option<(&SiteFile, &Recorder)>, inputs: &[RoomInput<'_>]) -> Option<Profiles> {
    let resolved = site.map(|(file, recorder)| self::site(file, recorder));
    let mut taken = Taken::default();
    let mut rooms: BTreeMap<RoomName, Room> = BTreeMap::new();
    for input in inputs {
        if let Some(room) = room::room(input, resolved.as_ref(), &mut taken) {
            rooms.insert(room.name.clone(), room);
        }
    }
    few_kms_machines(&rooms, inputs);
    resolved.map(|(site, _)| Profiles { site, rooms, revision: None })
}

/// A KMS host counts physical PCs; the site's own are not enough by themselves below the threshold.
fn few_kms_machines(rooms: &BTreeMap<RoomName, Room>, inputs: &[RoomInput<'_>]) {
    let kms = |strategy: &Strategy| matches!(strategy, Strategy::Kms { .. });
    let machines = rooms.values().flat_map(|room| room.machines.iter().map(move |machine| machine.strategy(room)));
    let count = machines.filter(|strategy| kms(strategy)).count();
    if count == 0 || count >= KMS_THRESHOLD {
        return;
    }
    let is_kms = |field: &&Field<wire::Activation>| matches!(field.value, Some(wire::Activation::Kms { .. }));
    let place = inputs.iter().find_map(|input| {
        let machines = input.file.machines.value.iter().flatten().filter_map(|machine| machine.value.as_ref());
        let mut fields = std::iter::once(&input.file.activation).chain(machines.map(|machine| &machine.activation));
        fields.find(is_kms).and_then(|field| Some((input.recorder, field.spot?)))
    });
    if let Some((recorder, spot)) = place {
        recorder.note(spot, FaultKind::KmsFewMachines { count });
    }
}

fn site(file: &SiteFile, recorder: &Recorder) -> (Site, Listed) {
    let top = Spot::default();
    let mut listed = Listed::default();
    let server = required(&file.server, "server", top, recorder).map(|(fields, at)| server(fields, at, recorder));
    let zone = required(&file.time_zone, "time_zone", top, recorder);
    let site = Site {
        name: text(&file.name, "name", top, recorder),
        language: file.language.value.unwrap_or(Language::En),
        server: server.unwrap_or_else(stand_in_server),
        network: file.network.value.unwrap_or(NetworkMode::Proxy),
        time_zone: zone.map(|(name, at)| time_zone(name, at, recorder)).unwrap_or_default(),
        calendar: optional(&file.calendar).map(|(fields, _)| calendar::calendar(fields, recorder)).unwrap_or_default(),
        images: named(&file.images, Named::Image, &mut listed.images, recorder, |fields, _| image(fields, recorder)),
        keys: named(&file.keys, Named::Key, &mut listed.keys, recorder, |fields, at| key(fields, at, recorder)),
        hooks: named(&file.hooks, Named::Hook, &mut listed.hooks, recorder, |fields, at| hook(fields, at, recorder)),
        activation_ws: optional(&file.activation_ws).and_then(|(fields, at)| activation_ws(fields, at, recorder)),
    };
    for (name, _) in file.hooks.value.iter().flat_map(|hooks| &hooks.0) {
        if let (Some(text), Some(at)) = (&name.value, name.spot)
            && SHIPPED_HOOKS.contains(&text.as_str())
            && let Ok(hook) = text.parse()
        {
            recorder.note(at, FaultKind::ShippedHookName { hook });
        }
    }
    (site, listed)
}

/// A field's value and place; a field that must be there and is not, is noted at `parent`.
fn required<'a, T>(field: &'a Field<T>, name: &str, parent: Spot, recorder: &Recorder) -> Option<(&'a T, Spot)> {
    let Some(spot) = field.spot else {
        recorder.note(parent, FaultKind::MissingField { field: name.to_owned() });
        return None;
    };
    field.value.as_ref().map(|value| (value, spot))
}

/// A field's value and place, if it is there.
fn optional<T>(field: &Field<T>) -> Option<(&T, Spot)> {
    field.value.as_ref().zip(field.spot)
}

/// A text that people read, which must not be blank.
fn text(field: &Field<String>, name: &str, parent: Spot, recorder: &Recorder) -> String {
    required(field, name, parent, recorder).map(|(text, at)| not_blank(text, at, recorder)).unwrap_or_default()
}

fn not_blank(text: &str, at: Spot, recorder: &Recorder) -> String {
    if text.trim().is_empty() {
        recorder.note(at, FaultKind::EmptyText);
    }
    text.trim().to_owned()
}

fn optional_text(field: &Field<String>, recorder: &Recorder) -> Option<String> {
    optional(field).map(|(text, at)| not_blank(text, at, recorder))
}

/// Entries under names. What is listed counts as listed even if its name or content is wrong.
fn named<N: Ord + std::str::FromStr, T, M>(
    field: &Field<wire::Named<T>>,
    what: Named,
    listed: &mut BTreeSet<String>,
    recorder: &Recorder,
    read: impl Fn(&T, Spot) -> Option<M>,
) -> BTreeMap<N, M> {
    let mut entries = BTreeMap::new();
    for (name, content) in field.value.iter().flat_map(|named| &named.0) {
        let Some((text, at)) = optional(name) else { continue };
        listed.insert(text.clone());
        let name = text.parse::<N>();
        if name.is_err() {
            recorder.note(at, FaultKind::BadName { named: what, text: text.clone() });
        }
        let content = content.value.as_ref().and_then(|content| read(content, at));
        if let (Ok(name), Some(content)) = (name, content) {
            entries.insert(name, content);
        }
    }
    entries
}

fn stand_in_server() -> Server {
    Server {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        interfaces: Vec::new(),
        boot_port: 80,
        agent_port: 443,
        tftp_port: 69,
        state: None,
    }
}

fn server(fields: &ServerFields, at: Spot, recorder: &Recorder) -> Server {
    let usual = stand_in_server();
    let address = required(&fields.address, "address", at, recorder).map(|(text, at)| match text.parse::<IpAddr>() {
        Ok(address) => {
            let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
            if address.is_unspecified() || address.is_multicast() || broadcast {
                recorder.note(at, FaultKind::UnusableAddress { text: text.clone() });
            }
            address
        }
        Err(_) => {
            recorder.note(at, FaultKind::BadAddress { text: text.clone() });
            usual.address
        }
    });
    let server = Server {
        address: address.unwrap_or(usual.address),
        interfaces: texts(&fields.interfaces, recorder),
        boot_port: port(&fields.boot_port, usual.boot_port, recorder),
        agent_port: port(&fields.agent_port, usual.agent_port, recorder),
        tftp_port: port(&fields.tftp_port, usual.tftp_port, recorder),
        state: optional(&fields.state).map(|(text, at)| full_path(text, at, recorder)),
    };
    // TFTP is UDP; the other two share TCP.
    if server.boot_port == server.agent_port {
        let field = fields.agent_port.spot.or(fields.boot_port.spot).unwrap_or(at);
        recorder.note(field, FaultKind::BadPort { port: server.agent_port });
    }
    server
}

fn port(field: &Field<u16>, usual: u16, recorder: &Recorder) -> u16 {
    match optional(field) {
        Some((0, at)) => {
            recorder.note(at, FaultKind::BadPort { port: 0 });
            usual
        }
        Some((port, _)) => *port,
        None => usual,
    }
}

fn texts(field: &Field<Vec<Field<String>>>, recorder: &Recorder) -> Vec<String> {
    field.value.iter().flatten().filter_map(|text| optional_text(text, recorder)).collect()
}

fn full_path(text: &str, at: Spot, recorder: &Recorder) -> PathBuf {
    // The paths are the server's, which is Linux, wherever the profiles are checked.
    if !text.starts_with('/') {
        recorder.note(at, FaultKind::RelativePath { text: text.to_owned() });
    }
    Path::new(text).to_owned()
}

fn time_zone(name: &str, at: Spot, recorder: &Recorder) -> String {
    // An offset such as +01:00 would pass as a zone and miss the summer.
    let known = name.starts_with(|c: char| c.is_ascii_alphabetic()) && jiff::tz::TimeZone::get(name).is_ok();
    if !known {
        let all: Vec<String> = jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
        let city = |zone: &&String| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name));
        let near = all.iter().find(city).cloned().or_else(|| nearest(name, all.iter().map(String::as_str)));
        recorder.note(at, FaultKind::BadTimeZone { text: name.to_owned(), near });
    }
    name.to_owned()
}

fn image(fields: &ImageFields, recorder: &Recorder) -> Option<WindowsFacts> {
    Some(WindowsFacts {
        build: fields.build.value,
        edition: optional_text(&fields.edition, recorder),
        product: optional_text(&fields.product, recorder),
        generalized: fields.generalized.value,
        skip_rearm: fields.skip_rearm.value,
        key_channel: fields.key_channel.value,
        firmware: fields.firmware.value,
        oem_vendor: optional_text(&fields.oem_vendor, recorder),
        // Which PC an image belongs to is recorded at its capture, and is nothing to be claimed afterwards.
        bound_to: None,
    })
}

fn key(fields: &KeyFields, at: Spot, recorder: &Recorder) -> Option<Key> {
    let declared = required(&fields.kind, "type", at, recorder);
    let kind = declared.and_then(|(wire::DeclaredKind(word), at)| key_kind(word, at, recorder));
    let given = [&fields.credential, &fields.file, &fields.environment, &fields.in_image];
    let count = given.iter().filter(|field| field.spot.is_some()).count();
    let own = kind == Some(KeyKind::Oem);
    if let (true, Some(at)) = (own, given[..3].iter().find_map(|field| field.spot)) {
        recorder.note(at, FaultKind::OemKeyValue);
    } else if count > 1 || count == 0 && !own {
        recorder.note(at, FaultKind::KeySources { count });
    }
    let credential = optional_text(&fields.credential, recorder).map(KeySource::Credential);
    let file = optional(&fields.file).map(|(text, at)| KeySource::File(full_path(text, at, recorder)));
    let environment = optional_text(&fields.environment, recorder).map(KeySource::Environment);
    let in_image = optional(&fields.in_image).map(|(text, at)| {
        let partial = text.trim().to_ascii_uppercase();
        let letters = partial.bytes().all(|b| b"BCDFGHJKMNPQRTVWXY2346789".contains(&b));
        if partial.len() != 5 || !letters {
            recorder.note(at, FaultKind::BadPartialKey);
        } else if let Some(kind) = kind.filter(|kind| is_gvlk(&partial) != (*kind == KeyKind::Gvlk)) {
            recorder.note(at, FaultKind::PublishedKey { kind });
        }
        KeySource::InImage { partial }
    });
    let source = credential.or(file).or(environment).or(in_image).or(own.then_some(KeySource::Firmware));
    let (budget, reserve) = budget(fields, kind, recorder);
    // Of a key without a type, a fault says all that there is to say.
    let kind = kind.unwrap_or(KeyKind::Mak);
    Some(Key { kind, edition: optional_text(&fields.edition, recorder), source: source?, budget, reserve })
}

/// The words under which administrators know the key of a KMS host.
const HOST_KEY_WORDS: [&str; 5] = ["csvlk", "kms-host", "kms_host", "kmshost", "kms"];

fn key_kind(word: &str, at: Spot, recorder: &Recorder) -> Option<KeyKind> {
    let kind = KeyKind::ALL.into_iter().find(|kind| kind.name() == word);
    if kind.is_none() {
        let choices: Vec<&'static str> = KeyKind::ALL.iter().map(|kind| kind.name()).collect();
        let host = HOST_KEY_WORDS.iter().any(|host| host.eq_ignore_ascii_case(word));
        recorder.note(
            at,
            match host {
                true => FaultKind::HostKey,
                false => FaultKind::UnknownChoice {
                    found: word.chars().take(60).collect(),
                    near: nearest(word, choices.iter().copied()),
                    choices,
                },
            },
        );
    }
    kind
}

/// What may be spent with a key, and what is kept of it.
fn budget(fields: &KeyFields, kind: Option<KeyKind>, recorder: &Recorder) -> (Option<u32>, u32) {
    let (budget, reserve) = (optional(&fields.budget), optional(&fields.reserve));
    let uncounted = kind.filter(|kind| !kind.counts());
    if let (Some(kind), Some((field, at))) =
        (uncounted, budget.map(|(_, at)| ("budget", at)).or(reserve.map(|(_, at)| ("reserve", at))))
    {
        recorder.note(at, FaultKind::BudgetOnUncounted { field, kind });
        return (None, 0);
    }
    match (budget, reserve) {
        (None, Some((_, at))) if fields.budget.spot.is_none() => recorder.note(at, FaultKind::ReserveWithoutBudget),
        (Some((budget, _)), Some((reserve, at))) if *reserve > 0 && reserve >= budget => {
            recorder.note(at, FaultKind::ReserveAboveBudget { reserve: *reserve, budget: *budget });
        }
        _ => {}
    }
    (budget.map(|(budget, _)| *budget), reserve.map_or(0, |(reserve, _)| *reserve))
}

fn activation_ws(fields: &ActivationWsFields, at: Spot, recorder: &Recorder) -> Option<ActivationWs> {
    let allow_http = fields.allow_http.value.unwrap_or(false);
    let ca_file = optional(&fields.ca_file).map(|(text, at)| full_path(text, at, recorder));
    let (url, at) = required(&fields.url, "url", at, recorder)?;
    if let Err(error) = endpoint(url, allow_http) {
        recorder.note(at, FaultKind::ActivationWs(error));
    }
    Some(ActivationWs { url: url.trim().to_owned(), ca_file, allow_http })
}

fn hook(fields: &HookFields, at: Spot, recorder: &Recorder) -> Option<CommandHook> {
    let place = required(&fields.place, "place", at, recorder).map(|(place, _)| *place);
    let command = required(&fields.command, "command", at, recorder).map(|(words, at)| {
        let program = words.first().and_then(|word| word.value.as_deref()).unwrap_or_default();
        let unread = words.iter().any(|word| word.value.is_none());
        if program.trim().is_empty() && !unread {
            recorder.note(at, FaultKind::EmptyCommand);
        }
        // Arguments are taken as they are; an empty one can have a meaning.
        words.iter().filter_map(|word| word.value.clone()).collect()
    });
    let time_out = duration(&fields.time_out, (1, "1s"), (2 * 3600, "2h"), recorder).unwrap_or(USUAL_TIME_OUT);
    Some(CommandHook { place: place?, command: command?, time_out })
}

/// A duration between two bounds, each in seconds and in words.
fn duration(
    field: &Field<String>,
    least: (u64, &'static str),
    most: (u64, &'static str),
    recorder: &Recorder,
) -> Option<Duration> {
    let (text, at) = optional(field)?;
    let Some(duration) = quantity::duration(text) else {
        recorder.note(at, FaultKind::BadDuration { text: text.clone() });
        return None;
    };
    if !(least.0..=most.0).contains(&duration.as_secs()) {
        recorder.note(at, FaultKind::DurationOutside { least: least.1, most: most.1 });
        return None;
    }
    Some(duration)
}
