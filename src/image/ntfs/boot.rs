//! The boot sector: the sizes from which everything else on a volume follows.

use super::field::{u8_at, u16_at, u64_at};
use super::{NtfsError, damaged};

/// The largest cluster that Windows formats since 10 1709.
const MAX_CLUSTER: u64 = 2 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) cluster_bytes: u32,
    /// Whole clusters; the sectors after them, the backup boot sector among them, are in no cluster.
    pub(super) clusters: u64,
    pub(super) mft_cluster: u64,
    pub(super) record_bytes: u32,
}

impl Geometry {
    pub(super) fn parse(sector: &[u8], volume_bytes: u64) -> Result<Self, NtfsError> {
        match sector.get(3..11) {
            Some(b"-FVE-FS-") => return Err(NtfsError::BitLocker),
            Some(b"NTFS    ") if u16_at(sector, 510) == Some(0xaa55) => {}
            _ => return Err(NtfsError::NotNtfs),
        }
        let short = || damaged("boot sector cut short");
        let sector_bytes = u64::from(u16_at(sector, 11).ok_or_else(short)?);
        if !sector_bytes.is_power_of_two() || !(256..=4096).contains(&sector_bytes) {
            return Err(damaged(format!("sectors of {sector_bytes} bytes")));
        }
        // Above 128 sectors the byte holds a negated power of two.
        let per_cluster = match u8_at(sector, 13).ok_or_else(short)? {
            count @ 0..=0x80 => u64::from(count),
            negated => 1u64.checked_shl(256 - u32::from(negated)).unwrap_or(0),
        };
        let cluster_bytes = sector_bytes.checked_mul(per_cluster).filter(|bytes| *bytes <= MAX_CLUSTER);
        let Some(cluster_bytes) = cluster_bytes.filter(|bytes| bytes.is_power_of_two()) else {
            return Err(damaged("impossible cluster size in the boot sector"));
        };
        let sectors = u64_at(sector, 0x28).ok_or_else(short)?;
        if sectors.checked_mul(sector_bytes).is_none_or(|bytes| bytes > volume_bytes) {
            return Err(damaged(format!("{sectors} sectors do not fit into the partition of {volume_bytes} bytes")));
        }
        let clusters = sectors / per_cluster;
        let mft_cluster = u64_at(sector, 0x30).ok_or_else(short)?;
        if mft_cluster >= clusters {
            return Err(damaged("the file table begins outside the volume"));
        }
        let record_bytes = record_bytes(u8_at(sector, 0x40).ok_or_else(short)?, cluster_bytes)
            .ok_or_else(|| damaged("impossible size of file records in the boot sector"))?;
        let cluster_bytes = u32::try_from(cluster_bytes).map_err(|_| short())?;
        Ok(Self { cluster_bytes, clusters, mft_cluster, record_bytes })
    }
}

/// Positive: clusters. Negative: the power of two of the size in bytes.
fn record_bytes(encoded: u8, cluster_bytes: u64) -> Option<u32> {
    let bytes = match i8::from_le_bytes([encoded]) {
        count @ 1.. => cluster_bytes.checked_mul(u64::try_from(count).ok()?)?,
        power => 1u64.checked_shl(u32::from(power.unsigned_abs()))?,
    };
    let bytes = u32::try_from(bytes).ok()?;
    ((512..=64 * 1024).contains(&bytes) && bytes.is_power_of_two()).then_some(bytes)
}
