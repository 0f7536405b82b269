//! The program as a process of its own: run in a folder that holds `profiles` and `state`, or serving from there.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

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
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
            code: output.status.code(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A command in `folder`, in English and in the time zone UTC, asked by `tester`.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("klonwerk"));
    for variable in ["LC_ALL", "LC_MESSAGES", "RUST_LOG", "SUDO_USER", "CREDENTIALS_DIRECTORY"] {
        command.env_remove(variable);
    }
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env("LANG", "C.UTF-8").env("TZ", "UTC").env("USER", "tester");
    command
}

/// The same with the state in `folder`.
pub(crate) fn with_state(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = command(folder, arguments);
    command.args(["--state", "state"]);
    command
}

/// A running server, killed when dropped.
pub(crate) struct Served {
    pub(crate) child: Child,
}

impl Served {
    /// Starts it on loopback and waits until it is ready and has said its addresses; `log_level` is for `RUST_LOG`, and
    /// the log is added to `serve.log`.
    pub(crate) fn start(folder: &Path, log_level: Option<&str>) -> (Self, Value) {
        let log = folder.join("serve.log");
        let mut serve = with_state(folder, &["serve", "--loopback", "--json"]);
        serve.envs(log_level.map(|level| ("RUST_LOG", level))).stdout(Stdio::piped());
        serve.stderr(File::options().create(true).append(true).open(&log).expect("a log"));
        let mut child = serve.spawn().expect("started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("read");
        let addresses = serde_json::from_str(&line).unwrap_or_else(|error| {
            let log = fs::read_to_string(&log).expect("a log");
            panic!("the server did not start: {error}: {line}\n{log}")
        });
        (Self { child }, addresses)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Gone already after a stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
