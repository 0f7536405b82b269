use super::*;
use crate::room::Language;

/// A network of a few names and addresses.
#[derive(Default)]
struct Paper {
    names: BTreeMap<(String, &'static str), Verdict>,
    aliases: BTreeMap<String, &'static str>,
    ports: BTreeMap<SocketAddr, Result<(), NotConnected>>,
    connected: Vec<SocketAddr>,
}

impl Paper {
    fn with(mut self, name: &str, kind: RecordKind, verdict: Verdict) -> Self {
        self.names.insert((name.to_owned(), kind.name()), verdict);
        self
    }

    fn srv(self, records: &[(u16, u16, u16, &str)]) -> Self {
        let record = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            let (priority, weight, port) = (*priority, *weight, *port);
            Record::Srv(Srv { priority, weight, port, target: wire(target) })
        };
        self.with("_vlmcs._tcp.x.example", RecordKind::Srv, Verdict::Found(records.iter().map(record).collect()))
    }

    fn host(self, name: &str, address: &str, port: Result<(), NotConnected>) -> Self {
        let address: IpAddr = address.parse().unwrap();
        let kind = if address.is_ipv4() { RecordKind::A } else { RecordKind::Aaaa };
        let mut paper = self.with(name, kind, Verdict::Found(vec![Record::Address(address)]));
        paper.ports.insert(SocketAddr::new(address, 1688), port);
        paper
    }
}

/// A name as a packet may hold it.
fn wire(text: &str) -> DnsName {
    DnsName::from_packet(text)
}

impl Probe for Paper {
    fn ask(&mut self, name: &DnsName, kind: RecordKind) -> Timed<Outcome> {
        let verdict = self.names.get(&(name.to_string(), kind.name())).cloned();
        let value = Outcome {
            name: name.clone(),
            kind,
            aliases: self.aliases.get(name.as_str()).map(|alias| wire(alias)).into_iter().collect(),
            server: Some(SocketAddr::from(([10, 0, 0, 1], 53))),
            over: Transport::Udp,
            verdict: verdict.unwrap_or(Verdict::NoSuchName { zone: None }),
        };
        Timed { value, took: Duration::from_millis(3) }
    }

    fn connect(&mut self, to: SocketAddr) -> Timed<Result<(), NotConnected>> {
        self.connected.push(to);
        let value = self.ports.get(&to).copied().unwrap_or(Err(NotConnected::Filtered));
        Timed { value, took: Duration::from_millis(7) }
    }
}

fn checked(paper: &mut Paper) -> Report {
    let wanted = Wanted { domains: vec![("x.example".parse().unwrap(), true)], hosts: vec![] };
    check(&wanted, paper)
}

fn weights(report: &Report) -> Vec<(Weight, &Fault)> {
    report.findings.iter().map(|finding| (finding.weight, &finding.fault)).collect()
}

#[test]
fn a_good_record_leads_to_an_open_port_and_nothing_is_said() {
    let mut paper = Paper::default().srv(&[(0, 0, 1688, "kms.x.example")]).host("kms.x.example", "10.0.0.5", Ok(()));
    let report = checked(&mut paper);
    assert!(report.good() && report.findings.is_empty(), "{report:?}");
    let steps: Vec<_> = report.steps.iter().map(|step| serde_json::to_value(step).unwrap()["result"].clone()).collect();
    assert_eq!(steps, ["found", "found", "no-such-name", "open"]);
}

#[test]
fn what_is_missing_is_told_apart() {
    let zone = |text: &str| Some(text.parse().unwrap());
    let name = "_vlmcs._tcp.x.example";
    let fault = |verdict| {
        let report = checked(&mut Paper::default().with(name, RecordKind::Srv, verdict));
        assert!(!report.good());
        report.findings[0].fault.clone()
    };
    let domain: DnsName = "x.example".parse().unwrap();
    assert_eq!(fault(Verdict::NoData { zone: None }), Fault::NoRecord { domain: domain.clone() });
    assert_eq!(fault(Verdict::NoSuchName { zone: zone("x.example") }), Fault::NoRecord { domain: domain.clone() });
    assert_eq!(fault(Verdict::NoSuchName { zone: zone("example") }), Fault::NoDomain { domain });
    for failure in [Failure::TimedOut, Failure::Refused { code: "SERVFAIL" }, Failure::NoRecursion] {
        assert!(
            matches!(fault(Verdict::Failed(failure.clone())), Fault::Dns { failure: found, .. } if found == failure)
        );
    }
}

#[test]
fn a_missing_record_that_no_pc_needs_is_a_note() {
    let wanted =
        Wanted { domains: vec![("x.example".parse().unwrap(), false)], hosts: vec!["kms.x.example".parse().unwrap()] };
    let mut paper = Paper::default().host("kms.x.example", "10.0.0.5", Ok(()));
    let report = check(&wanted, &mut paper);
    assert!(report.good());
    assert!(matches!(weights(&report)[..], [(Weight::Note, Fault::NoRecord { .. })]), "{report:?}");
}

#[test]
fn one_dead_host_among_two_is_a_warning_and_priorities_are_harmless() {
    let mut paper = Paper::default()
        .srv(&[(10, 5, 1688, "old.x.example"), (0, 0, 1688, "kms.x.example")])
        .host("kms.x.example", "10.0.0.5", Ok(()))
        .host("old.x.example", "10.0.0.6", Err(NotConnected::Closed));
    let report = checked(&mut paper);
    assert!(report.good());
    assert!(
        matches!(
            weights(&report)[..],
            [
                (Weight::Note, Fault::PriorityFields { priority: 10, .. }),
                (Weight::Warning, Fault::Port { why: NotConnected::Closed, .. })
            ]
        ),
        "{report:?}"
    );
    assert_eq!(paper.connected[0], SocketAddr::from(([10, 0, 0, 5], 1688)), "the lowest priority first");
}

#[test]
fn a_single_dead_host_is_an_error_of_its_kind() {
    for why in [NotConnected::Closed, NotConnected::Filtered, NotConnected::Unreachable] {
        let mut paper =
            Paper::default().srv(&[(0, 0, 1688, "kms.x.example")]).host("kms.x.example", "10.0.0.5", Err(why));
        let report = checked(&mut paper);
        assert!(!report.good());
        assert!(matches!(report.findings[0].fault, Fault::Port { why: found, .. } if found == why));
    }
}

#[test]
fn an_address_of_the_other_family_without_a_way_is_a_note() {
    let mut paper = Paper::default()
        .srv(&[(0, 0, 1688, "kms.x.example")])
        .host("kms.x.example", "10.0.0.5", Ok(()))
        .host("kms.x.example", "fd00::5", Err(NotConnected::Unreachable));
    assert!(matches!(weights(&checked(&mut paper))[..], [(Weight::Note, Fault::Port { .. })]));
}

#[test]
fn targets_that_cannot_be_are_named() {
    let only = |target: &'static str, port| {
        let report = checked(&mut Paper::default().srv(&[(0, 0, port, target)]));
        assert!(!report.good(), "{target}");
        report.findings[0].fault.clone()
    };
    assert!(matches!(only(".", 1688), Fault::NotOffered { .. }));
    assert!(matches!(only("10.0.0.5", 1688), Fault::TargetIsAddress { .. }));
    assert!(matches!(only("kms.x.example", 0), Fault::NoPort { .. }));
    assert!(matches!(only("kms.x.example.x.example", 1688), Fault::NoAddress { announced: true, .. }));
    let mut paper = Paper::default().srv(&[(0, 0, 1688, "kms.x.example")]).host("kms.x.example", "10.0.0.5", Ok(()));
    paper.aliases.insert("kms.x.example".to_owned(), "server1.x.example");
    let report = checked(&mut paper);
    assert!(report.good());
    assert!(matches!(weights(&report)[..], [(Weight::Warning, Fault::TargetIsAlias { .. })]), "{report:?}");
}

#[test]
fn a_name_server_does_not_make_us_knock_everywhere() {
    let targets: Vec<String> = (0..40).map(|n| format!("h{n}.x.example")).collect();
    let records: Vec<_> = targets.iter().map(|target| (0, 0, 1688, target.as_str())).collect();
    let mut paper = Paper::default().srv(&records);
    for target in &targets {
        let addresses = (0..40).map(|n| Record::Address(IpAddr::from([10, 1, 0, n]))).collect();
        paper = paper.with(target, RecordKind::A, Verdict::Found(addresses));
    }
    checked(&mut paper);
    assert_eq!(paper.connected.len(), MOST_TARGETS, "eight hosts with the same eight addresses");
}

#[test]
fn endpoints_are_names_or_addresses() {
    let text = |text: &str| text.parse::<Endpoint>().map(|endpoint| format!("{} {}", endpoint.host, endpoint.port));
    assert_eq!(text("KMS.x.example").unwrap(), "kms.x.example 1688");
    assert_eq!(text("kms:1700").unwrap(), "kms 1700");
    assert_eq!(text("10.0.0.5").unwrap(), "10.0.0.5 1688");
    assert_eq!(text("10.0.0.5:1700").unwrap(), "10.0.0.5 1700");
    assert_eq!(text("fd00::5").unwrap(), "fd00::5 1688");
    assert_eq!(text("[fd00::5]:1700").unwrap(), "fd00::5 1700");
    for wrong in ["", "kms:0", "kms:x", "a b", "[fd00::5"] {
        assert!(text(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_fault_has_its_words_in_both_languages() {
    let name: DnsName = "kms.x.example".parse().unwrap();
    let host = Host::Name(name.clone());
    let address = SocketAddr::from(([10, 0, 0, 5], 1688));
    let failures = [
        Failure::NoServer,
        Failure::TimedOut,
        Failure::Unreachable,
        Failure::Damaged,
        Failure::AliasLoop,
        Failure::NoRecursion,
        Failure::Refused { code: "SERVFAIL" },
    ];
    let whys = [NotConnected::Closed, NotConnected::Filtered, NotConnected::Unreachable, NotConnected::Local];
    let mut faults = vec![
        Fault::NoRecord { domain: name.clone() },
        Fault::NoDomain { domain: name.clone() },
        Fault::NotOffered { domain: name.clone() },
        Fault::ManyHosts { count: 40, tried: 8 },
        Fault::PriorityFields { target: name.clone(), priority: 1, weight: 2 },
        Fault::OtherPort { target: name.clone(), port: 1700 },
        Fault::NoPort { target: name.clone() },
        Fault::TargetIsAddress { target: wire("10.0.0.5") },
        Fault::TargetIsAlias { target: name.clone(), of: name.clone() },
        Fault::NoAddress { host: name.clone(), announced: true },
    ];
    faults.extend(failures.map(|failure| Fault::Dns { name: name.clone(), failure, server: Some(address) }));
    faults.extend(whys.map(|why| Fault::Port { host: host.clone(), address, why }));
    let words = |language| {
        let lines: Vec<String> =
            faults.iter().map(|fault| format!("{}\n  {}\n", fault.text(language), fault.advice(language))).collect();
        lines.concat()
    };
    insta::assert_snapshot!(words(Language::En));
    insta::assert_snapshot!(words(Language::De));
}
