//! Without a file: loopback only, secrets nobody knows, and channels to play with.

mod common;

use ringway::settings::{Settings, Sources};

#[test]
fn the_settings_of_development_mode() {
    let load = || Settings::load(&Sources::default()).unwrap();
    let loaded = load();
    assert_eq!(loaded.warnings, []);
    let settings = loaded.settings;
    assert!(settings.development && settings.listen.ip().is_loopback());
    assert_eq!(settings.listen.port(), 8000);
    let options = &settings.gateway.namespaces.without;
    assert!(options.presence && options.join_leave && options.allow_recovery);
    assert!(options.allow_subscribe_for_client && options.allow_publish_for_client);
    assert_eq!(options.history_size, 100);
    assert!(!settings.gateway.insecure && !settings.api.insecure);
    let secret = settings.connection_tokens.hmac.unwrap();
    assert!(secret.expose().len() >= 43);
    assert_ne!(secret, load().settings.connection_tokens.hmac.unwrap());
    assert_ne!(secret, settings.api.keys[0]);
}

#[test]
fn it_refuses_to_be_reached_from_outside() {
    let sources = Sources { flags: common::flags(Some("0.0.0.0"), None), ..Sources::default() };
    let refusal = Settings::load(&sources).unwrap_err().to_string();
    assert!(refusal.contains("only loopback") && refusal.contains("--config"), "{refusal}");
    let sources = Sources { flags: common::flags(Some("::1"), Some("0")), ..Sources::default() };
    assert!(Settings::load(&sources).is_ok());
}

#[test]
fn credentials_in_the_environment_end_it() {
    let sources = common::environment(&[("RINGWAY_CLIENT_TOKEN_HMAC_SECRET_KEY", "x")]);
    let settings = Settings::load(&sources).unwrap().settings;
    assert!(!settings.development && settings.listen.ip().is_unspecified());
    assert!(!settings.gateway.namespaces.without.presence);
    let sources = common::environment(&[("RINGWAY_LOG_LEVEL", "debug")]);
    assert!(Settings::load(&sources).unwrap().settings.development);
}
