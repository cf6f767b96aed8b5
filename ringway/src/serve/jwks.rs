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
use tokio::sync::mpsc;

use crate::node::ShardHandle;
use crate::settings::Settings;

/// Largest key set, in bytes; the parser has the same bound.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// Fetches key sets and hands them to all shards.
pub(super) struct Keys {
    verifier: Arc<Verifier>,
    endpoint: Option<String>,
    shards: Vec<ShardHandle>,
    started: Instant,
}

impl Keys {
    pub(super) fn new(
        verifier: Arc<Verifier>,
        settings: &Settings,
        shards: Vec<ShardHandle>,
    ) -> Self {
        let endpoint = settings.connection_tokens.jwks_endpoint.clone();
        Self { verifier, endpoint, shards, started: Instant::now() }
    }

    /// Runs for as long as shards may ask. Without an endpoint every request for keys is refused.
    pub(super) async fn run(self, mut asked: mpsc::Receiver<String>) {
        let Some(endpoint) = self.endpoint.clone() else {
            while asked.recv().await.is_some() {
                self.refuse(None);
            }
            return;
        };
        let mut cache = JwksCache::new(JwksPolicy::default(), self.now());
        loop {
            while let Some(action) = cache.poll_action() {
                match action {
                    JwksAction::Fetch(id) => {
                        let document = fetch(&endpoint).await;
                        let result = document.as_deref().map_err(|_| FetchFailed);
                        let fetched = cache.fetched(id, result, self.now());
                        self.report(&endpoint, &fetched);
                    }
                    JwksAction::Install(set) => self.install(&set),
                }
            }
            let deadline = cache.next_deadline().since(self.now());
            tokio::select! {
                wanted = asked.recv() => {
                    let Some(key_id) = wanted else { return };
                    match cache.unknown_key(&key_id, self.now()) {
                        UnknownKey::Pending => {}
                        // Loaded since the shard looked: it looks again.
                        UnknownKey::Loaded => cache.keys().into_iter().for_each(|set| {
                            self.install(set);
                        }),
                        UnknownKey::Refused => self.refuse(Some(&key_id)),
                    }
                }
                () = tokio::time::sleep(deadline.max(Duration::from_millis(10))) => {}
            }
            cache.tick(self.now());
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

    fn install(&self, set: &Arc<KeySet>) {
        let verifier: Arc<dyn TokenVerifier> = Arc::new(self.verifier.with_jwks(set.clone()));
        self.tell(|| Control::Keys(verifier.clone()));
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
