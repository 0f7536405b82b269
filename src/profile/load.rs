//! Reads a folder of profiles. The only place that knows YAML, and the only one of the domain that reads files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Error, Location, Spanned};

use super::faults::{Fault, FaultKind, Faults, Place, masking};
use super::model::Profiles;
use super::resolve;
use super::tree::{Node, Reader, Recorder, Value};
use super::wire::{Field, Spot};

/// The most bytes of a profile.
pub const MOST_BYTES: u64 = 1 << 20;

/// The most rooms of a school.
pub const MOST_ROOMS: usize = 500;

/// How deep a profile may be nested.
const MOST_DEPTH: usize = 24;

/// How many files and how deep are looked at for product keys; profiles lie in the first two levels.
const SEARCHED_FILES: usize = 2000;
const SEARCHED_DEPTH: usize = 4;

/// A set of profiles after a look at all of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The set, unless it must be refused.
    pub profiles: Option<Profiles>,
    /// Everything that is wrong with it, warnings included.
    pub faults: Faults,
}

/// Reads the profiles in `dir`: `site.yaml` and `rooms/*.yaml`.
///
/// # Errors
/// All faults of all files at once, if the set cannot be used. Warnings alone do not stop it; [`check`] shows them.
pub fn load(dir: &Path) -> Result<Profiles, Faults> {
    let checked = check(dir);
    checked.profiles.ok_or(checked.faults)
}

/// Reads the profiles in `dir` and says everything that is wrong, warnings included.
pub fn check(dir: &Path) -> Checked {
    let mut faults = Vec::new();
    if let Err(error) = fs::read_dir(dir) {
        faults.push(unreadable(dir, &error));
        return Checked { profiles: None, faults: Faults::new(faults) };
    }
    let site = site_file(dir, &mut faults);
    let rooms = room_files(dir, &mut faults);
    let read: Vec<PathBuf> = site.iter().cloned().chain(rooms.iter().map(|(_, path)| path.clone())).collect();
    search_elsewhere(dir, &read, &mut faults);

    let mut site = site.and_then(|path| Source::read(&path, &mut faults));
    let mut rooms: Vec<(String, Source)> =
        rooms.into_iter().filter_map(|(name, path)| Some((name, Source::read(&path, &mut faults)?))).collect();
    let site_file = site.as_mut().and_then(|source| source.parse());
    let room_files: Vec<_> = rooms.iter_mut().map(|(_, source)| source.parse()).collect();

    let whole = site_file.as_ref().zip(site.as_ref()).map(|(file, source)| (file, &source.recorder));
    let inputs = rooms.iter().zip(&room_files).filter_map(|((name, source), file)| {
        Some(resolve::RoomInput { name, file: file.as_ref()?, recorder: &source.recorder })
    });
    let resolved = resolve::profiles(whole, &inputs.collect::<Vec<_>>());

    faults.extend(site.into_iter().chain(rooms.into_iter().map(|(_, source)| source)).flat_map(Source::into_faults));
    let faults = Faults::new(faults);
    let profiles = resolved.filter(|_| !faults.refuse());
    Checked { profiles: profiles.map(|profiles| Profiles { revision: revision(dir), ..profiles }), faults }
}

/// The git revision of `dir`: 40 hexadecimal digits, and `+` where files differ from it. None without git, outside a
/// work tree, and where git refuses to read it.
pub fn revision(dir: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            // No program that the repository names is run, and nothing is written.
            .args(["--no-optional-locks", "-c", "core.fsmonitor=false", "-C"])
            .arg(dir)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output.status.success().then_some(())?;
        String::from_utf8(output.stdout).ok()
    };
    let head = git(&["rev-parse", "--verify", "HEAD"])?.trim().to_owned();
    let sound = head.len() >= 40 && head.bytes().all(|b| b.is_ascii_hexdigit());
    let changed = !git(&["status", "--porcelain", "--", "."])?.trim().is_empty();
    sound.then(|| if changed { format!("{head}+") } else { head })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    fault(path, FaultKind::Unreadable { reason: error.to_string() })
}

fn fault(path: &Path, kind: FaultKind) -> Fault {
    Fault { kind, place: Place::whole(path), excerpt: None }
}

fn site_file(dir: &Path, faults: &mut Vec<Fault>) -> Option<PathBuf> {
    let (usual, other) = (dir.join("site.yaml"), dir.join("site.yml"));
    match (usual.symlink_metadata().is_ok(), other.symlink_metadata().is_ok()) {
        (true, true) => {
            faults.push(fault(&other, FaultKind::DuplicateFile { name: "site".to_owned(), other: usual.clone() }));
            Some(usual)
        }
        (true, false) => Some(usual),
        (false, true) => Some(other),
        (false, false) => {
            faults.push(fault(dir, FaultKind::NoSite));
            None
        }
    }
}

/// The files of the rooms by the rooms' names, as they are written.
fn room_files(dir: &Path, faults: &mut Vec<Fault>) -> Vec<(String, PathBuf)> {
    let folder = dir.join("rooms");
    let mut paths = match fs::read_dir(&folder) {
        Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect::<Vec<_>>(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            faults.push(unreadable(&folder, &error));
            return Vec::new();
        }
    };
    paths.sort();
    let mut rooms: Vec<(String, PathBuf)> = Vec::new();
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in paths {
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        if !extension.is_some_and(|extension| extension == "yaml" || extension == "yml") {
            // Editors leave `.r101.yaml.swp` and `r101.yaml~` behind, and a folder may explain itself.
            let expected = file.starts_with('.') || file.ends_with('~') || file.to_lowercase().ends_with(".md");
            if !expected {
                faults.push(fault(&path, FaultKind::IgnoredFile));
            }
            continue;
        }
        if file.starts_with('.') {
            continue;
        }
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(other) = seen.get(&name.to_lowercase()) {
            let name = name.to_lowercase();
            faults.push(fault(&path, FaultKind::DuplicateFile { name, other: other.clone() }));
            continue;
        }
        if rooms.len() == MOST_ROOMS {
            faults.push(fault(&folder, FaultKind::TooManyRooms { most: MOST_ROOMS }));
            break;
        }
        seen.insert(name.to_lowercase(), path.clone());
        rooms.push((name, path));
    }
    if rooms.is_empty() {
        faults.push(fault(if folder.is_dir() { &folder } else { dir }, FaultKind::NoRooms));
    }
    rooms
}

/// Looks for product keys in the files that are not profiles: notes and backups are committed as well.
fn search_elsewhere(dir: &Path, read: &[PathBuf], faults: &mut Vec<Fault>) {
    let mut folders = vec![(dir.to_owned(), 0)];
    let mut searched = 0;
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            // Links are not followed: what they point at is not part of the folder.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < SEARCHED_DEPTH && entry.file_name() != ".git" {
                folders.push((path, depth + 1));
            } else if kind.is_file() && !read.contains(&path) && searched < SEARCHED_FILES {
                searched += 1;
                if let Ok(bytes) = bytes(&path) {
                    let text = String::from_utf8_lossy(&bytes);
                    let recorder = Recorder::new(path, &masking::mask(&text));
                    note_keys(&text, &recorder);
                    faults.extend(recorder.into_faults());
                }
            }
        }
    }
}

/// Notes the product keys of a text, one a line.
fn note_keys(text: &str, recorder: &Recorder) {
    let (mut line, mut line_start, mut seen) = (1, 0, 0);
    let mut last_line = 0;
    for range in masking::find(text) {
        for (at, _) in text.get(seen..range.start).unwrap_or_default().match_indices('\n') {
            line += 1;
            line_start = seen + at + 1;
        }
        seen = range.start;
        if line != last_line {
            let length = |range| text.get(range).map_or(0, |part: &str| part.chars().count());
            let short = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
            let spot = Spot { line, column: short(length(line_start..range.start) + 1), width: short(length(range)) };
            recorder.note(spot, FaultKind::ProductKey);
        }
        last_line = line;
    }
}

/// The bytes of a plain file, at most one more than a profile may have.
fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    // A pipe or device would block.
    if !fs::metadata(path)?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a plain file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of one profile, without the keys that may stand in it, and its faults.
struct Source {
    text: String,
    recorder: Recorder,
    node: Option<Node>,
}

impl Source {
    fn read(path: &Path, faults: &mut Vec<Fault>) -> Option<Self> {
        let bytes = match bytes(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                faults.push(unreadable(path, &error));
                return None;
            }
        };
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MOST_BYTES {
            let bytes = fs::metadata(path).map_or(MOST_BYTES + 1, |facts| facts.len());
            faults.push(fault(path, FaultKind::TooLarge { bytes, most: MOST_BYTES }));
            return None;
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let text = String::from_utf8_lossy(error.as_bytes());
                let recorder = Recorder::new(path.to_owned(), &masking::mask(&text));
                let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
                let before = String::from_utf8_lossy(valid);
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                let short = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
                note_keys(&text, &recorder);
                recorder.note(Spot { line: short(line), column: short(column), width: 1 }, FaultKind::NotUtf8);
                faults.extend(recorder.into_faults());
                return None;
            }
        };
        // Windows editors begin UTF-8 with a byte order mark.
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let masked = masking::mask(&text).into_owned();
        let recorder = Recorder::new(path.to_owned(), &masked);
        note_keys(&text, &recorder);
        Some(Self { text: masked, recorder, node: None })
    }

    /// The file as type `T`, as far as it can be read.
    fn parse<T: for<'de> Deserialize<'de>>(&mut self) -> Option<T> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: MOST_DEPTH,
                max_events: 300_000,
                max_nodes: 150_000,
                max_aliases: 1_000,
                max_anchors: 1_000,
                max_recorded_anchor_events: 100_000,
                max_documents: 2,
                flow_nesting_limit: MOST_DEPTH,
            },
            alias_limits: serde_saphyr::alias_limits! {
                max_total_replayed_events: 50_000,
                max_replay_stack_depth: 8,
            },
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            merge_keys: MergeKeyPolicy::Error,
            strict_booleans: true,
            with_snippet: false,
        };
        let raw = match serde_saphyr::from_str_with_options::<Spanned<Raw>>(&self.text, options) {
            Ok(raw) => raw,
            Err(error) => {
                self.refuse(&error);
                return None;
            }
        };
        let node = self.node.insert(settle(raw, &self.text, &self.recorder));
        let reader = Reader { node, recorder: &self.recorder };
        if node.value == Value::Null {
            self.recorder.note(Spot::default(), FaultKind::EmptyFile);
            return None;
        }
        Field::<T>::deserialize(reader).ok()?.value
    }

    fn refuse(&self, error: &Error) {
        let error = error.without_snippet();
        let at = error.location().filter(|location| location.line() > 0);
        let at = at.map(|location| Spot { width: 1, ..spot(&location) }).unwrap_or_default();
        let message = said(error);
        let too_complex = matches!(error, Error::Budget { .. } | Error::RecursiveReferencesRequireWeakTypes { .. })
            || message.contains("limit exceeded");
        match error {
            _ if too_complex => self.recorder.note(at, FaultKind::TooComplex),
            Error::MultipleDocuments { .. } => self.recorder.note(at, FaultKind::SecondDocument),
            Error::MergeKeyNotAllowed { .. } | Error::UnsupportedTag { .. } => {
                self.recorder.note(at, FaultKind::NotForProfiles);
            }
            _ => match self.tab(at.line) {
                Some(tab) => self.recorder.note(tab, FaultKind::Tab),
                None => self.recorder.note(at, FaultKind::Syntax { message }),
            },
        }
    }

    /// A tab that indents this line or the next, where parsers may stumble one line early.
    fn tab(&self, line: u32) -> Option<Spot> {
        (line..=line.saturating_add(1)).find_map(|number| {
            let text = self.text.lines().nth(usize::try_from(number.checked_sub(1)?).ok()?)?;
            let column = text.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t')?;
            Some(Spot { line: number, column: u32::try_from(column + 1).ok()?, width: 1 })
        })
    }

    fn into_faults(self) -> Vec<Fault> {
        self.recorder.into_faults()
    }
}

/// What the parser says, without the place, which we show ourselves.
fn said(error: &Error) -> String {
    let message = error.to_string();
    let line = message.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or_default();
    line.chars().take(200).collect()
}

fn spot(location: &Location) -> Spot {
    let short = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Spot { line: short(location.line()), column: short(location.column()), width: short(location.span().len()) }
}

/// A node as the parser gives it: of plain scalars that look like numbers or booleans the text is taken from the file.
enum Raw {
    Null,
    Text(String),
    Other,
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Raw;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
                Raw::deserialize(deserializer)
            }
            fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
                Ok(Raw::Text(text.to_owned()))
            }
            fn visit_bytes<E>(self, _: &[u8]) -> Result<Raw, E> {
                Ok(Raw::Other)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
                Ok(Raw::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
                Ok(Raw::Other)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
                Ok(Raw::Other)
            }
            fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
                Ok(Raw::Other)
            }
            fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
                Ok(Raw::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
                Ok(Raw::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Raw::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(Raw::Map(map))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Gives each scalar its text, and notes keys that stand twice. The first one counts.
fn settle(raw: Spanned<Raw>, text: &str, recorder: &Recorder) -> Node {
    let source = raw.defined.span().byte_offset().zip(raw.defined.span().byte_len()).and_then(|(offset, len)| {
        let offset = usize::try_from(offset).ok()?;
        text.get(offset..offset.checked_add(usize::try_from(len).ok()?)?)
    });
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Text(text) => Value::Scalar { plain: source.is_some_and(|source| source.trim() == text), text },
        Raw::Other => Value::Scalar { text: source.unwrap_or_default().trim().to_owned(), plain: true },
        Raw::List(items) => Value::List(items.into_iter().map(|item| settle(item, text, recorder)).collect()),
        Raw::Map(entries) => {
            let mut map: Vec<(Node, Node)> = Vec::new();
            let mut lines: BTreeMap<String, u32> = BTreeMap::new();
            for (key, value) in entries {
                let (key, value) = (settle(key, text, recorder), settle(value, text, recorder));
                let Value::Scalar { text: name, .. } = &key.value else {
                    recorder.note(key.spot, FaultKind::NotForProfiles);
                    continue;
                };
                if let Some(first_line) = lines.get(name).copied() {
                    let name = name.chars().take(60).collect();
                    recorder.note(key.spot, FaultKind::DuplicateKey { key: name, first_line });
                } else {
                    lines.insert(name.clone(), key.spot.line);
                    map.push((key, value));
                }
            }
            Value::Map(map)
        }
    };
    let at = spot(&raw.referenced);
    Node { spot: Spot { width: width(at, &value, source), ..at }, value }
}

/// The parser gives collections no length: fields are marked by the first one's name, brackets as far as the line goes.
fn width(at: Spot, value: &Value, source: Option<&str>) -> u32 {
    match value {
        _ if source.is_some_and(|source| source.starts_with(['{', '['])) => u32::MAX,
        Value::Map(entries) => entries.first().map_or(1, |(key, _)| key.spot.width),
        _ => at.width,
    }
}
