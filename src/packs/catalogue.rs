//! The catalogue: where each leaf lies. A copy of what the packs say about themselves, kept so that opening a store does
//! not read all of them; wrong or missing, it is made again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::pack::{self, Entry};
use super::{PackError, io_error, write_whole};
use crate::image::Hash;

const MAGIC: &[u8; 8] = b"KWCATA\x01\n";

/// A pack as the catalogue knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pack {
    pub(super) name: Hash,
    pub(super) len: u64,
    /// Since when nothing refers to it; it is deleted some time later.
    pub(super) retired: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    pack: u32,
    offset: u32,
    raw_len: u32,
    packed_len: u32,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Catalogue {
    /// Slots, so that a place can name its pack by number; a deleted pack leaves an empty one.
    packs: Vec<Option<Pack>>,
    places: BTreeMap<Hash, Place>,
}

impl Catalogue {
    pub(super) fn packs(&self) -> impl Iterator<Item = &Pack> {
        self.packs.iter().flatten()
    }

    pub(super) fn leaf_count(&self) -> u64 {
        self.places.len() as u64
    }

    pub(super) fn find(&self, leaf: &Hash) -> Option<(&Pack, Entry)> {
        let place = self.places.get(leaf)?;
        let pack = self.packs.get(place.pack as usize)?.as_ref()?;
        let Place { offset, raw_len, packed_len, .. } = *place;
        Some((pack, Entry { leaf: *leaf, offset, raw_len, packed_len }))
    }

    /// Whether a pack that stays holds the leaf.
    pub(super) fn keeps(&self, leaf: &Hash) -> bool {
        self.find(leaf).is_some_and(|(pack, _)| pack.retired.is_none())
    }

    /// Adds a pack. Its leaves are read from it from now on, unless another pack that stays has them already.
    pub(super) fn add(&mut self, pack: Pack, entries: Vec<Entry>) {
        let stays = pack.retired.is_none();
        let slot = match self.slot(&pack.name) {
            // The same leaves in the same order make the same pack: it is back in use.
            Some(slot) => {
                if stays {
                    self.retire(&pack.name, None);
                }
                slot
            }
            None => {
                self.packs.push(Some(pack));
                self.packs.len() - 1
            }
        } as u32;
        for Entry { leaf, offset, raw_len, packed_len } in entries {
            if !self.keeps(&leaf) && (stays || self.find(&leaf).is_none()) {
                self.places.insert(leaf, Place { pack: slot, offset, raw_len, packed_len });
            }
        }
    }

    /// Every leaf of one pack that is read from there.
    pub(super) fn entries_of(&self, pack: &Hash) -> Vec<Entry> {
        let Some(slot) = self.slot(pack) else { return Vec::new() };
        let here = self.places.iter().filter(|(_, place)| place.pack as usize == slot);
        let mut entries: Vec<_> = here
            .map(|(leaf, place)| {
                let Place { offset, raw_len, packed_len, .. } = *place;
                Entry { leaf: *leaf, offset, raw_len, packed_len }
            })
            .collect();
        entries.sort_by_key(|entry| entry.offset);
        entries
    }

    /// All leaves with the number of their pack, for marking.
    pub(super) fn places(&self) -> impl Iterator<Item = (&Hash, &Pack, u64)> {
        self.places.keys().filter_map(|leaf| self.find(leaf).map(|(pack, entry)| (leaf, pack, entry.bytes())))
    }

    fn slot(&self, pack: &Hash) -> Option<usize> {
        self.packs.iter().position(|slot| slot.as_ref().is_some_and(|known| known.name == *pack))
    }

    pub(super) fn retire(&mut self, pack: &Hash, since: Option<Timestamp>) {
        if let Some(Some(known)) = self.slot(pack).and_then(|slot| self.packs.get_mut(slot)) {
            known.retired = since;
        }
    }

    /// Forgets a pack and the leaves that are read from it.
    pub(super) fn remove(&mut self, pack: &Hash) {
        let Some(slot) = self.slot(pack) else { return };
        self.places.retain(|_, place| place.pack as usize != slot);
        if let Some(known) = self.packs.get_mut(slot) {
            *known = None;
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut numbers = BTreeMap::new();
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&(self.packs().count() as u32).to_le_bytes());
        for (slot, pack) in self.packs.iter().enumerate() {
            let Some(pack) = pack else { continue };
            numbers.insert(slot as u32, numbers.len() as u32);
            out.extend_from_slice(&pack.name.0);
            out.extend_from_slice(&pack.len.to_le_bytes());
            out.extend_from_slice(&pack.retired.map_or(0, Timestamp::as_second).to_le_bytes());
        }
        out.extend_from_slice(&(self.places.len() as u64).to_le_bytes());
        for (leaf, place) in &self.places {
            out.extend_from_slice(&leaf.0);
            let pack = numbers.get(&place.pack).copied().unwrap_or(u32::MAX);
            for value in [pack, place.offset, place.raw_len, place.packed_len] {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
        let sum = Hash::of(&out);
        out.extend_from_slice(&sum.0);
        out
    }

    /// None for anything but a whole catalogue of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        if Hash::of(body).0 != *sum {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (packs, rest) = rest.split_at_checked((u32::from_le_bytes(*count) as usize).checked_mul(48)?)?;
        let packs = packs.chunks(48).map(|record| {
            let (name, rest) = record.split_first_chunk::<32>()?;
            let (len, rest) = rest.split_first_chunk::<8>()?;
            let retired = i64::from_le_bytes(*rest.first_chunk::<8>()?);
            let retired = if retired == 0 { None } else { Some(Timestamp::from_second(retired).ok()?) };
            Some(Some(Pack { name: Hash(*name), len: u64::from_le_bytes(*len), retired }))
        });
        let packs: Vec<Option<Pack>> = packs.collect::<Option<_>>()?;
        let (count, places) = rest.split_first_chunk::<8>()?;
        if u64::from_le_bytes(*count).checked_mul(48)? != places.len() as u64 {
            return None;
        }
        let places = places.as_chunks::<48>().0.iter().map(|record| {
            let (leaf, numbers) = record.split_first_chunk::<32>()?;
            let [pack, offset, raw_len, packed_len] =
                [0, 4, 8, 12].map(|at| numbers.get(at..).and_then(|n| n.first_chunk()).map(|n| u32::from_le_bytes(*n)));
            let place = Place { pack: pack?, offset: offset?, raw_len: raw_len?, packed_len: packed_len? };
            ((place.pack as usize) < packs.len()).then_some((Hash(*leaf), place))
        });
        Some(Self { places: places.collect::<Option<_>>()?, packs })
    }

    /// Reads the catalogue of a store and brings it in line with the packs that are there. Says whether it had to change.
    pub(super) fn open(file: &Path, folder: &Path) -> Result<(Self, bool), PackError> {
        let present = packs_in(folder)?;
        let stored = match fs::read(file) {
            Ok(bytes) => Self::decode(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error("read", file)(error)),
        };
        let is_there = |pack: &Pack| present.get(&pack.name).is_some_and(|(len, _)| *len == pack.len);
        // A pack that went away may have hidden the same leaf in another one: then everything is read again.
        let usable = stored.filter(|catalogue| catalogue.packs().all(is_there));
        let mut catalogue = usable.unwrap_or_default();
        let mut changed = false;
        for (name, (len, path)) in present {
            if catalogue.slot(&name).is_some() {
                continue;
            }
            changed = true;
            let entries = describe(&path, &name)?;
            catalogue.add(Pack { name, len, retired: None }, entries);
        }
        Ok((catalogue, changed))
    }

    pub(super) fn save(&self, file: &Path) -> Result<(), PackError> {
        write_whole(file, &self.encode(), true)
    }
}

/// What a pack says about itself: its index, else its entries as far as they can be followed.
fn describe(path: &Path, name: &Hash) -> Result<Vec<Entry>, PackError> {
    let file = fs::File::open(path).map_err(io_error("open", path))?;
    match pack::read_index(&file, path, name) {
        Ok(entries) => Ok(entries),
        Err(PackError::DamagedPack { why, .. }) => {
            tracing::warn!(pack = %name, why, "a pack's index is damaged, reading its entries instead");
            let bytes = fs::read(path).map_err(io_error("read", path))?;
            Ok(pack::walk(&bytes).entries.into_iter().map(|(entry, _)| entry).collect())
        }
        Err(error) => Err(error),
    }
}

/// The packs of a folder with their lengths.
pub(super) fn packs_in(folder: &Path) -> Result<BTreeMap<Hash, (u64, PathBuf)>, PackError> {
    let mut packs = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(io_error("list", folder))? {
        let entry = entry.map_err(io_error("list", folder))?;
        if let Some(name) = entry.file_name().to_str().and_then(pack::name_of) {
            let len = entry.metadata().map_err(io_error("read", folder))?.len();
            packs.insert(name, (len, entry.path()));
        }
    }
    Ok(packs)
}
