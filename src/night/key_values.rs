//! The values behind the names of product keys: systemd credentials, files, the environment.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::activation::key::ProductKey;
use crate::profile::model::{Key, KeySource};
use crate::room::KeyName;

/// Where values come from, beside the files that profiles name.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// The environment variables that profiles name, as the process got them.
    pub environment: BTreeMap<String, crate::secret::Secret<String>>,
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
    /// Others than its owner can read a file.
    #[error("{} holds the product key {key} and others can read it; run chmod 600 on it", .path.display())]
    OpenFile {
        /// The key's name.
        key: KeyName,
        /// The file.
        path: PathBuf,
    },
    /// There are no credentials.
    #[error("the product key {0} is a systemd credential, but this process has none; add LoadCredential= to its unit")]
    NoCredentials(KeyName),
    /// The variable is not set.
    #[error("the product key {key} comes from the environment variable {variable}, which is not set")]
    NoVariable {
        /// The key's name.
        key: KeyName,
        /// The variable.
        variable: String,
    },
    /// What was found is no product key.
    #[error("what stands behind the product key {0} is no product key: five groups of five are")]
    NotAKey(KeyName),
}

/// The last five characters of a key, by which Windows shows it.
pub fn partial(name: &KeyName, key: &Key, sources: &Sources) -> Result<String, KeyValueError> {
    let text = match &key.source {
        KeySource::InImage { partial } => return Ok(partial.clone()),
        KeySource::Credential(credential) => {
            let folder = sources.credentials.as_ref().ok_or_else(|| KeyValueError::NoCredentials(name.clone()))?;
            read(name, folder.join(credential), false)?
        }
        KeySource::File(path) => read(name, path.clone(), true)?,
        KeySource::Environment(variable) => {
            let missing = || KeyValueError::NoVariable { key: name.clone(), variable: variable.clone() };
            sources.environment.get(variable).ok_or_else(missing)?.clone()
        }
    };
    let key = ProductKey::parse(text.expose()).map_err(|_| KeyValueError::NotAKey(name.clone()))?;
    Ok(key.partial().to_owned())
}

fn read(name: &KeyName, path: PathBuf, check_mode: bool) -> Result<crate::secret::Secret<String>, KeyValueError> {
    let failed = |source| KeyValueError::File { key: name.clone(), path: path.clone(), source };
    let metadata = fs::metadata(&path).map_err(failed)?;
    // systemd mounts credentials for the service alone.
    if check_mode && metadata.permissions().mode() & 0o077 != 0 {
        return Err(KeyValueError::OpenFile { key: name.clone(), path: path.clone() });
    }
    fs::read_to_string(&path).map(crate::secret::Secret::new).map_err(failed)
}
