//! The try-it page of the client port and the operators' page, built into the program.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Path, kind and bytes of every file. Nothing else is served, so that no path can lead elsewhere.
const FILES: &[(&str, &str, &[u8])] = &[
    ("/", "text/html; charset=utf-8", include_bytes!("../../../web/index.html")),
    ("/app.js", "text/javascript; charset=utf-8", include_bytes!("../../../web/app.js")),
    ("/style.css", "text/css; charset=utf-8", include_bytes!("../../../web/style.css")),
    (
        "/centrifuge.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../../web/vendor/centrifuge.js"),
    ),
];

/// The same of the operators' page, which shows what `/metrics` beside it says.
const OPERATOR_FILES: &[(&str, &str, &[u8])] = &[
    ("/", "text/html; charset=utf-8", include_bytes!("../../../web/operators.html")),
    (
        "/operators.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../../web/operators.js"),
    ),
    ("/operators.css", "text/css; charset=utf-8", include_bytes!("../../../web/operators.css")),
    ("/style.css", "text/css; charset=utf-8", include_bytes!("../../../web/style.css")),
];

/// The operators' page reads from its own port alone.
const OPERATOR_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                               connect-src 'self'; img-src data:; base-uri 'none'; \
                               form-action 'none'; frame-ancestors 'none'";

/// The page may load its own files and connect to its own host, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self' ws: wss:; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes of the page.
pub(super) fn routes() -> Router {
    routes_of(FILES, POLICY)
}

/// The routes of the operators' page.
pub(super) fn operator_routes() -> Router {
    routes_of(OPERATOR_FILES, OPERATOR_POLICY)
}

fn routes_of(
    files: &'static [(&'static str, &'static str, &'static [u8])],
    policy: &'static str,
) -> Router {
    let mut router = Router::new();
    for &(path, kind, bytes) in files {
        router = router.route(path, get(move || async move { file(kind, bytes, policy) }));
    }
    router
}

fn file(kind: &'static str, bytes: &'static [u8], policy: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, bytes).into_response()
}
