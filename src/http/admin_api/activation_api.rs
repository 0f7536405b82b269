//! `/v1/activation/…`: installation IDs out, confirmation IDs in, and forgetting both.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router, body::Bytes};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::activation::confirmation::{InstallationId, ProductRef};
use crate::activation::exchange::{Export, ExportFormat, ImportResult, MOST_BYTES, RowFault, export};
use crate::http::agent_api::{Problem, ask, parse};
use crate::night::Night;
use crate::room::{Language, MachineName, RoomName};
use crate::store::{ConfirmationState, ConfirmationSummary};

/// The longest question that is no file, in bytes.
const BODY_BYTES: usize = 64 << 10;

/// What is wrong with a file or a row of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultView {
    /// The line of the file, from 1.
    pub line: usize,
    /// The character of that line, from 1.
    pub character: usize,
    /// The column, by its name in our table, where the fault lies in one.
    pub column: Option<String>,
    /// What it is, for programs.
    pub fault: String,
    /// The same for people, with its place.
    pub text: String,
}

impl FaultView {
    /// The fault in a language.
    pub fn of(fault: &RowFault, language: Language) -> Self {
        Self {
            line: fault.line,
            character: fault.character,
            column: fault.column.map(|column| column.name().to_owned()),
            fault: fault.why.name().to_owned(),
            text: fault.text(language),
        }
    }
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportView {
    /// Confirmation IDs stored.
    pub stored: usize,
    /// Confirmation IDs that were stored before and are not changed.
    pub unchanged: usize,
    /// Rows whose confirmation ID is still empty.
    pub open: usize,
    /// Whether the file was refused as a whole.
    pub refused_whole: bool,
    /// What was refused.
    pub refused: Vec<FaultView>,
    /// Remarks.
    pub warnings: Vec<FaultView>,
    /// What the file is: `table` or `vamt`.
    pub form: String,
    /// How it was written.
    pub encoding: String,
}

impl ImportView {
    /// The result in a language.
    pub fn of(result: &ImportResult, language: Language) -> Self {
        let views = |faults: &[RowFault]| faults.iter().map(|fault| FaultView::of(fault, language)).collect();
        Self {
            stored: result.accepted.len().saturating_sub(result.unchanged),
            unchanged: result.unchanged,
            open: result.open,
            refused_whole: result.is_refusal(),
            refused: views(&result.refused),
            warnings: views(&result.warnings),
            form: result.form.name().to_owned(),
            encoding: result.encoding.name().to_owned(),
        }
    }
}

/// Asks to forget what is stored for a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetRequest {
    /// The machine.
    pub machine: MachineName,
    /// One of its installation IDs; all where none is named.
    #[serde(default)]
    pub installation_id: Option<InstallationId>,
    /// Only say what would be forgotten.
    #[serde(default)]
    pub dry_run: bool,
    /// Who asks.
    pub asked_by: String,
}

/// One pair that was forgotten, or would be. Without the IDs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenRow {
    /// What it was for.
    #[serde(flatten)]
    pub product: ProductRef,
    /// How it stood with it.
    pub state: ConfirmationState,
    /// When the installation ID came first.
    pub asked_at: Timestamp,
}

/// What was forgotten, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// The machine.
    pub machine: MachineName,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The pairs.
    pub forgotten: Vec<ForgottenRow>,
}

#[derive(Debug, Deserialize)]
struct ImportQuery {
    #[serde(default)]
    lang: Language,
    #[serde(default = "unnamed")]
    by: String,
}

fn unnamed() -> String {
    "somebody at the server".to_owned()
}

#[derive(Debug, Deserialize)]
struct ExportQuery {
    #[serde(default)]
    lang: Language,
    #[serde(default)]
    format: ExportFormat,
    #[serde(default)]
    room: Option<RoomName>,
    #[serde(default)]
    all: bool,
}

pub(super) fn routes() -> Router<Arc<Night>> {
    Router::new()
        .route("/v1/activation/pending", get(pending))
        .route("/v1/activation/export", get(exported))
        .route("/v1/activation/forget", post(forget))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .route("/v1/activation/import", post(import))
}

async fn pending(
    State(night): State<Arc<Night>>,
    Query(query): Query<ExportQuery>,
) -> Result<impl IntoResponse, Problem> {
    let text = ask(night, move |night| {
        let rows = night.installation_ids(query.room.as_ref(), false)?;
        Ok(export(&rows, ExportFormat::Csv, query.lang).text)
    });
    Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], text.await?))
}

async fn exported(State(night): State<Arc<Night>>, Query(query): Query<ExportQuery>) -> Answer<Export> {
    let exported = ask(night, move |night| {
        let rows = night.installation_ids(query.room.as_ref(), query.all)?;
        Ok(export(&rows, query.format, query.lang))
    });
    Ok(Json(exported.await?))
}

async fn import(
    State(night): State<Arc<Night>>,
    Query(query): Query<ImportQuery>,
    headers: HeaderMap,
    body: Body,
) -> Answer<ImportView> {
    let file = read(&headers, body, query.lang).await?;
    let view =
        ask(night, move |night| Ok(ImportView::of(&night.import_confirmations_of(&query.by, &file)?, query.lang)));
    Ok(Json(view.await?))
}

/// The file, unless it is or says that it is too large: then its rest is not read.
async fn read(headers: &HeaderMap, body: Body, language: Language) -> Result<Bytes, Problem> {
    let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|said| said > MOST_BYTES as u64) {
        return Err(Problem::too_large(RowFault::too_large().text(language)));
    }
    // It fails at the limit, or when the connection breaks off and nobody reads the answer.
    to_bytes(body, MOST_BYTES).await.map_err(|_| Problem::too_large(RowFault::too_large().text(language)))
}

async fn forget(State(night): State<Arc<Night>>, body: Bytes) -> Answer<Forgotten> {
    let ForgetRequest { machine, installation_id, dry_run, asked_by } = parse(&body)?;
    let forgotten = ask(night, move |night| {
        let found = night.forget_confirmations(&asked_by, &machine, installation_id.as_ref(), dry_run)?;
        let row = |ConfirmationSummary { product, state, asked_at, .. }| ForgottenRow { product, state, asked_at };
        Ok(Forgotten { machine, dry_run, forgotten: found.into_iter().map(row).collect() })
    });
    Ok(Json(forgotten.await?))
}
