//! Installation IDs and confirmation IDs, the two halves of activation by proxy.

use serde::{Deserialize, Serialize};

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

    /// Whether the check digits fit, by the rule that holds for installation IDs. Unverified for 48 digits: a reason to
    /// warn, never to refuse.
    pub fn check_digits_fit(&self) -> bool {
        let digits = self.0.expose();
        (0..8).all(|i| check_digit_fits(&digits[i * 6..(i + 1) * 6]))
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
