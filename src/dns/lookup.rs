//! The course of one question: which server, how often, over what, and what came of it. A state machine without I/O.
//!
//! Each server gets its time; one that fails, or is not there, gives way to the next at once. A truncated answer is asked for
//! again over TCP (RFC 7766). An alias without its records is asked for under its new name.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::DnsName;
use super::message::{Answer, MOST_ALIASES, NoAnswer, Question, Record, RecordKind, read};

/// Over what a question goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A connection, for answers that are too long for one.
    Tcp,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send these bytes, from a port that nothing was sent from before.
    Send {
        /// Where to.
        to: SocketAddr,
        /// Over what.
        over: Transport,
        /// The packet.
        bytes: Vec<u8>,
    },
    /// Wait for an answer, at most until then.
    Wait {
        /// When to come back.
        until: Instant,
    },
    /// It is over.
    Done(Outcome),
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The name that was asked for.
    pub name: DnsName,
    /// The kind of record.
    pub kind: RecordKind,
    /// The aliases that were followed.
    pub aliases: Vec<DnsName>,
    /// Whose answer counts; none where nobody answered.
    pub server: Option<SocketAddr>,
    /// Over what it came.
    pub over: Transport,
    /// The answer.
    pub verdict: Verdict,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The records, at least one.
    Found(Vec<Record>),
    /// The name exists and has no such record.
    NoData {
        /// The zone that says so, where it is told.
        zone: Option<DnsName>,
    },
    /// The name does not exist.
    NoSuchName {
        /// The zone that says so, where it is told.
        zone: Option<DnsName>,
    },
    /// Nobody could tell.
    Failed(Failure),
}

/// Why nobody could tell; the most telling of what the servers said. In the order of how much it tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "failure")]
pub enum Failure {
    /// There is no server to ask.
    NoServer,
    /// No answer in time.
    TimedOut,
    /// Nothing listens there, or no way leads there.
    Unreachable,
    /// What came back cannot be read.
    Damaged,
    /// The aliases go round in a circle.
    AliasLoop,
    /// The server asks nobody else, and does not know it itself.
    NoRecursion,
    /// The server refused or failed.
    Refused {
        /// `SERVFAIL`, `REFUSED`, …
        code: &'static str,
    },
}

#[derive(Debug)]
struct Asked {
    question: Question,
    server: SocketAddr,
    over: Transport,
    until: Instant,
    damaged: bool,
}

/// A question under way.
#[derive(Debug)]
pub struct Lookup {
    name: DnsName,
    kind: RecordKind,
    servers: Vec<SocketAddr>,
    patience: Duration,
    /// Tries that are left, over all servers.
    tries: usize,
    turn: usize,
    aliases: Vec<DnsName>,
    asked: Option<Asked>,
    /// A server and transport that the next question goes to, whoever's turn it is.
    again: Option<(SocketAddr, Transport)>,
    worst: Option<(Failure, Option<SocketAddr>)>,
    done: Option<Outcome>,
}

impl Lookup {
    /// Asks `servers` for `name`, each `rounds` times and `patience` long.
    pub fn new(name: DnsName, kind: RecordKind, servers: Vec<SocketAddr>, patience: Duration, rounds: u32) -> Self {
        let tries = servers.len().saturating_mul(usize::try_from(rounds).unwrap_or(usize::MAX));
        Self {
            name,
            kind,
            servers,
            patience,
            tries,
            turn: 0,
            aliases: Vec::new(),
            asked: None,
            again: None,
            worst: None,
            done: None,
        }
    }

    /// What to do at `now`. `id` is a fresh random number, for the case that a question is sent.
    pub fn next(&mut self, now: Instant, id: u16) -> Next {
        if let Some(asked) = &self.asked {
            if now < asked.until {
                return Next::Wait { until: asked.until };
            }
            let failure = if asked.damaged { Failure::Damaged } else { Failure::TimedOut };
            let server = asked.server;
            self.fail(failure, server);
        }
        if let Some(done) = &self.done {
            return Next::Done(done.clone());
        }
        let (to, over) = match self.again.take() {
            Some(again) => again,
            None => match self.turn_of() {
                Some(server) => (server, Transport::Udp),
                None => return Next::Done(self.give_up()),
            },
        };
        let name = self.aliases.last().unwrap_or(&self.name).clone();
        let question = Question { id, name, kind: self.kind };
        let Ok(bytes) = question.bytes() else {
            // A name that a server made up; no other server would be asked anything else.
            self.fail(Failure::Damaged, to);
            return Next::Done(self.give_up());
        };
        let until = now.checked_add(self.patience).unwrap_or(now);
        self.asked = Some(Asked { question, server: to, over, until, damaged: false });
        Next::Send { to, over, bytes }
    }

    /// A packet came from `from`. What is no answer of the server that was asked changes nothing.
    pub fn heard(&mut self, from: SocketAddr, over: Transport, bytes: &[u8]) {
        let Some(asked) = self.asked.as_mut().filter(|asked| asked.server == from && asked.over == over) else {
            return;
        };
        let answer = match read(&asked.question, bytes) {
            Ok(answer) => answer,
            Err(NoAnswer::Damaged) => {
                // It may be forged: the true one may still come.
                asked.damaged = true;
                return;
            }
            Err(NoAnswer::Other) => return,
        };
        match answer {
            Answer::Truncated if over == Transport::Udp => {
                self.asked = None;
                self.again = Some((from, Transport::Tcp));
            }
            Answer::Truncated => self.fail(Failure::Damaged, from),
            Answer::Failed(code) => self.fail(Failure::Refused { code }, from),
            Answer::NoRecursion => self.fail(Failure::NoRecursion, from),
            Answer::AliasLoop => self.end(from, over, Verdict::Failed(Failure::AliasLoop)),
            Answer::Alias { aliases } => self.follow(from, over, aliases),
            Answer::Found { records, aliases } => {
                self.aliases.extend(aliases);
                self.end(from, over, Verdict::Found(records));
            }
            Answer::NoData { aliases, zone } => {
                self.aliases.extend(aliases);
                self.end(from, over, Verdict::NoData { zone });
            }
            Answer::NoSuchName { aliases, zone } => {
                self.aliases.extend(aliases);
                self.end(from, over, Verdict::NoSuchName { zone });
            }
        }
    }

    /// Nothing listens at the server that was asked, or no way leads there.
    pub fn unreachable(&mut self, from: SocketAddr) {
        if self.asked.as_ref().is_some_and(|asked| asked.server == from) {
            self.fail(Failure::Unreachable, from);
        }
    }

    fn follow(&mut self, from: SocketAddr, over: Transport, aliases: Vec<DnsName>) {
        let known = |alias: &DnsName| *alias == self.name || self.aliases.contains(alias);
        if aliases.iter().any(known) || self.aliases.len().saturating_add(aliases.len()) > MOST_ALIASES {
            return self.end(from, over, Verdict::Failed(Failure::AliasLoop));
        }
        self.aliases.extend(aliases);
        self.asked = None;
        self.again = Some((from, Transport::Udp));
    }

    fn end(&mut self, from: SocketAddr, over: Transport, verdict: Verdict) {
        self.asked = None;
        self.done = Some(self.outcome(Some(from), over, verdict));
    }

    fn fail(&mut self, failure: Failure, server: SocketAddr) {
        self.asked = None;
        if self.worst.as_ref().is_none_or(|(known, _)| *known < failure) {
            self.worst = Some((failure, Some(server)));
        }
    }

    fn turn_of(&mut self) -> Option<SocketAddr> {
        if self.turn >= self.tries {
            return None;
        }
        let server = self.servers.get(self.turn % self.servers.len().max(1)).copied();
        self.turn += 1;
        server
    }

    fn give_up(&mut self) -> Outcome {
        let (failure, server) = self.worst.take().unwrap_or((Failure::NoServer, None));
        let outcome = self.outcome(server, Transport::Udp, Verdict::Failed(failure));
        self.done = Some(outcome.clone());
        outcome
    }

    fn outcome(&self, server: Option<SocketAddr>, over: Transport, verdict: Verdict) -> Outcome {
        Outcome { name: self.name.clone(), kind: self.kind, aliases: self.aliases.clone(), server, over, verdict }
    }
}

#[cfg(test)]
mod tests;
