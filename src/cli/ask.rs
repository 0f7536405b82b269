//! Asking the running server over its Unix socket: HTTP/1.1, JSON there and back.

use std::io;
use std::path::PathBuf;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

use crate::agent::protocol::Refusal;
use crate::night::RunEvent;
use crate::room::{Language, MachineName, Selection};
use crate::serve::StateFolder;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES: usize = 256 << 20;

/// Why the server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Nobody listens.
    #[error("no klonwerk serves in {}; start it with `klonwerk serve`, or name its folder with --state", .state.display())]
    NoServer {
        /// The state folder.
        state: PathBuf,
    },
    /// The socket may not be opened.
    #[error("the server's socket {} cannot be opened; run this command as root or as the server's user", .socket.display())]
    Closed {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server understood and refused; these are its words.
    #[error("{0}")]
    Refused(String),
    /// The connection broke off.
    #[error("the server ended the connection before it had answered; look at its log, then ask again")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer makes no sense.
    #[error("the server's answer to {what} cannot be read; is it another version of klonwerk?")]
    Answer {
        /// What was asked.
        what: String,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl AskError {
    /// The error for whoever sits at the terminal.
    pub(super) fn told(self, language: Language) -> anyhow::Error {
        let german = match (&self, language) {
            (_, Language::En) | (Self::Refused(_), _) => return self.into(),
            (Self::NoServer { state }, _) => format!(
                "in {} läuft kein klonwerk; mit `klonwerk serve` starten oder seinen Ordner mit --state angeben",
                state.display()
            ),
            (Self::Closed { socket, .. }, _) => format!(
                "der Socket {} des Servers lässt sich nicht öffnen; den Befehl als root oder als Benutzer des Servers ausführen",
                socket.display()
            ),
            (Self::Broken(_), _) => {
                "der Server hat die Verbindung vor der Antwort beendet; bitte in sein Protokoll sehen und erneut fragen"
                    .to_owned()
            }
            (Self::Answer { what, .. }, _) => {
                format!("die Antwort des Servers auf {what} ist nicht lesbar; ist es eine andere Version von klonwerk?")
            }
        };
        match std::error::Error::source(&self) {
            Some(source) => anyhow::anyhow!("{german}: {source}"),
            None => anyhow::anyhow!(german),
        }
    }
}

/// A way to the running server.
#[derive(Debug)]
pub(super) struct Asker {
    /// What requests run on; one thread, so that a command stays one process that waits.
    pub(super) runtime: Runtime,
    state: PathBuf,
    socket: PathBuf,
    language: Language,
}

impl Asker {
    /// A way to the server of `state`, which has to be running.
    pub(super) fn open(state: &StateFolder, language: Language) -> anyhow::Result<Self> {
        match Self::find(state, language)? {
            Some(asker) => Ok(asker),
            None => Err(AskError::NoServer { state: state.0.clone() }.told(language)),
        }
    }

    /// The same; none when no server runs.
    pub(super) fn find(state: &StateFolder, language: Language) -> anyhow::Result<Option<Self>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let asker = Self { runtime, state: state.0.clone(), socket: state.socket(), language };
        match asker.runtime.block_on(asker.connect()) {
            Ok(_) => Ok(Some(asker)),
            Err(AskError::NoServer { .. }) => Ok(None),
            Err(error) => Err(error.told(language)),
        }
    }

    /// Asks and waits.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.runtime.block_on(self.fetch(path)).map_err(|error| error.told(self.language))
    }

    /// Asks for text and waits.
    pub(super) fn get_text(&self, path: &str) -> anyhow::Result<String> {
        let text = async {
            let bytes = self.bytes(Method::GET, path, Bytes::new()).await?;
            String::from_utf8(bytes.to_vec())
                .map_err(|error| AskError::Answer { what: path.to_owned(), source: error.into() })
        };
        self.runtime.block_on(text).map_err(|error| error.told(self.language))
    }

    /// Tells and waits for the answer.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let bytes = serde_json::to_vec(body)?;
        self.post_bytes(path, bytes.into())
    }

    /// The same with a body that is no JSON.
    pub(super) fn post_bytes<T: DeserializeOwned>(&self, path: &str, body: Bytes) -> anyhow::Result<T> {
        let answered = async { parse(path, &self.bytes(Method::POST, path, body).await?) };
        self.runtime.block_on(answered).map_err(|error| error.told(self.language))
    }

    /// Tells, and hands on each line of the answer as it comes.
    pub(super) fn lines<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        each: &mut dyn FnMut(T) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let body = serde_json::to_vec(body)?;
        let told = |error: AskError| error.told(self.language);
        self.runtime.block_on(async {
            let (_connection, response) = self.send(Method::POST, path, body.into()).await.map_err(told)?;
            let mut stream = response.into_body();
            let mut read: Vec<u8> = Vec::new();
            while let Some(frame) = stream.frame().await {
                let frame = frame.map_err(|error| told(AskError::Broken(error.into())))?;
                read.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
                while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = read.drain(..=end).collect();
                    each(parse(path, &line).map_err(told)?)?;
                }
            }
            Ok(())
        })
    }

    /// Asks, inside the runtime.
    pub(super) async fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        parse(path, &self.bytes(Method::GET, path, Bytes::new()).await?)
    }

    /// Tells, inside the runtime.
    pub(super) async fn tell<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T, AskError> {
        parse(path, &self.bytes(Method::POST, path, body.into()).await?)
    }

    /// Everything that happens from now on; it is listened to once this has returned.
    pub(super) async fn events(&self) -> Result<Events, AskError> {
        let (connection, response) = self.send(Method::GET, "/v1/events", Bytes::new()).await?;
        Ok(Events { _connection: connection, body: response.into_body(), read: Vec::new() })
    }

    async fn connect(&self) -> Result<UnixStream, AskError> {
        let socket = &self.socket;
        match UnixStream::connect(socket).await {
            Ok(stream) => Ok(stream),
            // A socket file that nobody listens to is what a killed server leaves behind.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Err(AskError::NoServer { state: self.state.clone() })
            }
            Err(source) => Err(AskError::Closed { socket: socket.clone(), source }),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(SendRequest<Full<Bytes>>, Response<Incoming>), AskError> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = handshake(stream).await.map_err(|error| AskError::Broken(error.into()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the server broke off");
            }
        });
        let request = Request::builder().method(method).uri(path).header("host", "klonwerk").body(Full::new(body));
        let request = request.map_err(|error| AskError::Answer { what: path.to_owned(), source: error.into() })?;
        let response = sender.send_request(request).await.map_err(|error| AskError::Broken(error.into()))?;
        if response.status().is_success() {
            return Ok((sender, response));
        }
        let status = response.status();
        let bytes = collect(response).await?;
        let words = serde_json::from_slice::<Refusal>(&bytes)
            .map_or_else(|_| format!("the server refused {path} with {status}"), |refusal| refusal.error);
        Err(AskError::Refused(words))
    }

    async fn bytes(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, AskError> {
        let (_connection, response) = self.send(method, path, body).await?;
        collect(response).await
    }
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, AskError> {
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES);
    Ok(body.collect().await.map_err(AskError::Broken)?.to_bytes())
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, AskError> {
    serde_json::from_slice(bytes).map_err(|error| AskError::Answer { what: what.to_owned(), source: error.into() })
}

/// The server's events, one after the other.
#[derive(Debug)]
pub(super) struct Events {
    // Held, so that the connection stays.
    _connection: SendRequest<Full<Bytes>>,
    body: Incoming,
    read: Vec<u8>,
}

impl Events {
    /// The next event, as it came and as it reads; none when the stream has ended. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<(String, Option<RunEvent>)> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                // An event of a newer server is passed over rather than taken for a fault.
                let event = serde_json::from_str(&line).ok();
                return Some((line, event));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) | None => return None,
            }
        }
    }
}

/// A selection as the query of a plan.
pub(super) fn query(selection: &Selection) -> String {
    let join = |names: &[MachineName]| names.iter().map(MachineName::as_str).collect::<Vec<_>>().join(",");
    format!("only={}&except={}", join(&selection.only), join(&selection.except))
}
