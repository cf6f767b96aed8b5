//! Options that are right each by itself and wrong together.

use gateway::auth::limits::HMAC_SECRET_BYTES_STRONG;

use crate::limits;
use crate::secret::Secret;
use crate::settings::options;
use crate::settings::problem::{Place, Problem};
use crate::settings::reading::{Reading, namespace_path};
use crate::settings::values::Table;
use crate::settings::{Settings, TokenKeys};

/// Reports everything that does not fit together.
pub(crate) fn check(reading: &mut Reading, settings: &Settings, own_tokens: &TokenKeys) {
    check_times(reading, settings);
    check_memory(reading, settings);
    check_addresses(reading, settings);
    check_credentials(reading, settings, own_tokens);
    check_rates(reading);
    check_budget(reading, settings);
    check_namespace_names(reading);
    check_personal_channel(reading, settings);
    let without = reading.values.without.clone();
    check_channel(reading, options::CHANNELS_WITHOUT_NAMESPACE, &without);
    for namespace in reading.values.namespaces.clone() {
        check_channel(reading, &namespace_path(&namespace.name), &namespace.options);
    }
}

fn check_times(reading: &mut Reading, settings: &Settings) {
    let gateway = &settings.gateway;
    if !gateway.ping_interval.is_zero() && gateway.pong_timeout >= gateway.ping_interval {
        let sentence = format!(
            "must be below client.ping_interval, but {:?} is not below {:?}",
            gateway.pong_timeout, gateway.ping_interval
        );
        blame(reading, &["client.pong_timeout", "client.ping_interval"], &sentence);
    }
    if settings.drain > settings.shutdown_timeout {
        let sentence = format!(
            "must not be above shutdown.timeout, but {:?} is above {:?}",
            settings.drain, settings.shutdown_timeout
        );
        blame(reading, &["shutdown.drain", "shutdown.timeout"], &sentence);
    }
}

fn check_memory(reading: &mut Reading, settings: &Settings) {
    let memory = settings.memory;
    let (refuse, shed) = ("memory.refuse_level", "memory.shed_level");
    let is_both = memory.refuse_percent > 0 && memory.shed_percent > 0;
    if is_both && memory.shed_percent <= memory.refuse_percent {
        let sentence = format!(
            "must be above memory.refuse_level, but {} is not above {}; clients are refused before \
             others are closed",
            memory.shed_percent, memory.refuse_percent
        );
        blame(reading, &[shed, refuse], &sentence);
    }
    for (path, percent) in [(refuse, memory.refuse_percent), (shed, memory.shed_percent)] {
        if percent > 0 && i64::from(percent) < limits::MEMORY_LEVEL_PERCENT_MIN {
            let least = limits::MEMORY_LEVEL_PERCENT_MIN;
            let sentence =
                format!("{percent} percent is too early; give {least} at least, or zero");
            blame(reading, &[path], &sentence);
        }
    }
    let limit = memory.limit_bytes.unwrap_or(u64::MAX);
    let least = limits::MEMORY_LIMIT_BYTES_MIN as u64;
    if limit < least {
        let sentence = format!("is in bytes, and {limit} are too few; give {least} at least");
        blame(reading, &["memory.limit"], &sentence);
    }
    let backlog = settings.persistence.as_ref().map_or(0, |one| one.backlog_bytes_max);
    if backlog > limit / 2 {
        let sentence = "is more than half of memory.limit, and may be in memory while the store is \
                        behind; clients would be refused for it";
        remark(reading, "persistence.backlog_max_size", sentence);
    }
}

fn check_addresses(reading: &mut Reading, settings: &Settings) {
    let is_loopback = settings.listen.ip().is_loopback();
    if settings.gateway.websocket_echo && !is_loopback {
        let sentence =
            "an echo is for trials: set http_server.address to 127.0.0.1, or switch it off";
        blame(reading, &["debug.websocket_echo"], sentence);
    }
    if settings.development && !is_loopback {
        let sentence = "without a configuration file only loopback addresses are listened on; \
                        write one and name it with --config";
        blame(reading, &["http_server.address"], sentence);
    }
    let (listen, port) = (settings.listen.ip(), settings.listen.port());
    let collides = settings.metrics.is_some_and(|metrics| {
        metrics.port() == port
            && port != 0
            && (metrics.ip() == listen || metrics.ip().is_unspecified() || listen.is_unspecified())
    });
    if collides {
        let sentence = "metrics and clients cannot share a port; choose another one for metrics";
        blame(reading, &["metrics.address", "http_server.port"], sentence);
    }
}

fn check_credentials(reading: &mut Reading, settings: &Settings, own_tokens: &TokenKeys) {
    let enabled = "client.subscription_token.enabled";
    let is_enabled = reading.values.global.flag(enabled);
    if is_enabled && !own_tokens.has_any() {
        let sentence = "subscription tokens get keys of their own, but client.subscription_token \
                        has none; give one, or leave this off to use those of client.token";
        blame(reading, &[enabled], sentence);
    }
    if !is_enabled && own_tokens.has_any() {
        let sentence = "is off, so the keys of client.subscription_token are not used";
        remark(reading, enabled, sentence);
    }
    remark_weak_secrets(reading, "client.token", &settings.connection_tokens);
    if is_enabled {
        remark_weak_secrets(reading, "client.subscription_token", own_tokens);
    }
    let gateway = &settings.gateway;
    let can_connect = settings.connection_tokens.has_any() || gateway.insecure || gateway.anonymous;
    if !can_connect {
        let sentence = "no client can connect: there is no key for tokens";
        remark(reading, "client.token.hmac_secret_key", sentence);
    }
    if settings.api.enabled && settings.api.keys.is_empty() && !settings.api.insecure {
        remark(reading, "http_api.key", "no caller can use the HTTP API: there is no key");
    }
    if gateway.insecure {
        remark(reading, "client.insecure", "every client may do everything");
    }
    if settings.api.keys.iter().any(|key| key.expose().len() < API_KEY_BYTES_STRONG) {
        let sentence = format!("is shorter than {API_KEY_BYTES_STRONG} bytes and can be guessed");
        remark(reading, "http_api.key", &sentence);
    }
    check_admin_key(reading, settings);
    if settings.api.insecure && settings.api.enabled {
        remark(reading, "http_api.insecure", "everybody may publish and disconnect clients");
    }
}

fn check_admin_key(reading: &mut Reading, settings: &Settings) {
    let Some(key) = &settings.admin_key else { return };
    let is_inline = reading.values.global.is_given("admin.key");
    let path = if is_inline { "admin.key" } else { "admin.key_file" };
    if key.expose().starts_with(PLACEHOLDER) {
        let sentence = "is the example of the manual, which everybody knows; give what `openssl \
                        rand -hex 32` prints";
        blame(reading, &[path], sentence);
    } else if key.expose().len() < API_KEY_BYTES_STRONG {
        let sentence = format!(
            "is shorter than {API_KEY_BYTES_STRONG} bytes and can be guessed; give what `openssl \
             rand -hex 32` prints"
        );
        blame(reading, &[path], &sentence);
    }
    if settings.metrics.is_some_and(|metrics| !metrics.ip().is_loopback()) {
        let sentence = "crosses the network in plain text, as answers do, because metrics.address \
                        is not loopback; set that to 127.0.0.1:9000 and come by an ssh tunnel";
        remark(reading, path, sentence);
    }
    if settings.api.keys.contains(key) {
        let sentence = "is http_api.key as well, so that every backend may close every connection; \
                        give operators a key of their own";
        remark(reading, path, sentence);
    }
    if settings.metrics.is_none() {
        remark(reading, path, "has no effect without metrics.address, where the admin API is");
    }
}

/// How the secrets of examples begin.
const PLACEHOLDER: &str = "replace me";
/// Keys of the API that are shorter can be guessed; this is 128 bits of base64.
const API_KEY_BYTES_STRONG: usize = 22;

fn remark_weak_secrets(reading: &mut Reading, parent: &str, keys: &TokenKeys) {
    let secrets =
        [("hmac_secret_key", &keys.hmac), ("hmac_previous_secret_key", &keys.hmac_previous)];
    for (name, secret) in secrets {
        let Some(secret) = secret.as_ref().map(Secret::expose) else { continue };
        let sentence = if secret.starts_with(PLACEHOLDER) {
            "is the example of the README, which everybody knows".to_owned()
        } else if secret.len() < HMAC_SECRET_BYTES_STRONG {
            format!("is shorter than {HMAC_SECRET_BYTES_STRONG} bytes and can be guessed")
        } else {
            continue;
        };
        // Given by the file of the same name, that is where it is said.
        let path = format!("{parent}.{name}");
        let file = format!("{path}_file");
        let is_inline = reading.values.global.is_given(&path);
        remark(reading, if is_inline { &path } else { &file }, &sentence);
    }
}

fn check_budget(reading: &mut Reading, settings: &Settings) {
    let gateway = &settings.gateway;
    // While a message grows it may take twice its bytes.
    let needed = u64::from(gateway.outbox_bytes_max) + 2 * u64::from(gateway.message_bytes_max);
    if u64::from(gateway.memory_bytes_max) < needed {
        let sentence = format!(
            "closes clients before client.queue_max_size and websocket.message_size_limit do; \
             {needed} is enough for both"
        );
        remark(reading, "client.memory_limit", &sentence);
    }
}

fn check_rates(reading: &mut Reading) {
    for name in ["command", "user"] {
        let (rate, burst) = (format!("client.{name}_rate"), format!("client.{name}_burst"));
        let rate_value: u32 = reading.values.global.integer(&rate);
        let burst_value: u32 = reading.values.global.integer(&burst);
        if burst_value > 0 && rate_value == 0 {
            let sentence = format!("has no effect without {rate}; give both or neither");
            blame(reading, &[&burst], &sentence);
        }
    }
}

fn check_namespace_names(reading: &mut Reading) {
    let names: Vec<(String, Place)> = reading
        .values
        .namespaces
        .iter()
        .map(|namespace| (namespace.name.clone(), namespace.place.clone()))
        .collect();
    for (index, (name, place)) in names.iter().enumerate() {
        let path = namespace_path(name);
        let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(2..=limits::NAMESPACE_BYTES_MAX).contains(&name.len()) || !name.bytes().all(of_name) {
            let sentence = format!(
                "a namespace name has 2 to {} letters, digits, `-`, `_` or `.`",
                limits::NAMESPACE_BYTES_MAX
            );
            reading.problem(place, &path, sentence);
        }
        if let Some((_, first)) = names[..index].iter().find(|(earlier, _)| earlier == name) {
            let sentence = format!("the name is taken by the namespace at {first}");
            reading.problem(place, &path, sentence);
        }
    }
}

fn check_personal_channel(reading: &mut Reading, settings: &Settings) {
    let Some(personal) = &settings.gateway.personal_channel else { return };
    let known = personal.namespace.is_empty()
        || settings.gateway.namespaces.named.contains_key(&personal.namespace);
    if !known {
        let sentence =
            format!("there is no namespace {:?} in channel.namespaces", personal.namespace);
        let path = "client.subscribe_to_user_personal_channel.personal_channel_namespace";
        blame(reading, &[path], &sentence);
    }
}

fn check_channel(reading: &mut Reading, parent: &str, table: &Table) {
    let meta_ttl_of_all = reading.values.global.duration("channel.history_meta_ttl");
    let has_data_dir = reading.values.global.text_if_any("persistence.data_dir").is_some();
    let mut report = |name: &str, sentence: &str| {
        let path = format!("{parent}.{name}");
        reading.problems.push(Problem::new(&table.place(name), &path, sentence));
    };
    let has_size = table.integer::<u32>("history_size") > 0;
    let ttl = table.duration("history_ttl");
    match (has_size, !ttl.is_zero()) {
        (true, false) => report("history_size", "needs history_ttl as well, such as \"300s\""),
        (false, true) => report("history_ttl", "needs history_size as well, such as 100"),
        _ => {}
    }
    let durability = table.text("durability");
    let keeps_history = has_size && !ttl.is_zero();
    for name in ["force_recovery", "allow_recovery"] {
        if table.flag(name) && !keeps_history {
            report(name, "needs history: give history_size and history_ttl");
        }
    }
    let meta_ttl = table.duration("history_meta_ttl");
    if !meta_ttl.is_zero() && meta_ttl < ttl {
        report("history_meta_ttl", "must not be below history_ttl");
    } else if meta_ttl.is_zero() && meta_ttl_of_all < ttl {
        report("history_ttl", "must not be above channel.history_meta_ttl; give history_meta_ttl");
    }
    match durability.as_str() {
        "log" | "store" if !keeps_history => {
            let sentence = "needs history: give history_size and history_ttl, which then say how \
                            many publications are kept, and for how long";
            report("durability", sentence);
        }
        "log" | "store" if !has_data_dir => {
            let sentence = "needs a place on disk: give persistence.data_dir";
            report("durability", sentence);
        }
        "none" if keeps_history => {
            report("durability", "\"none\" keeps no history; remove history_size and history_ttl");
        }
        _ => {}
    }
    for name in ["force_positioning", "allow_positioning"] {
        if table.flag(name) && !keeps_history {
            let path = format!("{parent}.{name}");
            let sentence = "has no effect without history_size and history_ttl";
            reading.warnings.push(Problem::new(&table.place(name), &path, sentence));
        }
    }
}

/// Reports a relation at the first of its options that somebody gave.
fn blame(reading: &mut Reading, paths: &[&str], sentence: &str) {
    let global = &reading.values.global;
    let path = paths.iter().find(|path| global.is_given(path)).unwrap_or(&paths[0]);
    let place = global.place(path);
    // The sentence speaks of the first option, wherever the fault was made.
    reading.problem(&place, paths[0], sentence);
}

fn remark(reading: &mut Reading, path: &str, sentence: &str) {
    let place = reading.values.global.place(path);
    reading.warnings.push(Problem::new(&place, path, sentence));
}
