//! What the administrator reads.

use std::time::Duration;

use klonwerk::activation::hardware::HardwareIdentity;
use klonwerk::cli::image::{self, Output};
use klonwerk::image::{Hash, KeyChannel, WindowsFacts};
use klonwerk::packs::{CaptureOptions, ImageStore, SigningKeyFile};
use klonwerk::room::Language;

use crate::capture::options;
use crate::disks::{MemoryDisk, ntfs_volume, plain_disk, uefi_disk};

/// What a command prints, without what differs from time to time.
fn screen(language: Language, json: bool, command: impl FnOnce(&mut Output<'_>) -> anyhow::Result<()>) -> String {
    let mut out = Vec::new();
    command(&mut Output { out: &mut out, language, json }).unwrap();
    String::from_utf8(out).unwrap()
}

fn capture(store: &ImageStore, disk: Vec<u8>, options: &CaptureOptions, language: Language) -> String {
    let key = SigningKeyFile::open_or_create(&tempfile::tempdir().unwrap().path().join("key")).unwrap();
    let text = screen(language, false, |to| image::capture(store, &key, &MemoryDisk::new(disk), options, &|_| (), to));
    let (before, after) = text.split_once("), ").unwrap();
    let (_, after) = after.split_once(" s.").unwrap();
    format!("{before}), … s.{after}")
}

fn without_roots(store: &ImageStore, text: &str) -> String {
    let roots: Vec<String> = store.list().iter().map(|image| image.root.to_string()).collect();
    roots.iter().fold(text.to_owned(), |text, root| text.replace(root, "ROOT").replace(&root[..12], "ROOT--------"))
}

#[test]
fn captures_and_lists_are_readable_in_both_languages() {
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::open(folder.path()).unwrap();
    let list = |language| without_roots(&store, &screen(language, false, |to| image::list(&store, to)));
    insta::assert_snapshot!([Language::De, Language::En].map(list).concat());
    let facts = WindowsFacts {
        build: Some(26_100),
        product: Some("Windows 11 Education".to_owned()),
        edition: Some("Education".to_owned()),
        generalized: Some(false),
        key_channel: Some(KeyChannel::Gvlk),
        ..WindowsFacts::default()
    };
    let known = CaptureOptions { facts, ..options("win11@2026-11") };
    let mut said = capture(&store, plain_disk(1, 3_000_000), &known, Language::De);
    said += &capture(&store, plain_disk(1, 3_100_000), &options("win10@1"), Language::En);
    insta::assert_snapshot!(said);
    store.tag(&"win11".parse().unwrap(), &"tested".parse().unwrap(), Some(&"2026-11".parse().unwrap())).unwrap();
    insta::assert_snapshot!([Language::De, Language::En].map(list).concat());
    let show = |language| {
        let text = screen(language, false, |to| image::show(&store, &"win11@tested".parse().unwrap(), to));
        without_roots(&store, &text)
    };
    insta::assert_snapshot!([Language::De, Language::En].map(show).join("\n"));
}

#[test]
fn a_capture_asks_for_the_facts_that_it_could_not_read() {
    let Some(volume) = ntfs_volume(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::open(folder.path()).unwrap();
    let text = capture(&store, uefi_disk(&volume), &options("a@1"), Language::De);
    let (_, hints) = text.split_once('\n').unwrap();
    insta::assert_snapshot!(hints);
}

#[test]
fn verification_and_cleaning_up_say_what_they_did() {
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&folder.path().join("store")).unwrap();
    capture(&store, plain_disk(1, 3_000_000), &options("a@1"), Language::En);
    let verify = |language, good: bool| {
        screen(language, false, |to| {
            assert_eq!(image::verify(&store, None, 2, &|_| (), to)?, good);
            Ok(())
        })
    };
    insta::assert_snapshot!([Language::De, Language::En].map(|language| verify(language, true)).concat());
    let packs = folder.path().join("store/packs");
    let pack = std::fs::read_dir(&packs).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let damaged = [Language::De, Language::En].map(|language| verify(language, false)).concat();
    let short: Vec<&str> = damaged.split(' ').map(|word| word.get(..64).map_or(word, |_| "HASH")).collect();
    insta::assert_snapshot!(short.join(" "));
    store.delete(&"a@1".parse().unwrap()).unwrap();
    let now = "2026-12-01T00:00:00Z".parse().unwrap();
    let mut said = screen(Language::De, false, |to| image::gc(&store, Duration::from_secs(86_400), now, to));
    said += &screen(Language::En, false, |to| image::gc(&store, Duration::ZERO, now, to));
    insta::assert_snapshot!(said);
}

#[test]
fn json_has_the_same_facts() {
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::open(folder.path()).unwrap();
    capture(&store, plain_disk(1, 3_000_000), &options("a@1"), Language::En);
    let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let list = parse(screen(Language::De, true, |to| image::list(&store, to)));
    assert_eq!(list[0]["header"]["image"], "a@1");
    assert_eq!(list[0]["tags"][0], "newest");
    let shown = parse(screen(Language::De, true, |to| image::show(&store, &"a".parse().unwrap(), to)));
    assert_eq!(shown, list[0]);
    let verified = parse(screen(Language::De, true, |to| image::verify(&store, None, 1, &|_| (), to).map(|_| ())));
    assert_eq!(verified["faults"], serde_json::json!([]));
    let now = "2026-12-01T00:00:00Z".parse().unwrap();
    let cleaned = parse(screen(Language::De, true, |to| image::gc(&store, Duration::ZERO, now, to)));
    assert_eq!(cleaned["images"], 1);
}

#[test]
fn an_image_that_serves_few_pcs_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::open(folder.path()).unwrap();
    let pc = HardwareIdentity(Hash([0xab; 32]));
    let facts = WindowsFacts { oem_vendor: Some("DELL".to_owned()), bound_to: Some(pc), ..WindowsFacts::default() };
    capture(&store, plain_disk(1, 3_000_000), &CaptureOptions { facts, ..options("win7@1") }, Language::En);
    let list = |language| screen(language, false, |to| image::list(&store, to));
    assert!(list(Language::En).contains("?, OEM DELL, only PC abababababab"), "{}", list(Language::En));
    assert!(list(Language::De).contains("?, OEM DELL, nur PC abababababab"), "{}", list(Language::De));
    let show = |language| screen(language, false, |to| image::show(&store, &"win7".parse().unwrap(), to));
    for (language, vendor, only) in
        [(Language::En, "OEM vendor", "Only for PC"), (Language::De, "OEM-Hersteller", "Nur für PC")]
    {
        let text = show(language);
        let line =
            |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default().to_owned();
        assert!(line(vendor).ends_with("DELL"), "{text}");
        assert!(line(only).ends_with(&pc.to_string()), "{text}");
    }
}
