//! What the activation tests share: keys, images, a confirmation store in memory, a night.

#![expect(clippy::expect_used, reason = "a test that cannot be set up must fail")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use klonwerk::activation::Strategy;
use klonwerk::activation::codes::Code;
use klonwerk::activation::confirmation::{ConfirmationId, InstallationId, ProductRef, ReleasedConfirmation};
use klonwerk::activation::exchange::{ExchangeRow, KnownInstallation};
use klonwerk::activation::hook::{
    ActivationOrder, ActivationReport, ConfirmationAnswer, ConfirmationDesk, DeskError, OrderedKey, run,
};
use klonwerk::activation::key::{ProductKey, ReleasedKey, gvlk};
use klonwerk::activation::licensing::{Channel, LicensingCall};
use klonwerk::clock::ManualClock;
use klonwerk::image::{KeyChannel, WindowsFacts};
use klonwerk::room::MachineName;
use klonwerk::sim::licensing::{Hardware, LicensingState, SimLicensing, World};

/// Made up: no key of anybody's.
pub(crate) const MAK: &str = "BBBBB-CCCCC-DDDDD-FFFFF-7HKMQ";
pub(crate) const OTHER_MAK: &str = "BBBBB-CCCCC-DDDDD-FFFFF-8JPRT";
pub(crate) const HOST_KEY: &str = "BBBBB-CCCCC-DDDDD-FFFFF-9VWXY";
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn key(text: &str) -> ProductKey {
    ProductKey::parse(text).expect("a key")
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::new("2026-11-20T02:00:00Z".parse().expect("a time"))
}

pub(crate) fn world(clock: &ManualClock) -> World {
    let world = World::new(Arc::new(clock.clone()));
    world.add_key(&key(MAK), Channel::Mak);
    world.add_key(&key(OTHER_MAK), Channel::Mak);
    world.add_key(&key(HOST_KEY), Channel::KmsHost);
    world
}

pub(crate) fn facts(build: u32, channel: KeyChannel) -> WindowsFacts {
    WindowsFacts {
        build: Some(build),
        edition: Some(if build < 9200 { "Professional" } else { "Education" }.to_owned()),
        generalized: Some(true),
        key_channel: Some(channel),
        ..WindowsFacts::default()
    }
}

/// An image with these facts, prepared so that Windows does not activate by itself.
pub(crate) fn image(facts: &WindowsFacts, world: &World) -> LicensingState {
    let setup_key = gvlk(facts.edition.as_deref().unwrap_or_default(), facts.build.unwrap_or_default());
    let partial = match facts.key_channel {
        Some(KeyChannel::Mak) => "7HKMQ".to_owned(),
        _ => setup_key.map_or_else(|| "HHHHH".to_owned(), |key| key.partial().to_owned()),
    };
    LicensingState { manual: true, ..LicensingState::of_image(facts, &partial, world.now()) }
}

pub(crate) fn mak_proxy() -> Strategy {
    Strategy::MakProxy { key: "mak-win11".parse().expect("a name") }
}

pub(crate) fn kms(host: Option<&str>) -> Strategy {
    Strategy::Kms { host: host.map(str::to_owned), port: 1688 }
}

/// The order for a PC; `sent` lets it bring the MAK's value.
pub(crate) fn order(strategy: &Strategy, facts: &WindowsFacts, sent: bool) -> ActivationOrder {
    let key = OrderedKey { partial_key: "7HKMQ".into(), product_key: sent.then(|| ReleasedKey(key(MAK))) };
    ActivationOrder::new(strategy, facts, Some(key)).expect("an order")
}

pub(crate) fn machine(n: usize) -> MachineName {
    format!("R101-{n:02}").parse().expect("a name")
}

#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) iid: InstallationId,
    pub(crate) cid: Option<ConfirmationId>,
    pub(crate) stale: Option<Code>,
}

/// The confirmation store as the hook needs it: one pair for each machine and product.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store(Rc<RefCell<BTreeMap<(MachineName, ProductRef), Stored>>>);

impl Store {
    pub(crate) fn desk(&self, machine: &MachineName) -> Desk {
        Desk { store: self.clone(), machine: machine.clone() }
    }

    pub(crate) fn get(&self, machine: &MachineName) -> Option<Stored> {
        self.0.borrow().iter().find(|((m, _), _)| m == machine).map(|(_, stored)| stored.clone())
    }

    pub(crate) fn put(&self, machine: &MachineName, product: &ProductRef, iid: &InstallationId, cid: ConfirmationId) {
        let stored = Stored { iid: iid.clone(), cid: Some(cid), stale: None };
        self.0.borrow_mut().insert((machine.clone(), product.clone()), stored);
    }

    /// The rows that wait for a confirmation ID.
    pub(crate) fn pending(&self) -> Vec<ExchangeRow> {
        let stored = self.0.borrow();
        let waiting = stored.iter().filter(|(_, stored)| stored.cid.is_none());
        let row = |((machine, product), stored): (&(MachineName, ProductRef), &Stored)| ExchangeRow {
            machine: machine.clone(),
            product: product.clone(),
            iid: stored.iid.clone(),
            cid: None,
            title: "Windows 11 Education".into(),
        };
        waiting.map(row).collect()
    }

    /// Who has reported an installation ID.
    pub(crate) fn known(&self, iid: &InstallationId) -> Vec<KnownInstallation> {
        let stored = self.0.borrow();
        let owners = stored.iter().filter(|(_, stored)| stored.iid == *iid).map(|(owner, _)| owner);
        owners
            .map(|(machine, product)| KnownInstallation { machine: machine.clone(), product: product.clone() })
            .collect()
    }
}

pub(crate) struct Desk {
    store: Store,
    machine: MachineName,
}

impl ConfirmationDesk for Desk {
    fn confirmation(&mut self, _: &InstallationId, product: &ProductRef) -> Result<ConfirmationAnswer, DeskError> {
        let stored = self.store.0.borrow().get(&(self.machine.clone(), product.clone())).cloned();
        Ok(match stored {
            Some(Stored { iid, cid: Some(cid), stale: None }) => {
                ConfirmationAnswer::Found { cid: ReleasedConfirmation(cid), iid }
            }
            _ => ConfirmationAnswer::Pending,
        })
    }

    fn pending(&mut self, iid: &InstallationId, product: &ProductRef) -> Result<(), DeskError> {
        let stale = self.store.get(&self.machine).and_then(|stored| stored.stale);
        let waiting = Stored { iid: iid.clone(), cid: None, stale };
        self.store.0.borrow_mut().insert((self.machine.clone(), product.clone()), waiting);
        Ok(())
    }

    fn stale(&mut self, _: &InstallationId, product: &ProductRef, code: Code) -> Result<(), DeskError> {
        if let Some(stored) = self.store.0.borrow_mut().get_mut(&(self.machine.clone(), product.clone())) {
            stored.stale = Some(code);
        }
        Ok(())
    }
}

/// A desk that nobody answers at.
pub(crate) struct Closed;

fn closed<T>() -> Result<T, DeskError> {
    Err(DeskError { reason: "connection refused".into() })
}

impl ConfirmationDesk for Closed {
    fn confirmation(&mut self, _: &InstallationId, _: &ProductRef) -> Result<ConfirmationAnswer, DeskError> {
        closed()
    }

    fn pending(&mut self, _: &InstallationId, _: &ProductRef) -> Result<(), DeskError> {
        closed()
    }

    fn stale(&mut self, _: &InstallationId, _: &ProductRef, _: Code) -> Result<(), DeskError> {
        closed()
    }
}

/// The calls that change something.
pub(crate) fn writes(calls: &[LicensingCall]) -> Vec<LicensingCall> {
    calls.iter().copied().filter(|call| !call.reads()).collect()
}

/// Clones PC `n` and runs the hook.
pub(crate) fn night(
    world: &World,
    image: &LicensingState,
    order: &ActivationOrder,
    store: &Store,
    n: usize,
    board: &str,
) -> (ActivationReport, SimLicensing) {
    night_on(world, image, order, store, n, &Hardware::new(board))
}

/// The same on hardware with extras.
pub(crate) fn night_on(
    world: &World,
    image: &LicensingState,
    order: &ActivationOrder,
    store: &Store,
    n: usize,
    hardware: &Hardware,
) -> (ActivationReport, SimLicensing) {
    let mut pc = SimLicensing::after_clone(image, hardware, world);
    let report = run(order, &mut pc, &mut store.desk(&machine(n))).expect("a report");
    assert_eq!(report.calls, pc.calls(), "the report lists what the PC recorded");
    assert_eq!(report.activations_spent, 0);
    (report, pc)
}
