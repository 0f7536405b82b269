//! What agents ask over HTTPS: `docs/formats/agent-protocol.md`.
//!
//! Each handler takes a request apart, asks the runner on a blocking thread and puts the answer together; nothing is decided
//! here. Bodies are small and bounded, leaves go out as a stream that reads ahead a little and no more.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::agent::protocol::{
    FRAME_HEAD, GroupsWanted, LeavesWanted, MAX_GROUPS_PER_REQUEST, MAX_LEAVES_PER_REQUEST, Refusal,
};
use crate::image::Hash;
use crate::night::{Night, NightError};
use crate::packs::StoredImage;

/// The largest body that an agent may send, in bytes.
const BODY_BYTES: usize = 256 * 1024;

/// How many pieces of a leaf stream are read ahead of the network.
const AHEAD: usize = 8;

/// The size of a piece of a leaf stream: several leaves, so that each goes out in one write.
const PIECE_BYTES: usize = 512 * 1024;

/// The routes.
pub fn router(night: Arc<Night>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/agent/v1/check-in", post(check_in))
        .route("/agent/v1/report", post(report))
        .route("/agent/v1/images/{root}/head", get(head))
        .route("/agent/v1/images/{root}/mask", get(mask))
        .route("/agent/v1/images/{root}/groups", post(groups))
        .route("/agent/v1/images/{root}/leaves", post(leaves))
        .route("/agent/v1/windows/check-in", post(windows_check_in))
        .route("/agent/v1/windows/hooks/{index}", post(hook_result))
        .route("/agent/v1/windows/confirmation", post(confirmation))
        .route("/agent/v1/windows/confirmation/refused", post(confirmation_refused))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(night)
}

/// An answer that is not what was asked for.
pub(super) struct Problem {
    status: StatusCode,
    why: String,
}

impl Problem {
    pub(super) fn bad_request(why: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, why: why.into() }
    }

    pub(super) fn too_large(why: impl Into<String>) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, why: why.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(Refusal { error: self.why })).into_response()
    }
}

impl From<NightError> for Problem {
    fn from(error: NightError) -> Self {
        let status = match &error {
            NightError::NoSession => StatusCode::UNAUTHORIZED,
            NightError::NotBooted { .. } | NightError::Stranger(_) => StatusCode::FORBIDDEN,
            NightError::NoRoom { .. } | NightError::NoHook { .. } | NightError::NoKey { .. } => StatusCode::NOT_FOUND,
            NightError::Held(_) | NightError::NotHeld(_) | NightError::Refused(_) => StatusCode::CONFLICT,
            NightError::Expired(_) | NightError::TooLate => StatusCode::GONE,
            NightError::Plan(_)
            | NightError::Image(_)
            | NightError::Key(_)
            | NightError::Order(_)
            | NightError::StoredPlan { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            NightError::Store(_) | NightError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        if status.is_server_error() {
            tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
        }
        Self { status, why: with_causes(&error) }
    }
}

pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// Asks the runner on a thread that may block.
pub(super) async fn ask<T: Send + 'static>(
    night: Arc<Night>,
    question: impl FnOnce(&Night) -> Result<T, NightError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(move || question(&night)).await {
        Ok(answer) => Ok(answer?),
        Err(error) => {
            tracing::error!(%error, "a request ended in the middle");
            Err(Problem { status: StatusCode::INTERNAL_SERVER_ERROR, why: "the server failed; try again".to_owned() })
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<String, Problem> {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .filter(|token| token.len() <= 128)
        .map(str::to_owned)
        .ok_or_else(|| NightError::NoSession.into())
}

pub(super) fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the message cannot be read: {error}")))
}

async fn answer<T: Serialize + Send + 'static>(
    night: Arc<Night>,
    question: impl FnOnce(&Night) -> Result<T, NightError> + Send + 'static,
) -> Result<Json<T>, Problem> {
    Ok(Json(ask(night, question).await?))
}

async fn check_in(State(night): State<Arc<Night>>, body: Bytes) -> Result<impl IntoResponse, Problem> {
    let hello = parse(&body)?;
    answer(night, move |night| night.check_in(&hello)).await
}

async fn report(
    State(night): State<Arc<Night>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let (token, report) = (bearer(&headers)?, parse(&body)?);
    answer(night, move |night| night.report(&token, report)).await
}

async fn windows_check_in(
    State(night): State<Arc<Night>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let (token, hello) = (bearer(&headers)?, parse(&body)?);
    answer(night, move |night| night.windows_check_in(&token, &hello)).await
}

async fn hook_result(
    State(night): State<Arc<Night>>,
    Path(index): Path<u32>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let (token, result) = (bearer(&headers)?, parse(&body)?);
    answer(night, move |night| night.hook_result(&token, index, &result)).await
}

async fn confirmation(
    State(night): State<Arc<Night>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let (token, wanted) = (bearer(&headers)?, parse(&body)?);
    answer(night, move |night| night.confirmation(&token, &wanted)).await
}

async fn confirmation_refused(
    State(night): State<Arc<Night>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let (token, refused) = (bearer(&headers)?, parse(&body)?);
    answer(night, move |night| night.confirmation_refused(&token, &refused)).await
}

async fn image(night: Arc<Night>, root: &str, headers: &HeaderMap) -> Result<StoredImage, Problem> {
    let token = bearer(headers)?;
    let root: Hash = root.parse().map_err(|error: crate::image::NotAHash| Problem::bad_request(error.to_string()))?;
    ask(night, move |night| night.session_image(&token, &root)).await
}

fn bytes(bytes: Vec<u8>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/octet-stream")], bytes)
}

async fn head(
    State(night): State<Arc<Night>>,
    Path(root): Path<String>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    Ok(bytes(image(night, &root, &headers).await?.head_bytes().to_vec()))
}

async fn mask(
    State(night): State<Arc<Night>>,
    Path(root): Path<String>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    Ok(bytes(image(night, &root, &headers).await?.mask_bytes().to_vec()))
}

async fn groups(
    State(night): State<Arc<Night>>,
    Path(root): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let wanted: GroupsWanted = parse(&body)?;
    if wanted.groups.len() > MAX_GROUPS_PER_REQUEST {
        return Err(Problem::bad_request(format!("at most {MAX_GROUPS_PER_REQUEST} groups may be asked for at once")));
    }
    let image = image(night, &root, &headers).await?;
    let mut out = Vec::new();
    for group in wanted.groups {
        let hashes =
            image.leaf_hashes(group).ok_or_else(|| Problem::bad_request(format!("there is no group {group}")))?;
        for hash in hashes {
            out.extend_from_slice(&hash.0);
        }
    }
    Ok(bytes(out))
}

async fn leaves(
    State(night): State<Arc<Night>>,
    Path(root): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let wanted: LeavesWanted = parse(&body)?;
    if wanted.leaves.len() > MAX_LEAVES_PER_REQUEST {
        return Err(Problem::bad_request(format!("at most {MAX_LEAVES_PER_REQUEST} leaves may be asked for at once")));
    }
    let image = image(night.clone(), &root, &headers).await?;
    let mut named = Vec::with_capacity(wanted.leaves.len());
    for index in wanted.leaves {
        let hash = usize::try_from(index).ok().and_then(|at| image.leaves().get(at));
        named.push((index, *hash.ok_or_else(|| Problem::bad_request(format!("there is no leaf {index}")))?));
    }
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        for (index, hash) in named {
            match night.images().leaves().get(&hash) {
                Ok(Some(leaf)) => {
                    piece.extend_from_slice(&index.to_le_bytes());
                    piece.extend_from_slice(&leaf.raw_len.to_le_bytes());
                    piece.extend_from_slice(&(leaf.zstd.len() as u32).to_le_bytes());
                    piece.extend_from_slice(&leaf.zstd);
                }
                // A leaf that is not stored is left out; the agent asks again or names it.
                Ok(None) => tracing::debug!(index, "an agent asked for a leaf that is not stored"),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a leaf cannot be read");
                }
            }
            if piece.len() + FRAME_HEAD >= PIECE_BYTES
                && sender
                    .blocking_send(Ok(std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES)).into()))
                    .is_err()
            {
                return;
            }
        }
        if !piece.is_empty() {
            // The agent may have gone; it will ask again.
            let _ = sender.blocking_send(Ok(piece.into()));
        }
    });
    let content = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((content, Body::from_stream(ReceiverStream::new(receiver))).into_response())
}
