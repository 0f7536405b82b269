//! Formats byte for byte: golden files that are never edited, every flipped bit, arbitrary values.

use std::fs;
use std::path::{Path, PathBuf};

use klonwerk::image::manifest::{Manifest, ManifestError, SignedHead, decode_mask, encode_mask};
use klonwerk::image::{
    Extent, FirmwareKind, Hash, Header, ImageFile, KeyChannel, Mask, PackedLeaf, Region, RegionKind, TableKind,
    WindowsFacts,
};
use klonwerk::packs::{Access, LeafStore};
use proptest::prelude::*;

use crate::capture::key;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The bytes of a golden file. A file that is missing is written from `now`, and the test fails once.
fn golden_bytes(name: &str, now: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = golden(name);
    fs::read(&path).unwrap_or_else(|_| {
        fs::write(&path, now()).unwrap();
        panic!("{} was made just now: look at it and commit it, never edit it", path.display());
    })
}

fn extent(start: u64, len: u64) -> Extent {
    Extent { start, len }
}

/// An image of a disk of 1 MiB with 4 KiB leaves.
fn manifest() -> Manifest {
    let partition =
        |number, esp, file_system: &str| RegionKind::Partition { number, esp, file_system: file_system.to_owned() };
    let header = Header {
        format: 1,
        image: "win11@2026-11".parse().unwrap(),
        created: "2026-11-24T02:00:00Z".parse().unwrap(),
        disk_bytes: 1 << 20,
        sector_bytes: 512,
        leaf_bytes: 4096,
        table: TableKind::Gpt,
        regions: vec![
            Region { kind: RegionKind::Table, extent: extent(0, 65_536) },
            Region { kind: partition(1, true, "fat"), extent: extent(65_536, 131_072) },
            Region { kind: partition(2, false, "ntfs"), extent: extent(262_144, 600_064) },
            Region { kind: RegionKind::BackupTable, extent: extent((1 << 20) - 33 * 512, 33 * 512) },
        ],
        gate: vec![extent(0, 512), extent(65_536, 512)],
        note: Some(extent(61_440, 4096)),
        windows: WindowsFacts {
            build: Some(26_100),
            edition: Some("Education".to_owned()),
            product: Some("Windows 11 Education".to_owned()),
            generalized: Some(false),
            skip_rearm: None,
            key_channel: Some(KeyChannel::Gvlk),
            firmware: Some(FirmwareKind::Uefi),
            ..WindowsFacts::default()
        },
    };
    let mask = Mask::new(vec![extent(61_440, 4096), extent(300_032, 4096), extent(401_408, 200_704)]);
    let leaves = (0..header.leaf_count()).map(|index| Hash::of(&index.to_le_bytes())).collect();
    Manifest { header, mask, leaves }
}

#[test]
fn image_files_stay_readable_and_are_written_the_same() {
    let bytes = golden_bytes("image-1.kwi", || ImageFile::sign(&manifest(), &key()).unwrap().encode());
    let file = ImageFile::decode(&bytes).unwrap();
    assert_eq!(file.manifest().unwrap(), manifest());
    assert_eq!(file.encode(), bytes);
    // All but the mask, whose compressed bytes may change with zstd, is made the same today.
    let now = manifest().sign(&key()).unwrap();
    assert_eq!((&now.header, &now.groups), (&file.head.header, &file.head.groups));
    assert_eq!(decode_mask(&encode_mask(&manifest().mask)).unwrap(), manifest().mask);
    let root: Hash = "a0d6b54453dc9cf0075a303dc02d604a3a2c5ae63b49c1578c94184d3f83ea21".parse().unwrap();
    assert_eq!(file.head.root(), root);
    let head = file.head.clone().verify(&root, &key().verifying_key()).unwrap();
    assert_eq!(head.header, manifest().header);
    assert_eq!(head.check_mask(&file.mask).unwrap(), manifest().mask);
    for group in 0..head.header.group_count() {
        let range = head.header.group(group);
        head.check_group(group, &file.leaves[range.start as usize..range.end as usize]).unwrap();
    }
}

#[test]
fn packs_stay_readable_and_are_written_the_same() {
    let name = "03711da48d4616b7a6506a959aec5d05028473fd6c9aab1c9910dd2d9bf9fca5";
    let raws = [b"klonwerk".repeat(512), (0..=255u8).collect::<Vec<_>>(), vec![7; 65_536]];
    let folder = tempfile::tempdir().unwrap();
    let bytes = golden_bytes("pack-1.kwp", || {
        let store = LeafStore::open(folder.path(), Access::Exclusive).unwrap();
        let mut writer = store.writer().unwrap();
        for raw in &raws {
            writer.append(&Hash::of(raw), &PackedLeaf::encode(raw).unwrap()).unwrap();
        }
        writer.finish().unwrap();
        let pack = fs::read_dir(folder.path().join("packs")).unwrap().next().unwrap().unwrap().path();
        fs::read(pack).unwrap()
    });
    assert_eq!(Hash::of(&bytes).to_string(), name);
    let old = folder.path().join("old");
    fs::create_dir_all(old.join("packs")).unwrap();
    fs::write(old.join(format!("packs/{}.kwp", Hash::of(&bytes))), &bytes).unwrap();
    let old = LeafStore::open(&old, Access::ReadOnly).unwrap();
    let again = LeafStore::open(&folder.path().join("new"), Access::Exclusive).unwrap();
    let mut writer = again.writer().unwrap();
    for raw in &raws {
        let leaf = Hash::of(raw);
        let packed = old.get(&leaf).unwrap().unwrap();
        assert_eq!(packed.decode(&leaf).unwrap(), *raw);
        writer.append(&leaf, &packed).unwrap();
    }
    writer.finish().unwrap();
    let path = folder.path().join(format!("new/packs/{}.kwp", Hash::of(&bytes)));
    assert_eq!(fs::read(path).unwrap(), bytes);
}

fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

#[test]
fn every_flipped_bit_is_found() {
    let file = ImageFile::sign(&manifest(), &key()).unwrap();
    for bad in flips(&file.encode()) {
        assert!(ImageFile::decode(&bad).is_err());
        // Lists read the head alone, where a wrong bit may pass as another root, never as this one.
        if let Ok(Some(head)) = ImageFile::decode_head(&bad) {
            assert!(head == file.head || head.root() != file.head.root() || head.signature != file.head.signature);
        }
    }
    let (root, verifier) = (file.head.root(), key().verifying_key());
    for bad in flips(&file.head.encode()) {
        assert!(SignedHead::decode(&bad).and_then(|head| head.verify(&root, &verifier)).is_err());
    }
    let head = file.head.clone().verify(&root, &verifier).unwrap();
    for bad in flips(&file.mask) {
        assert!(matches!(head.check_mask(&bad), Err(ManifestError::Mismatch { .. })));
    }
    let group = &file.leaves[..64];
    for bad in flips(&group.iter().flat_map(|leaf| leaf.0).collect::<Vec<_>>()) {
        let leaves: Vec<Hash> = bad.as_chunks::<32>().0.iter().map(|leaf| Hash(*leaf)).collect();
        assert!(head.check_group(0, &leaves).is_err());
    }
    assert!(head.check_group(0, &file.leaves[..63]).is_err());
    assert!(head.check_group(1, group).is_err());
    assert!(head.check_group(u64::MAX / 64, &[]).is_err());
}

#[test]
fn bytes_that_are_cut_short_or_too_long_are_refused() {
    let file = ImageFile::sign(&manifest(), &key()).unwrap();
    let (whole, head) = (file.encode(), file.head.encode());
    for len in 0..whole.len() {
        assert!(ImageFile::decode(&whole[..len]).is_err());
    }
    for len in 0..head.len() {
        assert!(SignedHead::decode(&head[..len]).is_err());
    }
    for len in 0..file.mask.len() {
        assert!(decode_mask(&file.mask[..len]).is_err(), "{len}");
    }
    assert!(ImageFile::decode(&[whole, vec![0]].concat()).is_err());
    assert!(SignedHead::decode(&[head, vec![0]].concat()).is_err());
}

#[test]
fn an_older_root_and_another_signer_are_refused() {
    let new = manifest().sign(&key()).unwrap();
    let mut older = manifest();
    older.leaves[5] = Hash::of(b"yesterday");
    let old = older.sign(&key()).unwrap();
    let verifier = key().verifying_key();
    assert!(matches!(old.verify(&new.root(), &verifier), Err(ManifestError::OtherRoot { .. })));
    let forged = manifest().sign(&ed25519_dalek::SigningKey::from_bytes(&[8; 32])).unwrap();
    assert_eq!(forged.root(), new.root());
    assert!(matches!(forged.verify(&new.root(), &verifier), Err(ManifestError::Signature { .. })));
}

#[test]
fn headers_with_impossible_numbers_are_refused_even_when_signed() {
    let refused = |edit: &dyn Fn(&mut Header)| {
        let mut manifest = manifest();
        edit(&mut manifest.header);
        let leaves = manifest.header.leaf_count().min(1000);
        manifest.leaves = (0..leaves).map(|index| Hash::of(&index.to_le_bytes())).collect();
        let head = manifest.sign(&key()).unwrap();
        let root = head.root();
        matches!(head.verify(&root, &key().verifying_key()), Err(ManifestError::Damaged { .. }))
            && ImageFile::sign(&manifest, &key()).is_err()
    };
    assert!(!refused(&|_| ()));
    assert!(refused(&|header| header.format = 2));
    assert!(refused(&|header| header.sector_bytes = 520));
    assert!(refused(&|header| header.leaf_bytes = 5000));
    assert!(refused(&|header| header.disk_bytes = 1 << 51));
    assert!(refused(&|header| header.regions[1].extent.start = 0));
    assert!(refused(&|header| header.regions[2].extent.len = u64::MAX - 511));
    assert!(refused(&|header| header.regions[3].extent.len += 512));
    assert!(refused(&|header| header.regions[1].extent.start += 1));
    assert!(refused(&|header| header.gate[1].len = 65_536));
    assert!(refused(&|header| header.gate[1].start = 1 << 20));
    assert!(refused(&|header| header.note = Some(extent(0, 2 << 20))));
}

prop_compose! {
    fn any_mask()(runs in prop::collection::vec((0u64..1 << 45, 0u64..1 << 30), 0..60)) -> Mask {
        Mask::new(runs.into_iter().map(|(start, len)| extent(start, len)).collect())
    }
}

proptest! {
    #[test]
    fn any_mask_comes_back(mask in any_mask()) {
        prop_assert_eq!(decode_mask(&encode_mask(&mask)).unwrap(), mask);
    }

    #[test]
    fn any_image_comes_back(mask in any_mask(), len in 1u64..5000, seed in any::<u64>()) {
        let mut manifest = manifest();
        manifest.mask = mask;
        manifest.header.disk_bytes = 262_144 + 5001 * 512;
        manifest.header.regions.truncate(3);
        manifest.header.regions[2].extent.len = len * 512;
        let count = manifest.header.leaf_count();
        manifest.leaves = (0..count).map(|index| Hash::of(&(seed ^ index).to_le_bytes())).collect();
        let file = ImageFile::sign(&manifest, &key()).unwrap();
        let bytes = file.encode();
        prop_assert_eq!(&ImageFile::decode(&bytes).unwrap(), &file);
        prop_assert_eq!(file.manifest().unwrap(), manifest);
        prop_assert_eq!(ImageFile::decode_head(&bytes).unwrap(), Some(file.head.clone()));
        let head = file.head.encode();
        prop_assert_eq!(ImageFile::decode_head(&bytes[..15 + head.len()]).unwrap(), None);
        prop_assert_eq!(SignedHead::decode(&head).unwrap(), file.head);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), which in 0usize..4) {
        let magic = [&b"KWIMAG\x01\n"[..], b"KWHEAD\x01\n", b"KWMASK\x01\n", b""][which];
        bytes.splice(..magic.len().min(bytes.len()), magic.iter().copied());
        let _ = ImageFile::decode(&bytes);
        let _ = ImageFile::decode_head(&bytes);
        let _ = SignedHead::decode(&bytes);
        let _ = decode_mask(&bytes);
    }
}
