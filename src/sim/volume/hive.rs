//! A writer of registry hives for simulated masters: keys and values from a list, as one `regf` file of version 1.3.
//!
//! Format: "Windows registry file format specification" by M. Suhanov.

use std::collections::BTreeMap;

use super::record::utf16;

/// The longest value that fits one cell.
const SEGMENT: usize = 16344;
/// Keys with more subkeys than this get a list of lists.
const LIST: usize = 500;
const BIN: usize = 4096;
const TIME: u64 = 134_116_992_000_000_000;
const NONE: u32 = u32::MAX;

#[derive(Debug, Default)]
struct Key {
    /// By upper case, which is the order of lists; with the name as given.
    subkeys: BTreeMap<String, (String, Key)>,
    values: Vec<(String, u32, Vec<u8>)>,
}

impl Key {
    fn at(&mut self, path: &str) -> &mut Key {
        let mut key = self;
        for name in path.split('\\').filter(|name| !name.is_empty()) {
            key = &mut key.subkeys.entry(name.to_uppercase()).or_insert_with(|| (name.to_owned(), Key::default())).1;
        }
        key
    }
}

/// A hive to be.
#[derive(Debug, Default)]
pub struct HiveBuilder {
    root: Key,
}

impl HiveBuilder {
    /// An empty hive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a key, and those above it; `\` separates.
    pub fn key(mut self, path: &str) -> Self {
        self.root.at(path);
        self
    }

    /// Sets a `REG_SZ`.
    pub fn text(self, path: &str, name: &str, text: &str) -> Self {
        self.value(path, name, 1, utf16(&format!("{text}\0")))
    }

    /// Sets a `REG_DWORD`.
    pub fn number(self, path: &str, name: &str, number: u32) -> Self {
        self.value(path, name, 4, number.to_le_bytes().to_vec())
    }

    /// Sets a value of any type; the empty name is the default value.
    pub fn value(mut self, path: &str, name: &str, kind: u32, bytes: Vec<u8>) -> Self {
        self.root.at(path).values.push((name.to_owned(), kind, bytes));
        self
    }

    /// The hive's bytes.
    pub fn build(self) -> Vec<u8> {
        let mut cells = Cells { bytes: Vec::new(), security: 0 };
        cells.security = cells.security_cell();
        let root = cells.key("ROOT", &self.root, NONE);
        let bins = cells.close();
        let mut out = b"regf".to_vec();
        out.extend(1u32.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend(TIME.to_le_bytes());
        for number in [1, 3, 0, 1, root, bins.len() as u32, 1] {
            out.extend(u32::to_le_bytes(number));
        }
        out.resize(508, 0);
        let sum = out.as_chunks::<4>().0.iter().fold(0, |sum, word| sum ^ u32::from_le_bytes(*word));
        out.extend(sum.to_le_bytes());
        out.resize(BIN, 0);
        out.extend(bins);
        out
    }
}

/// One bin that grows: a header and cells.
struct Cells {
    bytes: Vec<u8>,
    security: u32,
}

impl Cells {
    /// Adds a cell; its offset counts from the bin on.
    fn add(&mut self, contents: &[u8]) -> u32 {
        if self.bytes.is_empty() {
            self.bytes = b"hbin".to_vec();
            self.bytes.resize(32, 0);
        }
        let at = self.bytes.len();
        let len = (contents.len() + 4).next_multiple_of(8);
        self.bytes.extend((len as i32).wrapping_neg().to_le_bytes());
        self.bytes.extend(contents);
        self.bytes.resize(at + len, 0);
        at as u32
    }

    fn change(&mut self, cell: u32, field: usize, value: u32) {
        let at = cell as usize + 4 + field;
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn security_cell(&mut self) -> u32 {
        // Owned by the administrators, no list: everyone may do everything.
        let administrators = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
        let mut descriptor = vec![1, 0, 0, 0x80];
        for offset in [20u32, 36, 0, 0] {
            descriptor.extend(offset.to_le_bytes());
        }
        descriptor.extend(administrators);
        descriptor.extend(administrators);
        let mut cell = b"sk\0\0".to_vec();
        cell.extend([0; 8]);
        cell.extend(1u32.to_le_bytes());
        cell.extend((descriptor.len() as u32).to_le_bytes());
        cell.extend(descriptor);
        let at = self.add(&cell);
        // A ring of one.
        self.change(at, 4, at);
        self.change(at, 8, at);
        at
    }

    fn key(&mut self, name: &str, key: &Key, parent: u32) -> u32 {
        let (narrow, name) = stored(name);
        let root = parent == NONE;
        let flags = if root { 0x2c } else { 0 } | if narrow { 0x20 } else { 0 };
        let mut cell = b"nk".to_vec();
        cell.extend(u16::to_le_bytes(flags));
        cell.extend(TIME.to_le_bytes());
        for number in [0, if root { 0 } else { parent }, key.subkeys.len() as u32, 0, NONE, NONE] {
            cell.extend(u32::to_le_bytes(number));
        }
        let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0) as u32;
        let names = longest(&mut key.subkeys.values().map(|(name, _)| name.encode_utf16().count() * 2));
        let value_names = longest(&mut key.values.iter().map(|(name, ..)| name.encode_utf16().count() * 2));
        let value_bytes = longest(&mut key.values.iter().map(|(.., bytes)| bytes.len()));
        for number in [key.values.len() as u32, NONE, self.security, NONE, names, 0, value_names, value_bytes, 0] {
            cell.extend(number.to_le_bytes());
        }
        cell.extend((name.len() as u16).to_le_bytes());
        cell.extend([0; 2]);
        cell.extend(name);
        let at = self.add(&cell);
        if !key.values.is_empty() {
            let values: Vec<u8> = key.values.iter().flat_map(|value| self.value(value).to_le_bytes()).collect();
            let list = self.add(&values);
            self.change(at, 40, list);
        }
        if !key.subkeys.is_empty() {
            let subkeys: Vec<(u32, u32)> =
                key.subkeys.iter().map(|(upper, (name, key))| (self.key(name, key, at), hash(upper))).collect();
            let list = self.lists(&subkeys);
            self.change(at, 28, list);
        }
        at
    }

    fn lists(&mut self, subkeys: &[(u32, u32)]) -> u32 {
        let list = |cells: &mut Self, part: &[(u32, u32)]| {
            let mut cell = b"lh".to_vec();
            cell.extend((part.len() as u16).to_le_bytes());
            for (key, hash) in part {
                cell.extend(key.to_le_bytes());
                cell.extend(hash.to_le_bytes());
            }
            cells.add(&cell)
        };
        if subkeys.len() <= LIST {
            return list(self, subkeys);
        }
        let parts: Vec<u32> = subkeys.chunks(LIST).map(|part| list(self, part)).collect();
        let mut cell = b"ri".to_vec();
        cell.extend((parts.len() as u16).to_le_bytes());
        cell.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
        self.add(&cell)
    }

    fn value(&mut self, (name, kind, bytes): &(String, u32, Vec<u8>)) -> u32 {
        let (narrow, name) = stored(name);
        let (size, data) = if bytes.len() <= 4 {
            let mut inline = [0; 4];
            inline[..bytes.len()].copy_from_slice(bytes);
            (bytes.len() as u32 | 0x8000_0000, u32::from_le_bytes(inline))
        } else {
            (bytes.len() as u32, self.data(bytes))
        };
        let mut cell = b"vk".to_vec();
        cell.extend((name.len() as u16).to_le_bytes());
        for number in [size, data, *kind] {
            cell.extend(number.to_le_bytes());
        }
        cell.extend(u16::from(narrow).to_le_bytes());
        cell.extend([0; 2]);
        cell.extend(name);
        self.add(&cell)
    }

    fn data(&mut self, bytes: &[u8]) -> u32 {
        if bytes.len() <= SEGMENT {
            return self.add(bytes);
        }
        let segments: Vec<u32> = bytes.chunks(SEGMENT).map(|segment| self.add(segment)).collect();
        let list: Vec<u8> = segments.iter().flat_map(|segment| segment.to_le_bytes()).collect();
        let list = self.add(&list);
        let mut cell = b"db".to_vec();
        cell.extend((segments.len() as u16).to_le_bytes());
        cell.extend(list.to_le_bytes());
        self.add(&cell)
    }

    /// Fills the bin up with a free cell and writes its header.
    fn close(mut self) -> Vec<u8> {
        let used = self.bytes.len();
        let end = used.next_multiple_of(BIN);
        self.bytes.resize(end, 0);
        if used < end {
            self.bytes[used..used + 4].copy_from_slice(&((end - used) as i32).to_le_bytes());
        }
        self.bytes[8..12].copy_from_slice(&(end as u32).to_le_bytes());
        self.bytes[20..28].copy_from_slice(&TIME.to_le_bytes());
        self.bytes
    }
}

/// Names in Latin-1 take one byte a letter.
fn stored(name: &str) -> (bool, Vec<u8>) {
    match name.chars().map(|letter| u8::try_from(letter).ok()).collect() {
        Some(bytes) => (true, bytes),
        None => (false, utf16(name)),
    }
}

/// The hash of `lh` lists, over the name in upper case.
fn hash(upper: &str) -> u32 {
    upper.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(37).wrapping_add(u32::from(unit)))
}
