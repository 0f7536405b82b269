//! The parts that need no volume; whole volumes are read in `tests/ntfs.rs`.

use proptest::prelude::*;

use super::boot::Geometry;
use super::record::fix_up;
use super::runs::{Run, append};
use super::{FileSystem, NtfsError};

fn boot_sector(per_cluster: u8, record: u8) -> Vec<u8> {
    let mut sector = vec![0; 512];
    sector[3..11].copy_from_slice(b"NTFS    ");
    sector[11..13].copy_from_slice(&512u16.to_le_bytes());
    sector[13] = per_cluster;
    sector[0x28..0x30].copy_from_slice(&(1u64 << 20).to_le_bytes());
    sector[0x30..0x38].copy_from_slice(&4u64.to_le_bytes());
    sector[0x40] = record;
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

#[test]
fn sizes_follow_from_the_boot_sector() {
    let sizes = |per_cluster, record| {
        let geometry = Geometry::parse(&boot_sector(per_cluster, record), 512 << 20)?;
        Ok::<_, NtfsError>((geometry.cluster_bytes, geometry.clusters, geometry.record_bytes))
    };
    assert_eq!(sizes(8, 0xf6).unwrap(), (4096, 1 << 17, 1024));
    assert_eq!(sizes(1, 0x02).unwrap(), (512, 1 << 20, 1024));
    assert_eq!(sizes(0x80, 0xf4).unwrap(), (65536, 1 << 13, 4096));
    // 2 MiB clusters: 2^12 sectors, negated.
    assert_eq!(sizes(0xf4, 0xf6).unwrap(), (2 << 20, 256, 1024));
    for (per_cluster, record) in [(0, 0xf6), (3, 0xf6), (0xf3, 0xf6), (0x81, 0xf6), (8, 0), (8, 0x80), (8, 0xf8)] {
        assert!(matches!(sizes(per_cluster, record), Err(NtfsError::Damaged { .. })), "{per_cluster:#x} {record:#x}");
    }
}

#[test]
fn other_volumes_are_told_apart() {
    let parse = |sector: &[u8], bytes| Geometry::parse(sector, bytes).unwrap_err();
    let mut sector = boot_sector(8, 0xf6);
    assert!(matches!(parse(&sector, (512 << 20) - 1), NtfsError::Damaged { .. }));
    sector[3..11].copy_from_slice(b"-FVE-FS-");
    assert!(matches!(parse(&sector, 512 << 20), NtfsError::BitLocker));
    assert!(matches!(parse(&[0; 512], 512 << 20), NtfsError::NotNtfs));
    assert!(matches!(parse(&sector[..100], 512 << 20), NtfsError::BitLocker));
    assert!(matches!(FileSystem::open(&vec![0u8; 100], 100), Err(NtfsError::NotNtfs)));
}

#[test]
fn run_lists_count_on_and_have_holes() {
    let mut runs = Vec::new();
    append(&mut runs, &[0x11, 3, 100, 0x01, 5, 0x12, 0x00, 0x01, 0xf0, 0], 1000).unwrap();
    append(&mut runs, &[0x21, 1, 0xe7, 0x03, 0], 1000).unwrap();
    let run = |first, clusters, at| Run { first, clusters, at };
    assert_eq!(runs, [run(0, 3, Some(100)), run(3, 5, None), run(8, 256, Some(84)), run(264, 1, Some(999)),]);
    for broken in [
        &[0x11, 0, 1, 0][..],
        &[0x11, 2, 0x7f],
        &[0x11],
        &[],
        &[0x11, 1, 0xff, 0],
        &[0x01, 0xff, 0],
        &[0x21, 2, 0xe7, 0x03, 0],
        &[0x99, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
    ] {
        assert!(append(&mut Vec::new(), broken, 1000).is_err(), "{broken:x?}");
    }
}

#[test]
fn torn_records_are_noticed() {
    let mut whole = vec![7; 1024];
    whole[..8].copy_from_slice(b"FILE\x30\0\x03\0");
    whole[0x30..0x36].copy_from_slice(&[9, 9, 1, 2, 3, 4]);
    whole[510..512].copy_from_slice(&[9, 9]);
    whole[1022..].copy_from_slice(&[9, 9]);
    let mut torn = whole.clone();
    fix_up(&mut whole, b"FILE").unwrap();
    assert_eq!((&whole[510..512], &whole[1022..]), (&[1, 2][..], &[3, 4][..]));
    torn[1023] = 8;
    assert!(fix_up(&mut torn, b"FILE").is_err());
}

proptest! {
    #[test]
    fn no_run_list_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut runs = Vec::new();
        if append(&mut runs, &bytes, 5000).is_ok() {
            prop_assert!(runs.iter().all(|run| run.at.is_none_or(|at| at + run.clusters <= 5000)));
        }
    }

    #[test]
    fn no_record_panics(mut bytes in prop::collection::vec(any::<u8>(), 1024), usa in 0u8..80) {
        bytes[..8].copy_from_slice(&[b'F', b'I', b'L', b'E', usa, 0, 3, 0]);
        let _ = fix_up(&mut bytes, b"FILE");
    }
}
