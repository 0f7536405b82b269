//! Cleaning up: leaves that no image names any more give their room back.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::catalogue::Pack;
use super::store::{image_files, read_image};
use super::{ImageStore, PackError, PackWriter};
use crate::image::Hash;

/// What a clean-up did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GcReport {
    /// Images whose leaves stay.
    pub images: u64,
    /// Different leaves that they name.
    pub live_leaves: u64,
    /// Packs less than half of whose bytes were needed, and whose needed leaves were moved to new packs.
    pub rewritten: u64,
    /// The bytes of the new packs.
    pub rewritten_bytes: u64,
    /// Packs that nothing needs and that wait for their grace to end.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Packs that were deleted.
    pub deleted: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Packs that could not be rewritten because they are damaged; they stay as they are.
    pub damaged: u64,
}

impl ImageStore {
    /// Retires packs that no image needs, moves what is needed out of packs that are mostly waste, and deletes packs that
    /// were retired at least `grace` ago, which must be longer than any run.
    ///
    /// # Errors
    /// [`PackError::DamagedImage`]: nothing is deleted while it is unknown what an image needs. [`PackError::Busy`],
    /// [`PackError::ReadOnly`], [`PackError::Io`].
    pub fn gc(&self, grace: Duration, now: Timestamp) -> Result<GcReport, PackError> {
        // First the right to write: a capture has its leaves stored before its image says that it needs them.
        let mut writer = self.leaves().writer()?;
        let mut live = HashSet::new();
        let mut report = GcReport::default();
        for (image, path) in image_files(self.folder())? {
            live.extend(read_image(&path, &image)?.leaves().iter().copied());
            report.images += 1;
        }
        let mut used: HashMap<Hash, u64> = HashMap::new();
        let packs: Vec<Pack> = {
            let catalogue = self.leaves().catalogue();
            for (_, pack, bytes) in catalogue.places().filter(|(leaf, ..)| live.contains(leaf)) {
                report.live_leaves += 1;
                *used.entry(pack.name).or_default() += bytes;
            }
            catalogue.packs().cloned().collect()
        };
        for pack in packs {
            let used = used.get(&pack.name).copied().unwrap_or(0);
            if used == 0 {
                let since = pack.retired.unwrap_or(now);
                self.leaves().catalogue_mut().retire(&pack.name, Some(since));
            } else if used * 2 < pack.len {
                self.leaves().catalogue_mut().retire(&pack.name, Some(now));
                match self.move_out(&pack, &live, &mut writer) {
                    Ok(()) => report.rewritten += 1,
                    Err(PackError::DamagedLeaf { pack, leaf, .. }) => {
                        tracing::error!(%pack, %leaf, "a damaged pack is not rewritten");
                        self.leaves().catalogue_mut().retire(&pack, None);
                        report.damaged += 1;
                    }
                    Err(error) => return Err(error),
                }
            } else {
                self.leaves().catalogue_mut().retire(&pack.name, None);
            }
        }
        report.rewritten_bytes = writer.finish()?.bytes;
        self.delete_retired(grace, now, &live, &mut report)?;
        self.leaves().save_catalogue()?;
        Ok(report)
    }

    /// Copies the needed leaves of one pack, in their order.
    fn move_out(&self, pack: &Pack, live: &HashSet<Hash>, writer: &mut PackWriter) -> Result<(), PackError> {
        let entries = self.leaves().catalogue().entries_of(&pack.name);
        for entry in entries.iter().filter(|entry| live.contains(&entry.leaf)) {
            if let Some(packed) = self.leaves().get(&entry.leaf)? {
                writer.append(&entry.leaf, &packed)?;
            }
        }
        Ok(())
    }

    fn delete_retired(
        &self,
        grace: Duration,
        now: Timestamp,
        live: &HashSet<Hash>,
        report: &mut GcReport,
    ) -> Result<(), PackError> {
        let retired: Vec<Pack> = {
            let catalogue = self.leaves().catalogue();
            let needed: HashSet<Hash> =
                catalogue.places().filter(|(leaf, ..)| live.contains(leaf)).map(|(_, pack, _)| pack.name).collect();
            catalogue.packs().filter(|pack| pack.retired.is_some() && !needed.contains(&pack.name)).cloned().collect()
        };
        for pack in retired {
            let over = pack.retired.and_then(|since| since.checked_add(grace).ok()).is_some_and(|end| end <= now);
            if over {
                self.leaves().delete_pack(&pack.name)?;
                report.deleted += 1;
                report.freed_bytes += pack.len;
            } else {
                report.waiting += 1;
                report.waiting_bytes += pack.len;
            }
        }
        Ok(())
    }
}
