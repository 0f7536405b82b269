//! Directories: finding a file by its path.

use std::collections::HashSet;

use super::field::{slice_at, u8_at, u16_at, u32_at, u64_at};
use super::record::{RECORD_NUMBER, fix_up, kind};
use super::stream::Stream;
use super::{FileSystem, NtfsError, damaged};

/// The record of the root directory.
const ROOT: u64 = 5;
const INDEX: &str = "$I30";

/// What an entry of an index is followed by, and whether it was the last of its node.
struct Entry<'a> {
    record: u64,
    name: Option<&'a [u8]>,
    below: Option<u64>,
    last: bool,
    len: usize,
}

impl<'a> Entry<'a> {
    fn parse(rest: &'a [u8]) -> Option<Self> {
        let len = usize::from(u16_at(rest, 8)?);
        let bytes = rest.get(..len).filter(|bytes| bytes.len() >= 16)?;
        let flags = u16_at(bytes, 12)?;
        let last = flags & 2 != 0;
        let below = if flags & 1 != 0 { Some(u64_at(bytes, len.checked_sub(8)?)?) } else { None };
        let name = if last {
            None
        } else {
            let key = slice_at(bytes, 16, usize::from(u16_at(bytes, 10)?))?;
            Some(slice_at(key, 66, usize::from(u8_at(key, 64)?) * 2)?)
        };
        Some(Self { record: u64_at(bytes, 0)? & RECORD_NUMBER, name, below, last, len })
    }
}

impl FileSystem<'_> {
    /// The record of the file with this path, without regard to case.
    pub(super) fn find(&self, path: &str) -> Result<Option<u64>, NtfsError> {
        let mut record = ROOT;
        for name in path.split(['/', '\\']).filter(|name| !name.is_empty()) {
            match self.find_in(record, name)? {
                Some(found) => record = found,
                None => return Ok(None),
            }
        }
        Ok(Some(record))
    }

    /// Walks the whole tree rather than descending by order: the order depends on the volume's own upper-case table,
    /// and a node that sorts wrongly is no reason to miss a page file.
    fn find_in(&self, directory: u64, name: &str) -> Result<Option<u64>, NtfsError> {
        let record = self.record(directory)?;
        if !record.is_directory() {
            return Ok(None);
        }
        let broken = || damaged(format!("the index of directory {directory}"));
        let root = self.stream(&record, kind::INDEX_ROOT, INDEX)?.ok_or_else(broken)?;
        let root = self.read_all(&root, 64 << 10)?;
        let node_bytes = u32_at(&root, 8).ok_or_else(broken)?;
        if !node_bytes.is_power_of_two() || !(512..=64 << 10).contains(&node_bytes) {
            return Err(broken());
        }
        let name: Vec<u16> = name.encode_utf16().map(fold).collect();
        let mut below = Vec::new();
        if let Some(found) = search(root.get(16..).unwrap_or(&[]), &name, &mut below).ok_or_else(broken)? {
            return Ok(Some(found));
        }
        if below.is_empty() {
            return Ok(None);
        }
        let nodes = self.stream(&record, kind::INDEX_ALLOCATION, INDEX)?.ok_or_else(broken)?;
        let mut seen = HashSet::new();
        while let Some(node) = below.pop() {
            if !seen.insert(node) || seen.len() as u64 > nodes.size() / u64::from(node_bytes) {
                return Err(broken());
            }
            let bytes = self.node(&nodes, node, node_bytes)?;
            if let Some(found) = search(bytes.get(24..).unwrap_or(&[]), &name, &mut below).ok_or_else(broken)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn node(&self, nodes: &Stream, number: u64, node_bytes: u32) -> Result<Vec<u8>, NtfsError> {
        // Nodes smaller than a cluster are counted in sectors.
        let unit = if node_bytes >= self.cluster_bytes() { u64::from(self.cluster_bytes()) } else { 512 };
        let offset = number.checked_mul(unit).ok_or_else(|| damaged("the number of an index node"))?;
        let mut bytes = vec![0; node_bytes as usize];
        self.read(nodes, offset, &mut bytes)?;
        fix_up(&mut bytes, b"INDX")?;
        Ok(bytes)
    }
}

/// Looks through one node, whose index header is at the start of `header`: the record found, if any; the nodes under it
/// are added to `below`. None if the node is broken.
fn search(header: &[u8], name: &[u16], below: &mut Vec<u64>) -> Option<Option<u64>> {
    let first = usize::try_from(u32_at(header, 0)?).ok()?;
    let end = usize::try_from(u32_at(header, 4)?).ok()?;
    let mut rest = header.get(first..end)?;
    loop {
        let entry = Entry::parse(rest)?;
        below.extend(entry.below);
        if entry.last {
            return Some(None);
        }
        let units = entry.name?.as_chunks::<2>().0.iter().map(|unit| fold(u16::from_le_bytes(*unit)));
        if units.eq(name.iter().copied()) {
            return Some(Some(entry.record));
        }
        rest = rest.get(entry.len..)?;
    }
}

/// Upper case as far as one UTF-16 unit can say it, which is how NTFS compares.
fn fold(unit: u16) -> u16 {
    let Some(letter) = char::from_u32(u32::from(unit)) else { return unit };
    let mut upper = letter.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => u16::try_from(u32::from(upper)).unwrap_or(unit),
        _ => unit,
    }
}
