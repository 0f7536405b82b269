//! What each key has spent, and the release of a key on hold.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::http::agent_api::{Problem, ask, parse};
use crate::night::Night;
use crate::night::ledger::KeyLedger;
use crate::room::{KeyName, RoomError};

/// The ledger, key by key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerView {
    /// The keys by name.
    pub keys: Vec<KeyLedger>,
}

/// Asks to lift the hold of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// Who asks.
    pub asked_by: String,
}

/// What a release did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseView {
    /// The key.
    pub key: KeyName,
    /// Whether there was anything to release.
    pub released: bool,
}

/// The routes.
pub(super) fn routes() -> Router<Arc<Night>> {
    Router::new()
        .route("/v1/activation/ledger", get(all))
        .route("/v1/activation/ledger/{key}", get(one))
        .route("/v1/activation/ledger/{key}/release", post(release))
}

fn name(key: &str) -> Result<KeyName, Problem> {
    key.parse().map_err(|error: RoomError| Problem::bad_request(error.to_string()))
}

async fn all(State(night): State<Arc<Night>>) -> Answer<LedgerView> {
    Ok(Json(LedgerView { keys: ask(night, |night| night.key_ledgers(None)).await? }))
}

async fn one(State(night): State<Arc<Night>>, Path(key): Path<String>) -> Answer<LedgerView> {
    let key = name(&key)?;
    Ok(Json(LedgerView { keys: ask(night, move |night| night.key_ledgers(Some(&key))).await? }))
}

async fn release(State(night): State<Arc<Night>>, Path(key): Path<String>, body: Bytes) -> Answer<ReleaseView> {
    let (key, request) = (name(&key)?, parse::<ReleaseRequest>(&body)?);
    let released = ask(night, move |night| {
        let released = night.release_key(&key, &request.asked_by)?;
        Ok(ReleaseView { key, released })
    });
    Ok(Json(released.await?))
}
