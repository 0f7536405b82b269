//! Questions to an ActivationWs server over HTTPS. One question, one connection, one answer: nothing is sent twice, no
//! redirection is followed, no proxy is used.

use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::SendBody;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use zeroize::Zeroizing;

use crate::activation::activation_ws::{
    AddressError, ConfirmationService, MOST_ANSWER_BYTES, Question, Reply, endpoint, read,
};

/// Debian's list of authorities (package ca-certificates).
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The largest list of authorities, in bytes.
const MOST_PEM_BYTES: u64 = 4 << 20;

/// Why a server cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address for it.
    #[error("'{url}' cannot be asked")]
    Address {
        /// What was given.
        url: String,
        /// Why.
        #[source]
        source: AddressError,
    },
    /// The certificates of its authority cannot be read.
    #[error("the authorities in {} cannot be read; name the right file as `ca_file`, or install the package ca-certificates", .path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// How long the server is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the connection, encryption included.
    pub connect: Duration,
    /// For the whole answer. Microsoft behind it takes its time, and an answer that comes too late is one that nobody knows.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), answer: Duration::from_secs(180) }
    }
}

/// A server that can be asked.
#[derive(Debug, Clone)]
pub struct ActivationWs {
    http: ureq::Agent,
    endpoint: String,
}

impl ActivationWs {
    /// Prepares questions to the server at `url`. Its certificate has to come from an authority of `ca_file`, or of this
    /// system. Nothing is sent yet.
    ///
    /// # Errors
    /// When the address is none, or the authorities cannot be read.
    pub fn new(url: &str, allow_http: bool, ca_file: Option<&Path>, patience: Patience) -> Result<Self, ClientError> {
        let endpoint =
            endpoint(url, allow_http).map_err(|source| ClientError::Address { url: url.to_owned(), source })?;
        let mut tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        if endpoint.starts_with("https://") {
            let roots = authorities(ca_file.unwrap_or(Path::new(SYSTEM_AUTHORITIES)))?;
            tls = tls.root_certs(RootCerts::Specific(Arc::new(roots)));
        }
        let http = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .proxy(None)
            .timeout_connect(Some(patience.connect))
            .timeout_send_body(Some(patience.connect))
            .timeout_recv_response(Some(patience.answer))
            .timeout_recv_body(Some(patience.answer))
            .user_agent(concat!("klonwerk/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { http, endpoint })
    }
}

impl ConfirmationService for ActivationWs {
    fn ask(&self, question: &Question) -> Reply {
        let body = match serde_json::to_vec(question) {
            Ok(body) => body,
            Err(error) => return Reply::NotAsked { why: error.to_string() },
        };
        let length = body.len().to_string();
        let mut body = Watched { bytes: Cursor::new(body), taken: false };
        let request = self.http.post(&self.endpoint);
        let request = request.header("content-type", "application/json").header("content-length", length);
        let sent = request.header("accept", "application/json").send(SendBody::from_reader(&mut body));
        let mut response = match sent {
            Ok(response) => response,
            // Without its body no server can have taken the question for one.
            Err(error) if !body.taken => return Reply::NotAsked { why: why(&error) },
            Err(error) => return Reply::Unclear { why: why(&error) },
        };
        let status = response.status().as_u16();
        match response.body_mut().with_config().limit(MOST_ANSWER_BYTES).read_to_vec() {
            Ok(answer) => read(status, &Zeroizing::new(answer)),
            Err(error) => Reply::Unclear { why: why(&error) },
        }
    }
}

/// The body of a question, which knows whether any of it was taken to be sent.
struct Watched {
    bytes: Cursor<Vec<u8>>,
    taken: bool,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.taken = true;
        self.bytes.read(buffer)
    }
}

/// The error with its causes. The library's own words hold addresses and never what was sent or received.
fn why(error: &ureq::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, ClientError> {
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| ClientError::Authorities { path: path.to_owned(), source };
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.into()))?;
    file.take(MOST_PEM_BYTES).read_to_end(&mut pem).map_err(|error| failed(error.into()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| failed(error.into()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(failed("there is no certificate in it".into()));
    }
    Ok(found)
}
