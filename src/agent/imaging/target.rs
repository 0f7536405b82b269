//! Which disk of a PC is written: the profile's rule, the same in every boot environment.

use std::fmt;
use std::path::PathBuf;

use crate::profile::model::DiskRule;

/// What a boot environment knows of a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskFacts {
    /// Where it is opened.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The bus, by the names of [`DiskRule::bus`]; `usb` for anything that hangs on USB, whatever it says itself.
    pub bus: String,
    /// Its serial number, if it has one.
    pub serial: Option<String>,
    /// What its maker calls it.
    pub model: Option<String>,
    /// Whether it, its medium or its plug can be taken out.
    pub removable: bool,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// What uses it now, the boot environment itself for example.
    pub in_use: Option<String>,
}

impl fmt::Display for DiskFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes, {}", self.path.display(), self.bytes, self.bus)?;
        if let Some(model) = &self.model {
            write!(f, ", {model}")?;
        }
        if let Some(serial) = &self.serial {
            write!(f, ", serial {serial}")?;
        }
        f.write_str(")")
    }
}

/// Why a disk is not the one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotThisOne {
    /// It hangs on USB.
    #[error("USB disks are never written")]
    Usb,
    /// It can be taken out.
    #[error("removable disks are never written")]
    Removable,
    /// It refuses writes.
    #[error("it is read-only")]
    ReadOnly,
    /// Something uses it.
    #[error("it is in use: {0}")]
    InUse(String),
    /// Below `min_bytes`.
    #[error("smaller than the profile allows")]
    TooSmall,
    /// Above `max_bytes`.
    #[error("larger than the profile allows")]
    TooLarge,
    /// Another bus than the profile's.
    #[error("another bus than the profile's")]
    OtherBus,
    /// Another serial number than the profile's.
    #[error("another serial number than the profile's")]
    OtherSerial,
}

/// Why no disk was chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// None fits.
    #[error("no disk fits the profile's rule{}", list(.0.iter().map(|(disk, why)| format!("{disk}: {why}"))))]
    None(Vec<(DiskFacts, NotThisOne)>),
    /// More than one fits.
    #[error(
        "{} disks fit the profile's rule, which must name one; narrow it by size, bus or serial number{}",
        .0.len(), list(.0.iter().map(DiskFacts::to_string))
    )]
    Several(Vec<DiskFacts>),
}

fn list(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| format!("; {line}")).collect()
}

/// The one disk that `rule` means.
pub fn choose<'a>(rule: &DiskRule, disks: &'a [DiskFacts]) -> Result<&'a DiskFacts, ChooseError> {
    let (fit, others): (Vec<_>, Vec<_>) =
        disks.iter().map(|disk| (disk, refusal(rule, disk))).partition(|(_, why)| why.is_none());
    match fit.as_slice() {
        [(disk, _)] => Ok(disk),
        [] => Err(ChooseError::None(others.into_iter().filter_map(|(disk, why)| Some((disk.clone(), why?))).collect())),
        several => Err(ChooseError::Several(several.iter().map(|(disk, _)| (*disk).clone()).collect())),
    }
}

fn refusal(rule: &DiskRule, disk: &DiskFacts) -> Option<NotThisOne> {
    let serial = disk.serial.as_deref().map(str::trim);
    if disk.bus == "usb" {
        Some(NotThisOne::Usb)
    } else if disk.removable {
        Some(NotThisOne::Removable)
    } else if disk.read_only {
        Some(NotThisOne::ReadOnly)
    } else if let Some(by) = &disk.in_use {
        Some(NotThisOne::InUse(by.clone()))
    } else if rule.min_bytes.is_some_and(|min| disk.bytes < min) {
        Some(NotThisOne::TooSmall)
    } else if rule.max_bytes.is_some_and(|max| disk.bytes > max) {
        Some(NotThisOne::TooLarge)
    } else if rule.bus.as_ref().is_some_and(|bus| !bus.eq_ignore_ascii_case(&disk.bus)) {
        Some(NotThisOne::OtherBus)
    } else if rule.serial.as_ref().is_some_and(|wanted| Some(wanted.trim()) != serial) {
        Some(NotThisOne::OtherSerial)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn disk(name: &str, gib: u64, bus: &str) -> DiskFacts {
        DiskFacts { path: name.into(), bytes: gib * GIB, bus: bus.into(), ..DiskFacts::default() }
    }

    #[test]
    fn one_disk_is_chosen_without_a_rule() {
        let disks = [disk("sda", 240, "sata"), disk("sdb", 32, "usb")];
        assert_eq!(choose(&DiskRule::default(), &disks).unwrap().path, PathBuf::from("sda"));
    }

    #[test]
    fn two_are_a_refusal_until_the_rule_tells_them_apart() {
        let mut disks = vec![disk("sda", 1000, "sata"), disk("nvme0n1", 240, "nvme"), disk("nvme1n1", 500, "nvme")];
        disks[2].serial = Some(" S123 ".to_owned());
        let several = choose(&DiskRule::default(), &disks).unwrap_err();
        assert!(
            several.to_string().contains("3 disks fit") && several.to_string().contains("serial  S123"),
            "{several}"
        );
        let name = |rule: DiskRule| choose(&rule, &disks).map(|disk| disk.path.to_string_lossy().into_owned());
        assert_eq!(name(DiskRule { bus: Some("SATA".to_owned()), ..DiskRule::default() }).unwrap(), "sda");
        assert_eq!(name(DiskRule { max_bytes: Some(240 * GIB), ..DiskRule::default() }).unwrap(), "nvme0n1");
        assert_eq!(name(DiskRule { min_bytes: Some(501 * GIB), ..DiskRule::default() }).unwrap(), "sda");
        assert_eq!(name(DiskRule { serial: Some("S123".to_owned()), ..DiskRule::default() }).unwrap(), "nvme1n1");
        let none = name(DiskRule { serial: Some("S124".to_owned()), ..DiskRule::default() }).unwrap_err();
        assert!(matches!(&none, ChooseError::None(all) if all.iter().all(|(_, why)| *why == NotThisOne::OtherSerial)));
    }

    #[test]
    fn some_disks_are_never_written_whatever_the_rule_says() {
        let usb = disk("sdb", 64, "usb");
        let removable = DiskFacts { removable: true, ..disk("sdc", 64, "sata") };
        let read_only = DiskFacts { read_only: true, ..disk("sdd", 64, "sata") };
        let boot = DiskFacts { in_use: Some("mounted at /".to_owned()), ..disk("sde", 64, "sata") };
        let disks = [usb, removable, read_only, boot];
        let rule = DiskRule { bus: Some("usb".to_owned()), ..DiskRule::default() };
        for rule in [rule, DiskRule::default()] {
            let ChooseError::None(others) = choose(&rule, &disks).unwrap_err() else { panic!("one was chosen") };
            let reasons: Vec<_> = others.into_iter().map(|(_, why)| why).collect();
            let in_use = NotThisOne::InUse("mounted at /".to_owned());
            assert_eq!(reasons, [NotThisOne::Usb, NotThisOne::Removable, NotThisOne::ReadOnly, in_use]);
        }
    }
}
