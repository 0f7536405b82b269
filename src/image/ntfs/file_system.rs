//! An opened volume: file records and the contents of attributes.

use std::fmt;

use super::boot::Geometry;
use super::field::{slice_at, u8_at, u16_at, u32_at, u64_at};
use super::record::{Attribute, Form, RECORD_NUMBER, Record, is_name, kind};
use super::runs::{self, Run};
use super::stream::{Contents, Stream};
use super::{NtfsError, ReadAt, damaged};

/// The largest file that [`FileSystem::read_file`] reads; registry hives stay far below.
const MAX_FILE: u64 = 512 << 20;
/// The largest list of attributes of one file that Windows writes.
const MAX_ATTRIBUTE_LIST: u64 = 256 << 10;
/// How much is read at a time.
const PIECE: u64 = 1 << 20;

/// An NTFS volume, opened for reading.
pub struct FileSystem<'a> {
    volume: &'a dyn ReadAt,
    volume_bytes: u64,
    geometry: Geometry,
    mft: Stream,
}

impl fmt::Debug for FileSystem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSystem").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

/// One line of an attribute list: where a piece of an attribute is described.
struct Piece {
    first: u64,
    record: u64,
    id: u16,
}

impl<'a> FileSystem<'a> {
    /// Opens the volume of `volume_bytes` bytes, in whatever state it is; [`super::inspect`] judges that.
    ///
    /// # Errors
    /// [`NtfsError::NotNtfs`], [`NtfsError::BitLocker`], [`NtfsError::Damaged`], [`NtfsError::Io`].
    pub fn open(volume: &'a dyn ReadAt, volume_bytes: u64) -> Result<Self, NtfsError> {
        if volume_bytes < 512 {
            return Err(NtfsError::NotNtfs);
        }
        let mut sector = [0; 512];
        volume.read_at(0, &mut sector).map_err(|source| NtfsError::Io { offset: 0, source })?;
        let geometry = Geometry::parse(&sector, volume_bytes)?;
        let empty = Stream { compressed: false, encrypted: false, contents: Contents::Resident(Vec::new()) };
        let mut files = Self { volume, volume_bytes, geometry, mft: empty };
        files.open_file_table()?;
        Ok(files)
    }

    /// The file table describes itself: its first piece must be read from where the boot sector says, the pieces that
    /// describe later pieces through the earlier ones.
    fn open_file_table(&mut self) -> Result<(), NtfsError> {
        let mut bytes = vec![0; self.geometry.record_bytes as usize];
        self.read_volume(self.geometry.mft_cluster * u64::from(self.geometry.cluster_bytes), &mut bytes)?;
        let record = Record::parse(0, bytes)?;
        let first = record.attribute(kind::DATA, "")?.ok_or_else(|| damaged("a file table without data"))?;
        let Form::Clusters { first: 0, size, initialized, runs } = first.form else {
            return Err(damaged("a file table without clusters"));
        };
        let mut table = Vec::new();
        runs::append(&mut table, runs, self.geometry.clusters)?;
        self.mft.contents = Contents::Clusters { runs: table, size, initialized };
        for piece in self.pieces(&record, kind::DATA, "")?.unwrap_or_default() {
            if piece.first == 0 {
                continue;
            }
            let continued = self.continuation(&record, &piece)?;
            let described_in = continued.as_ref().unwrap_or(&record);
            let attribute = find(described_in, &piece, kind::DATA, "")?;
            if let Contents::Clusters { runs, .. } = &mut self.mft.contents {
                append(runs, &attribute, self.geometry.clusters)?;
            }
        }
        Ok(())
    }

    pub(super) fn cluster_bytes(&self) -> u32 {
        self.geometry.cluster_bytes
    }

    pub(super) fn clusters(&self) -> u64 {
        self.geometry.clusters
    }

    fn read_volume(&self, offset: u64, buf: &mut [u8]) -> Result<(), NtfsError> {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.volume_bytes) {
            return Err(damaged("something outside the volume"));
        }
        self.volume.read_at(offset, buf).map_err(|source| NtfsError::Io { offset, source })
    }

    pub(super) fn record(&self, number: u64) -> Result<Record, NtfsError> {
        let len = u64::from(self.geometry.record_bytes);
        let mut bytes = vec![0; self.geometry.record_bytes as usize];
        let offset = number.checked_mul(len).ok_or_else(|| damaged("a file record number"))?;
        self.read(&self.mft, offset, &mut bytes)?;
        Record::parse(number, bytes)
    }

    /// Fills `buf` from byte `offset` of an attribute on.
    pub(super) fn read(&self, stream: &Stream, offset: u64, buf: &mut [u8]) -> Result<(), NtfsError> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= stream.size());
        let end = end.ok_or_else(|| damaged("an access past the end of a file"))?;
        let (runs, initialized) = match &stream.contents {
            Contents::Resident(bytes) => {
                let from = usize::try_from(offset).map_err(|_| damaged("a resident attribute"))?;
                buf.copy_from_slice(slice_at(bytes, from, buf.len()).unwrap_or_default());
                return Ok(());
            }
            Contents::Clusters { runs, initialized, .. } => (runs, (*initialized).clamp(offset, end)),
        };
        buf.fill(0);
        let cluster = u64::from(self.geometry.cluster_bytes);
        let mut at = offset;
        let mut next = runs.partition_point(|run| (run.first + run.clusters) * cluster <= offset);
        while at < initialized {
            let run = runs.get(next).ok_or_else(|| damaged("a file that is longer than its clusters"))?;
            next += 1;
            let stop = ((run.first + run.clusters) * cluster).min(initialized);
            if let Some(place) = run.at {
                let (from, to) = ((at - offset) as usize, (stop - offset) as usize);
                let target = buf.get_mut(from..to).ok_or_else(|| damaged("a list of cluster runs"))?;
                self.read_volume(place * cluster + (at - run.first * cluster), target)?;
            }
            at = stop;
        }
        Ok(())
    }

    /// Reads a whole attribute of at most `limit` bytes.
    pub(super) fn read_all(&self, stream: &Stream, limit: u64) -> Result<Vec<u8>, NtfsError> {
        let size = stream.size();
        // Contents longer than the volume can only be holes: nothing that is read here has them.
        if size > limit.min(self.volume_bytes) {
            return Err(damaged(format!("a system file of {size} bytes")));
        }
        let mut out = Vec::new();
        while (out.len() as u64) < size {
            let at = out.len();
            let piece = (size - at as u64).min(PIECE);
            out.resize(at + piece as usize, 0);
            self.read(stream, at as u64, &mut out[at..])?;
        }
        Ok(out)
    }

    /// The unnamed data of a file.
    pub(super) fn data(&self, record: u64) -> Result<Stream, NtfsError> {
        let record = self.record(record)?;
        self.stream(&record, kind::DATA, "")?
            .ok_or_else(|| damaged(format!("file record {} has no data", record.number)))
    }

    /// An attribute of a file with all its pieces.
    pub(super) fn stream(&self, record: &Record, kind: u32, name: &str) -> Result<Option<Stream>, NtfsError> {
        if record.base() != 0 {
            return Err(damaged(format!("file record {} continues another and is referred to", record.number)));
        }
        let Some(pieces) = self.pieces(record, kind, name)? else {
            return record.attribute(kind, name)?.map(|attribute| self.whole(&attribute)).transpose();
        };
        let Some((head, tail)) = pieces.split_first() else { return Ok(None) };
        let continued = self.continuation(record, head)?;
        let attribute = find(continued.as_ref().unwrap_or(record), head, kind, name)?;
        let mut stream = self.whole(&attribute)?;
        if let Contents::Clusters { runs, .. } = &mut stream.contents {
            for piece in tail {
                let continued = self.continuation(record, piece)?;
                let attribute = find(continued.as_ref().unwrap_or(record), piece, kind, name)?;
                append(runs, &attribute, self.geometry.clusters)?;
            }
        }
        Ok(Some(stream))
    }

    fn whole(&self, attribute: &Attribute<'_>) -> Result<Stream, NtfsError> {
        let contents = match attribute.form {
            Form::Resident(bytes) => Contents::Resident(bytes.to_vec()),
            Form::Clusters { first: 0, size, initialized, runs } => {
                let mut list = Vec::new();
                runs::append(&mut list, runs, self.geometry.clusters)?;
                Contents::Clusters { runs: list, size, initialized }
            }
            Form::Clusters { .. } => return Err(damaged("a file without its first clusters")),
        };
        Ok(Stream { compressed: attribute.compressed, encrypted: attribute.encrypted, contents })
    }

    /// Where the pieces of an attribute are described, in order; none where the file has no attribute list.
    fn pieces(&self, record: &Record, kind: u32, name: &str) -> Result<Option<Vec<Piece>>, NtfsError> {
        let Some(list) = record.attribute(kind::ATTRIBUTE_LIST, "")? else { return Ok(None) };
        let list = self.read_all(&self.whole(&list)?, MAX_ATTRIBUTE_LIST)?;
        let mut rest = list.as_slice();
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let entry = || -> Option<(Option<Piece>, usize)> {
                let len = usize::from(u16_at(rest, 4)?);
                let entry = rest.get(..len).filter(|entry| entry.len() >= 26)?;
                let its_name = slice_at(entry, usize::from(u8_at(entry, 7)?), usize::from(u8_at(entry, 6)?) * 2)?;
                let wanted = u32_at(entry, 0)? == kind && is_name(its_name, name);
                let (first, record) = (u64_at(entry, 8)?, u64_at(entry, 16)? & RECORD_NUMBER);
                let piece = Piece { first, record, id: u16_at(entry, 24)? };
                Some((wanted.then_some(piece), len))
            };
            let (piece, len) = entry().ok_or_else(|| damaged(format!("attribute list of file {}", record.number)))?;
            pieces.extend(piece);
            rest = rest.get(len..).unwrap_or(&[]);
        }
        pieces.sort_by_key(|piece| piece.first);
        Ok(Some(pieces))
    }

    /// The record that describes a piece, where it is not the base record itself.
    fn continuation(&self, base: &Record, piece: &Piece) -> Result<Option<Record>, NtfsError> {
        if piece.record == base.number {
            return Ok(None);
        }
        let record = self.record(piece.record)?;
        if record.base() != base.number {
            return Err(damaged(format!("file record {} does not belong to {}", record.number, base.number)));
        }
        Ok(Some(record))
    }

    /// The contents of a file, found by its path without regard to case; `/` and `\` both separate.
    ///
    /// # Errors
    /// [`NtfsError::NoSuchFile`]; [`NtfsError::Unreadable`] where it is compressed, encrypted or above 512 MiB; damage.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>, NtfsError> {
        let record = self.find(path)?.ok_or_else(|| NtfsError::NoSuchFile { path: path.to_owned() })?;
        let data = self.data(record)?;
        let unreadable = |how| NtfsError::Unreadable { path: path.to_owned(), how };
        if data.compressed {
            return Err(unreadable("compressed"));
        }
        if data.encrypted {
            return Err(unreadable("encrypted"));
        }
        if data.size() > MAX_FILE {
            return Err(unreadable("too large"));
        }
        self.read_all(&data, MAX_FILE)
    }
}

/// Appends the clusters of the next piece of an attribute.
fn append(list: &mut Vec<Run>, piece: &Attribute<'_>, volume: u64) -> Result<(), NtfsError> {
    match piece.form {
        Form::Clusters { first, runs, .. } if first == runs::end(list) => runs::append(list, runs, volume),
        _ => Err(damaged("a piece of a file in the wrong place")),
    }
}

fn find<'r>(record: &'r Record, piece: &Piece, kind: u32, name: &str) -> Result<Attribute<'r>, NtfsError> {
    for attribute in record.attributes() {
        let attribute = attribute?;
        if attribute.id == piece.id && attribute.is(kind, name) {
            return Ok(attribute);
        }
    }
    Err(damaged(format!("file record {} lacks an attribute that is listed", record.number)))
}
