//! What a boot script hands to the imaging agent: where the server is, how to recognise it, and which run this is.
//!
//! Public by design, as everything in a boot file is: it grants nothing. The Linux environment reads it from the kernel's
//! command line, WinPE from `klonwerk.ini`, both with the same names.

use std::fmt::Display;

use crate::room::{Language, Mac};

/// The start parameters of an imaging agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartParameters {
    /// The server's URL for agents, `https://…`.
    pub server: String,
    /// The fingerprint of the server's certificate, as the script got it.
    pub pin: String,
    /// The run that the machine was told to boot for.
    pub run: u64,
    /// The network card that booted.
    pub mac: Mac,
    /// The language of the screen.
    pub language: Language,
}

/// Why start parameters cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// One is missing.
    #[error("klonwerk.{0} is missing from the boot parameters; boot this PC from the network again")]
    Missing(&'static str),
    /// One does not read as what it should be.
    #[error("the boot parameter klonwerk.{name} is not valid: '{value}'; boot this PC from the network again")]
    NotValid {
        /// Which.
        name: &'static str,
        /// What it said.
        value: String,
    },
}

impl StartParameters {
    /// The names and values, in a fixed order.
    fn pairs(&self) -> [(&'static str, String); 5] {
        let text = |value: &dyn Display| value.to_string();
        [
            ("server", text(&self.server)),
            ("pin", text(&self.pin)),
            ("run", text(&self.run)),
            ("mac", text(&self.mac)),
            ("language", language_code(self.language).to_owned()),
        ]
    }

    /// As kernel arguments: `klonwerk.server=… klonwerk.pin=…`.
    pub fn to_command_line(&self) -> String {
        self.pairs().map(|(name, value)| format!("klonwerk.{name}={value}")).join(" ")
    }

    /// As lines of `klonwerk.ini`: `server=…`.
    pub fn to_lines(&self) -> Vec<String> {
        self.pairs().map(|(name, value)| format!("{name}={value}")).to_vec()
    }

    /// Reads `/proc/cmdline`; other arguments are the kernel's own.
    pub fn from_command_line(text: &str) -> Result<Self, StartError> {
        Self::from_pairs(
            text.split_ascii_whitespace().filter_map(|word| word.strip_prefix("klonwerk.")?.split_once('=')),
        )
    }

    /// Reads `klonwerk.ini`: one `name=value` a line, `;` begins a comment.
    pub fn from_ini(text: &str) -> Result<Self, StartError> {
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        Self::from_pairs(lines.filter(|line| !line.starts_with(';')).filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            Some((name.trim(), value.trim()))
        }))
    }

    fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, StartError> {
        let pairs: Vec<_> = pairs.collect();
        let find = |name: &'static str| {
            let found = pairs.iter().find(|(given, value)| *given == name && !value.is_empty());
            found.map(|(_, value)| *value).ok_or(StartError::Missing(name))
        };
        let not_valid = |name, value: &str| StartError::NotValid { name, value: value.to_owned() };
        let (run, mac) = (find("run")?, find("mac")?);
        let language = match find("language") {
            Ok("de") => Language::De,
            // A screen in the wrong language is better than a PC that does not boot.
            _ => Language::En,
        };
        Ok(Self {
            server: find("server")?.to_owned(),
            pin: find("pin")?.to_owned(),
            run: run.parse().map_err(|_| not_valid("run", run))?,
            mac: mac.parse().map_err(|_| not_valid("mac", mac))?,
            language,
        })
    }
}

fn language_code(language: Language) -> &'static str {
    match language {
        Language::De => "de",
        Language::En => "en",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parameters() -> StartParameters {
        StartParameters {
            server: "https://10.1.0.5:8443".to_owned(),
            pin: "sha256-AbC09_-".to_owned(),
            run: 42,
            mac: "52:54:00:12:34:56".parse().unwrap(),
            language: Language::De,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let kernel = format!("BOOT_IMAGE=vmlinuz quiet {} panic=30\n", parameters().to_command_line());
        assert_eq!(StartParameters::from_command_line(&kernel), Ok(parameters()));
        let ini = format!("\u{feff}; a comment\r\n{}\r\n", parameters().to_lines().join("\r\n"));
        assert_eq!(StartParameters::from_ini(&ini), Ok(parameters()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = parameters().to_command_line().replace("klonwerk.pin", "klonwerk.pen");
        assert_eq!(StartParameters::from_command_line(&text), Err(StartError::Missing("pin")));
        let text = parameters().to_command_line().replace("run=42", "run=forty");
        assert!(matches!(StartParameters::from_command_line(&text), Err(StartError::NotValid { name: "run", .. })));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(klonwerk\\.)?(server|pin|run|mac|language|.{0,6})=?.{0,20}\\PC*") {
            let _ = StartParameters::from_command_line(&text);
            let _ = StartParameters::from_ini(&text);
        }
    }
}
