//! What threads outside the cores tell a shard: answers of the HTTP service, the API, reloads, the
//! end.

use core::time::Duration;
use std::sync::Arc;

use hashbrown::HashMap;
use protocol::ids::ConnectionId;
use protocol::link::UserCommand;
use shard::ring::RingCounters;

use super::pump::PumpCounters;
use super::tls::{TlsConfig, TlsCounters};
use crate::config::GatewayConfig;
use crate::engine::{GatewayCounters, Listed, Listing, MemoryBytes, MemoryLevel, TokenVerifier};

/// Takes the answer to a question about connections.
pub type AnswerList = Box<dyn FnOnce(Option<Listed>) + Send>;

/// Who waits for answers about connections, by the number of the question.
#[derive(Default)]
pub(super) struct Askers {
    waiting: HashMap<u64, AnswerList, foldhash::fast::RandomState>,
    last_number: u64,
}

impl Askers {
    /// Somebody waits; the number to ask under.
    pub(super) fn wait(&mut self, answer: AnswerList) -> u64 {
        self.last_number += 1;
        self.waiting.insert(self.last_number, answer);
        self.last_number
    }

    pub(super) fn answer(&mut self, number: u64, listed: Option<Listed>) {
        if let Some(answer) = self.waiting.remove(&number) {
            answer(listed);
        }
    }
}

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
    /// An operator asks about connections. `None`: too many questions wait already.
    List(Box<Listing>, AnswerList),
    /// How many listen to each of these channels.
    CountSubscribers(Vec<Arc<str>>, Box<dyn FnOnce(Vec<u32>) + Send>),
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
            Self::List(..) => "List",
            Self::CountSubscribers(..) => "CountSubscribers",
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
