//! Profiles through the public surface: the sample school, sets with faults, and whatever bytes a file can hold.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

use std::fs;
use std::path::{Path, PathBuf};

use klonwerk::activation::Strategy;
use klonwerk::cli;
use klonwerk::profile::faults::MOST_FAULTS;
use klonwerk::profile::load::{Checked, check, load};
use klonwerk::profile::{Hook, schema};
use klonwerk::room::Language;
use proptest::prelude::*;
use tempfile::TempDir;

/// The key that stands in `broken/product-key`, made up of the alphabet of keys.
const KEY: &str = "BCDFG-HJKMP-QRTVW-XY234-6789B";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy");
        }
    }
}

/// The minimal set with the files of an overlay put over it.
fn set(overlay: Option<&str>) -> TempDir {
    let dir = tempfile::tempdir().expect("folder");
    copy(&root().join("tests/profiles/minimal"), dir.path());
    if let Some(overlay) = overlay {
        copy(&root().join("tests/profiles/broken").join(overlay), dir.path());
    }
    if let Ok(list) = fs::read_to_string(dir.path().join(".without")) {
        for file in list.lines() {
            fs::remove_file(dir.path().join(file)).expect("file");
        }
        fs::remove_file(dir.path().join(".without")).expect("file");
    }
    dir
}

/// What `klonwerk check` would print, with the folder called `profiles`.
fn rendered(dir: &Path, language: Language) -> String {
    check(dir).faults.render(language).replace(&dir.display().to_string(), "profiles")
}

fn overlays() -> Vec<String> {
    let entries = fs::read_dir(root().join("tests/profiles/broken")).expect("folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("entry").file_name().into_string().expect("name")).collect();
    names.sort();
    names
}

fn with_snapshots(run: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("profiles/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(run);
}

#[test]
fn the_minimal_set_is_without_fault() {
    let dir = set(None);
    assert_eq!(rendered(dir.path(), Language::En), "0 errors, 0 warnings\n");
    assert!(load(dir.path()).is_ok());
}

#[test]
fn each_fault_is_shown_with_its_place_and_advice() {
    let overlays = overlays();
    assert!(overlays.len() >= 25, "{overlays:?}");
    for name in &overlays {
        let dir = set(Some(name));
        let refused = load(dir.path()).is_err();
        assert_eq!(refused, !name.starts_with("warning-"), "{name}");
        with_snapshots(|| insta::assert_snapshot!(name.clone(), rendered(dir.path(), Language::En)));
    }
}

#[test]
fn faults_speak_german_too() {
    for name in [
        "many-faults-at-once",
        "grace-on-windows-11",
        "product-key",
        "unknown-field",
        "warning-few-kms-pcs",
        "key-reserve-above-budget",
        "key-budget-on-gvlk",
        "key-kms-host",
        "bad-calendar",
        "warning-grace-over-the-summer",
    ] {
        let dir = set(Some(name));
        with_snapshots(|| insta::assert_snapshot!(format!("{name}.de"), rendered(dir.path(), Language::De)));
    }
}

#[test]
fn files_that_no_overlay_can_hold() {
    let dir = set(None);
    fs::write(dir.path().join("rooms/latin1.yaml"), b"title: ok\nimage: Gr\xfc\xdfe\n").expect("write");
    fs::write(dir.path().join("rooms/large.yaml"), vec![b' '; (1 << 20) + 1]).expect("write");
    std::os::unix::fs::symlink("loop.yaml", dir.path().join("rooms/loop.yaml")).expect("link");
    fs::create_dir(dir.path().join("rooms/folder.yaml")).expect("folder");
    with_snapshots(|| insta::assert_snapshot!("unreadable-files", rendered(dir.path(), Language::En)));
    assert!(load(&dir.path().join("nowhere")).is_err());
}

#[test]
fn a_byte_order_mark_is_no_fault() {
    let dir = set(None);
    for file in ["site.yaml", "rooms/r1.yaml"] {
        let text = fs::read_to_string(dir.path().join(file)).expect("read");
        fs::write(dir.path().join(file), format!("\u{feff}{}", text.replace('\n', "\r\n"))).expect("write");
    }
    assert_eq!(rendered(dir.path(), Language::En), "0 errors, 0 warnings\n");
}

#[test]
fn a_product_key_is_never_repeated() {
    let dir = set(Some("product-key"));
    let mut shown = String::new();
    for language in [Language::En, Language::De] {
        for json in [false, true] {
            let mut out = Vec::new();
            assert!(!cli::check::run(dir.path(), language, json, &mut out).expect("written"));
            shown.push_str(&String::from_utf8(out).expect("text"));
        }
    }
    shown.push_str(&format!("{:?}", check(dir.path())));
    let shown = shown.to_uppercase();
    for part in KEY.split('-') {
        assert!(!shown.contains(part), "{part}");
    }
}

#[test]
fn large_files_are_answered_soon() {
    let dir = set(None);
    let long = |line: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for i in 0.. {
            let line = line(i);
            if text.len() + line.len() > 1 << 18 {
                break;
            }
            text.push_str(&line);
        }
        text
    };
    let head = "image: win11\nactivation: none\ntitle: x\nmachines:\n";
    let machines = long(&|i| format!("  - {{ name: M{i}, mac: '5254{i:08x}' }}\n"));
    let hooks = long(&|i| format!("  - lock-screen-{i}\n"));
    let fields = long(&|i| format!("field-{i}: x\n"));
    let twice = long(&|_| "a: b\n".to_owned());
    let text = |name: &str, text: String| fs::write(dir.path().join("rooms").join(name), text).expect("write");
    text("r2.yaml", format!("{head}{machines}"));
    text("r3.yaml", format!("{head}  - {{ name: A, mac: '525400000a0a' }}\nhooks:\n{hooks}"));
    text("r4.yaml", fields);
    text("r5.yaml", twice);
    text("r6.yaml", "[".repeat(1 << 19));
    text("r7.yaml", "a: ".repeat(1 << 18));
    text("r8.yaml", format!("title: \"{}\"\n", "BCDFG-".repeat(1 << 17)));
    let start = std::time::Instant::now();
    assert!(load(dir.path()).is_err());
    // All of them take some two seconds; what grows with the square took more than a minute.
    assert!(start.elapsed().as_secs() < 40, "{:?}", start.elapsed());
}

#[test]
fn a_thousand_faults_are_counted() {
    let dir = set(None);
    let mut room = "title: Raum 2\nimage: win11\nactivation: none\nmachines:\n".to_owned();
    for i in 0..1000 {
        room.push_str(&format!("  - {{ name: M{i}, mac: nothing }}\n"));
    }
    fs::write(dir.path().join("rooms/r2.yaml"), room).expect("write");
    let faults = load(dir.path()).expect_err("faults");
    assert_eq!((faults.list().len(), faults.more()), (MOST_FAULTS, 1000 - MOST_FAULTS));
    assert!(faults.render(Language::En).trim_end().ends_with("correct the first 200 and check again"));
}

#[test]
fn an_image_names_the_vendor_of_its_windows() {
    let dir = set(None);
    let site = dir.path().join("site.yaml");
    let text = fs::read_to_string(&site).expect("site.yaml");
    let with = text.replace("win7: { build: 7601,", "win7: { build: 7601, oem_vendor: DELL,");
    fs::write(&site, with).expect("written");
    let images = load(dir.path()).expect("profiles").site.images;
    let vendors: Vec<_> = images.iter().map(|(name, facts)| (name.as_str(), facts.oem_vendor.as_deref())).collect();
    assert_eq!(vendors, [("volume", None), ("win11", None), ("win7", Some("DELL"))]);
}

#[test]
fn the_sample_school_can_be_used() {
    let Checked { profiles, faults } = check(&root().join("profiles"));
    assert!(!faults.refuse(), "{faults}");
    let profiles = profiles.expect("usable");
    assert_eq!(profiles.site.name, "Gymnasium Musterstadt");
    let sizes: Vec<_> = profiles.rooms.values().map(|room| (room.name.as_str(), room.machines.len())).collect();
    assert_eq!(sizes, [("lib", 6), ("r101", 30), ("r102", 12)]);
    let (room, machine) = profiles.machine_by_mac("52:54:00:65:00:1e".parse().expect("mac")).expect("machine");
    assert_eq!((room.name.as_str(), machine.name.as_str()), ("r101", "R101-LEHRER"));
    assert!(matches!(machine.strategy(room), Strategy::MakProxy { key } if key.as_str() == "mak-win11-lehrer"));
    let commands: Vec<_> = profiles.hooks(room).filter_map(|(hook, command)| Some((hook.name(), command?))).collect();
    assert_eq!(commands.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["lock-screen", "printer"]);
    assert_eq!(room.hooks.first(), Some(&Hook::ComputerName));
}

#[test]
fn check_sums_up_the_sample_school() {
    let now = "2026-11-24T12:00:00Z".parse().expect("time");
    for (language, name) in [(Language::En, "summary"), (Language::De, "summary.de")] {
        let mut out = Vec::new();
        let usable = cli::check::report(&root().join("profiles"), language, false, now, &mut out).expect("written");
        assert!(usable);
        let text = String::from_utf8(out).expect("text").replace(&root().display().to_string(), "");
        // The revision is whatever the work tree is at.
        let text: Vec<&str> = text.lines().filter(|line| !line.to_lowercase().starts_with("git")).collect();
        with_snapshots(|| insta::assert_snapshot!(name, text.join("\n")));
    }
}

#[test]
fn any_yaml_tool_reads_the_sample_school_alike() {
    for file in ["site.yaml", "rooms/r101.yaml", "rooms/r102.yaml", "rooms/lib.yaml"] {
        let text = fs::read_to_string(root().join("profiles").join(file)).expect("read");
        let theirs: serde_json::Value = serde_yaml::from_str(&text).expect(file);
        let ours: serde_json::Value = serde_saphyr::from_str(&text).expect(file);
        assert_eq!(ours, theirs, "{file}");
    }
}

#[test]
fn the_schemas_are_those_of_the_program() {
    for (file, schema) in [("site.json", schema::site()), ("room.json", schema::room())] {
        let path = root().join("profiles/schema").join(file);
        let stored = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(stored, format!("{schema:#}\n"), "write it anew with `klonwerk schema`: {}", path.display());
    }
}

#[test]
fn schemas_describe_every_field() {
    fn walk(value: &serde_json::Value, path: &str) {
        if let Some(fields) = value.get("properties").and_then(|fields| fields.as_object()) {
            for (name, field) in fields {
                // The choices of an enum, which are fields with one property, are described one level higher.
                let described = field.get("description").is_some() || value.get("description").is_some();
                assert!(described, "{path}/{name}");
            }
        }
        match value {
            serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}"))),
            serde_json::Value::Array(list) => list.iter().for_each(|value| walk(value, path)),
            _ => {}
        }
    }
    walk(&schema::schema(), "");
}

#[test]
fn the_revision_tells_changed_files() {
    let dir = set(None);
    let git = |arguments: &[&str]| {
        let status = std::process::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"])
            .arg("-C")
            .arg(dir.path())
            .args(arguments)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    let revision = || load(dir.path()).expect("usable").revision;
    assert_eq!(revision(), None);
    if !git(&["init"]) {
        // Without git there is no revision, which is what was just seen.
        return;
    }
    assert_eq!(revision(), None);
    assert!(git(&["add", "."]) && git(&["commit", "-m", "x"]));
    let clean = revision().expect("a revision");
    assert!(clean.len() == 40 && clean.bytes().all(|b| b.is_ascii_hexdigit()), "{clean}");
    fs::write(dir.path().join("README.md"), "more\n").expect("write");
    assert_eq!(revision(), Some(format!("{clean}+")));
}

/// What means something in YAML.
const YAML_SIGNS: &[u8] = b":-{}[]'\"\n\t #&*!|>%@,";

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_edit_of_a_file_breaks_the_reader(
        file in prop::sample::select(vec!["site.yaml", "rooms/r101.yaml", "rooms/lib.yaml"]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<u8>()), 1..6),
    ) {
        let dir = tempfile::tempdir().expect("folder");
        copy(&root().join("profiles"), dir.path());
        let path = dir.path().join(file);
        let mut bytes = fs::read(&path).expect("read");
        for (at, kind, byte) in edits {
            let at = at.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            match kind {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                2 if !bytes.is_empty() => bytes[at] = YAML_SIGNS[usize::from(byte) % YAML_SIGNS.len()],
                _ if !bytes.is_empty() => { bytes.remove(at); }
                _ => {}
            }
        }
        fs::write(&path, bytes).expect("write");
        let checked = check(dir.path());
        prop_assert_eq!(checked.profiles.is_none(), checked.faults.refuse());
        for language in [Language::En, Language::De] {
            prop_assert!(!checked.faults.render(language).chars().any(|c| c.is_control() && c != '\n'));
        }
    }
}
