//! The store: crashes, damage, two processes, cleaning up.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use klonwerk::image::{Hash, PackedLeaf};
use klonwerk::packs::{Access, ImageStore, LeafStore, PackError, VerifyFault};
use proptest::prelude::*;

use crate::capture::{captured, key};
use crate::disks::{noise, plain_disk};

const DAY: Duration = Duration::from_secs(86_400);

fn leaf(seed: u64) -> (Hash, PackedLeaf) {
    let raw = noise(seed, 5000);
    (Hash::of(&raw), PackedLeaf::encode(&raw).unwrap())
}

fn add(store: &LeafStore, seeds: std::ops::Range<u64>) {
    let mut writer = store.writer().unwrap();
    for seed in seeds {
        let (hash, packed) = leaf(seed);
        assert!(writer.append(&hash, &packed).unwrap());
    }
    writer.finish().unwrap();
}

fn has(store: &LeafStore, seeds: std::ops::Range<u64>) -> bool {
    seeds.into_iter().all(|seed| {
        let (hash, _) = leaf(seed);
        store.get(&hash).unwrap().is_some_and(|packed| packed.decode(&hash).unwrap() == noise(seed, 5000))
    })
}

fn small(folder: &Path) -> LeafStore {
    LeafStore::with_pack_size(folder, Access::Exclusive, 20_000).unwrap()
}

fn packs(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder.join("packs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn leaves_come_back_and_are_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = small(folder.path());
    add(&store, 0..10);
    assert!(has(&store, 0..10));
    // 5000 bytes of noise each, so four to a pack.
    assert_eq!(packs(folder.path()).len(), 3);
    let mut writer = store.writer().unwrap();
    let (hash, packed) = leaf(3);
    assert!(!writer.append(&hash, &packed).unwrap());
    let (hash, packed) = leaf(10);
    assert!(writer.append(&hash, &packed).unwrap());
    assert!(!writer.append(&hash, &packed).unwrap());
    assert_eq!(writer.finish().unwrap().leaves, 1);
    assert_eq!(store.get(&Hash::of(b"nobody")).unwrap(), None);
    assert_eq!(store.leaf_count(), 11);
    for path in packs(folder.path()) {
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), Hash::of(&fs::read(&path).unwrap()).to_string());
    }
}

#[test]
fn one_writes_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::open(folder.path()).unwrap();
    assert!(matches!(ImageStore::open(folder.path()), Err(PackError::Locked { .. })));
    let reader = ImageStore::open_as(folder.path(), Access::ReadOnly).unwrap();
    assert!(matches!(reader.leaves().writer(), Err(PackError::ReadOnly)));
    assert!(matches!(reader.gc(DAY, Timestamp::UNIX_EPOCH), Err(PackError::ReadOnly)));
    let writer = store.leaves().writer().unwrap();
    assert!(matches!(store.leaves().writer(), Err(PackError::Busy)));
    assert!(matches!(store.gc(DAY, Timestamp::UNIX_EPOCH), Err(PackError::Busy)));
    drop(writer);
    assert!(store.leaves().writer().is_ok());
    drop(store);
    assert!(ImageStore::open(folder.path()).is_ok());
}

#[test]
fn a_crash_leaves_nothing_but_an_unfinished_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = small(folder.path());
    add(&store, 0..3);
    // Two packs were closed, a third one not, and the catalogue was not written when the power went.
    let mut writer = store.writer().unwrap();
    for seed in 3..12 {
        let (hash, packed) = leaf(seed);
        writer.append(&hash, &packed).unwrap();
    }
    let unfinished = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(".unfinished-");
    assert_eq!(packs(folder.path()).iter().filter(|path| unfinished(path)).count(), 1);
    let crashed = tempfile::tempdir().unwrap();
    fs::create_dir(crashed.path().join("packs")).unwrap();
    fs::copy(folder.path().join("catalogue.kwc"), crashed.path().join("catalogue.kwc")).unwrap();
    for path in packs(folder.path()) {
        fs::copy(&path, crashed.path().join("packs").join(path.file_name().unwrap())).unwrap();
    }
    let after = small(crashed.path());
    assert!(has(&after, 0..11));
    assert_eq!(after.get(&leaf(11).0).unwrap(), None);
    assert!(!packs(crashed.path()).iter().any(unfinished));
    add(&after, 11..14);
    assert!(has(&after, 0..14));
    drop(writer);
    assert!(!packs(folder.path()).iter().any(unfinished));
}

#[test]
fn the_catalogue_is_made_again_from_the_packs() {
    let folder = tempfile::tempdir().unwrap();
    add(&small(folder.path()), 0..9);
    let path = folder.path().join("catalogue.kwc");
    let good = fs::read(&path).unwrap();
    let older = {
        add(&small(folder.path()), 9..12);
        good.clone()
    };
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    for bytes in [Vec::new(), good[..good.len() / 2].to_vec(), flipped, older] {
        fs::write(&path, bytes).unwrap();
        // Who only reads does not write.
        assert!(has(&LeafStore::open(folder.path(), Access::ReadOnly).unwrap(), 0..12));
        assert!(has(&small(folder.path()), 0..12));
        assert_ne!(fs::read(&path).unwrap(), good);
    }
    fs::remove_file(&path).unwrap();
    assert!(has(&small(folder.path()), 0..12));
    // A pack that went away takes only its own leaves along.
    fs::remove_file(&packs(folder.path())[0]).unwrap();
    let store = small(folder.path());
    let left = (0..12).filter(|seed| store.get(&leaf(*seed).0).unwrap().is_some()).count() as u64;
    assert!((8..12).contains(&left), "{left}");
    assert_eq!(store.leaf_count(), left);
}

#[test]
fn readers_see_whole_leaves_while_a_writer_appends() {
    let folder = tempfile::tempdir().unwrap();
    let store = small(folder.path());
    add(&store, 0..4);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut found = 0;
                    while !done.load(Ordering::Relaxed) {
                        found = 0;
                        for seed in 0..300 {
                            let (hash, _) = leaf(seed);
                            if let Some(packed) = store.get(&hash).unwrap() {
                                assert_eq!(packed.decode(&hash).unwrap(), noise(seed, 5000));
                                found += 1;
                            }
                        }
                    }
                    found
                })
            })
            .collect();
        add(&store, 4..300);
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() >= 4);
        }
    });
    assert!(has(&store, 0..300));
}

/// A store of one small pack, and the two leaves in it.
fn one_pack(folder: &Path) -> (PathBuf, Vec<Hash>) {
    let store = LeafStore::open(folder, Access::Exclusive).unwrap();
    let mut writer = store.writer().unwrap();
    let raws = [noise(1, 200), b"klonwerk".repeat(500)];
    for raw in &raws {
        writer.append(&Hash::of(raw), &PackedLeaf::encode(raw).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    (packs(folder).remove(0), raws.iter().map(|raw| Hash::of(raw)).collect())
}

#[test]
fn a_flipped_bit_is_never_another_leaf() {
    let folder = tempfile::tempdir().unwrap();
    let (path, leaves) = one_pack(folder.path());
    let good = fs::read(&path).unwrap();
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let catalogue = fs::read(folder.path().join("catalogue.kwc")).unwrap();
    fs::create_dir_all(folder.path().join("images")).unwrap();
    for byte in 0..good.len() {
        let mut bad = good.clone();
        bad[byte] ^= 1 << (byte % 8);
        fs::write(&path, &bad).unwrap();
        for kept in [true, false] {
            let catalogue_path = folder.path().join("catalogue.kwc");
            if kept {
                fs::write(&catalogue_path, &catalogue).unwrap()
            } else {
                fs::remove_file(&catalogue_path).unwrap()
            }
            let store = ImageStore::open(folder.path()).unwrap();
            for leaf in &leaves {
                match store.leaves().get(leaf) {
                    Ok(Some(packed)) => assert_eq!(Hash::of(&packed.decode(leaf).unwrap()), *leaf),
                    Ok(None) => assert!(!kept, "byte {byte}"),
                    Err(error) => {
                        let text = error.to_string();
                        assert!(text.contains(&name) && text.contains(&leaf.to_string()), "{text}");
                    }
                }
            }
            assert!(!store.verify(None, 2, &|_| ()).unwrap().faults.is_empty(), "byte {byte}");
        }
    }
}

#[test]
fn a_pack_that_was_cut_short_gives_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (path, leaves) = one_pack(folder.path());
    let good = fs::read(&path).unwrap();
    for len in 0..good.len() {
        fs::write(&path, &good[..len]).unwrap();
        let store = ImageStore::open(folder.path()).unwrap();
        for leaf in &leaves {
            if let Ok(Some(packed)) = store.leaves().get(leaf) {
                assert!(packed.decode(leaf).is_ok());
            }
        }
        assert!(!store.verify(None, 1, &|_| ()).unwrap().faults.is_empty(), "{len}");
    }
}

#[test]
fn verify_names_what_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::with_pack_size(folder.path(), 1 << 20).unwrap();
    captured(&store, plain_disk(1, 4_000_000), "win10@1");
    captured(&store, plain_disk(2, 2_000_000), "win11@1");
    let own = key().verifying_key();
    let report = store.verify(Some(&own), 3, &|progress| assert!(progress.done <= progress.total)).unwrap();
    assert_eq!((report.images, report.faults.as_slice()), (2, [].as_slice()));
    assert_eq!(report.leaves, store.leaves().leaf_count());
    assert_eq!(report.bytes, store.leaves().stored_bytes());

    let stranger = ed25519_dalek::SigningKey::from_bytes(&[8; 32]).verifying_key();
    let report = store.verify(Some(&stranger), 1, &|_| ()).unwrap();
    assert!(matches!(report.faults.as_slice(), [VerifyFault::Signature { .. }, VerifyFault::Signature { .. }]));

    // A bit of a leaf that only win11 has, and one of win10's file.
    let lost = *store.resolve(&"win11".parse().unwrap()).unwrap().leaves().get(60).unwrap();
    let packed = store.leaves().get(&lost).unwrap().unwrap();
    for path in packs(folder.path()) {
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(64).position(|window| *window == packed.zstd[..64]) {
            bytes[at + 32] ^= 4;
            fs::write(&path, bytes).unwrap();
        }
    }
    let image = folder.path().join("images/win10@1.kwi");
    let mut bytes = fs::read(&image).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&image, &bytes).unwrap();
    let report = store.verify(Some(&own), 2, &|_| ()).unwrap();
    let [VerifyFault::Leaf { leaf, .. }, VerifyFault::Pack { .. }, VerifyFault::Image { image, .. }, lacking] =
        report.faults.as_slice()
    else {
        panic!("{:?}", report.faults)
    };
    assert_eq!((*leaf, image.to_string()), (lost, "win10@1".to_owned()));
    assert_eq!(*lacking, VerifyFault::Lacking { image: "win11@1".parse().unwrap(), count: 1, first: lost });
    // While it is unknown what an image needs, nothing is deleted.
    assert!(matches!(store.gc(Duration::ZERO, at("2026-12-01T00:00:00Z")), Err(PackError::DamagedImage { .. })));
}

#[test]
fn names_versions_and_tags_are_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::open(folder.path()).unwrap();
    for (image, day) in [("win11@b", 1), ("win11@a", 2), ("win11@c", 2), ("win10@a", 9)] {
        let options = klonwerk::packs::CaptureOptions {
            now: at(&format!("2026-11-{day:02}T00:00:00Z")),
            ..crate::capture::options(image)
        };
        let disk = crate::disks::MemoryDisk::new(plain_disk(1, 1000));
        klonwerk::packs::capture(&disk, &options, &store, &key(), &|_| ()).unwrap();
    }
    let tag = |name: &str, version: Option<&str>| {
        let version = version.map(|version| version.parse().unwrap());
        store.tag(&"win11".parse().unwrap(), &name.parse().unwrap(), version.as_ref())
    };
    let resolve =
        |store: &ImageStore, wish: &str| store.resolve(&wish.parse().unwrap()).map(|stored| stored.image().to_string());
    tag("tested", Some("b")).unwrap();
    assert!(matches!(tag("tested", Some("x")), Err(PackError::NoSuchImage { .. })));
    assert!(matches!(tag("newest", Some("b")), Err(PackError::BadTag(_))));
    assert!(matches!(tag("a", Some("b")), Err(PackError::BadTag(_))));
    drop(store);
    let store = ImageStore::open(folder.path()).unwrap();
    for (wish, image) in [
        ("win11", "win11@c"),
        ("win11@newest", "win11@c"),
        ("win11@tested", "win11@b"),
        ("win11@a", "win11@a"),
        ("win10", "win10@a"),
    ] {
        assert_eq!(resolve(&store, wish).unwrap(), image);
    }
    let tags: Vec<_> =
        store.list().iter().map(|image| (image.header.image.to_string(), image.tags.join(","))).collect();
    let expected = [("win10@a", "newest"), ("win11@a", ""), ("win11@b", "tested"), ("win11@c", "newest")];
    assert_eq!(tags, expected.map(|(image, tags)| (image.to_owned(), tags.to_owned())));
    let error = resolve(&store, "win12").unwrap_err().to_string();
    assert!(error.contains("win10@a, win11@a"), "{error}");
    let root = store.list()[2].root;
    assert_eq!(store.by_root(&root).unwrap().unwrap().root(), root);
    assert!(store.by_root(&Hash::of(b"")).unwrap().is_none());
    store.delete(&"win11@c".parse().unwrap()).unwrap();
    store.delete(&"win11@b".parse().unwrap()).unwrap();
    assert_eq!(resolve(&store, "win11").unwrap(), "win11@a");
    assert!(resolve(&store, "win11@tested").is_err());
    assert!(store.by_root(&root).unwrap().is_none());
    assert!(matches!(store.delete(&"win11@c".parse().unwrap()), Err(PackError::NoSuchImage { .. })));
    drop(store);
    fs::write(folder.path().join("tags.json"), "nonsense").unwrap();
    assert!(matches!(ImageStore::open(folder.path()), Err(PackError::Tags { .. })));
}

#[test]
fn what_no_image_needs_goes_after_its_grace() {
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::with_pack_size(folder.path(), 1 << 20).unwrap();
    captured(&store, plain_disk(1, 8_000_000), "old@1");
    captured(&store, plain_disk(1, 2_000_000), "new@1");
    let before = store.leaves().stored_bytes();
    let nothing = store.gc(DAY, at("2026-12-01T00:00:00Z")).unwrap();
    assert_eq!((nothing.images, nothing.deleted, nothing.waiting, nothing.rewritten), (2, 0, 0, 0));
    let old = store.resolve(&"old".parse().unwrap()).unwrap();
    store.delete(old.image()).unwrap();

    let first = store.gc(DAY, at("2026-12-01T00:00:00Z")).unwrap();
    assert!(first.waiting >= 5 && first.deleted == 0, "{first:?}");
    // A PC that is being restored from the deleted image still gets its leaves, from this process and the next.
    let held =
        |store: &ImageStore| old.leaves().iter().filter(|leaf| store.leaves().get(leaf).unwrap().is_some()).count();
    let all = held(&store);
    drop(store);
    let store = ImageStore::open(folder.path()).unwrap();
    assert_eq!(held(&store), all);
    let too_early = store.gc(DAY, at("2026-12-01T23:59:59Z")).unwrap();
    assert_eq!((too_early.deleted, too_early.waiting), (0, first.waiting));

    let last = store.gc(DAY, at("2026-12-02T00:00:00Z")).unwrap();
    assert_eq!((last.deleted, last.waiting), (first.waiting, 0));
    assert!(store.leaves().stored_bytes() < before / 2);
    assert!(held(&store) < all / 2);
    assert_eq!(store.verify(None, 2, &|_| ()).unwrap().faults, []);
    drop(store);
    let store = ImageStore::open(folder.path()).unwrap();
    assert_eq!(store.verify(None, 2, &|_| ()).unwrap().faults, []);
}

#[test]
fn packs_that_are_mostly_waste_are_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    // All in one pack.
    let store = ImageStore::open(folder.path()).unwrap();
    captured(&store, plain_disk(1, 8_000_000), "old@1");
    captured(&store, plain_disk(1, 1_000_000), "new@1");
    store.delete(&"old@1".parse().unwrap()).unwrap();
    let report = store.gc(Duration::ZERO, at("2026-12-01T00:00:00Z")).unwrap();
    assert_eq!((report.rewritten, report.deleted, report.damaged), (1, 1, 0));
    assert!(report.rewritten_bytes < 2_000_000 && report.freed_bytes > 7_000_000, "{report:?}");
    assert_eq!(report.live_leaves, store.leaves().leaf_count());
    assert_eq!(store.verify(None, 2, &|_| ()).unwrap().faults, []);
    let again = store.gc(Duration::ZERO, at("2026-12-01T00:00:00Z")).unwrap();
    assert_eq!((again.rewritten, again.deleted, again.waiting), (0, 0, 0));
}

#[test]
fn a_capture_does_not_rely_on_packs_that_are_to_go() {
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::open(folder.path()).unwrap();
    captured(&store, plain_disk(1, 3_000_000), "a@1");
    store.delete(&"a@1".parse().unwrap()).unwrap();
    assert_eq!(store.gc(DAY, at("2026-12-01T00:00:00Z")).unwrap().waiting, 1);
    // The same leaves in the same order make a pack of the same name, which must not go with the old one.
    let report = captured(&store, plain_disk(1, 3_000_000), "a@2");
    assert!(report.new_leaves > 40);
    assert_eq!(store.gc(DAY, at("2026-12-09T00:00:00Z")).unwrap().deleted, 0);
    assert_eq!(store.verify(None, 1, &|_| ()).unwrap().faults, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_leaves_survive_any_reopening(
        batches in prop::collection::vec(prop::collection::vec((any::<u8>(), 1usize..20_000), 0..12), 1..5),
        pack_bytes in 1u64..60_000,
        forget in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        for batch in batches {
            let store = LeafStore::with_pack_size(folder.path(), Access::Exclusive, pack_bytes).unwrap();
            let mut writer = store.writer().unwrap();
            for (seed, len) in batch {
                let raw = noise(seed.into(), len);
                writer.append(&Hash::of(&raw), &PackedLeaf::encode(&raw).unwrap()).unwrap();
                all.push(raw);
            }
            writer.finish().unwrap();
            if forget {
                fs::remove_file(folder.path().join("catalogue.kwc")).unwrap();
            }
        }
        let store = LeafStore::open(folder.path(), Access::ReadOnly).unwrap();
        for raw in all {
            let hash = Hash::of(&raw);
            prop_assert_eq!(store.get(&hash).unwrap().unwrap().decode(&hash).unwrap(), raw);
        }
    }
}
