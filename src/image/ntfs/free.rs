//! Free clusters, from `$Bitmap`.

use super::{Extent, FileSystem, NtfsError, damaged};

/// The record of `$Bitmap`.
const BITMAP: u64 = 6;
const PIECE: u64 = 1 << 20;
/// More pieces of free space than this take more memory than imaging has; a volume in that state needs defragmenting.
const MAX_EXTENTS: usize = 8 << 20;

pub(super) struct Free {
    pub(super) clusters: u64,
    pub(super) extents: Vec<Extent>,
}

pub(super) fn free_clusters(files: &FileSystem<'_>) -> Result<Free, NtfsError> {
    let bitmap = files.data(BITMAP)?;
    let clusters = files.clusters();
    if bitmap.size() < clusters.div_ceil(8) {
        return Err(damaged("$Bitmap is shorter than the volume"));
    }
    let mut found = Runs { cluster_bytes: u64::from(files.cluster_bytes()), open: None, clusters: 0, extents: vec![] };
    let mut buffer = vec![0; PIECE as usize];
    let mut at = 0;
    while at < clusters {
        let bits = (clusters - at).min(PIECE * 8);
        let bytes = buffer.get_mut(..bits.div_ceil(8) as usize).unwrap_or_default();
        files.read(&bitmap, at / 8, bytes)?;
        for byte in &*bytes {
            let end = (at + 8).min(clusters);
            match byte {
                0 => found.free(at),
                0xff => found.used(at)?,
                mixed => {
                    for (bit, cluster) in (at..end).enumerate() {
                        if mixed >> bit & 1 == 0 { found.free(cluster) } else { found.used(cluster)? }
                    }
                }
            }
            at = end;
        }
    }
    found.used(clusters)?;
    Ok(Free { clusters: found.clusters, extents: found.extents })
}

struct Runs {
    cluster_bytes: u64,
    open: Option<u64>,
    clusters: u64,
    extents: Vec<Extent>,
}

impl Runs {
    fn free(&mut self, cluster: u64) {
        self.open.get_or_insert(cluster);
    }

    fn used(&mut self, cluster: u64) -> Result<(), NtfsError> {
        if let Some(first) = self.open.take() {
            if self.extents.len() >= MAX_EXTENTS {
                return Err(damaged("free space in too many pieces"));
            }
            let (start, len) = (first * self.cluster_bytes, (cluster - first) * self.cluster_bytes);
            self.extents.push(Extent { start, len });
            self.clusters += cluster - first;
        }
        Ok(())
    }
}
