//! Goal: what the metrics say does not depend on who else looks, and which driver won is among it.
//! Method: a real server, scraped.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use server::Server;

const CONFIG: &str = r#"{"client": {"insecure": true}, "shards": 1}"#;

/// The value of a series.
fn metric(server: &Server, series: &str) -> Option<u64> {
    let (_, text) = server.get(&server.operators, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[test]
fn the_driver_is_exported_and_logged() {
    let server = Server::start_with(CONFIG, &["--io", "portable"]);
    assert_eq!(metric(&server, "ringway_io_info{driver=\"portable\"}"), Some(1));
    assert_eq!(metric(&server, "ringway_io_info{driver=\"io_uring\"}"), None);
    let log = server.log_until(" limits ");
    let limits = log.lines().find(|line| line.contains(" limits ")).expect("it was found");
    assert!(limits.contains("driver=portable"), "{limits}");
}

#[test]
fn a_health_check_takes_nothing_from_the_metrics() {
    let server = Server::start(CONFIG);
    let turns = || metric(&server, "ringway_turn_seconds_count").expect("it is exported");
    turns();
    let before = turns();
    assert!(before > 0);
    assert_eq!(server.get(&server.operators, "/health").0, 200);
    assert!(turns() > before);
}

#[test]
fn every_histogram_ends_without_a_bound() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let json = format!(
        r#"{{"client": {{"insecure": true}}, "shards": 1,
            "persistence": {{"data_dir": "{}"}}}}"#,
        data.display()
    );
    let server = Server::start(&json);
    let (_, text) = server.get(&server.operators, "/metrics");
    let names =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram"));
    let names: Vec<&str> = names.collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let last = text.lines().rfind(|line| line.starts_with(&format!("{name}_bucket{{")));
        assert!(last.is_some_and(|line| line.contains(r#"le="+Inf""#)), "{name}: {last:?}");
    }
}

#[test]
fn memory_is_told_by_kind_beside_what_the_process_takes() {
    let server = Server::start(CONFIG);
    let (_, text) = server.get(&server.operators, "/metrics");
    let kind_of = |line: &str| line.split("kind=\"").nth(1)?.split('"').next().map(str::to_owned);
    let kinds = |name: &str| -> Vec<String> {
        let name = format!("{name}{{");
        text.lines().filter(|line| line.starts_with(&name)).filter_map(kind_of).collect()
    };
    let expected = [
        "slot",
        "identity",
        "subscriptions",
        "tls",
        "outbox",
        "timers",
        "requests",
        "receive_buffers",
        "channels",
        "history",
        "presence",
    ];
    assert_eq!(kinds("ringway_memory_bytes"), expected);
    let known: u64 = expected
        .iter()
        .map(|kind| {
            let series = format!("ringway_memory_bytes{{shard=\"0\",kind=\"{kind}\"}}");
            metric(&server, &series).expect("every kind is told")
        })
        .sum();
    let pss = metric(&server, "ringway_process_pss_bytes").expect("it is told");
    let rss = metric(&server, "ringway_process_rss_bytes").expect("it is told");
    assert!(0 < known && known < pss && pss <= rss, "{known} of {pss} of {rss}");
    let kernel = kinds("ringway_kernel_memory_bytes_estimated");
    assert_eq!(kernel, ["sockets", "receives", "buffers"]);
}

#[test]
fn operators_find_a_page() {
    let server = Server::start(CONFIG);
    for path in ["/", "/operators.js", "/operators.css", "/style.css"] {
        assert_eq!(server.get(&server.operators, path).0, 200, "{path}");
    }
    assert_eq!(server.get(&server.operators, "/app.js").0, 404);
}
