//! Whatever is wrong with it, a secret is in no message, no debug output, no difference.

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

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

/// What a server without a configuration prints until it is told to end.
fn printed_in_development(variables: &[(&str, &str)]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["serve", "--port", "0"])
        .env_clear()
        .env("RINGWAY_METRICS_ADDRESS", "127.0.0.1:0")
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut printed = String::new();
    while !printed.contains("API key") {
        assert!(stdout.read_line(&mut printed).unwrap() > 0, "it ended: {printed}");
    }
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    stdout.read_to_string(&mut printed).unwrap();
    child.wait().unwrap();
    printed
}

#[test]
fn keys_that_somebody_gave_are_not_printed() {
    let folder = common::Folder::new();
    let file = folder.file("admin.key", &format!("{SECRET}-of-operators\n"));
    let printed = printed_in_development(&[]);
    assert!(printed.contains("RINGWAY_ADMIN_KEY="), "made up: {printed}");
    let given = format!("{SECRET}-of-operators");
    for variable in
        [("RINGWAY_ADMIN_KEY", given.as_str()), ("RINGWAY_ADMIN_KEY_FILE", file.to_str().unwrap())]
    {
        let printed = printed_in_development(&[variable]);
        assert!(!printed.contains("hunter2") && !printed.contains("ADMIN_KEY"), "{printed}");
    }
}
