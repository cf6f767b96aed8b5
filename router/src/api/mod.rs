//! The HTTP API for backends: `POST /api/{method}` with a JSON body and `X-API-Key`.
//!
//! Owns: what requests mean and how answers look (those of Centrifugo v6).
//! Never: a partition or a connection; [`Backend`] reaches them.

mod answers;
mod backend;
mod batch;
mod methods;
mod openapi;
mod requests;

use std::sync::{Arc, RwLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use protocol::limits::HTTP_BODY_BYTES_MAX;

pub use answers::ApiError;
pub use backend::{Backend, NodeInfo};

/// Who may call the API.
#[derive(Clone, Debug)]
pub enum ApiAccess {
    /// Whoever holds one of these keys.
    Keys(Arc<ApiKeys>),
    /// Everybody (`http_api.insecure`).
    Everybody,
}

/// Keys of the API, and how they are compared.
pub struct ApiKeys {
    keys: Vec<Vec<u8>>,
    /// Compares in constant time.
    equals: fn(&[u8], &[u8]) -> bool,
}

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.keys.len())
    }
}

impl ApiKeys {
    /// These keys, compared by `equals`, which must take the same time wherever two keys differ.
    pub fn new(keys: Vec<Vec<u8>>, equals: fn(&[u8], &[u8]) -> bool) -> Self {
        Self { keys, equals }
    }

    fn contains(&self, candidate: &[u8]) -> bool {
        // Every key is compared, so that the time says nothing about which one was near.
        self.keys.iter().fold(false, |found, key| found | (self.equals)(key, candidate))
    }
}

impl ApiAccess {
    /// May who sends these headers call? `header` finds the first value of one by its name, which
    /// is in lower case.
    pub fn allows<'a>(&self, header: impl Fn(&str) -> Option<&'a [u8]>) -> bool {
        let Self::Keys(keys) = self else { return true };
        if let Some(key) = header("x-api-key") {
            return keys.contains(key);
        }
        // `Authorization: apikey KEY`, as older clients of Centrifugo send it.
        header("authorization")
            .and_then(|value| value.strip_prefix(b"apikey "))
            .is_some_and(|key| keys.contains(key))
    }
}

/// What a caller reads who may not call.
pub const KEY_NEEDED: &str = "a valid X-API-Key header is needed (http_api.key)";

/// Who may call, as a reload may change it.
pub type SharedAccess = Arc<RwLock<ApiAccess>>;

#[derive(Clone)]
struct ApiState<B> {
    backend: B,
    access: SharedAccess,
}

/// The routes of the API: `/api/{method}` and its description at `/api/openapi.json`.
pub fn routes<B: Backend>(backend: B, access: SharedAccess) -> Router {
    Router::new()
        .route("/api/openapi.json", get(|| async { openapi::response() }))
        .route("/api/{method}", post(call::<B>))
        .layer(DefaultBodyLimit::max(HTTP_BODY_BYTES_MAX))
        .with_state(ApiState { backend, access })
}

async fn call<B: Backend>(
    State(state): State<ApiState<B>>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let allows = state.access.read().is_ok_and(|access| access.allows(header));
    if !allows {
        return (StatusCode::UNAUTHORIZED, format!("{KEY_NEEDED}\n")).into_response();
    }
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let json = |text: String| ([(header::CONTENT_TYPE, "application/json")], text);
    match methods::call(&state.backend, &method, body).await {
        Some(Ok(result)) => json(format!("{{\"result\":{result}}}")).into_response(),
        Some(Err(ApiError::BadRequest(why))) => {
            (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response()
        }
        Some(Err(error)) => json(format!("{{\"error\":{}}}", error.to_json())).into_response(),
        None => {
            let known = methods::NAMES.join(", ");
            let text = format!("there is no such method; there are {known}\n");
            (StatusCode::NOT_FOUND, text).into_response()
        }
    }
}
