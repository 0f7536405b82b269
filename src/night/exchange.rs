//! Installation IDs out, confirmation IDs in, and forgetting both.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::{Night, NightError, RunEvent};
use crate::activation::confirmation::InstallationId;
use crate::activation::exchange::{
    ExchangeRow, ImportResult, KnownInstallation, PendingRow, product_title, read_confirmations,
};
use crate::room::{MachineName, RoomName};
use crate::store::ConfirmationSummary;

impl Night {
    /// Stores the confirmation IDs of a file, for nobody in particular. See [`Night::import_confirmations_of`].
    pub fn import_confirmations(&self, file: &(impl AsRef<[u8]> + ?Sized)) -> Result<ImportResult, NightError> {
        self.import_confirmations_of("runner", file)
    }

    /// Stores the confirmation IDs of a file that `who` brought; what was refused is in the answer, with its place. All good
    /// rows are stored or none, and none if the file as a whole is refused.
    pub fn import_confirmations_of(
        &self,
        who: &str,
        file: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<ImportResult, NightError> {
        let failure = RefCell::new(None);
        let mut result = read_confirmations(file, |iid| match self.store.senders(iid) {
            Ok(senders) => senders
                .into_iter()
                .map(|summary| KnownInstallation { machine: summary.machine, product: summary.product })
                .collect(),
            Err(error) => {
                *failure.borrow_mut() = Some(error);
                Vec::new()
            }
        });
        if let Some(error) = failure.into_inner() {
            return Err(error.into());
        }
        let profiles = self.profiles();
        result.refuse_strangers(|machine| profiles.machine(machine).is_some());
        if result.accepted.is_empty() {
            return Ok(result);
        }
        let imported = self.store.import_confirmations(who, &result.accepted)?;
        result.unchanged = imported.iter().filter(|imported| !imported.changed).count();
        let alarms: BTreeSet<String> = imported
            .into_iter()
            .filter(|imported| imported.changed)
            .filter_map(|imported| imported.alarm)
            .map(|alarm| {
                let names: Vec<&str> = alarm.machines.iter().map(MachineName::as_str).collect();
                format!("one installation ID belongs to {}", names.join(" and "))
            })
            .collect();
        for what in alarms {
            self.tell(RunEvent::Alarm { what });
        }
        Ok(result)
    }

    /// The installation IDs that wait for a confirmation ID, or `all`; of one room or of all. Without confirmation IDs.
    pub fn installation_ids(&self, room: Option<&RoomName>, all: bool) -> Result<Vec<PendingRow>, NightError> {
        let profiles = self.profiles();
        if let Some(room) = room
            && !profiles.rooms.contains_key(room)
        {
            return Err(NightError::no_room(room, &profiles));
        }
        let rows = if all { self.store.confirmation_list()? } else { self.store.pending_list()? };
        let rows = rows.into_iter().filter_map(|summary| {
            let place = profiles.machine(&summary.machine).map(|(room, _)| room.name.clone());
            if room.is_some() && place.as_ref() != room {
                return None;
            }
            let title = product_title(&summary.product.activation_id).unwrap_or_default().to_owned();
            let ConfirmationSummary { machine, product, iid, extended_product_id, .. } = summary;
            Some(PendingRow {
                row: ExchangeRow { machine, product, iid, cid: None, title },
                room: place,
                extended_product_id,
            })
        });
        Ok(rows.collect())
    }

    /// Forgets a machine's installation and confirmation IDs, one or all; with `dry` only says which. The machine need not be
    /// in a profile any more.
    pub fn forget_confirmations(
        &self,
        who: &str,
        machine: &MachineName,
        iid: Option<&InstallationId>,
        dry: bool,
    ) -> Result<Vec<ConfirmationSummary>, NightError> {
        Ok(self.store.forget_confirmations(who, machine, iid, dry)?)
    }
}
