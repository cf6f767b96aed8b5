//! Key sets that are fetched: the policy is `gateway::auth::JwksCache`, this does what it says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
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

use crate::node::ShardHandle;

/// Largest key set, in bytes; the parser has the same bound.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

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
                    self.unknown(&mut cache, &key_id);
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
                    self.install(cache.keys());
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
                    let result = document.as_deref().map_err(|_| FetchFailed);
                    let fetched = cache.fetched(id, result, self.now());
                    self.report(endpoint, &fetched);
                }
                JwksAction::Install(set) => self.install(Some(&set)),
            }
        }
    }

    fn unknown(&self, cache: &mut JwksCache, key_id: &str) {
        if self.source.endpoint.is_none() {
            return self.refuse(None);
        }
        match cache.unknown_key(key_id, self.now()) {
            UnknownKey::Pending => {}
            // Loaded since the shard looked: it looks again.
            UnknownKey::Loaded => self.install(cache.keys()),
            UnknownKey::Refused => self.refuse(Some(key_id)),
        }
    }

    fn now(&self) -> Moment {
        Moment::ZERO + self.started.elapsed() + Duration::from_secs(1)
    }

    fn report(&self, endpoint: &str, fetched: &Fetched) {
        match fetched {
            Fetched::Installed { keys, skipped } => {
                tracing::info!(keys, skipped, "key set loaded from {endpoint}");
            }
            Fetched::Refused(fault) => {
                tracing::error!("the key set at {endpoint} is not usable: {fault}");
                self.refuse(None);
            }
            Fetched::Failed => {
                tracing::error!("the key set at {endpoint} could not be fetched");
                self.refuse(None);
            }
            Fetched::Late => {}
        }
    }

    fn install(&self, set: Option<&Arc<KeySet>>) {
        let verifier: Arc<dyn TokenVerifier> = match set {
            Some(set) => Arc::new(self.source.verifier.with_jwks(set.clone())),
            None => self.source.verifier.clone(),
        };
        for shard in &self.shards {
            // Settings are not lost: a full inbox empties within a turn.
            let mut control = Control::Keys(verifier.clone());
            while let Err(back) = shard.gateway.send(control) {
                control = back;
                std::thread::yield_now();
            }
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

async fn fetch(endpoint: &str) -> Result<Vec<u8>, ()> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .build();
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let uri = endpoint.parse().map_err(drop)?;
    let policy = JwksPolicy::default();
    let got = async {
        let response = client.get(uri).await.map_err(drop)?;
        if !response.status().is_success() {
            return Err(());
        }
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect().await;
        Ok(body.map_err(drop)?.to_bytes().to_vec())
    };
    tokio::time::timeout(policy.fetch_timeout, got).await.map_err(drop)?
}
