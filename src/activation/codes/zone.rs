//! Where a code comes from that nobody has described: the part of Windows, or of Microsoft's service, that its first
//! digits name (`slerror.h`: the second group of digits of 0xC004x000; `winerror.h`: the facility).

use serde::Serialize;

use super::Code;
use crate::room::Language;

/// The source of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Zone {
    /// 0xC004A: the store of licences.
    Store,
    /// 0xC004B: Microsoft's activation server.
    ActivationServer,
    /// 0xC004C: Microsoft's clearing house, which decides on keys.
    ClearingHouse,
    /// 0xC004D: the security processor, which guards the trusted store.
    SecurityProcessor,
    /// 0xC004E: inside of the licensing service.
    LicensingInternals,
    /// 0xC004F: the licensing service towards its callers.
    LicensingClient,
    /// 0x4004F: the licensing service tells a state.
    LicensingState,
    /// 0x803FA: Microsoft's server, as Windows 10 and later pass it on.
    StoreServer,
    /// 0x80072E and 0x80072F: HTTP (WinHTTP's messages, 12000 and up).
    Http,
    /// 0x8007232 to 0x8007251: DNS.
    Dns,
    /// 0x80041: WMI.
    Wmi,
    /// 0x8007: any other error of Windows itself.
    System,
    /// Anything else.
    Other,
}

impl Zone {
    /// The zone of a code, whether the table has it or not.
    pub fn of(code: Code) -> Self {
        match code.0 >> 12 {
            0xC004A => Zone::Store,
            0xC004B => Zone::ActivationServer,
            0xC004C => Zone::ClearingHouse,
            0xC004D => Zone::SecurityProcessor,
            0xC004E => Zone::LicensingInternals,
            0xC004F => Zone::LicensingClient,
            0x4004F => Zone::LicensingState,
            0x803FA => Zone::StoreServer,
            0x80041 => Zone::Wmi,
            _ => match (code.0 >> 16, code.0 & 0xFFFF) {
                (0x8007, 12_000..=12_999) => Zone::Http,
                (0x8007, 9_001..=9_999) => Zone::Dns,
                (0x8007, _) => Zone::System,
                _ => Zone::Other,
            },
        }
    }

    /// Its name for people, as it stands in a sentence.
    pub fn name(self, language: Language) -> &'static str {
        let (german, english) = match self {
            Zone::Store => ("der Lizenzspeicher von Windows", "Windows' licence store"),
            Zone::ActivationServer => ("Microsofts Aktivierungsserver", "Microsoft's activation server"),
            Zone::ClearingHouse => (
                "Microsofts Clearingstelle, die über Schlüssel entscheidet",
                "Microsoft's clearing house, which decides on keys",
            ),
            Zone::SecurityProcessor => ("der Sicherheitsprozessor von Windows", "Windows' security processor"),
            Zone::LicensingInternals => {
                ("das Innere des Lizenzdienstes von Windows", "the inside of Windows' licensing service")
            }
            Zone::LicensingClient => ("der Lizenzdienst von Windows", "Windows' licensing service"),
            Zone::LicensingState => (
                "der Lizenzdienst von Windows, der damit einen Zustand meldet",
                "Windows' licensing service, which tells a state with it",
            ),
            Zone::StoreServer => ("Microsofts Server", "Microsoft's server"),
            Zone::Http => ("die HTTP-Verbindung zu Microsoft", "the HTTP connection to Microsoft"),
            Zone::Dns => ("die Namensauflösung (DNS)", "name resolution (DNS)"),
            Zone::Wmi => ("die Windows-Verwaltung (WMI)", "Windows Management Instrumentation (WMI)"),
            Zone::System => ("Windows", "Windows"),
            Zone::Other => ("ein anderer Teil von Windows", "another part of Windows"),
        };
        match language {
            Language::De => german,
            Language::En => english,
        }
    }

    /// What to look at first for a code that the table does not have.
    pub fn advice(code: Code, language: Language) -> String {
        let text = Self::of(code).first_look(language);
        text.replace("NUMBER", &(code.0 & 0xFFFF).to_string()).replace("CODE", &code.to_string())
    }

    fn first_look(self, language: Language) -> &'static str {
        let (german, english) = match self {
            Zone::Store => (
                "PC neu klonen; wenn es wiederkommt, Image neu bauen.",
                "Clone the PC again; if it comes back, build the image anew.",
            ),
            Zone::ActivationServer => (
                "Internetzugang und Uhr prüfen, dann den Schlüssel; bei einem MAK nicht wiederholen, ohne nachzusehen.",
                "Check Internet access and clock, then the key; with a MAK do not repeat it before looking.",
            ),
            Zone::ClearingHouse | Zone::StoreServer => (
                "Es geht um den Schlüssel: nicht wiederholen, sondern Microsofts Lizenzservice fragen.",
                "It is about the key: do not repeat it, ask Microsoft's licensing centre.",
            ),
            Zone::SecurityProcessor => (
                "PC neu starten und Uhr prüfen; wenn es wiederkommt, Image neu bauen.",
                "Restart the PC and check its clock; if it comes back, build the image anew.",
            ),
            Zone::LicensingInternals => (
                "Dienst sppsvc neu starten; wenn es wiederkommt, PC neu klonen.",
                "Restart the service sppsvc; if it comes back, clone the PC again.",
            ),
            Zone::LicensingClient => (
                "Schlüssel, Edition und Lizenzstatus (slmgr /dlv) ansehen.",
                "Look at key, edition and licence status (slmgr /dlv).",
            ),
            Zone::LicensingState => (
                "Kein Fehler; Lizenzstatus und verbleibende Frist (slmgr /dlv) ansehen.",
                "No fault; look at licence status and time left (slmgr /dlv).",
            ),
            Zone::Http => ("Proxy, Firewall, DNS und Uhr prüfen.", "Check proxy, firewall, DNS and clock."),
            Zone::Dns => {
                ("DNS-Server und SRV-Eintrag _vlmcs._tcp prüfen.", "Check DNS server and the SRV record _vlmcs._tcp.")
            }
            Zone::Wmi => (
                "Dienst Winmgmt prüfen; aus der Ferne Firewall und Rechte prüfen.",
                "Check the service Winmgmt; from afar, firewall and rights.",
            ),
            Zone::System => (
                "`net helpmsg NUMBER` auf einem PC zeigt den Text von Windows.",
                "`net helpmsg NUMBER` on a PC shows the text of Windows.",
            ),
            Zone::Other => (
                "`slui 0x2a CODE` auf einem PC zeigt den Text von Windows.",
                "`slui 0x2a CODE` on a PC shows the text of Windows.",
            ),
        };
        match language {
            Language::De => german,
            Language::En => english,
        }
    }
}
