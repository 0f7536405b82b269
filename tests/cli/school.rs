//! A small school in a folder of its own, and its server.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use klonwerk::image::FirmwareKind;
use klonwerk::sim::master::{LEAST_USED, MasterOptions, SimWindows, build_master};
use serde_json::Value;
use tempfile::TempDir;

/// Patience for what must happen. Several times what a busy machine takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

const SITE: &str = "\
name: Testschule
time_zone: Europe/Berlin
server:
  address: 127.0.0.1
images:
  win11: { build: 26100, edition: Education, generalized: true, key_channel: mak, firmware: uefi }
keys:
  mak-win11: { type: mak, edition: Education, in_image: 3V66T }
";

const R1: &str = "\
title: Raum 1
image: win11
activation:
  mak-proxy: { key: mak-win11 }
machines:
  - { name: R1-01, mac: '52:54:00:00:01:01' }
  - { name: R1-02, mac: '52:54:00:00:01:02' }
  - { name: R1-03, mac: '52:54:00:00:01:03' }
";

const R2: &str = "\
title: Raum 2
image: win11
firmware: uefi
activation:
  mak-proxy: { key: mak-win11 }
machines:
  - { name: R2-01, mac: '52:54:00:00:02:01' }
";

/// Profiles and a state folder.
pub(crate) struct School {
    pub(crate) folder: TempDir,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl School {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rooms = folder.path().join("profiles/rooms");
        fs::create_dir_all(&rooms).unwrap();
        fs::write(folder.path().join("profiles/site.yaml"), SITE).unwrap();
        fs::write(rooms.join("r1.yaml"), R1).unwrap();
        fs::write(rooms.join("r2.yaml"), R2).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command in this school's folder, in English and in the time zone UTC.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("klonwerk"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("LC_ALL")
            .env_remove("LC_MESSAGES")
            .env_remove("RUST_LOG")
            .env_remove("SUDO_USER")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("USER", "tester")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end. `--state` is added.
    pub(crate) fn klonwerk(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(arguments);
        Said::of(command.args(["--state", "state"]).output().unwrap())
    }

    /// Makes a master disk and captures it as `win11@1`.
    pub(crate) fn capture(&self) -> PathBuf {
        let master = self.path("master.img");
        let options = MasterOptions {
            bytes_used: LEAST_USED,
            firmware: FirmwareKind::Uefi,
            seed: 5,
            windows: SimWindows::default(),
        };
        build_master(&master, &options).unwrap();
        let said = self.klonwerk(&["image", "capture", "--from", "master.img", "--name", "win11@1"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        master
    }

    /// Starts the server and waits until it is ready.
    pub(crate) fn serve(&self) -> Serving {
        let log = self.path("serve.log");
        let mut child = self
            .command(&["serve", "--loopback", "--json", "--state", "state"])
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addresses = serde_json::from_str(&line).unwrap_or_else(|error| {
            let log = fs::read_to_string(&log).unwrap();
            panic!("the server did not start: {error}: {line}\n{log}")
        });
        Serving { child, addresses, log }
    }
}

/// A running server, killed when dropped.
pub(crate) struct Serving {
    child: Child,
    pub(crate) addresses: Value,
    log: PathBuf,
}

impl Serving {
    pub(crate) fn address(&self, name: &str) -> &str {
        self.addresses[name].as_str().unwrap()
    }

    /// SIGTERM, and the exit code; the log.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let code = wait(&mut self.child);
        (code, fs::read_to_string(&self.log).unwrap())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Gone already after a stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end of a program, bounded.
pub(crate) fn wait(child: &mut Child) -> Option<i32> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if begin.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("the program did not end in {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A command whose lines are read while it runs.
pub(crate) struct Watching {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    heard: Mutex<Vec<String>>,
}

impl Watching {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                if tell.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, heard: Mutex::new(Vec::new()) }
    }

    /// Waits for a line with `text`.
    pub(crate) fn hears(&self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => {
                    self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {text:?}: {error}; heard {:#?}", self.heard),
            }
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end: all lines, standard error, exit code.
    pub(crate) fn end(mut self) -> Said {
        let code = wait(&mut self.child);
        let mut heard = self.heard.into_inner().unwrap_or_else(PoisonError::into_inner);
        heard.extend(self.lines.iter());
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Said { out: heard.join("\n"), err, code }
    }
}

/// All files of a folder with sizes and times of change.
pub(crate) fn listing(folder: &Path) -> Vec<String> {
    let mut list = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let facts = entry.metadata().unwrap();
            list.push(format!("{} {} {:?}", entry.path().display(), facts.len(), facts.modified().unwrap()));
            if facts.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    list.sort();
    list
}
