//! Whole files in, whole lists out, and forgetting.

use rusqlite::params;

use super::{ConfirmationState, ConfirmationSummary, Imported, PairKey, SUMMARY, summary_of};
use crate::activation::confirmation::{ConfirmationId, InstallationId, ProductRef};
use crate::activation::exchange::ConfirmationRow;
use crate::room::MachineName;
use crate::store::ledger::audit;
use crate::store::row::Scope;
use crate::store::{Store, StoreError};

impl Store {
    /// Stores the confirmation IDs of a file, all or none, each as [`Store::import_confirmation`] does, and says in the audit
    /// log who brought them. What changes nothing leaves no trace there either.
    pub fn import_confirmations(&self, who: &str, rows: &[ConfirmationRow]) -> Result<Vec<Imported>, StoreError> {
        let rows: Vec<(PairKey, ConfirmationId)> =
            rows.iter().map(|row| (PairKey::new(&row.machine, &row.product, &row.iid), row.cid.clone())).collect();
        let who = who.to_owned();
        self.write("store confirmation IDs", move |scope| {
            let mut all = Vec::with_capacity(rows.len());
            for (key, cid) in &rows {
                let imported = key.put(scope, cid)?;
                if imported.changed {
                    audit(scope, &who, "brought a confirmation ID", Some(&key.machine))?;
                }
                all.push(imported);
            }
            Ok(all)
        })
    }

    /// Forgets what is stored for a machine: one installation ID, or all of them, with confirmation ID and history. The audit
    /// log keeps who did it and for how many. With `dry` nothing is forgotten. The answer is what there was to forget.
    pub fn forget_confirmations(
        &self,
        who: &str,
        machine: &MachineName,
        iid: Option<&InstallationId>,
        dry: bool,
    ) -> Result<Vec<ConfirmationSummary>, StoreError> {
        let (who, machine, iid) = (who.to_owned(), machine.clone(), iid.cloned());
        let forget = move |scope: &Scope<'_>| {
            let mut query = scope.tx.prepare_cached(&format!(
                "{SUMMARY} WHERE machine = ?1 AND iid = coalesce(?2, iid) ORDER BY changed_at DESC, id DESC"
            ))?;
            let chosen = params![machine.as_str(), iid.as_ref().map(InstallationId::digits)];
            let found: Vec<ConfirmationSummary> = query.query_map(chosen, summary_of)?.collect::<Result<_, _>>()?;
            if dry || found.is_empty() {
                return Ok(found);
            }
            let chosen = "machine = ?1 AND iid = coalesce(?2, iid)";
            for sentence in [
                format!(
                    "INSERT INTO forgotten (partial_key, imports)
                     SELECT partial_key, sum(imports) FROM confirmation WHERE {chosen} GROUP BY partial_key
                     ON CONFLICT (partial_key) DO UPDATE SET imports = imports + excluded.imports"
                ),
                format!(
                    "DELETE FROM confirmation_history
                     WHERE confirmation IN (SELECT id FROM confirmation WHERE {chosen})"
                ),
                format!("DELETE FROM confirmation WHERE {chosen}"),
            ] {
                scope.tx.execute(&sentence, params![machine.as_str(), iid.as_ref().map(InstallationId::digits)])?;
            }
            let confirmed = found.iter().filter(|row| row.state != ConfirmationState::Pending).count();
            let what = format!("forgot installation IDs: {}, with a confirmation ID: {confirmed}", found.len());
            audit(scope, &who, &what, Some(&machine))?;
            Ok(found)
        };
        match dry {
            true => self.read("look up what would be forgotten", forget),
            false => self.write("forget confirmations", forget),
        }
    }

    /// All installation IDs, by machine.
    pub fn confirmation_list(&self) -> Result<Vec<ConfirmationSummary>, StoreError> {
        self.read("read the installation IDs", |scope| {
            let mut query = scope.tx.prepare_cached(&format!("{SUMMARY} ORDER BY machine, asked_at, id"))?;
            Ok(query.query_map([], summary_of)?.collect::<Result<_, _>>()?)
        })
    }

    /// Notes the extended product ID of a product key on a machine (`ProductKeyID`), which ActivationWs asks for beside the
    /// installation ID. It changes each time that the key is installed; the last one counts.
    pub fn note_extended_product_id(
        &self,
        machine: &MachineName,
        product: &ProductRef,
        iid: &InstallationId,
        extended_product_id: &str,
    ) -> Result<(), StoreError> {
        let (key, epid) = (PairKey::new(machine, product, iid), extended_product_id.to_owned());
        self.write("note an extended product ID", move |scope| {
            let [machine, activation_id, partial_key, iid] = key.values();
            scope.tx.execute(
                "UPDATE confirmation SET extended_product_id = ?5
                 WHERE machine = ?1 AND activation_id = ?2 AND partial_key = ?3 AND iid = ?4",
                params![machine, activation_id, partial_key, iid, epid],
            )?;
            Ok(())
        })
    }
}
