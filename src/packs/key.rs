//! The server's signing key: made at first start, kept outside of the image store.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::{SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::secret::Secret;

const FIRST_LINE: &str = "klonwerk signing key 1";

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system refused an operation.
    #[error("cannot {action} the signing key {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The key's file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("others may read the signing key {}; make it private (chmod 600), or better make a new one and capture again", .path.display())]
    Readable {
        /// The key's file.
        path: PathBuf,
    },
    /// Not a key file.
    #[error("{} is not a signing key of this version; bring it back from a backup, or remove it: then a new one is made, and images must be captured again", .path.display())]
    Damaged {
        /// The key's file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a signing key")]
    Random(#[source] getrandom::Error),
}

/// The Ed25519 key that signs images, from its file.
#[derive(Debug)]
pub struct SigningKeyFile {
    seed: Secret<[u8; 32]>,
}

impl SigningKeyFile {
    /// Reads the key in `path`, or makes one there that only the owner may read.
    ///
    /// # Errors
    /// [`KeyError`]; a file that is there is never replaced.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::open(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Self::create(path),
            other => other,
        }
    }

    fn open(path: &Path) -> Result<Self, KeyError> {
        let fault = |action| move |source| KeyError::Io { action, path: path.to_owned(), source };
        let file = File::open(path).map_err(fault("open"))?;
        let mode = file.metadata().map_err(fault("read"))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(KeyError::Readable { path: path.to_owned() });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(4096).read_to_string(&mut text).map_err(fault("read"))?;
        let seed = text.strip_prefix(FIRST_LINE).and_then(|rest| {
            let bytes = Zeroizing::new(data_encoding::HEXLOWER.decode(rest.trim().as_bytes()).ok()?);
            bytes.as_slice().try_into().ok()
        });
        let seed = Secret::new(seed.ok_or_else(|| KeyError::Damaged { path: path.to_owned() })?);
        Ok(Self { seed })
    }

    fn create(path: &Path) -> Result<Self, KeyError> {
        let fault = |action| move |source| KeyError::Io { action, path: path.to_owned(), source };
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(KeyError::Random)?;
        let text = Zeroizing::new(format!("{FIRST_LINE}\n{}\n", data_encoding::HEXLOWER.encode(seed.as_ref())));
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(fault("create a folder for"))?;
        // Written under another name, so that a crash leaves no half key behind that would stop every later start.
        let unfinished = path.with_extension("unfinished");
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .map_err(fault("create"))?;
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(fault("protect"))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fault("write"))?;
        // A link, not a rename: a key that another process made meanwhile stays.
        fs::hard_link(&unfinished, path).map_err(fault("create"))?;
        fs::remove_file(&unfinished).map_err(fault("create"))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(fault("flush"))?;
        Self::open(path)
    }

    /// The key, for signing.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_bytes(self.seed.expose())
    }

    /// The public half, which agents get in their check-in.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.signing_key().verifying_key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_stays_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/signing.key");
        let first = SigningKeyFile::open_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = SigningKeyFile::open_or_create(&path).unwrap();
        assert_eq!(first.verifying_key(), again.verifying_key());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let seed = data_encoding::HEXLOWER.encode(first.seed.expose());
        assert!(!format!("{first:?}").contains(&seed[..8]));
        let other = SigningKeyFile::open_or_create(&folder.path().join("other.key")).unwrap();
        assert_ne!(first.verifying_key(), other.verifying_key());
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_damaged_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        SigningKeyFile::open_or_create(&path).unwrap();
        let text = fs::read(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SigningKeyFile::open_or_create(&path), Err(KeyError::Readable { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, &text[..40]).unwrap();
        assert!(matches!(SigningKeyFile::open_or_create(&path), Err(KeyError::Damaged { .. })));
        assert_eq!(fs::read(&path).unwrap(), text[..40]);
    }
}
