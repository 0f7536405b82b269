//! A plan without a server: from the profiles and whatever state there is, reading only. Opens no network socket and writes no
//! file.

use std::path::Path;
use std::sync::Arc;

use super::{ServeError, StateFolder};
use crate::clock::Clock;
use crate::job::plan::{self, Plan};
use crate::night::{NightError, facts, key_values};
use crate::packs::{Access, ImageStore};
use crate::profile::load;
use crate::room::{RoomName, Selection};
use crate::store::{Store, StoreKey};

/// The plan of a re-clone of `room`, as it would be now.
pub fn plan(
    profiles: &Path,
    state: &StateFolder,
    room: &RoomName,
    selection: &Selection,
    sources: &key_values::Sources,
    clock: Arc<dyn Clock>,
) -> Result<Plan, ServeError> {
    let profiles = load::load(profiles).map_err(ServeError::Profiles)?;
    let room = profiles.rooms.get(room).ok_or_else(|| NightError::NoRoom(room.clone()))?;
    let store = if state.database().exists() {
        let key = StoreKey::open_or_create(&state.database_key())?;
        Some(Store::open_frozen(&state.database(), key, clock)?)
    } else {
        None
    };
    let images = ImageStore::open_as(&state.images(), Access::ReadOnly)?;
    let facts = facts::gather(store.as_ref(), &images, &profiles, room, sources)?;
    Ok(plan::plan(&profiles, room, selection, &facts).map_err(NightError::Plan)?)
}
