//! Goal: under about 2,000 durable publications a second from several clients, 20 kills lose
//! nothing that was acknowledged, order nothing anew, take no key twice, and change nothing that a
//! subscriber saw.
//! Method: writers keep what was acknowledged, with and without keys, a subscriber what it was
//! told; the real server is killed with SIGKILL at random moments and started again on its data
//! directory. Then everything is compared with the history.

#[path = "support/link.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod link;
#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use link::{Api, Link, history};
use serde_json::Value;
use server::Server;

const KILLS: u32 = 20;
const CHANNELS: [&str; 3] = ["log:a", "log:b", "store:c"];
/// Publications that one writer leaves unanswered.
const WINDOW: usize = 32;
/// Time between two publications of one of the six writers.
const PACE: Duration = Duration::from_millis(2);

/// What everybody shares.
struct Run {
    address: String,
    is_over: AtomicBool,
    acknowledged: AtomicU64,
}

impl Run {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Does `work` again and again, with a pause when the server is gone.
    fn until_over(&self, mut work: impl FnMut() -> io::Result<()>) {
        while !self.is_over() {
            if work().is_err() {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Ends everybody's work, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Publishes on one WebSocket after the other; returns what was acknowledged.
fn write(run: &Run, writer: usize, channel: &str) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut number = 0;
    run.until_over(|| {
        let mut link = Link::open(&run.address)?;
        let mut waiting: VecDeque<(u64, String)> = VecDeque::new();
        while !run.is_over() {
            number += 1;
            let data = format!("w{writer}-{number}");
            link.send(&format!(
                r#"{{"id":{},"publish":{{"channel":"{channel}","data":"{data}"}}}}"#,
                number + 1
            ))?;
            waiting.push_back((number + 1, data));
            if waiting.len() >= WINDOW {
                let reply: Value = serde_json::from_str(&link.text()?).expect("JSON");
                let (id, data) = waiting.pop_front().expect("a window");
                assert_eq!(reply["id"].as_u64(), Some(id), "replies keep the order: {reply}");
                if reply.get("publish").is_some() {
                    acknowledged.push(data);
                    run.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            }
            thread::sleep(PACE);
        }
        Ok(())
    });
    acknowledged
}

/// Publishes by the API, each under a key and again until it is acknowledged.
fn write_keyed(run: &Run, writer: usize, channel: &str) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut number = 0;
    run.until_over(|| {
        let mut api = Api::open(&run.address)?;
        while !run.is_over() {
            let data = format!("k{writer}-{number}");
            let body =
                format!(r#"{{"channel":"{channel}","data":"{data}","idempotency_key":"{data}"}}"#);
            let answer = api.call("publish", &body)?;
            if answer["error"].is_null() {
                acknowledged.push(data);
                run.acknowledged.fetch_add(1, Ordering::Relaxed);
                number += 1;
            }
            thread::sleep(PACE);
        }
        Ok(())
    });
    acknowledged
}

/// Listens and recovers; returns what it was told, by offset.
fn listen(run: &Run, channel: &str) -> BTreeMap<u64, String> {
    let mut seen: BTreeMap<u64, String> = BTreeMap::new();
    let mut epoch = String::new();
    run.until_over(|| {
        let mut link = Link::open(&run.address)?;
        let top = seen.keys().next_back().copied().unwrap_or(0);
        link.send(&format!(
            r#"{{"id":2,"subscribe":{{"channel":"{channel}","recover":{},"epoch":"{epoch}","offset":{top}}}}}"#,
            !epoch.is_empty()
        ))?;
        let mut take = |publication: &Value| {
            let offset = publication["offset"].as_u64().expect("an offset");
            let data = publication["data"].as_str().expect("text").to_owned();
            let top = seen.keys().next_back().copied();
            assert!(top.is_none_or(|top| offset == top + 1), "{offset} behind {top:?}");
            seen.insert(offset, data);
        };
        while !run.is_over() {
            let message: Value = serde_json::from_str(&link.text()?).expect("JSON");
            if let Some(result) = message.get("subscribe") {
                let now = result["epoch"].as_str().expect("an epoch").to_owned();
                assert!(epoch.is_empty() || epoch == now, "the epoch outlives the process");
                let is_return = !epoch.is_empty();
                assert!(!is_return || result["recovered"] == true, "recovered from disk: {result}");
                epoch = now;
                let none = Vec::new();
                let missed = result["publications"].as_array().unwrap_or(&none);
                missed.iter().for_each(&mut take);
            } else if let Some(publication) = message.pointer("/push/pub") {
                take(publication);
            } else if message.get("error").is_some() {
                // The store does not answer yet: again.
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        Ok(())
    });
    seen
}

fn config(directory: &std::path::Path) -> String {
    let namespace = |name: &str| {
        format!(
            r#"{{"name": "{name}", "durability": "{name}", "history_size": 1000000,
                "history_ttl": "1h", "force_recovery": true}}"#
        )
    };
    format!(
        r#"{{"client": {{"insecure": true}},
            "http_api": {{"key": "key"}}, "persistence": {{"data_dir": "{}"}},
            "channel": {{"namespaces": [{}, {}]}}}}"#,
        directory.display(),
        namespace("log"),
        namespace("store")
    )
}

#[test]
fn twenty_kills() {
    let directory = tempfile::tempdir().expect("a folder");
    let json = config(&directory.path().join("data"));
    let port = server::port_of_our_own();
    let mut server = Server::start_on(&json, &port);
    let run = Run {
        address: format!("127.0.0.1:{port}"),
        is_over: AtomicBool::new(false),
        acknowledged: AtomicU64::new(0),
    };
    let (mut acknowledged, mut seen) = (HashMap::new(), HashMap::new());
    let mut under_load = Duration::ZERO;
    thread::scope(|scope| {
        let run = &run;
        let _ends = Ends(&run.is_over);
        let writers: Vec<_> = CHANNELS
            .iter()
            .enumerate()
            .flat_map(|(number, channel)| {
                let plain = scope.spawn(move || write(run, number, channel));
                let keyed = scope.spawn(move || write_keyed(run, number, channel));
                [(*channel, plain), (*channel, keyed)]
            })
            .collect();
        let listeners: Vec<_> = CHANNELS
            .iter()
            .map(|channel| (*channel, scope.spawn(|| listen(run, channel))))
            .collect();
        for kill in 0..KILLS {
            let began = Instant::now();
            thread::sleep(Duration::from_millis(300 + u64::from(kill * 37 % 200)));
            under_load += began.elapsed();
            server.kill();
            server = Server::start_on(&json, &port);
        }
        thread::sleep(Duration::from_millis(500));
        run.is_over.store(true, Ordering::Relaxed);
        for (channel, writer) in writers {
            let acks = writer.join().expect("a writer goes on");
            acknowledged.entry(channel).or_insert_with(Vec::new).extend(acks);
        }
        for (channel, listener) in listeners {
            seen.insert(channel, listener.join().expect("its ledger is in order"));
        }
    });
    let count = run.acknowledged.load(Ordering::Relaxed);
    println!("{count} acknowledged in {:.1} s under load", under_load.as_secs_f64());
    for channel in CHANNELS {
        check(&run.address, channel, &acknowledged[channel], &seen[channel]);
    }
}

/// Compares what writers and listener know of a channel with its history.
fn check(address: &str, channel: &str, acknowledged: &[String], seen: &BTreeMap<u64, String>) {
    let all = history(address, channel);
    let offsets: Vec<u64> = all.iter().map(|(offset, _)| *offset).collect();
    assert!(offsets.iter().copied().eq(1..=all.len() as u64), "{channel}: the history is whole");
    let texts: Vec<&str> = all.iter().map(|(_, data)| data.as_str().expect("text")).collect();
    let different: BTreeSet<&str> = texts.iter().copied().collect();
    let lost: Vec<_> =
        acknowledged.iter().filter(|one| !different.contains(one.as_str())).collect();
    assert!(lost.is_empty(), "{channel}: {} acknowledged were lost: {lost:?}", lost.len());
    let keyed = texts.iter().filter(|text| text.starts_with('k')).count();
    let keyed_different = different.iter().filter(|text| text.starts_with('k')).count();
    assert_eq!(keyed, keyed_different, "{channel}: a key counts once");
    for (offset, text) in seen {
        assert_eq!(
            texts[*offset as usize - 1],
            text,
            "{channel}: offset {offset} stays what it was"
        );
    }
    for prefix in ["w", "k"] {
        let numbers = texts.iter().filter(|text| text.starts_with(prefix)).map(|text| {
            text.split_once('-')
                .and_then(|(_, number)| number.parse::<u64>().ok())
                .expect("a number")
        });
        assert!(numbers.is_sorted(), "{channel}: the order of one writer stays");
    }
    println!(
        "{channel}: {} acknowledged, {} in history, {} seen",
        acknowledged.len(),
        all.len(),
        seen.len()
    );
    assert!(!acknowledged.is_empty(), "writers wrote");
    assert!(!seen.is_empty(), "the listener listened");
}
