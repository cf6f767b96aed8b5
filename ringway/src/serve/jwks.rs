//! Key sets that are fetched: the policy is `gateway::auth::JwksCache`, this does what it says.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::Uri;
use gateway::auth::limits::JWKS_BYTES_MAX;
use gateway::auth::{
    FetchFailed, Fetched, JwksAction, JwksCache, JwksPolicy, KeySet, UnknownKey, Verifier,
};
use gateway::driver::Control;
use gateway::engine::TokenVerifier;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use protocol::time::Moment;
use tokio::sync::{mpsc, watch};

use crate::causes::causes;
use crate::node::{ShardHandle, deliver};

/// What tokens are checked by, as the settings say.
#[derive(Clone, Debug)]
pub(super) struct KeySource {
    /// Everything but fetched keys.
    pub(super) verifier: Arc<Verifier>,
    /// Where keys are fetched.
    pub(super) endpoint: Option<String>,
}

/// Fetches key sets and hands verifiers to all shards. After the start it alone does, so that a key
/// set that arrives behind a reload does not bring old rules back.
pub(super) struct Keys {
    source: KeySource,
    shards: Vec<ShardHandle>,
    started: Instant,
}

impl Keys {
    pub(super) fn new(source: KeySource, shards: Vec<ShardHandle>) -> Self {
        Self { source, shards, started: Instant::now() }
    }

    /// Runs for as long as shards may ask. Without an endpoint every request for keys is refused.
    pub(super) async fn run(
        mut self,
        mut asked: mpsc::Receiver<String>,
        mut sources: watch::Receiver<KeySource>,
    ) {
        let mut cache = JwksCache::new(JwksPolicy::default(), self.now());
        loop {
            self.act(&mut cache).await;
            let deadline = match self.source.endpoint {
                Some(_) => cache.next_deadline().since(self.now()),
                None => Duration::from_secs(3600),
            };
            tokio::select! {
                wanted = asked.recv() => {
                    let Some(key_id) = wanted else { return };
                    self.unknown(&mut cache, &key_id).await;
                }
                changed = sources.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let before = self.source.endpoint.clone();
                    self.source = sources.borrow_and_update().clone();
                    if self.source.endpoint != before {
                        cache = JwksCache::new(JwksPolicy::default(), self.now());
                    }
                    self.install(cache.keys()).await;
                }
                () = tokio::time::sleep(deadline.max(Duration::from_millis(10))) => {}
            }
            if self.source.endpoint.is_some() {
                cache.tick(self.now());
            }
        }
    }

    /// Fetches and installs as long as the cache wants it.
    async fn act(&self, cache: &mut JwksCache) {
        let Some(endpoint) = &self.source.endpoint else { return };
        while let Some(action) = cache.poll_action() {
            match action {
                JwksAction::Fetch(id) => {
                    let document = fetch(endpoint).await;
                    let before = cache.keys().cloned();
                    let result = document.as_deref().map_err(|_| FetchFailed);
                    let fetched = cache.fetched(id, result, self.now());
                    let source = source_name(endpoint);
                    if let Err(failure) = &document {
                        tracing::error!("the key set of {source} was not fetched: {failure}");
                    }
                    self.report(&source, &fetched);
                    report_difference(&source, before.as_deref(), cache.keys().map(|set| &**set));
                }
                JwksAction::Install(set) => {
                    if set.is_empty() {
                        tracing::error!("the last good key set is too old: every token is refused");
                    }
                    self.install(Some(&set)).await;
                }
            }
        }
    }

    async fn unknown(&self, cache: &mut JwksCache, key_id: &str) {
        if self.source.endpoint.is_none() {
            return self.refuse(None);
        }
        match cache.unknown_key(key_id, self.now()) {
            UnknownKey::Pending => {}
            // Loaded since the shard looked: it looks again.
            UnknownKey::Loaded => self.install(cache.keys()).await,
            UnknownKey::Refused => self.refuse(Some(key_id)),
        }
    }

    fn now(&self) -> Moment {
        Moment::ZERO + self.started.elapsed() + Duration::from_secs(1)
    }

    fn report(&self, source: &str, fetched: &Fetched) {
        match fetched {
            Fetched::Installed { keys, skipped } => {
                tracing::info!(keys, skipped, "key set loaded from {source}");
            }
            Fetched::Refused(fault) => {
                tracing::error!("the key set of {source} is not usable: {fault}");
                self.refuse(None);
            }
            Fetched::Failed => self.refuse(None),
            Fetched::Late => {}
        }
    }

    async fn install(&self, set: Option<&Arc<KeySet>>) {
        let verifier: Arc<dyn TokenVerifier> = match set {
            Some(set) => Arc::new(self.source.verifier.with_jwks(set.clone())),
            None => self.source.verifier.clone(),
        };
        for shard in &self.shards {
            deliver(&shard.gateway, Control::Keys(verifier.clone())).await;
        }
    }

    /// Tokens that wait for this key, or for any, are refused.
    fn refuse(&self, key_id: Option<&str>) {
        self.tell(|| Control::KeysFailed { key_id: key_id.map(str::to_owned) });
    }

    fn tell(&self, control: impl Fn() -> Control) {
        for shard in &self.shards {
            // Those who wait have a deadline of their own.
            drop(shard.gateway.send(control()));
        }
    }
}

/// Where a key set comes from, for a log: a URL may hold secrets beside its host.
fn source_name(endpoint: &str) -> String {
    let uri = endpoint.parse::<Uri>().ok();
    let authority = uri.as_ref().and_then(Uri::authority);
    let Some(authority) = authority else { return "a URL without a host".to_owned() };
    match authority.port() {
        Some(port) => format!("{}:{port}", authority.host()),
        None => authority.host().to_owned(),
    }
}

/// Tells once which keys went away with a new set, and which of its keys are of no use.
fn report_difference(source: &str, before: Option<&KeySet>, after: Option<&KeySet>) {
    let Some(after) = after else { return };
    let gone: Vec<&str> = before
        .into_iter()
        .flat_map(KeySet::key_ids)
        .filter(|key_id| !after.contains(key_id))
        .collect();
    if !gone.is_empty() {
        tracing::warn!("keys that are gone from the key set of {source}: {gone:?}");
    }
    let known = before.map(KeySet::skipped).unwrap_or_default();
    if known != after.skipped() {
        for (place, reason) in after.skipped() {
            tracing::warn!("key {place} (from 0) of the key set of {source} is not used: {reason}");
        }
    }
}

/// Why there is no document. Told to the operator; whatever it was, it is tried again.
#[derive(Debug)]
enum FetchFault {
    NoUrl,
    /// No answer in time.
    TimedOut,
    /// No connection, or no HTTP: the causes, outermost first.
    NoAnswer(String),
    Status(u16),
    /// The body is too large, or ended early.
    Body(String),
}

impl fmt::Display for FetchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUrl => f.write_str("client.token.jwks_public_endpoint is no URL"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::NoAnswer(causes) => f.write_str(causes),
            Self::Status(status) => write!(f, "it answered with status {status}"),
            Self::Body(causes) => write!(f, "its answer could not be read: {causes}"),
        }
    }
}

async fn fetch(endpoint: &str) -> Result<Vec<u8>, FetchFault> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .build();
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let uri = endpoint.parse::<Uri>().map_err(|_| FetchFault::NoUrl)?;
    let policy = JwksPolicy::default();
    let got = async {
        let response =
            client.get(uri).await.map_err(|error| FetchFault::NoAnswer(causes(&error)))?;
        if !response.status().is_success() {
            return Err(FetchFault::Status(response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), JWKS_BYTES_MAX).collect().await;
        Ok(body.map_err(|error| FetchFault::Body(causes(&*error)))?.to_bytes().to_vec())
    };
    tokio::time::timeout(policy.fetch_timeout, got).await.map_err(|_| FetchFault::TimedOut)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_only_the_host_is_told() {
        let name = source_name("https://user:secret@keys.example/a?token=secret");
        assert_eq!(name, "keys.example");
        assert_eq!(source_name("http://127.0.0.1:9/x"), "127.0.0.1:9");
        assert_eq!(source_name("http://"), "a URL without a host");
    }
}
