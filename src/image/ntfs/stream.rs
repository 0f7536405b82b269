//! The contents of one attribute, wherever they lie.

use super::runs::Run;
use super::{Extent, HEAD_BYTES};

#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) compressed: bool,
    pub(super) encrypted: bool,
    pub(super) contents: Contents,
}

#[derive(Debug, Clone)]
pub(super) enum Contents {
    Resident(Vec<u8>),
    Clusters {
        runs: Vec<Run>,
        /// In bytes.
        size: u64,
        /// Bytes after this one were never written and read as zeros.
        initialized: u64,
    },
}

impl Stream {
    pub(super) fn size(&self) -> u64 {
        match &self.contents {
            Contents::Resident(bytes) => bytes.len() as u64,
            Contents::Clusters { size, .. } => *size,
        }
    }

    /// Adds the extents of the file's clusters: those of its first [`HEAD_BYTES`] to `head`, all others to `rest`.
    pub(super) fn split_head(&self, cluster_bytes: u64, head: &mut Vec<Extent>, rest: &mut Vec<Extent>) {
        let Contents::Clusters { runs, .. } = &self.contents else { return };
        for run in runs {
            let Some(at) = run.at else { continue };
            let whole = Extent { start: at * cluster_bytes, len: run.clusters * cluster_bytes };
            let in_head = HEAD_BYTES.saturating_sub(run.first * cluster_bytes).min(whole.len);
            if in_head > 0 {
                head.push(Extent { start: whole.start, len: in_head });
            }
            if in_head < whole.len {
                rest.push(Extent { start: whole.start + in_head, len: whole.len - in_head });
            }
        }
    }
}
