//! What the hook tells the server afterwards.

use serde::{Deserialize, Serialize};

use crate::activation::codes::{Code, explain};
use crate::activation::hook::desk::DeskError;
use crate::activation::licensing::{Channel, LicenseStatus, LicensingCall, LicensingError};
use crate::activation::strategy::Strategy;
use crate::room::Language;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Outcome {
    /// It was good for its strategy before; nothing was done.
    AlreadyGood,
    /// It is activated now.
    Activated,
    /// There is no confirmation ID yet; the installation ID is recorded and the PC is as it was.
    PendingIid,
    /// Windows no longer takes the stored pair; the new installation ID is recorded and the PC is as it was.
    StaleConfirmation {
        /// With this code.
        code: Code,
    },
    /// Not activated, in a grace period.
    InGrace {
        /// What is left of it, in minutes.
        minutes: u32,
    },
    /// Not activated, and Windows says so to its users.
    Notification,
    /// The KMS host has seen fewer than 25 PCs. Asking again later helps.
    CountTooLow,
    /// No KMS host was reached.
    KmsUnreachable,
    /// Windows refused.
    Failed {
        /// With this code.
        code: Code,
    },
    /// The strategy is to touch nothing.
    Untouched,
}

impl Outcome {
    /// Whether the PC is as its strategy wants it.
    pub fn satisfies(&self, strategy: &Strategy) -> bool {
        match (self, strategy) {
            (Outcome::Untouched, strategy) => *strategy == Strategy::None,
            (Outcome::AlreadyGood | Outcome::Activated, _) => true,
            (Outcome::InGrace { .. }, Strategy::Grace { .. }) => true,
            (Outcome::Notification, Strategy::Grace { accept_notification }) => *accept_notification,
            _ => false,
        }
    }

    /// One line for people.
    pub fn text(&self, language: Language) -> String {
        let (en, de) = match self {
            Outcome::AlreadyGood => ("activated already, nothing to do", "schon aktiviert, nichts zu tun"),
            Outcome::Activated => ("activated", "aktiviert"),
            Outcome::PendingIid => (
                "not activated: waits for a confirmation ID, the installation ID is recorded",
                "nicht aktiviert: wartet auf eine Bestätigungs-ID, die Installations-ID ist erfasst",
            ),
            Outcome::StaleConfirmation { code } => {
                return match language {
                    Language::En => format!("not activated, needs a new confirmation ID: {}", explain(*code, language)),
                    Language::De => {
                        format!("nicht aktiviert, braucht eine neue Bestätigungs-ID: {}", explain(*code, language))
                    }
                };
            }
            Outcome::InGrace { minutes } => {
                // Windows rounds up too when it shows days.
                let days = minutes.div_ceil(24 * 60);
                return match language {
                    Language::En => format!("not activated, grace period: {days} days left"),
                    Language::De => format!("nicht aktiviert, in der Frist: noch {days} Tage"),
                };
            }
            Outcome::Notification => ("not activated, notification mode", "nicht aktiviert, Benachrichtigungsmodus"),
            Outcome::CountTooLow => {
                return match language {
                    Language::En => format!("not activated: {}", explain(Code::COUNT_TOO_LOW, language)),
                    Language::De => format!("nicht aktiviert: {}", explain(Code::COUNT_TOO_LOW, language)),
                };
            }
            Outcome::KmsUnreachable => {
                return match language {
                    Language::En => format!("not activated: {}", explain(Code::KMS_UNREACHABLE, language)),
                    Language::De => format!("nicht aktiviert: {}", explain(Code::KMS_UNREACHABLE, language)),
                };
            }
            Outcome::Failed { code } => {
                return match language {
                    Language::En => format!("not activated: {}", explain(*code, language)),
                    Language::De => format!("nicht aktiviert: {}", explain(*code, language)),
                };
            }
            Outcome::Untouched => ("left alone", "nicht angefasst"),
        };
        match language {
            Language::En => en.to_owned(),
            Language::De => de.to_owned(),
        }
    }
}

/// What the hook saw and did on one PC. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationReport {
    /// What came of it.
    pub outcome: Outcome,
    /// The licence status, re-read at the end.
    pub status: Option<LicenseStatus>,
    /// Windows' reason for the status.
    pub reason: Option<Code>,
    /// `GracePeriodRemaining` in minutes.
    pub grace_minutes: Option<u32>,
    /// The activation ID of the product.
    pub activation_id: Option<String>,
    /// The last five characters of its key.
    pub partial_key: Option<String>,
    /// How its key is activated.
    pub channel: Option<Channel>,
    /// The client machine ID, which KMS hosts count. Two PCs with the same one are an alarm:
    /// [`crate::activation::kms`].
    pub cmid: Option<String>,
    /// `RemainingWindowsReArmCount`.
    pub rearms_left: Option<u32>,
    /// Activations spent: 0, whatever happened.
    pub activations_spent: u32,
    /// The calls made at the licensing service, in order.
    pub calls: Vec<LicensingCall>,
}

impl ActivationReport {
    pub(super) fn untouched() -> Self {
        Self {
            outcome: Outcome::Untouched,
            status: None,
            reason: None,
            grace_minutes: None,
            activation_id: None,
            partial_key: None,
            channel: None,
            cmid: None,
            rearms_left: None,
            activations_spent: 0,
            calls: Vec::new(),
        }
    }
}

/// Why an order was not carried out. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookError {
    /// The order allows activations to be spent.
    #[error("the order allows activations to be spent, which no strategy of this version does")]
    SpendingOrder,
    /// The licensing service could not be read.
    #[error("Windows' licensing service could not be read; is the service sppsvc running?")]
    Licensing(#[source] LicensingError),
    /// The server could not be asked.
    #[error("no answer about the confirmation ID; the PC stays as it is")]
    Desk(#[source] DeskError),
    /// The image holds another key than the profile names, and the key may not be sent.
    #[error("{}", HookError::key_not_in_image(expected, found.as_deref(), Language::En))]
    KeyNotInImage {
        /// The last five characters of the profile's key.
        expected: String,
        /// Those of the key found.
        found: Option<String>,
    },
    /// The key is of a kind that the strategy does not work with.
    #[error("{}", HookError::wrong_channel(*expected, *found, Language::En))]
    WrongChannel {
        /// What the strategy needs.
        expected: Channel,
        /// What was found; none without a key.
        found: Option<Channel>,
    },
    /// A KMS host's key is on a client.
    #[error("{}", HookError::host_key(partial_key, *removed, Language::En))]
    HostKey {
        /// Its last five characters.
        partial_key: String,
        /// Whether it could be removed from this PC.
        removed: bool,
    },
    /// An image for the grace period holds a MAK, which Windows would activate by itself.
    #[error("{}", HookError::mak_in_grace_image(partial_key, Language::En))]
    MakInGraceImage {
        /// Its last five characters.
        partial_key: String,
    },
    /// Windows shows no installation ID.
    #[error("Windows shows no installation ID for its key; refresh the licence state or build the image anew")]
    NoInstallationId,
}

impl HookError {
    /// One line for people.
    pub fn text(&self, language: Language) -> String {
        match (self, language) {
            (HookError::KeyNotInImage { expected, found }, _) => {
                Self::key_not_in_image(expected, found.as_deref(), language)
            }
            (HookError::WrongChannel { expected, found }, _) => Self::wrong_channel(*expected, *found, language),
            (HookError::HostKey { partial_key, removed }, _) => Self::host_key(partial_key, *removed, language),
            (HookError::MakInGraceImage { partial_key }, _) => Self::mak_in_grace_image(partial_key, language),
            (HookError::Licensing(error), Language::En) => format!("{self} {}", explain(error.code(), language)),
            (HookError::Licensing(error), Language::De) => format!(
                "Der Lizenzdienst von Windows ließ sich nicht lesen; läuft der Dienst sppsvc? {}",
                explain(error.code(), language)
            ),
            (HookError::Desk(error), Language::En) => format!("{self} ({})", error.reason),
            (HookError::Desk(error), Language::De) => {
                format!("keine Antwort zur Bestätigungs-ID; der PC bleibt, wie er ist ({})", error.reason)
            }
            (HookError::SpendingOrder | HookError::NoInstallationId, Language::En) => self.to_string(),
            (HookError::SpendingOrder, Language::De) => {
                "der Auftrag erlaubt, Aktivierungen zu verbrauchen; das tut keine Strategie dieser Version".to_owned()
            }
            (HookError::NoInstallationId, Language::De) => {
                "Windows zeigt zu seinem Schlüssel keine Installations-ID; Lizenzstatus auffrischen oder Image neu bauen"
                    .to_owned()
            }
        }
    }

    fn key_not_in_image(expected: &str, found: Option<&str>, language: Language) -> String {
        match (language, found) {
            (Language::En, Some(found)) => format!(
                "the image holds the key ending in {found}, the profile names the one ending in {expected}; capture the image with that key, or enrol the PC so that it may be sent"
            ),
            (Language::En, None) => format!(
                "the image holds no key, the profile names the one ending in {expected}; capture the image with that key, or enrol the PC so that it may be sent"
            ),
            (Language::De, Some(found)) => format!(
                "das Image enthält den Schlüssel mit dem Ende {found}, das Profil nennt den mit dem Ende {expected}; Image mit diesem Schlüssel aufnehmen, oder den PC anmelden, damit er gesendet werden darf"
            ),
            (Language::De, None) => format!(
                "das Image enthält keinen Schlüssel, das Profil nennt den mit dem Ende {expected}; Image mit diesem Schlüssel aufnehmen, oder den PC anmelden, damit er gesendet werden darf"
            ),
        }
    }

    fn wrong_channel(expected: Channel, found: Option<Channel>, language: Language) -> String {
        let found = found.map_or_else(
            || match language {
                Language::En => "no key",
                Language::De => "kein Schlüssel",
            },
            |channel| channel.title(language),
        );
        let expected = expected.title(language);
        match language {
            Language::En => format!(
                "the strategy needs {expected}, this Windows has: {found}; change the image's key or the room's strategy"
            ),
            Language::De => format!(
                "die Strategie braucht: {expected}, dieses Windows hat: {found}; Schlüssel des Images oder Strategie des Raums ändern"
            ),
        }
    }

    fn host_key(partial_key: &str, removed: bool, language: Language) -> String {
        match (language, removed) {
            (Language::En, true) => format!(
                "the key ending in {partial_key} belongs to a KMS host and was on a client; it was removed here, take it out of the image"
            ),
            (Language::En, false) => format!(
                "the key ending in {partial_key} belongs to a KMS host and is on a client; it could not be removed here, take it out of the image at once"
            ),
            (Language::De, true) => format!(
                "der Schlüssel mit dem Ende {partial_key} gehört auf einen KMS-Host und war auf einem Client; hier ist er entfernt, bitte auch aus dem Image nehmen"
            ),
            (Language::De, false) => format!(
                "der Schlüssel mit dem Ende {partial_key} gehört auf einen KMS-Host und ist auf einem Client; er ließ sich nicht entfernen, bitte sofort aus dem Image nehmen"
            ),
        }
    }

    fn mak_in_grace_image(partial_key: &str, language: Language) -> String {
        match language {
            Language::En => format!(
                "the image for the grace period holds the MAK ending in {partial_key}, which Windows would activate by itself; take it out of the image or use mak-proxy"
            ),
            Language::De => format!(
                "das Image für die Frist enthält den MAK mit dem Ende {partial_key}, den Windows von selbst aktivieren würde; aus dem Image nehmen oder mak-proxy verwenden"
            ),
        }
    }
}
