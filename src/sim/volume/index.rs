//! Indexes of folders: B-trees, built whole from the sorted names.

use super::record::{pad, protect};

/// The size of a node in bytes.
pub(super) const NODE: usize = 4096;
/// Where the entries of a node begin.
const ENTRIES: usize = 0x40;

/// The upper-case table of the volume: one unit for each unit of UTF-16.
pub(super) fn upper_case() -> Vec<u16> {
    (0..=u16::MAX)
        .map(|unit| {
            let mut upper = char::from_u32(u32::from(unit)).into_iter().flat_map(char::to_uppercase);
            match (upper.next().map(u32::from), upper.next()) {
                // Windows leaves the letters alone whose capitals are ASCII, such as the dotless i.
                (Some(one), None) if one > 0x7f || unit < 0x80 => u16::try_from(one).unwrap_or(unit),
                _ => unit,
            }
        })
        .collect()
}

/// One entry: a key, what it refers to, and the node with what sorts before it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) reference: u64,
    pub(super) key: Vec<u8>,
    pub(super) below: Option<u64>,
}

impl Entry {
    fn len(&self) -> usize {
        (16 + self.key.len()).next_multiple_of(8) + if self.below.is_some() { 8 } else { 0 }
    }
}

/// An index: the entries of its root as bytes, and its nodes.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) root: Vec<u8>,
    pub(super) nodes: Vec<Vec<u8>>,
}

impl Index {
    /// From sorted entries. `room` is how many bytes of entries the root holds; nodes are numbered in steps of `step`.
    pub(super) fn new(entries: Vec<Entry>, room: usize, step: u64) -> Self {
        let mut nodes = Vec::new();
        let (mut level, mut last) = (entries, None);
        while level.iter().map(Entry::len).sum::<usize>() + 24 > room {
            (level, last) = split(level, last, step, &mut nodes);
        }
        Self { root: entries_of(&level, last), nodes }
    }
}

/// Moves entries into new nodes. What is left are those that stand between the nodes, and the node after the last.
fn split(level: Vec<Entry>, last: Option<u64>, step: u64, nodes: &mut Vec<Vec<u8>>) -> (Vec<Entry>, Option<u64>) {
    // Not quite full, as Windows leaves them, so that a new file does not split a node at once.
    let room = (NODE - ENTRIES) * 7 / 8;
    let mut between = Vec::new();
    let mut rest = level.as_slice();
    loop {
        let mut size = 24;
        let fitting = rest.iter().take_while(|entry| {
            size += entry.len();
            size <= room
        });
        let mut count = fitting.count();
        let number = nodes.len() as u64 * step;
        if count == rest.len() {
            nodes.push(node(rest, last, number));
            return (between, Some(number));
        }
        // The node after the last entry that moves up must not be empty.
        if count + 1 == rest.len() {
            count -= 1;
        }
        let (here, behind) = rest.split_at(count);
        if let Some((up, behind)) = behind.split_first() {
            nodes.push(node(here, up.below, number));
            between.push(Entry { below: Some(number), ..up.clone() });
            rest = behind;
        }
    }
}

/// The bytes of entries and of the end entry behind them.
pub(super) fn entries_of(entries: &[Entry], last: Option<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        out.extend(entry.reference.to_le_bytes());
        out.extend((entry.len() as u16).to_le_bytes());
        out.extend((entry.key.len() as u16).to_le_bytes());
        out.extend(u32::from(entry.below.is_some()).to_le_bytes());
        out.extend(&entry.key);
        pad(&mut out);
        out.extend(entry.below.iter().flat_map(|node| node.to_le_bytes()));
    }
    out.extend([0; 8]);
    out.extend(if last.is_some() { 24u16 } else { 16 }.to_le_bytes());
    out.extend([0; 2]);
    out.extend((2 | u32::from(last.is_some())).to_le_bytes());
    out.extend(last.iter().flat_map(|node| node.to_le_bytes()));
    out
}

fn node(entries: &[Entry], last: Option<u64>, number: u64) -> Vec<u8> {
    let entries = entries_of(entries, last);
    let mut out = b"INDX".to_vec();
    out.extend(0x28u16.to_le_bytes());
    out.extend((NODE as u16 / 512 + 1).to_le_bytes());
    out.extend(0u64.to_le_bytes());
    out.extend(number.to_le_bytes());
    // Counted from this header on.
    out.extend((ENTRIES as u32 - 0x18).to_le_bytes());
    out.extend(((ENTRIES - 0x18 + entries.len()) as u32).to_le_bytes());
    out.extend((NODE as u32 - 0x18).to_le_bytes());
    out.extend(u32::from(last.is_some()).to_le_bytes());
    out.resize(ENTRIES, 0);
    out.extend(entries);
    out.resize(NODE, 0);
    protect(&mut out, 0x28);
    out
}

/// The value of an index root. `kind` is the type of the attribute that is indexed, `rule` how it is sorted.
pub(super) fn root(kind: u32, rule: u32, clusters_per_node: u8, entries: &[u8], large: bool) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(kind.to_le_bytes());
    out.extend(rule.to_le_bytes());
    out.extend((NODE as u32).to_le_bytes());
    out.extend(u32::from(clusters_per_node).to_le_bytes());
    out.extend(16u32.to_le_bytes());
    let len = (16 + entries.len()) as u32;
    out.extend(len.to_le_bytes());
    out.extend(len.to_le_bytes());
    out.extend(u32::from(large).to_le_bytes());
    out.extend(entries);
    out
}
