//! The mask: the bytes of a disk that do not count, because no file uses them.

use serde::{Deserialize, Serialize};

use super::Extent;

/// Runs of bytes that read as zero and are never written, sorted, without overlap or touch. Offsets from the start of
/// the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mask {
    extents: Vec<Extent>,
}

impl Mask {
    /// From runs in any order, which may overlap.
    pub fn new(mut runs: Vec<Extent>) -> Self {
        runs.retain(|run| run.len > 0);
        runs.sort();
        let mut extents: Vec<Extent> = Vec::with_capacity(runs.len());
        for run in runs {
            match extents.last_mut() {
                Some(last) if run.start <= last.end() => last.len = last.len.max(run.end() - last.start),
                _ => extents.push(run),
            }
        }
        Self { extents }
    }

    /// The masked runs.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// How many bytes are masked.
    pub fn bytes(&self) -> u64 {
        self.extents.iter().map(|e| e.len).sum()
    }

    /// The masked parts of `window`, in order.
    pub fn within(&self, window: Extent) -> impl Iterator<Item = Extent> + '_ {
        let first = self.extents.partition_point(|e| e.end() <= window.start);
        self.extents[first..].iter().map_while(move |e| e.overlap(&window))
    }

    /// The parts of `window` that count, in order.
    pub fn outside(&self, window: Extent) -> Vec<Extent> {
        let mut at = window.start;
        let mut out = Vec::new();
        for masked in self.within(window) {
            if masked.start > at {
                out.push(Extent { start: at, len: masked.start - at });
            }
            at = masked.end();
        }
        if at < window.end() {
            out.push(Extent { start: at, len: window.end() - at });
        }
        out
    }

    /// Whether nothing in `window` counts.
    pub fn covers(&self, window: Extent) -> bool {
        self.within(window).next() == Some(window)
    }

    /// Sets the masked bytes of `bytes`, which were read at `start`, to zero.
    pub fn blank(&self, start: u64, bytes: &mut [u8]) {
        for masked in self.within(Extent { start, len: bytes.len() as u64 }) {
            let from = (masked.start - start) as usize;
            bytes[from..from + masked.len as usize].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: u64, len: u64) -> Extent {
        Extent { start, len }
    }

    #[test]
    fn runs_merge_and_split_windows() {
        let mask = Mask::new(vec![extent(40, 10), extent(10, 5), extent(15, 5), extent(12, 2), extent(99, 0)]);
        assert_eq!(mask.extents(), [extent(10, 10), extent(40, 10)]);
        assert_eq!(mask.outside(extent(0, 60)), [extent(0, 10), extent(20, 20), extent(50, 10)]);
        assert!(mask.covers(extent(12, 8)) && !mask.covers(extent(12, 9)));
        let mut bytes = [7; 20];
        mask.blank(5, &mut bytes);
        assert_eq!(bytes, [7, 7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7]);
    }
}
