//! What the codes of Windows' licensing service mean, and what to do about them.
//!
//! The table is data (`codes/table.txt`: code, class, retry, then meaning and advice in English and in German). Sources:
//! the Windows SDK's `slerror.h`, Microsoft's activation error pages and, for codes of HTTP, WinHTTP's error messages.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::room::Language;

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
    /// DNS does not know the KMS host.
    pub const KMS_NOT_IN_DNS: Code = Code(0x8007_232B);

    /// The class and the retry rule of a code that the table has.
    pub fn info(self) -> Option<CodeInfo> {
        row(self).map(|row| row.info)
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

struct Row {
    code: Code,
    info: CodeInfo,
    en: [&'static str; 2],
    de: [&'static str; 2],
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
    let retry = match next()? {
        "T" => Retry::Later,
        "" | "C" => Retry::AfterChange,
        "X" => Retry::Never,
        _ => return None,
    };
    Some(Row { code: Code(code), info: CodeInfo { class, retry }, en: [next()?, next()?], de: [next()?, next()?] })
}

fn row(code: Code) -> Option<Row> {
    TABLE.lines().filter_map(parse_row).find(|row| row.code == code)
}

/// One line for people: the code, what it means, what to do.
pub fn explain(code: Code, language: Language) -> String {
    if let Some(row) = row(code) {
        let [meaning, advice] = match language {
            Language::En => row.en,
            Language::De => row.de,
        };
        return format!("{code}: {meaning} {advice}");
    }
    let place = match (code.0 & 0xFFFF_F000, language) {
        (0xC004_A000, Language::En) => "Windows' licence store",
        (0xC004_A000, Language::De) => "der Lizenzspeicher von Windows",
        (0xC004_B000 | 0xC004_C000 | 0x803F_A000, Language::En) => "Microsoft's activation server",
        (0xC004_B000 | 0xC004_C000 | 0x803F_A000, Language::De) => "Microsofts Aktivierungsserver",
        (0xC004_D000, Language::En) => "Windows' security processor",
        (0xC004_D000, Language::De) => "der Sicherheitsprozessor von Windows",
        (0xC004_E000 | 0xC004_F000, Language::En) => "Windows' licensing service",
        (0xC004_E000 | 0xC004_F000, Language::De) => "der Lizenzdienst von Windows",
        (_, Language::En) => "Windows",
        (_, Language::De) => "Windows",
    };
    match language {
        Language::En => format!("{code}: not in our table; it comes from {place}. Look it up in Microsoft's list."),
        Language::De => {
            format!("{code}: nicht in unserer Tabelle; die Quelle ist {place}. Bitte in Microsofts Liste nachsehen.")
        }
    }
}

#[cfg(test)]
mod tests;
