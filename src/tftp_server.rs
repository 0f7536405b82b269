//! Moves the bytes of [`crate::tftp`]: one socket at the well-known port, one per transfer.
//!
//! A transfer's socket is bound to the address that the server listens at and connected to its client, so that nobody
//! else can speak in between and a client that is gone is noticed by the system's own answer. Name the address to listen
//! at on a server with several networks: with `0.0.0.0` the system picks the address that answers.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{self, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::boot::files::FileSource;
use crate::tftp::listener::{Refusal, Start};
use crate::tftp::packet::REQUEST_BYTES;
use crate::tftp::{Decision, Limits, Listener, Outcome, Totals, TransferId};
use crate::tftp_server::carrier::Carrier;
use crate::tftp_server::delivery::{Delivery, Finished, Message};

mod carrier;
mod delivery;
mod read_ahead;

/// How long the server waits after the system refused to hand out a datagram.
const PAUSE: Duration = Duration::from_millis(100);

/// Why the TFTP server cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TftpServerError {
    /// The address is taken, foreign, or needs a privilege.
    #[error("cannot listen for TFTP at {address}; is another TFTP server running, and may this one bind the port?")]
    Bind {
        /// The address and port.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

/// Where and how to serve.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address and port to listen at; TFTP's port is 69, port 0 takes a free one.
    pub listen: SocketAddr,
    /// What is granted, and how many transfers there may be.
    pub limits: Limits,
    /// The ports of the transfers, for rooms behind a firewall; `None` takes any free one.
    pub ports: Option<RangeInclusive<u16>>,
}

/// What the server tells about its work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferEvent {
    /// A transfer begins.
    Started {
        /// The client.
        peer: SocketAddr,
        /// The file as the client spelled it.
        name: String,
        /// Its size in bytes.
        len: u64,
    },
    /// A transfer is over.
    Ended {
        /// The client.
        peer: SocketAddr,
        /// The file as the client spelled it.
        name: String,
        /// How.
        outcome: Outcome,
        /// How much work it was.
        totals: Totals,
    },
    /// A request was answered by an error.
    Refused {
        /// The client.
        peer: SocketAddr,
        /// Why.
        refusal: Refusal,
    },
    /// A request was left unanswered, since there are too many transfers; the client will ask again.
    Busy {
        /// The client.
        peer: SocketAddr,
    },
}

/// Takes the server's events. Must not block.
pub type Observer = Arc<dyn Fn(TransferEvent) + Send + Sync>;

/// A server that has its port.
pub struct Server {
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    ports: Option<RangeInclusive<u16>>,
    files: Arc<dyn FileSource>,
    observer: Observer,
    listener: Listener,
    deliveries: JoinSet<Finished>,
    tasks: HashMap<task::Id, TransferId>,
    mailboxes: HashMap<TransferId, Mailbox>,
    stop: CancellationToken,
}

struct Mailbox {
    sender: mpsc::Sender<Message>,
    /// The client repeated its request when the transfer was over already.
    asked_again: bool,
}

impl Server {
    /// Takes the port.
    ///
    /// # Errors
    /// [`TftpServerError::Bind`].
    pub async fn bind(config: Config, files: Arc<dyn FileSource>, observer: Observer) -> Result<Self, TftpServerError> {
        let refused = |source| TftpServerError::Bind { address: config.listen, source };
        let socket = UdpSocket::bind(config.listen).await.map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        Ok(Self {
            socket: Arc::new(socket),
            address,
            ports: config.ports,
            files,
            observer,
            listener: Listener::new(config.limits),
            deliveries: JoinSet::new(),
            tasks: HashMap::new(),
            mailboxes: HashMap::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until cancelled; then every client is told, and every transfer has ended when this returns.
    pub async fn run(mut self, cancel: CancellationToken) {
        let socket = Arc::clone(&self.socket);
        // One byte more than a request may have, so that a longer one is seen to be longer.
        let mut buffer = [0; REQUEST_BYTES + 1];
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(finished) = self.deliveries.join_next_with_id() => self.finished(finished).await,
                received = socket.recv_from(&mut buffer) => match received {
                    Ok((len, peer)) => self.request(peer, buffer.get(..len).unwrap_or_default()).await,
                    Err(error) => {
                        tracing::warn!(%error, "cannot receive TFTP requests, trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
        self.stop.cancel();
        while let Some(finished) = self.deliveries.join_next_with_id().await {
            self.book(finished);
        }
    }

    async fn request(&mut self, peer: SocketAddr, datagram: &[u8]) {
        let answer = self.listener.handle(Instant::now(), peer, datagram, &*self.files);
        if let Some(replaced) = answer.replaces.and_then(|id| self.mailboxes.get(&id)) {
            // A full mailbox belongs to a transfer that is told already; a closed one is over.
            let _told = replaced.sender.try_send(Message::Replaced);
        }
        match answer.decision {
            Decision::Start(start) => self.start(*start).await,
            Decision::Repeat(id) => {
                if let Some(mailbox) = self.mailboxes.get_mut(&id) {
                    mailbox.asked_again |=
                        matches!(mailbox.sender.try_send(Message::Repeated), Err(mpsc::error::TrySendError::Closed(_)));
                }
            }
            Decision::Refuse { reply, refusal } => {
                tracing::debug!(%peer, ?refusal, "TFTP request refused");
                // A lost error is asked for again, like any lost answer.
                if let Err(error) = self.socket.send_to(&reply, peer).await {
                    tracing::debug!(%peer, %error, "cannot answer");
                }
                (self.observer)(TransferEvent::Refused { peer, refusal });
            }
            Decision::Busy => {
                tracing::debug!(%peer, transfers = self.listener.transfers(), "too many TFTP transfers");
                (self.observer)(TransferEvent::Busy { peer });
            }
            Decision::Ignore => {}
        }
    }

    async fn start(&mut self, start: Start) {
        let (id, peer) = (start.id, start.peer);
        let carrier = match Carrier::open(self.address.ip(), self.ports.clone(), peer).await {
            Ok(carrier) => carrier,
            Err(error) => {
                tracing::warn!(%peer, %error, "cannot open a socket for a TFTP transfer");
                self.listener.ended(id);
                (self.observer)(TransferEvent::Busy { peer });
                return;
            }
        };
        (self.observer)(TransferEvent::Started { peer, name: start.name.clone(), len: start.file.len });
        let (sender, mailbox) = mpsc::channel(2);
        self.mailboxes.insert(id, Mailbox { sender, asked_again: false });
        let delivery = Delivery::new(start, carrier, mailbox, self.stop.clone());
        let task = self.deliveries.spawn(delivery.run());
        self.tasks.insert(task.id(), id);
    }

    /// Books a transfer that is over, and begins anew for a client that has asked again meanwhile.
    async fn finished(&mut self, finished: Result<(task::Id, Finished), JoinError>) {
        if let Some((peer, request)) = self.book(finished) {
            self.request(peer, &request).await;
        }
    }

    fn book(&mut self, finished: Result<(task::Id, Finished), JoinError>) -> Option<(SocketAddr, Vec<u8>)> {
        let task = match &finished {
            Ok((task, _)) => *task,
            Err(error) => error.id(),
        };
        let id = self.tasks.remove(&task)?;
        let mailbox = self.mailboxes.remove(&id);
        let asked = self.listener.ended(id);
        let mut again = mailbox.is_some_and(|mailbox| mailbox.asked_again);
        match finished {
            Ok((_, finished)) => {
                again |= finished.asked_again;
                let Finished { peer, name, outcome, totals, .. } = finished;
                tracing::debug!(%peer, name, %outcome, ?totals, "TFTP transfer ended");
                (self.observer)(TransferEvent::Ended { peer, name, outcome, totals });
            }
            Err(error) => tracing::error!(%error, "a TFTP transfer broke off"),
        }
        asked.filter(|_| again)
    }
}

/// Takes the port and serves until cancelled.
///
/// # Errors
/// [`TftpServerError::Bind`].
pub async fn run(
    config: Config,
    files: Arc<dyn FileSource>,
    observer: Observer,
    cancel: CancellationToken,
) -> Result<(), TftpServerError> {
    Server::bind(config, files, observer).await?.run(cancel).await;
    Ok(())
}
