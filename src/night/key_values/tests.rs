use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

/// No real key, and none that is published.
const MAK: &str = "QWMBH-7TGXC-P4RDV-K9YFJ-3V66T";
const GVLK: &str = "NW6C2-QMPVW-D7KKK-3GKT6-VCFB2";

fn name() -> KeyName {
    "mak-win11".parse().expect("a name")
}

fn key(kind: KeyKind, source: KeySource) -> Key {
    Key { kind, edition: None, source, budget: None, reserve: 0 }
}

fn mak(source: KeySource) -> Key {
    key(KeyKind::Mak, source)
}

/// A folder with a private file in it.
fn kept(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("mak-win11");
    fs::write(&path, bytes).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    (folder, path)
}

fn from_file(bytes: &[u8]) -> Result<ProductKey, KeyValueError> {
    let (_folder, path) = kept(bytes);
    value(&name(), &mak(KeySource::File(path)), &Sources::default())
}

#[test]
fn a_key_is_taken_from_each_place() {
    let (folder, path) = kept(MAK.as_bytes());
    let sources = Sources {
        credentials: Some(folder.path().to_owned()),
        environment: BTreeMap::from([("MAK".to_owned(), Secret::new(MAK.to_owned()))]),
    };
    let places =
        [KeySource::File(path), KeySource::Credential("mak-win11".into()), KeySource::Environment("MAK".into())];
    for source in places {
        let key = mak(source);
        assert_eq!(value(&name(), &key, &sources).expect("read").expose(), MAK);
        assert_eq!(partial(&name(), &key, &sources).expect("read"), "3V66T");
    }
    let in_image = mak(KeySource::InImage { partial: "3V66T".into() });
    assert_eq!(partial(&name(), &in_image, &sources).expect("known"), "3V66T");
    assert!(matches!(value(&name(), &in_image, &sources), Err(KeyValueError::NotHere(_))));
    let firmware = key(KeyKind::Oem, KeySource::Firmware);
    assert!(matches!(partial(&name(), &firmware, &sources), Err(KeyValueError::NotHere(_))));
}

#[test]
fn what_editors_leave_around_a_key_does_not_matter() {
    let forms = [format!("{MAK}\n"), format!("\u{feff}{MAK}\r\n"), format!("  {} \n\n", MAK.to_lowercase())];
    for text in forms {
        assert_eq!(from_file(text.as_bytes()).expect("read").expose(), MAK, "{text:?}");
    }
}

#[test]
fn anything_else_is_no_key() {
    let two = format!("{MAK}\n{MAK}\n");
    let note = format!("{MAK}\nremember to order more\n");
    let long = format!("{MAK}{}", " ".repeat(MOST_BYTES));
    let utf16: Vec<u8> = MAK.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [b"".as_slice(), b"\n", b"hunter2", two.as_bytes(), note.as_bytes(), long.as_bytes(), &utf16] {
        let error = from_file(bytes).expect_err("refused");
        assert!(matches!(error, KeyValueError::NotAKey(_)), "{error}");
        assert!(!format!("{error} {error:?}").contains("QWMBH"));
    }
    // A file without an end is read no further than a key is long.
    let endless = mak(KeySource::Credential("zero".into()));
    let folder = tempfile::tempdir().expect("folder");
    symlink("/dev/zero", folder.path().join("zero")).expect("link");
    let sources = Sources { credentials: Some(folder.path().to_owned()), ..Sources::default() };
    assert!(matches!(value(&name(), &endless, &sources), Err(KeyValueError::NoPlainFile { .. })));
}

#[test]
fn a_file_that_others_can_use_is_refused() {
    let (folder, path) = kept(MAK.as_bytes());
    let key = mak(KeySource::File(path.clone()));
    for mode in [0o640, 0o604, 0o620, 0o610] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        let error = value(&name(), &key, &Sources::default()).expect_err("refused");
        assert!(matches!(error, KeyValueError::OpenFile { .. }), "{mode:o}: {error}");
    }
    // A link is followed, and its target's mode counts.
    let link = folder.path().join("link");
    symlink(&path, &link).expect("link");
    let linked = mak(KeySource::File(link));
    assert!(matches!(value(&name(), &linked, &Sources::default()), Err(KeyValueError::OpenFile { .. })));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("chmod");
    assert_eq!(value(&name(), &linked, &Sources::default()).expect("read").expose(), MAK);

    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(65_534), None).expect("chown");
        let error = value(&name(), &linked, &Sources::default()).expect_err("refused");
        assert!(matches!(error, KeyValueError::ForeignFile { owner: 65_534, .. }), "{error}");
    }
}

#[test]
fn places_that_are_not_there_are_named() {
    let none = Sources::default();
    let missing = mak(KeySource::File("/no/such/file".into()));
    let error = value(&name(), &missing, &none).expect_err("refused");
    assert!(error.to_string().contains("/no/such/file") && matches!(error, KeyValueError::File { .. }));
    let folder = mak(KeySource::File("/".into()));
    assert!(matches!(value(&name(), &folder, &none), Err(KeyValueError::NoPlainFile { .. })));
    let credential = mak(KeySource::Credential("x".into()));
    assert!(matches!(value(&name(), &credential, &none), Err(KeyValueError::NoCredentials(_))));
    let variable = mak(KeySource::Environment("X".into()));
    assert!(matches!(value(&name(), &variable, &none), Err(KeyValueError::NoVariable { .. })));
    let sources = Sources { credentials: Some("/tmp".into()), ..none };
    for path in ["../etc/passwd", "/etc/passwd", ".."] {
        let outside = mak(KeySource::Credential(path.into()));
        assert!(matches!(value(&name(), &outside, &sources), Err(KeyValueError::CredentialName(_))), "{path}");
    }
}

#[test]
fn a_value_has_to_be_what_the_profile_says() {
    let sources = |text: &str| Sources {
        environment: BTreeMap::from([("K".to_owned(), Secret::new(text.to_owned()))]),
        ..Sources::default()
    };
    let read = |kind, text| value(&name(), &key(kind, KeySource::Environment("K".into())), &sources(text));
    assert_eq!(read(KeyKind::Gvlk, GVLK).expect("public").partial(), "VCFB2");
    assert_eq!(read(KeyKind::Retail, MAK).expect("retail").partial(), "3V66T");
    for declared in [KeyKind::Mak, KeyKind::Retail] {
        let error = read(declared, GVLK).expect_err("refused");
        assert!(matches!(error, KeyValueError::Published { .. }), "{error}");
        assert!(error.to_string().contains(declared.name()));
    }
    let error = read(KeyKind::Gvlk, MAK).expect_err("refused");
    assert!(matches!(error, KeyValueError::NotPublished(_)), "{error}");
    assert!(error.to_string().contains(GVLK_PAGE) && !error.to_string().contains("QWMBH"));
}
