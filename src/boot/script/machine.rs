//! The scripts of all machines, as boot files that are made when somebody asks for them.

use std::fmt;
use std::sync::Arc;

use crate::boot::files::BootScripts;
use crate::boot::script::{Script, ScriptError, ScriptServer, klonwerk_ini, render, start_parameters, winpeshl};
use crate::boot::{BootDirectory, RunTicket};
use crate::profile::BootEnvironment;
use crate::room::{Language, Mac};

/// Answers `boot/ipxe/52-54-00-12-34-56.ipxe` and, for runs in WinPE, `boot/winpe/52-54-00-12-34-56/` with `winpeshl.ini`
/// and `klonwerk.ini`.
pub struct MachineScripts {
    directory: Arc<dyn BootDirectory>,
    server: ScriptServer,
}

impl fmt::Debug for MachineScripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineScripts").field("server", &self.server).finish_non_exhaustive()
    }
}

impl MachineScripts {
    /// Scripts for the machines of `directory`.
    ///
    /// # Errors
    /// When the server's facts cannot stand in a script: said at the start, not at two in the morning.
    pub fn new(directory: Arc<dyn BootDirectory>, server: ScriptServer) -> Result<Self, ScriptError> {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let ticket = RunTicket { run: 1, language: Language::En };
        render(&Script::Stranger, &server, mac)?;
        klonwerk_ini(&start_parameters(&server, &ticket, mac)?)?;
        winpeshl()?;
        Ok(Self { directory, server })
    }

    fn make(&self, asked: Asked) -> Result<Option<String>, ScriptError> {
        let mac = asked.mac();
        let script = Script::of(&self.directory.subject(mac, None));
        let ticket = match &script {
            Script::Environment { environment: BootEnvironment::Winpe, ticket, .. } => Some(ticket),
            _ => None,
        };
        if let (Asked::Ipxe(_), Script::Environment { ticket, .. }) = (asked, &script) {
            // Where the school's own DHCP server names the first file, this is the first that is seen of the boot.
            self.directory.answered(mac, ticket.run);
        }
        match (asked, ticket) {
            (Asked::Ipxe(_), _) => render(&script, &self.server, mac).map(Some),
            (Asked::Winpeshl(_), Some(_)) => winpeshl().map(Some),
            (Asked::KlonwerkIni(_), Some(ticket)) => {
                klonwerk_ini(&start_parameters(&self.server, ticket, mac)?).map(Some)
            }
            (Asked::Winpeshl(_) | Asked::KlonwerkIni(_), None) => Ok(None),
        }
    }
}

impl BootScripts for MachineScripts {
    fn script(&self, name: &str) -> Option<Arc<[u8]>> {
        let asked = Asked::read(name)?;
        match self.make(asked) {
            Ok(script) => script.map(|script| script.into_bytes().into()),
            Err(error) => {
                tracing::error!(name, error = &error as &dyn std::error::Error, "a boot script cannot be made");
                None
            }
        }
    }
}

/// A name that is a script's.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Ipxe(Mac),
    Winpeshl(Mac),
    KlonwerkIni(Mac),
}

impl Asked {
    fn read(name: &str) -> Option<Self> {
        let name = name.strip_prefix("boot/")?;
        if let Some(script) = name.strip_prefix("ipxe/") {
            return Some(Self::Ipxe(script.strip_suffix(".ipxe")?.parse().ok()?));
        }
        let (mac, file) = name.strip_prefix("winpe/")?.split_once('/')?;
        let mac = mac.parse().ok()?;
        match file {
            "winpeshl.ini" => Some(Self::Winpeshl(mac)),
            "klonwerk.ini" => Some(Self::KlonwerkIni(mac)),
            _ => None,
        }
    }

    fn mac(self) -> Mac {
        match self {
            Self::Ipxe(mac) | Self::Winpeshl(mac) | Self::KlonwerkIni(mac) => mac,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::firmware::Firmware;
    use crate::boot::start::StartParameters;
    use crate::boot::{BootSubject, KnownMachine, script};
    use crate::profile::Idle;
    use crate::room::MachineUuid;

    /// One machine with a run in WinPE; nobody else.
    struct OneMachine(Mac);

    impl BootDirectory for OneMachine {
        fn subject(&self, mac: Mac, _: Option<MachineUuid>) -> BootSubject {
            if mac != self.0 {
                return BootSubject::Unknown;
            }
            BootSubject::Known(KnownMachine {
                machine: "R101-01".parse().unwrap(),
                room: "r101".parse().unwrap(),
                environment: BootEnvironment::Winpe,
                idle: Idle::Silent,
                run: Some(RunTicket { run: 9, language: Language::De }),
            })
        }

        fn seen(&self, _: Mac, _: Option<MachineUuid>, _: &BootSubject, _: Firmware) {}
        fn answered(&self, _: Mac, _: u64) {}
    }

    fn server() -> ScriptServer {
        ScriptServer {
            base_url: "http://10.1.0.5:8080".to_owned(),
            agent_url: "https://10.1.0.5:8443".to_owned(),
            pin: "9f86d081".to_owned(),
            language: Language::En,
        }
    }

    #[test]
    fn every_file_that_a_script_names_per_machine_is_there() {
        let mac: Mac = "52:54:00:12:34:56".parse().unwrap();
        let scripts = MachineScripts::new(Arc::new(OneMachine(mac)), server()).unwrap();
        let text = |name: &str| scripts.script(name).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        let main = text(script::path(mac).trim_start_matches('/')).unwrap();
        let own: Vec<&str> =
            main.split_whitespace().filter_map(|word| word.strip_prefix("http://10.1.0.5:8080/")).collect();
        let dynamic: Vec<&&str> = own.iter().filter(|name| name.contains("52-54-00")).collect();
        assert_eq!(dynamic.len(), 3, "{own:?}");
        for name in dynamic {
            assert!(text(name).is_some(), "{name}");
        }
        let ini = text("boot/winpe/52-54-00-12-34-56/klonwerk.ini").unwrap();
        assert_eq!(StartParameters::from_ini(&ini).map(|start| start.run), Ok(9));

        let other = text("boot/ipxe/52-54-00-12-34-57.ipxe").unwrap();
        assert!(other.contains("no profile names this PC"));
        for name in ["boot/winpe/52-54-00-12-34-57/klonwerk.ini", "boot/ipxe/x.ipxe", "boot/wimboot", ""] {
            assert_eq!(text(name), None, "{name}");
        }
    }

    #[test]
    fn facts_that_cannot_stand_in_a_script_are_found_at_the_start() {
        let server = ScriptServer { pin: "a b".to_owned(), ..server() };
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        assert!(MachineScripts::new(Arc::new(OneMachine(mac)), server).is_err());
    }
}
