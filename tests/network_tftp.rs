//! Boot files in a real network: curl, busybox, atftp and tftp-hpa fetch what firmware, iPXE and the Microsoft loaders
//! would fetch, byte for byte, over TFTP and HTTP.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "roles speak to the test by their output")]
#![expect(clippy::print_stderr, reason = "a failing test shows what the server saw")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use klonwerk::boot::RunTicket;
use klonwerk::boot::files::{BootScripts, BootShelf, directory};
use klonwerk::boot::script::{self, Script, ScriptServer};
use klonwerk::profile::BootEnvironment;
use klonwerk::room::{Language, Mac};
use klonwerk::tftp::{Limits, Outcome};
use klonwerk::tftp_server::{Config, Server, TransferEvent};
use tokio_util::sync::CancellationToken;

use crate::netns::{Lab, Node, Running};

#[path = "lab/netns.rs"]
mod netns;

const OURS: &str = "10.77.0.5";
const WEB: &str = "http://10.77.0.5:8080";
const MAC: &str = "52:54:00:77:00:01";

/// The folder of boot files that a copy of this test program serves inside a namespace.
const FOLDER: &str = "KLONWERK_TEST_BOOT_FOLDER";

/// The files that a school brings for WinPE (`pxe/README.md`), all in one folder, and a few in folders of their own.
const FILES: [(&str, usize); 9] = [
    ("wimboot", 70_001),
    ("boot.wim", 9_000_011),
    ("BCD", 16_384),
    ("boot.sdi", 3_170_304),
    ("klonwerk.exe", 2_000_000),
    ("snponly.efi", 284_672),
    ("t/grubx64.efi", 1_468 * 100),
    ("PXE/bootmgr.exe", 700_123),
    ("empty", 0),
];

fn content(seed: usize, len: usize) -> Vec<u8> {
    (0..len as u32).map(|index| ((index + seed as u32).wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

fn bring(folder: &Path) {
    for (seed, (name, len)) in FILES.iter().enumerate() {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content(seed, *len)).unwrap();
    }
}

fn brought(name: &str) -> Vec<u8> {
    let seed = FILES.iter().position(|(file, _)| *file == name).unwrap();
    content(seed, FILES[seed].1)
}

/// One machine with a run that boots WinPE.
#[derive(Debug)]
struct OneMachine;

impl OneMachine {
    fn server() -> ScriptServer {
        ScriptServer {
            base_url: WEB.to_owned(),
            agent_url: format!("https://{OURS}:8443"),
            pin: "ab".repeat(32),
            language: Language::En,
        }
    }
}

impl BootScripts for OneMachine {
    fn script(&self, name: &str) -> Option<Arc<[u8]>> {
        let mac: Mac = MAC.parse().unwrap();
        let ticket = RunTicket { run: 17, language: Language::En };
        let folder = format!("boot/winpe/{}/", mac.dashed());
        let text = if name == script::path(mac).trim_start_matches('/') {
            let script = Script::Environment {
                machine: "R101-01".parse().unwrap(),
                environment: BootEnvironment::Winpe,
                ticket,
            };
            script::render(&script, &Self::server(), mac).unwrap()
        } else {
            match name.strip_prefix(&folder)? {
                "winpeshl.ini" => script::winpeshl().unwrap(),
                "klonwerk.ini" => {
                    let start = script::start_parameters(&Self::server(), &ticket, mac).unwrap();
                    script::klonwerk_ini(&start).unwrap()
                }
                _ => return None,
            }
        };
        Some(text.into_bytes().into())
    }
}

#[test]
#[ignore = "a part of the other tests, which start it inside a namespace"]
fn serve_boot_files() {
    let folder = std::env::var(FOLDER).expect("only for the other tests");
    let shelf = Arc::new(BootShelf::new(directory::scan(folder.as_ref(), None).unwrap(), Arc::new(OneMachine)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = Config {
            listen: format!("{OURS}:69").parse().unwrap(),
            limits: Limits::default(),
            ports: Some(20_000..=20_099),
        };
        let observer = Arc::new(|event: TransferEvent| match event {
            TransferEvent::Ended { name, outcome, totals, .. } => {
                let verdict = if outcome == Outcome::Completed { "completed" } else { "FAILED" };
                println!("{verdict} {name} {outcome} {totals:?}");
            }
            other => println!("{other:?}"),
        });
        let server = Server::bind(config, shelf.clone(), observer).await.unwrap();
        let listener = tokio::net::TcpListener::bind(WEB.trim_start_matches("http://")).await.unwrap();
        println!("answering at {}", server.local_addr());
        let cancel = CancellationToken::new();
        let until = cancel.clone();
        std::thread::spawn(move || {
            std::io::stdin().lines().for_each(drop);
            until.cancel();
        });
        let web = axum::serve(listener, klonwerk::http::boot_files::router(shelf));
        tokio::select! {
            () = server.run(cancel) => {}
            ended = web.into_future() => ended.unwrap(),
        }
    });
}

struct School {
    pc: Node,
    server: Running,
    folder: tempfile::TempDir,
    _lab: Lab,
}

impl School {
    fn open(tools: &[&str]) -> Option<Self> {
        let mut lab = Lab::new(tools)?;
        let folder = tempfile::tempdir().unwrap();
        let boot = folder.path().join("boot");
        bring(&boot);
        let node = lab.plug("server", None, Some("10.77.0.5/24"));
        let pc = lab.plug("pc", Some(MAC), Some("10.77.0.20/24"));
        let mut command: Command = node.command(std::env::current_exe().unwrap());
        command.args(["--exact", "serve_boot_files", "--ignored", "--nocapture"]).env(FOLDER, &boot);
        let mut server = node.start(command);
        server.wait_for("server", |line| line.contains("answering").then_some(()));
        Some(Self { pc, server, folder, _lab: lab })
    }

    /// Runs a client that writes to the file `got`, and gives what it wrote.
    fn fetched(&self, program: &str, args: &[&str]) -> Vec<u8> {
        let got = self.folder.path().join("got");
        let _not_there_yet = fs::remove_file(&got);
        let args: Vec<_> = args.iter().map(|arg| arg.replace("GOT", got.to_str().unwrap())).collect();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let heard = self.pc.must("timeout", &[&["60", program], args.as_slice()].concat());
        fs::read(got).unwrap_or_else(|error| {
            eprintln!("{heard}");
            panic!("{program} {args:?}: {error}")
        })
    }

    /// The server says that the transfer which a client just had was complete, and how many packets it repeated.
    fn completed(&mut self) {
        self.server.wait_for("completed transfer", |line| {
            assert!(!line.contains("FAILED"), "{line}");
            line.contains("completed").then_some(())
        });
    }
}

impl Drop for School {
    /// The end of its input ends the server.
    fn drop(&mut self) {
        drop(self.server.stdin.take());
    }
}

/// The spellings of one file by which loaders ask.
const SPELLINGS: [(&str, &str); 8] = [
    ("boot.wim", "boot.wim"),
    ("\\sources\\BOOT.WIM", "boot.wim"),
    ("\\Boot\\BCD", "BCD"),
    ("EFI\\Microsoft\\Boot\\BCD", "BCD"),
    ("/boot//boot.sdi", "boot.sdi"),
    ("boot/wimboot", "wimboot"),
    ("T\\grubx64.EFI", "t/grubx64.efi"),
    ("pxe/bootmgr.exe", "PXE/bootmgr.exe"),
];

#[test]
fn curl_fetches_each_spelling() {
    let Some(mut school) = School::open(&["curl"]) else { return };
    for (asked, file) in SPELLINGS {
        for block_size in ["512", "1468", "8192"] {
            let url = format!("tftp://{OURS}/{}", asked.replace('\\', "%5C"));
            let got = school.fetched("curl", &["-sS", "--tftp-blksize", block_size, "-o", "GOT", &url]);
            assert!(got == brought(file), "{asked} {block_size}");
            school.completed();
        }
    }
    let plain =
        school.fetched("curl", &["-sS", "--tftp-no-options", "-o", "GOT", &format!("tftp://{OURS}/snponly.efi")]);
    assert!(plain == brought("snponly.efi"));
    let missing = school.pc.run("curl", &["-sS", "--max-time", "20", &format!("tftp://{OURS}/autoexec.ipxe")]);
    assert_eq!(missing.status.code(), Some(68), "curl's own number for file not found");
    let write = school.pc.run("curl", &["-sS", "--max-time", "20", "-T", "/etc/hostname", &format!("tftp://{OURS}/x")]);
    assert_eq!(write.status.code(), Some(69), "curl's own number for access violation");
}

#[test]
fn atftp_fetches_each_spelling_with_and_without_windows() {
    let Some(mut school) = School::open(&["atftp"]) else { return };
    for (asked, file) in SPELLINGS {
        for window in ["1", "4", "16", "64"] {
            let (size, window) = ("blksize 1468", format!("windowsize {window}"));
            let args = ["--get", "-r", asked, "-l", "GOT", "--option", size, "--option", &window, OURS, "69"];
            assert!(school.fetched("atftp", &args) == brought(file), "{asked} {window}");
            school.completed();
        }
    }
}

#[test]
fn tftp_hpa_fetches_each_spelling() {
    let Some(mut school) = School::open(&["tftp"]) else { return };
    for (asked, file) in SPELLINGS {
        assert!(school.fetched("tftp", &["-m", "binary", OURS, "-c", "get", asked, "GOT"]) == brought(file), "{asked}");
        school.completed();
    }
}

#[test]
fn busybox_fetches_each_spelling() {
    let Some(mut school) = School::open(&["busybox"]) else { return };
    for (asked, file) in SPELLINGS {
        for size in ["512", "1468", "65464"] {
            let got = school.fetched("busybox", &["tftp", "-g", "-b", size, "-r", asked, "-l", "GOT", OURS]);
            assert!(got == brought(file), "{asked} {size}");
            school.completed();
        }
    }
}

/// What iPXE does: fetches the machine's script, and every file that the script names.
#[test]
fn the_winpe_script_and_every_file_that_it_names_arrive() {
    let Some(school) = School::open(&["curl"]) else { return };
    let script = format!("{WEB}{}", script::path(MAC.parse().unwrap()));
    let script = String::from_utf8(school.fetched("curl", &["-fsS", "-o", "GOT", &script])).unwrap();
    assert!(script.starts_with("#!ipxe\n# R101-01, run 17"), "{script}");
    let mut named = 0;
    for url in script.split_whitespace().filter(|word| word.starts_with(WEB) && !word.ends_with(".ipxe")) {
        let path = url.strip_prefix(WEB).unwrap();
        let over_http = school.fetched("curl", &["-fsS", "-o", "GOT", url]);
        let over_tftp =
            school.fetched("curl", &["-sS", "--tftp-blksize", "1468", "-o", "GOT", &format!("tftp://{OURS}{path}")]);
        let name = path.strip_prefix("/boot/").unwrap();
        if name.starts_with("winpe/") {
            assert!(over_http.windows(2).any(|pair| pair == b"\r\n"), "{url} is a file for Windows");
        } else {
            assert!(over_http == brought(name), "{url}");
        }
        assert!(over_http == over_tftp, "{url}");
        named += 1;
    }
    assert_eq!(named, 7, "{script}");
}

/// What UEFI HTTP Boot and a broken download need.
#[test]
fn http_tells_sizes_and_sends_parts() {
    let Some(school) = School::open(&["curl"]) else { return };
    let url = format!("{WEB}/snponly.efi");
    let head = school.pc.must("curl", &["-fsSI", "-A", "UefiHttpBoot/1.0", &url]).to_lowercase();
    assert!(
        head.contains("content-length: 284672\r\n") && head.contains("content-type: application/efi\r\n"),
        "{head}"
    );
    let wim = format!("{WEB}/sources/boot.wim");
    let part = school.fetched("curl", &["-fsS", "-r", "1000000-1999999", "-o", "GOT", &wim]);
    assert!(part == brought("boot.wim")[1_000_000..2_000_000]);
    // curl goes on where a broken download stopped.
    let got = school.folder.path().join("half");
    fs::write(&got, &brought("boot.wim")[..4_000_000]).unwrap();
    school.pc.must("curl", &["-fsS", "-C", "-", "-o", got.to_str().unwrap(), &wim]);
    assert!(fs::read(&got).unwrap() == brought("boot.wim"));
    for missing in ["/t/revocations_sku.efi", "/", "/boot/"] {
        let code =
            school.pc.must("curl", &["-sS", "-o", "/dev/null", "-w", "%{http_code}", &format!("{WEB}{missing}")]);
        assert_eq!(code, "404", "{missing}");
    }
}
