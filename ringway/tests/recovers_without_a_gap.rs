//! Goal: 10,000 times a connection is cut at a random byte and resumed while publishing goes on,
//! and no client misses, repeats or reorders a publication; outside the window, `recovered` is
//! honestly false.
//! Method: clients keep their own ledgers. They read a random number of bytes, so that cuts fall
//! into the middle of frames, drop the socket, and come back with their last position.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use server::{Client, Received, Server};

const CYCLES: u64 = 10_000;
const CLIENTS: u64 = 16;
/// The publisher waits for whoever is so far behind: one recovery holds 300.
const BEHIND_MAX: u64 = 150;

/// Random numbers from a seed: xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Where a client is in the channel.
#[derive(Default)]
struct Ledger {
    epoch: String,
    offset: u64,
    /// The offset, for the publisher.
    shown: Arc<AtomicU64>,
    recovered: u64,
    refused: u64,
    seen: u64,
}

impl Ledger {
    fn publication(&mut self, publication: &Value) {
        let offset = publication["offset"].as_u64().expect("an offset");
        assert_eq!(offset, self.offset + 1, "a gap, a repeat, or another order");
        self.offset = offset;
        self.shown.store(offset, Ordering::Relaxed);
        self.seen += 1;
    }

    /// The answer to a subscribe that asked to recover, if `is_return`.
    fn subscribed(&mut self, result: &Value, is_return: bool) {
        let recovered = result["recovered"].as_bool().unwrap_or(false);
        let none = Vec::new();
        let publications = result["publications"].as_array().unwrap_or(&none);
        if !is_return {
            self.epoch = result["epoch"].as_str().expect("an epoch").to_owned();
            self.offset = result["offset"].as_u64().unwrap_or(0);
            self.shown.store(self.offset, Ordering::Relaxed);
            return;
        }
        assert_eq!(result["epoch"].as_str(), Some(self.epoch.as_str()), "the epoch stays");
        let top = result["offset"].as_u64().expect("an offset");
        if recovered {
            self.recovered += 1;
            publications.iter().for_each(|publication| self.publication(publication));
            assert_eq!(self.offset, top, "everything or nothing");
        } else {
            self.refused += 1;
            assert!(publications.is_empty(), "never a part");
            assert!(top > self.offset, "nothing was missed, so that nothing was refused");
            self.offset = top;
            self.shown.store(top, Ordering::Relaxed);
        }
    }
}

fn one_visit(server: &Server, channel: &str, ledger: &mut Ledger, bytes: u64, is_return: bool) {
    let mut client = Client::open(server, "/connection/websocket");
    let (epoch, offset) = (&ledger.epoch, ledger.offset);
    let recover = format!(r#""recover":{is_return},"epoch":"{epoch}","offset":{offset}"#);
    client.send(&format!(
        "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\",{recover}}}}}"
    ));
    // At least until the subscription is answered, so that there is something to come back to.
    let mut is_subscribed = false;
    while !is_subscribed || client.bytes_read < bytes {
        let at_most = if is_subscribed { bytes - client.bytes_read } else { 4096 };
        match client.receive_some(at_most) {
            None => continue,
            Some(Received::Text(text)) => {
                let message: Value = serde_json::from_str(&text).expect("JSON");
                if let Some(result) = message.get("subscribe") {
                    ledger.subscribed(result, is_return);
                    is_subscribed = true;
                } else if let Some(publication) = message.pointer("/push/pub") {
                    ledger.publication(publication);
                }
            }
            Some(other) => panic!("the server ended the connection: {other:?}"),
        }
    }
}

fn run(namespace: &str, cycles: u64, pause: bool) -> (u64, u64, u64) {
    let server = Arc::new(Server::start(
        r#"{"client": {"insecure": true}, "channel": {"namespaces": [
            {"name": "wide", "history_size": 20000, "history_ttl": "300s", "force_recovery": true},
            {"name": "narrow", "history_size": 2, "history_ttl": "300s", "force_recovery": true}
        ]}}"#,
    ));
    let channel = format!("{namespace}:room");
    let is_over = Arc::new(AtomicBool::new(false));
    let shown: Vec<Arc<AtomicU64>> = (0..CLIENTS).map(|_| Arc::default()).collect();
    let (recovered, refused, seen) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut client = Client::connected(&server);
            let mut id = 2;
            while !is_over.load(Ordering::Relaxed) {
                let publish = format!(
                    r#"{{"id":{id},"publish":{{"channel":"{channel}","data":{{"n":{id}}}}}}}"#
                );
                client.send(&publish);
                assert!(client.text().contains(r#""publish":{}"#));
                id += 1;
                // A client that waits for a core misses less than one recovery holds.
                let slowest = || shown.iter().map(|one| one.load(Ordering::Relaxed)).min();
                while slowest().is_some_and(|offset| offset + BEHIND_MAX < id)
                    && !is_over.load(Ordering::Relaxed)
                {
                    thread::sleep(Duration::from_millis(1));
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .zip(&shown)
            .map(|(number, shown)| {
                let (server, channel) = (&server, &channel);
                let (recovered, refused, seen) = (&recovered, &refused, &seen);
                scope.spawn(move || {
                    let mut random = Random(0x1234_5678_9abc_def1 + number * 7919);
                    let mut ledger = Ledger { shown: shown.clone(), ..Ledger::default() };
                    for cycle in 0..=cycles / CLIENTS {
                        let bytes = 300 + random.below(4000);
                        one_visit(server, channel, &mut ledger, bytes, cycle > 0);
                        if pause {
                            thread::sleep(Duration::from_millis(random.below(20)));
                        }
                    }
                    // Nobody waits for it any more.
                    shown.store(u64::MAX / 2, Ordering::Relaxed);
                    recovered.fetch_add(ledger.recovered, Ordering::Relaxed);
                    refused.fetch_add(ledger.refused, Ordering::Relaxed);
                    seen.fetch_add(ledger.seen, Ordering::Relaxed);
                })
            })
            .collect();
        let ends: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        ends.into_iter().for_each(|end| end.expect("its ledger is in order"));
        publisher.join().expect("the publisher went on");
    });
    (recovered.into_inner(), refused.into_inner(), seen.into_inner())
}

#[test]
fn within_the_window_every_resume_is_complete() {
    let (recovered, refused, seen) = run("wide", CYCLES, false);
    println!("{recovered} resumes recovered, {refused} refused, {seen} publications seen");
    assert!(recovered + refused >= CYCLES);
    assert_eq!(refused, 0, "the window reaches back for all of them");
}

#[test]
fn outside_the_window_refusals_are_honest() {
    let (recovered, refused, seen) = run("narrow", CYCLES / 25, true);
    println!("{recovered} resumes recovered, {refused} refused, {seen} publications seen");
    assert!(refused > 0, "two publications are soon over");
}
