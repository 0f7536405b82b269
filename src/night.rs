//! The runner: the one writer of machine-run states.
//!
//! Everybody else asks: intents become runs here, agents' reports become events here, and every change goes through
//! [`crate::job::state::step`] and is stored with its reason before anybody hears of it. The packet path asks
//! [`directory`], an answer in memory; [`facts`] gathers what a plan is made from; [`agents`] and [`hooks`] are the two
//! conversations with PCs.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::image::Hash;
use crate::job::plan::{Plan, PlanError};
use crate::job::state::{Event, Refused, step};
use crate::job::{Intent, IntentId, IntentKind, MachineState, RunId};
use crate::packs::{ImageStore, PackError};
use crate::profile::{Profiles, Room};
use crate::progress::ImagingEvent;
use crate::room::{ImageWish, KeyName, MachineName, RoomName};
use crate::store::{NewMachineRun, NewRun, Store, StoreError};

pub mod agents;
pub mod directory;
pub mod exchange;
pub mod facts;
pub mod fetch;
pub mod hooks;
pub mod key_values;
mod kms;
pub mod ledger;
pub mod refusal;

/// How many events a slow listener may lag behind before it loses some.
const EVENTS: usize = 4096;

/// How many conversations with agents go on at once; two machines that share a place wait for each other.
const CONVERSATIONS: usize = 64;

/// Why the runner did not do something.
#[derive(Debug, thiserror::Error)]
pub enum NightError {
    /// There is no such room.
    #[error("no profile describes a room {room}; the rooms are: {}", names(.known))]
    NoRoom {
        /// What was asked for.
        room: RoomName,
        /// The rooms that there are.
        known: Vec<RoomName>,
    },
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The image cannot be had.
    #[error(transparent)]
    Image(#[from] PackError),
    /// The state store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The event does not fit the machine's state.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The intent's window is over.
    #[error("the window of this request is over; ask again")]
    TooLate,
    /// The token opens nothing.
    #[error("this session is not valid any more; start the agent again")]
    NoSession,
    /// The PC has not booted from this server lately and shows no token.
    #[error(
        "{machine} has not just booted from this server; boot it from the network, or use a token for work by hand"
    )]
    NotBooted {
        /// The PC.
        machine: MachineName,
    },
    /// No profile names the PC, or it is not the one that the profile means.
    #[error("no profile names this PC ({0})")]
    Stranger(String),
    /// Two agents claim to be one PC.
    #[error("two agents say that they are {0}; both are held until a person decides (`klonwerk machines resolve {0}`)")]
    Held(MachineName),
    /// Nobody is held.
    #[error("{0} is not held; `klonwerk status` shows who is")]
    NotHeld(MachineName),
    /// The window ended before the disk was touched.
    #[error("the window of this run is over; the disk of {0} stays as it is")]
    Expired(MachineName),
    /// Somebody else kept changing the same machine run.
    #[error("the state of {0} kept changing; try again")]
    Busy(MachineName),
    /// A stored plan cannot be read.
    #[error("the stored plan of run {run} for {machine} cannot be read; start a new run")]
    StoredPlan {
        /// The run.
        run: RunId,
        /// The machine.
        machine: MachineName,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A hook that the plan does not have.
    #[error("run {run} has no hook {index} inside Windows for {machine}")]
    NoHook {
        /// The run.
        run: RunId,
        /// The machine.
        machine: MachineName,
        /// The hook's place.
        index: u32,
    },
    /// There is no such key.
    #[error("neither the profiles nor the ledger know a key {key}; the keys are: {}", names(.known))]
    NoKey {
        /// What was asked for.
        key: KeyName,
        /// The keys that there are.
        known: Vec<KeyName>,
    },
    /// A product key cannot be had.
    #[error(transparent)]
    Key(#[from] key_values::KeyValueError),
    /// An activation order cannot be made.
    #[error(transparent)]
    Order(#[from] crate::activation::hook::KeyMissing),
}

impl NightError {
    /// There is no such room among `profiles`.
    pub fn no_room(room: &RoomName, profiles: &Profiles) -> Self {
        Self::NoRoom { room: room.clone(), known: profiles.rooms.keys().cloned().collect() }
    }
}

fn names<T: std::fmt::Display>(list: &[T]) -> String {
    let names: Vec<String> = list.iter().map(T::to_string).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What listeners hear.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum RunEvent {
    /// A run began.
    Started {
        /// Which.
        run: RunId,
        /// The room.
        room: RoomName,
        /// Its machines.
        machines: Vec<MachineName>,
    },
    /// A machine run changed its state.
    State {
        /// The run.
        run: RunId,
        /// The machine.
        machine: MachineName,
        /// The new state.
        state: MachineState,
        /// Why.
        reason: String,
    },
    /// An imaging agent got on.
    Imaging {
        /// The run.
        run: RunId,
        /// The machine.
        machine: MachineName,
        /// With what.
        progress: ImagingEvent,
    },
    /// A hook has a result.
    Hook {
        /// The run.
        run: RunId,
        /// The machine.
        machine: MachineName,
        /// The hook.
        hook: String,
        /// How it ended, for people.
        what: String,
    },
    /// Something that a person has to look at.
    Alarm {
        /// What.
        what: String,
    },
}

/// What the runner is made of.
#[derive(Debug)]
pub struct Parts {
    /// State.
    pub store: Store,
    /// Images.
    pub images: ImageStore,
    /// The image signing key's public half.
    pub public_key: [u8; 32],
    /// The profiles in force.
    pub profiles: Profiles,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where product keys come from, beside files.
    pub key_values: key_values::Sources,
}

/// The runner.
#[derive(Debug)]
pub struct Night {
    store: Store,
    images: ImageStore,
    public_key: Hash,
    profiles: RwLock<Arc<Profiles>>,
    clock: Arc<dyn Clock>,
    key_values: key_values::Sources,
    tickets: directory::Tickets,
    events: broadcast::Sender<RunEvent>,
    starting: Mutex<()>,
    conversations: [Mutex<()>; CONVERSATIONS],
}

impl Night {
    /// A runner that goes on where the last one stopped.
    pub fn new(parts: Parts) -> Result<Self, NightError> {
        let night = Self {
            store: parts.store,
            images: parts.images,
            public_key: Hash(parts.public_key),
            profiles: RwLock::new(Arc::new(parts.profiles)),
            clock: parts.clock,
            key_values: parts.key_values,
            tickets: directory::Tickets::default(),
            events: broadcast::channel(EVENTS).0,
            starting: Mutex::new(()),
            conversations: [const { Mutex::new(()) }; CONVERSATIONS],
        };
        night.recall()?;
        Ok(night)
    }

    /// The profiles in force.
    pub fn profiles(&self) -> Arc<Profiles> {
        self.profiles.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other profiles into force; runs that have begun keep their plans.
    pub fn replace_profiles(&self, profiles: Profiles) {
        *self.profiles.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(profiles);
    }

    /// The time that holds for the runner.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The state store, to read from.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The images.
    pub fn images(&self) -> &ImageStore {
        &self.images
    }

    /// What happens from here on.
    pub fn listen(&self) -> broadcast::Receiver<RunEvent> {
        self.events.subscribe()
    }

    /// Holds a machine's conversation, so that whether a session counts and what is done with it are one step: the last
    /// words of an agent that died would otherwise end the work of the one that took its place.
    fn conversation(&self, machine: &MachineName) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        machine.hash(&mut hasher);
        let place = hasher.finish() as usize % CONVERSATIONS;
        self.conversations[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: RunEvent) {
        if let RunEvent::Alarm { what } = &event {
            tracing::warn!(what, "alarm");
        }
        // Nobody listening is no fault.
        let _ = self.events.send(event);
    }

    fn room(&self, name: &RoomName) -> Result<(Arc<Profiles>, Room), NightError> {
        let profiles = self.profiles();
        let room = profiles.rooms.get(name).cloned().ok_or_else(|| NightError::no_room(name, &profiles))?;
        Ok((profiles, room))
    }

    /// The plan of a re-clone of a room, as it would be now.
    pub fn plan(&self, room: &RoomName, selection: &crate::room::Selection) -> Result<Plan, NightError> {
        self.plan_of(room, selection, None)
    }

    /// The same with another image than the room's own, where one is given.
    pub fn plan_of(
        &self,
        room: &RoomName,
        selection: &crate::room::Selection,
        image: Option<&ImageWish>,
    ) -> Result<Plan, NightError> {
        let (profiles, mut room) = self.room(room)?;
        if let Some(image) = image {
            room.image = image.clone();
        }
        let facts = facts::gather(Some(&self.store), &self.images, &profiles, &room, &self.key_values)?;
        Ok(crate::job::plan::plan(&profiles, &room, selection, &facts)?)
    }

    /// Records an intent and acts on it, if its time has come; the run that it became.
    pub fn ask(&self, intent: crate::job::intent::NewIntent) -> Result<(IntentId, Option<RunId>), NightError> {
        // A fault in what is asked for is told to who asks, before anything is stored.
        if let IntentKind::Reclone { image } = &intent.kind {
            self.plan_of(&intent.room, &intent.selection, image.as_ref())?;
        }
        // The clock's tick must not take the intent up in between, or the run that it becomes would not be seen here.
        let one_at_a_time = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let id = self.store.add_intent(intent)?;
        let started = self.act_on_due()?;
        drop(one_at_a_time);
        Ok((id, started.get(&id).copied()))
    }

    /// Acts on every intent whose time has come.
    pub fn act_on_intents(&self) -> Result<BTreeMap<IntentId, RunId>, NightError> {
        let _one_at_a_time = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        self.act_on_due()
    }

    fn act_on_due(&self) -> Result<BTreeMap<IntentId, RunId>, NightError> {
        let mut started = BTreeMap::new();
        for intent in self.store.due_intents(self.clock.now())? {
            match self.act_on(&intent) {
                Ok(Some(run)) => {
                    started.insert(intent.id, run);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(intent = %intent.id, %error, "an intent was refused");
                    let outcome = crate::job::intent::IntentOutcome::Refused { why: error.to_string() };
                    self.store.finish_intent(intent.id, outcome)?;
                    self.tell(RunEvent::Alarm { what: format!("{}: {error}", intent.room) });
                }
            }
        }
        Ok(started)
    }

    fn act_on(&self, intent: &Intent) -> Result<Option<RunId>, NightError> {
        match &intent.kind {
            IntentKind::Reclone { image } => {
                let (profiles, mut room) = self.room(&intent.room)?;
                if let Some(image) = image {
                    room.image = image.clone();
                }
                let facts = facts::gather(Some(&self.store), &self.images, &profiles, &room, &self.key_values)?;
                let plan = crate::job::plan::plan(&profiles, &room, &intent.selection, &facts)?;
                let run = self.store.start_run(intent.id, new_run(&plan, intent)?)?;
                let machines: Vec<MachineName> = plan.machines.iter().map(|m| m.machine.clone()).collect();
                self.tell(RunEvent::Started { run, room: plan.room, machines: machines.clone() });
                for machine in machines {
                    self.apply(run, &machine, &Event::Armed)?;
                }
                Ok(Some(run))
            }
            IntentKind::Retry { run } => {
                for machine_run in self.store.machine_runs(*run)? {
                    let again = intent.selection.contains(&machine_run.machine)
                        && matches!(machine_run.state, MachineState::Failed { .. } | MachineState::Expired { .. });
                    if again {
                        self.apply(*run, &machine_run.machine, &Event::Retry { until: intent.expires_at })?;
                        self.apply(*run, &machine_run.machine, &Event::Armed)?;
                    }
                }
                self.store.finish_intent(intent.id, crate::job::intent::IntentOutcome::Done)?;
                Ok(Some(*run))
            }
            IntentKind::Cancel { run } => {
                for machine_run in self.store.machine_runs(*run)? {
                    if intent.selection.contains(&machine_run.machine) && !machine_run.state.is_final() {
                        match self.apply(*run, &machine_run.machine, &Event::Cancel) {
                            Ok(_) | Err(NightError::Refused(_)) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                self.store.finish_intent(intent.id, crate::job::intent::IntentOutcome::Done)?;
                Ok(Some(*run))
            }
        }
    }

    /// Lets time act: intents, windows, budgets.
    pub fn tick(&self) -> Result<(), NightError> {
        self.act_on_intents()?;
        let now = self.clock.now();
        for run in self.store.open_runs()? {
            for machine_run in self.store.machine_runs(run.id)? {
                let event = if machine_run.state.window_end().is_some_and(|end| now >= end) {
                    Event::IntentExpired
                } else if machine_run.state.overdue(machine_run.since, now) {
                    Event::TimedOut
                } else {
                    continue;
                };
                match self.apply(run.id, &machine_run.machine, &event) {
                    Ok(_) => {}
                    Err(NightError::Refused(error)) => tracing::debug!(%error, "time changed nothing"),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Takes one event: decides, stores, tells. The new state.
    pub(crate) fn apply(&self, run: RunId, machine: &MachineName, event: &Event) -> Result<MachineState, NightError> {
        // Each conflict means that somebody else got on; ten in a row would be a fault of the program.
        for _ in 0..10 {
            let known = self.store.machine_run(run, machine)?;
            let transition = step(&known.state, event, self.clock.now())?;
            if !transition.changes(&known.state) {
                return Ok(known.state);
            }
            let expected = (&known.state, known.epoch);
            match self.store.advance(run, machine, expected, transition.to.clone(), &transition.reason) {
                Ok(_) => {
                    self.tickets.note(machine, run, &transition.to);
                    tracing::info!(%run, %machine, state = %transition.to.stage(), reason = transition.reason, "machine run");
                    self.tell(RunEvent::State {
                        run,
                        machine: machine.clone(),
                        state: transition.to.clone(),
                        reason: transition.reason,
                    });
                    return Ok(transition.to);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(NightError::Busy(machine.clone()))
    }

    fn recall(&self) -> Result<(), NightError> {
        for (machine, run) in self.store.half_written_list()? {
            self.tickets.note(&machine, run, &self.store.machine_run(run, &machine)?.state);
        }
        for run in self.store.open_runs()? {
            for machine_run in self.store.machine_runs(run.id)? {
                self.tickets.note(&machine_run.machine, run.id, &machine_run.state);
                if matches!(machine_run.state, MachineState::Booting { .. }) {
                    self.tickets.recall_answer(machine_run.mac, run.id, machine_run.since);
                }
                if matches!(machine_run.state, MachineState::Queued { .. }) {
                    // The last runner stopped between making the run and arming it.
                    self.apply(run.id, &machine_run.machine, &Event::Armed)?;
                }
                if machine_run.state == MachineState::Committed {
                    self.apply(run.id, &machine_run.machine, &Event::Restarting)?;
                }
            }
        }
        Ok(())
    }
}

fn new_run(plan: &Plan, intent: &Intent) -> Result<NewRun, NightError> {
    let stored = |machine: &MachineName| {
        let machine = machine.clone();
        move |source| NightError::StoredPlan { run: RunId(0), machine, source }
    };
    let mut machines = Vec::new();
    for part in &plan.machines {
        machines.push(NewMachineRun {
            machine: part.machine.clone(),
            mac: part.mac,
            plan_json: serde_json::to_string(part).map_err(stored(&part.machine))?,
        });
    }
    let first = plan.machines.first().map(|part| part.machine.clone());
    let plan_json = match first {
        Some(machine) => serde_json::to_string(plan).map_err(stored(&machine))?,
        None => String::from("{}"),
    };
    Ok(NewRun {
        room: plan.room.clone(),
        image: plan.image.clone(),
        root: plan.root,
        asked_by: intent.asked_by.clone(),
        profile_revision: plan.profile_revision.clone(),
        plan_json,
        machines,
        expires_at: intent.expires_at,
    })
}

/// A span of whole seconds after `now`, as far as time goes.
pub(crate) fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
