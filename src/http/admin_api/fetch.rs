//! `/v1/activation/fetch`: confirmation IDs from an ActivationWs server.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::http::agent_api::{Problem, parse, with_causes};
use crate::net::activation_ws::{ActivationWs, Patience};
use crate::night::Night;
use crate::night::fetch::{Fetch, FetchStep};
use crate::profile::model;
use crate::room::RoomName;

/// How many steps may wait for a slow reader.
const STEPS: usize = 16;

/// Asks to fetch confirmation IDs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchRequest {
    /// At most so many questions; each can spend an activation.
    pub max: u32,
    /// Another server than that of the profiles, by its address.
    #[serde(default)]
    pub url: Option<String>,
    /// For this room alone.
    #[serde(default)]
    pub room: Option<RoomName>,
    /// Who asks.
    pub asked_by: String,
}

/// One line of the answer: a step, or why there are no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FetchLine {
    /// A step.
    Step(FetchStep),
    /// It could not go on.
    Failed {
        /// Why.
        error: String,
    },
}

pub(super) fn routes() -> Router<Arc<Night>> {
    Router::new().route("/v1/activation/fetch", post(fetch))
}

/// The steps, one JSON object a line, as they are made.
async fn fetch(State(night): State<Arc<Night>>, body: Bytes) -> Result<Response, Problem> {
    let request: FetchRequest = parse(&body)?;
    let profiles = night.profiles();
    let server = server(profiles.site.activation_ws.as_ref(), request.url.as_deref())?;
    let service = ActivationWs::new(&server.url, server.allow_http, server.ca_file.as_deref(), Patience::default());
    let service = service.map_err(|error| Problem::bad_request(with_causes(&error)))?;
    let (lines, reader) = mpsc::channel(STEPS);
    // A question that is asked is asked to its end, whoever listens.
    tokio::task::spawn_blocking(move || {
        let fetch = Fetch { max: request.max, room: request.room.as_ref(), who: &request.asked_by };
        let tell = &mut |step| lines.blocking_send(FetchLine::Step(step)).is_ok();
        if let Err(error) = night.fetch_confirmations(&fetch, &service, tell) {
            // Who asked may have gone.
            let _ = lines.blocking_send(FetchLine::Failed { error: with_causes(&error) });
        }
    });
    let lines = ReceiverStream::new(reader).map(|line| {
        let mut line = serde_json::to_vec(&line).map_err(std::io::Error::other)?;
        line.push(b'\n');
        Ok::<_, std::io::Error>(Bytes::from(line))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// The server to ask. One that was named by its address is asked under the profiles' other conditions.
fn server(of_site: Option<&model::ActivationWs>, url: Option<&str>) -> Result<model::ActivationWs, Problem> {
    match (of_site, url) {
        (Some(server), None) => Ok(server.clone()),
        (None, None) => {
            let why =
                "no ActivationWs server is named; write `activation_ws: { url: … }` into site.yaml, or give --url";
            Err(Problem::bad_request(why))
        }
        (of_site, Some(url)) => {
            let (ca_file, allow_http): (Option<PathBuf>, bool) =
                of_site.map(|server| (server.ca_file.clone(), server.allow_http)).unwrap_or_default();
            Ok(model::ActivationWs { url: url.to_owned(), ca_file, allow_http })
        }
    }
}
