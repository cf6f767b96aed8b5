//! HTTP on the client port: from a shard to axum and back.
//!
//! A shard reads a request whole and hands it over through a bounded queue; a task on the tokio
//! threads answers it and sends the response to the shard's inbox. When the queue is full, the
//! shard answers 503.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Request, Response};
use gateway::driver::{Busy, Control, Denial, HttpCall, Service};
use http_body_util::{BodyExt, Limited};
use protocol::http::{Method, Request as Head, ResponseHead, write_response_head};
use router::api::{KEY_NEEDED, SharedAccess};
use shard::lanes::Inbox;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::deliver;
use crate::limits::{CALL_TIMEOUT, CALLS_MAX, CALLS_QUEUED_MAX, RESPONSE_BYTES_MAX};

/// One shard's way to the HTTP service.
#[derive(Clone, Debug)]
pub struct TowerService {
    calls: mpsc::Sender<HttpCall>,
    /// Who may call the API; `None`: it is not served.
    api: Option<SharedAccess>,
}

impl TowerService {
    /// Starts the task that answers requests of the shard behind `inbox`. Must be called within a
    /// tokio runtime. The routes need the shards and the shards need this, so that `routes` may
    /// come later; until then every request is answered with 503.
    pub fn start(
        routes: Arc<OnceLock<Router>>,
        api: Option<SharedAccess>,
        inbox: Inbox<Control>,
    ) -> Self {
        let (calls, mut queue) = mpsc::channel::<HttpCall>(CALLS_QUEUED_MAX);
        let places = Arc::new(tokio::sync::Semaphore::new(CALLS_MAX));
        tokio::spawn(async move {
            while let Some(call) = queue.recv().await {
                let Ok(place) = places.clone().acquire_owned().await else { return };
                let (routes, inbox) = (routes.clone(), inbox.clone());
                tokio::spawn(async move {
                    answer(routes.get().cloned(), &inbox, call).await;
                    drop(place);
                });
            }
        });
        Self { calls, api }
    }
}

impl Service for TowerService {
    /// Only the API takes bodies: nobody else's are kept, and none of a caller without a key.
    fn admit(&self, request: &Head<'_>) -> Result<(), Denial> {
        if !request.path.starts_with("/api/") {
            let text = "no request with a body is served here; the API is at /api/{method}";
            return Err(Denial { status: 404, text });
        }
        let Some(api) = &self.api else { return Err(Denial { status: 404, text: "not found" }) };
        let header = |name: &str| {
            let mut headers = request.headers.iter();
            headers.find(|header| header.name.eq_ignore_ascii_case(name)).map(|one| one.value)
        };
        // A poisoned lock lets nobody in.
        match api.read().is_ok_and(|access| access.allows(header)) {
            true => Ok(()),
            false => Err(Denial { status: 401, text: KEY_NEEDED }),
        }
    }

    fn call(&mut self, call: HttpCall) -> Result<(), Busy> {
        self.calls.try_send(call).map_err(|_| Busy)
    }
}

async fn answer(router: Option<Router>, inbox: &Inbox<Control>, call: HttpCall) {
    let (connection, keep_alive) = (call.connection, call.keep_alive);
    let is_head = call.method == Method::Head;
    let response = match (request_of(call), router) {
        (_, None) => plain(503, "starting\n"),
        (Some(request), Some(router)) => {
            let answered = tokio::time::timeout(CALL_TIMEOUT, router.oneshot(request)).await;
            match answered {
                Ok(Ok(response)) => response,
                Ok(Err(impossible)) => match impossible {},
                Err(_) => plain(504, "the service did not answer in time\n"),
            }
        }
        (None, _) => plain(400, "the request cannot be represented\n"),
    };
    let (bytes, is_last) = render(response, keep_alive, is_head).await;
    // The inbox is bounded; a response waits for a place rather than being lost.
    deliver(inbox, Control::Response { connection, bytes, is_last }).await;
}

fn plain(status: u16, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() =
        axum::http::StatusCode::from_u16(status).expect("statuses here are literals");
    response
}

fn request_of(call: HttpCall) -> Option<Request<Body>> {
    let mut builder = Request::builder().method(call.method.as_str()).uri(call.target.as_str());
    for (name, value) in &call.headers {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        builder = builder.header(name, HeaderValue::from_bytes(value).ok()?);
    }
    // The bytes count as held until the last of them is dropped.
    builder.body(Body::from(Bytes::from_owner(call.body))).ok()
}

async fn render(response: Response<Body>, keep_alive: bool, is_head: bool) -> (Vec<u8>, bool) {
    let (parts, body) = response.into_parts();
    let (status, body) = match Limited::new(body, RESPONSE_BYTES_MAX).collect().await {
        Ok(body) => (parts.status.as_u16(), body.to_bytes()),
        Err(_) => (500, Bytes::from_static(b"the response is too large\n")),
    };
    let is_ours = |name: &HeaderName| {
        matches!(name.as_str(), "content-length" | "connection" | "transfer-encoding")
    };
    let headers: Vec<(&str, &str)> = parts
        .headers
        .iter()
        .filter(|(name, _)| !is_ours(name))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let mut bytes = Vec::with_capacity(body.len() + 256);
    let content_length = (!is_head).then_some(body.len());
    let head = ResponseHead { status, headers: &headers, content_length, close: !keep_alive };
    write_response_head(&head, &mut bytes);
    if !is_head {
        bytes.extend_from_slice(&body);
    }
    (bytes, !keep_alive)
}
