//! Who uses a block device: mounts, swap, layers above it, and programs that have it open for writing.

use std::collections::BTreeSet;
use std::fs;
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where the kernel tells what it knows. Tests hand in trees of their own.
#[derive(Debug, Clone)]
pub struct KernelView {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
}

impl Default for KernelView {
    fn default() -> Self {
        Self { proc: PathBuf::from("/proc"), sys: PathBuf::from("/sys") }
    }
}

/// A device number, as `major:minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceNumber(pub u32, pub u32);

impl DeviceNumber {
    /// The device behind a path to a block device; `None` for anything else.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        metadata.file_type().is_block_device().then(|| {
            let number = metadata.st_rdev();
            Self(rustix::fs::major(number), rustix::fs::minor(number))
        })
    }
}

/// A text that is no device number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a device number such as 8:0")]
pub struct NotADeviceNumber(String);

impl FromStr for DeviceNumber {
    type Err = NotADeviceNumber;

    fn from_str(text: &str) -> Result<Self, NotADeviceNumber> {
        let parts =
            text.trim().split_once(':').and_then(|(major, minor)| Some(Self(major.parse().ok()?, minor.parse().ok()?)));
        parts.ok_or_else(|| NotADeviceNumber(text.to_owned()))
    }
}

impl std::fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

impl KernelView {
    /// What uses the device or, for a whole disk, one of its partitions; as text for a person. `None`: nothing does.
    pub fn user_of(&self, device: DeviceNumber) -> Option<String> {
        let family = self.family(device);
        self.holder(&family).or_else(|| self.mount(&family)).or_else(|| self.swap(&family))
    }

    /// A program that has the device or one of its partitions open for writing. `None`: none does, or only programs that
    /// this one may not look into.
    pub fn writer_of(&self, device: DeviceNumber) -> Option<String> {
        let family: BTreeSet<DeviceNumber> = self.family(device).into_iter().map(|(number, _)| number).collect();
        for process in fs::read_dir(&self.proc).ok()?.flatten() {
            let Ok(handles) = fs::read_dir(process.path().join("fd")) else { continue };
            for handle in handles.flatten() {
                if !DeviceNumber::of(&handle.path()).is_some_and(|number| family.contains(&number)) {
                    continue;
                }
                let info = fs::read_to_string(process.path().join("fdinfo").join(handle.file_name()));
                if info.is_ok_and(|text| opened_for_writing(&text)) {
                    let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                    return Some(format!("process {} ({})", process.file_name().to_string_lossy(), name.trim()));
                }
            }
        }
        None
    }

    /// The device and its partitions, each with its directory in sysfs.
    fn family(&self, device: DeviceNumber) -> Vec<(DeviceNumber, PathBuf)> {
        let own = self.sys.join("dev/block").join(device.to_string());
        let own = fs::canonicalize(&own).unwrap_or(own);
        let mut family = vec![(device, own.clone())];
        for entry in fs::read_dir(&own).into_iter().flatten().flatten() {
            let directory = entry.path();
            if !directory.join("partition").exists() {
                continue;
            }
            let number = fs::read_to_string(directory.join("dev")).ok().and_then(|text| text.parse().ok());
            if let Some(number) = number {
                family.push((number, directory));
            }
        }
        family
    }

    fn holder(&self, family: &[(DeviceNumber, PathBuf)]) -> Option<String> {
        family.iter().find_map(|(_, directory)| {
            let holder = fs::read_dir(directory.join("holders")).ok()?.flatten().next()?;
            Some(format!("{} is built on it", holder.file_name().to_string_lossy()))
        })
    }

    fn mount(&self, family: &[(DeviceNumber, PathBuf)]) -> Option<String> {
        let mounts = fs::read_to_string(self.proc.join("self/mountinfo")).ok()?;
        mounts.lines().find_map(|line| {
            let (front, back) = line.split_once(" - ")?;
            let mut fields = front.split(' ').skip(2);
            let number = fields.next()?.parse().ok();
            let place = fields.nth(1)?;
            // A btrfs mount shows a number of its own, so that its source is looked at too.
            let source = back.split(' ').nth(1).and_then(|source| DeviceNumber::of(Path::new(source)));
            let ours = |found: Option<DeviceNumber>| family.iter().any(|(number, _)| Some(*number) == found);
            (ours(number) || ours(source)).then(|| format!("mounted at {place}"))
        })
    }

    fn swap(&self, family: &[(DeviceNumber, PathBuf)]) -> Option<String> {
        let swaps = fs::read_to_string(self.proc.join("swaps")).ok()?;
        swaps.lines().skip(1).find_map(|line| {
            let path = line.split_whitespace().next()?;
            let number = DeviceNumber::of(Path::new(path))?;
            family.iter().any(|(own, _)| *own == number).then(|| format!("swap at {path}"))
        })
    }
}

fn opened_for_writing(fdinfo: &str) -> bool {
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).is_some_and(|flags| flags & 0o3 != 0)
}
