//! Whatever is wrong with it, a secret is in no message, no debug output, no difference.

mod common;

use ringway::settings::{Settings, Sources};

const SECRET: &str = "hunter2-do-not-show";

#[test]
fn not_in_messages() {
    let wrong = [
        ("a.json", format!("{{\"http_api\": {{\"key\": [\"{SECRET}\"]}}}}")),
        ("a.json", format!("{{\"http_api\": {{\"kee\": \"{SECRET}\"}}}}")),
        ("a.json", format!("{{\"http_api\": {{\"key\": \"{SECRET}\" oops}}}}")),
        ("a.json", format!("{{\"client\": {{\"token\": \"{SECRET}\"}}}}")),
        ("a.toml", format!("[http_api]\nkey = \"{SECRET}\" oops\n")),
        ("a.toml", format!("[http_api]\nkey = \"{SECRET}\nport = 5\n")),
        ("a.toml", format!("[http_api]\nkey = {SECRET}\n")),
        ("a.yaml", format!("http_api:\n  key: \"{SECRET}\n")),
        ("a.yaml", format!("http_api:\n  key: [{SECRET}\n")),
        ("a.yaml", format!("http_api:\n  key: {{{SECRET}: 1}}\n")),
        ("a.yaml", format!("admin: {{enabled: true, password: {SECRET}}}\n")),
        ("a.yaml", "http_api: {key: 83838383}\n".to_owned()),
        ("a.yaml", format!("client: {{token: {{hmac_secret_key: {SECRET}}}, insecure: 5}}\n")),
    ];
    for (name, text) in wrong {
        let problems = common::problems_of(name, &text).join("\n");
        assert!(!problems.contains("hunter2"), "{text}\n{problems}");
        assert!(!problems.contains("8383"), "{text}\n{problems}");
    }
}

#[test]
fn not_in_debug_output_or_differences() {
    let folder = common::Folder::new();
    let file = folder.file("a.json", common::MINIMAL);
    let old = Settings::load(&common::sources(&file)).unwrap().settings;
    let text = common::MINIMAL
        .replace("s3cret", SECRET)
        .replace("k3y of twenty-two bytes or more", SECRET);
    let new = common::load_text("a.json", &text).unwrap().settings;
    let lines = Settings::difference(&old, &new).lines();
    assert_eq!(lines, ["client.token.hmac_secret_key: *** -> ***", "http_api.key: *** -> ***"]);
    for settings in [&old, &new] {
        let shown = format!("{settings:?} {settings:#?}");
        assert!(
            !shown.contains("hunter2")
                && !shown.contains("s3cret")
                && !shown.contains("k3y of twenty-two bytes or more")
        );
    }
}

#[test]
fn files_hold_secrets_and_are_not_shown_either() {
    let folder = common::Folder::new();
    folder.file("hmac.key", &format!("{SECRET}\n"));
    let text = r#"{"client":{"token":{"hmac_secret_key_file":"hmac.key"}},"http_api":{"key":"k"}}"#;
    let file = folder.file("a.json", text);
    let settings = Settings::load(&common::sources(&file)).unwrap().settings;
    assert_eq!(settings.connection_tokens.hmac.as_ref().unwrap().expose(), SECRET);
    assert!(!format!("{settings:?}").contains("hunter2"));

    // Another content behind the same name is a change.
    folder.file("hmac.key", "another\n");
    let reloaded = Settings::load(&common::sources(&file)).unwrap().settings;
    let lines = Settings::difference(&settings, &reloaded).lines();
    assert_eq!(lines, ["client.token.hmac_secret_key: *** -> ***"]);

    let both =
        r#"{"client":{"token":{"hmac_secret_key":"hunter2","hmac_secret_key_file":"hmac.key"}}}"#;
    let file = folder.file("b.json", both);
    let refusal = Settings::load(&common::sources(&file)).unwrap_err().to_string();
    assert!(refusal.contains("keep one of them") && !refusal.contains("hunter2"), "{refusal}");
    let missing = Sources {
        environment: vec![("RINGWAY_HTTP_API_KEY_FILE".into(), "/nonexistent/key".into())],
        ..Sources::default()
    };
    let refusal = Settings::load(&missing).unwrap_err().to_string();
    assert!(refusal.contains("/nonexistent/key cannot be opened"), "{refusal}");
}
