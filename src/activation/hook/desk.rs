//! The channel between the hook and the server's confirmation store.

use serde::{Deserialize, Serialize};

use crate::activation::codes::Code;
use crate::activation::confirmation::{InstallationId, ProductRef, ReleasedConfirmation};

/// What the server has for an installation ID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum ConfirmationAnswer {
    /// A pair that is not known to be stale.
    Found {
        /// The confirmation ID.
        cid: ReleasedConfirmation,
        /// The installation ID that it was issued for: today's, else the one stored for the same machine, activation ID
        /// and partial key. Windows decides whether it tolerates the difference.
        iid: InstallationId,
    },
    /// None yet.
    Pending,
}

/// The server could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("the server could not be asked for the confirmation ID: {reason}; the PC stays as it is")]
pub struct DeskError {
    /// What went wrong, without any ID.
    pub reason: String,
}

/// Where the hook asks for a confirmation ID and tells what it saw. The machine is known to whoever implements it.
pub trait ConfirmationDesk {
    /// The confirmation ID for this installation ID of the machine: by installation ID, else by product.
    fn confirmation(&mut self, iid: &InstallationId, product: &ProductRef) -> Result<ConfirmationAnswer, DeskError>;

    /// The machine waits for a confirmation ID. Said again every night; must be idempotent.
    fn pending(&mut self, iid: &InstallationId, product: &ProductRef) -> Result<(), DeskError>;

    /// Windows no longer takes the pair of this installation ID, with `code`.
    fn stale(&mut self, iid: &InstallationId, product: &ProductRef, code: Code) -> Result<(), DeskError>;
}
