//! From values to [`Settings`]. A wrong value was reported before; its default stands in for it
//! here.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use gateway::arrivals::ArrivalLimits;
use gateway::config::{GatewayConfig, Origins, PersonalChannel};
use gateway::engine::Rate;
use persistence::JournalIo;
use protocol::channels::{ChannelOptions, Durability, Namespaces, SlowConsumer};
use protocol::limits::PREFIXES_MAX;
use protocol::proxies::Prefixes;

use crate::memory::MemorySettings;
use crate::settings::options::{address as address_of, socket_address};
use crate::settings::problem::Place;
use crate::settings::reading::Reading;
use crate::settings::values::{Table, Values};
use crate::settings::{
    ApiSettings, IoChoice, LogLevel, PersistenceSettings, Settings, difference, keys, relations,
    tls,
};

/// Builds settings, and reports what does not fit together.
pub(crate) fn build(reading: &mut Reading, folder: &Path, development: bool) -> Settings {
    let connection_tokens = keys::build(reading, "client.token", folder);
    let own_tokens = keys::build(reading, "client.subscription_token", folder);
    let api_key = keys::secret(reading, "http_api.key", folder);
    let admin_key = keys::secret(reading, "admin.key", folder);
    let lists = Lists {
        origins: origins(reading),
        proxy_protocol: prefixes(reading, "http_server.proxy_protocol"),
        forwarded_for: prefixes(reading, "http_server.forwarded_for"),
    };
    let tls = tls::build(reading, folder);
    let values = &reading.values;
    let global = &values.global;
    let has_own_tokens = global.flag("client.subscription_token.enabled");
    let subscription_tokens =
        if has_own_tokens { own_tokens.clone() } else { connection_tokens.clone() };
    let shards: usize = global.integer("shards");
    let settings = Settings {
        development,
        listen: listen(global),
        tls,
        metrics: global.text_if_any("metrics.address").and_then(|a| socket_address(&a)),
        log_level: log_level(&global.text("log.level")),
        gateway: gateway_config(values, lists),
        connection_tokens,
        subscription_tokens,
        api: ApiSettings {
            enabled: !global.flag("http_api.disabled"),
            keys: api_key.into_iter().collect(),
            insecure: global.flag("http_api.insecure"),
        },
        is_admin_key_made_up: is_made_up(global, "admin.key"),
        admin_key,
        health: global.flag("health.enabled"),
        shards: Some(shards).filter(|shards| *shards > 0),
        io: io_choice(&global.text("io")),
        partitions: global.integer("partitions"),
        persistence: persistence(global, folder),
        memory: memory(global),
        drain: global.duration("shutdown.drain"),
        shutdown_timeout: global.duration("shutdown.timeout"),
        effective: BTreeMap::new(),
    };
    let effective = difference::effective(values, &settings, &own_tokens);
    relations::check(reading, &settings, &own_tokens);
    Settings { effective, ..settings }
}

/// Did development mode make the secret up, and nobody give another one?
fn is_made_up(global: &Table, path: &str) -> bool {
    global.is_given(path)
        && global.place(path) == Place::Default
        && global.text_if_any(&format!("{path}_file")).is_none()
}

fn persistence(global: &Table, folder: &Path) -> Option<PersistenceSettings> {
    let directory = global.text_if_any("persistence.data_dir")?;
    let journal_io = match global.text("persistence.journal_io").as_str() {
        "io_uring" => JournalIo::Uring,
        "auto" => JournalIo::Auto,
        _ => JournalIo::Standard,
    };
    Some(PersistenceSettings {
        directory: folder.join(directory),
        journal_io,
        segment_bytes: global.integer("persistence.segment_size"),
        backlog_bytes_max: global.integer("persistence.backlog_max_size"),
    })
}

fn memory(global: &Table) -> MemorySettings {
    let limit_bytes: u64 = global.integer("memory.limit");
    MemorySettings {
        limit_bytes: Some(limit_bytes).filter(|bytes| *bytes > 0),
        refuse_percent: global.integer("memory.refuse_level"),
        shed_percent: global.integer("memory.shed_level"),
    }
}

fn listen(global: &Table) -> SocketAddr {
    let address = address_of(&global.text("http_server.address"));
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    SocketAddr::new(address, global.integer("http_server.port"))
}

fn log_level(name: &str) -> LogLevel {
    match name {
        "none" => LogLevel::Off,
        "fatal" | "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => LogLevel::Info,
    }
}

fn io_choice(name: &str) -> IoChoice {
    match name {
        "ring" => IoChoice::Ring,
        "portable" => IoChoice::Portable,
        _ => IoChoice::Auto,
    }
}

/// What is made of texts that may be wrong.
struct Lists {
    origins: Origins,
    proxy_protocol: Prefixes,
    forwarded_for: Prefixes,
}

fn gateway_config(values: &Values, lists: Lists) -> GatewayConfig {
    let global = &values.global;
    let personal = "client.subscribe_to_user_personal_channel";
    let has_personal_channel = global.flag(&format!("{personal}.enabled"));
    GatewayConfig {
        namespaces: Arc::new(namespaces(values)),
        message_bytes_max: global.integer("websocket.message_size_limit"),
        outbox_bytes_max: global.integer("client.queue_max_size"),
        memory_bytes_max: global.integer("client.memory_limit"),
        ping_interval: global.duration("client.ping_interval"),
        pong_timeout: global.duration("client.pong_timeout"),
        connect_timeout: global.duration("client.stale_close_delay"),
        expired_close_delay: global.duration("client.expired_close_delay"),
        expired_subscription_close_delay: global.duration("client.expired_sub_close_delay"),
        channels_max: global.integer("client.channel_limit"),
        user_connections_max: global.integer("client.user_connection_limit"),
        connections_max: global.integer("client.connection_limit"),
        command_rate: rate(global, "client.command_rate", "client.command_burst"),
        user_rate: rate(global, "client.user_rate", "client.user_burst"),
        insecure: global.flag("client.insecure"),
        anonymous: global.flag("client.allow_anonymous_connect_without_token"),
        personal_channel: has_personal_channel.then(|| PersonalChannel {
            namespace: global.text(&format!("{personal}.personal_channel_namespace")),
        }),
        arrivals: arrival_limits(global),
        origins: lists.origins,
        proxy_protocol: lists.proxy_protocol,
        forwarded_for: lists.forwarded_for,
        history_publications_max: global.integer("client.history_max_publication_limit"),
        recovery_publications_max: global.integer("client.recovery_max_publication_limit"),
        websocket: !global.flag("websocket.disabled"),
        anonymous_tokens: !global.flag("client.disallow_anonymous_connection_tokens"),
        websocket_echo: global.flag("debug.websocket_echo"),
        hsts_max_age: tls::hsts_max_age(global),
        node_name: global.text("node.name").into(),
    }
}

fn arrival_limits(global: &Table) -> ArrivalLimits {
    let per_second = |path: &str| {
        let count: u32 = global.integer(path);
        (count > 0).then(|| Rate::new(count, count))
    };
    ArrivalLimits {
        rate: per_second("client.connection_rate_limit"),
        address_connections_max: global.integer("client.address_connection_limit"),
        address_rate: per_second("client.address_connection_rate"),
        ipv4_prefix_bits: global.integer("client.address_ipv4_prefix_length"),
        ipv6_prefix_bits: global.integer("client.address_ipv6_prefix_length"),
    }
}

fn rate(global: &Table, rate: &str, burst: &str) -> Option<Rate> {
    let per_second: u32 = global.integer(rate);
    let burst: u32 = global.integer(burst);
    let burst = if burst == 0 { per_second } else { burst };
    (per_second > 0).then(|| Rate::new(per_second, burst))
}

fn namespaces(values: &Values) -> Namespaces {
    let meta_ttl = values.global.duration("channel.history_meta_ttl");
    let named = values
        .namespaces
        .iter()
        .map(|namespace| (namespace.name.clone(), channel_options(&namespace.options, meta_ttl)));
    Namespaces { without: channel_options(&values.without, meta_ttl), named: named.collect() }
}

fn channel_options(table: &Table, meta_ttl: Duration) -> ChannelOptions {
    let own_meta_ttl = table.duration("history_meta_ttl");
    ChannelOptions {
        presence: table.flag("presence"),
        join_leave: table.flag("join_leave"),
        force_push_join_leave: table.flag("force_push_join_leave"),
        history_size: table.integer("history_size"),
        history_ttl: table.duration("history_ttl"),
        history_meta_ttl: if own_meta_ttl.is_zero() { meta_ttl } else { own_meta_ttl },
        force_positioning: table.flag("force_positioning"),
        allow_positioning: table.flag("allow_positioning"),
        force_recovery: table.flag("force_recovery"),
        allow_recovery: table.flag("allow_recovery"),
        allow_subscribe_for_client: table.flag("allow_subscribe_for_client"),
        allow_subscribe_for_anonymous: table.flag("allow_subscribe_for_anonymous"),
        allow_publish_for_subscriber: table.flag("allow_publish_for_subscriber"),
        allow_publish_for_client: table.flag("allow_publish_for_client"),
        allow_publish_for_anonymous: table.flag("allow_publish_for_anonymous"),
        allow_presence_for_subscriber: table.flag("allow_presence_for_subscriber"),
        allow_presence_for_client: table.flag("allow_presence_for_client"),
        allow_presence_for_anonymous: table.flag("allow_presence_for_anonymous"),
        allow_history_for_subscriber: table.flag("allow_history_for_subscriber"),
        allow_history_for_client: table.flag("allow_history_for_client"),
        allow_history_for_anonymous: table.flag("allow_history_for_anonymous"),
        allow_user_limited_channels: table.flag("allow_user_limited_channels"),
        durability: match table.text("durability").as_str() {
            "none" => Durability::None,
            "log" => Durability::Log,
            "store" => Durability::Store,
            _ => Durability::Memory,
        },
        slow_consumer: match table.text("slow_consumer").as_str() {
            "conflate" => SlowConsumer::Conflate,
            "drop" => SlowConsumer::Drop,
            _ => SlowConsumer::Disconnect,
        },
        // Only the data directory knows.
        generation: 0,
    }
}

fn origins(reading: &mut Reading) -> Origins {
    let path = "client.allowed_origins";
    let listed = reading.values.global.texts(path);
    if listed.is_empty() {
        return Origins::SameHost;
    }
    if listed.iter().any(|origin| origin == "*") {
        return Origins::Any;
    }
    let place = reading.values.global.place(path);
    let mut origins = BTreeSet::new();
    for origin in listed {
        if let Some(sentence) = origin_fault(&origin) {
            reading.problem(&place, path, format!("{origin:?} {sentence}"));
        }
        origins.insert(origin.to_ascii_lowercase());
    }
    Origins::Listed(origins)
}

fn prefixes(reading: &mut Reading, path: &str) -> Prefixes {
    let listed = reading.values.global.texts(path);
    let place = reading.values.global.place(path);
    if listed.len() > PREFIXES_MAX {
        let sentence = format!("has {} prefixes; at most {PREFIXES_MAX} are read", listed.len());
        reading.problem(&place, path, sentence);
        return Prefixes::default();
    }
    let mut prefixes = Vec::new();
    for text in listed {
        match Prefixes::parse(&text) {
            Ok(prefix) => prefixes.push(prefix),
            Err(fault) => reading.problem(&place, path, format!("{text:?} {fault}")),
        }
    }
    Prefixes::new(prefixes)
}

fn origin_fault(origin: &str) -> Option<&'static str> {
    if origin.contains('*') {
        return Some("is a pattern, and those are not served; list each origin, or \"*\" for all");
    }
    match origin.split_once("://") {
        Some((_, authority)) if !authority.is_empty() && !authority.contains(['/', '?', '#']) => {
            None
        }
        _ => Some("is no origin; write it as a browser does, such as \"https://app.example\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::document::{Format, Value};
    use crate::settings::reading::Speaker;

    #[test]
    fn the_table_and_the_gateway_agree_on_defaults() {
        let mut reading = Reading::new(false);
        let settings = build(&mut reading, Path::new(""), false);
        assert_eq!(reading.problems, []);
        let expected = format!("{:?}", GatewayConfig::default());
        assert_eq!(format!("{:?}", settings.gateway), expected);
        assert_eq!(settings.listen, ([0, 0, 0, 0], 8000).into());
        assert_eq!(settings.metrics, Some(([127, 0, 0, 1], 9000).into()));
        assert_eq!(settings.partitions, 64);
    }

    #[test]
    fn what_is_no_prefix_is_reported() {
        let mut reading = Reading::new(false);
        let text = "http_server: {proxy_protocol: ['10.0.0.0/8', 'proxy.example', '10.1.0.0/8'], \
                    forwarded_for: ['::1']}";
        let node = Format::Yaml.read(text).unwrap();
        let Value::Table(entries) = &node.value else { unreachable!("a document is a table") };
        reading.read_table(&Speaker::File("f".into()), "", entries);
        let gateway = build(&mut reading, Path::new(""), false).gateway;
        let problems: Vec<_> = reading.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("http_server.proxy_protocol: \"proxy.example\" is neither"));
        assert!(problems[1].ends_with("write \"10.0.0.0/8\""), "{problems:?}");
        assert!(gateway.proxy_protocol.contains([10, 9, 9, 9].into()));
        assert!(gateway.forwarded_for.contains("::1".parse().unwrap()));
    }

    #[test]
    fn origins_are_whole() {
        assert_eq!(origin_fault("https://app.example:444"), None);
        for wrong in ["app.example", "https://", "https://a/b", "https://*.example", "null"] {
            assert!(origin_fault(wrong).is_some(), "{wrong}");
        }
    }
}
