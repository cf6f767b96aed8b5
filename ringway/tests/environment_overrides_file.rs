//! File, then environment, then flags: the last word counts.

mod common;

use core::time::Duration;

use ringway::settings::{Settings, Sources};

#[test]
fn the_last_word_counts() {
    let folder = common::Folder::new();
    let text = "http_server: {port: 1111, address: 127.0.0.1}\nclient: {ping_interval: 30s}\n\
                channel: {namespaces: [{name: chat, presence: true}]}\n";
    let file = folder.file("a.yaml", text);
    let variables = [
        ("RINGWAY_HTTP_SERVER_PORT", "2222"),
        ("RINGWAY_CLIENT_PING_INTERVAL", "40s"),
        ("RINGWAY_CLIENT_TOKEN_HMAC_SECRET_KEY", "from-outside"),
        ("RINGWAY_CHANNEL_NAMESPACES_CHAT_JOIN_LEAVE", "true"),
    ];
    let sources = Sources {
        file: Some(file),
        flags: common::flags(None, Some("3333")),
        ..common::environment(&variables)
    };
    let settings = Settings::load(&sources).unwrap().settings;
    assert_eq!(settings.listen, ([127, 0, 0, 1], 3333).into());
    assert_eq!(settings.gateway.ping_interval, Duration::from_secs(40));
    assert_eq!(settings.connection_tokens.hmac.unwrap().expose(), "from-outside");
    let chat = &settings.gateway.namespaces.named["chat"];
    assert!(chat.presence && chat.join_leave);
}

#[test]
fn problems_name_the_variable_or_the_flag() {
    let variables = [
        ("RINGWAY_CLIENT_TOKEN_HMAC_SECRET_KEY", "x"),
        ("RINGWAY_CLIENT_PING_INTERVAL", "soon"),
        ("RINGWAY_CLIENT_CHANEL_LIMIT", "5"),
    ];
    let sources =
        Sources { flags: common::flags(None, Some("http")), ..common::environment(&variables) };
    let refusal = Settings::load(&sources).unwrap_err();
    let lines: Vec<_> = refusal.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "environment variable RINGWAY_CLIENT_CHANEL_LIMIT: unknown option; did you mean \
             `RINGWAY_CLIENT_CHANNEL_LIMIT`?",
            "environment variable RINGWAY_CLIENT_PING_INTERVAL: client.ping_interval: expected a \
             duration such as \"25s\" or \"1h30m\", found the text \"soon\"",
            "flag --port: http_server.port: expected a whole number, 0 to 65535, found the text \
             \"http\"",
        ]
    );
}
