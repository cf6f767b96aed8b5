//! `ringway token` mints what the configured server accepts, and says why if it cannot.

mod common;

use common::{answer, errors, ringway};

#[test]
fn a_token_has_three_parts_and_an_end() {
    let folder = common::Folder::new();
    let file = folder.file("a.json", common::MINIMAL);
    let file = file.to_str().unwrap();
    let output = ringway(&["token", "--user", "42", "--config", file]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert_eq!(answer(&output).trim_end().split('.').count(), 3);

    let output = ringway(&["token", "-u", "42", "--channel", "news", "--json", "-c", file]);
    let answer: serde_json::Value = serde_json::from_str(&answer(&output)).unwrap();
    assert!(answer["token"].as_str().unwrap().starts_with("eyJhbGciOiJIUzI1NiIs"));
    assert!(answer["expires_at"].as_u64().unwrap() > 1_700_000_000);

    let output = ringway(&["token", "-u", "42", "--ttl", "0", "--json", "-c", file]);
    assert!(common::answer(&output).contains("\"expires_at\":null"));
}

#[test]
fn without_a_secret_there_is_no_token() {
    let output = ringway(&["token", "--user", "42"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("--config"));
    let folder = common::Folder::new();
    let file = folder.file("a.json", r#"{"client":{"insecure":true}}"#);
    let output = ringway(&["token", "--user", "42", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("hmac_secret_key"));
}
