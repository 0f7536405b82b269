//! The leaf store: packs in a folder, read by many while one writes.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::catalogue::{Catalogue, Pack};
use super::pack::{self, Building, PACK_BYTES, UNFINISHED};
use super::store::Access;
use super::{PackError, io_error};
use crate::image::{Hash, PackedLeaf};

/// How many packs are kept open for reading.
const OPEN_FILES: usize = 32;

/// All leaves of a store. Cheap to clone; clones are the same store.
#[derive(Debug, Clone)]
pub struct LeafStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    packs: PathBuf,
    catalogue_file: PathBuf,
    access: Access,
    pack_bytes: u64,
    catalogue: RwLock<Catalogue>,
    files: Mutex<Vec<(Hash, Arc<File>)>>,
    writing: AtomicBool,
}

impl LeafStore {
    /// Opens the leaves of the store in `folder`, which is made if need be. What a crash left unfinished is removed, and
    /// the catalogue is made again where it does not fit the packs.
    ///
    /// # Errors
    /// [`PackError::Io`].
    pub fn open(folder: &Path, access: Access) -> Result<Self, PackError> {
        Self::with_pack_size(folder, access, PACK_BYTES)
    }

    /// The same with packs of another size.
    ///
    /// # Errors
    /// [`PackError::Io`].
    pub fn with_pack_size(folder: &Path, access: Access, pack_bytes: u64) -> Result<Self, PackError> {
        let packs = folder.join("packs");
        if access == Access::Exclusive {
            std::fs::create_dir_all(&packs).map_err(io_error("create", &packs))?;
            remove_unfinished(folder)?;
            remove_unfinished(&packs)?;
        }
        let catalogue_file = folder.join("catalogue.kwc");
        let (catalogue, changed) = Catalogue::open(&catalogue_file, &packs)?;
        if changed && access == Access::Exclusive {
            catalogue.save(&catalogue_file)?;
        }
        Ok(Self(Arc::new(Inner {
            packs,
            catalogue_file,
            access,
            pack_bytes,
            catalogue: RwLock::new(catalogue),
            files: Mutex::new(Vec::new()),
            writing: AtomicBool::new(false),
        })))
    }

    /// The folder of the packs.
    pub(super) fn folder(&self) -> &Path {
        &self.0.packs
    }

    pub(super) fn catalogue(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.0.catalogue.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn catalogue_mut(&self) -> RwLockWriteGuard<'_, Catalogue> {
        self.0.catalogue.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn save_catalogue(&self) -> Result<(), PackError> {
        let bytes = self.catalogue().encode();
        super::write_whole(&self.0.catalogue_file, &bytes, true)
    }

    /// How many different leaves there are.
    pub fn leaf_count(&self) -> u64 {
        self.catalogue().leaf_count()
    }

    /// The bytes of all packs.
    pub fn stored_bytes(&self) -> u64 {
        self.catalogue().packs().map(|pack| pack.len).sum()
    }

    /// Whether the leaf is stored in a pack that will stay, so that it need not be stored again.
    pub fn contains(&self, leaf: &Hash) -> bool {
        self.catalogue().keeps(leaf)
    }

    /// A leaf as it is stored, its checksum checked; `None` where the store does not have it.
    ///
    /// # Errors
    /// [`PackError::DamagedLeaf`] names pack and leaf; [`PackError::Io`].
    pub fn get(&self, leaf: &Hash) -> Result<Option<PackedLeaf>, PackError> {
        let mut last = None;
        loop {
            let found = self.catalogue().find(leaf).map(|(pack, entry)| (pack.name, entry));
            let Some((pack, entry)) = found else { return Ok(None) };
            let path = pack::path_of(&self.0.packs, &pack);
            match self.file(&pack, &path) {
                Ok(file) => return pack::read_leaf(&file, &path, &pack, &entry).map(Some),
                // A clean-up moved the leaf between the look at the catalogue and this one.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && last != Some(pack) => last = Some(pack),
                Err(error) => return Err(io_error("open", &path)(error)),
            }
        }
    }

    fn file(&self, pack: &Hash, path: &Path) -> std::io::Result<Arc<File>> {
        let mut files = self.0.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = files.iter().position(|(name, _)| name == pack) {
            let used = files.remove(at);
            let file = Arc::clone(&used.1);
            files.push(used);
            return Ok(file);
        }
        let file = Arc::new(File::open(path)?);
        if files.len() >= OPEN_FILES {
            files.remove(0);
        }
        files.push((*pack, Arc::clone(&file)));
        Ok(file)
    }

    /// Deletes a pack that nothing needs any more.
    pub(super) fn delete_pack(&self, pack: &Hash) -> Result<(), PackError> {
        self.catalogue_mut().remove(pack);
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner).retain(|(name, _)| name != pack);
        let path = pack::path_of(&self.0.packs, pack);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("delete", &path)(error)),
            _ => Ok(()),
        }
    }

    /// The right to append, which one capture or clean-up has at a time.
    ///
    /// # Errors
    /// [`PackError::ReadOnly`], [`PackError::Busy`].
    pub fn writer(&self) -> Result<PackWriter, PackError> {
        if self.0.access != Access::Exclusive {
            return Err(PackError::ReadOnly);
        }
        if self.0.writing.swap(true, Ordering::Acquire) {
            return Err(PackError::Busy);
        }
        let store = self.clone();
        Ok(PackWriter { store, building: None, pending: HashSet::new(), appended: Appended::default() })
    }
}

fn remove_unfinished(folder: &Path) -> Result<(), PackError> {
    for entry in std::fs::read_dir(folder).map_err(io_error("list", folder))? {
        let entry = entry.map_err(io_error("list", folder))?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED)) {
            std::fs::remove_file(entry.path()).map_err(io_error("delete", &entry.path()))?;
        }
    }
    Ok(())
}

/// What a writer has added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    /// Leaves that the store did not have.
    pub leaves: u64,
    /// Packs that were made.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Appends leaves. Dropped without [`PackWriter::finish`], the pack that was not full is forgotten.
#[derive(Debug)]
pub struct PackWriter {
    store: LeafStore,
    building: Option<Building>,
    pending: HashSet<Hash>,
    appended: Appended,
}

impl PackWriter {
    /// Stores a leaf unless it is stored; says whether it was new. Readers see it once its pack is full or finished.
    ///
    /// # Errors
    /// [`PackError::TooLong`], [`PackError::Io`].
    pub fn append(&mut self, leaf: &Hash, packed: &PackedLeaf) -> Result<bool, PackError> {
        if self.pending.contains(leaf) || self.store.contains(leaf) {
            return Ok(false);
        }
        let building = match &mut self.building {
            Some(building) => building,
            none => none.insert(Building::begin(self.store.folder())?),
        };
        building.append(leaf, packed)?;
        self.pending.insert(*leaf);
        self.appended.leaves += 1;
        if building.len() >= self.store.0.pack_bytes {
            self.seal()?;
        }
        Ok(true)
    }

    fn seal(&mut self) -> Result<(), PackError> {
        let Some(building) = self.building.take() else { return Ok(()) };
        let (name, len, entries) = building.seal(self.store.folder())?;
        self.appended.packs += 1;
        self.appended.bytes += len;
        self.pending.clear();
        self.store.catalogue_mut().add(Pack { name, len, retired: None }, entries);
        Ok(())
    }

    /// Makes everything durable and visible.
    ///
    /// # Errors
    /// [`PackError::Io`].
    pub fn finish(&mut self) -> Result<Appended, PackError> {
        self.seal()?;
        self.store.save_catalogue()?;
        Ok(self.appended)
    }
}

impl Drop for PackWriter {
    fn drop(&mut self) {
        self.store.0.writing.store(false, Ordering::Release);
    }
}
