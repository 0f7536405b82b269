//! The packet path's view of the night: who is a machine, and which run waits for it. All of it is in memory; what has to
//! be stored is noted here and stored at the next tick.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::{Night, NightError};
use crate::boot::firmware::Firmware;
use crate::boot::{BootDirectory, BootSubject, KnownMachine, RunTicket};
use crate::job::state::Event;
use crate::job::{MachineState, RunId};
use crate::room::{Mac, MachineName, MachineUuid};

/// How long after its boot was answered an agent may check in: the slowest firmware and a boot environment's start.
const CHECK_IN_TIME: Duration = Duration::from_secs(15 * 60);

/// How often an unknown machine that keeps asking is noted in the store.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// How many unknown machines are remembered between two ticks.
const UNKNOWN: usize = 1000;

#[derive(Debug, Clone, Copy)]
struct Ticket {
    run: RunId,
    /// The end of the window; none for a half-written disk, which is finished whenever it boots.
    until: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Memory {
    tickets: BTreeMap<MachineName, Ticket>,
    answered: HashMap<Mac, (RunId, Timestamp)>,
    fresh: Vec<(Mac, RunId)>,
    unknown: HashMap<Mac, UnknownSeen>,
}

#[derive(Debug)]
struct UnknownSeen {
    uuid: Option<MachineUuid>,
    architecture: String,
    at: Timestamp,
    noted: Option<Timestamp>,
}

/// Which machines are awaited by which run.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<Memory>);

impl Tickets {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a machine run's state.
    pub(super) fn note(&self, machine: &MachineName, run: RunId, state: &MachineState) {
        let half_written = state.disk_may_be_half_written();
        let awaited = matches!(
            state,
            MachineState::AwaitingBoot { .. } | MachineState::Booting { .. } | MachineState::Imaging { .. }
        );
        let mut memory = self.memory();
        if awaited || half_written {
            let until = if half_written { None } else { state.window_end() };
            memory.tickets.insert(machine.clone(), Ticket { run, until });
        } else if memory.tickets.get(machine).is_some_and(|ticket| ticket.run == run) {
            memory.tickets.remove(machine);
        }
    }

    /// The run that waits for a machine.
    pub(super) fn of(&self, machine: &MachineName, now: Timestamp) -> Option<RunId> {
        let memory = self.memory();
        let ticket = memory.tickets.get(machine)?;
        ticket.until.is_none_or(|until| now < until).then_some(ticket.run)
    }

    /// Remembers a boot that was answered before this runner began: the agent that it leads to may be on its way still.
    pub(super) fn recall_answer(&self, mac: Mac, run: RunId, at: Timestamp) {
        self.memory().answered.insert(mac, (run, at));
    }

    /// Whether this network card was told to boot for `run` a moment ago.
    pub(super) fn was_answered(&self, mac: Mac, run: RunId, now: Timestamp) -> bool {
        self.memory()
            .answered
            .get(&mac)
            .is_some_and(|(known, at)| *known == run && at.checked_add(CHECK_IN_TIME).is_ok_and(|end| now <= end))
    }
}

impl BootDirectory for Night {
    fn subject(&self, mac: Mac, uuid: Option<MachineUuid>) -> BootSubject {
        let profiles = self.profiles();
        let Some((room, machine)) = profiles.machine_by_mac(mac) else { return BootSubject::Unknown };
        if machine.uuid.is_some() && uuid.is_some() && machine.uuid != uuid {
            return BootSubject::Impostor { machine: machine.name.clone() };
        }
        let run = self
            .tickets
            .of(&machine.name, self.clock.now())
            .map(|run| RunTicket { run: run.0, language: profiles.site.language });
        BootSubject::Known(KnownMachine {
            machine: machine.name.clone(),
            room: room.name.clone(),
            environment: room.environment,
            idle: room.idle,
            run,
        })
    }

    fn seen(&self, mac: Mac, uuid: Option<MachineUuid>, subject: &BootSubject, firmware: Firmware) {
        if *subject != BootSubject::Unknown {
            return;
        }
        let now = self.clock.now();
        let mut memory = self.tickets.memory();
        if memory.unknown.len() >= UNKNOWN && !memory.unknown.contains_key(&mac) {
            return;
        }
        let architecture = firmware.architecture.to_string();
        let seen = memory.unknown.entry(mac).or_insert(UnknownSeen { uuid, architecture, at: now, noted: None });
        seen.at = now;
        seen.uuid = seen.uuid.or(uuid);
    }

    fn answered(&self, mac: Mac, run: u64) {
        let now = self.clock.now();
        let mut memory = self.tickets.memory();
        memory.answered.insert(mac, (RunId(run), now));
        if !memory.fresh.contains(&(mac, RunId(run))) {
            memory.fresh.push((mac, RunId(run)));
        }
    }
}

impl Night {
    /// Stores what the packet path saw since the last time.
    pub fn note_boots(&self) -> Result<(), NightError> {
        let now = self.clock.now();
        let (fresh, unknown) = {
            let mut memory = self.tickets.memory();
            memory.answered.retain(|_, (_, at)| at.checked_add(CHECK_IN_TIME).is_ok_and(|end| now <= end));
            let due = |seen: &UnknownSeen| {
                seen.noted
                    .is_none_or(|noted| seen.at > noted && noted.checked_add(NOTE_EVERY).is_ok_and(|end| now >= end))
            };
            let unknown: Vec<_> = memory
                .unknown
                .iter_mut()
                .filter(|(_, seen)| due(seen))
                .map(|(mac, seen)| {
                    seen.noted = Some(now);
                    (*mac, seen.uuid, seen.architecture.clone(), seen.at)
                })
                .collect();
            // Whoever has been quiet for an hour starts anew.
            memory.unknown.retain(|_, seen| now.duration_since(seen.at).as_secs() < 3600);
            (std::mem::take(&mut memory.fresh), unknown)
        };
        for (mac, run) in fresh {
            self.note_answer(mac, run)?;
        }
        for (mac, uuid, architecture, at) in unknown {
            self.store.seen_unknown(mac, uuid, &architecture, at)?;
        }
        Ok(())
    }

    fn note_answer(&self, mac: Mac, run: RunId) -> Result<(), NightError> {
        let profiles = self.profiles();
        let Some((_, machine)) = profiles.machine_by_mac(mac) else { return Ok(()) };
        match self.apply(run, &machine.name, &Event::BootAnswered) {
            Ok(_) => Ok(()),
            // The PC asked once more while it was further on already.
            Err(NightError::Refused(error)) => {
                tracing::debug!(%error, machine = %machine.name, "a boot changed nothing");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
