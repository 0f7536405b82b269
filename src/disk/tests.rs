//! One battery that every disk passes, and what is particular to each.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use super::recording::{Loss, Operation};
use super::usage::{DeviceNumber, KernelView};
use super::*;

const SIZE: u64 = 256 * 1024;

fn battery(disk: &dyn Disk) {
    let sector = u64::from(disk.sector_bytes());
    assert_eq!(disk.size(), SIZE);
    let mut buf = vec![7; 3000];
    disk.read_at(1, &mut buf).unwrap();
    assert!(buf.iter().all(|byte| *byte == 0), "a new disk reads as zeros");

    let data: Vec<u8> = (0..2 * sector).map(|i| (i % 251) as u8).collect();
    disk.write_at(3 * sector, &data).unwrap();
    let mut back = vec![0; data.len()];
    disk.read_at(3 * sector, &mut back).unwrap();
    assert_eq!(back, data, "a reader sees what was written, flushed or not");
    back.fill(0);
    disk.read_past_cache(3 * sector, &mut back).unwrap();
    assert_eq!(back, data, "so does one that reads past the cache");
    disk.flush().unwrap();
    let mut odd = vec![0; 700];
    disk.read_past_cache(3 * sector - 100, &mut odd).unwrap();
    assert!(odd[..100].iter().all(|byte| *byte == 0));
    assert_eq!(odd[100..], data[..600], "reads need no alignment");
    let mut aligned = AlignedBuffer::new(SIZE as usize);
    disk.read_past_cache(0, &mut aligned).unwrap();
    assert_eq!(&aligned[3 * sector as usize..5 * sector as usize], &data[..], "a whole disk at once");

    disk.write_at(SIZE - sector, &vec![9; sector as usize]).unwrap();
    let mut last = [0];
    disk.read_past_cache(SIZE - 1, &mut last).unwrap();
    assert_eq!(last, [9], "the last byte is reached");
    let beyond = disk.write_at(SIZE, &vec![9; sector as usize]);
    assert!(matches!(beyond, Err(DiskError::OutOfRange { offset: SIZE, size: SIZE, .. })), "{beyond:?}");
    assert!(matches!(disk.read_at(u64::MAX, &mut [0; 2]), Err(DiskError::OutOfRange { .. })));
    assert!(matches!(disk.read_past_cache(SIZE - 1, &mut [0; 2]), Err(DiskError::OutOfRange { .. })));
    assert!(matches!(disk.write_at(1, &vec![0; sector as usize]), Err(DiskError::NotWholeSectors { .. })));
    assert!(matches!(disk.write_at(0, &[0; 100]), Err(DiskError::NotWholeSectors { .. })));

    std::thread::scope(|scope| {
        for lane in 0..4u8 {
            scope.spawn(move || {
                for step in 0..8u64 {
                    let at = (64 + u64::from(lane) * 8 + step) * 1024 * 2;
                    let at = at - at % sector;
                    disk.write_at(at, &vec![lane + 1; sector as usize]).unwrap();
                }
            });
        }
    });
    for lane in 0..4u64 {
        for step in 0..8 {
            let mut byte = [0];
            let at = (64 + lane * 8 + step) * 2048;
            disk.read_at(at - at % sector, &mut byte).unwrap();
            assert!(byte[0] != 0, "writes from many threads all arrive");
        }
    }
    disk.release().unwrap();
    disk.rescan().unwrap();
    disk.claim().unwrap();
    disk.flush().unwrap();
}

fn file(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("disk.img");
    File::create(&path).unwrap().set_len(SIZE).unwrap();
    path
}

#[test]
fn memory_passes() {
    battery(&MemoryDisk::new(vec![0; SIZE as usize], 512));
    battery(&Arc::new(MemoryDisk::new(vec![0; SIZE as usize], 4096)));
}

#[test]
fn recording_passes() {
    battery(&RecordingDisk::new(vec![0; SIZE as usize], 512));
}

#[test]
fn plain_files_pass() {
    let folder = tempfile::tempdir().unwrap();
    battery(&FileDisk::open(&file(folder.path()), Access::Exclusive).unwrap());
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    battery(&FileDisk::open_with_sector(&file(folder.path()), Access::Exclusive, 4096).unwrap());
}

/// A block device on top of a file, gone with the value.
struct Loop(std::path::PathBuf);

impl Loop {
    fn new(file: &Path, sector: u32) -> Self {
        let made = std::process::Command::new("losetup")
            .args(["--find", "--show", "--partscan", "--sector-size", &sector.to_string()])
            .arg(file)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(String::from_utf8(made.stdout).unwrap().trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let gone = std::process::Command::new("losetup").arg("--detach").arg(&self.0).status();
        assert!(gone.is_ok_and(|status| status.success()));
    }
}

#[test]
#[ignore = "needs root and loop devices"]
fn block_devices_pass() {
    let folder = tempfile::tempdir().unwrap();
    for sector in [512, 4096] {
        let device = Loop::new(&file(folder.path()), sector);
        let disk = FileDisk::open(&device.0, Access::Exclusive).unwrap();
        assert_eq!(disk.sector_bytes(), sector);
        battery(&disk);
        let second = FileDisk::open(&device.0, Access::Exclusive).unwrap_err();
        assert!(matches!(second, DiskError::InUse { .. }), "{second}");
        disk.release().unwrap();
        let reader = FileDisk::open(&device.0, Access::ReadOnly).unwrap_err();
        assert!(reader.to_string().contains("may write to it"), "{reader}");
        drop(disk);
        let disk = FileDisk::open(&device.0, Access::ReadOnly).unwrap();
        assert!(matches!(disk.write_at(0, &vec![0; sector as usize]), Err(DiskError::Io { action: "write", .. })));
    }
}

#[test]
fn a_locked_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let held = FileDisk::open(&path, Access::Exclusive).unwrap();
    for access in [Access::Exclusive, Access::ReadOnly] {
        let error = FileDisk::open(&path, access).unwrap_err();
        assert!(matches!(error, DiskError::InUse { .. }), "{error}");
    }
    drop(held);
    let readers = [Access::ReadOnly; 2].map(|access| FileDisk::open(&path, access).unwrap());
    assert!(matches!(FileDisk::open(&path, Access::Exclusive), Err(DiskError::InUse { .. })));
    assert!(matches!(readers[0].write_at(0, &[0; 512]), Err(DiskError::Io { action: "write", .. })));
}

#[test]
fn a_folder_is_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let error = FileDisk::open(folder.path(), Access::ReadOnly).unwrap_err();
    assert!(matches!(error, DiskError::NotADisk { .. }), "{error}");
    let error = FileDisk::open(Path::new("/dev/null"), Access::ReadOnly).unwrap_err();
    assert!(matches!(error, DiskError::NotADisk { .. }), "{error}");
    let error = FileDisk::open(&folder.path().join("none"), Access::ReadOnly).unwrap_err();
    assert!(matches!(error, DiskError::Io { action: "open", .. }), "{error}");
}

fn kernel(folder: &Path, mountinfo: &str) -> KernelView {
    let view = KernelView { proc: folder.join("proc"), sys: folder.join("sys") };
    fs::create_dir_all(view.proc.join("self")).unwrap();
    fs::write(view.proc.join("self/mountinfo"), mountinfo).unwrap();
    fs::write(view.proc.join("swaps"), "Filename Type Size Used Priority\n").unwrap();
    let disk = view.sys.join("devices/ata1/block/sda");
    fs::create_dir_all(disk.join("holders")).unwrap();
    for (number, dev) in [(1, "8:1"), (2, "8:2")] {
        let partition = disk.join(format!("sda{number}"));
        fs::create_dir_all(partition.join("holders")).unwrap();
        fs::write(partition.join("partition"), format!("{number}\n")).unwrap();
        fs::write(partition.join("dev"), format!("{dev}\n")).unwrap();
    }
    fs::create_dir_all(view.sys.join("dev/block")).unwrap();
    symlink(&disk, view.sys.join("dev/block/8:0")).unwrap();
    view
}

#[test]
fn mounts_and_layers_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let sda = DeviceNumber(8, 0);
    let view = kernel(folder.path(), "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n");
    assert_eq!(view.user_of(sda), None);
    fs::create_dir(view.sys.join("devices/ata1/block/sda/sda2/holders/dm-0")).unwrap();
    assert_eq!(view.user_of(sda).unwrap(), "dm-0 is built on it");

    let folder = tempfile::tempdir().unwrap();
    let line = "40 27 8:2 / /mnt/windows rw,relatime shared:1 - ntfs3 /dev/none rw\n";
    assert_eq!(kernel(folder.path(), line).user_of(sda).unwrap(), "mounted at /mnt/windows");
}

#[test]
fn crash_states_follow_the_flushes() {
    let disk = RecordingDisk::new(vec![0; 4096], 512);
    disk.write_at(0, &[1; 512]).unwrap();
    disk.flush().unwrap();
    disk.write_at(512, &[2; 1024]).unwrap();
    disk.write_at(2048, &[3; 512]).unwrap();
    let states: Vec<_> = disk.crash_states(7, 20).collect();
    for state in &states {
        let sectors: Vec<u8> = state.medium.chunks(512).map(|sector| sector[0]).collect();
        assert!(state.after < 2 || sectors[0] == 1, "what was flushed stays: {state:?}");
        assert!(sectors[4] == 0 || state.after == 4);
        match (state.after, state.loss) {
            (0, _) => assert_eq!(sectors, [0; 8]),
            (2, _) => assert_eq!(sectors, [1, 0, 0, 0, 0, 0, 0, 0]),
            (4, Loss::AllLost) => assert_eq!(sectors, [1, 0, 0, 0, 0, 0, 0, 0]),
            (4, Loss::NoneLost) => assert_eq!(sectors, [1, 2, 2, 0, 3, 0, 0, 0]),
            (4, Loss::Shuffled) => assert_eq!(sectors[1], sectors[2], "whole writes"),
            _ => {}
        }
    }
    let seen = |wanted: [u8; 3]| {
        let fits = |s: &&recording::CrashState| [512, 1024, 2048].map(|at| s.medium[at]) == wanted;
        states.iter().filter(|s| s.after == 4).any(|s| fits(&s))
    };
    assert!(seen([0, 0, 3]) && seen([2, 2, 0]), "later writes may survive earlier ones");
    assert!(seen([2, 0, 3]) || seen([0, 2, 3]) || seen([0, 2, 0]), "a write may be torn");
    let again: Vec<_> = disk.crash_states(7, 20).map(|s| s.medium).collect();
    assert!(states.iter().map(|s| &s.medium).eq(again.iter()), "the seed decides");
}

#[test]
fn without_power_nothing_answers() {
    let disk = RecordingDisk::new(vec![0; 4096], 512);
    disk.cut_after(1);
    disk.write_at(0, &[1; 512]).unwrap();
    assert!(matches!(disk.write_at(512, &[1; 512]), Err(DiskError::PowerCut)));
    assert!(matches!(disk.read_at(0, &mut [0]), Err(DiskError::PowerCut)));
    assert!(matches!(disk.flush(), Err(DiskError::PowerCut)));
    assert_eq!(disk.operations(), [Operation::Write { offset: 0, data: vec![1; 512] }]);
}
