//! Boot files over plain HTTP, with requests as loaders send them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use klonwerk::boot::files::{BootScripts, BootShelf, directory};
use klonwerk::http::boot_files::router;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct OneScript;

impl BootScripts for OneScript {
    fn script(&self, name: &str) -> Option<Arc<[u8]>> {
        (name == "ipxe/52-54-00-77-00-01.ipxe").then(|| Arc::from(&b"#!ipxe\nexit\n"[..]))
    }
}

struct Running {
    address: SocketAddr,
    cancel: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
    folder: tempfile::TempDir,
}

impl Running {
    fn start(fill: impl FnOnce(&std::path::Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path());
        let shelf = Arc::new(BootShelf::new(directory::scan(folder.path(), None).unwrap(), Arc::new(OneScript)));
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let (ready, address) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                let server = axum::serve(listener, router(shelf));
                server.with_graceful_shutdown(stop.cancelled_owned()).await.unwrap();
            });
        });
        Self { address: address.recv().unwrap(), cancel, thread: Some(thread), folder }
    }

    fn school() -> Self {
        Self::start(|folder| {
            fs::create_dir_all(folder.join("Boot")).unwrap();
            fs::create_dir_all(folder.join("t")).unwrap();
            fs::write(folder.join("Boot/BCD"), b"bcd").unwrap();
            fs::write(folder.join("t/grubx64.efi"), content(300_000)).unwrap();
            fs::write(folder.join("empty"), b"").unwrap();
        })
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn ask(&self, line: &str, headers: &str) -> Answer {
        let mut stream = self.connect();
        write!(stream, "{line} HTTP/1.1\r\nHost: 10.77.0.1\r\nConnection: close\r\n{headers}\r\n").unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let split = all.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(all[..split].to_vec()).unwrap().to_lowercase();
        Answer { status: head[9..12].parse().unwrap(), head, body: all[split + 4..].to_vec() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

/// UEFI HTTP Boot sends HEAD, then GET, and wants the exact size in both.
#[test]
fn head_and_get_agree() {
    let server = Running::school();
    for path in ["/t/grubx64.efi", "/T//GRUBX64.EFI", "//t/grubx64.efi", "/boot/t/grubx64.efi"] {
        let head = server.ask(&format!("HEAD {path}"), "User-Agent: UefiHttpBoot/1.0\r\n");
        let get = server.ask(&format!("GET {path}"), "User-Agent: UefiHttpBoot/1.0\r\n");
        assert_eq!((head.status, get.status), (200, 200), "{path}");
        assert!(head.body.is_empty() && get.body == content(300_000));
        for name in ["content-length", "content-type", "etag", "last-modified", "accept-ranges"] {
            assert!(head.header(name).is_some() && head.header(name) == get.header(name), "{path} {name}");
        }
        assert_eq!(get.header("content-length"), Some("300000"));
        assert_eq!(get.header("content-type"), Some("application/efi"));
        assert_eq!(get.header("transfer-encoding"), None);
    }
    let empty = server.ask("GET /empty", "");
    assert_eq!((empty.status, empty.header("content-length")), (200, Some("0")));
}

#[test]
fn a_broken_download_is_resumed() {
    let server = Running::school();
    let whole = server.ask("GET /t/grubx64.efi", "");
    let (tag, date) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    for condition in [format!("If-Match: {tag}"), format!("If-Range: {tag}"), format!("If-Unmodified-Since: {date}")] {
        let rest = server.ask("GET /t/grubx64.efi", &format!("Range: bytes=200000-\r\n{condition}\r\n"));
        assert_eq!(rest.status, 206, "{condition}");
        assert_eq!(rest.header("content-range"), Some("bytes 200000-299999/300000"));
        assert_eq!(rest.header("content-length"), Some("100000"));
        assert!(rest.body == content(300_000)[200_000..]);
    }
    let changed = server.ask("GET /t/grubx64.efi", "Range: bytes=200000-\r\nIf-Match: \"other\"\r\n");
    assert_eq!((changed.status, changed.body.len()), (412, 0));
    let anew = server.ask("GET /t/grubx64.efi", "Range: bytes=200000-\r\nIf-Range: \"other\"\r\n");
    assert_eq!((anew.status, anew.body.len()), (200, 300_000));
    let behind = server.ask("GET /t/grubx64.efi", "Range: bytes=300000-\r\n");
    assert_eq!((behind.status, behind.header("content-range")), (416, Some("bytes */300000")));
    let several = server.ask("GET /t/grubx64.efi", "Range: bytes=0-1,4-5\r\n");
    assert_eq!((several.status, several.body.len()), (200, 300_000));
    let known = server.ask("GET /t/grubx64.efi", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((known.status, known.body.len()), (304, 0));
}

#[test]
fn scripts_and_native_names_are_found_and_the_rest_is_not() {
    let server = Running::school();
    let script = server.ask("GET /boot/ipxe/52-54-00-77-00-01.ipxe", "");
    assert_eq!((script.status, script.body.as_slice()), (200, &b"#!ipxe\nexit\n"[..]));
    assert_eq!(script.header("content-type"), Some("text/plain; charset=utf-8"));
    for path in ["/Boot/BCD", "/boot/Boot/BCD", "/Boot%5CBCD", "/%42oot/bcd"] {
        assert_eq!(server.ask(&format!("GET {path}"), "").body, b"bcd", "{path}");
    }
    let outside = server.folder.path().join("../etc/passwd");
    for path in ["/", "/boot", "/boot/", "/Boot/../Boot/BCD", "/..%2f..%2fetc/passwd", "/%2e%2e/x", "/a%00b", "/%zz"] {
        let answer = server.ask(&format!("GET {path}"), "");
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{path} {outside:?}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = server.ask(&format!("{method} /Boot/BCD"), "Content-Length: 0\r\n");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("get, head")), "{method}");
    }
    assert_eq!(server.ask(&format!("GET /{}", "a".repeat(2000)), "").status, 414);
}

#[test]
fn one_connection_serves_many_requests() {
    let server = Running::school();
    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /Boot/BCD HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nbcd") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
    }
}

fn resident(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_large_file_is_sent_with_little_memory() {
    const LEN: u64 = 400 << 20;
    let server = Running::start(|folder| File::create(folder.join("boot.wim")).unwrap().set_len(LEN).unwrap());
    let before = resident("VmRSS");
    let mut stream = server.connect();
    stream.write_all(b"GET /boot.wim HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let (mut total, mut piece) = (0, vec![0; 1 << 20]);
    loop {
        match stream.read(&mut piece).unwrap() {
            0 => break,
            read => total += read as u64,
        }
    }
    assert!(total > LEN);
    let grown = resident("VmHWM").saturating_sub(before);
    assert!(grown < 64 << 20, "grew by {grown} bytes");
}

#[test]
fn a_file_that_was_shortened_breaks_the_download_off() {
    let server = Running::school();
    let file = fs::OpenOptions::new().write(true).open(server.folder.path().join("t/grubx64.efi")).unwrap();
    file.set_len(1000).unwrap();
    let answer = server.ask_broken("GET /t/grubx64.efi");
    assert!(answer.len() < 300_000, "the size that was promised must not be filled up");
}

impl Running {
    /// Reads what comes, whether the connection ends well or not.
    fn ask_broken(&self, line: &str) -> Vec<u8> {
        let mut stream = self.connect();
        write!(stream, "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut all = Vec::new();
        let _reset_or_end = stream.read_to_end(&mut all);
        all
    }
}
