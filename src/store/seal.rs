//! The key that encrypts what must not lie readable in the database file, and the box that it makes.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::{Zeroize, Zeroizing};

use crate::secret::Secret;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// The first byte of every box, for the day when another cipher is wanted.
const FORM: u8 = 1;

/// Why the key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system refused an operation.
    #[error("cannot {action} the key file {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The key file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read or change the file.
    #[error(
        "the key file {} has mode {mode:04o}, so others than its owner can use it; run 'chmod 0600 {}'",
        .path.display(), .path.display()
    )]
    Readable {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is no key.
    #[error(
        "the key file {} holds {found} than the 32 bytes of a key; restore it from the backup",
        .path.display()
    )]
    Length {
        /// The key file.
        path: PathBuf,
        /// `more` or `fewer`.
        found: &'static str,
    },
    /// The system has no random numbers.
    #[error("the system gave no random numbers for a new key")]
    Random(#[source] getrandom::Error),
}

/// The key that confirmation IDs and other secrets are encrypted with at rest. Losing it loses them.
///
/// It never shows itself, and `Debug` is a mask:
/// ```
/// # use klonwerk::store::StoreKey;
/// let key = StoreKey::new([7; 32]);
/// let text = format!("{:?}", key);
/// let json = serde_json::to_string(&text);
/// ```
/// ```compile_fail,E0277
/// # use klonwerk::store::StoreKey;
/// let key = StoreKey::new([7; 32]);
/// let text = format!("{}", key);
/// ```
/// ```compile_fail,E0277
/// # use klonwerk::store::StoreKey;
/// let key = StoreKey::new([7; 32]);
/// let json = serde_json::to_string(&key);
/// ```
#[derive(Clone)]
pub struct StoreKey(Secret<[u8; KEY_BYTES]>);

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey(***)")
    }
}

impl StoreKey {
    /// A key from its 32 bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Secret::new(bytes))
    }

    /// Reads the key from `path`, or makes a new one there, readable by its owner only and durable.
    ///
    /// # Errors
    /// Also when group or others may read or write an existing file, or when it has another length.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::read(path, true) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Self::create(path),
            other => other,
        }
    }

    /// Reads the key from a systemd credential (`LoadCredentialEncrypted=`): the file `name` in `directory`, which systemd
    /// names in `$CREDENTIALS_DIRECTORY`. Its mode is systemd's business: the access list it sets shows as group bits.
    ///
    /// # Errors
    /// When there is no such credential or it is not 32 bytes long.
    pub fn from_credential(directory: &Path, name: &str) -> Result<Self, KeyError> {
        Self::read(&directory.join(name), false)
    }

    fn read(path: &Path, check_mode: bool) -> Result<Self, KeyError> {
        let io = |action| move |source| KeyError::Io { action, path: path.to_owned(), source };
        let file = File::open(path).map_err(io("open"))?;
        let mode = file.metadata().map_err(io("examine"))?.mode() & 0o7777;
        if check_mode && mode & 0o077 != 0 {
            return Err(KeyError::Readable { path: path.to_owned(), mode });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
        file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(io("read"))?;
        let found = if bytes.len() > KEY_BYTES { "more" } else { "fewer" };
        let key = bytes.as_slice().try_into().map_err(|_| KeyError::Length { path: path.to_owned(), found })?;
        Ok(Self::new(key))
    }

    fn create(path: &Path) -> Result<Self, KeyError> {
        let io = |action| move |source| KeyError::Io { action, path: path.to_owned(), source };
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(key.as_mut_slice()).map_err(KeyError::Random)?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // Under another name first: a cut never leaves half a key, and nobody else's key is overwritten.
        let mut file = tempfile::Builder::new().prefix(".key-").tempfile_in(folder).map_err(io("create"))?;
        file.write_all(key.as_slice()).and_then(|()| file.as_file().sync_all()).map_err(io("write"))?;
        if let Err(error) = file.persist_noclobber(path) {
            if error.error.kind() == io::ErrorKind::AlreadyExists {
                return Self::read(path, true);
            }
            return Err(io("create")(error.error));
        }
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("write"))?;
        Ok(Self::new(*key))
    }
}

/// Encrypts and decrypts single values. Each box is tied to its place, so that it opens nowhere else.
pub(super) struct Seal(XChaCha20Poly1305);

/// A box that does not open: another key, another place, or damage.
#[derive(Debug)]
pub(super) struct NotOpened;

impl Seal {
    pub(super) fn new(key: &StoreKey) -> Self {
        Self(XChaCha20Poly1305::new(key.0.expose().into()))
    }

    /// `place` names table, column and row; it is authenticated and not stored.
    pub(super) fn close(&self, place: &[&str], value: &[u8]) -> Result<Vec<u8>, getrandom::Error> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: value, aad: &aad(place) };
        // Fails only beyond 256 GiB; the error type is reused since there is nothing to tell apart.
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).map_err(|_| getrandom::Error::UNSUPPORTED)?;
        Ok([[FORM].as_slice(), &nonce, &sealed].concat())
    }

    pub(super) fn open(&self, place: &[&str], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
        let (form, rest) = sealed.split_first().ok_or(NotOpened)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(NotOpened)?;
        if *form != FORM {
            return Err(NotOpened);
        }
        let payload = Payload { msg: text, aad: &aad(place) };
        self.0.decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| NotOpened)
    }
}

/// Each part with its length, so that no two places run together.
fn aad(place: &[&str]) -> Vec<u8> {
    let mut out = b"klonwerk sealed value 1\n".to_vec();
    for part in place {
        out.extend_from_slice(&(part.len() as u64).to_le_bytes());
        out.extend_from_slice(part.as_bytes());
    }
    out
}

/// Takes the text out of an opened box, wiping it where it is none.
pub(super) fn into_text(mut value: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, NotOpened> {
    String::from_utf8(std::mem::take(&mut *value)).map(Zeroizing::new).map_err(|error| {
        error.into_bytes().zeroize();
        NotOpened
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_file_is_private_and_stays_the_same() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("store.key");
        let key = StoreKey::open_or_create(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o600);
        let again = StoreKey::open_or_create(&path).expect("read");
        assert_eq!(key.0.expose(), again.0.expose());
        assert_eq!(format!("{key:?}"), "StoreKey(***)");
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            assert!(matches!(StoreKey::open_or_create(&path), Err(KeyError::Readable { .. })), "{mode:o}");
        }
        assert!(StoreKey::from_credential(folder.path(), "store.key").is_ok());
    }

    #[test]
    fn a_file_of_another_length_is_no_key() {
        let folder = tempfile::tempdir().expect("folder");
        for (len, said) in [(0, "fewer"), (31, "fewer"), (33, "more"), (4096, "more")] {
            let path = folder.path().join(format!("key-{len}"));
            fs::write(&path, vec![7; len]).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
            let refused = StoreKey::open_or_create(&path);
            assert!(matches!(refused, Err(KeyError::Length { found, .. }) if found == said), "{len}");
        }
    }

    proptest! {
        #[test]
        fn a_box_opens_in_its_place_only(value: Vec<u8>, place in "[a-c]{0,3}", other in "[a-c]{0,3}", flip: prop::sample::Index) {
            let seal = Seal::new(&StoreKey::new([7; 32]));
            let sealed = seal.close(&["t", &place], &value).expect("closed");
            prop_assert_eq!(&*seal.open(&["t", &place], &sealed).expect("opened"), &value);
            if place != other {
                prop_assert!(seal.open(&["t", &other], &sealed).is_err());
            }
            let joined = format!("t{place}");
            prop_assert!(seal.open(&[&joined], &sealed).is_err());
            prop_assert!(Seal::new(&StoreKey::new([8; 32])).open(&["t", &place], &sealed).is_err());
            let mut broken = sealed.clone();
            broken[flip.index(sealed.len())] ^= 1;
            prop_assert!(seal.open(&["t", &place], &broken).is_err());
            prop_assert!(seal.open(&["t", &place], &sealed[..flip.index(sealed.len())]).is_err());
        }
    }
}
