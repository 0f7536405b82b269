//! A school on this machine: the real server on loopback, one room of simulated PCs, and nights to play.
//!
//! The demo shows it, tests look into it. Everything lies in one folder that goes when the school goes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::activation::exchange::{ExchangeRow, Separator, write_csv};
use crate::activation::key::ProductKey;
use crate::activation::licensing::{Channel, LicenseStatus};
use crate::activation::strategy::Strategy;
use crate::agent::client::Patience;
use crate::clock::Clock;
use crate::disk::file::{Access, FileDisk};
use crate::image::{Extent, FirmwareKind, Hash, KeyChannel, LEAF_BYTES, RegionKind, TableKind, WindowsFacts, ntfs};
use crate::job::intent::NewIntent;
use crate::job::plan::Plan;
use crate::job::{IntentKind, MachineState, RunId};
use crate::night::{NightError, key_values};
use crate::packs::{
    CaptureError, CaptureOptions, CaptureReport, ImageStore, PackError, SigningKeyFile, StoredImage, capture,
};
use crate::profile::{Machine, Profiles, Room, load};
use crate::progress::{ImagingTotals, Monitor};
use crate::room::{ImageRef, Mac, MachineName, RoomName, Selection};
use crate::serve::{ServeError, ServeOptions, Server, StateFolder};
use crate::sim::firmware::{Identity, Network};
use crate::sim::licensing::{Hardware, LicensingState, SimKmsHost, World};
use crate::sim::master::{
    CompareError, Difference, MasterError, MasterOptions, SimWindows, build_master, dirty, equal_under_mask,
};
use crate::sim::pc::{PcError, PcParts, SimPc};
use crate::sim::portal::Portal;

/// How long after its start a rehearsed run may still begin on a PC.
const WINDOW: Duration = Duration::from_secs(3600);

/// Files that stand in for what an administrator brings; nothing of them is ever executed.
const STAND_INS: [(&str, usize); 9] = [
    ("undionly.kpxe", 70_000),
    ("snponly.efi", 285_000),
    ("vmlinuz", 1_200_000),
    ("initrd.img", 2_500_000),
    ("wimboot", 60_000),
    ("klonwerk.exe", 400_000),
    ("BCD", 16_384),
    ("boot.sdi", 300_000),
    ("boot.wim", 3_000_000),
];

/// Why a rehearsal ended early.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// A file or folder.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The master disk.
    #[error(transparent)]
    Master(#[from] MasterError),
    /// The disk that was brought.
    #[error(transparent)]
    Disk(#[from] crate::disk::DiskError),
    /// The image store.
    #[error(transparent)]
    Images(#[from] PackError),
    /// The signing key.
    #[error(transparent)]
    SigningKey(#[from] crate::packs::KeyError),
    /// The capture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The server.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The runner.
    #[error(transparent)]
    Night(#[from] NightError),
    /// The mask of the image.
    #[error(transparent)]
    Mask(#[from] crate::image::manifest::ManifestError),
    /// The comparison.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// A PC gave up.
    #[error("{machine} did not get through the night")]
    Pc {
        /// Which.
        machine: MachineName,
        /// Why.
        #[source]
        source: PcError,
    },
    /// The number of PCs makes no sense.
    #[error("a room has 1 to 250 PCs, not {0}")]
    Machines(usize),
    /// Something of the rehearsal itself.
    #[error("the rehearsal failed: {0}")]
    Broken(String),
}

/// Which activation the room uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomStrategy {
    /// Stored confirmation IDs.
    MakProxy,
    /// A KMS host, which needs 25 PCs.
    Kms,
    /// Windows 7 in its grace period.
    Grace,
}

/// What to rehearse.
#[derive(Debug, Clone)]
pub struct SchoolOptions {
    /// How many PCs are switched on.
    pub machines: usize,
    /// The disk to capture; without one the rehearsal makes a master itself.
    pub image: Option<PathBuf>,
    /// How many bytes a self-made master uses.
    pub bytes_used: u64,
    /// Decides all contents.
    pub seed: u64,
    /// Where everything lies; must exist and be empty.
    pub folder: PathBuf,
    /// Where the profiles come from.
    pub room: RoomSource,
    /// Where the values of product keys come from.
    pub key_values: key_values::Sources,
    /// How long agents wait for an absent server.
    pub patience: Patience,
}

/// Which room is rehearsed.
#[derive(Debug, Clone)]
pub enum RoomSource {
    /// One that is made for the rehearsal.
    Made(RoomStrategy),
    /// One of a set of profiles, whose first PCs are switched on. Only loopback is served, whatever the profiles say.
    Given {
        /// The profiles.
        profiles: PathBuf,
        /// The room.
        room: RoomName,
    },
}

/// A school on this machine.
#[derive(Debug)]
pub struct School {
    /// The PCs, in the order of the profile.
    pub pcs: Vec<SimPc>,
    /// Microsoft, KMS hosts, time.
    pub world: World,
    /// What the capture said.
    pub capture: CaptureReport,
    /// The room.
    pub room: RoomName,
    /// Whether the master disk was made here.
    pub self_made: bool,
    options: SchoolOptions,
    profiles: PathBuf,
    clock: Arc<dyn Clock>,
    master: PathBuf,
    zero: Vec<Extent>,
    image: StoredImage,
    names: Vec<MachineName>,
    partial: String,
    runtime: tokio::runtime::Runtime,
    server: Option<Server>,
}

/// How a night went.
#[derive(Debug)]
pub struct NightReport {
    /// The run.
    pub run: RunId,
    /// How long it took.
    pub took: Duration,
    /// Each machine's end.
    pub states: BTreeMap<MachineName, MachineState>,
    /// Each machine's numbers.
    pub totals: BTreeMap<MachineName, ImagingTotals>,
}

impl NightReport {
    /// Bytes received by all PCs.
    pub fn fetched(&self) -> u64 {
        self.totals.values().map(|totals| totals.fetched).sum()
    }

    /// Bytes written by all PCs.
    pub fn written(&self) -> u64 {
        self.totals.values().map(|totals| totals.written).sum()
    }
}

/// What a school day left on the disks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DayReport {
    /// Bytes changed in used leaves, over all PCs.
    pub bytes: u64,
    /// Leaves that differ, over all PCs.
    pub leaves: u64,
    /// The same leaves as they are stored, compressed: the least that has to be sent.
    pub compressed: u64,
    /// Bytes of free space and page files littered, which must not matter.
    pub masked_bytes: u64,
    /// Used leaves of one PC.
    pub used_leaves: u64,
}

/// Listens to the imaging of one PC.
pub type MonitorOf<'a> = &'a (dyn Fn(&MachineName) -> Box<dyn Monitor + 'a> + Sync);

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RehearsalError {
    let path = path.to_owned();
    move |source| RehearsalError::File { action, path, source }
}

impl School {
    /// Makes the master, captures it, writes the profiles, starts the server, and sets up the PCs, switched off.
    pub fn open(options: SchoolOptions, clock: Arc<dyn Clock>, tell: &dyn Fn(&str)) -> Result<Self, RehearsalError> {
        if !(1..=250).contains(&options.machines) {
            return Err(RehearsalError::Machines(options.machines));
        }
        let state = StateFolder(options.folder.join("server"));
        for folder in [state.boot(), options.folder.join("pcs")] {
            fs::create_dir_all(&folder).map_err(file_error("create", &folder))?;
        }
        let (key, partial) = make_key(options.seed)?;
        let (profiles, room) = profiles(&options, &partial)?;
        let set = load::load(&profiles).map_err(ServeError::Profiles)?;
        let described = set.rooms.get(&room).ok_or_else(|| NightError::no_room(&room, &set))?;
        let facts = set.site.images.get(&described.image.name).cloned().unwrap_or_default();
        let partial = partial_of(&set, described, &options.key_values)?.unwrap_or(partial);
        let made = match &options.image {
            Some(_) => None,
            None => Some(described.firmware.or(facts.firmware).unwrap_or(FirmwareKind::Uefi)),
        };
        let master = master(&options, &facts, made, tell)?;

        tell("capturing it as an image");
        let disk = FileDisk::open(&master, Access::ReadOnly)?;
        let version = described.image.version.clone().map_or_else(|| "1".parse(), Ok);
        let version = version.map_err(|error: crate::room::RoomError| RehearsalError::Broken(error.to_string()))?;
        let image = ImageRef { name: described.image.name.clone(), version };
        let store = ImageStore::open(&state.images())?;
        let signing = SigningKeyFile::open_or_create(&state.signing_key())?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let capture_options =
            CaptureOptions { image, leaf_bytes: LEAF_BYTES, facts: facts.clone(), now: clock.now(), threads };
        let captured = capture(&disk, &capture_options, &store, &signing.signing_key(), &|_| {})?;
        let stored = store.by_root(&captured.root)?;
        let stored = stored.ok_or_else(|| RehearsalError::Broken("the image is gone after its capture".to_owned()))?;
        let zero = heads(&disk, &stored)?;
        drop((store, disk));
        let firmware = made.unwrap_or(match stored.header().table {
            TableKind::Gpt => FirmwareKind::Uefi,
            TableKind::Mbr => FirmwareKind::Bios,
        });

        for (name, len) in STAND_INS {
            let path = state.boot().join(name);
            fs::write(&path, stand_in(options.seed, name, len)).map_err(file_error("write", &path))?;
        }
        let machines: Vec<Machine> = described.machines.iter().take(options.machines).cloned().collect();
        let names: Vec<MachineName> = machines.iter().map(|machine| machine.name.clone()).collect();
        let world = World::new(clock.clone());
        world.add_key(&key, Channel::Mak);
        if let Strategy::Kms { host, port } = &described.activation {
            // Other rooms have been there before: the threshold of 25 is not what is rehearsed here.
            let host = host.as_deref().unwrap_or("kms.example.school");
            world.add_kms_host(host, *port, SimKmsHost::new(1));
            world.set_kms_in_dns(Some((host, *port)));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| RehearsalError::Broken(error.to_string()))?;
        let mut school = Self {
            pcs: Vec::new(),
            world,
            capture: captured,
            room,
            profiles,
            self_made: options.image.is_none(),
            clock,
            master,
            zero,
            image: stored,
            names,
            partial,
            runtime,
            server: None,
            options,
        };
        tell("starting the server");
        school.start_server()?;
        school.set_up_pcs(&facts, firmware, &machines)?;
        Ok(school)
    }

    /// Starts the server, if it does not run.
    pub fn start_server(&mut self) -> Result<(), RehearsalError> {
        if self.server.is_none() {
            let options = ServeOptions {
                profiles: self.profiles.clone(),
                state: self.state(),
                loopback: true,
                key_values: self.options.key_values.clone(),
            };
            self.server = Some(self.runtime.block_on(Server::start(options, self.clock.clone()))?);
        }
        Ok(())
    }

    /// Stops the server, if it runs.
    pub fn stop_server(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }

    /// The server's state folder.
    pub fn state(&self) -> StateFolder {
        StateFolder(self.options.folder.join("server"))
    }

    /// The profiles.
    pub fn profiles(&self) -> &Path {
        &self.profiles
    }

    /// The PCs that are switched on.
    pub fn selection(&self) -> Selection {
        Selection { only: self.names.clone(), except: Vec::new() }
    }

    /// The names of the PCs, in the order of [`School::pcs`].
    pub fn names(&self) -> &[MachineName] {
        &self.names
    }

    /// The last five characters of the room's MAK.
    pub fn partial_key(&self) -> &str {
        &self.partial
    }

    /// The running server.
    pub fn server(&self) -> Result<&Server, RehearsalError> {
        self.server.as_ref().ok_or_else(|| RehearsalError::Broken("the server does not run".to_owned()))
    }

    fn network(&self) -> Result<Network, RehearsalError> {
        let addresses = &self.server()?.addresses;
        let loopback = |port| SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        let dhcp = addresses.dhcp.ok_or_else(|| RehearsalError::Broken("DHCP is not served".to_owned()))?;
        Ok(Network { dhcp: loopback(dhcp.dhcp.port()), proxy: loopback(dhcp.proxy.port()), tftp: addresses.tftp })
    }

    fn set_up_pcs(
        &mut self,
        facts: &WindowsFacts,
        firmware: FirmwareKind,
        machines: &[Machine],
    ) -> Result<(), RehearsalError> {
        let mut state = LicensingState::of_image(facts, &self.partial, self.clock.now());
        // What offline preparation sets in a real image: Windows does not activate by itself.
        state.manual = true;
        let network = self.network()?;
        for machine in machines {
            let name = &machine.name;
            let disk = self.options.folder.join(format!("pcs/{name}.disk"));
            let file = fs::File::create(&disk).map_err(file_error("create", &disk))?;
            file.set_len(self.image.header().disk_bytes).map_err(file_error("size", &disk))?;
            self.pcs.push(SimPc::new(PcParts {
                identity: Identity { mac: machine.mac, uuid: machine.uuid, firmware },
                disk,
                hardware: Hardware::new(&format!("board {} of {name}", self.options.seed)),
                image: state.clone(),
                world: self.world.clone(),
                network,
                patience: self.options.patience,
                threads: 1,
            }));
        }
        Ok(())
    }

    /// The plan of a re-clone of the room, as the server makes it.
    pub fn plan(&self) -> Result<Plan, RehearsalError> {
        Ok(self.server()?.night.plan(&self.room, &self.selection())?)
    }

    /// Plays one night: asks for the room's re-clone, switches all PCs on, and waits until all are off.
    pub fn night(&mut self, monitor: MonitorOf<'_>) -> Result<NightReport, RehearsalError> {
        let begun = Instant::now();
        let night = self.server()?.night.clone();
        let now = night.now();
        let (_, run) = night.ask(NewIntent {
            room: self.room.clone(),
            selection: self.selection(),
            asked_by: "rehearsal".to_owned(),
            not_before: now,
            expires_at: now.checked_add(WINDOW).unwrap_or(jiff::Timestamp::MAX),
            kind: IntentKind::Reclone { image: None },
        })?;
        let run = run.ok_or(NightError::TooLate)?;
        let stop = AtomicBool::new(false);
        let names = &self.names;
        let ended: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .pcs
                .iter_mut()
                .zip(names)
                .map(|(pc, name)| {
                    let stop = &stop;
                    scope.spawn(move || pc.night(monitor(name).as_ref(), stop))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        for (ended, name) in ended.into_iter().zip(names) {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(source)) => return Err(RehearsalError::Pc { machine: name.clone(), source }),
                Err(_) => return Err(RehearsalError::Broken(format!("{name} was cut short"))),
            }
        }
        let mut report = NightReport { run, took: begun.elapsed(), states: BTreeMap::new(), totals: BTreeMap::new() };
        for machine_run in night.store().machine_runs(run).map_err(NightError::Store)? {
            if let Some(totals) = machine_run.totals {
                report.totals.insert(machine_run.machine.clone(), totals);
            }
            report.states.insert(machine_run.machine, machine_run.state);
        }
        Ok(report)
    }

    /// Gets a confirmation ID for every pending installation ID from the simulated portal and imports the table.
    pub fn issue_confirmations(&self) -> Result<usize, RehearsalError> {
        let night = &self.server()?.night;
        let portal = Portal::of(&self.world);
        let mut rows = Vec::new();
        for pending in night.store().pending_list().map_err(NightError::Store)? {
            let cid = portal
                .issue(&pending.iid, &pending.product)
                .map_err(|error| RehearsalError::Broken(error.to_string()))?;
            rows.push(ExchangeRow {
                machine: pending.machine,
                product: pending.product,
                iid: pending.iid,
                cid: Some(cid),
                title: String::new(),
            });
        }
        let table = write_csv(&rows, Separator::for_language(crate::room::Language::En));
        let result = night.import_confirmations(&table)?;
        Ok(result.accepted.len())
    }

    /// Plays a school day on every disk: at least `fraction` of the used leaves change.
    pub fn day(&self, fraction: f64, seed: u64) -> Result<DayReport, RehearsalError> {
        let night = &self.server()?.night;
        let mask = self.image.mask()?;
        let mut report = DayReport::default();
        for (i, pc) in self.pcs.iter().enumerate() {
            let disk = FileDisk::open(pc.disk(), Access::Exclusive)?;
            let day = dirty(&disk, self.image.header(), &mask, fraction, seed.wrapping_add(i as u64))?;
            report.bytes += day.bytes;
            report.leaves += day.leaves.len() as u64;
            report.masked_bytes += day.masked_bytes;
            report.used_leaves = day.used_leaves;
            for leaf in day.leaves {
                let hash = usize::try_from(leaf).ok().and_then(|at| self.image.leaves().get(at));
                if let Some(hash) = hash
                    && let Some(packed) = night.images().leaves().get(hash)?
                {
                    report.compressed += packed.zstd.len() as u64;
                }
            }
        }
        Ok(report)
    }

    /// Compares every PC's disk with the master under the mask, byte for byte; the PCs whose disk is not right.
    pub fn differences(&self) -> Result<BTreeMap<MachineName, Difference>, RehearsalError> {
        let mask = self.image.mask()?;
        let mut wrong = BTreeMap::new();
        for (pc, name) in self.pcs.iter().zip(&self.names) {
            let found = equal_under_mask(&self.master, pc.disk(), self.image.header(), &mask, &self.zero)?;
            if let Some(difference) = found {
                wrong.insert(name.clone(), difference);
            }
        }
        Ok(wrong)
    }

    /// How many PCs say, asked anew, that they are activated.
    pub fn activated(&mut self) -> usize {
        self.pcs
            .iter_mut()
            .filter_map(SimPc::license_status)
            .filter(|status| *status == LicenseStatus::Licensed)
            .count()
    }

    /// The least that one PC has to fetch to know what differs: head, mask and, where all groups differ, all leaf hashes.
    pub fn index_bytes(&self) -> u64 {
        let leaves = self.image.header().leaf_count() * 32;
        self.image.head_bytes().len() as u64 + self.image.mask_bytes().len() as u64 + leaves
    }
}

impl Drop for School {
    fn drop(&mut self) {
        self.stop_server();
    }
}

fn master(
    options: &SchoolOptions,
    facts: &WindowsFacts,
    made: Option<FirmwareKind>,
    tell: &dyn Fn(&str),
) -> Result<PathBuf, RehearsalError> {
    let firmware = match (made, &options.image) {
        (Some(firmware), _) => firmware,
        (None, Some(image)) => {
            tell(&format!("taking {} as the master's disk", image.display()));
            return Ok(image.clone());
        }
        (None, None) => return Err(RehearsalError::Broken("there is no master".to_owned())),
    };
    tell("making a master's disk");
    let path = options.folder.join("master.disk");
    let edition = facts.edition.clone().unwrap_or_else(|| "Education".to_owned());
    let windows = SimWindows {
        build: facts.build.unwrap_or(22631),
        product: facts.product.clone().unwrap_or_else(|| format!("Windows {edition}")),
        edition,
        generalized: facts.generalized != Some(false),
        skip_rearm: facts.skip_rearm == Some(true),
        key_channel: facts.key_channel.unwrap_or(KeyChannel::Mak),
    };
    let wanted = MasterOptions { bytes_used: options.bytes_used, firmware, seed: options.seed, windows };
    build_master(&path, &wanted)?;
    Ok(path)
}

/// The room's MAK, where it has one, by its last five characters.
fn partial_of(
    profiles: &Profiles,
    room: &Room,
    sources: &key_values::Sources,
) -> Result<Option<String>, RehearsalError> {
    let Strategy::MakProxy { key: name } = &room.activation else { return Ok(None) };
    let Some(key) = profiles.site.keys.get(name) else { return Ok(None) };
    Ok(Some(key_values::partial(name, key, sources).map_err(NightError::Key)?))
}

struct VolumeOf<'a> {
    disk: &'a FileDisk,
    start: u64,
}

impl ntfs::ReadAt for VolumeOf<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        crate::disk::Disk::read_at(self.disk, self.start + offset, buf).map_err(io::Error::other)
    }
}

/// The heads of page and hibernation files, which an image holds as zeros.
fn heads(disk: &FileDisk, image: &StoredImage) -> Result<Vec<Extent>, RehearsalError> {
    let mut out = Vec::new();
    for region in &image.header().regions {
        if let RegionKind::Partition { file_system, .. } = &region.kind
            && file_system == "ntfs"
        {
            let volume = ntfs::inspect(&VolumeOf { disk, start: region.extent.start }, region.extent.len)
                .map_err(|error| RehearsalError::Broken(error.to_string()))?;
            let here = |extent: Extent| Extent { start: region.extent.start + extent.start, len: extent.len };
            out.extend(volume.zero.into_iter().map(here));
        }
    }
    Ok(out)
}

fn mac(i: usize) -> Mac {
    let [high, low] = (i as u16 + 1).to_be_bytes();
    Mac([0x52, 0x54, 0x00, 0x65, high, low])
}

/// A product key that has the form of one and is none, and its last five characters.
fn make_key(seed: u64) -> Result<(ProductKey, String), RehearsalError> {
    const LETTERS: &[u8] = b"BCDFGHJKMPQRTVWXY2346789";
    let bytes = Hash::of(format!("rehearsal key {seed}").as_bytes()).0;
    let text: Vec<u8> = bytes.iter().take(25).map(|byte| LETTERS[usize::from(*byte) % LETTERS.len()]).collect();
    let text = text.chunks(5).map(|group| String::from_utf8_lossy(group).into_owned()).collect::<Vec<_>>().join("-");
    let key = ProductKey::parse(&text).map_err(|error| RehearsalError::Broken(error.to_string()))?;
    let partial = key.partial().to_owned();
    Ok((key, partial))
}

fn stand_in(seed: u64, name: &str, len: usize) -> Vec<u8> {
    let number = name.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut bytes = Vec::with_capacity(len + 32);
    let mut counter = 0u64;
    while bytes.len() < len {
        bytes.extend_from_slice(&Hash::of(format!("{number} {counter}").as_bytes()).0);
        counter += 1;
    }
    bytes.truncate(len);
    bytes
}

/// The folder of the profiles, and the room.
fn profiles(options: &SchoolOptions, partial: &str) -> Result<(PathBuf, RoomName), RehearsalError> {
    let strategy = match &options.room {
        RoomSource::Given { profiles, room } => return Ok((profiles.clone(), room.clone())),
        RoomSource::Made(strategy) => *strategy,
    };
    let (activation, build, edition, channel, environment, firmware) = match strategy {
        RoomStrategy::MakProxy => ("{ mak-proxy: { key: mak } }", 22631, "Education", "mak", "linux", "uefi"),
        RoomStrategy::Kms => ("{ kms: { host: kms.example.school } }", 19044, "EnterpriseS", "gvlk", "winpe", "uefi"),
        RoomStrategy::Grace => ("grace", 7601, "Professional", "gvlk", "linux", "bios"),
    };
    // A disk that was brought decides its firmware itself.
    let firmware = if options.image.is_some() { String::new() } else { format!("firmware: {firmware}\n") };
    let site = format!(
        "name: Rehearsal\nlanguage: en\ntime_zone: Europe/Berlin\nserver: {{ address: 127.0.0.1 }}\nnetwork: proxy\n\
         images:\n  rehearsal: {{ build: {build}, edition: {edition}, generalized: true, skip_rearm: false, \
         key_channel: {channel} }}\nkeys:\n  mak: {{ type: mak, edition: {edition}, in_image: {partial} }}\n"
    );
    let mut room = format!(
        "title: Room 101\nimage: rehearsal\nenvironment: {environment}\nidle: local\n{firmware}\
         activation: {activation}\nmachines:\n"
    );
    for i in 0..options.machines {
        room.push_str(&format!("  - {{ name: R101-{:02}, mac: '{}' }}\n", i + 1, mac(i)));
    }
    let folder = options.folder.join("profiles");
    fs::create_dir_all(folder.join("rooms")).map_err(file_error("create", &folder))?;
    for (name, text) in [("site.yaml", site), ("rooms/r101.yaml", room)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(file_error("write", &path))?;
    }
    let room = "r101".parse().map_err(|error: crate::room::RoomError| RehearsalError::Broken(error.to_string()))?;
    Ok((folder, room))
}
