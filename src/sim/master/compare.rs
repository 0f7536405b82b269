//! Whether a disk is the master, byte for byte under the mask: a judge that shares no code with those who hash and
//! write.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::image::{Extent, Header, Mask, RegionKind};

/// How much is compared at a time.
const PIECE: u64 = 1 << 20;

/// Why two disks could not be compared.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {} at byte {offset}", .path.display())]
pub struct CompareError {
    /// Which disk.
    pub path: PathBuf,
    /// Where.
    pub offset: u64,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The first byte that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Where on the disk.
    pub offset: u64,
    /// What the image has there.
    pub expected: u8,
    /// What the disk has.
    pub found: u8,
}

/// Compares the disk `copy` with the disk `source` that the image was captured from: in all regions, outside the mask,
/// and with zeros expected in `zero` (the heads of page and hibernation files). On a disk of another size the partition
/// tables must differ, and are left out.
///
/// # Errors
/// [`CompareError`].
pub fn equal_under_mask(
    source: &Path,
    copy: &Path,
    header: &Header,
    mask: &Mask,
    zero: &[Extent],
) -> Result<Option<Difference>, CompareError> {
    let mut source = Side::open(source)?;
    let mut copy = Side::open(copy)?;
    let same_size = source.size == copy.size;
    for region in &header.regions {
        if !same_size && !matches!(region.kind, RegionKind::Partition { .. }) {
            continue;
        }
        for part in mask.outside(region.extent) {
            let mut at = part.start;
            while at < part.end() {
                let len = (part.end() - at).min(PIECE);
                let found = copy.read(at, len)?;
                let expected = source.read(at, len)?;
                for zero in zero.iter().filter_map(|zero| zero.overlap(&Extent { start: at, len })) {
                    expected[(zero.start - at) as usize..(zero.end() - at) as usize].fill(0);
                }
                if expected != found {
                    let different = expected.iter().zip(&*found).position(|(a, b)| a != b);
                    return Ok(different.map(|i| Difference {
                        offset: at + i as u64,
                        expected: expected[i],
                        found: found[i],
                    }));
                }
                at += len;
            }
        }
    }
    Ok(None)
}

struct Side {
    path: PathBuf,
    file: File,
    size: u64,
    buffer: Vec<u8>,
}

impl Side {
    fn open(path: &Path) -> Result<Self, CompareError> {
        let failed = |source| CompareError { path: path.to_owned(), offset: 0, source };
        let mut file = File::open(path).map_err(failed)?;
        // A block device has no length, but an end.
        let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, size, buffer: vec![0; PIECE as usize] })
    }

    fn read(&mut self, offset: u64, len: u64) -> Result<&mut [u8], CompareError> {
        let bytes = &mut self.buffer[..len as usize];
        match self.file.read_exact_at(bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(source) => Err(CompareError { path: self.path.clone(), offset, source }),
        }
    }
}
