//! Tables that gptman (an independent implementation) or this file's own few lines wrote, whole and broken.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::image::manifest::check_header;
use crate::image::{Header, WindowsFacts};

const MIB: u64 = 1 << 20;
const ESP: [u8; 16] = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
const BASIC_DATA: [u8; 16] =
    [0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7];

fn gpt_disk(size: u64, sector: u64, partitions: &[(u32, [u8; 16], u64, u64)]) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; size as usize]);
    let mut table = gptman::GPT::new_from(&mut disk, sector, [7; 16]).unwrap();
    for (number, kind, start, len) in partitions {
        table[*number] = gptman::GPTPartitionEntry {
            partition_type_guid: *kind,
            unique_partition_guid: [*number as u8; 16],
            starting_lba: start / sector,
            ending_lba: (start + len) / sector - 1,
            attribute_bits: 0,
            partition_name: "x".into(),
        };
    }
    gptman::GPT::write_protective_mbr_into(&mut disk, sector).unwrap();
    table.write_into(&mut disk).unwrap();
    let mut disk = disk.into_inner();
    for (_, kind, start, _) in partitions {
        let boot = &mut disk[*start as usize..][..512];
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        if *kind == ESP {
            boot[82..90].copy_from_slice(b"FAT32   ");
        } else {
            boot[3..11].copy_from_slice(b"NTFS    ");
        }
    }
    disk
}

fn uefi_disk() -> Vec<u8> {
    gpt_disk(16 * MIB, 512, &[(1, ESP, MIB, 2 * MIB), (2, BASIC_DATA, 4 * MIB, 8 * MIB)])
}

/// What gptman refuses to write: a partition of another length, with right checksums in both copies.
fn with_last_sector(number: usize, last: u64) -> Vec<u8> {
    use crate::image::crc32::crc32;
    let mut disk = uefi_disk();
    let end = disk.len();
    for (head, entries) in [(512, 1024), (end - 512, end - 33 * 512)] {
        disk[entries + 128 * (number - 1) + 40..][..8].copy_from_slice(&last.to_le_bytes());
        let sum = crc32(&[&disk[entries..][..128 * 128]]);
        disk[head + 88..][..4].copy_from_slice(&sum.to_le_bytes());
        disk[head + 16..][..4].fill(0);
        let sum = crc32(&[&disk[head..][..92]]);
        disk[head + 16..][..4].copy_from_slice(&sum.to_le_bytes());
    }
    disk
}

fn read_all(disk: &[u8]) -> Result<Layout, LayoutError> {
    read(&disk, disk.len() as u64, 512)
}

fn gates(disk: &[u8]) -> Vec<u64> {
    gates_of(&disk, disk.len() as u64, 512).unwrap().iter().map(|gate| gate.start).collect()
}

#[test]
fn a_gpt_disk_is_divided_into_its_regions() {
    let disk = uefi_disk();
    let layout = read_all(&disk).unwrap();
    let partition = |number, esp, name: &str| RegionKind::Partition { number, esp, file_system: name.to_owned() };
    let region = |kind, start, len| Region { kind, extent: Extent { start, len } };
    assert_eq!(
        layout,
        Layout {
            table: TableKind::Gpt,
            sector_bytes: 512,
            regions: vec![
                region(RegionKind::Table, 0, MIB),
                region(partition(1, true, "fat"), MIB, 2 * MIB),
                region(partition(2, false, "ntfs"), 4 * MIB, 8 * MIB),
                region(RegionKind::BackupTable, 16 * MIB - 33 * 512, 33 * 512),
            ],
            gate: vec![Extent { start: 0, len: 512 }, Extent { start: MIB, len: 512 }],
            note: Some(Extent { start: MIB - 4096, len: 4096 }),
            firmware: Some(FirmwareKind::Uefi),
        }
    );
    assert_eq!(gates(&disk), [0, MIB]);
    let header = Header {
        format: 1,
        image: "a@1".parse().unwrap(),
        created: jiff::Timestamp::UNIX_EPOCH,
        disk_bytes: disk.len() as u64,
        sector_bytes: 512,
        leaf_bytes: 65_536,
        table: layout.table,
        regions: layout.regions,
        gate: layout.gate,
        note: layout.note,
        windows: WindowsFacts::default(),
    };
    assert_eq!(check_header(&header), Ok(()));
}

#[test]
fn a_gpt_with_large_sectors_has_a_smaller_backup() {
    let disk = gpt_disk(64 * MIB, 4096, &[(1, ESP, 2 * MIB, 2 * MIB), (3, BASIC_DATA, 4 * MIB, 8 * MIB)]);
    let layout = read(&disk, disk.len() as u64, 4096).unwrap();
    assert_eq!(layout.regions.last().unwrap().extent, Extent { start: 64 * MIB - 5 * 4096, len: 5 * 4096 });
    assert_eq!(layout.gate, [Extent { start: 0, len: 4096 }, Extent { start: 2 * MIB, len: 4096 }]);
    // The gap up to a late first partition is nobody's.
    assert_eq!(layout.regions[0].extent, Extent { start: 0, len: MIB });
    // The same disk behind a bridge that shows other sectors has no table there.
    assert!(matches!(read(&disk, disk.len() as u64, 512), Err(LayoutError::BothDamaged)));
}

#[test]
fn damaged_copies_are_told_apart() {
    let good = uefi_disk();
    let last = good.len() - 512;
    let flip = |at: usize| {
        let mut disk = good.clone();
        disk[at] ^= 1;
        read_all(&disk)
    };
    for at in [512 + 16, 512 + 72, 1024 + 32, 512] {
        assert!(matches!(flip(at), Err(LayoutError::PrimaryDamaged)), "{at}: {:?}", flip(at));
    }
    for at in [last + 16, last + 40, last - 32 * 512 + 32] {
        assert!(matches!(flip(at), Err(LayoutError::BackupDamaged)), "{at}: {:?}", flip(at));
    }
    let mut both = good.clone();
    both[520] ^= 1;
    both[last + 8] ^= 1;
    both[last] ^= 1;
    assert!(matches!(read_all(&both), Err(LayoutError::BothDamaged)));
    let mut larger = good.clone();
    larger.resize(good.len() + 1024, 0);
    assert!(matches!(read_all(&larger), Err(LayoutError::BackupDamaged)));
    // Whatever is broken, the gate is known.
    both[last] ^= 1;
    both[1024 + 40] ^= 4;
    assert_eq!(gates(&both), [0, MIB]);
    assert_eq!(gates(&larger), [0, MIB]);
    let mut only_backup = good.clone();
    only_backup[..34 * 512].fill(0);
    assert_eq!(gates(&only_backup), [0, MIB]);
    let mut only_primary = larger;
    only_primary[last..].fill(0);
    assert_eq!(gates(&only_primary), [0, MIB]);
}

#[test]
fn contradictions_are_refused() {
    let overlap = with_last_sector(1, 4 * MIB / 512);
    let error = read_all(&overlap).unwrap_err().to_string();
    assert!(error.contains("partition 1 and partition 2 overlap"), "{error}");
    let past_end = with_last_sector(2, 16 * MIB / 512 - 1);
    assert!(matches!(read_all(&past_end), Err(LayoutError::Inconsistent { .. })));
    assert!(matches!(read_all(&gpt_disk(16 * MIB, 512, &[])), Err(LayoutError::NoTable)));
    assert!(matches!(read_all(&vec![0; 1 << 20]), Err(LayoutError::NoTable)));
    assert!(matches!(read_all(&[]), Err(LayoutError::NoTable)));
    assert!(matches!(read(&uefi_disk(), MIB, 520), Err(LayoutError::SectorSize(520))));
    let volume = uefi_disk()[4 * MIB as usize..].to_vec();
    assert!(matches!(read_all(&volume), Err(LayoutError::NotDivided)));
    const DATABASE: [u8; 16] =
        [0xaa, 0xc8, 0x08, 0x58, 0x8f, 0x7e, 0xe0, 0x42, 0x85, 0xd2, 0xe1, 0xe9, 0x04, 0x34, 0xcf, 0xb3];
    assert!(matches!(read_all(&gpt_disk(16 * MIB, 512, &[(1, DATABASE, MIB, MIB)])), Err(LayoutError::DynamicDisk)));
}

#[test]
fn a_note_needs_empty_room() {
    let mut disk = uefi_disk();
    disk[MIB as usize - 1] = 1;
    assert_eq!(read_all(&disk).unwrap().note, None);
    let early = gpt_disk(16 * MIB, 512, &[(1, ESP, MIB / 2, MIB)]);
    assert_eq!(read_all(&early).unwrap().note, None);
}

fn put_record(disk: &mut [u8], sector: u64, slot: usize, active: bool, kind: u8, first: u32, count: u32) {
    let at = sector as usize * 512;
    let record = &mut disk[at + 446 + 16 * slot..][..16];
    record[0] = if active { 0x80 } else { 0 };
    record[4] = kind;
    record[8..12].copy_from_slice(&first.to_le_bytes());
    record[12..16].copy_from_slice(&count.to_le_bytes());
    disk[at + 510..at + 512].copy_from_slice(&[0x55, 0xaa]);
}

fn bios_disk() -> Vec<u8> {
    let mut disk = vec![0; 16 * MIB as usize];
    put_record(&mut disk, 0, 0, true, 7, 2048, 2048);
    put_record(&mut disk, 0, 1, false, 0x0f, 4096, 8192);
    // Two logical partitions, the second one's record in the middle of the extended partition.
    put_record(&mut disk, 4096, 0, false, 7, 64, 1000);
    put_record(&mut disk, 4096, 1, false, 5, 4000, 4000);
    put_record(&mut disk, 8096, 0, false, 0xef, 100, 1000);
    disk
}

#[test]
fn an_mbr_disk_is_divided_with_its_logical_partitions() {
    let disk = bios_disk();
    let layout = read_all(&disk).unwrap();
    let found: Vec<_> = layout.regions.iter().map(|r| (name_of(r), r.extent.start / 512, r.extent.len / 512)).collect();
    assert_eq!(
        found,
        [
            ("the table at byte 0".to_owned(), 0, 2048),
            ("partition 1".to_owned(), 2048, 2048),
            ("the table at byte 2097152".to_owned(), 4096, 1),
            ("partition 5".to_owned(), 4160, 1000),
            ("the table at byte 4145152".to_owned(), 8096, 1),
            ("partition 6".to_owned(), 8196, 1000),
        ]
    );
    assert_eq!(layout.table, TableKind::Mbr);
    assert_eq!(layout.firmware, Some(FirmwareKind::Bios));
    assert_eq!(layout.gate.iter().map(|g| g.start / 512).collect::<Vec<_>>(), [0, 8196]);
    assert_eq!(gates(&disk)[0], 0);
}

#[test]
fn mbr_contradictions_are_refused() {
    let change = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut disk = bios_disk();
        edit(&mut disk);
        read_all(&disk)
    };
    let circle = change(&|disk| put_record(disk, 8096, 1, false, 5, 0, 4000));
    assert!(matches!(circle, Err(LayoutError::Inconsistent { .. })), "{circle:?}");
    let outside = change(&|disk| put_record(disk, 8096, 0, false, 7, 100, 5000));
    assert!(matches!(outside, Err(LayoutError::Inconsistent { .. })), "{outside:?}");
    let long = change(&|disk| put_record(disk, 0, 0, true, 7, 2048, u32::MAX));
    assert!(matches!(long, Err(LayoutError::Inconsistent { .. })), "{long:?}");
    let two = change(&|disk| put_record(disk, 0, 2, true, 7, 20_000, 10));
    assert!(matches!(two, Err(LayoutError::Inconsistent { .. })), "{two:?}");
    let dynamic = change(&|disk| put_record(disk, 0, 0, true, 0x42, 2048, 10));
    assert!(matches!(dynamic, Err(LayoutError::DynamicDisk)), "{dynamic:?}");
}

#[test]
fn blank_and_tiny_disks_have_the_gate_that_every_disk_has() {
    assert_eq!(gates(&vec![0; 1 << 20]), [0]);
    assert_eq!(gates(&[0; 512]), [0]);
    assert!(gates(&[0; 511]).is_empty());
}

#[test]
fn errors_of_the_medium_come_through() {
    let disk = uefi_disk();
    let short: &[u8] = &disk[..1024];
    assert!(gates_of(&short, disk.len() as u64, 512).is_err());
    assert!(matches!(read(&short, disk.len() as u64, 512), Err(LayoutError::Io { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_of_a_table_make_it_panic(at in 0usize..2048, bytes in prop::collection::vec(any::<u8>(), 1..64)) {
        let mut disk = uefi_disk();
        disk.truncate(2 * MIB as usize);
        disk[at..at + bytes.len()].copy_from_slice(&bytes);
        let _ = read_all(&disk);
        let found = gates(&disk);
        prop_assert_eq!(found[0], 0);
        prop_assert!(found.iter().all(|start| start + 512 <= disk.len() as u64));
        let mut disk = bios_disk();
        disk[at..at + bytes.len()].copy_from_slice(&bytes);
        let _ = read_all(&disk);
    }
}
