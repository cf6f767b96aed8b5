//! `ringway check-config` reports all problems of a file at once, in its order, and exits with 2.

mod common;

use common::{answer, errors, ringway};

const TEXT: &str = r#"[http_server]
port = 70000

[client]
ping_interval = "5s"
pong_timeout = "8s"
channel_limit = "many"
insecure_skip_token_signature_verify = true

[client.subscribe_to_user_personal_channel]
enabled = true
personal_channel_namespace = "nobody"

[debug]
websocket_echo = true

[channel.without_namespace]
history_size = 5
force_recovery = true
durability = "store"

[[channel.namespaces]]
name = "chat"
history_ttl = "60s"

[[channel.namespaces]]
name = "chat"
slow_consumer = "wait"

[[channel.namespaces]]
name = "a:b"
"#;

#[test]
fn all_problems_in_the_order_of_the_file() {
    let folder = common::Folder::new();
    let file = folder.file("bad.toml", TEXT);
    let output = ringway(&["check-config", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(answer(&output), "");
    let expected = [
        (2, "http_server.port: expected a whole number, 0 to 65535, found the number 70000"),
        (6, "client.pong_timeout: must be below client.ping_interval, but 8s is not below 5s"),
        (7, "client.channel_limit: expected a whole number, 1 to 1000000, found the text \"many\""),
        (8, "client.insecure_skip_token_signature_verify: is refused"),
        (12, "there is no namespace \"nobody\""),
        (15, "debug.websocket_echo: an echo is for trials"),
        (18, "channel.without_namespace.history_size: needs history_ttl"),
        (19, "channel.without_namespace.force_recovery: needs history"),
        (20, "channel.without_namespace.durability: needs history: give"),
        (24, "channel.namespaces[chat].history_ttl: needs history_size"),
        (27, "channel.namespaces[chat]: the name is taken"),
        (28, "slow_consumer: expected one of \"disconnect\", \"conflate\", \"drop\""),
        (31, "channel.namespaces[a:b]: a namespace name has"),
    ];
    let text = errors(&output);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, (number, sentence)) in lines.iter().zip(expected) {
        assert!(
            line.starts_with("error: ") && line.contains(&format!("bad.toml:{number}:")),
            "{line}"
        );
        assert!(line.contains(sentence), "{line}\n{sentence}");
    }
}

#[test]
fn a_good_file_is_in_order() {
    let folder = common::Folder::new();
    let file = folder.file("good.json", common::MINIMAL);
    let output = ringway(&["check-config", "-c", file.to_str().unwrap()]);
    assert_eq!((output.status.code(), errors(&output).as_str()), (Some(0), ""));
    assert!(answer(&output).ends_with("good.json is in order.\n"));
}

#[test]
fn a_weak_secret_is_warned_about() {
    let folder = common::Folder::new();
    let text = common::MINIMAL.replace(" of thirty-two bytes or more", "");
    let file = folder.file("weak.json", &text);
    let output = ringway(&["check-config", "-c", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let text = errors(&output);
    assert!(text.starts_with("warning: ") && text.contains("weak.json:1:"), "{text}");
    assert!(text.contains("client.token.hmac_secret_key: is shorter than 32 bytes"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn a_number_out_of_range_is_called_so() {
    let output = ringway(&["serve", "--port", "99999"]);
    assert_eq!(output.status.code(), Some(2));
    let text = errors(&output);
    assert!(text.contains("found the number 99999, which is too large"), "{text}");
}

#[test]
fn a_missing_file_and_a_wrong_flag_are_usage_errors() {
    let output = ringway(&["check-config", "--config", "/nonexistent.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("error: /nonexistent.json: cannot be opened"));
    assert_eq!(ringway(&["serve", "--nosuch"]).status.code(), Some(2));
}

#[test]
fn a_durable_channel_needs_a_place_on_disk() {
    let folder = common::Folder::new();
    let durable = r#"[channel.without_namespace]
durability = "log"
history_size = 10
history_ttl = "60s"
"#;
    let file = folder.file("durable.toml", &format!("[client]\ninsecure = true\n{durable}"));
    let output = ringway(&["check-config", "-c", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let text = errors(&output);
    assert!(
        text.contains("durability: needs a place on disk: give persistence.data_dir"),
        "{text}"
    );
    let place = "[persistence]\ndata_dir = \"data\"\n";
    let file = folder.file("good.toml", &format!("[client]\ninsecure = true\n{durable}{place}"));
    let output = ringway(&["check-config", "-c", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
}

#[test]
fn secrets_that_anybody_may_know_are_remarked() {
    let folder = common::Folder::new();
    let file = folder.file(
        "weak.toml",
        "[client.token]\nhmac_secret_key = \"replace me: `openssl rand -hex 32` makes one\"\n\
         [http_api]\nkey = \"replace me\"\n",
    );
    let output = ringway(&["check-config", "-c", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let text = errors(&output);
    assert!(text.contains("hmac_secret_key: is the example of the README"), "{text}");
    assert!(text.contains("http_api.key: is shorter than 22 bytes"), "{text}");
}

#[test]
fn keys_of_operators_that_anybody_may_know_are_refused() {
    let folder = common::Folder::new();
    let check = |more: &str| {
        let file = folder.file("admin.toml", &format!("[client]\ninsecure = true\n{more}\n"));
        let output = ringway(&["check-config", "-c", file.to_str().unwrap()]);
        (output.status.code(), errors(&output))
    };
    for (key, sentence) in [
        ("replace me: openssl rand -hex 32", "is the example of the manual"),
        ("twenty-one bytes long", "is shorter than 22 bytes"),
    ] {
        let (code, text) = check(&format!("[admin]\nkey = \"{key}\""));
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(&format!("admin.key: {sentence}")), "{text}");
        assert!(text.contains("give what `openssl rand -hex 32` prints"), "{text}");
        assert!(!text.contains(key), "{text}");
    }
    let key = "[admin]\nkey = \"twenty-two bytes enough\"\n[metrics]\naddress =";
    let (code, text) = check(&format!("{key} \"127.0.0.1:9000\""));
    assert_eq!((code, text.contains("admin.key")), (Some(0), false), "{text}");
    let (code, text) = check(&format!("{key} \"0.0.0.0:9000\""));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("admin.key: crosses the network in plain text"), "{text}");
}

#[test]
fn levels_of_memory_have_an_order() {
    let folder = common::Folder::new();
    let check = |memory: &str| {
        let text = format!("[client]\ninsecure = true\n[memory]\n{memory}\n");
        let file = folder.file("memory.toml", &text);
        let output = ringway(&["check-config", "-c", file.to_str().unwrap()]);
        (output.status.code(), errors(&output))
    };
    for (memory, sentence) in [
        ("shed_level = 80", "memory.shed_level: must be above memory.refuse_level, but 80 is not"),
        ("refuse_level = 95", "memory.shed_level: must be above memory.refuse_level"),
        ("refuse_level = 5", "memory.refuse_level: 5 percent is too early; give 20 at least"),
        ("shed_level = 101", "expected a number of percent, 0 to 100, found the number 101"),
        ("limit = 256", "memory.limit: is in bytes, and 256 are too few; give 67108864 at least"),
    ] {
        let (code, text) = check(memory);
        assert_eq!(code, Some(2), "{memory}");
        assert!(text.contains(sentence), "{text}");
    }
    let backlog = "limit = 268435456\n[persistence]\ndata_dir = \"data\"";
    let (code, text) = check(backlog);
    assert!(text.contains("backlog_max_size: is more than half of memory.limit"), "{text}");
    assert_eq!(code, Some(0), "it is a warning");
    for memory in ["refuse_level = 0\nshed_level = 50", "refuse_level = 95\nshed_level = 0"] {
        let (code, text) = check(memory);
        assert!(code == Some(0) && !text.contains("_level"), "{text}");
    }
}
