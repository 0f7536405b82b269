//! `/v1/state/snapshot`: a copy of the database for a backup.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::http::agent_api::ask;
use crate::night::Night;

/// Where a snapshot of the database is; whoever asked for it removes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotView {
    /// The file, for the owner of the state only.
    pub path: PathBuf,
}

pub(super) fn routes() -> Router<Arc<Night>> {
    Router::new().route("/v1/state/snapshot", post(snapshot))
}

async fn snapshot(State(night): State<Arc<Night>>) -> Answer<SnapshotView> {
    Ok(Json(SnapshotView { path: ask(night, |night| Ok(night.store().snapshot()?)).await? }))
}
