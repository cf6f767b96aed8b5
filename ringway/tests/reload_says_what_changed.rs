//! A reload lists the changed options, with old and new value, and which of them wait for a
//! restart.

mod common;

use ringway::settings::Settings;

#[test]
fn changes_are_listed_by_path() {
    let old = "client: {insecure: true, ping_interval: 25s}\nhttp_server: {port: 8000}\n\
               channel: {namespaces: [{name: gone}, \
               {name: chat, history_size: 5, history_ttl: 9s}]}";
    let new = "client: {insecure: true, ping_interval: 20s}\nhttp_server: {port: 8001}\n\
               channel: {namespaces: [\
               {name: chat, history_size: 6, history_ttl: 9s}, {name: fresh}]}";
    let load = |text| common::load_text("a.yaml", text).unwrap().settings;
    let (old, new) = (load(old), load(new));
    let difference = Settings::difference(&old, &new);
    assert_eq!(
        difference.lines(),
        [
            "channel.namespaces.chat.history_size: 5 -> 6",
            "channel.namespaces.fresh: added",
            "channel.namespaces.gone: removed",
            "client.ping_interval: 25s -> 20s",
            "http_server.port: 8000 -> 8001 (after a restart)",
        ]
    );
    let waiting: Vec<_> = difference.waiting_for_restart().map(|change| &change.path).collect();
    assert_eq!(waiting, ["http_server.port"]);
    assert!(Settings::difference(&old, &old).is_empty());
}
