//! Reading NTFS: volumes that real tools made, volumes that the simulation writes, and volumes that somebody damaged.

#![cfg(test)]

#[path = "lab/ntfs.rs"]
mod lab;

use std::fs;
use std::path::Path;

use klonwerk::image::ntfs::{FileSystem, HEAD_BYTES, NtfsError, inspect};
use klonwerk::image::{Extent, Mask};

use klonwerk::sim::volume::{NtfsBuilder, Written, noise};

use lab::VolumeFile;
use proptest::prelude::*;

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
    for (name, i) in [("ordner 19/übung 04888 GRÖSSER als acht zeichen.DOCX", 4888), ("ORDNER 3\\ПРИВЕТ 998.dat", 998)]
    {
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
        lab::volume(&path, 4096 * MIB, cluster_bytes, 40, |root| {
            fs::write(root.join("PageFile.sys"), [9; 300_000]).unwrap()
        });
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

/// A simulated volume with a few thousand files, and what was written.
fn simulated(path: &Path, cluster_bytes: u32) -> Written {
    let bytes = 64 * MIB + 9000 * u64::from(cluster_bytes);
    let mut volume = NtfsBuilder::new(bytes, cluster_bytes, 7, "Simulated");
    volume.folder("Empty").unwrap();
    volume.file("Windows/win.ini", b"[fonts]\r\n".to_vec()).unwrap();
    volume.file("nothing.txt", Vec::new()).unwrap();
    for i in 0..3000u64 {
        let len = noise::Noise::new(i).below(9000);
        volume.file(&format!("Many/Übung Nr. {i} mit langem Namen.docx"), noise::contents(i, len)).unwrap();
        volume.file(&format!("Many/F{i}.TXT"), lab::contents(i, (i % 700) as usize)).unwrap();
    }
    volume.file("large.bin", noise::contents(1, 9_000_001)).unwrap();
    volume.scattered("pagefile.sys", MARK.repeat(1 << 16), 20).unwrap();
    let file = fs::File::create(path).unwrap();
    file.set_len(bytes).unwrap();
    volume.build(&file, 0).unwrap()
}

#[test]
fn simulated_volumes_read_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    for cluster_bytes in [512, 1024, 4096, 8192, 65536] {
        let written = simulated(&path, cluster_bytes);
        let volume = VolumeFile::whole(&path);
        let seen = inspect(&volume, volume.bytes).unwrap();
        let page_file = &written.scattered["pagefile.sys"];
        assert_eq!(total(page_file), MIB);
        assert!(page_file.len() > 10);
        assert_eq!(seen.used_bytes, written.used_bytes);
        assert_eq!(total(&seen.zero), HEAD_BYTES);
        assert_eq!(total(&seen.masked), total(&written.free) + total(page_file) - HEAD_BYTES);
        let ignored = Mask::new([seen.masked, seen.zero].concat());
        assert_eq!(ignored, Mask::new([written.free, page_file.clone()].concat()));
        let files = FileSystem::open(&volume, volume.bytes).unwrap();
        assert_eq!(files.read_file("pagefile.sys").unwrap(), MARK.repeat(1 << 16));
        assert_eq!(files.read_file("nothing.txt").unwrap(), b"");
        for i in (0..3000).step_by(if cluster_bytes == 4096 { 1 } else { 97 }) {
            let read = files.read_file(&format!("many\\f{i}.txt")).unwrap();
            assert_eq!(read, lab::contents(i, (i % 700) as usize));
        }
    }
}

#[test]
fn simulated_volumes_satisfy_the_real_tools() {
    if !lab::tools(&["ntfs-3g", "ntfsfix", "ntfsinfo", "ntfsresize", "ntfsls"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for cluster_bytes in [512, 4096, 65536] {
        let path = folder.path().join(cluster_bytes.to_string());
        let name = path.to_str().unwrap();
        let written = simulated(&path, cluster_bytes);
        let fix = lab::must("ntfsfix", &["-n", name]);
        assert!(fix.contains("processed successfully") && !fix.contains("FAILED"), "{fix}");
        // Compares every file's clusters with $Bitmap.
        let check = lab::must("ntfsresize", &["--info", "--force", "--no-progress-bar", name]);
        assert!(!check.contains("ERROR"), "{check}");
        assert_eq!(lab::free_clusters(&path) * u64::from(cluster_bytes), total(&written.free));
        assert_eq!(lab::must("ntfsls", &["-p", "/Many", name]).lines().filter(|line| line.len() > 2).count(), 6000);

        let mount = lab::Mount::new(&path, "rw,streams_interface=none");
        let root = mount.path();
        for i in (0..3000).step_by(7) {
            let read = fs::read(root.join(format!("Many/F{i}.TXT"))).unwrap();
            assert_eq!(read, lab::contents(i, (i % 700) as usize));
        }
        assert_eq!(lab::hash_tree(root).len() as u64, written.files - 3);
        // The volume takes new files, into indexes that must split, and lets old ones go.
        lab::fill(root, 60, 3);
        for i in 0..500 {
            fs::write(root.join(format!("Many/New {i} with a name of some length")), [1; 1000]).unwrap();
            fs::remove_file(root.join(format!("Many/F{i}.TXT"))).unwrap();
        }
        mount.end();
        let check = lab::must("ntfsresize", &["--info", "--force", "--no-progress-bar", name]);
        assert!(!check.contains("ERROR"), "{check}");
        let volume = VolumeFile::whole(&path);
        let seen = inspect(&volume, volume.bytes).unwrap();
        let masked = lab::free_clusters(&path) * u64::from(cluster_bytes) + MIB - HEAD_BYTES;
        assert_eq!(total(&seen.masked), masked);
    }
}

/// Where the small volume's file table begins.
const MFT: usize = 3 * 4096;

/// A small volume in memory, with a page file and an index of several nodes.
fn small() -> Vec<u8> {
    static SMALL: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let build = || {
        let mut volume = NtfsBuilder::new(4 * MIB, 4096, 3, "Small");
        for i in 0..60 {
            volume
                .file(&format!("Windows/System32/config/file number {i}.txt"), lab::contents(i, i as usize * 9))
                .unwrap();
        }
        let hive = klonwerk::sim::volume::hive::HiveBuilder::new().text(
            r"Microsoft\Windows NT\CurrentVersion",
            "CurrentBuild",
            "19045",
        );
        volume.file("Windows/System32/config/SOFTWARE", hive.build()).unwrap();
        volume.scattered("pagefile.sys", vec![1; 300_000], 5).unwrap();
        volume.scattered("hiberfil.sys", vec![0; 100_000], 2).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 * MIB).unwrap();
        volume.build(&file, 0).unwrap();
        let mut bytes = vec![0; 4 << 20];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).unwrap();
        bytes
    };
    SMALL.get_or_init(build).clone()
}

/// Whatever a volume says, what comes out lies on it.
fn sane(bytes: &[u8]) {
    if let Ok(seen) = inspect(&bytes, bytes.len() as u64) {
        for extents in [&seen.masked, &seen.zero] {
            assert!(extents.iter().all(|extent| extent.len > 0 && extent.end() <= bytes.len() as u64));
            assert!(extents.windows(2).all(|pair| pair[0].end() < pair[1].start));
        }
        assert!(seen.used_bytes <= bytes.len() as u64);
    }
    if let Ok(files) = FileSystem::open(&bytes, bytes.len() as u64) {
        for path in ["pagefile.sys", "Windows/System32/config/SOFTWARE", "$Secure", "$Extend/x", "."] {
            let _ = files.read_file(path);
        }
    }
}

#[test]
fn the_small_volume_is_whole() {
    let bytes = small();
    assert_eq!(u64::from_le_bytes(bytes[0x30..0x38].try_into().unwrap()) as usize * 4096, MFT);
    let seen = inspect(&bytes, bytes.len() as u64).unwrap();
    assert_eq!((seen.windows.build, total(&seen.zero)), (Some(19045), 2 * HEAD_BYTES));
}

/// The journal of the small volume, with restart pages of a client that has or has not left.
fn with_journal(version: u16, client: u16, flags: u16, magic: &[u8; 4]) -> Vec<u8> {
    let mut bytes = small();
    let at =
        bytes.windows(4096).position(|window| window.iter().all(|byte| *byte == 0xff)).unwrap().next_multiple_of(4096);
    for (page, newer) in [(at, 1u64), (at + 4096, 2)] {
        let mut put =
            |offset: usize, value: &[u8]| bytes[page + offset..page + offset + value.len()].copy_from_slice(value);
        put(0, magic);
        put(16, &4096u32.to_le_bytes());
        put(24, &0x30u16.to_le_bytes());
        put(26, &[0, 0]);
        put(28, &version.to_le_bytes());
        put(0x30, &newer.to_le_bytes());
        // The older page always says that all is well.
        put(0x30 + 12, &if newer == 1 { 0xffff } else { client }.to_le_bytes());
        put(0x30 + 14, &if newer == 1 { 2 } else { flags }.to_le_bytes());
    }
    bytes
}

#[test]
fn the_journal_decides() {
    let judge = |version, client, flags, magic| {
        let bytes = with_journal(version, client, flags, magic);
        inspect(&bytes, bytes.len() as u64)
    };
    assert!(judge(1, 0xffff, 0, b"RSTR").is_ok());
    assert!(judge(1, 0, 2, b"RSTR").is_ok());
    assert!(matches!(judge(1, 0, 0, b"RSTR"), Err(NtfsError::JournalNotClean)));
    assert!(matches!(judge(2, 0xffff, 2, b"RSTR"), Err(NtfsError::FastStartup)));
    assert!(matches!(judge(1, 0xffff, 2, b"BAAD"), Err(NtfsError::JournalNotClean)));
}

#[test]
fn a_flagged_volume_is_dirty() {
    let mut bytes = small();
    // $Volume is record 3; its information is version 3.1, then the flags.
    let record = MFT + 3 * 1024;
    let information = [0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0];
    let at = bytes[record..record + 1024].windows(12).position(|window| window == information).unwrap();
    bytes[record + at + 10] = 1;
    assert!(matches!(inspect(&bytes, bytes.len() as u64), Err(NtfsError::Dirty)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_never_does_harm(
        changes in prop::collection::vec((0usize..4, any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = small();
        for (where_to, at, value) in changes {
            // Boot sector, file table, all metadata at the start, anywhere.
            let at = match where_to {
                0 => at.index(512),
                1 => MFT + at.index(140 << 10),
                2 => at.index(1 << 20),
                _ => at.index(bytes.len()),
            };
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        sane(&bytes);
    }

    #[test]
    fn wild_offsets_and_lengths_do_no_harm(record in 0usize..80, field in 0usize..255, value in prop::sample::select(vec![0u32, 1, 7, 0x18, 0xff, 0x400, 0xfff8, 0xffff, 0x7fff_ffff, 0xffff_fff8, u32::MAX])) {
        let mut bytes = small();
        let at = MFT + record * 1024 + field * 4;
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        sane(&bytes);
    }
}
