//! Reading everything back: each pack, each leaf, each image.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use ed25519_dalek::VerifyingKey;
use serde::Serialize;

use super::catalogue::packs_in;
use super::store::{image_files, read_image};
use super::{ImageStore, LeafStore, PackError, io_error, pack};
use crate::image::{Hash, PackedLeaf};
use crate::room::ImageRef;

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Bytes of packs read so far.
    pub done: u64,
    /// The bytes of all packs.
    pub total: u64,
}

/// Something that is not as it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "fault")]
pub enum VerifyFault {
    /// A pack whose bytes do not make its name.
    #[error("pack {pack} is damaged: {why}")]
    Pack {
        /// The pack.
        pack: Hash,
        /// What is wrong with it.
        why: String,
    },
    /// A leaf that has other contents.
    #[error("leaf {leaf} in pack {pack} is damaged")]
    Leaf {
        /// The pack.
        pack: Hash,
        /// The leaf.
        leaf: Hash,
    },
    /// An image that cannot be restored whole.
    #[error("image {image} lacks {count} leaves, {first} for one; capture it again")]
    Lacking {
        /// The image.
        image: ImageRef,
        /// How many different leaves are damaged or missing.
        count: u64,
        /// One of them.
        first: Hash,
    },
    /// An image file that is damaged.
    #[error("the file of image {image} is damaged: {why}")]
    Image {
        /// The image.
        image: ImageRef,
        /// What is wrong with it.
        why: String,
    },
    /// An image that another key has signed.
    #[error("image {image} is not signed by this server; agents will refuse it")]
    Signature {
        /// The image.
        image: ImageRef,
    },
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Images read.
    pub images: u64,
    /// Packs read.
    pub packs: u64,
    /// Leaves re-hashed.
    pub leaves: u64,
    /// Bytes of packs read.
    pub bytes: u64,
    /// Everything that is not as it was stored.
    pub faults: Vec<VerifyFault>,
}

struct PackFindings {
    bytes: u64,
    leaves: u64,
    /// Leaves that are right in the place where the catalogue looks for them.
    good: Vec<Hash>,
    faults: Vec<VerifyFault>,
}

impl ImageStore {
    /// Re-hashes every leaf of every pack with `threads` threads and checks that every image can be restored, and, where
    /// a key is given, that it signed them.
    ///
    /// # Errors
    /// [`PackError::Io`]: something could not be read at all. What was read and is wrong stands in the report.
    pub fn verify(
        &self,
        key: Option<&VerifyingKey>,
        threads: usize,
        progress: &dyn Fn(VerifyProgress),
    ) -> Result<VerifyReport, PackError> {
        let packs: Vec<_> = packs_in(self.leaves().folder())?.into_iter().collect();
        let total = packs.iter().map(|(_, (len, _))| len).sum();
        let mut report = VerifyReport::default();
        let mut good = HashSet::new();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| -> Result<(), PackError> {
            let (sender, findings) = mpsc::sync_channel(threads.max(1));
            for _ in 0..threads.max(1) {
                let (sender, next, packs) = (sender.clone(), &next, &packs);
                scope.spawn(move || {
                    while let Some((name, (_, path))) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if sender.send(verify_pack(self.leaves(), name, path)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            for found in findings {
                let Some(found) = found? else { continue };
                report.packs += 1;
                report.leaves += found.leaves;
                report.bytes += found.bytes;
                report.faults.extend(found.faults);
                good.extend(found.good);
                progress(VerifyProgress { done: report.bytes, total });
            }
            Ok(())
        })?;
        report.faults.sort_by_key(ToString::to_string);
        self.verify_images(key, &good, &mut report)?;
        Ok(report)
    }

    fn verify_images(
        &self,
        key: Option<&VerifyingKey>,
        good: &HashSet<Hash>,
        report: &mut VerifyReport,
    ) -> Result<(), PackError> {
        for (image, path) in image_files(self.folder())? {
            report.images += 1;
            let stored = match read_image(&path, &image) {
                Ok(stored) => stored,
                Err(PackError::DamagedImage { source, .. }) => {
                    report.faults.push(VerifyFault::Image { image, why: source.to_string() });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let signed = |key| stored.file().head.clone().verify(&stored.root(), key).is_ok();
            if key.is_some_and(|key| !signed(key)) {
                report.faults.push(VerifyFault::Signature { image: image.clone() });
            }
            let lengths: HashSet<u64> = stored.header().leaves().map(|leaf| leaf.extent.len).collect();
            let zeros: HashSet<Hash> = lengths.into_iter().map(Hash::of_zeros).collect();
            let mut lacking = stored.leaves().iter().filter(|leaf| !zeros.contains(leaf) && !good.contains(leaf));
            if let Some(first) = lacking.next().copied() {
                let others: HashSet<&Hash> = lacking.filter(|leaf| **leaf != first).collect();
                report.faults.push(VerifyFault::Lacking { image, count: 1 + others.len() as u64, first });
            }
        }
        Ok(())
    }
}

/// None where a clean-up deleted the pack meanwhile.
fn verify_pack(store: &LeafStore, name: &Hash, path: &Path) -> Result<Option<PackFindings>, PackError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let mut found = PackFindings { bytes: bytes.len() as u64, leaves: 0, good: Vec::new(), faults: Vec::new() };
    let walk = pack::walk(&bytes);
    let damaged = |leaf| VerifyFault::Leaf { pack: *name, leaf };
    found.faults.extend(walk.damaged.iter().copied().map(damaged));
    found.leaves += walk.damaged.len() as u64;
    for (entry, packed) in walk.entries {
        found.leaves += 1;
        let leaf = PackedLeaf { raw_len: entry.raw_len, zstd: packed.to_vec() };
        if leaf.decode(&entry.leaf).is_err() {
            found.faults.push(damaged(entry.leaf));
            continue;
        }
        let catalogue = store.catalogue();
        if catalogue.find(&entry.leaf).is_some_and(|(pack, place)| pack.name == *name && place == entry) {
            found.good.push(entry.leaf);
        }
    }
    if let Some(why) = walk.broken {
        found.faults.push(VerifyFault::Pack { pack: *name, why: why.to_owned() });
    } else if Hash::of(&bytes) != *name {
        let why = "its bytes do not make its name".to_owned();
        found.faults.push(VerifyFault::Pack { pack: *name, why });
    }
    Ok(Some(found))
}
