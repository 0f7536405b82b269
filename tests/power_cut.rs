//! Cuts the power at every write and flush of an imaging run, and looks at what firmware would start then.
//!
//! The judge knows nothing of the engine: it reads tables and boot sectors as firmware does. What it accepts is a disk that
//! starts the old state, one that starts the image, or one that starts nothing. That the judge has teeth is shown by
//! swallowing flushes: for each one that matters it must find a medium that starts half an image.

#[cfg(test)]
#[path = "imaging/small_image.rs"]
mod small_image;

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use klonwerk::agent::imaging::{ImagingError, ImagingOptions, image_disk};
use klonwerk::disk::{Disk, DiskError, MemoryDisk, RecordingDisk, recording::CrashState};
use klonwerk::image::{Hash, Mask, TableKind};
use klonwerk::progress::Unwatched;
use small_image::*;

const KIB: usize = 1024;
const NOTE: usize = 28 * KIB;

/// A way in which firmware would start a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Start {
    /// The code in sector 0.
    Bios,
    /// A FAT file system in an EFI system partition that begins at this byte.
    Esp(usize),
}

fn field(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The entries of the GPT whose header is sector `lba`, if both are sound (UEFI 2.10, 5.3.2).
fn gpt_entries(disk: &[u8], lba: usize) -> Option<&[u8]> {
    let head = &disk[lba * SECTOR..][..SECTOR];
    let mut bare = head[..92].to_vec();
    bare[16..20].fill(0);
    let sound = head.starts_with(b"EFI PART")
        && field(head, 16, 4) == u64::from(crc32(&bare))
        && field(head, 24, 8) == lba as u64;
    let list = sound.then(|| disk.get(field(head, 72, 8) as usize * SECTOR..)?.get(..128 * 128)).flatten()?;
    (field(head, 88, 4) == u64::from(crc32(list))).then_some(list)
}

/// Everything that some firmware would start. Where firmware differs, the one that starts more is taken.
fn starts(disk: &[u8]) -> BTreeSet<Start> {
    let mut found = BTreeSet::new();
    let first = &disk[..SECTOR];
    let mut esps = Vec::new();
    if first[510..] == [0x55, 0xaa] {
        // Int 18h hands on to the next device; zeros are no program.
        if first[..2] != [0xcd, 0x18] && first[..440].iter().any(|byte| *byte != 0) {
            found.insert(Start::Bios);
        }
        for record in first[446..510].chunks(16) {
            if record[0] == 0x80 {
                found.insert(Start::Bios);
            }
            if record[4] == 0xef {
                esps.push(field(record, 8, 4) as usize * SECTOR);
            }
        }
    }
    let last = disk.len() / SECTOR - 1;
    if let Some(list) = gpt_entries(disk, 1).or_else(|| gpt_entries(disk, last)) {
        let entries = list.chunks(128).filter(|entry| entry[..16] == ESP_TYPE);
        esps.extend(entries.map(|entry| field(entry, 32, 8) as usize * SECTOR));
    }
    for at in esps {
        if disk.get(at..at + SECTOR).is_some_and(|sector| sector[510..] == [0x55, 0xaa] && sector[13].is_power_of_two())
        {
            found.insert(Start::Esp(at));
        }
    }
    found
}

/// Sectors that may be closed while the rest of a disk is in use: sector 0, and where any copy of a table has the start of
/// an EFI system partition.
fn named(disk: &[u8]) -> BTreeSet<usize> {
    let last = disk.len() / SECTOR - 1;
    let lists = [1, last].into_iter().filter_map(|lba| gpt_entries(disk, lba));
    let entries = lists.flat_map(|list| list.chunks(128)).filter(|entry| entry[..16] == ESP_TYPE);
    entries.map(|entry| field(entry, 32, 8) as usize * SECTOR).chain([0]).collect()
}

/// A disk before, the image, and what offline hooks do.
struct Scene {
    name: &'static str,
    old: Vec<u8>,
    image: Image,
    /// Sectors that hooks write, with the byte they write.
    hooked: Vec<(usize, u8)>,
    /// Flushes that must not be left out together, counted from 0: after closing the old gate, after closing the new one,
    /// after the leaves, after hooks and note, after opening. Where little is written between two of them, the later stands
    /// in for the earlier.
    needed: &'static [&'static [usize]],
}

impl Scene {
    /// `None`: the medium is one that a power cut may leave.
    fn fault(&self, medium: &[u8]) -> Option<String> {
        let started = starts(medium);
        if started.is_empty() {
            return None;
        }
        let old_gates = named(&self.old);
        let sectors = (0..medium.len()).step_by(SECTOR);
        let is_old =
            sectors.clone().all(|at| medium[at..at + SECTOR] == self.old[at..at + SECTOR] || old_gates.contains(&at));
        if is_old && started.is_subset(&starts(&self.old)) {
            return None;
        }
        let bad = self.differences(medium).into_iter().find(|at| !named(&self.image.master).contains(at));
        if bad.is_none() && started.is_subset(&starts(&self.image.master)) {
            return None;
        }
        Some(format!("starts {started:?}, but is neither the old disk nor the image (byte {bad:?} differs)"))
    }

    /// The sectors of `medium` that are not the image after its hooks.
    fn differences(&self, medium: &[u8]) -> Vec<usize> {
        let mut bad = self.image.differences(medium);
        bad.retain(|at| !self.hooked.iter().any(|(hooked, _)| hooked == at));
        bad.extend(
            self.hooked.iter().filter(|(at, byte)| medium[*at..at + SECTOR] != [*byte; SECTOR]).map(|(at, _)| at),
        );
        bad
    }

    /// Runs the engine on `disk`, hooks included.
    fn image(&self, disk: &dyn Disk) -> Result<(), ImagingError> {
        let mut hooks = || {
            for (at, byte) in &self.hooked {
                disk.write_at(*at as u64, &[*byte; SECTOR])?;
            }
            Ok(())
        };
        let mut options = ImagingOptions::new(&gates_of);
        options.threads = 2;
        options.note = Some(b"the note".to_vec());
        if !self.hooked.is_empty() {
            options.hooks = Some(&mut hooks);
        }
        let source = Honest::new(&self.image);
        image_disk(disk, &self.image.head, &source, options, &Unwatched, &AtomicBool::new(false)).map(drop)
    }

    /// What the engine must have made of `medium`.
    fn assert_imaged(&self, medium: &[u8], before: &[u8], context: &str) {
        assert_eq!(self.differences(medium), [0; 0], "{}: {context}", self.name);
        assert_eq!(starts(medium), starts(&self.image.master), "{}: {context}", self.name);
        assert!(medium[NOTE..].starts_with(b"the note\0"), "{}: {context}", self.name);
        let old_gates = named(before);
        for masked in self.image.mask.extents().iter().filter(|e| e.start as usize != NOTE) {
            for at in (masked.start as usize..masked.end() as usize).step_by(SECTOR) {
                let kept = medium[at..at + SECTOR] == before[at..at + SECTOR] || old_gates.contains(&at);
                assert!(kept, "{}: masked sector at {at} was written, {context}", self.name);
            }
        }
    }
}

const IMAGE_PARTS: [Part; 2] =
    [Part { start: 32 * KIB, len: 64 * KIB, esp: true }, Part { start: 96 * KIB, len: 399 * KIB, esp: false }];
const OTHER_PARTS: [Part; 2] =
    [Part { start: 24 * KIB, len: 232 * KIB, esp: false }, Part { start: 256 * KIB, len: 64 * KIB, esp: true }];

fn mask() -> Mask {
    Mask::new(vec![
        extent(NOTE, 4 * KIB),
        extent(100 * KIB, 12 * KIB),
        extent(201 * KIB, 1536),
        extent(300 * KIB + 512, 40 * KIB),
        extent(480 * KIB, 8 * KIB),
    ])
}

fn gpt_image() -> Image {
    image_of(gpt_disk(DISK, 5, &IMAGE_PARTS))
}

/// An image that has the beginning of a FAT, as a file or an ordinary partition has it, where other tables name system
/// partitions.
fn gpt_image_with_fats() -> Image {
    let mut master = gpt_disk(DISK, 5, &IMAGE_PARTS);
    for at in [256 * KIB, 384 * KIB] {
        master[at..at + SECTOR].copy_from_slice(&fat_sector(3));
    }
    image_of(master)
}

fn image_of(master: Vec<u8>) -> Image {
    let regions = regions(DISK, TableKind::Gpt, 32 * KIB, &IMAGE_PARTS);
    Image::of(master, TableKind::Gpt, regions, mask(), Some(extent(NOTE, 4 * KIB)))
}

/// An MBR disk whose first partition is active.
fn mbr_disk(size: usize, seed: u64, parts: &[Part]) -> Vec<u8> {
    let mut disk = vec![0; size];
    put_parts(&mut disk, seed, parts);
    put(&mut disk, 0, &noise(seed + 77, 446));
    for (number, part) in parts.iter().enumerate() {
        let record = 446 + 16 * number;
        disk[record] = if number == 0 { 0x80 } else { 0 };
        disk[record + 4] = if part.esp { 0xef } else { 7 };
        put(&mut disk, record + 8, &((part.start / SECTOR) as u32).to_le_bytes());
        put(&mut disk, record + 12, &((part.len / SECTOR) as u32).to_le_bytes());
    }
    put(&mut disk, 510, &[0x55, 0xaa]);
    disk
}

fn mbr_image() -> Image {
    let parts = [Part { start: 32 * KIB, len: 440 * KIB, esp: false }];
    let master = mbr_disk(DISK, 6, &parts);
    let regions = regions(DISK, TableKind::Mbr, 32 * KIB, &parts);
    Image::of(master, TableKind::Mbr, regions, mask(), Some(extent(NOTE, 4 * KIB)))
}

/// The image after a school day: free space full, files changed here and there.
fn used(image: &Image) -> Vec<u8> {
    let mut disk = image.master.clone();
    for masked in image.mask.extents() {
        let range = masked.start as usize..masked.end() as usize;
        let len = range.len();
        disk[range].copy_from_slice(&noise(99, len));
    }
    for at in
        [40 * KIB, 97 * KIB, 130 * KIB, 131 * KIB, 160 * KIB, 202 * KIB, 250 * KIB, 350 * KIB, 400 * KIB, 470 * KIB]
    {
        disk[at..at + 700].fill(0xab);
    }
    disk
}

/// Another image, whose first partition has an old FAT where the image's system partition will begin.
fn other_layout() -> Vec<u8> {
    let mut disk = gpt_disk(DISK, 9, &OTHER_PARTS);
    disk[32 * KIB..32 * KIB + SECTOR].copy_from_slice(&fat_sector(1));
    disk
}

/// A larger disk, whose last sectors still hold the table of the time before last.
fn larger_with_stale_backup() -> Vec<u8> {
    let mut disk = gpt_disk(DISK, 9, &OTHER_PARTS);
    disk.resize(640 * KIB, 0);
    let last = (disk.len() / SECTOR) as u64 - 1;
    let stale = [Part { start: 384 * KIB, len: 32 * KIB, esp: true }];
    put_gpt(&mut disk, 13, &stale, last, 1, last - 32);
    disk[384 * KIB..384 * KIB + SECTOR].copy_from_slice(&fat_sector(2));
    disk
}

/// The same, with something else where the stale table has its system partition.
fn stale_without_fat() -> Vec<u8> {
    let mut disk = larger_with_stale_backup();
    disk[384 * KIB..384 * KIB + SECTOR].copy_from_slice(&noise(4, SECTOR));
    disk
}

fn scenes() -> Vec<Scene> {
    let scene = |name, old, image, hooked, needed| Scene { name, old, image, hooked, needed };
    let gpt = gpt_image();
    let mbr = mbr_image();
    let hooked = vec![(150 * KIB, 0x51), (44 * KIB, 0x52)];
    let fats = gpt_image_with_fats;
    vec![
        scene("a used GPT disk", used(&gpt), gpt_image(), vec![], &[&[0, 1], &[2, 3], &[4]]),
        scene("a used GPT disk with hooks", used(&gpt), gpt_image(), hooked, &[&[0, 1], &[3], &[4]]),
        scene("another layout", other_layout(), gpt_image(), vec![], &[&[0], &[1], &[3], &[4]]),
        scene("a stale backup", larger_with_stale_backup(), gpt_image(), vec![], &[&[0], &[3], &[4]]),
        scene("a FAT where the disk started", other_layout(), fats(), vec![], &[&[0], &[1], &[2], &[3], &[4]]),
        scene("a FAT where a stale table starts", stale_without_fat(), fats(), vec![], &[&[0], &[2], &[3], &[4]]),
        scene("a blank disk", vec![0; DISK], gpt_image(), vec![], &[&[2, 3], &[4]]),
        scene("a used MBR disk", used(&mbr), mbr_image(), vec![], &[&[0, 1], &[2, 3], &[4]]),
        scene("an MBR disk that was GPT", other_layout(), mbr_image(), vec![], &[&[0], &[3], &[4]]),
        scene("a GPT disk that was MBR", used(&mbr), gpt_image(), vec![], &[&[0], &[2, 3], &[4]]),
    ]
}

#[test]
fn the_judge_reads_disks_as_firmware_does() {
    let gpt = gpt_image().master;
    assert_eq!(starts(&gpt), [Start::Bios, Start::Esp(32 * KIB)].into());
    let mut torn = gpt.clone();
    torn[2 * SECTOR] ^= 1;
    assert_eq!(starts(&torn), [Start::Bios, Start::Esp(32 * KIB)].into(), "the backup stands in");
    assert_eq!(starts(&mbr_image().master), [Start::Bios].into());
    assert_eq!(starts(&vec![0; DISK]), [].into());
    let stale = larger_with_stale_backup();
    assert_eq!(starts(&stale), [Start::Bios, Start::Esp(256 * KIB)].into());
    let mut torn = stale.clone();
    torn[SECTOR] ^= 1;
    assert_eq!(starts(&torn), [Start::Bios, Start::Esp(384 * KIB)].into());
    let half = [&gpt[..DISK / 2], &used(&gpt_image())[DISK / 2..]].concat();
    let scene = scenes().remove(0);
    assert_eq!(scene.fault(&scene.old), None);
    assert_eq!(scene.fault(&gpt), None);
    assert!(scene.fault(&half).is_some());
}

#[test]
fn no_cut_leaves_a_disk_that_starts_half_an_image() {
    for scene in scenes() {
        let disk = RecordingDisk::new(scene.old.clone(), SECTOR as u32);
        scene.image(&disk).unwrap();
        scene.assert_imaged(&disk.contents(), &scene.old, "without a cut");
        let last = disk.operations().len();
        let mut kinds = [0; 2];
        for state in disk.crash_states(42, 4) {
            let context = format!("{}: cut after {} of {last}, {:?}", scene.name, state.after, state.loss);
            if let Some(fault) = scene.fault(&state.medium) {
                panic!("{context}: {fault}");
            }
            kinds[usize::from(starts(&state.medium).is_empty())] += 1;
            if state.after == last {
                scene.assert_imaged(&state.medium, &scene.old, "after COMMITTED");
            }
        }
        assert!(kinds[1] > 50, "{}: nearly all cuts fall where the gate is closed: {kinds:?}", scene.name);
    }
}

#[test]
fn after_any_cut_the_next_run_ends_in_the_image() {
    for scene in scenes() {
        let disk = RecordingDisk::new(scene.old.clone(), SECTOR as u32);
        scene.image(&disk).unwrap();
        let mut seen = HashSet::new();
        for state in disk.crash_states(7, 1).filter(|state| seen.insert(Hash::of(&state.medium))) {
            let again = RecordingDisk::new(state.medium.clone(), SECTOR as u32);
            let context = format!("resumed after {}, {:?}", state.after, state.loss);
            scene.image(&again).unwrap_or_else(|error| panic!("{}: {context}: {error}", scene.name));
            scene.assert_imaged(&again.contents(), &state.medium, &context);
        }
    }
}

#[test]
fn a_second_cut_does_no_more_harm_than_the_first() {
    for scene in scenes() {
        let disk = RecordingDisk::new(scene.old.clone(), SECTOR as u32);
        scene.image(&disk).unwrap();
        for first in disk.crash_states(11, 1).step_by(41) {
            let resumed =
                Scene { old: first.medium.clone(), image: scene.image.clone(), hooked: scene.hooked.clone(), ..scene };
            let again = RecordingDisk::new(first.medium.clone(), SECTOR as u32);
            resumed.image(&again).unwrap();
            for second in again.crash_states(13, 1) {
                // What the first cut left may start the old state only if it is whole.
                if let Some(fault) = scene.fault(&second.medium) {
                    panic!("{}: cut after {}, then after {}: {fault}", scene.name, first.after, second.after);
                }
            }
        }
    }
}

#[test]
fn with_the_power_gone_the_engine_ends() {
    let scene = scenes().remove(0);
    for cut in [0, 1, 2, 3, 5, 9] {
        let disk = RecordingDisk::new(scene.old.clone(), SECTOR as u32);
        disk.cut_after(cut);
        let error = scene.image(&disk).unwrap_err();
        let off = matches!(error, ImagingError::Disk { source: DiskError::PowerCut, .. });
        assert!(off || matches!(error, ImagingError::OldTables(_)), "{error}");
        assert_eq!(disk.operations().len(), cut);
    }
}

/// A disk that says it flushed, and did not.
#[derive(Debug)]
struct Swallowing<'a> {
    disk: &'a RecordingDisk,
    left_out: &'static [usize],
    flushes: AtomicUsize,
}

impl Disk for Swallowing<'_> {
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
        self.disk.write_at(offset, buf)
    }
    fn flush(&self) -> Result<(), DiskError> {
        let number = self.flushes.fetch_add(1, Ordering::SeqCst);
        if self.left_out.contains(&number) { Ok(()) } else { self.disk.flush() }
    }
    fn rescan(&self) -> Result<(), DiskError> {
        self.disk.rescan()
    }
}

#[test]
fn each_flush_that_matters_is_missed_when_it_is_left_out() {
    for scene in scenes() {
        for left_out in scene.needed {
            // Writers race each other, so that the order of writes differs from run to run: some tries find nothing.
            let found = (0..40).any(|seed| {
                let disk = RecordingDisk::new(scene.old.clone(), SECTOR as u32);
                scene.image(&Swallowing { disk: &disk, left_out, flushes: AtomicUsize::new(0) }).unwrap();
                let last = disk.operations().len();
                let lost = |medium: &[u8]| !scene.differences(medium).is_empty();
                let bad = |state: CrashState| {
                    scene.fault(&state.medium).is_some() || state.after == last && lost(&state.medium)
                };
                disk.crash_states(seed, 4).any(bad)
            });
            assert!(found, "{}: nothing is amiss without flushes {left_out:?}", scene.name);
        }
    }
}

#[test]
fn a_closed_gate_is_opened_when_all_else_is_equal() {
    for scene in scenes().into_iter().filter(|scene| scene.hooked.is_empty()) {
        let mut closed = scene.image.master.clone();
        closed[..2].copy_from_slice(&[0xcd, 0x18]);
        for start in starts(&closed) {
            if let Start::Esp(at) = start {
                closed[at..at + SECTOR].fill(0);
            }
        }
        let disk = MemoryDisk::new(closed.clone(), SECTOR as u32);
        scene.image(&disk).unwrap();
        scene.assert_imaged(&disk.contents(), &closed, "only the gate was closed");
    }
}
