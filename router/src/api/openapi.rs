//! The description of the API for tools (OpenAPI 3.1).

use axum::http::header;
use axum::response::{IntoResponse, Response};

const DOCUMENT: &str = include_str!("openapi.json");

pub(super) fn response() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_described_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let described: Vec<&str> = document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .map(|path| path.strip_prefix("/api/").unwrap())
            .collect();
        let mut methods = super::super::methods::NAMES.to_vec();
        methods.sort_unstable();
        assert_eq!(described, methods);
    }
}
