//! The note: a few hundred bytes that the imaging agent leaves outside every partition, so that the resident agent can
//! prove that this clone is this run's. `docs/formats/note.md`.
//!
//! It lies in sectors that the image masks, so it never makes a leaf differ. It holds a credential for the hooks of one
//! run, which is void as soon as the run's part on this PC is over.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::image::Hash;
use crate::room::MachineName;

const MAGIC: &[u8; 8] = b"KWNOTE\x01\n";

/// How large a note's place on the disk is, in bytes.
pub const NOTE_BYTES: usize = 4096;

/// Where it lies on the disk: in front of the first mebibyte, where Windows' own partitioning begins.
pub const NOTE_OFFSET: u64 = (1 << 20) - NOTE_BYTES as u64;

/// What the imaging agent tells the resident agent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The server's HTTPS address.
    pub server: String,
    /// The fingerprint of the server's authority.
    pub pin: Hash,
    /// The run that wrote the disk.
    pub run: u64,
    /// The PC's name.
    pub machine: MachineName,
    /// The bearer token for this run's hooks.
    pub credential: String,
}

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Note(run {} for {} at {})", self.run, self.machine, self.server)
    }
}

/// Why there is no usable note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The place is empty or holds something else.
    #[error("the disk carries no note of an imaging agent; it was not written by Klonwerk, or the note was used up")]
    None,
    /// The bytes are not what was written.
    #[error("the note on the disk is damaged; the next clone writes a new one")]
    Damaged,
    /// More than the place holds.
    #[error("the note needs {0} bytes, more than its place on the disk has")]
    TooLong(usize),
}

impl Note {
    /// The bytes for the note's place, padded with zeros.
    pub fn encode(&self) -> Result<Vec<u8>, NoteError> {
        let text = serde_json::to_vec(self).map_err(|_| NoteError::Damaged)?;
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(&text);
        out.extend_from_slice(&Hash::of(&text).0);
        if out.len() > NOTE_BYTES {
            return Err(NoteError::TooLong(out.len()));
        }
        out.resize(NOTE_BYTES, 0);
        Ok(out)
    }

    /// Reads a note's place.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoteError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(NoteError::None)?;
        let (len, rest) = rest.split_first_chunk::<4>().ok_or(NoteError::Damaged)?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or(NoteError::Damaged)?;
        if rest.get(..32) != Some(&Hash::of(text).0[..]) {
            return Err(NoteError::Damaged);
        }
        serde_json::from_slice(text).map_err(|_| NoteError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Note {
        Note {
            server: "https://10.20.0.5:443".to_owned(),
            pin: Hash::of(b"ca"),
            run: 7,
            machine: "R101-01".parse().expect("name"),
            credential: "c".repeat(43),
        }
    }

    #[test]
    fn survives_the_disk_and_notices_damage() {
        let bytes = note().encode().expect("fits");
        assert_eq!(Note::decode(&bytes), Ok(note()));
        assert_eq!(Note::decode(&[0; NOTE_BYTES]), Err(NoteError::None));
        for i in 8..200 {
            let mut bad = bytes.clone();
            bad[i] ^= 4;
            assert_eq!(Note::decode(&bad), Err(NoteError::Damaged), "byte {i}");
        }
        assert!(!format!("{:?}", note()).contains("cccc"));
    }
}
