//! What the simulated Microsoft knows: counters and blocks of keys, digital licences.

use std::collections::{BTreeMap, BTreeSet};

use crate::activation::codes::Code;
use crate::activation::confirmation::InstallationId;
use crate::activation::licensing::Channel;

/// The key is blocked.
pub(super) const BLOCKED: Code = Code(0xC004_C003);
/// A retail key, or a KMS host's, is used up.
const UNLOCK_LIMIT: Code = Code(0xC004_C008);
/// A MAK whose limit was raised is used up again.
const EXTENSION_LIMIT: Code = Code(0xC004_C021);

/// What Microsoft has counted, by the last five characters of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Microsoft {
    activations: BTreeMap<String, u32>,
    confirmations: BTreeMap<String, BTreeSet<InstallationId>>,
    limits: BTreeMap<String, u32>,
    extended: BTreeSet<String>,
    blocked: BTreeSet<String>,
    digital: BTreeSet<(String, String)>,
}

impl Microsoft {
    /// Online activations of the key.
    pub fn activations(&self, partial_key: &str) -> u32 {
        self.activations.get(partial_key).copied().unwrap_or(0)
    }

    /// Confirmation IDs issued for the key, one for each installation ID.
    pub fn cids_issued(&self, partial_key: &str) -> u32 {
        let count = self.confirmations.get(partial_key).map_or(0, BTreeSet::len);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The keys for which anything was counted, by their last five characters.
    pub fn counted_keys(&self) -> BTreeSet<&str> {
        self.activations.keys().chain(self.confirmations.keys()).map(String::as_str).collect()
    }

    /// Whether it holds a digital licence for this board and edition.
    pub fn has_digital_licence(&self, board: &str, edition: &str) -> bool {
        self.digital.contains(&(board.to_owned(), edition.to_ascii_lowercase()))
    }

    pub(super) fn grant_digital_licence(&mut self, board: &str, edition: &str) {
        self.digital.insert((board.to_owned(), edition.to_ascii_lowercase()));
    }

    pub(super) fn limit(&mut self, partial_key: &str, activations: u32) {
        self.limits.insert(partial_key.to_owned(), activations);
    }

    pub(super) fn extend(&mut self, partial_key: &str, by: u32) {
        let limit = self.limits.entry(partial_key.to_owned()).or_default();
        *limit = limit.saturating_add(by);
        self.extended.insert(partial_key.to_owned());
    }

    pub(super) fn block(&mut self, partial_key: &str) {
        self.blocked.insert(partial_key.to_owned());
    }

    /// Whether the key may be used once more.
    fn may_count(&self, partial_key: &str, channel: Channel) -> Result<(), Code> {
        if self.blocked.contains(partial_key) {
            return Err(BLOCKED);
        }
        let used = self.activations(partial_key).saturating_add(self.cids_issued(partial_key));
        if self.limits.get(partial_key).is_none_or(|limit| used < *limit) {
            return Ok(());
        }
        Err(match channel {
            Channel::Retail | Channel::KmsHost => UNLOCK_LIMIT,
            _ if self.extended.contains(partial_key) => EXTENSION_LIMIT,
            _ => Code::MAK_LIMIT,
        })
    }

    /// Counts an online activation, or refuses it.
    pub(super) fn activate(&mut self, partial_key: &str, channel: Channel) -> Result<(), Code> {
        self.may_count(partial_key, channel)?;
        *self.activations.entry(partial_key.to_owned()).or_default() += 1;
        Ok(())
    }

    /// Whether a confirmation ID may be issued: for an installation ID that has one, always.
    pub(super) fn may_confirm(&self, iid: &InstallationId, partial_key: &str) -> Result<(), Code> {
        if self.blocked.contains(partial_key) {
            return Err(BLOCKED);
        }
        if self.confirmations.get(partial_key).is_some_and(|issued| issued.contains(iid)) {
            return Ok(());
        }
        self.may_count(partial_key, Channel::Mak)
    }

    /// Counts a confirmation ID; whether the counter moved.
    pub(super) fn confirm(&mut self, iid: &InstallationId, partial_key: &str) -> bool {
        self.confirmations.entry(partial_key.to_owned()).or_default().insert(iid.clone())
    }
}
