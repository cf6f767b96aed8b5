//! What threads outside the cores tell a shard: answers of the HTTP service, the API, reloads, the
//! end.

use core::time::Duration;
use std::sync::Arc;

use protocol::ids::ConnectionId;
use protocol::link::UserCommand;
use shard::ring::RingCounters;

use super::pump::PumpCounters;
use super::tls::{TlsConfig, TlsCounters};
use crate::config::GatewayConfig;
use crate::engine::{GatewayCounters, MemoryBytes, MemoryLevel, TokenVerifier};

/// One message to a shard.
pub enum Control {
    /// The service answered a request.
    Response {
        /// Whose request.
        connection: ConnectionId,
        /// Head and body.
        bytes: Vec<u8>,
        /// Close behind it?
        is_last: bool,
    },
    /// Do this to all connections of a user whose home is this shard.
    User {
        /// Whose.
        user: Arc<str>,
        /// What.
        command: UserCommand,
    },
    /// Check tokens by this from now on.
    Keys(Arc<dyn TokenVerifier>),
    /// A key could not be loaded, or none at all.
    KeysFailed {
        /// The key's id; `None`: whatever is waited for.
        key_id: Option<String>,
    },
    /// New settings.
    Config(Arc<GatewayConfig>),
    /// New settings of TLS, for handshakes from now on.
    Tls(Arc<TlsConfig>),
    /// The memory of the process was measured.
    Memory {
        /// How near its limit it is.
        level: MemoryLevel,
        /// Bytes that connections of this shard have to give back.
        owed_bytes: u64,
    },
    /// Tell what happened so far.
    Inspect(Box<dyn FnOnce(Inspection) + Send>),
    /// Stop accepting and close every client, spread over this time; then the pump ends.
    Drain(Duration),
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Response { .. } => "Response",
            Self::User { .. } => "User",
            Self::Keys(_) => "Keys",
            Self::KeysFailed { .. } => "KeysFailed",
            Self::Config(_) => "Config",
            Self::Tls(_) => "Tls",
            Self::Memory { .. } => "Memory",
            Self::Inspect(_) => "Inspect",
            Self::Drain(_) => "Drain",
        })
    }
}

/// What a shard has counted.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// By its engine.
    pub engine: GatewayCounters,
    /// By its pump.
    pub pump: PumpCounters,
    /// By its TLS.
    pub tls: TlsCounters,
    /// By its ring.
    pub ring: RingCounters,
    /// Where its memory is.
    pub memory: MemoryBytes,
}
