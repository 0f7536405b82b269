//! Registry hives, read only: the file format behind `SOFTWARE` and `SYSTEM`, and the facts that capture takes from them.
//!
//! Format: "Windows registry file format specification" by M. Suhanov, as hivex and libregf read it too. A hive comes
//! from a pupil-reachable disk; offsets are checked, walks have budgets, and what does not fit is no value.

use super::ntfs::{u8_at, u16_at, u32_at};
use super::{KeyChannel, WindowsFacts};

/// Cell offsets count from the first bin, after the base block.
const BASE_BLOCK: usize = 4096;
/// The most that one cell of a value holds; longer ones are split into segments (`db`).
const SEGMENT: usize = 16344;
/// Bounds on one look-up, far above what the largest key (`Classes\CLSID`) needs.
const MAX_LISTS: usize = 1024;
const MAX_SUBKEYS: usize = 1 << 20;
/// The longest value that is read.
const MAX_VALUE: usize = 16 << 20;

/// Why bytes are not a hive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HiveError {
    /// No `regf` block at the start, or one that ends early.
    #[error("this is not a registry hive")]
    NotAHive,
}

/// A value of a key, as its type says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `REG_SZ` and `REG_EXPAND_SZ`.
    Text(String),
    /// `REG_DWORD`.
    Number(u32),
    /// `REG_QWORD`.
    Long(u64),
    /// Any other type.
    Other {
        /// The type's number.
        kind: u32,
        /// The bytes as they are stored.
        bytes: Vec<u8>,
    },
}

/// A registry hive in memory. Changes that only its log files hold are not seen.
#[derive(Debug, Clone, Copy)]
pub struct Hive<'a> {
    bytes: &'a [u8],
    root: u32,
}

impl<'a> Hive<'a> {
    /// Opens the hive file with these bytes.
    ///
    /// # Errors
    /// [`HiveError::NotAHive`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HiveError> {
        let root = u32_at(bytes, 36).ok_or(HiveError::NotAHive)?;
        if !bytes.starts_with(b"regf") || bytes.len() < BASE_BLOCK {
            return Err(HiveError::NotAHive);
        }
        let hive = Self { bytes, root };
        hive.key(root).ok_or(HiveError::NotAHive)?;
        Ok(hive)
    }

    /// The value `name` of the key with this path below the root; `\` separates; the empty name is the default value.
    /// Case does not count. None where there is no such value, or none that can be read.
    pub fn value(&self, path: &str, name: &str) -> Option<Value> {
        let mut key = self.key(self.root)?;
        for part in path.split('\\').filter(|part| !part.is_empty()) {
            key = self.subkey(key, part)?;
        }
        self.value_of(key, name)
    }

    /// The contents of the cell at `offset`, if it is in use.
    fn cell(&self, offset: u32) -> Option<&'a [u8]> {
        let at = BASE_BLOCK.checked_add(usize::try_from(offset).ok()?)?;
        let size = i32::from_le_bytes(self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?);
        let size = usize::try_from(size.checked_neg()?).ok()?;
        self.bytes.get(at..at.checked_add(size)?)?.get(4..)
    }

    fn key(&self, offset: u32) -> Option<&'a [u8]> {
        self.cell(offset).filter(|cell| cell.starts_with(b"nk"))
    }

    fn subkey(&self, key: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let mut lists = vec![u32_at(key, 28)?];
        let (mut lists_left, mut subkeys_left) = (MAX_LISTS, MAX_SUBKEYS);
        while let Some(offset) = lists.pop() {
            lists_left = lists_left.checked_sub(1)?;
            let Some(list) = self.cell(offset) else { continue };
            let count = u16_at(list, 2)?;
            let step = match list.get(..2)? {
                b"lf" | b"lh" => 8,
                b"li" => 4,
                b"ri" => {
                    for i in 0..usize::from(count).min(MAX_LISTS - lists.len().min(MAX_LISTS)) {
                        lists.push(u32_at(list, 4 + 4 * i)?);
                    }
                    continue;
                }
                _ => return None,
            };
            subkeys_left = subkeys_left.checked_sub(usize::from(count))?;
            for i in 0..usize::from(count) {
                let found = u32_at(list, 4 + step * i).and_then(|offset| self.key(offset));
                if let Some(key) = found
                    && text(key.get(76..)?, u16_at(key, 72)?, u16_at(key, 2)? & 0x20 != 0)
                        .is_some_and(|n| same(&n, name))
                {
                    return Some(key);
                }
            }
        }
        None
    }

    fn value_of(&self, key: &'a [u8], name: &str) -> Option<Value> {
        let count = u32_at(key, 36)?;
        let list = self.cell(u32_at(key, 40)?)?;
        for i in 0..usize::try_from(count).ok()?.min(list.len() / 4) {
            let cell = u32_at(list, 4 * i).and_then(|offset| self.cell(offset));
            let Some(cell) = cell.filter(|cell| cell.starts_with(b"vk")) else { continue };
            let its_name = text(cell.get(20..)?, u16_at(cell, 2)?, u16_at(cell, 16)? & 1 != 0)?;
            if same(&its_name, name) {
                return read(u32_at(cell, 12)?, self.data(cell)?);
            }
        }
        None
    }

    fn data(&self, cell: &[u8]) -> Option<Vec<u8>> {
        let size = u32_at(cell, 4)?;
        let len = usize::try_from(size & 0x7fff_ffff).ok()?;
        if size & 0x8000_0000 != 0 {
            // Up to four bytes stand where the offset would.
            return cell.get(8..8 + len.min(4)).map(<[u8]>::to_vec);
        }
        let data = self.cell(u32_at(cell, 8)?)?;
        if len <= SEGMENT || !data.starts_with(b"db") {
            return data.get(..len).map(<[u8]>::to_vec);
        }
        if len > MAX_VALUE {
            return None;
        }
        let segments = self.cell(u32_at(data, 4)?)?;
        let mut out = Vec::new();
        for i in 0..usize::from(u16_at(data, 2)?) {
            let segment = self.cell(u32_at(segments, 4 * i)?)?;
            out.extend_from_slice(segment.get(..SEGMENT.min(len - out.len()))?);
        }
        (out.len() == len).then_some(out)
    }
}

/// A name of `len` bytes: one byte a letter (Latin-1) where `narrow`, else UTF-16.
fn text(bytes: &[u8], len: u16, narrow: bool) -> Option<String> {
    let bytes = bytes.get(..usize::from(len))?;
    Some(if narrow { bytes.iter().map(|byte| char::from(*byte)).collect() } else { wide(bytes) })
}

fn wide(bytes: &[u8]) -> String {
    let units = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0);
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn same(a: &str, b: &str) -> bool {
    a.chars().flat_map(char::to_uppercase).eq(b.chars().flat_map(char::to_uppercase))
}

fn read(kind: u32, bytes: Vec<u8>) -> Option<Value> {
    Some(match kind {
        1 | 2 => Value::Text(wide(&bytes)),
        4 => Value::Number(u32::from_le_bytes(bytes.try_into().ok()?)),
        11 => Value::Long(u64::from_le_bytes(bytes.try_into().ok()?)),
        kind => Value::Other { kind, bytes },
    })
}

const CURRENT_VERSION: &str = r"Microsoft\Windows NT\CurrentVersion";

/// What the hives `SOFTWARE` and `SYSTEM` tell about a Windows installation; what they do not tell stays `None`.
/// The firmware is not in them.
pub fn windows_facts(software: Option<&[u8]>, system: Option<&[u8]>) -> WindowsFacts {
    let software = software.and_then(|bytes| Hive::parse(bytes).ok());
    let system = system.and_then(|bytes| Hive::parse(bytes).ok());
    let value = |path: &str, name: &str| software.and_then(|hive| hive.value(path, name));
    let words = |path: &str, name: &str| match value(path, name) {
        Some(Value::Text(words)) if !words.is_empty() => Some(words),
        _ => None,
    };
    let build = words(CURRENT_VERSION, "CurrentBuildNumber").or_else(|| words(CURRENT_VERSION, "CurrentBuild"));
    let build = build.and_then(|build| build.parse().ok());
    let skip_rearm = match value(&format!(r"{CURRENT_VERSION}\SoftwareProtectionPlatform"), "SkipRearm") {
        Some(Value::Number(number)) => Some(number != 0),
        // Windows itself takes an absent value for 0.
        None if build.is_some() => Some(false),
        _ => None,
    };
    let state = words(r"Microsoft\Windows\CurrentVersion\Setup\State", "ImageState");
    let progress = system.and_then(|hive| hive.value(r"Setup\Status\SysprepStatus", "GeneralizationState"));
    WindowsFacts {
        build,
        edition: words(CURRENT_VERSION, "EditionID"),
        product: words(CURRENT_VERSION, "ProductName").map(|name| product(name, build)),
        generalized: state.and_then(|state| generalized(&state, progress.as_ref())),
        skip_rearm,
        key_channel: value(CURRENT_VERSION, "DigitalProductId4").and_then(|id| key_channel(&id)),
        firmware: None,
        oem_vendor: None,
        bound_to: None,
    }
}

/// Windows 11 still calls itself 10 in the registry; only the build number tells (the first build of 11 is 22000).
fn product(name: String, build: Option<u32>) -> String {
    match name.strip_prefix("Windows 10") {
        Some(rest) if build >= Some(22000) => format!("Windows 11{rest}"),
        _ => name,
    }
}

/// From Microsoft's "Windows Setup states" page: the image states after which the next boot makes new identities.
/// `GeneralizationState` is 7 when sysprep has finished, but also on an installation that was never generalized, so it
/// can only contradict: another number means that sysprep stopped half-way.
fn generalized(state: &str, progress: Option<&Value>) -> Option<bool> {
    match state {
        "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE" | "IMAGE_STATE_GENERALIZE_RESEAL_TO_AUDIT" => match progress {
            None | Some(Value::Number(7)) => Some(true),
            Some(_) => None,
        },
        "IMAGE_STATE_COMPLETE" | "IMAGE_STATE_SPECIALIZE_RESEAL_TO_OOBE" | "IMAGE_STATE_SPECIALIZE_RESEAL_TO_AUDIT" => {
            Some(false)
        }
        _ => None,
    }
}

/// The channel stands in words at byte 0x3f8 of the 0x4f8 bytes of `DigitalProductId4`; the key, elsewhere in them, is
/// not looked at.
fn key_channel(id: &Value) -> Option<KeyChannel> {
    let Value::Other { bytes, .. } = id else { return None };
    u8_at(bytes, 0x4f7)?;
    let channel = wide(bytes.get(0x3f8..0x478)?);
    match channel.split_once(':').unwrap_or((&channel, "")) {
        ("Volume", "MAK") => Some(KeyChannel::Mak),
        ("Volume", "GVLK") => Some(KeyChannel::Gvlk),
        ("OEM", _) => Some(KeyChannel::Oem),
        ("Retail", _) => Some(KeyChannel::Retail),
        _ => None,
    }
}
