//! Registry hives: what the simulation writes, the reader reads; damage never does harm.

#![cfg(test)]

use klonwerk::image::hive::{Hive, HiveError, Value, windows_facts};
use klonwerk::image::{KeyChannel, WindowsFacts};
use klonwerk::sim::volume::hive::HiveBuilder;
use proptest::prelude::*;

const VERSION: &str = r"Microsoft\Windows NT\CurrentVersion";

fn software() -> HiveBuilder {
    HiveBuilder::new()
        .text(VERSION, "CurrentBuildNumber", "26100")
        .text(VERSION, "EditionID", "Education")
        .text(VERSION, "ProductName", "Windows 10 Education")
        .text(r"Microsoft\Windows\CurrentVersion\Setup\State", "ImageState", "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE")
        .number(&format!(r"{VERSION}\SoftwareProtectionPlatform"), "SkipRearm", 1)
        .value(VERSION, "DigitalProductId4", 3, product_id("Volume:MAK"))
}

fn product_id(channel: &str) -> Vec<u8> {
    let mut id = vec![0; 0x4f8];
    let channel: Vec<u8> = channel.encode_utf16().flat_map(u16::to_le_bytes).collect();
    id[0x3f8..0x3f8 + channel.len()].copy_from_slice(&channel);
    id
}

fn system() -> HiveBuilder {
    HiveBuilder::new().number(r"Setup\Status\SysprepStatus", "GeneralizationState", 7)
}

#[test]
fn a_hive_reads_as_it_was_written() {
    let long: Vec<u8> = (0..50_000u32).map(|i| (i * 7 % 251) as u8).collect();
    let mut hive = HiveBuilder::new()
        .value("", "", 11, 77u64.to_le_bytes().to_vec())
        .text("Größe", "Wert", "Ü")
        .text("Ключ", "Имя", "значение")
        .value(r"a\b\c", "long", 3, long.clone())
        .value(r"a\b\c", "short", 3, vec![1, 2, 3])
        .key(r"a\empty");
    for i in 0..1800 {
        hive = hive.number(&format!(r"many\{{{i:08x}}}"), "i", i);
    }
    let bytes = hive.build();
    let hive = Hive::parse(&bytes).unwrap();
    assert_eq!(hive.value("", ""), Some(Value::Long(77)));
    assert_eq!(hive.value("GRÖßE", "wert"), Some(Value::Text("Ü".to_owned())));
    assert_eq!(hive.value("ключ", "ИМЯ"), Some(Value::Text("значение".to_owned())));
    assert_eq!(hive.value(r"A\B\C", "LONG"), Some(Value::Other { kind: 3, bytes: long }));
    assert_eq!(hive.value(r"a\b\c", "short"), Some(Value::Other { kind: 3, bytes: vec![1, 2, 3] }));
    for i in [0, 499, 500, 1799] {
        assert_eq!(hive.value(&format!(r"many\{{{i:08X}}}"), "i"), Some(Value::Number(i)));
    }
    for (path, name) in [("a", "x"), (r"a\empty", "x"), (r"a\b\d", "short"), ("many", "i"), (r"many\x", "i")] {
        assert_eq!(hive.value(path, name), None, "{path} {name}");
    }
    assert_eq!(Hive::parse(&bytes[..4000]).unwrap_err(), HiveError::NotAHive);
    assert_eq!(Hive::parse(&[0; 8192]).unwrap_err(), HiveError::NotAHive);
}

#[test]
fn facts_come_from_the_hives() {
    let (software, system) = (software().build(), system().build());
    let facts = windows_facts(Some(&software), Some(&system));
    let expected = WindowsFacts {
        build: Some(26100),
        edition: Some("Education".to_owned()),
        product: Some("Windows 11 Education".to_owned()),
        generalized: Some(true),
        skip_rearm: Some(true),
        key_channel: Some(KeyChannel::Mak),
        firmware: None,
        ..WindowsFacts::default()
    };
    assert_eq!(facts, expected);
    assert_eq!(windows_facts(Some(&software), None), expected);
    assert_eq!(windows_facts(None, Some(&system)), WindowsFacts::default());
    assert_eq!(windows_facts(Some(&system), Some(&software)), WindowsFacts::default());
    let stuck = HiveBuilder::new().number(r"Setup\Status\SysprepStatus", "GeneralizationState", 3).build();
    assert_eq!(windows_facts(Some(&software), Some(&stuck)).generalized, None);
}

#[test]
fn an_installation_that_was_never_generalized_is_known_as_such() {
    let software = HiveBuilder::new()
        .text(VERSION, "CurrentBuild", "19045")
        .text(VERSION, "ProductName", "Windows 10 Pro")
        .text(r"Microsoft\Windows\CurrentVersion\Setup\State", "ImageState", "IMAGE_STATE_COMPLETE")
        .value(VERSION, "DigitalProductId4", 3, product_id("OEM:DM"))
        .build();
    let facts = windows_facts(Some(&software), Some(&system().build()));
    assert_eq!(facts.product.as_deref(), Some("Windows 10 Pro"));
    assert_eq!((facts.build, facts.generalized, facts.skip_rearm), (Some(19045), Some(false), Some(false)));
    assert_eq!(facts.key_channel, Some(KeyChannel::Oem));
}

#[test]
fn other_readers_agree() {
    let found = ["/usr/bin/hivexsh", "/bin/hivexsh"].into_iter().find(|path| std::path::Path::new(path).is_file());
    let Some(hivexsh) = found else {
        eprintln!("skipped: hivexsh is not installed (Debian package libhivex-bin)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("SOFTWARE");
    std::fs::write(&path, software().build()).unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, format!("cd {VERSION}\nlsval EditionID\n")).unwrap();
    let output = std::process::Command::new(hivexsh).arg("-f").arg(&script).arg(&path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "Education");
}

proptest! {
    #[test]
    fn damage_never_does_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), cut in any::<prop::sample::Index>(), cuts: bool) {
        let mut bytes = software().build();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = windows_facts(Some(&bytes), Some(&bytes));
    }

    #[test]
    fn no_bytes_do_harm(mut bytes in prop::collection::vec(any::<u8>(), 4096..9000), root in 0u32..5000) {
        bytes[..4].copy_from_slice(b"regf");
        bytes[36..40].copy_from_slice(&root.to_le_bytes());
        let _ = windows_facts(Some(&bytes), Some(&bytes));
    }
}
