//! Reading NTFS: volumes that real tools made, volumes that the simulation writes, and volumes that somebody damaged.

#[path = "lab/ntfs.rs"]
mod lab;

use std::fs;
use std::io::Write;
use std::path::Path;

use klonwerk::image::ntfs::{FileSystem, HEAD_BYTES, NtfsError, inspect};
use klonwerk::image::{Extent, Mask};

use lab::VolumeFile;

const MIB: u64 = 1 << 20;
const MARK: &[u8; 16] = b"PAGEFILE-CONTENT";
const PAGE_FILE: u64 = 8 * MIB;

fn total(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.len).sum()
}

/// Fills the volume with files of one cluster, deletes every second, and writes a page file into the holes, which then
/// lies in thousands of pieces, as everything does that comes later.
fn scatter(root: &Path) {
    let mut count = 0;
    while fs::write(root.join(format!("c{count}")), [1; 4096]).is_ok() {
        count += 1;
    }
    for i in (0..count).step_by(2) {
        fs::remove_file(root.join(format!("c{i}"))).unwrap();
    }
    fs::write(root.join("pagefile.sys"), MARK.repeat(PAGE_FILE as usize / 16)).unwrap();
}

#[test]
fn free_clusters_of_a_real_volume_match_to_the_cluster() {
    if !lab::tools(&["mkntfs", "ntfs-3g", "ntfsinfo", "ntfscat"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    lab::volume(&path, 400 * MIB + 12345 * 512, 4096, 5000, |_| ());
    let volume = VolumeFile::whole(&path);
    let seen = inspect(&volume, volume.bytes).unwrap();
    assert_eq!((seen.cluster_bytes, seen.label.as_deref()), (4096, Some("Master")));
    let free = lab::free_clusters(&path);
    assert_eq!(total(&seen.masked), free * 4096);
    assert_eq!(seen.used_bytes, ((volume.bytes - 512) / 4096 - free) * 4096);
    assert!(seen.masked.len() > 300, "free space in only {} pieces", seen.masked.len());
    // The backup boot sector is in no cluster and counts.
    let bytes = fs::read(&path).unwrap();
    let last = volume.bytes - 512;
    assert!(bytes[last as usize..].starts_with(&bytes[..16]));
    assert!(seen.masked.iter().all(|extent| extent.end() <= last));

    // Files come out as ntfscat reads them, through indexes with several levels and attribute lists.
    let files = FileSystem::open(&volume, volume.bytes).unwrap();
    for (name, i) in [("ordner 19/übung 04888 GRÖSSER als acht zeichen.DOCX", 4888), ("ORDNER 3\\ПРИВЕТ 998.dat", 998)] {
        let name = name.replace("GRÖSSER", "größer");
        let found = files.read_file(&name).unwrap();
        let expected = lab::contents(1 + i as u64, ((i * 7919) % 60_001) / if i % 3 == 0 { 100 } else { 1 });
        assert!(found == expected, "{name} differs");
    }
    let deleted = files.read_file("Ordner 0/F00001.TXT");
    assert!(matches!(deleted, Err(NtfsError::NoSuchFile { .. })), "{deleted:?}");
}

#[test]
fn files_in_thousands_of_pieces_are_followed() {
    if !lab::tools(&["mkntfs", "ntfs-3g", "ntfsinfo"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    lab::volume(&path, 48 * MIB, 4096, 0, scatter);
    // ntfs-3g extends the file table reliably only with a fresh mount.
    let mount = lab::Mount::new(&path, "rw");
    for i in 0..7000 {
        fs::write(mount.path().join(format!("tiny{i}")), i.to_string()).unwrap();
    }
    mount.end();
    for file in ["pagefile.sys", "$MFT"] {
        let record = lab::must("ntfsinfo", &["-f", "-F", file, path.to_str().unwrap()]);
        assert!(record.contains("$ATTRIBUTE_LIST"), "{file} is in too few pieces:\n{record}");
    }
    let volume = VolumeFile::whole(&path);
    let seen = inspect(&volume, volume.bytes).unwrap();
    assert_eq!(total(&seen.zero), HEAD_BYTES);
    assert_eq!(total(&seen.masked), lab::free_clusters(&path) * 4096 + PAGE_FILE - HEAD_BYTES);
    // Every cluster of the page file is masked or zero.
    let ignored = Mask::new([seen.masked.clone(), seen.zero.clone()].concat());
    let bytes = fs::read(&path).unwrap();
    let page_file = bytes.chunks(4096).enumerate().filter(|(_, cluster)| cluster.starts_with(MARK));
    let covered = page_file.map(|(i, _)| assert!(ignored.covers(Extent { start: i as u64 * 4096, len: 4096 }))).count();
    assert!(covered as u64 * 4096 >= PAGE_FILE);
    let files = FileSystem::open(&volume, volume.bytes).unwrap();
    assert!(files.read_file("PAGEFILE.SYS").unwrap() == MARK.repeat(PAGE_FILE as usize / 16));
    assert_eq!(files.read_file("TINY6000").unwrap(), b"6000");
}

#[test]
fn blanking_what_is_masked_changes_no_file() {
    if !lab::tools(&["mkntfs", "ntfs-3g", "ntfsinfo", "ntfscat"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    lab::volume(&path, 120 * MIB, 512, 600, |_| ());
    let before = lab::hash_volume(&path, 0, 120 * MIB);
    assert!(before.len() > 500);
    let volume = VolumeFile::whole(&path);
    let seen = inspect(&volume, volume.bytes).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    for masked in &seen.masked {
        bytes[masked.start as usize..masked.end() as usize].fill(0xa5);
    }
    // As the second partition of a disk.
    let disk = folder.path().join("disk");
    fs::write(&path, &bytes).unwrap();
    fs::File::create(&disk).unwrap();
    lab::copy_range(&path, 0, &disk, 7 * MIB, 120 * MIB);
    assert_eq!(lab::hash_volume(&disk, 7 * MIB, 120 * MIB), before);
    let inside = VolumeFile::open(&disk, 7 * MIB, 120 * MIB);
    assert_eq!(inspect(&inside, inside.bytes).unwrap(), seen);
}

#[test]
fn volumes_with_other_cluster_sizes_are_read() {
    if !lab::tools(&["mkntfs", "ntfs-3g", "ntfsinfo"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for cluster_bytes in [1024, 16 * 1024, 64 * 1024, 2 * MIB as u32] {
        let path = folder.path().join(cluster_bytes.to_string());
        lab::volume(&path, 4096 * MIB, cluster_bytes, 40, |root| fs::write(root.join("PageFile.sys"), [9; 300_000]).unwrap());
        let volume = VolumeFile::whole(&path);
        let seen = inspect(&volume, volume.bytes).unwrap();
        assert_eq!(seen.cluster_bytes, cluster_bytes);
        let page_file = 300_000u64.next_multiple_of(u64::from(cluster_bytes));
        let masked = lab::free_clusters(&path) * u64::from(cluster_bytes) + page_file - HEAD_BYTES;
        assert_eq!((total(&seen.masked), total(&seen.zero)), (masked, HEAD_BYTES), "{cluster_bytes}");
        let files = FileSystem::open(&volume, volume.bytes).unwrap();
        assert_eq!(files.read_file("pagefile.sys").unwrap(), [9; 300_000]);
    }
}

#[test]
fn volumes_that_are_not_at_rest_are_refused() {
    if !lab::tools(&["mkntfs", "ntfs-3g", "ntfsinfo"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    let hibernated = |head: &[u8]| {
        let mut bytes = head.to_vec();
        bytes.resize(200_000, 0);
        lab::volume(&path, 40 * MIB, 4096, 4, |root| fs::write(root.join("hiberfil.sys"), bytes).unwrap());
        let volume = VolumeFile::whole(&path);
        inspect(&volume, volume.bytes)
    };
    for live in [b"HIBR", b"hibr", b"RSTR"] {
        assert!(matches!(hibernated(live), Err(NtfsError::Hibernated)));
    }
    for over in [b"wake", b"WAKE", b"\0\0\0\0"] {
        assert_eq!(total(&hibernated(over).unwrap().zero), HEAD_BYTES);
    }

    // ntfsfix sets the dirty flag and empties the journal.
    must_fix(&path);
    let volume = VolumeFile::whole(&path);
    assert!(matches!(inspect(&volume, volume.bytes), Err(NtfsError::Dirty)));
}

fn must_fix(path: &Path) {
    lab::must("ntfsfix", &[path.to_str().unwrap()]);
}
