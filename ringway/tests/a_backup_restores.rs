//! Goal: a backup that is taken while the server runs holds everything that was acknowledged before
//! it began, and a server on the restored directory goes on where it ended,
//! under a new epoch.
//! Method: the real binary, its API, and the history of both servers.

#[path = "support/link.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod link;
#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use std::path::Path;

use link::{Api, history};
use server::{Server, run};

fn config(directory: &Path) -> String {
    format!(
        r#"{{"client": {{"insecure": true}}, "http_api": {{"key": "key"}},
            "persistence": {{"data_dir": "{}"}},
            "channel": {{"without_namespace": {{"durability": "log", "history_size": 1000,
                "history_ttl": "1h"}}}}}}"#,
        directory.display()
    )
}

fn publish(address: &str, numbers: std::ops::Range<u32>) -> String {
    let mut api = Api::open(address).expect("it listens");
    let mut epoch = String::new();
    for number in numbers {
        let body = format!(r#"{{"channel":"room","data":{number}}}"#);
        let answer = api.call("publish", &body).expect("an answer");
        assert!(answer["error"].is_null(), "{answer}");
        epoch = answer["result"]["epoch"].as_str().expect("an epoch").to_owned();
    }
    epoch
}

#[test]
fn what_was_acknowledged_is_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().expect("UTF-8").to_owned();
    let server = Server::start(&config(&path("data")));
    let epoch = publish(&server.address, 0..200);
    let done = run(&["backup", "--data-dir", &text("data"), &text("backup")]);
    assert!(done.status.success(), "{done:?}");
    publish(&server.address, 200..210);
    let again = run(&["backup", "--data-dir", &text("data"), &text("backup")]);
    assert!(!again.status.success(), "a backup is not written over");
    let done = run(&["restore", "--data-dir", &text("restored"), &text("backup")]);
    assert!(done.status.success(), "{done:?}");
    let refused = run(&["restore", "--data-dir", &text("data"), &text("backup")]);
    assert!(!refused.status.success(), "a directory in use is not written over");
    let restored = Server::start(&config(&path("restored")));
    let numbers: Vec<u64> = history(&restored.address, "room")
        .iter()
        .map(|(_, data)| data.as_u64().expect("a number"))
        .collect();
    assert!(numbers.iter().copied().eq(0..200), "{} of 200", numbers.len());
    assert_ne!(publish(&restored.address, 200..201), epoch, "ten were lost, and clients are told");
    assert_eq!(history(&restored.address, "room").len(), 201);
    assert_eq!(history(&server.address, "room").len(), 210, "the server noticed nothing");
}

#[test]
fn a_directory_belongs_to_one_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = config(&folder.path().join("data"));
    let server = Server::start(&json);
    let file = server::config_file(&json);
    let second = run(&["serve", "--port", "0", "--config", file.to_str().expect("UTF-8")]);
    assert!(!second.status.success());
    let sentence = String::from_utf8_lossy(&second.stderr);
    let lines: Vec<&str> = sentence.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{sentence}");
    assert_eq!(server.get(&server.operators, "/health").0, 200, "the first one goes on");
    drop(std::fs::remove_file(file));
}
