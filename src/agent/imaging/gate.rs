//! The gate: closed forms, closing, opening. The reasons are told in [`super`].

use std::collections::{BTreeMap, BTreeSet};

use super::medium::Medium;
use super::{ImagingError, OldGateFinder, at};
use crate::image::{Extent, Hash, Header, Mask, RegionKind};

/// `INT 18h` (the BIOS goes on to the next boot device), and a halt for a BIOS that comes back from it.
const NEXT_DEVICE: [u8; 5] = [0xcd, 0x18, 0xf4, 0xeb, 0xfd];

/// Where the code of a master boot record ends and the disk signature begins.
const CODE_END: usize = 440;

/// A gate sector at `offset` as it is while the gate is closed.
fn closed(offset: u64, open: &[u8]) -> Vec<u8> {
    if offset != 0 {
        return vec![0; open.len()];
    }
    let mut sector = open.to_vec();
    if let Some(code) = sector.get_mut(..CODE_END) {
        code.fill(0);
        code[..NEXT_DEVICE.len()].copy_from_slice(&NEXT_DEVICE);
    }
    for record in 0..4 {
        if let Some(active) = sector.get_mut(446 + 16 * record) {
            *active = 0;
        }
    }
    sector
}

/// Whether a sector could be the first of a file system that firmware reads: it carries a boot signature, or names a
/// sector size where FAT has it (drivers differ in what they ask for).
fn starts_file_system(sector: &[u8]) -> bool {
    let at = |place: usize| sector.get(place..place + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    at(510) == 0xaa55 || matches!(at(11), 512 | 1024 | 2048 | 4096)
}

/// The leaf that holds the sector at `offset`.
fn leaf_under(header: &Header, offset: u64) -> Option<u64> {
    let mut first = 0;
    for region in &header.regions {
        if (region.extent.start..region.extent.end()).contains(&offset) {
            return Some(first + (offset - region.extent.start) / u64::from(header.leaf_bytes));
        }
        first += region.extent.len.div_ceil(u64::from(header.leaf_bytes));
    }
    None
}

/// The leaves that hold any of these sectors.
pub(super) fn leaves_under(header: &Header, offsets: impl Iterator<Item = u64>) -> BTreeSet<u64> {
    offsets.filter_map(|offset| leaf_under(header, offset)).collect()
}

/// The gate sectors of an image: those that its header names, and those that it must have.
pub(super) fn sectors_of(header: &Header, mask: &Mask) -> Result<BTreeSet<u64>, ImagingError> {
    let esps = header.regions.iter().filter(|region| matches!(region.kind, RegionKind::Partition { esp: true, .. }));
    let starts = esps.map(|region| region.extent.start);
    let sectors: BTreeSet<u64> = header.gate.iter().map(|gate| gate.start).chain(starts).chain([0]).collect();
    let len = u64::from(header.sector_bytes);
    if let Some(long) = header.gate.iter().find(|gate| gate.len != len) {
        return Err(ImagingError::Unfit { why: format!("its gate at byte {} is not one sector", long.start) });
    }
    for start in &sectors {
        let fully = mask.within(Extent { start: *start, len }).next().is_none();
        if leaf_under(header, *start).is_none() || !fully {
            return Err(ImagingError::Unfit { why: format!("its gate at byte {start} is not part of it") });
        }
    }
    Ok(sectors)
}

/// What firmware could start from as the disk is found.
#[derive(Debug)]
pub(super) struct OldGates {
    /// Every sector that a copy of a table names.
    named: BTreeSet<u64>,
    /// Those of them that firmware would start from now, with their contents.
    open: BTreeMap<u64, Vec<u8>>,
    /// The disk's last sector, where that is the header of a GPT's backup.
    backup: Option<u64>,
}

impl OldGates {
    /// Looks for them. A partition whose first sector starts no file system is not open: a stale copy of a table may name
    /// a place in the middle of a file of today's, which must stay whole while the disk still starts.
    pub(super) fn find(medium: &Medium<'_>, finder: &OldGateFinder<'_>) -> Result<Self, ImagingError> {
        let size = medium.disk().size();
        let len = u64::from(medium.disk().sector_bytes());
        let found = finder(medium.disk()).map_err(ImagingError::OldTables)?;
        let there = |start: &u64| start.checked_add(len).is_some_and(|end| end <= size) && start.is_multiple_of(len);
        let named: BTreeSet<u64> = found.iter().map(|gate| gate.start).chain([0]).filter(there).collect();
        let mut open = BTreeMap::new();
        for start in &named {
            let sector = medium.sector(*start).map_err(at("reading the old gate"))?;
            if *start == 0 || starts_file_system(&sector) {
                open.insert(*start, sector);
            }
        }
        let last = size - len;
        let backup = medium.sector(last).map_err(at("reading its last sector"))?.starts_with(b"EFI PART");
        Ok(Self { named, open, backup: backup.then_some(last) })
    }

    /// Every sector that may be touched before the leaves are written.
    pub(super) fn touched(&self) -> impl Iterator<Item = u64> {
        self.named().chain(self.backup)
    }

    /// Every sector that a copy of a table names.
    pub(super) fn named(&self) -> impl Iterator<Item = u64> {
        self.named.iter().copied()
    }

    /// The disk's last sector, if it is the backup header of another table than the image's.
    pub(super) fn foreign_backup(&self, header: &Header, dirty: &[(u64, Hash)]) -> Option<u64> {
        self.backup.filter(|last| {
            leaf_under(header, *last).is_none_or(|leaf| dirty.binary_search_by_key(&leaf, |(index, _)| *index).is_ok())
        })
    }

    /// Closes the open ones, without a flush.
    pub(super) fn close(&self, medium: &Medium<'_>) -> Result<(), ImagingError> {
        for (offset, sector) in &self.open {
            let closed = closed(*offset, sector);
            if closed != *sector {
                medium.write(*offset, &closed, "closing the old gate")?;
            }
        }
        Ok(())
    }
}

/// Overwrites the sector at `offset` with zeros.
pub(super) fn erase(medium: &Medium<'_>, offset: u64) -> Result<(), ImagingError> {
    let zeros = vec![0; medium.disk().sector_bytes() as usize];
    medium.write(offset, &zeros, "erasing the backup of an old table")
}

#[derive(Debug)]
struct GateSector {
    /// Whether it is the image's gate, or only named by an old table.
    own: bool,
    open: Vec<u8>,
    closed: Vec<u8>,
}

/// Every sector that stays closed until all else is durable: the image's gate, and what the old tables name, since the old
/// tables may outlive a cut while the leaves are written.
#[derive(Debug)]
pub(super) struct Gate {
    sectors: BTreeMap<u64, GateSector>,
}

impl Gate {
    /// From the leaves that hold its sectors. What the image does not have at an old one's place, because that is free
    /// space or outside every region, is never opened again.
    pub(super) fn new(
        header: &Header,
        mask: &Mask,
        gates: &BTreeSet<u64>,
        old: &OldGates,
        held: &BTreeMap<u64, (Hash, Vec<u8>)>,
    ) -> Result<Self, ImagingError> {
        let len = u64::from(header.sector_bytes);
        let mut sectors = BTreeMap::new();
        for offset in old.named().chain(gates.iter().copied()) {
            let own = gates.contains(&offset);
            let open = leaf_under(header, offset).and_then(|index| {
                let from = (offset - header.leaf(index)?.extent.start) as usize;
                held.get(&index)?.1.get(from..from + len as usize)
            });
            let counts = mask.within(Extent { start: offset, len }).next().is_none();
            match open {
                Some(open) if counts => {
                    let closed = closed(offset, open);
                    sectors.insert(offset, GateSector { own, open: open.to_vec(), closed });
                }
                _ if own => {
                    return Err(ImagingError::Unfit { why: format!("its gate at byte {offset} is not part of it") });
                }
                _ => {}
            }
        }
        Ok(Self { sectors })
    }

    /// Closes what is not yet closed, without a flush. Sector 0 was closed with the old gate and keeps the old records
    /// until the leaves are written.
    pub(super) fn close(&self, medium: &Medium<'_>) -> Result<(), ImagingError> {
        for (offset, sector) in self.sectors.iter().filter(|(offset, _)| **offset != 0) {
            if medium.sector(*offset).map_err(at("reading the new gate"))? != sector.closed {
                medium.write(*offset, &sector.closed, "closing the new gate")?;
            }
        }
        Ok(())
    }

    /// Puts the closed form of each gate sector into a leaf's bytes.
    pub(super) fn close_in(&self, start: u64, bytes: &mut [u8]) {
        for (offset, sector) in self.sectors.range(start..start + bytes.len() as u64) {
            let from = (offset - start) as usize;
            bytes[from..from + sector.closed.len()].copy_from_slice(&sector.closed);
        }
    }

    /// Puts the true form into bytes that were read back. `false`: they do not hold the closed form.
    pub(super) fn open_in(&self, start: u64, bytes: &mut [u8]) -> bool {
        self.sectors.range(start..start + bytes.len() as u64).all(|(offset, sector)| {
            let from = (offset - start) as usize;
            let found = &mut bytes[from..from + sector.closed.len()];
            let closed = found == sector.closed;
            found.copy_from_slice(&sector.open);
            closed
        })
    }

    /// Writes what the image has where only old tables had a gate. They must be gone from the medium by now.
    pub(super) fn restore(&self, medium: &Medium<'_>) -> Result<(), ImagingError> {
        medium.check_stop()?;
        self.write_open(medium, false)?;
        self.check_open(medium, false)
    }

    /// Opens the image's gate and makes that durable. From here on the disk starts the image.
    pub(super) fn open(&self, medium: &Medium<'_>) -> Result<(), ImagingError> {
        medium.check_stop()?;
        self.write_open(medium, true)?;
        medium.flush("opening the gate")?;
        self.check_open(medium, true)
    }

    fn write_open(&self, medium: &Medium<'_>, own: bool) -> Result<(), ImagingError> {
        for (offset, sector) in self.sectors.iter().filter(|(_, sector)| sector.own == own) {
            medium.write_regardless(*offset, &sector.open, "opening the gate")?;
        }
        Ok(())
    }

    fn check_open(&self, medium: &Medium<'_>, own: bool) -> Result<(), ImagingError> {
        for (offset, sector) in self.sectors.iter().filter(|(_, sector)| sector.own == own) {
            let mut found = vec![0; sector.open.len()];
            medium.disk().read_past_cache(*offset, &mut found).map_err(at("reading back the gate"))?;
            if found != sector.open {
                return Err(ImagingError::NotKept { offset: *offset });
            }
        }
        Ok(())
    }
}
