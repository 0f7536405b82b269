//! `klonwerk kms check`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::activation::kms::clients;
use crate::cli::output::{Output, pick};
use crate::cli::place::Place;
use crate::dns::DnsName;
use crate::dns::lookup::{Failure, Transport};
use crate::dns::message::Record;
use crate::dns::resolver_file::ResolverFile;
use crate::net::kms::{Endpoint, Finding, Host, Network, NotConnected, Report, Shown, Step, Wanted, Weight, check};
use crate::net::resolver::{RESOLVER_FILE, Resolver, server_address, system};
use crate::profile::Profiles;
use crate::profile::load;
use crate::room::Language;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The domain in which PCs look for their KMS host.
    #[arg(long)]
    domain: Option<DnsName>,
    /// Ask this DNS server instead of the system's: the one that the PCs ask.
    #[arg(long, value_name = "SERVER[:PORT]", value_parser = server)]
    dns: Option<SocketAddr>,
    /// Check this host, without looking for a record.
    #[arg(long, value_name = "NAME[:PORT]")]
    host: Option<Endpoint>,
    /// How long to wait for each answer and connection.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = patience)]
    timeout: Duration,
}

fn server(text: &str) -> Result<SocketAddr, String> {
    server_address(text).map_err(|error| error.to_string())
}

fn patience(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}; such as 3s or 500ms"))?;
    let bounds = jiff::SignedDuration::from_millis(10)..=jiff::SignedDuration::from_secs(60);
    if !bounds.contains(&span) {
        return Err("between 10ms and 60s".to_owned());
    }
    Duration::try_from(span).map_err(|error| error.to_string())
}

/// Checks and prints; tells whether every PC would reach a KMS host.
pub(super) fn run(args: &CheckArgs, place: &Place, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let file = system(Path::new(RESOLVER_FILE));
    let wanted = match (&args.domain, &args.host) {
        (None, None) => of_profiles(load::load(&place.profiles).ok().as_ref(), &file),
        (domain, host) => Wanted {
            domains: domain.iter().map(|domain| (domain.clone(), host.is_none())).collect(),
            hosts: host.iter().cloned().collect(),
        },
    };
    if wanted.domains.is_empty() && wanted.hosts.is_empty() {
        anyhow::bail!(pick(
            to.language,
            "keine Domäne bekannt: weder die Profile noch /etc/resolv.conf nennen eine; mit --domain angeben",
            "no domain is known: neither the profiles nor /etc/resolv.conf name one; give it with --domain",
        ));
    }
    let resolver = match args.dns {
        Some(server) => Resolver::new(vec![server], args.timeout, 2),
        None => Resolver::of_system(&file, args.timeout),
    };
    let mut network = Network { resolver, patience: args.timeout };
    let report = check(&wanted, &mut network);
    print(&wanted, &report, to)?;
    Ok(report.good())
}

/// The hosts that rooms name. A record is needed where a room names none, or where there are no profiles to tell.
fn of_profiles(profiles: Option<&Profiles>, file: &ResolverFile) -> Wanted {
    let clients = profiles.map(clients).unwrap_or_default();
    let hosts: BTreeSet<Endpoint> = clients
        .iter()
        .filter_map(|client| {
            let mut endpoint: Endpoint = client.host.as_deref()?.parse().ok()?;
            endpoint.port = client.port;
            Some(endpoint)
        })
        .collect();
    let needed = hosts.is_empty() || clients.iter().any(|client| client.host.is_none());
    let of_host = hosts.iter().find_map(|endpoint| match &endpoint.host {
        // The domain of a host of two labels would be a top-level one.
        Host::Name(name) => name.parent().filter(|domain| domain.as_str().contains('.')),
        Host::Address(_) => None,
    });
    let searched = file.search.first().cloned();
    let domain = if needed { searched.or(of_host) } else { of_host.or(searched) };
    Wanted { domains: domain.into_iter().map(|domain| (domain, needed)).collect(), hosts: hosts.into_iter().collect() }
}

fn print(wanted: &Wanted, report: &Report, to: &mut Output<'_>) -> anyhow::Result<()> {
    if to.json {
        let findings: Vec<_> = report.findings.iter().map(|finding| in_json(finding, to.language)).collect();
        let domains: Vec<_> = wanted.domains.iter().map(|(domain, _)| domain).collect();
        let (hosts, steps, good) = (&wanted.hosts, &report.steps, report.good());
        return to
            .json(&json!({ "good": good, "domains": domains, "hosts": hosts, "steps": steps, "findings": findings }));
    }
    for step in &report.steps {
        writeln!(to.out, "{}", line(step, to.language))?;
    }
    for finding in &report.findings {
        let word = match finding.weight {
            Weight::Error => to.text("Fehler", "error"),
            Weight::Warning => to.text("Warnung", "warning"),
            Weight::Note => to.text("Hinweis", "note"),
        };
        let help = to.text("Abhilfe", "help");
        let (text, advice) = (finding.fault.text(to.language), finding.fault.advice(to.language));
        writeln!(to.out, "\n{word}: {text}\n{help}: {advice}")?;
    }
    writeln!(to.out)?;
    if report.good() {
        to.say(
            "PCs erreichen einen KMS-Host. Ob er sie aktiviert, zeigt erst ein PC (ab 25 gezählten Clients).",
            "PCs reach a KMS host. Whether it activates them only a PC can show (from 25 counted clients on).",
        )
    } else {
        to.say("So erreichen nicht alle PCs einen KMS-Host.", "As it is, not every PC reaches a KMS host.")
    }
}

fn in_json(finding: &Finding, language: Language) -> serde_json::Value {
    let mut value = json!(finding);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("text".to_owned(), finding.fault.text(language).into());
        fields.insert("advice".to_owned(), finding.fault.advice(language).into());
    }
    value
}

fn line(step: &Step, language: Language) -> String {
    match step {
        Step::Lookup { name, kind, server, over, aliases, shown, milliseconds } => {
            let asked = server.map_or_else(String::new, |server| format!(" @{server}"));
            let over = if *over == Transport::Tcp { " (TCP)" } else { "" };
            let aliases: String = aliases.iter().map(|alias| format!("{alias}, ")).collect();
            format!("{} {name}{asked}{over}: {aliases}{}  {milliseconds} ms", kind.name(), what(shown, language))
        }
        Step::Connect { address, shown, milliseconds, .. } => {
            format!("TCP {address}: {}  {milliseconds} ms", what(shown, language))
        }
    }
}

fn what(shown: &Shown, language: Language) -> String {
    let text = match shown {
        Shown::Found { records } => return records.iter().map(record).collect::<Vec<_>>().join(", "),
        Shown::NoRecord => pick(language, "kein solcher Eintrag", "no such record"),
        Shown::NoSuchName => pick(language, "den Namen gibt es nicht (NXDOMAIN)", "no such name (NXDOMAIN)"),
        Shown::Failed(failure) => match failure {
            Failure::NoServer => pick(language, "kein DNS-Server", "no DNS server"),
            Failure::TimedOut => pick(language, "keine Antwort", "no answer"),
            Failure::Unreachable => pick(language, "nicht erreichbar", "unreachable"),
            Failure::Damaged => pick(language, "unlesbare Antwort", "unreadable answer"),
            Failure::AliasLoop => pick(language, "Aliasse im Kreis", "aliases in a circle"),
            Failure::NoRecursion => pick(language, "fragt nicht weiter", "asks nobody else"),
            Failure::Refused { code } => code,
        },
        Shown::Open => pick(language, "offen", "open"),
        Shown::NotOpen { why } => match why {
            NotConnected::Closed => pick(language, "geschlossen", "closed"),
            NotConnected::Filtered => pick(language, "keine Antwort", "no answer"),
            NotConnected::Unreachable => pick(language, "kein Weg dorthin", "no way there"),
            NotConnected::Local => pick(language, "nicht versucht", "not tried"),
        },
    };
    text.to_owned()
}

fn record(record: &Record) -> String {
    match record {
        Record::Srv(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, srv.target),
        Record::Address(address) => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles(rooms: &[(&str, &str)]) -> Profiles {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("rooms")).unwrap();
        let site = "name: S\ntime_zone: Europe/Berlin\nserver: { address: 10.0.0.2 }\nimages:\n  win: { build: 22631, \
                    edition: Education, generalized: true, skip_rearm: false, key_channel: gvlk }\n";
        std::fs::write(folder.path().join("site.yaml"), site).unwrap();
        for (n, (name, kms)) in rooms.iter().enumerate() {
            let room = format!(
                "title: R\nimage: win\nactivation: {{ kms: {kms} }}\nhooks: [activation]\nmachines:\n  - {{ name: PC-{n}, mac: '52:54:00:00:00:0{n}' }}\n"
            );
            std::fs::write(folder.path().join(format!("rooms/{name}.yaml")), room).unwrap();
        }
        load::load(folder.path()).unwrap()
    }

    #[test]
    fn what_is_checked_follows_the_profiles() {
        let search = ResolverFile { search: vec!["lan.example".parse().unwrap()], ..ResolverFile::default() };
        let told = profiles(&[
            ("r1", "{ host: kms.schule.example, port: 1700 }"),
            ("r2", "{ host: kms.schule.example, port: 1700 }"),
        ]);
        let wanted = of_profiles(Some(&told), &search);
        assert_eq!(wanted.hosts, ["kms.schule.example:1700".parse().unwrap()]);
        assert_eq!(wanted.domains, [("schule.example".parse().unwrap(), false)], "no PC of ours needs it");
        let found = profiles(&[("r1", "{ host: kms.schule.example }"), ("r2", "{}")]);
        assert_eq!(of_profiles(Some(&found), &search).domains, [("lan.example".parse().unwrap(), true)]);
        let nowhere = ResolverFile::default();
        assert_eq!(of_profiles(Some(&found), &nowhere).domains, [("schule.example".parse().unwrap(), true)]);
        assert_eq!(of_profiles(None, &search).domains, [("lan.example".parse().unwrap(), true)]);
        assert_eq!(of_profiles(None, &nowhere), Wanted::default());
    }

    #[test]
    fn patience_has_bounds() {
        assert_eq!(patience("3s"), Ok(Duration::from_secs(3)));
        for wrong in ["", "0s", "-1s", "2h", "soon"] {
            assert!(patience(wrong).is_err(), "{wrong}");
        }
    }
}
