//! The shape of the files: `site.yaml` and `rooms/*.yaml`.
//!
//! What stands in the comments here becomes the descriptions of the JSON Schema, which editors show while one writes.
//! Nothing is checked but the shape; [`load`](super::load) turns it into the [`model`](super::model).

use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::model::{BootEnvironment, Idle, NetworkMode, Place};
use super::tree::{FIELD, OR_TEXT};
use crate::activation::KeyKind;
use crate::calendar::school::SchoolDay;
use crate::image::{FirmwareKind, KeyChannel};
use crate::room::Language;

/// A place in a file: line and column from 1, and how many characters are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spot {
    /// The line; 0 for the whole file.
    pub line: u32,
    /// The column in characters.
    pub column: u32,
    /// How many characters are meant.
    pub width: u32,
}

impl Spot {
    /// In one number, the only form in which a place passes through serde: lines and columns of a profile have at most
    /// 21 bits, and no screen shows a longer mark.
    pub(super) fn packed(self) -> u64 {
        let short = |value: u32, bits: u32| u64::from(value).min((1 << bits) - 1);
        short(self.line, 24) << 40 | short(self.column, 24) << 16 | short(self.width, 16)
    }

    /// Whether another place is this one or a part of it, as a value is of its quotes.
    pub(super) fn covers(self, other: Self) -> bool {
        let end = self.column.saturating_add(self.width);
        self.line == other.line && self.column <= other.column && other.column.saturating_add(other.width) <= end
    }

    fn unpacked(packed: u64) -> Self {
        let part = |shift: u32, bits: u32| u32::try_from(packed >> shift & ((1 << bits) - 1)).unwrap_or(0);
        Self { line: part(40, 24), column: part(16, 24), width: part(0, 16) }
    }
}

/// A value with its place. Absent, or noted as a fault, it has none.
#[derive(Debug, Clone, PartialEq)]
pub struct Field<T> {
    /// The value, if there is one that can be read.
    pub value: Option<T>,
    /// Where it stands, if anything stands there.
    pub spot: Option<Spot>,
}

impl<T> Default for Field<T> {
    fn default() -> Self {
        Self { value: None, spot: None }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Present<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Present<T> {
            type Value = Field<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value with its place")
            }

            fn visit_none<E>(self) -> Result<Field<T>, E> {
                Ok(Field::default())
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field<T>, D::Error> {
                deserializer.deserialize_newtype_struct(FIELD, self)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Field<T>, A::Error> {
                let spot = parts.next_element::<u64>()?.map(Spot::unpacked);
                // What could not be read was noted by who reads; the other fields go on.
                Ok(Field { value: parts.next_element::<T>().unwrap_or(None), spot })
            }
        }
        deserializer.deserialize_option(Present(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Entries under names that the administrator gives, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T>(pub Vec<(Field<String>, Field<T>)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for All<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("entries under names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }
        }
        deserializer.deserialize_map(All(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entry = generator.subschema_for::<T>();
        schemars::json_schema!({
            "type": "object",
            "propertyNames": { "pattern": "^[a-z0-9][a-z0-9._-]{0,39}$" },
            "additionalProperties": entry,
        })
    }
}

/// What holds for the whole school: the server, and the images, keys and hooks that rooms name.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteFile {
    /// The school's name, as reports show it.
    pub name: Field<String>,
    /// The language of reports and screens: de or en (the usual one).
    #[serde(default)]
    pub language: Field<Language>,
    /// How PCs reach the server.
    pub server: Field<ServerFields>,
    /// What the server does about DHCP: proxy answers beside the school's own DHCP server (the usual one), off leaves
    /// DHCP alone.
    #[serde(default)]
    pub network: Field<NetworkMode>,
    /// The school's time zone, an IANA name such as Europe/Berlin. Schedules are meant in it.
    pub time_zone: Field<String>,
    /// On which days there are lessons. Without it, Monday to Friday without holidays.
    #[serde(default)]
    pub calendar: Field<CalendarFields>,
    /// The images that rooms may name, with what is known of the Windows on each.
    #[serde(default)]
    pub images: Field<Named<ImageFields>>,
    /// The product keys that rooms may name, by reference. The keys themselves never stand in a profile.
    #[serde(default)]
    pub keys: Field<Named<KeyFields>>,
    /// Commands that rooms may name as hooks.
    #[serde(default)]
    pub hooks: Field<Named<HookFields>>,
    /// An ActivationWs server, which `klonwerk activation fetch` asks for confirmation IDs. Nothing else ever asks it.
    #[serde(default)]
    pub activation_ws: Field<ActivationWsFields>,
}

/// An ActivationWs server.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationWsFields {
    /// Its address, such as https://activationws.example.school.
    pub url: Field<String>,
    /// The full path of a file with the certificate of the authority that vouches for it (PEM), where that is not one of
    /// those that this system knows.
    #[serde(default)]
    pub ca_file: Field<String>,
    /// Whether it may be asked without encryption. Confirmation IDs then cross the network in the clear.
    #[serde(default)]
    pub allow_http: Field<bool>,
}

/// On which days there are lessons. School nights are those that end on a school day.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarFields {
    /// Days without lessons: single dates such as 2026-11-18, or `{ name, from, to }` with the first and the last day.
    /// They may overlap.
    #[serde(default)]
    pub holidays: Field<Vec<Field<HolidayEntry>>>,
    /// The days of the week with lessons. Monday to Friday, unless told otherwise.
    #[serde(default)]
    pub school_days: Field<Vec<Field<SchoolDay>>>,
}

/// Days without lessons: one date, or the first and the last of several.
#[derive(Debug, Clone, PartialEq)]
pub enum HolidayEntry {
    /// One date.
    Day(String),
    /// Several days.
    Days(HolidayFields),
}

/// Days without lessons in a row.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HolidayFields {
    /// What they are called.
    #[serde(default)]
    pub name: Field<String>,
    /// The first day without lessons, such as 2026-12-24.
    #[schemars(regex(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub from: Field<String>,
    /// The last day without lessons.
    #[schemars(regex(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub to: Field<String>,
}

impl<'de> Deserialize<'de> for HolidayEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = HolidayEntry;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a date, or the first and the last day")
            }

            fn visit_str<E>(self, text: &str) -> Result<HolidayEntry, E> {
                Ok(HolidayEntry::Day(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HolidayEntry, A::Error> {
                HolidayFields::deserialize(MapAccessDeserializer::new(map)).map(HolidayEntry::Days)
            }
        }
        deserializer.deserialize_struct(OR_TEXT, &["name", "from", "to"], Either)
    }
}

impl JsonSchema for HolidayEntry {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HolidayEntry".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let days = generator.subschema_for::<HolidayFields>();
        schemars::json_schema!({
            "anyOf": [{ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" }, days],
        })
    }
}

/// How PCs reach the server.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerFields {
    /// The server's IP address in the network of the PCs.
    pub address: Field<String>,
    /// The network interfaces to serve. Without them, all that have the address's network.
    #[serde(default)]
    pub interfaces: Field<Vec<Field<String>>>,
    /// The port of plain HTTP, for public boot files. 80, unless told otherwise.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub boot_port: Field<u16>,
    /// The port of HTTPS, for agents. 443, unless told otherwise.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub agent_port: Field<u16>,
    /// The port of TFTP. 69, unless told otherwise; PCs ask no other.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub tftp_port: Field<u16>,
    /// The folder for state and images, as a full path, unless the command line names one.
    #[serde(default)]
    pub state: Field<String>,
}

/// What is known of the Windows on an image. `klonwerk check` refuses a room whose image cannot serve its activation
/// strategy, so the more stands here, the less goes wrong at night.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageFields {
    /// The product's name, such as Windows 11 Education.
    #[serde(default)]
    pub product: Field<String>,
    /// The build number that `winver` shows, such as 22631.
    #[serde(default)]
    pub build: Field<u32>,
    /// The edition as Windows calls it, such as Education (`dism /online /get-currentedition`).
    #[serde(default)]
    pub edition: Field<String>,
    /// Whether `sysprep /generalize` was run last before the capture.
    #[serde(default)]
    pub generalized: Field<bool>,
    /// Whether the answer file sets SkipRearm, which leaves all clones with one client machine ID.
    #[serde(default)]
    pub skip_rearm: Field<bool>,
    /// The channel of the product key inside the image.
    #[serde(default)]
    pub key_channel: Field<KeyChannel>,
    /// Which firmware starts the image: bios or uefi.
    #[serde(default)]
    pub firmware: Field<FirmwareKind>,
    /// For an OEM Windows 7: the vendor as the firmware of its PCs names it, such as DELL (`klonwerk agent hardware`
    /// shows it on one of them).
    #[serde(default)]
    pub oem_vendor: Field<String>,
}

/// What `type` says of a product key. Read as a word, so that a KMS host's key is refused with its own reason.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DeclaredKind(pub String);

impl JsonSchema for DeclaredKind {
    fn inline_schema() -> bool {
        KeyKind::inline_schema()
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        KeyKind::schema_name()
    }
    fn schema_id() -> std::borrow::Cow<'static, str> {
        KeyKind::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        KeyKind::json_schema(generator)
    }
}

/// A product key by reference: exactly one of credential, file, environment and in_image. An oem key needs none of them.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyFields {
    /// mak or retail (every activation counts), gvlk (public, for KMS and Active Directory), oem (the PC's own).
    #[serde(rename = "type")]
    pub kind: Field<DeclaredKind>,
    /// The edition that it is for, as Windows calls it, such as Education.
    #[serde(default)]
    pub edition: Field<String>,
    /// The name of a systemd credential (LoadCredential=) that holds the key.
    #[serde(default)]
    pub credential: Field<String>,
    /// The full path of a file, readable only by the service, that holds the key.
    #[serde(default)]
    pub file: Field<String>,
    /// The name of an environment variable that holds the key.
    #[serde(default)]
    pub environment: Field<String>,
    /// The key is inside the image and is never sent: its last five characters, as `slmgr /dli` shows them.
    #[serde(default)]
    #[schemars(regex(pattern = "^[B-DF-HJKMNP-RTV-Y2346789]{5}$"))]
    pub in_image: Field<String>,
    /// How many activations Klonwerk may ever spend with this key. Only for mak and retail keys. Without it the key itself
    /// sets no limit; runs have their own.
    #[serde(default)]
    pub budget: Field<u32>,
    /// How many activations of the budget are never touched: nothing is spent once no more than these are left.
    #[serde(default)]
    pub reserve: Field<u32>,
}

/// A command that is run on each PC after the clone.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookFields {
    /// offline: in the boot environment, on the written disk, before its first boot. windows: inside Windows.
    pub place: Field<Place>,
    /// Program and arguments. There is no shell in between.
    pub command: Field<Vec<Field<String>>>,
    /// How long it may take, such as 90s or 2m. 5m, unless told otherwise.
    #[serde(default)]
    #[schemars(regex(pattern = "^([0-9]+ ?[smh] ?)+$"))]
    pub time_out: Field<String>,
}

/// A room. The file's name is the room's short name: rooms/r101.yaml is r101.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoomFile {
    /// The room's name for people.
    pub title: Field<String>,
    /// The image its PCs get: name@version, or a name alone for the newest version.
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9._-]{0,39}(@[a-z0-9][a-z0-9._-]{0,39})?$"))]
    pub image: Field<String>,
    /// What writes the image: linux (the usual one) or winpe.
    #[serde(default)]
    pub environment: Field<BootEnvironment>,
    /// What a PC gets that boots the network first while nothing is to be done: silent (no answer, the usual one) or
    /// local (a loader that starts the disk at once).
    #[serde(default)]
    pub idle: Field<Idle>,
    /// The firmware of the PCs, where all have the same: bios or uefi.
    #[serde(default)]
    pub firmware: Field<FirmwareKind>,
    /// Which disk of a PC is written. Without a rule, the only one that is not USB.
    #[serde(default)]
    pub disk: Field<DiskFields>,
    /// When the room is re-cloned by itself. Without it, only when somebody asks.
    #[serde(default)]
    pub schedule: Field<ScheduleFields>,
    /// How Windows is activated after each clone.
    pub activation: Field<Activation>,
    /// What happens after the clone, in this order: computer-name, activation, then hooks of site.yaml. Without it,
    /// computer-name and activation.
    #[serde(default)]
    pub hooks: Field<Vec<Field<String>>>,
    /// The room's PCs.
    pub machines: Field<Vec<Field<MachineFields>>>,
}

/// Which disk of a PC may be written. More than one that fits is refused, and so is USB.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskFields {
    /// The least size, such as 100GB.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9]+([.][0-9]+)? ?([KMGT]i?B)$"))]
    pub min_size: Field<String>,
    /// The greatest size, such as 600GB.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9]+([.][0-9]+)? ?([KMGT]i?B)$"))]
    pub max_size: Field<String>,
    /// The bus as Linux names it: nvme, sata, virtio.
    #[serde(default)]
    pub bus: Field<String>,
    /// The disk's serial number, for one PC that differs.
    #[serde(default)]
    pub serial: Field<String>,
}

/// When the room is re-cloned by itself, in the school's time zone.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleFields {
    /// `every night at 02:00`, `every school night at 02:00`, `on monday and thursday at 02:00`, the same in German
    /// (`jede Schulnacht um 02:00`, `samstags um 03:30`), or a cron expression of five fields.
    pub when: Field<String>,
    /// How long after the start a PC may still begin, such as 4h (the usual one, or less where the room must be ready
    /// sooner).
    #[serde(default)]
    #[schemars(regex(pattern = "^([0-9]+ ?[smh] ?)+$"))]
    pub window: Field<String>,
    /// When the room must be ready, such as 07:00.
    #[serde(default)]
    #[schemars(regex(pattern = "^([01]?[0-9]|2[0-3]):[0-5][0-9]$"))]
    pub ready_by: Field<String>,
}

/// How Windows is activated after each clone.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(transform = allow_bare_names)]
pub enum Activation {
    /// Touch nothing.
    None,
    /// Leave Windows in its grace period.
    Grace {
        /// Windows 8 and later have hardly any grace: whether the reminders are accepted.
        #[serde(default)]
        accept_notification: Field<bool>,
    },
    /// Re-apply the stored confirmation ID; re-cloning spends no activation.
    MakProxy {
        /// The MAK, by its name under `keys` in site.yaml.
        key: Field<String>,
    },
    /// Activate at the school's KMS host.
    Kms {
        /// The KMS host. Without it, Windows finds it through DNS.
        #[serde(default)]
        host: Field<String>,
        /// Its TCP port. 1688, unless told otherwise.
        #[serde(default)]
        #[schemars(range(min = 1))]
        port: Field<u16>,
    },
}

/// `activation: kms` is `activation: { kms: {} }`.
fn allow_bare_names(schema: &mut Schema) {
    if let Some(choices) = schema.get_mut("oneOf").and_then(|choices| choices.as_array_mut()) {
        choices.push(serde_json::json!({ "type": "string", "enum": ["grace", "kms"] }));
    }
}

/// A PC.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineFields {
    /// Its name, which Windows gets too; unique in the whole school.
    #[schemars(regex(pattern = "^[A-Za-z0-9]([A-Za-z0-9-]{0,13}[A-Za-z0-9])?$"))]
    pub name: Field<String>,
    /// The address of its network card, such as 52:54:00:12:34:56.
    #[schemars(regex(pattern = "^([0-9A-Fa-f]{2}[:-]?){5}[0-9A-Fa-f]{2}$|^([0-9A-Fa-f]{4}[.]){2}[0-9A-Fa-f]{4}$"))]
    pub mac: Field<String>,
    /// Its SMBIOS UUID. A PC with this MAC address and another UUID, a dock on a notebook say, is never imaged.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"))]
    pub uuid: Field<String>,
    /// Its activation, where it differs from the room's.
    #[serde(default)]
    pub activation: Field<Activation>,
}
