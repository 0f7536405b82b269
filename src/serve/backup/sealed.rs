//! The form of a backup: a header, then chunks that are encrypted and authenticated one by one (`docs/formats/backup.md`).
//!
//! The key comes from a passphrase by Argon2id (RFC 9106). Chunks follow the STREAM construction (Hoang, Reyhanitabar,
//! Rogaway, Vizár 2015) with XChaCha20-Poly1305: each nonce holds the chunk's number and whether it is the last, so that none
//! can be left out, moved or appended. The header is authenticated with every chunk. Reader and writer hand out nothing that
//! has not been verified.

use std::io::{self, Read, Write};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;

const MAGIC: &[u8; 8] = b"KLONWBAK";
const FORMAT: u16 = 1;
const HEADER: usize = 96;
/// What of the header its checksum covers.
const SUMMED: usize = 88;
const CHUNK: usize = 64 * 1024;
const TAG: usize = 16;
const PREFIX: usize = 19;

/// The largest content of a backup: far more than a school's state.
const MOST_BYTES: u64 = 1 << 40;

/// How much work a guess of the passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory: u32,
    /// Passes over it.
    pub passes: u32,
    /// Threads that could share the work.
    pub lanes: u32,
}

impl Cost {
    /// RFC 9106, section 4, for where memory is scarce: 64 MiB, three passes, four lanes.
    pub const USUAL: Cost = Cost { memory: 64 * 1024, passes: 3, lanes: 4 };

    /// What a header may ask for; another one would only keep the machine busy.
    fn is_bearable(self) -> bool {
        (8..=1 << 20).contains(&self.memory) && (1..=16).contains(&self.passes) && (1..=16).contains(&self.lanes)
    }
}

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// Another kind of file.
    #[error("this is not a backup of Klonwerk")]
    NotABackup,
    /// A form that this program does not know.
    #[error("this backup has form {found}, this program knows form {FORMAT}; a newer Klonwerk wrote it: use that one")]
    Newer {
        /// Its form.
        found: u16,
    },
    /// Bytes of it have changed.
    #[error("this backup is damaged ({what}); use another copy of it")]
    Damaged {
        /// Where.
        what: &'static str,
    },
    /// Its end is missing.
    #[error("this backup is cut short: it has {found} of {expected} bytes; copy it again, or use another one")]
    Truncated {
        /// The bytes that there are.
        found: u64,
        /// The bytes that there should be.
        expected: u64,
    },
    /// The passphrase is another one. Header and length are as they were written.
    #[error("this is not the passphrase of this backup")]
    WrongPassphrase,
    /// The system did not read, write or give random bytes.
    #[error("the backup cannot be read or written")]
    Io(#[from] io::Error),
}

/// What stands before the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    cost: Cost,
    salt: [u8; 16],
    prefix: [u8; PREFIX],
    content: u64,
    check: [u8; 16],
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        for number in [self.cost.memory, self.cost.passes, self.cost.lanes] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.prefix);
        bytes.extend_from_slice(&[0; 5]);
        bytes.extend_from_slice(&self.content.to_le_bytes());
        bytes.extend_from_slice(&self.check);
        bytes.extend_from_slice(&checksum(&bytes));
        let mut header = [0; HEADER];
        header.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        header
    }

    fn decode(bytes: &[u8; HEADER]) -> Result<Self, SealedError> {
        let damaged = SealedError::Damaged { what: "its header" };
        let (summed, sum) = bytes.split_at(SUMMED);
        let mut rest = summed;
        if take::<8>(&mut rest) != Some(*MAGIC) {
            return Err(SealedError::NotABackup);
        }
        let (Some(format), Some(_)) = (take(&mut rest).map(u16::from_le_bytes), take::<2>(&mut rest)) else {
            return Err(damaged);
        };
        if sum != checksum(summed) {
            return Err(damaged);
        }
        if format != FORMAT {
            return Err(SealedError::Newer { found: format });
        }
        let mut read = || {
            let memory = take(&mut rest).map(u32::from_le_bytes)?;
            let passes = take(&mut rest).map(u32::from_le_bytes)?;
            let lanes = take(&mut rest).map(u32::from_le_bytes)?;
            let (salt, prefix) = (take(&mut rest)?, take(&mut rest)?);
            take::<5>(&mut rest)?;
            let content = take(&mut rest).map(u64::from_le_bytes)?;
            Some(Self { cost: Cost { memory, passes, lanes }, salt, prefix, content, check: take(&mut rest)? })
        };
        read().filter(|header| header.cost.is_bearable() && header.content <= MOST_BYTES).ok_or(damaged)
    }

    /// The length of the whole file.
    fn file_bytes(&self) -> u64 {
        HEADER as u64 + self.content + chunks(self.content) * TAG as u64
    }
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.iter_mut().zip(Sha256::digest(bytes)).for_each(|(place, byte)| *place = byte);
    short
}

/// Takes the next `N` bytes off.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, others) = rest.split_first_chunk::<N>()?;
    *rest = others;
    Some(*first)
}

/// How many chunks there are; an empty content has one, so that its end is authenticated too.
fn chunks(content: u64) -> u64 {
    content.div_ceil(CHUNK as u64).max(1)
}

/// The cipher and a value by which a passphrase is known to be the right one.
fn derive(
    passphrase: &Secret<String>,
    salt: &[u8; 16],
    cost: Cost,
) -> Result<(XChaCha20Poly1305, [u8; 16]), SealedError> {
    let refused = |_| SealedError::Damaged { what: "its header" };
    let params = Params::new(cost.memory, cost.passes, cost.lanes, Some(64)).map_err(refused)?;
    let mut out = Zeroizing::new([0; 64]);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(passphrase.expose().as_bytes(), salt, out.as_mut_slice()).map_err(refused)?;
    let (key, rest) = out.split_at(32);
    let cipher = XChaCha20Poly1305::new_from_slice(key).map_err(|_| SealedError::Damaged { what: "its header" })?;
    let mut check = [0; 16];
    check.iter_mut().zip(Sha256::digest(rest)).for_each(|(place, byte)| *place = byte);
    Ok((cipher, check))
}

fn nonce(prefix: &[u8; PREFIX], number: u32, last: bool) -> XNonce {
    let mut nonce = [0; 24];
    let parts = prefix.iter().copied().chain(number.to_be_bytes()).chain([u8::from(last)]);
    nonce.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
    XNonce::from(nonce)
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Encrypts what is written to it.
pub struct SealedWriter<W> {
    to: W,
    cipher: XChaCha20Poly1305,
    header: Header,
    encoded: [u8; HEADER],
    number: u32,
    written: u64,
    pending: Zeroizing<Vec<u8>>,
}

impl<W: Write> SealedWriter<W> {
    /// Begins a backup with so many bytes of content.
    ///
    /// # Errors
    /// When the system refuses an operation.
    pub fn new(mut to: W, passphrase: &Secret<String>, cost: Cost, content: u64) -> Result<Self, SealedError> {
        if content > MOST_BYTES {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
        }
        let salt = random()?;
        let (cipher, check) = derive(passphrase, &salt, cost)?;
        let header = Header { cost, salt, prefix: random()?, content, check };
        let encoded = header.encode();
        to.write_all(&encoded)?;
        let pending = Zeroizing::new(Vec::with_capacity(CHUNK));
        Ok(Self { to, cipher, header, encoded, number: 0, written: 0, pending })
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let payload = Payload { msg: &self.pending, aad: &self.encoded };
        let sealed = self.cipher.encrypt(&nonce(&self.header.prefix, self.number, last), payload);
        self.to.write_all(&sealed.map_err(|_| io::Error::other("a chunk cannot be encrypted"))?)?;
        self.number = self.number.checked_add(1).ok_or(io::ErrorKind::FileTooLarge)?;
        self.pending.clear();
        Ok(())
    }

    /// Ends the backup; the writer behind it is to be made durable by the caller.
    ///
    /// # Errors
    /// When another number of bytes was written than announced.
    pub fn finish(mut self) -> Result<W, SealedError> {
        if self.written != self.header.content {
            return Err(io::Error::other("the content has another length than announced").into());
        }
        self.seal(true)?;
        self.to.flush()?;
        Ok(self.to)
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The last chunk waits for `finish`, even when it is full.
        if self.pending.len() == CHUNK && !bytes.is_empty() {
            self.seal(false)?;
        }
        let part = bytes.get(..bytes.len().min(CHUNK - self.pending.len())).unwrap_or_default();
        self.pending.extend_from_slice(part);
        self.written += part.len() as u64;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives the content of a backup, chunk by chunk, each verified before any of it is seen.
pub struct SealedReader<R> {
    from: R,
    cipher: XChaCha20Poly1305,
    header: Header,
    encoded: [u8; HEADER],
    number: u32,
    left: u64,
    chunk: Zeroizing<Vec<u8>>,
    seen: usize,
}

impl<R: Read> SealedReader<R> {
    /// Opens a backup whose file has `bytes` bytes. What can be told without its content is told here: another kind of
    /// file, a damaged header, a missing end, a wrong passphrase.
    ///
    /// # Errors
    /// All of [`SealedError`].
    pub fn new(mut from: R, bytes: u64, passphrase: &Secret<String>) -> Result<Self, SealedError> {
        let mut encoded = [0; HEADER];
        let mut have = 0;
        while let Some(rest) = encoded.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match from.read(rest) {
                Ok(0) => break,
                Ok(more) => have += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if have < HEADER {
            let begins = encoded.starts_with(MAGIC);
            let short = SealedError::Truncated { found: have as u64, expected: HEADER as u64 };
            return Err(if begins { short } else { SealedError::NotABackup });
        }
        let header = Header::decode(&encoded)?;
        let expected = header.file_bytes();
        if bytes < expected {
            return Err(SealedError::Truncated { found: bytes, expected });
        }
        if bytes > expected {
            return Err(SealedError::Damaged { what: "something follows its end" });
        }
        let (cipher, check) = derive(passphrase, &header.salt, header.cost)?;
        if check != header.check {
            return Err(SealedError::WrongPassphrase);
        }
        let left = header.content;
        Ok(Self { from, cipher, header, encoded, number: 0, left, chunk: Zeroizing::default(), seen: 0 })
    }

    /// How many bytes of content there are.
    pub fn content_bytes(&self) -> u64 {
        self.header.content
    }

    /// Reads and verifies the next chunk; none after the last.
    fn next(&mut self) -> Result<bool, SealedError> {
        if self.left == 0 && self.number > 0 {
            return Ok(false);
        }
        let plain = usize::try_from(self.left).unwrap_or(usize::MAX).min(CHUNK);
        let mut sealed = vec![0; plain + TAG];
        self.from.read_exact(&mut sealed)?;
        self.left -= plain as u64;
        let nonce = nonce(&self.header.prefix, self.number, self.left == 0);
        let opened = self.cipher.decrypt(&nonce, Payload { msg: &sealed, aad: &self.encoded });
        self.chunk = Zeroizing::new(opened.map_err(|_| SealedError::Damaged { what: "its content" })?);
        self.seen = 0;
        self.number = self.number.checked_add(1).ok_or(SealedError::Damaged { what: "its length" })?;
        Ok(true)
    }

    /// Reads exactly so many bytes as `buffer` has.
    ///
    /// # Errors
    /// When the content is damaged or has fewer.
    pub fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), SealedError> {
        while !buffer.is_empty() {
            let read = self.some(buffer)?;
            if read == 0 {
                return Err(SealedError::Damaged { what: "its table of contents" });
            }
            buffer = buffer.get_mut(read..).unwrap_or_default();
        }
        Ok(())
    }

    fn some(&mut self, buffer: &mut [u8]) -> Result<usize, SealedError> {
        if self.seen == self.chunk.len() && !self.next()? {
            return Ok(0);
        }
        let rest = self.chunk.get(self.seen..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
        self.seen += count;
        Ok(count)
    }
}

impl<W> std::fmt::Debug for SealedWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedWriter").field("written", &self.written).finish_non_exhaustive()
    }
}

impl<R> std::fmt::Debug for SealedReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedReader").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
