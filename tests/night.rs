//! The runner with a clock that the test moves: who gets work, what expires, what resumes, what two claimants cause.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use klonwerk::activation::acpi::Msdm;
use klonwerk::activation::hardware::{Acpi, HardwareFacts, Label, Table};
use klonwerk::agent::protocol::{CheckIn, CheckInAnswer, HookResult, ImagingReport, WindowsCheckIn, Work};
use klonwerk::boot::firmware::{Architecture, Firmware, Loader};
use klonwerk::boot::{BootDirectory, BootSubject};
use klonwerk::clock::{Clock, ManualClock};
use klonwerk::image::manifest::Manifest;
use klonwerk::image::{Extent, Hash, Header, ImageFile, LEAF_BYTES, Mask, Region, RegionKind, TableKind, WindowsFacts};
use klonwerk::job::intent::NewIntent;
use klonwerk::job::state::FailureReason;
use klonwerk::job::{IntentKind, MachineState, RunId, Stage};
use klonwerk::night::{Night, NightError, Parts, RunEvent, facts, key_values};
use klonwerk::packs::{ImageStore, SigningKeyFile};
use klonwerk::profile::load;
use klonwerk::progress::{ImagingEvent, ImagingTotals};
use klonwerk::room::{Mac, MachineName, MachineUuid, Selection};
use klonwerk::store::{Store, StoreKey};

const SITE: &str = "name: Test\nlanguage: en\ntime_zone: Europe/Berlin\nserver: { address: 127.0.0.1 }\nnetwork: proxy\n\
    images:\n  win: { build: 22631, edition: Education, generalized: true, key_channel: mak }\n";
const ROOM: &str = "title: Room\nimage: win\nenvironment: linux\nidle: silent\nactivation: none\nhooks: [computer-name]\nmachines:\n  \
    - { name: PC-1, mac: '52:54:00:00:00:01', uuid: 4c4c4544-0042-4a10-8052-b4c04f513233 }\n  \
    - { name: PC-2, mac: '52:54:00:00:00:02' }\n";

/// PC-1's.
const UUID: &str = "4c4c4544-0042-4a10-8052-b4c04f513233";

struct Bench {
    folder: tempfile::TempDir,
    clock: ManualClock,
    night: Night,
}

fn mac(n: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, n])
}

fn pc(n: u8) -> MachineName {
    format!("PC-{n}").parse().expect("name")
}

fn hello(n: u8) -> CheckIn {
    let uuid = (n == 1).then(|| UUID.parse().expect("uuid"));
    CheckIn { mac: mac(n), uuid, token: None, version: "test".to_owned(), hardware: None }
}

/// An image of one empty leaf: the runner only hands its root on.
fn add_image(store: &ImageStore, key: &SigningKeyFile) {
    let bytes = u64::from(LEAF_BYTES);
    let header = Header {
        format: 1,
        image: "win@1".parse().expect("image"),
        created: Timestamp::UNIX_EPOCH,
        disk_bytes: bytes,
        sector_bytes: 512,
        leaf_bytes: LEAF_BYTES,
        table: TableKind::Mbr,
        regions: vec![Region { kind: RegionKind::Table, extent: Extent { start: 0, len: bytes } }],
        gate: vec![Extent { start: 0, len: 512 }],
        note: None,
        windows: WindowsFacts::default(),
    };
    let manifest = Manifest { header, mask: Mask::default(), leaves: vec![Hash::of_zeros(bytes)] };
    store.put(ImageFile::sign(&manifest, &key.signing_key()).expect("signed")).expect("stored");
}

fn open(folder: &Path, clock: &ManualClock) -> Night {
    let store = Store::open(
        &folder.join("db"),
        StoreKey::open_or_create(&folder.join("db.key")).expect("key"),
        Arc::new(clock.clone()),
    );
    let images = ImageStore::open(&folder.join("images")).expect("images");
    let key = SigningKeyFile::open_or_create(&folder.join("sign.key")).expect("key");
    if images.list().is_empty() {
        add_image(&images, &key);
    }
    Night::new(Parts {
        store: store.expect("store"),
        images,
        public_key: key.verifying_key().to_bytes(),
        profiles: load::load(&folder.join("profiles")).expect("profiles"),
        clock: Arc::new(clock.clone()),
        key_values: key_values::Sources::default(),
    })
    .expect("a runner")
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        fs::create_dir_all(folder.path().join("profiles/rooms")).expect("folder");
        fs::write(folder.path().join("profiles/site.yaml"), SITE).expect("site");
        fs::write(folder.path().join("profiles/rooms/r1.yaml"), ROOM).expect("room");
        let clock = ManualClock::new("2026-11-24T01:00:00Z".parse().expect("time"));
        let night = open(folder.path(), &clock);
        Self { folder, clock, night }
    }

    /// Ends the runner as a crash would, after the store has what it has, and starts another.
    fn restart(self) -> Self {
        let Self { folder, clock, night } = self;
        night.store().close();
        drop(night);
        let night = open(folder.path(), &clock);
        Self { folder, clock, night }
    }

    fn ask(&self, kind: IntentKind, window: u64) -> Result<RunId, NightError> {
        let now = self.clock.now();
        let intent = NewIntent {
            room: "r1".parse().expect("room"),
            selection: Selection::default(),
            asked_by: "test".to_owned(),
            not_before: now,
            expires_at: now.checked_add(Duration::from_secs(window)).expect("time"),
            kind,
        };
        Ok(self.night.ask(intent)?.1.expect("it is due"))
    }

    fn reclone(&self, window: u64) -> RunId {
        self.ask(IntentKind::Reclone { image: None }, window).expect("a run")
    }

    fn stage(&self, run: RunId, n: u8) -> Stage {
        self.night.store().machine_run(run, &pc(n)).expect("machine run").state.stage()
    }

    fn work(&self, n: u8, run: RunId) -> Work {
        self.night.answered(mac(n), run.0);
        match self.night.check_in(&hello(n)).expect("an answer") {
            CheckInAnswer::Work(work) => *work,
            other => panic!("no work: {other:?}"),
        }
    }

    fn progress(&self, work: &Work, event: ImagingEvent) -> Result<(), NightError> {
        self.night.report(&work.session, ImagingReport::Progress { event })
    }

    fn commit(&self, work: &Work) -> Result<(), NightError> {
        let totals = ImagingTotals { read: 1, fetched: 2, written: 3, dirty_leaves: 4 };
        self.night.report(&work.session, ImagingReport::Committed { totals })
    }
}

#[test]
fn only_a_pc_that_just_booted_from_here_gets_work() {
    let bench = Bench::new();
    assert!(matches!(bench.night.check_in(&hello(9)), Err(NightError::Stranger(_))));
    assert!(matches!(bench.night.check_in(&hello(1)), Ok(CheckInAnswer::Nothing { .. })));
    let run = bench.reclone(3600);
    assert!(matches!(bench.night.check_in(&hello(1)), Err(NightError::NotBooted { .. })));
    bench.night.answered(mac(1), run.0);
    bench.clock.advance(Duration::from_secs(16 * 60));
    assert!(matches!(bench.night.check_in(&hello(1)), Err(NightError::NotBooted { .. })), "too long ago");
    let work = bench.work(1, run);
    assert_eq!((work.run, work.machine), (run.0, pc(1)));
    assert_eq!(bench.stage(run, 1), Stage::Imaging);
    assert_eq!(bench.stage(run, 2), Stage::AwaitingBoot);
    assert!(matches!(
        bench.night.report("nonsense", ImagingReport::Failed { reason: String::new() }),
        Err(NightError::NoSession)
    ));
}

#[test]
fn a_known_card_on_another_pc_is_nobody() {
    let bench = Bench::new();
    let run = bench.reclone(3600);
    let other: MachineUuid = "00000000-0000-0000-0000-000000000001".parse().expect("uuid");
    assert!(matches!(bench.night.subject(mac(1), Some(other)), BootSubject::Impostor { .. }));
    bench.night.answered(mac(1), run.0);
    let mut events = bench.night.listen();
    let stranger = CheckIn { uuid: Some(other), ..hello(1) };
    assert!(matches!(bench.night.check_in(&stranger), Err(NightError::Stranger(_))));
    let without = CheckIn { uuid: None, ..hello(1) };
    assert!(matches!(bench.night.check_in(&without), Err(NightError::Stranger(_))), "an agent knows its UUID");
    let told = std::iter::from_fn(|| events.try_recv().ok());
    assert!(told.into_iter().any(|event| matches!(event, RunEvent::Alarm { .. })), "it is reported");
}

#[test]
fn nothing_is_touched_after_the_window() {
    let bench = Bench::new();
    let run = bench.reclone(60);
    let late = bench.work(2, run);
    bench.clock.advance(Duration::from_secs(61));
    assert!(matches!(bench.night.subject(mac(1), None), BootSubject::Known(known) if known.run.is_none()));
    // This one had its work in time and asks to close the gate now: too late, its disk stays as it is.
    assert!(matches!(bench.progress(&late, ImagingEvent::GateClosed), Err(NightError::Expired(_))));
    bench.night.tick().expect("a tick");
    assert_eq!((bench.stage(run, 1), bench.stage(run, 2)), (Stage::Expired, Stage::Expired));
    assert!(bench.night.store().run(run).expect("run").closed_at.is_some());
    assert!(matches!(bench.night.check_in(&hello(1)), Ok(CheckInAnswer::Nothing { .. })));
}

#[test]
fn a_half_written_disk_is_finished_whenever_it_boots() {
    let bench = Bench::new();
    let run = bench.reclone(60);
    let work = bench.work(1, run);
    bench.progress(&work, ImagingEvent::GateClosed).expect("in time");
    // The PC loses its power, the server too; it is long past the window when both are back.
    bench.clock.advance(Duration::from_secs(9 * 3600));
    bench.night.tick().expect("a tick");
    assert_eq!(bench.stage(run, 1), Stage::Failed, "nothing was heard for too long");
    let bench = bench.restart();
    assert_eq!(bench.night.store().half_written(&pc(1)).expect("mark"), Some(run));
    assert!(matches!(bench.night.subject(mac(1), None), BootSubject::Known(known) if known.run.is_some()));
    let work = bench.work(1, run);
    bench.progress(&work, ImagingEvent::GateClosed).expect("the exception");
    bench.commit(&work).expect("committed");
    assert_eq!(bench.stage(run, 1), Stage::AwaitingWindows);
    assert_eq!(bench.night.store().half_written(&pc(1)).expect("mark"), None);
}

#[test]
fn a_restarted_agent_goes_on_and_two_live_ones_are_held() {
    let bench = Bench::new();
    let run = bench.reclone(3600);
    let first = bench.work(1, run);
    let second = bench.work(1, run);
    // A request of the first that was on its way is refused, and that is all.
    assert!(matches!(bench.progress(&first, ImagingEvent::GateOpened), Err(NightError::NoSession)));
    bench.progress(&second, ImagingEvent::GateOpened).expect("the newer one works");
    bench.clock.advance(Duration::from_secs(30));
    assert!(matches!(bench.progress(&first, ImagingEvent::GateOpened), Err(NightError::Held(_))));
    assert!(matches!(bench.progress(&second, ImagingEvent::GateOpened), Err(NightError::Held(_))));
    assert_eq!(bench.stage(run, 1), Stage::Held);
    bench.night.answered(mac(1), run.0);
    assert!(matches!(bench.night.check_in(&hello(1)), Err(NightError::Held(_))));
    assert!(matches!(bench.night.resolve(&pc(2)), Err(NightError::NotHeld(_))));
    assert_eq!(bench.night.resolve(&pc(1)).expect("resolved"), run);
    let third = bench.work(1, run);
    bench.progress(&third, ImagingEvent::GateOpened).expect("it counts");
}

#[test]
fn results_count_once_however_often_they_are_told() {
    let bench = Bench::new();
    let run = bench.reclone(3600);
    let work = bench.work(2, run);
    bench.commit(&work).expect("committed");
    bench.commit(&work).expect("again");
    let windows = WindowsCheckIn { mac: mac(2), computer_name: "WIN".to_owned(), windows: WindowsFacts::default() };
    let left = bench.night.windows_check_in(&work.credential, &windows).expect("work");
    assert_eq!(left.hooks.len(), 1);
    let done = HookResult::Done { what: "renamed".to_owned() };
    for _ in 0..3 {
        bench.night.hook_result(&work.credential, left.hooks[0].index, &done).expect("recorded");
    }
    assert!(matches!(bench.night.hook_result(&work.credential, 7, &done), Err(NightError::NoHook { .. })));
    assert_eq!(bench.stage(run, 2), Stage::Done);
    let results = bench.night.store().hook_results(run, &pc(2)).expect("results");
    assert_eq!(results.iter().filter(|attempt| attempt.result_json.is_some()).count(), 1);
    let again = bench.night.windows_check_in(&work.credential, &windows).expect("over");
    assert!(again.hooks.is_empty());
    // The credential is another PC's note now.
    let thief = WindowsCheckIn { mac: mac(1), ..windows };
    assert!(matches!(bench.night.windows_check_in(&work.credential, &thief), Err(NightError::Stranger(_))));
}

#[test]
fn a_pc_that_went_silent_times_out_and_can_be_tried_again() {
    let bench = Bench::new();
    let run = bench.reclone(8 * 3600);
    bench.work(1, run);
    bench.clock.advance(Duration::from_secs(5 * 3600));
    bench.night.tick().expect("a tick");
    let state = bench.night.store().machine_run(run, &pc(1)).expect("machine run").state;
    assert!(matches!(state, MachineState::Failed { reason: FailureReason::TimedOut { .. }, .. }), "{state:?}");
    assert_eq!(bench.stage(run, 2), Stage::AwaitingBoot, "whoever has not come yet has until the window ends");
    bench.ask(IntentKind::Retry { run }, 3600).expect("again");
    assert_eq!(bench.stage(run, 1), Stage::AwaitingBoot);
    bench.work(1, run);
    bench.ask(IntentKind::Cancel { run }, 3600).expect("cancelled");
    assert_eq!((bench.stage(run, 1), bench.stage(run, 2)), (Stage::Cancelled, Stage::Cancelled));
}

#[test]
fn a_machine_is_in_one_open_run_only() {
    let bench = Bench::new();
    let run = bench.reclone(3600);
    let mut events = bench.night.listen();
    let now = bench.clock.now();
    let intent = NewIntent {
        room: "r1".parse().expect("room"),
        selection: Selection::default(),
        asked_by: "impatient".to_owned(),
        not_before: now,
        expires_at: now.checked_add(Duration::from_secs(60)).expect("time"),
        kind: IntentKind::Reclone { image: None },
    };
    let (_, second) = bench.night.ask(intent).expect("recorded");
    assert_eq!(second, None);
    assert!(matches!(events.try_recv(), Ok(RunEvent::Alarm { .. })));
    assert_eq!(bench.stage(run, 1), Stage::AwaitingBoot);
    let runs: BTreeMap<_, _> =
        bench.night.store().runs(10).expect("runs").into_iter().map(|run| (run.id, ())).collect();
    assert_eq!(runs.len(), 1);
}

#[test]
fn a_token_for_work_by_hand_opens_one_pc_once() {
    let bench = Bench::new();
    let run = bench.reclone(3600);
    let token = bench.night.make_token(&pc(1)).expect("a token");
    let with = |n| CheckIn { token: Some(token.clone()), ..hello(n) };
    assert!(matches!(bench.night.check_in(&with(2)), Err(NightError::NotBooted { .. })), "another PC's token");
    assert!(matches!(bench.night.check_in(&with(1)), Ok(CheckInAnswer::Work(_))));
    assert_eq!(bench.stage(run, 1), Stage::Imaging);
    assert!(matches!(bench.night.check_in(&with(1)), Err(NightError::NotBooted { .. })), "used");
}

#[test]
fn unknown_pcs_are_listed_and_a_flood_of_them_is_bounded() {
    let bench = Bench::new();
    let firmware = Firmware { architecture: Architecture::UefiX64, loader: Loader::Pxe };
    for i in 0..3000u16 {
        let [high, low] = i.to_be_bytes();
        bench.night.seen(Mac([2, 0, 0, 0, high, low]), None, &BootSubject::Unknown, firmware);
    }
    bench.night.note_boots().expect("noted");
    let list = bench.night.store().unknown_list().expect("list");
    assert_eq!(list.len(), 1000);
}

#[test]
fn what_a_pc_tells_of_its_hardware_is_kept_with_the_machine() {
    let bench = Bench::new();
    let run = bench.reclone(3600);
    assert_eq!(facts::hardware(bench.night.store(), &pc(2)).expect("asked"), None);
    let told = HardwareFacts {
        acpi: Acpi { slic: Table::Absent, msdm: Table::Present(Msdm { has_key: true }) },
        vendor: Some(Label::new("Dell Inc.")),
        ..HardwareFacts::default()
    };
    // Not from a PC that has not booted from here.
    let with = |hardware: &HardwareFacts| CheckIn { hardware: Some(hardware.clone()), ..hello(2) };
    assert!(matches!(bench.night.check_in(&with(&told)), Err(NightError::NotBooted { .. })));
    assert_eq!(facts::hardware(bench.night.store(), &pc(2)).expect("asked"), None);
    bench.night.answered(mac(2), run.0);
    assert!(matches!(bench.night.check_in(&with(&told)), Ok(CheckInAnswer::Work(_))));
    assert_eq!(facts::hardware(bench.night.store(), &pc(2)).expect("asked"), Some(told.clone()));
    // An agent that tells nothing, or repeats itself, takes nothing away.
    assert!(matches!(bench.night.check_in(&hello(2)), Ok(CheckInAnswer::Work(_))));
    let bench = bench.restart();
    assert_eq!(facts::hardware(bench.night.store(), &pc(2)).expect("asked"), Some(told));
}
