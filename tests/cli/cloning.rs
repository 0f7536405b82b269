//! Runs from the command line, and an agent by hand.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use klonwerk::activation::confirmation::{InstallationId, ProductRef, check_digit};
use klonwerk::activation::hook::{ConfirmationAnswer, Outcome};
use klonwerk::agent::client::{Client, Patience};
use klonwerk::agent::note::{NOTE_BYTES, NOTE_OFFSET, Note};
use klonwerk::agent::protocol::{ConfirmationWanted, HookResult, WindowsAction, WindowsCheckIn};
use klonwerk::image::ntfs::{ReadAt, inspect};
use klonwerk::image::{Extent, Header, RegionKind, WindowsFacts};
use klonwerk::packs::{Access, ImageStore};
use klonwerk::sim::master::equal_under_mask;
use rustix::process::Signal;
use serde_json::json;

use crate::school::{School, Serving, Watching};

/// Groups of digits, the last of each its check digit.
fn digits(groups: usize, size: usize) -> String {
    let body: String = "1357924680".chars().take(size - 1).collect();
    format!("{body}{}", check_digit(&body)).repeat(groups)
}

fn product() -> ProductRef {
    ProductRef { activation_id: "0f0a5a2c-7c9d-4a6c-8f11-0c6f2b5b0001".to_owned(), partial_key: "3V66T".to_owned() }
}

/// What the resident agent would do in a Windows that is named and whose activation waits for its confirmation ID.
fn windows(note: &Note) {
    let client = Client::connect(&note.server, &note.pin, Patience::default()).unwrap().with_bearer(&note.credential);
    let hello = WindowsCheckIn {
        mac: "52:54:00:00:02:01".parse().unwrap(),
        computer_name: "WIN-1".to_owned(),
        windows: WindowsFacts::default(),
    };
    for hook in client.windows_check_in(&hello).unwrap().hooks {
        let result = match hook.action {
            WindowsAction::Activation { .. } => {
                let wanted = ConfirmationWanted {
                    installation_id: InstallationId::parse(&digits(9, 7)).unwrap(),
                    product: product(),
                    extended_product_id: None,
                };
                assert_eq!(client.confirmation(&wanted).unwrap(), ConfirmationAnswer::Pending);
                let report = json!({ "outcome": Outcome::PendingIid, "activations_spent": 0, "calls": [] });
                HookResult::Activation { report: Box::new(serde_json::from_value(report).unwrap()) }
            }
            _ => HookResult::Done { what: "done by the test".to_owned() },
        };
        client.hook_result(hook.index, &result).unwrap();
    }
}

/// A volume of a disk file.
struct VolumeOf(File, u64);

impl ReadAt for VolumeOf {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.read_exact_at(buf, self.1 + offset)
    }
}

/// The heads of page and hibernation files, which an image holds as zeros.
fn heads(disk: &Path, header: &Header) -> Vec<Extent> {
    let mut heads = Vec::new();
    for region in &header.regions {
        if matches!(&region.kind, RegionKind::Partition { file_system, .. } if file_system == "ntfs") {
            let start = region.extent.start;
            let volume = inspect(&VolumeOf(File::open(disk).unwrap(), start), region.extent.len).unwrap();
            heads.extend(volume.zero.into_iter().map(|head| Extent { start: start + head.start, len: head.len }));
        }
    }
    heads
}

fn agent(school: &School, serving: &Serving, more: &[&str]) -> crate::school::Said {
    let (url, pin) = (serving.address("agent_url"), serving.address("pin"));
    let mut command = school.command(&["agent", "image", "--server", url, "--pin", pin, "--patience", "20"]);
    crate::school::Said::of(command.args(more).output().unwrap())
}

#[test]
fn a_run_is_watched_while_an_agent_by_hand_brings_the_disk_back() {
    let school = School::new();
    let master = school.capture();
    let serving = school.serve();
    let file = File::create(school.path("disk.img")).unwrap();
    file.set_len(fs::metadata(&master).unwrap().len()).unwrap();

    let watching = Watching::start(&mut school.command(&["reclone", "r2", "--json", "--state", "state"]));
    watching.hears("\"event\":\"started\"");
    let by_hand = ["--mac", "52:54:00:00:02:01", "--disk", "disk.img", "--threads", "2"];
    let stranger = agent(&school, &serving, &[&by_hand[..], &["--token", "x"]].concat());
    assert!(stranger.code == Some(1) && stranger.err.contains("R2-01 has not just booted"), "{stranger:?}");

    let token = school.klonwerk(&["machines", "token", "R2-01"]);
    let token = token.out.trim();
    let held = File::options().read(true).write(true).open(school.path("disk.img")).unwrap();
    held.try_lock().unwrap();
    let in_use = agent(&school, &serving, &[&by_hand[..], &["--token", token]].concat());
    assert!(in_use.code == Some(1) && in_use.err.contains("in use"), "{in_use:?}");
    drop(held);
    // The agent gave up, which ended the machine's part of the run.
    let said = watching.end();
    assert_eq!(said.code, Some(1), "{said:?}");
    let last: serde_json::Value = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
    assert_eq!(last["view"]["machines"][0]["state"]["state"], "failed", "{said:?}");

    // The same run once more.
    let retried = school.klonwerk(&["runs", "retry", "1"]);
    assert!(retried.code == Some(0) && retried.out.contains("1 awaiting network boot"), "{retried:?}");
    let show = school.klonwerk(&["runs", "show", "1", "R2-01"]);
    assert!(show.out.contains("tried again") && show.out.contains("in use"), "{show:?}");
    let token = school.klonwerk(&["machines", "token", "R2-01", "--json"]).json();
    let token = token["token"].as_str().unwrap();
    let done = agent(&school, &serving, &[&by_hand[..], &["--token", token, "--json"]].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    let events: Vec<serde_json::Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.last().unwrap()["machine"], "R2-01");
    assert!(events.iter().any(|event| event["at"] == "gate-opened"), "{done:?}");

    let disk = school.path("disk.img");
    let image = ImageStore::open_as(&school.path("state/images"), Access::ReadOnly).unwrap();
    let image = image.resolve(&"win11".parse().unwrap()).unwrap();
    let (header, mask) = (image.header(), image.mask().unwrap());
    let zero = heads(&master, header);
    assert_eq!(equal_under_mask(&master, &disk, header, &mask, &zero).unwrap(), None);

    let mut bytes = vec![0; NOTE_BYTES];
    File::open(&disk).unwrap().read_exact_at(&mut bytes, NOTE_OFFSET).unwrap();
    windows(&Note::decode(&bytes).unwrap());
    let show = school.klonwerk(&["runs", "show", "1", "--lang", "de"]);
    assert!(show.out.contains("fertig: die Bestätigungs-ID fehlt noch"), "{show:?}");
    assert!(show.out.contains("wartet auf eine Bestätigungs-ID, die Installations-ID ist erfasst"), "{show:?}");
    let runs = school.klonwerk(&["runs"]);
    assert!(runs.out.contains("tester") && runs.out.contains("win11@1"), "{runs:?}");

    // Its installation ID goes out, its confirmation ID comes in.
    let pending = school.klonwerk(&["activation", "pending", "--output", "ids.csv"]);
    assert!(pending.code == Some(0) && pending.out.contains("Installation IDs in ids.csv: 1"), "{pending:?}");
    let table = fs::read_to_string(school.path("ids.csv")).unwrap();
    let bare = school.klonwerk(&["activation", "pending"]);
    assert_eq!(bare.out, table);
    let mut reader: Vec<String> = table.lines().map(str::to_owned).collect();
    let mut columns: Vec<String> = reader[1].split(',').map(str::to_owned).collect();
    columns[4] = digits(8, 6);
    reader[1] = columns.join(",");
    fs::write(school.path("filled.csv"), reader.join("\r\n")).unwrap();
    let imported = school.klonwerk(&["activation", "import", "filled.csv"]);
    assert!(
        imported.code == Some(0) && imported.out.contains("Confirmation IDs stored: 1, refused: 0"),
        "{imported:?}"
    );
    let unfilled = school.klonwerk(&["activation", "import", "ids.csv"]);
    assert!(unfilled.code == Some(1) && unfilled.out.contains("fill in its column confirmation_id"), "{unfilled:?}");
    fs::write(school.path("bad.csv"), reader.join("\r\n").replace("R2-01", "R2-77")).unwrap();
    let refused = school.klonwerk(&["activation", "import", "bad.csv", "--lang", "de"]);
    assert!(refused.code == Some(1) && refused.out.contains("abgelehnt: "), "{refused:?}");

    // The next night knows this disk.
    let plan = school.klonwerk(&["plan", "r2"]);
    assert!(plan.out.contains("holds this image, about"), "{plan:?}");
    assert!(plan.out.contains("confirmation ID: stored"), "{plan:?}");
}

#[test]
fn a_watched_run_ends_with_zero_only_if_all_are_done_and_can_be_left() {
    let school = School::new();
    let master = school.capture();
    let serving = school.serve();

    // Left with Ctrl-C, it goes on.
    let watching = Watching::start(&mut school.command(&["reclone", "r1", "--except", "R1-03", "--state", "state"]));
    watching.hears("Run 1: room r1 goes back to win11@1, 2 PCs");
    watching.hears("R1-02: awaiting network boot");
    watching.signal(Signal::INT);
    let left = watching.end();
    assert!(left.code == Some(1) && left.err.contains("klonwerk runs show 1"), "{left:?}");
    let status = school.klonwerk(&["status"]);
    assert!(status.out.contains("Run 1, room r1, win11@1: 2 awaiting network boot"), "{status:?}");
    let cancelled = school.klonwerk(&["runs", "cancel", "1"]);
    assert!(cancelled.code == Some(0) && cancelled.out.contains("Now: 2 cancelled"), "{cancelled:?}");

    // A run whose machines are all done, seen to its end.
    let file = File::create(school.path("disk.img")).unwrap();
    file.set_len(fs::metadata(&master).unwrap().len()).unwrap();
    let watching = Watching::start(&mut school.command(&["reclone", "r2", "--state", "state"]));
    watching.hears("R2-01: awaiting network boot");
    let token = school.klonwerk(&["machines", "token", "R2-01"]);
    let by_hand = ["--mac", "52:54:00:00:02:01", "--disk", "disk.img", "--token", token.out.trim()];
    let done = agent(&school, &serving, &by_hand);
    assert!(done.code == Some(0) && done.out.contains("R2-01 holds its image (run 2)"), "{done:?}");
    watching.hears("R2-01: starting Windows");
    let mut bytes = vec![0; NOTE_BYTES];
    File::open(school.path("disk.img")).unwrap().read_exact_at(&mut bytes, NOTE_OFFSET).unwrap();
    windows(&Note::decode(&bytes).unwrap());
    let said = watching.end();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("ready: its confirmation ID is still to come"), "{said:?}");
    assert!(said.out.contains("not activated: waits for a confirmation ID"), "{said:?}");

    // The boot environment's way in: nothing waits for this PC.
    let (url, pin) = (serving.address("agent_url"), serving.address("pin"));
    let start = format!("server={url}\npin={pin}\nrun=2\nmac=52:54:00:00:01:01\nlanguage=de\n");
    fs::write(school.path("klonwerk.ini"), start).unwrap();
    let idle = school.command(&["agent", "start", "--start", "klonwerk.ini"]).output().unwrap();
    let idle = crate::school::Said::of(idle);
    assert!(idle.code == Some(0) && idle.out.starts_with("Nichts zu tun"), "{idle:?}");

    // Detached, it only begins.
    let detached = school.klonwerk(&["reclone", "r1", "--detach", "--json"]);
    assert_eq!((detached.code, detached.json()), (Some(0), json!({ "run": 3 })), "{detached:?}");
}

#[test]
fn a_watched_run_outlives_a_restart_of_the_server() {
    let school = School::new();
    school.capture();
    let serving = school.serve();
    let watching = Watching::start(&mut school.command(&["reclone", "r1", "--only", "R1-01", "--state", "state"]));
    watching.hears("R1-01: awaiting network boot");
    assert_eq!(serving.stop().0, Some(0));
    let _again = school.serve();
    let cancelled = school.klonwerk(&["runs", "cancel", "1"]);
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    let said = watching.end();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.lines().last().unwrap().contains("cancelled"), "{said:?}");
}
