//! Run lists: which clusters hold an attribute.

use super::{NtfsError, damaged};

/// More pieces than this no file has that Windows can still open.
const MAX_RUNS: usize = 4 << 20;

/// With clusters of 2 MiB this is the largest file that has a size in 63 bits.
const MAX_CLUSTERS: u64 = 1 << 42;

/// Consecutive clusters of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Its first cluster, counted in the file.
    pub(super) first: u64,
    /// How many clusters.
    pub(super) clusters: u64,
    /// Its first cluster on the volume; none for a hole, which reads as zeros.
    pub(super) at: Option<u64>,
}

/// Appends the runs that `bytes` encode to `runs`, the pieces before them. `volume` is the number of clusters of the
/// volume.
pub(super) fn append(runs: &mut Vec<Run>, bytes: &[u8], volume: u64) -> Result<(), NtfsError> {
    let broken = || damaged("a list of cluster runs");
    let mut rest = bytes;
    let mut at = 0i64;
    let mut first = end(runs);
    loop {
        let (&head, tail) = rest.split_first().ok_or_else(broken)?;
        if head == 0 {
            return Ok(());
        }
        let (len_bytes, at_bytes) = (usize::from(head & 15), usize::from(head >> 4));
        let (len, tail) = tail.split_at_checked(len_bytes).ok_or_else(broken)?;
        let (delta, tail) = tail.split_at_checked(at_bytes).ok_or_else(broken)?;
        rest = tail;
        let clusters = signed(len).and_then(|len| u64::try_from(len).ok()).filter(|len| *len > 0).ok_or_else(broken)?;
        let place = if at_bytes == 0 {
            None
        } else {
            at = signed(delta).and_then(|delta| at.checked_add(delta)).ok_or_else(broken)?;
            let place = u64::try_from(at).map_err(|_| broken())?;
            if place.checked_add(clusters).is_none_or(|end| end > volume) {
                return Err(damaged("a file with clusters outside the volume"));
            }
            Some(place)
        };
        if runs.len() >= MAX_RUNS {
            return Err(damaged("a file in too many pieces"));
        }
        runs.push(Run { first, clusters, at: place });
        first = first.checked_add(clusters).filter(|end| *end < MAX_CLUSTERS).ok_or_else(broken)?;
    }
}

/// The cluster of the file after the last run.
pub(super) fn end(runs: &[Run]) -> u64 {
    runs.last().map_or(0, |run| run.first + run.clusters)
}

fn signed(bytes: &[u8]) -> Option<i64> {
    let last = bytes.last()?;
    let fill = if last & 0x80 == 0 { 0 } else { 0xff };
    let mut whole = [fill; 8];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(whole))
}
