//! Everything that can be wrong with a set of profiles, each with its place, the line it stands in, and what to do.
//!
//! A [`FaultKind`] is a situation with its data; its words are in [`english`] and [`german`]. [`Faults`] holds all of them
//! at once, in the order of the files. Product keys are masked before a text gets here ([`masking`]).

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::activation::KeyKind;
use crate::activation::activation_ws::AddressError;
use crate::activation::grace_plan::{GracePlan, Level};
use crate::calendar::ScheduleError;
use crate::calendar::school::CalendarError;
use crate::image::{FirmwareKind, KeyChannel};
use crate::room::{HookName, ImageName, KeyName, Language, Mac, MachineName, MachineUuid};

mod english;
mod german;
pub mod masking;

/// The most faults that are kept; of more, only their number.
pub const MOST_FAULTS: usize = 200;

/// Where a fault is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file or folder.
    pub file: PathBuf,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: u32,
    /// The column in characters, from 1; 0 where the whole file is meant.
    pub column: u32,
}

impl Place {
    /// A whole file or folder.
    pub fn whole(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), line: 0, column: 0 }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shown(&self.file.to_string_lossy()))?;
        match (self.line, self.column) {
            (0, _) => Ok(()),
            (line, column) => write!(f, ":{line}:{column}"),
        }
    }
}

/// Whether the set can be used in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The set is refused.
    Error,
    /// The set can be used; somebody should know.
    Warning,
}

/// What a value should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A text.
    Text,
    /// `true` or `false`.
    YesNo,
    /// A whole number between two bounds.
    Number {
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// A list, each entry after a hyphen.
    List,
    /// Fields with values.
    Fields,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing stands there.
    Nothing,
    /// A single value.
    Value(String),
    /// A list.
    List,
    /// Fields with values.
    Fields,
}

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// A room, by its file's name.
    Room,
    /// An image.
    Image,
    /// A version of an image, or an image with its version.
    ImageWish,
    /// A product key.
    Key,
    /// A hook.
    Hook,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the data of each variant are what its text names")]
pub enum FaultKind {
    // The folder and its files.
    /// A file or folder cannot be read.
    Unreadable { reason: String },
    /// Bytes that are no UTF-8.
    NotUtf8,
    /// A file that is too long to be a profile.
    TooLarge { bytes: u64, most: u64 },
    /// Nothing but blanks and comments.
    EmptyFile,
    /// The folder has no `site.yaml`.
    NoSite,
    /// There is no room at all.
    NoRooms,
    /// Two files for one room, or for the site.
    DuplicateFile { name: String, other: PathBuf },
    /// A file among the rooms that is not read.
    IgnoredFile,
    /// More rooms than a school has.
    TooManyRooms { most: usize },
    /// A product key, in any file of the folder.
    ProductKey,

    // YAML.
    /// Not YAML.
    Syntax { message: String },
    /// A tab where YAML wants blanks.
    Tab,
    /// Nested or long beyond any profile.
    TooComplex,
    /// A second document after `---`.
    SecondDocument,
    /// `<<`, tags and other things that profiles do without.
    NotForProfiles,
    /// The same key twice in one place.
    DuplicateKey { key: String, first_line: u32 },

    // The shape of the file.
    /// A field that does not exist.
    UnknownField { field: String, known: Vec<&'static str>, near: Option<String> },
    /// A field that must be there.
    MissingField { field: String },
    /// A value of another shape.
    WrongShape { expected: Shape, found: Found },
    /// None of the words that can stand here.
    UnknownChoice { found: String, choices: Vec<&'static str>, near: Option<String> },
    /// More or less than one choice.
    NotOneChoice { choices: Vec<&'static str> },

    /// An entry of a list or a named one without anything in it.
    EmptyEntry,

    // Values.
    /// A text without a letter.
    EmptyText,
    /// A name that cannot be one.
    BadName { named: Named, text: String },
    /// Not a computer name.
    BadMachineName { text: String },
    /// Not a MAC address.
    BadMac { text: String },
    /// A MAC address that is not one card's.
    GroupMac { mac: Mac },
    /// Not a UUID.
    BadUuid { text: String },
    /// A UUID that firmware gives when it has none.
    BlankUuid,
    /// Not a size.
    BadSize { text: String },
    /// The largest disk is smaller than the smallest.
    SizesCrossed,
    /// Not a duration.
    BadDuration { text: String },
    /// A duration outside what makes sense.
    DurationOutside { least: &'static str, most: &'static str },
    /// Not an IP address.
    BadAddress { text: String },
    /// An address that no PC can reach.
    UnusableAddress { text: String },
    /// Port 0, or one port for two services.
    BadPort { port: u16 },
    /// Not a time zone.
    BadTimeZone { text: String, near: Option<String> },
    /// Not a host name.
    BadHost { text: String },
    /// A path that depends on where the program is started.
    RelativePath { text: String },
    /// Not the last five characters of a key.
    BadPartialKey,
    /// A key without a source, or with several.
    KeySources { count: usize },
    /// A KMS host's key among the keys of rooms.
    HostKey,
    /// A value for a key that is in the PC itself.
    OemKeyValue,
    /// The last five characters are those of a published key and the type says otherwise, or the reverse.
    PublishedKey { kind: KeyKind },
    /// A budget for a key whose activations nobody counts.
    BudgetOnUncounted { field: &'static str, kind: KeyKind },
    /// A reserve of nothing.
    ReserveWithoutBudget,
    /// A reserve that leaves nothing to spend.
    ReserveAboveBudget { reserve: u32, budget: u32 },
    /// A command without a program.
    EmptyCommand,
    /// A hook of the site with the name of a shipped one.
    ShippedHookName { hook: HookName },

    // The calendar.
    /// A calendar that cannot be kept.
    Calendar(CalendarError),

    // ActivationWs.
    /// An address that no confirmation ID should come from.
    ActivationWs(AddressError),

    // The schedule.
    /// A schedule that cannot be kept.
    Schedule(ScheduleError),

    // A room and its machines.
    /// A room without a PC.
    EmptyRoom,
    /// Two PCs with one name.
    DuplicateMachine { name: MachineName, first: Place },
    /// Two PCs with one MAC address.
    DuplicateMac { mac: Mac, first: Place },
    /// Two PCs with one UUID.
    DuplicateUuid { uuid: MachineUuid, first: Place },
    /// An image that the site does not list.
    DanglingImage { image: ImageName, near: Option<String> },
    /// A key that the site does not list.
    DanglingKey { key: KeyName, near: Option<String> },
    /// A hook that is neither shipped nor in the site's list.
    DanglingHook { hook: HookName, near: Option<String> },
    /// A hook that stands twice in a room.
    HookTwice { hook: String },
    /// Hooks in an order that cannot work.
    HookOrder { hook: String, before: String },
    /// A strategy that no hook applies.
    NoActivationHook { strategy: &'static str },
    /// The PCs' firmware cannot start the image.
    FirmwareMismatch { room: FirmwareKind, image: FirmwareKind, name: ImageName },

    // Activation.
    /// A key of another kind than the strategy needs.
    KeyKindMismatch { key: KeyName, kind: KeyKind, strategy: &'static str },
    /// A key for another edition than the image's.
    KeyEditionMismatch { key: KeyName, key_edition: String, image: ImageName, image_edition: String },
    /// There is hardly any grace on Windows 8 and later.
    GraceOnNewWindows { image: ImageName, build: u32 },
    /// A MAK in an image that stays in grace: Windows spends it by itself.
    GraceWithMak { image: ImageName },
    /// An image whose grace does not begin anew with each clone.
    NotGeneralized { image: ImageName, strategy: &'static str },
    /// The grace ends before the next clone, or would if one is missed.
    GraceEnds(Box<GracePlan>),
    /// Nobody re-clones the room by itself before the grace ends.
    GraceWithoutSchedule { grace_days: u64 },
    /// KMS with an image whose key is not a GVLK.
    KmsChannel { image: ImageName, channel: KeyChannel },
    /// KMS with clones that all look like one PC to the host.
    KmsSkipRearm { image: ImageName },
    /// A confirmation ID is no use for a GVLK.
    MakProxyChannel { image: ImageName },
    /// The image's facts that the strategy depends on are not known.
    UnknownFacts { image: ImageName, strategy: &'static str, field: &'static str },
    /// Clones of Windows 11 24H2 and later that share their SIDs.
    SharedSids { image: ImageName, build: u32 },
    /// Fewer PCs than a KMS host needs.
    KmsFewMachines { count: usize },
}

impl FaultKind {
    /// Whether the set can be used in spite of it.
    pub fn severity(&self) -> Severity {
        match self {
            FaultKind::IgnoredFile
            | FaultKind::SharedSids { .. }
            | FaultKind::KmsFewMachines { .. }
            | FaultKind::GraceWithoutSchedule { .. }
            | FaultKind::UnknownFacts { .. } => Severity::Warning,
            FaultKind::GraceEnds(plan) if plan.level < Level::Refuse => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// Where.
    pub place: Place,
    /// The line it stands in.
    pub excerpt: Option<Excerpt>,
}

/// A line of a profile with the part of it that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Excerpt {
    /// The line, fit for a terminal: no control characters, not longer than a screen is wide, keys masked.
    pub line: String,
    /// Characters before the part that is meant.
    pub before: usize,
    /// Characters of that part.
    pub marked: usize,
}

/// The longest excerpt in characters.
const LINE_WIDTH: usize = 120;

impl Excerpt {
    /// Cuts a line to what a screen takes, around the part that is meant.
    pub fn new(line: &str, column: u32, width: u32) -> Self {
        let before = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
        let skipped = if before > LINE_WIDTH - 40 { before - 40 } else { 0 };
        let line: String = printable(&line.chars().skip(skipped).take(LINE_WIDTH).collect::<String>());
        let length = line.chars().count();
        let before = (before - skipped).min(length);
        let width = usize::try_from(width).unwrap_or(usize::MAX);
        Self { marked: width.min(length - before).max(1), before, line }
    }
}

/// A text that moves no cursor: control characters and changes of writing direction are shown as a dot.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '·',
            c if c.is_control() => '·',
            c => c,
        })
        .collect()
}

/// What goes out: besides [`printable`], names of files could hold a key.
fn shown(text: &str) -> String {
    printable(&masking::mask(text))
}

impl Fault {
    /// Whether the set can be used in spite of it.
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }

    /// What is wrong, in one line.
    pub fn text(&self, language: Language) -> String {
        shown(&match language {
            Language::En => english::text(&self.kind),
            Language::De => german::text(&self.kind),
        })
    }

    /// What to do about it.
    pub fn advice(&self, language: Language) -> String {
        shown(&match language {
            Language::En => english::advice(&self.kind),
            Language::De => german::advice(&self.kind),
        })
    }

    /// The fault as a good compiler shows it: place, text, line, advice. Ends with a line break.
    pub fn render(&self, language: Language) -> String {
        let word = match (self.severity(), language) {
            (Severity::Error, Language::En) => "error",
            (Severity::Error, Language::De) => "Fehler",
            (Severity::Warning, Language::En) => "warning",
            (Severity::Warning, Language::De) => "Warnung",
        };
        let help = match language {
            Language::En => "help",
            Language::De => "Abhilfe",
        };
        let mut out = format!("{}: {word}: {}\n", self.place, self.text(language));
        if let Some(excerpt) = &self.excerpt {
            let number = self.place.line.to_string();
            let gutter = " ".repeat(number.len());
            let indent = " ".repeat(excerpt.before);
            let caret = "^".repeat(excerpt.marked);
            // Writing to a String cannot fail.
            let _ = write!(out, "{gutter} |\n{number} | {}\n{gutter} | {indent}{caret}\n", excerpt.line.trim_end());
        }
        let _ = writeln!(out, "{help}: {}", self.advice(language));
        out
    }
}

/// All faults of a set of profiles, in the order of files, lines and columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    list: Vec<Fault>,
    more: usize,
}

impl Faults {
    /// Sorts the faults and keeps the first [`MOST_FAULTS`], errors before warnings where they do not all fit.
    pub fn new(mut list: Vec<Fault>) -> Self {
        let more = list.len().saturating_sub(MOST_FAULTS);
        if more > 0 {
            list.sort_by(|a, b| a.severity().cmp(&b.severity()).then_with(|| a.place.cmp(&b.place)));
            list.truncate(MOST_FAULTS);
        }
        list.sort_by(|a, b| a.place.cmp(&b.place));
        Self { list, more }
    }

    /// The faults that were kept.
    pub fn list(&self) -> &[Fault] {
        &self.list
    }

    /// How many more there are.
    pub fn more(&self) -> usize {
        self.more
    }

    /// Whether there is none, not even a warning.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether the set must be refused.
    pub fn refuse(&self) -> bool {
        self.list.iter().any(|fault| fault.severity() == Severity::Error)
    }

    /// Errors and warnings among those that were kept.
    pub fn count(&self) -> (usize, usize) {
        let errors = self.list.iter().filter(|fault| fault.severity() == Severity::Error).count();
        (errors, self.list.len() - errors)
    }

    /// All faults one after the other, with an empty line between them, and a last line that counts them.
    pub fn render(&self, language: Language) -> String {
        let mut out = String::new();
        for fault in &self.list {
            out.push_str(&fault.render(language));
            out.push('\n');
        }
        let (errors, warnings) = self.count();
        let total = match language {
            Language::En => english::total(errors, warnings, self.more),
            Language::De => german::total(errors, warnings, self.more),
        };
        let _ = writeln!(out, "{total}");
        out
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.render(Language::En).trim_end())
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests;
