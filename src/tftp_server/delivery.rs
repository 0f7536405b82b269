//! One transfer: its state, its socket, its file, until it is over.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::tftp::listener::Start;
use crate::tftp::transfer::Repeat;
use crate::tftp::{Batch, Outcome, Totals, Transfer};
use crate::tftp_server::carrier::{Carrier, Sent};
use crate::tftp_server::read_ahead::ReadAhead;

/// More than any packet of a reading client: acknowledgements, and errors with their text.
const DATAGRAM_BYTES: usize = 256;

/// What the listening socket tells a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// The client sent the same request again.
    Repeated,
    /// The client asked for something else from the same port.
    Replaced,
}

/// A transfer that is over.
#[derive(Debug)]
pub(super) struct Finished {
    /// The client.
    pub(super) peer: SocketAddr,
    /// The file as the client spelled it.
    pub(super) name: String,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// How much work it was.
    pub(super) totals: Totals,
    /// Whether the client's repeated request is still unanswered.
    pub(super) asked_again: bool,
}

/// A transfer under way.
pub(super) struct Delivery {
    peer: SocketAddr,
    name: String,
    transfer: Transfer,
    file: ReadAhead,
    carrier: Carrier,
    mailbox: mpsc::Receiver<Message>,
    stop: CancellationToken,
    out: Batch,
    asked_again: bool,
}

impl Delivery {
    /// Ready to begin.
    pub(super) fn new(
        start: Start,
        carrier: Carrier,
        mailbox: mpsc::Receiver<Message>,
        stop: CancellationToken,
    ) -> Self {
        let Start { peer, name, file, transfer, .. } = start;
        let file = ReadAhead::new(file);
        Self { peer, name, transfer, file, carrier, mailbox, stop, out: Batch::default(), asked_again: false }
    }

    /// Serves the client until the transfer is over.
    pub(super) async fn run(mut self) -> Finished {
        let stop = self.stop.clone();
        let mut stopped = pin!(stop.cancelled());
        let mut buffer = [0; DATAGRAM_BYTES];
        if self.cover(None).await {
            self.transfer.begin(Instant::now(), &mut self.file, &mut self.out);
        }
        self.send().await;
        let mut armed = self.transfer.poll_timeout().unwrap_or_else(Instant::now);
        let mut timer = pin!(tokio::time::sleep_until(armed.into()));
        while let Some(deadline) = self.transfer.poll_timeout() {
            // An armed timer that is too early costs less than one that is set anew for each block.
            if deadline < armed {
                armed = deadline;
                timer.as_mut().reset(armed.into());
            }
            // In this order: what the client has said counts before what it asks for, and before its silence.
            tokio::select! {
                biased;
                () = &mut stopped => self.transfer.cancel(Instant::now(), &mut self.out),
                received = self.carrier.receive(&mut buffer) => match received {
                    Some(len) => self.received(buffer.get(..len).unwrap_or_default()).await,
                    None => self.transfer.unreachable(Instant::now()),
                },
                Some(message) = self.mailbox.recv() => self.told(message).await,
                () = &mut timer => {
                    self.time_passed().await;
                    if let Some(deadline) = self.transfer.poll_timeout() {
                        armed = deadline;
                        timer.as_mut().reset(armed.into());
                    }
                }
            }
            self.send().await;
        }
        self.finish()
    }

    async fn received(&mut self, datagram: &[u8]) {
        if self.cover(Some(datagram)).await {
            self.transfer.handle(Instant::now(), datagram, &mut self.file, &mut self.out);
        }
        // A client that only ever sends noise must not keep the timer from being looked at.
        if self.out.is_empty() {
            self.time_passed().await;
        }
    }

    async fn time_passed(&mut self) {
        if self.transfer.poll_timeout().is_some_and(|deadline| deadline <= Instant::now()) && self.cover(None).await {
            self.transfer.on_timeout(Instant::now(), &mut self.file, &mut self.out);
        }
    }

    async fn told(&mut self, message: Message) {
        match message {
            Message::Replaced => self.transfer.replaced(Instant::now()),
            Message::Repeated => {
                if self.cover(None).await {
                    let repeat = self.transfer.repeat(Instant::now(), &mut self.file, &mut self.out);
                    self.asked_again |= repeat == Repeat::Restart;
                }
            }
        }
    }

    /// Fetches what the next step will read. `false` when that failed and the client has to be told.
    async fn cover(&mut self, datagram: Option<&[u8]>) -> bool {
        match self.file.cover(self.transfer.reads(datagram)).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(name = self.name, %error, "cannot read a boot file");
                self.transfer.read_failed(Instant::now(), &error, &mut self.out);
                false
            }
        }
    }

    async fn send(&mut self) {
        if self.carrier.send(&self.out).await == Sent::Unreachable {
            self.transfer.unreachable(Instant::now());
        }
        self.out.clear();
    }

    fn finish(mut self) -> Finished {
        // Closed first, so that a repeated request either is found here or sees that nobody is at home.
        self.mailbox.close();
        while let Ok(message) = self.mailbox.try_recv() {
            self.asked_again |= message == Message::Repeated;
        }
        Finished {
            peer: self.peer,
            name: self.name,
            outcome: self.transfer.outcome().cloned().unwrap_or(Outcome::Cancelled),
            totals: self.transfer.totals(),
            asked_again: self.asked_again,
        }
    }
}
