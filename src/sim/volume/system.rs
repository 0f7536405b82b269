//! The contents of the file system's own files.

use super::index::{entries_of, root};
use super::record::{pad, utf16};

/// The bytes of `$Boot`: boot sector and loader.
pub(super) const BOOT_BYTES: u64 = 8192;

/// What the boot sector says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Boot {
    pub(super) sectors_per_cluster: u64,
    pub(super) hidden_sectors: u32,
    /// The last sector of the partition, the backup's, is not counted.
    pub(super) sectors: u64,
    pub(super) mft: u64,
    pub(super) mirror: u64,
    pub(super) serial: u64,
}

impl Boot {
    pub(super) fn sector(&self) -> Vec<u8> {
        let cluster_bytes = self.sectors_per_cluster * 512;
        // Negated powers of two below one cluster.
        let size = |bytes: u64| match bytes / cluster_bytes {
            0 => (bytes.trailing_zeros() as i8).wrapping_neg() as u8,
            clusters => clusters as u8,
        };
        let mut out = vec![0; 512];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\xeb\x52\x90NTFS    ");
        put(11, &512u16.to_le_bytes());
        put(13, &[self.sectors_per_cluster as u8]);
        put(0x15, &[0xf8]);
        put(0x18, &63u16.to_le_bytes());
        put(0x1a, &255u16.to_le_bytes());
        put(0x1c, &self.hidden_sectors.to_le_bytes());
        put(0x24, &0x0080_0080u32.to_le_bytes());
        put(0x28, &self.sectors.to_le_bytes());
        put(0x30, &self.mft.to_le_bytes());
        put(0x38, &self.mirror.to_le_bytes());
        put(0x40, &[size(1024), 0, 0, 0, size(4096), 0, 0, 0]);
        put(0x48, &self.serial.to_le_bytes());
        // Prints nothing and waits: this is a simulated master.
        put(0x54, b"\xf4\xeb\xfdKlonwerk simulated master, not bootable");
        put(510, &[0x55, 0xaa]);
        out
    }
}

/// `$AttrDef`: name, type, flags, least and greatest size of each kind of attribute.
const ATTRIBUTES: [(&str, u32, u32, u64, u64); 15] = [
    ("$STANDARD_INFORMATION", 0x10, 0x40, 0x30, 0x48),
    ("$ATTRIBUTE_LIST", 0x20, 0x80, 0, u64::MAX),
    ("$FILE_NAME", 0x30, 0x42, 0x44, 0x242),
    ("$OBJECT_ID", 0x40, 0x40, 0, 0x100),
    ("$SECURITY_DESCRIPTOR", 0x50, 0x80, 0, u64::MAX),
    ("$VOLUME_NAME", 0x60, 0x40, 2, 0x100),
    ("$VOLUME_INFORMATION", 0x70, 0x40, 0xc, 0xc),
    ("$DATA", 0x80, 0, 0, u64::MAX),
    ("$INDEX_ROOT", 0x90, 0x40, 0, u64::MAX),
    ("$INDEX_ALLOCATION", 0xa0, 0x80, 0, u64::MAX),
    ("$BITMAP", 0xb0, 0x80, 0, u64::MAX),
    ("$REPARSE_POINT", 0xc0, 0x80, 0, 0x4000),
    ("$EA_INFORMATION", 0xd0, 0x40, 8, 8),
    ("$EA", 0xe0, 0, 0, 0x1_0000),
    ("$LOGGED_UTILITY_STREAM", 0x100, 0x80, 0, 0x1_0000),
];

pub(super) fn attribute_definitions() -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind, flags, least, greatest) in ATTRIBUTES {
        let start = out.len();
        out.extend(utf16(name));
        out.resize(start + 0x80, 0);
        out.extend(kind.to_le_bytes());
        out.extend([0; 8]);
        out.extend(flags.to_le_bytes());
        out.extend(least.to_le_bytes());
        out.extend(greatest.to_le_bytes());
    }
    out.resize(out.len() + 0xa0, 0);
    out
}

/// The security ids of the volume.
pub(super) const SYSTEM_READ: u32 = 0x100;
pub(super) const SYSTEM_WRITE: u32 = 0x101;
pub(super) const EVERYONE: u32 = 0x102;

const LOCAL_SYSTEM: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
const ADMINISTRATORS: &[u8] = &[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
const WORLD: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];

/// A self-relative security descriptor, owned by the administrators.
fn descriptor(allowed: &[(u32, u8, &[u8])]) -> Vec<u8> {
    let mut list = Vec::new();
    for (rights, inheritance, whom) in allowed {
        list.extend([0, *inheritance]);
        list.extend((8 + whom.len() as u16).to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(*whom);
    }
    let owner = 20 + 8 + list.len() as u32;
    let group = owner + ADMINISTRATORS.len() as u32;
    let mut out = vec![1, 0, 4, 0x80];
    for offset in [owner, group, 0, 20] {
        out.extend(offset.to_le_bytes());
    }
    out.extend([2, 0]);
    out.extend((8 + list.len() as u16).to_le_bytes());
    out.extend((allowed.len() as u32).to_le_bytes());
    out.extend(list);
    out.extend(ADMINISTRATORS);
    out.extend(ADMINISTRATORS);
    out
}

fn hash(descriptor: &[u8]) -> u32 {
    let words = descriptor.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    words.fold(0u32, |hash, word| hash.rotate_left(3).wrapping_add(word))
}

/// `$Secure`: the stream of descriptors, and the roots of its two indexes.
#[derive(Debug)]
pub(super) struct Secure {
    pub(super) descriptors: Vec<u8>,
    pub(super) by_hash: Vec<u8>,
    pub(super) by_id: Vec<u8>,
}

/// The second copy of the descriptors follows at this distance.
const COPY: usize = 0x4_0000;

impl Secure {
    pub(super) fn new(clusters_per_node: u8) -> Self {
        let all = [
            (SYSTEM_READ, descriptor(&[(0x12_0089, 0, LOCAL_SYSTEM), (0x12_0089, 0, ADMINISTRATORS)])),
            (SYSTEM_WRITE, descriptor(&[(0x12_019f, 0, LOCAL_SYSTEM), (0x12_019f, 0, ADMINISTRATORS)])),
            (EVERYONE, descriptor(&[(0x1f_01ff, 3, WORLD)])),
        ];
        let mut descriptors = Vec::new();
        let mut headers = Vec::new();
        for (id, descriptor) in &all {
            descriptors.resize(descriptors.len().next_multiple_of(16), 0);
            let mut header = Vec::new();
            header.extend(hash(descriptor).to_le_bytes());
            header.extend(id.to_le_bytes());
            header.extend((descriptors.len() as u64).to_le_bytes());
            header.extend((20 + descriptor.len() as u32).to_le_bytes());
            descriptors.extend(&header);
            descriptors.extend(descriptor);
            headers.push((hash(descriptor), *id, header));
        }
        let first = descriptors.clone();
        descriptors.resize(COPY, 0);
        descriptors.extend(first);
        let by_id: Vec<u8> = headers.iter().flat_map(|(_, id, header)| view(&id.to_le_bytes(), header, &[])).collect();
        headers.sort();
        let by_hash = headers
            .iter()
            .flat_map(|(hash, id, header)| view(&[hash.to_le_bytes(), id.to_le_bytes()].concat(), header, b"I\0I\0"));
        let by_hash: Vec<u8> = by_hash.collect();
        let end = entries_of(&[], None);
        Self {
            descriptors,
            by_hash: root(0, 0x12, clusters_per_node, &[by_hash, end.clone()].concat(), false),
            by_id: root(0, 0x10, clusters_per_node, &[by_id, end].concat(), false),
        }
    }
}

/// An entry of an index that holds data instead of referring to a file.
fn view(key: &[u8], data: &[u8], tail: &[u8]) -> Vec<u8> {
    let data_at = 16 + key.len();
    let mut out = Vec::new();
    out.extend((data_at as u16).to_le_bytes());
    out.extend((data.len() as u16).to_le_bytes());
    out.extend([0; 4]);
    out.extend(((data_at + data.len() + tail.len()).next_multiple_of(8) as u16).to_le_bytes());
    out.extend((key.len() as u16).to_le_bytes());
    out.extend([0; 4]);
    out.extend(key);
    out.extend(data);
    out.extend(tail);
    pad(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_hash_as_mkntfs_hashes_them() {
        let read = descriptor(&[(0x12_0089, 0, LOCAL_SYSTEM), (0x12_0089, 0, ADMINISTRATORS)]);
        let write = descriptor(&[(0x12_019f, 0, LOCAL_SYSTEM), (0x12_019f, 0, ADMINISTRATORS)]);
        assert_eq!((read.len(), hash(&read)), (0x68, 0xf803_12f0));
        assert_eq!((write.len(), hash(&write)), (0x68, 0x00b3_2451));
    }
}
