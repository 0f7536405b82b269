//! Reproducible bytes: pseudo-random numbers, and contents that compress about as well as those of a Windows disk.

use super::Contents;

/// A stream of numbers that a seed decides (splitmix64: fast, and any seed will do). Not for secrets.
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Noise {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of one of many things that share a seed.
    pub fn of(seed: u64, thing: u64) -> Self {
        Self(Self(seed ^ thing.wrapping_mul(0x9fb2_1c65_1e98_df25)).next())
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "an endless stream; an Option would only be in the way")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// Fills `buf` with bytes that do not compress.
    pub fn fill(&mut self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// The unit in which contents are dense or repetitive.
const BLOCK: usize = 4096;
/// Out of 256 blocks, how many are dense in the average file; the ratio of about 1.9 at 64 KiB and zstd level 3 follows.
const DENSE: u64 = 106;

/// Contents of `len` bytes: blocks that do not compress, as in pictures and packed code, and blocks of a few hundred
/// words, as in texts and tables. How many of which differs from file to file.
pub fn contents(seed: u64, len: u64) -> Contents {
    let mut noise = Noise::new(seed);
    let dense = noise.below(2 * DENSE);
    let words: [[u8; 8]; 256] = std::array::from_fn(|_| noise.next().to_le_bytes());
    let fill = move |offset: u64, buf: &mut [u8]| {
        for (i, block) in buf.chunks_mut(BLOCK).enumerate() {
            let mut noise = Noise::of(seed, offset / BLOCK as u64 + i as u64);
            if noise.below(256) < dense {
                noise.fill(block);
                continue;
            }
            for chunk in block.chunks_mut(64) {
                let choice = noise.next().to_le_bytes();
                for (word, index) in chunk.chunks_mut(8).zip(choice) {
                    word.copy_from_slice(&words[usize::from(index)][..word.len()]);
                }
            }
        }
    };
    Contents::Made { len, fill: Box::new(fill) }
}
