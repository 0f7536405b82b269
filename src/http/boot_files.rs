//! Boot files over plain HTTP: for iPXE, UEFI HTTP Boot, GRUB and shim.
//!
//! Public by design: a boot file grants nothing. What loaders need (RFC 9110): `HEAD` and `GET` with an exact
//! `Content-Length`, `ETag` and `Last-Modified`, and ranges with their conditions, since UEFI firmware resumes a broken
//! download by `Range` with `If-Match` or `If-Unmodified-Since`. Names are those of [`crate::boot::files`], so doubled
//! slashes (shim) and any case do.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use jiff::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};

use crate::boot::files::{BootFile, Content, FileSource, OpenFile};

#[cfg(test)]
mod tests;

/// The longest path that is looked at.
const PATH_BYTES: usize = 1024;

/// How much of a file one download holds in memory.
const PIECE: usize = 128 * 1024;

/// Answers every path that no other route takes. Merge it into a router that has no fallback of its own, or use it as
/// that router's fallback service.
pub fn router(files: Arc<dyn FileSource>) -> Router {
    Router::new().fallback(answer).with_state(files)
}

async fn answer(State(files): State<Arc<dyn FileSource>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let path = uri.path();
    if path.len() > PATH_BYTES {
        return StatusCode::URI_TOO_LONG.into_response();
    }
    match decoded(path).and_then(|name| files.open(&name)) {
        Some(file) => serve(&file, method == Method::HEAD, &headers),
        None => {
            // Belongs to most boots: loaders try names.
            tracing::debug!(%method, path, "no such boot file");
            StatusCode::NOT_FOUND.into_response()
        }
    }
}

/// What is to be sent of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Selection {
    Whole,
    Part(Range<u64>),
    NotModified,
    Failed,
    OutOfRange,
}

fn serve(file: &OpenFile, head: bool, headers: &HeaderMap) -> Response {
    let selection = select(file, head, headers);
    let (status, range) = match &selection {
        Selection::Whole => (StatusCode::OK, 0..file.len),
        Selection::Part(range) => (StatusCode::PARTIAL_CONTENT, range.clone()),
        Selection::NotModified => (StatusCode::NOT_MODIFIED, 0..0),
        Selection::Failed => (StatusCode::PRECONDITION_FAILED, 0..0),
        Selection::OutOfRange => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::ETAG, quoted(file));
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    // A loader's cache may keep it, but has to ask whether it is still the one.
    set(header::CACHE_CONTROL, "no-cache".to_owned());
    if let Some(date) = last_modified(file) {
        set(header::LAST_MODIFIED, date);
    }
    match &selection {
        Selection::Part(range) => {
            set(header::CONTENT_RANGE, format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), file.len));
        }
        Selection::OutOfRange => set(header::CONTENT_RANGE, format!("bytes */{}", file.len)),
        _ => {}
    }
    if matches!(selection, Selection::Whole | Selection::Part(_)) {
        set(header::CONTENT_TYPE, file.media_type.to_owned());
        set(header::CONTENT_LENGTH, range.end.saturating_sub(range.start).to_string());
        if !head {
            *response.body_mut() = body(file, range);
        }
    }
    response
}

/// Conditions and range in the order of RFC 9110 section 13.2.2.
fn select(file: &BootFile, head: bool, headers: &HeaderMap) -> Selection {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let date = |name: HeaderName| text(name).and_then(http_date).zip(file.modified);
    if let Some(tags) = text(header::IF_MATCH) {
        if !names(tags, file, Comparison::Strong) {
            return Selection::Failed;
        }
    } else if let Some((limit, modified)) = date(header::IF_UNMODIFIED_SINCE)
        && modified > limit
    {
        return Selection::Failed;
    }
    if let Some(tags) = text(header::IF_NONE_MATCH) {
        if names(tags, file, Comparison::Weak) {
            return Selection::NotModified;
        }
    } else if let Some((limit, modified)) = date(header::IF_MODIFIED_SINCE)
        && modified <= limit
    {
        return Selection::NotModified;
    }
    let Some(asked) = text(header::RANGE).filter(|_| !head) else { return Selection::Whole };
    let still_the_one = match text(header::IF_RANGE) {
        None => true,
        Some(tag) if tag.starts_with('"') => names(tag, file, Comparison::Strong),
        Some(date) => http_date(date).is_some_and(|date| file.modified == Some(date)),
    };
    if still_the_one { part(asked, file.len) } else { Selection::Whole }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags names the file.
fn names(tags: &str, file: &BootFile, comparison: Comparison) -> bool {
    let own = quoted(file);
    tags.split(',').map(str::trim).any(|tag| {
        let tag = match comparison {
            Comparison::Strong => tag,
            Comparison::Weak => tag.strip_prefix("W/").unwrap_or(tag),
        };
        tag == "*" || tag == own
    })
}

/// A range of the form `bytes=first-last`, `first-` or `-count`. Several ranges, other units and nonsense select the
/// whole file, as RFC 9110 section 14.2 allows.
fn part(asked: &str, len: u64) -> Selection {
    let range = asked.strip_prefix("bytes=").map(str::trim).and_then(|range| range.split_once('-'));
    let Some((first, last)) = range else { return Selection::Whole };
    let number = |text: &str| -> Result<Option<u64>, ()> {
        if text.is_empty() {
            return Ok(None);
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(());
        }
        // More digits than a number has lie behind the end of any file.
        Ok(Some(text.parse().unwrap_or(u64::MAX)))
    };
    let range = match (number(first), number(last)) {
        (Ok(Some(first)), Ok(None)) => first..len,
        (Ok(Some(first)), Ok(Some(last))) if first <= last => first..last.saturating_add(1).min(len),
        (Ok(None), Ok(Some(count))) => len.saturating_sub(count)..len,
        _ => return Selection::Whole,
    };
    if range.is_empty() { Selection::OutOfRange } else { Selection::Part(range) }
}

fn quoted(file: &BootFile) -> String {
    format!("\"{}\"", file.etag)
}

fn last_modified(file: &BootFile) -> Option<String> {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&file.modified?).ok()
}

fn http_date(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok()
}

/// Undoes percent-encoding; `None` for what is no encoding or no text.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == b'%' {
            let (digits, tail) = rest.split_first_chunk::<2>()?;
            let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn body(file: &OpenFile, range: Range<u64>) -> Body {
    if let Content::Bytes(bytes) = &file.content {
        let whole = Bytes::from_owner(Arc::clone(bytes));
        let within = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        return match within.filter(|(start, end)| start <= end && *end <= whole.len()) {
            Some((start, end)) => Body::from(whole.slice(start..end)),
            None => Body::empty(),
        };
    }
    Body::from_stream(pieces(Arc::clone(file), range))
}

/// Reads a file piece by piece, each when the client has taken the one before.
fn pieces(file: OpenFile, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((file, range), |(file, range)| async move {
        let left = range.end.saturating_sub(range.start);
        if left == 0 {
            return Ok(None);
        }
        let len = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let content = file.content.clone();
        let start = range.start;
        let read = move || {
            let mut piece = vec![0; len];
            content.read_exact_at(start, &mut piece).map(|()| piece)
        };
        let piece = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?.inspect_err(|error| {
            tracing::warn!(%error, "cannot read a boot file; the download breaks off");
        })?;
        let rest = start.saturating_add(len as u64)..range.end;
        Ok(Some((Bytes::from(piece), (file, rest))))
    })
}
