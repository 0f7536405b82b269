//! The preview for people, in both languages.

use crate::activation::codes::explain;
use crate::activation::preview::{Branch, Condition, ConfirmationState, Expectation, Preview, Warning};
use crate::room::Language;

fn pick(language: Language, en: &str, de: &str) -> String {
    match language {
        Language::En => en.to_owned(),
        Language::De => de.to_owned(),
    }
}

impl Preview {
    /// The preview as lines: what is spent, what is expected, what can come instead, what to know.
    pub fn lines(&self, language: Language) -> Vec<String> {
        let mut lines = vec![match language {
            Language::En => format!("activation {}: spends {} activations", self.strategy, self.activations_spent),
            Language::De => {
                format!("Aktivierung {}: verbraucht {} Aktivierungen", self.strategy, self.activations_spent)
            }
        }];
        if let Some(state) = self.confirmation {
            lines.push(state.text(language));
        }
        if let Some(minutes) = self.grace_minutes {
            let days = minutes.div_ceil(24 * 60);
            lines.push(match language {
                Language::En => format!("grace period after the clone: {days} days"),
                Language::De => format!("Frist nach dem Klonen: {days} Tage"),
            });
        }
        lines.extend(self.expected.iter().chain(&self.otherwise).map(|branch| branch.text(language)));
        lines.extend(self.warnings.iter().map(|warning| {
            let head = pick(language, "mind:", "Achtung:");
            format!("{head} {}", warning.text(language))
        }));
        lines
    }
}

impl ConfirmationState {
    /// One line for people.
    pub fn text(&self, language: Language) -> String {
        match self {
            ConfirmationState::Missing => pick(language, "confirmation ID: none yet", "Bestätigungs-ID: noch keine"),
            ConfirmationState::Pending => {
                pick(language, "confirmation ID: to be obtained", "Bestätigungs-ID: noch zu beschaffen")
            }
            ConfirmationState::Present => pick(language, "confirmation ID: stored", "Bestätigungs-ID: gespeichert"),
            ConfirmationState::Stale { code } => {
                let head = pick(language, "confirmation ID: stale", "Bestätigungs-ID: veraltet");
                format!("{head}, {}", explain(*code, language))
            }
        }
    }
}

impl Branch {
    /// One line for people: when, the calls, the end.
    pub fn text(&self, language: Language) -> String {
        let calls: Vec<&str> = self.calls.iter().map(|call| call.name()).collect();
        let calls = if calls.is_empty() { pick(language, "no call", "kein Aufruf") } else { calls.join(", ") };
        let ends = match &self.ends {
            Expectation::Outcome(outcome) => outcome.text(language),
            Expectation::Refused(refusal) => refusal.text(language),
        };
        format!("{}: {calls} → {ends}", self.when.text(language))
    }
}

impl Condition {
    /// For people.
    pub fn text(&self, language: Language) -> String {
        let (en, de) = match self {
            Condition::Expected => ("expected", "erwartet"),
            Condition::AlreadyGood => ("if activated already", "falls schon aktiviert"),
            Condition::ConfirmationPresent => ("once a confirmation ID is there", "sobald eine Bestätigungs-ID da ist"),
            Condition::ConfirmationMissing => ("without a confirmation ID", "ohne Bestätigungs-ID"),
            Condition::ConfirmationRefused => ("if Windows refuses the pair", "falls Windows das Paar ablehnt"),
            Condition::CountTooLow => {
                ("if the KMS host has seen too few PCs", "falls der KMS-Host zu wenige PCs gesehen hat")
            }
            Condition::KmsUnreachable => ("if no KMS host is reached", "falls kein KMS-Host erreicht wird"),
        };
        pick(language, en, de)
    }
}

impl Warning {
    /// One line for people, with what to do.
    pub fn text(&self, language: Language) -> String {
        let (en, de) = match self {
            Warning::WindowsUnknown => (
                "the image's Windows build is not known; say it in the site's profile",
                "der Windows-Build des Images ist nicht bekannt; bitte im Profil der Schule angeben",
            ),
            Warning::KeyUnknown => (
                "the kind of key inside the image is not known, the fitting one is assumed; say it in the site's profile",
                "die Art des Schlüssels im Image ist nicht bekannt, die passende wird angenommen; bitte im Profil der Schule angeben",
            ),
            Warning::GraceUnknown => (
                "the image was not generalized, so its grace period has been running since it was made: expect less than the full time",
                "das Image wurde nicht generalisiert, seine Frist läuft also seit seiner Herstellung: mit weniger als der vollen Zeit rechnen",
            ),
            Warning::NotificationMode => (
                "this Windows has no grace period worth the name: the PCs will say that they are not activated",
                "dieses Windows hat keine nennenswerte Frist: die PCs werden sagen, dass sie nicht aktiviert sind",
            ),
            Warning::NotificationNotAccepted => (
                "the profile does not accept that; set accept_notification: true or use another strategy",
                "das Profil nimmt das nicht hin; accept_notification: true setzen oder eine andere Strategie wählen",
            ),
            Warning::MakInGraceImage => (
                "the image holds a MAK, which Windows would activate by itself; take it out or use mak-proxy",
                "das Image enthält einen MAK, den Windows von selbst aktivieren würde; herausnehmen oder mak-proxy verwenden",
            ),
            Warning::ConfirmationMissing => (
                "the PC stays unactivated until its confirmation ID is imported",
                "der PC bleibt nicht aktiviert, bis seine Bestätigungs-ID importiert ist",
            ),
            Warning::ConfirmationStale => (
                "the stored pair no longer fits this PC; obtain a new confirmation ID, which counts once at Microsoft",
                "das gespeicherte Paar passt nicht mehr zu diesem PC; neue Bestätigungs-ID beschaffen, was bei Microsoft einmal zählt",
            ),
            Warning::SharedMachineId => (
                "the clones will share one client machine ID, so a KMS host counts them as one; generalize the image without SkipRearm",
                "die Klone werden dieselbe Client-Computer-ID haben, der KMS-Host zählt sie also als einen; Image ohne SkipRearm generalisieren",
            ),
            Warning::NoSetupKey => (
                "the image has no key and Microsoft publishes no KMS client setup key for its edition",
                "das Image hat keinen Schlüssel, und für seine Edition veröffentlicht Microsoft keinen KMS-Clientschlüssel",
            ),
            Warning::CountWasTooLow => (
                "last time the KMS host had seen fewer than 25 PCs",
                "beim letzten Mal hatte der KMS-Host weniger als 25 PCs gesehen",
            ),
            Warning::KmsWasUnreachable => {
                ("last time no KMS host was reached", "beim letzten Mal war kein KMS-Host erreichbar")
            }
            Warning::NoKey => (
                "the last characters of the profile's key are not known to the server; give its value or its partial key",
                "die letzten Zeichen des Schlüssels aus dem Profil sind dem Server nicht bekannt; Wert oder Teilschlüssel angeben",
            ),
        };
        pick(language, en, de)
    }
}
