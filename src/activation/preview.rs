//! What the activation hook would do on a PC, said beforehand.
//!
//! The preview runs the hook itself ([`crate::activation::hook::run`]) against a forecast of the PC, made of what is known
//! of its image and of its confirmation. So plan and deed cannot differ by their logic, only by what the PC turns out to
//! be, and for that the other branches are listed too. Pure: it reads nothing and asks nobody.

use serde::{Deserialize, Serialize};

use crate::activation::codes::Code;
use crate::activation::hook::{ActivationOrder, ActivationReport, HookError, OrderedStrategy, Outcome, run};
use crate::activation::licensing::LicensingCall;
use crate::activation::strategy::Strategy;
use crate::image::{KeyChannel, WindowsFacts};

mod forecast;
mod text;

use forecast::{Forecast, ForecastDesk};

/// The grace period of Windows 7 after its first boot, in minutes: 30 days.
pub const WINDOWS_7_GRACE: u32 = 30 * 24 * 60;

/// What the confirmation store knows for a machine, activation ID and partial key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum ConfirmationState {
    /// Nothing.
    #[default]
    Missing,
    /// The installation ID is recorded; its confirmation ID is not there yet.
    Pending,
    /// A pair that Windows took last time, or that was never tried.
    Present,
    /// Windows no longer took the pair.
    Stale {
        /// With this code.
        code: Code,
    },
}

/// The product key of a room, as far as a preview needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownKey {
    /// Its last five characters.
    pub partial_key: String,
    /// Whether its value may be sent to this PC.
    pub released: bool,
}

/// What the store knows of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineActivation {
    /// The key of the machine's strategy, for mak-proxy.
    pub key: Option<KnownKey>,
    /// Its confirmation.
    pub confirmation: ConfirmationState,
    /// What its hook last reported after a clone of this same version of the image.
    pub last: Option<ActivationReport>,
}

/// What a branch ends with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// The hook runs to its end.
    Outcome(Outcome),
    /// The hook refuses.
    Refused(HookError),
}

/// When a branch is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// As the facts say.
    Expected,
    /// Windows is activated already.
    AlreadyGood,
    /// A confirmation ID came in meanwhile.
    ConfirmationPresent,
    /// There is no confirmation ID.
    ConfirmationMissing,
    /// Windows does not take the pair.
    ConfirmationRefused,
    /// The KMS host has seen too few PCs.
    CountTooLow,
    /// No KMS host is reached.
    KmsUnreachable,
}

/// One way that the hook can go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// When.
    pub when: Condition,
    /// The calls at the licensing service, in order.
    pub calls: Vec<LicensingCall>,
    /// How it ends.
    pub ends: Expectation,
    /// Activations spent on the way: 0.
    pub activations_spent: u32,
}

/// What an administrator should know before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Warning {
    /// The image's Windows version is not known.
    WindowsUnknown,
    /// The kind of key inside the image is not known.
    KeyUnknown,
    /// How much grace is left is not known: the image was not generalized, so its clock has been running.
    GraceUnknown,
    /// There is no grace period; the PCs will say that they are not activated.
    NotificationMode,
    /// The profile does not accept notification mode.
    NotificationNotAccepted,
    /// A MAK is inside an image for the grace period.
    MakInGraceImage,
    /// No confirmation ID yet.
    ConfirmationMissing,
    /// The stored pair is stale.
    ConfirmationStale,
    /// Clones of an image that was not generalized share their client machine ID; a KMS host counts them as one.
    SharedMachineId,
    /// Microsoft publishes no KMS client setup key for the edition.
    NoSetupKey,
    /// Last time the KMS host had seen too few PCs.
    CountWasTooLow,
    /// Last time no KMS host was reached.
    KmsWasUnreachable,
    /// The profile's key is not known to the server.
    NoKey,
}

/// What the hook would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The strategy's name.
    pub strategy: String,
    /// Activations that it would spend, in whatever branch: 0.
    pub activations_spent: u32,
    /// The state of the confirmation, for mak-proxy.
    pub confirmation: Option<ConfirmationState>,
    /// The grace period left after the clone, in minutes, for grace and where it is known.
    pub grace_minutes: Option<u32>,
    /// What is expected; none when no order can be made.
    pub expected: Option<Branch>,
    /// What can come instead.
    pub otherwise: Vec<Branch>,
    /// What should be known before.
    pub warnings: Vec<Warning>,
}

impl Preview {
    /// The calls of the expected branch.
    pub fn calls(&self) -> &[LicensingCall] {
        self.expected.as_ref().map_or(&[], |branch| &branch.calls)
    }
}

/// What the hook would do on a PC with `image` under `strategy`, given what is known of the `machine`.
pub fn preview(strategy: &Strategy, image: &WindowsFacts, machine: &MachineActivation) -> Preview {
    let expected = rehearse(strategy, image, machine, Condition::Expected);
    let others: &[Condition] = match strategy {
        Strategy::None | Strategy::Grace { .. } => &[],
        Strategy::MakProxy { .. } => &[
            Condition::AlreadyGood,
            Condition::ConfirmationPresent,
            Condition::ConfirmationMissing,
            Condition::ConfirmationRefused,
        ],
        Strategy::Kms { .. } => &[Condition::AlreadyGood, Condition::CountTooLow, Condition::KmsUnreachable],
    };
    let mut otherwise: Vec<Branch> = Vec::new();
    for branch in others.iter().filter_map(|when| rehearse(strategy, image, machine, *when)) {
        if !expected.iter().chain(&otherwise).any(|known| known.calls == branch.calls && known.ends == branch.ends) {
            otherwise.push(branch);
        }
    }
    let grace = matches!(strategy, Strategy::Grace { .. }).then(|| forecast::grace_minutes(image, machine)).flatten();
    Preview {
        strategy: strategy.name().to_owned(),
        activations_spent: expected.iter().chain(&otherwise).map(|b| b.activations_spent).max().unwrap_or(0),
        confirmation: matches!(strategy, Strategy::MakProxy { .. }).then_some(machine.confirmation),
        grace_minutes: grace,
        warnings: warnings(strategy, image, machine, expected.as_ref()),
        expected,
        otherwise,
    }
}

/// Runs the hook against the forecast of one branch; none when no order can be made.
fn rehearse(strategy: &Strategy, image: &WindowsFacts, machine: &MachineActivation, when: Condition) -> Option<Branch> {
    let order = ActivationOrder::new(strategy, image, machine.key.as_ref().map(forecast::ordered_key)).ok()?;
    let mut pc = Forecast::after_clone(strategy, image, machine);
    let mut present = machine.confirmation == ConfirmationState::Present;
    match when {
        Condition::Expected => {}
        Condition::AlreadyGood => pc.license(),
        Condition::ConfirmationPresent => present = true,
        Condition::ConfirmationMissing => present = false,
        Condition::ConfirmationRefused => {
            present = true;
            pc.answer = Err(Code::NOT_ITS_CONFIRMATION);
        }
        Condition::CountTooLow => pc.answer = Err(Code::COUNT_TOO_LOW),
        Condition::KmsUnreachable => pc.answer = Err(Code::KMS_UNREACHABLE),
    }
    let (ends, activations_spent) = match run(&order, &mut pc, &mut ForecastDesk { present }) {
        Ok(report) => (Expectation::Outcome(report.outcome), report.activations_spent),
        Err(refusal) => (Expectation::Refused(refusal), 0),
    };
    Some(Branch { when, calls: pc.calls, ends, activations_spent })
}

fn warnings(
    strategy: &Strategy,
    image: &WindowsFacts,
    machine: &MachineActivation,
    expected: Option<&Branch>,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |when: bool, warning: Warning| {
        if when {
            warnings.push(warning);
        }
    };
    let unclean = image.generalized == Some(false) || image.skip_rearm == Some(true);
    warn(*strategy != Strategy::None && image.build.is_none(), Warning::WindowsUnknown);
    warn(*strategy != Strategy::None && image.key_channel.is_none(), Warning::KeyUnknown);
    match strategy {
        Strategy::None => {}
        Strategy::Grace { accept_notification } => {
            let notification = expected.is_some_and(|b| b.ends == Expectation::Outcome(Outcome::Notification));
            let seven = image.build.is_some_and(|build| build < forecast::WINDOWS_8);
            warn(image.key_channel == Some(KeyChannel::Mak), Warning::MakInGraceImage);
            warn(notification, Warning::NotificationMode);
            warn(notification && !accept_notification, Warning::NotificationNotAccepted);
            warn(seven && (image.generalized != Some(true) || unclean), Warning::GraceUnknown);
        }
        Strategy::MakProxy { .. } => {
            warn(machine.key.is_none(), Warning::NoKey);
            warn(
                matches!(machine.confirmation, ConfirmationState::Missing | ConfirmationState::Pending),
                Warning::ConfirmationMissing,
            );
            warn(matches!(machine.confirmation, ConfirmationState::Stale { .. }), Warning::ConfirmationStale);
        }
        Strategy::Kms { .. } => {
            let last = machine.last.as_ref().map(|report| report.outcome);
            let keyless = image.key_channel == Some(KeyChannel::None);
            let order = ActivationOrder::new(strategy, image, None).ok();
            let has_setup_key =
                order.is_some_and(|order| matches!(order.strategy, OrderedStrategy::Kms { product_key: Some(_), .. }));
            warn(unclean, Warning::SharedMachineId);
            warn(keyless && !has_setup_key, Warning::NoSetupKey);
            warn(last == Some(Outcome::CountTooLow), Warning::CountWasTooLow);
            warn(last == Some(Outcome::KmsUnreachable), Warning::KmsWasUnreachable);
        }
    }
    warnings
}

#[cfg(test)]
mod tests;
