//! Fills a table of boot files from a folder.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::boot::files::{
    BootFile, BootFiles, BootFilesError, Content, OpenFile, PositionedRead, Stamp, etag, media_type,
};

/// More files than any boot folder has; a larger folder is the wrong one.
const FILES: usize = 4096;

/// Deeper than any boot folder is.
const DEPTH: usize = 16;

/// Reads a folder and all folders in it: every plain file is opened and hashed. Names that begin with a dot are left out.
/// Files that did not change since `previous` was read are taken over from it, open and hashed as they are.
///
/// Blocks for as long as hashing takes.
///
/// # Errors
/// [`BootFilesError`] for the first file that cannot be served as it is.
pub fn scan(folder: &Path, previous: Option<&BootFiles>) -> Result<BootFiles, BootFilesError> {
    let root = folder.canonicalize().map_err(|source| unreadable(folder, source))?;
    let mut scan = Scan { root, previous, files: BootFiles::default(), count: 0 };
    let root = scan.root.clone();
    scan.folder(&root, "", 0)?;
    Ok(scan.files)
}

struct Scan<'a> {
    root: PathBuf,
    previous: Option<&'a BootFiles>,
    files: BootFiles,
    count: usize,
}

impl Scan<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), BootFilesError> {
        let too_large = || BootFilesError::TooLarge { path: folder.to_owned(), files: FILES, depth: DEPTH };
        if depth > DEPTH {
            return Err(too_large());
        }
        let mut entries = fs::read_dir(folder)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(|source| unreadable(folder, source))?;
        // Sorted, so that of two clashing names always the same one is called the first.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let own_name = entry.file_name();
            let own_name = own_name.to_str().filter(|name| !name.contains('\\'));
            let own_name = own_name.ok_or_else(|| BootFilesError::Name { path: path.clone() })?;
            if own_name.starts_with('.') {
                continue;
            }
            let name = if prefix.is_empty() { own_name.to_owned() } else { format!("{prefix}/{own_name}") };
            let kind = entry.file_type().map_err(|source| unreadable(&path, source))?;
            if kind.is_dir() {
                self.folder(&path, &name, depth + 1)?;
            } else if kind.is_file() || kind.is_symlink() {
                self.count += 1;
                if self.count > FILES {
                    return Err(too_large());
                }
                let target = if kind.is_symlink() { self.follow(&path)? } else { path };
                let file = self.open(&name, &target)?;
                self.files.insert(&name, file)?;
            }
        }
        Ok(())
    }

    fn follow(&self, link: &Path) -> Result<PathBuf, BootFilesError> {
        let target = link.canonicalize().ok().filter(|target| target.starts_with(&self.root) && target.is_file());
        target.ok_or_else(|| BootFilesError::Link { path: link.to_owned() })
    }

    fn open(&self, name: &str, path: &Path) -> Result<OpenFile, BootFilesError> {
        let file = File::open(path).map_err(|source| unreadable(path, source))?;
        let metadata = file.metadata().map_err(|source| unreadable(path, source))?;
        let stamp = stamp(&metadata);
        let known = super::normalise(name).and_then(|normal| self.previous?.get(&normal));
        if let Some(known) = known.filter(|known| known.stamp == Some(stamp) && known.len == metadata.len()) {
            return Ok(Arc::clone(known));
        }
        let (len, etag) = hash(&file).map_err(|source| unreadable(path, source))?;
        Ok(Arc::new(BootFile {
            len,
            etag,
            media_type: media_type(name),
            modified: Timestamp::from_second(metadata.mtime()).ok(),
            content: Content::File(Arc::new(StoredFile(file))),
            stamp: Some(stamp),
        }))
    }
}

#[derive(Debug)]
struct StoredFile(File);

impl PositionedRead for StoredFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(&self.0, buffer, offset)
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        inode: (metadata.dev(), metadata.ino()),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// Length and `ETag` of what can be read now, so that both belong together whatever happens to the file meanwhile.
fn hash(file: &File) -> io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut len = 0u64;
    loop {
        match FileExt::read_at(file, &mut buffer, len) {
            Ok(0) => return Ok((len, etag(&hasher.finalize()))),
            Ok(read) => {
                hasher.update(buffer.get(..read).unwrap_or_default());
                len = len.saturating_add(read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn unreadable(path: &Path, source: io::Error) -> BootFilesError {
    BootFilesError::Read { path: path.to_owned(), source }
}
