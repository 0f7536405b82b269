use std::fs;
use std::sync::Arc;

use proptest::prelude::*;

use crate::boot::files::directory::scan;
use crate::boot::files::{
    BootFile, BootFiles, BootFilesError, BootScripts, BootShelf, FileSource, NoScripts, normalise,
};

#[test]
fn spellings_of_one_name_are_one_name() {
    for spelling in ["Boot/BCD", "\\Boot\\BCD", "/boot//bcd", "boot\\BCD", "\\\\boot/\\bcd/"] {
        assert_eq!(normalise(spelling).as_deref(), Some("boot/bcd"), "{spelling}");
    }
}

#[test]
fn names_that_no_file_can_have_are_unknown() {
    let long = "a".repeat(256);
    for name in ["", "/", "\\", "..", "../etc/passwd", "boot/../x", "boot\\..\\x", "./x", "a\0b", "a\nb", &long] {
        assert_eq!(normalise(name), None, "{name:?}");
    }
    assert_eq!(normalise("...").as_deref(), Some("..."));
}

proptest! {
    #[test]
    fn normalising_never_leaves_a_way_out(name in "[a-zA-Z./\\\\\0 ]{0,300}") {
        if let Some(normal) = normalise(&name) {
            let again = normalise(&normal);
            prop_assert_eq!(again.as_deref(), Some(normal.as_str()));
            prop_assert!(normal.split('/').all(|segment| !matches!(segment, "" | "." | "..")));
            prop_assert!(!normal.contains('\\'));
        }
    }
}

#[derive(Debug)]
struct OneScript;

impl BootScripts for OneScript {
    fn script(&self, name: &str) -> Option<Arc<[u8]>> {
        (name == "ipxe/52-54-00-00-00-01.ipxe").then(|| Arc::from(&b"#!ipxe\nexit\n"[..]))
    }
}

fn bytes(file: &BootFile) -> Vec<u8> {
    let mut all = vec![0; file.len as usize];
    file.content.read_exact_at(0, &mut all).unwrap();
    all
}

#[test]
fn a_folder_becomes_a_table() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("Boot/Fonts")).unwrap();
    fs::create_dir_all(folder.path().join("sources")).unwrap();
    fs::write(folder.path().join("Boot/BCD"), b"bcd").unwrap();
    fs::write(folder.path().join("Boot/Fonts/wgl4_boot.ttf"), b"font").unwrap();
    fs::write(folder.path().join("sources/boot.wim"), b"wim").unwrap();
    fs::write(folder.path().join("snponly.efi"), b"efi").unwrap();
    fs::write(folder.path().join(".half-copied"), b"no").unwrap();
    std::os::unix::fs::symlink("snponly.efi", folder.path().join("ipxe.efi")).unwrap();
    let shelf = BootShelf::new(scan(folder.path(), None).unwrap(), Arc::new(OneScript));

    assert_eq!(bytes(&shelf.open("\\Boot\\BCD").unwrap()), b"bcd");
    assert_eq!(bytes(&shelf.open("/boot/sources/BOOT.WIM").unwrap()), b"wim");
    assert_eq!(bytes(&shelf.open("ipxe.efi").unwrap()), b"efi");
    assert_eq!(shelf.open("snponly.efi").unwrap().media_type, "application/efi");
    assert_eq!(shelf.open("boot/ipxe/52-54-00-00-00-01.ipxe").unwrap().media_type, "text/plain; charset=utf-8");
    assert!(shelf.open(".half-copied").is_none());
    assert!(shelf.open("Boot").is_none());
    let names: Vec<_> = shelf.files().iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["boot/bcd", "boot/fonts/wgl4_boot.ttf", "ipxe.efi", "snponly.efi", "sources/boot.wim"]);
}

#[test]
fn one_flat_folder_answers_the_names_of_the_microsoft_chain() {
    let mut files = BootFiles::default();
    for name in ["BCD", "boot.sdi", "boot.wim", "wgl4_boot.ttf", "wimboot"] {
        files.insert(name, BootFile::from_bytes(name, name.as_bytes().into())).unwrap();
    }
    files.insert("sources/special.wim", BootFile::from_bytes("x", (*b"special").into())).unwrap();
    files.insert("special.wim", BootFile::from_bytes("x", (*b"flat").into())).unwrap();
    let shelf = BootShelf::new(files, Arc::new(NoScripts));
    let asked = [
        ("\\Boot\\BCD", "BCD"),
        ("EFI/Microsoft/Boot/BCD", "BCD"),
        ("\\boot\\boot.sdi", "boot.sdi"),
        ("\\sources\\boot.wim", "boot.wim"),
        ("/boot/sources/boot.wim", "boot.wim"),
        ("\\Boot\\Fonts\\wgl4_boot.ttf", "wgl4_boot.ttf"),
        ("/boot/wimboot", "wimboot"),
        ("/boot/sources/special.wim", "special"),
    ];
    for (name, content) in asked {
        assert_eq!(shelf.open(name).map(|file| bytes(&file)), Some(content.as_bytes().to_vec()), "{name}");
    }
    assert!(shelf.open("other/boot.wim").is_none());
    assert!(shelf.open("boot/").is_none());
}

#[test]
fn a_second_scan_takes_over_what_did_not_change_and_sees_what_did() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("same"), b"one").unwrap();
    fs::write(folder.path().join("other"), b"one").unwrap();
    let first = scan(folder.path(), None).unwrap();
    fs::write(folder.path().join("new"), b"two").unwrap();
    fs::rename(folder.path().join("new"), folder.path().join("other")).unwrap();
    let second = scan(folder.path(), Some(&first)).unwrap();
    assert!(Arc::ptr_eq(first.get("same").unwrap(), second.get("same").unwrap()));
    assert_ne!(first.get("other").unwrap().etag, second.get("other").unwrap().etag);
    assert_eq!(bytes(first.get("other").unwrap()), b"one", "a file that is being sent stays what it was");
}

#[test]
fn names_that_differ_in_case_only_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("BCD"), b"1").unwrap();
    fs::write(folder.path().join("bcd"), b"2").unwrap();
    let error = scan(folder.path(), None).unwrap_err();
    assert!(
        matches!(&error, BootFilesError::Duplicate { first, second } if first == "BCD" && second == "bcd"),
        "{error}"
    );
}

#[test]
fn links_that_leave_the_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for target in ["/etc/passwd", "missing", "/"] {
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(target, &link).unwrap();
        assert!(matches!(scan(folder.path(), None), Err(BootFilesError::Link { .. })), "{target}");
        fs::remove_file(link).unwrap();
    }
}

#[test]
fn a_shortened_file_is_an_error_not_a_short_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, vec![7; 1000]).unwrap();
    let shelf = BootShelf::new(scan(folder.path(), None).unwrap(), Arc::new(NoScripts));
    let file = shelf.open("file").unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(500).unwrap();
    let mut buffer = [0; 1000];
    assert_eq!(file.content.read_exact_at(0, &mut buffer).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(file.content.read_exact_at(400, &mut buffer[..100]).is_ok());
    assert!(file.content.read_exact_at(u64::MAX, &mut buffer[..1]).is_err());
}

#[test]
fn the_table_can_be_exchanged_while_files_are_open() {
    let mut files = BootFiles::default();
    files.insert("a.txt", BootFile::from_bytes("a.txt", Arc::from(&b"old"[..]))).unwrap();
    let shelf = BootShelf::new(files, Arc::new(NoScripts));
    let open = shelf.open("a.txt").unwrap();
    shelf.replace(BootFiles::default());
    assert!(shelf.open("a.txt").is_none());
    assert_eq!(bytes(&open), b"old");
}
