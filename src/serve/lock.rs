//! The lock of whoever owns the state: the server while it runs, or an offline command.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Why the state cannot be owned.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error("{} is owned by a running klonwerk; stop it, or ask it through its commands", .0.display())]
    Owned(PathBuf),
    /// The file cannot be opened or locked.
    #[error("cannot lock {}", .path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Ownership of a state folder, given up when dropped or when the process ends, however it ends.
#[derive(Debug)]
pub struct OwnerLock(#[expect(dead_code, reason = "held, not read: the lock goes with it")] File);

impl OwnerLock {
    /// Takes it, or says who has it; never waits.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::File { path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(LockError::Owned(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}
