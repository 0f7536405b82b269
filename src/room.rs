//! Rooms and machines as a technician names them: names, hardware addresses, selections.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a name or address was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// Not six pairs of hexadecimal digits.
    #[error("'{0}' is not a MAC address; write six pairs of hexadecimal digits, such as 52:54:00:12:34:56")]
    Mac(String),
    /// A MAC address that no single network card has.
    #[error("{0} is a group or an empty address, not the address of one network card")]
    MacNotUnicast(Mac),
    /// Not a UUID in its usual text form.
    #[error("'{0}' is not a UUID; write it as 8-4-4-4-12 hexadecimal digits, as the firmware set-up shows it")]
    Uuid(String),
    /// A name that Windows does not take as a computer name.
    #[error(
        "'{0}' is not a computer name; Windows takes 1 to 15 letters, digits and hyphens, not only digits, no hyphen at either end"
    )]
    MachineName(String),
    /// A name that is not fit for a file, a URL and a prompt.
    #[error("'{0}' is not a name; use 1 to 40 lower-case letters, digits and hyphens, starting with a letter or digit")]
    Slug(String),
    /// Not `name@version`.
    #[error("'{0}' is not an image; write name@version, such as win11@2026-11, or a name alone for its newest version")]
    Image(String),
}

macro_rules! text_form {
    ($t:ty) => {
        impl TryFrom<String> for $t {
            type Error = RoomError;
            fn try_from(text: String) -> Result<Self, RoomError> {
                text.parse()
            }
        }
        impl From<$t> for String {
            fn from(value: $t) -> String {
                value.to_string()
            }
        }
    };
}

/// A network card's address (IEEE 802 MAC-48).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);
text_form!(Mac);

impl Mac {
    /// The form that firmware and iPXE use in file names: `52-54-00-12-34-56`.
    pub fn dashed(&self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = RoomError;

    /// Takes `52:54:00:12:34:56`, with hyphens or dots (Cisco's `5254.0012.3456`) too, in either case.
    fn from_str(text: &str) -> Result<Self, RoomError> {
        let bad = || RoomError::Mac(text.to_owned());
        let separated = match text.len() {
            17 => text.bytes().enumerate().all(|(i, b)| (i % 3 == 2) == matches!(b, b':' | b'-')),
            14 => text.bytes().enumerate().all(|(i, b)| (i % 5 == 4) == (b == b'.')),
            12 => true,
            _ => false,
        };
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
        if !separated || digits.len() != 12 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut bytes = [0; 6];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
        }
        let mac = Self(bytes);
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(RoomError::MacNotUnicast(mac));
        }
        Ok(mac)
    }
}

/// A PC's SMBIOS UUID, in the byte order of its usual text form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineUuid(pub [u8; 16]);
text_form!(MachineUuid);

impl MachineUuid {
    /// From DHCP option 97 and SMBIOS tables, whose first three fields are little-endian. All zero or all one, which
    /// firmware without a UUID sends, is none.
    pub fn from_smbios(raw: &[u8; 16]) -> Option<Self> {
        if raw.iter().all(|b| *b == 0) || raw.iter().all(|b| *b == 0xff) {
            return None;
        }
        Some(Self(swap_fields(raw)))
    }

    /// The byte order of DHCP option 97.
    pub fn to_smbios(&self) -> [u8; 16] {
        swap_fields(&self.0)
    }
}

fn swap_fields(raw: &[u8; 16]) -> [u8; 16] {
    let mut out = *raw;
    out[0..4].reverse();
    out[4..6].reverse();
    out[6..8].reverse();
    out
}

impl fmt::Display for MachineUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for MachineUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MachineUuid {
    type Err = RoomError;

    fn from_str(text: &str) -> Result<Self, RoomError> {
        let bad = || RoomError::Uuid(text.to_owned());
        let shape = text.len() == 36
            && text
                .bytes()
                .enumerate()
                .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() });
        if !shape {
            return Err(bad());
        }
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let mut bytes = [0; 16];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

/// A PC's name, which is its Windows computer name too. Compared without case, kept as written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineName(String);
text_form!(MachineName);

impl MachineName {
    /// As the profile writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl PartialEq for MachineName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}
impl Eq for MachineName {}
impl PartialOrd for MachineName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for MachineName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded().cmp(&other.folded())
    }
}
impl std::hash::Hash for MachineName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MachineName {
    type Err = RoomError;

    fn from_str(text: &str) -> Result<Self, RoomError> {
        let ok = (1..=15).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !text.bytes().all(|b| b.is_ascii_digit());
        if ok { Ok(Self(text.to_owned())) } else { Err(RoomError::MachineName(text.to_owned())) }
    }
}

macro_rules! slug {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);
        text_form!($name);

        impl $name {
            /// As the profile writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = RoomError;

            fn from_str(text: &str) -> Result<Self, RoomError> {
                let ok = (1..=40).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_'))
                    && text.starts_with(|c: char| c.is_ascii_alphanumeric());
                if ok { Ok(Self(text.to_owned())) } else { Err(RoomError::Slug(text.to_owned())) }
            }
        }
    };
}

slug!(
    /// A room's short name, such as `r101`.
    RoomName
);
slug!(
    /// The name under which profiles refer to a product key.
    KeyName
);
slug!(
    /// The name of a hook.
    HookName
);
slug!(
    /// An image's name without its version.
    ImageName
);
slug!(
    /// An image's version, such as `2026-11`, or a tag that points at one.
    ImageVersion
);

/// One immutable version of an image: `name@version`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    /// The image's name.
    pub name: ImageName,
    /// Which version of it.
    pub version: ImageVersion,
}
text_form!(ImageRef);

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl FromStr for ImageRef {
    type Err = RoomError;

    fn from_str(text: &str) -> Result<Self, RoomError> {
        let bad = || RoomError::Image(text.to_owned());
        let (name, version) = text.split_once('@').ok_or_else(bad)?;
        Ok(Self { name: name.parse().map_err(|_| bad())?, version: version.parse().map_err(|_| bad())? })
    }
}

/// What a profile asks for: a version by name, or the newest one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageWish {
    /// The image's name.
    pub name: ImageName,
    /// The version or tag, or none for the newest.
    pub version: Option<ImageVersion>,
}
text_form!(ImageWish);

impl fmt::Display for ImageWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

impl FromStr for ImageWish {
    type Err = RoomError;

    fn from_str(text: &str) -> Result<Self, RoomError> {
        if text.contains('@') {
            let ImageRef { name, version } = text.parse()?;
            return Ok(Self { name, version: Some(version) });
        }
        let name = text.parse().map_err(|_| RoomError::Image(text.to_owned()))?;
        Ok(Self { name, version: None })
    }
}

/// The languages of everything that faces the people of the school.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// German.
    De,
    /// English.
    #[default]
    En,
}

/// Which machines of a room a command means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Only these; empty means all.
    #[serde(default)]
    pub only: Vec<MachineName>,
    /// All but these.
    #[serde(default)]
    pub except: Vec<MachineName>,
}

impl Selection {
    /// Whether `name` is meant.
    pub fn contains(&self, name: &MachineName) -> bool {
        (self.only.is_empty() || self.only.contains(name)) && !self.except.contains(name)
    }

    /// The names that the selection gives but the room does not have, which is a typing error.
    pub fn strangers<'a>(&'a self, room: &[&MachineName]) -> Vec<&'a MachineName> {
        self.only.iter().chain(&self.except).filter(|name| !room.contains(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_takes_the_forms_that_switches_and_firmware_print() {
        for text in ["52:54:00:AB:cd:01", "52-54-00-ab-cd-01", "5254.00ab.cd01", "525400abcd01"] {
            assert_eq!(text.parse::<Mac>().map(|m| m.to_string()), Ok("52:54:00:ab:cd:01".to_owned()), "{text}");
        }
        for text in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:0g",
            "5:254:00:ab:cd:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "ä2540:0abcd01",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn uuid_follows_option_97_byte_order() {
        // The value and its text form are from a captured iPXE boot.
        let raw = [0x44, 0x45, 0x4c, 0x4c, 0x42, 0x00, 0x10, 0x4a, 0x80, 0x52, 0xb4, 0xc0, 0x4f, 0x51, 0x32, 0x33];
        let uuid = MachineUuid::from_smbios(&raw).expect("not blank");
        assert_eq!(uuid.to_string(), "4c4c4544-0042-4a10-8052-b4c04f513233");
        assert_eq!(uuid.to_smbios(), raw);
        assert_eq!(uuid.to_string().parse(), Ok(uuid));
        assert_eq!(MachineUuid::from_smbios(&[0; 16]), None);
    }

    #[test]
    fn names_follow_windows_rules() {
        assert!("R101-PC-01".parse::<MachineName>().is_ok());
        for text in ["", "12345", "-a", "a-", "raum 1", "SIXTEEN-LETTERS-", "größe"] {
            assert!(text.parse::<MachineName>().is_err(), "{text}");
        }
        assert_eq!("r101-01".parse::<MachineName>(), "R101-01".parse());
    }

    #[test]
    fn selection_names_strangers() {
        let all: Vec<MachineName> = ["a1", "a2"].iter().map(|n| n.parse().expect("name")).collect();
        let selection =
            Selection { only: vec!["a2".parse().expect("name"), "b9".parse().expect("name")], except: vec![] };
        assert!(!selection.contains(&all[0]) && selection.contains(&all[1]));
        assert_eq!(selection.strangers(&all.iter().collect::<Vec<_>>()).len(), 1);
    }
}
