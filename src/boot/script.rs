//! Boot scripts: the templates of `pxe/`, filled in for one machine.
//!
//! A script is made when it is fetched ([`path`] is where), so it always says what holds at that moment. Whatever is left
//! over in a rendered script, a placeholder or an iPXE variable that nobody meant, is an error here instead of a riddle on
//! a screen. Facts are checked before they are put in, so that none of them can carry a command.

use minijinja::{Environment, UndefinedBehavior, Value, context};

use crate::boot::start::StartParameters;
use crate::boot::{BootSubject, RunTicket};
use crate::profile::BootEnvironment;
use crate::room::{Language, Mac, MachineName};

pub mod machine;

/// How often a script asks again before it lets the PC start its disk.
const TRIES: u32 = 6;

/// The iPXE settings that templates may use (ipxe.org/cfg).
const IPXE_SETTINGS: [&str; 2] = ["tries", "uuid"];

/// Which script a machine gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// Into the boot environment, for a run.
    Environment {
        /// The machine.
        machine: MachineName,
        /// Which environment.
        environment: BootEnvironment,
        /// The run.
        ticket: RunTicket,
    },
    /// To the disk: nothing is to be done.
    Idle {
        /// The machine.
        machine: MachineName,
    },
    /// To the disk, after a line that says why: no profile names the PC, or it is not the PC that the profile means.
    Stranger,
}

impl Script {
    /// What `subject` gets. `idle: silent` does not matter here: who fetches a script runs iPXE already, and its disk is
    /// the fastest way out.
    pub fn of(subject: &BootSubject) -> Self {
        match subject {
            BootSubject::Unknown | BootSubject::Impostor { .. } => Self::Stranger,
            BootSubject::Known(known) => match &known.run {
                Some(ticket) => Self::Environment {
                    machine: known.machine.clone(),
                    environment: known.environment,
                    ticket: ticket.clone(),
                },
                None => Self::Idle { machine: known.machine.clone() },
            },
        }
    }
}

/// The server, as boot files name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptServer {
    /// Plain HTTP for boot files: `http://ADDRESS:PORT`, no slash at the end.
    pub base_url: String,
    /// HTTPS for agents: `https://ADDRESS:PORT`, no slash at the end.
    pub agent_url: String,
    /// The fingerprint of its certificate.
    pub pin: String,
    /// The language of screens that belong to no run.
    pub language: Language,
}

/// Why a script could not be made. All of them are faults of the templates or of the site's settings.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// A fact has characters that a script must not carry.
    #[error("the {fact} '{value}' cannot stand in a boot script; correct it in site.yaml")]
    Unfit {
        /// Which fact.
        fact: &'static str,
        /// Its value.
        value: String,
    },
    /// The template names something that it is not given, or does not parse.
    #[error("the template pxe/{template} cannot be filled in")]
    Template {
        /// Which.
        template: &'static str,
        /// What is wrong.
        #[source]
        source: minijinja::Error,
    },
    /// The rendered script still has a placeholder or an unknown iPXE variable.
    #[error("the template pxe/{template} left '{leftover}' in its script")]
    Leftover {
        /// Which.
        template: &'static str,
        /// What is left, with what follows it on its line.
        leftover: String,
    },
}

/// Where a machine's script is, below [`ScriptServer::base_url`]: `/boot/ipxe/52-54-00-12-34-56.ipxe`.
pub fn path(mac: Mac) -> String {
    format!("/boot/ipxe/{}.ipxe", mac.dashed())
}

/// Renders `script` for the network card `mac`.
pub fn render(script: &Script, server: &ScriptServer, mac: Mac) -> Result<String, ScriptError> {
    let base_url = fit("address of the server", &server.base_url)?;
    let language = match script {
        Script::Environment { ticket, .. } => ticket.language,
        Script::Idle { .. } | Script::Stranger => server.language,
    };
    let text = Text::of(script, language);
    let local = fill("ipxe/local.ipxe", include_str!("../../pxe/ipxe/local.ipxe"), context! { text => text.values() })?;
    let local = local.trim_end();
    match script {
        Script::Environment { machine, environment, ticket } => {
            let retry = fill(
                "ipxe/retry.ipxe",
                include_str!("../../pxe/ipxe/retry.ipxe"),
                context! { text => text.values(), tries => TRIES, script_url => format!("{base_url}{}", path(mac)) },
            )?;
            let retry = retry.trim_end();
            let facts = context! {
                machine => machine.as_str(), run => ticket.run, mac_dashed => mac.dashed(), base_url,
                start => start_parameters(server, ticket, mac)?.to_command_line(),
                text => text.values(), retry, local,
            };
            match environment {
                BootEnvironment::Linux => fill("ipxe/linux.ipxe", include_str!("../../pxe/ipxe/linux.ipxe"), facts),
                BootEnvironment::Winpe => fill("ipxe/winpe.ipxe", include_str!("../../pxe/ipxe/winpe.ipxe"), facts),
            }
        }
        Script::Idle { machine } => fill(
            "ipxe/idle.ipxe",
            include_str!("../../pxe/ipxe/idle.ipxe"),
            context! { machine => machine.as_str(), local },
        ),
        Script::Stranger => fill(
            "ipxe/stranger.ipxe",
            include_str!("../../pxe/ipxe/stranger.ipxe"),
            context! { mac => mac.to_string(), text => text.values(), local },
        ),
    }
}

/// The start parameters that go with `ticket`.
pub fn start_parameters(server: &ScriptServer, ticket: &RunTicket, mac: Mac) -> Result<StartParameters, ScriptError> {
    Ok(StartParameters {
        server: fit("address for agents", &server.agent_url)?.to_owned(),
        pin: fit("certificate fingerprint", &server.pin)?.to_owned(),
        run: ticket.run,
        mac,
        language: ticket.language,
    })
}

/// `winpeshl.ini`, which makes WinPE start the agent (Microsoft, "Winpeshl.ini Reference"). The same for every machine.
pub fn winpeshl() -> Result<String, ScriptError> {
    let text = fill("winpe/winpeshl.ini.j2", include_str!("../../pxe/winpe/winpeshl.ini.j2"), context! {})?;
    Ok(crlf(&text))
}

/// `klonwerk.ini`, the start parameters of the agent in WinPE.
pub fn klonwerk_ini(start: &StartParameters) -> Result<String, ScriptError> {
    let lines = start.to_lines();
    let source = include_str!("../../pxe/winpe/klonwerk.ini.j2");
    Ok(crlf(&fill("winpe/klonwerk.ini.j2", source, context! { start => lines })?))
}

fn crlf(text: &str) -> String {
    text.lines().flat_map(|line| [line, "\r\n"]).collect()
}

fn fit<'a>(fact: &'static str, value: &'a str) -> Result<&'a str, ScriptError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b":/.-_[]+=,".contains(&b);
    if !value.is_empty() && value.bytes().all(fits) {
        Ok(value)
    } else {
        Err(ScriptError::Unfit { fact, value: value.to_owned() })
    }
}

fn fill(template: &'static str, source: &str, facts: Value) -> Result<String, ScriptError> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let rendered = environment
        .render_named_str(template, source, facts)
        .map_err(|source| ScriptError::Template { template, source })?;
    match leftover(&rendered) {
        Some(leftover) => Err(ScriptError::Leftover { template, leftover: leftover.to_owned() }),
        // The newline at a template's end belongs to the file, and the renderer takes it off.
        None => Ok(rendered + "\n"),
    }
}

/// The first thing in a rendered script that was meant to be replaced, up to the end of its line.
fn leftover(rendered: &str) -> Option<&str> {
    let line_from = |at: usize| rendered.get(at..).and_then(|rest| rest.lines().next());
    for mark in ["{{", "{%", "}}", "%}"] {
        if let Some(at) = rendered.find(mark) {
            return line_from(at);
        }
    }
    rendered.match_indices("${").find_map(|(at, _)| {
        let name = rendered.get(at + 2..)?.split_once('}').map(|(name, _)| name);
        if name.is_some_and(|name| IPXE_SETTINGS.contains(&name)) { None } else { line_from(at) }
    })
}

/// What a script says on the screen. ASCII only: firmware consoles have no umlauts.
struct Text {
    run: String,
    local: &'static str,
    retry: &'static str,
    stranger: &'static str,
}

impl Text {
    fn of(script: &Script, language: Language) -> Self {
        let run = match (script, language) {
            (Script::Environment { machine, ticket, .. }, Language::De) => {
                format!("Klonwerk: {machine} wird neu bespielt (Lauf {})", ticket.run)
            }
            (Script::Environment { machine, ticket, .. }, Language::En) => {
                format!("Klonwerk: {machine} is being re-cloned (run {})", ticket.run)
            }
            _ => String::new(),
        };
        match language {
            Language::De => Self {
                run,
                local: "Klonwerk: Start von der eigenen Platte",
                retry: "Klonwerk: Startdatei nicht erhalten, neuer Versuch in 10 Sekunden",
                stranger: "Klonwerk: Dieser PC steht in keinem Profil",
            },
            Language::En => Self {
                run,
                local: "Klonwerk: starting from the local disk",
                retry: "Klonwerk: a boot file did not arrive, trying again in 10 seconds",
                stranger: "Klonwerk: no profile names this PC",
            },
        }
    }

    fn values(&self) -> Value {
        context! { run => self.run.as_str(), local => self.local, retry => self.retry, stranger => self.stranger }
    }
}

#[cfg(test)]
mod tests;
