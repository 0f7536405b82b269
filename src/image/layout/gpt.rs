//! GUID partition tables (UEFI specification 2.10, section 5.3).

use std::io;

use super::{LayoutError, Partition, Sectors, Table, inconsistent, u32_at, u64_at};
use crate::image::crc32::crc32;
use crate::image::{Extent, FirmwareKind, Region, RegionKind, TableKind};

const SIGNATURE: &[u8] = b"EFI PART";

/// The most bytes of entries that are read: 8192 partitions of the usual size, where Windows makes 128.
const MAX_ENTRIES: u64 = 1 << 20;

/// C12A7328-F81F-11D2-BA4B-00A0C93EC93B, the EFI system partition, as it lies on the disk.
const ESP: [u8; 16] = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

/// 5808C8AA-7E8F-42E0-85D2-E1E90434CFB3, the database of a dynamic disk.
const DYNAMIC_DATABASE: [u8; 16] =
    [0xaa, 0xc8, 0x08, 0x58, 0x8f, 0x7e, 0xe0, 0x42, 0x85, 0xd2, 0xe1, 0xe9, 0x04, 0x34, 0xcf, 0xb3];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Head {
    own: u64,
    other: u64,
    first_usable: u64,
    last_usable: u64,
    disk: [u8; 16],
    entries_at: u64,
    count: u64,
    entry_bytes: u64,
    entries_crc: u32,
    intact: bool,
}

impl Head {
    /// Whatever calls itself a GPT header; `intact` says whether its checksum fits.
    fn of(sector: &[u8]) -> Option<Self> {
        if sector.get(..8)? != SIGNATURE {
            return None;
        }
        let len = u32_at(sector, 12) as usize;
        let sums = (92..=sector.len()).contains(&len)
            && sector.get(20..len).is_some_and(|behind| {
                let before = sector.get(..16).unwrap_or_default();
                crc32(&[before, &[0; 4], behind]) == u32_at(sector, 16)
            });
        Some(Self {
            own: u64_at(sector, 24),
            other: u64_at(sector, 32),
            first_usable: u64_at(sector, 40),
            last_usable: u64_at(sector, 48),
            disk: *sector.get(56..)?.first_chunk()?,
            entries_at: u64_at(sector, 72),
            count: u32_at(sector, 80).into(),
            entry_bytes: u32_at(sector, 84).into(),
            entries_crc: u32_at(sector, 88),
            intact: sums,
        })
    }

    fn entries_len(&self) -> Option<u64> {
        let sane = self.entry_bytes >= 128 && self.entry_bytes.is_power_of_two();
        self.count.checked_mul(self.entry_bytes).filter(|len| sane && *len <= MAX_ENTRIES && *len > 0)
    }

    /// The entries' bytes, where the header gives a place on the disk for them.
    fn entries(&self, reader: &Sectors<'_>) -> io::Result<Option<Vec<u8>>> {
        let place = self.entries_len().zip(self.entries_at.checked_mul(reader.sector));
        match place {
            Some((len, start)) if start.checked_add(len).is_some_and(|end| end <= reader.size) => {
                // Whole sectors, since a block device gives nothing less.
                let whole = len.next_multiple_of(reader.sector).min(reader.size - start);
                let mut bytes = reader.raw(start, whole as usize)?;
                bytes.truncate(len as usize);
                Ok(Some(bytes))
            }
            _ => Ok(None),
        }
    }

    fn entries_sectors(&self, sector: u64) -> u64 {
        self.entries_len().unwrap_or(0).div_ceil(sector)
    }
}

/// One copy of the table, checked in itself.
fn intact_copy(reader: &Sectors<'_>, lba: u64) -> Result<Option<(Head, Vec<u8>)>, LayoutError> {
    let Some(head) = Head::of(&reader.sector(lba)?).filter(|head| head.intact && head.own == lba) else {
        return Ok(None);
    };
    let offset = head.entries_at.saturating_mul(reader.sector);
    let entries = head.entries(reader).map_err(|source| LayoutError::Io { offset, source })?;
    Ok(entries.filter(|bytes| crc32(&[bytes]) == head.entries_crc).map(|bytes| (head, bytes)))
}

/// Whether the disk calls itself GPT although its MBR does not.
pub(super) fn is_present(reader: &Sectors<'_>) -> Result<bool, LayoutError> {
    Ok(Head::of(&reader.sector(1)?).is_some())
}

pub(super) fn read(reader: &Sectors<'_>) -> Result<Table, LayoutError> {
    let last = reader.count() - 1;
    let (head, entries, backup) = match (intact_copy(reader, 1)?, intact_copy(reader, last)?) {
        (Some((head, entries)), Some((backup, same))) if head.other == last && backup.other == 1 => {
            let agree = entries == same
                && head.disk == backup.disk
                && head.first_usable == backup.first_usable
                && head.last_usable == backup.last_usable;
            if !agree {
                return Err(inconsistent("the two copies of the GPT differ"));
            }
            (head, entries, backup)
        }
        (Some(_), _) => return Err(LayoutError::BackupDamaged),
        (None, Some(_)) => return Err(LayoutError::PrimaryDamaged),
        (None, None) => return Err(LayoutError::BothDamaged),
    };
    let table_end = head.entries_at + head.entries_sectors(reader.sector);
    let backup_end = backup.entries_at + backup.entries_sectors(reader.sector);
    let in_order = head.entries_at >= 2
        && table_end <= head.first_usable
        && head.first_usable <= head.last_usable
        && head.last_usable < backup.entries_at
        && backup_end <= last;
    if !in_order {
        return Err(inconsistent("the GPT's header and its usable range contradict each other"));
    }
    let mut partitions = Vec::new();
    for (index, entry) in entries.chunks(head.entry_bytes as usize).enumerate() {
        let Some(entry) = Entry::of(entry) else { continue };
        let number = index as u32 + 1;
        if entry.first > entry.last || entry.first < head.first_usable || entry.last > head.last_usable {
            return Err(inconsistent(format!("partition {number} does not lie within the usable part of the disk")));
        }
        if entry.kind == DYNAMIC_DATABASE {
            return Err(LayoutError::DynamicDisk);
        }
        let extent = Extent { start: entry.first * reader.sector, len: (entry.last - entry.first + 1) * reader.sector };
        partitions.push(Partition { number, extent, esp: entry.kind == ESP });
    }
    let backup_start = backup.entries_at * reader.sector;
    let backup_extent = Extent { start: backup_start, len: reader.count() * reader.sector - backup_start };
    let firmware = partitions.iter().any(|p| p.esp).then_some(FirmwareKind::Uefi);
    Ok(Table {
        kind: TableKind::Gpt,
        partitions,
        further: vec![Region { kind: RegionKind::BackupTable, extent: backup_extent }],
        table_end: table_end * reader.sector,
        firmware,
    })
}

/// First bytes of the EFI system partitions that any copy names, whatever its checksums say.
pub(super) fn system_partitions(reader: &Sectors<'_>) -> io::Result<Vec<u64>> {
    let mut copies = vec![1, reader.count() - 1];
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(lba) = copies.get(at).copied() {
        at += 1;
        if lba >= reader.count() {
            continue;
        }
        let Some(head) = Head::of(&reader.raw(lba * reader.sector, reader.sector as usize)?) else { continue };
        // A table that was written for a smaller disk has its backup somewhere in the middle of this one.
        if at == 1 && !copies.contains(&head.other) {
            copies.push(head.other);
        }
        let Some(entries) = head.entries(reader)? else { continue };
        for entry in entries.chunks(head.entry_bytes as usize).filter_map(Entry::of).filter(|e| e.kind == ESP) {
            starts.extend(entry.first.checked_mul(reader.sector));
        }
    }
    Ok(starts)
}

struct Entry {
    kind: [u8; 16],
    first: u64,
    last: u64,
}

impl Entry {
    /// An entry that is in use.
    fn of(bytes: &[u8]) -> Option<Self> {
        let kind = *bytes.first_chunk::<16>()?;
        (kind != [0; 16] && bytes.len() >= 128).then(|| Self {
            kind,
            first: u64_at(bytes, 32),
            last: u64_at(bytes, 40),
        })
    }
}
