//! What each key has spent and how long it lasts, for people; and the release of a key on hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Night, NightError, key_values};
use crate::activation::ledger::Limits;
use crate::activation::outlook::{Outlook, SpendingRoom, outlook};
use crate::activation::{KeyKind, Strategy};
use crate::profile::Profiles;
use crate::profile::model::Key;
use crate::room::KeyName;
use crate::store::{Hold, LedgerEntry, LedgerSums};

/// How many entries are shown of one key.
const ENTRIES: usize = 50;

/// What is known of one key. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLedger {
    /// Its name.
    pub key: KeyName,
    /// What kind it is; none where no profile names it any more.
    pub kind: Option<KeyKind>,
    /// Its last five characters, where they are known.
    pub partial_key: Option<String>,
    /// Why its value cannot be read, where it cannot.
    pub problem: Option<String>,
    /// How many activations may ever be spent with it.
    pub budget: Option<u32>,
    /// How many of them stay untouched.
    pub reserve: u32,
    /// How many are left to spend; none where no budget bounds them.
    pub remaining: Option<u64>,
    /// The sums.
    #[serde(flatten)]
    pub sums: LedgerSums,
    /// Why it is on hold, where it is.
    pub hold: Option<Hold>,
    /// How long it lasts; none for a key that nobody counts.
    pub outlook: Option<Outlook>,
    /// Its newest entries, newest first, where one key was asked for.
    pub entries: Vec<LedgerEntry>,
}

impl Night {
    /// The ledger of every key that the profiles or the ledger name, or of one of them with its entries.
    pub fn key_ledgers(&self, only: Option<&KeyName>) -> Result<Vec<KeyLedger>, NightError> {
        let profiles = self.profiles();
        let mut names: BTreeMap<KeyName, Option<String>> = self.store.ledger_keys()?.into_iter().collect();
        for key in profiles.site.keys.keys() {
            names.entry(key.clone()).or_default();
        }
        if let Some(only) = only {
            if !names.contains_key(only) {
                return Err(NightError::NoKey { key: only.clone(), known: names.into_keys().collect() });
            }
            names.retain(|name, _| name == only);
        }
        names.into_iter().map(|(name, last)| self.key_ledger(&profiles, name, last, only.is_some())).collect()
    }

    fn key_ledger(
        &self,
        profiles: &Profiles,
        name: KeyName,
        last_partial: Option<String>,
        with_entries: bool,
    ) -> Result<KeyLedger, NightError> {
        let key = profiles.site.keys.get(&name);
        let (partial_key, problem) = match key.map(|key| key_values::partial(&name, key, &self.key_values)) {
            Some(Ok(partial)) => (Some(partial), None),
            // The PC's own key has none here, and that is as it should be.
            Some(Err(key_values::KeyValueError::NotHere(_))) | None => (last_partial, None),
            Some(Err(error)) => (last_partial, Some(with_causes(&error))),
        };
        let partial = partial_key.as_deref().unwrap_or_default();
        let sums = self.store.ledger(&name, partial)?;
        let (budget, reserve) = key.map_or((None, 0), |key| (key.budget, key.reserve));
        let remaining = Limits { budget, reserve, run_limit: None }.remaining(sums.spent);
        let outlook = match key {
            Some(Key { kind, .. }) if kind.counts() => {
                let spends = self.store.spends(&name, partial)?;
                let rooms = spending_rooms(profiles, &name);
                let site = &profiles.site;
                Some(outlook(remaining, &spends, &rooms, self.now(), &site.zone(), &site.calendar))
            }
            _ => None,
        };
        let entries = match with_entries {
            true => self.store.ledger_entries(&name, partial, ENTRIES)?,
            false => Vec::new(),
        };
        Ok(KeyLedger {
            kind: key.map(|key| key.kind),
            hold: self.store.hold(&name, partial)?,
            key: name,
            partial_key,
            problem,
            budget,
            reserve,
            remaining,
            sums,
            outlook,
            entries,
        })
    }

    /// Lets a key be used again that is on hold; tells whether there was anything to release.
    pub fn release_key(&self, key: &KeyName, who: &str) -> Result<bool, NightError> {
        let ledger = self.key_ledgers(Some(key))?;
        let partial = ledger.into_iter().find_map(|ledger| ledger.partial_key).unwrap_or_default();
        Ok(self.store.release(key, &partial, who)?)
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The rooms whose scheduled runs spend activations of this key.
fn spending_rooms<'a>(profiles: &'a Profiles, key: &KeyName) -> Vec<SpendingRoom<'a>> {
    profiles
        .rooms
        .values()
        .filter_map(|room| {
            let spending = |strategy: &&Strategy| spent_key(strategy) == Some(key);
            let machines = room.machines.iter().map(|machine| machine.strategy(room)).filter(spending).count();
            let per_run = u32::try_from(machines).unwrap_or(u32::MAX);
            room.schedule.as_ref().map(|schedule| SpendingRoom { schedule, per_run })
        })
        .collect()
}

/// The key of which each clone under this strategy spends an activation.
fn spent_key(strategy: &Strategy) -> Option<&KeyName> {
    match strategy {
        // Re-cloning spends nothing: the stored confirmation ID is used again.
        Strategy::MakProxy { .. } => None,
        Strategy::None | Strategy::Grace { .. } | Strategy::Kms { .. } => None,
    }
}
