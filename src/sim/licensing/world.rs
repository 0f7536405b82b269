//! What simulated PCs share: time, Microsoft, KMS hosts, DNS, Active Directory, and the log of what happened there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::activation::codes::Code;
use crate::activation::confirmation::{InstallationId, ProductRef};
use crate::activation::key::ProductKey;
use crate::activation::licensing::Channel;
use crate::clock::Clock;
use crate::sim::licensing::keys::KeyFacts;
use crate::sim::licensing::microsoft::BLOCKED;
use crate::sim::licensing::{Hardware, Microsoft, SimKmsHost, SimProduct, WorldDeed, WorldEvent};

/// `WININET_E_CANNOT_CONNECT`: Microsoft is out of reach.
const CANNOT_CONNECT: Code = Code(0x8007_2EFD);
/// `WININET_E_TIMEOUT`: no answer came.
const TIMED_OUT: Code = Code(0x8007_2EE2);
/// No activation object was found in Active Directory.
pub(super) const NO_ACTIVATION_OBJECT: Code = Code(0xC004_F081);
/// The portal's words for a blocked key, a used-up one and wrong digits.
const PORTAL_BLOCKED: Code = Code(0x803F_A067);
const PORTAL_LIMIT: Code = Code(0x803F_A07F);
const PORTAL_DIGITS: Code = Code(0x803F_A090);

/// A fault of the way to Microsoft: it counts the activation, and the PC is told that nobody answered (80072EE2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostAnswer {
    /// The licence was lost too: the PC stays as it was, one activation poorer.
    WithLicence,
    /// The licence had arrived: re-reading the status shows an activated PC.
    AfterLicence,
}

/// Who asks, of whichever authority, for which product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) hardware: &'a Hardware,
    pub(super) product: SimProduct,
    pub(super) activation_id: &'a str,
    pub(super) partial_key: &'a str,
    pub(super) by_itself: bool,
}

/// Microsoft's answer as it arrives at the PC.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnlineAnswer {
    pub(super) said: Result<(), Code>,
    pub(super) licensed: bool,
}

/// What a shown installation ID was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) board: String,
    pub(super) extras: String,
    pub(super) partial_key: String,
    pub(super) activation_id: String,
}

#[derive(Debug, Default)]
struct Shared {
    microsoft: Microsoft,
    internet: bool,
    lost_answer: Option<LostAnswer>,
    hosts: BTreeMap<(String, u16), SimKmsHost>,
    dns: Option<(String, u16)>,
    directories: BTreeMap<String, String>,
    unreachable_directories: BTreeSet<String>,
    keys: Vec<(ProductKey, KeyFacts)>,
    origins: BTreeMap<InstallationId, Origin>,
    first_boots: u64,
    events: Vec<WorldEvent>,
}

impl Shared {
    fn note(&mut self, at: Timestamp, asker: Asker<'_>, what: WorldDeed, code: Code) {
        self.push(at, asker.hardware, Some((asker.activation_id, asker.partial_key)), what, code);
    }

    fn push(&mut self, at: Timestamp, on: &Hardware, product: Option<(&str, &str)>, what: WorldDeed, code: Code) {
        let number = u64::try_from(self.events.len()).unwrap_or(u64::MAX);
        let (product, partial_key) = product.unzip();
        self.events.push(WorldEvent {
            number,
            at,
            board: on.board.clone(),
            extras: on.extras.clone(),
            product: product.map(str::to_owned),
            partial_key: partial_key.map(str::to_owned),
            what,
            code,
        });
    }
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

    /// Everything that has happened.
    pub fn events(&self) -> Vec<WorldEvent> {
        self.events_from(0)
    }

    /// What has happened from this event number on.
    pub fn events_from(&self, number: u64) -> Vec<WorldEvent> {
        let from = usize::try_from(number).unwrap_or(usize::MAX);
        self.shared().events.get(from..).unwrap_or_default().to_vec()
    }

    /// A product key of Windows that exists, and its kind; it fits every edition.
    pub fn add_key(&self, key: &ProductKey, channel: Channel) {
        self.add_key_for(key, KeyFacts::windows(channel));
    }

    /// A product key that exists, and what it is good for.
    pub fn add_key_for(&self, key: &ProductKey, facts: KeyFacts) {
        self.shared().keys.push((key.clone(), facts));
    }

    /// How often Microsoft lets a key be activated, online and by confirmation ID together.
    pub fn limit_key(&self, partial_key: &str, activations: u32) {
        self.shared().microsoft.limit(partial_key, activations);
    }

    /// Microsoft raises the limit of a key.
    pub fn extend_key(&self, partial_key: &str, by: u32) {
        self.shared().microsoft.extend(partial_key, by);
    }

    /// Microsoft blocks a key.
    pub fn block_key(&self, partial_key: &str) {
        self.shared().microsoft.block(partial_key);
    }

    /// Microsoft holds a digital licence for this board and edition of Windows 10 or 11.
    pub fn grant_digital_licence(&self, board: &str, edition: &str) {
        self.shared().microsoft.grant_digital_licence(board, edition);
    }

    pub(super) fn has_digital_licence(&self, board: &str, edition: &str) -> bool {
        self.shared().microsoft.has_digital_licence(board, edition)
    }

    /// Whether PCs reach Microsoft.
    pub fn set_internet(&self, there: bool) {
        self.shared().internet = there;
    }

    /// What becomes of Microsoft's answers to online activations from now on.
    pub fn set_lost_answer(&self, fault: Option<LostAnswer>) {
        self.shared().lost_answer = fault;
    }

    /// Sets up a KMS host.
    pub fn add_kms_host(&self, name: &str, port: u16, host: SimKmsHost) {
        self.shared().hosts.insert((name.to_ascii_lowercase(), port), host);
    }

    /// Switches a KMS host on or off.
    pub fn set_kms_reachable(&self, name: &str, port: u16, reachable: bool) {
        if let Some(host) = self.shared().hosts.get_mut(&(name.to_ascii_lowercase(), port)) {
            host.set_reachable(reachable);
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

    pub(super) fn kms_in_dns(&self) -> Option<(String, u16)> {
        self.shared().dns.clone()
    }

    /// Puts an activation object into the directory of a domain, or takes it away.
    pub fn set_activation_object(&self, domain: &str, object: Option<&str>) {
        let domain = domain.to_ascii_lowercase();
        let mut shared = self.shared();
        match object {
            Some(object) => shared.directories.insert(domain, object.to_owned()),
            None => shared.directories.remove(&domain),
        };
    }

    /// Whether PCs reach the domain controllers.
    pub fn set_directory_reachable(&self, domain: &str, reachable: bool) {
        let domain = domain.to_ascii_lowercase();
        let mut shared = self.shared();
        if reachable {
            shared.unreachable_directories.remove(&domain);
        } else {
            shared.unreachable_directories.insert(domain);
        }
    }

    pub(super) fn key_facts(&self, key: &ProductKey) -> Option<KeyFacts> {
        self.shared().keys.iter().find(|(known, _)| known == key).map(|(_, facts)| facts.clone())
    }

    pub(super) fn note(&self, hardware: &Hardware, product: Option<(&str, &str)>, what: WorldDeed, code: Code) {
        let now = self.now();
        self.shared().push(now, hardware, product, what, code);
    }

    /// Online activation. A vendor's key in the firmware and a digital licence count nothing. `digital` is the edition, on
    /// a Windows that has digital licences.
    pub(super) fn activate_online(&self, asker: Asker<'_>, channel: Channel, digital: Option<&str>) -> OnlineAnswer {
        let now = self.now();
        let mut shared = self.shared();
        let by_itself = asker.by_itself;
        if !shared.internet {
            shared.note(now, asker, WorldDeed::OnlineActivation { counted: false, by_itself }, CANNOT_CONNECT);
            return OnlineAnswer { said: Err(CANNOT_CONNECT), licensed: false };
        }
        let board = &asker.hardware.board;
        let held = digital.is_some_and(|edition| shared.microsoft.has_digital_licence(board, edition));
        let free = channel == Channel::Oem || (channel == Channel::Retail && held);
        let granted = if free { Ok(()) } else { shared.microsoft.activate(asker.partial_key, channel) };
        if let Some(edition) = digital.filter(|_| granted.is_ok() && matches!(channel, Channel::Oem | Channel::Retail))
        {
            shared.microsoft.grant_digital_licence(board, edition);
        }
        let counted = granted.is_ok() && !free;
        shared.note(now, asker, WorldDeed::OnlineActivation { counted, by_itself }, granted.err().unwrap_or(Code::OK));
        match shared.lost_answer {
            None => OnlineAnswer { said: granted, licensed: granted.is_ok() },
            Some(lost) => {
                OnlineAnswer { said: Err(TIMED_OUT), licensed: granted.is_ok() && lost == LostAnswer::AfterLicence }
            }
        }
    }

    /// Asks the KMS host that was set, else the one in DNS.
    pub(super) fn ask_kms(&self, asker: Asker<'_>, set: Option<(&str, u16)>, cmid: &str) -> Result<(), Code> {
        let now = self.now();
        let mut shared = self.shared();
        let found = set.map(|(name, port)| (name.to_owned(), port)).or_else(|| shared.dns.clone());
        let (answer, count) = match &found {
            None => (Err(Code::KMS_NOT_IN_DNS), 0),
            Some((name, port)) => shared
                .hosts
                .get_mut(&(name.to_ascii_lowercase(), *port))
                .map_or((Err(Code::KMS_UNREACHABLE), 0), |host| host.ask(asker.product, cmid, now)),
        };
        let (host, port) = found.unwrap_or_default();
        let what = WorldDeed::KmsRequest { host, port, cmid: cmid.to_owned(), count, by_itself: asker.by_itself };
        shared.note(now, asker, what, answer.err().unwrap_or(Code::OK));
        answer
    }

    /// Looks for an activation object in the PC's domain; its name.
    pub(super) fn ask_directory(&self, asker: Asker<'_>, domain: Option<&str>) -> Result<String, Code> {
        let now = self.now();
        let mut shared = self.shared();
        let domain = domain.map(str::to_ascii_lowercase).unwrap_or_default();
        let object = shared.directories.get(&domain).filter(|_| !shared.unreachable_directories.contains(&domain));
        let answer = object.cloned().ok_or(NO_ACTIVATION_OBJECT);
        let code = answer.as_ref().err().copied().unwrap_or(Code::OK);
        shared.note(now, asker, WorldDeed::DirectoryRequest { domain, by_itself: asker.by_itself }, code);
        answer
    }

    pub(super) fn remember(&self, iid: &InstallationId, origin: impl FnOnce() -> Origin) {
        let mut shared = self.shared();
        if !shared.origins.contains_key(iid) {
            shared.origins.insert(iid.clone(), origin());
        }
    }

    pub(super) fn origin(&self, iid: &InstallationId) -> Option<Origin> {
        self.shared().origins.get(iid).cloned()
    }

    /// Whether the portal issues a confirmation ID, and under which code it says no. Microsoft reads the key out of the
    /// installation ID itself; `claimed` is for one that no PC of this world has shown.
    pub(in crate::sim) fn may_confirm(&self, iid: &InstallationId, claimed: &ProductRef) -> Result<(), Code> {
        let now = self.now();
        let mut shared = self.shared();
        let origin = shared.origins.get(iid).cloned();
        let partial_key = origin.as_ref().map_or(&claimed.partial_key, |origin| &origin.partial_key);
        let allowed = if !shared.internet {
            Err(CANNOT_CONNECT)
        } else if !iid.check_digits_fit() {
            Err(PORTAL_DIGITS)
        } else {
            let said = shared.microsoft.may_confirm(iid, partial_key);
            said.map_err(|code| if code == BLOCKED { PORTAL_BLOCKED } else { PORTAL_LIMIT })
        };
        if let Err(code) = allowed {
            let what = WorldDeed::Confirmation { counted: false };
            let (hardware, product) = parts(origin, claimed);
            shared.push(now, &hardware, Some((&product.activation_id, &product.partial_key)), what, code);
        }
        allowed
    }

    pub(in crate::sim) fn count_confirmation(&self, iid: &InstallationId, claimed: &ProductRef) {
        let now = self.now();
        let mut shared = self.shared();
        let (hardware, product) = parts(shared.origins.get(iid).cloned(), claimed);
        let counted = shared.microsoft.confirm(iid, &product.partial_key);
        let what = WorldDeed::Confirmation { counted };
        shared.push(now, &hardware, Some((&product.activation_id, &product.partial_key)), what, Code::OK);
    }

    pub(super) fn next_first_boot(&self) -> u64 {
        let mut shared = self.shared();
        shared.first_boots += 1;
        shared.first_boots
    }
}

/// What an installation ID tells Microsoft, else what is claimed of it.
fn parts(origin: Option<Origin>, claimed: &ProductRef) -> (Hardware, ProductRef) {
    match origin {
        Some(Origin { board, extras, partial_key, activation_id }) => {
            (Hardware::new(&board).with_extras(&extras), ProductRef { activation_id, partial_key })
        }
        None => (Hardware::new(""), claimed.clone()),
    }
}
