//! A school day: what pupils and Windows leave on a clone.

use crate::disk::{Disk, DiskError};
use crate::image::{Extent, Header, Leaf, Mask, Region, RegionKind};

use super::{MIB, Noise};

/// The most that is written into masked clusters.
const MOST_LITTER: u64 = 32 * MIB;
/// The unit of small changes.
const PAGE: u64 = 4096;
/// So many empty leaves are written to, where there are any.
const EMPTY_LEAVES: usize = 4;

/// What a day changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirtyReport {
    /// The leaves that differ now, sorted.
    pub leaves: Vec<u64>,
    /// Bytes changed in them.
    pub bytes: u64,
    /// Bytes written where the mask is.
    pub masked_bytes: u64,
    /// How many leaves held something before, of which a fraction was to change.
    pub used_leaves: u64,
}

/// Changes at least `fraction` of the leaves that hold something, in whole or in pages of 4 KiB, on every partition;
/// every byte touched differs afterwards. Also writes into a few empty leaves, as a page file that begins to be used
/// does, and litters masked clusters. Partition tables and the agent's note stay as they are.
///
/// # Errors
/// What the disk says.
pub fn dirty(
    disk: &dyn Disk,
    header: &Header,
    mask: &Mask,
    fraction: f64,
    seed: u64,
) -> Result<DirtyReport, DiskError> {
    let mut noise = Noise::of(seed, 0x64_6179);
    let leaves = Leaves::read(disk, header, mask)?;
    let wanted = (leaves.used.len() as f64 * fraction.clamp(0.0, 1.0)).ceil() as usize;
    let mut chosen = leaves.special;
    let mut rest = leaves.used.clone();
    rest.retain(|leaf| !chosen.contains(leaf));
    shuffle(&mut rest, &mut noise);
    chosen.truncate(wanted);
    let more = wanted - chosen.len();
    chosen.extend(rest.into_iter().take(more));
    let mut report = DirtyReport { used_leaves: leaves.used.len() as u64, ..DirtyReport::default() };
    if wanted > 0 {
        let mut empty = leaves.empty;
        shuffle(&mut empty, &mut noise);
        chosen.extend(empty.into_iter().take(EMPTY_LEAVES));
    }
    for leaf in chosen {
        report.bytes += change(disk, &mask.outside(leaf.extent), &mut noise)?;
        report.leaves.push(leaf.index);
    }
    report.leaves.sort_unstable();
    let masked: u64 = mask.bytes();
    let budget = ((masked as f64 * fraction.clamp(0.0, 1.0)) as u64).min(MOST_LITTER);
    report.masked_bytes = litter(disk, header, mask, budget, &mut noise)?;
    disk.flush()?;
    Ok(report)
}

/// The leaves of partitions.
#[derive(Default)]
struct Leaves {
    used: Vec<Leaf>,
    empty: Vec<Leaf>,
    /// One of each partition, and one of the file table: these change on every day.
    special: Vec<Leaf>,
}

impl Leaves {
    fn read(disk: &dyn Disk, header: &Header, mask: &Mask) -> Result<Self, DiskError> {
        let mut found = Self::default();
        let mut buffer = vec![0; header.leaf_bytes as usize];
        let mut last_region: Option<&Region> = None;
        let mut file_table = false;
        for leaf in header.leaves() {
            let region = header.regions.iter().find(|region| region.extent.overlap(&leaf.extent).is_some());
            let Some(region) = region.filter(|region| matches!(region.kind, RegionKind::Partition { .. })) else {
                continue;
            };
            if mask.covers(leaf.extent) {
                continue;
            }
            let bytes = &mut buffer[..leaf.extent.len as usize];
            disk.read_at(leaf.extent.start, bytes)?;
            mask.blank(leaf.extent.start, bytes);
            if bytes.iter().all(|byte| *byte == 0) {
                found.empty.push(leaf);
                continue;
            }
            found.used.push(leaf);
            let is_file_table = bytes.starts_with(b"FILE") && !file_table;
            file_table |= is_file_table;
            if is_file_table || last_region != Some(region) {
                found.special.push(leaf);
            }
            last_region = Some(region);
        }
        Ok(found)
    }
}

fn shuffle<T>(items: &mut [T], noise: &mut Noise) {
    for i in (1..items.len()).rev() {
        items.swap(i, noise.below(i as u64 + 1) as usize);
    }
}

/// Changes one leaf, given its parts that count: in whole, or one to four pages of it.
fn change(disk: &dyn Disk, parts: &[Extent], noise: &mut Noise) -> Result<u64, DiskError> {
    let pages: Vec<Extent> = parts
        .iter()
        .flat_map(|part| {
            let starts = (part.start..part.end()).step_by(PAGE as usize);
            starts.map(|start| Extent { start, len: PAGE.min(part.end() - start) })
        })
        .collect();
    let chosen = if noise.below(3) == 0 {
        parts.to_vec()
    } else {
        let mut pages = pages;
        shuffle(&mut pages, noise);
        pages.truncate(1 + noise.below(4) as usize);
        pages
    };
    let mut changed = 0;
    for extent in chosen {
        let mut bytes = vec![0; extent.len as usize];
        disk.read_at(extent.start, &mut bytes)?;
        for chunk in bytes.chunks_mut(8) {
            // No byte of the difference is zero, so every byte becomes another one.
            let difference = (noise.next() | 0x0101_0101_0101_0101).to_le_bytes();
            for (byte, difference) in chunk.iter_mut().zip(difference) {
                *byte ^= difference;
            }
        }
        disk.write_at(extent.start, &bytes)?;
        changed += extent.len;
    }
    Ok(changed)
}

/// Writes garbage into masked clusters of partitions: free space, page files.
fn litter(disk: &dyn Disk, header: &Header, mask: &Mask, budget: u64, noise: &mut Noise) -> Result<u64, DiskError> {
    let partitions = header.regions.iter().filter(|region| matches!(region.kind, RegionKind::Partition { .. }));
    let mut extents: Vec<Extent> = partitions.flat_map(|region| mask.within(region.extent)).collect();
    extents.retain(|extent| header.note.is_none_or(|note| note.overlap(extent).is_none()));
    shuffle(&mut extents, noise);
    let mut written = 0;
    let mut bytes = vec![0; MIB as usize];
    for extent in extents {
        if written >= budget {
            break;
        }
        let len = extent.len.min(MIB);
        let piece = &mut bytes[..len as usize];
        noise.fill(piece);
        disk.write_at(extent.start, piece)?;
        written += len;
    }
    Ok(written)
}
