//! Master boot records and the chains of extended partitions.

use std::io;

use super::{LayoutError, Partition, Sectors, Table, inconsistent, u32_at};
use crate::image::{Extent, FirmwareKind, Region, RegionKind, TableKind};

const EFI_SYSTEM: u8 = 0xef;
const PROTECTIVE: u8 = 0xee;
const DYNAMIC: u8 = 0x42;
const ACTIVE: u8 = 0x80;

/// The most logical partitions that are followed; Windows has letters for fewer.
const MAX_LOGICAL: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Record {
    active: bool,
    kind: u8,
    first: u64,
    count: u64,
}

impl Record {
    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }

    fn extent(&self, base: u64, sector: u64) -> Extent {
        // 32-bit numbers of sectors of at most 4096 bytes: no overflow.
        Extent { start: (base + self.first) * sector, len: self.count * sector }
    }
}

/// The four records of a boot record.
pub(super) struct Records([Record; 4]);

impl Records {
    /// None where there is no boot record, or where the bytes in its place are no partitions (a file system's boot code).
    pub(super) fn of(sector: &[u8]) -> Option<Self> {
        if sector.get(510..512)? != [0x55, 0xaa] {
            return None;
        }
        let mut records = [Record { active: false, kind: 0, first: 0, count: 0 }; 4];
        for (record, bytes) in records.iter_mut().zip(sector.get(446..510)?.chunks(16)) {
            let [status, _, _, _, kind, ..] = *bytes else { return None };
            if status & !ACTIVE != 0 {
                return None;
            }
            let (first, count) = (u32_at(bytes, 8).into(), u32_at(bytes, 12).into());
            *record = Record { active: status == ACTIVE, kind, first, count };
        }
        records.iter().any(|record| record.kind != 0).then_some(Self(records))
    }

    /// Whether the record only says that the disk has a GPT (hybrid ones included, where GPT rules too).
    pub(super) fn is_protective(&self) -> bool {
        self.0.iter().any(|record| record.kind == PROTECTIVE)
    }

    fn used(&self) -> impl Iterator<Item = (u32, &Record)> {
        (1..).zip(&self.0).filter(|(_, record)| record.kind != 0)
    }
}

pub(super) fn read(reader: &Sectors<'_>, records: &Records) -> Result<Table, LayoutError> {
    let mut partitions = Vec::new();
    let mut further = Vec::new();
    let mut active = 0;
    for (number, record) in records.used() {
        if record.kind == DYNAMIC {
            return Err(LayoutError::DynamicDisk);
        }
        let extent = checked(reader, record, 0, number)?;
        active += usize::from(record.active);
        if record.is_extended() {
            logical(reader, extent, &mut partitions, &mut further)?;
        } else {
            partitions.push(Partition { number, extent, esp: record.kind == EFI_SYSTEM });
        }
    }
    if active > 1 {
        return Err(inconsistent(format!("{active} partitions are marked active")));
    }
    let firmware = match active {
        1 => Some(FirmwareKind::Bios),
        _ => partitions.iter().any(|p| p.esp).then_some(FirmwareKind::Uefi),
    };
    Ok(Table { kind: TableKind::Mbr, partitions, further, table_end: reader.sector, firmware })
}

fn checked(reader: &Sectors<'_>, record: &Record, base: u64, number: u32) -> Result<Extent, LayoutError> {
    let extent = record.extent(base, reader.sector);
    let fits = record.first > 0 && extent.len > 0 && extent.end() <= reader.count() * reader.sector;
    if fits { Ok(extent) } else { Err(inconsistent(format!("partition {number} does not lie within the disk"))) }
}

/// Follows the chain of an extended partition. Its boot records lie outside of all partitions and are part of the table.
fn logical(
    reader: &Sectors<'_>,
    extended: Extent,
    partitions: &mut Vec<Partition>,
    further: &mut Vec<Region>,
) -> Result<(), LayoutError> {
    let base = extended.start / reader.sector;
    let mut next = base;
    for _ in 0..MAX_LOGICAL {
        let link = reader.sector(next)?;
        further.push(Region {
            kind: RegionKind::Table,
            extent: Extent { start: next * reader.sector, len: reader.sector },
        });
        // An extended partition without logical ones is an empty record, or none.
        let Some(records) = Records::of(&link) else { return Ok(()) };
        let mut follow = None;
        for (_, record) in records.used() {
            if record.is_extended() {
                follow = Some(base + record.first);
                continue;
            }
            let number = partitions.iter().map(|p| p.number).max().unwrap_or(0).max(4) + 1;
            let extent = checked(reader, record, next, number)?;
            if extent.end() > extended.end() {
                return Err(inconsistent(format!("partition {number} lies outside of its extended partition")));
            }
            partitions.push(Partition { number, extent, esp: record.kind == EFI_SYSTEM });
        }
        match follow {
            // A chain that does not go forward may be a circle.
            Some(further_on) if further_on > next => next = further_on,
            Some(_) => return Err(inconsistent("the chain of the extended partition turns back")),
            None => return Ok(()),
        }
    }
    Err(inconsistent(format!("more than {MAX_LOGICAL} logical partitions")))
}

/// First bytes of the EFI system partitions in the four records of sector 0.
pub(super) fn system_partitions(reader: &Sectors<'_>) -> io::Result<Vec<u64>> {
    let Some(records) = Records::of(&reader.raw(0, reader.sector as usize)?) else { return Ok(Vec::new()) };
    let starts = records.used().filter(|(_, record)| record.kind == EFI_SYSTEM);
    Ok(starts.map(|(_, record)| record.extent(0, reader.sector).start).collect())
}
