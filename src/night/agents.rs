//! The conversation with imaging agents.

use data_encoding::BASE64URL_NOPAD;

use super::facts::{LastClone, keep_hardware, last_clone, last_clone_name, merged};
use super::refusal::refuse_before_imaging;
use super::{Night, NightError, RunEvent, after};
use crate::activation::hardware::HardwareFacts;
use crate::agent::protocol::{CheckIn, CheckInAnswer, HookResult, ImagingReport, OfflineHook, Work};
use crate::boot::{BootDirectory, BootSubject};
use crate::job::plan::{HookAction, MachinePlan};
use crate::job::state::{Event, FailureReason};
use crate::job::{MachineState, RunId};
use crate::packs::StoredImage;
use crate::profile::faults::masking::mask;
use crate::profile::model::Place;
use crate::progress::{ImagingEvent, ImagingTotals};
use crate::room::MachineName;
use crate::store::{HookAttempt, MachineRun, Session, SessionStanding, TokenHash};

/// How long a request of an older session may still be on its way after a newer one was opened, in seconds.
const LATE_REQUEST: i64 = 5;

/// How long a token for work by hand is good, in seconds.
const TOKEN_SECONDS: i64 = 3600;

/// A random bearer token: 256 bits.
pub(super) fn new_token() -> Result<String, NightError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| NightError::NoSession)?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

impl Night {
    /// Answers an agent that has just started.
    pub fn check_in(&self, hello: &CheckIn) -> Result<CheckInAnswer, NightError> {
        self.note_boots()?;
        let now = self.clock.now();
        let machine = match self.subject(hello.mac, hello.uuid) {
            BootSubject::Unknown => return Err(NightError::Stranger(hello.mac.to_string())),
            BootSubject::Impostor { machine } => {
                let what = format!("a PC with the MAC address of {machine} and another UUID asked for work");
                self.tell(RunEvent::Alarm { what });
                return Err(NightError::Stranger(hello.mac.to_string()));
            }
            BootSubject::Known(known) => known.machine,
        };
        // Firmware may leave the UUID out of a packet; an agent reads it from the PC it runs on.
        if let Some((_, described)) = self.profiles().machine(&machine)
            && described.uuid.is_some()
            && described.uuid != hello.uuid
        {
            let what = format!("a PC with the MAC address of {machine} and without its UUID asked for work");
            self.tell(RunEvent::Alarm { what });
            return Err(NightError::Stranger(hello.mac.to_string()));
        }
        let _one_at_a_time = self.conversation(&machine);
        if let Some(session) = self.store.newest_session(&machine)?
            && session.standing == SessionStanding::Held
        {
            return Err(NightError::Held(machine));
        }
        let Some(run) = self.tickets.of(&machine, now) else {
            return Ok(CheckInAnswer::Nothing { why: format!("no run waits for {machine}") });
        };
        let by_hand = match &hello.token {
            Some(token) => self.take_token(token, &machine)?,
            None => false,
        };
        if !by_hand && !self.tickets.was_answered(hello.mac, run, now) {
            return Err(NightError::NotBooted { machine });
        }
        if by_hand {
            self.apply(run, &machine, &Event::BootAnswered)?;
        }
        match self.apply(run, &machine, &Event::CheckedIn)? {
            MachineState::Imaging { .. } => {}
            MachineState::Expired { .. } => return Err(NightError::Expired(machine)),
            other => {
                let why = format!("the part of {machine} in run {run} is '{}'", other.stage());
                return Ok(CheckInAnswer::Nothing { why });
            }
        }
        if let Some(hardware) = &hello.hardware {
            keep_hardware(&self.store, &machine, hardware)?;
        }
        if let Some(why) = self.refuse(run, &machine, hello.hardware.as_ref())? {
            return Ok(CheckInAnswer::Nothing { why });
        }
        self.work(run, &machine).map(|work| CheckInAnswer::Work(Box::new(work)))
    }

    /// Ends a machine's part of a run where its hardware does not fit image and strategy, and tells why. A half-written
    /// disk is no exception: finished, it would be a Windows that does not belong on this PC.
    fn refuse(
        &self,
        run: RunId,
        machine: &MachineName,
        hardware: Option<&HardwareFacts>,
    ) -> Result<Option<String>, NightError> {
        let plan = plan_of(&self.store.machine_run(run, machine)?)?;
        let profiles = self.profiles();
        let stored = self.images.by_root(&self.store.run(run)?.root)?;
        let (Some(stored), Some((room, _))) = (stored, profiles.machine(machine)) else { return Ok(None) };
        let said = profiles.windows(room).cloned().unwrap_or_default();
        let image = merged(&stored.header().windows, said);
        let strategies = plan.hooks().filter_map(|(_, hook)| match &hook.action {
            HookAction::Activation { strategy, .. } => Some(strategy.name()),
            _ => None,
        });
        let refused = strategies.filter_map(|strategy| refuse_before_imaging(strategy, &image, hardware)).next();
        let Some(reason) = refused else { return Ok(None) };
        let language = profiles.site.language;
        let text = if let FailureReason::Refused { why } = &reason { why.text(language) } else { String::new() };
        self.apply(run, machine, &Event::Failed { reason })?;
        Ok(Some(text))
    }

    fn work(&self, run: RunId, machine: &MachineName) -> Result<Work, NightError> {
        let machine_run = self.store.machine_run(run, machine)?;
        let plan = plan_of(&machine_run)?;
        let stored = self.store.run(run)?;
        let (session, credential) = (new_token()?, new_token()?);
        self.store.open_session(machine, run, TokenHash::of(session.as_bytes()))?;
        self.store.set_hook_credential(run, machine, TokenHash::of(credential.as_bytes()))?;
        let mut offline_hooks = Vec::new();
        for (place, hook) in plan.hooks() {
            if let (Place::Offline, HookAction::Command { command }) = (place, &hook.action) {
                offline_hooks.push(OfflineHook {
                    index: hook.index,
                    name: hook.name.clone(),
                    command: command.clone(),
                    time_out: hook.time_out,
                });
            }
        }
        let profiles = self.profiles();
        let disk = profiles.machine(machine).map(|(room, _)| room.disk.clone()).unwrap_or_default();
        Ok(Work {
            session,
            run: run.0,
            machine: machine.clone(),
            language: profiles.site.language,
            image: stored.image,
            root: stored.root,
            public_key: self.public_key,
            disk,
            offline_hooks,
            credential,
        })
    }

    /// Ends the holding of a machine: a person has seen to the false claimant. The true one checks in again.
    pub fn resolve(&self, machine: &MachineName) -> Result<RunId, NightError> {
        let _one_at_a_time = self.conversation(machine);
        let held = self.store.newest_session(machine)?.filter(|session| session.standing == SessionStanding::Held);
        let run = held.ok_or_else(|| NightError::NotHeld(machine.clone()))?.run;
        self.apply(run, machine, &Event::Resolved)?;
        self.store.release_sessions(machine)?;
        self.store.audit("administrator", "ended the holding", Some(machine))?;
        Ok(run)
    }

    /// The session that a bearer token opens, if it counts.
    pub fn session(&self, token: &str) -> Result<Session, NightError> {
        let session = self.store.session(TokenHash::of(token.as_bytes()))?.ok_or(NightError::NoSession)?;
        match session.standing {
            SessionStanding::Live => Ok(session),
            SessionStanding::Held => Err(NightError::Held(session.machine)),
            SessionStanding::Void => {
                let newest = self.store.newest_session(&session.machine)?;
                let newer = newest.filter(|newest| {
                    newest.standing == SessionStanding::Live && self.clock.now() > after(newest.opened_at, LATE_REQUEST)
                });
                if let Some(newer) = newer {
                    // The agent of the older session is alive after all: two say that they are this PC.
                    let what = format!("two agents say that they are {}; both are held", session.machine);
                    self.tell(RunEvent::Alarm { what });
                    self.apply(newer.run, &session.machine, &Event::SecondClaimant)?;
                    self.store.hold_sessions(&session.machine)?;
                    return Err(NightError::Held(session.machine));
                }
                Err(NightError::NoSession)
            }
        }
    }

    /// The image that a session may read.
    pub fn session_image(&self, token: &str, root: &crate::image::Hash) -> Result<StoredImage, NightError> {
        let session = self.session(token)?;
        let run = self.store.run(session.run)?;
        if run.root != *root {
            return Err(NightError::NoSession);
        }
        self.images.by_root(root)?.ok_or(NightError::NoSession)
    }

    /// Takes a report of an imaging agent.
    pub fn report(&self, token: &str, report: ImagingReport) -> Result<(), NightError> {
        let _one_at_a_time = self.conversation(&self.session(token)?.machine);
        // Looked at again, now that nobody else can check in.
        let session = self.session(token)?;
        let (run, machine) = (session.run, session.machine);
        match report {
            ImagingReport::Progress { event } => self.progress(run, &machine, event),
            ImagingReport::Hook { index, result } => {
                let attempts = self.store.hook_results(run, &machine)?;
                let told = |attempt: &HookAttempt| {
                    attempt.index == index && attempt.result_json.is_some() && attempt.begun_at >= session.opened_at
                };
                if attempts.iter().any(told) {
                    // A session runs each hook once: the agent did not hear the answer and says it again.
                    return Ok(());
                }
                let attempt = self.store.begin_hook(run, &machine, index)?;
                self.finish_hook(run, &machine, attempt.id, index, &result)
            }
            ImagingReport::Committed { totals } => self.committed(run, &machine, totals),
            ImagingReport::Failed { reason } => {
                let reason = FailureReason::Imaging { what: reason };
                self.apply(run, &machine, &Event::Failed { reason }).map(drop)
            }
        }
    }

    fn progress(&self, run: RunId, machine: &MachineName, event: ImagingEvent) -> Result<(), NightError> {
        // Committed has a report of its own, with the numbers.
        if let Some(change) = Event::of_imaging(&event).filter(|change| *change != Event::Committed)
            && let MachineState::Expired { .. } = self.apply(run, machine, &change)?
        {
            return Err(NightError::Expired(machine.clone()));
        }
        self.tell(RunEvent::Imaging { run, machine: machine.clone(), progress: event });
        Ok(())
    }

    fn committed(&self, run: RunId, machine: &MachineName, totals: ImagingTotals) -> Result<(), NightError> {
        if self.store.machine_run(run, machine)?.state.disk_is_image() {
            // The agent did not hear the answer and says it again.
            return Ok(());
        }
        self.store.set_numbers(run, machine, totals)?;
        let last = last_clone(&self.store, machine)?;
        let root = self.store.run(run)?.root;
        let activation = last.filter(|last| last.root == root).and_then(|last| last.activation);
        self.keep_last_clone(machine, &LastClone { root, dirty_leaves: totals.dirty_leaves, activation })?;
        self.apply(run, machine, &Event::Committed)?;
        self.tell(RunEvent::Imaging { run, machine: machine.clone(), progress: ImagingEvent::Committed(totals) });
        self.apply(run, machine, &Event::Restarting)?;
        Ok(())
    }

    pub(super) fn keep_last_clone(&self, machine: &MachineName, last: &LastClone) -> Result<(), NightError> {
        // A value of this type always has a JSON form; without one the next plan would merely know less.
        let text = serde_json::to_string(last).unwrap_or_default();
        Ok(self.store.set_setting(&last_clone_name(machine), &text)?)
    }

    pub(super) fn finish_hook(
        &self,
        run: RunId,
        machine: &MachineName,
        attempt: crate::store::AttemptId,
        index: u32,
        result: &HookResult,
    ) -> Result<(), NightError> {
        let result = &masked(result);
        let json = serde_json::to_string(result).unwrap_or_default();
        self.store.finish_hook(attempt, &json)?;
        let plan = plan_of(&self.store.machine_run(run, machine)?)?;
        let hook = plan.hooks().find(|(_, hook)| hook.index == index).map_or_else(String::new, |(_, h)| h.name.clone());
        let language = self.profiles().site.language;
        let what = match result {
            HookResult::Done { what } => what.clone(),
            HookResult::Activation { report } => report.outcome.text(language),
            HookResult::Failed { why } => why.clone(),
        };
        self.tell(RunEvent::Hook { run, machine: machine.clone(), hook, what });
        Ok(())
    }

    /// Makes a token with which an agent that did not boot from here may check in for one machine, once, within an hour.
    pub fn make_token(&self, machine: &MachineName) -> Result<String, NightError> {
        if self.profiles().machine(machine).is_none() {
            return Err(NightError::Stranger(machine.to_string()));
        }
        let token = new_token()?;
        let until = after(self.clock.now(), TOKEN_SECONDS);
        let name = token_name(&token);
        self.store.set_setting(&name, &format!("{until} {machine}"))?;
        self.store.audit("administrator", "made a token for work by hand", Some(machine))?;
        Ok(token)
    }

    fn take_token(&self, token: &str, machine: &MachineName) -> Result<bool, NightError> {
        let name = token_name(token);
        let Some(text) = self.store.setting(&name)? else { return Ok(false) };
        let Some((until, owner)) = text.split_once(' ') else { return Ok(false) };
        let good = until.parse().is_ok_and(|until: jiff::Timestamp| self.clock.now() < until)
            && owner.eq_ignore_ascii_case(machine.as_str());
        if good {
            self.store.set_setting(&name, "used")?;
        }
        Ok(good)
    }
}

fn token_name(token: &str) -> String {
    format!("token/{}", crate::image::Hash::of(token.as_bytes()))
}

/// A machine run's own plan.
pub(super) fn plan_of(machine_run: &MachineRun) -> Result<MachinePlan, NightError> {
    serde_json::from_str(&machine_run.plan_json).map_err(|source| NightError::StoredPlan {
        run: machine_run.run,
        machine: machine_run.machine.clone(),
        source,
    })
}

/// A result with the product keys in its free text masked: a command may repeat one, as `slmgr /ipk` does.
fn masked(result: &HookResult) -> HookResult {
    match result {
        HookResult::Done { what } => HookResult::Done { what: mask(what).into_owned() },
        HookResult::Failed { why } => HookResult::Failed { why: mask(why).into_owned() },
        HookResult::Activation { report } => HookResult::Activation { report: report.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_repeats_is_masked() {
        let said = "Installed product key QWMBH-7TGXC-P4RDV-K9YFJ-3V66T successfully.".to_owned();
        for result in [HookResult::Done { what: said.clone() }, HookResult::Failed { why: said.clone() }] {
            let json = serde_json::to_string(&masked(&result)).expect("JSON");
            assert!(json.contains("XXXXX-XXXXX") && !json.contains("QWMBH") && json.contains("successfully"), "{json}");
        }
        let harmless = HookResult::Done { what: "the printer is there".into() };
        assert_eq!(masked(&harmless), harmless);
    }
}
