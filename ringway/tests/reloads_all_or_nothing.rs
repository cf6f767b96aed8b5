//! Goal: SIGHUP brings new settings without dropping a client; wrong ones change nothing.
//! Method: a namespace appears with a good reload, and does not with a bad one.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use std::time::{Duration, Instant};

use server::{Client, Server};

fn config(namespaces: &str) -> String {
    format!(r#"{{"client": {{"insecure": true}}, "channel": {{"namespaces": [{namespaces}]}}}}"#)
}

/// Publishes until the answer contains `wanted`: a reload takes a moment.
fn eventually(client: &mut Client, channel: &str, wanted: &str) {
    let until = Instant::now() + Duration::from_secs(5);
    for id in 2.. {
        client.send(&format!(r#"{{"id":{id},"publish":{{"channel":"{channel}","data":1}}}}"#));
        let reply = client.text();
        if reply.contains(wanted) {
            return;
        }
        assert!(Instant::now() < until, "still {reply}");
    }
}

#[test]
fn a_namespace_comes_with_a_reload() {
    let server = Server::start(&config(r#"{"name": "one"}"#));
    let mut client = Client::connected(&server);
    eventually(&mut client, "one:x", r#""publish":{}"#);
    eventually(&mut client, "two:x", r#""code":102"#);

    server.reload(&config(r#"{"name": "one"}, {"name": "two", "no_such_option": true}"#));
    server.reload(&config(r#"{"name": "two"}, {"name": "three"}"#));
    server.log_until("reload: every shard has the new settings");
    client.send(r#"{"id":1,"publish":{"channel":"three:x","data":1}}"#);
    let reply = client.text();
    assert!(reply.contains(r#""publish":{}"#), "it holds as soon as that is said: {reply}");
    eventually(&mut client, "two:x", r#""publish":{}"#);
    eventually(&mut client, "one:x", r#""code":102"#);
}

#[test]
fn a_wrong_file_changes_nothing() {
    let server = Server::start(&config(r#"{"name": "one"}"#));
    let mut client = Client::connected(&server);
    server.reload(&config(r#"{"name": "two", "no_such_option": true}"#));
    // Nothing tells that a reload was refused but the log; a good one behind it is its end.
    server.reload(&config(r#"{"name": "one"}, {"name": "end"}"#));
    eventually(&mut client, "end:x", r#""publish":{}"#);
    eventually(&mut client, "two:x", r#""code":102"#);
}
