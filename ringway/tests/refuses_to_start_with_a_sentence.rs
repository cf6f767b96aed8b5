//! Goal: what keeps a server from starting is told in one sentence, with a non-zero exit.
//! Method: runs the binary into each of the cases.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use server::{Server, config_file, run};

const CONFIG: &str = r#"{"client": {"insecure": true}, "metrics": {"address": "127.0.0.1:0"}}"#;

/// Runs with a configuration that must fail; the error without its line end.
fn refusal(json: &str, more: &[&str]) -> String {
    let path = config_file(json);
    let mut arguments = vec!["serve", "--config", path.to_str().expect("UTF-8")];
    arguments.extend(more);
    let output = run(&arguments);
    std::fs::remove_file(&path).expect("it is ours");
    assert!(!output.status.success(), "it started");
    String::from_utf8(output.stderr).expect("UTF-8").trim().to_owned()
}

#[test]
fn a_busy_port_and_a_second_instance() {
    let server = Server::start(CONFIG);
    let port = server.address.rsplit(':').next().expect("a port");
    let sentence = refusal(CONFIG, &["--port", port]);
    assert!(sentence.contains("is in use"), "{sentence}");
    assert!(sentence.contains("--port"), "it says what to do: {sentence}");
}

#[test]
fn of_two_busy_ports_the_clients_is_named() {
    let server = Server::start(CONFIG);
    let port = server.address.rsplit(':').next().expect("a port");
    let metrics = format!("\"address\": \"{}\"", server.operators);
    let json = CONFIG.replace("\"address\": \"127.0.0.1:0\"", &metrics);
    let sentence = refusal(&json, &["--port", port]);
    assert!(sentence.contains(&format!(":{port} is in use")), "{sentence}");
    let sentence = refusal(&json, &["--port", "0"]);
    assert!(sentence.contains("(metrics.address) cannot be bound"), "{sentence}");
}

#[test]
fn a_foreign_address() {
    let sentence = refusal(CONFIG, &["--address", "192.0.2.1", "--port", "0"]);
    assert!(sentence.contains("not an address of this machine"), "{sentence}");
}

#[test]
fn a_bad_key() {
    let json = r#"{"client": {"token": {"rsa_public_key": "-----BEGIN PUBLIC KEY-----\nx\n"}}}"#;
    let sentence = refusal(json, &["--port", "0"]);
    assert!(sentence.contains("client.token.rsa_public_key"), "{sentence}");
}

#[test]
fn an_unreadable_file() {
    let output = run(&["serve", "--config", "/nonexistent/ringway.toml"]);
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(text.contains("/nonexistent/ringway.toml"), "{text}");
    assert!(text.contains("cannot be opened"), "{text}");
}
