//! SIGHUP: new settings, all or nothing.

use std::sync::Arc;

use gateway::driver::Control;
use gateway::engine::TokenVerifier;

use super::tokens;
use crate::node::ShardHandle;
use crate::node::backend::LocalBackend;
use crate::settings::{Settings, Sources};

/// What a reload reads, and whom it tells.
pub(super) struct Reloading {
    pub(super) settings: Settings,
    pub(super) sources: Sources,
    pub(super) backend: LocalBackend,
    pub(super) shards: Vec<ShardHandle>,
}

impl Reloading {
    /// Reads the sources again. If anything is wrong with them, nothing changes.
    pub(super) fn reload(&mut self) {
        if self.settings.development {
            tracing::warn!("development mode has no configuration to reload");
            return;
        }
        let loaded = match Settings::load(&self.sources) {
            Ok(loaded) => loaded,
            Err(refusal) => {
                tracing::error!("reload refused, nothing has changed: {refusal}");
                return;
            }
        };
        let verifier = match tokens::verifier(&loaded.settings) {
            Ok(verifier) => verifier,
            Err(sentence) => {
                tracing::error!("reload refused, nothing has changed: {sentence}");
                return;
            }
        };
        let difference = Settings::difference(&self.settings, &loaded.settings);
        if difference.is_empty() {
            tracing::info!("reload: nothing has changed");
            return;
        }
        for line in difference.lines() {
            tracing::info!("reload: {line}");
        }
        let keys_changed = loaded.settings.connection_tokens != self.settings.connection_tokens
            || loaded.settings.subscription_tokens != self.settings.subscription_tokens;
        self.settings = loaded.settings;
        self.backend.set_namespaces(&self.settings.gateway.namespaces);
        let config = Arc::new(self.settings.gateway.clone());
        for shard in &self.shards {
            send(shard, Control::Config(config.clone()));
            if keys_changed {
                let verifier: Arc<dyn TokenVerifier> = verifier.clone();
                send(shard, Control::Keys(verifier));
            }
        }
    }
}

/// A full inbox empties within a turn; settings are not lost.
fn send(shard: &ShardHandle, control: Control) {
    let mut control = control;
    while let Err(back) = shard.gateway.send(control) {
        control = back;
        std::thread::yield_now();
    }
}
