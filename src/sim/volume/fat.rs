//! A writer of small FAT32 volumes: the EFI system partition of simulated masters.
//!
//! Layout: Microsoft's "FAT: General Overview of On-Disk Format" (fatgen103) and, for long names, the same document.

use super::{VolumeError, WriteAt};

const SECTOR: u64 = 512;
const RESERVED_SECTORS: u64 = 32;
const FATS: u64 = 2;
/// Fewer clusters than this make a FAT16 volume, whatever its boot sector says.
const LEAST_CLUSTERS: u64 = 65_525;
const END: u32 = 0x0fff_ffff;

/// A file or folder.
#[derive(Debug)]
struct Node {
    name: String,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    File(Vec<u8>),
    Folder(Vec<Node>),
}

/// A volume to be.
#[derive(Debug)]
pub struct FatBuilder {
    bytes: u64,
    serial: u32,
    label: String,
    hidden_sectors: u32,
    root: Vec<Node>,
}

impl FatBuilder {
    /// A volume of `bytes` bytes, at least 40 MiB, which starts at sector `hidden_sectors` of its disk.
    pub fn new(bytes: u64, serial: u32, label: &str, hidden_sectors: u32) -> Self {
        Self { bytes, serial, label: label.to_owned(), hidden_sectors, root: Vec::new() }
    }

    /// Makes a file, and the folders above it; `/` separates, names are ASCII.
    pub fn file(mut self, path: &str, contents: Vec<u8>) -> Self {
        let mut folder = &mut self.root;
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        for name in folders.split('/').filter(|name| !name.is_empty()) {
            let found =
                folder.iter().position(|node| node.name == name && matches!(node.contents, Contents::Folder(_)));
            let at = found.unwrap_or_else(|| {
                folder.push(Node { name: name.to_owned(), contents: Contents::Folder(Vec::new()) });
                folder.len() - 1
            });
            match &mut folder[at].contents {
                Contents::Folder(inner) => folder = inner,
                Contents::File(_) => return self,
            }
        }
        folder.push(Node { name: name.to_owned(), contents: Contents::File(contents) });
        self
    }

    /// Writes the volume, its first byte at `offset` of `out`. Free clusters are not written.
    ///
    /// # Errors
    /// [`VolumeError::Size`], [`VolumeError::Full`], [`VolumeError::Io`].
    pub fn build(self, out: &dyn WriteAt, offset: u64) -> Result<(), VolumeError> {
        let sectors = self.bytes / SECTOR;
        let sectors_per_cluster = if self.bytes >= 80 << 20 { 2 } else { 1 };
        let cluster_bytes = sectors_per_cluster * SECTOR;
        let fat_sectors = (sectors / sectors_per_cluster + 2).div_ceil(SECTOR / 4);
        let data = RESERVED_SECTORS + FATS * fat_sectors;
        let clusters = sectors.saturating_sub(data) / sectors_per_cluster;
        if clusters < LEAST_CLUSTERS || self.bytes > 2 << 30 {
            return Err(VolumeError::Size { bytes: self.bytes, cluster_bytes: cluster_bytes as u32 });
        }
        let mut chains = Chains { cluster_bytes, fat: vec![0x0fff_fff8, END], pieces: Vec::new() };
        chains.folder(&self.root, None, &label_entry(&self.label));
        let used = chains.fat.len() as u64;
        if used > clusters {
            return Err(VolumeError::Full { bytes: self.bytes });
        }
        let write = |at: u64, bytes: &[u8]| {
            let offset = offset + at;
            out.write_at(offset, bytes).map_err(|source| VolumeError::Io { offset, source })
        };
        let boot = self.boot_sector(sectors, sectors_per_cluster, fat_sectors);
        let information = information_sector(clusters + 2 - used, used);
        for copy in [0, 6 * SECTOR] {
            write(copy, &boot)?;
            write(copy + SECTOR, &information)?;
        }
        let fat: Vec<u8> = chains.fat.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        for copy in 0..FATS {
            write((RESERVED_SECTORS + copy * fat_sectors) * SECTOR, &fat)?;
        }
        for (cluster, bytes) in &chains.pieces {
            write(data * SECTOR + (u64::from(*cluster) - 2) * cluster_bytes, bytes)?;
        }
        Ok(())
    }

    fn boot_sector(&self, sectors: u64, sectors_per_cluster: u64, fat_sectors: u64) -> [u8; 512] {
        let mut out = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\xeb\x58\x90MSDOS5.0");
        put(11, &(SECTOR as u16).to_le_bytes());
        put(13, &[sectors_per_cluster as u8]);
        put(14, &(RESERVED_SECTORS as u16).to_le_bytes());
        put(16, &[FATS as u8]);
        put(21, &[0xf8]);
        put(24, &63u16.to_le_bytes());
        put(26, &255u16.to_le_bytes());
        put(28, &self.hidden_sectors.to_le_bytes());
        put(32, &(sectors as u32).to_le_bytes());
        put(36, &(fat_sectors as u32).to_le_bytes());
        put(44, &2u32.to_le_bytes());
        put(48, &1u16.to_le_bytes());
        put(50, &6u16.to_le_bytes());
        put(64, &[0x80, 0, 0x29]);
        put(67, &self.serial.to_le_bytes());
        put(71, &padded(&self.label));
        put(82, b"FAT32   ");
        put(90, b"\xf4\xeb\xfd");
        put(510, &[0x55, 0xaa]);
        out
    }
}

fn information_sector(free: u64, next: u64) -> [u8; 512] {
    let mut out = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"RRaA");
    put(484, b"rrAa");
    put(488, &(free as u32).to_le_bytes());
    put(492, &(next as u32).to_le_bytes());
    put(510, &[0x55, 0xaa]);
    out
}

/// Eleven bytes, upper case, filled up with spaces.
fn padded(text: &str) -> [u8; 11] {
    let mut out = [b' '; 11];
    for (byte, letter) in out.iter_mut().zip(text.to_ascii_uppercase().bytes()) {
        *byte = letter;
    }
    out
}

fn label_entry(label: &str) -> Vec<u8> {
    entry(padded(label), 0x08, 0, 0)
}

/// 1 January 2026, 00:00.
const DATE: u16 = (2026 - 1980) << 9 | 1 << 5 | 1;

fn entry(name: [u8; 11], flags: u8, cluster: u32, size: u32) -> Vec<u8> {
    let mut out = name.to_vec();
    out.extend([flags, 0, 0]);
    for number in [0, DATE, DATE, (cluster >> 16) as u16, 0, DATE, cluster as u16] {
        out.extend(number.to_le_bytes());
    }
    out.extend(size.to_le_bytes());
    out
}

struct Chains {
    cluster_bytes: u64,
    fat: Vec<u32>,
    pieces: Vec<(u32, Vec<u8>)>,
}

impl Chains {
    /// Takes a chain for so many bytes.
    fn take(&mut self, bytes: usize) -> u32 {
        let first = self.fat.len() as u32;
        let count = (bytes as u64).div_ceil(self.cluster_bytes).max(1) as u32;
        self.fat.extend((1..count).map(|i| first + i));
        self.fat.push(END);
        first
    }

    /// Places a folder and all in it; gives its first cluster. `above` is the folder above, none for the root.
    fn folder(&mut self, nodes: &[Node], above: Option<u32>, head: &[u8]) -> u32 {
        let names: Vec<_> = nodes.iter().enumerate().map(|(i, node)| names(&node.name, i)).collect();
        let entries: usize = names.iter().map(|(_, long)| 1 + long.len()).sum();
        let itself = self.take((entries + 2) * 32);
        let mut out = head.to_vec();
        if let Some(above) = above {
            out.extend(entry(*b".          ", 0x10, itself, 0));
            // The root is called 0 from below.
            out.extend(entry(*b"..         ", 0x10, if above == 2 { 0 } else { above }, 0));
        }
        for (node, (short, long)) in nodes.iter().zip(names) {
            out.extend(long.into_iter().flatten());
            match &node.contents {
                Contents::Folder(inner) => {
                    let cluster = self.folder(inner, Some(itself), &[]);
                    out.extend(entry(short, 0x10, cluster, 0));
                }
                Contents::File(bytes) if bytes.is_empty() => out.extend(entry(short, 0x20, 0, 0)),
                Contents::File(bytes) => {
                    let cluster = self.take(bytes.len());
                    self.pieces.push((cluster, bytes.clone()));
                    out.extend(entry(short, 0x20, cluster, bytes.len() as u32));
                }
            }
        }
        out.resize((out.len() as u64).next_multiple_of(self.cluster_bytes) as usize, 0);
        self.pieces.push((itself, out));
        itself
    }
}

/// The short name of the file, and the entries of its long name where it has one.
fn names(name: &str, index: usize) -> ([u8; 11], Vec<Vec<u8>>) {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let fits = base.len() <= 8 && extension.len() <= 3;
    let mut short = [b' '; 11];
    let alias = format!("{:.4}~{}", base, index + 1);
    let base = if fits { base } else { &alias };
    for (byte, letter) in short[..8].iter_mut().zip(base.to_ascii_uppercase().bytes()) {
        *byte = letter;
    }
    for (byte, letter) in short[8..].iter_mut().zip(extension.to_ascii_uppercase().bytes()) {
        *byte = letter;
    }
    if fits && name == name.to_ascii_uppercase() {
        return (short, Vec::new());
    }
    let sum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units: Vec<u16> = name.encode_utf16().collect();
    if !units.len().is_multiple_of(13) {
        units.push(0);
    }
    units.resize(units.len().next_multiple_of(13), 0xffff);
    let count = units.len() / 13;
    let entries = units.chunks(13).enumerate().rev().map(|(i, part)| {
        let bytes: Vec<u8> = part.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let mut out = vec![(i + 1) as u8 | if i + 1 == count { 0x40 } else { 0 }];
        out.extend(&bytes[..10]);
        out.extend([0x0f, 0, sum]);
        out.extend(&bytes[10..22]);
        out.extend([0, 0]);
        out.extend(&bytes[22..]);
        out
    });
    (short, entries.collect())
}
