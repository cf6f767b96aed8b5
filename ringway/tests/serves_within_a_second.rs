//! Goal: a server serves within a second of its start, and both ports answer.
//! Method: starts the binary, times its first line, talks to it.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use std::time::Duration;

use server::{Client, Server};

const CONFIG: &str = r#"{
    "client": {"insecure": true},
    "http_api": {"key": "secret-key"},
    "health": {"enabled": true},
    "channel": {"without_namespace": {"history_size": 10, "history_ttl": "60s",
        "allow_recovery": true, "presence": true}}
}"#;

#[test]
fn clients_api_health_and_metrics_answer() {
    let within = |server: &Server| server.started_in < Duration::from_secs(1);
    // Another program may keep a start from its core; not three of them.
    let mut server = Server::start(CONFIG);
    for _ in 0..2 {
        if !within(&server) {
            server = Server::start(CONFIG);
        }
    }
    assert!(within(&server), "{:?}", server.started_in);

    let mut client = Client::connected(&server);
    client.send(r#"{"id":2,"subscribe":{"channel":"news","recoverable":true}}"#);
    assert!(client.text().contains(r#""subscribe":{"recoverable":true,"epoch":""#));

    let published = server.api("publish", "secret-key", r#"{"channel":"news","data":{"n":1}}"#);
    assert_eq!(published.0, 200, "{}", published.1);
    assert!(client.text().contains(r#""pub":{"data":{"n":1},"offset":1}"#));

    assert_eq!(server.api("publish", "wrong-key", "{}").0, 401);
    assert_eq!(server.get(&server.address, "/health").0, 200);
    assert_eq!(server.get(&server.operators, "/health").0, 200);
    let (status, metrics) = server.get(&server.operators, "/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("ringway_publications_total"), "{metrics}");
    assert!(!metrics.contains("news"), "nothing that a client chose is a label");
}

#[test]
fn operators_pages_are_not_on_the_client_port() {
    let server = Server::start(CONFIG);
    for path in ["/metrics", "/debug/echo", "/debug/pprof", "/admin", "/admin/api"] {
        assert_eq!(server.get(&server.address, path).0, 404, "{path}");
    }
}
