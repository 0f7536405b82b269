//! What simulated PCs share: time, Microsoft's counters, KMS hosts, DNS.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::activation::codes::Code;
use crate::activation::confirmation::InstallationId;
use crate::activation::key::ProductKey;
use crate::activation::licensing::Channel;
use crate::clock::Clock;

/// What Microsoft has counted, by the last five characters of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Microsoft {
    activations: BTreeMap<String, u32>,
    confirmations: BTreeMap<String, BTreeSet<InstallationId>>,
    limits: BTreeMap<String, u32>,
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

    fn activate(&mut self, partial_key: &str) -> Result<(), Code> {
        let used = self.activations(partial_key).saturating_add(self.cids_issued(partial_key));
        if self.limits.get(partial_key).is_some_and(|limit| used >= *limit) {
            return Err(Code::MAK_LIMIT);
        }
        *self.activations.entry(partial_key.to_owned()).or_default() += 1;
        Ok(())
    }
}

/// A KMS host: it answers once it has seen enough different PCs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimKmsHost {
    threshold: u32,
    reachable: bool,
    seen: BTreeMap<String, Timestamp>,
}

impl Default for SimKmsHost {
    /// A host for clients, which answers from 25 on.
    fn default() -> Self {
        Self::new(25)
    }
}

impl SimKmsHost {
    /// A host that wants to see so many different client machine IDs.
    pub fn new(threshold: u32) -> Self {
        Self { threshold, reachable: true, seen: BTreeMap::new() }
    }

    /// The same host, switched off.
    pub fn unreachable(self) -> Self {
        Self { reachable: false, ..self }
    }

    /// How long a client machine ID counts.
    pub const WINDOW: Duration = Duration::from_secs(30 * 86_400);

    /// How many different client machine IDs it has seen in the last 30 days; it remembers at most twice its threshold.
    pub fn count(&self, now: Timestamp) -> u32 {
        let count = self.seen.values().filter(|at| fresh(**at, now)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// A request of a client, which counts even when it is refused.
    fn ask(&mut self, cmid: &str, now: Timestamp) -> Result<(), Code> {
        if !self.reachable {
            return Err(Code::KMS_UNREACHABLE);
        }
        self.seen.insert(cmid.to_owned(), now);
        self.seen.retain(|_, at| fresh(*at, now));
        let most = usize::try_from(self.threshold.saturating_mul(2)).unwrap_or(usize::MAX);
        while self.seen.len() > most {
            let oldest = self.seen.iter().min_by_key(|(_, at)| **at).map(|(cmid, _)| cmid.clone());
            let Some(oldest) = oldest else { break };
            self.seen.remove(&oldest);
        }
        if self.count(now) < self.threshold { Err(Code::COUNT_TOO_LOW) } else { Ok(()) }
    }
}

fn fresh(at: Timestamp, now: Timestamp) -> bool {
    at.checked_add(SimKmsHost::WINDOW).is_ok_and(|end| end >= now)
}

/// What a shown installation ID was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) board: String,
    pub(super) partial_key: String,
    pub(super) activation_id: String,
}

#[derive(Debug, Default)]
struct Shared {
    microsoft: Microsoft,
    internet: bool,
    hosts: BTreeMap<(String, u16), SimKmsHost>,
    dns: Option<(String, u16)>,
    keys: Vec<(ProductKey, Channel)>,
    origins: BTreeMap<InstallationId, Origin>,
    first_boots: u64,
}

/// Everything that is outside of a simulated PC. Clones are the same world.
#[derive(Debug, Clone)]
pub struct World {
    clock: Arc<dyn Clock>,
    shared: Arc<Mutex<Shared>>,
}

impl World {
    /// A world with Internet, without KMS hosts, which knows the published setup keys only.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let shared = Shared { internet: true, ..Shared::default() };
        Self { clock, shared: Arc::new(Mutex::new(shared)) }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Microsoft's counters as they are now.
    pub fn microsoft(&self) -> Microsoft {
        self.shared().microsoft.clone()
    }

    /// A product key that exists, and its kind.
    pub fn add_key(&self, key: &ProductKey, channel: Channel) {
        self.shared().keys.push((key.clone(), channel));
    }

    /// How often Microsoft lets a key be activated.
    pub fn limit_key(&self, partial_key: &str, activations: u32) {
        self.shared().microsoft.limits.insert(partial_key.to_owned(), activations);
    }

    /// Whether PCs reach Microsoft.
    pub fn set_internet(&self, there: bool) {
        self.shared().internet = there;
    }

    /// Sets up a KMS host.
    pub fn add_kms_host(&self, name: &str, port: u16, host: SimKmsHost) {
        self.shared().hosts.insert((name.to_ascii_lowercase(), port), host);
    }

    /// Switches a KMS host on or off.
    pub fn set_kms_reachable(&self, name: &str, port: u16, reachable: bool) {
        if let Some(host) = self.shared().hosts.get_mut(&(name.to_ascii_lowercase(), port)) {
            host.reachable = reachable;
        }
    }

    /// The KMS host as it is now.
    pub fn kms_host(&self, name: &str, port: u16) -> Option<SimKmsHost> {
        self.shared().hosts.get(&(name.to_ascii_lowercase(), port)).cloned()
    }

    /// What the SRV record `_vlmcs._tcp` says.
    pub fn set_kms_in_dns(&self, host: Option<(&str, u16)>) {
        self.shared().dns = host.map(|(name, port)| (name.to_owned(), port));
    }

    pub(super) fn channel_of(&self, key: &ProductKey) -> Option<Channel> {
        self.shared().keys.iter().find(|(known, _)| known == key).map(|(_, channel)| *channel)
    }

    pub(super) fn activate_online(&self, partial_key: &str) -> Result<(), Code> {
        const CANNOT_CONNECT: Code = Code(0x8007_2EFD);
        let mut shared = self.shared();
        if shared.internet { shared.microsoft.activate(partial_key) } else { Err(CANNOT_CONNECT) }
    }

    pub(super) fn ask_kms(&self, set: Option<(&str, u16)>, cmid: &str) -> Result<(), Code> {
        let now = self.now();
        let mut shared = self.shared();
        let (name, port) = match set {
            Some((name, port)) => (name.to_owned(), port),
            None => shared.dns.clone().ok_or(Code::KMS_NOT_IN_DNS)?,
        };
        let host = shared.hosts.get_mut(&(name.to_ascii_lowercase(), port)).ok_or(Code::KMS_UNREACHABLE)?;
        host.ask(cmid, now)
    }

    pub(super) fn remember(&self, iid: &InstallationId, origin: Origin) {
        self.shared().origins.insert(iid.clone(), origin);
    }

    pub(super) fn origin(&self, iid: &InstallationId) -> Option<Origin> {
        self.shared().origins.get(iid).cloned()
    }

    pub(in crate::sim) fn count_confirmation(&self, iid: &InstallationId, partial_key: &str) {
        self.shared().microsoft.confirmations.entry(partial_key.to_owned()).or_default().insert(iid.clone());
    }

    pub(super) fn next_first_boot(&self) -> u64 {
        let mut shared = self.shared();
        shared.first_boots += 1;
        shared.first_boots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + day * 86_400).expect("in range")
    }

    #[test]
    fn a_host_counts_different_pcs_of_thirty_days_up_to_fifty() {
        let mut host = SimKmsHost::default();
        for n in 0..24 {
            assert_eq!(host.ask(&format!("pc{n}"), at(0)), Err(Code::COUNT_TOO_LOW));
        }
        assert_eq!(host.ask("pc0", at(1)), Err(Code::COUNT_TOO_LOW), "the same PC does not count twice");
        assert_eq!(host.ask("pc24", at(1)), Ok(()));
        assert_eq!(host.count(at(30)), 25);
        assert_eq!(host.count(at(31)), 2, "23 of the first day are forgotten");
        for n in 0..80 {
            let _ = host.ask(&format!("more{n}"), at(2));
        }
        assert_eq!(host.count(at(2)), 50);
        host.reachable = false;
        assert_eq!(host.ask("pc0", at(2)), Err(Code::KMS_UNREACHABLE));
    }
}
