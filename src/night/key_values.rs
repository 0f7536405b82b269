//! The values behind the names of product keys: systemd credentials, files, the environment.
//!
//! Profiles say who may be asked; this reads, and holds what was read against what the profile says of it. A file has to be
//! a plain file of this process's user or of root, closed to everybody else. A symbolic link is followed, as secrets that
//! other tools put in place often are one (`/run/secrets/...`): what counts is the file at its end, and that is looked at
//! after it was opened, so that nothing can be put in its place in between.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::activation::KeyKind;
use crate::activation::key::{GVLK_PAGE, ProductKey, is_published};
use crate::profile::model::{Key, KeySource};
use crate::room::KeyName;
use crate::secret::Secret;

/// The longest text that is read for a key, in bytes: a key with its dashes, blanks and line ends around it.
const MOST_BYTES: usize = 256;

/// Where values come from, beside the files that profiles name.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// The environment variables that profiles name, as the process got them.
    pub environment: BTreeMap<String, Secret<String>>,
}

/// Why a key's value cannot be had. Never repeats what was found.
#[derive(Debug, thiserror::Error)]
pub enum KeyValueError {
    /// A file cannot be read.
    #[error("the product key {key} cannot be read from {}", .path.display())]
    File {
        /// The key's name.
        key: KeyName,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A folder, a device or a pipe.
    #[error("{} is to hold the product key {key} and is no plain file; write the key into one", .path.display())]
    NoPlainFile {
        /// The key's name.
        key: KeyName,
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner can read a file.
    #[error("{} holds the product key {key} and others can use it; run chmod 600 on it", .path.display())]
    OpenFile {
        /// The key's name.
        key: KeyName,
        /// The file.
        path: PathBuf,
    },
    /// Another user owns a file, and could open it to all.
    #[error(
        "{} holds the product key {key} and belongs to the user {owner}; give it to root or to the server's user",
        .path.display()
    )]
    ForeignFile {
        /// The key's name.
        key: KeyName,
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// There are no credentials.
    #[error("the product key {0} is a systemd credential, but this process has none; add LoadCredential= to its unit")]
    NoCredentials(KeyName),
    /// A credential's name that is a path.
    #[error(
        "the credential of the product key {0} is not a plain name; write it without slashes, as in LoadCredential="
    )]
    CredentialName(KeyName),
    /// The variable is not set.
    #[error("the product key {key} comes from the environment variable {variable}, which is not set")]
    NoVariable {
        /// The key's name.
        key: KeyName,
        /// The variable.
        variable: String,
    },
    /// What was found is no product key.
    #[error("what stands behind the product key {0} is no product key: five groups of five, and nothing else, are")]
    NotAKey(KeyName),
    /// The key is public, the profile says otherwise.
    #[error(
        "the product key {key} is declared as {}, and its value is a GVLK that Microsoft publishes; write `type: gvlk`, or \
         store the key that is meant", .declared.name()
    )]
    Published {
        /// The key's name.
        key: KeyName,
        /// What the profile says.
        declared: KeyKind,
    },
    /// The profile says that the key is public, and it is none of the published ones.
    #[error(
        "the product key {0} is declared as gvlk, and its value is none of those that Microsoft publishes ({GVLK_PAGE}); if it \
         is a MAK, write `type: mak`: it would be spent"
    )]
    NotPublished(KeyName),
    /// The value is not the server's to give.
    #[error("the product key {0} is inside the image or the PC; there is no value here that could be sent")]
    NotHere(KeyName),
}

/// The last five characters of a key, by which Windows shows it.
///
/// # Errors
/// As for [`value`]; a key inside the image has them in the profile, one in the firmware has none here.
pub fn partial(name: &KeyName, key: &Key, sources: &Sources) -> Result<String, KeyValueError> {
    match &key.source {
        KeySource::InImage { partial } => Ok(partial.clone()),
        _ => Ok(value(name, key, sources)?.partial().to_owned()),
    }
}

/// The whole key, for a release to an enrolled PC or a check of its kind. Who asks writes the audit log first.
///
/// # Errors
/// When it cannot be read, can be read by others too, is no key, or is not what the profile says it is;
/// [`KeyValueError::NotHere`] for a key inside image or firmware.
pub fn value(name: &KeyName, key: &Key, sources: &Sources) -> Result<ProductKey, KeyValueError> {
    let value = match &key.source {
        KeySource::InImage { .. } | KeySource::Firmware => return Err(KeyValueError::NotHere(name.clone())),
        KeySource::Credential(credential) => {
            let folder = sources.credentials.as_ref().ok_or_else(|| KeyValueError::NoCredentials(name.clone()))?;
            if credential.contains('/') || credential == ".." {
                return Err(KeyValueError::CredentialName(name.clone()));
            }
            // systemd mounts credentials for the service alone; the access list that it sets shows as group bits.
            parse(name, &read(name, &folder.join(credential), false)?)?
        }
        KeySource::File(path) => parse(name, &read(name, path, true)?)?,
        KeySource::Environment(variable) => {
            let missing = || KeyValueError::NoVariable { key: name.clone(), variable: variable.clone() };
            parse(name, sources.environment.get(variable).ok_or_else(missing)?.expose().as_bytes())?
        }
    };
    match (key.kind, is_published(&value)) {
        (KeyKind::Gvlk, false) => Err(KeyValueError::NotPublished(name.clone())),
        (declared, true) if declared != KeyKind::Gvlk => Err(KeyValueError::Published { key: name.clone(), declared }),
        _ => Ok(value),
    }
}

/// A key alone: blanks and line ends around it, and the byte order mark of Windows' editor before it, do not count.
fn parse(name: &KeyName, bytes: &[u8]) -> Result<ProductKey, KeyValueError> {
    let wrong = || KeyValueError::NotAKey(name.clone());
    if bytes.len() > MOST_BYTES {
        return Err(wrong());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    if text.contains(['\n', '\r']) {
        return Err(wrong());
    }
    ProductKey::parse(text).map_err(|_| wrong())
}

fn read(name: &KeyName, path: &Path, guarded: bool) -> Result<Zeroizing<Vec<u8>>, KeyValueError> {
    let failed = |source| KeyValueError::File { key: name.clone(), path: path.to_owned(), source };
    // Opening a pipe would wait for somebody to write to it.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(KeyValueError::NoPlainFile { key: name.clone(), path: path.to_owned() });
    }
    if guarded {
        let owner = metadata.uid();
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(KeyValueError::ForeignFile { key: name.clone(), path: path.to_owned(), owner });
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(KeyValueError::OpenFile { key: name.clone(), path: path.to_owned() });
        }
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 1));
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
