//! A PC in a process of its own: firmware that asks for its script, the real imaging agent, a Windows that is a few facts,
//! the real resident agent. All that it remembers lies in files: its disk, and beside it what Windows would keep on it.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use klonwerk::activation::licensing::LicensingService;
use klonwerk::agent::client::Patience;
use klonwerk::agent::note::{NOTE_BYTES, NOTE_OFFSET};
use klonwerk::agent::resident::{self, Next, WindowsHost};
use klonwerk::agent::visit::{self, Visit, Visitor};
use klonwerk::boot::start::StartParameters;
use klonwerk::clock::SystemClock;
use klonwerk::disk::{Access, Disk, FileDisk};
use klonwerk::image::{FirmwareKind, Hash, KeyChannel, WindowsFacts};
use klonwerk::progress::{ImagingEvent, Monitor};
use klonwerk::room::{Mac, MachineName};
use klonwerk::sim::firmware::starts;
use klonwerk::sim::licensing::{Hardware, LicensingState, SimLicensing, World};
use serde::{Deserialize, Serialize};

use crate::school::PARTIAL;

pub(crate) const PATIENCE: Patience =
    Patience { total: Duration::from_secs(60), first_pause: Duration::from_millis(40) };

/// How a PC's life ends, as an exit code, when nobody kills it.
pub(crate) const OFF: i32 = 0;
pub(crate) const AGENT_GAVE_UP: i32 = 3;
pub(crate) const NOTHING_TO_START: i32 = 4;
pub(crate) const WINDOWS_FAILED: i32 = 5;

/// The file that lets held PCs go on.
pub(crate) const LET_GO: &str = "go";

pub(crate) fn mac(pc: usize) -> Mac {
    Mac([0x52, 0x54, 0, 0x6b, 0, pc as u8 + 1])
}

/// What is on the image.
pub(crate) fn facts() -> WindowsFacts {
    WindowsFacts {
        build: Some(22631),
        edition: Some("Education".to_owned()),
        product: None,
        generalized: Some(true),
        skip_rearm: Some(false),
        key_channel: Some(KeyChannel::Mak),
        firmware: None,
        ..WindowsFacts::default()
    }
}

/// Tells whoever started this process how far it is; stops here until it is let go or killed, if it is to.
fn mark(name: &str) {
    let mut out = io::stdout();
    writeln!(out, "\nmark {name}").and_then(|()| out.flush()).expect("told");
    let held = std::env::var("KILL_HOLD").is_ok_and(|hold| hold == name);
    let folder = std::env::var_os("KILL_FOLDER").map(PathBuf::from).expect("a folder");
    while held && !folder.join(LET_GO).exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Marks;

impl Monitor for Marks {
    fn event(&self, event: ImagingEvent) {
        mark(match event {
            ImagingEvent::Scanning { .. } => "scanning",
            ImagingEvent::Scanned { .. } => "scanned",
            ImagingEvent::GateClosed => "gate-closed",
            ImagingEvent::Writing { .. } => "writing",
            ImagingEvent::Verifying { .. } => "verifying",
            ImagingEvent::OfflineHook { .. } => "offline-hook",
            ImagingEvent::GateOpened => "gate-opened",
            ImagingEvent::Committed(_) => "committed",
        });
    }
}

/// Switches the PC on: from the network once, then from its disk, until it is off. The exit code.
pub(crate) fn live(disk: &Path, pc: usize, boot_port: u16) -> i32 {
    if let Some(start) = boot(pc, boot_port) {
        mark("booted");
        if let Some(code) = image(disk, pc, &start) {
            return code;
        }
    }
    for _ in 0..5 {
        let medium = FileDisk::open(disk, Access::ReadOnly).expect("disk");
        if !starts(&medium, FirmwareKind::Uefi).expect("read") {
            return NOTHING_TO_START;
        }
        mark("windows");
        let mut windows = Windows::start(&medium, disk, pc);
        let ended = resident::run(&mut windows, PATIENCE);
        windows.shut_down();
        match ended {
            Ok(Next::Restart) => mark("restart"),
            Ok(Next::Over(_)) => {
                mark("off");
                return OFF;
            }
            Err(error) => {
                eprintln!("windows: {}", chain(&error));
                return WINDOWS_FAILED;
            }
        }
    }
    WINDOWS_FAILED
}

/// Asks for the script until there is an answer; none when it says: start the disk.
pub(crate) fn boot(pc: usize, boot_port: u16) -> Option<StartParameters> {
    let url = format!("http://127.0.0.1:{boot_port}/boot/ipxe/{}.ipxe", mac(pc).dashed());
    let http =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).proxy(None).build().new_agent();
    let script = loop {
        match http.get(&url).call().and_then(|mut response| response.body_mut().read_to_string()) {
            Ok(script) => break script,
            Err(_) => std::thread::sleep(Duration::from_millis(40)),
        }
    };
    script.lines().find_map(|line| StartParameters::from_command_line(line.trim().strip_prefix("kernel")?).ok())
}

/// One visit of the imaging agent; an exit code if it gave up.
fn image(path: &Path, pc: usize, start: &StartParameters) -> Option<i32> {
    let visitor = Visitor {
        server: start.server.clone(),
        pin: start.pin.parse().expect("pin"),
        mac: mac(pc),
        uuid: None,
        token: None,
        hardware: None,
        patience: PATIENCE,
        threads: 1,
    };
    let open = |_: &_| -> Result<Box<dyn Disk>, String> {
        let disk = FileDisk::open(path, Access::Exclusive).map_err(|error| error.to_string())?;
        Ok(Box::new(disk))
    };
    match visit::make(&visitor, &open, &Marks, &AtomicBool::new(false)) {
        Ok(Visit::Committed { .. }) => mark("reported"),
        Ok(Visit::Nothing { why }) => eprintln!("nothing to do: {why}"),
        Err(error) => {
            eprintln!("imaging: {}", chain(&error));
            return Some(AGENT_GAVE_UP);
        }
    }
    None
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or(error.to_string(), |source| format!("{error}: {}", chain(source)))
}

/// What Windows keeps on its disk, and what the next clone takes from it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    clone: Hash,
    name: String,
    licensing: LicensingState,
}

struct Windows<'a> {
    disk: &'a FileDisk,
    path: PathBuf,
    mac: Mac,
    kept: Kept,
    licensing: RefCell<SimLicensing>,
}

impl<'a> Windows<'a> {
    /// Windows as it is on the disk: fresh, if another clone than last time lies there.
    fn start(disk: &'a FileDisk, path: &Path, pc: usize) -> Self {
        let path = path.with_extension("windows");
        let mut note = vec![0; NOTE_BYTES];
        disk.read_at(NOTE_OFFSET, &mut note).expect("note");
        let clone = Hash::of(&note);
        let before = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let kept = before.filter(|kept| kept.clone == clone).unwrap_or_else(|| {
            let made = "2026-11-24T02:00:00Z".parse().expect("instant");
            let licensing = LicensingState { manual: true, ..LicensingState::of_image(&facts(), PARTIAL, made) };
            Kept { clone, name: format!("WIN-{pc}"), licensing }
        });
        let hardware = Hardware::new(&format!("board of PC {pc}"));
        let licensing = SimLicensing::after_clone(&kept.licensing, &hardware, &World::new(Arc::new(SystemClock)));
        Self { disk, path, mac: mac(pc), kept, licensing: RefCell::new(licensing) }
    }

    fn keep(&self) {
        let next = self.path.with_extension("next");
        fs::write(&next, crate::school::json(&self.kept)).and_then(|()| fs::rename(&next, &self.path)).expect("kept");
    }

    fn shut_down(&mut self) {
        self.kept.licensing = self.licensing.get_mut().state().clone();
        self.keep();
    }
}

impl WindowsHost for Windows<'_> {
    fn note(&mut self) -> Result<Vec<u8>, io::Error> {
        let mut bytes = vec![0; NOTE_BYTES];
        self.disk.read_at(NOTE_OFFSET, &mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }

    fn mac(&self) -> Mac {
        self.mac
    }

    fn computer_name(&self) -> String {
        self.kept.name.clone()
    }

    fn rename(&mut self, name: &MachineName) -> Result<(), io::Error> {
        self.kept.name = name.to_string();
        self.keep();
        mark("renamed");
        Ok(())
    }

    fn facts(&self) -> WindowsFacts {
        facts()
    }

    fn run(&mut self, command: &[String], _time_out: Duration) -> Result<i32, io::Error> {
        panic!("no hook of this room runs {command:?}")
    }

    fn licensing(&mut self) -> &mut dyn LicensingService {
        mark("activation");
        self.licensing.get_mut()
    }
}
