//! What an image is: a signed two-level hash tree over leaves of a disk, with a mask of what does not count.
//!
//! A block image covers a disk in *regions* (the partition table, each partition, the backup table), each with its own
//! grid of leaves. A leaf's identity is the SHA-256 of its bytes with masked bytes read as zero, so that use of free
//! space never makes a leaf differ. *Groups* of [`GROUP_LEAVES`] leaves have a hash over their leaves' hashes; the root is
//! SHA-256 over header, group hashes and mask hash, and is signed. Formats: `docs/formats/`.
//!
//! Pure: no I/O. Bytes come from a reader that is handed in; [`crate::packs`] stores, [`crate::disk`] reads and writes.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::room::ImageRef;

pub(crate) mod crc32;
pub mod facts;
pub mod file;
pub mod hive;
pub mod layout;
pub mod leaf;
pub mod manifest;
pub mod mask;
pub mod ntfs;

pub use facts::{FirmwareKind, KeyChannel, WindowsFacts};
pub use file::ImageFile;
pub use leaf::PackedLeaf;
pub use mask::Mask;

/// Leaves in a group: the unit in which an agent asks for leaf hashes.
pub const GROUP_LEAVES: u64 = 64;

/// The default size of a leaf in bytes.
pub const LEAF_BYTES: u32 = 64 * 1024;

/// A SHA-256 value: of a leaf, a group, a mask or a root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Of one piece of data.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Of `len` zero bytes, which is the hash of a leaf that is empty or wholly masked.
    pub fn of_zeros(len: u64) -> Self {
        let zeros = [0u8; 4096];
        let mut hasher = Sha256::new();
        let mut left = len;
        while left > 0 {
            let n = left.min(zeros.len() as u64);
            hasher.update(&zeros[..n as usize]);
            left -= n;
        }
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> String {
        hash.to_string()
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a SHA-256 value of 64 hexadecimal digits")]
pub struct NotAHash(String);

impl TryFrom<String> for Hash {
    type Error = NotAHash;
    fn try_from(text: String) -> Result<Self, NotAHash> {
        text.parse()
    }
}

impl std::str::FromStr for Hash {
    type Err = NotAHash;
    fn from_str(text: &str) -> Result<Self, NotAHash> {
        data_encoding::HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| NotAHash(text.to_owned()))
    }
}

/// A run of bytes on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Extent {
    /// Its first byte, counted from the start of the disk.
    pub start: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl Extent {
    /// The byte after its last.
    pub fn end(&self) -> u64 {
        self.start + self.len
    }

    /// What both have in common.
    pub fn overlap(&self, other: &Extent) -> Option<Extent> {
        let start = self.start.max(other.start);
        let end = self.end().min(other.end());
        (start < end).then(|| Extent { start, len: end - start })
    }
}

/// What a region of a disk is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum RegionKind {
    /// A part of the table: everything before the first partition (MBR, GPT, what boot loaders hide there), and the boot
    /// records of an extended partition.
    Table,
    /// One partition.
    Partition {
        /// Its number in the table, from 1.
        number: u32,
        /// Whether firmware starts from it.
        esp: bool,
        /// The file system, where it was recognised: `ntfs`, `fat`; else empty.
        file_system: String,
    },
    /// The backup table at the end of a GPT disk.
    BackupTable,
}

/// A part of the disk with a leaf grid of its own, which starts at the region's first byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// What it is.
    pub kind: RegionKind,
    /// Where it lies.
    pub extent: Extent,
}

/// How a disk is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableKind {
    /// GUID partition table (UEFI specification, chapter 5).
    Gpt,
    /// Master boot record.
    Mbr,
}

/// Everything about an image but its leaves; its bytes as stored are part of the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of this format, 1.
    pub format: u8,
    /// Which image this is.
    pub image: ImageRef,
    /// When it was captured.
    pub created: jiff::Timestamp,
    /// The size of the captured disk in bytes; a target must have at least as much.
    pub disk_bytes: u64,
    /// The logical sector size in bytes; a target must have the same.
    pub sector_bytes: u32,
    /// The size of a leaf in bytes.
    pub leaf_bytes: u32,
    /// The kind of partition table.
    pub table: TableKind,
    /// The regions in disk order, without overlap.
    pub regions: Vec<Region>,
    /// The sectors that firmware reads first; they are written last. One sector each.
    pub gate: Vec<Extent>,
    /// A sector range outside every partition, zero on the master and masked, where the imaging agent leaves its note
    /// for the resident agent.
    pub note: Option<Extent>,
    /// What is known of the Windows on it.
    pub windows: WindowsFacts,
}

/// Where one leaf lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Its number in the image.
    pub index: u64,
    /// Its bytes on the disk; the last leaf of a region may be shorter than the others.
    pub extent: Extent,
}

impl Header {
    fn leaves_of(&self, region: &Region) -> u64 {
        region.extent.len.div_ceil(u64::from(self.leaf_bytes))
    }

    /// How many leaves the image has.
    pub fn leaf_count(&self) -> u64 {
        self.regions.iter().map(|region| self.leaves_of(region)).sum()
    }

    /// How many groups of leaves the image has.
    pub fn group_count(&self) -> u64 {
        self.leaf_count().div_ceil(GROUP_LEAVES)
    }

    /// The leaves that belong to group `group`.
    pub fn group(&self, group: u64) -> Range<u64> {
        let first = (group * GROUP_LEAVES).min(self.leaf_count());
        first..(first + GROUP_LEAVES).min(self.leaf_count())
    }

    /// Where leaf `index` lies, if there is one.
    pub fn leaf(&self, index: u64) -> Option<Leaf> {
        let mut first = 0;
        for region in &self.regions {
            let count = self.leaves_of(region);
            if index < first + count {
                let offset = (index - first) * u64::from(self.leaf_bytes);
                let len = u64::from(self.leaf_bytes).min(region.extent.len - offset);
                return Some(Leaf { index, extent: Extent { start: region.extent.start + offset, len } });
            }
            first += count;
        }
        None
    }

    /// All leaves in disk order.
    pub fn leaves(&self) -> impl Iterator<Item = Leaf> + '_ {
        let mut first = 0;
        self.regions.iter().flat_map(move |region| {
            let base = first;
            first += self.leaves_of(region);
            (0..self.leaves_of(region)).map(move |i| {
                let offset = i * u64::from(self.leaf_bytes);
                let len = u64::from(self.leaf_bytes).min(region.extent.len - offset);
                Leaf { index: base + i, extent: Extent { start: region.extent.start + offset, len } }
            })
        })
    }
}

/// The hash of a group, over its leaves' hashes in order.
pub fn group_hash(leaves: &[Hash]) -> Hash {
    let mut hasher = Sha256::new();
    for leaf in leaves {
        hasher.update(leaf.0);
    }
    Hash(hasher.finalize().into())
}

/// The root over header, groups and mask: what is signed, and what an agent is told to expect.
pub fn root_hash(header: &[u8], groups: &[Hash], mask: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(b"klonwerk image root 1\n");
    hasher.update((header.len() as u64).to_le_bytes());
    hasher.update(header);
    hasher.update((groups.len() as u64).to_le_bytes());
    for group in groups {
        hasher.update(group.0);
    }
    hasher.update(mask.0);
    Hash(hasher.finalize().into())
}
