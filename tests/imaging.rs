//! Imaging onto files, with honest, faulty and hostile sources.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(test)]
#[path = "imaging/small_image.rs"]
mod small_image;

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use klonwerk::agent::imaging::{
    Declined, ImageSource, ImagingError, ImagingOptions, PackedLeaf, SourceError, image_disk,
};
use klonwerk::disk::{Access, Disk, DiskError, FileDisk, MemoryDisk};
use klonwerk::image::{Hash, Mask, TableKind};
use klonwerk::progress::{ImagingEvent, ImagingTotals, Monitor, Unwatched};
use proptest::prelude::*;
use small_image::*;

const KIB: usize = 1024;
const PARTS: [Part; 2] =
    [Part { start: 32 * KIB, len: 64 * KIB, esp: true }, Part { start: 96 * KIB, len: 399 * KIB, esp: false }];
const NOTE: Range<usize> = 28 * KIB..32 * KIB;

fn image() -> Image {
    let mask = Mask::new(vec![
        extent(NOTE.start, NOTE.len()),
        extent(100 * KIB, 13 * KIB),
        extent(201 * KIB, 1536),
        extent(300 * KIB + 512, 40 * KIB),
    ]);
    let regions = regions(DISK, TableKind::Gpt, 32 * KIB, &PARTS);
    let mut master = gpt_disk(DISK, 5, &PARTS);
    // Contents that occur twice, and zeros in use.
    master.copy_within(128 * KIB..140 * KIB, 228 * KIB);
    master[400 * KIB..420 * KIB].fill(0);
    Image::of(master, TableKind::Gpt, regions, mask, Some(extent(NOTE.start, NOTE.len())))
}

/// The image, with garbage in free space.
fn used(image: &Image) -> Vec<u8> {
    let mut disk = image.master.clone();
    for masked in image.mask.extents() {
        disk[masked.start as usize..masked.end() as usize].fill(0xaa);
    }
    disk
}

fn file(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("disk.img");
    fs::write(&path, bytes).unwrap();
    path
}

fn run(disk: &dyn Disk, image: &Image, source: &dyn ImageSource) -> Result<ImagingTotals, ImagingError> {
    let mut options = ImagingOptions::new(&gates_of);
    options.note = Some(b"hello".to_vec());
    image_disk(disk, &image.head, source, options, &Unwatched, &AtomicBool::new(false))
}

fn assert_is_image(image: &Image, disk: &[u8]) {
    assert_eq!(image.differences(disk), [0; 0]);
    assert!(disk[NOTE].starts_with(b"hello\0"));
}

/// Counts what a disk is asked for.
#[derive(Debug)]
struct Watched<D> {
    disk: D,
    written: Mutex<Vec<Range<usize>>>,
    read: Mutex<Vec<Range<usize>>>,
}

impl<D> Watched<D> {
    fn new(disk: D) -> Self {
        Self { disk, written: Mutex::default(), read: Mutex::default() }
    }

    fn written(&self) -> Vec<Range<usize>> {
        let mut written = self.written.lock().unwrap().clone();
        written.sort_by_key(|range| (range.start, range.end));
        written
    }
}

impl<D: Disk> Disk for Watched<D> {
    fn size(&self) -> u64 {
        self.disk.size()
    }
    fn sector_bytes(&self) -> u32 {
        self.disk.sector_bytes()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.read.lock().unwrap().push(offset as usize..offset as usize + buf.len());
        self.disk.read_at(offset, buf)
    }
    fn read_past_cache(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.read.lock().unwrap().push(offset as usize..offset as usize + buf.len());
        self.disk.read_past_cache(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), DiskError> {
        self.written.lock().unwrap().push(offset as usize..offset as usize + buf.len());
        self.disk.write_at(offset, buf)
    }
    fn flush(&self) -> Result<(), DiskError> {
        self.disk.flush()
    }
    fn rescan(&self) -> Result<(), DiskError> {
        self.disk.rescan()
    }
}

/// Remembers the events.
#[derive(Default)]
struct Heard(Mutex<Vec<ImagingEvent>>);

impl Monitor for Heard {
    fn event(&self, event: ImagingEvent) {
        self.0.lock().unwrap().push(event);
    }
}

#[test]
fn a_blank_file_becomes_the_image() {
    let image = image();
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), &vec![0; DISK]);
    let disk = FileDisk::open(&path, Access::Exclusive).unwrap();
    let source = Honest::new(&image);
    let heard = Heard::default();
    let mut options = ImagingOptions::new(&gates_of);
    options.note = Some(b"hello".to_vec());
    let totals = image_disk(&disk, &image.head, &source, options, &heard, &AtomicBool::new(false)).unwrap();
    assert_is_image(&image, &fs::read(&path).unwrap());

    let masked_leaves = image.head.header.leaves().filter(|leaf| image.mask.covers(leaf.extent));
    let skipped: u64 = masked_leaves.map(|leaf| leaf.extent.len).sum();
    assert!(skipped > 40 * KIB as u64);
    let covered: u64 = image.head.header.regions.iter().map(|region| region.extent.len).sum();
    assert_eq!(totals.read, covered - skipped, "each byte that counts is read once");
    assert_eq!(totals.fetched, source.fetched());
    let mut asked = source.asked.lock().unwrap().clone();
    asked.sort();
    let distinct: BTreeSet<Hash> = asked.iter().map(|index| image.manifest.leaves[*index as usize]).collect();
    assert_eq!(asked.len(), distinct.len(), "equal leaves are fetched once");
    assert!(!distinct.contains(&Hash::of_zeros(u64::from(LEAF))), "zeros are not fetched");

    let events = heard.0.lock().unwrap();
    let place = |wanted: &dyn Fn(&ImagingEvent) -> bool| events.iter().position(wanted).unwrap();
    let order = [
        place(&|e| matches!(e, ImagingEvent::Scanning { .. })),
        place(
            &|e| matches!(e, ImagingEvent::Scanned { leaves: 129, dirty_leaves } if *dirty_leaves == totals.dirty_leaves),
        ),
        place(&|e| matches!(e, ImagingEvent::GateClosed)),
        place(&|e| matches!(e, ImagingEvent::Writing { .. })),
        place(&|e| matches!(e, ImagingEvent::Writing { done, total, .. } if done == total)),
        place(&|e| matches!(e, ImagingEvent::Verifying { .. })),
        place(&|e| matches!(e, ImagingEvent::Verifying { done, total } if done == total)),
        place(&|e| matches!(e, ImagingEvent::GateOpened)),
        place(&|e| *e == ImagingEvent::Committed(totals)),
    ];
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(order[8], events.len() - 1);
}

#[test]
fn only_what_differs_is_fetched_and_written() {
    let image = image();
    let mut old = used(&image);
    old[150 * KIB + 700] ^= 1;
    old[201 * KIB + 2000] ^= 1;
    let disk = Watched::new(MemoryDisk::new(old.clone(), 512));
    let source = Honest::new(&image);
    let totals = run(&disk, &image, &source).unwrap();
    assert_is_image(&image, &disk.disk.contents());
    assert_eq!(totals.dirty_leaves, 2);
    assert_eq!(source.asked.lock().unwrap().len(), 2, "the gate's own leaves are taken from the disk");

    // Gate: closed and opened. Leaves: a block of 4 KiB each, of one of which three sectors are free space.
    let block = 148 * KIB..152 * KIB;
    let parts = [200 * KIB..201 * KIB, 201 * KIB + 1536..204 * KIB];
    let sectors = [0..512, 0..512, 32 * KIB..32 * KIB + 512, 32 * KIB..32 * KIB + 512];
    let mut wanted: Vec<Range<usize>> = sectors.into_iter().chain([NOTE, block]).chain(parts).collect();
    wanted.sort_by_key(|range| (range.start, range.end));
    assert_eq!(disk.written(), wanted);
    assert_eq!(totals.written as usize, wanted.iter().map(Range::len).sum::<usize>());

    let after = disk.disk.contents();
    for masked in image.mask.extents().iter().skip(1) {
        let range = masked.start as usize..masked.end() as usize;
        assert_eq!(after[range.clone()], old[range], "free space stays as it was");
    }
    let free = 304 * KIB..340 * KIB;
    let read = disk.read.lock().unwrap();
    assert!(!read.iter().any(|range| range.start < free.end && free.start < range.end), "free leaves are not read");
}

#[test]
fn nothing_differs_nothing_is_written_but_the_note() {
    let image = image();
    let disk = Watched::new(MemoryDisk::new(used(&image), 512));
    let heard = Heard::default();
    let mut options = ImagingOptions::new(&gates_of);
    options.note = Some(b"hello".to_vec());
    let source = Honest::new(&image);
    let totals = image_disk(&disk, &image.head, &source, options, &heard, &AtomicBool::new(false)).unwrap();
    assert_eq!(disk.written(), [NOTE]);
    assert_eq!((totals.dirty_leaves, source.asked.lock().unwrap().len()), (0, 0));
    let closed = heard.0.lock().unwrap().contains(&ImagingEvent::GateClosed);
    assert!(!closed, "the disk can start all the time");

    run(&disk, &image, &Honest::new(&image)).unwrap();
    assert_eq!(disk.written(), [NOTE], "the same note is not written twice");
    let nothing = ImagingOptions::new(&gates_of);
    image_disk(&disk, &image.head, &source, nothing, &Unwatched, &AtomicBool::new(false)).unwrap();
    assert!(disk.disk.contents()[NOTE].iter().all(|byte| *byte == 0), "no note: the old one goes");
}

/// Delivers some leaves wrongly, leaves some out, fails now and then.
struct Faulty<'a> {
    honest: Honest<'a>,
    /// How many deliveries of each leaf go wrong.
    faults: u64,
    kind: Fault,
    counts: Mutex<Vec<u64>>,
    told_wrong: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    OtherContents,
    OtherLength,
    NotZstd,
    Bomb,
    LeftOut,
    NotAsked,
    Broken,
}

impl<'a> Faulty<'a> {
    fn new(image: &'a Image, kind: Fault, faults: u64) -> Self {
        let counts = Mutex::new(vec![0; image.manifest.leaves.len()]);
        Self { honest: Honest::new(image), faults, kind, counts, told_wrong: AtomicU64::new(0) }
    }

    fn spoils(&self, index: u64) -> bool {
        let mut counts = self.counts.lock().unwrap();
        let count = &mut counts[index as usize];
        *count += 1;
        *count <= self.faults
    }
}

impl ImageSource for Faulty<'_> {
    fn mask(&self) -> Result<Vec<u8>, SourceError> {
        self.honest.mask()
    }

    fn leaf_hashes(&self, groups: &[u64]) -> Result<Vec<Vec<Hash>>, SourceError> {
        self.honest.leaf_hashes(groups)
    }

    fn leaves(
        &self,
        wanted: &[(u64, Hash)],
        sink: &mut dyn FnMut(u64, PackedLeaf) -> Result<(), Declined>,
    ) -> Result<(), SourceError> {
        let spoiled: Vec<bool> = wanted.iter().map(|(index, _)| self.spoils(*index)).collect();
        let mut place = 0;
        self.honest.leaves(wanted, &mut |index, leaf| {
            place += 1;
            if !spoiled[place - 1] {
                return sink(index, leaf);
            }
            match self.kind {
                Fault::OtherContents => sink(index, pack(&vec![1; leaf.raw_len as usize])),
                Fault::OtherLength => sink(index, PackedLeaf { raw_len: leaf.raw_len - 1, ..leaf }),
                Fault::NotZstd => sink(index, PackedLeaf { zstd: vec![0x55; 30], ..leaf }),
                Fault::Bomb => sink(index, PackedLeaf { raw_len: leaf.raw_len, ..pack(&vec![0; 64 << 20]) }),
                Fault::LeftOut => Ok(()),
                Fault::NotAsked => sink(u64::MAX - index, leaf),
                Fault::Broken => Err(Declined),
            }
        })
    }

    fn fetched(&self) -> u64 {
        self.honest.fetched()
    }

    fn wrong_leaf(&self, _index: u64) {
        self.told_wrong.fetch_add(1, Ordering::Relaxed);
    }
}

const FAULTS: [Fault; 7] = [
    Fault::OtherContents,
    Fault::OtherLength,
    Fault::NotZstd,
    Fault::Bomb,
    Fault::LeftOut,
    Fault::NotAsked,
    Fault::Broken,
];

#[test]
fn a_leaf_that_comes_wrong_is_fetched_again() {
    let image = image();
    for kind in FAULTS {
        let disk = MemoryDisk::new(vec![0; DISK], 512);
        let source = Faulty::new(&image, kind, 1);
        run(&disk, &image, &source).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_is_image(&image, &disk.contents());
        let silent = matches!(kind, Fault::LeftOut | Fault::Broken);
        assert_eq!(source.told_wrong.load(Ordering::Relaxed) == 0, silent, "{kind:?}");
    }
}

#[test]
fn a_source_that_never_delivers_ends_in_an_error_and_a_closed_or_untouched_disk() {
    let image = image();
    for kind in FAULTS {
        // The gate's leaves cannot be had: nothing is touched.
        let disk = MemoryDisk::new(vec![0; DISK], 512);
        let error = run(&disk, &image, &Faulty::new(&image, kind, u64::MAX)).unwrap_err();
        assert!(matches!(error, ImagingError::Leaves { missing: 2, first: 0, .. }), "{kind:?}: {error}");
        assert!(disk.contents().iter().all(|byte| *byte == 0), "{kind:?}");
        // They can, another cannot.
        let mut old = used(&image);
        old[150 * KIB] ^= 1;
        let disk = MemoryDisk::new(old, 512);
        let error = run(&disk, &image, &Faulty::new(&image, kind, u64::MAX)).unwrap_err();
        assert!(matches!(error, ImagingError::Leaves { missing: 1, first: 37, .. }), "{kind:?}: {error}");
        let closed = disk.contents();
        assert!(closed.starts_with(&[0xcd, 0x18]) && closed[32 * KIB..32 * KIB + 512] == [0; 512], "{kind:?}");
        run(&disk, &image, &Honest::new(&image)).unwrap();
        assert_is_image(&image, &disk.contents());
    }
}

/// An index that is not the signed one.
struct Forged<'a>(Honest<'a>, &'static str);

impl ImageSource for Forged<'_> {
    fn mask(&self) -> Result<Vec<u8>, SourceError> {
        let mut mask = self.0.mask()?;
        if self.1 == "mask" {
            let last = mask.len() - 1;
            mask[last] ^= 1;
        }
        Ok(mask)
    }

    fn leaf_hashes(&self, groups: &[u64]) -> Result<Vec<Vec<Hash>>, SourceError> {
        let mut lists = self.0.leaf_hashes(groups)?;
        match self.1 {
            "hash" => lists[0][3] = Hash([0; 32]),
            "list" => lists[0].truncate(3),
            "lists" => lists.truncate(1),
            _ => {}
        }
        Ok(lists)
    }

    fn leaves(
        &self,
        wanted: &[(u64, Hash)],
        sink: &mut dyn FnMut(u64, PackedLeaf) -> Result<(), Declined>,
    ) -> Result<(), SourceError> {
        self.0.leaves(wanted, sink)
    }

    fn fetched(&self) -> u64 {
        0
    }
}

#[test]
fn a_forged_index_is_refused_before_anything_is_written() {
    let image = image();
    for part in ["mask", "hash", "list", "lists"] {
        let disk = MemoryDisk::new(vec![0; DISK], 512);
        let error = run(&disk, &image, &Forged(Honest::new(&image), part)).unwrap_err();
        assert!(matches!(error, ImagingError::Index { .. }), "{part}: {error}");
        assert!(disk.contents().iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_disk_that_does_not_fit_is_refused() {
    let image = image();
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), &vec![0; DISK - 512]);
    let small = FileDisk::open(&path, Access::Exclusive).unwrap();
    let error = run(&small, &image, &Honest::new(&image)).unwrap_err();
    assert!(matches!(error, ImagingError::TooSmall { disk: 523_776, image: 524_288 }), "{error}");
    drop(small);

    let path = file(folder.path(), &vec![0; 2 * DISK]);
    let other = FileDisk::open_with_sector(&path, Access::Exclusive, 4096).unwrap();
    let error = run(&other, &image, &Honest::new(&image)).unwrap_err();
    assert!(matches!(error, ImagingError::SectorSize { disk: 4096, image: 512 }), "{error}");
    let mut options = ImagingOptions::new(&gates_of);
    options.note = Some(vec![1; NOTE.len() + 1]);
    drop(other);
    let disk = FileDisk::open(&path, Access::Exclusive).unwrap();
    let source = Honest::new(&image);
    let error = image_disk(&disk, &image.head, &source, options, &Unwatched, &AtomicBool::new(false)).unwrap_err();
    assert!(matches!(error, ImagingError::NoRoomForNote { len: 4097, room: 4096 }), "{error}");
    assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0), "nothing was written");
    let second = FileDisk::open(&path, Access::Exclusive).unwrap_err();
    assert!(matches!(second, DiskError::InUse { .. }), "{second}");

    run(&disk, &image, &source).unwrap();
    assert_is_image(&image, &fs::read(&path).unwrap());
}

#[test]
fn a_larger_disk_loses_the_backup_of_an_older_table() {
    let image = image();
    let old = gpt_disk(2 * DISK, 8, &PARTS);
    let disk = MemoryDisk::new(old.clone(), 512);
    run(&disk, &image, &Honest::new(&image)).unwrap();
    let after = disk.contents();
    assert_is_image(&image, &after);
    assert!(old[2 * DISK - 512..].starts_with(b"EFI PART") && after[2 * DISK - 512..] == [0; 512]);
    assert_eq!(after[DISK..2 * DISK - 512], old[DISK..2 * DISK - 512], "the rest of the tail stays");
}

#[test]
fn hooks_run_on_a_closed_disk_and_their_error_keeps_it_closed() {
    let image = image();
    let disk = MemoryDisk::new(used(&image), 512);
    let source = Honest::new(&image);
    let mut seen = None;
    let mut failing = || {
        let mut closed = [0; 2];
        disk.read_at(0, &mut closed)?;
        seen = Some(closed);
        Err("no".into())
    };
    let mut options = ImagingOptions::new(&gates_of);
    options.hooks = Some(&mut failing);
    let error = image_disk(&disk, &image.head, &source, options, &Unwatched, &AtomicBool::new(false)).unwrap_err();
    assert!(matches!(error, ImagingError::Hooks(_)), "{error}");
    assert_eq!(seen, Some([0xcd, 0x18]), "also where nothing else differed");
    assert!(disk.contents().starts_with(&[0xcd, 0x18]));
    let mut writing = || Ok(disk.write_at(160 * KIB as u64, &[1; 512])?);
    let mut options = ImagingOptions::new(&gates_of);
    options.hooks = Some(&mut writing);
    image_disk(&disk, &image.head, &source, options, &Unwatched, &AtomicBool::new(false)).unwrap();
    let after = disk.contents();
    assert_eq!(image.differences(&after), [160 * KIB], "what the hook did stays");
}

/// A block device on top of a file, gone with the value.
struct Loop(PathBuf);

impl Loop {
    fn new(file: &Path) -> Self {
        let made = Command::new("losetup").args(["--find", "--show", "--partscan"]).arg(file).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(String::from_utf8(made.stdout).unwrap().trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let gone = Command::new("losetup").arg("--detach").arg(&self.0).status();
        assert!(gone.is_ok_and(|status| status.success()));
    }
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_block_device_is_imaged_and_lent_to_the_hooks() {
    let image = image();
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), &vec![0; DISK]);
    let device = Loop::new(&path);
    let disk = FileDisk::open(&device.0, Access::Exclusive).unwrap();
    let mut hooks = || {
        let lent = FileDisk::open(&device.0, Access::Exclusive)?;
        lent.write_at(160 * KIB as u64, &[1; 512])?;
        Ok(lent.flush()?)
    };
    let mut options = ImagingOptions::new(&gates_of);
    options.hooks = Some(&mut hooks);
    let source = Honest::new(&image);
    image_disk(&disk, &image.head, &source, options, &Unwatched, &AtomicBool::new(false)).unwrap();
    let second = FileDisk::open(&device.0, Access::Exclusive).unwrap_err();
    assert!(matches!(second, DiskError::InUse { .. }), "{second}");

    let mut kept = None;
    let mut keeping = || {
        kept = Some(FileDisk::open(&device.0, Access::Exclusive)?);
        Ok(())
    };
    let mut options = ImagingOptions::new(&gates_of);
    options.hooks = Some(&mut keeping);
    let error = image_disk(&disk, &image.head, &source, options, &Unwatched, &AtomicBool::new(false)).unwrap_err();
    assert!(matches!(error, ImagingError::Disk { source: DiskError::InUse { .. }, .. }), "{error}");
    drop((disk, kept));
    drop(device);
    assert!(fs::read(&path).unwrap().starts_with(&[0xcd, 0x18]), "what may still be mounted is not opened");
}

/// A disk that loses one write, or cannot read a sector.
#[derive(Debug)]
struct Worn {
    disk: MemoryDisk,
    loses: Option<Range<u64>>,
    unreadable: Mutex<Option<Range<u64>>>,
}

impl Worn {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let bad = self.unreadable.lock().unwrap().clone();
        if bad.is_some_and(|bad| offset < bad.end && bad.start < offset + buf.len() as u64) {
            let source = std::io::Error::other("medium error");
            return Err(DiskError::Io { action: "read", path: "worn".into(), offset, source });
        }
        self.disk.read_at(offset, buf)
    }
}

impl Disk for Worn {
    fn size(&self) -> u64 {
        self.disk.size()
    }
    fn sector_bytes(&self) -> u32 {
        512
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.read(offset, buf)
    }
    fn read_past_cache(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.read(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), DiskError> {
        if self.loses.as_ref().is_some_and(|lost| lost.contains(&offset)) {
            return Ok(());
        }
        let mut bad = self.unreadable.lock().unwrap();
        if bad.as_ref().is_some_and(|bad| offset <= bad.start && bad.end <= offset + buf.len() as u64) {
            *bad = None;
        }
        self.disk.write_at(offset, buf)
    }
    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }
    fn rescan(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

#[test]
fn a_disk_that_loses_writes_stays_closed() {
    let image = image();
    let disk = Worn {
        disk: MemoryDisk::new(vec![0; DISK], 512),
        loses: Some(150 * KIB as u64 - 4096..150 * KIB as u64 + 4096),
        unreadable: Mutex::new(None),
    };
    let error = run(&disk, &image, &Honest::new(&image)).unwrap_err();
    assert!(matches!(error, ImagingError::NotKept { .. }), "{error}");
    assert!(disk.disk.contents().starts_with(&[0xcd, 0x18]));
}

#[test]
fn an_unreadable_sector_is_written_anew_and_one_in_free_space_is_left_alone() {
    let image = image();
    for (at, heals) in [(150 * KIB as u64, true), (201 * KIB as u64 + 512, false)] {
        let unreadable = Mutex::new(Some(at..at + 512));
        let disk = Worn { disk: MemoryDisk::new(used(&image), 512), loses: None, unreadable };
        run(&disk, &image, &Honest::new(&image)).unwrap();
        assert_is_image(&image, &disk.disk.contents());
        assert_eq!(disk.unreadable.lock().unwrap().is_none(), heals);
    }
}

/// Stops the run at a given write.
#[derive(Debug)]
struct Stopping<'a> {
    disk: &'a FileDisk,
    stop: &'a AtomicBool,
    writes_left: AtomicU64,
}

impl Disk for Stopping<'_> {
    fn size(&self) -> u64 {
        self.disk.size()
    }
    fn sector_bytes(&self) -> u32 {
        self.disk.sector_bytes()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.disk.read_at(offset, buf)
    }
    fn read_past_cache(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.disk.read_past_cache(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), DiskError> {
        if self.writes_left.fetch_sub(1, Ordering::Relaxed) <= 1 {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.disk.write_at(offset, buf)
    }
    fn flush(&self) -> Result<(), DiskError> {
        self.disk.flush()
    }
    fn rescan(&self) -> Result<(), DiskError> {
        self.disk.rescan()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stopped_anywhere_and_resumed_it_ends_in_the_image(
        stops in proptest::collection::vec(1u64..60, 1..5),
        seed in 1u64..1000,
        blank in any::<bool>(),
    ) {
        let image = image();
        let folder = tempfile::tempdir().unwrap();
        let mut old = if blank { noise(seed, DISK) } else { used(&image) };
        for place in noise(seed, 40).chunks(2) {
            let at = (usize::from(place[0]) * 256 + usize::from(place[1])) * 8 % DISK;
            old[at] ^= 0x5a;
        }
        let path = file(folder.path(), &old);
        let disk = FileDisk::open(&path, Access::Exclusive).unwrap();
        for writes in stops {
            let stop = AtomicBool::new(false);
            let stopping = Stopping { disk: &disk, stop: &stop, writes_left: AtomicU64::new(writes) };
            let source = Honest::new(&image);
            let mut options = ImagingOptions::new(&gates_of);
            options.note = Some(b"hello".to_vec());
            match image_disk(&stopping, &image.head, &source, options, &Unwatched, &stop) {
                Ok(_) => {}
                Err(ImagingError::Stopped) => {
                    let medium = fs::read(&path).unwrap();
                    let open = medium[..440] == image.master[..440];
                    prop_assert!(!open || image.differences(&medium).is_empty() || medium[..440] == old[..440]);
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
        run(&disk, &image, &Honest::new(&image)).unwrap();
        let after = fs::read(&path).unwrap();
        prop_assert_eq!(image.differences(&after), Vec::<usize>::new());
        prop_assert!(after[NOTE].starts_with(b"hello\0"));
        for masked in image.mask.extents().iter().skip(1) {
            let range = masked.start as usize..masked.end() as usize;
            prop_assert!(after[range.clone()] == old[range], "masked bytes stay");
        }
    }
}
