//! Goal: a client that was away while its channels were not durable is told that its position is
//! gone, whether the rules changed by restarts or by reloads, and nothing that was acknowledged
//! since they are durable again is lost.
//! Method: the real binary on one data directory; a position from before, asked about afterwards.

#[path = "support/link.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod link;
#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use std::path::Path;
use std::time::{Duration, Instant};

use link::{Api, Link, history};
use serde_json::Value;
use server::{Server, run};

/// Channels without a namespace, and those of `chat`, which is there unless it has no durability.
fn config(directory: &Path, without: &str, chat: Option<&str>) -> String {
    let options = |durability: &str| {
        format!(
            r#""durability": "{durability}", "history_size": 1000, "history_ttl": "1h",
               "force_recovery": true, "allow_subscribe_for_client": true"#
        )
    };
    let chat = chat.map_or(String::new(), |durability| {
        format!(r#"{{"name": "chat", {}}}"#, options(durability))
    });
    format!(
        r#"{{"client": {{"insecure": true}}, "http_api": {{"key": "key"}},
            "persistence": {{"data_dir": "{}"}},
            "channel": {{"without_namespace": {{{}}}, "namespaces": [{chat}]}}}}"#,
        directory.display(),
        options(without)
    )
}

/// Where a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct At {
    epoch: String,
    offset: u64,
}

fn publish(server: &Server, channel: &str, data: &str) -> At {
    publish_with(server, channel, data, "")
}

fn publish_with(server: &Server, channel: &str, data: &str, more: &str) -> At {
    let mut api = Api::open(&server.address).expect("it listens");
    let body = format!(r#"{{"channel":"{channel}","data":"{data}"{more}}}"#);
    let answer = api.call("publish", &body).expect("an answer");
    assert!(answer["error"].is_null(), "{answer}");
    let result = &answer["result"];
    At {
        epoch: result["epoch"].as_str().expect("an epoch").to_owned(),
        offset: result["offset"].as_u64().expect("an offset"),
    }
}

/// The answer to a client that comes back with this position.
fn come_back(server: &Server, channel: &str, at: &At) -> Value {
    let mut client = Link::open(&server.address).expect("it listens");
    let (epoch, offset) = (&at.epoch, at.offset);
    let subscribe = format!(
        r#"{{"id":2,"subscribe":{{"channel":"{channel}","recover":true,"epoch":"{epoch}","offset":{offset}}}}}"#
    );
    client.send(&subscribe).expect("it reads");
    let text = client.text().expect("an answer");
    let reply: Value = serde_json::from_str(&text).expect("JSON");
    assert!(reply["subscribe"].is_object(), "{reply}");
    reply["subscribe"].clone()
}

fn is_recovered(answer: &Value) -> bool {
    answer["recovered"].as_bool().unwrap_or(false)
}

fn data_of(answer: &Value) -> Vec<&str> {
    let publications = answer["publications"].as_array().map_or(&[][..], Vec::as_slice);
    publications.iter().map(|one| one["data"].as_str().expect("text")).collect()
}

fn told_that_it_is_gone(server: &Server, channel: &str, before: &At) {
    let answer = come_back(server, channel, before);
    assert!(!is_recovered(&answer), "publications were missed: {answer}");
    assert!(data_of(&answer).is_empty(), "{answer}");
    assert_ne!(answer["epoch"].as_str(), Some(before.epoch.as_str()), "{answer}");
}

fn end(mut server: Server) {
    server.signal("TERM");
    assert!(server.wait(Duration::from_secs(20)).success());
}

/// Waits for another epoch than `before`: a reload takes a moment, and so does the store, for which
/// a channel waits that is not durable any more.
fn until_another_epoch(server: &Server, channel: &str, before: &At) -> At {
    let give_up = Instant::now() + Duration::from_secs(10);
    let mut api = Api::open(&server.address).expect("it listens");
    loop {
        let body = format!(r#"{{"channel":"{channel}","limit":0}}"#);
        let answer = api.call("history", &body).expect("an answer");
        let epoch = answer["result"]["epoch"].as_str().expect("an epoch").to_owned();
        if epoch != before.epoch {
            return At { epoch, offset: answer["result"]["offset"].as_u64().unwrap_or(0) };
        }
        assert!(Instant::now() < give_up, "the epoch stays {before:?}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn a_start_that_is_refused_interrupts_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = config(&folder.path().join("data"), "log", Some("log"));
    let server = Server::start(&good);
    let before = publish(&server, "chat:room", "before");
    end(server);
    // Both at once: the namespace is not durable any more, and the certificate is nowhere, which is
    // found while settings are read, or the port is taken, which is found later.
    let bad = config(&folder.path().join("data"), "log", Some("memory"));
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = other.local_addr().expect("bound").port();
    let tls = r#""tls": {"enabled": true, "cert_pem": "/nowhere.pem", "key_pem": "/nowhere.pem"}"#;
    for (http_server, why) in
        [(format!(r#""port": 0, {tls}"#), "cert_pem"), (format!(r#""port": {port}"#), "in use")]
    {
        let http_server = format!(r#"{{"http_server": {{{http_server}}},"#);
        let file = server::config_file(&bad.replacen('{', &http_server, 1));
        let refused = run(&["serve", "--config", file.to_str().expect("UTF-8")]);
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains(why), "{said}");
    }
    let server = Server::start(&good);
    let answer = come_back(&server, "chat:room", &At { offset: 0, ..before.clone() });
    assert!(is_recovered(&answer), "{answer}");
    assert_eq!(data_of(&answer), ["before"]);
    end(server);
}

#[test]
fn by_restarts() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let (log, memory) = (config(&data, "log", Some("log")), config(&data, "memory", None));
    let channels = ["room", "chat:room"];
    let server = Server::start(&log);
    let before = channels.map(|channel| {
        publish(&server, channel, "one");
        publish_with(&server, channel, "two", r#","idempotency_key":"key""#)
    });
    assert_eq!(before.iter().map(|at| at.offset).collect::<Vec<_>>(), [2, 2]);
    end(server);
    // The namespace is deleted meanwhile.
    let server = Server::start(&memory);
    publish(&server, "room", "not written down");
    end(server);
    let mut server = Server::start(&log);
    for (channel, before) in channels.iter().zip(&before) {
        let again = publish_with(&server, channel, "two", r#","idempotency_key":"key""#);
        assert_eq!(&again, before, "it was published, and counts once");
        let first = publish(&server, channel, "three");
        assert_ne!(first.epoch, before.epoch);
        told_that_it_is_gone(&server, channel, before);
        publish(&server, channel, "four");
        let answer = come_back(&server, channel, &first);
        assert!(is_recovered(&answer) && data_of(&answer) == ["four"], "{answer}");
        let all: Vec<Value> =
            history(&server.address, channel).into_iter().map(|it| it.1).collect();
        assert_eq!(all, ["three", "four"], "what was there before is not served");
        // Neither a crash nor an orderly end takes anything that was acknowledged since.
        server.kill();
        server = Server::start(&log);
        let answer = come_back(&server, channel, &first);
        assert!(is_recovered(&answer) && data_of(&answer) == ["four"], "{answer}");
        end(server);
        server = Server::start(&log);
        let answer = come_back(&server, channel, &first);
        assert!(is_recovered(&answer) && data_of(&answer) == ["four"], "{answer}");
    }
}

/// A server that was durable until a reload; the configuration of before, and where its channel
/// was.
fn durable_and_then_reloaded(folder: &tempfile::TempDir) -> (String, Server, At) {
    let data = folder.path().join("data");
    let log = config(&data, "log", None);
    let server = Server::start(&log);
    let before = publish(&server, "room", "one");
    server.reload(&config(&data, "memory", None));
    until_another_epoch(&server, "room", &before);
    (log, server, before)
}

#[test]
fn by_a_reload_and_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, mut server, before) = durable_and_then_reloaded(&folder);
    publish(&server, "room", "not written down");
    server.kill();
    let server = Server::start(&log);
    publish(&server, "room", "two");
    told_that_it_is_gone(&server, "room", &before);
}

#[test]
fn by_a_restart_and_a_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let (log, memory) = (config(&data, "log", None), config(&data, "memory", None));
    let server = Server::start(&log);
    let before = publish(&server, "room", "one");
    end(server);
    let server = Server::start(&memory);
    publish(&server, "room", "not written down");
    end(server);
    let server = Server::start(&memory);
    server.reload(&log);
    server.log_until(r#""memory" -> "log""#);
    // Answered behind the end of the first one. Nobody has asked for the channel since the start,
    // so that only the store knows of it.
    server.reload(&log);
    server.log_until("nothing has changed");
    publish(&server, "room", "two");
    told_that_it_is_gone(&server, "room", &before);
}

#[test]
fn by_reloads_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, mut server, before) = durable_and_then_reloaded(&folder);
    let meanwhile = publish(&server, "room", "not written down");
    server.reload(&log);
    let first = until_another_epoch(&server, "room", &meanwhile);
    told_that_it_is_gone(&server, "room", &before);
    told_that_it_is_gone(&server, "room", &meanwhile);
    publish(&server, "room", "two");
    server.kill();
    let server = Server::start(&log);
    let answer = come_back(&server, "room", &first);
    assert!(is_recovered(&answer) && data_of(&answer) == ["two"], "{answer}");
    told_that_it_is_gone(&server, "room", &before);
}

#[test]
fn a_restored_directory_keeps_its_history() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().expect("UTF-8").to_owned();
    let log = |name: &str| config(&path(name), "log", None);
    end(Server::start(&log("data")));
    end(Server::start(&config(&path("data"), "memory", None)));
    let server = Server::start(&log("data"));
    let before = publish(&server, "room", "one");
    let done = run(&["backup", "--data-dir", &text("data"), &text("backup")]);
    assert!(done.status.success(), "{done:?}");
    let done = run(&["restore", "--data-dir", &text("restored"), &text("backup")]);
    assert!(done.status.success(), "{done:?}");
    let restored = Server::start(&log("restored"));
    assert_eq!(history(&restored.address, "room").len(), 1, "no generation has ended");
    told_that_it_is_gone(&restored, "room", &before);
}
