//! Simulated masters: what is on them, what a school day does, and the judge that compares them.

#![cfg(test)]

#[path = "lab/ntfs.rs"]
#[expect(dead_code, reason = "a part of them is needed here")]
mod lab;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use klonwerk::disk::{Disk, DiskError};
use klonwerk::image::ntfs::{Volume, inspect};
use klonwerk::image::{Extent, FirmwareKind, Header, KeyChannel, Mask, Region, RegionKind, TableKind, WindowsFacts};
use klonwerk::sim::master::{
    MasterError, MasterOptions, MasterReport, SimWindows, build_master, dirty, equal_under_mask,
};

use lab::VolumeFile;

const MIB: u64 = 1 << 20;

#[derive(Debug)]
struct PlainDisk(PathBuf, File);

impl PlainDisk {
    fn open(path: &Path) -> Self {
        Self(path.to_owned(), File::options().read(true).write(true).open(path).unwrap())
    }

    fn told(&self, action: &'static str, offset: u64, result: io::Result<()>) -> Result<(), DiskError> {
        result.map_err(|source| DiskError::Io { action, path: self.0.clone(), offset, source })
    }
}

impl Disk for PlainDisk {
    fn size(&self) -> u64 {
        self.1.metadata().unwrap().len()
    }
    fn sector_bytes(&self) -> u32 {
        512
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.told("read", offset, self.1.read_exact_at(buf, offset))
    }
    fn read_past_cache(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), DiskError> {
        self.told("write", offset, self.1.write_all_at(buf, offset))
    }
    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }
    fn rescan(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

fn options(firmware: FirmwareKind) -> MasterOptions {
    MasterOptions { bytes_used: 256 * MIB, firmware, seed: 5, windows: SimWindows::default() }
}

/// The image of a master as capture would describe it, put together by hand.
fn describe(report: &MasterReport, volume: &Volume) -> (Header, Mask, Vec<Extent>) {
    let first = report.esp.unwrap_or(report.windows).start;
    let partition = |number, extent, esp, file_system: &str| Region {
        kind: RegionKind::Partition { number, esp, file_system: file_system.to_owned() },
        extent,
    };
    let mut regions = vec![Region { kind: RegionKind::Table, extent: Extent { start: 0, len: first } }];
    regions.extend(report.esp.map(|esp| partition(1, esp, true, "fat")));
    regions.push(partition(3, report.windows, false, "ntfs"));
    let header = Header {
        format: 1,
        image: "win11@1".parse().unwrap(),
        created: jiff::Timestamp::UNIX_EPOCH,
        disk_bytes: report.disk_bytes,
        sector_bytes: 512,
        leaf_bytes: 65536,
        table: TableKind::Gpt,
        regions,
        gate: Vec::new(),
        note: None,
        windows: WindowsFacts::default(),
    };
    let on_disk = |extents: &[Extent]| -> Vec<Extent> {
        extents.iter().map(|e| Extent { start: e.start + report.windows.start, len: e.len }).collect()
    };
    (header, Mask::new(on_disk(&volume.masked)), on_disk(&volume.zero))
}

fn look(path: &Path, report: &MasterReport) -> Volume {
    let volume = VolumeFile::open(path, report.windows.start, report.windows.len);
    inspect(&volume, volume.bytes).unwrap()
}

/// Runs a checker where it is installed.
fn check(program: &str, arguments: &[&str]) {
    match Command::new(program).args(arguments).output() {
        Ok(output) => assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => eprintln!("skipped: {program} {arguments:?}: {error}"),
    }
}

#[test]
fn a_uefi_master_is_a_whole_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master");
    let report = build_master(&path, &options(FirmwareKind::Uefi)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), report.disk_bytes);
    let near = 256 * MIB / 50;
    assert!(report.used_bytes.abs_diff(256 * MIB) < near, "{}", report.used_bytes);
    let free: u64 = report.free.iter().map(|extent| extent.len).sum();
    assert!((35..45).contains(&(free * 100 / report.windows.len)), "{free} of {}", report.windows.len);

    let seen = look(&path, &report);
    assert_eq!(seen.used_bytes, report.used_bytes);
    assert_eq!(seen.zero.len(), 2);
    let facts = WindowsFacts {
        build: Some(26100),
        edition: Some("Education".to_owned()),
        product: Some("Windows 11 Education".to_owned()),
        generalized: Some(true),
        skip_rearm: Some(false),
        key_channel: Some(KeyChannel::Mak),
        firmware: None,
        ..WindowsFacts::default()
    };
    assert_eq!(seen.windows, facts);

    let mut disk = File::open(&path).unwrap();
    let table = gptman::GPT::read_from(&mut disk, 512).unwrap();
    assert_eq!(table.iter().filter(|(_, partition)| partition.is_used()).count(), 3);
    let esp = report.esp.unwrap();
    assert_eq!((table[1].starting_lba * 512, table[1].size().unwrap() * 512), (esp.start, esp.len));
    let fat = folder.path().join("esp");
    File::create(&fat).unwrap();
    lab::copy_range(&path, esp.start, &fat, 0, esp.len);
    check("/usr/sbin/fsck.fat", &["-n", "-v", fat.to_str().unwrap()]);
    check("/usr/bin/mtype", &["-i", fat.to_str().unwrap(), "::/EFI/Microsoft/Boot/bootmgfw.efi"]);

    if lab::tools(&["ntfs-3g", "ntfsfix", "ntfsinfo", "ntfsresize"]) {
        let ntfs = folder.path().join("ntfs");
        File::create(&ntfs).unwrap();
        lab::copy_range(&path, report.windows.start, &ntfs, 0, report.windows.len);
        lab::must("ntfsfix", &["-n", ntfs.to_str().unwrap()]);
        lab::must("ntfsresize", &["--info", "--force", "--no-progress-bar", ntfs.to_str().unwrap()]);
        assert_eq!(lab::free_clusters(&ntfs) * 4096, free);
        let hashes = lab::hash_volume(&path, report.windows.start, report.windows.len);
        assert!(hashes.len() > 500 && hashes.len() as u64 <= report.files, "{} files", hashes.len());
    }
}

#[test]
fn a_bios_master_has_an_active_partition() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master");
    let report = build_master(&path, &options(FirmwareKind::Bios)).unwrap();
    assert_eq!((report.esp, report.windows.start), (None, MIB));
    let mut mbr = [0; 512];
    File::open(&path).unwrap().read_exact_at(&mut mbr, 0).unwrap();
    assert_eq!((mbr[446], mbr[450], &mbr[510..]), (0x80, 7, &[0x55, 0xaa][..]));
    assert_eq!(u32::from_le_bytes(mbr[454..458].try_into().unwrap()), 2048);
    assert_eq!(u64::from(u32::from_le_bytes(mbr[458..462].try_into().unwrap())) * 512, report.windows.len);
    assert_eq!(look(&path, &report).used_bytes, report.used_bytes);
    let small = MasterOptions { bytes_used: MIB, ..options(FirmwareKind::Bios) };
    assert!(matches!(build_master(&path, &small), Err(MasterError::TooSmall { .. })));
}

#[test]
fn a_seed_always_gives_the_same_master() {
    let folder = tempfile::tempdir().unwrap();
    let build = |name: &str, seed| {
        let path = folder.path().join(name);
        build_master(&path, &MasterOptions { seed, ..options(FirmwareKind::Bios) }).unwrap();
        File::open(path).unwrap()
    };
    let (first, again, other) = (build("a", 5), build("b", 5), build("c", 6));
    let (mut a, mut b) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    let mut differences = 0;
    for offset in (0..first.metadata().unwrap().len()).step_by(MIB as usize) {
        first.read_exact_at(&mut a, offset).unwrap();
        again.read_exact_at(&mut b, offset).unwrap();
        assert!(a == b, "at {offset}");
        other.read_exact_at(&mut b, offset).unwrap();
        differences += usize::from(a != b);
    }
    assert!(differences > 200);
}

#[test]
fn used_leaves_compress_as_those_of_windows_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master");
    let report = build_master(&path, &options(FirmwareKind::Uefi)).unwrap();
    let (header, mask, _) = describe(&report, &look(&path, &report));
    let disk = File::open(&path).unwrap();
    let (mut raw, mut packed) = (0, 0);
    for leaf in header.leaves().filter(|leaf| !mask.covers(leaf.extent)).step_by(7) {
        let mut bytes = vec![0; leaf.extent.len as usize];
        disk.read_exact_at(&mut bytes, leaf.extent.start).unwrap();
        mask.blank(leaf.extent.start, &mut bytes);
        if bytes.iter().any(|byte| *byte != 0) {
            raw += bytes.len();
            packed += zstd::bulk::compress(&bytes, 3).unwrap().len();
        }
    }
    let ratio = raw as f64 / packed as f64;
    assert!((1.7..2.1).contains(&ratio), "{ratio}");
}

#[test]
fn a_day_changes_what_it_says_and_the_judge_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let (master, copy) = (folder.path().join("master"), folder.path().join("copy"));
    let report = build_master(&master, &options(FirmwareKind::Uefi)).unwrap();
    let (header, mask, zero) = describe(&report, &look(&master, &report));
    File::create(&copy).unwrap();
    lab::copy_range(&master, 0, &copy, 0, report.disk_bytes);
    let judge = || equal_under_mask(&master, &copy, &header, &mask, &zero).unwrap();
    // The heads of the page files are not zeros yet.
    let head = judge().expect("the heads differ");
    assert!(zero.iter().any(|zero| (zero.start..zero.end()).contains(&head.offset)));
    assert_eq!(head.expected, 0);
    let disk = PlainDisk::open(&copy);
    for zero in &zero {
        disk.write_at(zero.start, &vec![0; zero.len as usize]).unwrap();
    }
    assert_eq!(judge(), None);

    assert_eq!(dirty(&disk, &header, &mask, 0.0, 1).unwrap().leaves, Vec::<u64>::new());
    assert_eq!(judge(), None);
    let day = dirty(&disk, &header, &mask, 0.1, 1).unwrap();
    assert!(day.leaves.len() as u64 * 10 >= day.used_leaves && day.leaves.len() as u64 * 9 < day.used_leaves);
    assert!(day.masked_bytes >= MIB);
    // Exactly those leaves differ, no more.
    let zeros = Mask::new(zero.clone());
    let original = PlainDisk::open(&master);
    let read = |disk: &PlainDisk, extent: Extent| {
        let mut bytes = vec![0; extent.len as usize];
        disk.read_at(extent.start, &mut bytes).unwrap();
        mask.blank(extent.start, &mut bytes);
        bytes
    };
    let expected = |extent: Extent| {
        let mut bytes = read(&original, extent);
        zeros.blank(extent.start, &mut bytes);
        bytes
    };
    let mut bytes = 0;
    let counting = header.leaves().filter(|leaf| !mask.covers(leaf.extent));
    let differ = counting.filter(|leaf| {
        let (a, b) = (expected(leaf.extent), read(&disk, leaf.extent));
        let changed = if a == b { 0 } else { a.iter().zip(&b).filter(|(a, b)| a != b).count() as u64 };
        bytes += changed;
        changed > 0
    });
    assert_eq!(differ.map(|leaf| leaf.index).collect::<Vec<_>>(), day.leaves);
    assert_eq!(bytes, day.bytes);
    // The ESP and the file table are among them.
    for extent in [report.esp.unwrap(), report.file_table] {
        let hit = |index: &u64| header.leaf(*index).unwrap().extent.overlap(&extent).is_some();
        assert!(day.leaves.iter().any(hit), "{extent:?}");
    }
    let first = header.leaf(day.leaves[0]).unwrap().extent;
    let found = judge().unwrap();
    assert!((first.start..first.end()).contains(&found.offset) && found.expected != found.found);
    // And only under the mask does anything else differ.
    for index in &day.leaves {
        let extent = header.leaf(*index).unwrap().extent;
        let bytes = expected(extent);
        for part in mask.outside(extent) {
            let from = (part.start - extent.start) as usize;
            disk.write_at(part.start, &bytes[from..from + part.len as usize]).unwrap();
        }
    }
    assert_eq!(judge(), None);
}
