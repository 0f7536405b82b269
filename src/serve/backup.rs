//! Backup of the state as one encrypted file, and its way back.
//!
//! A backup holds what cannot be made again: the database (a consistent snapshot), its key, the image signing key and the
//! authority by which agents know the server. Images and boot files are not part of it; they are large, and can be captured
//! and brought again. A restored state is an older one: what was spent since is not in its ledger, so every key whose
//! activations count is put on hold until a person has looked ([`Code::RESTORED`]).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::StateFolder;
use super::lock::{LockError, OwnerLock};
use crate::activation::codes::Code;
use crate::clock::Clock;
use crate::image::Hash;
use crate::room::KeyName;
use crate::secret::Secret;
use crate::store::{KeyError, Store, StoreError, StoreKey};

pub mod sealed;

use sealed::{Cost, SealedError, SealedReader, SealedWriter};

/// The form of the table of contents.
const FORMAT: u32 = 1;

/// The longest table of contents, in bytes.
const MOST_TABLE: usize = 64 * 1024;

/// The files of a state, by their names in it. The first two must be there.
const FILES: [&str; 5] = ["klonwerk.db", "klonwerk.key", "image-signing.key", "tls/authority.pem", "tls/authority.key"];

/// The shortest passphrase, in characters: what protects all keys must not be guessed.
pub const LEAST_PASSPHRASE: usize = 12;

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no state.
    #[error("there is no state in {}; name the right folder with --state", .0.display())]
    NoState(PathBuf),
    /// A state is there already.
    #[error("there is a state in {} already; to replace it say --force: the old one is kept beside it", .0.display())]
    StateThere(PathBuf),
    /// The file is there already.
    #[error("{} is there already; choose another name, or say --force to replace it", .0.display())]
    FileThere(PathBuf),
    /// Guessed too soon.
    #[error("a passphrase of {0} characters would be guessed; take at least {LEAST_PASSPHRASE}")]
    ShortPassphrase(usize),
    /// The form of the backup.
    #[error("{}", .path.display())]
    Sealed {
        /// The backup.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: SealedError,
    },
    /// The content of the backup.
    #[error("{} opens, but its content is wrong ({what}); use another copy of it", .path.display())]
    Content {
        /// The backup.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file or folder.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process owns the state.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The state store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state store's key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The form of this table.
    pub format: u32,
    /// The version of Klonwerk that wrote it.
    pub version: String,
    /// When.
    pub created: Timestamp,
    /// The files, in their order.
    pub files: Vec<Entry>,
}

/// One file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name in the state folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of it.
    pub sha256: Hash,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// What was in the backup.
    pub contents: Contents,
    /// Where the state before is kept, if there was one.
    pub kept: Option<PathBuf>,
    /// The keys that are on hold now.
    pub on_hold: Vec<KeyName>,
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { action, path, source }
}

impl StateFolder {
    /// Marks a restore that has begun to replace the state and not ended.
    pub fn unfinished_restore(&self) -> PathBuf {
        self.0.join("restore.unfinished")
    }
}

/// A snapshot of the database, gone with this value.
#[derive(Debug)]
pub struct Snapshot(PathBuf);

impl Snapshot {
    /// Takes over a snapshot that the server made.
    pub fn of(path: PathBuf) -> Self {
        Self(path)
    }

    /// Makes one while no server runs.
    ///
    /// # Errors
    /// When there is no state, or a server owns it.
    pub fn take(state: &StateFolder, clock: Arc<dyn Clock>) -> Result<Self, BackupError> {
        if !state.database().exists() || !state.database_key().exists() {
            return Err(BackupError::NoState(state.0.clone()));
        }
        let _lock = OwnerLock::take(&state.lock())?;
        let store = Store::open(&state.database(), StoreKey::open_or_create(&state.database_key())?, clock)?;
        let path = store.snapshot()?;
        store.close();
        Ok(Self(path))
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "the snapshot was gone already");
        }
    }
}

/// Writes a backup of `state`, with this snapshot of its database, to `target`. The file appears as a whole or not at all.
///
/// # Errors
/// All of [`BackupError`].
pub fn write(
    state: &StateFolder,
    snapshot: &Snapshot,
    target: &Path,
    passphrase: &Secret<String>,
    cost: Cost,
    replace: bool,
    now: Timestamp,
) -> Result<Contents, BackupError> {
    let characters = passphrase.expose().chars().count();
    if characters < LEAST_PASSPHRASE {
        return Err(BackupError::ShortPassphrase(characters));
    }
    if target.exists() && !replace {
        return Err(BackupError::FileThere(target.to_owned()));
    }
    let mut sources: Vec<(&str, PathBuf)> = Vec::new();
    for name in FILES {
        let path = if name == "klonwerk.db" { snapshot.0.clone() } else { state.0.join(name) };
        if path.exists() {
            sources.push((name, path));
        }
    }
    let mut files = Vec::new();
    for (name, path) in &sources {
        let (bytes, sha256) = summed(path).map_err(file_error("read", path))?;
        files.push(Entry { name: (*name).to_owned(), bytes, sha256 });
    }
    let contents = Contents { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned(), created: now, files };
    let table = serde_json::to_vec(&contents).map_err(|error| file_error("write", target)(error.into()))?;
    let length = u32::try_from(table.len()).map_err(|error| file_error("write", target)(io::Error::other(error)))?;
    let content = 4 + table.len() as u64 + contents.files.iter().map(|entry| entry.bytes).sum::<u64>();

    let folder = target.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    // Readable by its owner only, and without its name until it is whole.
    let unfinished = tempfile::Builder::new().prefix(".klonwerk-backup-").tempfile_in(folder);
    let mut unfinished = unfinished.map_err(file_error("make a file in", folder))?;
    let sealed = |source| BackupError::Sealed { path: target.to_owned(), source };
    let writer = BufWriter::new(unfinished.as_file_mut());
    let mut writer = SealedWriter::new(writer, passphrase, cost, content).map_err(sealed)?;
    let write = file_error("write", target);
    let copied: io::Result<()> = (|| {
        writer.write_all(&length.to_le_bytes())?;
        writer.write_all(&table)?;
        for (_, path) in &sources {
            io::copy(&mut File::open(path)?, &mut writer)?;
        }
        Ok(())
    })();
    copied.map_err(write)?;
    drop(writer.finish().map_err(sealed)?);
    unfinished.as_file().sync_all().map_err(file_error("write", target))?;
    let named = if replace { unfinished.persist(target) } else { unfinished.persist_noclobber(target) };
    named.map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::FileThere(target.to_owned()),
        _ => file_error("write", target)(error.error),
    })?;
    sync(folder)?;
    Ok(contents)
}

/// Reads a whole backup and keeps nothing of it.
///
/// # Errors
/// All of [`BackupError`] that a restore could end with before it touches anything.
pub fn verify(source: &Path, passphrase: &Secret<String>) -> Result<Contents, BackupError> {
    unpack(source, passphrase, None)
}

/// Puts the state of a backup into `state`. Nothing there is touched before the backup is verified as a whole and its database
/// opens with its key; a state that is there is moved aside with `replace`, and refused without. `counted` are the keys that
/// profiles name and whose activations count, with their last five characters where they are known.
///
/// # Errors
/// All of [`BackupError`].
pub fn restore(
    state: &StateFolder,
    source: &Path,
    passphrase: &Secret<String>,
    replace: bool,
    counted: &[(KeyName, Option<String>)],
    clock: Arc<dyn Clock>,
) -> Result<Restored, BackupError> {
    fs::create_dir_all(&state.0).map_err(file_error("create", &state.0))?;
    fs::set_permissions(&state.0, fs::Permissions::from_mode(0o700)).map_err(file_error("protect", &state.0))?;
    let _lock = OwnerLock::take(&state.lock())?;
    let before: Vec<&str> = FILES.into_iter().filter(|name| state.0.join(name).exists()).collect();
    if !replace && (!before.is_empty() || state.unfinished_restore().exists()) {
        return Err(BackupError::StateThere(state.0.clone()));
    }

    let staged = tempfile::Builder::new().prefix(".restore-").tempdir_in(&state.0);
    let staged = staged.map_err(file_error("make a folder in", &state.0))?;
    let contents = unpack(source, passphrase, Some(staged.path()))?;
    let new = StateFolder(staged.path().to_owned());
    let now = clock.now();
    let store = Store::open(&new.database(), StoreKey::open_or_create(&new.database_key())?, clock)?;
    let on_hold = store.hold_all(counted, Code::RESTORED)?;
    store.audit("restore", &format!("restored the backup of {}", contents.created), None)?;
    store.close();

    // From here on a cut leaves the mark, and no server starts on half a state.
    let mark = state.unfinished_restore();
    File::create(&mark).and_then(|file| file.sync_all()).map_err(file_error("create", &mark))?;
    sync(&state.0)?;
    let kept = match before.is_empty() {
        true => None,
        false => Some(set_aside(state, &before, now)?),
    };
    for entry in &contents.files {
        let (from, to) = (staged.path().join(&entry.name), state.0.join(&entry.name));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(file_error("create", folder))?;
        }
        fs::rename(&from, &to).map_err(file_error("put in place", &to))?;
        sync(to.parent().unwrap_or(&state.0))?;
    }
    fs::remove_file(&mark).map_err(file_error("remove", &mark))?;
    sync(&state.0)?;
    Ok(Restored { contents, kept, on_hold })
}

/// Moves the state that is there into a folder beside it.
fn set_aside(state: &StateFolder, files: &[&str], now: Timestamp) -> Result<PathBuf, BackupError> {
    let name = format!("before-restore-{}", now.strftime("%Y%m%d-%H%M%S"));
    let mut kept = state.0.join(&name);
    for n in 2.. {
        match fs::DirBuilder::new().mode(0o700).create(&kept) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && n < 1000 => {
                kept = state.0.join(format!("{name}-{n}"));
            }
            Err(error) => return Err(file_error("create", &kept)(error)),
        }
    }
    // The log of a database that a killed server left belongs to it.
    for name in files.iter().copied().chain(["klonwerk.db-wal", "klonwerk.db-shm"]) {
        let (from, to) = (state.0.join(name), kept.join(name));
        if !from.exists() {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(file_error("create", folder))?;
        }
        fs::rename(&from, &to).map_err(file_error("move", &from))?;
    }
    sync(&kept)?;
    sync(&state.0)?;
    Ok(kept)
}

/// Reads a backup to its end, into a folder where one is given.
fn unpack(source: &Path, passphrase: &Secret<String>, folder: Option<&Path>) -> Result<Contents, BackupError> {
    let sealed = |error| BackupError::Sealed { path: source.to_owned(), source: error };
    let wrong = |what: String| BackupError::Content { path: source.to_owned(), what };
    let file = open(source)?;
    let bytes = file.get_ref().metadata().map_err(file_error("read", source))?.len();
    let mut reader = SealedReader::new(file, bytes, passphrase).map_err(sealed)?;

    let mut length = [0; 4];
    reader.fill(&mut length).map_err(sealed)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > MOST_TABLE {
        return Err(wrong("its table of contents is too long".to_owned()));
    }
    let mut table = vec![0; length];
    reader.fill(&mut table).map_err(sealed)?;
    let contents: Contents =
        serde_json::from_slice(&table).map_err(|error| wrong(format!("its table of contents: {error}")))?;
    if contents.format != FORMAT {
        return Err(wrong(format!("its table of contents has form {}, known is {FORMAT}", contents.format)));
    }
    let total = contents.files.iter().try_fold(4 + length as u64, |sum, entry| sum.checked_add(entry.bytes));
    let names: Vec<&str> = contents.files.iter().map(|entry| entry.name.as_str()).collect();
    // Only these names, each once: a file could otherwise be put anywhere.
    let twice = names.iter().enumerate().any(|(at, name)| names.iter().take(at).any(|earlier| earlier == name));
    if total != Some(reader.content_bytes()) || twice || names.iter().any(|name| !FILES.contains(name)) {
        return Err(wrong("its table of contents contradicts itself".to_owned()));
    }
    if FILES.iter().take(2).any(|needed| !names.contains(needed)) {
        return Err(wrong("the database or its key is missing".to_owned()));
    }
    let mut buffer = zeroize::Zeroizing::new(vec![0; 64 * 1024]);
    for entry in &contents.files {
        let mut target = folder.map(|folder| create(&folder.join(&entry.name))).transpose()?;
        let mut hasher = Sha256::new();
        let mut left = entry.bytes;
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let piece = buffer.get_mut(..count).unwrap_or_default();
            reader.fill(piece).map_err(sealed)?;
            hasher.update(&*piece);
            if let Some((file, path)) = &mut target {
                file.write_all(piece).map_err(file_error("write", path))?;
            }
            left -= count as u64;
        }
        if Hash(hasher.finalize().into()) != entry.sha256 {
            return Err(wrong(format!("{} is not what was written", entry.name)));
        }
        if let Some((file, path)) = target {
            file.sync_all().map_err(file_error("write", &path))?;
        }
    }
    Ok(contents)
}

/// Length and SHA-256 of a file.
fn summed(path: &Path) -> io::Result<(u64, Hash)> {
    let mut file = File::open(path)?;
    let mut buffer = zeroize::Zeroizing::new(vec![0; 64 * 1024]);
    let (mut hasher, mut bytes) = (Sha256::new(), 0u64);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((bytes, Hash(hasher.finalize().into())));
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        bytes += count as u64;
    }
}

fn open(path: &Path) -> Result<BufReader<File>, BackupError> {
    File::open(path).map(BufReader::new).map_err(file_error("open", path))
}

/// A new file, for its owner only; the authority's certificate is public, and stays so only in the folder that is not.
fn create(path: &Path) -> Result<(File, PathBuf), BackupError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(file_error("create", folder))?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    Ok((file.map_err(file_error("create", path))?, path.to_owned()))
}

fn sync(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error("write", folder))
}

/// Reads a passphrase from a file of this user or root that nobody else can use; a line end after it is not part of it.
///
/// # Errors
/// When it cannot be read, others can use it, or it is no text.
pub fn passphrase_in(path: &Path, check_mode: bool) -> Result<Secret<String>, BackupError> {
    let file = File::open(path).map_err(file_error("open", path))?;
    let mode = file.metadata().map_err(file_error("read", path))?.permissions().mode();
    if check_mode && mode & 0o077 != 0 {
        let open = io::Error::new(io::ErrorKind::PermissionDenied, "others can use it; run chmod 600 on it");
        return Err(file_error("take the passphrase from", path)(open));
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    file.take(4096).read_to_string(&mut text).map_err(file_error("read", path))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
