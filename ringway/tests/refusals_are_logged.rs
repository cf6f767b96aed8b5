//! Goal: at level debug each refused token, refused request and close is a line that says why and
//! to whom, without the token; refused tokens are counted by reason. At level info there is none.
//! Method: a real server and clients that are refused.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use gateway::auth::{ConnectionToken, Keys, SigningKey, StaticKeys, TokenRules, mint_connection};
use server::{Client, Received, Server};

const SECRET: &str = "a secret of more than thirty-two bytes";

fn start(level: &str) -> Server {
    Server::start(&format!(
        r#"{{"client": {{"token": {{"hmac_secret_key": "{SECRET}"}}}}, "shards": 1,
            "log": {{"level": "{level}"}}}}"#
    ))
}

fn token(user: &str, expires_at: Option<u64>) -> String {
    let key = SigningKey::hmac(SECRET.as_bytes()).expect("a good secret");
    let token = ConnectionToken { user, expires_at, ..ConnectionToken::default() };
    let rules = TokenRules::new(Keys::Configured(StaticKeys::default()));
    mint_connection(&key, &rules, &token).expect("it can be made")
}

fn connect(server: &Server, token: &str) -> Received {
    let mut client = Client::open(server, "/connection/websocket");
    client.send(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
    client.receive()
}

fn provoke(server: &Server) -> String {
    assert_eq!(connect(server, "canary.canary.canary"), Received::Close(3500));
    assert!(matches!(connect(server, &token("canary-user", Some(1))), Received::Text(_)));
    assert_eq!(connect(server, ""), Received::Close(3501));
    let (status, _) = server.http(&server.address, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(status, 400);
    let good = token("evil\u{202e}\nline\u{1b}[2J", None);
    assert!(matches!(connect(server, &good), Received::Text(_)));
    let (_, metrics) = server.get(&server.operators, "/metrics");
    metrics
}

#[test]
fn at_debug_each_is_a_line() {
    let server = start("debug");
    let metrics = provoke(&server);
    for (reason, count) in [("invalid", 1), ("expired", 1), ("missing", 1), ("key_unknown", 0)] {
        let series = format!("ringway_tokens_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&series), "{metrics}");
    }
    // It is the last to be closed, and one shard tells all of it.
    let log = server.log_until(r#"user="evil\u{202e}\nline\u{1b}[2J""#);
    for reason in ["invalid", "expired", "missing"] {
        let mark = format!("token refused reason=\"{reason}\" peer=127.0.0.1:");
        assert_eq!(log.matches(&mark).count(), 1, "{log}");
    }
    assert!(log.contains("request refused status=400 reason=\""), "{log}");
    assert!(log.contains("closed code=3500 reason=\"invalid_token\" peer=127.0.0.1:"), "{log}");
    assert!(!log.contains("canary"), "{log}");
}

#[test]
fn at_info_there_is_none() {
    let server = start("info");
    let metrics = provoke(&server);
    assert!(metrics.contains("ringway_tokens_refused_total{reason=\"invalid\"} 1\n"));
    let log = server.log();
    assert!(!log.contains("refused") && !log.contains("closed"), "{log}");
}
