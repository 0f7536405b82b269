//! `klonwerk man` and `klonwerk completions`: made from the command line itself, so they cannot differ from it.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;

/// Prints the page `klonwerk(1)`.
pub(super) fn page(command: Command, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(out.write_all(&page)?)
}

/// Writes one page a command into `folder`.
pub(super) fn pages(command: Command, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    clap_mangen::generate_to(command, folder).with_context(|| format!("cannot write into {}", folder.display()))
}

/// Prints the completions for a shell.
pub(super) fn completions(shell: Shell, mut command: Command, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "klonwerk", &mut script);
    Ok(out.write_all(&script)?)
}
