//! Which clusters are taken.

use super::VolumeError;
use super::noise::Noise;

/// Consecutive clusters: the first, and how many.
pub(super) type Run = (u64, u64);

#[derive(Debug)]
pub(super) struct Space {
    bytes: u64,
    clusters: u64,
    next: u64,
    taken: Vec<u8>,
    used: u64,
    noise: Noise,
    gaps: u64,
}

impl Space {
    pub(super) fn new(bytes: u64, clusters: u64, seed: u64, gaps: u64) -> Self {
        let taken = vec![0; clusters.div_ceil(64) as usize * 8];
        Self { bytes, clusters, next: 0, taken, used: 0, noise: Noise::new(seed), gaps }
    }

    fn full(&self) -> VolumeError {
        VolumeError::Full { bytes: self.bytes }
    }

    fn is_free(&self, cluster: u64) -> bool {
        self.taken.get((cluster / 8) as usize).is_some_and(|byte| byte >> (cluster % 8) & 1 == 0)
    }

    /// Takes clusters at a fixed place.
    pub(super) fn take_at(&mut self, first: u64, clusters: u64) -> Result<Run, VolumeError> {
        if first + clusters > self.clusters {
            return Err(self.full());
        }
        for cluster in first..first + clusters {
            self.taken[(cluster / 8) as usize] |= 1 << (cluster % 8);
        }
        self.used += clusters;
        Ok((first, clusters))
    }

    /// Takes the next clusters in one piece.
    pub(super) fn take(&mut self, clusters: u64) -> Result<Run, VolumeError> {
        let mut first = self.next;
        let mut at = first;
        while at < first + clusters {
            if at >= self.clusters {
                return Err(self.full());
            }
            at += 1;
            if !self.is_free(at - 1) {
                first = at;
            }
        }
        self.next = first + clusters;
        self.take_at(first, clusters)
    }

    /// Takes clusters in so many pieces, with a free cluster or more between them.
    pub(super) fn take_scattered(&mut self, clusters: u64, pieces: u64) -> Result<Vec<Run>, VolumeError> {
        let share = clusters.div_ceil(pieces.max(1)).max(1);
        let mut left = clusters;
        let mut runs = Vec::new();
        while left > 0 {
            runs.push(self.take(share.min(left))?);
            left -= share.min(left);
            self.next += if left > 0 { 1 + self.noise.below(8) } else { 0 };
        }
        Ok(runs)
    }

    /// Sometimes leaves free space behind a file of so many clusters.
    pub(super) fn gap(&mut self, clusters: u64) {
        if self.gaps > 0 && self.noise.below(self.gaps) == 0 {
            self.next += 1 + self.noise.below(clusters / 2 + 2);
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn free(&self) -> Vec<Run> {
        let mut out: Vec<Run> = Vec::new();
        for cluster in (0..self.clusters).filter(|cluster| self.is_free(*cluster)) {
            match out.last_mut() {
                Some((first, len)) if *first + *len == cluster => *len += 1,
                _ => out.push((cluster, 1)),
            }
        }
        out
    }

    /// The bytes of `$Bitmap`: bits past the end are set, as mkntfs sets them.
    pub(super) fn bitmap(&self) -> Vec<u8> {
        let mut bytes = self.taken.clone();
        for cluster in self.clusters..bytes.len() as u64 * 8 {
            bytes[(cluster / 8) as usize] |= 1 << (cluster % 8);
        }
        bytes
    }
}
