//! Hashing a disk under the mask, on all cores.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::medium::{Failure, Medium, Progress};
use super::{ImagingError, at};
use crate::disk::{AlignedBuffer, DiskError};
use crate::image::manifest::VerifiedHead;
use crate::image::{Hash, Header, Leaf, Mask, group_hash};
use crate::progress::{ImagingEvent, Monitor};

/// The most that is read at once, in bytes, unless a leaf is longer.
const READ_BYTES: u64 = 4 << 20;

/// What a scan found.
#[derive(Debug)]
pub(super) struct Scan {
    /// The groups whose hash is not the image's, ascending, with what their leaves hash to; `None` cannot be read.
    pub(super) groups: Vec<(u64, Vec<Option<Hash>>)>,
    /// What the leaves that were asked about hash to, as far as they can be read.
    pub(super) watched: BTreeMap<u64, Hash>,
    /// Bytes read.
    pub(super) read: u64,
}

/// Hashes the disk and compares it, group by group, with the image.
pub(super) fn scan(
    medium: &Medium<'_>,
    head: &VerifiedHead,
    mask: &Mask,
    watch: &BTreeSet<u64>,
    threads: usize,
    monitor: &dyn Monitor,
) -> Result<Scan, ImagingError> {
    let header = &head.header;
    let next = AtomicU64::new(0);
    let failure = Failure::default();
    let progress = Progress::new(monitor, header.regions.iter().map(|region| region.extent.len).sum());
    let found = Mutex::new(Scan { groups: Vec::new(), watched: BTreeMap::new(), read: 0 });
    let work = || {
        let mut hasher = LeafHasher::new(medium, mask, header);
        while !failure.halted() {
            let group = next.fetch_add(1, Ordering::Relaxed);
            let Some(expected) = head.groups.get(group as usize) else { break };
            let leaves: Vec<Leaf> = header.group(group).filter_map(|index| header.leaf(index)).collect();
            let read_before = hasher.read;
            let hashes =
                match medium.check_stop().and_then(|()| hasher.hash(&leaves, |_, _| true).map_err(at("being read"))) {
                    Ok(hashes) => hashes,
                    Err(error) => return failure.set(error),
                };
            let same =
                hashes.iter().copied().collect::<Option<Vec<Hash>>>().is_some_and(|h| group_hash(&h) == *expected);
            {
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.read += hasher.read - read_before;
                for (leaf, hash) in leaves.iter().zip(&hashes).filter(|(leaf, _)| watch.contains(&leaf.index)) {
                    found.watched.extend(hash.map(|hash| (leaf.index, hash)));
                }
                if !same {
                    found.groups.push((group, hashes));
                }
            }
            let bytes = leaves.iter().map(|leaf| leaf.extent.len).sum();
            progress.add(bytes, |done, total| ImagingEvent::Scanning { done, total });
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    failure.result()?;
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.groups.sort_by_key(|(group, _)| *group);
    Ok(found)
}

/// Reads leaves in large pieces and hashes them.
pub(super) struct LeafHasher<'a> {
    medium: &'a Medium<'a>,
    mask: &'a Mask,
    zeros: ZeroHashes,
    buffer: AlignedBuffer,
    /// Bytes read so far.
    pub(super) read: u64,
}

impl<'a> LeafHasher<'a> {
    pub(super) fn new(medium: &'a Medium<'a>, mask: &'a Mask, header: &Header) -> Self {
        let buffer = AlignedBuffer::new(READ_BYTES.max(u64::from(header.leaf_bytes)) as usize);
        Self { medium, mask, zeros: ZeroHashes::new(header), buffer, read: 0 }
    }

    /// The hashes of `leaves`, ascending, past the cache; `None` for one that cannot be read or that `look`
    /// refuses. It may change what was read of a leaf, given where that begins. A leaf that is wholly masked is not read.
    pub(super) fn hash(
        &mut self,
        leaves: &[Leaf],
        look: impl Fn(u64, &mut [u8]) -> bool,
    ) -> Result<Vec<Option<Hash>>, DiskError> {
        let mut hashes = Vec::with_capacity(leaves.len());
        let mut rest = leaves;
        while let Some(first) = rest.first() {
            if self.mask.covers(first.extent) {
                hashes.push(Some(self.zeros.of(first.extent.len)));
                rest = &rest[1..];
                continue;
            }
            let mut end = first.extent.end();
            let mut count = 1;
            for leaf in &rest[1..] {
                let adjoins = leaf.extent.start == end && leaf.extent.end() - first.extent.start <= READ_BYTES;
                if !adjoins || self.mask.covers(leaf.extent) {
                    break;
                }
                end = leaf.extent.end();
                count += 1;
            }
            let (run, later) = rest.split_at(count);
            self.hash_run(run, end - first.extent.start, &look, &mut hashes)?;
            rest = later;
        }
        Ok(hashes)
    }

    fn hash_run(
        &mut self,
        run: &[Leaf],
        len: u64,
        look: &impl Fn(u64, &mut [u8]) -> bool,
        hashes: &mut Vec<Option<Hash>>,
    ) -> Result<(), DiskError> {
        let Some(start) = run.first().map(|leaf| leaf.extent.start) else { return Ok(()) };
        let bytes = &mut self.buffer[..len as usize];
        let whole = match self.medium.disk().read_past_cache(start, bytes) {
            Ok(()) => {
                self.read += len;
                true
            }
            Err(DiskError::Io { .. }) => false,
            Err(error) => return Err(error),
        };
        for leaf in run {
            let from = (leaf.extent.start - start) as usize;
            let bytes = &mut bytes[from..from + leaf.extent.len as usize];
            if !whole {
                let Some(read) = self.medium.read_counting(self.mask, leaf.extent.start, bytes)? else {
                    hashes.push(None);
                    continue;
                };
                self.read += read;
            }
            let accepted = look(leaf.extent.start, bytes);
            self.mask.blank(leaf.extent.start, bytes);
            hashes.push(accepted.then(|| Hash::of(bytes)));
        }
        Ok(())
    }
}

/// The hashes of leaves of zeros: most leaves of a large disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct ZeroHashes {
    len: u64,
    hash: Hash,
}

impl ZeroHashes {
    pub(super) fn new(header: &Header) -> Self {
        let len = u64::from(header.leaf_bytes);
        Self { len, hash: Hash::of_zeros(len) }
    }

    /// Of `len` zeros.
    pub(super) fn of(&self, len: u64) -> Hash {
        if len == self.len { self.hash } else { Hash::of_zeros(len) }
    }
}
