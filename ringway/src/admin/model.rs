//! What the admin API is asked and answers, as it stands in JSON; for the server and for the
//! commands that ask it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `node` takes nothing.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeQuestion {}

/// Which connections are meant: those for which everything that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Of a session of this user; empty: without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// With this client id, a UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// From this address, or from an address with this prefix (`10.0.0.0/8`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Subscribed to this channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// In this state, such as `connected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// For whom at least so many bytes wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_outbox_bytes: Option<u32>,
    /// Who take at least so many bytes of `client.memory_limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_memory_bytes: Option<u32>,
    /// Who have taken nothing for so many milliseconds while something waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_stalled_ms: Option<u32>,
}

/// What `connections` takes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionsQuestion {
    /// Who is meant.
    pub filter: Filter,
    /// Who comes first: `id`, `outbox`, `memory`, `stalled`, `oldest` or `newest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// Most rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Go on behind the last page: its `next`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What `connection` takes: one of both.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionQuestion {
    /// The connection, as listings have it: `0.0.12.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its client id, a UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// What `slowest` takes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlowestQuestion {
    /// `outbox` (the default): for whom most waits; `stalled`: who has taken nothing for longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Most rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// What `channels` takes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelsQuestion {
    /// `publications` (the default) or `bytes`, both per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Most rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// What `close` takes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CloseQuestion {
    /// Who is meant. Without any part, only together with [`Self::all`].
    pub filter: Filter,
    /// Every connection is meant.
    pub all: bool,
    /// Close code, 3000 to 4999: from 3500 to 3999 and from 4500 on clients stay away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Text with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Most that are closed by this call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Only say how many are meant.
    pub dry_run: bool,
}

/// One connection.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Connection {
    /// Shard, ring, slot and generation.
    pub id: String,
    /// Where it is in its life.
    pub state: String,
    /// Its client id, once it has a session.
    pub client: Option<String>,
    /// Its user; empty: none.
    pub user: String,
    /// Where it comes from.
    pub address: Option<String>,
    /// Encrypted by this server?
    pub tls: bool,
    /// Did it send much since its last ping?
    pub hot: bool,
    /// `json` or `protobuf`, once it is known.
    pub format: Option<String>,
    /// Since when it has a session.
    pub age_seconds: Option<u64>,
    /// Bytes that wait for it, or are with the kernel.
    pub outbox_bytes: u64,
    /// Bytes that it takes of `client.memory_limit`.
    pub memory_bytes: u64,
    /// For how long it has taken nothing while something waited; zero: it takes what comes.
    pub stalled_ms: u64,
    /// Subscriptions, asked for or granted.
    pub subscriptions: u64,
    /// When its token expires, in Unix seconds.
    pub expires_at: Option<u64>,
    /// Its channels, only in the answer to `connection`, and no more than 1,000 of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
}

/// The answer to `connections`, `connection` and `slowest`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Connections {
    /// How many are meant, on every page.
    pub matched: u64,
    /// The first of them in order.
    pub connections: Vec<Connection>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
    /// Shards that did not answer in time: what they have is missing.
    pub silent_shards: Vec<u64>,
}

/// The answer to `close`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Closed {
    /// How many were meant that were not closing already.
    pub matched: u64,
    /// How many were closed.
    pub closed: u64,
    /// Was nothing done but counting?
    pub dry_run: bool,
    /// Shards that did not answer in time, and may close theirs later, and those that were too busy
    /// to be asked.
    pub silent_shards: Vec<u64>,
}

/// One channel with its traffic.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Channel {
    /// Its name.
    pub channel: String,
    /// Publications per second, lately.
    pub publications_per_second: f64,
    /// Bytes of payload per second, lately, as they were published.
    pub bytes_per_second: f64,
    /// Subscriptions on this node.
    pub subscribers: u64,
}

/// The answer to `channels`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Channels {
    /// The busiest first.
    pub channels: Vec<Channel>,
    /// Shards that did not answer in time: what they have is missing.
    pub silent_shards: Vec<u64>,
}

/// How long something took, by how often it took no more than each bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Histogram {
    /// Upper bounds in microseconds; the last place has none.
    pub bounds_us: Vec<u64>,
    /// How often; one more than bounds.
    pub counts: Vec<u64>,
    /// All of it, in nanoseconds.
    pub sum_ns: u64,
}

/// One shard, since its start or now. Names are those of `/metrics`, without `ringway_`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Shard {
    /// Its number.
    pub shard: u64,
    /// Connections now, by where they are in their lives.
    pub connections_by_state: BTreeMap<String, u64>,
    /// What only grows.
    pub counters: BTreeMap<String, u64>,
    /// What there is now; `inbox_depth` and `lane_depth` are what waits in its lanes.
    pub gauges: BTreeMap<String, u64>,
    /// Bytes of memory, by what they are for.
    pub memory_bytes: BTreeMap<String, u64>,
    /// Turns of its pump, without the sleep.
    pub turns: Histogram,
    /// From reading a publication of a client to queueing its answer.
    pub publish_latency: Histogram,
}

/// How near the process is to its limit of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Memory {
    /// Bytes that count against the nearest limit.
    pub used_bytes: u64,
    /// That limit.
    pub limit_bytes: u64,
    /// 0: everybody is let in; 1: nobody new is; 2: and who holds most is closed.
    pub level: u64,
}

/// The answer to `node`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Node {
    /// Version of the server.
    pub version: String,
    /// Its configured name.
    pub name: String,
    /// A name that is different at every start.
    pub uid: String,
    /// What drives its sockets: `io_uring` or `portable`.
    pub driver: String,
    /// Time since its start. Differences of counters over those of this are rates.
    pub uptime_ms: u64,
    /// Memory of the process.
    pub memory: Memory,
    /// Its shards, by number.
    pub shards: Vec<Shard>,
    /// Shards that did not answer in time.
    pub silent_shards: Vec<u64>,
    /// Connections closed since the start, by reason; reasons of none are left out.
    pub closes: BTreeMap<String, u64>,
    /// Publications, joins and leaves that did not reach a client that was there, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Writes and syncs of the journal, if there is one.
    pub journal_commits: Option<Histogram>,
}
