//! The conversation with resident agents: hooks inside Windows, and the confirmation store behind them.

use super::agents::plan_of;
use super::facts::{image_facts, last_clone};
use super::key_values;
use super::{Night, NightError, RunEvent};
use crate::activation::confirmation::ReleasedConfirmation;
use crate::activation::hook::{ActivationOrder, ConfirmationAnswer, OrderedKey, Outcome};
use crate::activation::strategy::Strategy;
use crate::agent::protocol::{
    Afterwards, ConfirmationRefused, ConfirmationWanted, HookResult, WindowsAction, WindowsCheckIn, WindowsHook,
    WindowsWork,
};
use crate::job::plan::{HookAction, HookPlan, MachinePlan};
use crate::job::state::{Event, FailureReason, Pending};
use crate::job::{MachineState, RunId};
use crate::profile::model::Place;
use crate::room::MachineName;
use crate::store::{HookAttempt, TokenHash};

/// Longer than any extended product ID; what is longer is none.
const MOST_EPID_BYTES: usize = 200;

impl Night {
    fn credential(&self, token: &str) -> Result<(RunId, MachineName), NightError> {
        self.store.hook_credential(TokenHash::of(token.as_bytes()))?.ok_or(NightError::NoSession)
    }

    /// Answers a resident agent that has just started.
    pub fn windows_check_in(&self, token: &str, hello: &WindowsCheckIn) -> Result<WindowsWork, NightError> {
        let (run, machine) = self.credential(token)?;
        let _one_at_a_time = self.conversation(&machine);
        let machine_run = self.store.machine_run(run, &machine)?;
        if machine_run.mac != hello.mac {
            let what = format!("the note of {machine} was used by a PC with the MAC address {}", hello.mac);
            self.tell(RunEvent::Alarm { what });
            return Err(NightError::Stranger(hello.mac.to_string()));
        }
        if machine_run.state.is_final() {
            // Somebody switched the PC on for a lesson; the note of the night is of no use any more.
            return Ok(WindowsWork { run: run.0, hooks: Vec::new(), then: Afterwards::Stay });
        }
        let plan = plan_of(&machine_run)?;
        self.apply(run, &machine, &Event::WindowsCheckedIn)?;
        let results = self.store.hook_results(run, &machine)?;
        let mut hooks = Vec::new();
        for (place, hook) in windows_hooks(&plan).enumerate() {
            if finished(&results, hook.index).is_none() {
                self.store.begin_hook(run, &machine, hook.index)?;
                hooks.push(self.order(run, &machine, hook)?);
            } else if hooks.is_empty() {
                // The last runner may have stopped between storing the result and acting on it.
                self.apply(run, &machine, &Event::HookDone { index: place as u32 })?;
            }
        }
        if hooks.is_empty() {
            self.close_hooks(run, &machine, &plan)?;
        }
        Ok(WindowsWork { run: run.0, hooks, then: Afterwards::PowerOff })
    }

    fn order(&self, run: RunId, machine: &MachineName, hook: &HookPlan) -> Result<WindowsHook, NightError> {
        let action = match &hook.action {
            HookAction::ComputerName => WindowsAction::ComputerName { name: machine.clone() },
            HookAction::Command { command } => WindowsAction::Command { command: command.clone() },
            HookAction::Activation { strategy, .. } => {
                WindowsAction::Activation { order: self.activation_order(run, strategy)? }
            }
        };
        Ok(WindowsHook { index: hook.index, name: hook.name.clone(), time_out: hook.time_out, action })
    }

    fn activation_order(&self, run: RunId, strategy: &Strategy) -> Result<ActivationOrder, NightError> {
        let profiles = self.profiles();
        let stored = self.store.run(run)?;
        let (_, room) = self.room(&stored.room)?;
        let image = self.images.by_root(&stored.root)?;
        let windows = image.map(|image| image_facts(&profiles, &room, &image).windows).unwrap_or_default();
        let key = match strategy {
            Strategy::MakProxy { key: name } => match profiles.site.keys.get(name) {
                Some(key) => {
                    let partial_key = key_values::partial(name, key, &self.key_values)?;
                    Some(OrderedKey { partial_key, product_key: None })
                }
                None => None,
            },
            _ => None,
        };
        Ok(ActivationOrder::new(strategy, &windows, key)?)
    }

    /// Records a hook's result; the last one ends the machine's part of the run.
    pub fn hook_result(&self, token: &str, index: u32, result: &HookResult) -> Result<(), NightError> {
        let (run, machine) = self.credential(token)?;
        let _one_at_a_time = self.conversation(&machine);
        let machine_run = self.store.machine_run(run, &machine)?;
        let plan = plan_of(&machine_run)?;
        let place = windows_hooks(&plan).position(|hook| hook.index == index);
        let place = place.ok_or_else(|| NightError::NoHook { run, machine: machine.clone(), index })?;
        let results = self.store.hook_results(run, &machine)?;
        if finished(&results, index).is_none() {
            let attempt = results.iter().filter(|attempt| attempt.index == index).max_by_key(|attempt| attempt.number);
            let attempt = match attempt {
                Some(attempt) => attempt.id,
                None => self.store.begin_hook(run, &machine, index)?.id,
            };
            if let HookResult::Activation { report } = result
                && let Some(mut last) = last_clone(&self.store, &machine)?
            {
                last.activation = Some(report.as_ref().clone());
                self.keep_last_clone(&machine, &last)?;
            }
            if let Some(hook) = windows_hooks(&plan).find(|hook| hook.index == index) {
                self.note_licensing(run, &machine, &hook.action, result)?;
            }
            self.finish_hook(run, &machine, attempt, index, result)?;
        }
        if machine_run.state.is_final() {
            return Ok(());
        }
        self.apply(run, &machine, &Event::HookDone { index: place as u32 })?;
        self.close_hooks(run, &machine, &plan)
    }

    /// Ends the machine's part of the run if every hook has a result.
    fn close_hooks(&self, run: RunId, machine: &MachineName, plan: &MachinePlan) -> Result<(), NightError> {
        let results = self.store.hook_results(run, machine)?;
        let language = self.profiles().site.language;
        let mut pending = None;
        let mut failed = None;
        for hook in windows_hooks(plan) {
            let Some(result) = finished(&results, hook.index) else { return Ok(()) };
            match result {
                HookResult::Done { .. } => {}
                HookResult::Failed { why } => {
                    failed = failed.or(Some(FailureReason::Hook { hook: hook.name.clone(), what: why }));
                }
                HookResult::Activation { report } => {
                    pending = match (report.outcome, &hook.action) {
                        (Outcome::PendingIid, _) => Some(Pending::PendingIid),
                        (Outcome::StaleConfirmation { .. }, _) => Some(Pending::StaleConfirmation),
                        (outcome, HookAction::Activation { strategy, .. }) if outcome.satisfies(strategy) => None,
                        (outcome, _) => Some(Pending::NotActivated { why: outcome.text(language) }),
                    };
                }
            }
        }
        let event = match failed {
            Some(reason) => Event::Failed { reason },
            None => Event::AllHooksDone { pending },
        };
        let state: MachineState = self.apply(run, machine, &event)?;
        tracing::debug!(%run, %machine, state = %state.stage(), "hooks are over");
        Ok(())
    }

    /// The confirmation ID for an installation ID, if one is stored; otherwise the installation ID is recorded as pending.
    pub fn confirmation(&self, token: &str, wanted: &ConfirmationWanted) -> Result<ConfirmationAnswer, NightError> {
        let (run, machine) = self.credential(token)?;
        if self.store.machine_run(run, &machine)?.state.is_final() {
            return Err(NightError::NoSession);
        }
        let asked = self.store.pending(&machine, &wanted.product, &wanted.installation_id)?;
        if let Some(epid) = wanted.extended_product_id.as_deref().filter(|epid| epid.len() <= MOST_EPID_BYTES) {
            self.store.note_extended_product_id(&machine, &wanted.product, &wanted.installation_id, epid)?;
        }
        if let Some(alarm) = asked.alarm {
            let names: Vec<&str> = alarm.machines.iter().map(MachineName::as_str).collect();
            let what =
                format!("one installation ID was sent by {}; their hardware IDs may be copies", names.join(" and "));
            self.tell(RunEvent::Alarm { what });
        }
        match self.store.confirmation(&machine, &wanted.product, &wanted.installation_id)? {
            None => Ok(ConfirmationAnswer::Pending),
            Some(stored) => {
                self.store.audit("runner", "released a confirmation ID", Some(&machine))?;
                Ok(ConfirmationAnswer::Found { cid: ReleasedConfirmation(stored.cid), iid: stored.iid })
            }
        }
    }

    /// Notes that Windows refused a stored pair.
    pub fn confirmation_refused(&self, token: &str, refused: &ConfirmationRefused) -> Result<(), NightError> {
        let (_, machine) = self.credential(token)?;
        self.store.mark_stale(&machine, &refused.product, &refused.installation_id, refused.code)?;
        Ok(())
    }
}

fn windows_hooks(plan: &MachinePlan) -> impl Iterator<Item = &HookPlan> {
    plan.hooks().filter(|(place, _)| *place == Place::Windows).map(|(_, hook)| hook)
}

fn finished(results: &[HookAttempt], index: u32) -> Option<HookResult> {
    results
        .iter()
        .filter(|attempt| attempt.index == index)
        .find_map(|attempt| attempt.result_json.as_deref())
        .and_then(|json| serde_json::from_str(json).ok())
}
