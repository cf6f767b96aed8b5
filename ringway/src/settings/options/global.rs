//! Options outside of channels, a table for each part of the file.

use super::{Kind, OptionRow, Service, tls};
use crate::limits;
use protocol::limits as wire;

/// Every table, in the order of docs/CONFIGURATION.md.
pub(super) const TABLES: &[&[OptionRow]] = &[
    SERVER,
    tls::TABLE,
    tls::AUTOCERT,
    CLIENT,
    TOKEN,
    SUBSCRIPTION_TOKEN,
    CHANNEL,
    TRANSPORTS,
    API,
    PERSISTENCE,
    MEMORY,
    OPERATION,
    ABSENT,
];

const fn flag(path: &'static str, doc: &'static str) -> OptionRow {
    OptionRow::new(path, Kind::Flag, "false", doc)
}

const fn duration(path: &'static str, default: &'static str, doc: &'static str) -> OptionRow {
    OptionRow::new(path, Kind::DURATION, default, doc)
}

const fn text(path: &'static str, doc: &'static str) -> OptionRow {
    OptionRow::new(path, Kind::Text, "", doc)
}

const fn secret(path: &'static str, doc: &'static str) -> OptionRow {
    OptionRow::new(path, Kind::Secret, "", doc)
}

const fn secret_file(path: &'static str, doc: &'static str) -> OptionRow {
    OptionRow::new(path, Kind::SecretFile, "", doc).ours()
}

const fn file(path: &'static str, doc: &'static str) -> OptionRow {
    OptionRow::new(path, Kind::File, "", doc).ours()
}

const fn count(path: &'static str, default: &'static str, doc: &'static str) -> OptionRow {
    OptionRow::new(path, Kind::integer(0, i32::MAX as i64, ""), default, doc)
}

const HTTP3: &str = "HTTP/3 is not part of this version";
const EXTERNAL: &str = "there is one client port; `http_server.tls` is for it";
const INTERNAL: &str = "there is no internal port; metrics and health have `metrics.address`";

const SERVER: &[OptionRow] = &[
    OptionRow::new(
        "http_server.address",
        Kind::Address,
        "",
        "Address of the client port. Empty: every IPv4 interface.",
    )
    .restart(),
    OptionRow::new(
        "http_server.port",
        Kind::integer(0, 65_535, ""),
        "8000",
        "The client port. Zero: any free one.",
    )
    .restart(),
    OptionRow::new(
        "http_server.proxy_protocol",
        Kind::Texts,
        "",
        "Prefixes of proxies (`10.0.0.0/8`, `192.0.2.7`) that must send a header of the PROXY \
         protocol, version 2, before anything else; the address in it is the client's. Clients \
         whose proxy gives none are not counted by address.",
    )
    .ours(),
    OptionRow::new(
        "http_server.forwarded_for",
        Kind::Texts,
        "",
        "Prefixes of proxies whose X-Forwarded-For is believed: its right-most address that is not \
         listed here is the client's. Clients whose proxy gives none are not counted by address.",
    )
    .ours(),
    OptionRow::unsupported("http_server.internal_address", INTERNAL),
    OptionRow::unsupported("http_server.internal_port", INTERNAL),
    OptionRow::unsupported("http_server.tls_external", EXTERNAL),
    OptionRow::unsupported("http_server.internal_tls", INTERNAL),
    OptionRow::unsupported("http_server.http3", HTTP3),
    OptionRow::unsupported("http_server.h2c_external", "HTTP/1.1 is served; leave h2c to a proxy"),
    OptionRow::new(
        "log.level",
        Kind::Choice(&["trace", "debug", "info", "warn", "error", "fatal", "none"]),
        "info",
        "Least important messages that are written. `fatal` is read as `error`.",
    )
    .restart(),
    OptionRow::unsupported("log.file", "the log goes to standard error; redirect it"),
];

const CLIENT: &[OptionRow] = &[
    OptionRow::new(
        "client.allowed_origins",
        Kind::Texts,
        "",
        "Origins of pages that may connect, each whole; `*`: all. Empty: this host's pages only.",
    ),
    flag("client.insecure", "No tokens and every permission for clients. Never in production."),
    flag(
        "client.allow_anonymous_connect_without_token",
        "Clients may connect without a token, as anonymous ones.",
    ),
    flag(
        "client.disallow_anonymous_connection_tokens",
        "Refuse connection tokens that name no user.",
    ),
    duration("client.ping_interval", "25s", "Time between pings of the server. Zero: none."),
    OptionRow::new(
        "client.pong_timeout",
        Kind::Duration { min_ms: 1 },
        "8s",
        "A ping must be answered within this time, which must be below the interval.",
    ),
    OptionRow::new(
        "client.stale_close_delay",
        Kind::Duration { min_ms: 1 },
        "10s",
        "A new connection must send `connect` within this time.",
    ),
    duration(
        "client.expired_close_delay",
        "25s",
        "Time for a client to refresh after its token expired.",
    ),
    duration(
        "client.expired_sub_close_delay",
        "25s",
        "Time for a client to refresh a subscription after its token expired.",
    ),
    OptionRow::new(
        "client.channel_limit",
        Kind::integer(1, 1_000_000, ""),
        "128",
        "Most channels of one connection.",
    ),
    OptionRow::new(
        "client.queue_max_size",
        Kind::integer(limits::OUTBOX_BYTES_MIN, limits::OUTBOX_BYTES_MAX, "bytes"),
        "1048576",
        "Most bytes that may wait for one slow client. Its cost in memory is the same.",
    ),
    OptionRow::new(
        "client.memory_limit",
        Kind::integer(limits::MEMORY_BYTES_MIN, limits::MEMORY_BYTES_MAX, "bytes"),
        "33554432",
        "Most bytes of memory that one connection may take together: what waits for it, what has \
         come of its messages and bodies, and 512 for each subscription. Over it, it is closed \
         with 4008 (`memory_limit`). The other limits keep the HTTP API below 16 MiB by default; \
         lower it where those are raised for a few. One answer takes a quarter of it at most.",
    )
    .ours(),
    count(
        "client.connection_limit",
        "0",
        "Most WebSockets of this process, divided evenly among its shards, to which the kernel \
         spreads clients: a shard may be full a little before the process is. Further ones are \
         refused with 503 and Retry-After. Zero: as many as RLIMIT_NOFILE lets its rings hold, \
         which is about 64 times that limit on each shard (once, on the portable driver).",
    )
    .restart(),
    count(
        "client.connection_rate_limit",
        "0",
        "New WebSockets per second of this process, and at once. Further ones are refused with 503 \
         and Retry-After. Zero: no limit.",
    ),
    count(
        "client.address_connection_limit",
        "0",
        "Most WebSockets of one address; 503 as above. Counted from the moment it is set. Zero: no \
         limit. With it, or the next one, addresses take 49 to 98 bytes for each connection that \
         there may be, 392 KiB at least and 24.5 MiB at most.",
    )
    .ours(),
    count(
        "client.address_connection_rate",
        "0",
        "New WebSockets per second of one address, and at once; 503 as above. Zero: no limit.",
    )
    .ours(),
    OptionRow::new(
        "client.address_ipv4_prefix_length",
        Kind::integer(8, 32, "bits"),
        "32",
        "IPv4 addresses that begin alike in so many bits count as one; those written as IPv6 \
         (::ffff:0:0/96, 64:ff9b::/96) are among them.",
    )
    .ours(),
    OptionRow::new(
        "client.address_ipv6_prefix_length",
        Kind::integer(16, 64, "bits"),
        "64",
        "The same for IPv6, where a host has a whole /64 to choose from.",
    )
    .ours(),
    count("client.user_connection_limit", "0", "Most connections of one user. Zero: no limit."),
    OptionRow::new(
        "client.history_max_publication_limit",
        Kind::integer(1, wire::HISTORY_PUBLICATIONS_MAX as i64, "publications"),
        "300",
        "Most publications in one answer to `history`.",
    )
    .restart(),
    OptionRow::new(
        "client.recovery_max_publication_limit",
        Kind::integer(1, wire::HISTORY_PUBLICATIONS_MAX as i64, "publications"),
        "300",
        "Most publications in one recovery.",
    )
    .restart(),
    count("client.command_rate", "0", "Commands per second of one connection. Zero: no limit.")
        .ours(),
    count("client.command_burst", "0", "Commands at once. Zero: one second's worth.").ours(),
    count(
        "client.user_rate",
        "0",
        "Publications and calls per second of all connections of one user. Zero: no limit.",
    )
    .ours(),
    count("client.user_burst", "0", "Publications and calls at once. Zero: one second's worth.")
        .ours(),
    flag(
        "client.subscribe_to_user_personal_channel.enabled",
        "Subscribe each user to a channel of their own on connect.",
    ),
    text(
        "client.subscribe_to_user_personal_channel.personal_channel_namespace",
        "The namespace of personal channels. Empty: none.",
    ),
    OptionRow::unsupported(
        "client.subscribe_to_user_personal_channel.single_connection",
        "a user may have several connections; `client.user_connection_limit` bounds them",
    ),
    OptionRow::new("client.insecure_skip_token_signature_verify", Kind::Flag, "false", "").serving(
        Service::Never("anyone could be any user; for trials use `client.insecure` on loopback"),
    ),
    OptionRow::ignored("client.concurrency", "each connection lives on one core, without threads"),
    OptionRow::ignored("client.presence_update_interval", "presence is kept by the connection"),
    OptionRow::ignored("client.channel_position_check_delay", "positions are always checked"),
    OptionRow::ignored("client.channel_position_max_time_lag", "positions are always checked"),
    OptionRow::unsupported("client.connect_include_server_time", "the reply carries no time"),
    OptionRow::unsupported(
        "client.user_id_http_header",
        "headers do not identify users; let the backend mint connection tokens",
    ),
    OptionRow::unsupported(
        "client.connect_code_to_unidirectional_disconnect",
        "there are no unidirectional transports",
    ),
    OptionRow::unsupported("client.proxy", PROXY),
];

const PROXY: &str = "there are no proxies to a backend; use tokens and the HTTP API";
const REGEX: &str = "give the one value that is allowed instead of a pattern";
const JWKS_CHECK: &str = "issuer and audience patterns do not exist here";

const TOKEN: &[OptionRow] = &[
    secret("client.token.hmac_secret_key", "Key of HS256, HS384 and HS512 tokens."),
    secret_file("client.token.hmac_secret_key_file", "The same, from a file."),
    secret("client.token.hmac_previous_secret_key", "The key before the last change of it."),
    OptionRow::new(
        "client.token.hmac_previous_secret_key_valid_until",
        Kind::integer(0, i64::MAX, "seconds since 1970"),
        "0",
        "The previous key is refused from then on. Zero: never.",
    ),
    text("client.token.rsa_public_key", "Public key of RS256, RS384 and RS512 tokens, PEM."),
    file("client.token.rsa_public_key_file", "The same, from a file."),
    text("client.token.ecdsa_public_key", "Public key of ES256 and ES384 tokens, PEM."),
    file("client.token.ecdsa_public_key_file", "The same, from a file."),
    text("client.token.eddsa_public_key", "Public key of EdDSA tokens, PEM.").ours(),
    file("client.token.eddsa_public_key_file", "The same, from a file."),
    text("client.token.jwks_public_endpoint", "URL of a JSON Web Key Set."),
    file("client.token.jwks_file", "File with a JSON Web Key Set."),
    text("client.token.audience", "Tokens must be meant for this `aud`."),
    text("client.token.issuer", "Tokens must come from this `iss`."),
    text("client.token.user_id_claim", "Claim that names the user. Empty: `sub`."),
    OptionRow::unsupported("client.token.audience_regex", REGEX),
    OptionRow::unsupported("client.token.issuer_regex", REGEX),
    OptionRow::ignored("client.token.insecure_skip_jwks_endpoint_safety_check", JWKS_CHECK),
];

const SUBSCRIPTION_TOKEN: &[OptionRow] = &[
    flag(
        "client.subscription_token.enabled",
        "Subscription tokens have keys of their own, below. Otherwise `client.token` holds.",
    ),
    secret("client.subscription_token.hmac_secret_key", "As in `client.token`."),
    secret_file("client.subscription_token.hmac_secret_key_file", "As in `client.token`."),
    secret("client.subscription_token.hmac_previous_secret_key", "As in `client.token`."),
    OptionRow::new(
        "client.subscription_token.hmac_previous_secret_key_valid_until",
        Kind::integer(0, i64::MAX, "seconds since 1970"),
        "0",
        "As in `client.token`.",
    ),
    text("client.subscription_token.rsa_public_key", "As in `client.token`."),
    file("client.subscription_token.rsa_public_key_file", "As in `client.token`."),
    text("client.subscription_token.ecdsa_public_key", "As in `client.token`."),
    file("client.subscription_token.ecdsa_public_key_file", "As in `client.token`."),
    text("client.subscription_token.eddsa_public_key", "As in `client.token`.").ours(),
    file("client.subscription_token.eddsa_public_key_file", "As in `client.token`."),
    text("client.subscription_token.jwks_public_endpoint", "As in `client.token`."),
    file("client.subscription_token.jwks_file", "As in `client.token`."),
    text("client.subscription_token.audience", "As in `client.token`."),
    text("client.subscription_token.issuer", "As in `client.token`."),
    text("client.subscription_token.user_id_claim", "As in `client.token`."),
    OptionRow::unsupported("client.subscription_token.audience_regex", REGEX),
    OptionRow::unsupported("client.subscription_token.issuer_regex", REGEX),
    OptionRow::ignored(
        "client.subscription_token.insecure_skip_jwks_endpoint_safety_check",
        JWKS_CHECK,
    ),
];

const NAMES: &str = "the signs in channel names are part of the protocol here";

const CHANNEL: &[OptionRow] = &[
    OptionRow::new(
        "channel.history_meta_ttl",
        Kind::Duration { min_ms: 1000 },
        "720h",
        "How long a position outlives the last publication, unless a namespace says otherwise.",
    ),
    OptionRow::new("channel.max_length", Kind::integer(1, 255, "bytes"), "255", "")
        .serving(Service::Fixed(&["255"], "channel names may have 255 bytes")),
    OptionRow::fixed("channel.private_prefix", &["$"], NAMES),
    OptionRow::fixed("channel.namespace_boundary", &[":"], NAMES),
    OptionRow::fixed("channel.user_boundary", &["#"], NAMES),
    OptionRow::fixed("channel.user_separator", &[","], NAMES),
    OptionRow::fixed(
        "channel.publication_data_format",
        &["", "json"],
        "payloads are not checked here; let the publisher check them",
    ),
    OptionRow::unsupported("channel.proxy", PROXY),
];

const PREFIX: &str = "every transport is served at its usual path; let a proxy in front rename it";
const COMPRESSION: &str = "messages are not compressed in this version";
const RING: &str = "the ring has its own buffers";
const STREAMS: &str = "clients connect by WebSocket in this version";

const TRANSPORTS: &[OptionRow] = &[
    flag("websocket.disabled", "Do not serve `/connection/websocket`."),
    OptionRow::new(
        "websocket.message_size_limit",
        Kind::integer(1, wire::MESSAGE_BYTES_MAX as i64, "bytes"),
        "65536",
        "Largest message of a client, on every transport.",
    ),
    OptionRow::fixed("websocket.handler_prefix", &["/connection/websocket"], PREFIX),
    OptionRow::unsupported("websocket.compression", COMPRESSION),
    OptionRow::ignored("websocket.compression_min_size", COMPRESSION),
    OptionRow::ignored("websocket.compression_level", COMPRESSION),
    OptionRow::ignored("websocket.decompressed_message_size_limit", COMPRESSION),
    OptionRow::ignored("websocket.read_buffer_size", RING),
    OptionRow::ignored("websocket.use_write_buffer_pool", RING),
    OptionRow::ignored("websocket.write_buffer_size", RING),
    OptionRow::ignored("websocket.write_timeout", "a send that stalls for 9 s is closed as slow"),
    OptionRow::unsupported("http_stream", STREAMS),
    OptionRow::unsupported("sse", STREAMS),
    OptionRow::unsupported("emulation", STREAMS),
    OptionRow::unsupported("webtransport", "WebTransport is not part of this version"),
];

const API: &[OptionRow] = &[
    flag("http_api.disabled", "Do not serve `/api`.").restart(),
    secret("http_api.key", "Key that callers send as `X-API-Key`."),
    secret_file("http_api.key_file", "The same, from a file."),
    flag("http_api.insecure", "Serve the API to callers without a key. Never in production."),
    OptionRow::fixed("http_api.handler_prefix", &["/api"], PREFIX),
    OptionRow::fixed("http_api.error_mode", &[""], "errors are reported in the response body"),
    OptionRow::ignored("http_api.external", "the API is always on the client port"),
];

const NOT_CLUSTER: &str = "this process keeps everything itself";

const PERSISTENCE: &[OptionRow] = &[
    OptionRow::new(
        "persistence.data_dir",
        Kind::Text,
        "",
        "Directory of the journal and the store, beside the file if it is relative. Empty: none; \
         channels with durability `log` or `store` need one.",
    )
    .restart()
    .ours(),
    OptionRow::new(
        "persistence.journal_io",
        Kind::Choice(&["auto", "io_uring", "standard"]),
        "standard",
        "What the journal writes through. `standard`: the file calls of the system, from its own \
         thread; `io_uring`: io_uring, or no start; `auto`: io_uring where the kernel lets us.",
    )
    .restart()
    .ours(),
    OptionRow::new(
        "persistence.segment_size",
        Kind::integer(limits::SEGMENT_BYTES_MIN, limits::SEGMENT_BYTES_MAX, "bytes"),
        "67108864",
        "Size of one file of the journal. Two are allocated at least.",
    )
    .restart()
    .ours(),
    OptionRow::new(
        "persistence.backlog_max_size",
        Kind::integer(limits::BACKLOG_BYTES_MIN, limits::BACKLOG_BYTES_MAX, "bytes"),
        "268435456",
        "Most bytes of changes that may wait for the store, in the journal and in memory. Beyond \
         it durable publications are refused for a while.",
    )
    .restart()
    .ours(),
];

const MEMORY: &[OptionRow] = &[
    OptionRow::new(
        "memory.limit",
        Kind::integer(0, limits::MEMORY_LIMIT_BYTES_MAX, "bytes"),
        "0",
        "Memory that this process may take, 64 MiB at least. Limits of control groups (`memory.max`, \
         `memory.high`, of the first version `memory.limit_in_bytes`) hold beside it; whichever is \
         nearer counts. Against this limit, or the machine's, counts the process's control group \
         if nobody else is in it, and otherwise its resident memory, which lacks what the kernel \
         keeps for sockets. Zero: what the control groups say, or else the machine's memory.",
    )
    .restart()
    .ours(),
    OptionRow::new(
        "memory.refuse_level",
        Kind::integer(0, 100, "percent"),
        "80",
        "From so much of the limit on, new WebSockets are refused with 503 and Retry-After, until it \
         is 5 percent less. What was freed and not given back to the system counts, so a node that \
         is full all day has to stay below. Zero: never; 20 at least otherwise.",
    )
    .restart()
    .ours(),
    OptionRow::new(
        "memory.shed_level",
        Kind::integer(0, 100, "percent"),
        "90",
        "From so much of the limit on, clients that hold 16 KiB or more are closed as well (3011), \
         those for whom most waits first, until it is 5 percent less. Must be above \
         `memory.refuse_level`. Zero: never; 20 at least otherwise.",
    )
    .restart()
    .ours(),
];

const OPERATION: &[OptionRow] = &[
    OptionRow::new(
        "health.enabled",
        Kind::Flag,
        "true",
        "Serve `/health` on the client port as well as at `metrics.address`: 200 while every \
         shard answers, whatever the state of the disk.",
    )
    .restart(),
    OptionRow::fixed("health.handler_prefix", &["/health"], PREFIX),
    OptionRow::new(
        "metrics.address",
        Kind::SocketAddress,
        "127.0.0.1:9000",
        "Where operators find `/metrics`, `/health`, the admin API (`admin.key`) and, at `/`, a \
         page that shows metrics. Empty: nowhere.",
    )
    .restart()
    .ours(),
    secret(
        "admin.key",
        "Key of the admin API at `metrics.address`, which `ringway top` and `ringway connections` \
         ask: whoever has it sees every connection, and may close it. Sent as `X-API-Key`. Empty: \
         there is no admin API.",
    )
    .ours(),
    secret_file("admin.key_file", "The same, from a file."),
    OptionRow::ignored("prometheus.enabled", "metrics are served at `metrics.address`"),
    OptionRow::fixed("prometheus.handler_prefix", &["/metrics"], PREFIX),
    OptionRow::ignored("prometheus.instrument_http_handlers", "there is one set of metrics"),
    OptionRow::ignored(
        "prometheus.recovered_publications_histogram",
        "there is one set of metrics",
    ),
    OptionRow::ignored("prometheus.native_histograms", "there is one set of metrics"),
    OptionRow::new("node.name", Kind::Text, "ringway", "Name of this node in connect replies."),
    OptionRow::ignored("node.info_metrics_aggregate_interval", NOT_CLUSTER),
    OptionRow::new(
        "shards",
        Kind::integer(0, limits::SHARDS_MAX, "threads"),
        "0",
        "Shards, one thread each. Zero: one per core that this process may use.",
    )
    .restart()
    .ours(),
    OptionRow::new(
        "io",
        Kind::Choice(&["auto", "ring", "portable"]),
        "auto",
        "What drives sockets: io_uring, or epoll, which works everywhere and costs more per \
         message. `auto`: io_uring where the host permits it.",
    )
    .restart()
    .ours(),
    OptionRow::new(
        "partitions",
        Kind::integer(1, limits::PARTITIONS_MAX, ""),
        "64",
        "Router partitions. A channel belongs to one of them.",
    )
    .restart()
    .ours(),
    OptionRow::new(
        "shutdown.timeout",
        Kind::Duration { min_ms: 1 },
        "30s",
        "The process ends after this time, whatever is still open.",
    ),
    duration(
        "shutdown.drain",
        "10s",
        "Clients are sent away evenly over this time, so that they do not all return at once.",
    )
    .ours(),
    flag("debug.websocket_echo", "Serve an echo at `/debug/echo`, on loopback addresses only.")
        .restart()
        .ours(),
    OptionRow::ignored("usage_stats", "nothing is ever reported to anybody"),
];

const IN_PROCESS: &str = "channels live in this process; remove it or set its type to \"memory\"";
const ADMIN: &str = "there is no web interface; give `admin.key` and ask by `ringway top`";
const UNIDIRECTIONAL: &str = "there are no unidirectional transports; use WebSocket";

const ABSENT: &[OptionRow] = &[
    OptionRow::fixed("engine.type", &["memory"], IN_PROCESS),
    OptionRow::unsupported("engine", IN_PROCESS),
    OptionRow::fixed("broker.type", &["memory"], IN_PROCESS),
    OptionRow::unsupported("broker", IN_PROCESS),
    OptionRow::fixed("presence_manager.type", &["memory"], IN_PROCESS),
    OptionRow::unsupported("presence_manager", IN_PROCESS),
    OptionRow::fixed("map_broker.type", &["memory"], IN_PROCESS),
    OptionRow::unsupported("map_broker", IN_PROCESS),
    OptionRow::unsupported("controller", IN_PROCESS),
    OptionRow::unsupported("admin", ADMIN),
    OptionRow::unsupported("rpc", "there are no proxies for client calls"),
    OptionRow::unsupported("proxies", PROXY),
    OptionRow::unsupported("consumers", "publish by the HTTP API"),
    OptionRow::unsupported("shared_poll", "there is no shared polling; publish by the HTTP API"),
    OptionRow::unsupported("grpc_api", "backends use the HTTP API"),
    OptionRow::unsupported("uni_websocket", UNIDIRECTIONAL),
    OptionRow::unsupported("uni_sse", UNIDIRECTIONAL),
    OptionRow::unsupported("uni_http_stream", UNIDIRECTIONAL),
    OptionRow::unsupported("uni_grpc", UNIDIRECTIONAL),
    OptionRow::unsupported("init", "there is no initialisation endpoint"),
    OptionRow::unsupported("swagger", "the API is described at `/api/openapi.json`"),
    OptionRow::unsupported("debug.enabled", "there are no Go profiles; use `perf`"),
    OptionRow::unsupported("debug.handler_prefix", "there are no Go profiles; use `perf`"),
    OptionRow::unsupported("opentelemetry", "traces are not exported; see `metrics.address`"),
    OptionRow::unsupported("graphite", "metrics are served for Prometheus at `metrics.address`"),
    OptionRow::unsupported("pid_file", "let the service manager keep the process id"),
    OptionRow::unsupported("enable_unreleased_features", "there are none"),
];
