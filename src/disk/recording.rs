//! A disk in memory that remembers every write and flush, so that a test can cut its power at each of them.
//!
//! What a cut may leave follows the rules of [`Disk`]: everything before the last finished flush is on the medium; of
//! what was written since, any part may be there, in any order, torn between two sectors.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskError, check_range, check_write};

/// One thing that changed the disk, or made changes durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A write.
    Write {
        /// Where it began.
        offset: u64,
        /// What was written.
        data: Vec<u8>,
    },
    /// A finished flush.
    Flush,
}

/// Which of the writes since the last flush a power cut left on the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// None.
    AllLost,
    /// All.
    NoneLost,
    /// A random choice, applied in random order.
    Shuffled,
    /// A random choice of their sectors.
    Torn,
}

/// A medium as a power cut may leave it.
#[derive(Debug, Clone)]
pub struct CrashState {
    /// How many operations had finished.
    pub after: usize,
    /// What was lost.
    pub loss: Loss,
    /// The bytes on the medium.
    pub medium: Vec<u8>,
}

#[derive(Debug)]
struct State {
    now: Vec<u8>,
    log: Vec<Operation>,
    cut_after: Option<usize>,
}

/// The recording form of the disk seam.
#[derive(Debug)]
pub struct RecordingDisk {
    base: Vec<u8>,
    sector: u32,
    state: Mutex<State>,
}

impl RecordingDisk {
    /// A disk with these durable contents and an empty record.
    pub fn new(base: Vec<u8>, sector_bytes: u32) -> Self {
        let state = State { now: base.clone(), log: Vec::new(), cut_after: None };
        Self { base, sector: sector_bytes, state: Mutex::new(state) }
    }

    /// Cuts the power after `operations` writes and flushes: every later access of any kind fails.
    pub fn cut_after(&self, operations: usize) {
        self.state().cut_after = Some(operations);
    }

    /// What was done so far, in order.
    pub fn operations(&self) -> Vec<Operation> {
        self.state().log.clone()
    }

    /// What a reader with power sees.
    pub fn contents(&self) -> Vec<u8> {
        self.state().now.clone()
    }

    /// Media that a power cut may leave, for a cut before the first operation and after each one: all unflushed writes
    /// lost, none lost, and `samples` random choices of each of the other two kinds. The same seed makes the same media.
    pub fn crash_states(&self, seed: u64, samples: usize) -> CrashStates {
        CrashStates {
            sector: self.sector as usize,
            log: self.operations(),
            durable: self.base.clone(),
            flushed: 0,
            after: 0,
            turn: 0,
            samples,
            random: Random(seed),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn powered(&self) -> Result<MutexGuard<'_, State>, DiskError> {
        let state = self.state();
        match state.cut_after {
            Some(limit) if state.log.len() >= limit => Err(DiskError::PowerCut),
            _ => Ok(state),
        }
    }
}

impl Disk for RecordingDisk {
    fn size(&self) -> u64 {
        self.base.len() as u64
    }

    fn sector_bytes(&self) -> u32 {
        self.sector
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        check_range(offset, buf.len(), self.size())?;
        buf.copy_from_slice(&self.powered()?.now[offset as usize..offset as usize + buf.len()]);
        Ok(())
    }

    fn read_past_cache(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), DiskError> {
        check_write(offset, buf.len(), self.size(), self.sector)?;
        let mut state = self.powered()?;
        apply(&mut state.now, offset, buf);
        state.log.push(Operation::Write { offset, data: buf.to_vec() });
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.powered()?.log.push(Operation::Flush);
        Ok(())
    }

    fn rescan(&self) -> Result<(), DiskError> {
        self.powered().map(drop)
    }
}

fn apply(medium: &mut [u8], offset: u64, data: &[u8]) {
    medium[offset as usize..offset as usize + data.len()].copy_from_slice(data);
}

/// The media of [`RecordingDisk::crash_states`], one after the other.
#[derive(Debug)]
pub struct CrashStates {
    sector: usize,
    log: Vec<Operation>,
    durable: Vec<u8>,
    flushed: usize,
    after: usize,
    turn: usize,
    samples: usize,
    random: Random,
}

impl CrashStates {
    /// The writes that a cut now would put at risk.
    fn at_risk(&self) -> &[Operation] {
        &self.log[self.flushed..self.after]
    }

    fn medium(&mut self, loss: Loss) -> Vec<u8> {
        let mut medium = self.durable.clone();
        let mut random = self.random;
        let mut writes: Vec<(u64, &[u8])> = Vec::new();
        for operation in self.at_risk() {
            let Operation::Write { offset, data } = operation else { continue };
            match loss {
                Loss::AllLost => {}
                Loss::NoneLost => writes.push((*offset, data)),
                Loss::Shuffled if random.coin() => writes.push((*offset, data)),
                Loss::Shuffled => {}
                Loss::Torn => {
                    let sectors = data.chunks(self.sector).zip((*offset..).step_by(self.sector));
                    writes.extend(sectors.filter(|_| random.coin()).map(|(sector, at)| (at, sector)));
                }
            }
        }
        if matches!(loss, Loss::Shuffled | Loss::Torn) {
            for last in (1..writes.len()).rev() {
                writes.swap(last, random.below(last + 1));
            }
        }
        for (offset, data) in writes {
            apply(&mut medium, offset, data);
        }
        self.random = random;
        medium
    }

    fn step(&mut self) {
        self.turn = 0;
        self.after += 1;
        if self.log.get(self.after - 1) == Some(&Operation::Flush) {
            let writes: Vec<Operation> = self.at_risk().to_vec();
            for write in writes {
                if let Operation::Write { offset, data } = write {
                    apply(&mut self.durable, offset, &data);
                }
            }
            self.flushed = self.after;
        }
    }
}

impl Iterator for CrashStates {
    type Item = CrashState;

    fn next(&mut self) -> Option<CrashState> {
        // Right after a flush there is one possible medium, with one write at risk two (and a torn one).
        let turns = if self.at_risk().is_empty() { 1 } else { 2 + 2 * self.samples };
        if self.turn >= turns {
            self.step();
        }
        if self.after > self.log.len() {
            return None;
        }
        let loss = match self.turn {
            0 => Loss::AllLost,
            1 => Loss::NoneLost,
            turn if turn.is_multiple_of(2) => Loss::Shuffled,
            _ => Loss::Torn,
        };
        self.turn += 1;
        Some(CrashState { after: self.after, loss, medium: self.medium(loss) })
    }
}

/// SplitMix64: small, and the same everywhere.
#[derive(Debug, Clone, Copy)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}
