//! File records as bytes.

use super::space::Run;

/// The size of a file record in bytes.
pub(super) const RECORD: usize = 1024;

/// Attribute types.
pub(super) mod kind {
    pub(in crate::sim::volume) const STANDARD_INFORMATION: u32 = 0x10;
    pub(in crate::sim::volume) const FILE_NAME: u32 = 0x30;
    pub(in crate::sim::volume) const VOLUME_NAME: u32 = 0x60;
    pub(in crate::sim::volume) const VOLUME_INFORMATION: u32 = 0x70;
    pub(in crate::sim::volume) const DATA: u32 = 0x80;
    pub(in crate::sim::volume) const INDEX_ROOT: u32 = 0x90;
    pub(in crate::sim::volume) const INDEX_ALLOCATION: u32 = 0xa0;
    pub(in crate::sim::volume) const BITMAP: u32 = 0xb0;
}

pub(super) const IN_USE: u16 = 1;
pub(super) const IS_FOLDER: u16 = 2;
pub(super) const IS_VIEW: u16 = 8;

/// Text as NTFS stores it.
pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Fills `bytes` with zeros up to a multiple of eight.
pub(super) fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

/// Moves the last two bytes of each sector into the update sequence at `at` and puts a counter in their place.
pub(super) fn protect(bytes: &mut [u8], at: usize) {
    let stamp = 1u16.to_le_bytes();
    bytes[at..at + 2].copy_from_slice(&stamp);
    for sector in 1..=bytes.len() / 512 {
        let end = sector * 512 - 2;
        let saved = [bytes[end], bytes[end + 1]];
        bytes[at + 2 * sector..at + 2 * sector + 2].copy_from_slice(&saved);
        bytes[end..end + 2].copy_from_slice(&stamp);
    }
}

/// A record under construction; attributes are added in the order of their types.
#[derive(Debug)]
pub(super) struct RecordBuilder {
    number: u64,
    sequence: u16,
    flags: u16,
    links: u16,
    next_id: u16,
    attributes: Vec<u8>,
}

/// The bytes before the first attribute.
const HEADER: usize = 0x38;

impl RecordBuilder {
    pub(super) fn new(number: u64, flags: u16) -> Self {
        Self { number, sequence: sequence(number), flags, links: 0, next_id: 0, attributes: Vec::new() }
    }

    /// How many bytes of attributes still fit.
    pub(super) fn room(&self) -> usize {
        (RECORD - HEADER - 8).saturating_sub(self.attributes.len())
    }

    pub(super) fn resident(mut self, kind: u32, name: &str, value: &[u8]) -> Self {
        let name = utf16(name);
        let value_at = (24 + name.len()).next_multiple_of(8);
        let len = (value_at + value.len()).next_multiple_of(8);
        let indexed = kind == kind::FILE_NAME;
        self.links += u16::from(indexed);
        self.head(kind, len, false, &name, 24);
        let out = &mut self.attributes;
        out.extend((value.len() as u32).to_le_bytes());
        out.extend((value_at as u16).to_le_bytes());
        out.extend([u8::from(indexed), 0]);
        out.extend(&name);
        pad(out);
        out.extend(value);
        pad(out);
        self
    }

    /// An attribute in clusters. `hole` is the number of clusters of an attribute without any.
    pub(super) fn clusters(self, kind: u32, name: &str, runs: &[Run], cluster_bytes: u32, size: u64) -> Self {
        let clusters: u64 = runs.iter().map(|(_, clusters)| clusters).sum();
        self.placed(kind, name, &run_list(runs), clusters, cluster_bytes, size, size)
    }

    /// An attribute that is one hole of so many clusters.
    pub(super) fn hole(self, kind: u32, name: &str, clusters: u64, cluster_bytes: u32) -> Self {
        let len = number(clusters);
        let list = [&[len.len() as u8][..], &len, &[0]].concat();
        self.placed(kind, name, &list, clusters, cluster_bytes, clusters * u64::from(cluster_bytes), 0)
    }

    fn placed(
        mut self,
        kind: u32,
        name: &str,
        list: &[u8],
        clusters: u64,
        cluster_bytes: u32,
        size: u64,
        initialized: u64,
    ) -> Self {
        let name = utf16(name);
        let list_at = (64 + name.len()).next_multiple_of(8);
        let len = (list_at + list.len()).next_multiple_of(8);
        self.head(kind, len, true, &name, 64);
        let out = &mut self.attributes;
        out.extend(0u64.to_le_bytes());
        out.extend(clusters.saturating_sub(1).to_le_bytes());
        out.extend((list_at as u16).to_le_bytes());
        out.extend([0; 6]);
        for value in [clusters * u64::from(cluster_bytes), size, initialized] {
            out.extend(value.to_le_bytes());
        }
        out.extend(&name);
        pad(out);
        out.extend(list);
        pad(out);
        self
    }

    fn head(&mut self, kind: u32, len: usize, in_clusters: bool, name: &[u8], name_at: u16) {
        let out = &mut self.attributes;
        out.extend(kind.to_le_bytes());
        out.extend((len as u32).to_le_bytes());
        out.extend([u8::from(in_clusters), (name.len() / 2) as u8]);
        out.extend(name_at.to_le_bytes());
        out.extend(0u16.to_le_bytes());
        out.extend(self.next_id.to_le_bytes());
        self.next_id += 1;
    }

    /// The record's bytes; none where the attributes do not fit.
    pub(super) fn finish(self) -> Option<[u8; RECORD]> {
        let mut out = [0; RECORD];
        let end = HEADER + self.attributes.len();
        out.get_mut(HEADER..end).filter(|_| end + 8 <= RECORD)?.copy_from_slice(&self.attributes);
        out[end..end + 4].copy_from_slice(&[0xff; 4]);
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"FILE");
        put(4, &0x30u16.to_le_bytes());
        put(6, &(RECORD as u16 / 512 + 1).to_le_bytes());
        put(0x10, &self.sequence.to_le_bytes());
        put(0x12, &self.links.to_le_bytes());
        put(0x14, &(HEADER as u16).to_le_bytes());
        put(0x16, &self.flags.to_le_bytes());
        put(0x18, &(end as u32 + 8).to_le_bytes());
        put(0x1c, &(RECORD as u32).to_le_bytes());
        put(0x28, &self.next_id.to_le_bytes());
        put(0x2c, &(self.number as u32).to_le_bytes());
        protect(&mut out, 0x30);
        Some(out)
    }
}

/// How often a record was used: the file system's own count their number.
fn sequence(number: u64) -> u16 {
    if number < 16 { (number as u16).max(1) } else { 1 }
}

/// A file reference: the record's number and how often it was used.
pub(super) fn reference(number: u64) -> u64 {
    number | u64::from(sequence(number)) << 48
}

fn run_list(runs: &[Run]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut before = 0;
    for (first, clusters) in runs {
        let (len, delta) = (number(*clusters), number(first.wrapping_sub(before)));
        out.push((delta.len() << 4 | len.len()) as u8);
        out.extend(len);
        out.extend(delta);
        before = *first;
    }
    out.push(0);
    out
}

/// The fewest bytes that hold a number with its sign.
fn number(value: u64) -> Vec<u8> {
    let signed = value as i64;
    let len = (1..8).find(|len| signed << (64 - 8 * len) >> (64 - 8 * len) == signed).unwrap_or(8);
    signed.to_le_bytes()[..len].to_vec()
}
