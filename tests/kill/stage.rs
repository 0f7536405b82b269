//! The processes: one server and the PCs, what they say, and how they are killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use klonwerk::job::{RunId, Stage as At};
use klonwerk::sim::volume::noise::Noise;
use klonwerk::store::Run;

use crate::pc;
use crate::school::School;

/// Nothing here takes longer on a slow machine.
const TOO_LONG: Duration = Duration::from_secs(120);

/// What a PC says on its way; each is a moment to kill somebody at.
const MARKS: [&str; 13] = [
    "booted",
    "scanning",
    "scanned",
    "gate-closed",
    "writing",
    "verifying",
    "offline-hook",
    "gate-opened",
    "committed",
    "reported",
    "windows",
    "renamed",
    "activation",
];

/// When somebody is to be killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// A while after the life or the run began.
    After(Duration),
    /// A little after a PC said this.
    Mark(&'static str, Duration),
}

impl Moment {
    fn draw(noise: &mut Noise, usual: Duration) -> Self {
        if noise.below(2) == 0 {
            Self::After(usual.mul_f64(noise.below(1000) as f64 / 1000.0))
        } else {
            let mark = MARKS[noise.below(MARKS.len() as u64) as usize];
            Self::Mark(mark, Duration::from_micros(noise.below(20_000)))
        }
    }
}

struct Heard {
    pc: usize,
    life: u64,
    /// A mark; none at the end of the process.
    mark: Option<String>,
}

struct Life {
    child: Child,
    number: u64,
    begun: Instant,
    wish: Option<Moment>,
    kill_at: Option<Instant>,
    last_mark: String,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) pcs_killed: usize,
    pub(crate) servers_killed: usize,
    /// The marks after which PCs died.
    pub(crate) after: BTreeMap<String, usize>,
    /// Agents that were turned away and boot once more: the server died before their boot was noted, or the last words of
    /// a dead agent came after them.
    pub(crate) gave_up: usize,
}

pub(crate) struct Stage {
    pub(crate) school: School,
    pub(crate) tally: Tally,
    noise: Noise,
    lives: Vec<Option<Life>>,
    server: Option<Child>,
    next_life: u64,
    usual: Duration,
    tell: Sender<Heard>,
    hear: Receiver<Heard>,
}

impl Stage {
    pub(crate) fn new(school: School, seed: u64) -> Self {
        let (tell, hear) = mpsc::channel();
        let lives = school.names.iter().map(|_| None).collect();
        let mut stage = Self {
            school,
            tally: Tally::default(),
            noise: Noise::of(seed, 9),
            lives,
            server: None,
            next_life: 0,
            usual: Duration::from_millis(1500),
            tell,
            hear,
        };
        stage.start_server();
        stage
    }

    fn log(&self, name: &str) -> Stdio {
        let file = File::options().create(true).append(true).open(self.school.path().join(name)).expect("log");
        file.into()
    }

    fn child(&self, test: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command
            .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
            .env("KILL_FOLDER", self.school.path())
            .env("KILL_BOOT_PORT", self.school.boot_port.to_string())
            .stdin(Stdio::null());
        command
    }

    /// Starts the server without waiting for it.
    pub(crate) fn start_server(&mut self) {
        let mut command = self.child("child_server");
        self.server = Some(command.stdout(Stdio::null()).stderr(self.log("server.log")).spawn().expect("started"));
    }

    pub(crate) fn wait_for_server(&mut self) {
        let begun = Instant::now();
        while !self.school.answers() {
            let server = self.server.as_mut().expect("there is one");
            assert!(server.try_wait().expect("asked").is_none(), "the server ended; see server.log");
            assert!(begun.elapsed() < TOO_LONG, "the server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the server; the next one has to be started.
    pub(crate) fn kill_server(&mut self) {
        let mut server = self.server.take().expect("there is one");
        assert!(server.try_wait().expect("asked").is_none(), "the server ended by itself; see server.log");
        server.kill().expect("killed");
        assert_eq!(server.wait().expect("gone").signal(), Some(9));
        self.tally.servers_killed += 1;
    }

    /// Switches a PC on. With `hold` it stops at that mark until it is killed.
    pub(crate) fn switch_on(&mut self, pc: usize, hold: Option<&str>) {
        assert!(self.lives[pc].is_none(), "it is on");
        let number = self.next_life;
        self.next_life += 1;
        let mut command = self.child("child_pc");
        command.env("KILL_PC", pc.to_string()).env("KILL_HOLD", hold.unwrap_or_default());
        let stderr = self.log(&format!("pc-{pc}.log"));
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let tell = self.tell.clone();
        std::thread::spawn(move || {
            let said = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("mark ").map(str::to_owned));
            for mark in said.map(Some).chain([None]) {
                if tell.send(Heard { pc, life: number, mark }).is_err() {
                    return;
                }
            }
        });
        let last_mark = String::from("switched-on");
        self.lives[pc] = Some(Life { child, number, begun: Instant::now(), wish: None, kill_at: None, last_mark });
    }

    /// Kills a PC; whether it was still on.
    pub(crate) fn kill_pc(&mut self, pc: usize) -> bool {
        let mut life = self.lives[pc].take().expect("it is on");
        life.child.kill().expect("killed");
        let killed = life.child.wait().expect("gone").signal() == Some(9);
        if killed {
            self.tally.pcs_killed += 1;
            *self.tally.after.entry(life.last_mark).or_default() += 1;
        }
        killed
    }

    fn next_heard(&self, until: Instant) -> Option<Heard> {
        loop {
            match self.hear.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(heard) if self.lives[heard.pc].as_ref().is_some_and(|life| life.number == heard.life) => {
                    return Some(heard);
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => unreachable!("one sender is kept here"),
            }
        }
    }

    /// Waits until a PC says so.
    pub(crate) fn wait_for_mark(&mut self, pc: usize, wanted: &str) {
        let until = Instant::now() + TOO_LONG;
        loop {
            let heard = self.next_heard(until).unwrap_or_else(|| panic!("PC {pc} never came to {wanted}"));
            let mark = heard.mark.unwrap_or_else(|| panic!("PC {} ended before PC {pc} came to {wanted}", heard.pc));
            let here = heard.pc == pc && mark == wanted;
            self.lives[heard.pc].as_mut().expect("it is on").last_mark = mark;
            if here {
                return;
            }
        }
    }

    /// Waits until a PC has switched itself off.
    pub(crate) fn wait_until_off(&mut self, pc: usize) {
        let until = Instant::now() + TOO_LONG;
        while self.lives[pc].is_some() {
            let heard = self.next_heard(until).unwrap_or_else(|| panic!("PC {pc} is still on"));
            match heard.mark {
                Some(mark) => self.lives[heard.pc].as_mut().expect("it is on").last_mark = mark,
                None => assert!(self.ended(heard.pc), "PC {} was turned away", heard.pc),
            }
        }
    }

    /// A PC's process has ended by itself. Whether it is off in peace; otherwise it has to be switched on again.
    fn ended(&mut self, pc: usize) -> bool {
        let mut life = self.lives[pc].take().expect("it was on");
        let status = life.child.wait().expect("gone");
        match status.code() {
            Some(pc::OFF) => {
                // Slowly follows what a whole life takes, so that moments are spread over all of it.
                self.usual = (self.usual * 3 + life.begun.elapsed()) / 4;
                true
            }
            Some(pc::AGENT_GAVE_UP) => {
                self.tally.gave_up += 1;
                false
            }
            Some(pc::NOTHING_TO_START) => panic!("PC {pc} is stranded: nothing to start, and nobody images it"),
            _ => panic!("PC {pc} ended with {status} after {}; see pc-{pc}.log", life.last_mark),
        }
    }

    /// Plays a run to its end: all PCs on, each killed up to `each` times and the server `servers` times, each time at a
    /// random moment; who was killed starts again.
    pub(crate) fn play(&mut self, each: usize, servers: usize) {
        let mut left = vec![each; self.lives.len()];
        let mut servers_left = servers;
        for (pc, left) in left.iter_mut().enumerate() {
            self.switch_on_doomed(pc, left);
        }
        let mut server = self.doom_for_server(&mut servers_left);
        let end = Instant::now() + TOO_LONG;
        while self.lives.iter().any(Option::is_some) {
            assert!(Instant::now() < end, "the run does not end: {:?}", self.school.runs().first());
            let due = self.lives.iter().flatten().filter_map(|life| life.kill_at).chain(server.1).min();
            if let Some(heard) = self.next_heard(due.unwrap_or(end).min(end)) {
                match heard.mark {
                    Some(mark) => {
                        let life = self.lives[heard.pc].as_mut().expect("it is on");
                        for (wish, at) in [(&mut life.wish, &mut life.kill_at), (&mut server.0, &mut server.1)] {
                            if let Some(Moment::Mark(wanted, later)) = *wish
                                && wanted == mark
                            {
                                *wish = None;
                                *at = Some(Instant::now() + later);
                            }
                        }
                        life.last_mark = mark;
                    }
                    None if self.ended(heard.pc) => {}
                    None => self.switch_on(heard.pc, None),
                }
            }
            let now = Instant::now();
            for (pc, left) in left.iter_mut().enumerate() {
                if self.lives[pc].as_ref().and_then(|life| life.kill_at).is_some_and(|at| at <= now) {
                    if self.kill_pc(pc) {
                        self.switch_on_doomed(pc, left);
                    } else {
                        self.switch_on(pc, None);
                    }
                }
            }
            if server.1.is_some_and(|at| at <= now) {
                self.kill_server();
                self.start_server();
                server = self.doom_for_server(&mut servers_left);
            }
        }
    }

    fn switch_on_doomed(&mut self, pc: usize, left: &mut usize) {
        self.switch_on(pc, None);
        if *left > 0 {
            *left -= 1;
            let moment = Moment::draw(&mut self.noise, self.usual);
            let life = self.lives[pc].as_mut().expect("it is on");
            match moment {
                Moment::After(time) => life.kill_at = Some(life.begun + time),
                Moment::Mark(..) => life.wish = Some(moment),
            }
        }
    }

    fn doom_for_server(&mut self, left: &mut usize) -> (Option<Moment>, Option<Instant>) {
        if *left == 0 {
            return (None, None);
        }
        *left -= 1;
        match Moment::draw(&mut self.noise, self.usual) {
            Moment::After(time) => (None, Some(Instant::now() + time)),
            moment => (Some(moment), None),
        }
    }

    /// Asks for a run while the server is killed; the run that came of it, asked for again where none did.
    pub(crate) fn ask_while_the_server_dies(&mut self, asked_by: &str) -> RunId {
        self.wait_for_server();
        let wait = Duration::from_micros(self.noise.below(25_000));
        let mut server = self.server.take().expect("there is one");
        let answer = self.school.reclone_while(asked_by, || {
            std::thread::sleep(wait);
            server.kill().expect("killed");
            assert_eq!(server.wait().expect("gone").signal(), Some(9));
        });
        self.tally.servers_killed += 1;
        self.start_server();
        self.wait_for_server();
        // An intent that was stored becomes a run at the first tick; this waits for it, or sees that there is none.
        let patience = Instant::now();
        let found = loop {
            let found: Vec<Run> = self.school.runs().into_iter().filter(|run| run.asked_by == asked_by).collect();
            assert!(found.len() < 2, "{asked_by} became {} runs", found.len());
            if let Some(run) = found.first() {
                break Some(run.id);
            }
            if patience.elapsed() > crate::school::TICK {
                break None;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(answer.is_none() || answer == found, "run {answer:?} was promised and is lost");
        let run = found.unwrap_or_else(|| self.school.reclone(asked_by, 3600));
        // A PC that boots before its turn has come starts its disk.
        while self.school.run(run).machines.iter().any(|machine| machine.state.stage() == At::Queued) {
            assert!(patience.elapsed() < TOO_LONG, "run {run} does not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
        run
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let children = self.lives.iter_mut().flatten().map(|life| &mut life.child).chain(&mut self.server);
        for child in children {
            // A test that fails must leave no process behind.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
