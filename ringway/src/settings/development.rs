//! Without a file: a server to play with, on this machine only, with secrets nobody else knows.

use crate::secret::Secret;
use crate::settings::options::{self, Typed};
use crate::settings::problem::Place;
use crate::settings::values::{Given, Values};

const FLAGS: &[&str] = &["health.enabled"];
const SECRETS: &[&str] = &["client.token.hmac_secret_key", "http_api.key", "admin.key"];
const CHANNEL: &[(&str, &str)] = &[
    ("presence", "true"),
    ("join_leave", "true"),
    ("history_size", "100"),
    ("history_ttl", "300s"),
    ("allow_recovery", "true"),
    ("allow_positioning", "true"),
    ("allow_subscribe_for_client", "true"),
    ("allow_publish_for_client", "true"),
    ("allow_presence_for_client", "true"),
    ("allow_history_for_client", "true"),
];

/// Gives the options of development mode; whatever is read later replaces them.
pub(crate) fn give(values: &mut Values) {
    let given = |typed| Given { typed, place: Place::Default };
    let row = |path| options::find(path).expect("the table has every option of development mode");
    let loopback = Typed::Text("127.0.0.1".to_owned());
    values.global.give(row("http_server.address"), given(loopback));
    for path in FLAGS {
        values.global.give(row(path), given(Typed::Flag(true)));
    }
    for path in SECRETS {
        values.global.give(row(path), given(Typed::Secret(Secret::generated())));
    }
    for (name, words) in CHANNEL {
        let row = options::find_channel(name).expect("the table has every option of channels");
        let typed = row.kind.parse(words).expect("development mode says what fits");
        values.without.give(row, given(typed));
    }
}

/// With a data directory, every channel is kept there.
pub(crate) fn make_durable(values: &mut Values) {
    if values.global.text_if_any("persistence.data_dir").is_some() {
        let row = options::find_channel("durability").expect("the table has every option");
        let typed = row.kind.parse("log").expect("a level of durability");
        values.without.give(row, Given { typed, place: Place::Default });
    }
}
