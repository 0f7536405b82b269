//! What the server has to remember: runs, machine runs and their history, sessions, hooks' results, confirmation IDs, the
//! ledger, the audit log, intents. The only place that knows SQL.
//!
//! Every public call is one whole transaction: it is there as a whole when the call returns, also after a power cut, or it
//! did not happen. Changes go to one writing thread and are compared with what the caller saw ([`Store::advance`]), so a
//! caller never overwrites what it does not know. Calls block; asynchronous callers use `spawn_blocking`.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::TransactionBehavior;

use crate::activation::ledger::ReservationId;
use crate::clock::Clock;
use crate::job::{Epoch, IntentId, MachineState, RunId};
use crate::room::MachineName;

mod confirmations;
mod intents;
mod ledger;
mod licensing;
mod row;
mod runs;
mod schema;
mod seal;
mod sessions;
mod settings;
mod snapshot;
mod worker;

pub use confirmations::{
    Asked, ConfirmationChange, ConfirmationState, ConfirmationSummary, Imported, SharedInstallationId,
    StoredConfirmation,
};
pub use ledger::{AttemptKind, AuditEntry, EntryKind, EntryState, Hold, LedgerEntry, LedgerId, LedgerSums};
pub use licensing::{LicensingReport, SharedMachineId};
pub use runs::{Change, MachineRun, NewMachineRun, NewRun, Run};
pub use seal::{KeyError, StoreKey};
pub use sessions::{AttemptId, HookAttempt, Session, SessionStanding, TokenHash};
pub use settings::UnknownMachine;

use row::{Failure, Scope};
use seal::Seal;
use worker::Worker;

/// Why the store did not do what it was asked for. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be opened or made.
    #[error("cannot open the state file {}; check its folder, owner and permissions", .path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a database, or its content contradicts itself.
    #[error(
        "the state file {} is damaged ({what}); stop the server, keep the file aside and restore the last backup",
        .path.display()
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file belongs to another program.
    #[error("{} is a database of another program; give the state a path of its own", .path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error(
        "the state file {} has schema {found}, this program knows up to {known}; a newer Klonwerk wrote it: use that one, \
         or restore the backup from before the update",
        .path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema's number.
        found: i64,
        /// The newest number that this program knows.
        known: i64,
    },
    /// The key does not open the file.
    #[error(
        "the key does not fit the state file {}; restore the key file that was made with it (stored confirmation IDs open with no other)",
        .path.display()
    )]
    WrongKey {
        /// The database file.
        path: PathBuf,
    },
    /// An encrypted value does not open in its place.
    #[error("the encrypted {what} does not open: it was damaged, or moved from another row; restore the last backup")]
    Sealed {
        /// Which value.
        what: &'static str,
    },
    /// The database refused an operation, because the disk is full, say.
    #[error("cannot {what} in {}; nothing was changed; check the disk's space and health", .path.display())]
    Database {
        /// What was tried.
        what: &'static str,
        /// The database file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store was closed, or its thread has ended.
    #[error("the state is closed; the server is shutting down")]
    Closed,
    /// The machine run is no longer as the caller saw it. Look again and decide again.
    #[error("{machine} in run {run} is '{}' by now (change {epoch}); look at it again", .found.stage())]
    Conflict {
        /// The run.
        run: RunId,
        /// The machine.
        machine: MachineName,
        /// Its state.
        found: Box<MachineState>,
        /// How often it has changed.
        epoch: Epoch,
    },
    /// The machine is in another run that is not over.
    #[error("{machine} is still in run {run}; wait for it or cancel it first")]
    MachineBusy {
        /// The machine.
        machine: MachineName,
        /// The run that it is in.
        run: RunId,
    },
    /// A newer run has had the machine, so an older one is not taken up again.
    #[error("run {run} is not taken up again for {machine}: run {by} came after it")]
    Superseded {
        /// The machine.
        machine: MachineName,
        /// The older run.
        run: RunId,
        /// The newest run.
        by: RunId,
    },
    /// A run without machines.
    #[error("a run needs at least one machine")]
    NoMachines,
    /// There is no such run.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// The machine is not in that run.
    #[error("{machine} is not in run {run}")]
    NoSuchMachineRun {
        /// The run.
        run: RunId,
        /// The machine.
        machine: MachineName,
    },
    /// There is no such intent.
    #[error("there is no intent {0}")]
    NoSuchIntent(IntentId),
    /// The intent was dealt with before, or its window is over.
    #[error("intent {0} is finished or expired; ask again with a new one")]
    IntentFinished(IntentId),
    /// There is no such attempt.
    #[error("there is no hook attempt {0}")]
    NoSuchAttempt(AttemptId),
    /// There is no such reservation.
    #[error("there is no reservation {} in the ledger", .0.0)]
    NoSuchReservation(ReservationId),
    /// Another result was recorded for the attempt before.
    #[error("hook attempt {0} has another result already, which stands; begin a new attempt")]
    AttemptFinished(AttemptId),
}

struct Inner {
    path: PathBuf,
    // Dropped in this order: the writer's connection is the last, so that it folds the log into the file.
    reader: Worker,
    writer: Worker,
}

/// The state of the server. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.0.path).finish()
    }
}

impl Store {
    /// Opens the database file `path`, or makes it. One process at a time: the server's lock file sees to that.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Foreign`], [`StoreError::Newer`] and [`StoreError::WrongKey`] leave the file
    /// as it was.
    pub fn open(path: &Path, key: StoreKey, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let seal = Arc::new(Seal::new(&key));
        let start = |name, connection, behavior| {
            Worker::start(name, connection, behavior, Arc::clone(&seal), Arc::clone(&clock))
                .map_err(|source| StoreError::Open { path: path.to_owned(), source })
        };
        let connection = schema::open_writer(path, &seal)?;
        let writer = start("store-writer", connection, TransactionBehavior::Immediate)?;
        let reader = start("store-reader", schema::open_reader(path)?, TransactionBehavior::Deferred)?;
        Ok(Self(Arc::new(Inner { path: path.to_owned(), reader, writer })))
    }

    /// Opens the database file for reading beside nobody: for dry runs while no server runs. Nothing is written, not even a
    /// lock; each change fails.
    ///
    /// # Errors
    /// [`StoreError::Newer`] also for an older file, which the server has to bring up to date first.
    pub fn open_frozen(path: &Path, key: StoreKey, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let seal = Arc::new(Seal::new(&key));
        let start = |name| {
            let connection = schema::open_frozen(path)?;
            Worker::start(name, connection, TransactionBehavior::Deferred, Arc::clone(&seal), Arc::clone(&clock))
                .map_err(|source| StoreError::Open { path: path.to_owned(), source })
        };
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            reader: start("store-frozen")?,
            writer: start("store-frozen")?,
        })))
    }

    /// Finishes what was begun and closes the file, for all clones. Later calls fail with [`StoreError::Closed`].
    pub fn close(&self) {
        self.0.reader.stop();
        self.0.writer.stop();
    }

    fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        job: impl FnOnce(&Scope<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.writer.call(job).map_err(|failure| schema::explain(failure, what, &self.0.path))
    }

    fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        job: impl FnOnce(&Scope<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.reader.call(job).map_err(|failure| schema::explain(failure, what, &self.0.path))
    }
}
