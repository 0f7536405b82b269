//! Reading, hashing and compressing on all cores, storing in disk order.

use std::sync::mpsc::{self, SyncSender};

use super::master::Master;
use super::{CaptureError, CapturePhase, CaptureProgress};
use crate::disk::{Disk, DiskError};
use crate::image::leaf::LeafPacker;
use crate::image::{Extent, GROUP_LEAVES, Hash, Header, Leaf, PackedLeaf};
use crate::packs::{LeafStore, PackWriter};

/// The most bytes that are read at once.
const READ_BYTES: u64 = 4 << 20;

/// How many finished groups of leaves a thread may be ahead of the writer.
const AHEAD: usize = 2;

/// What came of all leaves.
#[derive(Default)]
pub(super) struct Read {
    pub(super) leaves: Vec<Hash>,
    pub(super) zero_leaves: u64,
    pub(super) read_bytes: u64,
}

/// One group of leaves, read.
struct Group {
    leaves: Vec<(Hash, State)>,
    read_bytes: u64,
}

enum State {
    Zero,
    Known,
    New(PackedLeaf),
}

pub(super) fn read(
    disk: &dyn Disk,
    header: &Header,
    master: &Master,
    writer: &mut PackWriter,
    store: &LeafStore,
    threads: usize,
    monitor: &dyn Fn(CaptureProgress),
) -> Result<Read, CaptureError> {
    let threads = threads.max(1);
    let total = header.leaf_count();
    let mut read = Read::default();
    std::thread::scope(|scope| {
        // Thread i reads groups i, i + n, i + 2n, …: taking turns at the receivers keeps disk order without a queue that
        // could grow.
        let receivers: Vec<_> = (0..threads)
            .map(|first| {
                let (sender, receiver) = mpsc::sync_channel(AHEAD);
                scope.spawn(move || work(disk, header, master, store, first, threads, &sender));
                receiver
            })
            .collect();
        for group in 0..header.group_count() as usize {
            let received = receivers.get(group % threads).and_then(|receiver| receiver.recv().ok());
            // A thread that ended without a word has panicked, which the scope passes on.
            let Some(group) = received else { break };
            let Group { leaves, read_bytes } = group?;
            read.read_bytes += read_bytes;
            for (hash, state) in leaves {
                match state {
                    State::Zero => read.zero_leaves += 1,
                    State::Known => {}
                    State::New(packed) => {
                        writer.append(&hash, &packed)?;
                    }
                }
                read.leaves.push(hash);
            }
            monitor(CaptureProgress { phase: CapturePhase::Reading, done: read.leaves.len() as u64, total });
        }
        Ok(read)
    })
}

fn work(
    disk: &dyn Disk,
    header: &Header,
    master: &Master,
    store: &LeafStore,
    first: usize,
    threads: usize,
    sender: &SyncSender<Result<Group, CaptureError>>,
) {
    let zero = Hash::of_zeros(header.leaf_bytes.into());
    let mut packer = match LeafPacker::new() {
        Ok(packer) => packer,
        Err(error) => {
            // Nobody listens once another thread has failed.
            let _ = sender.send(Err(error.into()));
            return;
        }
    };
    let mut buf = Vec::new();
    for group in (first as u64..header.group_count()).step_by(threads) {
        let done = read_group(disk, header, master, store, group, zero, &mut packer, &mut buf);
        let failed = done.is_err();
        if sender.send(done).is_err() || failed {
            return;
        }
    }
}

fn read_group(
    disk: &dyn Disk,
    header: &Header,
    master: &Master,
    store: &LeafStore,
    group: u64,
    zero: Hash,
    packer: &mut LeafPacker,
    buf: &mut Vec<u8>,
) -> Result<Group, CaptureError> {
    let zero_of = |len: u64| if len == u64::from(header.leaf_bytes) { zero } else { Hash::of_zeros(len) };
    let leaves: Vec<Leaf> = header.group(group).filter_map(|index| header.leaf(index)).collect();
    let mut done = Group { leaves: Vec::with_capacity(GROUP_LEAVES as usize), read_bytes: 0 };
    for run in runs(&leaves, header.leaf_bytes, master) {
        let extent = match run {
            Run::Unread(leaf) => {
                done.leaves.push((zero_of(leaf.extent.len), State::Zero));
                continue;
            }
            Run::Together(extent) => extent,
        };
        buf.clear();
        buf.resize(extent.len as usize, 0);
        done.read_bytes += read_leaf(master, extent, buf, &|offset, buf| disk.read_at(offset, buf))?;
        for bytes in buf.chunks(header.leaf_bytes as usize) {
            if bytes.iter().all(|byte| *byte == 0) {
                done.leaves.push((zero_of(bytes.len() as u64), State::Zero));
                continue;
            }
            let hash = Hash::of(bytes);
            let state = if store.contains(&hash) { State::Known } else { State::New(packer.pack(bytes)?) };
            done.leaves.push((hash, state));
        }
    }
    Ok(done)
}

enum Run<'a> {
    /// A leaf of which nothing counts.
    Unread(&'a Leaf),
    /// Leaves that follow each other.
    Together(Extent),
}

fn runs<'a>(leaves: &'a [Leaf], leaf_bytes: u32, master: &Master) -> Vec<Run<'a>> {
    let mut runs: Vec<Run<'a>> = Vec::new();
    // The last leaf of a region may be short, and the next region may begin where it ends.
    let mut open = false;
    for leaf in leaves {
        if master.unread.covers(leaf.extent) {
            runs.push(Run::Unread(leaf));
            open = false;
            continue;
        }
        match runs.last_mut() {
            Some(Run::Together(run))
                if open && run.end() == leaf.extent.start && run.len + leaf.extent.len <= READ_BYTES =>
            {
                run.len += leaf.extent.len;
            }
            _ => runs.push(Run::Together(leaf.extent)),
        }
        open = leaf.extent.len == u64::from(leaf_bytes);
    }
    runs
}

/// Reads the parts of `extent` that count; the others are zeros. Says how many bytes were read.
pub(super) fn read_leaf(
    master: &Master,
    extent: Extent,
    buf: &mut [u8],
    read: &dyn Fn(u64, &mut [u8]) -> Result<(), DiskError>,
) -> Result<u64, DiskError> {
    // One read over small gaps is cheaper than two reads.
    const GAP: u64 = 64 << 10;
    let mut wanted: Vec<Extent> = Vec::new();
    for part in master.unread.outside(extent) {
        match wanted.last_mut() {
            Some(last) if part.start - last.end() <= GAP => last.len = part.end() - last.start,
            _ => wanted.push(part),
        }
    }
    let mut bytes = 0;
    for part in wanted {
        let from = (part.start - extent.start) as usize;
        if let Some(into) = buf.get_mut(from..from + part.len as usize) {
            read(part.start, into)?;
            bytes += part.len;
        }
    }
    master.mask.blank(extent.start, buf);
    master.zeros.blank(extent.start, buf);
    Ok(bytes)
}
