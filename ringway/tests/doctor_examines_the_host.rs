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
fn it_says_for_how_many_connections() {
    let folder = common::Folder::new();
    let file = folder.file("a.json", common::MINIMAL);
    let config = file.to_str().unwrap();
    let text = answer(&ringway(&["doctor", "--config", config]));
    assert!(text.contains("examined for 100000 connections (assumed: "), "{text}");
    let text = answer(&ringway(&["doctor", "--config", config, "--connections", "7"]));
    assert!(text.contains("examined for 7 connections (as --connections says)"), "{text}");
    assert!(text.contains("memory, plain: 0 MiB of the server for 7 idle sessions"), "{text}");
    assert!(text.contains("memory, with TLS: ") && text.contains(", tls "), "{text}");
    assert!(text.contains("memory of the kernel: about 0 MiB"), "{text}");
    let limited = common::MINIMAL.replace(r#""client":{"#, r#""client":{"connection_limit":9,"#);
    let file = folder.file("b.json", &limited);
    let text = answer(&ringway(&["doctor", "--config", file.to_str().unwrap()]));
    assert!(text.contains("examined for 9 connections (as client.connection_limit"), "{text}");
}

#[test]
fn memory_that_is_not_there_is_found_with_what_fits() {
    let folder = common::Folder::new();
    let file = folder.file("a.json", common::MINIMAL);
    let many = ["doctor", "--config", file.to_str().unwrap(), "--connections", "4000000000"];
    let output = ringway(&many);
    let text = answer(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("4000000000 idle connections need "), "{text}");
    assert!(text.contains("fix: set client.connection_limit to "), "{text}");
}

#[test]
fn a_wrong_configuration_is_not_examined() {
    let output = ringway(&["doctor", "--config", "/nonexistent.toml"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_data_directory_in_memory_is_found() {
    let folder = common::Folder::new();
    let with = |directory: &str| {
        let persistence = format!(r#"{{"persistence":{{"data_dir":"{directory}"}},"#);
        let file = folder.file("a.json", &common::MINIMAL.replacen('{', &persistence, 1));
        answer(&ringway(&["doctor", "--config", file.to_str().unwrap()]))
    };
    let text = with("/dev/shm/ringway-doctor");
    assert!(
        text.contains("/dev/shm/ringway-doctor (persistence.data_dir) lies in memory"),
        "{text}"
    );
    let text = with("/proc/nowhere");
    assert!(text.contains("(persistence.data_dir) "), "{text}");
}
