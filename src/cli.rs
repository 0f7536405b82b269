//! The command line: one file a subcommand, and the only place that prints.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::output::Output;
use crate::room::Language;

#[cfg(target_os = "linux")]
mod activation;
#[cfg(target_os = "linux")]
mod agent;
#[cfg(target_os = "linux")]
mod ask;
pub mod check;
#[cfg(target_os = "linux")]
mod demo;
mod explain;
#[cfg(target_os = "linux")]
mod hardware;
#[cfg(target_os = "linux")]
pub mod image;
#[cfg(target_os = "linux")]
mod image_options;
#[cfg(target_os = "linux")]
mod kms;
#[cfg(target_os = "linux")]
mod machines;
mod man;
mod output;
#[cfg(target_os = "linux")]
mod place;
#[cfg(target_os = "linux")]
mod plan;
#[cfg(target_os = "linux")]
mod reclone;
#[cfg(target_os = "linux")]
mod runs;
pub mod schema;
#[cfg(target_os = "linux")]
mod screen;
#[cfg(target_os = "linux")]
mod serve;
#[cfg(target_os = "linux")]
mod state;
#[cfg(target_os = "linux")]
mod words;

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
    /// Run the server: network boot, images, runs, activation.
    #[cfg(target_os = "linux")]
    #[command(after_help = "Example: klonwerk serve --profiles /etc/klonwerk/profiles")]
    Serve(serve::ServeArgs),
    /// Show what a re-clone of a room would do, machine by machine, and do nothing.
    #[cfg(target_os = "linux")]
    #[command(after_help = "Examples:\n  klonwerk plan r101\n  klonwerk plan r101 --only R101-01,R101-02 --json")]
    Plan(plan::PlanArgs),
    /// Bring a room's machines back to their image, now.
    #[cfg(target_os = "linux")]
    #[command(
        after_help = "Ends with 0 only if every machine runs its image.\n\nExamples:\n  klonwerk reclone r101\n  klonwerk reclone r101 --except R101-15 --window 2h\n  klonwerk reclone r101 --dry-run"
    )]
    Reclone(reclone::RecloneArgs),
    /// Show how the server is and what it is doing.
    #[cfg(target_os = "linux")]
    Status(runs::StatusArgs),
    /// List, show, cancel and retry runs.
    #[cfg(target_os = "linux")]
    Runs(runs::RunsArgs),
    /// Find unknown PCs, make tokens for work by hand.
    #[cfg(target_os = "linux")]
    Machines(machines::MachinesArgs),
    /// Carry installation IDs out and confirmation IDs in.
    #[cfg(target_os = "linux")]
    Activation(activation::ActivationArgs),
    /// Say what an activation code of Windows means and what to do.
    #[command(
        after_help = "Ends with 0 only if the table has every code.\n\nExamples:\n  klonwerk explain 0xC004F074\n  klonwerk explain --lang de -- -1073418184\n  klonwerk explain 'Fehler: 0xC004F074 Der Softwarelizenzierungsdienst …'\n  klonwerk explain --list"
    )]
    Explain(explain::ExplainArgs),
    /// Check whether PCs find their KMS host, print its DNS record, show its count.
    #[cfg(target_os = "linux")]
    Kms(kms::KmsArgs),
    /// Back up and restore the server's state: database, keys, authority.
    #[cfg(target_os = "linux")]
    State(state::StateArgs),
    /// Capture, list, show, verify and clean up images.
    #[cfg(target_os = "linux")]
    Image(image_options::ImageOptions),
    /// Work on this PC: bring its disk back to its image.
    #[cfg(target_os = "linux")]
    Agent(agent::AgentArgs),
    /// Print the manual page.
    Man {
        /// Write one page a command into this folder instead.
        #[arg(long, value_name = "DIR")]
        write: Option<PathBuf>,
    },
    /// Print the completions for a shell.
    #[command(after_help = "Example: klonwerk completions bash > /etc/bash_completion.d/klonwerk")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
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
    // Not locked: an agent's threads write to it too.
    let mut out = std::io::stdout();
    let ended = run(options.command, options.lang, language, options.json, &mut out);
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

fn run(
    command: Command,
    said: Option<Language>,
    language: Language,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let to = &mut Output { out, language, json };
    match command {
        Command::Check { dir } => check::run(&dir, language, json, to.out),
        Command::Schema { write: None } => schema::run(to.out).map(|()| true),
        Command::Schema { write: Some(folder) } => schema::write(&folder, to.out).map(|()| true),
        Command::Man { write: None } => man::page(Options::command(), to.out).map(|()| true),
        Command::Man { write: Some(folder) } => man::pages(Options::command(), &folder).map(|()| true),
        Command::Completions { shell } => man::completions(shell, Options::command(), to.out).map(|()| true),
        Command::Explain(args) => explain::run(&args, to),
        #[cfg(target_os = "linux")]
        Command::Image(image) => image_options::run(image, language, json, to.out),
        #[cfg(target_os = "linux")]
        Command::Demo(demo) => demo::run(demo, language, json, to.out),
        #[cfg(target_os = "linux")]
        Command::Serve(args) => serve::run(&args, to),
        #[cfg(target_os = "linux")]
        Command::Plan(args) => plan::run(&args, to),
        #[cfg(target_os = "linux")]
        Command::Reclone(args) => reclone::run(&args, to),
        #[cfg(target_os = "linux")]
        Command::Status(args) => runs::status(&args, to),
        #[cfg(target_os = "linux")]
        Command::Runs(args) => runs::run(&args, to),
        #[cfg(target_os = "linux")]
        Command::Machines(args) => machines::run(&args, to),
        #[cfg(target_os = "linux")]
        Command::Activation(args) => activation::run(&args, to),
        #[cfg(target_os = "linux")]
        Command::Kms(args) => kms::run(&args, to),
        #[cfg(target_os = "linux")]
        Command::State(args) => state::run(&args, to),
        #[cfg(target_os = "linux")]
        Command::Agent(args) => agent::run(&args, said, to),
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
        Options::command().debug_assert();
    }

    #[test]
    fn negative_codes_and_options_stand_in_any_order() {
        for line in
            ["explain -1073418184 --json", "explain --json -1073418184 C004F074", "--json explain -- -1073418184"]
        {
            let options = Options::try_parse_from(format!("klonwerk {line}").split(' ')).expect(line);
            assert!(options.json, "{line}");
            assert!(matches!(options.command, Command::Explain(_)), "{line}");
        }
        assert!(Options::try_parse_from(["klonwerk", "explain"]).is_err());
        assert!(Options::try_parse_from(["klonwerk", "explain", "--list"]).is_ok());
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
