//! Partition tables: how a disk is divided into regions, and which sectors make it bootable.
//!
//! Two readers with two attitudes. [`read`] serves capture: it wants a table without contradictions, both copies of a GPT
//! included, since every PC of a room will get it. [`gates_of`] serves the agent, which must close whatever it finds on a
//! PC: blank, foreign or half written.

use std::io;

use super::ntfs::ReadAt;
use super::{Extent, FirmwareKind, Region, RegionKind, TableKind};

mod gpt;
mod mbr;
#[cfg(test)]
pub(crate) mod tests;

/// Where the first partition begins on disks that today's tools divide.
const ALIGNMENT: u64 = 1 << 20;

/// The size of the note in bytes: one sector of any disk.
const NOTE_BYTES: u64 = 4096;

/// Why a disk's division was refused.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The medium did not answer.
    #[error("cannot read the partition table at byte {offset}")]
    Io {
        /// Where.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Neither 512 nor 4096.
    #[error("the disk has sectors of {0} bytes; only 512 and 4096 are supported")]
    SectorSize(u32),
    /// No table, or one without partitions.
    #[error("the disk has no partition table with partitions; is it the right disk?")]
    NoTable,
    /// A file system without a table around it.
    #[error("the disk holds a file system without a partition table; give the whole disk, not one partition of it")]
    NotDivided,
    /// The first copy of the GPT is damaged, the second is good.
    #[error(
        "the GPT at the start of the disk is damaged, its backup at the end is good; restore it on the master (gdisk: r, \
         b, c, w), start Windows once, capture again"
    )]
    PrimaryDamaged,
    /// The second copy of the GPT is damaged or not at the end of the disk.
    #[error(
        "the GPT's backup at the end of the disk is damaged, missing or not at the end; repair it on the master (sgdisk -e), \
         capture again"
    )]
    BackupDamaged,
    /// Both copies of the GPT are damaged.
    #[error("both copies of the GPT are damaged; repair the partition table on the master, capture again")]
    BothDamaged,
    /// The table contradicts itself or the disk.
    #[error("the partition table is inconsistent: {what}; repair it on the master, capture again")]
    Inconsistent {
        /// What does not fit.
        what: String,
    },
    /// A disk under the Logical Disk Manager, whose database lies outside the partitions.
    #[error("the disk is a dynamic disk; make it a basic one on the master, capture again")]
    DynamicDisk,
}

fn inconsistent(what: impl Into<String>) -> LayoutError {
    LayoutError::Inconsistent { what: what.into() }
}

/// How a disk is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The kind of partition table.
    pub table: TableKind,
    /// The logical sector size in bytes.
    pub sector_bytes: u32,
    /// The regions in disk order. Gaps between partitions belong to none.
    pub regions: Vec<Region>,
    /// One sector each: sector 0 and the first sector of every EFI system partition, in disk order.
    pub gate: Vec<Extent>,
    /// Where the agent may leave its note, where there is room for it.
    pub note: Option<Extent>,
    /// Which firmware can start the disk, as far as its table tells.
    pub firmware: Option<FirmwareKind>,
}

/// A partition as a table gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Partition {
    number: u32,
    extent: Extent,
    esp: bool,
}

/// What a table says.
struct Table {
    kind: TableKind,
    partitions: Vec<Partition>,
    /// Sectors of the table that lie among the partitions, and the backup at the end.
    further: Vec<Region>,
    /// The first byte behind the table itself.
    table_end: u64,
    firmware: Option<FirmwareKind>,
}

/// Reads the division of a disk of `size` bytes for capture.
///
/// # Errors
/// [`LayoutError`]: a table that no PC should get, or no table.
pub fn read(disk: &dyn ReadAt, size: u64, sector_bytes: u32) -> Result<Layout, LayoutError> {
    if !matches!(sector_bytes, 512 | 4096) {
        return Err(LayoutError::SectorSize(sector_bytes));
    }
    let sector = u64::from(sector_bytes);
    if size < 4 * sector {
        return Err(LayoutError::NoTable);
    }
    let reader = Sectors { disk, size, sector };
    let first = reader.sector(0)?;
    let records = mbr::Records::of(&first);
    let protective = records.as_ref().is_some_and(mbr::Records::is_protective);
    let table = match records {
        Some(records) if !protective => mbr::read(&reader, &records)?,
        _ if protective || gpt::is_present(&reader)? => gpt::read(&reader)?,
        _ if !file_system(&first).is_empty() => return Err(LayoutError::NotDivided),
        _ => return Err(LayoutError::NoTable),
    };
    divide(&reader, table)
}

fn divide(reader: &Sectors<'_>, table: Table) -> Result<Layout, LayoutError> {
    let first_start = table.partitions.iter().map(|p| p.extent.start).min().ok_or(LayoutError::NoTable)?;
    let further_start = table.further.iter().map(|region| region.extent.start).min().unwrap_or(u64::MAX);
    // Boot loaders hide between the table and the first megabyte; what lies behind that and before a late first
    // partition is nobody's.
    let table_end = first_start.min(further_start).min(ALIGNMENT.max(table.table_end));
    let mut regions = vec![Region { kind: RegionKind::Table, extent: Extent { start: 0, len: table_end } }];
    let mut gate = vec![Extent { start: 0, len: reader.sector }];
    for partition in table.partitions {
        let boot_sector = reader.at(partition.extent.start)?;
        if partition.esp {
            gate.push(Extent { start: partition.extent.start, len: reader.sector });
        }
        let kind = RegionKind::Partition {
            number: partition.number,
            esp: partition.esp,
            file_system: file_system(&boot_sector).to_owned(),
        };
        regions.push(Region { kind, extent: partition.extent });
    }
    regions.extend(table.further);
    regions.sort_by_key(|region| region.extent);
    gate.sort();
    for pair in regions.windows(2) {
        if let [left, right] = pair
            && left.extent.end() > right.extent.start
        {
            return Err(inconsistent(format!("{} and {} overlap", name_of(left), name_of(right))));
        }
    }
    let note = note_place(reader, table_end, table.table_end)?;
    Ok(Layout { table: table.kind, sector_bytes: reader.sector as u32, regions, gate, note, firmware: table.firmware })
}

fn name_of(region: &Region) -> String {
    match &region.kind {
        RegionKind::Table => format!("the table at byte {}", region.extent.start),
        RegionKind::Partition { number, .. } => format!("partition {number}"),
        RegionKind::BackupTable => "the backup table".to_owned(),
    }
}

fn note_place(reader: &Sectors<'_>, region_end: u64, table_end: u64) -> Result<Option<Extent>, LayoutError> {
    let note = Extent { start: ALIGNMENT - NOTE_BYTES, len: NOTE_BYTES };
    if region_end < note.end() || table_end > note.start {
        return Ok(None);
    }
    let bytes = reader.bytes(note.start, note.len as usize)?;
    Ok(bytes.iter().all(|byte| *byte == 0).then_some(note))
}

/// The sectors without which no firmware starts a disk of `size` bytes, in whatever state it is: sector 0 and the first
/// sector of each EFI system partition that any copy of a table names, checksums ignored. In disk order, one sector each.
///
/// # Errors
/// Only what the medium says.
pub fn gates_of(disk: &dyn ReadAt, size: u64, sector_bytes: u32) -> io::Result<Vec<Extent>> {
    let sector = u64::from(sector_bytes.max(512));
    if size < sector {
        return Ok(Vec::new());
    }
    let reader = Sectors { disk, size, sector };
    let mut starts = vec![0];
    starts.extend(mbr::system_partitions(&reader)?);
    starts.extend(gpt::system_partitions(&reader)?);
    starts.retain(|start| start.checked_add(sector).is_some_and(|end| end <= size));
    starts.sort_unstable();
    starts.dedup();
    Ok(starts.into_iter().map(|start| Extent { start, len: sector }).collect())
}

/// What the first sector of a partition says: `ntfs`, `fat`, `exfat`, `bitlocker` or nothing known.
fn file_system(boot_sector: &[u8]) -> &'static str {
    let at = |range: std::ops::Range<usize>| boot_sector.get(range).unwrap_or_default();
    match at(3..11) {
        b"NTFS    " => "ntfs",
        b"EXFAT   " => "exfat",
        b"-FVE-FS-" => "bitlocker",
        _ if at(510..512) == [0x55, 0xaa] && (at(54..57) == b"FAT" || at(82..87) == b"FAT32") => "fat",
        _ => "",
    }
}

/// A disk by sectors.
struct Sectors<'a> {
    disk: &'a dyn ReadAt,
    size: u64,
    sector: u64,
}

impl Sectors<'_> {
    fn count(&self) -> u64 {
        self.size / self.sector
    }

    fn raw(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut buf = vec![0; len];
        self.disk.read_at(offset, &mut buf)?;
        Ok(buf)
    }

    fn bytes(&self, offset: u64, len: usize) -> Result<Vec<u8>, LayoutError> {
        self.raw(offset, len).map_err(|source| LayoutError::Io { offset, source })
    }

    fn at(&self, offset: u64) -> Result<Vec<u8>, LayoutError> {
        self.bytes(offset, self.sector as usize)
    }

    /// Sector `lba`, which must exist.
    fn sector(&self, lba: u64) -> Result<Vec<u8>, LayoutError> {
        if lba >= self.count() {
            return Err(inconsistent(format!("it names sector {lba} of a disk with {}", self.count())));
        }
        self.at(lba * self.sector)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |field| u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |field| u64::from_le_bytes(*field))
}
