//! The disks of a PC as Linux shows them.

use std::fs;
use std::io;
use std::path::Path;

use crate::agent::imaging::target::DiskFacts;
use crate::disk::usage::{DeviceNumber, KernelView};

/// The kernel's unit for the sizes in sysfs, whatever the disk's sectors are.
const SIZE_UNIT: u64 = 512;

/// All disks of this PC, by name. What is no piece of hardware (loop, RAM, RAID, mapper) is left out.
pub fn disks(view: &KernelView) -> io::Result<Vec<DiskFacts>> {
    let mut disks = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(view.sys.join("block"))?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let directory = fs::canonicalize(entry.path())?;
        let hidden = text(&directory.join("hidden")).is_some_and(|hidden| hidden != "0");
        // eMMC shows its boot areas as disks of their own.
        let area = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
        if directory.join("device").exists() && !hidden && !area {
            disks.extend(facts(view, &name, &directory));
        }
    }
    Ok(disks)
}

/// `None`: an empty drive.
fn facts(view: &KernelView, name: &str, directory: &Path) -> Option<DiskFacts> {
    let device = directory.join("device");
    let bytes = text(&directory.join("size"))?.parse::<u64>().ok()?.checked_mul(SIZE_UNIT)?;
    if bytes == 0 {
        return None;
    }
    let flag = |file: &str| text(&directory.join(file)).is_some_and(|value| value != "0");
    let card = text(&device.join("type")).is_some_and(|kind| kind == "SD");
    // The kernel tells of a USB port or a PCI slot whether what is in it can be unplugged.
    let plug =
        directory.ancestors().skip(1).any(|parent| text(&parent.join("removable")).is_some_and(|v| v == "removable"));
    let in_use = text(&directory.join("dev"))
        .and_then(|number| number.parse::<DeviceNumber>().ok())
        .and_then(|number| view.user_of(number));
    Some(DiskFacts {
        path: Path::new("/dev").join(name.replace('!', "/")),
        bytes,
        bus: bus(directory).to_owned(),
        serial: serial(directory),
        model: text(&device.join("model")),
        removable: flag("removable") || card || plug,
        read_only: flag("ro"),
        in_use,
    })
}

/// The bus by the devices above the disk; USB wins, since a USB bridge may show a SATA disk behind it.
fn bus(directory: &Path) -> &'static str {
    let parts: Vec<String> = directory.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let above = |name: &str| {
        let numbered =
            |part: &String| part.strip_prefix(name).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        parts.iter().any(numbered)
    };
    ["usb", "nvme", "virtio", "mmc", "ata"]
        .into_iter()
        .find(|name| above(name))
        .map_or("scsi", |name| if name == "ata" { "sata" } else { name })
}

fn serial(directory: &Path) -> Option<String> {
    let device = directory.join("device");
    let plain = text(&device.join("serial")).or_else(|| text(&directory.join("serial")));
    plain.or_else(|| {
        // SCSI vital product data, page 0x80: four bytes of head, then the number.
        let page = fs::read(device.join("vpd_pg80")).ok()?;
        let number = String::from_utf8_lossy(page.get(4..)?).trim_matches(['\0', ' ']).to_owned();
        (!number.is_empty()).then_some(number)
    })
}

fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn put(root: &Path, file: &str, text: &[u8]) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn add(sys: &Path, place: &str, dev: &str, gib: u64) {
        let name = place.rsplit('/').next().unwrap();
        put(sys, &format!("{place}/size"), format!("{}\n", gib * 2 * 1024 * 1024).as_bytes());
        for (file, value) in [("dev", dev), ("removable", "0"), ("ro", "0")] {
            put(sys, &format!("{place}/{file}"), format!("{value}\n").as_bytes());
        }
        for folder in ["block", "dev/block"] {
            fs::create_dir_all(sys.join(folder)).unwrap();
        }
        symlink(sys.join(place), sys.join("block").join(name)).unwrap();
        symlink(sys.join(place), sys.join("dev/block").join(dev)).unwrap();
    }

    #[test]
    fn sysfs_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path().join("sys");
        let sata = "devices/pci0/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda";
        add(&sys, sata, "8:0", 500);
        put(&sys, &format!("{sata}/device/model"), b"Samsung SSD 860 \n");
        put(&sys, &format!("{sata}/device/vpd_pg80"), b"\0\x80\0\x14     S3Z9NB0K123456A");
        let usb = "devices/pci0/usb2/2-1/host3/target3:0:0/3:0:0:0/block/sdb";
        add(&sys, usb, "8:16", 32);
        put(&sys, &format!("{usb}/device/model"), b"Stick\n");
        let nvme = "devices/pci0/0000:01:00.0/nvme/nvme0/nvme0n1";
        add(&sys, nvme, "259:0", 256);
        put(&sys, &format!("{nvme}/device/serial"), b"  NV1  \n");
        put(&sys, &format!("{nvme}/nvme0n1p1/partition"), b"1\n");
        put(&sys, &format!("{nvme}/nvme0n1p1/dev"), b"259:1\n");
        let dock = "devices/pci0/0000:05:00.0/nvme/nvme1/nvme1n1";
        add(&sys, dock, "259:8", 256);
        put(&sys, &format!("{dock}/device/model"), b"Dock\n");
        put(&sys, "devices/pci0/0000:05:00.0/removable", b"removable\n");
        let card = "devices/pci0/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0";
        add(&sys, card, "179:0", 16);
        put(&sys, &format!("{card}/device/type"), b"SD\n");
        add(&sys, "devices/virtual/block/loop0", "7:0", 1);
        let empty = "devices/pci0/0000:00:17.0/ata2/host1/target1:0:0/1:0:0:0/block/sr0";
        add(&sys, empty, "11:0", 0);
        put(&sys, &format!("{empty}/device/model"), b"DVD\n");
        let proc = folder.path().join("proc");
        put(&proc, "self/mountinfo", b"27 1 259:1 / /boot rw - vfat /dev/none rw\n");

        let disks = disks(&KernelView { proc, sys }).unwrap();
        let disk = |path: &str, gib: u64, bus: &str| DiskFacts {
            path: path.into(),
            bytes: gib << 30,
            bus: bus.to_owned(),
            ..DiskFacts::default()
        };
        let some = |text: &str| Some(text.to_owned());
        let mmc = DiskFacts { removable: true, ..disk("/dev/mmcblk0", 16, "mmc") };
        let nvme =
            DiskFacts { serial: some("NV1"), in_use: some("mounted at /boot"), ..disk("/dev/nvme0n1", 256, "nvme") };
        let dock = DiskFacts { model: some("Dock"), removable: true, ..disk("/dev/nvme1n1", 256, "nvme") };
        let sata = DiskFacts {
            serial: some("S3Z9NB0K123456A"),
            model: some("Samsung SSD 860"),
            ..disk("/dev/sda", 500, "sata")
        };
        let stick = DiskFacts { model: some("Stick"), ..disk("/dev/sdb", 32, "usb") };
        assert_eq!(disks, [mmc, nvme, dock, sata, stick]);
    }
}
