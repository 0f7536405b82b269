//! The table of virtual boot files that TFTP and HTTP share.
//!
//! Firmware, iPXE, wimboot and the Microsoft loaders ask for names in every spelling: `\Boot\BCD`, `boot/bcd`,
//! `/t//grubx64.efi`. [`normalise`] brings them to one form, and [`BootFiles`] is a plain table from that form to an
//! opened file or to bytes in memory. A request never becomes a path, so nothing outside the table can be reached.
//! [`BootShelf`] is what the servers hold: the current table, exchangeable at any moment, and the scripts that are
//! rendered per machine. [`directory`] fills a table from a folder.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::iter;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use thiserror::Error;

#[cfg(target_os = "linux")]
pub mod directory;

#[cfg(test)]
mod tests;

/// The longest name in bytes that a file can have; a TFTP request has to fit into 512 bytes (RFC 1350 section 5).
pub const NAME_BYTES: usize = 255;

/// Why a table of boot files could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BootFilesError {
    /// The folder or a file in it could not be read.
    #[error("cannot read boot file `{}`; check that it exists and that the server may read it", path.display())]
    Read {
        /// What could not be read.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A symbolic link that leaves the folder, is broken, or names a folder.
    #[error("boot file `{}` is a link that does not lead to a file inside the boot folder; copy the file instead", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A file name that no client could ask for.
    #[error(
        "boot file `{}` has a name that cannot be served; use at most {NAME_BYTES} bytes of UTF-8 without control characters or backslashes",
        path.display()
    )]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Two files whose names differ in case only.
    #[error("boot files `{first}` and `{second}` have the same name for a PC, which ignores case; remove one of them")]
    Duplicate {
        /// The name that was there first.
        first: String,
        /// The name that clashes with it.
        second: String,
    },
    /// More files or deeper folders than a boot folder can have.
    #[error("boot folder `{}` has more than {files} files or is nested deeper than {depth} folders; is it the right one?", path.display())]
    TooLarge {
        /// The folder at which the scan stopped.
        path: PathBuf,
        /// How many files are allowed.
        files: usize,
        /// How many levels are allowed.
        depth: usize,
    },
}

/// The folders that loaders put before names: those of the Microsoft chain, and the one of our URLs.
const LOADER_FOLDERS: [&str; 4] = ["efi/microsoft/boot/", "boot/", "sources/", "fonts/"];

/// Brings a requested name to the form under which files are kept: `/` between segments, none at the ends, none twice,
/// ASCII letters small. `None` for a name that no file can have: empty, too long, with `.` or `..` segments or with
/// control characters.
pub fn normalise(name: &str) -> Option<String> {
    if name.len() > NAME_BYTES * 2 || name.chars().any(char::is_control) {
        return None;
    }
    let mut normal = String::with_capacity(name.len());
    for segment in name.split(['/', '\\']).filter(|segment| !segment.is_empty()) {
        if segment == "." || segment == ".." {
            return None;
        }
        if !normal.is_empty() {
            normal.push('/');
        }
        normal.push_str(segment);
    }
    normal.make_ascii_lowercase();
    (!normal.is_empty() && normal.len() <= NAME_BYTES).then_some(normal)
}

/// Bytes that can be read at any offset, by several readers at once.
pub trait PositionedRead: fmt::Debug + Send + Sync {
    /// Reads into `buffer` from `offset` on and says how many bytes came; 0 at the end only.
    ///
    /// # Errors
    /// Whatever the system says about the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// Where a boot file's bytes are.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// In a file that is open already, so that no later change of names can make it another one.
    File(Arc<dyn PositionedRead>),
}

impl Content {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the content ends before the buffer is full, which for a file means that
    /// somebody shortened it; else what the system says.
    pub fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => {
                let source = usize::try_from(offset)
                    .ok()
                    .and_then(|start| Some(start..start.checked_add(buffer.len())?))
                    .and_then(|range| bytes.get(range))
                    .ok_or(io::ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(source);
            }
            Self::File(file) => {
                let (mut offset, mut rest) = (offset, buffer);
                while !rest.is_empty() {
                    let read = match file.read_at(offset, rest) {
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(read) => read.min(rest.len()),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(error) => return Err(error),
                    };
                    offset = offset.saturating_add(read as u64);
                    rest = rest.get_mut(read..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }
}

/// What tells a stored file from a later one of the same name without reading it.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// File system and file.
    pub(crate) inode: (u64, u64),
    /// Last change of the content, seconds and nanoseconds.
    pub(crate) modified: (i64, i64),
    /// Last change of content or attributes, seconds and nanoseconds.
    pub(crate) changed: (i64, i64),
}

/// One boot file.
#[derive(Debug)]
pub struct BootFile {
    /// Its size in bytes.
    pub len: u64,
    /// A short hash of its content (the first 16 bytes of SHA-256 in hex), the value of HTTP's `ETag`.
    pub etag: String,
    /// What HTTP says it is.
    pub media_type: &'static str,
    /// When it was last changed; `None` for what is made up on the spot.
    pub modified: Option<Timestamp>,
    /// Its bytes.
    pub content: Content,
    #[cfg(target_os = "linux")]
    stamp: Option<Stamp>,
}

impl BootFile {
    /// A file in memory; its media type follows from its name.
    pub fn from_bytes(name: &str, bytes: Arc<[u8]>) -> Self {
        Self {
            len: bytes.len() as u64,
            etag: etag(&Sha256::digest(&bytes)),
            media_type: media_type(name),
            modified: None,
            content: Content::Bytes(bytes),
            #[cfg(target_os = "linux")]
            stamp: None,
        }
    }
}

/// A file as a server holds it while it sends it.
pub type OpenFile = Arc<BootFile>;

/// Finds boot files by whatever name a client sent.
pub trait FileSource: fmt::Debug + Send + Sync {
    /// The file of that name. Must not block: it is asked on the packet path.
    fn open(&self, name: &str) -> Option<OpenFile>;
}

/// Renders the files that are made for one machine, such as `boot/ipxe/<mac>.ipxe`.
pub trait BootScripts: fmt::Debug + Send + Sync {
    /// The script of that (normalised) name, which begins without a slash: `boot/ipxe/52-54-00-12-34-56.ipxe`. Must not
    /// block. A name in one of the loaders' folders is asked for as it stands first, then without the folder.
    fn script(&self, name: &str) -> Option<Arc<[u8]>>;
}

/// No scripts at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoScripts;

impl BootScripts for NoScripts {
    fn script(&self, _name: &str) -> Option<Arc<[u8]>> {
        None
    }
}

/// A table from normalised names to files; never changed once it is on the shelf.
#[derive(Debug, Default)]
pub struct BootFiles {
    files: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// The name as it was given, for messages.
    spelling: String,
    file: OpenFile,
}

impl BootFiles {
    /// Adds a file under a name.
    ///
    /// # Errors
    /// [`BootFilesError::Duplicate`] when the name is taken, in whatever spelling; [`BootFilesError::Name`] when no
    /// client could ask for it.
    pub fn insert(&mut self, name: &str, file: impl Into<OpenFile>) -> Result<(), BootFilesError> {
        let normal = normalise(name).ok_or_else(|| BootFilesError::Name { path: name.into() })?;
        if let Some(taken) = self.files.get(&normal) {
            return Err(BootFilesError::Duplicate { first: taken.spelling.clone(), second: name.to_owned() });
        }
        self.files.insert(normal, Entry { spelling: name.to_owned(), file: file.into() });
        Ok(())
    }

    /// The file under a normalised name.
    pub fn get(&self, normal: &str) -> Option<&OpenFile> {
        self.files.get(normal).map(|entry| &entry.file)
    }

    /// All normalised names with their files, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OpenFile)> {
        self.files.iter().map(|(name, entry)| (name.as_str(), &entry.file))
    }
}

/// What the servers offer: a table that can be exchanged at any moment, and scripts made per machine.
///
/// A name is looked up as it stands and then without the folders that loaders put before it, so that the administrator can
/// keep everything in one folder: `http://server/boot/wimboot`, `\Boot\BCD` and `\sources\boot.wim` find `wimboot`, `BCD`
/// and `boot.wim`. A script wins over a file of the same name.
#[derive(Debug)]
pub struct BootShelf {
    files: RwLock<Arc<BootFiles>>,
    scripts: Arc<dyn BootScripts>,
}

impl BootShelf {
    /// A shelf with these files and scripts.
    pub fn new(files: BootFiles, scripts: Arc<dyn BootScripts>) -> Self {
        Self { files: RwLock::new(Arc::new(files)), scripts }
    }

    /// The table as it is now.
    pub fn files(&self) -> Arc<BootFiles> {
        Arc::clone(&self.files.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Exchanges the table. Transfers that run keep the files that they have open.
    pub fn replace(&self, files: BootFiles) {
        *self.files.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(files);
    }
}

impl FileSource for BootShelf {
    fn open(&self, name: &str) -> Option<OpenFile> {
        let normal = normalise(name)?;
        let table = self.files();
        iter::successors(Some(normal.as_str()), |name| without_folder(name)).find_map(|name| {
            let script = self.scripts.script(name).map(|bytes| Arc::new(BootFile::from_bytes(name, bytes)));
            script.or_else(|| table.get(name).cloned())
        })
    }
}

/// The name without a loader's folder before it, if there is one.
fn without_folder(name: &str) -> Option<&str> {
    LOADER_FOLDERS.iter().find_map(|folder| name.strip_prefix(folder)).filter(|rest| !rest.is_empty())
}

/// The `ETag` value of a SHA-256.
fn etag(hash: &[u8]) -> String {
    HEXLOWER.encode(hash.get(..16).unwrap_or(hash))
}

/// The media type of a file by the end of its name. UEFI HTTP Boot starts `application/efi` only (UEFI 2.10, 24.7).
fn media_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        Some("efi") => "application/efi",
        Some("iso") => "application/vnd.efi-iso",
        Some("ipxe" | "txt" | "cfg" | "ini" | "cmd" | "sh" | "lst") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}
