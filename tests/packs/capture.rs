//! From a disk to an image and back.

use std::path::Path;

use ed25519_dalek::SigningKey;
use klonwerk::disk::{Access, Disk, DiskError, FileDisk};
use klonwerk::image::layout::LayoutError;
use klonwerk::image::ntfs::NtfsError;
use klonwerk::image::{Extent, FirmwareKind, KeyChannel, LEAF_BYTES, Mask, WindowsFacts};
use klonwerk::packs::{
    CaptureError, CaptureOptions, CapturePhase, CaptureProgress, CaptureReport, ImageStore, PackError, capture,
};

use crate::disks::{
    DISK_BYTES, ESP_START, MIB, MemoryDisk, VOLUME_BYTES, VOLUME_START, noise, ntfs_volume, plain_disk, uefi_disk,
};

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(crate) fn options(image: &str) -> CaptureOptions {
    CaptureOptions {
        image: image.parse().unwrap(),
        leaf_bytes: LEAF_BYTES,
        facts: WindowsFacts::default(),
        now: "2026-11-24T02:00:00Z".parse().unwrap(),
        threads: 3,
    }
}

pub(crate) fn captured(store: &ImageStore, disk: Vec<u8>, image: &str) -> CaptureReport {
    capture(&MemoryDisk::new(disk), &options(image), store, &key(), &|_| ()).unwrap()
}

/// What a blank disk holds after every leaf of the image was written to it.
fn restored(store: &ImageStore, image: &str) -> Vec<u8> {
    let stored = store.resolve(&image.parse().unwrap()).unwrap();
    let mut disk = vec![0; stored.header().disk_bytes as usize];
    for (leaf, hash) in stored.header().leaves().zip(stored.leaves()) {
        let Some(packed) = store.leaves().get(hash).unwrap() else {
            assert_eq!(*hash, klonwerk::image::Hash::of_zeros(leaf.extent.len));
            continue;
        };
        disk[leaf.extent.start as usize..leaf.extent.end() as usize].copy_from_slice(&packed.decode(hash).unwrap());
    }
    disk
}

fn store(folder: &Path) -> ImageStore {
    ImageStore::with_pack_size(&folder.join("store"), 1 << 20).unwrap()
}

#[test]
fn a_disk_comes_back_from_its_image() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut disk = plain_disk(1, 5_000_000);
    // A gap between partitions and what an unknown partition holds at its very end.
    disk[3_500_000] = 1;
    disk[(VOLUME_START + VOLUME_BYTES) as usize - 1] = 1;
    let report = captured(&store, disk.clone(), "win11@1");
    disk[3_500_000] = 0;
    assert!(restored(&store, "win11@1") == disk);
    let covered = MIB + 2 * MIB + VOLUME_BYTES + 33 * 512;
    assert_eq!((report.disk_bytes, report.used_bytes), (DISK_BYTES, covered));
    assert_eq!(report.leaves, 16 + 32 + 640 + 1);
    // 77 leaves of noise, the byte at the end, two tables, the system partition's first and its 3 of noise.
    assert_eq!(report.leaves - report.zero_leaves, 77 + 1 + 2 + 1 + 2);
    assert_eq!(report.new_leaves, report.leaves - report.zero_leaves);
    assert_eq!(report.stored_bytes, store.leaves().stored_bytes());
    assert_eq!(report.windows.firmware, Some(FirmwareKind::Uefi));
    let header = store.list()[0].header.clone();
    assert_eq!(header.gate, [Extent { start: 0, len: 512 }, Extent { start: ESP_START, len: 512 }]);
    assert_eq!(header.note, Some(Extent { start: MIB - 4096, len: 4096 }));
}

#[test]
fn the_same_disk_makes_the_same_tree_however_many_threads_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let disk = plain_disk(2, 3_000_000);
    let first = captured(&store, disk.clone(), "win11@1");
    let one = CaptureOptions { threads: 1, ..options("win11@2") };
    let phases = std::cell::RefCell::new(Vec::new());
    let watch = |progress: CaptureProgress| {
        assert!(progress.done <= progress.total);
        phases.borrow_mut().push(progress.phase);
    };
    let second = capture(&MemoryDisk::new(disk), &one, &store, &key(), &watch).unwrap();
    assert_eq!((second.new_leaves, second.stored_bytes), (0, 0));
    let leaves = |image: &str| store.resolve(&image.parse().unwrap()).unwrap().leaves().to_vec();
    assert_eq!(leaves("win11@1"), leaves("win11@2"));
    assert_ne!(first.root, second.root);
    let mut phases = phases.into_inner();
    phases.dedup();
    assert_eq!(phases, [CapturePhase::Examining, CapturePhase::Reading, CapturePhase::Checking]);
    // An image is never replaced.
    let again = capture(&MemoryDisk::new(plain_disk(3, 10)), &one, &store, &key(), &|_| ());
    assert!(matches!(again, Err(CaptureError::Store(PackError::Exists(_)))), "{again:?}");
}

#[test]
fn other_leaf_sizes_work_and_impossible_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let disk = plain_disk(4, 2_000_000);
    for leaf_bytes in [4096, 1 << 20] {
        let image = format!("a@{leaf_bytes}");
        let options = CaptureOptions { leaf_bytes, ..options(&image) };
        capture(&MemoryDisk::new(disk.clone()), &options, &store, &key(), &|_| ()).unwrap();
        assert!(restored(&store, &image) == disk, "{leaf_bytes}");
    }
    let options = CaptureOptions { leaf_bytes: 50_000, ..options("a@1") };
    let refused = capture(&MemoryDisk::new(disk), &options, &store, &key(), &|_| ());
    assert!(matches!(refused, Err(CaptureError::Unfit(_))), "{refused:?}");
}

#[test]
fn free_space_of_an_ntfs_volume_is_neither_read_nor_part_of_the_tree() {
    let page_file = noise(5, 3_000_000);
    let files = noise(6, 2_000_000);
    let small = noise(7, 20_480);
    // The small one lies between files that count, so that one read goes over its head.
    let on_it: [(&str, &[u8]); 4] =
        [("a.bin", &files[..99_000]), ("swapfile.sys", &small), ("b.bin", &files), ("pagefile.sys", &page_file)];
    let Some(volume) = ntfs_volume(&on_it) else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let disk = uefi_disk(&volume);
    let reader = MemoryDisk::new(disk.clone());
    let report = capture(&reader, &options("win11@1"), &store, &key(), &|_| ()).unwrap();
    let stored = store.resolve(&"win11".parse().unwrap()).unwrap();
    let mask = stored.mask().unwrap();
    assert!(mask.bytes() > VOLUME_BYTES / 2, "{}", mask.bytes());

    // Leaves of which nothing counts were never read.
    for leaf in stored.header().leaves().filter(|leaf| mask.covers(leaf.extent)) {
        assert!(reader.reads().iter().all(|read| read.overlap(&leaf.extent).is_none()), "{leaf:?}");
    }
    assert!(report.read_bytes < DISK_BYTES / 2, "{}", report.read_bytes);
    assert!(report.used_bytes < DISK_BYTES / 2 && report.used_bytes > 5_000_000, "{}", report.used_bytes);

    // The heads of page files are zeros in the image and are not masked; the rest is masked.
    let place = |file: &[u8]| disk.windows(64).position(|window| window == &file[..64]).unwrap() as u64;
    let head = Extent { start: place(&page_file), len: 65_536 };
    let heads = [head, Extent { start: place(&small), len: 20_480 }];
    assert!(heads.iter().all(|head| mask.within(*head).count() == 0));
    assert!(mask.covers(Extent { start: head.end(), len: 2_900_000 }));
    let back = restored(&store, "win11");
    for head in heads {
        assert!(back[head.start as usize..head.end() as usize].iter().all(|byte| *byte == 0));
    }

    // Everything else that counts came back.
    let mut expected = disk.clone();
    mask.blank(0, &mut expected);
    Mask::new(heads.to_vec()).blank(0, &mut expected);
    assert!(back == expected);

    // A day's use of free space and page file changes no leaf.
    let mut used = disk;
    for masked in mask.extents().iter().filter(|masked| Some(**masked) != stored.header().note) {
        used[masked.start as usize..masked.end() as usize].copy_from_slice(&noise(8, masked.len as usize));
    }
    for head in heads {
        used[head.start as usize..head.end() as usize].fill(0x77);
    }
    let second = captured(&store, used, "win11@2");
    assert_eq!(second.new_leaves, 0);
    assert_eq!(store.resolve(&"win11@2".parse().unwrap()).unwrap().leaves(), stored.leaves());
}

#[test]
fn facts_that_are_given_count_and_others_are_asked_for() {
    let Some(volume) = ntfs_volume(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let facts = WindowsFacts { build: Some(26_100), key_channel: Some(KeyChannel::Gvlk), ..WindowsFacts::default() };
    let options = CaptureOptions { facts: facts.clone(), ..options("win11@1") };
    let report = capture(&MemoryDisk::new(uefi_disk(&volume)), &options, &store, &key(), &|_| ()).unwrap();
    assert_eq!(report.windows, WindowsFacts { firmware: Some(FirmwareKind::Uefi), ..facts });
    let missing: Vec<_> = report.missing.iter().map(|missing| missing.flag).collect();
    assert_eq!(missing, ["--edition", "--generalized", "--skip-rearm"]);
}

#[test]
fn disks_that_no_pc_should_get_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let refusal = |disk: Vec<u8>| {
        let result = capture(&MemoryDisk::new(disk), &options("a@1"), &store, &key(), &|_| ());
        result.expect_err("refused")
    };
    let mut damaged = plain_disk(1, 10);
    damaged[600] ^= 1;
    assert!(matches!(refusal(damaged), CaptureError::Layout(LayoutError::PrimaryDamaged)));
    assert!(matches!(refusal(vec![0; 1 << 20]), CaptureError::Layout(LayoutError::NoTable)));
    let mut encrypted = plain_disk(1, 10);
    encrypted[VOLUME_START as usize + 3..][..8].copy_from_slice(b"-FVE-FS-");
    let refused = refusal(encrypted);
    assert!(matches!(refused, CaptureError::Volume { partition: 2, source: NtfsError::BitLocker }), "{refused:?}");
    if let Some(volume) = ntfs_volume(&[("hiberfil.sys", &[b"HIBR".as_slice(), &[1; 100_000]].concat())]) {
        let refused = refusal(uefi_disk(&volume));
        assert!(matches!(refused, CaptureError::Volume { partition: 2, source: NtfsError::Hibernated }), "{refused:?}");
    }
    assert!(store.list().is_empty());
    assert_eq!(store.leaves().leaf_count(), 0);
}

#[test]
fn a_disk_that_changes_meanwhile_is_not_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    // Once all leaves are read: a boot sector, the table, a partition's identity in it, a byte of a leaf in the sample.
    for at in [VOLUME_START, 446 + 16, 1024 + 16, ESP_START + 2 * u64::from(LEAF_BYTES) + 9] {
        let disk = MemoryDisk::new(plain_disk(1, 6_000_000));
        let change = |progress: CaptureProgress| {
            if progress.phase == CapturePhase::Checking && progress.done == 0 {
                let mut byte = [0];
                disk.read_at(at, &mut byte).unwrap();
                disk.write_at(at, &[byte[0] ^ 0xff]).unwrap();
            }
        };
        let result = capture(&disk, &options("a@1"), &store, &key(), &change);
        assert!(matches!(result, Err(CaptureError::Changed { .. })), "{at}: {result:?}");
        assert!(store.list().is_empty());
    }
    // What was stored before the change was seen is waste, which the next clean-up takes.
    let report = store.gc(std::time::Duration::ZERO, "2026-11-24T04:00:00Z".parse().unwrap()).unwrap();
    assert!(report.deleted > 0);
    assert_eq!((store.leaves().leaf_count(), store.leaves().stored_bytes()), (0, 0));
    captured(&store, plain_disk(1, 6_000_000), "a@1");
    assert!(restored(&store, "a@1") == plain_disk(1, 6_000_000));
}

#[test]
fn an_error_of_the_medium_ends_the_capture() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let shrinking = MemoryDisk::new(plain_disk(1, 6_000_000)).on_read(|reads, bytes| {
        if reads == 20 {
            bytes.truncate(30 << 20);
        }
    });
    let result = capture(&shrinking, &options("a@1"), &store, &key(), &|_| ());
    assert!(matches!(result, Err(CaptureError::Disk(_))), "{result:?}");
    // The right to write is free again.
    captured(&store, plain_disk(1, 1000), "a@1");
}

#[test]
fn a_disk_that_is_a_file_is_captured_through_the_real_seam() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let path = folder.path().join("master.img");
    let bytes = plain_disk(11, 7_000_000);
    std::fs::write(&path, &bytes).unwrap();
    let held = FileDisk::open(&path, Access::Exclusive).unwrap();
    assert!(matches!(FileDisk::open(&path, Access::Exclusive), Err(DiskError::InUse { .. })));
    capture(&held, &options("a@1"), &store, &key(), &|_| ()).unwrap();
    assert!(restored(&store, "a@1") == bytes);
}
