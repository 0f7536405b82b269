//! Where everything on a volume lies, and the file table that says so.

use std::collections::HashMap;

use super::files::{self, FOLDER, HIDDEN_SYSTEM, Listed, VIEW, begin};
use super::index::{self, NODE, upper_case};
use super::record::{IN_USE, IS_FOLDER, IS_VIEW, RECORD, RecordBuilder, kind, utf16};
use super::space::{Run, Space};
use super::system::{BOOT_BYTES, Boot, SYSTEM_READ, SYSTEM_WRITE, Secure, attribute_definitions};
use super::tree::{NodeKind, Tree};
use super::{Contents, Extent, NtfsBuilder, VolumeError, Written};

pub(super) const ROOT_RECORD: u64 = 5;
const EXTEND_RECORD: u64 = 11;
/// The records before this one are the file system's.
pub(super) const FIRST_RECORD: u64 = 64;
/// What mkntfs gives volumes of some size, and the least that Windows takes.
const LOG_BYTES: (u64, u64) = (2 << 20, 512 << 10);

/// A volume whose bytes are decided.
#[derive(Debug)]
pub(super) struct Plan {
    tree: Tree,
    writes: Vec<(Source, Vec<Extent>)>,
    written: Written,
}

#[derive(Debug)]
enum Source {
    Here(Contents),
    Node(usize),
}

impl Plan {
    pub(super) fn new(builder: NtfsBuilder) -> Result<Self, VolumeError> {
        let NtfsBuilder { bytes, cluster_bytes, serial, label, hidden_sectors, gaps, tree } = builder;
        let valid = cluster_bytes.is_power_of_two() && (512..=65536).contains(&cluster_bytes) && bytes >= 4 << 20;
        if !valid || bytes > 1 << 50 {
            return Err(VolumeError::Size { bytes, cluster_bytes });
        }
        let cluster = u64::from(cluster_bytes);
        let sectors = bytes / 512 - 1;
        let clusters = sectors * 512 / cluster;
        let mut planner = Planner {
            cluster,
            clusters,
            clusters_per_node: if cluster <= NODE as u64 { NODE as u64 / cluster } else { NODE as u64 / 512 },
            space: Space::new(bytes, clusters, serial, gaps),
            upper_case: upper_case(),
            writes: Vec::new(),
            scattered: HashMap::new(),
        };
        let records = planner.records(&tree);
        let parts = planner.system_parts(records, bytes, hidden_sectors, serial, label)?;
        let mut table = Table::new(records)?;
        let own = parts.files(cluster);
        for file in &own {
            if let Some(record) = planner.own_record(file, &parts) {
                table.put(file.listed.record, record, file.listed.name)?;
            }
        }
        let listed: Vec<Listed<'_>> = own.iter().map(|file| file.listed.clone()).collect();
        files::write(&mut planner, &tree, &listed, &mut table)?;
        let used = planner.finish(&parts, table);
        let Planner { space, writes, scattered, .. } = planner;
        let extent = |(first, clusters): &Run| Extent { start: first * cluster, len: clusters * cluster };
        let written = Written {
            used_bytes: used * cluster,
            free: space.free().iter().map(extent).collect(),
            files: tree.nodes.len() as u64 - 1,
            file_table: parts.mft.runs.first().map_or(Extent { start: 0, len: 0 }, extent),
            scattered,
        };
        Ok(Self { tree, writes, written })
    }

    pub(super) fn written(&self) -> Written {
        self.written.clone()
    }

    /// What goes where on the volume.
    pub(super) fn contents(&self) -> impl Iterator<Item = (&Contents, &[Extent])> {
        self.writes.iter().filter_map(|(source, extents)| match source {
            Source::Here(contents) => Some((contents, extents.as_slice())),
            Source::Node(node) => match self.tree.nodes.get(*node).map(|node| &node.kind) {
                Some(NodeKind::File { contents, .. }) => Some((contents, extents.as_slice())),
                _ => None,
            },
        })
    }
}

/// An attribute that lies in clusters.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) runs: Vec<Run>,
    pub(super) size: u64,
}

impl Placed {
    pub(super) fn clusters(&self) -> u64 {
        self.runs.iter().map(|(_, clusters)| clusters).sum()
    }
}

/// The file system's own files.
struct Parts {
    boot: Boot,
    boot_file: Placed,
    mirror: Placed,
    mft: Placed,
    mft_bitmap: Placed,
    log: Placed,
    definitions: Placed,
    upper_case: Placed,
    descriptors: Placed,
    bitmap: Placed,
    secure: Secure,
    label: String,
}

struct Own<'a> {
    listed: Listed<'a>,
    placed: Option<&'a Placed>,
}

impl Parts {
    fn files(&self, cluster: u64) -> Vec<Own<'_>> {
        let own = |record, name, placed: Option<&'_ Placed>, flags| {
            let (size, clusters) = placed.map_or((0, 0), |placed| (placed.size, placed.clusters()));
            Listed {
                record,
                parent: ROOT_RECORD,
                name,
                flags: HIDDEN_SYSTEM | flags,
                allocated: clusters * cluster,
                size,
            }
        };
        let all = [
            (0, "$MFT", Some(&self.mft), 0),
            (1, "$MFTMirr", Some(&self.mirror), 0),
            (2, "$LogFile", Some(&self.log), 0),
            (3, "$Volume", None, 0),
            (4, "$AttrDef", Some(&self.definitions), 0),
            (ROOT_RECORD, ".", None, FOLDER),
            (6, "$Bitmap", Some(&self.bitmap), 0),
            (7, "$Boot", Some(&self.boot_file), 0),
            (8, "$BadClus", None, 0),
            (9, "$Secure", None, VIEW),
            (10, "$UpCase", Some(&self.upper_case), 0),
            (EXTEND_RECORD, "$Extend", None, FOLDER),
        ];
        all.into_iter()
            .map(|(record, name, placed, flags)| Own { listed: own(record, name, placed, flags), placed })
            .collect()
    }
}

#[derive(Debug)]
pub(super) struct Planner {
    pub(super) cluster: u64,
    clusters: u64,
    /// In the unit in which nodes are numbered: clusters, or sectors where a node is smaller than a cluster.
    pub(super) clusters_per_node: u64,
    pub(super) space: Space,
    pub(super) upper_case: Vec<u16>,
    writes: Vec<(Source, Vec<Extent>)>,
    pub(super) scattered: HashMap<String, Vec<Extent>>,
}

impl Planner {
    fn records(&self, tree: &Tree) -> u64 {
        let per_cluster = (self.cluster / RECORD as u64).max(8);
        (FIRST_RECORD + tree.nodes.len() as u64 + 15).next_multiple_of(per_cluster)
    }

    fn clusters_for(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.cluster)
    }

    pub(super) fn extents(&self, runs: &[Run]) -> Vec<Extent> {
        runs.iter().map(|(first, n)| Extent { start: first * self.cluster, len: n * self.cluster }).collect()
    }

    /// Takes clusters for so many bytes.
    fn place(&mut self, size: u64) -> Result<Placed, VolumeError> {
        Ok(Placed { runs: vec![self.space.take(self.clusters_for(size))?], size })
    }

    /// Takes clusters and writes these bytes there.
    pub(super) fn store(&mut self, bytes: Vec<u8>) -> Result<Placed, VolumeError> {
        let placed = self.place(bytes.len() as u64)?;
        self.write(bytes, &placed);
        Ok(placed)
    }

    fn write(&mut self, contents: impl Into<Contents>, placed: &Placed) {
        self.writes.push((Source::Here(contents.into()), self.extents(&placed.runs)));
    }

    /// Takes clusters for the contents of a file of the tree.
    pub(super) fn file(&mut self, node: usize, size: u64, pieces: u64) -> Result<Placed, VolumeError> {
        let runs = self.space.take_scattered(self.clusters_for(size), pieces)?;
        let placed = Placed { runs, size };
        self.space.gap(placed.clusters());
        self.writes.push((Source::Node(node), self.extents(&placed.runs)));
        Ok(placed)
    }

    fn system_parts(
        &mut self,
        records: u64,
        bytes: u64,
        hidden_sectors: u32,
        serial: u64,
        label: String,
    ) -> Result<Parts, VolumeError> {
        let boot_file = Placed { runs: vec![self.space.take_at(0, self.clusters_for(BOOT_BYTES))?], size: BOOT_BYTES };
        // In the middle, far from the file table.
        let copied = (4 * RECORD as u64).next_multiple_of(self.cluster);
        let mirror = vec![self.space.take_at(self.clusters / 2, self.clusters_for(copied))?];
        let mirror = Placed { runs: mirror, size: copied };
        let mft_bitmap = self.place((records / 8).next_multiple_of(8))?;
        let mft = self.place(records * RECORD as u64)?;
        let log = self.place(if bytes < 64 << 20 { LOG_BYTES.1 } else { LOG_BYTES.0 })?;
        // An overwritten journal is a clean one; mkntfs leaves it so.
        self.write(Contents::Made { len: log.size, fill: Box::new(|_, buf| buf.fill(0xff)) }, &log);
        let definitions = self.store(attribute_definitions())?;
        let table = self.upper_case.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let upper_case = self.store(table)?;
        let secure = Secure::new(self.clusters_per_node as u8);
        let descriptors = self.store(secure.descriptors.clone())?;
        let bitmap = self.place(self.clusters.div_ceil(64) * 8)?;
        let first = |placed: &Placed| placed.runs.first().map_or(0, |(first, _)| *first);
        let boot = Boot {
            sectors_per_cluster: self.cluster / 512,
            hidden_sectors,
            sectors: bytes / 512 - 1,
            mft: first(&mft),
            mirror: first(&mirror),
            serial,
        };
        let parts = Parts {
            boot,
            boot_file,
            mirror,
            mft,
            mft_bitmap,
            log,
            definitions,
            upper_case,
            descriptors,
            bitmap,
            secure,
            label,
        };
        Ok(parts)
    }

    /// The record of one of the file system's files; none for the root, which comes with the other folders.
    fn own_record(&self, file: &Own<'_>, parts: &Parts) -> Option<RecordBuilder> {
        let cluster = self.cluster as u32;
        let record = |flags, security| begin(&file.listed, IN_USE | flags, security);
        let data = |record: RecordBuilder, name, placed: &Placed| {
            record.clusters(kind::DATA, name, &placed.runs, cluster, placed.size)
        };
        let built = match (file.listed.record, file.placed) {
            (0, Some(placed)) => {
                let (runs, size) = (&parts.mft_bitmap.runs, parts.mft_bitmap.size);
                data(record(0, SYSTEM_READ), "", placed).clusters(kind::BITMAP, "", runs, cluster, size)
            }
            (_, Some(placed)) => data(record(0, SYSTEM_READ), "", placed),
            (3, None) => {
                let version_3_1_clean = [0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0];
                let mut record = record(0, SYSTEM_WRITE);
                if !parts.label.is_empty() {
                    record = record.resident(kind::VOLUME_NAME, "", &utf16(&parts.label));
                }
                record.resident(kind::VOLUME_INFORMATION, "", &version_3_1_clean).resident(kind::DATA, "", &[])
            }
            (8, None) => {
                let record = record(0, SYSTEM_READ).resident(kind::DATA, "", &[]);
                record.hole(kind::DATA, "$Bad", self.clusters, cluster)
            }
            (9, None) => data(record(IS_VIEW, SYSTEM_WRITE), "$SDS", &parts.descriptors)
                .resident(kind::INDEX_ROOT, "$SDH", &parts.secure.by_hash)
                .resident(kind::INDEX_ROOT, "$SII", &parts.secure.by_id),
            (EXTEND_RECORD, None) => {
                let empty = index::entries_of(&[], None);
                let root = index::root(kind::FILE_NAME, 1, self.clusters_per_node as u8, &empty, false);
                record(IS_FOLDER, SYSTEM_WRITE).resident(kind::INDEX_ROOT, "$I30", &root)
            }
            _ => return None,
        };
        Some(built)
    }

    /// Decides the bytes that depend on everything else; gives the number of clusters in use.
    fn finish(&mut self, parts: &Parts, table: Table) -> u64 {
        let head = table.bytes.get(..parts.mirror.size as usize).unwrap_or(&table.bytes).to_vec();
        self.write(head, &parts.mirror);
        self.write(table.bytes, &parts.mft);
        self.write(table.used, &parts.mft_bitmap);
        self.write(self.space.bitmap(), &parts.bitmap);
        let sector = parts.boot.sector();
        self.write(sector.clone(), &parts.boot_file);
        let backup = Extent { start: parts.boot.sectors * 512, len: 512 };
        self.writes.push((Source::Here(sector.into()), vec![backup]));
        self.space.used()
    }
}

/// The file table as bytes.
#[derive(Debug)]
pub(super) struct Table {
    bytes: Vec<u8>,
    used: Vec<u8>,
}

impl Table {
    fn new(records: u64) -> Result<Self, VolumeError> {
        let used = vec![0; (records / 8).next_multiple_of(8) as usize];
        let mut table = Self { bytes: vec![0; records as usize * RECORD], used };
        for number in 0..records {
            let record = RecordBuilder::new(number, 0);
            table.place(number, record, "a free file record")?;
        }
        // Kept for later versions of NTFS: in use, without a name.
        for number in 12..16 {
            let record = RecordBuilder::new(number, IN_USE);
            let record = files::information(record, HIDDEN_SYSTEM, SYSTEM_READ).resident(kind::DATA, "", &[]);
            table.put(number, record, "a reserved file record")?;
        }
        Ok(table)
    }

    /// Puts a record that is in use into the table.
    pub(super) fn put(&mut self, number: u64, record: RecordBuilder, name: &str) -> Result<(), VolumeError> {
        if let Some(byte) = self.used.get_mut((number / 8) as usize) {
            *byte |= 1 << (number % 8);
        }
        self.place(number, record, name)
    }

    fn place(&mut self, number: u64, record: RecordBuilder, name: &str) -> Result<(), VolumeError> {
        let full = || VolumeError::BadPath { path: name.to_owned(), why: "its description does not fit a file record" };
        let bytes = record.finish().ok_or_else(full)?;
        let start = number as usize * RECORD;
        self.bytes.get_mut(start..start + RECORD).ok_or_else(full)?.copy_from_slice(&bytes);
        Ok(())
    }
}
