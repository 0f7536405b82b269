//! The file form of a manifest: head, mask and all leaf hashes in one piece, as a store keeps it. `docs/formats/manifest.md`.

use ed25519_dalek::SigningKey;

use super::manifest::{Cut, ManifestError, SignedHead, decode_mask, encode_mask};
use super::{GROUP_LEAVES, Hash, Header, group_hash, manifest::Manifest};

const MAGIC: &[u8; 8] = b"KWIMAG\x01\n";

/// The longest signed head that a file may hold: a header and all groups.
const MAX_HEAD: u64 = 1 << 30;

/// An image as its file holds it. The parts that are sent keep their bytes, since hashes and the signature go over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// The signed head.
    pub head: SignedHead,
    /// The mask's bytes.
    pub mask: Vec<u8>,
    /// One hash per leaf, in disk order.
    pub leaves: Vec<Hash>,
}

impl ImageFile {
    /// Signs a manifest.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`]: a header that cannot be written.
    pub fn sign(manifest: &Manifest, key: &SigningKey) -> Result<Self, ManifestError> {
        let head = manifest.sign(key)?;
        head.header()?;
        Ok(Self { head, mask: encode_mask(&manifest.mask), leaves: manifest.leaves.clone() })
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let head = self.head.encode();
        let mut out = Vec::with_capacity(head.len() + self.mask.len() + 32 * self.leaves.len() + 64);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&(head.len() as u64).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&(self.mask.len() as u64).to_le_bytes());
        out.extend_from_slice(&self.mask);
        out.extend_from_slice(&(self.leaves.len() as u64).to_le_bytes());
        for leaf in &self.leaves {
            out.extend_from_slice(&leaf.0);
        }
        let sum = Hash::of(&out);
        out.extend_from_slice(&sum.0);
        out
    }

    /// Reads a file and checks that its parts belong together. Who signed it is for [`SignedHead::verify`] to say.
    ///
    /// # Errors
    /// [`ManifestError`]: one flipped bit is enough.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let what = "image file";
        if bytes.get(..8) != Some(MAGIC) {
            return Err(ManifestError::Magic { what });
        }
        let (body, sum) = bytes.split_last_chunk::<32>().ok_or(ManifestError::CutShort { what })?;
        if Hash::of(body).0 != *sum {
            return Err(ManifestError::Damaged { what, why: "its checksum does not fit".to_owned() });
        }
        let mut cut = Cut { what, rest: body };
        cut.take(8)?;
        let head = SignedHead::decode(cut.part()?)?;
        let mask = cut.part()?.to_vec();
        let count = cut.u64()?;
        let (leaves, rest) = cut.rest.as_chunks::<32>();
        if leaves.len() as u64 != count || !rest.is_empty() {
            return Err(cut.damaged(format!("{} bytes for {count} leaf hashes", cut.rest.len())));
        }
        let file = Self { head, mask, leaves: leaves.iter().map(|leaf| Hash(*leaf)).collect() };
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let header = self.head.header()?;
        if Hash::of(&self.mask) != self.head.mask {
            return Err(ManifestError::Mismatch { what: "mask" });
        }
        decode_mask(&self.mask)?;
        let groups = self.leaves.chunks(GROUP_LEAVES as usize).map(group_hash);
        if self.leaves.len() as u64 != header.leaf_count() || !groups.eq(self.head.groups.iter().copied()) {
            return Err(ManifestError::Mismatch { what: "list of leaf hashes" });
        }
        Ok(())
    }

    /// The head alone, from the first bytes of a file: what lists and look-ups need. `None` asks for more bytes.
    ///
    /// # Errors
    /// [`ManifestError`]: no image file, or a damaged head.
    pub fn decode_head(bytes: &[u8]) -> Result<Option<SignedHead>, ManifestError> {
        let what = "image file";
        let Some((magic, rest)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
        if magic != MAGIC {
            return Err(ManifestError::Magic { what });
        }
        let Some((len, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        let len = u64::from_le_bytes(*len);
        if len > MAX_HEAD {
            return Err(ManifestError::Damaged { what, why: format!("a head of {len} bytes") });
        }
        rest.get(..len as usize).map(SignedHead::decode).transpose()
    }

    /// The manifest that was signed.
    ///
    /// # Errors
    /// [`ManifestError`]: parts that do not belong together.
    pub fn manifest(&self) -> Result<Manifest, ManifestError> {
        self.check()?;
        let header: Header = self.head.header()?;
        Ok(Manifest { header, mask: decode_mask(&self.mask)?, leaves: self.leaves.clone() })
    }
}
