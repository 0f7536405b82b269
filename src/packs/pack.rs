//! One pack: a file of compressed leaves that describes itself twice, entry by entry and by the index at its end.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::{PackError, io_error, sync_folder};
use crate::image::crc32::crc32;
use crate::image::leaf::MAX_LEAF;
use crate::image::{Hash, PackedLeaf};

/// A pack is closed when it has grown to this many bytes.
pub const PACK_BYTES: u64 = 64 << 20;

/// How the names of files begin that were not finished; they mean nothing and are removed.
pub(super) const UNFINISHED: &str = ".unfinished-";

const MAGIC: &[u8; 8] = b"KWPACK\x01\n";
const INDEX_MAGIC: &[u8; 8] = b"KWINDX\x01\n";
const END_MAGIC: &[u8; 8] = b"KWPEND\x01\n";

/// Before each leaf: its hash, its two lengths, a checksum over these and the compressed bytes.
const ENTRY_HEAD: usize = 32 + 4 + 4 + 4;
/// One entry of the index: hash, offset, two lengths.
const INDEX_ENTRY: usize = 32 + 4 + 4 + 4;
/// Behind the index: number of entries, checksum, magic.
const END: usize = 4 + 4 + 8;

/// The longest compressed leaf: zstd adds a few bytes to what cannot be compressed.
const MAX_PACKED: usize = MAX_LEAF as usize + 4096;

/// Where a leaf lies in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) leaf: Hash,
    /// Where its entry head begins.
    pub(super) offset: u32,
    pub(super) raw_len: u32,
    pub(super) packed_len: u32,
}

impl Entry {
    /// What it takes in the pack, its head included.
    pub(super) fn bytes(&self) -> u64 {
        ENTRY_HEAD as u64 + u64::from(self.packed_len)
    }

    fn check(&self, head: &[u8], packed: &[u8]) -> bool {
        let sum = crc32(&[head.get(..40).unwrap_or_default(), packed]);
        head == self.head(sum)
    }

    fn head(&self, sum: u32) -> [u8; ENTRY_HEAD] {
        let mut head = [0; ENTRY_HEAD];
        let (hash, numbers) = head.split_at_mut(32);
        hash.copy_from_slice(&self.leaf.0);
        for (to, value) in numbers.chunks_mut(4).zip([self.raw_len, self.packed_len, sum]) {
            to.copy_from_slice(&value.to_le_bytes());
        }
        head
    }

    /// From an entry head.
    fn of_head(offset: usize, head: &[u8]) -> Option<Self> {
        let entry = Self {
            leaf: Hash(*head.first_chunk()?),
            offset: u32::try_from(offset).ok()?,
            raw_len: number(head, 32)?,
            packed_len: number(head, 36)?,
        };
        (entry.raw_len <= MAX_LEAF && entry.packed_len as usize <= MAX_PACKED).then_some(entry)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

pub(super) fn path_of(folder: &Path, pack: &Hash) -> PathBuf {
    folder.join(format!("{pack}.kwp"))
}

/// The pack that a file name names.
pub(super) fn name_of(file_name: &str) -> Option<Hash> {
    file_name.strip_suffix(".kwp")?.parse().ok()
}

/// Reads one leaf and checks that it is what was stored.
pub(super) fn read_leaf(file: &File, path: &Path, pack: &Hash, entry: &Entry) -> Result<PackedLeaf, PackError> {
    let mut bytes = vec![0; ENTRY_HEAD + entry.packed_len as usize];
    let damaged = || PackError::DamagedLeaf { pack: *pack, leaf: entry.leaf };
    file.read_exact_at(&mut bytes, entry.offset.into()).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged(),
        _ => io_error("read", path)(error),
    })?;
    let zstd = bytes.split_off(ENTRY_HEAD);
    if !entry.check(&bytes, &zstd) {
        return Err(damaged());
    }
    Ok(PackedLeaf { raw_len: entry.raw_len, zstd })
}

/// Reads the index at the end of a pack.
pub(super) fn read_index(file: &File, path: &Path, pack: &Hash) -> Result<Vec<Entry>, PackError> {
    let damaged = |why: &str| PackError::DamagedPack { pack: *pack, why: why.to_owned() };
    let read = |offset: u64, len: usize| {
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset).map_err(io_error("read", path)).map(|()| bytes)
    };
    let len = file.metadata().map_err(io_error("read", path))?.len();
    let end_at = len.checked_sub(END as u64).ok_or_else(|| damaged("it is too short"))?;
    let end = read(end_at, END)?;
    if end.get(8..) != Some(END_MAGIC) {
        return Err(damaged("it does not end as a pack does"));
    }
    let (count, sum) = (number(&end, 0).unwrap_or(0) as usize, number(&end, 4).unwrap_or(0));
    let index_len = INDEX_MAGIC.len() + count * INDEX_ENTRY;
    let index_at = end_at.checked_sub(index_len as u64).ok_or_else(|| damaged("its index is longer than itself"))?;
    let index = read(index_at, index_len)?;
    if crc32(&[&index]) != sum || !index.starts_with(INDEX_MAGIC) {
        return Err(damaged("the checksum of its index does not fit"));
    }
    let entry = |bytes: &[u8]| {
        let packed = Entry {
            leaf: Hash(*bytes.first_chunk()?),
            offset: number(bytes, 32)?,
            raw_len: number(bytes, 36)?,
            packed_len: number(bytes, 40)?,
        };
        (u64::from(packed.offset) + packed.bytes() <= index_at).then_some(packed)
    };
    let entries: Option<Vec<_>> = index[INDEX_MAGIC.len()..].chunks(INDEX_ENTRY).map(entry).collect();
    entries.ok_or_else(|| damaged("its index points past its leaves"))
}

/// What reading a pack from front to back finds.
pub(super) struct Walk<'a> {
    /// The entries with their compressed bytes, as far as they could be followed.
    pub(super) entries: Vec<(Entry, &'a [u8])>,
    /// Leaves whose bytes do not fit their checksum.
    pub(super) damaged: Vec<Hash>,
    /// Why it ended before the index, if it did.
    pub(super) broken: Option<&'static str>,
}

/// Reads a pack entry by entry, without its index.
pub(super) fn walk(bytes: &[u8]) -> Walk<'_> {
    let mut walk = Walk { entries: Vec::new(), damaged: Vec::new(), broken: None };
    if !bytes.starts_with(MAGIC) {
        walk.broken = Some("it does not begin as a pack of this version does");
        return walk;
    }
    let mut at = MAGIC.len();
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.starts_with(INDEX_MAGIC) {
            return walk;
        }
        let found = rest.split_at_checked(ENTRY_HEAD).and_then(|(head, rest)| {
            let entry = Entry::of_head(at, head)?;
            Some((entry, head, rest.get(..entry.packed_len as usize)?))
        });
        let Some((entry, head, packed)) = found else {
            walk.broken = Some("its entries end before its index begins");
            return walk;
        };
        if entry.check(head, packed) {
            walk.entries.push((entry, packed));
        } else {
            walk.damaged.push(entry.leaf);
        }
        at += ENTRY_HEAD + packed.len();
    }
}

/// A pack that is being written.
#[derive(Debug)]
pub(super) struct Building {
    file: BufWriter<NamedTempFile>,
    hasher: Sha256,
    len: u64,
    entries: Vec<Entry>,
}

impl Building {
    pub(super) fn begin(folder: &Path) -> Result<Self, PackError> {
        let file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(folder)
            .map_err(io_error("create a file in", folder))?;
        let mut building =
            Self { file: BufWriter::with_capacity(1 << 20, file), hasher: Sha256::new(), len: 0, entries: Vec::new() };
        building.write(MAGIC)?;
        Ok(building)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        let written = self.file.write_all(bytes);
        written.map_err(|source| io_error("write", self.file.get_ref().path())(source))
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn append(&mut self, leaf: &Hash, packed: &PackedLeaf) -> Result<(), PackError> {
        let too_long = || PackError::TooLong { leaf: *leaf, raw_len: packed.raw_len, packed_len: packed.zstd.len() };
        if packed.raw_len > MAX_LEAF || packed.zstd.len() > MAX_PACKED {
            return Err(too_long());
        }
        let offset = u32::try_from(self.len).map_err(|_| too_long())?;
        let packed_len = u32::try_from(packed.zstd.len()).map_err(|_| too_long())?;
        let entry = Entry { leaf: *leaf, offset, raw_len: packed.raw_len, packed_len };
        let unsummed = entry.head(0);
        let sum = crc32(&[unsummed.get(..40).unwrap_or_default(), &packed.zstd]);
        self.write(&entry.head(sum))?;
        self.write(&packed.zstd)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Writes the index, makes the file durable and gives it its name. Before that nobody can see it.
    pub(super) fn seal(mut self, folder: &Path) -> Result<(Hash, u64, Vec<Entry>), PackError> {
        let mut index = INDEX_MAGIC.to_vec();
        for entry in &self.entries {
            index.extend_from_slice(&entry.leaf.0);
            for value in [entry.offset, entry.raw_len, entry.packed_len] {
                index.extend_from_slice(&value.to_le_bytes());
            }
        }
        let sum = crc32(&[&index]);
        self.write(&index)?;
        let count = self.entries.len() as u32;
        self.write(&[&count.to_le_bytes()[..], &sum.to_le_bytes(), END_MAGIC].concat())?;
        let file = self.file.into_inner().map_err(|error| io_error("write", folder)(error.into_error()))?;
        file.as_file().sync_all().map_err(io_error("flush", file.path()))?;
        let pack = Hash(self.hasher.finalize().into());
        let path = path_of(folder, &pack);
        file.persist(&path).map_err(|error| io_error("create", &path)(error.error))?;
        sync_folder(folder)?;
        Ok((pack, self.len, self.entries))
    }
}
