//! Records of the file table (MFT) and the attributes in them.

use super::field::{slice_at, u8_at, u16_at, u32_at, u64_at};
use super::{NtfsError, damaged};

/// Sectors as the update sequence counts them, whatever the disk's own are.
const STRIDE: usize = 512;

/// Attribute types, as `$AttrDef` lists them.
pub(super) mod kind {
    pub(in crate::image::ntfs) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(in crate::image::ntfs) const VOLUME_NAME: u32 = 0x60;
    pub(in crate::image::ntfs) const VOLUME_INFORMATION: u32 = 0x70;
    pub(in crate::image::ntfs) const DATA: u32 = 0x80;
    pub(in crate::image::ntfs) const INDEX_ROOT: u32 = 0x90;
    pub(in crate::image::ntfs) const INDEX_ALLOCATION: u32 = 0xa0;
    pub(super) const END: u32 = 0xffff_ffff;
}

/// Puts back the last two bytes of each sector, where NTFS keeps a counter that shows torn writes.
pub(super) fn fix_up(bytes: &mut [u8], magic: &[u8; 4]) -> Result<(), NtfsError> {
    let name = String::from_utf8_lossy(magic).into_owned();
    if bytes.get(..4) != Some(magic) {
        return Err(damaged(format!("a {name} record without its signature")));
    }
    let torn = || damaged(format!("a half-written {name} record"));
    let at = usize::from(u16_at(bytes, 4).ok_or_else(torn)?);
    let count = usize::from(u16_at(bytes, 6).ok_or_else(torn)?);
    if count.checked_sub(1).map(|sectors| sectors * STRIDE) != Some(bytes.len()) || at + 2 * count > STRIDE - 2 {
        return Err(torn());
    }
    let stamp = u16_at(bytes, at).ok_or_else(torn)?;
    for sector in 1..count {
        let end = sector * STRIDE - 2;
        let saved = u16_at(bytes, at + 2 * sector).ok_or_else(torn)?;
        if u16_at(bytes, end) != Some(stamp) {
            return Err(torn());
        }
        bytes.get_mut(end..end + 2).ok_or_else(torn)?.copy_from_slice(&saved.to_le_bytes());
    }
    Ok(())
}

/// One record, fixed up.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) number: u64,
    bytes: Vec<u8>,
}

impl Record {
    pub(super) fn parse(number: u64, mut bytes: Vec<u8>) -> Result<Self, NtfsError> {
        fix_up(&mut bytes, b"FILE")?;
        let record = Self { number, bytes };
        if record.flags() & 1 == 0 {
            return Err(damaged(format!("file record {number} is referred to, but not in use")));
        }
        Ok(record)
    }

    fn flags(&self) -> u16 {
        u16_at(&self.bytes, 0x16).unwrap_or(0)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.flags() & 2 != 0
    }

    /// The record that this one continues, 0 for none.
    pub(super) fn base(&self) -> u64 {
        u64_at(&self.bytes, 0x20).unwrap_or(0) & RECORD_NUMBER
    }

    pub(super) fn attributes(&self) -> Attributes<'_> {
        let used = u32_at(&self.bytes, 0x18).and_then(|used| usize::try_from(used).ok()).unwrap_or(0);
        let bytes = self.bytes.get(..used).unwrap_or(&self.bytes);
        let at = usize::from(u16_at(&self.bytes, 0x14).unwrap_or(0));
        Attributes { number: self.number, rest: bytes.get(at..).unwrap_or(&[]) }
    }

    /// The first attribute of this type and name in this record.
    pub(super) fn attribute(&self, kind: u32, name: &str) -> Result<Option<Attribute<'_>>, NtfsError> {
        for attribute in self.attributes() {
            let attribute = attribute?;
            if attribute.is(kind, name) {
                return Ok(Some(attribute));
            }
        }
        Ok(None)
    }
}

/// The part of a file reference that is a record number; the rest counts how often the record was reused.
pub(super) const RECORD_NUMBER: u64 = 0xffff_ffff_ffff;

#[derive(Debug)]
pub(super) struct Attribute<'a> {
    pub(super) kind: u32,
    pub(super) id: u16,
    pub(super) compressed: bool,
    pub(super) encrypted: bool,
    name: &'a [u8],
    pub(super) form: Form<'a>,
}

#[derive(Debug)]
pub(super) enum Form<'a> {
    Resident(&'a [u8]),
    Clusters { first: u64, size: u64, initialized: u64, runs: &'a [u8] },
}

impl<'a> Attribute<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let name_len = usize::from(u8_at(bytes, 9)?) * 2;
        let name = slice_at(bytes, usize::from(u16_at(bytes, 10)?), name_len)?;
        let flags = u16_at(bytes, 12)?;
        let form = if u8_at(bytes, 8)? == 0 {
            let len = usize::try_from(u32_at(bytes, 16)?).ok()?;
            Form::Resident(slice_at(bytes, usize::from(u16_at(bytes, 20)?), len)?)
        } else {
            let first = u64_at(bytes, 16)?;
            let runs = bytes.get(usize::from(u16_at(bytes, 32)?)..)?;
            // Only the first piece of an attribute has sizes.
            let (size, initialized) = if first == 0 { (u64_at(bytes, 48)?, u64_at(bytes, 56)?) } else { (0, 0) };
            Form::Clusters { first, size, initialized, runs }
        };
        let (kind, id) = (u32_at(bytes, 0)?, u16_at(bytes, 14)?);
        Some(Self { kind, id, compressed: flags & 0xff != 0, encrypted: flags & 0x4000 != 0, name, form })
    }

    pub(super) fn is(&self, kind: u32, name: &str) -> bool {
        self.kind == kind && is_name(self.name, name)
    }
}

/// Whether UTF-16 bytes are this text.
pub(super) fn is_name(utf16: &[u8], name: &str) -> bool {
    utf16.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).eq(name.encode_utf16())
}

#[derive(Debug)]
pub(super) struct Attributes<'a> {
    number: u64,
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, NtfsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        let broken = || Some(Err(damaged(format!("the attributes of file record {}", self.number))));
        let Some(kind) = u32_at(rest, 0) else { return broken() };
        if kind == kind::END {
            return None;
        }
        let len = u32_at(rest, 4).and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
        let Some((bytes, behind)) = rest.split_at_checked(len) else { return broken() };
        let Some(attribute) = Attribute::parse(bytes) else { return broken() };
        self.rest = behind;
        Some(Ok(attribute))
    }
}
