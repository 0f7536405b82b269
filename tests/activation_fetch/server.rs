//! A stand-in for an ActivationWs server, on loopback, that answers as a test says.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use klonwerk::http::tls::Authority;
use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;

use crate::school::cid;

/// What a question gets.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// These bytes, then the end.
    Raw(Vec<u8>),
    /// Nothing, with the connection left open.
    Hang,
    /// Nothing, with the connection closed.
    Close,
}

impl Answer {
    pub(crate) fn body(status: u16, body: &str) -> Self {
        Self::with(status, "content-type: application/json\r\n", body)
    }

    fn with(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
        Self::Raw(format!("{head}{body}").into_bytes())
    }

    pub(crate) fn issued(n: usize, from_cache: bool) -> Self {
        let cid = cid(n as u64);
        Self::body(200, &format!(r#"{{"confirmationId":"{cid}","fromCache":{from_cache}}}"#))
    }

    pub(crate) fn problem(status: u16, code: Option<&str>) -> Self {
        let code = code.map(|code| format!(r#","errorCode":"{code}""#)).unwrap_or_default();
        let body = format!(r#"{{"type":"about:blank","title":"a title","status":{status},"detail":"words"{code}}}"#);
        Self::with(status, "content-type: application/problem+json\r\n", &body)
    }

    pub(crate) fn redirect(status: u16, to: &str) -> Self {
        Self::with(status, &format!("location: {to}/api/v1/activationservice/confirmation-id\r\n"), "")
    }

    pub(crate) fn elsewhere(status: u16) -> Self {
        Self::redirect(status, "http://127.0.0.1:9")
    }
}

#[derive(Debug, Default)]
struct Seen {
    asked: Mutex<Vec<Value>>,
    changed: Condvar,
    held: Mutex<Vec<TcpStream>>,
    over: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct Server {
    url: String,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one; `answer` gets the number of the question and the question.
    pub(crate) fn start(answer: impl Fn(usize, &Value) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Seen::default());
        let shared = seen.clone();
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if shared.over.load(Ordering::SeqCst) {
                    break;
                }
                // A client that went away is no matter here.
                let _ = serve(&shared, stream, &answer);
            }
        });
        Self { url, seen, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Every question that came whole, in order.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.seen.asked.lock().expect("a lock").clone()
    }

    pub(crate) fn wait_for_question(&self) {
        let asked = self.seen.asked.lock().expect("a lock");
        drop(self.seen.changed.wait_while(asked, |asked| asked.is_empty()).expect("a lock"));
    }

    /// An address at which nobody listens.
    pub(crate) fn into_closed_address(self) -> String {
        self.url.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::SeqCst);
        // Wakes the one that waits for the next client.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        for stream in self.seen.held.lock().expect("a lock").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            thread.join().expect("ended");
        }
    }
}

fn serve(seen: &Seen, mut stream: TcpStream, answer: &impl Fn(usize, &Value) -> Answer) -> std::io::Result<()> {
    let question = read_question(&mut BufReader::new(stream.try_clone()?))?;
    let number = {
        let mut asked = seen.asked.lock().expect("a lock");
        asked.push(question.clone());
        seen.changed.notify_all();
        asked.len() - 1
    };
    match answer(number, &question) {
        Answer::Raw(bytes) => {
            stream.write_all(&bytes)?;
            stream.shutdown(Shutdown::Write)?;
            // Until the client has read it and closed; otherwise it would get a reset.
            std::io::copy(&mut stream, &mut std::io::sink())?;
        }
        Answer::Hang => seen.held.lock().expect("a lock").push(stream),
        Answer::Close => {}
    }
    Ok(())
}

fn read_question(reader: &mut impl BufRead) -> std::io::Result<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    serde_json::from_slice(&body).map_err(std::io::Error::other)
}

/// The same behind TLS, with an authority of its own.
#[derive(Debug)]
pub(crate) struct Tls {
    url: String,
    folder: TempDir,
    requests: Arc<AtomicUsize>,
}

impl Tls {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let authority = Authority::open_or_create(&folder.path().join("own")).expect("an authority");
        Authority::open_or_create(&folder.path().join("other")).expect("an authority");
        let config = authority.server_config(&["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("TLS");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
        let requests = Arc::new(AtomicUsize::new(0));
        let count = requests.clone();
        // Ends with the test.
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let connection = ServerConnection::new(config.clone()).expect("TLS");
                let mut reader = BufReader::new(StreamOwned::new(connection, stream));
                if read_question(&mut reader).is_ok() {
                    let n = count.fetch_add(1, Ordering::SeqCst);
                    let Answer::Raw(bytes) = Answer::issued(n, false) else { continue };
                    let stream = reader.get_mut();
                    let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
                    stream.conn.send_close_notify();
                    let _ = stream.conn.complete_io(&mut stream.sock);
                }
            }
        });
        Self { url, folder, requests }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn certificate(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        let entries = std::fs::read_dir(&folder).expect("folder").map(|entry| entry.expect("entry").path());
        let holds = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.contains("BEGIN CERTIFICATE"));
        entries.into_iter().find(holds).expect("a certificate")
    }

    pub(crate) fn own_authority(&self) -> &'static Path {
        Box::leak(self.certificate("own").into_boxed_path())
    }

    pub(crate) fn other_authority(&self) -> &'static Path {
        Box::leak(self.certificate("other").into_boxed_path())
    }
}
