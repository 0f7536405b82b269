//! The image store: which images there are, under which names and tags, and everything that a server sends of them.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::Serialize;

use super::leaves::LeafStore;
use super::{PackError, io_error, sync_folder, write_whole};
use crate::image::manifest::{ManifestError, decode_mask};
use crate::image::{Hash, Header, ImageFile, Mask};
use crate::room::{ImageName, ImageRef, ImageVersion, ImageWish};

/// The tag that the store keeps by itself.
const NEWEST: &str = "newest";

/// How many images are kept in memory whole.
const CACHED_IMAGES: usize = 8;

/// What a process may do with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read and write; one process at a time.
    Exclusive,
    /// Read only, beside whoever writes.
    ReadOnly,
}

/// An image of the store in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageSummary {
    /// Its root: what an agent is told to expect.
    pub root: Hash,
    /// Everything about it but its leaves.
    pub header: Header,
    /// The tags that point at it.
    pub tags: Vec<String>,
}

/// An image of the store, in memory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StoredImage(Arc<Stored>);

#[derive(Debug)]
struct Stored {
    root: Hash,
    header: Header,
    head: Vec<u8>,
    file: ImageFile,
}

impl StoredImage {
    fn new(file: ImageFile) -> Result<Self, ManifestError> {
        let (root, header, head) = (file.head.root(), file.head.header()?, file.head.encode());
        Ok(Self(Arc::new(Stored { root, header, head, file })))
    }

    /// Its name and version.
    pub fn image(&self) -> &ImageRef {
        &self.0.header.image
    }

    /// Its root.
    pub fn root(&self) -> Hash {
        self.0.root
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.0.header
    }

    /// The signed head as it is sent.
    pub fn head_bytes(&self) -> &[u8] {
        &self.0.head
    }

    /// The mask as it is sent.
    pub fn mask_bytes(&self) -> &[u8] {
        &self.0.file.mask
    }

    /// The mask.
    ///
    /// # Errors
    /// None that a store which read this image would let happen.
    pub fn mask(&self) -> Result<Mask, ManifestError> {
        decode_mask(&self.0.file.mask)
    }

    /// The hashes of the leaves in group `group`; `None` where the image has no such group.
    pub fn leaf_hashes(&self, group: u64) -> Option<&[Hash]> {
        let range = self.0.header.group(group);
        let leaves = self.0.file.leaves.get(range.start as usize..range.end as usize)?;
        (!leaves.is_empty()).then_some(leaves)
    }

    /// The hashes of all leaves, in disk order.
    pub fn leaves(&self) -> &[Hash] {
        &self.0.file.leaves
    }

    /// The image as its file holds it.
    pub fn file(&self) -> &ImageFile {
        &self.0.file
    }
}

type Tags = BTreeMap<ImageName, BTreeMap<ImageVersion, ImageVersion>>;

#[derive(Debug, Default)]
struct Index {
    images: BTreeMap<ImageRef, (Hash, Header)>,
    tags: Tags,
}

impl Index {
    fn newest(&self, name: &ImageName) -> Option<&ImageRef> {
        let versions = self.images.iter().filter(|(image, _)| image.name == *name);
        versions.max_by_key(|(image, (_, header))| (header.created, &image.version)).map(|(image, _)| image)
    }

    fn resolve(&self, wish: &ImageWish) -> Option<&ImageRef> {
        let Some(version) = wish.version.as_ref().filter(|version| version.as_str() != NEWEST) else {
            return self.newest(&wish.name);
        };
        let exact = |version: &ImageVersion| ImageRef { name: wish.name.clone(), version: version.clone() };
        let tagged = || self.tags.get(&wish.name)?.get(version);
        let (image, _) = self
            .images
            .get_key_value(&exact(version))
            .or_else(|| tagged().and_then(|version| self.images.get_key_value(&exact(version))))?;
        Some(image)
    }

    fn summary(&self, image: &ImageRef, root: Hash, header: &Header) -> ImageSummary {
        let own = self.tags.get(&image.name).into_iter().flatten().filter(|(_, version)| **version == image.version);
        let mut tags: Vec<String> = own.map(|(tag, _)| tag.to_string()).collect();
        if self.newest(&image.name) == Some(image) {
            tags.push(NEWEST.to_owned());
        }
        ImageSummary { root, header: header.clone(), tags }
    }
}

/// A folder of images and their leaves. Cheap to clone; clones are the same store.
#[derive(Debug, Clone)]
pub struct ImageStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    access: Access,
    leaves: LeafStore,
    index: RwLock<Index>,
    cache: Mutex<Vec<StoredImage>>,
    /// Held, not read: the lock goes with it.
    _lock: Option<File>,
}

impl ImageStore {
    /// Opens the store in `folder` for reading and writing; makes it if need be.
    ///
    /// # Errors
    /// [`PackError::Locked`] while another process has it open so; [`PackError::Io`], [`PackError::Tags`].
    pub fn open(folder: &Path) -> Result<Self, PackError> {
        Self::open_as(folder, Access::Exclusive)
    }

    /// Opens the store in `folder`.
    ///
    /// # Errors
    /// As [`ImageStore::open`].
    pub fn open_as(folder: &Path, access: Access) -> Result<Self, PackError> {
        let lock = match access {
            Access::Exclusive => Some(lock(folder)?),
            Access::ReadOnly => None,
        };
        let leaves = LeafStore::open(folder, access)?;
        Self::with_leaves(folder, access, leaves, lock)
    }

    /// A store with packs of another size than the usual one.
    ///
    /// # Errors
    /// As [`ImageStore::open`].
    pub fn with_pack_size(folder: &Path, pack_bytes: u64) -> Result<Self, PackError> {
        let lock = lock(folder)?;
        let leaves = LeafStore::with_pack_size(folder, Access::Exclusive, pack_bytes)?;
        Self::with_leaves(folder, Access::Exclusive, leaves, Some(lock))
    }

    fn with_leaves(folder: &Path, access: Access, leaves: LeafStore, lock: Option<File>) -> Result<Self, PackError> {
        let images = folder.join("images");
        if access == Access::Exclusive {
            fs::create_dir_all(&images).map_err(io_error("create", &images))?;
        }
        let mut index = Index { images: BTreeMap::new(), tags: read_tags(&folder.join("tags.json"))? };
        for (image, path) in image_files(folder)? {
            match read_head(&path, &image) {
                Ok(known) => {
                    index.images.insert(image, known);
                }
                // One damaged file must not hide the others; `verify` names it, and `gc` does nothing before it is gone.
                Err(PackError::DamagedImage { source, .. }) => {
                    tracing::error!(%image, error = %source, "an image file is damaged and not offered");
                }
                Err(error) => return Err(error),
            }
        }
        let cache = Mutex::new(Vec::new());
        let folder = folder.to_owned();
        Ok(Self(Arc::new(Inner { folder, access, leaves, index: RwLock::new(index), cache, _lock: lock })))
    }

    /// Its leaves.
    pub fn leaves(&self) -> &LeafStore {
        &self.0.leaves
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0.folder
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.0.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.0.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// All images, by name and version.
    pub fn list(&self) -> Vec<ImageSummary> {
        let index = self.index();
        index.images.iter().map(|(image, (root, header))| index.summary(image, *root, header)).collect()
    }

    /// The image that a profile means: an exact version, else a tag, else the newest version.
    ///
    /// # Errors
    /// [`PackError::NoSuchImage`] names what there is; [`PackError::DamagedImage`], [`PackError::Io`].
    pub fn resolve(&self, wish: &ImageWish) -> Result<StoredImage, PackError> {
        let image = self.find(wish)?;
        self.load(&image)
    }

    /// Which image a wish means, without reading it.
    ///
    /// # Errors
    /// [`PackError::NoSuchImage`].
    pub fn find(&self, wish: &ImageWish) -> Result<ImageRef, PackError> {
        let index = self.index();
        index
            .resolve(wish)
            .cloned()
            .ok_or_else(|| PackError::NoSuchImage { wish: wish.clone(), known: index.images.keys().cloned().collect() })
    }

    /// The image with this root.
    ///
    /// # Errors
    /// [`PackError::DamagedImage`], [`PackError::Io`].
    pub fn by_root(&self, root: &Hash) -> Result<Option<StoredImage>, PackError> {
        let found = self.index().images.iter().find(|(_, (known, _))| known == root).map(|(image, _)| image.clone());
        found.map(|image| self.load(&image)).transpose()
    }

    fn load(&self, image: &ImageRef) -> Result<StoredImage, PackError> {
        let mut cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = cache.iter().position(|known| known.image() == image) {
            let known = cache.remove(at);
            cache.push(known.clone());
            return Ok(known);
        }
        let stored = read_image(&self.path_of(image), image)?;
        if cache.len() >= CACHED_IMAGES {
            cache.remove(0);
        }
        cache.push(stored.clone());
        Ok(stored)
    }

    fn path_of(&self, image: &ImageRef) -> PathBuf {
        self.0.folder.join("images").join(format!("{image}.kwi"))
    }

    /// Adds an image, all of whose leaves must be stored.
    ///
    /// # Errors
    /// [`PackError::Exists`]: images are never replaced. [`PackError::BadTag`]: the version is a tag.
    pub fn put(&self, file: ImageFile) -> Result<StoredImage, PackError> {
        self.must_write()?;
        let damaged = |source| PackError::DamagedImage { path: self.0.folder.join("images"), source };
        let stored = StoredImage::new(file).map_err(damaged)?;
        let image = stored.image().clone();
        self.check_new(&image)?;
        let path = self.path_of(&image);
        write_whole(&path, &stored.file().encode(), false).map_err(|error| match error {
            PackError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
                PackError::Exists(image.clone())
            }
            other => other,
        })?;
        self.index_mut().images.insert(image, (stored.root(), stored.header().clone()));
        Ok(stored)
    }

    /// Whether an image of this name and version could be added.
    ///
    /// # Errors
    /// [`PackError::Exists`], [`PackError::BadTag`].
    pub fn check_new(&self, image: &ImageRef) -> Result<(), PackError> {
        let index = self.index();
        let tagged = index.tags.get(&image.name).is_some_and(|tags| tags.contains_key(&image.version));
        if tagged || image.version.as_str() == NEWEST {
            return Err(PackError::BadTag(image.version.to_string()));
        }
        if index.images.contains_key(image) || self.path_of(image).exists() {
            return Err(PackError::Exists(image.clone()));
        }
        Ok(())
    }

    /// Removes an image and the tags that point at it. Its leaves go with the next clean-ups.
    ///
    /// # Errors
    /// [`PackError::NoSuchImage`], [`PackError::ReadOnly`], [`PackError::Io`].
    pub fn delete(&self, image: &ImageRef) -> Result<(), PackError> {
        self.must_write()?;
        let wish = ImageWish { name: image.name.clone(), version: Some(image.version.clone()) };
        let path = self.path_of(image);
        if !path.exists() {
            let known = self.index().images.keys().cloned().collect();
            return Err(PackError::NoSuchImage { wish, known });
        }
        let mut index = self.index_mut();
        let mut tags = index.tags.clone();
        if let Some(tags) = tags.get_mut(&image.name) {
            tags.retain(|_, version| *version != image.version);
        }
        self.save_tags(&tags)?;
        fs::remove_file(&path).map_err(io_error("delete", &path))?;
        sync_folder(&self.0.folder.join("images"))?;
        index.tags = tags;
        index.images.remove(image);
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| known.image() != image);
        Ok(())
    }

    /// Points a tag at an image; `None` removes it.
    ///
    /// # Errors
    /// [`PackError::BadTag`], [`PackError::NoSuchImage`], [`PackError::ReadOnly`], [`PackError::Io`].
    pub fn tag(&self, name: &ImageName, tag: &ImageVersion, version: Option<&ImageVersion>) -> Result<(), PackError> {
        self.must_write()?;
        let mut index = self.index_mut();
        let image = |version: &ImageVersion| ImageRef { name: name.clone(), version: version.clone() };
        if tag.as_str() == NEWEST || index.images.contains_key(&image(tag)) {
            return Err(PackError::BadTag(tag.to_string()));
        }
        let mut tags = index.tags.clone();
        let of_name = tags.entry(name.clone()).or_default();
        match version {
            Some(version) if !index.images.contains_key(&image(version)) => {
                let wish = ImageWish { name: name.clone(), version: Some(version.clone()) };
                return Err(PackError::NoSuchImage { wish, known: index.images.keys().cloned().collect() });
            }
            Some(version) => of_name.insert(tag.clone(), version.clone()),
            None => of_name.remove(tag),
        };
        self.save_tags(&tags)?;
        index.tags = tags;
        Ok(())
    }

    fn save_tags(&self, tags: &Tags) -> Result<(), PackError> {
        let path = self.0.folder.join("tags.json");
        let bytes = serde_json::to_vec_pretty(tags);
        let bytes = bytes.map_err(|source| PackError::Tags { path: path.clone(), source })?;
        write_whole(&path, &bytes, true)
    }

    fn must_write(&self) -> Result<(), PackError> {
        if self.0.access == Access::Exclusive { Ok(()) } else { Err(PackError::ReadOnly) }
    }
}

fn lock(folder: &Path) -> Result<File, PackError> {
    fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(PackError::Locked { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io_error("lock", &path)(source)),
    }
}

fn read_tags(path: &Path) -> Result<Tags, PackError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| PackError::Tags { path: path.to_owned(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Tags::new()),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// The image files of a store by the images that they are named after.
pub(super) fn image_files(folder: &Path) -> Result<BTreeMap<ImageRef, PathBuf>, PackError> {
    let folder = folder.join("images");
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(io_error("list", &folder))? {
        let path = entry.map_err(io_error("list", &folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".kwi"));
        if let Some(image) = name.and_then(|name| name.parse().ok()) {
            files.insert(image, path);
        }
    }
    Ok(files)
}

/// Reads a whole image file and checks that it is the image that it is named after.
pub(super) fn read_image(path: &Path, image: &ImageRef) -> Result<StoredImage, PackError> {
    let damaged = |source| PackError::DamagedImage { path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(io_error("read", path))?;
    let stored = ImageFile::decode(&bytes).and_then(StoredImage::new).map_err(damaged)?;
    check_name(stored.header(), image).map_err(damaged)?;
    Ok(stored)
}

fn check_name(header: &Header, image: &ImageRef) -> Result<(), ManifestError> {
    let what = "image file";
    let why = || format!("it holds {}", header.image);
    if header.image == *image { Ok(()) } else { Err(ManifestError::Damaged { what, why: why() }) }
}

fn read_head(path: &Path, image: &ImageRef) -> Result<(Hash, Header), PackError> {
    let damaged = |source| PackError::DamagedImage { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io_error("open", path))?;
    let mut bytes = Vec::new();
    let mut step = 1 << 20;
    loop {
        let more = Read::by_ref(&mut file).take(step).read_to_end(&mut bytes).map_err(io_error("read", path))?;
        if let Some(head) = ImageFile::decode_head(&bytes).map_err(damaged)? {
            let header = head.header().map_err(damaged)?;
            check_name(&header, image).map_err(damaged)?;
            return Ok((head.root(), header));
        }
        if more == 0 {
            return Err(damaged(ManifestError::CutShort { what: "image file" }));
        }
        step *= 2;
    }
}
