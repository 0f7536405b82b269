//! Reading back what was written.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::gate::Gate;
use super::medium::{Failure, Medium, Progress};
use super::scan::LeafHasher;
use super::{ImagingError, at};
use crate::image::manifest::VerifiedHead;
use crate::image::{Hash, Leaf, Mask};
use crate::progress::{ImagingEvent, Monitor};

/// Leaves that a thread takes at once.
const LEAVES_AT_ONCE: usize = 64;

/// Reads `written` past every cache and compares it with the image, the gate with its closed form.
pub(super) fn verify(
    medium: &Medium<'_>,
    head: &VerifiedHead,
    mask: &Mask,
    gate: &Gate,
    written: &[(u64, Hash)],
    threads: usize,
    monitor: &dyn Monitor,
) -> Result<(), ImagingError> {
    let next = AtomicUsize::new(0);
    let failure = Failure::default();
    let progress = Progress::new(monitor, written.len() as u64);
    let work = || {
        let mut hasher = LeafHasher::new(medium, mask, &head.header);
        while !failure.halted() {
            let part = written.chunks(LEAVES_AT_ONCE).nth(next.fetch_add(1, Ordering::Relaxed));
            let Some(part) = part else { break };
            let leaves: Vec<Leaf> = part.iter().filter_map(|(index, _)| head.header.leaf(*index)).collect();
            let hashes = medium.check_stop().and_then(|()| {
                let open = |start, bytes: &mut [u8]| gate.open_in(start, bytes);
                hasher.hash(&leaves, open).map_err(at("being read back"))
            });
            let hashes = match hashes {
                Ok(hashes) => hashes,
                Err(error) => return failure.set(error),
            };
            for ((leaf, found), (_, expected)) in leaves.iter().zip(hashes).zip(part) {
                if found != Some(*expected) {
                    return failure.set(ImagingError::NotKept { offset: leaf.extent.start });
                }
            }
            progress.add(part.len() as u64, |done, total| ImagingEvent::Verifying { done, total });
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    failure.result()
}
