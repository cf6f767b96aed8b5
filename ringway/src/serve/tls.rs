//! From settings of TLS to what shards speak it with.

use std::sync::Arc;

use gateway::driver::tls::TlsConfig;

use crate::secret::Secret;
use crate::settings::Settings;

/// What shards speak TLS with, if they do. Tickets are made with `made_up_secret` if the settings
/// have none.
pub(super) fn config(
    settings: &Settings,
    made_up_secret: &Secret,
) -> Result<Option<Arc<TlsConfig>>, String> {
    let Some(tls) = &settings.tls else { return Ok(None) };
    let config = TlsConfig::new(&tls.options(made_up_secret));
    config.map(|config| Some(Arc::new(config))).map_err(|fault| format!("http_server.tls: {fault}"))
}
