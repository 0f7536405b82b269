//! What can be told about a KMS host's count from outside, and which PCs look like one to it.
//!
//! A host activates Windows once it has seen 25 clients in the last 30 days, told apart by their client machine ID (CMID),
//! and remembers twice as many at most (Microsoft, "KMS activation planning"). It is never asked: what is known here comes
//! from the reports of re-cloned PCs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::activation::Strategy;
use crate::activation::hook::Outcome;
use crate::job::RunId;
use crate::profile::Profiles;
use crate::room::{Language, MachineName, RoomName};

/// Clients that a host has to have seen before it activates one.
pub const THRESHOLD: usize = 25;
/// Clients that a host remembers: twice the threshold.
pub const CAP: usize = 50;
/// How long a host remembers a client, in days.
pub const WINDOW_DAYS: i64 = 30;

/// How a PC's last report stands to its KMS host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Activated.
    Activated,
    /// The host answered that its count is too low.
    CountTooLow,
    /// No host was reached.
    Unreachable,
    /// Not activated for another reason.
    NotActivated,
}

impl Standing {
    /// What an outcome means here.
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::AlreadyGood | Outcome::Activated => Standing::Activated,
            Outcome::CountTooLow => Standing::CountTooLow,
            Outcome::KmsUnreachable => Standing::Unreachable,
            _ => Standing::NotActivated,
        }
    }

    /// Whether the host has seen the client: it counts who asks, also while it still refuses.
    pub fn is_counted(self) -> bool {
        matches!(self, Standing::Activated | Standing::CountTooLow)
    }

    /// Its name in the state store.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Activated => "activated",
            Standing::CountTooLow => "count-too-low",
            Standing::Unreachable => "unreachable",
            Standing::NotActivated => "not-activated",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Standing::Activated, Standing::CountTooLow, Standing::Unreachable, Standing::NotActivated]
            .into_iter()
            .find(|standing| standing.name() == name)
    }
}

/// A PC that is to be activated at a KMS host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its room.
    pub room: RoomName,
    /// Its name.
    pub machine: MachineName,
    /// The host that it is told; none lets it look in DNS.
    pub host: Option<String>,
    /// The host's port.
    pub port: u16,
}

/// The PCs of a site that are to be activated at a KMS host.
pub fn clients(profiles: &Profiles) -> Vec<Client> {
    let mut clients = Vec::new();
    for room in profiles.rooms.values() {
        for machine in &room.machines {
            if let Strategy::Kms { host, port } = machine.strategy(room) {
                let (room, machine) = (room.name.clone(), machine.name.clone());
                clients.push(Client { room, machine, host: host.clone(), port: *port });
            }
        }
    }
    clients
}

/// What one PC reported after one clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The run.
    pub run: RunId,
    /// Its room then.
    pub room: RoomName,
    /// The PC.
    pub machine: MachineName,
    /// Its client machine ID, in small letters; none where Windows did not tell.
    pub cmid: Option<String>,
    /// Whether it was to be activated at a KMS host.
    pub at_kms: bool,
    /// What came of it.
    pub standing: Standing,
    /// When.
    pub at: Timestamp,
}

/// PCs that one KMS host takes for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicate {
    /// Their client machine ID.
    pub cmid: String,
    /// The PCs, with their rooms.
    pub machines: Vec<Place>,
}

/// A PC and its room.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The room.
    pub room: RoomName,
    /// The PC.
    pub machine: MachineName,
}

/// What is known about a site and its KMS host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// Clients that the host has to have seen.
    pub threshold: usize,
    /// Clients that it remembers at most.
    pub cap: usize,
    /// For how many days.
    pub window_days: i64,
    /// PCs of the site with the strategy `kms`.
    pub pcs: usize,
    /// Different client machine IDs with which such PCs have asked the host in the window; not more than the cap.
    pub counted: usize,
    /// The same without the cap.
    pub seen: usize,
    /// Different PCs that have asked the host in the window.
    pub pcs_seen: usize,
    /// Last report: activated.
    pub activated: Vec<Place>,
    /// Last report: the host has seen too few.
    pub count_too_low: Vec<Place>,
    /// Last report: no host was reached.
    pub unreachable: Vec<Place>,
    /// Last report: not activated for another reason.
    pub not_activated: Vec<Place>,
    /// PCs that have not reported yet.
    pub silent: Vec<Place>,
    /// Client machine IDs that several PCs of any room have.
    pub duplicates: Vec<Duplicate>,
}

/// What `sightings` tell at `now` about these PCs. `known` names every PC of the site, whatever its strategy.
pub fn overview(now: Timestamp, clients: &[Client], known: &BTreeSet<MachineName>, sightings: &[Sighting]) -> Overview {
    let window = window_start(now);
    let in_window =
        || sightings.iter().filter(|s| s.at_kms && s.standing.is_counted() && s.at >= window && s.at <= now);
    let ids: BTreeSet<&str> = in_window().filter_map(|sighting| sighting.cmid.as_deref()).collect();
    let pcs: BTreeSet<&MachineName> = in_window().map(|sighting| &sighting.machine).collect();
    let last = last_by_machine(sightings);
    let mut overview = Overview {
        threshold: THRESHOLD,
        cap: CAP,
        window_days: WINDOW_DAYS,
        pcs: clients.len(),
        counted: ids.len().min(CAP),
        seen: ids.len(),
        pcs_seen: pcs.len(),
        activated: Vec::new(),
        count_too_low: Vec::new(),
        unreachable: Vec::new(),
        not_activated: Vec::new(),
        silent: Vec::new(),
        duplicates: duplicates(&last, known),
    };
    for client in clients {
        let place = Place { room: client.room.clone(), machine: client.machine.clone() };
        let list = match last.get(&client.machine).filter(|sighting| sighting.at_kms).map(|sighting| sighting.standing)
        {
            Some(Standing::Activated) => &mut overview.activated,
            Some(Standing::CountTooLow) => &mut overview.count_too_low,
            Some(Standing::Unreachable) => &mut overview.unreachable,
            Some(Standing::NotActivated) => &mut overview.not_activated,
            None => &mut overview.silent,
        };
        list.push(place);
    }
    overview
}

/// The beginning of the window that ends at `now`.
pub fn window_start(now: Timestamp) -> Timestamp {
    now.checked_sub(SignedDuration::from_hours(24 * WINDOW_DAYS)).unwrap_or(Timestamp::MIN)
}

fn last_by_machine(sightings: &[Sighting]) -> BTreeMap<&MachineName, &Sighting> {
    let mut last: BTreeMap<&MachineName, &Sighting> = BTreeMap::new();
    for sighting in sightings {
        let newest = last.entry(&sighting.machine).or_insert(sighting);
        if (sighting.at, sighting.run) > (newest.at, newest.run) {
            *newest = sighting;
        }
    }
    last
}

/// What each PC had last counts: a rebuilt image has ended the matter once its clones have reported.
fn duplicates(last: &BTreeMap<&MachineName, &Sighting>, known: &BTreeSet<MachineName>) -> Vec<Duplicate> {
    let mut by_id: BTreeMap<&str, Vec<Place>> = BTreeMap::new();
    for sighting in last.values().filter(|sighting| known.contains(&sighting.machine)) {
        if let Some(cmid) = &sighting.cmid {
            let place = Place { room: sighting.room.clone(), machine: sighting.machine.clone() };
            by_id.entry(cmid).or_default().push(place);
        }
    }
    let shared = by_id.into_iter().filter(|(_, machines)| machines.len() > 1);
    shared
        .map(|(cmid, mut machines)| {
            machines.sort();
            Duplicate { cmid: cmid.to_owned(), machines }
        })
        .collect()
}

/// The alarm about PCs with one client machine ID, in one line.
pub fn duplicate_alarm(machine: &MachineName, others: &[MachineName], language: Language) -> String {
    let names: Vec<&str> = others.iter().map(MachineName::as_str).take(5).collect();
    let more = if others.len() > names.len() { ", …" } else { "" };
    let others = names.join(", ");
    match language {
        Language::En => format!(
            "{machine} has the same client machine ID as {others}{more}: a KMS host counts them as one PC; rebuild the image with sysprep /generalize and without SkipRearm (`klonwerk kms status` lists all)"
        ),
        Language::De => format!(
            "{machine} hat dieselbe Client-Computer-ID wie {others}{more}: ein KMS-Host zählt sie als einen PC; Image mit sysprep /generalize und ohne SkipRearm neu bauen (`klonwerk kms status` nennt alle)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> Timestamp {
        "2026-11-01T02:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * day)
    }

    fn name(n: usize) -> MachineName {
        format!("PC-{n:02}").parse().unwrap()
    }

    fn clients(count: usize) -> Vec<Client> {
        (0..count).map(|n| Client { room: "r1".parse().unwrap(), machine: name(n), host: None, port: 1688 }).collect()
    }

    fn seen(n: usize, day: i64, cmid: &str, standing: Standing) -> Sighting {
        Sighting {
            run: RunId(u64::try_from(day).unwrap()),
            room: "r1".parse().unwrap(),
            machine: name(n),
            cmid: Some(cmid.to_owned()),
            at_kms: true,
            standing,
            at: at(day),
        }
    }

    fn told(now: i64, pcs: usize, sightings: &[Sighting]) -> Overview {
        let clients = clients(pcs);
        let known = clients.iter().map(|client| client.machine.clone()).collect();
        overview(at(now), &clients, &known, sightings)
    }

    #[test]
    fn generalized_clones_count_up_night_by_night_and_leave_after_thirty_days() {
        let nights = |from: i64, to: i64| -> Vec<Sighting> {
            let night = |day: i64| (0..10).map(move |n| seen(n, day, &format!("id-{day}-{n}"), Standing::CountTooLow));
            (from..to).flat_map(night).collect()
        };
        let two = told(2, 10, &nights(0, 2));
        assert_eq!((two.counted, two.pcs, two.pcs_seen), (20, 10, 10), "20 of 25 counted, by ten PCs");
        assert_eq!(told(3, 10, &nights(0, 3)).counted, 30);
        let many = told(9, 10, &nights(0, 9));
        assert_eq!((many.counted, many.seen), (CAP, 90));
        assert_eq!(told(30, 10, &nights(0, 2)).counted, 20, "the window's first moment counts");
        assert_eq!(told(31, 10, &nights(0, 2)).counted, 10);
        assert_eq!(told(32, 10, &nights(0, 2)).counted, 0);
    }

    #[test]
    fn the_last_report_stands_and_only_who_asked_is_counted() {
        let mut sightings = vec![
            seen(0, 1, "a", Standing::CountTooLow),
            seen(0, 2, "b", Standing::Activated),
            seen(1, 2, "c", Standing::Unreachable),
            seen(2, 2, "d", Standing::NotActivated),
        ];
        sightings.reverse();
        let overview = told(3, 4, &sightings);
        let names = |list: &[Place]| list.iter().map(|place| place.machine.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&overview.activated), ["PC-00"]);
        assert_eq!(names(&overview.unreachable), ["PC-01"]);
        assert_eq!(names(&overview.not_activated), ["PC-02"]);
        assert_eq!(names(&overview.silent), ["PC-03"]);
        assert_eq!((overview.counted, overview.pcs_seen), (2, 1));
        let mak = Sighting { at_kms: false, ..seen(3, 2, "e", Standing::Activated) };
        let with = told(3, 4, &[sightings, vec![mak]].concat());
        assert_eq!((with.counted, with.silent.len()), (2, 1), "another strategy's report says nothing about the host");
    }

    #[test]
    fn duplicates_are_what_pcs_have_now() {
        let shared = [0, 1, 2].map(|n| seen(n, 1, "same", Standing::CountTooLow));
        let overview = told(2, 5, &shared);
        assert_eq!(overview.counted, 1, "the host sees one PC");
        assert_eq!(overview.duplicates.len(), 1);
        assert_eq!(overview.duplicates[0].machines.len(), 3);
        let rebuilt = [0, 1].map(|n| seen(n, 3, &format!("own-{n}"), Standing::CountTooLow));
        assert_eq!(told(4, 5, &[&shared[..], &rebuilt].concat()).duplicates, []);
        // PC-02 alone is left with the old one; a PC that no profile names any more is nobody's duplicate.
        assert_eq!(told(2, 1, &shared).duplicates, []);
        let unlucky = Sighting { at_kms: false, ..seen(3, 2, "same", Standing::NotActivated) };
        assert_eq!(told(4, 5, &[&shared[..], &[unlucky]].concat()).duplicates[0].machines.len(), 4, "any strategy");
    }

    #[test]
    fn standings_have_names_that_come_back() {
        for standing in [Standing::Activated, Standing::CountTooLow, Standing::Unreachable, Standing::NotActivated] {
            assert_eq!(Standing::from_name(standing.name()), Some(standing));
        }
        assert_eq!(Standing::from_name("x"), None);
    }

    #[test]
    fn the_alarm_stays_one_line() {
        let others: Vec<MachineName> = (1..30).map(name).collect();
        let text = duplicate_alarm(&name(0), &others, Language::En);
        assert!(
            text.starts_with("PC-00 has the same client machine ID as PC-01, PC-02, PC-03, PC-04, PC-05, …:"),
            "{text}"
        );
    }
}
