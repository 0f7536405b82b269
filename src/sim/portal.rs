//! The simulated counterpart of Microsoft's ways to a confirmation ID: installation ID in, confirmation ID out.

use crate::activation::codes::Code;
use crate::activation::confirmation::{ConfirmationError, ConfirmationId, InstallationId, ProductRef};
use crate::sim::licensing::World;
use crate::sim::licensing::digits::grouped_digits;

/// The portal of a simulated world.
#[derive(Debug, Clone)]
pub struct Portal {
    world: World,
}

impl Portal {
    /// The portal of `world`, whose counter it moves.
    pub fn of(world: &World) -> Self {
        Self { world: world.clone() }
    }

    /// Issues the confirmation ID for an installation ID, as a person on the telephone does, whatever the key's limit. The
    /// first time counts as one of the key's activations at Microsoft; the same installation ID again gives the same
    /// answer and does not count.
    ///
    /// The error is theoretical: the portal's own digits would have to be malformed.
    pub fn issue(&self, iid: &InstallationId, product: &ProductRef) -> Result<ConfirmationId, ConfirmationError> {
        self.world.count_confirmation(iid, product);
        confirmation_of(iid)
    }

    /// The same by the service's rules, as a program asks it.
    ///
    /// # Errors
    /// Microsoft's code: no Internet, a blocked key (803FA067), one at its limit (803FA07F), wrong check digits
    /// (803FA090).
    pub fn request(&self, iid: &InstallationId, product: &ProductRef) -> Result<ConfirmationId, Code> {
        self.world.may_confirm(iid, product)?;
        self.issue(iid, product).map_err(|_| Code::UNSPECIFIED)
    }
}

/// The secret that binds a confirmation ID to its installation ID.
pub(super) fn confirmation_of(iid: &InstallationId) -> Result<ConfirmationId, ConfirmationError> {
    ConfirmationId::parse(&grouped_digits(&["simulated portal", iid.digits()], 8, 6))
}
