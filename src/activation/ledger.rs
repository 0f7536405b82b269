//! What may be spent with a key, asked for before it is spent.
//!
//! An activation at Microsoft and the issue of a confirmation ID cannot be taken back, and whether one happened is not
//! always known. So each is reserved first ([`NewReservation`]), counts as spent from then on, and is settled afterwards
//! ([`SpendOutcome`]). The store keeps the ledger; here are its words, and the rule that stops a key ([`puts_on_hold`]).

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::activation::codes::{Code, explain};
use crate::activation::confirmation::InstallationId;
use crate::job::RunId;
use crate::room::{KeyName, Language, MachineName};

/// The number of a reservation in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReservationId(pub u64);

/// What an activation is reserved for.
#[derive(Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Windows is told to activate at Microsoft.
    Activate,
    /// Microsoft is asked for the confirmation ID of this installation ID, which moves its counter as well.
    ConfirmationRequest {
        /// The installation ID.
        iid: InstallationId,
    },
}

impl fmt::Debug for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An installation ID is shown where it is asked for, and a reservation may end up in a log.
        f.write_str(match self {
            Purpose::Activate => "Activate",
            Purpose::ConfirmationRequest { .. } => "ConfirmationRequest",
        })
    }
}

/// What bounds the spending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The key's `budget`; none sets no limit.
    pub budget: Option<u32>,
    /// The key's `reserve`: nothing is spent once no more than these are left of the budget.
    pub reserve: u32,
    /// How many activations the run may spend with this key, as its preview said. A run without it may spend none. What
    /// no run does is counted by who does it, and then only 0 stands here for something.
    pub run_limit: Option<u32>,
}

impl Limits {
    /// How many activations are left to spend after `spent`; none where no budget bounds them.
    pub fn remaining(&self, spent: u64) -> Option<u64> {
        let usable = u64::from(self.budget?).saturating_sub(u64::from(self.reserve));
        Some(usable.saturating_sub(spent))
    }
}

/// Asks to spend one activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReservation {
    /// The key, by the name that profiles give it.
    pub key: KeyName,
    /// Its last five characters. What was spent under another name of the same key counts too.
    pub partial_key: String,
    /// The run that spends it; none where a person does.
    pub run: Option<RunId>,
    /// For which PC.
    pub machine: MachineName,
    /// For what.
    pub purpose: Purpose,
    /// What bounds it.
    pub limits: Limits,
}

/// One activation that may be spent now, for the one thing that it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Its number, for the outcome.
    pub id: ReservationId,
    /// Whether it was given out before and never settled: its holder may have spent it already, so Windows is read before
    /// it is used.
    pub repeated: bool,
}

/// What came of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum SpendOutcome {
    /// It is spent.
    Spent,
    /// Microsoft refused, or was not reached: nothing is spent.
    NotSpent {
        /// With this code.
        code: Code,
    },
    /// Nobody knows. It counts as spent until Windows is read again.
    Unknown {
        /// With this code, where there was one.
        code: Option<Code>,
    },
}

/// One activation that counts as spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// When it was permitted.
    pub at: Timestamp,
    /// The run that spent it; none where a person did.
    pub run: Option<RunId>,
}

/// Whether a code says that the key itself has no activations left or is blocked. Trying again with the next PC helps
/// nobody and may block the key for good, so it is not used until a person has looked. Sources: Microsoft's activation error
/// pages and `slerror.h`.
pub fn puts_on_hold(code: Code) -> bool {
    matches!(
        code.0,
        // Limits: MAK, MAK extension, unlock count; the same from the newer servers.
        0xC004_C020 | 0xC004_C021 | 0xC004_C008 | 0x803F_A071 | 0x803F_A07F
        // Blocked: by Microsoft, dynamically, for the region, on the PC; the same from the newer servers.
        | 0xC004_C003 | 0xC004_C060 | 0xC004_C017 | 0xC004_F051 | 0x803F_A067
    )
}

/// Why nothing may be spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Refusal {
    /// The key hit a limit or is blocked, and nobody has looked since.
    OnHold {
        /// The key.
        key: KeyName,
        /// With which code.
        code: Code,
        /// Since when.
        since: Timestamp,
    },
    /// The key's budget is spent but for its reserve.
    BudgetSpent {
        /// The key.
        key: KeyName,
        /// Its budget.
        budget: u32,
        /// Its reserve.
        reserve: u32,
        /// What counts as spent.
        spent: u64,
    },
    /// The run has spent what its preview said.
    RunLimit {
        /// The key.
        key: KeyName,
        /// What the run may spend with it.
        limit: u32,
        /// What counts as spent in it.
        spent: u64,
    },
    /// An activation of this PC was tried and its outcome is not known.
    OutcomeUnknown {
        /// The PC.
        machine: MachineName,
        /// Since when.
        since: Timestamp,
    },
    /// The confirmation ID of this installation ID is being asked for, or was and the answer never came.
    RequestOpen {
        /// The PC that it was asked for.
        machine: MachineName,
        /// Since when.
        since: Timestamp,
    },
    /// The confirmation ID of this installation ID was issued already.
    AlreadyIssued {
        /// The PC that it was issued for.
        machine: MachineName,
        /// When.
        at: Timestamp,
    },
    /// The ledger cannot be written, so nothing is spent.
    NoLedger {
        /// What went wrong.
        reason: String,
    },
}

impl Refusal {
    /// Its short name, as the ledger keeps it.
    pub fn name(&self) -> &'static str {
        match self {
            Refusal::OnHold { .. } => "on-hold",
            Refusal::BudgetSpent { .. } => "budget-spent",
            Refusal::RunLimit { .. } => "run-limit",
            Refusal::OutcomeUnknown { .. } => "outcome-unknown",
            Refusal::RequestOpen { .. } => "request-open",
            Refusal::AlreadyIssued { .. } => "already-issued",
            Refusal::NoLedger { .. } => "no-ledger",
        }
    }

    /// What happened and what to do, in one line.
    pub fn text(&self, language: Language) -> String {
        let day = |at: &Timestamp| at.strftime("%Y-%m-%d").to_string();
        match (self, language) {
            (Refusal::OnHold { key, code, since }, Language::En) => format!(
                "the key {key} is on hold since {}: {} Nothing is spent with it until `klonwerk activation ledger --release {key}`",
                day(since),
                explain(*code, language)
            ),
            (Refusal::OnHold { key, code, since }, Language::De) => format!(
                "der Schlüssel {key} ist seit {} gesperrt: {} Nichts wird mit ihm verbraucht bis `klonwerk activation ledger --release {key}`",
                day(since),
                explain(*code, language)
            ),
            (Refusal::BudgetSpent { key, budget, reserve, spent }, Language::En) => format!(
                "the budget of the key {key} is used up: {spent} of {budget} spent, {reserve} in reserve; use mak-proxy, or raise `budget` in site.yaml if the key has more"
            ),
            (Refusal::BudgetSpent { key, budget, reserve, spent }, Language::De) => format!(
                "das Budget des Schlüssels {key} ist verbraucht: {spent} von {budget}, {reserve} als Reserve; mak-proxy verwenden, oder `budget` in site.yaml erhöhen, wenn der Schlüssel mehr hat"
            ),
            (Refusal::RunLimit { key, limit, spent }, Language::En) => format!(
                "this run may spend {limit} activations of the key {key}, and {spent} count as spent; look at `klonwerk activation ledger {key}` and start a new run"
            ),
            (Refusal::RunLimit { key, limit, spent }, Language::De) => format!(
                "dieser Lauf darf {limit} Aktivierungen des Schlüssels {key} verbrauchen, {spent} gelten als verbraucht; `klonwerk activation ledger {key}` ansehen und einen neuen Lauf starten"
            ),
            (Refusal::OutcomeUnknown { machine, since }, Language::En) => format!(
                "whether {machine} was activated on {} is not known; its Windows is read again before anything is spent",
                day(since)
            ),
            (Refusal::OutcomeUnknown { machine, since }, Language::De) => format!(
                "ob {machine} am {} aktiviert wurde, ist nicht bekannt; erst wird sein Windows neu gelesen, dann etwas verbraucht",
                day(since)
            ),
            (Refusal::RequestOpen { machine, since }, Language::En) => format!(
                "the confirmation ID for {machine} was asked for on {} and no answer is recorded; look whether it was issued before asking again, then `klonwerk activation ledger --release KEY`",
                day(since)
            ),
            (Refusal::RequestOpen { machine, since }, Language::De) => format!(
                "die Bestätigungs-ID für {machine} wurde am {} angefragt, eine Antwort ist nicht vermerkt; erst nachsehen, ob sie erteilt wurde, dann `klonwerk activation ledger --release SCHLÜSSEL`",
                day(since)
            ),
            (Refusal::AlreadyIssued { machine, at }, Language::En) => format!(
                "the confirmation ID for {machine} was issued already, on {}; import it instead of asking again",
                day(at)
            ),
            (Refusal::AlreadyIssued { machine, at }, Language::De) => format!(
                "die Bestätigungs-ID für {machine} wurde schon am {} erteilt; bitte einlesen statt erneut anfragen",
                day(at)
            ),
            (Refusal::NoLedger { reason }, Language::En) => {
                format!("the ledger cannot be written, so nothing is spent: {reason}")
            }
            (Refusal::NoLedger { reason }, Language::De) => {
                format!("der Verbrauch lässt sich nicht aufschreiben, also wird nichts verbraucht: {reason}")
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Language::En))
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_never_goes_below_zero() {
        let limits = |budget, reserve| Limits { budget, reserve, run_limit: None };
        assert_eq!(limits(None, 5).remaining(1000), None);
        assert_eq!(limits(Some(50), 10).remaining(0), Some(40));
        assert_eq!(limits(Some(50), 10).remaining(40), Some(0));
        assert_eq!(limits(Some(50), 10).remaining(u64::MAX), Some(0));
        assert_eq!(limits(Some(5), 10).remaining(0), Some(0));
    }

    #[test]
    fn a_limit_stops_the_key_and_a_fault_of_the_network_does_not() {
        for code in [0xC004_C020, 0xC004_C021, 0xC004_C008, 0x803F_A071, 0x803F_A07F, 0xC004_C003] {
            assert!(puts_on_hold(Code(code)), "{code:x}");
        }
        for code in [0, 0xC004_F074, 0xC004_F038, 0xC004_C016, 0xC004_B007, 0x8007_2EE7] {
            assert!(!puts_on_hold(Code(code)), "{code:x}");
        }
    }

    #[test]
    fn every_refusal_says_what_to_do_in_both_languages() {
        let key: KeyName = "mak-win11".parse().expect("a name");
        let machine: MachineName = "R101-01".parse().expect("a name");
        let at = Timestamp::UNIX_EPOCH;
        let all = [
            Refusal::OnHold { key: key.clone(), code: Code::MAK_LIMIT, since: at },
            Refusal::BudgetSpent { key: key.clone(), budget: 50, reserve: 10, spent: 40 },
            Refusal::RunLimit { key, limit: 3, spent: 3 },
            Refusal::OutcomeUnknown { machine: machine.clone(), since: at },
            Refusal::RequestOpen { machine: machine.clone(), since: at },
            Refusal::AlreadyIssued { machine, at },
            Refusal::NoLedger { reason: "the disk is full".into() },
        ];
        for refusal in all {
            let (english, german) = (refusal.text(Language::En), refusal.text(Language::De));
            assert_ne!(english, german);
            assert!(english.len() > 40 && german.len() > 40);
            let json = serde_json::to_string(&refusal).expect("JSON");
            assert!(json.contains(refusal.name()), "{json}");
            assert_eq!(serde_json::from_str::<Refusal>(&json).expect("the same"), refusal);
        }
    }
}
