//! What the command line asks over the Unix socket. Only who may open the socket may ask: its folder belongs to the server's
//! user.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_util::sync::CancellationToken;

use super::agent_api::{Problem, ask, parse};
use crate::activation::hardware::HardwareFacts;
use crate::activation::kms::Overview;
use crate::job::intent::NewIntent;
use crate::job::plan::Plan;
use crate::job::{IntentKind, RunId};
use crate::night::{Night, NightError, RunEvent};
use crate::room::{ImageWish, MachineName, RoomName, Selection};
use crate::store::{Change, HookAttempt, MachineRun, Run, UnknownMachine};

/// The longest question, in bytes.
const BODY_BYTES: usize = 1 << 20;

mod activation_api;
mod fetch;
mod ledger;
mod snapshot;

pub use activation_api::{FaultView, ForgetRequest, Forgotten, ForgottenRow, ImportView};
pub use fetch::{FetchLine, FetchRequest};
pub use ledger::{LedgerView, ReleaseRequest, ReleaseView};
pub use snapshot::SnapshotView;

/// How long a re-clone that was asked for by hand may still begin on a PC, unless it says otherwise.
pub const ASKED_WINDOW: Duration = Duration::from_secs(3600);

/// Asks for a re-clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecloneRequest {
    /// The room.
    pub room: RoomName,
    /// Which of its machines.
    #[serde(default)]
    pub selection: Selection,
    /// Another image than the room's own.
    #[serde(default)]
    pub image: Option<ImageWish>,
    /// Who asks.
    pub asked_by: String,
    /// How long the run may still begin on a PC, in seconds.
    #[serde(default)]
    pub window_seconds: Option<u64>,
}

/// Asks to stop a run or to try it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Who asks.
    pub asked_by: String,
    /// Which of its machines.
    #[serde(default)]
    pub selection: Selection,
}

/// The run that a request became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStarted {
    /// Its number.
    pub run: RunId,
}

/// A run with its machines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// The run.
    pub run: Run,
    /// Its machines.
    pub machines: Vec<MachineRun>,
}

/// One machine of a run, with all that happened to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineView {
    /// Its part of the run.
    pub machine: MachineRun,
    /// Its changes.
    pub history: Vec<Change>,
    /// Its hooks.
    pub hooks: Vec<HookAttempt>,
}

/// How the server is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The server's version.
    pub version: String,
    /// The site's name.
    pub site: String,
    /// Runs that are not over.
    pub open_runs: Vec<RunView>,
    /// Machines whose disk is half written, with their run.
    pub half_written: Vec<(MachineName, RunId)>,
    /// Installation IDs that wait for a confirmation ID.
    pub pending_confirmations: usize,
    /// Machines that no profile names.
    pub unknown_machines: usize,
}

#[derive(Debug, Default, Deserialize)]
struct PlanQuery {
    /// Names, separated by commas.
    #[serde(default)]
    only: String,
    #[serde(default)]
    except: String,
    /// Another image than the room's own.
    #[serde(default)]
    image: Option<ImageWish>,
}

/// The routes.
pub fn router(night: Arc<Night>, stop: CancellationToken) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/reclone", post(reclone))
        .route("/v1/plan/{room}", get(plan))
        .route("/v1/runs", get(runs))
        .route("/v1/runs/{run}", get(run))
        .route("/v1/runs/{run}/machines/{machine}", get(machine))
        .route("/v1/runs/{run}/cancel", post(cancel))
        .route("/v1/runs/{run}/retry", post(retry))
        .route("/v1/events", get(events))
        .route("/v1/machines/unknown", get(unknown))
        .route("/v1/machines/{machine}/hardware", get(hardware))
        .route("/v1/machines/{machine}/token", post(token))
        .route("/v1/machines/{machine}/resolve", post(resolve))
        .merge(ledger::routes())
        .merge(fetch::routes())
        .merge(snapshot::routes())
        .route("/v1/kms", get(kms))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .merge(activation_api::routes())
        .layer(Extension(stop))
        .with_state(night)
}

type Answer<T> = Result<Json<T>, Problem>;

fn view(night: &Night, run: Run) -> Result<RunView, NightError> {
    let machines = night.store().machine_runs(run.id)?;
    Ok(RunView { run, machines })
}

async fn status(State(night): State<Arc<Night>>) -> Answer<Status> {
    let status = ask(night, |night| {
        let open = night.store().open_runs()?;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            site: night.profiles().site.name.clone(),
            open_runs: open.into_iter().map(|run| view(night, run)).collect::<Result<_, _>>()?,
            half_written: night.store().half_written_list()?,
            pending_confirmations: night.store().pending_list()?.len(),
            unknown_machines: night.store().unknown_list()?.len(),
        })
    });
    Ok(Json(status.await?))
}

async fn reclone(State(night): State<Arc<Night>>, body: Bytes) -> Answer<RunStarted> {
    let request: RecloneRequest = parse(&body)?;
    let started = ask(night, move |night| {
        let window = request.window_seconds.map_or(ASKED_WINDOW, Duration::from_secs);
        let kind = IntentKind::Reclone { image: request.image };
        start(night, request.room, request.selection, request.asked_by, window, kind)
    });
    Ok(Json(started.await?))
}

fn start(
    night: &Night,
    room: RoomName,
    selection: Selection,
    asked_by: String,
    window: Duration,
    kind: IntentKind,
) -> Result<RunStarted, NightError> {
    let now = night.now();
    let expires_at = now.checked_add(window).unwrap_or(jiff::Timestamp::MAX);
    let (_, run) = night.ask(NewIntent { room, selection, asked_by, not_before: now, expires_at, kind })?;
    Ok(RunStarted { run: run.ok_or(NightError::TooLate)? })
}

async fn cancel(State(night): State<Arc<Night>>, Path(run): Path<u64>, body: Bytes) -> Answer<RunStarted> {
    again(night, RunId(run), parse(&body)?, IntentKind::Cancel { run: RunId(run) }).await
}

async fn retry(State(night): State<Arc<Night>>, Path(run): Path<u64>, body: Bytes) -> Answer<RunStarted> {
    again(night, RunId(run), parse(&body)?, IntentKind::Retry { run: RunId(run) }).await
}

async fn again(night: Arc<Night>, run: RunId, request: RunRequest, kind: IntentKind) -> Answer<RunStarted> {
    let started = ask(night, move |night| {
        let room = night.store().run(run)?.room;
        start(night, room, request.selection, request.asked_by, ASKED_WINDOW, kind)
    });
    Ok(Json(started.await?))
}

async fn plan(
    State(night): State<Arc<Night>>,
    Path(room): Path<String>,
    Query(query): Query<PlanQuery>,
) -> Answer<Plan> {
    let room: RoomName = room.parse().map_err(|e: crate::room::RoomError| Problem::bad_request(e.to_string()))?;
    let selection = Selection { only: names(&query.only)?, except: names(&query.except)? };
    Ok(Json(ask(night, move |night| night.plan_of(&room, &selection, query.image.as_ref())).await?))
}

fn names(text: &str) -> Result<Vec<MachineName>, Problem> {
    text.split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.parse().map_err(|e: crate::room::RoomError| Problem::bad_request(e.to_string())))
        .collect()
}

async fn runs(State(night): State<Arc<Night>>) -> Answer<Vec<Run>> {
    Ok(Json(ask(night, |night| Ok(night.store().runs(100)?)).await?))
}

async fn run(State(night): State<Arc<Night>>, Path(run): Path<u64>) -> Answer<RunView> {
    Ok(Json(ask(night, move |night| view(night, night.store().run(RunId(run))?)).await?))
}

async fn machine(State(night): State<Arc<Night>>, Path((run, machine)): Path<(u64, String)>) -> Answer<MachineView> {
    let machine: MachineName =
        machine.parse().map_err(|e: crate::room::RoomError| Problem::bad_request(e.to_string()))?;
    let seen = ask(night, move |night| {
        let run = RunId(run);
        Ok(MachineView {
            machine: night.store().machine_run(run, &machine)?,
            history: night.store().history(run, &machine)?,
            hooks: night.store().hook_results(run, &machine)?,
        })
    });
    Ok(Json(seen.await?))
}

async fn unknown(State(night): State<Arc<Night>>) -> Answer<Vec<UnknownMachine>> {
    let list = ask(night, |night| {
        night.note_boots()?;
        Ok(night.store().unknown_list()?)
    });
    Ok(Json(list.await?))
}

async fn hardware(State(night): State<Arc<Night>>, Path(machine): Path<String>) -> Answer<Option<HardwareFacts>> {
    let machine: MachineName =
        machine.parse().map_err(|e: crate::room::RoomError| Problem::bad_request(e.to_string()))?;
    let facts = ask(night, move |night| {
        if night.profiles().machine(&machine).is_none() {
            return Err(NightError::Stranger(machine.to_string()));
        }
        crate::night::facts::hardware(night.store(), &machine)
    });
    Ok(Json(facts.await?))
}

async fn token(State(night): State<Arc<Night>>, Path(machine): Path<String>) -> Answer<String> {
    let machine: MachineName =
        machine.parse().map_err(|e: crate::room::RoomError| Problem::bad_request(e.to_string()))?;
    Ok(Json(ask(night, move |night| night.make_token(&machine)).await?))
}

async fn resolve(State(night): State<Arc<Night>>, Path(machine): Path<String>) -> Answer<RunStarted> {
    let machine: MachineName =
        machine.parse().map_err(|e: crate::room::RoomError| Problem::bad_request(e.to_string()))?;
    Ok(Json(RunStarted { run: ask(night, move |night| night.resolve(&machine)).await? }))
}

async fn kms(State(night): State<Arc<Night>>) -> Answer<Overview> {
    Ok(Json(ask(night, |night| night.kms_overview()).await?))
}

/// What happens from now on, one JSON object a line.
async fn events(State(night): State<Arc<Night>>, Extension(stop): Extension<CancellationToken>) -> Response {
    // A watcher must not hold up the end of the server.
    let until = stop.cancelled_owned();
    let lines = BroadcastStream::new(night.listen()).take_until(until).map(|event| {
        let event = event.unwrap_or_else(|BroadcastStreamRecvError::Lagged(lost)| RunEvent::Alarm {
            what: format!("{lost} events were skipped because this listener is slow"),
        });
        let mut line = serde_json::to_vec(&event).map_err(std::io::Error::other)?;
        line.push(b'\n');
        Ok::<_, std::io::Error>(Bytes::from(line))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
