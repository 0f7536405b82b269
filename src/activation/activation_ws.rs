//! What is said between us and an ActivationWs server, which asks Microsoft's batch activation service for confirmation IDs.
//!
//! Pure: bytes and status in, a [`Reply`] out. Its interface is that of ActivationWs' web application (`Contracts.cs`,
//! `ActivationEndpoints.cs`, `ActivationExceptionHandler.cs`): `POST /api/v1/activationservice/confirmation-id` with
//! `InstallationId` (63 digits), `ExtendedProductId`, `HostName`; the answer is `confirmationId`, `fromCache`, or problem
//! details (RFC 9457) with Microsoft's number in `errorCode`. Every request can move Microsoft's counter, so what matters
//! most about a reply is whether it says for certain that nothing was issued.

use serde::{Deserialize, Serialize};

use crate::activation::codes::Code;
use crate::activation::confirmation::{ConfirmationId, InstallationId, ReleasedConfirmation};
use crate::room::{Language, MachineName};

/// The path of the question, behind the server's own address.
const PATH: &str = "/api/v1/activationservice/confirmation-id";

/// The longest answer that is read, in bytes.
pub const MOST_ANSWER_BYTES: u64 = 64 * 1024;

/// The longest extended product ID: they have some 50 characters.
const MOST_PRODUCT_ID: usize = 200;

/// Asks for one confirmation ID. Shows its PC only.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Question {
    installation_id: InstallationId,
    extended_product_id: String,
    host_name: MachineName,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").field("host_name", &self.host_name).finish_non_exhaustive()
    }
}

/// Why an installation ID is not asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAskable {
    /// It has 54 digits, as on Windows 7; ActivationWs takes 63.
    WindowsSeven,
    /// The PC has not told its extended product ID.
    NoProductId,
    /// What the PC told cannot be an extended product ID.
    BadProductId,
}

impl Question {
    /// A question about `machine`.
    ///
    /// # Errors
    /// When ActivationWs would not take it.
    pub fn new(machine: &MachineName, iid: &InstallationId, product_id: Option<&str>) -> Result<Self, NotAskable> {
        if iid.digits().len() != 63 {
            return Err(NotAskable::WindowsSeven);
        }
        let product_id = product_id.map(str::trim).filter(|id| !id.is_empty()).ok_or(NotAskable::NoProductId)?;
        // Groups of letters and digits with `-` or `.` between them, at least two.
        let groups = product_id.split(['-', '.']);
        let form = product_id.len() <= MOST_PRODUCT_ID
            && groups.clone().count() > 1
            && groups.clone().all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_alphanumeric()));
        if !form {
            return Err(NotAskable::BadProductId);
        }
        Ok(Self {
            installation_id: iid.clone(),
            extended_product_id: product_id.to_owned(),
            host_name: machine.clone(),
        })
    }

    /// The PC.
    pub fn machine(&self) -> &MachineName {
        &self.host_name
    }
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Here is the confirmation ID.
    Issued {
        /// It.
        cid: ConfirmationId,
        /// The server had it already.
        from_cache: bool,
    },
    /// Microsoft refused, and issued nothing.
    Refused {
        /// With this number.
        number: ServiceNumber,
    },
    /// The server took the question for wrong, or was not reached: Microsoft was not asked.
    NotAsked {
        /// Why, without any ID.
        why: String,
    },
    /// Microsoft may have been asked and may have issued it.
    Unclear {
        /// What happened, without any ID.
        why: String,
    },
}

/// Who answers questions: an ActivationWs server, or a stand-in.
pub trait ConfirmationService {
    /// Asks, and waits for the answer.
    fn ask(&self, question: &Question) -> Reply;
}

/// An error number of Microsoft's batch activation service, as ActivationWs passes it on: `0x7F`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceNumber(pub u16);

/// How a number is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberClass {
    /// The key: no other PC fares better with it.
    Key,
    /// This question: the next PC may fare better.
    Question,
    /// Not known: better to stop.
    Unknown,
}

/// Number, class, then meaning and advice in English and in German. The low bytes are those of the codes 803FA0xx.
const NUMBERS: [(u16, NumberClass, [&str; 4]); 9] = [
    (
        0x67,
        NumberClass::Key,
        [
            "Microsoft has blocked the key.",
            "Get a new key from the licence portal; also check that the PC has the key that is meant.",
            "Microsoft hat den Schlüssel gesperrt.",
            "Neuen Schlüssel aus dem Lizenzportal holen; auch prüfen, ob der PC den gemeinten Schlüssel hat.",
        ],
    ),
    (
        0x68,
        NumberClass::Question,
        [
            "Microsoft does not know the key that the extended product ID names.",
            "Start the PC again, so that it tells its extended product ID anew.",
            "Microsoft kennt den Schlüssel nicht, den die erweiterte Produkt-ID nennt.",
            "Den PC neu starten, damit er seine erweiterte Produkt-ID neu meldet.",
        ],
    ),
    (
        0x71,
        NumberClass::Key,
        [
            "The key has been used as often as it may be.",
            "Ask Microsoft's activation centre.",
            "Der Schlüssel wurde so oft benutzt, wie er darf.",
            "Microsofts Aktivierungscenter fragen.",
        ],
    ),
    (
        0x7F,
        NumberClass::Key,
        [
            "The MAK has no activations left.",
            "Have Microsoft raise its limit.",
            "Der MAK hat keine Aktivierungen mehr.",
            "Die Grenze bei Microsoft erhöhen lassen.",
        ],
    ),
    (
        0x86,
        NumberClass::Question,
        [
            "This kind of key has no confirmation IDs to ask for here.",
            "Only a MAK has; use kms for a GVLK.",
            "Für diese Art von Schlüssel gibt es hier keine Bestätigungs-ID.",
            "Nur ein MAK hat welche; für einen GVLK kms verwenden.",
        ],
    ),
    (
        0x8D,
        NumberClass::Question,
        [
            "Microsoft does not take the version of the installation ID.",
            "Start the PC again, so that it tells its installation ID anew.",
            "Microsoft nimmt die Version der Installations-ID nicht an.",
            "Den PC neu starten, damit er seine Installations-ID neu meldet.",
        ],
    ),
    (
        0x8E,
        NumberClass::Question,
        [
            "Microsoft does not take the form of the installation ID.",
            "Start the PC again, so that it tells its installation ID anew.",
            "Microsoft nimmt die Form der Installations-ID nicht an.",
            "Den PC neu starten, damit er seine Installations-ID neu meldet.",
        ],
    ),
    (
        0x8F,
        NumberClass::Question,
        [
            "Microsoft does not take the length of the installation ID.",
            "Start the PC again, so that it tells its installation ID anew.",
            "Microsoft nimmt die Länge der Installations-ID nicht an.",
            "Den PC neu starten, damit er seine Installations-ID neu meldet.",
        ],
    ),
    (
        0x90,
        NumberClass::Question,
        [
            "The installation ID is invalid; its check digits may be wrong.",
            "Start the PC again, so that it tells its installation ID anew.",
            "Die Installations-ID ist ungültig; ihre Prüfziffern können falsch sein.",
            "Den PC neu starten, damit er seine Installations-ID neu meldet.",
        ],
    ),
];

impl ServiceNumber {
    /// From `0x7F`, as the service writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.trim().strip_prefix("0x").or_else(|| text.trim().strip_prefix("0X"))?;
        let short = (1..=4).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
        short.then(|| u16::from_str_radix(hex, 16).ok().map(Self)).flatten()
    }

    /// How it is to be taken.
    pub fn class(self) -> NumberClass {
        self.row().map_or(NumberClass::Unknown, |row| row.1)
    }

    /// The same as a code of Windows: 0x7F is 803FA07F.
    pub fn code(self) -> Code {
        Code(0x803F_A000 | u32::from(self.0 & 0x0FFF))
    }

    /// What it means and what to do, in one line.
    pub fn text(self, language: Language) -> String {
        match (self.row(), language) {
            (Some((_, _, [meaning, advice, ..])), Language::En) => format!("{self}: {meaning} {advice}"),
            (Some((_, _, [.., meaning, advice])), Language::De) => format!("{self}: {meaning} {advice}"),
            (None, Language::En) => format!("{self}: Microsoft's service reports an error that is not known here."),
            (None, Language::De) => format!("{self}: Microsofts Dienst meldet einen hier nicht bekannten Fehler."),
        }
    }

    fn row(self) -> Option<&'static (u16, NumberClass, [&'static str; 4])> {
        NUMBERS.iter().find(|row| row.0 == self.0)
    }
}

impl std::fmt::Display for ServiceNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{:02X}", self.0)
    }
}

/// A good answer; ASP.NET writes the names in lower camel case, other servers may not.
#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "ConfirmationId", rename = "confirmationId")]
    confirmation_id: ReleasedConfirmation,
    #[serde(alias = "FromCache", rename = "fromCache", default)]
    from_cache: bool,
}

/// Problem details (RFC 9457). Title and detail are not repeated: they could hold an ID.
#[derive(Deserialize)]
struct Problem {
    #[serde(alias = "ErrorCode", rename = "errorCode", default)]
    error_code: Option<String>,
    status: u16,
}

/// What an answer says.
pub fn read(status: u16, body: &[u8]) -> Reply {
    let unclear = |why: &str| Reply::Unclear { why: why.to_owned() };
    if status == 200 {
        let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
            return unclear("the server's answer holds no confirmation ID of 48 digits");
        };
        return Reply::Issued { cid: answer.confirmation_id.0, from_cache: answer.from_cache };
    }
    let problem = serde_json::from_slice::<Problem>(body).ok().filter(|problem| problem.status == status);
    if let Some(code) = problem.as_ref().and_then(|problem| problem.error_code.as_deref()) {
        return match ServiceNumber::parse(code) {
            Some(number) => Reply::Refused { number },
            None => unclear("the server passes on an error in a form that is not known here"),
        };
    }
    let why = format!("the server answered with HTTP status {status}");
    match status {
        // Its own checks, its access rules, its address: all before it asks Microsoft. 409 comes with a number, or from elsewhere.
        400 | 401 | 403 | 404 | 405 | 406 | 411 | 413 | 414 | 415 | 422 | 431 => Reply::NotAsked { why },
        // Redirections that say that nothing was done here (RFC 9110, section 15.4). They are not followed.
        301 | 307 | 308 => Reply::NotAsked { why: format!("{why}, which sends elsewhere; nothing was sent there") },
        // It refuses while its own database is away, so as not to ask twice.
        503 if problem.is_some() => Reply::NotAsked { why: format!("{why}: its database is not available") },
        _ => Reply::Unclear { why },
    }
}

/// Why an address is not one for ActivationWs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `https://HOST[:PORT][/PATH]`.
    #[error("this is not an address; write https://HOST, with :PORT and /PATH where there is one")]
    NotAnAddress,
    /// Name and password in it.
    #[error("an address with a name or password in it would show them in every list; leave them out")]
    Credentials,
    /// Not encrypted, to another machine.
    #[error("confirmation IDs would cross the network in the clear; write https://, or say `allow_http: true`")]
    NotEncrypted,
}

/// The full address of the question, for a server at `url`: https, or http on this machine or where `allow_http` says so.
///
/// # Errors
/// When `url` is none of these.
pub fn endpoint(url: &str, allow_http: bool) -> Result<String, AddressError> {
    let url = url.trim();
    let (encrypted, rest) = match url.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        _ => return Err(AddressError::NotAnAddress),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(AddressError::Credentials);
    }
    let host = host(authority).ok_or(AddressError::NotAnAddress)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/%".contains(&b);
    if !path.bytes().all(plain) {
        return Err(AddressError::NotAnAddress);
    }
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if !encrypted && !local && !allow_http {
        return Err(AddressError::NotEncrypted);
    }
    Ok(format!("{}{PATH}", url.trim_end_matches('/')))
}

/// The host of `HOST[:PORT]`, an IPv6 address in brackets without them.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some("443"))?)
        }
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, "443"));
            let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
            (!host.is_empty() && host.bytes().all(letters)).then_some((host, port))?
        }
    };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    (digits && port.parse::<u16>().is_ok_and(|port| port != 0)).then_some(host)
}

#[cfg(test)]
mod tests;
