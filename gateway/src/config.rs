//! What an operator decides about clients: typed, checked, immutable once a shard has it.

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::channels::Namespaces;
use protocol::limits as wire;
use protocol::proxies::Prefixes;

use crate::arrivals::ArrivalLimits;
use crate::engine::Rate;
use crate::limits;

/// Settings of one gateway. Each shard swaps in a new snapshot between two turns.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Rules of all channels.
    pub namespaces: Arc<Namespaces>,
    /// Largest message of a client, in bytes (`websocket.message_size_limit`, default 65,536).
    pub message_bytes_max: u32,
    /// Bytes that may wait for one client (`client.queue_max_size`, default 1 MiB).
    pub outbox_bytes_max: u32,
    /// Bytes of memory that one connection may take (`client.memory_limit`, default 32 MiB): its
    /// outbox, unfinished messages and bodies, and subscriptions.
    pub memory_bytes_max: u32,
    /// Time between pings of the server (`client.ping_interval`, default 25 s). Zero: none.
    pub ping_interval: Duration,
    /// A ping must be answered within this time (`client.pong_timeout`, default 8 s).
    pub pong_timeout: Duration,
    /// `connect` must come within this time (`client.stale_close_delay`, default 10 s).
    pub connect_timeout: Duration,
    /// Time for a client to refresh after its token expired (`client.expired_close_delay`, 25 s).
    pub expired_close_delay: Duration,
    /// Same for a subscription (`client.expired_sub_close_delay`, 25 s).
    pub expired_subscription_close_delay: Duration,
    /// Channels of one connection (`client.channel_limit`, default 128).
    pub channels_max: u32,
    /// Connections of one user (`client.user_connection_limit`). Zero: no limit.
    pub user_connections_max: u32,
    /// WebSockets of this process (`client.connection_limit`), divided among shards. Zero: what
    /// its rings hold.
    pub connections_max: u32,
    /// How many clients may come, by address and in all (`client.connection_rate_limit` and
    /// `client.address_…`).
    pub arrivals: ArrivalLimits,
    /// Who must send a header of the PROXY protocol first (`http_server.proxy_protocol`).
    pub proxy_protocol: Prefixes,
    /// Whose X-Forwarded-For is believed (`http_server.forwarded_for`).
    pub forwarded_for: Prefixes,
    /// Commands of one connection (`client.command_rate`, `client.command_burst`).
    pub command_rate: Option<Rate>,
    /// Publications and calls of all connections of a user (`client.user_rate`,
    /// `client.user_burst`).
    pub user_rate: Option<Rate>,
    /// No tokens, every permission (`client.insecure`).
    pub insecure: bool,
    /// Clients without a token are anonymous (`client.allow_anonymous_connect_without_token`).
    pub anonymous: bool,
    /// Subscribe users to a channel of their own (`client.subscribe_to_user_personal_channel`).
    pub personal_channel: Option<PersonalChannel>,
    /// Which pages may connect (`client.allowed_origins`).
    pub origins: Origins,
    /// Tokens without a user are accepted (not `client.disallow_anonymous_connection_tokens`).
    pub anonymous_tokens: bool,
    /// Serve `/connection/websocket` (not `websocket.disabled`).
    pub websocket: bool,
    /// Most publications in one answer to `history` (`client.history_max_publication_limit`).
    pub history_publications_max: u32,
    /// Most publications in one recovery (`client.recovery_max_publication_limit`).
    pub recovery_publications_max: u32,
    /// Serve an echo at `/debug/echo` (`debug.websocket_echo`).
    pub websocket_echo: bool,
    /// How long browsers shall come by TLS only (`http_server.tls.hsts_max_age`), said in answers
    /// over TLS (RFC 6797). Zero: not said.
    pub hsts_max_age: Duration,
    /// Name of this node, in connect replies.
    pub node_name: Arc<str>,
}

impl GatewayConfig {
    /// Most bytes of payload in one answer: half of what may wait for a client, so that the
    /// answer's JSON and what follows it find room, and a quarter of its memory, in which both are
    /// for a moment and buffers grow by doubling. A client that was closed for its answer would
    /// come back for it for ever.
    pub fn answer_bytes_max(&self) -> u32 {
        (self.outbox_bytes_max / 2).min(self.memory_bytes_max / 4).max(1)
    }
}

/// The channel of each user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonalChannel {
    /// Its namespace; empty: none.
    pub namespace: String,
}

impl PersonalChannel {
    /// The channel of `user`.
    pub fn name_for(&self, user: &str) -> String {
        if self.namespace.is_empty() {
            format!("#{user}")
        } else {
            format!("{}:#{user}", self.namespace)
        }
    }
}

/// Which `Origin` headers may connect. A request without one does not come from a page and may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Pages of this server only: the origin's host and port are those of the `Host` header.
    #[default]
    SameHost,
    /// Every page.
    Any,
    /// These, compared as a whole, in lower case.
    Listed(BTreeSet<String>),
}

impl Origins {
    /// May a page of `origin` connect to `host`?
    pub fn allows(&self, origin: &str, host: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        match self {
            Self::Any => true,
            Self::Listed(origins) => origins.contains(&origin),
            Self::SameHost => origin
                .split_once("://")
                .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)),
        }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            namespaces: Arc::new(Namespaces::default()),
            message_bytes_max: wire::MESSAGE_BYTES_DEFAULT,
            outbox_bytes_max: limits::OUTBOX_BYTES_DEFAULT,
            memory_bytes_max: limits::CONNECTION_MEMORY_BYTES_DEFAULT,
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
            connect_timeout: limits::CONNECT_TIMEOUT_DEFAULT,
            expired_close_delay: Duration::from_secs(25),
            expired_subscription_close_delay: Duration::from_secs(25),
            channels_max: limits::CHANNELS_DEFAULT,
            user_connections_max: 0,
            connections_max: 0,
            arrivals: ArrivalLimits::default(),
            proxy_protocol: Prefixes::default(),
            forwarded_for: Prefixes::default(),
            command_rate: None,
            user_rate: None,
            insecure: false,
            anonymous: false,
            personal_channel: None,
            origins: Origins::SameHost,
            anonymous_tokens: true,
            websocket: true,
            history_publications_max: wire::HISTORY_PUBLICATIONS_MAX,
            recovery_publications_max: wire::HISTORY_PUBLICATIONS_MAX,
            websocket_echo: false,
            hsts_max_age: Duration::ZERO,
            node_name: "ringway".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_fits_what_may_wait_and_the_memory_of_a_connection() {
        const MIB: u32 = 1 << 20;
        let answer = |outbox_bytes_max, memory_bytes_max| {
            let all = GatewayConfig::default();
            GatewayConfig { outbox_bytes_max, memory_bytes_max, ..all }.answer_bytes_max()
        };
        assert_eq!(answer(MIB, 32 * MIB), MIB / 2);
        assert_eq!(answer(MIB, MIB / 4), MIB / 16, "it would be closed for its answer");
        assert_eq!(answer(1, 1), 1);
    }

    #[test]
    fn origins_are_compared_whole() {
        let listed = Origins::Listed(BTreeSet::from(["https://app.example".to_owned()]));
        assert!(listed.allows("https://app.example", "x"));
        assert!(listed.allows("HTTPS://APP.example", "x"));
        for other in [
            "https://app.example.evil.test",
            "https://evil-app.example",
            "http://app.example",
            "https://app.example:444",
            "null",
            "",
        ] {
            assert!(!listed.allows(other, "x"), "{other}");
        }
        let same = Origins::SameHost;
        assert!(same.allows("http://127.0.0.1:8000", "127.0.0.1:8000"));
        assert!(!same.allows("http://127.0.0.1:8001", "127.0.0.1:8000"));
        assert!(!same.allows("null", "null"));
    }
}
