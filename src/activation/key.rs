//! Product keys: their kinds, their form, and a type that never shows more than the last five characters.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// The kinds of key that a room can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// Multiple activation key: every activation counts.
    Mak,
    /// Generic volume licence key: public, for KMS and Active Directory.
    Gvlk,
}

/// A text that cannot be a product key. It does not repeat the text, which may be a key with a typing error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a product key: five groups of five, from BCDFGHJKMPQRTVWXY2346789 and at most one N")]
pub struct NotAKey;

/// A product key of 25 characters, in five groups.
#[derive(Clone, PartialEq, Eq)]
pub struct ProductKey(Secret<String>);

impl ProductKey {
    /// Takes a key as people type it: blanks around it, lower case, typographic dashes.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let key: String = text
            .trim()
            .chars()
            .filter(|c| !c.is_whitespace())
            .map(|c| if matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}') { '-' } else { c.to_ascii_uppercase() })
            .collect();
        let groups: Vec<&str> = key.split('-').collect();
        let shape = groups.len() == 5 && groups.iter().all(|g| g.len() == 5);
        let letters = key.bytes().all(|b| b == b'-' || b == b'N' || b"BCDFGHJKMPQRTVWXY2346789".contains(&b));
        if shape && letters && key.bytes().filter(|b| *b == b'N').count() <= 1 {
            Ok(Self(Secret::new(key)))
        } else {
            Err(NotAKey)
        }
    }

    /// The whole key, for the licensing service and the encrypted store only.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The last five characters, as Windows shows them too.
    pub fn partial(&self) -> &str {
        &self.0.expose()[24..]
    }
}

impl fmt::Debug for ProductKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*****-*****-*****-*****-{}", self.partial())
    }
}
