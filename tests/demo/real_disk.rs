//! A master's disk that mkntfs and ntfs-3g made: thousands of files through capture, store, network and imaging.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use klonwerk::agent::client::Patience;
use klonwerk::clock::SystemClock;
use klonwerk::image::ntfs::inspect;
use klonwerk::image::{Extent, FirmwareKind};
use klonwerk::night::key_values::Sources;
use klonwerk::progress::{Monitor, Unwatched};
use klonwerk::rehearsal::{RoomSource, RoomStrategy, School, SchoolOptions};
use klonwerk::room::MachineName;
use tempfile::TempDir;

use crate::lab::{self, VolumeFile};
use crate::{must_be_good, outcome, whole};

const MIB: u64 = 1 << 20;
const START: u64 = MIB;
const TOOLS: [&str; 5] = ["mkntfs", "ntfs-3g", "ntfsinfo", "ntfsfix", "umount"];

struct Master {
    folder: TempDir,
    disk: PathBuf,
    volume_bytes: u64,
}

/// An MBR disk with boot code and one active NTFS partition of `files` files, some of which were deleted again.
fn master(volume_bytes: u64, files: usize) -> Master {
    let folder = tempfile::tempdir().unwrap();
    let volume = folder.path().join("volume");
    lab::volume(&volume, volume_bytes, 4096, files, |_| ());
    let disk = folder.path().join("master.disk");
    fs::File::create(&disk).unwrap().set_len(START + volume_bytes + MIB).unwrap();
    lab::copy_range(&volume, 0, &disk, START, volume_bytes);
    fs::remove_file(&volume).unwrap();
    let mut sector = [0; 512];
    // A BIOS finds code here: stop, and nothing else.
    sector[..4].copy_from_slice(&[0xfa, 0xf4, 0xeb, 0xfd]);
    sector[440..444].copy_from_slice(&[1, 2, 3, 4]);
    sector[446..454].copy_from_slice(&[0x80, 0xfe, 0xff, 0xff, 0x07, 0xfe, 0xff, 0xff]);
    sector[454..458].copy_from_slice(&((START / 512) as u32).to_le_bytes());
    sector[458..462].copy_from_slice(&((volume_bytes / 512) as u32).to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    fs::OpenOptions::new().write(true).open(&disk).unwrap().write_all_at(&sector, 0).unwrap();
    Master { folder, disk, volume_bytes }
}

impl Master {
    fn hashes(&self, disk: &Path) -> std::collections::BTreeMap<PathBuf, String> {
        lab::hash_volume(disk, START, self.volume_bytes)
    }

    /// Fails unless the volume on a PC's disk holds the master's files and is sound for ntfsfix.
    fn must_be_on(&self, disk: &Path) {
        let (expected, found) = (self.hashes(&self.disk), self.hashes(disk));
        assert_eq!(found.len(), expected.len());
        for (path, hash) in &expected {
            assert_eq!(found.get(path), Some(hash), "{}", path.display());
        }
        let volume = self.folder.path().join("restored");
        fs::File::create(&volume).unwrap();
        lab::copy_range(disk, START, &volume, 0, self.volume_bytes);
        let said = lab::must("ntfsfix", &["-n", volume.to_str().unwrap()]);
        assert!(said.contains("was processed successfully"), "{said}");
        assert!(!said.to_lowercase().contains("error") && !said.contains("FAILED"), "{said}");
        fs::remove_file(&volume).unwrap();
    }

    /// Free clusters, by the place on the disk.
    fn free(&self) -> Vec<Extent> {
        let volume = VolumeFile::open(&self.disk, START, self.volume_bytes);
        let masked = inspect(&volume, self.volume_bytes).unwrap().masked;
        masked.into_iter().map(|extent| Extent { start: START + extent.start, len: extent.len }).collect()
    }
}

fn bytes(path: &Path, extent: Extent) -> Vec<u8> {
    let mut bytes = vec![0; extent.len as usize];
    fs::File::open(path).unwrap().read_exact_at(&mut bytes, extent.start).unwrap();
    bytes
}

#[test]
fn a_demo_with_a_real_disk_restores_every_file() {
    if !lab::tools(&TOOLS) {
        return;
    }
    let master = master(320 * MIB, 5600);
    let files = master.hashes(&master.disk).len();
    assert!(files >= 5000, "only {files} files");
    let keep = master.folder.path().join("demo");
    let (image, place) = (master.disk.to_str().unwrap(), keep.to_str().unwrap());
    let outcome = outcome(&["--machines", "2", "--seed", "13", "--image", image, "--keep", place]);
    must_be_good(&outcome, 2);
    // What is free was not sent, though it is full of what was deleted.
    let used = START + 2 * MIB + master.volume_bytes - master.free().iter().map(|extent| extent.len).sum::<u64>();
    assert!(whole(&outcome, "night1_bytes") < 2 * used, "{outcome}");
    for pc in ["R101-01", "R101-02"] {
        master.must_be_on(&keep.join(format!("pcs/{pc}.disk")));
    }
}

/// Free space of the PC is neither read into the image nor written: garbage stays, holes stay.
#[test]
fn free_space_of_a_real_disk_is_neither_sent_nor_written() {
    if !lab::tools(&TOOLS) {
        return;
    }
    let master = master(160 * MIB, 1800);
    let free = master.free();
    let free_bytes: u64 = free.iter().map(|extent| extent.len).sum();
    let full: u64 =
        free.iter().map(|extent| bytes(&master.disk, *extent).iter().filter(|byte| **byte != 0).count() as u64).sum();
    assert!(free.len() > 100 && full > MIB, "too little was deleted: {} pieces, {full} bytes", free.len());

    let folder = master.folder.path().join("school");
    fs::create_dir(&folder).unwrap();
    let options = SchoolOptions {
        machines: 2,
        image: Some(master.disk.clone()),
        bytes_used: 0,
        seed: 14,
        folder,
        room: RoomSource::Made(RoomStrategy::MakProxy),
        key_values: Sources::default(),
        patience: Patience::default(),
    };
    let mut school = School::open(options, Arc::new(SystemClock), &|_| {}).unwrap();
    let [garbage, holes] = [0, 1].map(|pc| school.pcs[pc].disk().to_owned());
    let file = fs::OpenOptions::new().write(true).open(&garbage).unwrap();
    for (i, extent) in free.iter().enumerate() {
        file.write_all_at(&lab::contents(i as u64, extent.len as usize), extent.start).unwrap();
    }
    let before = fs::metadata(&garbage).unwrap().blocks() * 512;
    assert!(before >= free_bytes);

    let unwatched = |_: &MachineName| -> Box<dyn Monitor> { Box::new(Unwatched) };
    let night = school.night(&unwatched).unwrap();
    let used = school.capture.used_bytes;
    for totals in night.totals.values() {
        // Leaves that hold nothing but zeros need no writing on a disk of zeros; a few sectors are written twice.
        assert!(totals.written <= used + MIB, "{totals:?}, used {used}");
        let stored = school.capture.stored_bytes + school.index_bytes();
        assert!(totals.fetched <= stored * 21 / 20, "{totals:?}, stored {stored}");
    }
    assert_eq!(night.totals.len(), 2);
    school.stop_server();

    for (i, extent) in free.iter().enumerate() {
        assert!(bytes(&garbage, *extent) == lab::contents(i as u64, extent.len as usize), "{extent:?} was written to");
        assert!(bytes(&holes, *extent).iter().all(|byte| *byte == 0), "{extent:?} was written to");
    }
    let occupied = fs::metadata(&holes).unwrap().blocks() * 512;
    assert!(occupied <= used + MIB, "{occupied} bytes are occupied, {used} in use");
    for disk in [&garbage, &holes] {
        master.must_be_on(disk);
    }
    let disk = klonwerk::disk::FileDisk::open(&holes, klonwerk::disk::Access::ReadOnly).unwrap();
    assert!(klonwerk::sim::firmware::starts(&disk, FirmwareKind::Bios).unwrap());
}
