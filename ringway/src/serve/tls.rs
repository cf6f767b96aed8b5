//! From settings of TLS to what shards speak it with: the certificates of the settings, one that is
//! fetched, and proofs for whoever asks for one.

use std::sync::Arc;

use gateway::driver::Control;
use gateway::driver::tls::{Certificate, Challenge, TlsConfig};
use tokio::sync::Mutex;

use crate::acme::driver::Acme;
use crate::node::backend::LocalBackend;
use crate::node::{ShardHandle, deliver};
use crate::secret::Secret;
use crate::settings::{Settings, TlsSettings};

/// What shards speak TLS with. Reloads and renewals come by different ways, so each changes its
/// part here, and no later one brings an older part back.
pub(crate) struct ServedTls {
    parts: Mutex<Parts>,
    shards: Vec<ShardHandle>,
    backend: LocalBackend,
}

/// What a configuration is made of.
pub(super) struct Parts {
    settings: TlsSettings,
    /// What tickets are made with where the settings have no secret for it.
    made_up_secret: Secret,
    /// The certificate that ACME brought. Those of the settings come before it.
    fetched: Option<Certificate>,
    challenges: Vec<Challenge>,
}

/// Takes up what ACME left, where the settings ask for it, and says what a configuration is made of
/// at the start; `None`: no TLS is spoken.
///
/// # Errors
///
/// A sentence: what is wrong with its folder.
pub(super) fn open(settings: &Settings) -> Result<(Option<Acme>, Option<Parts>), String> {
    let Some(settings) = settings.tls.clone() else { return Ok((None, None)) };
    let acme = settings.acme.clone().map(Acme::open).transpose();
    let acme = acme.map_err(|fault| format!("http_server.tls_autocert.cache_dir: {fault}"))?;
    let fetched = acme.as_ref().and_then(Acme::certificate).cloned();
    let made_up_secret = Secret::generated();
    let parts = Parts { settings, made_up_secret, fetched, challenges: Vec::new() };
    Ok((acme, Some(parts)))
}

/// What changes TLS from now on. The certificate is looked after as long as the process runs.
pub(super) fn start(
    parts: Option<Parts>,
    acme: Option<Acme>,
    shards: &[ShardHandle],
    backend: &LocalBackend,
) -> Option<Arc<ServedTls>> {
    let (shards, backend) = (shards.to_vec(), backend.clone());
    let served = Arc::new(ServedTls { parts: Mutex::new(parts?), shards, backend });
    if let Some(acme) = acme {
        tokio::spawn(acme.run(served.clone()));
    }
    Some(served)
}

impl Parts {
    /// # Errors
    ///
    /// A sentence: what the crypto library lacks.
    pub(super) fn config(&self) -> Result<Arc<TlsConfig>, String> {
        self.with(&self.settings)
    }

    fn with(&self, settings: &TlsSettings) -> Result<Arc<TlsConfig>, String> {
        let mut options = settings.options(&self.made_up_secret);
        options.certificates.extend(self.fetched.clone());
        options.challenges.clone_from(&self.challenges);
        let config = TlsConfig::new(&options);
        config.map(Arc::new).map_err(|fault| format!("http_server.tls: {fault}"))
    }
}

impl ServedTls {
    /// Would these settings do?
    ///
    /// # Errors
    ///
    /// A sentence: what the crypto library lacks.
    pub(super) async fn check(&self, settings: &TlsSettings) -> Result<(), String> {
        self.parts.lock().await.with(settings).map(drop)
    }

    /// New settings, by a reload.
    ///
    /// # Errors
    ///
    /// As [`Self::check`] says, which was asked before.
    pub(super) async fn reload(&self, settings: &TlsSettings) -> Result<(), String> {
        self.change(|parts| {
            let mut settings = settings.clone();
            let before = &parts.settings;
            let waits = settings.is_enabled != before.is_enabled
                || settings.acme.is_some() != before.acme.is_some();
            let has_none = settings.certificates.is_empty() && parts.fetched.is_none();
            if has_none && !waits && !before.certificates.is_empty() {
                tracing::warn!(
                    "http_server.tls: the settings have no certificate any more, and none is \
                     fetched yet: those from before are served until the next reload behind that"
                );
            }
            if waits || has_none {
                // It waits for a restart, and its certificates with it, or nobody would be served
                // until there is one.
                settings.is_enabled = before.is_enabled;
                settings.acme.clone_from(&before.acme);
                settings.certificates.clone_from(&before.certificates);
            }
            parts.settings = settings;
        })
        .await
    }

    /// A new certificate of ACME. Connections keep what they began with.
    ///
    /// # Errors
    ///
    /// A sentence: what the crypto library lacks.
    pub(crate) async fn take(&self, certificate: Certificate) -> Result<(), String> {
        self.change(|parts| parts.fetched = Some(certificate)).await
    }

    /// Shows these proofs instead of those before, and returns when every shard does: an authority
    /// may be accepted by any of them.
    ///
    /// # Errors
    ///
    /// A sentence: which shards do not answer.
    pub(crate) async fn show(&self, challenges: Vec<Challenge>) -> Result<(), String> {
        self.change(|parts| parts.challenges = challenges).await?;
        // A shard takes what is in its inbox in order.
        let (answers, count) = (self.backend.inspect().await.len(), self.shards.len());
        if answers == count {
            return Ok(());
        }
        Err(format!("{} of {count} shards are too busy to show a proof", count - answers))
    }

    async fn change(&self, change: impl FnOnce(&mut Parts)) -> Result<(), String> {
        let mut parts = self.parts.lock().await;
        change(&mut parts);
        let config = parts.config()?;
        // Under the lock, so that every shard sees changes in one order.
        for shard in &self.shards {
            deliver(&shard.gateway, Control::Tls(config.clone())).await;
        }
        Ok(())
    }
}
