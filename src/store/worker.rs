//! A thread that owns one connection and takes whole transactions as messages.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;
use super::row::{Failure, Scope};
use super::seal::Seal;
use crate::clock::Clock;

/// Transactions that may wait before callers do.
const QUEUE: usize = 256;

type Message = Box<dyn FnOnce(&mut Connection) + Send>;

pub(super) struct Worker {
    state: Mutex<Option<(SyncSender<Message>, JoinHandle<()>)>>,
    behavior: TransactionBehavior,
    seal: Arc<Seal>,
    clock: Arc<dyn Clock>,
}

impl Worker {
    pub(super) fn start(
        name: &str,
        mut connection: Connection,
        behavior: TransactionBehavior,
        seal: Arc<Seal>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel::<Message>(QUEUE);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for message in receiver {
                message(&mut connection);
            }
        })?;
        Ok(Self { state: Mutex::new(Some((sender, thread))), behavior, seal, clock })
    }

    /// Runs `job` as one transaction and waits for it. A failed job leaves nothing behind.
    pub(super) fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Scope<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let sender = match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((sender, _)) => sender.clone(),
            None => return Err(StoreError::Closed.into()),
        };
        let (answer, answered) = sync_channel(1);
        let (seal, clock, behavior) = (Arc::clone(&self.seal), Arc::clone(&self.clock), self.behavior);
        let message: Message = Box::new(move |connection| {
            let outcome = (|| {
                let tx = connection.transaction_with_behavior(behavior)?;
                let value = job(&Scope { tx: &tx, seal: &seal, now: clock.now() })?;
                tx.commit()?;
                Ok(value)
            })();
            // Who asked may have gone; the transaction stands all the same.
            let _ = answer.send(outcome);
        });
        sender.send(message).map_err(|_| StoreError::Closed)?;
        drop(sender);
        answered.recv().map_err(|_| StoreError::Closed)?
    }

    /// Runs `job` on the connection between two transactions, for what cannot be part of one, and waits for it.
    pub(super) fn outside<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let sender = match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((sender, _)) => sender.clone(),
            None => return Err(StoreError::Closed.into()),
        };
        let (answer, answered) = sync_channel(1);
        let message: Message = Box::new(move |connection| {
            // Who asked may have gone.
            let _ = answer.send(job(connection));
        });
        sender.send(message).map_err(|_| StoreError::Closed)?;
        drop(sender);
        answered.recv().map_err(|_| StoreError::Closed)?
    }

    /// Finishes what was sent, closes the connection and ends the thread.
    pub(super) fn stop(&self) {
        let taken = self.state.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((sender, thread)) = taken {
            drop(sender);
            // A thread that ended by a panic has closed its connection too, and its callers were told.
            let _ = thread.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}
