//! Fetching leaves and writing what differs, at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::gate::Gate;
use super::medium::{Failure, Medium, Progress};
use super::scan::ZeroHashes;
use super::{Declined, ImageSource, ImagingError, PackedLeaf, SourceError, TRIES, at};
use crate::disk::{AlignedBuffer, DiskError};
use crate::image::manifest::VerifiedHead;
use crate::image::{Extent, Hash, Leaf, Mask};
use crate::progress::{ImagingEvent, Monitor};

/// Threads that ask the source: while one waits for an answer, the other's arrives.
const FETCHERS: usize = 2;

/// Fewer writers than this leave a disk idle between two writes.
const WRITERS: usize = 4;

/// What is asked for at once, in bytes before compression.
const ASK_BYTES: u64 = 4 << 20;

/// What may wait between fetching and writing, in bytes before compression.
const QUEUE_BYTES: u64 = 32 << 20;

/// The unit in which old and new are compared, in bytes: a page of every disk and file system.
const COMPARE_BYTES: u64 = 4096;

/// What is needed to fetch and write.
pub(super) struct Transfer<'a> {
    pub(super) medium: &'a Medium<'a>,
    pub(super) head: &'a VerifiedHead,
    pub(super) mask: &'a Mask,
    pub(super) source: &'a dyn ImageSource,
    pub(super) threads: usize,
    pub(super) monitor: &'a dyn Monitor,
}

/// A leaf on its way to the disk.
enum Job {
    Zeros,
    Plain(Vec<u8>),
    Packed(PackedLeaf),
}

/// Leaves that have not come yet, ascending, and what came instead.
struct Pending {
    leaves: Vec<(u64, Hash)>,
    weak_passes: u32,
}

impl Pending {
    fn new(leaves: Vec<(u64, Hash)>) -> Self {
        Self { leaves, weak_passes: 0 }
    }

    /// Takes what a pass left. A pass that brought less than half is a weak one, and only so many of them are borne: this
    /// ends against a hostile source too.
    fn after_pass(
        &mut self,
        left: Vec<(u64, Hash)>,
        refused: u64,
        source: Option<SourceError>,
    ) -> Result<(), ImagingError> {
        if left.len() * 2 > self.leaves.len() {
            self.weak_passes += 1;
        }
        self.leaves = left;
        match self.leaves.first() {
            Some((first, _)) if self.weak_passes == TRIES => {
                Err(ImagingError::Leaves { missing: self.leaves.len(), first: *first, refused, source })
            }
            _ => Ok(()),
        }
    }
}

impl Transfer<'_> {
    fn len(&self, index: u64) -> u64 {
        self.head.header.leaf(index).map_or(0, |leaf| leaf.extent.len)
    }

    /// The contents of leaf `index`, if they are what they must be.
    fn unpack(&self, index: u64, packed: &PackedLeaf, expected: &Hash) -> Option<Vec<u8>> {
        let fits = u64::from(packed.raw_len) == self.len(index);
        fits.then(|| packed.decode(expected).ok()).flatten()
    }

    /// The contents of `leaves`: those that differ from the source, the others from the disk.
    pub(super) fn hold(
        &self,
        leaves: &BTreeSet<u64>,
        dirty: &[(u64, Hash)],
        watched: &BTreeMap<u64, Hash>,
    ) -> Result<BTreeMap<u64, (Hash, Vec<u8>)>, ImagingError> {
        let zeros = ZeroHashes::new(&self.head.header);
        let mut held = BTreeMap::new();
        let mut absent = Vec::new();
        for index in leaves {
            let Some(leaf) = self.head.header.leaf(*index) else { continue };
            let differs = dirty.binary_search_by_key(index, |(index, _)| *index).ok().and_then(|at| dirty.get(at));
            let hash = match (differs, watched.get(index)) {
                (Some((_, hash)), _) | (None, Some(hash)) => *hash,
                (None, None) => continue,
            };
            let mut bytes = vec![0; leaf.extent.len as usize];
            if zeros.of(leaf.extent.len) == hash {
                held.insert(*index, (hash, bytes));
                continue;
            }
            if differs.is_none() {
                self.medium.read(leaf.extent.start, &mut bytes).map_err(at("reading the gate's leaves"))?;
                self.mask.blank(leaf.extent.start, &mut bytes);
                if Hash::of(&bytes) == hash {
                    held.insert(*index, (hash, bytes));
                    continue;
                }
            }
            absent.push((*index, hash));
        }
        let mut pending = Pending::new(absent);
        let mut refused = 0;
        while !pending.leaves.is_empty() {
            self.medium.check_stop()?;
            let told = self.source.leaves(&pending.leaves, &mut |index, packed| {
                let expected = pending.leaves.iter().find(|(wanted, _)| *wanted == index);
                match expected.and_then(|(_, hash)| Some((*hash, self.unpack(index, &packed, hash)?))) {
                    Some(leaf) => drop(held.insert(index, leaf)),
                    None => {
                        refused += 1;
                        self.source.wrong_leaf(index);
                    }
                }
                Ok(())
            });
            let left = pending.leaves.iter().filter(|(index, _)| !held.contains_key(index)).copied().collect();
            pending.after_pass(left, refused, told.err())?;
        }
        Ok(held)
    }

    /// Writes `wanted`, ascending: what is held, what is zeros, and the rest as it arrives.
    pub(super) fn write(
        &self,
        gate: &Gate,
        wanted: &[(u64, Hash)],
        held: &BTreeMap<u64, (Hash, Vec<u8>)>,
    ) -> Result<(), ImagingError> {
        let zeros = ZeroHashes::new(&self.head.header);
        let twins = Twins::new(wanted);
        let progress = Progress::new(self.monitor, wanted.len() as u64);
        let writer = Writer { transfer: self, gate, twins: &twins, progress };
        let at_hand = |(index, hash): &(u64, Hash)| held.contains_key(index) || zeros.of(self.len(*index)) == *hash;
        let (ready, absent) = twins.first_of_each(wanted).partition(at_hand);

        // The table's first leaf is among those at hand: it goes first.
        self.run(&writer, &Pass::new(ready), 1, &|pass, queue| {
            for (index, _) in &pass.leaves {
                let job = held.get(index).map_or(Job::Zeros, |(_, bytes)| Job::Plain(bytes.clone()));
                if queue.send(*index, job).is_err() {
                    break;
                }
            }
            None
        })?;
        let mut pending = Pending::new(absent);
        let mut refused = 0;
        while !pending.leaves.is_empty() {
            let pass = Pass::new(pending.leaves.clone());
            let told = self.run(&writer, &pass, FETCHERS, &|pass, queue| self.fetch(pass, queue))?;
            refused += pass.refused.load(Ordering::Relaxed);
            pending.after_pass(pass.left(), refused, told)?;
        }
        Ok(())
    }

    /// Asks the source for parts of a pass until there are no more. Two parts in a row of which nothing came end it: what
    /// is left is asked for in the next pass, or given up.
    fn fetch(&self, pass: &Pass, queue: &Queue<'_>) -> Option<SourceError> {
        let at_once = (ASK_BYTES / u64::from(self.head.header.leaf_bytes)).max(1) as usize;
        let mut failed = 0;
        let mut told = None;
        while failed < 2 && !queue.failure.halted() {
            let Some(part) = pass.leaves.chunks(at_once).nth(pass.next.fetch_add(1, Ordering::Relaxed)) else { break };
            let mut came = 0u64;
            let answer = self.source.leaves(part, &mut |index, packed| {
                came += 1;
                queue.send(index, Job::Packed(packed))
            });
            failed = if came == 0 { failed + 1 } else { 0 };
            told = answer.err().or(told);
        }
        told
    }

    /// Writes what `feeders` calls of `feed` put into the queue.
    fn run(
        &self,
        writer: &Writer<'_>,
        pass: &Pass,
        feeders: usize,
        feed: &(dyn Fn(&Pass, &Queue<'_>) -> Option<SourceError> + Sync),
    ) -> Result<Option<SourceError>, ImagingError> {
        let failure = Failure::default();
        let told = Mutex::new(None);
        let room = (QUEUE_BYTES / u64::from(self.head.header.leaf_bytes)).clamp(8, 1024) as usize;
        let (sender, receiver) = sync_channel(room);
        let receiver = Mutex::new(receiver);
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(WRITERS) {
                scope.spawn(|| writer.work(pass, &receiver, &failure));
            }
            for _ in 0..feeders {
                let queue = Queue { sender: sender.clone(), failure: &failure };
                let told = &told;
                scope.spawn(move || {
                    if let Some(error) = feed(pass, &queue) {
                        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                });
            }
            drop(sender);
        });
        failure.result()?;
        Ok(told.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Leaves that are sought at the same time.
struct Pass {
    leaves: Vec<(u64, Hash)>,
    done: Vec<AtomicBool>,
    next: AtomicUsize,
    refused: AtomicU64,
}

impl Pass {
    fn new(leaves: Vec<(u64, Hash)>) -> Self {
        let done = leaves.iter().map(|_| AtomicBool::new(false)).collect();
        Self { leaves, done, next: AtomicUsize::new(0), refused: AtomicU64::new(0) }
    }

    /// A leaf that is sought, with its flag.
    fn seek(&self, index: u64) -> Option<(&Hash, &AtomicBool)> {
        let place = self.leaves.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some((&self.leaves.get(place)?.1, self.done.get(place)?))
    }

    fn left(&self) -> Vec<(u64, Hash)> {
        let open = self.leaves.iter().zip(&self.done).filter(|(_, done)| !done.load(Ordering::Relaxed));
        open.map(|(leaf, _)| *leaf).collect()
    }
}

/// Between fetching and writing.
struct Queue<'a> {
    sender: SyncSender<(u64, Job)>,
    failure: &'a Failure,
}

impl Queue<'_> {
    fn send(&self, index: u64, job: Job) -> Result<(), Declined> {
        if self.failure.halted() {
            return Err(Declined);
        }
        self.sender.send((index, job)).map_err(|_| Declined)
    }
}

/// Leaves with the same contents: fetched once, written to each place.
struct Twins(Vec<(Hash, u64)>);

impl Twins {
    fn new(wanted: &[(u64, Hash)]) -> Self {
        let mut all: Vec<(Hash, u64)> = wanted.iter().map(|(index, hash)| (*hash, *index)).collect();
        all.sort_unstable();
        Self(all)
    }

    fn of(&self, hash: &Hash) -> impl Iterator<Item = u64> + '_ {
        let hash = *hash;
        let first = self.0.partition_point(|(other, _)| *other < hash);
        self.0.iter().skip(first).take_while(move |(other, _)| *other == hash).map(|(_, index)| *index)
    }

    fn first_of_each<'a>(&'a self, wanted: &'a [(u64, Hash)]) -> impl Iterator<Item = (u64, Hash)> + 'a {
        wanted.iter().copied().filter(|(index, hash)| self.of(hash).next() == Some(*index))
    }
}

/// Checks, unpacks, compares and writes.
struct Writer<'a> {
    transfer: &'a Transfer<'a>,
    gate: &'a Gate,
    twins: &'a Twins,
    progress: Progress<'a>,
}

/// Room for one leaf as it is on the disk, and as it shall be.
struct Scratch {
    old: AlignedBuffer,
    new: AlignedBuffer,
}

impl Writer<'_> {
    fn work(&self, pass: &Pass, receiver: &Mutex<Receiver<(u64, Job)>>, failure: &Failure) {
        let len = self.transfer.head.header.leaf_bytes as usize;
        let mut scratch = Scratch { old: AlignedBuffer::new(len), new: AlignedBuffer::new(len) };
        loop {
            let received = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((index, job)) = received else { break };
            // After a failure the queue is emptied, so that nobody waits for room in it.
            if failure.halted() {
                continue;
            }
            if let Err(error) = self.take(pass, index, job, &mut scratch) {
                failure.set(error);
            }
        }
    }

    fn take(&self, pass: &Pass, index: u64, job: Job, scratch: &mut Scratch) -> Result<(), ImagingError> {
        let transfer = self.transfer;
        transfer.medium.check_stop()?;
        let sought = pass.seek(index);
        let bytes = match (&sought, job) {
            (Some((_, done)), _) if done.load(Ordering::Relaxed) => return Ok(()),
            (Some(_), Job::Zeros) => Some(vec![0; transfer.len(index) as usize]),
            (Some(_), Job::Plain(bytes)) => Some(bytes),
            (Some((hash, _)), Job::Packed(packed)) => transfer.unpack(index, &packed, hash),
            (None, _) => None,
        };
        let (Some((hash, done)), Some(bytes)) = (sought, bytes) else {
            pass.refused.fetch_add(1, Ordering::Relaxed);
            transfer.source.wrong_leaf(index);
            return Ok(());
        };
        for twin in self.twins.of(hash) {
            if let Some(leaf) = transfer.head.header.leaf(twin) {
                self.write(leaf, &bytes, scratch)?;
            }
            self.progress.add(1, |done, total| {
                let fetched = transfer.source.fetched();
                ImagingEvent::Writing { done, total, fetched }
            });
        }
        done.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn write(&self, leaf: Leaf, bytes: &[u8], scratch: &mut Scratch) -> Result<(), ImagingError> {
        let Transfer { medium, mask, head, .. } = self.transfer;
        let start = leaf.extent.start;
        let old = &mut scratch.old[..bytes.len()];
        let new = &mut scratch.new[..bytes.len()];
        new.copy_from_slice(bytes);
        self.gate.close_in(start, new);
        let known = match medium.read(start, old) {
            Ok(()) => true,
            // A sector that cannot be read can often be written.
            Err(DiskError::Io { .. }) => false,
            Err(error) => return Err(at("being compared")(error)),
        };
        if known {
            for masked in mask.within(leaf.extent) {
                let range = (masked.start - start) as usize..(masked.end() - start) as usize;
                new[range.clone()].copy_from_slice(&old[range]);
            }
        }
        let known = known.then_some(&*old);
        for run in differing(known, new, start, u64::from(head.header.sector_bytes), mask) {
            medium.write(start + run.start as u64, &new[run], "writing leaves")?;
        }
        Ok(())
    }
}

/// The runs of `new` to write at `start`: blocks that differ from `old`, all where that is not known, without sectors that
/// are wholly masked.
fn differing(old: Option<&[u8]>, new: &[u8], start: u64, sector: u64, mask: &Mask) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let end = start + new.len() as u64;
    let mut at = start;
    while at < end {
        let next = (at - at % COMPARE_BYTES + COMPARE_BYTES).min(end);
        let block = (at - start) as usize..(next - start) as usize;
        if old.is_none_or(|old| old[block.clone()] != new[block.clone()]) {
            for sector_start in (at..next).step_by(sector as usize) {
                if mask.covers(Extent { start: sector_start, len: sector }) {
                    continue;
                }
                let from = (sector_start - start) as usize;
                let to = from + sector as usize;
                match runs.last_mut() {
                    Some(last) if last.end == from => last.end = to,
                    _ => runs.push(from..to),
                }
            }
        }
        at = next;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differing_blocks_are_written_and_masked_sectors_are_cut_out() {
        let old = vec![0; 16384];
        let mut new = old.clone();
        new[5000] = 1;
        new[8192] = 1;
        let none = Mask::default();
        let runs = |old: Option<&[u8]>, start, sector, mask: &Mask| -> Vec<(usize, usize)> {
            differing(old, &new, start, sector, mask).into_iter().map(|run| (run.start, run.end)).collect()
        };
        assert_eq!(runs(Some(&old), 65536, 512, &none), [(4096, 12288)]);
        assert_eq!(runs(Some(&old), 65536 + 512, 512, &none), [(3584, 11776)], "blocks lie on the disk's grid");
        let mask = Mask::new(vec![Extent { start: 65536 + 4096, len: 512 }, Extent { start: 65536 + 8192, len: 100 }]);
        assert_eq!(runs(Some(&old), 65536, 512, &mask), [(4608, 12288)]);
        assert_eq!(runs(None, 65536, 4096, &mask), [(0, 16384)]);
        assert!(runs(Some(&new), 65536, 512, &none).is_empty());
    }

    #[test]
    fn twins_are_fetched_once() {
        let [a, b] = [Hash::of(b"a"), Hash::of(b"b")];
        let wanted = [(3, a), (5, b), (7, a), (9, a)];
        let twins = Twins::new(&wanted);
        assert_eq!(twins.first_of_each(&wanted).collect::<Vec<_>>(), [(3, a), (5, b)]);
        assert_eq!(twins.of(&a).collect::<Vec<_>>(), [3, 7, 9]);
    }

    #[test]
    fn a_source_that_delivers_little_ends() {
        let leaves: Vec<(u64, Hash)> = (0..64).map(|index| (index, Hash::of(b"x"))).collect();
        let mut pending = Pending::new(leaves.clone());
        let mut passes = 0;
        let error = loop {
            let left = pending.leaves.iter().skip(1).copied().collect();
            passes += 1;
            if let Err(error) = pending.after_pass(left, 7, None) {
                break error;
            }
        };
        assert_eq!(passes, TRIES);
        assert!(matches!(error, ImagingError::Leaves { missing: 59, first: 5, refused: 7, source: None }), "{error}");
        let mut halving = Pending::new(leaves);
        while !halving.leaves.is_empty() {
            let left = halving.leaves.iter().skip(halving.leaves.len().div_ceil(2)).copied().collect();
            halving.after_pass(left, 0, None).unwrap();
        }
    }
}
