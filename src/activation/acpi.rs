//! The two ACPI tables in which a vendor's firmware says which Windows the PC was sold with: SLIC (Windows Vista and 7)
//! and MSDM (Windows 8 and later).
//!
//! Reads bytes that firmware, or whoever says to be one, made: nothing here trusts a length or panics. Sources: ACPI
//! specification 6.5, section 5.2.6 (table header); "Microsoft Software Licensing Tables (SLIC and MSDM)", November 2011,
//! whose sub-tables ACPICA's `actbl2.h` spells out (`acpi_slic_key`, `acpi_slic_marker`). `docs/formats/acpi.md`.
//!
//! A firmware key is a secret. [`msdm`] says only that there is one; [`firmware_key`] gives it to who asks for it.

use serde::{Deserialize, Serialize};

use super::hardware::Label;
use super::key::ProductKey;

/// The header that every system description table begins with.
const HEADER: usize = 36;

/// The sub-table of SLIC with the vendor's public key: type and length.
const PUBLIC_KEY: (u32, usize) = (0, 156);

/// The sub-table of SLIC that marks the PC as one for Windows: type and length.
const MARKER: (u32, usize) = (1, 182);

/// Where in MSDM the key's text begins, and its length.
const KEY_AT: usize = 56;
const KEY_LEN: usize = 29;

/// MSDM's type of data for a product key.
const DATA_IS_KEY: u32 = 1;

/// Why a table's bytes are not the table that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum TableFault {
    /// Fewer bytes than a header, or than the header promises.
    #[error("the table is cut short")]
    CutShort,
    /// Another table's signature.
    #[error("it is another table")]
    Signature,
    /// The bytes do not add up to zero.
    #[error("its checksum is wrong")]
    Checksum,
    /// What follows the header is not what this table holds.
    #[error("its content is damaged")]
    Content,
}

/// The header of a system description table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Four letters.
    pub signature: [u8; 4],
    /// The length of the whole table in bytes.
    pub length: u32,
    /// The vendor.
    pub oem_id: Label,
    /// The vendor's name for the table.
    pub oem_table_id: Label,
}

/// What a SLIC table says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slic {
    /// The vendor, as the header names it.
    pub oem_id: Label,
    /// The vendor's name for the table.
    pub oem_table_id: Label,
    /// The Windows marker, if there is one.
    pub marker: Option<Marker>,
}

/// The Windows marker in a SLIC table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The vendor, which has to be the header's.
    pub oem_id: Label,
    /// The vendor's name for the table, which has to be the header's.
    pub oem_table_id: Label,
    /// The SLIC version: 0x20000 is 2.0 (Vista), 0x20001 is 2.1 (Windows 7).
    pub version: u32,
}

impl Slic {
    /// Whether header and marker are of the same vendor, without which Windows does not count the marker.
    pub fn consistent(&self) -> bool {
        self.marker
            .as_ref()
            .is_none_or(|marker| marker.oem_id == self.oem_id && marker.oem_table_id == self.oem_table_id)
    }
}

/// What an MSDM table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Msdm {
    /// Whether there is a product key of the right form.
    pub has_key: bool,
}

/// Takes `bytes` for the table with this signature: its header, and the bytes that belong to it.
///
/// # Errors
/// [`TableFault`], of which [`TableFault::Content`] never comes from here.
pub fn table<'a>(bytes: &'a [u8], signature: &[u8; 4]) -> Result<(Header, &'a [u8]), TableFault> {
    if field::<4>(bytes, 0)? != *signature {
        return Err(TableFault::Signature);
    }
    let length = u32::from_le_bytes(field(bytes, 4)?);
    let whole = usize::try_from(length).ok().filter(|length| *length >= HEADER).ok_or(TableFault::CutShort)?;
    let whole = bytes.get(..whole).ok_or(TableFault::CutShort)?;
    if whole.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
        return Err(TableFault::Checksum);
    }
    let (oem_id, oem_table_id) =
        (Label::of_firmware(&field::<6>(whole, 10)?), Label::of_firmware(&field::<8>(whole, 16)?));
    Ok((Header { signature: *signature, length, oem_id, oem_table_id }, whole))
}

/// Reads a SLIC table.
///
/// # Errors
/// [`TableFault`].
pub fn slic(bytes: &[u8]) -> Result<Slic, TableFault> {
    let (header, whole) = table(bytes, b"SLIC")?;
    let mut marker = None;
    let mut at = HEADER;
    while at < whole.len() {
        let kind = u32::from_le_bytes(content(field(whole, at))?);
        let length = u32::from_le_bytes(content(field(whole, at.saturating_add(4)))?);
        let length = usize::try_from(length).map_err(|_| TableFault::Content)?;
        let end = at.checked_add(length).filter(|_| length >= 8).ok_or(TableFault::Content)?;
        let part = whole.get(at..end).ok_or(TableFault::Content)?;
        match (kind, length) {
            PUBLIC_KEY => {}
            MARKER if marker.is_none() => marker = Some(windows_marker(part)?),
            (0 | 1, _) => return Err(TableFault::Content),
            // Reserved; Windows passes them over.
            _ => {}
        }
        at = end;
    }
    Ok(Slic { oem_id: header.oem_id, oem_table_id: header.oem_table_id, marker })
}

fn windows_marker(part: &[u8]) -> Result<Marker, TableFault> {
    if content(field::<8>(part, 26))? != *b"WINDOWS " {
        return Err(TableFault::Content);
    }
    Ok(Marker {
        oem_id: Label::of_firmware(&content(field::<6>(part, 12))?),
        oem_table_id: Label::of_firmware(&content(field::<8>(part, 18))?),
        version: u32::from_le_bytes(content(field(part, 34))?),
    })
}

/// Reads an MSDM table. Its key is looked at for its form and forgotten.
///
/// # Errors
/// [`TableFault`].
pub fn msdm(bytes: &[u8]) -> Result<Msdm, TableFault> {
    table(bytes, b"MSDM")?;
    Ok(Msdm { has_key: firmware_key(bytes).is_some() })
}

/// The product key in an MSDM table: for the one who is to install it on this PC. It cannot be printed.
pub fn firmware_key(bytes: &[u8]) -> Option<ProductKey> {
    let (_, whole) = table(bytes, b"MSDM").ok()?;
    let kind = u32::from_le_bytes(field(whole, 44).ok()?);
    let length = u32::from_le_bytes(field(whole, 52).ok()?);
    let text = whole.get(KEY_AT..KEY_AT + KEY_LEN)?;
    if kind != DATA_IS_KEY || length as usize != KEY_LEN {
        return None;
    }
    ProductKey::parse(std::str::from_utf8(text).ok()?).ok()
}

fn content<T>(read: Result<T, TableFault>) -> Result<T, TableFault> {
    read.map_err(|_| TableFault::Content)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], TableFault> {
    let end = at.checked_add(N).ok_or(TableFault::CutShort)?;
    bytes.get(at..end).and_then(|field| field.try_into().ok()).ok_or(TableFault::CutShort)
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
