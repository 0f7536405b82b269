//! One question, and what an answer to it says.
//!
//! The packets are written and taken apart by hickory-proto, which bounds every read and follows compression pointers
//! backwards only. Whether a packet is an answer to the question is decided here, since anybody can send one.

use std::net::IpAddr;

use hickory_proto::ProtoError;
use hickory_proto::op::{Header, Message, MessageType, OpCode, Query as WireQuery, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record as WireRecord, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use serde::Serialize;

use super::DnsName;

/// Aliases (CNAME) that are followed; more are a loop or a prank.
pub const MOST_ALIASES: usize = 8;
/// Records of an answer that are looked at. A school has one KMS host, or two.
const MOST_RECORDS: usize = 32;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordKind {
    /// Where a service is.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl RecordKind {
    fn wire(self) -> RecordType {
        match self {
            RecordKind::Srv => RecordType::SRV,
            RecordKind::A => RecordType::A,
            RecordKind::Aaaa => RecordType::AAAA,
        }
    }

    /// As zone files write it.
    pub fn name(self) -> &'static str {
        match self {
            RecordKind::Srv => "SRV",
            RecordKind::A => "A",
            RecordKind::Aaaa => "AAAA",
        }
    }
}

/// A record that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// Where a service is (RFC 2782).
    Srv(Srv),
    /// An address.
    Address(IpAddr),
}

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Srv {
    /// The lowest is tried first.
    pub priority: u16,
    /// How often among those of one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; the root where the service is not offered.
    pub target: DnsName,
}

/// A question on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Chosen at random: who does not see the question has to guess it.
    pub id: u16,
    /// The name.
    pub name: DnsName,
    /// The kind of record.
    pub kind: RecordKind,
}

impl Question {
    /// The packet, without the length that goes before it over TCP.
    ///
    /// # Errors
    /// For a name that came out of a packet and cannot go into one.
    pub fn bytes(&self) -> Result<Vec<u8>, ProtoError> {
        let mut name = Name::from_ascii(self.name.as_str())?;
        name.set_fqdn(true);
        let mut message = Message::new(self.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(WireQuery::query(name, self.kind.wire()));
        message.to_vec()
    }
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The records, and the aliases that led to them.
    Found {
        /// At least one.
        records: Vec<Record>,
        /// The names between the one asked for and theirs, the last of which is theirs.
        aliases: Vec<DnsName>,
    },
    /// The name is an alias, and its records have to be asked for.
    Alias {
        /// The names, at least one; the last is the one to ask for.
        aliases: Vec<DnsName>,
    },
    /// The name exists and has no such record.
    NoData {
        /// As for records.
        aliases: Vec<DnsName>,
        /// The zone that says so, where it is told.
        zone: Option<DnsName>,
    },
    /// The name does not exist (NXDOMAIN).
    NoSuchName {
        /// As for records.
        aliases: Vec<DnsName>,
        /// The zone that says so, where it is told.
        zone: Option<DnsName>,
    },
    /// The answer is too long for a datagram.
    Truncated,
    /// The server asks nobody else, and does not know it itself.
    NoRecursion,
    /// The aliases go round in a circle, or on and on.
    AliasLoop,
    /// The server could not or would not, with this code: `SERVFAIL`, `REFUSED`, …
    Failed(&'static str),
}

/// Why a packet is no answer to the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Not an answer, or to something else.
    #[error("the packet does not answer this question")]
    Other,
    /// It has the right number but makes no sense.
    #[error("the answer is damaged")]
    Damaged,
}

/// What `bytes` say to `question`.
///
/// # Errors
/// [`NoAnswer`]: then somebody else's packet came, or a forged one, and the true answer may still come.
pub fn read(question: &Question, bytes: &[u8]) -> Result<Answer, NoAnswer> {
    let mut decoder = BinDecoder::new(bytes);
    let header = Header::read(&mut decoder).map_err(|_| NoAnswer::Other)?;
    let about = &header.metadata;
    if about.id != question.id || about.message_type != MessageType::Response || about.op_code != OpCode::Query {
        return Err(NoAnswer::Other);
    }
    let failed = code(about.response_code);
    match header.counts.queries {
        // Some servers leave out a question that they refuse (RFC 1035 does not forbid it).
        0 if failed.is_some() => {}
        1 => {
            let asked = WireQuery::read(&mut decoder).map_err(|_| NoAnswer::Damaged)?;
            let same = asked.query_type() == question.kind.wire()
                && asked.query_class() == DNSClass::IN
                && DnsName::from_wire(asked.name()) == question.name;
            if !same {
                return Err(NoAnswer::Other);
            }
        }
        _ => return Err(NoAnswer::Damaged),
    }
    if let Some(code) = failed {
        return Ok(Answer::Failed(code));
    }
    if about.truncation {
        return Ok(Answer::Truncated);
    }
    let mut records = |count| {
        let read = Message::read_records(&mut decoder, usize::from(count), false, OpCode::Query);
        read.map(|(records, ..)| records).map_err(|_| NoAnswer::Damaged)
    };
    let answers = records(header.counts.answers)?;
    let authorities = records(header.counts.authorities)?;
    let no_such_name = about.response_code == ResponseCode::NXDomain;
    let asks_nobody = !about.authoritative && !about.recursion_available;
    Ok(judge(question, &answers, &authorities, no_such_name, asks_nobody))
}

fn judge(
    question: &Question,
    answers: &[WireRecord],
    authorities: &[WireRecord],
    no_such_name: bool,
    asks_nobody: bool,
) -> Answer {
    let mut aliases: Vec<DnsName> = Vec::new();
    loop {
        let name = aliases.last().unwrap_or(&question.name);
        let of_name = || {
            let own =
                |record: &&WireRecord| record.dns_class == DNSClass::IN && DnsName::from_wire(&record.name) == *name;
            answers.iter().filter(own)
        };
        let records: Vec<Record> =
            of_name().filter_map(|record| wanted(question.kind, &record.data)).take(MOST_RECORDS).collect();
        if !records.is_empty() {
            return Answer::Found { records, aliases };
        }
        let target = of_name().find_map(|record| match &record.data {
            RData::CNAME(target) => Some(DnsName::from_wire(target)),
            _ => None,
        });
        match target {
            Some(target) if target == question.name || aliases.contains(&target) => return Answer::AliasLoop,
            Some(_) if aliases.len() >= MOST_ALIASES => return Answer::AliasLoop,
            Some(target) => aliases.push(target),
            None => break,
        }
    }
    let zone = authorities.iter().find_map(|record| match &record.data {
        RData::SOA(_) => Some(DnsName::from_wire(&record.name)),
        _ => None,
    });
    let refers = authorities.iter().any(|record| matches!(record.data, RData::NS(_)));
    match zone {
        _ if no_such_name => Answer::NoSuchName { aliases, zone },
        None if !aliases.is_empty() => Answer::Alias { aliases },
        None if asks_nobody && (refers || authorities.is_empty()) => Answer::NoRecursion,
        zone => Answer::NoData { aliases, zone },
    }
}

fn wanted(kind: RecordKind, data: &RData) -> Option<Record> {
    match (kind, data) {
        (RecordKind::Srv, RData::SRV(srv)) => Some(Record::Srv(Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: DnsName::from_wire(&srv.target),
        })),
        (RecordKind::A, RData::A(address)) => Some(Record::Address(IpAddr::V4(address.0))),
        (RecordKind::Aaaa, RData::AAAA(address)) => Some(Record::Address(IpAddr::V6(address.0))),
        _ => None,
    }
}

/// The code of an answer that says nothing about the name; none for the two that do.
fn code(code: ResponseCode) -> Option<&'static str> {
    match code {
        ResponseCode::NoError | ResponseCode::NXDomain => None,
        ResponseCode::FormErr => Some("FORMERR"),
        ResponseCode::ServFail => Some("SERVFAIL"),
        ResponseCode::NotImp => Some("NOTIMP"),
        ResponseCode::Refused => Some("REFUSED"),
        ResponseCode::NotAuth => Some("NOTAUTH"),
        _ => Some("an unusual error code"),
    }
}

#[cfg(test)]
mod tests;
