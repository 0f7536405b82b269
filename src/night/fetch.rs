//! Confirmation IDs from an ActivationWs server, because a person asked for them and for so many at most.
//!
//! Every question can move Microsoft's counter. So each is entered in the ledger before it is sent and counts as spent from
//! then on; the entry is the lock of its installation ID too, since no second one is granted while it is there. An answer is
//! on disk, encrypted, before the entry is settled. Whatever is not known to have spent nothing goes on counting, and ends
//! the fetch: what went wrong once may go wrong with every PC.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Night, NightError, key_values};
use crate::activation::activation_ws::{ConfirmationService, NotAskable, NumberClass, Question, Reply, ServiceNumber};
use crate::activation::codes::Code;
use crate::activation::ledger::{Limits, NewReservation, Purpose, Refusal, ReservationId, SpendOutcome};
use crate::activation::strategy::Strategy;
use crate::profile::Profiles;
use crate::profile::model::Key;
use crate::room::{KeyName, Language, MachineName, RoomName};
use crate::store::ConfirmationSummary;

/// What the ledger keeps of a question that never reached Microsoft: WinHTTP's 'cannot connect'.
const NOT_ASKED: Code = Code(0x8007_2EFD);

/// How a fetch gets on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum FetchStep {
    /// It begins.
    Begun {
        /// Installation IDs that wait.
        waiting: usize,
        /// At most so many questions are asked.
        max: u32,
    },
    /// A question is about to be asked; it counts as spent from here on.
    Asking {
        /// The PC.
        machine: MachineName,
    },
    /// One installation ID is dealt with.
    Done {
        /// The PC.
        machine: MachineName,
        /// The last five characters of its key.
        partial_key: String,
        /// What came of it.
        #[serde(flatten)]
        result: FetchResult,
        /// Whether check digits do not fit; for a confirmation ID that is no proof.
        check_digits_off: bool,
    },
    /// It is over.
    Ended {
        /// The sums.
        #[serde(flatten)]
        sums: FetchSums,
    },
}

/// What came of one installation ID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum FetchResult {
    /// The confirmation ID is stored.
    Stored {
        /// The server had it already.
        from_cache: bool,
    },
    /// Nothing was asked.
    Skipped {
        /// Why.
        reason: Skipped,
    },
    /// The ledger gave no leave.
    NotPermitted {
        /// Why.
        refusal: Refusal,
    },
    /// Microsoft refused. Nothing is spent.
    Refused {
        /// With this number.
        number: ServiceNumber,
    },
    /// Microsoft was not asked. Nothing is spent.
    NotAsked {
        /// Why.
        why: String,
    },
    /// Nobody knows whether it was issued. It counts as spent.
    Unclear {
        /// What happened.
        why: String,
    },
    /// It was issued and could not be stored. It counts as spent.
    NotKept {
        /// Why.
        why: String,
    },
}

/// Why nothing was asked about an installation ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skipped {
    /// It has 54 digits, which ActivationWs does not take.
    WindowsSeven,
    /// The PC has not told its extended product ID.
    NoProductId,
    /// What the PC told cannot be an extended product ID.
    BadProductId,
    /// Several PCs sent this installation ID.
    Shared,
    /// No profile names the PC.
    Stranger,
    /// No profile names a MAK with these last five characters.
    NoKey,
    /// What was answered for another PC holds for every PC with this key.
    KeyStopped,
}

/// What a fetch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchSums {
    /// Questions that were sent, or may have been.
    pub asked: u32,
    /// Confirmation IDs stored.
    pub stored: u32,
    /// Questions that count as spent.
    pub spent: u32,
    /// Installation IDs about which nothing was asked for a reason of their own.
    pub skipped: u32,
    /// Questions that were refused or not answered.
    pub failed: u32,
    /// Installation IDs that wait and were not looked at.
    pub left: u32,
    /// Whether it ended early, because the next question would hardly have fared better.
    pub stopped: bool,
}

/// Asks for confirmation IDs.
#[derive(Debug, Clone)]
pub struct Fetch<'a> {
    /// At most so many questions.
    pub max: u32,
    /// For this room alone.
    pub room: Option<&'a RoomName>,
    /// Who asks, for the audit log.
    pub who: &'a str,
}

impl Night {
    /// Asks `service` for the confirmation IDs of installation IDs that wait, the oldest first. `tell` hears each step; when
    /// it says that nobody listens any more, no further question is asked.
    ///
    /// # Errors
    /// When the room does not exist or the store cannot be read. What goes wrong with a question is a step.
    pub fn fetch_confirmations(
        &self,
        fetch: &Fetch<'_>,
        service: &dyn ConfirmationService,
        tell: &mut dyn FnMut(FetchStep) -> bool,
    ) -> Result<FetchSums, NightError> {
        let profiles = self.profiles();
        if let Some(room) = fetch.room
            && !profiles.rooms.contains_key(room)
        {
            return Err(NightError::no_room(room, &profiles));
        }
        let in_room = |summary: &ConfirmationSummary| match fetch.room {
            Some(room) => profiles.machine(&summary.machine).is_some_and(|(found, _)| found.name == *room),
            None => true,
        };
        let waiting: Vec<ConfirmationSummary> = self.store.pending_list()?.into_iter().filter(in_room).collect();
        let keys = self.counted_keys(&profiles);
        let mut sums = FetchSums::default();
        let mut listening = tell(FetchStep::Begun { waiting: waiting.len(), max: fetch.max });
        let mut stopped_keys = BTreeSet::new();
        let mut rest = waiting.iter();
        while listening && !sums.stopped && sums.asked < fetch.max {
            let Some(summary) = rest.next() else { break };
            let mut check_digits_off = !summary.iid.check_digits_fit();
            let result = match self.prepare(&profiles, &keys, &stopped_keys, summary)? {
                Err(reason) => FetchResult::Skipped { reason },
                Ok((question, reservation)) => match self.store.reserve(reservation) {
                    Err(refusal) => FetchResult::NotPermitted { refusal },
                    Ok(reservation) => {
                        sums.asked += 1;
                        listening = tell(FetchStep::Asking { machine: summary.machine.clone() });
                        let reply = service.ask(&question);
                        if let Reply::Issued { cid, .. } = &reply {
                            check_digits_off |= !cid.check_digits_fit();
                        }
                        self.keep(fetch.who, summary, reservation.id, reply)
                    }
                },
            };
            sums.count(&result);
            if result.stops_key() {
                stopped_keys.insert(summary.product.partial_key.to_ascii_uppercase());
            }
            let (machine, partial_key) = (summary.machine.clone(), summary.product.partial_key.clone());
            listening &= tell(FetchStep::Done { machine, partial_key, result, check_digits_off });
        }
        sums.left = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        tell(FetchStep::Ended { sums });
        Ok(sums)
    }

    /// The keys whose activations count, by their last five characters; one whose value cannot be read is none.
    fn counted_keys<'a>(&self, profiles: &'a Profiles) -> Vec<(String, &'a KeyName, &'a Key)> {
        let counted = profiles.site.keys.iter().filter(|(_, key)| key.kind.counts());
        counted
            .filter_map(|(name, key)| {
                let partial = key_values::partial(name, key, &self.key_values).ok()?;
                Some((partial.to_ascii_uppercase(), name, key))
            })
            .collect()
    }

    /// The question about an installation ID and what is to be reserved for it, or why nothing is asked.
    fn prepare(
        &self,
        profiles: &Profiles,
        keys: &[(String, &KeyName, &Key)],
        stopped_keys: &BTreeSet<String>,
        summary: &ConfirmationSummary,
    ) -> Result<Result<(Question, NewReservation), Skipped>, NightError> {
        let ConfirmationSummary { machine, product, iid, .. } = summary;
        let partial_key = product.partial_key.to_ascii_uppercase();
        let Some((room, known)) = profiles.machine(machine) else { return Ok(Err(Skipped::Stranger)) };
        if self.store.senders(iid)?.iter().any(|sender| sender.machine != *machine) {
            return Ok(Err(Skipped::Shared));
        }
        // Of two names for one key, the one that the PC's strategy uses.
        let own = match known.strategy(room) {
            Strategy::MakProxy { key } => Some(key),
            _ => None,
        };
        let mut fitting = keys.iter().filter(|(partial, ..)| *partial == partial_key);
        let key = fitting.clone().find(|(_, name, _)| Some(*name) == own).or_else(|| fitting.next());
        let Some((_, name, key)) = key else { return Ok(Err(Skipped::NoKey)) };
        if stopped_keys.contains(&partial_key) {
            return Ok(Err(Skipped::KeyStopped));
        }
        let question = match Question::new(machine, iid, summary.extended_product_id.as_deref()) {
            Ok(question) => question,
            Err(reason) => return Ok(Err(reason.into())),
        };
        let reservation = NewReservation {
            key: (*name).clone(),
            partial_key,
            run: None,
            machine: machine.clone(),
            purpose: Purpose::ConfirmationRequest { iid: iid.clone() },
            limits: Limits { budget: key.budget, reserve: key.reserve, run_limit: None },
        };
        Ok(Ok((question, reservation)))
    }

    /// Keeps what was answered: first the confirmation ID, then the outcome in the ledger. An outcome that cannot be entered
    /// leaves the entry open, which counts as spent.
    fn keep(&self, who: &str, summary: &ConfirmationSummary, id: ReservationId, reply: Reply) -> FetchResult {
        let ConfirmationSummary { machine, product, iid, .. } = summary;
        let (outcome, result) = match reply {
            Reply::Issued { cid, from_cache } => {
                let stored = self
                    .store
                    .import_confirmation(machine, product, iid, &cid)
                    .and_then(|_| self.store.audit(who, "fetched a confirmation ID from ActivationWs", Some(machine)));
                match stored {
                    Ok(()) => (SpendOutcome::Spent, FetchResult::Stored { from_cache }),
                    Err(error) => (SpendOutcome::Spent, FetchResult::NotKept { why: with_causes(&error) }),
                }
            }
            Reply::Refused { number } => {
                (SpendOutcome::NotSpent { code: number.code() }, FetchResult::Refused { number })
            }
            Reply::NotAsked { why } => (SpendOutcome::NotSpent { code: NOT_ASKED }, FetchResult::NotAsked { why }),
            Reply::Unclear { why } => (SpendOutcome::Unknown { code: None }, FetchResult::Unclear { why }),
        };
        match (self.store.settle(id, outcome), result) {
            (Ok(()), result) => result,
            (Err(error), FetchResult::Stored { from_cache }) => {
                tracing::error!(error = &error as &dyn std::error::Error, %machine, "an entry of the ledger stays open");
                FetchResult::Stored { from_cache }
            }
            (Err(error), _) => FetchResult::NotKept { why: with_causes(&error) },
        }
    }
}

impl FetchSums {
    fn count(&mut self, result: &FetchResult) {
        match result {
            FetchResult::Stored { .. } => {
                self.stored += 1;
                self.spent += 1;
            }
            FetchResult::Skipped { .. } => self.skipped += 1,
            FetchResult::NotPermitted { refusal: Refusal::NoLedger { .. } } => {
                self.failed += 1;
                self.stopped = true;
            }
            FetchResult::NotPermitted { .. } => self.failed += 1,
            FetchResult::Refused { number } => {
                self.failed += 1;
                self.stopped = number.class() == NumberClass::Unknown;
            }
            FetchResult::NotAsked { .. } => {
                self.failed += 1;
                self.stopped = true;
            }
            FetchResult::Unclear { .. } | FetchResult::NotKept { .. } => {
                self.failed += 1;
                self.spent += 1;
                self.stopped = true;
            }
        }
    }
}

impl FetchResult {
    /// Whether it holds for every PC with the same key.
    fn stops_key(&self) -> bool {
        match self {
            FetchResult::Refused { number } => number.class() == NumberClass::Key,
            FetchResult::NotPermitted { refusal } => {
                matches!(refusal, Refusal::OnHold { .. } | Refusal::BudgetSpent { .. } | Refusal::RunLimit { .. })
            }
            _ => false,
        }
    }

    /// What happened and what to do, in one line.
    pub fn text(&self, language: Language) -> String {
        let line = |en: &str, de: &str| match language {
            Language::En => en.to_owned(),
            Language::De => de.to_owned(),
        };
        match self {
            FetchResult::Stored { from_cache: false } => line("confirmation ID stored", "Bestätigungs-ID gespeichert"),
            FetchResult::Stored { from_cache: true } => line(
                "confirmation ID stored; the server had it already",
                "Bestätigungs-ID gespeichert; der Server hatte sie schon",
            ),
            FetchResult::Skipped { reason } => reason.text(language).to_owned(),
            FetchResult::NotPermitted { refusal } => refusal.text(language),
            FetchResult::Refused { number } => number.text(language),
            FetchResult::NotAsked { why } => line(
                &format!("not asked, nothing is spent: {why}"),
                &format!("nicht gefragt, nichts ist verbraucht: {why}"),
            ),
            FetchResult::Unclear { why } => line(
                &format!(
                    "no clear answer, so it counts as spent: {why}. Look in ActivationWs whether it was issued before asking again"
                ),
                &format!(
                    "keine klare Antwort, gilt als verbraucht: {why}. Erst in ActivationWs nachsehen, ob sie erteilt wurde, dann erneut fragen"
                ),
            ),
            FetchResult::NotKept { why } => line(
                &format!(
                    "issued, but not stored, so it counts as spent: {why}. ActivationWs keeps it: export it there and import it"
                ),
                &format!(
                    "erteilt, aber nicht gespeichert, gilt als verbraucht: {why}. ActivationWs behält sie: dort ausgeben und einlesen"
                ),
            ),
        }
    }
}

impl From<NotAskable> for Skipped {
    fn from(reason: NotAskable) -> Self {
        match reason {
            NotAskable::WindowsSeven => Self::WindowsSeven,
            NotAskable::NoProductId => Self::NoProductId,
            NotAskable::BadProductId => Self::BadProductId,
        }
    }
}

impl Skipped {
    fn text(self, language: Language) -> &'static str {
        let (en, de) = match self {
            Skipped::WindowsSeven => (
                "an installation ID of Windows 7 (54 digits); ActivationWs takes 63 digits only: use VAMT, portal or telephone",
                "eine Installations-ID von Windows 7 (54 Ziffern); ActivationWs nimmt nur 63 Ziffern: VAMT, Portal oder Telefon verwenden",
            ),
            Skipped::NoProductId => (
                "its extended product ID is not known yet; it comes with the PC's next run",
                "ihre erweiterte Produkt-ID ist noch nicht bekannt; sie kommt mit dem nächsten Lauf des PCs",
            ),
            Skipped::BadProductId => (
                "what the PC told as extended product ID is none",
                "was der PC als erweiterte Produkt-ID gemeldet hat, ist keine",
            ),
            Skipped::Shared => (
                "several PCs sent this installation ID; their hardware IDs may be copies",
                "mehrere PCs haben diese Installations-ID gesendet; ihre Hardware-Kennungen sind wohl Kopien",
            ),
            Skipped::Stranger => ("no profile names this PC", "kein Profil nennt diesen PC"),
            Skipped::NoKey => (
                "no profile names a MAK with these last five characters, so there is no budget for it",
                "kein Profil nennt einen MAK mit diesen letzten fünf Zeichen, also gibt es kein Budget dafür",
            ),
            Skipped::KeyStopped => (
                "not asked, since the same key was refused just before",
                "nicht gefragt, weil derselbe Schlüssel gerade abgelehnt wurde",
            ),
        };
        match language {
            Language::En => en,
            Language::De => de,
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
