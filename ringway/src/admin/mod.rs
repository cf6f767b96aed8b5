//! The admin API on the operators' port: `POST /admin/{method}` with a JSON body and `X-API-Key`.
//!
//! Owns: what operators may ask, and how answers look.
//! Never: a connection; shards are asked by messages, and each answers when it has the time.
//! Invariant: no more than [`limits::ADMIN_CALLS_MAX`] calls are served at once, and no answer has
//! more than [`limits::ADMIN_ROWS_MAX`] rows.

mod asking;
pub mod client;
pub mod model;
mod questions;
mod snapshot;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use router::api::ApiAccess;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;
use crate::node::backend::LocalBackend;
use crate::node::metrics::Own;

/// Who may call the admin API, as a reload may change it; `None`: nobody, because it has no key.
pub type AdminAccess = Arc<RwLock<Option<ApiAccess>>>;

/// What a caller reads while there is no key.
pub const OFF: &str = "the admin API is off, because it has no key; set admin.key (or \
                       admin.key_file, or RINGWAY_ADMIN_KEY) for the server and reload it";
/// What a caller reads whose key is wrong.
pub const KEY_NEEDED: &str = "a valid X-API-Key header is needed (admin.key)";

/// Every method.
const METHODS: [&str; 6] = ["node", "connections", "connection", "close", "slowest", "channels"];

#[derive(Clone)]
struct Admin {
    backend: LocalBackend,
    own: Own,
    access: AdminAccess,
    calls: Arc<Semaphore>,
    wrong_keys: Arc<WrongKeys>,
}

/// How often somebody came with a wrong key, or without one.
#[derive(Debug)]
struct WrongKeys {
    since_start: AtomicU64,
    warn_after: Mutex<Option<Instant>>,
}

impl WrongKeys {
    /// One more: warns, unless that was done a moment ago.
    fn count(&self, now: Instant) -> bool {
        let since_start = self.since_start.fetch_add(1, Ordering::Relaxed) + 1;
        let mut warn_after = self.warn_after.lock().expect("no holder panics");
        let is_due = warn_after.is_none_or(|after| now >= after);
        if is_due {
            *warn_after = Some(now + limits::ADMIN_WRONG_KEY_LOG_INTERVAL);
            tracing::warn!(
                since_start,
                "the admin API was called with a wrong key; if this goes on, see who reaches \
                 metrics.address"
            );
        }
        is_due
    }
}

/// Why a call has no answer: the status, and a sentence for the operator.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    sentence: String,
}

impl Refusal {
    fn bad(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, sentence: sentence.into() }
    }

    fn broken(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, sentence: sentence.into() }
    }

    fn busy() -> Self {
        let sentence = "too many calls are being answered; try again in a second".to_owned();
        Self { status: StatusCode::SERVICE_UNAVAILABLE, sentence }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, format!("{}\n", self.sentence)).into_response()
    }
}

/// The routes of the admin API.
pub fn routes(backend: &LocalBackend, own: Own, access: AdminAccess) -> Router {
    let calls = Arc::new(Semaphore::new(limits::ADMIN_CALLS_MAX));
    let wrong_keys = WrongKeys { since_start: AtomicU64::new(0), warn_after: Mutex::new(None) };
    let wrong_keys = Arc::new(wrong_keys);
    let admin = Admin { backend: backend.clone(), own, access, calls, wrong_keys };
    Router::new().route("/admin/{method}", any(call)).with_state(admin)
}

async fn call(
    State(admin): State<Admin>,
    Path(method): Path<String>,
    request: axum::extract::Request,
) -> Response {
    if let Err(refusal) = admin.admit(request.headers()) {
        return refusal.into_response();
    }
    if request.method() != axum::http::Method::POST {
        let sentence = "call it by POST, with a JSON body or none".to_owned();
        let refusal = Refusal { status: StatusCode::METHOD_NOT_ALLOWED, sentence };
        return ([(header::ALLOW, "POST")], refusal).into_response();
    }
    let Ok(served) = admin.calls.clone().try_acquire_owned() else {
        return Refusal::busy().into_response();
    };
    let body = match body_of(request.into_body()).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    admin.answer(&method, &body, served).await.unwrap_or_else(Refusal::into_response)
}

async fn body_of(body: Body) -> Result<Bytes, Refusal> {
    let bytes_max = limits::ADMIN_BODY_BYTES_MAX;
    let read = axum::body::to_bytes(body, bytes_max);
    match tokio::time::timeout(limits::ADMIN_BODY_TIMEOUT, read).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let sentence = format!("the body has more than {bytes_max} bytes, or ended early");
            Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, sentence })
        }
        Err(_) => {
            let sentence = "the body did not come in time".to_owned();
            Err(Refusal { status: StatusCode::REQUEST_TIMEOUT, sentence })
        }
    }
}

impl Admin {
    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let header = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
        let access = self.access.read().expect("no holder panics");
        let Some(access) = &*access else {
            return Err(Refusal { status: StatusCode::FORBIDDEN, sentence: OFF.to_owned() });
        };
        if access.allows(header) {
            return Ok(());
        }
        self.wrong_keys.count(Instant::now());
        Err(Refusal { status: StatusCode::UNAUTHORIZED, sentence: KEY_NEEDED.to_owned() })
    }

    /// `served` is held until the answer is there.
    async fn answer(
        &self,
        method: &str,
        body: &[u8],
        served: OwnedSemaphorePermit,
    ) -> Result<Response, Refusal> {
        match method {
            "node" => {
                let model::NodeQuestion {} = parse(body)?;
                json(&self.node().await)
            }
            "connections" => json(&self.connections(parse(body)?).await?),
            "connection" => json(&self.connection(&parse(body)?).await?),
            "slowest" => json(&self.slowest(parse(body)?).await?),
            "close" => json(&self.close(parse(body)?, served).await?),
            "channels" => json(&self.channels(&parse(body)?).await?),
            _ => {
                let sentence = format!("there is no such method; there are {}", METHODS.join(", "));
                Err(Refusal { status: StatusCode::NOT_FOUND, sentence })
            }
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    // A list would be read as the values of an object's fields.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::bad("the body is not what it takes: an object"));
    }
    let wrong =
        |error: serde_json::Error| Refusal::bad(format!("the body is not what it takes: {error}"));
    let value: serde_json::Value = serde_json::from_slice(body).map_err(wrong)?;
    if value.get("filter").is_some_and(|filter| !filter.is_object()) {
        return Err(Refusal::bad("the body is not what it takes: `filter` is an object"));
    }
    // From the text: what stands twice is refused there.
    serde_json::from_slice(body).map_err(wrong)
}

fn json(answer: &impl Serialize) -> Result<Response, Refusal> {
    let text = serde_json::to_string(answer).map_err(|error| Refusal {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        sentence: format!("the answer could not be written: {error}"),
    })?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_keys_are_counted_and_warned_of_now_and_then() {
        let wrong_keys = WrongKeys { since_start: AtomicU64::new(0), warn_after: Mutex::new(None) };
        let start = Instant::now();
        assert!(wrong_keys.count(start), "the first");
        assert!(!wrong_keys.count(start));
        let later = start + limits::ADMIN_WRONG_KEY_LOG_INTERVAL;
        assert!(wrong_keys.count(later) && !wrong_keys.count(later));
        assert_eq!(wrong_keys.since_start.load(Ordering::Relaxed), 4);
    }
}
