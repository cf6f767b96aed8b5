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
