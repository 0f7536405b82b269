//! Disks in memory, and what lies on them.

use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use klonwerk::disk::{Disk, DiskError};
use klonwerk::image::Extent;

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const ESP_START: u64 = MIB;
pub(crate) const VOLUME_START: u64 = 4 * MIB;
pub(crate) const VOLUME_BYTES: u64 = 40 * MIB;
pub(crate) const DISK_BYTES: u64 = 48 * MIB;

const ESP: [u8; 16] = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
const BASIC_DATA: [u8; 16] =
    [0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7];

/// What a test does to the disk when it is read: number of the read, bytes of the disk.
type OnRead = Box<dyn FnMut(usize, &mut Vec<u8>) + Send>;

/// A disk in memory that remembers what was read.
pub(crate) struct MemoryDisk {
    state: Mutex<State>,
}

struct State {
    bytes: Vec<u8>,
    reads: Vec<Extent>,
    on_read: Option<OnRead>,
}

impl std::fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryDisk")
    }
}

impl MemoryDisk {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { state: Mutex::new(State { bytes, reads: Vec::new(), on_read: None }) }
    }

    pub(crate) fn on_read(self, action: impl FnMut(usize, &mut Vec<u8>) + Send + 'static) -> Self {
        self.state.lock().unwrap().on_read = Some(Box::new(action));
        self
    }

    pub(crate) fn reads(&self) -> Vec<Extent> {
        self.state.lock().unwrap().reads.clone()
    }
}

impl Disk for MemoryDisk {
    fn size(&self) -> u64 {
        self.state.lock().unwrap().bytes.len() as u64
    }

    fn sector_bytes(&self) -> u32 {
        512
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let mut state = self.state.lock().unwrap();
        let State { bytes, reads, on_read } = &mut *state;
        if let Some(action) = on_read {
            action(reads.len(), bytes);
        }
        reads.push(Extent { start: offset, len: buf.len() as u64 });
        let size = bytes.len() as u64;
        let part = bytes.get(offset as usize..offset as usize + buf.len());
        let past_end = DiskError::OutOfRange { offset, len: buf.len() as u64, size };
        buf.copy_from_slice(part.ok_or(past_end)?);
        Ok(())
    }

    fn read_past_cache(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), DiskError> {
        self.state.lock().unwrap().bytes[offset as usize..offset as usize + buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn rescan(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// Reproducible bytes that hardly compress.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// A disk as UEFI machines have it: an EFI system partition, and `volume` as the second one.
pub(crate) fn uefi_disk(volume: &[u8]) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; DISK_BYTES as usize]);
    let mut table = gptman::GPT::new_from(&mut disk, 512, [7; 16]).unwrap();
    let partitions = [(1, ESP, ESP_START, 2 * MIB), (2, BASIC_DATA, VOLUME_START, VOLUME_BYTES)];
    for (number, kind, start, len) in partitions {
        table[number] = gptman::GPTPartitionEntry {
            partition_type_guid: kind,
            unique_partition_guid: [number as u8; 16],
            starting_lba: start / 512,
            ending_lba: (start + len) / 512 - 1,
            attribute_bits: 0,
            partition_name: "x".into(),
        };
    }
    gptman::GPT::write_protective_mbr_into(&mut disk, 512).unwrap();
    table.write_into(&mut disk).unwrap();
    let mut disk = disk.into_inner();
    let esp = &mut disk[ESP_START as usize..];
    esp[82..90].copy_from_slice(b"FAT32   ");
    esp[510..512].copy_from_slice(&[0x55, 0xaa]);
    esp[70_000..170_000].copy_from_slice(&noise(9, 100_000));
    disk[VOLUME_START as usize..][..volume.len()].copy_from_slice(volume);
    disk
}

/// The same with a volume that is no NTFS, `filled` bytes of which are in use.
pub(crate) fn plain_disk(seed: u64, filled: usize) -> Vec<u8> {
    uefi_disk(&noise(seed, filled))
}

/// A volume that mkntfs made, with files that ntfscp put there; `None` where the programs are missing.
pub(crate) fn ntfs_volume(files: &[(&str, &[u8])]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let volume = folder.path().join("volume");
    std::fs::File::create(&volume).unwrap().set_len(VOLUME_BYTES).unwrap();
    let geometry = ["-F", "-Q", "-q", "-c", "4096", "-p", "8192", "-H", "255", "-S", "63", "-s", "512"];
    let mut arguments: Vec<&str> = geometry.to_vec();
    arguments.push(volume.to_str().unwrap());
    if !run("mkntfs", &arguments) {
        eprintln!("skipped: mkntfs is not installed (Debian package ntfs-3g)");
        return None;
    }
    for (name, contents) in files {
        let source = folder.path().join("source");
        std::fs::write(&source, contents).unwrap();
        assert!(run("ntfscp", &["-f", "-q", volume.to_str().unwrap(), source.to_str().unwrap(), name]));
    }
    Some(std::fs::read(volume).unwrap())
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let found = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(|folder| Path::new(folder).join(program));
    let Some(path) = found.iter().find(|path| path.is_file()) else { return false };
    Command::new(path).args(arguments).env("LC_ALL", "C.UTF-8").output().unwrap().status.success()
}
