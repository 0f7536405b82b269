//! The command line: one file a subcommand, and the only place that prints.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::room::Language;

pub mod check;
#[cfg(target_os = "linux")]
mod demo;
#[cfg(target_os = "linux")]
pub mod image;
#[cfg(target_os = "linux")]
mod image_options;
pub mod schema;

/// Re-clones school computer rooms every night, Windows activation included.
#[derive(Debug, Parser)]
#[command(name = "klonwerk", version, about, propagate_version = true)]
struct Options {
    /// The language of messages: de or en. Without it, LANG decides.
    #[arg(long, global = true, value_parser = language)]
    lang: Option<Language>,
    /// Print JSON instead of sentences and tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the profiles and show everything that is wrong with them, with place and advice.
    Check {
        /// The folder that holds site.yaml and rooms/.
        #[arg(default_value = "profiles")]
        dir: PathBuf,
    },
    /// Print the JSON Schemas of the profiles, for editors.
    Schema {
        /// Write site.json and room.json into this folder instead.
        #[arg(long)]
        write: Option<PathBuf>,
    },
    /// Re-clone a simulated room on this machine, twice: no root, nothing left behind.
    #[cfg(target_os = "linux")]
    Demo(demo::DemoOptions),
    /// Capture, list, show, verify and clean up images.
    #[cfg(target_os = "linux")]
    Image(image_options::ImageOptions),
}

fn language(text: &str) -> Result<Language, String> {
    match text {
        "de" => Ok(Language::De),
        "en" => Ok(Language::En),
        other => Err(format!("'{other}' is not a language here; use de or en")),
    }
}

/// The language of the environment (`LC_ALL`, `LC_MESSAGES`, `LANG`, in POSIX order), English where it says nothing.
fn environment_language(variable: impl Fn(&str) -> Option<String>) -> Language {
    let set =
        ["LC_ALL", "LC_MESSAGES", "LANG"].iter().filter_map(|name| variable(name)).find(|value| !value.is_empty());
    match set {
        Some(value) if value.starts_with("de") => Language::De,
        _ => Language::En,
    }
}

/// Runs the command line and gives the exit code: 0 done, 1 not done or something is wrong, 2 wrong usage.
pub fn main() -> ExitCode {
    let options = Options::parse();
    let language = options.lang.unwrap_or_else(|| environment_language(|name| std::env::var(name).ok()));
    let mut out = std::io::stdout().lock();
    let ended = match options.command {
        Command::Check { dir } => check::run(&dir, language, options.json, &mut out),
        Command::Schema { write: None } => schema::run(&mut out).map(|()| true),
        Command::Schema { write: Some(folder) } => schema::write(&folder, &mut out).map(|()| true),
        #[cfg(target_os = "linux")]
        Command::Demo(demo) => demo::run(demo, language, options.json, &mut out),
        #[cfg(target_os = "linux")]
        Command::Image(image) => image_options::run(image, language, options.json, &mut out),
    };
    match ended.and_then(|good| Ok(out.flush().map(|()| good)?)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = format!("klonwerk: {error}");
            for cause in error.chain().skip(1) {
                line.push_str(&format!(": {cause}"));
            }
            // Nothing is left to tell if standard error is gone too.
            let _ = writeln!(std::io::stderr(), "{line}");
            ExitCode::FAILURE
        }
    }
}

/// A reader that has seen enough, such as `head`, is no fault.
fn broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Options as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn the_environment_decides_in_posix_order() {
        let with = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(environment_language(with(&[("LANG", "de_DE.UTF-8")])), Language::De);
        assert_eq!(environment_language(with(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")])), Language::En);
        assert_eq!(environment_language(with(&[])), Language::En);
    }
}
