//! A name that does not exist is refused at its position, with the name that was meant, in all
//! formats.

mod common;

use common::problems_of;

#[test]
fn in_all_formats() {
    let expected = "client.inescure: unknown option; did you mean `client.insecure`?";
    let json = problems_of("a.json", "{\n  \"client\": {\"inescure\": true}\n}");
    assert_eq!(json, [format!("a.json:2:14: {expected}")]);
    let toml = problems_of("a.toml", "[client]\n  inescure = true\n");
    assert_eq!(toml, [format!("a.toml:2:3: {expected}")]);
    let yaml = problems_of("a.yaml", "client:\n    inescure: true\n");
    assert_eq!(yaml, [format!("a.yaml:2:5: {expected}")]);
}

#[test]
fn in_namespaces_and_at_the_top() {
    let text = "channel:\n  namespaces:\n  - name: chat\n    histroy_size: 5\nmetrcs: {}\n";
    assert_eq!(
        problems_of("a.yaml", text),
        [
            "a.yaml:4:5: channel.namespaces[chat].histroy_size: unknown option; \
             did you mean `history_size`?",
            "a.yaml:5:1: metrcs: unknown option; did you mean `metrics`?",
        ]
    );
}

#[test]
fn a_name_is_not_meant_to_be_itself() {
    let problems = problems_of("a.yaml", "channel: {without_namespace: {name: x}}\n");
    assert!(problems[0].ends_with("unknown option; docs/CONFIGURATION.md lists all"));
}

#[test]
fn names_of_older_centrifugo_lead_to_the_new_ones() {
    let problems = problems_of("a.json", r#"{"token_hmac_secret_key": "hunter2"}"#);
    assert!(problems[0].ends_with("did you mean `client.token.hmac_secret_key`?"), "{problems:?}");
}
