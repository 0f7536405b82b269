//! What re-cloned PCs tell about the school's KMS host.

use std::collections::BTreeSet;

use super::{Night, NightError, RunEvent};
use crate::activation::Strategy;
use crate::activation::kms::{Overview, Standing, clients, duplicate_alarm, overview};
use crate::agent::protocol::HookResult;
use crate::job::RunId;
use crate::job::plan::HookAction;
use crate::profile::Profiles;
use crate::room::MachineName;
use crate::store::LicensingReport;

impl Night {
    /// Keeps what an activation hook reported, and raises the alarm, once a run, when another PC has the same client
    /// machine ID.
    pub(super) fn note_licensing(
        &self,
        run: RunId,
        machine: &MachineName,
        action: &HookAction,
        result: &HookResult,
    ) -> Result<(), NightError> {
        let HookAction::Activation { strategy, .. } = action else { return Ok(()) };
        if *strategy == Strategy::None {
            return Ok(());
        }
        let (cmid, standing) = match result {
            HookResult::Activation { report } => (report.cmid.clone(), Standing::of(&report.outcome)),
            HookResult::Failed { .. } => (None, Standing::NotActivated),
            HookResult::Done { .. } => return Ok(()),
        };
        let at_kms = matches!(strategy, Strategy::Kms { .. });
        let report = LicensingReport { cmid, at_kms, standing };
        if let Some(shared) =
            self.store.keep_licensing_report(run, machine, report, &every_machine(&self.profiles()))?
        {
            tracing::info!(%run, %machine, others = shared.others.len(), "a client machine ID is shared");
            if shared.first_in_run {
                let what = duplicate_alarm(machine, &shared.others, self.profiles().site.language);
                self.tell(RunEvent::Alarm { what });
            }
        }
        Ok(())
    }

    /// What is known about the site's PCs and its KMS host.
    pub fn kms_overview(&self) -> Result<Overview, NightError> {
        let profiles = self.profiles();
        let now = self.now();
        let known = every_machine(&profiles);
        Ok(overview(now, &clients(&profiles), &known, &self.store.licensing_reports(now)?))
    }
}

fn every_machine(profiles: &Profiles) -> BTreeSet<MachineName> {
    profiles.rooms.values().flat_map(|room| &room.machines).map(|machine| machine.name.clone()).collect()
}
