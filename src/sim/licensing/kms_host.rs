//! A simulated KMS host.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::activation::codes::Code;
use crate::sim::licensing::SimProduct;

/// The host is not set up for this product.
const CANNOT_SERVE: Code = Code(0xC004_F042);

/// The client machine IDs that ask for one application.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Clients {
    threshold: u32,
    seen: BTreeMap<String, Timestamp>,
}

impl Clients {
    fn new(threshold: u32) -> Self {
        Self { threshold, seen: BTreeMap::new() }
    }

    fn count(&self, now: Timestamp) -> u32 {
        let count = self.seen.values().filter(|at| fresh(**at, now)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn ask(&mut self, cmid: &str, now: Timestamp) -> Result<(), Code> {
        self.seen.insert(cmid.to_owned(), now);
        self.seen.retain(|_, at| fresh(*at, now));
        let most = usize::try_from(self.threshold.saturating_mul(2)).unwrap_or(usize::MAX);
        while self.seen.len() > most {
            let oldest = self.seen.iter().min_by_key(|(_, at)| **at).map(|(cmid, _)| cmid.clone());
            let Some(oldest) = oldest else { break };
            self.seen.remove(&oldest);
        }
        if self.count(now) < self.threshold { Err(Code::COUNT_TOO_LOW) } else { Ok(()) }
    }
}

/// A KMS host: it answers once it has seen enough different PCs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimKmsHost {
    reachable: bool,
    windows: Clients,
    office: Option<Clients>,
}

impl Default for SimKmsHost {
    /// A host for Windows clients, which answers from 25 on.
    fn default() -> Self {
        Self::new(25)
    }
}

impl SimKmsHost {
    /// A host that wants to see so many different client machine IDs.
    pub fn new(threshold: u32) -> Self {
        Self { reachable: true, windows: Clients::new(threshold), office: None }
    }

    /// The same host, set up for Office too, which it activates from 5 on.
    pub fn with_office(self) -> Self {
        Self { office: Some(Clients::new(5)), ..self }
    }

    /// The same host, switched off.
    pub fn unreachable(self) -> Self {
        Self { reachable: false, ..self }
    }

    pub(super) fn set_reachable(&mut self, reachable: bool) {
        self.reachable = reachable;
    }

    /// How long a client machine ID counts.
    pub const WINDOW: Duration = Duration::from_secs(30 * 86_400);

    /// How many different client machine IDs it has seen in the last 30 days; it remembers at most twice its threshold.
    pub fn count(&self, now: Timestamp) -> u32 {
        self.windows.count(now)
    }

    /// The same for Office.
    pub fn office_count(&self, now: Timestamp) -> u32 {
        self.office.as_ref().map_or(0, |office| office.count(now))
    }

    /// How many Windows clients it wants to see.
    pub fn threshold(&self) -> u32 {
        self.windows.threshold
    }

    /// A request of a client, which counts even when it is refused; the answer, and the count then.
    pub(super) fn ask(&mut self, product: SimProduct, cmid: &str, now: Timestamp) -> (Result<(), Code>, u32) {
        if !self.reachable {
            return (Err(Code::KMS_UNREACHABLE), 0);
        }
        let clients = if product == SimProduct::Office { self.office.as_mut() } else { Some(&mut self.windows) };
        let Some(clients) = clients else { return (Err(CANNOT_SERVE), 0) };
        let answer = clients.ask(cmid, now);
        (answer, clients.count(now))
    }
}

fn fresh(at: Timestamp, now: Timestamp) -> bool {
    at.checked_add(SimKmsHost::WINDOW).is_ok_and(|end| end >= now)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + day * 86_400).expect("in range")
    }

    fn ask(host: &mut SimKmsHost, cmid: &str, day: i64) -> Result<(), Code> {
        host.ask(SimProduct::Windows, cmid, at(day)).0
    }

    #[test]
    fn a_host_counts_different_pcs_of_thirty_days_up_to_fifty() {
        let mut host = SimKmsHost::default();
        for n in 0..24 {
            assert_eq!(ask(&mut host, &format!("pc{n}"), 0), Err(Code::COUNT_TOO_LOW));
        }
        assert_eq!(ask(&mut host, "pc0", 1), Err(Code::COUNT_TOO_LOW), "the same PC does not count twice");
        assert_eq!(ask(&mut host, "pc24", 1), Ok(()));
        assert_eq!(host.count(at(30)), 25);
        assert_eq!(host.count(at(31)), 2, "23 of the first day are forgotten");
        for n in 0..80 {
            let _ = ask(&mut host, &format!("more{n}"), 2);
        }
        assert_eq!(host.count(at(2)), 50);
        host.reachable = false;
        assert_eq!(ask(&mut host, "pc0", 2), Err(Code::KMS_UNREACHABLE));
    }

    #[test]
    fn office_is_counted_apart_and_from_five_on() {
        let mut host = SimKmsHost::default();
        assert_eq!(host.ask(SimProduct::Office, "pc", at(0)), (Err(CANNOT_SERVE), 0));
        host = host.with_office();
        for n in 0..4 {
            assert_eq!(host.ask(SimProduct::Office, &format!("pc{n}"), at(0)), (Err(Code::COUNT_TOO_LOW), n + 1));
        }
        assert_eq!(host.ask(SimProduct::Office, "pc4", at(0)), (Ok(()), 5));
        assert_eq!((host.count(at(0)), host.office_count(at(0))), (0, 5));
    }

    proptest! {
        #[test]
        fn the_count_is_what_a_list_of_requests_says(asked in prop::collection::vec((0u8..48, 0i64..5), 0..200)) {
            let mut host = SimKmsHost::default();
            let (mut day, mut list) = (0, Vec::new());
            for (pc, later) in asked {
                day += later;
                let answer = ask(&mut host, &format!("pc{pc}"), day);
                list.retain(|(known, at)| *known != pc && at + 30 >= day);
                list.push((pc, day));
                prop_assert_eq!(host.count(at(day)) as usize, list.len());
                prop_assert_eq!(answer.is_ok(), list.len() >= 25);
            }
        }

        #[test]
        fn no_crowd_counts_more_than_fifty(asked in prop::collection::vec((any::<u8>(), 0i64..3), 0..300)) {
            let mut host = SimKmsHost::default();
            let mut day = 0;
            for (pc, later) in asked {
                day += later;
                let _ = ask(&mut host, &format!("pc{pc}"), day);
                prop_assert!(host.count(at(day)) <= 50);
            }
        }
    }
}
