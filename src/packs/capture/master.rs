//! What a master's disk tells before its leaves are read, and whether it still tells the same afterwards.

use std::io;

use super::pipeline::read_leaf;
use super::{CaptureError, CapturePhase, CaptureProgress, MissingFact};
use crate::disk::Disk;
use crate::image::layout::{self, Layout};
use crate::image::ntfs::{self, ReadAt, Volume};
use crate::image::{Extent, Hash, Header, Leaf, Mask, RegionKind, WindowsFacts};

/// How many leaves are read a second time.
const SAMPLE: usize = 256;

/// A part of a disk with offsets of its own.
struct Window<'a> {
    disk: &'a dyn Disk,
    start: u64,
}

impl ReadAt for Window<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let at = self.start.checked_add(offset).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.disk.read_at(at, buf).map_err(io::Error::other)
    }
}

/// A disk that may be captured.
pub(super) struct Master {
    pub(super) layout: Layout,
    volumes: Vec<(u32, Extent, Volume)>,
    /// What does not count.
    pub(super) mask: Mask,
    /// What counts as zero, whatever the disk holds: heads of page and hibernation files.
    pub(super) zeros: Mask,
    /// Both together: what need not be read.
    pub(super) unread: Mask,
    pub(super) used_bytes: u64,
}

impl Master {
    pub(super) fn examine(disk: &dyn Disk) -> Result<Self, CaptureError> {
        let (layout, volumes) = look(disk)?;
        let shifted = |extents: fn(&Volume) -> &Vec<Extent>| -> Vec<Extent> {
            let of = |(_, partition, volume): &(u32, Extent, Volume)| {
                let start = partition.start;
                let shift = move |extent: &Extent| Extent { start: start + extent.start, len: extent.len };
                extents(volume).iter().map(shift).collect::<Vec<_>>()
            };
            volumes.iter().flat_map(of).collect()
        };
        let zeros = Mask::new(shifted(|volume| &volume.zero));
        let mut masked = shifted(|volume| &volume.masked);
        masked.extend(layout.note);
        let unread = Mask::new(masked.iter().chain(zeros.extents()).copied().collect());
        let mask = Mask::new(masked);
        let of_volumes: u64 = volumes.iter().map(|(_, _, volume)| volume.used_bytes).sum();
        let is_volume = |extent: &Extent| volumes.iter().any(|(_, partition, _)| partition == extent);
        let of_others: u64 = layout.regions.iter().map(|r| r.extent).filter(|e| !is_volume(e)).map(|e| e.len).sum();
        Ok(Self { layout, mask, zeros, unread, used_bytes: of_volumes + of_others, volumes })
    }

    /// The disk's facts, those that were given first.
    pub(super) fn facts(&self, given: &WindowsFacts) -> WindowsFacts {
        let known = |facts: &WindowsFacts| {
            let WindowsFacts { build, edition, product, generalized, skip_rearm, key_channel, .. } = facts;
            [
                build.is_some(),
                edition.is_some(),
                product.is_some(),
                generalized.is_some(),
                skip_rearm.is_some(),
                key_channel.is_some(),
            ]
            .iter()
            .filter(|known| **known)
            .count()
        };
        // A recovery partition tells little, Windows itself much.
        let read = self.volumes.iter().map(|(_, _, volume)| &volume.windows).max_by_key(|facts| known(facts));
        let read = read.cloned().unwrap_or_default();
        WindowsFacts {
            build: given.build.or(read.build),
            edition: given.edition.clone().or(read.edition),
            product: given.product.clone().or(read.product),
            generalized: given.generalized.or(read.generalized),
            skip_rearm: given.skip_rearm.or(read.skip_rearm),
            key_channel: given.key_channel.or(read.key_channel),
            firmware: given.firmware.or(read.firmware).or(self.layout.firmware),
            oem_vendor: given.oem_vendor.clone().or(read.oem_vendor),
            bound_to: given.bound_to.or(read.bound_to),
        }
    }

    /// The facts that are still unknown, for a disk that may hold a Windows.
    pub(super) fn missing(&self, facts: &WindowsFacts) -> Vec<MissingFact> {
        if self.volumes.is_empty() {
            return Vec::new();
        }
        let all = [
            (facts.build.is_none(), "build", "--build"),
            (facts.edition.is_none(), "edition", "--edition"),
            (facts.generalized.is_none(), "generalized", "--generalized"),
            (facts.skip_rearm.is_none(), "skip_rearm", "--skip-rearm"),
            (facts.key_channel.is_none(), "key_channel", "--key-channel"),
            (facts.firmware.is_none(), "firmware", "--firmware"),
        ];
        all.iter().filter(|(none, ..)| *none).map(|(_, fact, flag)| MissingFact { fact, flag }).collect()
    }

    /// Reads table, volumes and a sample of leaves again. Best effort: a write that was undone, or that hit neither
    /// metadata nor the sample, is not seen.
    pub(super) fn check_unchanged(
        &self,
        disk: &dyn Disk,
        header: &Header,
        leaves: &[Hash],
        monitor: &dyn Fn(CaptureProgress),
    ) -> Result<(), CaptureError> {
        let changed = |what: String| CaptureError::Changed { what };
        let sample = self.sample(header);
        let total = sample.len() as u64;
        for (done, leaf) in sample.iter().enumerate() {
            monitor(CaptureProgress { phase: CapturePhase::Checking, done: done as u64, total });
            let mut bytes = vec![0; leaf.extent.len as usize];
            read_leaf(self, leaf.extent, &mut bytes, &|offset, buf| disk.read_past_cache(offset, buf))?;
            if leaves.get(leaf.index as usize) != Some(&Hash::of(&bytes)) {
                return Err(changed(format!("{} bytes at {}", leaf.extent.len, leaf.extent.start)));
            }
        }
        let (layout, volumes) = look(disk).map_err(|error| match error {
            CaptureError::Layout(_) => changed("the partition table".to_owned()),
            CaptureError::Volume { partition, .. } => changed(format!("partition {partition}")),
            other => other,
        })?;
        if layout != self.layout || disk.size() != header.disk_bytes {
            return Err(changed("the partition table".to_owned()));
        }
        match self.volumes.iter().zip(&volumes).find(|(before, after)| before != after) {
            Some(((partition, ..), _)) => Err(changed(format!("partition {partition}"))),
            None => Ok(()),
        }
    }

    /// Every leaf of the tables, the first of each partition, and some from everywhere.
    fn sample(&self, header: &Header) -> Vec<Leaf> {
        let starts: Vec<u64> = header.regions.iter().map(|region| region.extent.start).collect();
        let of_table = |leaf: &Leaf| {
            let region = header.regions.iter().find(|region| region.extent.overlap(&leaf.extent).is_some());
            region.is_some_and(|region| !matches!(region.kind, RegionKind::Partition { .. }))
        };
        let read: Vec<Leaf> = header.leaves().filter(|leaf| !self.unread.covers(leaf.extent)).collect();
        let step = read.len().div_ceil(SAMPLE).max(1);
        let wanted = |(at, leaf): &(usize, Leaf)| {
            at.is_multiple_of(step) || starts.binary_search(&leaf.extent.start).is_ok() || of_table(leaf)
        };
        read.into_iter().enumerate().filter(wanted).map(|(_, leaf)| leaf).collect()
    }
}

fn look(disk: &dyn Disk) -> Result<(Layout, Vec<(u32, Extent, Volume)>), CaptureError> {
    let layout = layout::read(&Window { disk, start: 0 }, disk.size(), disk.sector_bytes())?;
    let mut volumes = Vec::new();
    for region in &layout.regions {
        let RegionKind::Partition { number, file_system, .. } = &region.kind else { continue };
        // An encrypted volume has another boot sector; the NTFS reader says what to do about it.
        if matches!(file_system.as_str(), "ntfs" | "bitlocker") {
            let window = Window { disk, start: region.extent.start };
            let volume = ntfs::inspect(&window, region.extent.len)
                .map_err(|source| CaptureError::Volume { partition: *number, source })?;
            volumes.push((*number, region.extent, volume));
        }
    }
    Ok((layout, volumes))
}
