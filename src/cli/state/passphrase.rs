//! Where a passphrase comes from: a file, a systemd credential, or the person at the terminal.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow};
use clap::Args;
use zeroize::Zeroizing;

use crate::cli::output::Output;
use crate::secret::Secret;
use crate::serve::backup::{BackupError, LEAST_PASSPHRASE, passphrase_in};

/// The passphrase. Without these it is asked for.
#[derive(Debug, Args)]
pub(super) struct PassphraseArgs {
    /// Read the passphrase from this file, which only its owner may read.
    #[arg(long, value_name = "FILE", conflicts_with = "credential")]
    passphrase_file: Option<PathBuf>,
    /// Read the passphrase from this systemd credential (LoadCredential=).
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
}

impl PassphraseArgs {
    /// Reads it; a `new` one is asked for twice and has to be long enough.
    pub(super) fn read(&self, new: bool, to: &Output<'_>) -> anyhow::Result<Secret<String>> {
        let passphrase = match (&self.passphrase_file, &self.credential) {
            (Some(file), _) => passphrase_in(file, true)?,
            (None, Some(name)) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
                let folder = folder.with_context(|| {
                    to.text(
                        "dieser Prozess hat keine Credentials von systemd; LoadCredential= in die Unit schreiben",
                        "this process has no credentials of systemd; add LoadCredential= to its unit",
                    )
                    .to_owned()
                })?;
                if name.contains('/') || name == ".." {
                    return Err(anyhow!("{name}"));
                }
                passphrase_in(&Path::new(&folder).join(name), false)?
            }
            (None, None) => ask(new, to)?,
        };
        let characters = passphrase.expose().chars().count();
        if new && characters < LEAST_PASSPHRASE {
            return Err(BackupError::ShortPassphrase(characters).into());
        }
        Ok(passphrase)
    }
}

fn ask(new: bool, to: &Output<'_>) -> anyhow::Result<Secret<String>> {
    if !std::io::stdin().is_terminal() {
        let why = to.text(
            "hier ist kein Terminal; --passphrase-file DATEI oder --credential NAME angeben",
            "there is no terminal here; give --passphrase-file FILE or --credential NAME",
        );
        return Err(anyhow!(why.to_owned()));
    }
    let _hidden = Hidden::new();
    let first = line(to.text("Passphrase: ", "Passphrase: "))?;
    if new && line(to.text("Noch einmal: ", "Once more: "))?.expose() != first.expose() {
        let why = to.text("die beiden Eingaben sind verschieden", "the two are not the same");
        return Err(anyhow!(why.to_owned()));
    }
    Ok(first)
}

fn line(prompt: &str) -> anyhow::Result<Secret<String>> {
    let mut screen = std::io::stderr();
    write!(screen, "{prompt}")?;
    screen.flush()?;
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line).context("cannot read the passphrase")?;
    writeln!(screen)?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Keeps the terminal from showing what is typed.
struct Hidden;

impl Hidden {
    fn new() -> Self {
        stty("-echo");
        Self
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        stty("echo");
    }
}

/// Without the program what is typed is seen, which is no reason to refuse a backup.
fn stty(mode: &str) {
    let done = Command::new("stty").arg(mode).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if let Err(error) = done {
        tracing::warn!(%error, "the passphrase will be seen while it is typed");
    }
}
