//! `ringway doctor` says what hurts with its fix; a port that is taken makes it exit with 1.

mod common;

use std::net::TcpListener;

use common::{answer, ringway};

#[test]
fn a_taken_port_is_found() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = common::Folder::new();
    let text = format!(
        "client: {{insecure: true, connection_limit: 10}}\nmetrics: {{address: ''}}\n\
         http_server: {{address: 127.0.0.1, port: {port}}}\n"
    );
    let file = folder.file("a.yaml", &text);
    let output = ringway(&["doctor", "--config", file.to_str().unwrap()]);
    let text = answer(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("Linux "), "{text}");
    assert!(text.contains(&format!("127.0.0.1:{port} (http_server.port) cannot be")), "{text}");
    assert!(text.contains("fix: stop what holds it"), "{text}");
}

#[test]
fn a_wrong_configuration_is_not_examined() {
    let output = ringway(&["doctor", "--config", "/nonexistent.toml"]);
    assert_eq!(output.status.code(), Some(2));
}
