//! Goal: a call of the API without a field that it needs is answered 107 with the field's name.
//! Method: a real server and each method with too little.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use server::Server;

const CONFIG: &str = r#"{"client": {"insecure": true}, "http_api": {"key": "k3y"}}"#;

#[test]
fn the_field_is_named() {
    let server = Server::start(CONFIG);
    let channel = r#"{"channel": "a"}"#;
    let user = r#"{"user": "u"}"#;
    for (method, body, field) in [
        ("publish", r#"{"data": 1}"#, "channel"),
        ("publish", channel, "data"),
        ("broadcast", r#"{"data": 1}"#, "channels"),
        ("broadcast", r#"{"channels": ["a"]}"#, "data"),
        ("subscribe", channel, "user"),
        ("subscribe", user, "channel"),
        ("unsubscribe", channel, "user"),
        ("disconnect", "{}", "user"),
        ("refresh", "{}", "user"),
        ("presence", "{}", "channel"),
        ("presence_stats", "{}", "channel"),
        ("history", "", "channel"),
        ("history_remove", "{}", "channel"),
        ("batch", "{}", "commands"),
    ] {
        let (status, answer) = server.api(method, "k3y", body);
        let expected = format!("bad request: `{field}` is missing");
        let expected = format!(r#"{{"error":{{"code":107,"message":"{expected}"}}}}"#);
        assert_eq!((status, answer), (200, expected), "{method} {body}");
    }
}
