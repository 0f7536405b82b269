//! Questions to name servers, without I/O: the few that finding a KMS host takes.
//!
//! [`message`] one question and what an answer to it says (RFC 1035, SRV: RFC 2782); [`lookup`] the course of a question
//! over several servers, tries and both transports, as a state machine; [`resolver_file`] what `/etc/resolv.conf` says;
//! [`kms_record`] the record with which a zone announces a KMS host. Names and packets from outside are hostile.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

pub mod kms_record;
pub mod lookup;
pub mod message;
pub mod resolver_file;

/// The longest name in its text form, without the final dot (RFC 1035 §2.3.4: 255 bytes as they are sent).
const NAME_LENGTH: usize = 253;
/// The longest label (RFC 1035 §2.3.4).
const LABEL_LENGTH: usize = 63;

/// Why a text is no name that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a name.
    #[error("'{0}' is not a DNS name; letters, digits, hyphens and dots only, such as musterschule.example")]
    NotAName(String),
    /// An address where a name has to be.
    #[error("'{0}' is an address; a name is needed here, such as kms.musterschule.example")]
    Address(String),
    /// Too long.
    #[error("a DNS name has at most 253 characters, and at most 63 between two dots")]
    TooLong,
}

/// A name in small letters, without its final dot. The root is the empty name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(String);

impl DnsName {
    /// As it came in a packet: whatever a label holds, in a form that moves no cursor.
    fn from_wire(name: &hickory_proto::rr::Name) -> Self {
        let text = name.to_lowercase().to_ascii();
        Self(text.strip_suffix('.').unwrap_or(&text).to_owned())
    }

    /// A name that a packet may hold although nobody may ask for it.
    #[cfg(test)]
    pub(crate) fn from_packet(text: &str) -> Self {
        Self(text.trim_end_matches('.').to_owned())
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the root, which as an SRV target means "this service is not offered here" (RFC 2782).
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// This name below `domain`.
    ///
    /// # Errors
    /// [`NameError::TooLong`].
    pub fn below(&self, domain: &DnsName) -> Result<Self, NameError> {
        if domain.is_root() {
            return Ok(self.clone());
        }
        format!("{}.{domain}", self.0).parse()
    }

    /// The name without its first label; none for a name of one label.
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_once('.')?;
        Some(Self(rest.to_owned()))
    }

    /// Whether it is `other` or lies below it.
    pub fn is_within(&self, other: &DnsName) -> bool {
        other.is_root() || self == other || self.0.strip_suffix(&other.0).is_some_and(|rest| rest.ends_with('.'))
    }
}

impl FromStr for DnsName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let trimmed = text.trim();
        let name = trimmed.strip_suffix('.').unwrap_or(trimmed);
        if name.parse::<std::net::IpAddr>().is_ok() {
            return Err(NameError::Address(name.to_owned()));
        }
        if name.len() > NAME_LENGTH || name.split('.').any(|label| label.len() > LABEL_LENGTH) {
            return Err(NameError::TooLong);
        }
        let good = |label: &str| {
            let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !label.is_empty() && label.chars().all(inside) && !label.starts_with('-') && !label.ends_with('-')
        };
        // Four numbers and the like are taken for an address by somebody sooner or later.
        let a_letter = name.chars().any(|c| c.is_ascii_alphabetic());
        if !name.split('.').all(good) || !a_letter {
            let shown: String = trimmed.chars().filter(|c| !c.is_control()).take(80).collect();
            return Err(NameError::NotAName(shown));
        }
        Ok(Self(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "." } else { &self.0 })
    }
}

impl Serialize for DnsName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_what_is_none() {
        let name: DnsName = "KMS.Schule.example.".parse().unwrap();
        assert_eq!(name.as_str(), "kms.schule.example");
        assert_eq!(name.parent().unwrap().as_str(), "schule.example");
        assert_eq!(
            "_vlmcs._tcp".parse::<DnsName>().unwrap().below(&name).unwrap().as_str(),
            "_vlmcs._tcp.kms.schule.example"
        );
        for text in ["", ".", "a..b", "schüle.de", "a b", "-a.de", "1.2.3", "a\u{1b}[2J"] {
            assert!(matches!(text.parse::<DnsName>(), Err(NameError::NotAName(_))), "{text:?}");
        }
        assert!(matches!("10.0.0.5".parse::<DnsName>(), Err(NameError::Address(_))));
        assert_eq!("a".repeat(64).parse::<DnsName>(), Err(NameError::TooLong));
        assert_eq!(vec!["abcdefg"; 40].join(".").parse::<DnsName>(), Err(NameError::TooLong));
        assert!(!"a\u{1b}[2J".parse::<DnsName>().unwrap_err().to_string().contains('\u{1b}'));
    }

    #[test]
    fn a_name_lies_within_its_zone_only() {
        let name = |text: &str| text.parse::<DnsName>().unwrap();
        assert!(name("a.b.example").is_within(&name("b.example")));
        assert!(name("b.example").is_within(&name("b.example")));
        assert!(!name("ab.example").is_within(&name("b.example")));
    }
}
