//! Whether a volume is at rest: its flags, its journal, its hibernation file.

use super::field::{u16_at, u32_at, u64_at};
use super::record::kind;
use super::stream::Stream;
use super::{FileSystem, NtfsError, damaged};

/// The record of `$LogFile`.
const LOG_FILE: u64 = 2;
/// The record of `$Volume`.
const VOLUME: u64 = 3;

/// Bit 0 of the volume's flags: Windows wants to check it.
const IS_DIRTY: u16 = 1;

pub(super) fn check_flags(files: &FileSystem<'_>) -> Result<(), NtfsError> {
    let record = files.record(VOLUME)?;
    let missing = || damaged("$Volume has no information");
    let information = files.stream(&record, kind::VOLUME_INFORMATION, "")?.ok_or_else(missing)?;
    let flags = u16_at(&files.read_all(&information, 4096)?, 10).ok_or_else(missing)?;
    if flags & IS_DIRTY != 0 { Err(NtfsError::Dirty) } else { Ok(()) }
}

pub(super) fn label(files: &FileSystem<'_>) -> Result<Option<String>, NtfsError> {
    let record = files.record(VOLUME)?;
    let Some(name) = files.stream(&record, kind::VOLUME_NAME, "")? else { return Ok(None) };
    let name = files.read_all(&name, 4096)?;
    let units = name.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    let name: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Ok((!name.is_empty()).then_some(name))
}

/// A hibernated or half-resumed memory image. ntfs-3g refuses `hibr` and `HIBR`
/// (`ntfs_volume_check_hiberfile`); Windows writes `RSTR` while it resumes and `wake` once it has, and only the last
/// of these is over.
pub(super) fn check_hibernation(files: &FileSystem<'_>, hibernation: &Stream) -> Result<(), NtfsError> {
    let mut head = [0; 4];
    if hibernation.size() < head.len() as u64 {
        return Ok(());
    }
    files.read(hibernation, 0, &mut head)?;
    match head.to_ascii_lowercase().as_slice() {
        b"hibr" | b"rstr" => Err(NtfsError::Hibernated),
        _ => Ok(()),
    }
}

/// The restart area of the journal as ntfs-3g judges it (`ntfs_check_logfile`, `ntfs_is_logfile_clean`,
/// `ntfs_volume_check_logfile`): the newer of two copies; no client in it or the clean flag set; not version 2.0, with
/// which Windows keeps metadata in its cache. An overwritten journal is a clean one.
pub(super) fn check_journal(files: &FileSystem<'_>) -> Result<(), NtfsError> {
    const NO_CLIENT: u16 = 0xffff;
    const VOLUME_IS_CLEAN: u16 = 2;
    let journal = files.data(LOG_FILE)?;
    let mut newest: Option<(u64, Restart)> = None;
    let mut seen_any = false;
    // The second copy follows the first, by one page of the system that made it.
    for offset in [0, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
        let mut page = [0; 512];
        if offset + 512 > journal.size() {
            break;
        }
        files.read(&journal, offset, &mut page)?;
        if page[..4] == [0xff; 4] {
            continue;
        }
        seen_any = true;
        if let Some((sequence, restart)) = Restart::parse(&page)
            && newest.as_ref().is_none_or(|(best, _)| sequence > *best)
        {
            newest = Some((sequence, restart));
        }
    }
    match newest {
        None if seen_any => Err(NtfsError::JournalNotClean),
        None => Ok(()),
        Some((_, restart)) if restart.version == (2, 0) => Err(NtfsError::FastStartup),
        Some((_, restart)) if restart.client != NO_CLIENT && restart.flags & VOLUME_IS_CLEAN == 0 => {
            Err(NtfsError::JournalNotClean)
        }
        Some(_) => Ok(()),
    }
}

/// What is read of a restart page.
struct Restart {
    version: (u16, u16),
    client: u16,
    flags: u16,
}

impl Restart {
    /// With its sequence number.
    fn parse(page: &[u8; 512]) -> Option<(u64, Self)> {
        if !matches!(&page[..4], b"RSTR" | b"CHKD") || !u32_at(page, 16)?.is_power_of_two() {
            return None;
        }
        let area = usize::from(u16_at(page, 24)?);
        // The last two bytes of the sector are the update sequence's.
        let area = page.get(area..510)?;
        let restart = Self {
            version: (u16_at(page, 28)?, u16_at(page, 26)?),
            client: u16_at(area, 12)?,
            flags: u16_at(area, 14)?,
        };
        // chkdsk leaves its own number in place of the journal's.
        let sequence = if &page[..4] == b"CHKD" { u64_at(page, 8)? } else { u64_at(area, 0)? };
        Some((sequence, restart))
    }
}
