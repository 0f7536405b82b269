//! A room in one machine: network namespaces as PCs and servers, and a switch between them.
//!
//! A [`Lab`] owns everything that it made and takes it away when it is dropped. Names carry the process id, so that labs of
//! other test runs are not in the way; what a killed run left behind is removed by the next.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Patience for what must happen. Several times what a busy machine takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

static LABS: AtomicU32 = AtomicU32::new(0);

/// A switch, and what is plugged into it.
#[derive(Debug)]
pub(crate) struct Lab {
    prefix: String,
    nodes: Vec<String>,
}

/// A namespace with one network card, `eth0`.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    namespace: String,
}

/// A program that runs in a namespace, and ends with this value.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Lab {
    /// A switch without anything plugged in, or none where labs cannot be: that is printed, and is a failure where
    /// `KLONWERK_LAB=required`.
    pub(crate) fn new(tools: &[&str]) -> Option<Self> {
        if let Some(missing) = missing(tools) {
            assert!(
                std::env::var("KLONWERK_LAB").as_deref() != Ok("required"),
                "KLONWERK_LAB=required, and this test needs {missing}"
            );
            println!("skipped: this test needs {missing}");
            return None;
        }
        remove_stale();
        let prefix = format!("kw-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let mut lab = Self { prefix, nodes: Vec::new() };
        let switch = lab.namespace("switch");
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        Some(lab)
    }

    fn namespace(&mut self, name: &str) -> String {
        let namespace = format!("{}-{name}", self.prefix);
        ip(&["netns", "add", &namespace]);
        self.nodes.push(namespace.clone());
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        namespace
    }

    /// Plugs a machine into the switch. `name` has at most eight letters; `address` is like `10.77.0.5/24`.
    pub(crate) fn plug(&mut self, name: &str, mac: Option<&str>, address: Option<&str>) -> Node {
        let namespace = self.namespace(name);
        let switch = format!("{}-switch", self.prefix);
        let port = format!("p-{name}");
        ip(&["-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace]);
        ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
        if let Some(mac) = mac {
            ip(&["-n", &namespace, "link", "set", "eth0", "address", mac]);
        }
        let node = Node { namespace };
        // Firmware hears broadcasts before it has an address; the kernel's source check would drop them.
        for key in ["all", "eth0"] {
            let path = format!("/proc/sys/net/ipv4/conf/{key}/rp_filter");
            node.must("sh", &["-c", &format!("echo 0 > {path}")]);
        }
        ip(&["-n", &node.namespace, "link", "set", "eth0", "up"]);
        if let Some(address) = address {
            node.address(address);
        }
        node
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in self.nodes.drain(..).rev() {
            let _ = Command::new("ip").args(["netns", "del", &namespace]).status();
        }
    }
}

impl Node {
    /// A program that will run here.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Output {
        self.command(program).args(args).stdin(Stdio::null()).output().expect("ip runs")
    }

    /// Runs a program that must succeed.
    pub(crate) fn must(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {}\n{stderr}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Gives the network card an address.
    pub(crate) fn address(&self, address: &str) {
        ip(&["-n", &self.namespace, "addr", "add", address, "brd", "+", "dev", "eth0"]);
    }

    /// Starts a program and listens to both its outputs.
    pub(crate) fn start(&self, mut command: Command) -> Running {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        let outputs: [Option<Box<dyn std::io::Read + Send>>; 2] =
            [child.stdout.take().map(|out| Box::new(out) as _), child.stderr.take().map(|out| Box::new(out) as _)];
        for output in outputs.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Running { stdin: child.stdin.take(), child, lines, heard: Vec::new() }
    }
}

impl Running {
    /// The next line for which `wanted` gives a value. Fails after [`DEADLINE`], with everything that was heard.
    pub(crate) fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = wanted(&line);
                    self.heard.push(line);
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no {what} in time; heard:\n{}", self.heard.join("\n")),
                Err(RecvTimeoutError::Disconnected) => panic!("ended before {what}; heard:\n{}", self.heard.join("\n")),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a lab lacks here: root, or a program.
fn missing(tools: &[&str]) -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    if uid != Some("0") {
        return Some("root".to_owned());
    }
    let is_there = |tool: &str| {
        ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].iter().any(|folder| Path::new(folder).join(tool).exists())
    };
    ["ip"].iter().chain(tools).find(|tool| !is_there(tool)).map(|tool| format!("the program {tool}"))
}

/// Removes namespaces of runs that were killed.
fn remove_stale() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let pid =
            name.strip_prefix("kw-").and_then(|rest| rest.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip runs");
    assert!(output.status.success(), "ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
}
