//! What an operator reads when the server has started.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use shard::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS_COUNT};

use crate::limits::DEVELOPMENT_TOKEN_TTL_SECONDS;
use crate::node::NodeOptions;
use crate::settings::Settings;
use crate::token::{self, Grant};

/// Logs limits and memory, and prints where the server listens. With made-up secrets, prints those
/// that a person needs to try it.
pub(super) fn started(
    settings: &Settings,
    options: &NodeOptions,
    address: SocketAddr,
    operators: Option<SocketAddr>,
) {
    let buffers = u64::from(RECEIVE_BUFFERS_COUNT) * u64::from(RECEIVE_BUFFER_BYTES);
    tracing::info!(
        driver = %options.driver,
        shards = options.shards_count,
        partitions = options.partitions_count,
        connections_max =
            u64::from(options.connections_per_shard()) * u64::from(options.shards_count),
        receive_buffer_bytes = buffers * u64::from(options.shards_count),
        outbox_bytes_max_per_connection = settings.gateway.outbox_bytes_max,
        message_bytes_max = settings.gateway.message_bytes_max,
        "limits"
    );
    let scheme = scheme(settings);
    println!("Ringway {} listens on {scheme}://{address}", env!("CARGO_PKG_VERSION"));
    if let Some(sha256) = settings.tls.as_ref().and_then(|tls| tls.development_sha256.as_ref()) {
        println!("  certificate made up for this start, SHA-256 {sha256}");
    }
    if let Some(operators) = operators {
        println!("  metrics  http://{operators}/metrics");
    }
    if settings.development {
        development(settings, address, operators);
    }
}

fn scheme(settings: &Settings) -> &'static str {
    if settings.tls.is_some() { "https" } else { "http" }
}

fn development(settings: &Settings, address: SocketAddr, operators: Option<SocketAddr>) {
    println!();
    println!(
        "  DEVELOPMENT MODE: no configuration was given. Loopback only, secrets made up for this"
    );
    println!("  start, every channel open to every client. Do not expose it.");
    if settings.persistence.is_some() {
        println!("  What is in the data directory stays; tokens of an earlier start do not.");
    }
    println!();
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (user, channel, expires_at) = ("guest", None, Some(unix + DEVELOPMENT_TOKEN_TTL_SECONDS));
    let grant = Grant { user, channel, issued_at: unix, expires_at };
    if let Ok(token) = token::mint(&settings.connection_tokens, grant) {
        println!("  page     {}://{address}/#token={token}", scheme(settings));
        println!("  token    {token}");
    }
    if let Some(key) = settings.api.keys.first() {
        println!("  API key  {}", key.expose());
    }
    // A key that somebody gave stays where it was given.
    let made_up = settings.admin_key.as_ref().filter(|_| settings.is_admin_key_made_up);
    if let Some((key, operators)) = made_up.zip(operators) {
        println!("  admin    RINGWAY_ADMIN_KEY={} ringway top --address {operators}", key.expose());
    }
}
