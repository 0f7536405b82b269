//! A plan without a server: from the profiles and whatever state there is, reading only. Opens no network socket and writes no
//! file.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{ServeError, StateFolder, file_error};
use crate::clock::Clock;
use crate::job::plan::{self, Plan};
use crate::night::{NightError, facts, key_values};
use crate::packs::{Access, ImageStore};
use crate::profile::load;
use crate::room::{ImageWish, RoomName, Selection};
use crate::store::{Store, StoreKey};

/// The plan of a re-clone of `room`, as it would be now; with another image than the room's own, where one is given.
pub fn plan(
    profiles: &Path,
    state: &StateFolder,
    room: &RoomName,
    selection: &Selection,
    image: Option<&ImageWish>,
    sources: &key_values::Sources,
    clock: Arc<dyn Clock>,
) -> Result<Plan, ServeError> {
    let profiles = load::load(profiles).map_err(ServeError::Profiles)?;
    let mut room = profiles.rooms.get(room).cloned().ok_or_else(|| NightError::no_room(room, &profiles))?;
    if let Some(image) = image {
        room.image = image.clone();
    }
    let store = if state.database().exists() {
        // Without this, the key would be made anew: a file, and one that does not fit.
        fs::metadata(state.database_key()).map_err(file_error("find", &state.database_key()))?;
        let key = StoreKey::open_or_create(&state.database_key())?;
        Some(Store::open_frozen(&state.database(), key, clock)?)
    } else {
        None
    };
    if !state.images().exists() {
        return Err(ServeError::NoImages(state.0.clone()));
    }
    let images = ImageStore::open_as(&state.images(), Access::ReadOnly)?;
    let facts = facts::gather(store.as_ref(), &images, &profiles, &room, sources)?;
    Ok(plan::plan(&profiles, &room, selection, &facts).map_err(NightError::Plan)?)
}
