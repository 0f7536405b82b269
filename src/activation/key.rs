//! Product keys: their kinds, their form, and a type that never shows more than the last five characters.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

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

/// Microsoft's page with the KMS client setup keys; shown wherever one of them is.
pub const GVLK_PAGE: &str = "https://learn.microsoft.com/windows-server/get-started/kms-client-activation-keys";

/// First build of each Windows that has setup keys of its own.
const WINDOWS_7: u32 = 7600;
const WINDOWS_8: u32 = 9200;
const WINDOWS_8_1: u32 = 9600;
const WINDOWS_10: u32 = 10240;
const LTSB_2016: u32 = 14393;
const LTSC_2019: u32 = 17763;

/// The KMS client setup keys ([`GVLK_PAGE`]): first build, the build from which on it no longer holds, edition as the
/// registry's `EditionID` names it, key. Public; they choose KMS or Active Directory and license nothing.
const GVLKS: [(u32, u32, &str, &str); 24] = [
    (WINDOWS_10, u32::MAX, "Professional", "W269N-WFGWX-YVC9B-4J6C9-T83GX"),
    (WINDOWS_10, u32::MAX, "ProfessionalN", "MH37W-N47XK-V7XM9-C7227-GCQG9"),
    (WINDOWS_10, u32::MAX, "ProfessionalWorkstation", "NRG8B-VKK3Q-CXVCJ-9G2XF-6Q84J"),
    (WINDOWS_10, u32::MAX, "ProfessionalEducation", "6TP4R-GNPTD-KYYHQ-7B7DP-J447Y"),
    (WINDOWS_10, u32::MAX, "ProfessionalEducationN", "YVWGF-BXNMC-HTQYQ-CPQ99-66QFC"),
    (WINDOWS_10, u32::MAX, "Education", "NW6C2-QMPVW-D7KKK-3GKT6-VCFB2"),
    (WINDOWS_10, u32::MAX, "EducationN", "2WH4N-8QGBV-H22JP-CT43Q-MDWWJ"),
    (WINDOWS_10, u32::MAX, "Enterprise", "NPPR9-FWDCX-D2C8J-H872K-2YT43"),
    (WINDOWS_10, u32::MAX, "EnterpriseN", "DPH2V-TTNVB-4X9Q3-TJR4H-KHJW4"),
    (LTSC_2019, u32::MAX, "EnterpriseS", "M7XTQ-FN8P6-TTKYV-9D4CC-J462D"),
    (LTSB_2016, LTSC_2019, "EnterpriseS", "DCPHK-NFMTC-H88MJ-PFHPY-QJ4BJ"),
    (WINDOWS_10, LTSB_2016, "EnterpriseS", "WNMTR-4C88C-JK8YV-HQ7T2-76DF9"),
    (WINDOWS_8_1, WINDOWS_10, "Professional", "GCRJD-8NW9H-F2CDX-CCM8D-9D6T9"),
    (WINDOWS_8_1, WINDOWS_10, "ProfessionalN", "HMCNV-VVBFX-7HMBH-CTY9B-B4FXY"),
    (WINDOWS_8_1, WINDOWS_10, "Enterprise", "MHF9N-XY6XB-WVXMC-BTDCT-MKKG7"),
    (WINDOWS_8_1, WINDOWS_10, "EnterpriseN", "TT4HM-HN7YT-62K67-RGRQJ-JFFXW"),
    (WINDOWS_8, WINDOWS_8_1, "Professional", "NG4HW-VH26C-733KW-K6F98-J8CK4"),
    (WINDOWS_8, WINDOWS_8_1, "Enterprise", "32JNW-9KQ84-P47T8-D8GGY-CWCK7"),
    (WINDOWS_7, WINDOWS_8, "Professional", "FJ82H-XT6CR-J8D7P-XQJJ2-GPDD4"),
    (WINDOWS_7, WINDOWS_8, "ProfessionalN", "MRPKT-YTG23-K7D7T-X2JMM-QY7MG"),
    (WINDOWS_7, WINDOWS_8, "ProfessionalE", "W82YF-2Q76Y-63HXB-FGJG9-GF7QX"),
    (WINDOWS_7, WINDOWS_8, "Enterprise", "33PXH-7Y6KF-2VJC9-XBBR8-HVTHH"),
    (WINDOWS_7, WINDOWS_8, "EnterpriseN", "YDRBP-3D83W-TY26F-D46B2-XCKRJ"),
    (WINDOWS_7, WINDOWS_8, "EnterpriseE", "C29WB-22CC8-VJ326-GHFJW-H9DH4"),
];

/// The KMS client setup key of an edition, where Microsoft publishes one: not for Home editions, and on Windows 7 for
/// Professional and Enterprise only.
pub fn gvlk(edition: &str, build: u32) -> Option<ProductKey> {
    GVLKS
        .iter()
        .find(|(from, to, name, _)| (*from..*to).contains(&build) && name.eq_ignore_ascii_case(edition))
        .and_then(|(_, _, _, key)| ProductKey::parse(key).ok())
}

/// Whether the last five characters are those of a published setup key.
pub fn is_gvlk(partial: &str) -> bool {
    GVLKS.iter().any(|(_, _, _, key)| key.get(24..).is_some_and(|last| last.eq_ignore_ascii_case(partial)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_published_key_is_well_formed_and_reachable() {
        for (from, to, edition, text) in GVLKS {
            let key = ProductKey::parse(text).expect(text);
            assert_eq!(gvlk(edition, from), Some(key.clone()), "{edition} {from}");
            assert_eq!(gvlk(&edition.to_uppercase(), to - 1), Some(key.clone()), "{edition} {to}");
            assert!(is_gvlk(key.partial()));
            let letters_n = text.bytes().filter(|b| *b == b'N').count();
            assert_eq!(letters_n, usize::from(from >= WINDOWS_8), "keys of Windows 8 and later carry one N: {text}");
        }
        assert_eq!(gvlk("Core", 22631), None);
        assert_eq!(gvlk("Education", 7601), None);
        assert_eq!(gvlk("Professional", 6002), None);
    }

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
