//! `klonwerk schema`: the JSON Schemas of the profiles, for editors.

use std::io::Write;
use std::path::Path;

use anyhow::Context;

use crate::profile::schema;

/// Prints both schemas as one object, under the names of their files.
///
/// # Errors
/// When `out` cannot be written.
pub fn run(out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "{:#}", schema::schema())?;
    Ok(())
}

/// Writes `site.json` and `room.json` into `folder`, which is made where it is missing, and says so.
///
/// # Errors
/// When the folder or a file cannot be written.
pub fn write(folder: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for (name, schema) in [("site.json", schema::site()), ("room.json", schema::room())] {
        let path = folder.join(name);
        std::fs::write(&path, format!("{schema:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}
