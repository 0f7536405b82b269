//! Where an image comes from: the server, other PCs, the room's stream. None of them is trusted.

use std::error::Error;

use crate::image::{Hash, PackedLeaf};

/// What a sink answers when it takes no more leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no more leaves are taken")]
pub struct Declined;

/// Why a source did not deliver. It has tried what it can by then: other peers, waiting, connecting again.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nobody answered, or the connection broke.
    #[error("{from} did not deliver the {what}")]
    Failed {
        /// What was asked for.
        what: &'static str,
        /// Who was asked.
        from: String,
        /// What happened.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The source does not have it.
    #[error("{from} does not have the {what}")]
    Absent {
        /// What was asked for.
        what: &'static str,
        /// Who was asked.
        from: String,
    },
    /// The receiver took no more.
    #[error(transparent)]
    Declined(#[from] Declined),
}

/// Delivers an image's mask, hashes and leaves. Called from several threads at once.
pub trait ImageSource: Send + Sync {
    /// The mask's bytes as stored.
    fn mask(&self) -> Result<Vec<u8>, SourceError>;

    /// The leaf hashes of each of `groups`, in their order.
    fn leaf_hashes(&self, groups: &[u64]) -> Result<Vec<Vec<Hash>>, SourceError>;

    /// Hands each of `wanted` (a leaf's number and hash, ascending by number) to `sink`, in any order; one that is left out
    /// is asked for again. When the sink declines, the source returns.
    fn leaves(
        &self,
        wanted: &[(u64, Hash)],
        sink: &mut dyn FnMut(u64, PackedLeaf) -> Result<(), Declined>,
    ) -> Result<(), SourceError>;

    /// Bytes received so far, as they came over the wire, index included.
    fn fetched(&self) -> u64;

    /// Hears that leaf `index` came with other contents than signed, so that it can be taken from somebody else.
    fn wrong_leaf(&self, index: u64) {
        let _ = index;
    }
}
