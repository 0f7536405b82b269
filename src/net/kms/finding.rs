//! What is to be said about a check, in words.

use std::net::SocketAddr;

use serde::Serialize;

use super::{Host, NotConnected};
use crate::dns::DnsName;
use crate::dns::kms_record::PORT;
use crate::dns::lookup::Failure;
use crate::room::Language;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// PCs do not find a KMS host.
    Error,
    /// They find one, with detours.
    Warning,
    /// Good to know.
    Note,
}

/// Something that was found, and how much it matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters here.
    pub weight: Weight,
    /// What it is.
    #[serde(flatten)]
    pub fault: Fault,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "finding")]
#[expect(missing_docs, reason = "the data of each variant are what its text names")]
pub enum Fault {
    /// The domain leaves no place for the record's name.
    DomainTooLong { domain: DnsName },
    /// The domain has no record for KMS.
    NoRecord { domain: DnsName },
    /// The name server does not know the domain.
    NoDomain { domain: DnsName },
    /// The record says that there is no KMS here.
    NotOffered { domain: DnsName },
    /// A question was not answered.
    Dns { name: DnsName, failure: Failure, server: Option<SocketAddr> },
    /// More hosts than any school has.
    ManyHosts { count: usize, tried: usize },
    /// Priority or weight is not 0.
    PriorityFields { target: DnsName, priority: u16, weight: u16 },
    /// Another port than 1688.
    OtherPort { target: DnsName, port: u16 },
    /// Port 0.
    NoPort { target: DnsName },
    /// An address where a name has to be.
    TargetIsAddress { target: DnsName },
    /// The record's target is an alias.
    TargetIsAlias { target: DnsName, of: DnsName },
    /// A host without an address.
    NoAddress { host: DnsName, announced: bool },
    /// A port that did not open.
    Port { host: Host, address: SocketAddr, why: NotConnected },
}

impl Fault {
    /// Its weight, where that does not depend on what else was found.
    pub(super) fn least_weight(&self) -> Option<Weight> {
        matches!(self, Fault::TargetIsAlias { .. }).then_some(Weight::Warning)
    }

    pub(super) fn is_without_route(&self) -> bool {
        matches!(self, Fault::Port { why: NotConnected::Unreachable, .. })
    }

    /// What is wrong, in one line.
    pub fn text(&self, language: Language) -> String {
        match language {
            Language::En => self.english(),
            Language::De => self.german(),
        }
    }

    /// What to do about it.
    pub fn advice(&self, language: Language) -> String {
        match language {
            Language::En => self.english_advice(),
            Language::De => self.german_advice(),
        }
    }

    fn english(&self) -> String {
        match self {
            Fault::DomainTooLong { domain } => format!("the domain {domain} is too long to hold a record for KMS"),
            Fault::NoRecord { domain } => {
                format!("{domain} has no SRV record _vlmcs._tcp, so PCs do not find a KMS host there")
            }
            Fault::NoDomain { domain } => format!("the DNS server does not know the domain {domain}"),
            Fault::NotOffered { domain } => {
                format!("the SRV record of {domain} has the target '.', which means: no KMS here")
            }
            Fault::Dns { name, failure, server } => {
                let server = server.map_or_else(|| "a DNS server".to_owned(), |server| server.to_string());
                match failure {
                    Failure::NoServer => "there is no DNS server to ask".to_owned(),
                    Failure::TimedOut => format!("{server} did not answer the question for {name} in time"),
                    Failure::Unreachable => format!("no DNS server answers at {server}"),
                    Failure::Damaged => format!("what {server} answered for {name} cannot be read"),
                    Failure::AliasLoop => format!("the aliases (CNAME) of {name} go round in a circle"),
                    Failure::NoRecursion => format!("{server} does not know {name} and asks no other server for us"),
                    Failure::Refused { code } => format!("{server} answered {code} for {name}"),
                }
            }
            Fault::ManyHosts { count, tried } => {
                format!("the record names {count} hosts; the first {tried} were tried")
            }
            Fault::PriorityFields { target, priority, weight } => {
                format!("the record for {target} has priority {priority} and weight {weight}, which does no harm")
            }
            Fault::OtherPort { target, port } => format!("{target} is announced at port {port} instead of {PORT}"),
            Fault::NoPort { target } => format!("the record for {target} has port 0"),
            Fault::TargetIsAddress { target } => {
                format!("the record's target {target} is an address; it has to be a name")
            }
            Fault::TargetIsAlias { target, of } => {
                format!("the record's target {target} is an alias (CNAME) of {of}, which RFC 2782 forbids")
            }
            Fault::NoAddress { host, .. } => format!("{host} has no address, neither A nor AAAA"),
            Fault::Port { host, address, why } => {
                let port = address.port();
                match why {
                    NotConnected::Closed => format!("{host} is there ({address}), but port {port} is closed"),
                    NotConnected::Filtered => {
                        format!(
                            "nothing came back from {host} ({address}): port {port} is filtered, or the host is off"
                        )
                    }
                    NotConnected::Unreachable => format!("no way leads from here to {host} ({address})"),
                    NotConnected::Local => format!("this server could not open a connection to {host} ({address})"),
                }
            }
        }
    }

    fn german(&self) -> String {
        match self {
            Fault::DomainTooLong { domain } => format!("die Domäne {domain} ist zu lang für einen KMS-Eintrag"),
            Fault::NoRecord { domain } => {
                format!("{domain} hat keinen SRV-Eintrag _vlmcs._tcp; dort finden PCs keinen KMS-Host")
            }
            Fault::NoDomain { domain } => format!("der DNS-Server kennt die Domäne {domain} nicht"),
            Fault::NotOffered { domain } => {
                format!("der SRV-Eintrag von {domain} hat das Ziel '.', das heißt: hier kein KMS")
            }
            Fault::Dns { name, failure, server } => {
                let server = server.map_or_else(|| "ein DNS-Server".to_owned(), |server| server.to_string());
                match failure {
                    Failure::NoServer => "es gibt keinen DNS-Server, den man fragen könnte".to_owned(),
                    Failure::TimedOut => format!("{server} hat die Frage nach {name} nicht rechtzeitig beantwortet"),
                    Failure::Unreachable => format!("unter {server} antwortet kein DNS-Server"),
                    Failure::Damaged => format!("was {server} zu {name} geantwortet hat, ist nicht lesbar"),
                    Failure::AliasLoop => format!("die Aliasse (CNAME) von {name} laufen im Kreis"),
                    Failure::NoRecursion => {
                        format!("{server} kennt {name} nicht und fragt für uns keinen anderen Server")
                    }
                    Failure::Refused { code } => format!("{server} hat zu {name} mit {code} geantwortet"),
                }
            }
            Fault::ManyHosts { count, tried } => {
                format!("der Eintrag nennt {count} Hosts; die ersten {tried} wurden versucht")
            }
            Fault::PriorityFields { target, priority, weight } => {
                format!("der Eintrag für {target} hat Priorität {priority} und Gewicht {weight}; das schadet nicht")
            }
            Fault::OtherPort { target, port } => format!("{target} ist auf Port {port} statt {PORT} eingetragen"),
            Fault::NoPort { target } => format!("der Eintrag für {target} hat Port 0"),
            Fault::TargetIsAddress { target } => {
                format!("das Ziel {target} des Eintrags ist eine Adresse; es muss ein Name sein")
            }
            Fault::TargetIsAlias { target, of } => {
                format!("das Ziel {target} des Eintrags ist ein Alias (CNAME) von {of}; RFC 2782 verbietet das")
            }
            Fault::NoAddress { host, .. } => format!("{host} hat keine Adresse, weder A noch AAAA"),
            Fault::Port { host, address, why } => {
                let port = address.port();
                match why {
                    NotConnected::Closed => format!("{host} ist da ({address}), aber Port {port} ist geschlossen"),
                    NotConnected::Filtered => format!(
                        "von {host} ({address}) kam nichts zurück: Port {port} wird gefiltert, oder der Host ist aus"
                    ),
                    NotConnected::Unreachable => format!("von hier führt kein Weg zu {host} ({address})"),
                    NotConnected::Local => {
                        format!("dieser Server konnte keine Verbindung zu {host} ({address}) öffnen")
                    }
                }
            }
        }
    }

    fn english_advice(&self) -> String {
        match self {
            Fault::DomainTooLong { .. } => "name another domain with --domain".to_owned(),
            Fault::NoRecord { domain } => format!(
                "`klonwerk kms dns --domain {domain} --host HOST` prints the record; a KMS host makes it by itself where it may write into the zone (event 12293: it may not). Or name the host in the room's profile: kms: {{ host: … }}"
            ),
            Fault::NoDomain { .. } => {
                "check its spelling and the zone; ask the server that the PCs ask, with --dns SERVER".to_owned()
            }
            Fault::NotOffered { .. } => "replace the record with one that names the host".to_owned(),
            Fault::Dns { failure, .. } => match failure {
                Failure::NoServer => "enter one in /etc/resolv.conf, or give one with --dns SERVER".to_owned(),
                Failure::TimedOut | Failure::Unreachable => {
                    "is the server on, and do UDP and TCP 53 reach it? Another one: --dns SERVER".to_owned()
                }
                Failure::Damaged => "something between us and the server changes answers; ask it from another machine".to_owned(),
                Failure::AliasLoop => "repair the CNAME records in the zone".to_owned(),
                Failure::NoRecursion | Failure::Refused { .. } => {
                    "look at the server's log; does it answer this machine, and are its forwarders reached? Another one: --dns SERVER".to_owned()
                }
            },
            Fault::ManyHosts { .. } => "remove records of hosts that are gone".to_owned(),
            Fault::PriorityFields { .. } => "0 and 0 is usual; nothing has to be done".to_owned(),
            Fault::OtherPort { .. } => "right if the host was set to that port (slmgr /sprt); nothing has to be done".to_owned(),
            Fault::NoPort { .. } => format!("write port {PORT} into the record"),
            Fault::TargetIsAddress { .. } | Fault::TargetIsAlias { .. } => {
                "write the host's own name into the record, the one that has the A or AAAA record".to_owned()
            }
            Fault::NoAddress { announced: true, .. } => {
                "enter an A or AAAA record for it, or correct the target; a BIND zone appends its own name where the final dot is missing".to_owned()
            }
            Fault::NoAddress { announced: false, .. } => "correct the name, or enter an A or AAAA record for it".to_owned(),
            Fault::Port { why, .. } => match why {
                NotConnected::Closed => {
                    "is it the KMS host? Is a host key installed there and the service sppsvc running (slmgr /dlv)? A record of a host that is gone has to be removed".to_owned()
                }
                NotConnected::Filtered => {
                    "is it on? Then open its firewall: rule SPPSVC-In-TCP; firewalls between the networks too".to_owned()
                }
                NotConnected::Unreachable => "check routes, VLANs and the address; PCs may have a way that this server lacks".to_owned(),
                NotConnected::Local => "try again; this machine is short of something, or a rule forbids it".to_owned(),
            },
        }
    }

    fn german_advice(&self) -> String {
        match self {
            Fault::DomainTooLong { .. } => "mit --domain eine andere Domäne angeben".to_owned(),
            Fault::NoRecord { domain } => format!(
                "`klonwerk kms dns --domain {domain} --host HOST` gibt den Eintrag aus; ein KMS-Host legt ihn selbst an, wo er in die Zone schreiben darf (Ereignis 12293: er darf nicht). Oder den Host im Profil des Raums nennen: kms: {{ host: … }}"
            ),
            Fault::NoDomain { .. } => {
                "Schreibweise und Zone prüfen; mit --dns SERVER den Server fragen, den auch die PCs fragen".to_owned()
            }
            Fault::NotOffered { .. } => "den Eintrag durch einen ersetzen, der den Host nennt".to_owned(),
            Fault::Dns { failure, .. } => match failure {
                Failure::NoServer => "einen in /etc/resolv.conf eintragen oder mit --dns SERVER angeben".to_owned(),
                Failure::TimedOut | Failure::Unreachable => {
                    "ist der Server an, und kommen UDP und TCP 53 zu ihm durch? Ein anderer: --dns SERVER".to_owned()
                }
                Failure::Damaged => {
                    "etwas zwischen uns und dem Server verändert Antworten; von einer anderen Maschine aus fragen".to_owned()
                }
                Failure::AliasLoop => "die CNAME-Einträge in der Zone berichtigen".to_owned(),
                Failure::NoRecursion | Failure::Refused { .. } => {
                    "ins Protokoll des Servers sehen; antwortet er dieser Maschine, erreicht er seine Weiterleitungen? Ein anderer: --dns SERVER".to_owned()
                }
            },
            Fault::ManyHosts { .. } => "Einträge von Hosts entfernen, die es nicht mehr gibt".to_owned(),
            Fault::PriorityFields { .. } => "üblich sind 0 und 0; es ist nichts zu tun".to_owned(),
            Fault::OtherPort { .. } => {
                "richtig, wenn der Host auf diesen Port eingestellt wurde (slmgr /sprt); es ist nichts zu tun".to_owned()
            }
            Fault::NoPort { .. } => format!("Port {PORT} in den Eintrag schreiben"),
            Fault::TargetIsAddress { .. } | Fault::TargetIsAlias { .. } => {
                "den eigenen Namen des Hosts eintragen, den mit dem A- oder AAAA-Eintrag".to_owned()
            }
            Fault::NoAddress { announced: true, .. } => {
                "einen A- oder AAAA-Eintrag anlegen oder das Ziel berichtigen; eine BIND-Zone hängt ihren eigenen Namen an, wo der Punkt am Ende fehlt".to_owned()
            }
            Fault::NoAddress { announced: false, .. } => {
                "den Namen berichtigen oder einen A- oder AAAA-Eintrag anlegen".to_owned()
            }
            Fault::Port { why, .. } => match why {
                NotConnected::Closed => {
                    "ist er der KMS-Host? Ist dort ein Host-Schlüssel installiert, und läuft der Dienst sppsvc (slmgr /dlv)? Der Eintrag eines Hosts, den es nicht mehr gibt, muss weg".to_owned()
                }
                NotConnected::Filtered => {
                    "ist er an? Dann seine Firewall öffnen: Regel SPPSVC-In-TCP; ebenso Firewalls zwischen den Netzen".to_owned()
                }
                NotConnected::Unreachable => {
                    "Routen, VLANs und die Adresse prüfen; PCs haben vielleicht einen Weg, den dieser Server nicht hat".to_owned()
                }
                NotConnected::Local => "erneut versuchen; dieser Maschine fehlt etwas, oder eine Regel verbietet es".to_owned(),
            },
        }
    }
}
