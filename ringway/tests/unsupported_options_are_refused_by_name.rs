//! What Centrifugo has and Ringway has not is refused, unless the operator says to start without
//! it.

mod common;

use ringway::settings::{Settings, Sources};

const TEXT: &str = "client: {insecure: true}\nadmin: {enabled: true, password: hunter2}\n\
                    engine: {type: redis, redis: {address: 'redis://x'}}\nproxies: [{name: a}]\n\
                    channel: {without_namespace: {subscribe_proxy_enabled: true}}\n";

#[test]
fn refused_by_name_or_listed_as_warnings() {
    let folder = common::Folder::new();
    let file = folder.file("a.yaml", TEXT);
    let refusal = Settings::load(&common::sources(&file)).unwrap_err();
    let paths: Vec<_> = refusal.problems.iter().map(|problem| problem.path.as_str()).collect();
    let expected = [
        "admin.enabled",
        "admin.password",
        "engine.type",
        "engine.redis",
        "proxies",
        "channel.without_namespace.subscribe_proxy_enabled",
    ];
    assert_eq!(paths, expected);

    let sources = Sources { allows_unsupported: true, ..common::sources(&file) };
    let loaded = Settings::load(&sources).unwrap();
    let warned = loaded.warnings.iter().filter(|w| w.sentence.contains("--allow-unsupported"));
    assert_eq!(warned.count(), expected.len());
}
