//! One visit of the imaging agent: check in, bring the disk back to the image, report.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::activation::hardware::HardwareFacts;
use crate::agent::client::{Client, ClientError, Patience, RemoteImage};
use crate::agent::imaging::{ImagingError, ImagingOptions, image_disk};
use crate::agent::note::{Note, NoteError};
use crate::agent::protocol::{CheckIn, CheckInAnswer, HookResult, ImagingReport, OfflineHook, Work};
use crate::disk::Disk;
use crate::image::Hash;
use crate::image::layout::gates_of;
use crate::image::manifest::ManifestError;
use crate::image::ntfs::ReadAt;
use crate::profile::model::DiskRule;
use crate::progress::{ImagingEvent, ImagingTotals, Monitor};
use crate::room::{Mac, MachineName, MachineUuid};

/// What the imaging agent knows before it asks anybody.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The server's HTTPS address.
    pub server: String,
    /// The fingerprint of its authority.
    pub pin: Hash,
    /// This PC's network card.
    pub mac: Mac,
    /// Its SMBIOS UUID.
    pub uuid: Option<MachineUuid>,
    /// The administrator's one-time token, for use by hand.
    pub token: Option<String>,
    /// What its firmware says, if somebody looked.
    pub hardware: Option<HardwareFacts>,
    /// How long to wait for an absent server.
    pub patience: Patience,
    /// Threads for hashing.
    pub threads: usize,
}

/// Why a visit did not end with the image on the disk.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// The server cannot be reached or refuses.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The image's description is not what the server promised.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The signing key that the server named is none.
    #[error("the server named an image signing key that is not one")]
    SigningKey,
    /// The disk could not be chosen or opened.
    #[error("{0}")]
    Disk(String),
    /// The note for the resident agent cannot be made.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The imaging stopped.
    #[error(transparent)]
    Imaging(#[from] ImagingError),
    /// Still nothing to do after this long.
    #[error("the server had nothing to do for this PC: {0}")]
    Waited(String),
}

/// How a visit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visit {
    /// The disk is the image.
    Committed {
        /// The PC.
        machine: MachineName,
        /// The run.
        run: u64,
        /// The night's numbers.
        totals: ImagingTotals,
    },
    /// There was nothing to do.
    Nothing {
        /// Why.
        why: String,
    },
}

/// Opens the disk that the rule names; tells in words why it cannot.
pub type OpenDisk<'a> = &'a dyn Fn(&DiskRule) -> Result<Box<dyn Disk>, String>;

/// Makes one visit.
pub fn make(
    visitor: &Visitor,
    open: OpenDisk<'_>,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<Visit, VisitError> {
    let client = Client::connect(&visitor.server, &visitor.pin, visitor.patience)?;
    let hello = CheckIn {
        mac: visitor.mac,
        uuid: visitor.uuid,
        token: visitor.token.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hardware: visitor.hardware.clone(),
    };
    let mut waited = Duration::ZERO;
    let work = loop {
        match client.check_in(&hello)? {
            CheckInAnswer::Work(work) => break work,
            CheckInAnswer::Nothing { why } => return Ok(Visit::Nothing { why }),
            CheckInAnswer::Wait { seconds, why } => {
                if waited > visitor.patience.total {
                    return Err(VisitError::Waited(why));
                }
                let pause = Duration::from_secs(seconds.clamp(1, 60));
                std::thread::sleep(pause);
                waited += pause;
            }
        }
    };
    let session = client.with_bearer(&work.session);
    match restore(visitor, &work, &session, open, monitor, stop) {
        Ok(totals) => {
            session.report(&ImagingReport::Committed { totals })?;
            Ok(Visit::Committed { machine: work.machine, run: work.run, totals })
        }
        Err(error) => {
            let stopped = matches!(error, VisitError::Imaging(ImagingError::Stopped));
            if !stopped && !matches!(error, VisitError::Server(_)) {
                let mut reason = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(inner) = source {
                    reason = format!("{reason}: {inner}");
                    source = inner.source();
                }
                if let Err(second) = session.report(&ImagingReport::Failed { reason }) {
                    tracing::warn!(error = %second, "the failure could not be reported");
                }
            }
            Err(error)
        }
    }
}

fn restore(
    visitor: &Visitor,
    work: &Work,
    session: &Client,
    open: OpenDisk<'_>,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<ImagingTotals, VisitError> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(&work.public_key.0).map_err(|_| VisitError::SigningKey)?;
    let head = session.head(&work.root)?.verify(&work.root, &key)?;
    let disk = open(&work.disk).map_err(VisitError::Disk)?;
    let note = Note {
        server: visitor.server.clone(),
        pin: visitor.pin,
        run: work.run,
        machine: work.machine.clone(),
        credential: work.credential.clone(),
    };
    let mut hooks = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        for hook in &work.offline_hooks {
            monitor.event(ImagingEvent::OfflineHook { hook: hook.name.clone() });
            let result = run_offline(hook, work);
            let failure = match &result {
                HookResult::Failed { why } => Some(why.clone()),
                HookResult::Done { .. } | HookResult::Activation { .. } => None,
            };
            session.report(&ImagingReport::Hook { index: hook.index, result })?;
            if let Some(why) = failure {
                return Err(why.into());
            }
        }
        Ok(())
    };
    let old_gates = |disk: &dyn Disk| gates_of(&Whole(disk), disk.size(), disk.sector_bytes());
    let mut options = ImagingOptions::new(&old_gates);
    options.threads = visitor.threads;
    options.note = head.header.note.is_some().then(|| note.encode()).transpose()?;
    if !work.offline_hooks.is_empty() {
        options.hooks = Some(&mut hooks);
    }
    let source = RemoteImage::new(session, work.root);
    let relay = Relay { session, monitor, stop, last: Mutex::new(None), refused: Mutex::new(None) };
    let ended = image_disk(disk.as_ref(), &head, &source, options, &relay, stop);
    match relay.refused.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(refused) => Err(refused.into()),
        None => Ok(ended?),
    }
}

/// A disk as the reader that partition tables are read through.
struct Whole<'a>(&'a dyn Disk);

impl ReadAt for Whole<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(offset, buf).map_err(std::io::Error::other)
    }
}

fn run_offline(hook: &OfflineHook, work: &Work) -> HookResult {
    let Some((program, arguments)) = hook.command.split_first() else {
        return HookResult::Failed { why: "the command is empty".to_owned() };
    };
    let child = Command::new(program)
        .args(arguments)
        .env("KLONWERK_MACHINE", work.machine.as_str())
        .env("KLONWERK_RUN", work.run.to_string())
        .stdin(std::process::Stdio::null())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return HookResult::Failed { why: format!("cannot start {program}: {error}") },
    };
    let start = std::time::Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => {
                return HookResult::Done { what: format!("{} ended well", hook.name) };
            }
            Ok(Some(status)) => return HookResult::Failed { why: format!("{program} ended with {status}") },
            Ok(None) if start.elapsed() < hook.time_out => std::thread::sleep(Duration::from_millis(50)),
            Ok(None) => {
                let ended = child.kill().and_then(|()| child.wait());
                tracing::warn!(?ended, hook = hook.name, "stopped after its time");
                return HookResult::Failed { why: format!("{program} took longer than {:?}", hook.time_out) };
            }
            Err(error) => return HookResult::Failed { why: format!("cannot wait for {program}: {error}") },
        }
    }
}

/// Passes events on to the screen, and to the server as often as it is useful there: each new stage at once, numbers
/// once a second. The gate may close only after the server has stored that the disk is about to be half written; if it
/// does not, the imaging stops before its first write.
struct Relay<'a> {
    session: &'a Client,
    monitor: &'a dyn Monitor,
    stop: &'a AtomicBool,
    last: Mutex<Option<(std::mem::Discriminant<ImagingEvent>, std::time::Instant)>>,
    refused: Mutex<Option<ClientError>>,
}

impl Monitor for Relay<'_> {
    fn event(&self, event: ImagingEvent) {
        self.monitor.event(event.clone());
        if matches!(event, ImagingEvent::Committed(_)) {
            return;
        }
        let gate = matches!(event, ImagingEvent::GateClosed);
        let kind = std::mem::discriminant(&event);
        let due = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let due = last.is_none_or(|(k, at)| k != kind || at.elapsed() >= Duration::from_secs(1));
            if due {
                *last = Some((kind, std::time::Instant::now()));
            }
            due
        };
        if !due && !gate {
            return;
        }
        if let Err(error) = self.session.report(&ImagingReport::Progress { event }) {
            if gate || matches!(error, ClientError::Refused { .. }) {
                self.stop.store(true, Ordering::Relaxed);
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            } else {
                tracing::debug!(%error, "progress could not be reported");
            }
        }
    }
}
