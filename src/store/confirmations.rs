//! The confirmation store: which installation IDs wait, and which confirmation IDs there are for whom.
//!
//! Keyed by machine, activation ID and last five characters of the product key; one such key can have several pairs, since
//! an installation ID follows the hardware. A confirmation ID is on disk, encrypted, before anybody can use it.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::row::{Failure, Scope, instant, text};
use super::seal::into_text;
use super::{Store, StoreError};
use crate::activation::confirmation::{ConfirmationId, InstallationId, ProductRef};
use crate::room::MachineName;

mod exchange;

/// How it stands with one installation ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfirmationState {
    /// It waits for a confirmation ID.
    Pending,
    /// Its confirmation ID is stored.
    Known,
    /// Windows has refused the stored pair.
    Stale,
}

/// One installation ID that more than one machine sent: cloned firmware IDs, or one PC under two names. An alarm, since a
/// confirmation ID for one would be used for the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedInstallationId {
    /// The installation ID.
    pub iid: InstallationId,
    /// The machines, by name.
    pub machines: Vec<MachineName>,
}

/// What noting an installation ID found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// How it stands with it now: [`ConfirmationState::Known`] when its confirmation ID was stored before.
    pub state: ConfirmationState,
    /// Set when another machine has it too.
    pub alarm: Option<SharedInstallationId>,
}

/// What storing a confirmation ID found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Whether it was not stored before.
    pub new: bool,
    /// Whether anything has changed: it is new, or a refused pair is tried once more.
    pub changed: bool,
    /// Set when another machine has the installation ID too.
    pub alarm: Option<SharedInstallationId>,
}

/// A stored pair that Windows has not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredConfirmation {
    /// The installation ID that the confirmation ID was made for.
    pub iid: InstallationId,
    /// The confirmation ID.
    pub cid: ConfirmationId,
    /// Whether that is the installation ID that was asked about.
    pub exact: bool,
    /// When it was stored.
    pub imported_at: Timestamp,
}

/// An installation ID as lists show it, without its confirmation ID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmationSummary {
    /// The machine.
    pub machine: MachineName,
    /// The product.
    pub product: ProductRef,
    /// The installation ID.
    pub iid: InstallationId,
    /// How it stands with it.
    pub state: ConfirmationState,
    /// The error code with which Windows refused the pair, when it did so last.
    pub stale_code: Option<u32>,
    /// When it was first sent.
    pub asked_at: Timestamp,
    /// When its state changed last.
    pub changed_at: Timestamp,
    /// The extended product ID, where the PC has told it.
    pub extended_product_id: Option<String>,
}

/// One change in the confirmation store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmationChange {
    /// When.
    pub at: Timestamp,
    /// The product.
    pub product: ProductRef,
    /// The installation ID.
    pub iid: InstallationId,
    /// The new state.
    pub state: ConfirmationState,
    /// With which error code, where Windows refused.
    pub code: Option<u32>,
}

impl ConfirmationState {
    fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Known => "known",
            Self::Stale => "stale",
        }
    }

    fn of(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        Ok(match row.get_ref(column)?.as_str()? {
            "known" => Self::Known,
            "stale" => Self::Stale,
            _ => Self::Pending,
        })
    }
}

fn iid_of(row: &Row<'_>, column: usize) -> rusqlite::Result<InstallationId> {
    InstallationId::parse(row.get_ref(column)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// One pair's key, in the form that is stored: Windows' tools write GUIDs and keys in either case.
struct PairKey {
    machine: MachineName,
    product: ProductRef,
    iid: InstallationId,
}

impl PairKey {
    fn new(machine: &MachineName, product: &ProductRef, iid: &InstallationId) -> Self {
        let product = ProductRef {
            activation_id: product.activation_id.to_ascii_lowercase(),
            partial_key: product.partial_key.to_ascii_uppercase(),
        };
        Self { machine: machine.clone(), product, iid: iid.clone() }
    }

    fn values(&self) -> [&str; 4] {
        [self.machine.as_str(), &self.product.activation_id, &self.product.partial_key, self.iid.digits()]
    }

    /// What a sealed confirmation ID is tied to.
    fn place<R>(&self, iid: &InstallationId, with: impl FnOnce(&[&str]) -> R) -> R {
        let machine = self.machine.as_str().to_ascii_lowercase();
        let ProductRef { activation_id, partial_key } = &self.product;
        with(&["confirmation", "sealed", &machine, activation_id, partial_key, iid.digits()])
    }

    fn find(&self, scope: &Scope<'_>) -> Result<Option<Found>, Failure> {
        let found = scope.tx.query_row(
            "SELECT id, state, sealed FROM confirmation
             WHERE machine = ?1 AND activation_id = ?2 AND partial_key = ?3 AND iid = ?4",
            self.values(),
            |row| Ok(Found { id: row.get(0)?, state: ConfirmationState::of(row, 1)?, sealed: row.get(2)? }),
        );
        Ok(found.optional()?)
    }

    /// The row, made as waiting where there is none.
    fn ensure(&self, scope: &Scope<'_>) -> Result<Found, Failure> {
        if let Some(found) = self.find(scope)? {
            return Ok(found);
        }
        let [machine, activation_id, partial_key, iid] = self.values();
        scope.tx.execute(
            "INSERT INTO confirmation (machine, activation_id, partial_key, iid, state, asked_at, changed_at)
             VALUES (?1, ?2, ?3, ?4, 'pending', ?5, ?5)",
            params![machine, activation_id, partial_key, iid, scope.now.as_microsecond()],
        )?;
        let id = scope.tx.last_insert_rowid();
        record(scope, id, ConfirmationState::Pending, None)?;
        Ok(Found { id, state: ConfirmationState::Pending, sealed: None })
    }
}

impl PairKey {
    fn put(&self, scope: &Scope<'_>, cid: &ConfirmationId) -> Result<Imported, Failure> {
        let found = self.ensure(scope)?;
        let before = match &found.sealed {
            // A damaged one is replaced.
            Some(sealed) => unseal(scope, self, &self.iid, sealed).ok(),
            None => None,
        };
        let new = before.as_ref() != Some(cid);
        if new {
            let sealed = self.place(&self.iid, |place| scope.seal.close(place, cid.expose().as_bytes()))?;
            scope.tx.execute(
                "UPDATE confirmation SET sealed = ?2, imports = imports + 1, imported_at = ?3 WHERE id = ?1",
                params![found.id, sealed, scope.now.as_microsecond()],
            )?;
        }
        // A person who brings a refused pair again has it tried again; that spends nothing.
        let changed = new || found.state != ConfirmationState::Known;
        if changed {
            scope.tx.execute(
                "UPDATE confirmation SET state = 'known', stale_code = NULL, changed_at = ?2 WHERE id = ?1",
                params![found.id, scope.now.as_microsecond()],
            )?;
            record(scope, found.id, ConfirmationState::Known, None)?;
        }
        Ok(Imported { new, changed, alarm: alarm(scope, &self.iid)? })
    }
}

struct Found {
    id: i64,
    state: ConfirmationState,
    sealed: Option<Vec<u8>>,
}

fn record(scope: &Scope<'_>, id: i64, state: ConfirmationState, code: Option<u32>) -> rusqlite::Result<()> {
    scope.tx.execute(
        "INSERT INTO confirmation_history (confirmation, at, state, code) VALUES (?1, ?2, ?3, ?4)",
        params![id, scope.now.as_microsecond(), state.name(), code],
    )?;
    Ok(())
}

fn alarm(scope: &Scope<'_>, iid: &InstallationId) -> Result<Option<SharedInstallationId>, Failure> {
    let mut query =
        scope.tx.prepare_cached("SELECT machine FROM confirmation WHERE iid = ?1 GROUP BY machine ORDER BY machine")?;
    let machines: Vec<MachineName> = query.query_map([iid.digits()], |row| text(row, 0))?.collect::<Result<_, _>>()?;
    Ok((machines.len() > 1).then(|| SharedInstallationId { iid: iid.clone(), machines }))
}

fn unseal(scope: &Scope<'_>, key: &PairKey, iid: &InstallationId, sealed: &[u8]) -> Result<ConfirmationId, Failure> {
    let damaged = StoreError::Sealed { what: "confirmation ID" };
    let Ok(opened) = key.place(iid, |place| scope.seal.open(place, sealed)).and_then(into_text) else {
        return Err(damaged.into());
    };
    Ok(ConfirmationId::parse(&opened).map_err(|_| damaged)?)
}

const SUMMARY: &str =
    "SELECT machine, activation_id, partial_key, iid, state, stale_code, asked_at, changed_at, extended_product_id
     FROM confirmation";

fn summary_of(row: &Row<'_>) -> rusqlite::Result<ConfirmationSummary> {
    Ok(ConfirmationSummary {
        machine: text(row, 0)?,
        product: ProductRef { activation_id: row.get(1)?, partial_key: row.get(2)? },
        iid: iid_of(row, 3)?,
        state: ConfirmationState::of(row, 4)?,
        stale_code: row.get(5)?,
        asked_at: instant(row, 6)?,
        changed_at: instant(row, 7)?,
        extended_product_id: row.get(8)?,
    })
}

impl Store {
    /// Notes that a machine's installation ID waits for a confirmation ID. One that is known stays known, and the same one
    /// again makes no second entry. One whose pair Windows has refused waits again.
    pub fn pending(
        &self,
        machine: &MachineName,
        product: &ProductRef,
        iid: &InstallationId,
    ) -> Result<Asked, StoreError> {
        let key = PairKey::new(machine, product, iid);
        self.write("note an installation ID", move |scope| {
            let mut found = key.ensure(scope)?;
            if found.state == ConfirmationState::Stale {
                found.state = ConfirmationState::Pending;
                scope.tx.execute(
                    "UPDATE confirmation SET state = 'pending', changed_at = ?2 WHERE id = ?1",
                    params![found.id, scope.now.as_microsecond()],
                )?;
                record(scope, found.id, found.state, None)?;
            }
            Ok(Asked { state: found.state, alarm: alarm(scope, &key.iid)? })
        })
    }

    /// Stores the confirmation ID for a machine's installation ID, encrypted. The same one again changes nothing, unless
    /// Windows had refused it: then it is tried once more. Another one replaces the stored one. The installation ID need not have been noted before.
    pub fn import_confirmation(
        &self,
        machine: &MachineName,
        product: &ProductRef,
        iid: &InstallationId,
        cid: &ConfirmationId,
    ) -> Result<Imported, StoreError> {
        let (key, cid) = (PairKey::new(machine, product, iid), cid.clone());
        self.write("store a confirmation ID", move |scope| key.put(scope, &cid))
    }

    /// The confirmation ID to try on a machine: the one for `iid`, else the newest one that is stored for the same machine,
    /// activation ID and partial key. Pairs that Windows has refused are left out.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when the stored value does not open.
    pub fn confirmation(
        &self,
        machine: &MachineName,
        product: &ProductRef,
        iid: &InstallationId,
    ) -> Result<Option<StoredConfirmation>, StoreError> {
        let key = PairKey::new(machine, product, iid);
        self.read("read a confirmation ID", move |scope| {
            let found = scope.tx.query_row(
                "SELECT iid, sealed, imported_at FROM confirmation
                 WHERE machine = ?1 AND activation_id = ?2 AND partial_key = ?3 AND state = 'known'
                 ORDER BY iid = ?4 DESC, imported_at DESC, id DESC LIMIT 1",
                key.values(),
                |row| Ok((iid_of(row, 0)?, row.get::<_, Vec<u8>>(1)?, instant(row, 2)?)),
            );
            let Some((iid, sealed, imported_at)) = found.optional()? else { return Ok(None) };
            let cid = unseal(scope, &key, &iid, &sealed)?;
            Ok(Some(StoredConfirmation { exact: iid == key.iid, iid, cid, imported_at }))
        })
    }

    /// Notes that Windows refused the stored pair for `iid` with `code` (only C004F031, C004F07E and C004F07F mean that).
    /// A pair that is not stored stays as it is.
    pub fn mark_stale(
        &self,
        machine: &MachineName,
        product: &ProductRef,
        iid: &InstallationId,
        code: u32,
    ) -> Result<(), StoreError> {
        let key = PairKey::new(machine, product, iid);
        self.write("note a refused confirmation ID", move |scope| {
            let Some(Found { id, state: ConfirmationState::Known, .. }) = key.find(scope)? else { return Ok(()) };
            scope.tx.execute(
                "UPDATE confirmation SET state = 'stale', stale_code = ?2, changed_at = ?3 WHERE id = ?1",
                params![id, code, scope.now.as_microsecond()],
            )?;
            record(scope, id, ConfirmationState::Stale, Some(code))?;
            Ok(())
        })
    }

    /// The installation IDs that wait for a confirmation ID, oldest first.
    pub fn pending_list(&self) -> Result<Vec<ConfirmationSummary>, StoreError> {
        self.read("read the waiting installation IDs", |scope| {
            let mut query =
                scope.tx.prepare_cached(&format!("{SUMMARY} WHERE state = 'pending' ORDER BY asked_at, id"))?;
            Ok(query.query_map([], summary_of)?.collect::<Result<_, _>>()?)
        })
    }

    /// How it stands with a machine's installation IDs, the one that changed last first. Opens no confirmation ID.
    pub fn confirmation_state(&self, machine: &MachineName) -> Result<Vec<ConfirmationSummary>, StoreError> {
        let machine = machine.clone();
        self.read("read a machine's confirmations", move |scope| {
            let mut query =
                scope.tx.prepare_cached(&format!("{SUMMARY} WHERE machine = ?1 ORDER BY changed_at DESC, id DESC"))?;
            Ok(query.query_map([machine.as_str()], summary_of)?.collect::<Result<_, _>>()?)
        })
    }

    /// Who sent an installation ID, for imports that name no machine.
    pub fn senders(&self, iid: &InstallationId) -> Result<Vec<ConfirmationSummary>, StoreError> {
        let iid = iid.clone();
        self.read("look up an installation ID", move |scope| {
            let mut query = scope.tx.prepare_cached(&format!("{SUMMARY} WHERE iid = ?1 ORDER BY machine, id"))?;
            Ok(query.query_map([iid.digits()], summary_of)?.collect::<Result<_, _>>()?)
        })
    }

    /// What happened to a machine's installation and confirmation IDs, oldest first.
    pub fn confirmation_history(&self, machine: &MachineName) -> Result<Vec<ConfirmationChange>, StoreError> {
        let machine = machine.clone();
        self.read("read a machine's confirmations", move |scope| {
            let mut query = scope.tx.prepare_cached(
                "SELECT h.at, c.activation_id, c.partial_key, c.iid, h.state, h.code
                 FROM confirmation_history h JOIN confirmation c ON c.id = h.confirmation
                 WHERE c.machine = ?1 ORDER BY h.id",
            )?;
            let changes = query.query_map([machine.as_str()], |row| {
                Ok(ConfirmationChange {
                    at: instant(row, 0)?,
                    product: ProductRef { activation_id: row.get(1)?, partial_key: row.get(2)? },
                    iid: iid_of(row, 3)?,
                    state: ConfirmationState::of(row, 4)?,
                    code: row.get(5)?,
                })
            })?;
            Ok(changes.collect::<Result<_, _>>()?)
        })
    }
}
