//! SIGHUP: new settings, all or nothing.

use std::sync::Arc;

use gateway::arrivals::Arrivals;
use gateway::driver::Control;
use persistence::Persistence;
use protocol::channels::Namespaces;
use router::api::SharedAccess;
use tokio::sync::watch;

use super::jwks::KeySource;
use super::tls::ServedTls;
use super::tokens;
use crate::admin::AdminAccess;
use crate::node::backend::LocalBackend;
use crate::node::{ShardHandle, deliver};
use crate::settings::{Settings, Sources};

/// What a reload reads, and whom it tells.
pub(super) struct Reloading {
    pub(super) settings: Settings,
    pub(super) sources: Sources,
    pub(super) backend: LocalBackend,
    pub(super) shards: Vec<ShardHandle>,
    /// What all shards count together.
    pub(super) arrivals: Arc<Arrivals>,
    /// Who may call the API.
    pub(super) access: SharedAccess,
    /// Who may call the admin API.
    pub(super) admin_access: AdminAccess,
    /// What keeps the data directory, if there is one.
    pub(super) persistence: Option<Persistence>,
    /// What shards speak TLS with, if they do.
    pub(super) tls: Option<Arc<ServedTls>>,
    /// Takes new keys to who hands them out.
    pub(super) key_sources: watch::Sender<KeySource>,
}

impl Reloading {
    /// Reads the sources again. If anything is wrong with them, nothing changes.
    pub(super) async fn reload(&mut self) {
        if self.settings.development {
            tracing::warn!("development mode has no configuration to reload");
            return;
        }
        let mut loaded = match Settings::load(&self.sources) {
            Ok(loaded) => loaded,
            Err(refusal) => return refuse(&refusal),
        };
        let source = tokens::verifier(&loaded.settings)
            .and_then(|verifier| tokens::key_source(&loaded.settings, verifier));
        let source = match source {
            Ok(source) => source,
            Err(sentence) => return refuse(&sentence),
        };
        if self.sources.flags.dev_tls {
            // Clients know the certificate by its hash.
            loaded.settings.tls.clone_from(&self.settings.tls);
        }
        // Whether TLS is spoken at all is decided at the start.
        let tls = self.tls.as_ref().zip(loaded.settings.tls.clone());
        if let Some((served, settings)) = &tls
            && let Err(sentence) = served.check(settings).await
        {
            return refuse(&sentence);
        }
        for warning in &loaded.warnings {
            tracing::warn!("reload: {warning}");
        }
        if self.persistence.is_none() && loaded.settings.has_durable_channels() {
            return refuse(
                &"durability log and store need the data directory, which is opened at start; \
                  restart the server",
            );
        }
        let difference = Settings::difference(&self.settings, &loaded.settings);
        if difference.is_empty() {
            tracing::info!("reload: nothing has changed");
            return;
        }
        if let Err(sentence) = self.write_down(&mut loaded.settings).await {
            return refuse(&sentence);
        }
        for line in difference.lines() {
            tracing::info!("reload: {line}");
        }
        let namespaces = |settings: &Settings| settings.gateway.namespaces.clone();
        for name in forgetting(&namespaces(&self.settings), &namespaces(&loaded.settings)) {
            tracing::warn!(
                "reload: channels {name} begin a new epoch and forget their history, because their \
                 durability begins or ends"
            );
        }
        let keys_changed = loaded.settings.connection_tokens != self.settings.connection_tokens
            || loaded.settings.subscription_tokens != self.settings.subscription_tokens;
        self.settings = loaded.settings;
        self.backend.set_namespaces(&self.settings.gateway.namespaces).await;
        let config = Arc::new(self.settings.gateway.clone());
        self.arrivals.prepare(&config.arrivals);
        for shard in &self.shards {
            deliver(&shard.gateway, Control::Config(config.clone())).await;
        }
        if let Some((served, settings)) = &tls
            && let Err(sentence) = served.reload(settings).await
        {
            tracing::error!("reload: {sentence}; restart the server");
        }
        *self.access.write().expect("no holder panics") = super::api_access(&self.settings);
        *self.admin_access.write().expect("no holder panics") =
            super::admin_access_of(&self.settings);
        if keys_changed {
            self.key_sources.send_replace(source);
        }
        // Beside what else the process is told: a shard may be busy for seconds.
        tokio::spawn(announce(self.backend.clone(), self.shards.len()));
    }

    /// Tells the data directory which channels are durable from now on, before anybody publishes by
    /// the new rules, and takes over the generations that it gives them.
    async fn write_down(&self, settings: &mut Settings) -> Result<(), String> {
        let Some(persistence) = &self.persistence else { return Ok(()) };
        let namespaces = &mut settings.gateway.namespaces;
        *namespaces = persistence.set_namespaces(namespaces.clone()).await.map_err(|error| {
            format!("it could not be written down which channels are durable: {error}")
        })?;
        Ok(())
    }
}

fn refuse(sentence: &dyn std::fmt::Display) {
    tracing::error!("reload refused, nothing has changed: {sentence}");
}

/// Says when the new settings hold everywhere: whoever changes something waits for that.
async fn announce(backend: LocalBackend, shards: usize) {
    let answers = backend.inspect().await.len();
    if answers == shards {
        tracing::info!("reload: every shard has the new settings");
    } else {
        tracing::warn!(
            "reload: {answers} of {shards} shards say that they have the new settings; the others \
             are busy and take them later"
        );
    }
}

/// Namespaces whose channels become durable or cease to be, in words.
fn forgetting(old: &Namespaces, new: &Namespaces) -> Vec<String> {
    let mut names = Vec::new();
    if old.without.is_durable() != new.without.is_durable() {
        names.push("without a namespace".to_owned());
    }
    for (name, options) in &new.named {
        if old.named.get(name).is_some_and(|before| before.is_durable() != options.is_durable()) {
            names.push(format!("of namespace {name}"));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::channels::{ChannelOptions, Durability};
    use std::time::Duration;

    #[test]
    fn who_forgets_is_named() {
        let namespaces = |without, chat| {
            let options = |durability| ChannelOptions {
                durability,
                history_size: 1,
                history_ttl: Duration::from_secs(1),
                ..ChannelOptions::default()
            };
            let named = [("chat".to_owned(), options(chat))].into();
            Namespaces { without: options(without), named }
        };
        let old = namespaces(Durability::Memory, Durability::Log);
        assert!(forgetting(&old, &namespaces(Durability::None, Durability::Store)).is_empty());
        let new = namespaces(Durability::Store, Durability::Memory);
        assert_eq!(forgetting(&old, &new), ["without a namespace", "of namespace chat"]);
    }
}
