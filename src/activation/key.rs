//! Product keys: their kinds, their form, and a type that never shows more than the last five characters.
//!
//! [`published`] holds the keys that Microsoft publishes for KMS clients, the only ones that are no secret.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::secret::Secret;

mod published;

pub use published::{GVLK_PAGE, OFFICE_GVLK_PAGE, gvlk, is_gvlk, is_published};

/// The kinds of key that a room can use. A KMS host's key is none of them: on a client it uses up the host's few
/// activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// Multiple activation key: every activation counts.
    Mak,
    /// Generic volume licence key: public, for KMS and Active Directory.
    Gvlk,
    /// A bought key for few PCs: every activation counts.
    Retail,
    /// The PC's own key, in its firmware or in its vendor's image. It counts nothing and is never sent.
    Oem,
}

impl KeyKind {
    /// All of them.
    pub const ALL: [KeyKind; 4] = [KeyKind::Mak, KeyKind::Gvlk, KeyKind::Retail, KeyKind::Oem];

    /// The word that profiles use.
    pub fn name(self) -> &'static str {
        match self {
            KeyKind::Mak => "mak",
            KeyKind::Gvlk => "gvlk",
            KeyKind::Retail => "retail",
            KeyKind::Oem => "oem",
        }
    }

    /// Whether Microsoft counts its activations, so that a budget means something.
    pub fn counts(self) -> bool {
        matches!(self, KeyKind::Mak | KeyKind::Retail)
    }
}

/// A text that cannot be a product key. It does not repeat the text, which may be a key with a typing error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a product key: five groups of five, from BCDFGHJKMPQRTVWXY2346789 and at most one N")]
pub struct NotAKey;

/// A product key of 25 characters, in five groups.
///
/// It shows itself only where somebody writes [`ProductKey::expose`]:
/// ```
/// # use klonwerk::activation::key::ProductKey;
/// let key = ProductKey::parse("W269N-WFGWX-YVC9B-4J6C9-T83GX").unwrap();
/// let text = format!("{}", key.expose());
/// let json = serde_json::to_string(key.expose());
/// ```
/// The same without it does not compile, neither as a text nor as JSON:
/// ```compile_fail,E0277
/// # use klonwerk::activation::key::ProductKey;
/// let key = ProductKey::parse("W269N-WFGWX-YVC9B-4J6C9-T83GX").unwrap();
/// let text = format!("{}", key);
/// ```
/// ```compile_fail,E0277
/// # use klonwerk::activation::key::ProductKey;
/// let key = ProductKey::parse("W269N-WFGWX-YVC9B-4J6C9-T83GX").unwrap();
/// let json = serde_json::to_string(&key);
/// ```
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

/// A product key on its way to the enrolled PC that installs it: the only form that serialises. It stands in the message
/// of a release, over the pinned connection, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasedKey(pub ProductKey);

impl Serialize for ReleasedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for ReleasedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        ProductKey::parse(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_read_as_people_type_it() {
        let key = ProductKey::parse("w269n\u{2013}wfgwx-YVC9B\u{2014}4J6C9-t83gx ").expect("a key");
        assert_eq!(key.partial(), "T83GX");
        for text in ["", "W269N-WFGWX-YVC9B-4J6C9", "W269N-WFGWX-YVC9B-4J6C9-T83GA", "NNXXX-WFGWX-YVC9B-4J6C9-T83GX"] {
            assert_eq!(ProductKey::parse(text), Err(NotAKey));
        }
    }

    #[test]
    fn a_key_shows_itself_in_its_release_only() {
        let key = ProductKey::parse("W269N-WFGWX-YVC9B-4J6C9-T83GX").expect("a key");
        assert_eq!(format!("{key:?}"), "*****-*****-*****-*****-T83GX");
        assert!(!format!("{:?}", ReleasedKey(key.clone())).contains("W269N"));
        let wire = serde_json::to_string(&ReleasedKey(key.clone())).expect("a string");
        assert_eq!(serde_json::from_str::<ReleasedKey>(&wire).expect("the same"), ReleasedKey(key));
        let wrong = serde_json::from_str::<ReleasedKey>("\"W269N-WFGWX\"").expect_err("too short");
        assert!(!wrong.to_string().contains("W269N"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = ProductKey::parse(&text).map(|key| key.partial().len());
        }
    }
}
