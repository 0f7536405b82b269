//! Whether PCs would find their KMS host: the record that announces it, its addresses, and whether its port opens.
//!
//! What is sent is questions to name servers, and a TCP connection that is closed again at once. A KMS request is never
//! made: it would count at the host, and only a licensed Windows may make one. So a good result says that a PC would reach
//! the host, not that the host would activate it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::dns::kms_record::{PORT, service_name};
use crate::dns::lookup::{Failure, Outcome, Transport, Verdict};
use crate::dns::message::{Record, RecordKind, Srv};
use crate::dns::{DnsName, NameError};
use crate::net::resolver::Resolver;

mod finding;

pub use finding::{Fault, Finding, Weight};

/// Hosts of one record, and addresses of one host, that are tried: what a name server says must not make us knock at
/// every door of a network.
const MOST_TARGETS: usize = 8;

/// A host by name or by address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Host {
    /// By name.
    Name(DnsName),
    /// By address.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => name.fmt(f),
            Host::Address(address) => address.fmt(f),
        }
    }
}

/// A host and its port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Endpoint {
    /// The host.
    pub host: Host,
    /// Its TCP port.
    pub port: u16,
}

/// Not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The port is none.
    #[error("'{0}' has no usable port; such as kms.musterschule.example:1688")]
    Port(String),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// `NAME`, `NAME:PORT`, an address, or an address with a port.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = inside.parse() {
            return Ok(Self { host: Host::Address(address), port: PORT });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (host, port.ok_or_else(|| EndpointError::Port(text.to_owned()))?)
            }
            None => (text, PORT),
        };
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match inside.parse() {
            Ok(address) => Ok(Self { host: Host::Address(address), port }),
            Err(_) => Ok(Self { host: Host::Name(host.parse()?), port }),
        }
    }
}

/// What is to be checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Domains whose record is looked up; whether a PC depends on it.
    pub domains: Vec<(DnsName, bool)>,
    /// Hosts that PCs are told by name.
    pub hosts: Vec<Endpoint>,
}

/// Why a connection did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotConnected {
    /// The host said no: nothing listens, or a firewall refuses.
    Closed,
    /// No answer in time: a firewall drops, or the host is off.
    Filtered,
    /// No way leads there.
    Unreachable,
    /// This machine could not try.
    Local,
}

/// A value and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed<T> {
    /// The value.
    pub value: T,
    /// How long it took.
    pub took: Duration,
}

/// The network, as far as the check uses it.
pub trait Probe {
    /// Asks the name servers.
    fn ask(&mut self, name: &DnsName, kind: RecordKind) -> Timed<Outcome>;
    /// Connects, and closes again without having sent anything.
    fn connect(&mut self, to: SocketAddr) -> Timed<Result<(), NotConnected>>;
}

/// The network itself.
#[derive(Debug)]
pub struct Network {
    /// Who is asked.
    pub resolver: Resolver,
    /// How long a connection may take.
    pub patience: Duration,
}

impl Probe for Network {
    fn ask(&mut self, name: &DnsName, kind: RecordKind) -> Timed<Outcome> {
        let begun = Instant::now();
        let value = self.resolver.ask(name, kind);
        Timed { value, took: begun.elapsed() }
    }

    fn connect(&mut self, to: SocketAddr) -> Timed<Result<(), NotConnected>> {
        let begun = Instant::now();
        let value = match TcpStream::connect_timeout(&to, self.patience.max(Duration::from_millis(1))) {
            Ok(stream) => {
                drop(stream);
                Ok(())
            }
            Err(error) => Err(match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => NotConnected::Closed,
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => NotConnected::Filtered,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => NotConnected::Unreachable,
                _ => NotConnected::Local,
            }),
        };
        Timed { value, took: begun.elapsed() }
    }
}

/// What a step of the check showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Shown {
    /// Records.
    Found {
        /// They.
        records: Vec<Record>,
    },
    /// The name exists, without such a record.
    NoRecord,
    /// The name does not exist.
    NoSuchName,
    /// Nobody could tell.
    Failed(Failure),
    /// The port opened.
    Open,
    /// It did not.
    NotOpen {
        /// Why.
        why: NotConnected,
    },
}

/// One step of the check, in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// A question to name servers.
    Lookup {
        /// The name.
        name: DnsName,
        /// The kind of record.
        kind: RecordKind,
        /// Whose answer counts.
        server: Option<SocketAddr>,
        /// Over what it came.
        over: Transport,
        /// Aliases that were followed.
        aliases: Vec<DnsName>,
        /// What came of it.
        #[serde(flatten)]
        shown: Shown,
        /// How long it took.
        milliseconds: u64,
    },
    /// A connection.
    Connect {
        /// The host.
        host: Host,
        /// Where to.
        address: SocketAddr,
        /// What came of it.
        #[serde(flatten)]
        shown: Shown,
        /// How long it took.
        milliseconds: u64,
    },
}

/// What was done, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every step.
    pub steps: Vec<Step>,
    /// What is to be said about them.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether every PC would find a KMS host.
    pub fn good(&self) -> bool {
        self.findings.iter().all(|finding| finding.weight != Weight::Error)
    }
}

/// Checks what is `wanted`.
pub fn check(wanted: &Wanted, probe: &mut dyn Probe) -> Report {
    let mut visit = Visit { probe, report: Report::default(), connected: BTreeMap::new() };
    for (domain, needed) in &wanted.domains {
        visit.domain(domain, *needed);
    }
    for endpoint in &wanted.hosts {
        let faults = visit.host(endpoint, None);
        let reached = faults.reached;
        visit.note_all(faults, reached, true);
    }
    visit.report
}

struct Visit<'a> {
    probe: &'a mut dyn Probe,
    report: Report,
    connected: BTreeMap<SocketAddr, Result<(), NotConnected>>,
}

/// What is wrong with one host.
#[derive(Default)]
struct HostFaults {
    reached: bool,
    faults: Vec<Fault>,
}

impl Visit<'_> {
    fn note(&mut self, weight: Weight, fault: Fault) {
        let finding = Finding { weight, fault };
        if !self.report.findings.contains(&finding) {
            self.report.findings.push(finding);
        }
    }

    /// What keeps a PC from a host is an error where no other host is left, and else costs it time.
    fn note_all(&mut self, host: HostFaults, any_reached: bool, needed: bool) {
        for fault in host.faults {
            let weight = match fault.least_weight() {
                Some(weight) => weight,
                None if !needed => Weight::Note,
                None if !any_reached => Weight::Error,
                None if host.reached && fault.is_without_route() => Weight::Note,
                None => Weight::Warning,
            };
            self.note(weight, fault);
        }
    }

    fn domain(&mut self, domain: &DnsName, needed: bool) {
        let weight = if needed { Weight::Error } else { Weight::Note };
        let Ok(name) = service_name(domain) else {
            return self.note(weight, Fault::DomainTooLong { domain: domain.clone() });
        };
        let outcome = self.ask(&name, RecordKind::Srv);
        let records = match outcome.verdict {
            Verdict::Found(records) => records,
            Verdict::NoData { .. } => return self.note(weight, Fault::NoRecord { domain: domain.clone() }),
            Verdict::NoSuchName { zone } => {
                // Who says so is a zone above the domain: the domain itself is not there.
                let unknown = zone.is_some_and(|zone| !zone.is_within(domain));
                let domain = domain.clone();
                let fault = if unknown { Fault::NoDomain { domain } } else { Fault::NoRecord { domain } };
                return self.note(weight, fault);
            }
            Verdict::Failed(failure) => {
                return self.note(weight, Fault::Dns { name, failure, server: outcome.server });
            }
        };
        let mut hosts: Vec<Srv> = records
            .into_iter()
            .filter_map(|record| match record {
                Record::Srv(srv) => Some(srv),
                Record::Address(_) => None,
            })
            .collect();
        hosts.sort_by_key(|srv| (srv.priority, std::cmp::Reverse(srv.weight)));
        if hosts.len() > MOST_TARGETS {
            self.note(Weight::Warning, Fault::ManyHosts { count: hosts.len(), tried: MOST_TARGETS });
            hosts.truncate(MOST_TARGETS);
        }
        let mut all = Vec::new();
        for srv in hosts {
            if srv.priority != 0 || srv.weight != 0 {
                let (priority, weight) = (srv.priority, srv.weight);
                self.note(Weight::Note, Fault::PriorityFields { target: srv.target.clone(), priority, weight });
            }
            all.push(self.srv(&srv, domain));
        }
        let any_reached = all.iter().any(|host| host.reached);
        for host in all {
            self.note_all(host, any_reached, needed);
        }
    }

    fn srv(&mut self, srv: &Srv, domain: &DnsName) -> HostFaults {
        let only = |fault| HostFaults { reached: false, faults: vec![fault] };
        let target = srv.target.clone();
        if target.is_root() {
            return only(Fault::NotOffered { domain: domain.clone() });
        }
        if srv.port == 0 {
            return only(Fault::NoPort { target });
        }
        if target.as_str().parse::<IpAddr>().is_ok() {
            return only(Fault::TargetIsAddress { target });
        }
        if srv.port != PORT {
            self.note(Weight::Note, Fault::OtherPort { target: target.clone(), port: srv.port });
        }
        self.host(&Endpoint { host: Host::Name(target), port: srv.port }, Some(domain))
    }

    /// Looks a host up and connects. `announced` tells that a record names it, in the zone of that domain.
    fn host(&mut self, endpoint: &Endpoint, announced: Option<&DnsName>) -> HostFaults {
        let mut out = HostFaults::default();
        let addresses = match &endpoint.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.addresses(name, announced, &mut out),
        };
        for address in addresses.into_iter().take(MOST_TARGETS) {
            let to = SocketAddr::new(address, endpoint.port);
            match self.connect(&endpoint.host, to) {
                Ok(()) => out.reached = true,
                Err(why) => out.faults.push(Fault::Port { host: endpoint.host.clone(), address: to, why }),
            }
        }
        out
    }

    fn addresses(&mut self, name: &DnsName, announced: Option<&DnsName>, out: &mut HostFaults) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        let mut failed = None;
        for kind in [RecordKind::A, RecordKind::Aaaa] {
            let outcome = self.ask(name, kind);
            if let (Some(alias), Some(_)) = (outcome.aliases.last(), announced) {
                let fault = Fault::TargetIsAlias { target: name.clone(), of: alias.clone() };
                if !out.faults.contains(&fault) {
                    out.faults.push(fault);
                }
            }
            match outcome.verdict {
                Verdict::Found(records) => addresses.extend(records.into_iter().filter_map(|record| match record {
                    Record::Address(address) => Some(address),
                    Record::Srv(_) => None,
                })),
                Verdict::NoData { .. } | Verdict::NoSuchName { .. } => {}
                Verdict::Failed(failure) => failed = failed.or(Some((failure, outcome.server))),
            }
        }
        if addresses.is_empty() {
            out.faults.push(match failed {
                Some((failure, server)) => Fault::Dns { name: name.clone(), failure, server },
                None => Fault::NoAddress { host: name.clone(), announced: announced.is_some() },
            });
        }
        addresses
    }

    fn ask(&mut self, name: &DnsName, kind: RecordKind) -> Outcome {
        let Timed { value: outcome, took } = self.probe.ask(name, kind);
        let shown = match &outcome.verdict {
            Verdict::Found(records) => Shown::Found { records: records.clone() },
            Verdict::NoData { .. } => Shown::NoRecord,
            Verdict::NoSuchName { .. } => Shown::NoSuchName,
            Verdict::Failed(failure) => Shown::Failed(failure.clone()),
        };
        self.report.steps.push(Step::Lookup {
            name: name.clone(),
            kind,
            server: outcome.server,
            over: outcome.over,
            aliases: outcome.aliases.clone(),
            shown,
            milliseconds: milliseconds(took),
        });
        outcome
    }

    /// Each address is tried once, however many names lead to it.
    fn connect(&mut self, host: &Host, address: SocketAddr) -> Result<(), NotConnected> {
        if let Some(known) = self.connected.get(&address) {
            return *known;
        }
        let Timed { value, took } = self.probe.connect(address);
        self.connected.insert(address, value);
        let shown = match value {
            Ok(()) => Shown::Open,
            Err(why) => Shown::NotOpen { why },
        };
        self.report.steps.push(Step::Connect { host: host.clone(), address, shown, milliseconds: milliseconds(took) });
        value
    }
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
