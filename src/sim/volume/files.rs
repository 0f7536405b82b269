//! The records and indexes of files and folders.

use super::Contents;
use super::VolumeError;
use super::index::{self, Entry, Index, NODE};
use super::plan::{FIRST_RECORD, Placed, Planner, ROOT_RECORD, Table};
use super::record::{IN_USE, IS_FOLDER, RecordBuilder, kind, reference, utf16};
use super::system::EVERYONE;
use super::tree::{NodeKind, ROOT, Tree};

/// Up to here contents stand in the file record.
const RESIDENT: u64 = 300;

/// 1 January 2026 in units of 100 ns since 1601: every file has this time, so that volumes are reproducible.
const TIME: u64 = 134_116_992_000_000_000;

pub(super) const HIDDEN_SYSTEM: u32 = 6;
const ARCHIVE: u32 = 0x20;
/// Where a name is stored, the flag of a folder and that of a view; they are no attributes of the file itself.
pub(super) const FOLDER: u32 = 0x1000_0000;
pub(super) const VIEW: u32 = 0x2000_0000;

/// How a file appears under its name.
#[derive(Debug, Clone)]
pub(super) struct Listed<'a> {
    pub(super) record: u64,
    pub(super) parent: u64,
    pub(super) name: &'a str,
    pub(super) flags: u32,
    pub(super) allocated: u64,
    pub(super) size: u64,
}

impl Listed<'_> {
    /// The value of `$FILE_NAME`, which is also the key in the folder's index.
    fn key(&self) -> Vec<u8> {
        let mut out = reference(self.parent).to_le_bytes().to_vec();
        for value in [TIME, TIME, TIME, TIME, self.allocated, self.size, u64::from(self.flags)] {
            out.extend(value.to_le_bytes());
        }
        let name = utf16(self.name);
        out.extend([(name.len() / 2) as u8, if is_short(self.name) { 3 } else { 1 }]);
        out.extend(name);
        out
    }
}

/// Whether DOS could have named a file so; then one name serves for both.
fn is_short(name: &str) -> bool {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-$~!#%&@".contains(&byte));
    name == "." || ((1..=8).contains(&base.len()) && extension.len() <= 3 && plain(base) && plain(extension))
}

pub(super) fn information(record: RecordBuilder, flags: u32, security: u32) -> RecordBuilder {
    let mut value = Vec::new();
    for _ in 0..4 {
        value.extend(TIME.to_le_bytes());
    }
    value.extend(flags.to_le_bytes());
    value.resize(52, 0);
    value.extend(security.to_le_bytes());
    value.resize(72, 0);
    record.resident(kind::STANDARD_INFORMATION, "", &value)
}

/// The attributes that every file begins with.
pub(super) fn begin(listed: &Listed<'_>, record_flags: u16, security: u32) -> RecordBuilder {
    let record = RecordBuilder::new(listed.record, record_flags);
    let record = information(record, listed.flags & !FOLDER, security);
    record.resident(kind::FILE_NAME, "", &listed.key())
}

fn record_of(node: usize) -> u64 {
    if node == ROOT { ROOT_RECORD } else { FIRST_RECORD + node as u64 - 1 }
}

/// Places all files and folders of the tree and puts their records into the table. `own` are the file system's files,
/// which the root lists too.
pub(super) fn write(
    planner: &mut Planner,
    tree: &Tree,
    own: &[Listed<'_>],
    table: &mut Table,
) -> Result<(), VolumeError> {
    let listed: Vec<Listed<'_>> = (0..tree.nodes.len()).map(|node| list(tree, node, planner.cluster)).collect();
    for (index, (node, listed)) in tree.nodes.iter().zip(&listed).enumerate() {
        if let NodeKind::File { contents, pieces } = &node.kind {
            let record = file(planner, tree, index, listed, contents, *pieces)?;
            table.put(listed.record, record, listed.name)?;
        }
    }
    for (node, itself) in tree.nodes.iter().zip(&listed) {
        let NodeKind::Folder(children) = &node.kind else { continue };
        let children = children.iter().filter_map(|child| listed.get(*child));
        let system = own.iter().filter(|_| itself.record == ROOT_RECORD);
        let itself = system.clone().find(|listed| listed.record == ROOT_RECORD).unwrap_or(itself);
        let entries = entries(planner, system.chain(children));
        let record = folder(planner, begin(itself, IN_USE | IS_FOLDER, EVERYONE), entries)?;
        table.put(itself.record, record, itself.name)?;
    }
    Ok(())
}

fn list(tree: &Tree, index: usize, cluster: u64) -> Listed<'_> {
    let (name, parent, kind) =
        tree.nodes.get(index).map_or(("", ROOT, None), |node| (node.name.as_str(), node.parent, Some(&node.kind)));
    let (flags, allocated, size) = match kind {
        Some(NodeKind::File { contents, pieces }) => {
            let size = contents.len();
            let allocated = size.next_multiple_of(if is_resident(contents) { 8 } else { cluster });
            (if *pieces > 1 { HIDDEN_SYSTEM | ARCHIVE } else { ARCHIVE }, allocated, size)
        }
        _ => (FOLDER, 0, 0),
    };
    Listed { record: record_of(index), parent: record_of(parent), name, flags, allocated, size }
}

fn is_resident(contents: &Contents) -> bool {
    contents.len() == 0 || matches!(contents, Contents::Bytes(bytes) if bytes.len() as u64 <= RESIDENT)
}

fn file(
    planner: &mut Planner,
    tree: &Tree,
    node: usize,
    listed: &Listed<'_>,
    contents: &Contents,
    pieces: u64,
) -> Result<RecordBuilder, VolumeError> {
    let record = begin(listed, IN_USE, EVERYONE);
    match contents {
        Contents::Bytes(bytes) if is_resident(contents) => Ok(record.resident(kind::DATA, "", bytes)),
        _ if contents.len() == 0 => Ok(record.resident(kind::DATA, "", &[])),
        _ => {
            let Placed { runs, size } = planner.file(node, contents.len(), pieces)?;
            if pieces > 1 {
                let extents = planner.extents(&runs);
                planner.scattered.insert(tree.path(node), extents);
            }
            Ok(record.clusters(kind::DATA, "", &runs, planner.cluster as u32, size))
        }
    }
}

/// In the order of NTFS: by upper case, shorter names first.
fn entries<'a>(planner: &Planner, listed: impl Iterator<Item = &'a Listed<'a>>) -> Vec<Entry> {
    let upper = |unit: u16| planner.upper_case.get(usize::from(unit)).copied().unwrap_or(unit);
    let mut sorted: Vec<(Vec<u16>, Entry)> = listed
        .map(|listed| {
            let order = listed.name.encode_utf16().map(upper).collect();
            (order, Entry { reference: reference(listed.record), key: listed.key(), below: None })
        })
        .collect();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    sorted.into_iter().map(|(_, entry)| entry).collect()
}

fn folder(planner: &mut Planner, record: RecordBuilder, entries: Vec<Entry>) -> Result<RecordBuilder, VolumeError> {
    // Beside the root's own header, room is kept for the attributes that say where nodes are.
    let room = record.room().saturating_sub(24 + 8 + 32 + 88 + 48);
    let index = Index::new(entries, room, planner.clusters_per_node);
    let large = !index.nodes.is_empty();
    let root = index::root(kind::FILE_NAME, 1, planner.clusters_per_node as u8, &index.root, large);
    let record = record.resident(kind::INDEX_ROOT, "$I30", &root);
    if !large {
        return Ok(record);
    }
    let count = index.nodes.len();
    let mut used = vec![0u8; count.div_ceil(64) * 8];
    for node in 0..count {
        used[node / 8] |= 1 << (node % 8);
    }
    let placed = planner.store(index.nodes.concat())?;
    let cluster = planner.cluster as u32;
    let record = record.clusters(kind::INDEX_ALLOCATION, "$I30", &placed.runs, cluster, (count * NODE) as u64);
    if used.len() <= 8 {
        return Ok(record.resident(kind::BITMAP, "$I30", &used));
    }
    let size = used.len() as u64;
    let placed = planner.store(used)?;
    Ok(record.clusters(kind::BITMAP, "$I30", &placed.runs, cluster, size))
}
