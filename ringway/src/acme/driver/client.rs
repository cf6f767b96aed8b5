//! HTTP to an authority: bounded in time and bytes, by the roots that vouch for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::limits::{ACME_ANSWER_BYTES_MAX, ACME_ANSWER_TIMEOUT};

/// A client of one authority. Clones share what it asked for.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    /// Seconds of the last `Retry-After`; zero: none.
    retry_after: Arc<AtomicU64>,
}

impl Http {
    /// `roots`, in PEM, vouch for the authority; `None`: those that browsers trust.
    pub(crate) fn new(roots: Option<&str>) -> Self {
        let builder = HttpsConnectorBuilder::new();
        let builder = match roots {
            None => builder.with_webpki_roots(),
            Some(pem) => {
                let mut store = RootCertStore::empty();
                store.add_parsable_certificates(certificates(pem));
                let config = ClientConfig::builder().with_root_certificates(store);
                builder.with_tls_config(config.with_no_client_auth())
            }
        };
        // RFC 8555, 6.1: nothing goes without TLS.
        let connector = builder.https_only().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, retry_after: Arc::default() }
    }

    /// How many seconds the authority wants to be left alone, if it said so since the last time.
    pub(crate) fn take_retry_after(&self) -> Option<u64> {
        Some(self.retry_after.swap(0, Ordering::Relaxed)).filter(|seconds| *seconds > 0)
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (answering, retry_after) = (self.client.request(request), self.retry_after.clone());
        let answered = async move {
            let answer = answering.await.map_err(|error| Error::Other(error.into()))?;
            let (parts, body) = answer.into_parts();
            let is_refused = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
            if is_refused.contains(&parts.status)
                && let Some(seconds) = retry_after_seconds(&parts.headers)
            {
                retry_after.store(seconds, Ordering::Relaxed);
            }
            let body = Limited::new(body, ACME_ANSWER_BYTES_MAX).collect().await;
            let body = Full::new(body.map_err(Error::Other)?.to_bytes());
            Ok(BytesResponse::from(axum::http::Response::from_parts(parts, body)))
        };
        Box::pin(async move {
            let answered = tokio::time::timeout(ACME_ANSWER_TIMEOUT, answered).await;
            answered.unwrap_or_else(|_| Err(Error::Other("no answer in time".into())))
        })
    }
}

/// The certificates of a text in PEM.
pub(crate) fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

/// RFC 9110, 10.2.3. A date instead of seconds is not read: authorities send seconds.
fn retry_after_seconds(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_says_how_long_it_wants_to_be_left_alone() {
        let told = |text: &str| {
            let headers = [(header::RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
            retry_after_seconds(&headers)
        };
        assert_eq!(told(" 3600 "), Some(3600));
        assert_eq!(told("Sun, 22 Nov 2026 08:00:00 GMT"), None);
        assert_eq!(retry_after_seconds(&HeaderMap::new()), None);
        let http = Http::new(None);
        http.retry_after.store(7, Ordering::Relaxed);
        assert_eq!((http.clone().take_retry_after(), http.take_retry_after()), (Some(7), None));
    }
}
