//! What this PC's firmware says of it, as Linux shows it: licence tables under `/sys/firmware/acpi/tables`, names under
//! `/sys/class/dmi/id`. What only root may read, and somebody else asked for, is unknown, never absent.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::identity;
use crate::activation::acpi::{self, TableFault};
use crate::activation::hardware::{Acpi, HardwareFacts, Label, Table};
use crate::disk::usage::KernelView;

/// The most that is read of a table; those that are looked for have a few hundred bytes.
const MOST: u64 = 64 * 1024;

/// All that is known of this PC's hardware.
pub fn facts(view: &KernelView) -> HardwareFacts {
    let dmi = view.sys.join("class/dmi/id");
    let text = |file: &str| fs::read_to_string(dmi.join(file)).ok();
    let label = |file: &str| text(file).map(|text| Label::new(&text)).filter(|label| !label.as_str().is_empty());
    let tables = view.sys.join("firmware/acpi/tables");
    HardwareFacts {
        acpi: Acpi { slic: table(&tables, "SLIC", acpi::slic), msdm: table(&tables, "MSDM", acpi::msdm) },
        uuid: identity::uuid(view),
        vendor: label("sys_vendor"),
        model: label("product_name"),
        board_serial: text("board_serial").and_then(|text| HardwareFacts::board_serial(&text)),
    }
}

fn table<T>(folder: &Path, name: &str, parse: impl Fn(&[u8]) -> Result<T, TableFault>) -> Table<T> {
    // Linux numbers tables of which there are several.
    for file in [name.to_owned(), format!("{name}1")] {
        match bytes(&folder.join(file)) {
            Ok(bytes) => return Table::read(&bytes, parse),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return Table::Unknown,
        }
    }
    // A folder without this table is one whose firmware has none; no folder at all is no ACPI to ask.
    let others = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if others { Table::Absent } else { Table::Unknown }
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::activation::acpi::samples;

    fn kernel() -> (tempfile::TempDir, KernelView) {
        let folder = tempfile::tempdir().unwrap();
        let view = KernelView { proc: folder.path().join("proc"), sys: folder.path().join("sys") };
        (folder, view)
    }

    fn put(view: &KernelView, file: &str, bytes: &[u8]) {
        let path = view.sys.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn tables_are_present_absent_or_unknown() {
        let (_folder, view) = kernel();
        assert_eq!(facts(&view), HardwareFacts::default(), "no ACPI: nobody knows");
        put(&view, "firmware/acpi/tables/FACP", b"FACP");
        assert_eq!(facts(&view).acpi, Acpi { slic: Table::Absent, msdm: Table::Absent });
        put(&view, "firmware/acpi/tables/SLIC", &samples::slic(b"DELL  ", Some(0x2_0001)));
        put(&view, "firmware/acpi/tables/MSDM1", &samples::msdm(b"BCDFG-HJKMP-QRTVW-XY234-6789N"));
        let found = facts(&view).acpi;
        assert!(matches!(&found.slic, Table::Present(slic) if slic.oem_id.is("DELL")), "{found:?}");
        assert!(matches!(&found.msdm, Table::Present(msdm) if msdm.has_key), "{found:?}");
        put(&view, "firmware/acpi/tables/SLIC", &vec![0xff; 200_000]);
        assert_eq!(facts(&view).acpi.slic, Table::Damaged { fault: TableFault::Signature });
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        let (_folder, view) = kernel();
        put(&view, "firmware/acpi/tables/SLIC", b"");
        let path = view.sys.join("firmware/acpi/tables/SLIC");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        // Root reads it all the same, and finds it too short.
        let as_root = fs::read(&path).is_ok();
        let expected = if as_root { Table::Damaged { fault: TableFault::CutShort } } else { Table::Unknown };
        assert_eq!(facts(&view).acpi.slic, expected);
        let _ = fs::remove_file(&path);
        fs::create_dir(&path).unwrap();
        assert_eq!(facts(&view).acpi.slic, Table::Unknown, "a table that fails to be read");
    }

    #[test]
    fn names_are_taken_from_smbios() {
        let (_folder, view) = kernel();
        put(&view, "class/dmi/id/sys_vendor", b"Dell Inc.\n");
        put(&view, "class/dmi/id/product_name", b"OptiPlex 7010\n");
        put(&view, "class/dmi/id/board_serial", b"/ABC1234/CN7220/\n");
        put(&view, "class/dmi/id/product_uuid", b"4c4c4544-0042-4a10-8052-b4c04f513233\n");
        let facts = facts(&view);
        assert_eq!(facts.vendor.as_ref().map(Label::as_str), Some("Dell Inc."));
        assert_eq!(facts.model.as_ref().map(Label::as_str), Some("OptiPlex 7010"));
        assert_eq!(facts.board_serial, HardwareFacts::board_serial("/ABC1234/CN7220/"));
        assert!(facts.identity().is_some());
        put(&view, "class/dmi/id/product_name", b"\xff\xfe");
        put(&view, "class/dmi/id/sys_vendor", b" \n");
        assert_eq!((super::facts(&view).vendor, super::facts(&view).model), (None, None));
    }
}
