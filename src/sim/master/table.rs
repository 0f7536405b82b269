//! Partition tables of simulated masters.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use gptman::{GPT, GPTPartitionEntry};

use super::{Extent, FirmwareKind, MIB, MasterError, Noise};

/// Partition types: their GUIDs as they are stored.
const ESP: [u8; 16] = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
const MSR: [u8; 16] = [0x16, 0xe3, 0xc9, 0xe3, 0x5c, 0x0b, 0xb8, 0x4d, 0x81, 0x7d, 0xf9, 0x2d, 0xf0, 2, 0x15, 0xae];
const DATA: [u8; 16] = [0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7];

const ESP_BYTES: u64 = 100 * MIB;
const MSR_BYTES: u64 = 16 * MIB;

/// Where the partitions lie, as Windows Setup puts them.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) disk_bytes: u64,
    pub(super) esp: Option<Extent>,
    msr: Option<Extent>,
    pub(super) windows: Extent,
}

impl Layout {
    pub(super) fn new(firmware: FirmwareKind, volume_bytes: u64) -> Self {
        let (esp, msr, start) = match firmware {
            FirmwareKind::Bios => (None, None, MIB),
            FirmwareKind::Uefi => {
                let esp = Extent { start: MIB, len: ESP_BYTES };
                let msr = Extent { start: esp.end(), len: MSR_BYTES };
                (Some(esp), Some(msr), msr.end())
            }
        };
        let windows = Extent { start, len: volume_bytes };
        // A MiB behind the last partition: the backup table, and room that belongs to nobody.
        Self { disk_bytes: windows.end() + MIB, esp, msr, windows }
    }

    pub(super) fn write(&self, disk: &mut File, path: &Path, seed: u64) -> Result<(), MasterError> {
        match (self.esp, self.msr) {
            (Some(esp), Some(msr)) => {
                let partitions = [
                    (ESP, "EFI system partition", esp),
                    (MSR, "Microsoft reserved partition", msr),
                    (DATA, "Basic data partition", self.windows),
                ];
                write_gpt(disk, seed, &partitions)
                    .map_err(|source| MasterError::Table { path: path.to_owned(), source })
            }
            _ => disk
                .write_all_at(&self.mbr(seed), 0)
                .map_err(|source| MasterError::Io { path: path.to_owned(), source }),
        }
    }

    fn mbr(&self, seed: u64) -> [u8; 512] {
        let mut out = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\xfa\xf4\xeb\xfdKlonwerk simulated master, not bootable");
        put(440, &(Noise::of(seed, 1).next() as u32).to_le_bytes());
        // Active, NTFS; cylinders that say: see the sectors.
        put(446, &[0x80, 0xfe, 0xff, 0xff, 0x07, 0xfe, 0xff, 0xff]);
        put(454, &((self.windows.start / 512) as u32).to_le_bytes());
        put(458, &((self.windows.len / 512) as u32).to_le_bytes());
        put(510, &[0x55, 0xaa]);
        out
    }
}

fn guid(noise: &mut Noise) -> [u8; 16] {
    let mut guid = [0; 16];
    noise.fill(&mut guid);
    // Version 4, variant 1.
    guid[7] = guid[7] & 0x0f | 0x40;
    guid[8] = guid[8] & 0x3f | 0x80;
    guid
}

fn write_gpt(disk: &mut File, seed: u64, partitions: &[([u8; 16], &str, Extent)]) -> Result<(), gptman::Error> {
    let mut noise = Noise::of(seed, 2);
    GPT::write_protective_mbr_into(disk, 512)?;
    let mut gpt = GPT::new_from(disk, 512, guid(&mut noise))?;
    for (number, (kind, name, extent)) in (1..).zip(partitions) {
        gpt[number] = GPTPartitionEntry {
            partition_type_guid: *kind,
            unique_partition_guid: guid(&mut noise),
            starting_lba: extent.start / 512,
            ending_lba: extent.end() / 512 - 1,
            attribute_bits: 0,
            partition_name: (*name).into(),
        };
    }
    gpt.write_into(disk)?;
    Ok(())
}
