//! What the two listeners serve beside WebSockets.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use router::api::{SharedAccess, routes};

use super::backend::LocalBackend;
use super::metrics::Own;
use super::{metrics, page};
use crate::admin::{self, AdminAccess};

/// What the client port serves.
#[derive(Clone, Debug)]
pub struct ClientRoutes {
    /// Who may call the API; `None`: it is not served.
    pub api: Option<SharedAccess>,
    /// Serve the try-it page?
    pub page: bool,
    /// Serve `/health`?
    pub health: bool,
}

/// The client port: API, health, page.
pub fn client_port(backend: &LocalBackend, serves: ClientRoutes) -> Router {
    let mut router = Router::new();
    if let Some(access) = serves.api {
        router = router.merge(routes(backend.clone(), access));
    }
    if serves.health {
        router = router.merge(health_route(backend));
    }
    if serves.page {
        router = router.merge(page::routes());
    }
    router.fallback(not_found)
}

/// The operators' port: metrics, health, the admin API, and a page that shows them.
pub fn operator_port(backend: &LocalBackend, own: Own, access: AdminAccess) -> Router {
    let admin = admin::routes(backend, own.clone(), access);
    let scraped = backend.clone();
    let scrape = move || {
        let (backend, own) = (scraped.clone(), own.clone());
        async move { scrape(&backend, own).await }
    };
    Router::new()
        .route("/metrics", get(scrape))
        .merge(health_route(backend))
        .merge(admin)
        .merge(page::operator_routes())
        .fallback(not_found)
}

fn health_route(backend: &LocalBackend) -> Router {
    let backend = backend.clone();
    let check = move || {
        let backend = backend.clone();
        async move { health(&backend).await }
    };
    Router::new().route("/health", get(check))
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "not found\n").into_response()
}

/// Healthy is a node all of whose shards answer.
async fn health(backend: &LocalBackend) -> Response {
    let answering = backend.inspect().await.len();
    let count = backend.shards_count();
    if answering == count {
        return ([(header::CONTENT_TYPE, "application/json")], "{}").into_response();
    }
    let text = format!("{} of {count} shards do not answer\n", count - answering);
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn scrape(backend: &LocalBackend, own: Own) -> Response {
    let inspected = backend.inspect().await;
    // Adding up the pages of a large process takes the kernel milliseconds.
    let written = tokio::task::spawn_blocking(move || metrics::encode(inspected, own)).await;
    let Ok(text) = written else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
