//! A JSON file written for Centrifugo v6 configures Ringway: here, that of the public SDK suites.

mod common;

use core::time::Duration;

const TEXT: &str = r#"{
  "client": {
    "insecure": true,
    "token": {"hmac_secret_key": "secret"},
    "allowed_origins": ["*"]
  },
  "http_api": {"key": "test-api-key"},
  "http_server": {"port": 8000},
  "http_stream": {"enabled": true},
  "sse": {"enabled": true},
  "engine": {"type": "memory"},
  "admin": {"enabled": false},
  "channel": {
    "without_namespace": {
      "presence": true, "join_leave": true, "history_size": 10, "history_ttl": "300s",
      "allow_subscribe_for_client": true, "allow_publish_for_client": true
    },
    "namespaces": [
      {"name": "recovery", "force_recovery": true, "history_size": 100, "history_ttl": "300s",
       "allow_subscribe_for_client": true, "allow_publish_for_subscriber": true},
      {"name": "smallhistory", "force_recovery": true, "history_size": 2, "history_ttl": "1h"},
      {"name": "delta", "allowed_delta_types": ["fossil"], "delta_publish": true}
    ]
  }
}"#;

#[test]
fn the_settings_say_what_the_file_says() {
    let loaded = common::load_unsupported("config.json", TEXT).unwrap();
    let settings = loaded.settings;
    assert!(!settings.development);
    assert!(settings.gateway.insecure);
    assert_eq!(settings.connection_tokens.hmac.as_ref().unwrap().expose(), "secret");
    assert_eq!(settings.subscription_tokens, settings.connection_tokens);
    assert_eq!(settings.api.keys[0].expose(), "test-api-key");
    assert_eq!(settings.listen, ([0, 0, 0, 0], 8000).into());
    assert_eq!(settings.gateway.origins, gateway::config::Origins::Any);

    let namespaces = &settings.gateway.namespaces;
    assert!(namespaces.without.presence && namespaces.without.allow_publish_for_client);
    let recovery = &namespaces.named["recovery"];
    assert!(recovery.force_recovery && recovery.allow_publish_for_subscriber);
    assert_eq!((recovery.history_size, recovery.history_ttl), (100, Duration::from_secs(300)));
    assert_eq!(recovery.history_meta_ttl, Duration::from_secs(720 * 3600));
    assert_eq!(namespaces.named["smallhistory"].history_size, 2);
    // Deltas are accepted with a remark: subscribers get whole publications.
    assert!(namespaces.named.contains_key("delta"));
    assert_eq!(loaded.warnings.iter().filter(|w| w.path.contains("[delta]")).count(), 2);
    // Transports that are not served yet are named, one remark each.
    for path in ["http_stream", "sse"] {
        assert!(loaded.warnings.iter().any(|w| w.path == path), "{path}");
    }
}

#[test]
fn the_same_in_toml_and_yaml_is_the_same() {
    let toml = "[client]\ninsecure = true\n[[channel.namespaces]]\nname = \"chat\"\n\
                history_size = 5\nhistory_ttl = \"10s\"\n";
    let yaml = "client:\n  insecure: true\nchannel:\n  namespaces:\n    - name: chat\n      \
                history_size: 5\n      history_ttl: 10s\n";
    let json = r#"{"client":{"insecure":true},"channel":{"namespaces":[
                {"name":"chat","history_size":5,"history_ttl":"10s"}]}}"#;
    let shown =
        |name: &str, text: &str| format!("{:?}", common::load_text(name, text).unwrap().settings);
    assert_eq!(shown("a.toml", toml), shown("a.json", json));
    assert_eq!(shown("a.yaml", yaml), shown("a.json", json));
    for (name, text) in [("toml", toml), ("yaml", yaml), ("json", json)] {
        assert_eq!(shown(name, text), shown("a.json", json), "without extension");
    }
}
