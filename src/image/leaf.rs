//! One leaf as it is stored and sent: compressed, and worth nothing until its hash was checked.

use super::Hash;

/// The compression level of stored leaves: `docs/formats/packs.md` has the figures.
const LEVEL: i32 = 3;

/// The longest leaf that is unpacked; [`super::manifest::check_header`] allows no longer ones.
pub const MAX_LEAF: u32 = 1 << 20;

/// Why a leaf was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// Compression failed, which only happens when memory runs out.
    #[error("cannot compress a leaf")]
    Compress(#[source] std::io::Error),
    /// It does not decompress.
    #[error("leaf {leaf} does not decompress")]
    Decompress {
        /// Which leaf was wanted.
        leaf: Hash,
        /// What zstd says.
        #[source]
        source: std::io::Error,
    },
    /// It has another length than it says.
    #[error("leaf {leaf} has {found} bytes instead of {expected}")]
    Length {
        /// Which leaf was wanted.
        leaf: Hash,
        /// How long it says that it is.
        expected: u32,
        /// How long it is.
        found: usize,
    },
    /// The bytes are not those of this leaf.
    #[error("leaf {leaf} has other contents ({found})")]
    Hash {
        /// Which leaf was wanted.
        leaf: Hash,
        /// The hash of what came.
        found: Hash,
    },
}

/// A leaf, compressed with zstd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedLeaf {
    /// Its length when decompressed, in bytes.
    pub raw_len: u32,
    /// Its compressed bytes: one zstd frame.
    pub zstd: Vec<u8>,
}

/// Compresses leaves, one after the other with the same tables.
pub struct LeafPacker(zstd::bulk::Compressor<'static>);

impl std::fmt::Debug for LeafPacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeafPacker")
    }
}

impl LeafPacker {
    /// A packer for one thread.
    ///
    /// # Errors
    /// [`LeafError::Compress`]: memory ran out.
    pub fn new() -> Result<Self, LeafError> {
        zstd::bulk::Compressor::new(LEVEL).map(Self).map_err(LeafError::Compress)
    }

    /// Compresses `raw`.
    ///
    /// # Errors
    /// [`LeafError::Compress`], [`LeafError::Length`] for more than [`MAX_LEAF`] bytes.
    pub fn pack(&mut self, raw: &[u8]) -> Result<PackedLeaf, LeafError> {
        let raw_len = u32::try_from(raw.len())
            .ok()
            .filter(|len| *len <= MAX_LEAF)
            .ok_or_else(|| LeafError::Length { leaf: Hash::of(raw), expected: MAX_LEAF, found: raw.len() })?;
        let zstd = self.0.compress(raw).map_err(LeafError::Compress)?;
        Ok(PackedLeaf { raw_len, zstd })
    }
}

impl PackedLeaf {
    /// Compresses one leaf; many are faster with a [`LeafPacker`].
    ///
    /// # Errors
    /// As [`LeafPacker::pack`].
    pub fn encode(raw: &[u8]) -> Result<Self, LeafError> {
        LeafPacker::new()?.pack(raw)
    }

    /// The leaf's bytes, if they are those of `leaf`. Takes no more memory than the length that was announced, whatever
    /// the compressed bytes say.
    ///
    /// # Errors
    /// [`LeafError`]: the bytes are damaged or another leaf's.
    pub fn decode(&self, leaf: &Hash) -> Result<Vec<u8>, LeafError> {
        let wrong = |found| LeafError::Length { leaf: *leaf, expected: self.raw_len, found };
        if self.raw_len > MAX_LEAF {
            return Err(wrong(self.zstd.len()));
        }
        let raw = zstd::bulk::decompress(&self.zstd, self.raw_len as usize)
            .map_err(|source| LeafError::Decompress { leaf: *leaf, source })?;
        if raw.len() != self.raw_len as usize {
            return Err(wrong(raw.len()));
        }
        let found = Hash::of(&raw);
        if found != *leaf {
            return Err(LeafError::Hash { leaf: *leaf, found });
        }
        Ok(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_comes_back_and_only_under_its_own_hash() {
        let raw: Vec<u8> = (0..65_536u32).map(|i| (i / 7) as u8).collect();
        let leaf = Hash::of(&raw);
        let packed = PackedLeaf::encode(&raw).unwrap();
        assert!(packed.zstd.len() < raw.len() / 4, "{} bytes", packed.zstd.len());
        assert_eq!(packed.decode(&leaf).unwrap(), raw);
        assert!(matches!(packed.decode(&Hash::of(b"other")), Err(LeafError::Hash { .. })));
        let longer = PackedLeaf { raw_len: packed.raw_len + 1, ..packed.clone() };
        assert!(matches!(longer.decode(&leaf), Err(LeafError::Length { .. })));
    }

    #[test]
    fn a_bomb_is_stopped_at_the_announced_length() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
        let leaf = PackedLeaf { raw_len: 65_536, zstd: bomb };
        assert!(matches!(leaf.decode(&Hash::of_zeros(65_536)), Err(LeafError::Decompress { .. })));
        let huge = PackedLeaf { raw_len: u32::MAX, zstd: Vec::new() };
        assert!(matches!(huge.decode(&Hash::of_zeros(65_536)), Err(LeafError::Length { .. })));
    }
}
