//! Goal: whoever has the key sees every connection of a running server and may close some, by the
//! admin API and by the commands that ask it; nobody else does, and no question harms the server.
//! Method: a real server with real clients, asked rightly and wrongly.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{Client, Received, Server, config_file, run};

const KEY: &str = "the key of the operators of this test";
const CONFIG: &str = r#"{
    "client": {"insecure": true}, "shards": 2, "http_api": {"key": "the API's"},
    "admin": {"key": "the key of the operators of this test"},
    "channel": {"without_namespace": {"allow_subscribe_for_client": true}}
}"#;

fn post(server: &Server, method: &str, headers: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "POST /admin/{method} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    server.http(&server.operators, &request)
}

fn call(server: &Server, method: &str, body: &str) -> (u16, String) {
    post(server, method, &format!("X-API-Key: {KEY}\r\n"), body)
}

fn ask(server: &Server, method: &str, question: Value) -> Value {
    let (status, text) = call(server, method, &question.to_string());
    assert_eq!(status, 200, "{method} {question}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

fn subscribed(server: &Server, channel: &str) -> Client {
    let mut client = Client::connected(server);
    client.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#));
    let reply = client.text();
    assert!(reply.contains(r#""subscribe""#), "{reply}");
    client
}

/// Runs a command against the server, with its key.
fn command(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let key = config_file(&format!("{KEY}\n"));
    let reach = ["--address", &server.operators, "--key-file", key.to_str().expect("UTF-8")];
    let output = run(&[arguments, &reach].concat());
    std::fs::remove_file(key).expect("it is ours");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code().expect("it ended"), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_snapshot_says_what_the_metrics_say() {
    let server = Server::start(CONFIG);
    let clients: Vec<Client> = (0..5).map(|_| subscribed(&server, "room")).collect();
    let node = ask(&server, "node", json!({}));
    let shards = node["shards"].as_array().expect("a list");
    assert_eq!((shards.len(), &node["silent_shards"]), (2, &json!([])));
    assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
    let sum = |part: &str, name: &str| -> u64 {
        shards.iter().map(|shard| shard[part][name].as_u64().expect("it is there")).sum()
    };
    assert_eq!(sum("connections_by_state", "connected"), 5);
    assert_eq!((sum("gauges", "sessions"), sum("gauges", "subscriptions")), (5, 5));
    assert_eq!((sum("counters", "sessions_begun"), sum("gauges", "channels")), (5, 1));
    assert!(sum("memory_bytes", "identity") > 0 && sum("counters", "turns") > 0);
    let (_, metrics) = server.get(&server.operators, "/metrics");
    for shard in shards {
        let number = &shard["shard"];
        let series = format!("ringway_subscriptions{{shard=\"{number}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        assert_eq!(line, Some(shard["gauges"]["subscriptions"].to_string().as_str()));
        let turns = shard["turns"]["counts"].as_array().expect("a list");
        assert_eq!(turns.len(), shard["turns"]["bounds_us"].as_array().expect("a list").len() + 1);
    }
    drop(clients);
}

#[test]
fn connections_are_listed_shown_and_closed() {
    let server = Server::start(CONFIG);
    let mut room: Vec<Client> = (0..3).map(|_| subscribed(&server, "room")).collect();
    let mut other = subscribed(&server, "other");
    let listed = ask(&server, "connections", json!({"filter": {"channel": "room"}}));
    assert_eq!(listed["matched"], 3);
    let one = &listed["connections"][0];
    assert_eq!((&one["state"], &one["subscriptions"]), (&json!("connected"), &json!(1)));
    let address = one["address"].as_str().expect("an address");
    assert!(address.starts_with("127.0.0.1:"), "{one}");
    for name in ["id", "client"] {
        let shown = ask(&server, "connection", json!({name: one[name]}));
        assert_eq!(shown["connections"][0]["id"], one["id"]);
        assert_eq!(shown["connections"][0]["channels"], json!(["room"]));
    }
    let (mut seen, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = ask(&server, "connections", json!({"limit": 1, "after": after}));
        assert_eq!(page["matched"], 4);
        seen.push(page["connections"][0]["id"].clone());
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    let different: std::collections::BTreeSet<_> = seen.iter().map(Value::to_string).collect();
    assert_eq!((seen.len(), different.len()), (4, 4));
    let close = |more: Value| {
        let mut question = json!({"filter": {"channel": "room"}, "code": 3011, "reason": "moved"});
        question.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap());
        let answer = ask(&server, "close", question);
        (answer["matched"].as_u64().unwrap(), answer["closed"].as_u64().unwrap())
    };
    assert_eq!(close(json!({"dry_run": true})), (3, 0));
    assert_eq!(close(json!({"limit": 2})), (3, 2));
    assert_eq!(close(json!({})), (1, 1));
    for client in &mut room {
        assert_eq!(client.receive(), Received::Close(3011));
    }
    other.send(r#"{"id":5,"ping":{}}"#);
    assert!(other.text().contains(r#""id":5"#));
    let log = server.log_until("closed by the admin API");
    assert!(log.contains("closed=2 matched=3 code=3011") && !log.contains(KEY), "{log}");
}

#[test]
fn channels_are_told_by_traffic() {
    let server = Server::start(CONFIG);
    let listeners: Vec<Client> = (0..3).map(|_| subscribed(&server, "busy")).collect();
    let _quiet = subscribed(&server, "quiet");
    for (channel, times) in [("busy", 20), ("quiet", 5)] {
        let body = format!(r#"{{"channel":"{channel}","data":"0123456789"}}"#);
        for _ in 0..times {
            assert_eq!(server.api("publish", "the API's", &body).0, 200);
        }
    }
    let answer = ask(&server, "channels", json!({}));
    let names: Vec<_> =
        answer["channels"].as_array().unwrap().iter().map(|one| &one["channel"]).collect();
    assert_eq!(names, ["busy", "quiet"], "the busiest first");
    let busy = &answer["channels"][0];
    assert_eq!(busy["subscribers"], 3);
    // Twenty, weighted over five seconds: less, the longer they took.
    let rate = |name: &str| busy[name].as_f64().expect("a number");
    let (publications, bytes) = (rate("publications_per_second"), rate("bytes_per_second"));
    assert!(publications > 0.0 && publications <= 4.01, "{busy}");
    assert!((bytes - 12.0 * publications).abs() < 0.2, "12 bytes each: {busy}");
    let of_quiet = answer["channels"][1]["publications_per_second"].as_f64().expect("a number");
    assert!(of_quiet > 0.0 && of_quiet < publications, "{answer}");
    let least = ask(&server, "channels", json!({"by": "bytes", "limit": 1}));
    assert_eq!(least["channels"].as_array().unwrap().len(), 1);
    drop(listeners);
}

#[test]
fn who_reads_nothing_is_among_the_slowest() {
    let server = Server::start(CONFIG);
    let mut slow = subscribed(&server, "loud");
    let body = format!(r#"{{"channel":"loud","data":"{}"}}"#, "x".repeat(100_000));
    let give_up = Instant::now() + Duration::from_secs(8);
    let slowest = loop {
        assert_eq!(server.api("publish", "the API's", &body).0, 200);
        let slowest = ask(&server, "slowest", json!({"by": "stalled"}));
        if slowest["connections"][0]["stalled_ms"].as_u64() >= Some(500) {
            break slowest;
        }
        assert!(Instant::now() < give_up, "nothing waits");
    };
    let one = &slowest["connections"][0];
    assert!(slowest["matched"] == 1 && one["outbox_bytes"].as_u64() > Some(0), "{one}");
    let (code, out, _) = command(&server, &["connections", "list", "--min-outbox", "1"]);
    assert_eq!(code, 0);
    assert!(out.contains(one["id"].as_str().unwrap()) && out.ends_with("1 of 1\n"), "{out}");
    assert!(slow.text().contains("xxx"));
}

#[test]
fn what_is_wrong_is_refused_with_a_sentence() {
    let server = Server::start(CONFIG);
    let of_length = |length: usize| {
        let body = |user: &str| format!(r#"{{"filter":{{"user":"{user}"}}}}"#);
        body(&"x".repeat(length - body("").len()))
    };
    let (largest, huge) = (of_length(65_536), of_length(65_537));
    let deep = "[".repeat(60_000);
    let long = format!(r#"{{"filter":{{"user":"{}"}}}}"#, "x".repeat(256));
    let reason = format!(r#"{{"all":true,"reason":"{}"}}"#, "x".repeat(124));
    let rows: &[(&str, &str, u16, &str)] = &[
        ("nothing", "", 404, "there are node, connections"),
        ("node", r#"{"x":1}"#, 400, "unknown field"),
        ("node", "[]", 400, "the body is not what it takes"),
        ("connections", "no JSON", 400, "the body is not what it takes"),
        ("connections", &deep, 400, "the body is not what it takes"),
        ("connections", &huge, 413, "more than 65536 bytes"),
        ("connections", &largest, 400, "at most 255 bytes"),
        ("connections", r#"{"filter":["a"]}"#, 400, "`filter` is an object"),
        ("connections", r#"{"filter":{},"filter":{}}"#, 400, "duplicate field"),
        ("connections", &long, 400, "at most 255 bytes"),
        ("connections", r#"{"filter":{"colour":"red"}}"#, 400, "unknown field `colour`"),
        ("connections", r#"{"limit":0}"#, 400, "from 1 to 1000"),
        ("connections", r#"{"limit":1001}"#, 400, "from 1 to 1000"),
        ("connections", r#"{"limit":18446744073709551615}"#, 400, "from 1 to 1000"),
        ("connections", r#"{"limit":-1}"#, 400, "the body is not what it takes"),
        ("connections", r#"{"order":"size"}"#, 400, "`order` is id"),
        ("connections", r#"{"after":"behind"}"#, 400, "`after` is"),
        ("connections", r#"{"filter":{"client":"me"}}"#, 400, "a UUID"),
        ("connections", r#"{"filter":{"address":"here"}}"#, 400, "neither an address"),
        ("connections", r#"{"filter":{"address":"10.1.2.3/8"}}"#, 400, "10.0.0.0/8"),
        ("connections", r#"{"filter":{"address":"0.0.0.0/0"}}"#, 400, "leave it out"),
        ("connections", r#"{"filter":{"state":"tired"}}"#, 400, "is one of handshake"),
        ("connections", r#"{"filter":{"channel":""}}"#, 400, "no name of a channel"),
        ("connections", r#"{"filter":{"min_outbox_bytes":4294967296}}"#, 400, "not what it takes"),
        ("connection", "", 400, "either `id` or `client`"),
        ("connection", r#"{"id":"1"}"#, 400, "four numbers"),
        ("connection", r#"{"id":"255.255.16777215.16777215"}"#, 400, "four numbers"),
        ("slowest", r#"{"by":"user"}"#, 400, "`by` is"),
        ("channels", r#"{"by":"user"}"#, 400, "`by` is"),
        ("channels", r#"{"limit":257}"#, 400, "from 1 to 256"),
        ("close", "", 400, "a filter"),
        ("close", r#"{"filter":{"user":"a"},"all":true}"#, 400, "not both"),
        ("close", r#"{"filter":[""]}"#, 400, "`filter` is an object"),
        ("close", r#"{"filter":{"min_outbox_bytes":0}}"#, 400, "`filter.min_outbox_bytes` of 0"),
        ("close", r#"{"filter":{"min_memory_bytes":0}}"#, 400, "`filter.min_memory_bytes` of 0"),
        ("close", r#"{"filter":{"min_stalled_ms":0}}"#, 400, "`filter.min_stalled_ms` of 0"),
        ("close", r#"{"all":true,"code":1000}"#, 400, "from 3000 to 4999"),
        ("close", r#"{"all":true,"code":70000}"#, 400, "the body is not what it takes"),
        ("close", r#"{"all":true,"limit":10001}"#, 400, "from 1 to 10000"),
        ("close", &reason, 400, "at most 123 bytes"),
    ];
    let mut client = Client::connected(&server);
    for (method, body, status, sentence) in rows {
        let (answered, text) = call(&server, method, body);
        assert_eq!(answered, *status, "{method} {body:.60}: {text}");
        assert!(text.contains(sentence), "{method} {body:.60}: {text}");
    }
    client.send(r#"{"id":5,"ping":{}}"#);
    assert!(client.text().contains(r#""id":5"#));
}

#[test]
fn who_has_another_key_is_refused_and_counted() {
    let server = Server::start(CONFIG);
    let mut client = Client::connected(&server);
    let (status, text) = server.get(&server.operators, "/admin/node");
    assert_eq!((status, text.contains("X-API-Key")), (401, true));
    let keyed = format!(
        "GET /admin/node HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(server.http(&server.operators, &keyed).0, 405);
    for headers in ["", "X-API-Key: \r\n", "X-API-Key: the API's\r\n", "X-API-Key: the key\r\n"] {
        // The key is looked at before the body is.
        let (status, text) = post(&server, "close", headers, r#"{"all":true}"#);
        assert_eq!(status, 401, "{headers}: {text}");
    }
    assert_eq!(server.get(&server.address, "/admin/node").0, 404, "not on the client port");
    client.send(r#"{"id":5,"ping":{}}"#);
    assert!(client.text().contains(r#""id":5"#));
    // Five wrong keys, soon one behind the other.
    let log = server.log_until("called with a wrong key");
    assert_eq!(log.matches("called with a wrong key").count(), 1, "{log}");
    assert!(log.contains("since_start=1") && !log.contains(KEY), "{log}");
}

#[test]
fn without_a_key_it_is_off_until_a_reload_brings_one() {
    let without = CONFIG.replace(&format!(r#""admin": {{"key": "{KEY}"}},"#), "");
    assert_ne!(without, CONFIG);
    let server = Server::start(&without);
    let (status, text) = call(&server, "node", "");
    assert_eq!(status, 403);
    assert!(text.contains("set admin.key"), "{text}");
    let (code, _, sentence) = command(&server, &["top", "--once"]);
    assert_eq!(code, 1);
    assert!(sentence.starts_with("error: the admin API is off"), "{sentence}");
    server.reload(CONFIG);
    let log = server.log_until("every shard has the new settings");
    assert!(log.contains("admin.key: *** -> ***"), "{log}");
    assert_eq!(call(&server, "node", "").0, 200);
}

#[test]
fn top_prints_a_frame_and_json() {
    let server = Server::start(CONFIG);
    let clients: Vec<Client> = (0..3).map(|_| subscribed(&server, "room")).collect();
    let (code, frame, sentence) = command(&server, &["top", "--once"]);
    assert_eq!((code, sentence.as_str()), (0, ""));
    assert!(frame.contains("connections 3: 3 connected\n"), "{frame}");
    let all = frame.lines().find(|line| line.starts_with("all "));
    assert_eq!(all.and_then(|line| line.split_whitespace().nth(1)), Some("3"), "{frame}");
    for section in ["shards", "memory", "slowest", "channels", "closes"] {
        assert!(frame.contains(&format!("\n\n{section}, by ")), "{frame}");
    }
    assert!(frame.lines().all(|line| line.chars().count() <= 80), "{frame}");
    let (code, json, _) = command(&server, &["top", "--json"]);
    let view: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &view["all"]["connections"]), (0, &json!(3)));
    let (code, _, sentence) = command(&server, &["top"]);
    assert_eq!(code, 2);
    assert!(sentence.contains("--once"), "{sentence}");
    drop(clients);
}

#[test]
fn a_close_is_confirmed() {
    let server = Server::start(CONFIG);
    let mut client = subscribed(&server, "room");
    let close = ["connections", "close", "--channel", "room"];
    let (code, out, sentence) = command(&server, &close);
    assert_eq!(code, 1);
    assert!(out.contains("1 connections match; 1 would be closed with 3503"), "{out}");
    assert!(sentence.contains("nothing was closed; confirm"), "{sentence}");
    let (code, out, _) = command(&server, &[&close[..], &["--dry-run"]].concat());
    assert_eq!((code, out.contains("would be closed")), (0, true));
    client.send(r#"{"id":5,"ping":{}}"#);
    assert!(client.text().contains(r#""id":5"#));
    let (code, out, _) = command(&server, &[&close[..], &["--yes"]].concat());
    assert_eq!((code, out.ends_with("1 closed\n")), (0, true), "{out}");
    assert_eq!(client.receive(), Received::Close(3503));
    let (code, out, _) = command(&server, &[&close[..], &["--yes", "--json"]].concat());
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &answer["closed"]), (0, &json!(0)));
    let mut anonymous = Client::connected(&server);
    let (code, _, sentence) = command(&server, &["connections", "close", "--user", "", "--yes"]);
    assert_eq!((code, sentence.contains("--anonymous")), (2, true), "{sentence}");
    let (code, out, _) = command(&server, &["connections", "close", "--anonymous", "--yes"]);
    assert_eq!((code, out.ends_with("1 closed\n")), (0, true), "{out}");
    assert_eq!(anonymous.receive(), Received::Close(3503));
    let (code, _, sentence) = command(&server, &["connections", "show", "0.0.7.7"]);
    assert_eq!((code, sentence.as_str()), (1, "error: there is no connection 0.0.7.7\n"));
}

#[test]
fn who_is_not_reached_is_named() {
    let wrong = config_file("another key\n");
    let empty = config_file("\n");
    let server = Server::start(CONFIG);
    let key = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let rows = [
        (server.operators.as_str(), key(&wrong), 1, "has another key; give its admin.key"),
        ("127.0.0.1:1", key(&wrong), 1, "no server answers at 127.0.0.1:1"),
        ("no address", key(&wrong), 2, "is no address of a port"),
        (server.address.as_str(), key(&wrong), 1, "is no operators' port"),
        (server.operators.as_str(), key(&empty), 2, "is empty"),
        (server.operators.as_str(), "/nowhere".to_owned(), 2, "cannot be opened"),
    ];
    for (address, key, code, sentence) in rows {
        let reach = ["connections", "list", "--address", address, "--key-file", &key];
        let output = run(&reach);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with("error: ") && text.contains(sentence), "{text}");
        assert_eq!(output.status.code(), Some(code), "{text}");
    }
    let output = run(&["top", "--once"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no key: the admin API"));
    assert_eq!(output.status.code(), Some(2));
    // The configuration has both.
    let config = config_file(&CONFIG.replace(
        r#""shards": 2,"#,
        &format!(r#""metrics": {{"address": "{}"}},"#, server.operators),
    ));
    let output = run(&["connections", "list", "--json", "--config", &key(&config)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["matched"], 0);
    for file in [wrong, empty, config] {
        std::fs::remove_file(file).expect("it is ours");
    }
}
