//! Images on the server's disk: leaves in packs, a catalogue of where each leaf lies, and the images that name them.
//!
//! The packs are the only copy of the leaves; the catalogue and the index at the end of each pack can be made again from
//! them. `docs/formats/packs.md` has the bytes. One process writes (it holds the lock), any number read.

use std::io;
use std::path::{Path, PathBuf};

use crate::image::{Hash, manifest::ManifestError};
use crate::room::{ImageRef, ImageWish};

mod capture;
mod catalogue;
mod collect;
mod key;
mod leaves;
mod pack;
mod store;
mod verify;

pub use crate::image::PackedLeaf;
pub use capture::{
    CaptureError, CaptureOptions, CapturePhase, CaptureProgress, CaptureReport, CaptureWarning, Examined, MissingFact,
    capture, examine,
};
pub use collect::GcReport;
pub use key::{KeyError, SigningKeyFile};
pub use leaves::{Appended, LeafStore, PackWriter};
pub use pack::PACK_BYTES;
pub use store::{Access, ImageStore, ImageSummary, StoredImage};
pub use verify::{VerifyFault, VerifyProgress, VerifyReport};

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The system refused an operation.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`, …
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process writes to this store.
    #[error("the image store {} is in use by another Klonwerk; stop it, or ask the running server instead", .path.display())]
    Locked {
        /// The store's folder.
        path: PathBuf,
    },
    /// The store was opened to be read only.
    #[error("the image store was opened for reading only")]
    ReadOnly,
    /// A capture or a clean-up runs in this store.
    #[error("a capture or a clean-up of the image store is running; try again when it has ended")]
    Busy,
    /// A pack holds something else than was put into it.
    #[error(
        "pack {pack} is damaged at leaf {leaf}; run klonwerk image verify, then capture the images that it names again"
    )]
    DamagedLeaf {
        /// The pack's name.
        pack: Hash,
        /// The leaf that was wanted.
        leaf: Hash,
    },
    /// A pack that is no pack.
    #[error("pack {pack} is damaged: {why}")]
    DamagedPack {
        /// The pack's name.
        pack: Hash,
        /// What is wrong with it.
        why: String,
    },
    /// A leaf cannot be stored.
    #[error("leaf {leaf} of {raw_len} bytes ({packed_len} compressed) is longer than a pack's format allows")]
    TooLong {
        /// Which leaf.
        leaf: Hash,
        /// Its length.
        raw_len: u32,
        /// Its compressed length.
        packed_len: usize,
    },
    /// An image's file is damaged.
    #[error("the image file {} is damaged", .path.display())]
    DamagedImage {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// No such image.
    #[error("there is no image {wish}; {}", name_all(.known))]
    NoSuchImage {
        /// What was asked for.
        wish: ImageWish,
        /// What there is.
        known: Vec<ImageRef>,
    },
    /// An image is never replaced.
    #[error("image {0} exists already; images are never changed, so choose another version")]
    Exists(ImageRef),
    /// The file of tags cannot be read.
    #[error("{} is not a list of tags; correct or remove it, the newest versions are found again", .path.display())]
    Tags {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// `newest` is kept by the store itself, and a tag that is a version would hide it.
    #[error("'{0}' cannot be a tag: it is kept by Klonwerk itself or is the name of a version")]
    BadTag(String),
}

fn name_all(images: &[ImageRef]) -> String {
    match images {
        [] => "the store holds none yet (klonwerk image capture makes one)".to_owned(),
        some => format!("known: {}", some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Turns a system error on `path` into ours.
fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> PackError + use<'a> {
    move |source| PackError::Io { action, path: path.to_owned(), source }
}

/// Makes the names in a folder durable.
fn sync_folder(path: &Path) -> Result<(), PackError> {
    std::fs::File::open(path).and_then(|folder| folder.sync_all()).map_err(io_error("flush", path))
}

/// Writes a file so that it is there whole or not at all, whenever the power is cut. `replace` says whether an older one
/// may go.
fn write_whole(path: &Path, bytes: &[u8], replace: bool) -> Result<(), PackError> {
    use std::io::Write;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(pack::UNFINISHED)
        .tempfile_in(folder)
        .map_err(io_error("create a file in", folder))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(io_error("write", file.path()))?;
    let persisted = if replace { file.persist(path) } else { file.persist_noclobber(path) };
    persisted.map_err(|error| io_error("create", path)(error.error))?;
    sync_folder(folder)
}
