//! Goal: each mode of `ringway bench` measures a real server, a server that stands still for 200 ms
//! shows in p99.9, and a run that measured the generator is not reported.
//! Method: the program against itself, in few clients and short times. `--allow-saturated` where
//! the machine of the test may be busy with others; the refusals themselves are planted: a rate
//! that cannot be reached, a worker that is stopped for a while, and one that is killed.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use server::Server;

const OPEN: &str = r#"{"client": {"insecure": true}, "channel": {"without_namespace":
    {"history_size": 100, "history_ttl": "60s", "allow_recovery": true}}}"#;
const SECRET: &str = "the-secret-of-the-load-and-its-server";
const CLOSED: &str = r#"{"client": {"token": {"hmac_secret_key":
    "the-secret-of-the-load-and-its-server"}}, "http_api": {"key": "k3y of twenty-two bytes"}}"#;

/// A run of the generator that has begun.
fn begin(mode: &str, url: &str, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["bench", mode, url])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs")
}

fn bench(mode: &str, url: &str, more: &[&str]) -> Output {
    begin(mode, url, more).wait_with_output().expect("it ends by itself")
}

fn url(server: &Server) -> String {
    format!("ws://{}/connection/websocket", server.address.replace("0.0.0.0", "127.0.0.1"))
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The report of a run that worked.
fn report(output: &Output) -> Value {
    let (code, text) = (output.status.code(), errors(output));
    assert_eq!(code, Some(0), "{text}{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).expect("one object")
}

/// Runs a mode whatever else the machine does, without a single error.
fn good(mode: &str, url: &str, more: &[&str]) -> Value {
    let always = ["--json", "--allow-saturated", "--patience", "20", "--fail-if", "errors>0"];
    let report = report(&bench(mode, url, &[&always, more].concat()));
    assert_eq!(report["generator"]["samples_lost"], 0, "{report}");
    report
}

fn count(report: &Value, name: &str) -> u64 {
    report["counts"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"))
}

fn samples(report: &Value, latency: &str) -> u64 {
    report["latencies_us"][latency]["samples"].as_u64().expect("a latency")
}

#[test]
fn clients_connect_stay_and_answer() {
    let server = Server::start(OPEN);
    let pid = server.id().to_string();
    let more = ["-n", "200", "--hold", "0.2", "--connect-rate", "400", "--server-pid", &pid];
    let report = good("connect", &url(&server), &more);
    assert_eq!((count(&report, "connected"), count(&report, "answered_a_ping")), (200, 200));
    assert_eq!((samples(&report, "connect"), samples(&report, "ping")), (200, 200));
    assert!(report["server"]["pss_bytes"].as_u64().expect("memory") > 1 << 20, "{report}");
}

#[test]
fn who_does_not_get_in_is_in_the_latency_and_in_the_errors() {
    let limited = OPEN.replace(r#""insecure": true"#, r#""insecure": true, "connection_limit": 6"#);
    let server = Server::start(&limited);
    let more = ["-n", "10", "--hold", "0", "--connect-rate", "100", "--allow-saturated", "--json"];
    let report = report(&bench("connect", &url(&server), &more));
    // The limit is divided among the shards: one may be full before the others are.
    let connected = count(&report, "connected");
    assert!((1..=6).contains(&connected), "{report}");
    assert_eq!((samples(&report, "connect"), count(&report, "answered_a_ping")), (10, connected));
    assert_eq!(report["errors"]["http 503"], 10 - connected, "{report}");
    let share = report["error_share"].as_f64().expect("a share");
    assert!((share - (10 - connected) as f64 / 10.0).abs() < 1e-9, "{report}");
}

#[test]
fn requests_are_answered_at_a_rate_and_without_one() {
    let server = Server::start(OPEN);
    let at_a_rate = ["-n", "20", "--rate", "200", "--seconds", "1"];
    let report = good("echo", &url(&server), &at_a_rate);
    assert_eq!((samples(&report, "round_trip"), count(&report, "answered")), (200, 200));
    let deep = ["-n", "20", "--depth", "2", "--seconds", "0.5", "--processes", "2", "--protobuf"];
    let report = good("echo", &url(&server), &deep);
    assert!(count(&report, "answered") > 40, "{report}");
    assert_eq!((&report["latency_corrected"], &report["processes"]), (&true.into(), &2.into()));
    let by_publishing = ["-n", "20", "--rate", "200", "--seconds", "1", "--request", "publish"];
    assert_eq!(samples(&good("echo", &url(&server), &by_publishing), "round_trip"), 200);
}

#[test]
fn publications_reach_every_subscriber() {
    let server = Server::start(OPEN);
    // Channels 0 to 6, of 15 or 14 clients each, in turn: 100 publications and all who hear them.
    let spread = ["-n", "100", "--channels", "7", "--rate", "100", "--seconds", "1"];
    for format in [&["--processes", "3"][..], &["--processes", "2", "--protobuf"]] {
        let report = good("fanout", &url(&server), &[&spread, format].concat());
        let expected: u64 = (0..100_u64).map(|n| if n % 7 < 2 { 15 } else { 14 }).sum();
        assert_eq!(samples(&report, "delivery"), expected);
        assert_eq!((count(&report, "published"), count(&report, "acknowledged")), (100, 100));
    }
    let full = ["-n", "50", "--outstanding", "2", "--seconds", "0.5", "--channels", "2"];
    let report = good("fanout", &url(&server), &full);
    assert_eq!(count(&report, "delivered"), 25 * count(&report, "published"), "{report}");
}

#[test]
fn publications_are_acknowledged_also_from_a_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().display();
    let durable = format!(
        r#"{{"client": {{"insecure": true}}, "persistence": {{"data_dir": "{folder}"}}, "channel":
        {{"namespaces": [{{"name": "log", "history_size": 10, "history_ttl": "60s",
        "durability": "log"}}]}}}}"#
    );
    for (config, channel) in [(OPEN, "bench"), (durable.as_str(), "log:bench")] {
        let server = Server::start(config);
        let more = ["-n", "5", "--rate", "100", "--seconds", "1", "--channel", channel];
        let report = good("publish", &url(&server), &[&more[..], &["--channels", "5"]].concat());
        assert_eq!((count(&report, "acknowledged"), samples(&report, "acknowledged")), (100, 100));
    }
}

#[test]
fn all_come_back_and_have_missed_nothing() {
    let server = Server::start(OPEN);
    let more = ["-n", "200", "--room", "20", "--missed", "3", "--processes", "2"];
    for format in [&[][..], &["--protobuf"]] {
        let report = good("storm", &url(&server), &[&more, format].concat());
        // Ten rooms, and a witness in each who stays.
        assert_eq!((count(&report, "back"), count(&report, "recovered")), (190, 190));
        assert_eq!((count(&report, "caught_up"), samples(&report, "back")), (570, 190));
    }
}

#[test]
fn clients_come_and_go() {
    let server = Server::start(OPEN);
    let report = good("churn", &url(&server), &["-n", "50", "--rate", "100", "--seconds", "1"]);
    assert_eq!((count(&report, "cycles"), samples(&report, "connect")), (100, 100));
}

#[test]
fn a_chat_loses_nothing() {
    let server = Server::start(OPEN);
    let more = ["-n", "60", "--room", "20", "--seconds", "2", "--reconnects", "20"];
    let report = good("mixed", &url(&server), &more);
    // 100 messages and 200 notices of typing, to 20 each, live or behind a reconnect.
    assert_eq!(count(&report, "published"), 300);
    assert_eq!(count(&report, "delivered") + count(&report, "caught_up"), 300 * 20, "{report}");
    assert_eq!(samples(&report, "delivery"), 300 * 20);
    assert_eq!((count(&report, "returned"), samples(&report, "history")), (40, 20));
}

#[test]
fn certificates_are_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    std::fs::write(&chain, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let (chain, key) = (chain.display().to_string(), key.display());
    let server = Server::start(&format!(
        r#"{{"client": {{"insecure": true}}, "http_server":
        {{"tls": {{"enabled": true, "cert_pem": "{chain}", "key_pem": "{key}"}}}}}}"#
    ));
    let port = server.address.rsplit(':').next().expect("a port");
    let secure = format!("wss://localhost:{port}/connection/websocket");
    let small = ["-n", "10", "--rate", "50", "--seconds", "0.5"];
    for trust in [&["--ca", chain.as_str()][..], &["--insecure", "--protobuf"]] {
        let report = good("echo", &secure, &[&small, trust].concat());
        assert_eq!(samples(&report, "round_trip"), 25);
    }
    // More than 64 KiB in one flush: rustls' own limit must not end the clients.
    let large = ["-n", "4", "--request", "publish", "--bytes", "65000", "--depth", "2"];
    let large = [&large[..], &["--seconds", "0.5", "--insecure"]].concat();
    assert!(count(&good("echo", &secure, &large), "answered") >= 8);
    let refused = bench("echo", &secure, &[&small[..], &["--ca", "/dev/null"]].concat());
    assert_eq!(refused.status.code(), Some(2), "{}", errors(&refused));
    assert!(errors(&refused).contains("give a PEM file"), "{}", errors(&refused));
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let stranger = folder.path().join("other.pem");
    std::fs::write(&stranger, other.cert.pem()).expect("written");
    let stranger = stranger.display().to_string();
    let refused = bench("echo", &secure, &[&small[..], &["--ca", &stranger]].concat());
    assert_eq!(refused.status.code(), Some(1), "{}", errors(&refused));
    assert!(errors(&refused).contains("TLS: invalid peer certificate"), "{}", errors(&refused));
}

#[test]
fn clients_show_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).expect("written");
    let secret = format!("@{}", secret.display());
    let server = Server::start(CLOSED);
    let small = ["-n", "10", "--rate", "50", "--seconds", "0.5"];
    let report = good("echo", &url(&server), &[&small[..], &["--hmac-secret", &secret]].concat());
    assert_eq!(samples(&report, "round_trip"), 25);
    for wrong in [&[][..], &["--token", "a.b.c"], &["--hmac-secret", "another"]] {
        let refused = bench("echo", &url(&server), &[&small, wrong].concat());
        assert_eq!(refused.status.code(), Some(1), "{}", errors(&refused));
        assert!(
            errors(&refused).contains("clients of a process got there"),
            "{}",
            errors(&refused)
        );
    }
}

/// What a metric says of all shards together.
fn metric(server: &Server, name: &str) -> u64 {
    let (_, text) = server.get(&server.operators, "/metrics");
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

/// Waits until so many sessions have begun, each with a message or two, and the server has heard so
/// many messages more.
fn wait_for(server: &Server, sessions: u64, messages: u64) {
    let give_up = Instant::now() + Duration::from_secs(60);
    let expected = (sessions, if messages > 0 { 2 * sessions + messages } else { 0 });
    loop {
        let begun = metric(server, "ringway_sessions_begun_total");
        let heard = metric(server, "ringway_messages_received_total");
        if begun >= expected.0 && heard >= expected.1 {
            return;
        }
        assert!(Instant::now() < give_up, "{begun} sessions, {heard} messages of {expected:?}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A fault that is planted lasts so long, measured by the clock.
fn last(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// Lets the server stand still for 200 ms once so many have come and asked; p99.9 of the run in
/// microseconds.
fn p999_with_a_stall(mode: &str, sessions: u64, messages: u64, more: &[&str]) -> u64 {
    let server = Server::start(OPEN);
    let always = ["--json", "--allow-saturated"];
    let run = begin(mode, &url(&server), &[&always, more].concat());
    wait_for(&server, sessions, messages);
    server.signal("STOP");
    last(Duration::from_millis(200));
    server.signal("CONT");
    let report = report(&run.wait_with_output().expect("it ends by itself"));
    let latency = report["latency"].as_str().expect("a name").to_owned();
    report["latencies_us"][latency]["p99.9"].as_u64().expect("a latency")
}

#[test]
fn a_stall_of_the_server_shows() {
    for (mode, sessions, messages, more) in [
        ("connect", 100, 0, &["-n", "600", "--connect-rate", "200", "--hold", "0"][..]),
        ("echo", 20, 50, &["-n", "20", "--rate", "500", "--seconds", "3"]),
        ("echo", 4, 50, &["-n", "4", "--depth", "1", "--seconds", "3"]),
        ("publish", 5, 50, &["-n", "5", "--rate", "500", "--seconds", "3"]),
        ("publish", 4, 50, &["-n", "4", "--depth", "1", "--seconds", "3"]),
        ("fanout", 20, 10, &["-n", "20", "--rate", "100", "--seconds", "3"]),
        ("churn", 50, 0, &["-n", "50", "--rate", "100", "--seconds", "3"]),
        ("mixed", 40, 10, &["-n", "40", "--room", "20", "--seconds", "3"]),
    ] {
        let p999_us = p999_with_a_stall(mode, sessions, messages, more);
        assert!(p999_us >= 180_000, "{mode} {more:?}: p99.9 is {p999_us} µs");
    }
}

#[test]
fn a_rate_that_the_generator_cannot_reach_is_not_reported() {
    let server = Server::start(OPEN);
    let more = ["-n", "10", "--rate", "50000000", "--seconds", "0.5", "--patience", "0.5"];
    let refused = bench("echo", &url(&server), &more);
    assert_eq!(refused.status.code(), Some(4), "{}", errors(&refused));
    assert!(refused.stdout.is_empty());
    let text = errors(&refused);
    assert!(text.contains("measured the generator") && text.contains("lost samples"), "{text}");
    let allowed = bench("echo", &url(&server), &[&more[..], &["--allow-saturated"]].concat());
    assert_eq!(allowed.status.code(), Some(0), "{}", errors(&allowed));
    assert!(String::from_utf8_lossy(&allowed.stdout).contains("SATURATED: process 1 lost"));
}

/// Processes that a process has started, once there are so many.
fn workers(parent: &Child, count: usize) -> Vec<String> {
    let give_up = Instant::now() + Duration::from_secs(20);
    let path = format!("/proc/{0}/task/{0}/children", parent.id());
    loop {
        let text = std::fs::read_to_string(&path).expect("the run lasts");
        let found: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        if found.len() == count {
            return found;
        }
        assert!(Instant::now() < give_up, "{} workers", found.len());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn signal(name: &str, pid: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), pid]).status();
    assert!(status.expect("kill is there").success());
}

#[test]
fn a_worker_that_stands_still_is_not_reported() {
    let server = Server::start(OPEN);
    let run = begin("echo", &url(&server), &["-n", "10", "--rate", "200", "--seconds", "4"]);
    let pid = workers(&run, 1).remove(0);
    wait_for(&server, 10, 10);
    signal("STOP", &pid);
    last(Duration::from_millis(800));
    signal("CONT", &pid);
    let refused = run.wait_with_output().expect("it ends by itself");
    assert_eq!(refused.status.code(), Some(4), "{}", errors(&refused));
    assert!(errors(&refused).contains("ms late with one in a hundred"), "{}", errors(&refused));
}

#[test]
fn samples_of_a_worker_that_dies_are_lost_and_not_forgotten() {
    let server = Server::start(OPEN);
    let more = ["-n", "10", "--rate", "200", "--seconds", "3", "--processes", "2"];
    let run = begin("echo", &url(&server), &more);
    let pids = workers(&run, 2);
    wait_for(&server, 10, 10);
    signal("KILL", &pids[1]);
    let refused = run.wait_with_output().expect("it ends by itself");
    assert_eq!(refused.status.code(), Some(4), "{}", errors(&refused));
    assert!(errors(&refused).contains("all its samples are lost"), "{}", errors(&refused));
}

#[test]
fn thresholds_and_interrupts_have_codes_of_their_own() {
    let server = Server::start(OPEN);
    let small = ["-n", "10", "--rate", "50", "--seconds", "0.5", "--allow-saturated"];
    let failed = bench("echo", &url(&server), &[&small[..], &["--fail-if", "p50>0us"]].concat());
    assert_eq!(failed.status.code(), Some(3), "{}", errors(&failed));
    assert!(errors(&failed).contains("failed: p50>0us: it is "), "{}", errors(&failed));
    let wrong = bench("echo", &url(&server), &["--fail-if", "p99>5"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(errors(&wrong).contains("p99>5ms"), "{}", errors(&wrong));
    // Before anything runs: there is no server at all.
    let wrong = bench("echo", "ws://127.0.0.1:1/", &["--fail-if", "gaps>0"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", errors(&wrong));
    assert!(errors(&wrong).contains("it counts answered, asked"), "{}", errors(&wrong));
    let two = ["--fail-if", "p50>0us", "--fail-if", "asked>0", "--fail-if", "errors>0"];
    let failed = bench("echo", &url(&server), &[&small[..], &two].concat());
    assert_eq!(errors(&failed).matches("failed: ").count(), 2, "{}", errors(&failed));
    let more = ["-n", "10", "--seconds", "60", "--json", "--allow-saturated"];
    let run = begin("echo", &url(&server), &more);
    // Behind what the run before asked: 10 clients and 25 messages, twice.
    wait_for(&server, 30, 100);
    signal("INT", &run.id().to_string());
    let began = Instant::now();
    let stopped = run.wait_with_output().expect("it ends");
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(stopped.status.code(), Some(130), "{}", errors(&stopped));
    let report: Value = serde_json::from_slice(&stopped.stdout).expect("what there was");
    assert_eq!(report["interrupted"], true);
    assert!(samples(&report, "round_trip") > 0, "{report}");
}

#[test]
fn servers_that_cannot_be_measured_are_named() {
    let server = Server::start(OPEN);
    let elsewhere = url(&server).replace("/connection/websocket", "/nowhere");
    for (url, mark) in [(elsewhere.as_str(), "http 404"), ("ws://127.0.0.1:1/", "refused")] {
        for (mode, more) in [
            ("echo", &["-n", "2", "--seconds", "0.5"][..]),
            ("connect", &["-n", "2", "--hold", "0", "--allow-saturated"]),
            ("churn", &["-n", "2", "--seconds", "0.5", "--allow-saturated"]),
        ] {
            let failed = bench(mode, url, more);
            assert_eq!(failed.status.code(), Some(1), "{mode}: {}", errors(&failed));
            assert!(errors(&failed).contains(mark), "{mode}: {}", errors(&failed));
            assert!(failed.stdout.is_empty(), "{mode}");
        }
    }
    let failed = bench("echo", "http://127.0.0.1:1/", &["-n", "2"]);
    assert_eq!(failed.status.code(), Some(2), "{}", errors(&failed));
    assert!(errors(&failed).contains("neither ws:// nor wss://"), "{}", errors(&failed));
}
