//! Simulated masters: whole disks with a partition table and a Windows-like volume, made in a second or two, for the
//! demo, rehearsals and tests. And what a school day does to their clones.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::image::{Extent, FirmwareKind, KeyChannel};

use super::volume::fat::FatBuilder;
use super::volume::noise::{self, Noise};
use super::volume::{NtfsBuilder, VolumeError};

mod compare;
mod day;
mod table;
mod windows;

pub use compare::{CompareError, Difference, equal_under_mask};
pub use day::{DirtyReport, dirty};

const MIB: u64 = 1 << 20;
/// The least that a master may use; below, the file system's own files would be most of it.
pub const LEAST_USED: u64 = 256 * MIB;
/// The cluster size of Windows volumes up to 16 TiB.
const CLUSTER: u32 = 4096;

/// The Windows that a master pretends to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimWindows {
    /// Its build number.
    pub build: u32,
    /// Its edition, such as `Education`.
    pub edition: String,
    /// Its product name as the registry has it: Windows 11 says `Windows 10 …` there.
    pub product: String,
    /// Whether sysprep generalized it.
    pub generalized: bool,
    /// Whether SkipRearm is set.
    pub skip_rearm: bool,
    /// The channel of its key.
    pub key_channel: KeyChannel,
}

impl Default for SimWindows {
    /// Windows 11 24H2 Education with a MAK, generalized.
    fn default() -> Self {
        Self {
            build: 26100,
            edition: "Education".to_owned(),
            product: "Windows 10 Education".to_owned(),
            generalized: true,
            skip_rearm: false,
            key_channel: KeyChannel::Mak,
        }
    }
}

/// What to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterOptions {
    /// How many bytes the Windows volume uses, about; its size follows, with some 40 % free.
    pub bytes_used: u64,
    /// BIOS: MBR and one active partition. UEFI: GPT with ESP, MSR and the Windows partition.
    pub firmware: FirmwareKind,
    /// Decides all contents.
    pub seed: u64,
    /// The Windows.
    pub windows: SimWindows,
}

/// What was made. Extents count from the start of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterReport {
    /// The size of the disk in bytes.
    pub disk_bytes: u64,
    /// The EFI system partition.
    pub esp: Option<Extent>,
    /// The Windows partition.
    pub windows: Extent,
    /// Bytes in clusters of the Windows volume that are in use.
    pub used_bytes: u64,
    /// Files and folders on the Windows volume.
    pub files: u64,
    /// Free clusters of the Windows volume, some of them with garbage in them.
    pub free: Vec<Extent>,
    /// The volume's file table.
    pub file_table: Extent,
    /// The clusters of the page file, in order.
    pub page_file: Vec<Extent>,
}

/// Why a master could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// Too small to be like anything.
    #[error("a simulated master uses at least {LEAST_USED} bytes, not {bytes_used}")]
    TooSmall {
        /// What was asked for.
        bytes_used: u64,
    },
    /// The file could not be made or written.
    #[error("cannot write {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The partition table could not be written.
    #[error("cannot write the partition table of {}", .path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What the partition table's writer said.
        #[source]
        source: gptman::Error,
    },
    /// A volume could not be written.
    #[error("cannot write a volume of {}", .path.display())]
    Volume {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: VolumeError,
    },
}

/// Makes the disk file `path`, sparse, in place of what was there.
///
/// # Errors
/// [`MasterError`].
pub fn build_master(path: &Path, options: &MasterOptions) -> Result<MasterReport, MasterError> {
    let bytes_used = options.bytes_used;
    if bytes_used < LEAST_USED {
        return Err(MasterError::TooSmall { bytes_used });
    }
    let io = |source| MasterError::Io { path: path.to_owned(), source };
    let volume_error = |source| MasterError::Volume { path: path.to_owned(), source };
    let mut disk = File::options().read(true).write(true).create(true).truncate(true).open(path).map_err(io)?;
    let volume_bytes = (bytes_used / 6 * 10).next_multiple_of(MIB);
    let layout = table::Layout::new(options.firmware, volume_bytes);
    disk.set_len(layout.disk_bytes).map_err(io)?;
    layout.write(&mut disk, path, options.seed)?;
    if let Some(esp) = layout.esp {
        let stub = windows::boot_stub(options.seed);
        FatBuilder::new(esp.len, options.seed as u32, "SYSTEM", (esp.start / 512) as u32)
            .file("EFI/BOOT/BOOTX64.EFI", stub.clone())
            .file("EFI/Microsoft/Boot/bootmgfw.efi", stub)
            .file("EFI/Microsoft/Boot/BCD", windows::boot_configuration())
            .build(&disk, esp.start)
            .map_err(volume_error)?;
    }
    let start = layout.windows.start;
    let mut volume = NtfsBuilder::new(volume_bytes, CLUSTER, options.seed | 1, "Windows")
        .hidden_sectors((start / 512) as u32)
        .gaps(3);
    windows::fill(&mut volume, options).map_err(volume_error)?;
    let written = volume.build(&disk, start).map_err(volume_error)?;
    let moved = |extent: &Extent| Extent { start: extent.start + start, len: extent.len };
    let free: Vec<Extent> = written.free.iter().map(moved).collect();
    litter(&disk, &free, options.seed).map_err(io)?;
    Ok(MasterReport {
        disk_bytes: layout.disk_bytes,
        esp: layout.esp,
        windows: layout.windows,
        used_bytes: written.used_bytes,
        files: written.files,
        free,
        file_table: moved(&written.file_table),
        page_file: written.scattered.get(windows::PAGE_FILE).into_iter().flatten().map(moved).collect(),
    })
}

/// Writes what deleted files leave behind into free clusters: every second small piece, and parts of the large ones.
fn litter(disk: &File, free: &[Extent], seed: u64) -> io::Result<()> {
    let mut noise = Noise::of(seed, 0x6c69_7474_6572);
    let mut bytes = vec![0; MIB as usize];
    for extent in free.iter().step_by(2) {
        let mut at = extent.start;
        while at < extent.end() {
            let len = (extent.end() - at).min(MIB);
            let piece = &mut bytes[..len as usize];
            noise.fill(piece);
            disk.write_all_at(piece, at)?;
            at += 8 * MIB;
        }
    }
    Ok(())
}
