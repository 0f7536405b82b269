//! Disks of half a megabyte with real partition tables, and images of them.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;

use ed25519_dalek::SigningKey;
use klonwerk::agent::imaging::{Declined, ImageSource, SourceError};
use klonwerk::disk::Disk;
use klonwerk::image::layout;
use klonwerk::image::manifest::{Manifest, VerifiedHead, encode_mask};
use klonwerk::image::ntfs::ReadAt;
use klonwerk::image::{Extent, Hash, Header, Mask, PackedLeaf, Region, RegionKind, TableKind, WindowsFacts};

pub(crate) const SECTOR: usize = 512;
pub(crate) const LEAF: u32 = 4096;
pub(crate) const DISK: usize = 512 * 1024;

/// Bytes that look like data, the same for the same seed; none of them is a boot sector.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes: Vec<u8> = (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect();
    for sector in bytes.chunks_mut(SECTOR) {
        if sector.len() == SECTOR {
            sector[510] = 0;
            sector[11..13].fill(0xee);
        }
    }
    bytes
}

pub(crate) fn fat_sector(name: u8) -> Vec<u8> {
    let mut sector = vec![0; SECTOR];
    sector[..11].copy_from_slice(b"\xeb\x3c\x90MSDOS5.0");
    sector[11..24].copy_from_slice(&[0, 2, 1, 1, 0, 2, 0, 2, 0x40, 0, 0xf8, 1, 0]);
    sector[54..62].copy_from_slice(b"FAT12   ");
    sector[43] = name;
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// A partition: where it lies in bytes, and whether firmware starts from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) esp: bool,
}

const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| (crc >> 8) ^ CRC[(crc as u8 ^ byte) as usize])
}

pub(crate) const ESP_TYPE: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

pub(crate) fn put(disk: &mut [u8], at: usize, bytes: &[u8]) {
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

/// One copy of a GPT: its header at `header`, its entries at `entries`, both in sectors.
pub(crate) fn put_gpt(disk: &mut [u8], seed: u64, parts: &[Part], header: u64, other: u64, entries: u64) {
    let mut list = vec![0; 128 * 128];
    for (number, part) in parts.iter().enumerate() {
        let entry = &mut list[number * 128..][..128];
        entry[..16].copy_from_slice(if part.esp { &ESP_TYPE } else { b"some data inside" });
        entry[16..32].copy_from_slice(&noise(seed + number as u64, 16));
        entry[32..40].copy_from_slice(&((part.start / SECTOR) as u64).to_le_bytes());
        entry[40..48].copy_from_slice(&(((part.start + part.len) / SECTOR) as u64 - 1).to_le_bytes());
    }
    let mut head = vec![0; 92];
    head[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
    for (at, value) in [(24, header), (32, other), (40, 34), (48, (disk.len() / SECTOR) as u64 - 34), (72, entries)] {
        head[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    head[56..72].copy_from_slice(&noise(seed, 16));
    for (at, value) in [(80, 128u32), (84, 128), (88, crc32(&list))] {
        head[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    let crc = crc32(&head);
    head[16..20].copy_from_slice(&crc.to_le_bytes());
    put(disk, header as usize * SECTOR, &head);
    put(disk, entries as usize * SECTOR, &list);
}

pub(crate) fn put_parts(disk: &mut [u8], seed: u64, parts: &[Part]) {
    for (number, part) in parts.iter().enumerate() {
        put(disk, part.start, &noise(seed * 31 + number as u64, part.len));
        if part.esp {
            put(disk, part.start, &fat_sector(seed as u8));
        }
    }
}

/// A GPT disk with boot code in its first sector, its backup where it belongs.
pub(crate) fn gpt_disk(size: usize, seed: u64, parts: &[Part]) -> Vec<u8> {
    let mut disk = vec![0; size];
    let last = (size / SECTOR) as u64 - 1;
    put_parts(&mut disk, seed, parts);
    put(&mut disk, 0, &noise(seed + 77, 440));
    put(&mut disk, 446, &[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    put(&mut disk, 510, &[0x55, 0xaa]);
    put_gpt(&mut disk, seed, parts, 1, last, 2);
    put_gpt(&mut disk, seed, parts, last, 1, last - 32);
    disk
}

pub(crate) fn extent(start: usize, len: usize) -> Extent {
    Extent { start: start as u64, len: len as u64 }
}

/// The regions of a disk with `parts` behind a table of `table` bytes.
pub(crate) fn regions(size: usize, kind: TableKind, table: usize, parts: &[Part]) -> Vec<Region> {
    let mut all = vec![Region { kind: RegionKind::Table, extent: extent(0, table) }];
    for (number, part) in parts.iter().enumerate() {
        let file_system = if part.esp { "fat" } else { "ntfs" }.to_owned();
        let kind = RegionKind::Partition { number: number as u32 + 1, esp: part.esp, file_system };
        all.push(Region { kind, extent: extent(part.start, part.len) });
    }
    if kind == TableKind::Gpt {
        all.push(Region { kind: RegionKind::BackupTable, extent: extent(size - 33 * SECTOR, 33 * SECTOR) });
    }
    all
}

/// An image with the master it was captured from.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) master: Vec<u8>,
    pub(crate) mask: Mask,
    pub(crate) manifest: Manifest,
    pub(crate) head: VerifiedHead,
    packed: HashMap<Hash, PackedLeaf>,
}

impl Image {
    pub(crate) fn of(
        master: Vec<u8>,
        table: TableKind,
        regions: Vec<Region>,
        mask: Mask,
        note: Option<Extent>,
    ) -> Self {
        let gate =
            regions.iter().filter(|r| matches!(r.kind, RegionKind::Table | RegionKind::Partition { esp: true, .. }));
        let header = Header {
            format: 1,
            image: "small@1".parse().unwrap(),
            created: "2026-01-01T00:00:00Z".parse().unwrap(),
            disk_bytes: master.len() as u64,
            sector_bytes: SECTOR as u32,
            leaf_bytes: LEAF,
            table,
            gate: gate.map(|region| Extent { start: region.extent.start, len: SECTOR as u64 }).collect(),
            regions,
            note,
            windows: WindowsFacts::default(),
        };
        let mut blank = master.clone();
        mask.blank(0, &mut blank);
        let hash = |e: Extent| Hash::of(&blank[e.start as usize..e.end() as usize]);
        let leaves: Vec<Hash> = header.leaves().map(|leaf| hash(leaf.extent)).collect();
        let bytes = header.leaves().map(|leaf| &blank[leaf.extent.start as usize..leaf.extent.end() as usize]);
        let packed = leaves.iter().copied().zip(bytes.map(pack)).collect();
        let manifest = Manifest { header, mask: mask.clone(), leaves };
        let key = SigningKey::from_bytes(&[7; 32]);
        let signed = manifest.sign(&key).unwrap();
        let root = signed.root();
        let head = signed.verify(&root, &key.verifying_key()).unwrap();
        Self { master, mask, manifest, head, packed }
    }

    /// The sectors of `medium` that differ from it, masked ones and what lies outside every region aside.
    pub(crate) fn differences(&self, medium: &[u8]) -> Vec<usize> {
        let counted = self.head.header.regions.iter().flat_map(|region| self.mask.outside(region.extent));
        let sectors = counted.flat_map(|e| (e.start as usize..e.end() as usize).step_by(SECTOR));
        sectors.filter(|at| medium[*at..at + SECTOR] != self.master[*at..at + SECTOR]).collect()
    }
}

/// An honest source that remembers what it was asked for.
pub(crate) struct Honest<'a> {
    pub(crate) image: &'a Image,
    pub(crate) asked: Mutex<Vec<u64>>,
}

impl<'a> Honest<'a> {
    pub(crate) fn new(image: &'a Image) -> Self {
        Self { image, asked: Mutex::default() }
    }
}

pub(crate) fn pack(raw: &[u8]) -> PackedLeaf {
    PackedLeaf { raw_len: raw.len() as u32, zstd: zstd::bulk::compress(raw, 1).unwrap() }
}

impl ImageSource for Honest<'_> {
    fn mask(&self) -> Result<Vec<u8>, SourceError> {
        Ok(encode_mask(&self.image.mask))
    }

    fn leaf_hashes(&self, groups: &[u64]) -> Result<Vec<Vec<Hash>>, SourceError> {
        let list = |group: &u64| {
            let range = self.image.head.header.group(*group);
            self.image.manifest.leaves[range.start as usize..range.end as usize].to_vec()
        };
        Ok(groups.iter().map(list).collect())
    }

    fn leaves(
        &self,
        wanted: &[(u64, Hash)],
        sink: &mut dyn FnMut(u64, PackedLeaf) -> Result<(), Declined>,
    ) -> Result<(), SourceError> {
        for (index, hash) in wanted {
            self.asked.lock().unwrap().push(*index);
            sink(*index, self.image.packed[hash].clone())?;
        }
        Ok(())
    }

    fn fetched(&self) -> u64 {
        self.asked.lock().unwrap().len() as u64 * 1000
    }
}

/// A disk as the reader that partition tables are read through.
struct Whole<'a>(&'a dyn Disk);

impl ReadAt for Whole<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buf).map_err(io::Error::other)
    }
}

/// The gate sectors that the tables on the disk name.
pub(crate) fn gates_of(disk: &dyn Disk) -> io::Result<Vec<Extent>> {
    layout::gates_of(&Whole(disk), disk.size(), disk.sector_bytes())
}
