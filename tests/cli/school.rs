//! A small school in a folder of its own, and its server.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use klonwerk::image::FirmwareKind;
use klonwerk::sim::master::{LEAST_USED, MasterOptions, SimWindows, build_master};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use crate::program::Said;
use crate::program::{self, Served};

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

    /// A command in this school's folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        program::command(self.folder.path(), arguments)
    }

    /// Runs a command to its end, with the state in this school's folder.
    pub(crate) fn klonwerk(&self, arguments: &[&str]) -> Said {
        Said::of(program::with_state(self.folder.path(), arguments).output().unwrap())
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
        let (served, addresses) = Served::start(self.folder.path(), None);
        Serving { served, addresses, log: self.path("serve.log") }
    }
}

/// A running server, killed when dropped.
pub(crate) struct Serving {
    served: Served,
    pub(crate) addresses: Value,
    log: PathBuf,
}

impl Serving {
    pub(crate) fn address(&self, name: &str) -> &str {
        self.addresses[name].as_str().unwrap()
    }

    /// SIGTERM, and the exit code; the log.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.served.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let code = wait(&mut self.served.child);
        (code, fs::read_to_string(&self.log).unwrap())
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
