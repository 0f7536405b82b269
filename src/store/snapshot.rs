//! A consistent copy of the database while it is in use, for a backup.

use std::path::PathBuf;

use super::row::Failure;
use super::{Store, StoreError};

impl Store {
    /// Copies the database, as it is between two transactions, into a new file beside it that only its owner can read. Whoever
    /// asks removes it. The writer waits meanwhile.
    ///
    /// # Errors
    /// When the disk is full, say; then there is no file.
    pub fn snapshot(&self) -> Result<PathBuf, StoreError> {
        let path = &self.0.path;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
        let open = |source| StoreError::Open { path: path.to_owned(), source };
        // An empty file is taken by the database, with the mode that it has.
        let file = tempfile::Builder::new().prefix("snapshot-").suffix(".db").tempfile_in(folder).map_err(open)?;
        let target = file.path().to_string_lossy().into_owned();
        let copied = self.0.writer.outside(move |connection| {
            connection.execute("VACUUM INTO ?1", [target])?;
            Ok::<_, Failure>(())
        });
        copied.map_err(|failure| super::schema::explain(failure, "copy the state", path))?;
        file.as_file().sync_all().map_err(open)?;
        let (_, kept) = file.keep().map_err(|error| open(error.error))?;
        Ok(kept)
    }
}
