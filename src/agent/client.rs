//! The agent's side of the protocol: HTTPS to a server whose authority has a known fingerprint.
//!
//! The pin that boot files carry is the SHA-256 of the server's self-made authority certificate. The first handshake
//! fetches that certificate and compares it with the pin; every connection afterwards trusts this authority and nothing
//! else. A server that is away is asked again until [`Patience`] runs out, since it may just be restarting.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::activation::hook::ConfirmationAnswer;
use crate::agent::imaging::{Declined, ImageSource, PackedLeaf, SourceError};
use crate::agent::protocol::{
    CheckIn, CheckInAnswer, ConfirmationRefused, ConfirmationWanted, FRAME_HEAD, GroupsWanted, HookResult,
    ImagingReport, LeavesWanted, MAX_GROUPS_PER_REQUEST, MAX_LEAVES_PER_REQUEST, Refusal, WindowsCheckIn, WindowsWork,
};
use crate::image::manifest::{ManifestError, SignedHead};
use crate::image::{GROUP_LEAVES, Hash};
use crate::secret::Secret;

/// Why the server could not be reached or did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address of the form `https://HOST:PORT`.
    #[error("'{0}' is not a server address; write https://HOST:PORT")]
    Address(String),
    /// No connection, for as long as patience lasted.
    #[error("the server {server} does not answer")]
    Unreachable {
        /// Its address.
        server: String,
        /// The last fault.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody answers who is not our server.
    #[error("{server} is not the server with fingerprint {pin}; nothing was sent to it")]
    Pin {
        /// Its address.
        server: String,
        /// The fingerprint that was expected.
        pin: Hash,
    },
    /// The server understood and refused.
    #[error("the server refused ({status}): {why}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its words.
        why: String,
    },
    /// The answer makes no sense.
    #[error("the server's answer to {what} cannot be read")]
    Answer {
        /// What was asked.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An image part does not fit its signature.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// How long a server that is away is asked again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The whole time.
    pub total: Duration,
    /// The first pause; each further one is half as long again, up to five seconds.
    pub first_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { total: Duration::from_secs(600), first_pause: Duration::from_millis(250) }
    }
}

/// A connection to the server.
#[derive(Debug, Clone)]
pub struct Client {
    http: ureq::Agent,
    server: String,
    bearer: Option<Secret<String>>,
    patience: Patience,
    fetched: Arc<AtomicU64>,
}

impl Client {
    /// Finds out whether `server` has the authority `pin`, and prepares connections that trust it alone.
    pub fn connect(server: &str, pin: &Hash, patience: Patience) -> Result<Self, ClientError> {
        let authority = retry(patience, server, || fetch_authority(server, pin))?;
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(vec![Certificate::from_der(&authority).to_owned()])))
            .build();
        let http = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .timeout_per_write(Some(Duration::from_secs(60)))
            .user_agent(concat!("klonwerk-agent/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let server = server.trim_end_matches('/').to_owned();
        Ok(Self { http, server, bearer: None, patience, fetched: Arc::default() })
    }

    /// The same connection with a session or hook credential.
    pub fn with_bearer(&self, token: &str) -> Self {
        Self { bearer: Some(Secret::new(token.to_owned())), fetched: Arc::default(), ..self.clone() }
    }

    /// Bytes of answers received so far on this session.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Says hello from the boot environment.
    pub fn check_in(&self, hello: &CheckIn) -> Result<CheckInAnswer, ClientError> {
        self.json("the check-in", "check-in", hello)
    }

    /// Reports progress, the end or a failure of the imaging.
    pub fn report(&self, report: &ImagingReport) -> Result<(), ClientError> {
        self.json("a report", "report", report)
    }

    /// Says hello from inside Windows.
    pub fn windows_check_in(&self, hello: &WindowsCheckIn) -> Result<WindowsWork, ClientError> {
        self.json("the check-in from Windows", "windows/check-in", hello)
    }

    /// Records how a hook ended.
    pub fn hook_result(&self, index: u32, result: &HookResult) -> Result<(), ClientError> {
        self.json("a hook's result", &format!("windows/hooks/{index}"), result)
    }

    /// Asks for a confirmation ID.
    pub fn confirmation(&self, wanted: &ConfirmationWanted) -> Result<ConfirmationAnswer, ClientError> {
        self.json("a confirmation ID", "windows/confirmation", wanted)
    }

    /// Tells that a stored pair no longer fits this PC.
    pub fn confirmation_refused(&self, refused: &ConfirmationRefused) -> Result<(), ClientError> {
        self.json("a refused confirmation ID", "windows/confirmation/refused", refused)
    }

    /// Fetches an image's signed head; the caller verifies it.
    pub fn head(&self, root: &Hash) -> Result<SignedHead, ClientError> {
        let bytes = self.bytes("the image's head", &format!("images/{root}/head"), None::<&()>)?;
        Ok(SignedHead::decode(&bytes)?)
    }

    fn json<T: DeserializeOwned>(
        &self,
        what: &'static str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let bytes = self.bytes(what, path, Some(body))?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Answer { what, source: source.into() })
    }

    fn bytes(&self, what: &'static str, path: &str, body: Option<&impl Serialize>) -> Result<Vec<u8>, ClientError> {
        retry(self.patience, &self.server, || {
            let mut response = self.send(path, body)?;
            let bytes = response.body_mut().with_config().limit(1 << 30).read_to_vec().map_err(Trouble::passing)?;
            self.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            check(what, response.status().as_u16(), &bytes)?;
            Ok(bytes)
        })
    }

    fn send(&self, path: &str, body: Option<&impl Serialize>) -> Result<ureq::http::Response<ureq::Body>, Trouble> {
        let url = format!("{}/agent/v1/{path}", self.server);
        let bearer = self.bearer.as_ref().map(|token| format!("Bearer {}", token.expose()));
        let sent = match body {
            Some(body) => {
                let mut request = self.http.post(&url);
                if let Some(bearer) = &bearer {
                    request = request.header("authorization", bearer);
                }
                request.send_json(body)
            }
            None => {
                let mut request = self.http.get(&url);
                if let Some(bearer) = &bearer {
                    request = request.header("authorization", bearer);
                }
                request.call()
            }
        };
        sent.map_err(Trouble::passing)
    }
}

fn check(what: &'static str, status: u16, bytes: &[u8]) -> Result<(), Trouble> {
    if (200..300).contains(&status) {
        return Ok(());
    }
    let why =
        serde_json::from_slice::<Refusal>(bytes).map_or_else(|_| format!("no reason given for {what}"), |r| r.error);
    let refused = ClientError::Refused { status, why };
    // A server that is starting, stopping or out of breath says so with 5xx and 429; anything else is its last word.
    if status >= 500 || status == 429 { Err(Trouble::Passing(refused.into())) } else { Err(Trouble::Final(refused)) }
}

/// A fault of one try: worth another, or not.
enum Trouble {
    Passing(Box<dyn std::error::Error + Send + Sync>),
    Final(ClientError),
}

impl Trouble {
    fn passing(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Passing(error.into())
    }
}

fn retry<T>(patience: Patience, server: &str, mut work: impl FnMut() -> Result<T, Trouble>) -> Result<T, ClientError> {
    let start = Instant::now();
    let mut pause = patience.first_pause;
    loop {
        match work() {
            Ok(value) => return Ok(value),
            Err(Trouble::Final(error)) => return Err(error),
            Err(Trouble::Passing(source)) => {
                if start.elapsed() + pause > patience.total {
                    return Err(ClientError::Unreachable { server: server.to_owned(), source });
                }
                tracing::debug!(server, error = %source, "asking again");
                std::thread::sleep(pause);
                pause = (pause * 3 / 2).min(Duration::from_secs(5));
            }
        }
    }
}

fn fetch_authority(server: &str, pin: &Hash) -> Result<Vec<u8>, Trouble> {
    let (host, port) = split_address(server).ok_or_else(|| Trouble::Final(ClientError::Address(server.to_owned())))?;
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| Trouble::Final(ClientError::Address(server.to_owned())))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Trouble::passing)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinVerifier { pin: *pin, provider }))
        .with_no_client_auth();
    let mut tls = ClientConnection::new(Arc::new(config), name).map_err(Trouble::passing)?;
    let address = (host, port).to_socket_addrs().map_err(Trouble::passing)?.next();
    let address = address.ok_or_else(|| Trouble::Final(ClientError::Address(server.to_owned())))?;
    let mut tcp = TcpStream::connect_timeout(&address, Duration::from_secs(10)).map_err(Trouble::passing)?;
    tcp.set_read_timeout(Some(Duration::from_secs(10))).map_err(Trouble::passing)?;
    tcp.set_write_timeout(Some(Duration::from_secs(10))).map_err(Trouble::passing)?;
    while tls.is_handshaking() {
        if let Err(error) = tls.complete_io(&mut tcp) {
            return Err(match error.downcast::<rustls::Error>() {
                Ok(rustls::Error::InvalidCertificate(_)) => {
                    Trouble::Final(ClientError::Pin { server: server.to_owned(), pin: *pin })
                }
                Ok(other) => Trouble::passing(other),
                Err(io) => Trouble::passing(io),
            });
        }
    }
    let authority = tls.peer_certificates().into_iter().flatten().find(|c| Hash::of(c) == *pin).map(|c| c.to_vec());
    tls.send_close_notify();
    if let Err(error) = tls.write_tls(&mut tcp).and_then(|_| tcp.flush()) {
        tracing::debug!(%error, "the first connection did not close in peace");
    }
    authority.ok_or_else(|| Trouble::Final(ClientError::Pin { server: server.to_owned(), pin: *pin }))
}

fn split_address(server: &str) -> Option<(&str, u16)> {
    let rest = server.strip_prefix("https://")?.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.contains(']') => (host, port.parse().ok()?),
        _ => (rest, 443),
    };
    Some((host.trim_start_matches('[').trim_end_matches(']'), port))
}

/// Accepts a chain if the pinned authority is in it and the server proves that it holds the first certificate's key. Used
/// for the first connection only, which sends nothing; the connections after it verify the whole chain.
#[derive(Debug)]
struct PinVerifier {
    pin: Hash,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if intermediates.iter().any(|certificate| Hash::of(certificate) == self.pin) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// An image on the server, as a source of leaves.
#[derive(Debug, Clone)]
pub struct RemoteImage {
    client: Client,
    root: Hash,
}

impl RemoteImage {
    /// The image with this root, fetched over `client`'s session.
    pub fn new(client: &Client, root: Hash) -> Self {
        Self { client: client.clone(), root }
    }

    fn stream(&self, left: &mut BTreeMap<u64, Hash>, sink: Sink<'_>) -> Result<(), Interrupted> {
        let leaves: Vec<u64> = left.keys().copied().take(MAX_LEAVES_PER_REQUEST).collect();
        let path = format!("images/{}/leaves", self.root);
        let mut response = self.client.send(&path, Some(&LeavesWanted { leaves })).map_err(Interrupted::Trouble)?;
        let status = response.status().as_u16();
        let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
        if status != 200 {
            let mut text = Vec::new();
            body.by_ref().take(4096).read_to_end(&mut text).map_err(|e| Interrupted::Trouble(Trouble::passing(e)))?;
            check("leaves", status, &text).map_err(Interrupted::Trouble)?;
        }
        let mut head = [0; FRAME_HEAD];
        loop {
            match body.read_exact(&mut head) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(Interrupted::Trouble(Trouble::passing(error))),
            }
            let (index, raw_len, len) = split_head(&head);
            if len > 4 << 20 {
                return Err(Interrupted::Trouble(Trouble::passing(format!("a leaf of {len} compressed bytes"))));
            }
            let mut zstd = vec![0; len as usize];
            body.read_exact(&mut zstd).map_err(|e| Interrupted::Trouble(Trouble::passing(e)))?;
            self.client.fetched.fetch_add(FRAME_HEAD as u64 + u64::from(len), Ordering::Relaxed);
            if left.remove(&index).is_some() {
                sink(index, PackedLeaf { raw_len, zstd }).map_err(Interrupted::Declined)?;
            }
        }
    }
}

type Sink<'a> = &'a mut dyn FnMut(u64, PackedLeaf) -> Result<(), Declined>;

enum Interrupted {
    Trouble(Trouble),
    Declined(Declined),
}

fn split_head(head: &[u8; FRAME_HEAD]) -> (u64, u32, u32) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *head;
    (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u32::from_le_bytes([i, j, k, l]), u32::from_le_bytes([m, n, o, p]))
}

impl RemoteImage {
    fn failed(&self, what: &'static str) -> impl FnOnce(ClientError) -> SourceError {
        let from = self.client.server.clone();
        move |source| SourceError::Failed { what, from, source: Box::new(source) }
    }
}

impl ImageSource for RemoteImage {
    fn mask(&self) -> Result<Vec<u8>, SourceError> {
        let path = format!("images/{}/mask", self.root);
        self.client.bytes("the mask", &path, None::<&()>).map_err(self.failed("mask"))
    }

    fn leaf_hashes(&self, groups: &[u64]) -> Result<Vec<Vec<Hash>>, SourceError> {
        let mut out = Vec::with_capacity(groups.len());
        for groups in groups.chunks(MAX_GROUPS_PER_REQUEST) {
            let wanted = GroupsWanted { groups: groups.to_vec() };
            let path = format!("images/{}/groups", self.root);
            let bytes = self.client.bytes("leaf hashes", &path, Some(&wanted)).map_err(self.failed("leaf hashes"))?;
            let all: Vec<Hash> = bytes.as_chunks::<32>().0.iter().map(|chunk| Hash(*chunk)).collect();
            let mut rest = all.as_slice();
            for _ in groups {
                // The last group of an image may be shorter; whether the lengths are right, its signed hash tells.
                let (group, tail) = rest.split_at(rest.len().min(GROUP_LEAVES as usize));
                out.push(group.to_vec());
                rest = tail;
            }
        }
        Ok(out)
    }

    fn leaves(&self, wanted: &[(u64, Hash)], sink: Sink<'_>) -> Result<(), SourceError> {
        let mut left: BTreeMap<u64, Hash> = wanted.iter().copied().collect();
        while !left.is_empty() {
            let mut declined = None;
            let before = left.len();
            let done = retry(self.client.patience, &self.client.server, || match self.stream(&mut left, sink) {
                Ok(()) => Ok(()),
                Err(Interrupted::Trouble(trouble)) => Err(trouble),
                Err(Interrupted::Declined(reason)) => {
                    declined = Some(reason);
                    Ok(())
                }
            });
            if let Some(reason) = declined {
                return Err(reason.into());
            }
            done.map_err(self.failed("leaves"))?;
            if left.len() == before {
                return Err(SourceError::Absent { what: "leaves", from: self.client.server.clone() });
            }
        }
        Ok(())
    }

    fn fetched(&self) -> u64 {
        self.client.fetched()
    }
}
