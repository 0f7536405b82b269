//! The image's index: mask and leaf hashes, fetched and checked against the signed head.

use std::collections::BTreeMap;

use super::scan::Scan;
use super::{ImageSource, ImagingError, TRIES};
use crate::image::manifest::{ManifestError, VerifiedHead};
use crate::image::{Hash, Mask};

/// Groups whose leaf hashes are asked for at once: 128 KiB of them.
const GROUPS_AT_ONCE: usize = 64;

/// Tries until a part of the index came and fits.
fn fetch<T>(
    what: &'static str,
    mut ask: impl FnMut() -> Result<Result<T, ManifestError>, super::SourceError>,
) -> Result<T, ImagingError> {
    let mut tries = 1;
    loop {
        let error = match ask() {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(source)) => ImagingError::Index { what, source },
            Err(source) => ImagingError::Fetch { what, source },
        };
        if tries == TRIES {
            return Err(error);
        }
        tries += 1;
    }
}

pub(super) fn mask(head: &VerifiedHead, source: &dyn ImageSource) -> Result<Mask, ImagingError> {
    fetch("mask", || Ok(head.check_mask(&source.mask()?)))
}

/// The leaves that differ, ascending, with the hash that they must have.
pub(super) fn dirty_leaves(
    head: &VerifiedHead,
    source: &dyn ImageSource,
    scan: &Scan,
) -> Result<Vec<(u64, Hash)>, ImagingError> {
    let mut dirty = Vec::new();
    for part in scan.groups.chunks(GROUPS_AT_ONCE) {
        let groups: Vec<u64> = part.iter().map(|(group, _)| *group).collect();
        let lists = fetch("leaf hashes", || {
            let lists = source.leaf_hashes(&groups)?;
            if lists.len() != groups.len() {
                return Ok(Err(ManifestError::Mismatch { what: "number of lists of leaf hashes" }));
            }
            let wrong = groups.iter().zip(&lists).find_map(|(group, list)| head.check_group(*group, list).err());
            Ok(wrong.map_or(Ok(lists), Err))
        })?;
        for ((group, found), expected) in part.iter().zip(&lists) {
            let leaves = head.header.group(*group).zip(found.iter().zip(expected));
            dirty
                .extend(leaves.filter(|(_, (found, expected))| **found != Some(**expected)).map(|(i, (_, e))| (i, *e)));
        }
    }
    Ok(dirty)
}

/// The leaves that differ and those whose sectors the gate's closing changes, ascending.
pub(super) fn with_held(dirty: &[(u64, Hash)], held: &BTreeMap<u64, (Hash, Vec<u8>)>) -> Vec<(u64, Hash)> {
    let mut wanted = dirty.to_vec();
    wanted.extend(held.iter().map(|(index, (hash, _))| (*index, *hash)));
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}
