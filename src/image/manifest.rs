//! Manifests: an image's header, mask and tree of hashes, as bytes and as checked values. `docs/formats/manifest.md`.
//!
//! An agent trusts nothing but the public key and the root that its check-in named: it fetches the signed head
//! ([`SignedHead::verify`]), then the mask ([`VerifiedHead::check_mask`]) and the leaf hashes of those groups that
//! differ ([`VerifiedHead::check_group`]), from whoever offers them.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::{Extent, Hash, Header, Mask, group_hash, root_hash};

const HEAD_MAGIC: &[u8; 8] = b"KWHEAD\x01\n";
const MASK_MAGIC: &[u8; 8] = b"KWMASK\x01\n";
const SIGNED_AS: &[u8] = b"klonwerk signed image root 1\n";

/// The longest header that is accepted, in bytes.
pub const MAX_HEADER: usize = 1 << 20;
/// The most groups that are accepted: 64 TiB at 64 KiB leaves.
const MAX_GROUPS: u64 = 1 << 24;
/// The largest mask that is accepted, decompressed.
const MAX_MASK: usize = 256 << 20;

/// Why a manifest, or a part of one, was refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The bytes end too early.
    #[error("the {what} is cut short")]
    CutShort {
        /// Which part.
        what: &'static str,
    },
    /// The bytes are something else, or of a version that this program does not know.
    #[error("the {what} does not begin as one of this version does; it was made by a newer Klonwerk or is damaged")]
    Magic {
        /// Which part.
        what: &'static str,
    },
    /// A field has an impossible value.
    #[error("the {what} is damaged: {why}")]
    Damaged {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The tree is not the one that was asked for: an older or another image.
    #[error("the server named image root {expected}, but this is {found}; it is not used")]
    OtherRoot {
        /// The root from the check-in.
        expected: Hash,
        /// The root of the bytes.
        found: Hash,
    },
    /// The signature does not fit.
    #[error("the signature on image root {root} is not the server's; it is not used")]
    Signature {
        /// The root whose signature is wrong.
        root: Hash,
    },
    /// A part does not have the hash that the signed head gives for it.
    #[error("the {what} does not fit the signed head; it is not used")]
    Mismatch {
        /// Which part.
        what: &'static str,
    },
}

/// A whole image description in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Everything but the tree.
    pub header: Header,
    /// What does not count.
    pub mask: Mask,
    /// One hash per leaf, in disk order.
    pub leaves: Vec<Hash>,
}

/// A head as it is stored and sent: the part of a manifest from which everything else can be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// The header's bytes, JSON.
    pub header: Vec<u8>,
    /// One hash per group.
    pub groups: Vec<Hash>,
    /// The hash of the mask's bytes.
    pub mask: Hash,
    /// Ed25519 over the root.
    pub signature: [u8; 64],
}

/// A head whose root and signature are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedHead {
    /// The image's root.
    pub root: Hash,
    /// The header.
    pub header: Header,
    /// One hash per group.
    pub groups: Vec<Hash>,
    mask: Hash,
}

fn signed_text(root: &Hash) -> Vec<u8> {
    [SIGNED_AS, &root.0].concat()
}

impl Manifest {
    /// The hashes of its groups.
    pub fn groups(&self) -> Vec<Hash> {
        self.leaves.chunks(super::GROUP_LEAVES as usize).map(group_hash).collect()
    }

    /// Signs it.
    pub fn sign(&self, key: &SigningKey) -> Result<SignedHead, ManifestError> {
        let header = serde_json::to_vec(&self.header)
            .map_err(|error| ManifestError::Damaged { what: "header", why: error.to_string() })?;
        let groups = self.groups();
        let mask = Hash::of(&encode_mask(&self.mask));
        let root = root_hash(&header, &groups, &mask);
        let signature = key.sign(&signed_text(&root)).to_bytes();
        Ok(SignedHead { header, groups, mask, signature })
    }
}

impl SignedHead {
    /// The root that these bytes make.
    pub fn root(&self) -> Hash {
        root_hash(&self.header, &self.groups, &self.mask)
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.header.len() + 32 * self.groups.len());
        out.extend_from_slice(HEAD_MAGIC);
        out.extend_from_slice(&(self.header.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.header);
        out.extend_from_slice(&(self.groups.len() as u64).to_le_bytes());
        for group in &self.groups {
            out.extend_from_slice(&group.0);
        }
        out.extend_from_slice(&self.mask.0);
        out.extend_from_slice(&self.signature);
        out
    }

    /// From bytes that anybody may have made. Checks the shape only.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut rest = Cut { what: "image head", rest: bytes };
        if rest.take(8)? != HEAD_MAGIC {
            return Err(ManifestError::Magic { what: "image head" });
        }
        let header_len = rest.u32()? as usize;
        if header_len > MAX_HEADER {
            return Err(rest.damaged(format!("a header of {header_len} bytes")));
        }
        let header = rest.take(header_len)?.to_vec();
        let count = rest.u64()?;
        if count > MAX_GROUPS {
            return Err(rest.damaged(format!("{count} groups")));
        }
        let hashes = rest.take(count as usize * 32)?;
        let groups = hashes.as_chunks::<32>().0.iter().map(|chunk| Hash(*chunk)).collect();
        let mask = Hash(rest.array()?);
        let signature = rest.array()?;
        if !rest.rest.is_empty() {
            return Err(rest.damaged(format!("{} bytes too many", rest.rest.len())));
        }
        Ok(Self { header, groups, mask, signature })
    }

    /// Checks root and signature, then reads the header.
    pub fn verify(self, expected: &Hash, key: &VerifyingKey) -> Result<VerifiedHead, ManifestError> {
        let root = self.root();
        if root != *expected {
            return Err(ManifestError::OtherRoot { expected: *expected, found: root });
        }
        key.verify_strict(&signed_text(&root), &Signature::from_bytes(&self.signature))
            .map_err(|_| ManifestError::Signature { root })?;
        Ok(VerifiedHead { root, header: self.header()?, groups: self.groups, mask: self.mask })
    }

    /// Reads the header, whoever wrote it, and checks its numbers.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`].
    pub fn header(&self) -> Result<Header, ManifestError> {
        let damaged = |why: String| ManifestError::Damaged { what: "image header", why };
        let header: Header = serde_json::from_slice(&self.header).map_err(|error| damaged(error.to_string()))?;
        check_header(&header).map_err(damaged)?;
        if header.group_count() != self.groups.len() as u64 {
            return Err(damaged(format!("{} groups for {} leaves", self.groups.len(), header.leaf_count())));
        }
        Ok(header)
    }
}

/// Rules that a header's numbers must follow, so that nobody below has to think of overflow.
pub fn check_header(header: &Header) -> Result<(), String> {
    if header.format != 1 {
        return Err(format!("format {} (this program knows 1)", header.format));
    }
    if !matches!(header.sector_bytes, 512 | 4096) {
        return Err(format!("a sector size of {}", header.sector_bytes));
    }
    let leaf = header.leaf_bytes;
    if !leaf.is_power_of_two() || !(4096..=1 << 20).contains(&leaf) {
        return Err(format!("a leaf size of {leaf}"));
    }
    if header.disk_bytes > 1 << 50 {
        return Err(format!("a disk of {} bytes", header.disk_bytes));
    }
    let inside = |extent: &Extent| {
        extent.start.checked_add(extent.len).is_some_and(|end| end <= header.disk_bytes)
            && extent.start.is_multiple_of(u64::from(header.sector_bytes))
            && extent.len.is_multiple_of(u64::from(header.sector_bytes))
    };
    let mut end = 0;
    for region in &header.regions {
        if !inside(&region.extent) || region.extent.start < end {
            return Err(format!("a region at {} of {} bytes", region.extent.start, region.extent.len));
        }
        end = region.extent.end();
    }
    for gate in &header.gate {
        if !inside(gate) || gate.len != u64::from(header.sector_bytes) {
            return Err(format!("a gate at {} of {} bytes", gate.start, gate.len));
        }
    }
    if let Some(note) = header.note.filter(|note| !inside(note) || note.len > 1 << 20) {
        return Err(format!("a note at {} of {} bytes", note.start, note.len));
    }
    Ok(())
}

impl VerifiedHead {
    /// Checks the mask's bytes against the signed head and reads them.
    pub fn check_mask(&self, bytes: &[u8]) -> Result<Mask, ManifestError> {
        if Hash::of(bytes) != self.mask {
            return Err(ManifestError::Mismatch { what: "mask" });
        }
        decode_mask(bytes)
    }

    /// Checks the leaf hashes of one group against the signed head.
    pub fn check_group(&self, group: u64, leaves: &[Hash]) -> Result<(), ManifestError> {
        let range = self.header.group(group);
        let fits = leaves.len() as u64 == range.end - range.start
            && self.groups.get(group as usize).is_some_and(|expected| *expected == group_hash(leaves));
        if fits { Ok(()) } else { Err(ManifestError::Mismatch { what: "list of leaf hashes" }) }
    }
}

/// The mask as bytes: alternating gaps and lengths as LEB128 numbers, compressed.
pub fn encode_mask(mask: &Mask) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut at = 0;
    for extent in mask.extents() {
        put_number(&mut plain, extent.start - at);
        put_number(&mut plain, extent.len);
        at = extent.end();
    }
    let mut out = MASK_MAGIC.to_vec();
    out.extend_from_slice(&(plain.len() as u64).to_le_bytes());
    out.extend(zstd::bulk::compress(&plain, 9).unwrap_or_default());
    out
}

/// The mask from bytes whose hash was checked, or from the store.
pub fn decode_mask(bytes: &[u8]) -> Result<Mask, ManifestError> {
    let mut cut = Cut { what: "mask", rest: bytes };
    if cut.take(8)? != MASK_MAGIC {
        return Err(ManifestError::Magic { what: "mask" });
    }
    let len = cut.u64()? as usize;
    if len > MAX_MASK {
        return Err(cut.damaged(format!("{len} bytes")));
    }
    let plain = zstd::bulk::decompress(cut.rest, len).map_err(|error| cut.damaged(error.to_string()))?;
    if plain.len() != len {
        return Err(cut.damaged(format!("{} bytes instead of {len}", plain.len())));
    }
    let mut numbers = Cut { what: "mask", rest: &plain };
    let mut runs = Vec::new();
    let mut at = 0u64;
    while !numbers.rest.is_empty() {
        let (gap, len) = (numbers.number()?, numbers.number()?);
        let next = at.checked_add(gap).and_then(|start| Some((start, start.checked_add(len)?)));
        let Some((start, end)) = next else { return Err(numbers.damaged("a run past all disks".to_owned())) };
        runs.push(Extent { start, len });
        at = end;
    }
    Ok(Mask::new(runs))
}

fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that are taken from the front, none of which may be trusted to be there.
pub(super) struct Cut<'a> {
    pub(super) what: &'static str,
    pub(super) rest: &'a [u8],
}

impl<'a> Cut<'a> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], ManifestError> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(ManifestError::CutShort { what: self.what })?;
        self.rest = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ManifestError> {
        let what = self.what;
        self.take(N)?.try_into().map_err(|_| ManifestError::CutShort { what })
    }

    fn u32(&mut self) -> Result<u32, ManifestError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, ManifestError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length and that many bytes.
    pub(super) fn part(&mut self) -> Result<&'a [u8], ManifestError> {
        let len = self.u64()?;
        let what = self.what;
        self.take(usize::try_from(len).map_err(|_| ManifestError::CutShort { what })?)
    }

    fn number(&mut self) -> Result<u64, ManifestError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.damaged("a number without end".to_owned()))
    }

    pub(super) fn damaged(&self, why: String) -> ManifestError {
        ManifestError::Damaged { what: self.what, why }
    }
}
