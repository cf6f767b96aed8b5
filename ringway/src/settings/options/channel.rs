//! Options of `channel.without_namespace` and of each of `channel.namespaces`.

use super::{Kind, OptionRow, Service};
use crate::limits;

const fn flag(path: &'static str, doc: &'static str) -> OptionRow {
    OptionRow::new(path, Kind::Flag, "false", doc)
}

const PROXY: &str = "there are no proxies to a backend; use tokens and the HTTP API";

pub(super) const TABLE: &[OptionRow] = &[
    flag("presence", "Keep who is in the channel."),
    flag("join_leave", "Tell subscribers who comes and goes, if they ask."),
    flag("force_push_join_leave", "Tell all subscribers who comes and goes."),
    OptionRow::new(
        "history_size",
        Kind::integer(0, limits::HISTORY_SIZE_MAX, "publications"),
        "0",
        "Publications in the recent window; zero: no history, no offsets.",
    ),
    OptionRow::new(
        "history_ttl",
        Kind::DURATION,
        "0s",
        "Age after which a publication leaves the window; zero: no history.",
    ),
    OptionRow::new(
        "history_meta_ttl",
        Kind::DURATION,
        "0s",
        "How long a position outlives the last publication; zero: `channel.history_meta_ttl`.",
    ),
    flag("force_positioning", "Check positions even if the client does not ask."),
    flag("allow_positioning", "Check positions if the client asks."),
    flag("force_recovery", "Recover even if the client does not ask."),
    flag("allow_recovery", "Recover if the client asks."),
    flag("allow_subscribe_for_client", "Any authenticated client may subscribe."),
    flag(
        "allow_subscribe_for_anonymous",
        "With `allow_subscribe_for_client`: clients without a user id too.",
    ),
    flag("allow_publish_for_subscriber", "Subscribers may publish."),
    flag("allow_publish_for_client", "Any authenticated client may publish."),
    flag(
        "allow_publish_for_anonymous",
        "With one of the two above: clients without a user id too.",
    ),
    flag("allow_presence_for_subscriber", "Subscribers may ask who is there."),
    flag("allow_presence_for_client", "Any authenticated client may ask who is there."),
    flag(
        "allow_presence_for_anonymous",
        "With one of the two above: clients without a user id too.",
    ),
    flag("allow_history_for_subscriber", "Subscribers may read history."),
    flag("allow_history_for_client", "Any authenticated client may read history."),
    flag(
        "allow_history_for_anonymous",
        "With one of the two above: clients without a user id too.",
    ),
    flag("allow_user_limited_channels", "Names with `#` give access to the users they list."),
    OptionRow::new(
        "durability",
        Kind::Choice(&["none", "memory", "log", "store"]),
        "memory",
        "When a publication counts as accepted. `log` and `store` need the persistence tier.",
    )
    .ours(),
    OptionRow::new(
        "slow_consumer",
        Kind::Choice(&["disconnect", "conflate", "drop"]),
        "disconnect",
        "What happens to a subscriber that reads too slowly.",
    )
    .ours(),
    DELTA_TYPES,
    OptionRow::new("delta_publish", Kind::Flag, "false", "").serving(Service::Ignored(DELTA)),
    OptionRow::fixed("force_recovery_mode", &["", "stream"], "only stream recovery is served"),
    OptionRow::fixed("subscription_type", &["", "stream"], "only stream subscriptions are served"),
    OptionRow::fixed(
        "publication_data_format",
        &["", "json"],
        "payloads are not checked here; let the publisher check them",
    ),
    OptionRow::unsupported("auto_cache_recover", "there is no cache recovery; use history"),
    OptionRow::unsupported(
        "client_publish_debounce_interval",
        "publications of clients are not debounced; `client.user_rate` bounds them",
    ),
    OptionRow::unsupported("allow_tags_filter", "publications are not filtered by tags"),
    OptionRow::unsupported(
        "channel_regex",
        "channel names are not checked by pattern; use subscription tokens",
    ),
    OptionRow::unsupported("map_clients_presence_channel_prefix", MAP),
    OptionRow::unsupported("map_users_presence_channel_prefix", MAP),
    OptionRow::unsupported("map", MAP),
    OptionRow::unsupported("shared_poll", "there is no shared polling; publish by the HTTP API"),
    OptionRow::unsupported("subscribe_proxy_enabled", PROXY),
    OptionRow::unsupported("publish_proxy_enabled", PROXY),
    OptionRow::unsupported("sub_refresh_proxy_enabled", PROXY),
    OptionRow::unsupported("subscribe_stream_proxy_enabled", PROXY),
    OptionRow::unsupported("subscribe_stream_proxy_bidirectional", PROXY),
    OptionRow::fixed("subscribe_proxy_name", &["default", ""], PROXY),
    OptionRow::fixed("publish_proxy_name", &["default", ""], PROXY),
    OptionRow::fixed("sub_refresh_proxy_name", &["default", ""], PROXY),
    OptionRow::fixed("subscribe_stream_proxy_name", &["default", ""], PROXY),
];

const DELTA: &str = "subscribers receive whole publications, which every SDK accepts";
const DELTA_TYPES: OptionRow =
    OptionRow::new("allowed_delta_types", Kind::Texts, "", "").serving(Service::Ignored(DELTA));
const MAP: &str = "there are no map subscriptions";
