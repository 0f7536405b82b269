//! Installation IDs and confirmation IDs, the two halves of activation by proxy.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Why a text is not an installation or confirmation ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmationError {
    /// Neither 54 nor 63 digits.
    #[error("an installation ID has 54 digits (Windows 7) or 63 digits (later); this has {0}")]
    InstallationLength(usize),
    /// Not 48 digits.
    #[error("a confirmation ID has 48 digits in 8 groups of 6; this has {0}")]
    ConfirmationLength(usize),
    /// Something else than digits, blanks and hyphens.
    #[error("the text holds something else than digits, blanks and hyphens")]
    NotDigits,
}

fn digits(text: &str) -> Result<String, ConfirmationError> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    if digits.bytes().all(|b| b.is_ascii_digit()) { Ok(digits) } else { Err(ConfirmationError::NotDigits) }
}

/// What a PC's hardware and product key make together: 54 digits in the Windows 7 era, 63 later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstallationId(String);

impl InstallationId {
    /// Takes digits, with blanks and hyphens between them.
    pub fn parse(text: &str) -> Result<Self, ConfirmationError> {
        let digits = digits(text)?;
        match digits.len() {
            54 | 63 => Ok(Self(digits)),
            other => Err(ConfirmationError::InstallationLength(other)),
        }
    }

    /// The bare digits.
    pub fn digits(&self) -> &str {
        &self.0
    }

    /// The groups as people read them aloud: nine of them.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let size = self.0.len() / 9;
        (0..9).map(move |i| &self.0[i * size..(i + 1) * size])
    }

    /// Whether the last digit of each group fits the others: their sum, weighted 1, 2, 1, 2, …, modulo 7. Computed on
    /// public samples; a reason to warn, not to refuse.
    pub fn check_digits_fit(&self) -> bool {
        self.groups().all(check_digit_fits)
    }
}

/// The check digit of one group of an installation ID, without its last digit.
pub fn check_digit(body: &str) -> u8 {
    let sum: u32 = body.bytes().enumerate().map(|(i, b)| u32::from(b - b'0') * if i % 2 == 0 { 1 } else { 2 }).sum();
    (sum % 7) as u8
}

fn check_digit_fits(group: &str) -> bool {
    let (body, last) = group.split_at(group.len() - 1);
    last.as_bytes()[0] - b'0' == check_digit(body)
}

impl TryFrom<String> for InstallationId {
    type Error = ConfirmationError;
    fn try_from(text: String) -> Result<Self, ConfirmationError> {
        Self::parse(&text)
    }
}

impl From<InstallationId> for String {
    fn from(id: InstallationId) -> String {
        id.0
    }
}

/// Microsoft's answer to an installation ID: 48 digits, confidential.
///
/// It shows itself only where somebody writes [`ConfirmationId::expose`]:
/// ```
/// # use klonwerk::activation::confirmation::ConfirmationId;
/// let cid = ConfirmationId::parse(&"0".repeat(48)).unwrap();
/// let text = format!("{}", cid.expose());
/// let json = serde_json::to_string(cid.expose());
/// ```
/// The same without it does not compile, neither as a text nor as JSON:
/// ```compile_fail,E0277
/// # use klonwerk::activation::confirmation::ConfirmationId;
/// let cid = ConfirmationId::parse(&"0".repeat(48)).unwrap();
/// let text = format!("{}", cid);
/// ```
/// ```compile_fail,E0277
/// # use klonwerk::activation::confirmation::ConfirmationId;
/// let cid = ConfirmationId::parse(&"0".repeat(48)).unwrap();
/// let json = serde_json::to_string(&cid);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmationId(Secret<String>);

impl ConfirmationId {
    /// Takes digits, with blanks and hyphens between them.
    pub fn parse(text: &str) -> Result<Self, ConfirmationError> {
        let digits = digits(text)?;
        match digits.len() {
            48 => Ok(Self(Secret::new(digits))),
            other => Err(ConfirmationError::ConfirmationLength(other)),
        }
    }

    /// The bare digits, for the licensing service and the encrypted store only.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The groups as people read them aloud: eight of six digits, lettered A to H. As confidential as the whole.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let digits = self.0.expose();
        (0..8).map(move |i| &digits[i * 6..(i + 1) * 6])
    }

    /// Whether the check digits fit, by the rule that holds for installation IDs. Unverified for 48 digits: a reason to
    /// warn, never to refuse.
    pub fn check_digits_fit(&self) -> bool {
        self.groups().all(check_digit_fits)
    }
}

/// A confirmation ID on its way to the PC that it belongs to: the only form that serialises. It stands in the message of
/// a release, over the pinned connection, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasedConfirmation(pub ConfirmationId);

impl Serialize for ReleasedConfirmation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for ReleasedConfirmation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        ConfirmationId::parse(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What a confirmation ID belongs to, beside its installation ID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProductRef {
    /// The activation ID: the GUID of the licensed product (`SoftwareLicensingProduct.ID`), lower case.
    pub activation_id: String,
    /// The last five characters of its product key.
    pub partial_key: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_check_digits(groups: usize, size: usize, seed: u64) -> String {
        (0..groups as u64)
            .map(|g| {
                let body = format!("{:0width$}", (seed + g * 7919) % 10u64.pow(size as u32 - 1), width = size - 1);
                format!("{body}{}", check_digit(&body))
            })
            .collect()
    }

    #[test]
    fn the_check_digit_follows_the_rule() {
        // 1·1 + 2·2 + 3·1 + 4·2 + 5·1 = 21 = 0 modulo 7.
        assert_eq!(check_digit("12345"), 0);
        assert_eq!(check_digit("000001"), 2);
        assert_eq!(check_digit("999999"), 4);
    }

    #[test]
    fn only_the_documented_lengths() {
        for length in [0, 48, 53, 55, 62, 64] {
            let text = "0".repeat(length);
            assert_eq!(InstallationId::parse(&text), Err(ConfirmationError::InstallationLength(length)));
        }
        assert_eq!(ConfirmationId::parse(&"1".repeat(42)), Err(ConfirmationError::ConfirmationLength(42)));
        assert_eq!(InstallationId::parse("12x"), Err(ConfirmationError::NotDigits));
        assert_eq!(ConfirmationId::parse("١٢٣"), Err(ConfirmationError::NotDigits));
    }

    #[test]
    fn a_confirmation_id_shows_itself_in_its_release_only() {
        let digits = with_check_digits(8, 6, 4711);
        let cid = ConfirmationId::parse(&digits).expect("48 digits");
        assert!(!format!("{cid:?}{:?}", ReleasedConfirmation(cid.clone())).contains(&digits[..6]));
        let wire = serde_json::to_string(&ReleasedConfirmation(cid.clone())).expect("a string");
        assert_eq!(wire, format!("\"{digits}\""));
        assert_eq!(serde_json::from_str::<ReleasedConfirmation>(&wire).expect("the same").0, cid);
        let short = serde_json::from_str::<ReleasedConfirmation>("\"123456\"").expect_err("too short");
        assert!(!short.to_string().contains("123456"));
    }

    proptest! {
        #[test]
        fn grouped_and_bare_forms_are_equal(seed in 0u64..1_000_000, long: bool) {
            let size = if long { 7 } else { 6 };
            let digits = with_check_digits(9, size, seed);
            let id = InstallationId::parse(&digits).expect("digits");
            prop_assert!(id.check_digits_fit());
            let grouped = id.groups().collect::<Vec<_>>().join(" - ");
            prop_assert_eq!(InstallationId::parse(&grouped), Ok(id));
        }

        #[test]
        fn one_wrong_digit_is_noticed_unless_it_differs_by_seven(seed in 0u64..1_000_000, at in 0usize..63, by in 1u8..10) {
            let mut digits = with_check_digits(9, 7, seed).into_bytes();
            let old = digits[at] - b'0';
            let new = (old + by) % 10;
            digits[at] = b'0' + new;
            let id = InstallationId::parse(std::str::from_utf8(&digits).expect("ASCII")).expect("digits");
            prop_assert_eq!(id.check_digits_fit(), at % 7 != 6 && old.abs_diff(new) == 7);
        }

        #[test]
        fn no_text_panics(text in "[0-9 x-]{0,70}") {
            if let Ok(id) = InstallationId::parse(&text) {
                let _ = id.check_digits_fit();
            }
            if let Ok(id) = ConfirmationId::parse(&text) {
                let _ = id.check_digits_fit();
            }
        }
    }
}
