//! What the codes of Windows' licensing service mean, and what to do about them.
//!
//! The table is data (`codes/table.txt`: code, class, retry, then meaning and advice in English and in German). Sources:
//! the Windows SDK's `slerror.h`, Microsoft's activation error pages and, for codes of HTTP, WinHTTP's error messages.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::room::Language;

pub mod reading;
pub mod zone;

const TABLE: &str = include_str!("codes/table.txt");

/// A text that is not a result code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a result code; write it as 0xC004F038 or as the signed number -1073418184")]
pub struct NotACode(String);

/// A result code (HRESULT) of the licensing service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Code(pub u32);

impl Code {
    /// Success.
    pub const OK: Code = Code(0);
    /// Windows gives no closer reason (`E_FAIL`).
    pub const UNSPECIFIED: Code = Code(0x8000_4005);
    /// Windows is in its first grace period.
    pub const IN_GRACE: Code = Code(0x4004_F00C);
    /// The grace period has ended.
    pub const GRACE_EXPIRED: Code = Code(0xC004_F009);
    /// The hardware changed beyond tolerance.
    pub const HARDWARE_CHANGED: Code = Code(0xC004_F00F);
    /// No product key is installed.
    pub const NO_KEY: Code = Code(0xC004_F014);
    /// The length of a confirmation ID or of what it belongs to is wrong.
    pub const CONFIRMATION_LENGTH: Code = Code(0xC004_F02F);
    /// The confirmation ID does not belong to the installation ID.
    pub const NOT_ITS_CONFIRMATION: Code = Code(0xC004_F031);
    /// No licence found.
    pub const NO_LICENCE: Code = Code(0xC004_F034);
    /// The KMS host has seen too few PCs.
    pub const COUNT_TOO_LOW: Code = Code(0xC004_F038);
    /// The check digits of installation or confirmation ID are wrong.
    pub const CHECK_DIGITS: Code = Code(0xC004_F04D);
    /// The key is invalid.
    pub const KEY_INVALID: Code = Code(0xC004_F050);
    /// Not activated by a KMS host yet.
    pub const NOT_BY_KMS: Code = Code(0xC004_F056);
    /// Windows has no such product.
    pub const NO_SUCH_PRODUCT: Code = Code(0xC004_F069);
    /// The clocks of PC and KMS host differ too much.
    pub const KMS_CLOCK: Code = Code(0xC004_F06C);
    /// No KMS host can be reached.
    pub const KMS_UNREACHABLE: Code = Code(0xC004_F074);
    /// This kind of key cannot be activated in this way.
    pub const KEY_TYPE: Code = Code(0xC004_F07D);
    /// The pair belongs to another key.
    pub const OTHER_KEY: Code = Code(0xC004_F07E);
    /// The pair belongs to other hardware.
    pub const OTHER_HARDWARE: Code = Code(0xC004_F07F);
    /// No rearms are left.
    pub const REARM_LIMIT: Code = Code(0xC004_D307);
    /// The MAK has no activations left.
    pub const MAK_LIMIT: Code = Code(0xC004_C020);
    /// An OEM key cannot be activated online.
    pub const OEM_ONLINE: Code = Code(0xC004_C016);
    /// A volume key on a PC whose firmware carries no qualifying Windows.
    pub const NO_QUALIFYING_OEM: Code = Code(0xC004_F035);
    /// The firmware has no SLIC table.
    pub const NO_SLIC: Code = Code(0xC004_F057);
    /// The firmware's SLIC table has no Windows marker.
    pub const NO_OEM_MARKER: Code = Code(0xC004_F058);
    /// The firmware's licence data are damaged.
    pub const BAD_OEM_MARKER: Code = Code(0xC004_F059);
    /// Certificate and firmware are of two vendors.
    pub const OTHER_OEM: Code = Code(0xC004_F063);
    /// The key in the firmware is unusable.
    pub const BAD_FIRMWARE_KEY: Code = Code(0xC004_F090);
    /// The PC has no key of its own.
    pub const NO_FIRMWARE_KEY: Code = Code(0xC004_F213);
    /// Not Windows' (bit 29 is set): the state was restored from a backup, and what was spent since is not known.
    pub const RESTORED: Code = Code(0x2000_0001);
    /// DNS does not know the KMS host.
    pub const KMS_NOT_IN_DNS: Code = Code(0x8007_232B);

    /// The class and the retry rule of a code that the table has.
    pub fn info(self) -> Option<CodeInfo> {
        row(self).map(|row| row.info)
    }

    /// As scripts end with it: the same 32 bits as a signed number.
    pub fn signed(self) -> i32 {
        self.0.cast_signed()
    }

    /// What the table knows of it; nothing where it has no such code.
    pub fn known(self) -> Option<Known> {
        row(self).map(Known)
    }

    /// Whether Windows says with it that a stored pair no longer fits this PC, the only reasons to give a pair up.
    pub fn makes_pair_stale(self) -> bool {
        matches!(self, Code::NOT_ITS_CONFIRMATION | Code::OTHER_KEY | Code::OTHER_HARDWARE)
    }

    /// Whether it says that no KMS host was reached: by name, by DNS or by connection.
    pub fn kms_unreachable(self) -> bool {
        const DNS_AND_RPC: [u32; 6] = [0x8007_007B, 0x8007_232A, 0x8007_232B, 0x8009_2328, 0x8007_251D, 0x8007_06BA];
        self == Code::KMS_UNREACHABLE || DNS_AND_RPC.contains(&self.0)
    }

    /// Whether it says that a clock is wrong.
    pub fn clock_wrong(self) -> bool {
        matches!(self.0, 0xC004_F06C | 0xC004_B011 | 0x8004_D102 | 0x8007_2F8F)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08X}", self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Code {
    type Err = NotACode;

    /// Takes `0xC004F038`, `c004f038`, the signed number `-1073418184` that scripts end with, and the unsigned one that
    /// WMI shows. Eight characters without a sign are hexadecimal.
    fn from_str(text: &str) -> Result<Self, NotACode> {
        let bad = || NotACode(text.to_owned());
        let trimmed = text.trim();
        let hex = trimmed.strip_prefix("0x").or_else(|| trimmed.strip_prefix("0X"));
        let hex = hex.or_else(|| (trimmed.len() == 8 && !trimmed.starts_with('-')).then_some(trimmed));
        if let Some(hex) = hex {
            let form = (1..=8).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
            return if form { u32::from_str_radix(hex, 16).map(Code).map_err(|_| bad()) } else { Err(bad()) };
        }
        if let Some(digits) = trimmed.strip_prefix('-') {
            let form = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let value = trimmed.parse::<i32>().map_err(|_| bad())?;
            return if form { Ok(Code(value.cast_unsigned())) } else { Err(bad()) };
        }
        let form = trimmed.bytes().all(|b| b.is_ascii_digit());
        if form { trimmed.parse().map(Code).map_err(|_| bad()) } else { Err(bad()) }
    }
}

impl TryFrom<String> for Code {
    type Error = NotACode;
    fn try_from(text: String) -> Result<Self, NotACode> {
        text.parse()
    }
}

impl From<Code> for String {
    fn from(code: Code) -> String {
        code.to_string()
    }
}

/// Who has to deal with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeClass {
    /// Nobody: it passes by itself.
    Retry,
    /// Whoever runs network, proxy and DNS.
    Network,
    /// The administrator: settings, clock, image.
    Admin,
    /// Whoever manages the product keys.
    Key,
    /// The PC itself: its hardware or its vendor.
    Hardware,
    /// No fault.
    Information,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retry {
    /// Later, as it is.
    Later,
    /// After somebody changed something.
    AfterChange,
    /// Never by itself: it could spend activations or block a key.
    Never,
}

/// What the table knows of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeInfo {
    /// Who has to deal with it.
    pub class: CodeClass,
    /// Whether trying again can help.
    pub retry: Retry,
}

/// A property of a code, as the table writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Trying again later helps.
    Retry,
    /// Network, proxy or DNS.
    Network,
    /// The administrator: settings, clock, image.
    Admin,
    /// The product key.
    Key,
    /// The PC itself: its hardware or its vendor.
    Hardware,
    /// Never to be tried again by itself: it could spend activations or block a key.
    Never,
    /// No fault.
    Information,
}

impl Class {
    /// Its name for people.
    pub fn text(self, language: Language) -> &'static str {
        match (self, language) {
            (Class::Retry, Language::En) => "retry",
            (Class::Retry, Language::De) => "erneut versuchen",
            (Class::Network, Language::En) => "network",
            (Class::Network, Language::De) => "Netz",
            (Class::Admin, Language::En) => "administrator",
            (Class::Admin, Language::De) => "Administrator",
            (Class::Key, Language::En) => "key",
            (Class::Key, Language::De) => "Schlüssel",
            (Class::Hardware, Language::En) => "hardware",
            (Class::Hardware, Language::De) => "Hardware",
            (Class::Never, Language::En) => "never by itself again",
            (Class::Never, Language::De) => "nie von selbst erneut",
            (Class::Information, Language::En) => "no fault",
            (Class::Information, Language::De) => "kein Fehler",
        }
    }
}

/// A code that the table has.
#[derive(Debug, Clone, Copy)]
pub struct Known(Row);

impl Known {
    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Its classes: who has to deal with it, then whether trying again can help.
    pub fn classes(&self) -> Vec<Class> {
        let first = match self.0.info.class {
            CodeClass::Retry => Class::Retry,
            CodeClass::Network => Class::Network,
            CodeClass::Admin => Class::Admin,
            CodeClass::Key => Class::Key,
            CodeClass::Hardware => Class::Hardware,
            CodeClass::Information => Class::Information,
        };
        let second = match self.0.info.retry {
            Retry::Later => Some(Class::Retry),
            Retry::Never => Some(Class::Never),
            Retry::AfterChange => self.0.admin_too.then_some(Class::Admin),
        };
        std::iter::once(first).chain(second.filter(|second| *second != first)).collect()
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        self.0.info.retry
    }

    /// What it means, in a sentence.
    pub fn meaning(&self, language: Language) -> &'static str {
        let [meaning, _] = self.0.texts(language);
        meaning
    }

    /// What to do about it, in a sentence.
    pub fn advice(&self, language: Language) -> &'static str {
        let [_, advice] = self.0.texts(language);
        advice
    }
}

/// Every code of the table, in the table's order: by the zone that it comes from.
pub fn all() -> impl Iterator<Item = Known> {
    TABLE.lines().filter_map(parse_row).map(Known)
}

#[derive(Debug, Clone, Copy)]
struct Row {
    code: Code,
    info: CodeInfo,
    /// Beside its class, somebody has to change a setting.
    admin_too: bool,
    en: [&'static str; 2],
    de: [&'static str; 2],
}

impl Row {
    fn texts(&self, language: Language) -> [&'static str; 2] {
        match language {
            Language::En => self.en,
            Language::De => self.de,
        }
    }
}

fn parse_row(line: &'static str) -> Option<Row> {
    let mut fields = line.split('|');
    let mut next = || fields.next();
    let code = u32::from_str_radix(next()?, 16).ok()?;
    let class = match next()? {
        "R" => CodeClass::Retry,
        "N" => CodeClass::Network,
        "C" => CodeClass::Admin,
        "K" => CodeClass::Key,
        "H" => CodeClass::Hardware,
        "I" => CodeClass::Information,
        _ => return None,
    };
    let second = next()?;
    let retry = match second {
        "T" => Retry::Later,
        "" | "C" => Retry::AfterChange,
        "X" => Retry::Never,
        _ => return None,
    };
    let info = CodeInfo { class, retry };
    Some(Row { code: Code(code), info, admin_too: second == "C", en: [next()?, next()?], de: [next()?, next()?] })
}

fn row(code: Code) -> Option<Row> {
    TABLE.lines().filter_map(parse_row).find(|row| row.code == code)
}

/// One line for people: the code, what it means, what to do.
pub fn explain(code: Code, language: Language) -> String {
    if let Some(known) = code.known() {
        return format!("{code}: {} {}", known.meaning(language), known.advice(language));
    }
    let place = zone::Zone::of(code).name(language);
    match language {
        Language::En => format!("{code}: not in our table; it comes from {place}. Look it up in Microsoft's list."),
        Language::De => {
            format!("{code}: nicht in unserer Tabelle; die Quelle ist {place}. Bitte in Microsofts Liste nachsehen.")
        }
    }
}

/// In brackets behind a refusal of ours: what Windows itself would say. Its advice is left out, the refusal has its own.
pub(super) fn in_windows_words(code: Code, language: Language) -> String {
    let meaning = code.known().map_or("", |known| known.meaning(language)).trim_end_matches('.');
    match language {
        Language::En => format!("(Windows would say {code}: {meaning})"),
        Language::De => format!("(Windows würde melden: {code}: {meaning})"),
    }
}

#[cfg(test)]
mod tests;
