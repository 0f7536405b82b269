//! A simulated PC: firmware, a disk, the real imaging agent, a Windows that is a few facts, and the real resident agent.
//!
//! What is real: every packet and file of the network boot, the imaging agent with its TLS, the bytes on the disk, the
//! resident agent and its hooks. What stands in: the CPU that would run the fetched boot files, and Windows, of which
//! there is a name, a licensing service and the note on the disk.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::activation::licensing::{LicenseStatus, LicensingService, ProductScope};
use crate::agent::client::Patience;
use crate::agent::note::{NOTE_BYTES, NOTE_OFFSET};
use crate::agent::resident::{self, Next, ResidentError, WindowsHost};
use crate::agent::visit::{self, Visit, VisitError, Visitor};
use crate::boot::start::StartParameters;
use crate::disk::file::{Access, FileDisk};
use crate::disk::{Disk, DiskError};
use crate::image::WindowsFacts;
use crate::profile::model::DiskRule;
use crate::progress::{ImagingEvent, ImagingTotals, Monitor};
use crate::room::{Mac, MachineName};
use crate::sim::firmware::{self, Booted, Identity, Network};
use crate::sim::licensing::{Hardware, LicensingState, SimLicensing, World};
use crate::sim::record::{Record, Recorded};

/// How often a PC may restart in one night before something is wrong.
const RESTARTS: u32 = 12;

/// Why a PC did not get through the night.
#[derive(Debug, thiserror::Error)]
pub enum PcError {
    /// The network boot failed.
    #[error("the network boot failed")]
    Boot(#[source] io::Error),
    /// The boot parameters cannot be used.
    #[error("the boot parameters name a pin that is none")]
    Pin,
    /// The imaging agent gave up.
    #[error("the imaging agent gave up")]
    Imaging(#[from] VisitError),
    /// The disk cannot be read.
    #[error("the disk cannot be read")]
    Disk(#[from] DiskError),
    /// The resident agent gave up.
    #[error("the resident agent gave up")]
    Resident(#[from] ResidentError),
    /// Firmware found nothing to start.
    #[error("firmware finds nothing to start on the disk")]
    NothingToStart,
    /// It restarts for ever.
    #[error("the PC keeps restarting")]
    Restarting,
}

/// What a PC is made of.
#[derive(Debug, Clone)]
pub struct PcParts {
    /// What firmware sends.
    pub identity: Identity,
    /// The file that is its disk.
    pub disk: PathBuf,
    /// What activation looks at.
    pub hardware: Hardware,
    /// The licensing state inside the image that it gets.
    pub image: LicensingState,
    /// Microsoft, KMS hosts, time.
    pub world: World,
    /// Where the server is.
    pub network: Network,
    /// How long its agents wait for an absent server.
    pub patience: Patience,
    /// Threads of its imaging agent.
    pub threads: usize,
}

/// A simulated PC.
#[derive(Debug)]
pub struct SimPc {
    parts: PcParts,
    /// What happened.
    pub record: Record,
    windows: Option<Windows>,
    last: Option<ImagingTotals>,
}

#[derive(Debug)]
struct Windows {
    name: String,
    licensing: SimLicensing,
}

impl SimPc {
    /// A PC that is switched off.
    pub fn new(parts: PcParts) -> Self {
        Self { parts, record: Record::default(), windows: None, last: None }
    }

    /// Switches it on, to boot from the network once; returns when it is off again.
    ///
    /// # Errors
    /// [`PcError`]; the PC is off then too, in whatever state its disk is.
    pub fn night(&mut self, monitor: &dyn Monitor, stop: &AtomicBool) -> Result<(), PcError> {
        let mut from_network = true;
        for _ in 0..RESTARTS {
            if std::mem::take(&mut from_network) {
                match firmware::boot(&self.parts.identity, &self.parts.network, &self.record).map_err(PcError::Boot)? {
                    Booted::Environment(start) => {
                        self.imaging(&start, monitor, stop)?;
                        // The agent restarts the PC, and this time it starts from its disk.
                        continue;
                    }
                    Booted::Disk => {}
                }
            }
            match self.windows()? {
                Next::Restart => {}
                Next::Over(_) => {
                    self.record.add(Recorded::PoweredOff);
                    return Ok(());
                }
            }
        }
        Err(PcError::Restarting)
    }

    fn imaging(&mut self, start: &StartParameters, monitor: &dyn Monitor, stop: &AtomicBool) -> Result<(), PcError> {
        self.record.add(Recorded::AgentStarted);
        let visitor = Visitor {
            server: start.server.clone(),
            pin: start.pin.parse().map_err(|_| PcError::Pin)?,
            mac: self.parts.identity.mac,
            uuid: self.parts.identity.uuid,
            token: None,
            hardware: None,
            patience: self.parts.patience,
            threads: self.parts.threads,
        };
        let (path, written) = (self.parts.disk.clone(), std::sync::Arc::new(AtomicU64::new(0)));
        let counter = written.clone();
        let open = move |_: &DiskRule| -> Result<Box<dyn Disk>, String> {
            let disk = FileDisk::open(&path, Access::Exclusive).map_err(|error| error.to_string())?;
            Ok(Box::new(Counted { disk, written: counter.clone() }))
        };
        let watch = Watch { record: &self.record, monitor };
        let ended = visit::make(&visitor, &open, &watch, stop);
        let bytes = written.load(Ordering::Relaxed);
        if bytes > 0 {
            self.record.add(Recorded::DiskWritten { bytes });
        }
        if let Visit::Committed { totals, .. } = ended? {
            self.record.add(Recorded::Committed);
            self.last = Some(totals);
            // Whatever Windows knew before is gone with the clone.
            let licensing = SimLicensing::after_clone(&self.parts.image, &self.parts.hardware, &self.parts.world);
            let digits = self.parts.identity.mac.dashed().replace('-', "").to_ascii_uppercase();
            self.windows = Some(Windows { name: format!("WIN-{}", digits.get(1..).unwrap_or_default()), licensing });
        }
        Ok(())
    }

    fn windows(&mut self) -> Result<Next, PcError> {
        let disk = FileDisk::open(&self.parts.disk, Access::ReadOnly)?;
        let starts = firmware::starts(&disk, self.parts.identity.firmware).map_err(PcError::Boot)?;
        let (Some(windows), true) = (&mut self.windows, starts) else {
            self.record.add(Recorded::NothingToStart);
            return Err(PcError::NothingToStart);
        };
        self.record.add(Recorded::WindowsStarted);
        windows.licensing.restart();
        let noted = windows.licensing.calls().len();
        let mut host = Host { windows, disk: &disk, mac: self.parts.identity.mac, record: &self.record, noted };
        let next = resident::run(&mut host, self.parts.patience);
        host.note_calls();
        Ok(next?)
    }

    /// The numbers of its last imaging.
    pub fn last_totals(&self) -> Option<ImagingTotals> {
        self.last
    }

    /// What its Windows is called.
    pub fn computer_name(&self) -> Option<&str> {
        self.windows.as_ref().map(|windows| windows.name.as_str())
    }

    /// The licence status, read anew from the licensing service.
    pub fn license_status(&mut self) -> Option<LicenseStatus> {
        let products = self.windows.as_mut()?.licensing.products(ProductScope::WithKey).ok()?;
        products.into_iter().find(|product| product.is_windows())?.status
    }

    /// The file that is its disk.
    pub fn disk(&self) -> &std::path::Path {
        &self.parts.disk
    }

    /// Its network card.
    pub fn mac(&self) -> Mac {
        self.parts.identity.mac
    }
}

struct Watch<'a> {
    record: &'a Record,
    monitor: &'a dyn Monitor,
}

impl Monitor for Watch<'_> {
    fn event(&self, event: ImagingEvent) {
        if let ImagingEvent::OfflineHook { hook } = &event {
            self.record.add(Recorded::OfflineHook { hook: hook.clone() });
        }
        self.monitor.event(event);
    }
}

/// A disk that counts what is written to it.
#[derive(Debug)]
struct Counted {
    disk: FileDisk,
    written: std::sync::Arc<AtomicU64>,
}

impl Disk for Counted {
    fn size(&self) -> u64 {
        self.disk.size()
    }
    fn sector_bytes(&self) -> u32 {
        self.disk.sector_bytes()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.disk.read_at(offset, buf)
    }
    fn read_past_cache(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.disk.read_past_cache(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), DiskError> {
        self.written.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.disk.write_at(offset, buf)
    }
    fn flush(&self) -> Result<(), DiskError> {
        self.disk.flush()
    }
    fn rescan(&self) -> Result<(), DiskError> {
        self.disk.rescan()
    }
}

struct Host<'a> {
    windows: &'a mut Windows,
    disk: &'a FileDisk,
    mac: Mac,
    record: &'a Record,
    /// How many calls at the licensing service are in the record.
    noted: usize,
}

impl Host<'_> {
    /// Puts the calls since the last time into the record, in their place among everything else.
    fn note_calls(&mut self) {
        let calls = self.windows.licensing.calls();
        if let Some(new) = calls.get(self.noted..).filter(|new| !new.is_empty()) {
            self.record.add(Recorded::Licensing { calls: new.to_vec() });
        }
        self.noted = calls.len();
    }
}

impl WindowsHost for Host<'_> {
    fn note(&mut self) -> Result<Vec<u8>, io::Error> {
        let mut bytes = vec![0; NOTE_BYTES];
        self.disk.read_at(NOTE_OFFSET, &mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }

    fn mac(&self) -> Mac {
        self.mac
    }

    fn computer_name(&self) -> String {
        self.windows.name.clone()
    }

    fn rename(&mut self, name: &MachineName) -> Result<(), io::Error> {
        self.note_calls();
        self.windows.name = name.to_string();
        self.record.add(Recorded::Renamed { name: name.to_string() });
        Ok(())
    }

    fn facts(&self) -> WindowsFacts {
        let state = self.windows.licensing.state();
        WindowsFacts { build: Some(state.build), edition: Some(state.edition.clone()), ..WindowsFacts::default() }
    }

    fn run(&mut self, command: &[String], _time_out: Duration) -> Result<i32, io::Error> {
        self.note_calls();
        // There is no Windows to run it in; that it would have been started is what counts here.
        self.record.add(Recorded::Ran { command: command.to_vec() });
        Ok(0)
    }

    fn licensing(&mut self) -> &mut dyn LicensingService {
        &mut self.windows.licensing
    }
}
