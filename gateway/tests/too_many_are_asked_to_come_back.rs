//! Goal: who is over a limit is told 503 and when to come back, before the upgrade; nobody else is.
//! Method: two shards of one process on benches, which share what they count.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway::arrivals::{ArrivalLimits, Arrivals};
use gateway::config::GatewayConfig;
use gateway::engine::{Event, Rate, UpgradeRefusal};
use gateway::limits::{RETRY_AFTER_SECONDS, SHED_LINGER_TIMEOUT};
use protocol::channels::ChannelOptions;
use protocol::ids::ConnectionId;
use protocol::proxies::Prefixes;
use support::{Bench, CONNECTIONS_MAX, UPGRADE, insecure};

const OPEN: ArrivalLimits = ArrivalLimits {
    rate: None,
    address_connections_max: 0,
    address_rate: None,
    ipv4_prefix_bits: 32,
    ipv6_prefix_bits: 64,
};

fn config(limits: ArrivalLimits) -> GatewayConfig {
    let proxy = Prefixes::parse("10.0.0.1").unwrap();
    GatewayConfig {
        arrivals: limits,
        forwarded_for: Prefixes::new([proxy]),
        ..insecure(ChannelOptions::default())
    }
}

/// Two shards of a process.
fn benches(limits: ArrivalLimits) -> [Bench; 2] {
    let arrivals = Arc::new(Arrivals::new(1000, 7));
    arrivals.prepare(&limits);
    [(); 2].map(|()| {
        let mut bench = Bench::new(config(limits));
        bench.share(arrivals.clone());
        bench
    })
}

/// A client asks for an upgrade; what it is answered, and its connection.
fn come_with(bench: &mut Bench, peer: &str, head: &str) -> (ConnectionId, String) {
    let peer: SocketAddr = peer.parse().unwrap();
    let connection = bench.accept_from(Some(peer));
    bench.request(connection, head);
    (connection, bench.response(connection))
}

fn come(bench: &mut Bench, peer: &str) -> (ConnectionId, String) {
    come_with(bench, peer, UPGRADE)
}

fn is_in(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 101")
}

/// The seconds after which a client that was refused may come back.
fn retry_after(answer: &str) -> u64 {
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let value = answer.split("Retry-After: ").nth(1).expect("a header").split("\r\n").next();
    value.expect("a line").parse().expect("seconds")
}

fn gone(bench: &mut Bench, connection: ConnectionId) {
    bench.tell(Event::ReceiveEnded { connection, has_failed: true });
    assert!(bench.cut.contains(&connection));
}

#[test]
fn connections_of_an_address_are_counted_over_shards() {
    let mut shards = benches(ArrivalLimits { address_connections_max: 3, ..OPEN });
    let mut first = None;
    for count in 0..3_usize {
        let (connection, answer) = come(&mut shards[count % 2], "192.0.2.1:5");
        assert!(is_in(&answer), "{answer}");
        first.get_or_insert(connection);
    }
    for shard in &mut shards {
        let (_, answer) = come(shard, "192.0.2.1:6");
        assert!(retry_after(&answer) >= RETRY_AFTER_SECONDS);
        assert!(answer.contains("too many connections from this address"), "{answer}");
        assert!(is_in(&come(shard, "192.0.2.2:5").1), "another address");
    }
    gone(&mut shards[0], first.unwrap());
    assert!(is_in(&come(&mut shards[1], "192.0.2.1:7").1), "a place was left");
    assert!(!is_in(&come(&mut shards[0], "192.0.2.1:8").1));
    let refused = shards.map(|shard| {
        shard.shard.counters().upgrades_refused[UpgradeRefusal::AddressConnectionLimit as usize]
    });
    assert_eq!(refused, [2, 1]);
}

#[test]
fn every_way_to_end_gives_the_place_back() {
    let [mut bench, _] = benches(ArrivalLimits { address_connections_max: 1, ..OPEN });
    for round in 0..4 {
        let (connection, answer) = come(&mut bench, "192.0.2.1:5");
        assert!(is_in(&answer), "round {round}: {answer}");
        match round {
            0 => gone(&mut bench, connection),
            // No connect in time; then the peer has its time to close.
            1 => bench.pass(Duration::from_secs(20)),
            2 => {
                bench.say(connection, "junk");
                bench.tell(Event::ReceiveEnded { connection, has_failed: false });
            }
            _ => {
                bench.say(connection, r#"{"id":1,"connect":{}}"#);
                gone(&mut bench, connection);
            }
        }
        assert!(bench.cut.contains(&connection), "round {round}");
    }
    assert!(is_in(&come(&mut bench, "192.0.2.1:5").1), "behind the last round");
}

#[test]
fn new_connections_of_an_address_have_a_rate() {
    let rate = Some(Rate::new(2, 2));
    let [mut bench, _] = benches(ArrivalLimits { address_rate: rate, ..OPEN });
    let came = (0..5).filter(|_| is_in(&come(&mut bench, "[2001:db8::1]:5").1)).count();
    assert_eq!(came, 2);
    // A host has its whole /64.
    let (_, answer) = come(&mut bench, "[2001:db8::ffff:1]:5");
    assert!((1..=6).contains(&retry_after(&answer)), "{answer}");
    assert!(is_in(&come(&mut bench, "[2001:db8:0:1::1]:5").1));
    bench.pass(Duration::from_secs(1));
    let came = (0..5).filter(|_| is_in(&come(&mut bench, "[2001:db8::1]:5").1)).count();
    assert_eq!(came, 2);
}

#[test]
fn the_rate_of_the_process_is_one_for_all_shards() {
    let mut shards = benches(ArrivalLimits { rate: Some(Rate::new(10, 10)), ..OPEN });
    let mut came = 0;
    let mut told = std::collections::BTreeSet::new();
    for client in 0..200_usize {
        let peer = format!("192.0.2.{client}:5");
        let (_, answer) = come(&mut shards[client % 2], &peer);
        match is_in(&answer) {
            true => came += 1,
            false => drop(told.insert(retry_after(&answer))),
        }
    }
    assert_eq!(came, 10);
    assert!(told.len() > 3, "clients that came together come back apart: {told:?}");
}

#[test]
fn behind_a_proxy_its_clients_count() {
    let [mut bench, _] = benches(ArrivalLimits { address_connections_max: 1, ..OPEN });
    let via = |client: &str| {
        UPGRADE.replacen("\r\n\r\n", &format!("\r\nX-Forwarded-For: {client}\r\n\r\n"), 1)
    };
    for client in 1..20 {
        let (_, answer) = come_with(&mut bench, "10.0.0.1:5", &via(&format!("192.0.2.{client}")));
        assert!(is_in(&answer), "{answer}");
    }
    let (_, answer) = come_with(&mut bench, "10.0.0.1:5", &via("192.0.2.7"));
    assert!(retry_after(&answer) > 0);
    // Who is no proxy cannot be somebody else.
    assert!(is_in(&come_with(&mut bench, "192.0.2.99:5", &via("1.1.1.1")).1));
    let (_, answer) = come_with(&mut bench, "192.0.2.99:5", &via("1.1.1.2"));
    assert!(retry_after(&answer) > 0);
}

#[test]
fn a_reload_changes_limits_for_who_comes_next() {
    let [mut bench, _] = benches(ArrivalLimits { address_connections_max: 1, ..OPEN });
    assert!(is_in(&come(&mut bench, "192.0.2.1:5").1));
    assert!(!is_in(&come(&mut bench, "192.0.2.1:5").1));
    let more = ArrivalLimits { address_connections_max: 3, ..OPEN };
    bench.tell(Event::Config(Arc::new(config(more))));
    assert!(is_in(&come(&mut bench, "192.0.2.1:5").1));
    assert!(is_in(&come(&mut bench, "192.0.2.1:5").1));
    assert!(!is_in(&come(&mut bench, "192.0.2.1:5").1));
    bench.tell(Event::Config(Arc::new(config(OPEN))));
    let came: Vec<_> = (0..5).map(|_| come(&mut bench, "192.0.2.1:5")).collect();
    assert!(came.iter().all(|(_, answer)| is_in(answer)));
    // Who came while there was no limit holds nothing, and frees nothing.
    came.into_iter().for_each(|(connection, _)| gone(&mut bench, connection));
    bench.tell(Event::Config(Arc::new(config(more))));
    assert!(!is_in(&come(&mut bench, "192.0.2.1:5").1), "three are left of before");
}

#[test]
fn a_full_process_says_so_and_lets_the_refused_go_soon() {
    let [mut bench, _] = benches(OPEN);
    let all: Vec<_> = (0..CONNECTIONS_MAX).map(|_| come(&mut bench, "192.0.2.1:5")).collect();
    assert!(all.iter().all(|(_, answer)| is_in(answer)));
    let (refused, answer) = come(&mut bench, "192.0.2.2:5");
    assert!((RETRY_AFTER_SECONDS..=2 * RETRY_AFTER_SECONDS).contains(&retry_after(&answer)));
    assert!(!bench.cut.contains(&refused), "it has its answer to read");
    bench.pass(SHED_LINGER_TIMEOUT + Duration::from_millis(200));
    assert!(bench.cut.contains(&refused), "its place is wanted");
    let counters = bench.shard.counters();
    assert_eq!(counters.upgrades_refused[UpgradeRefusal::ConnectionLimit as usize], 1);
    gone(&mut bench, all[0].0);
    assert!(is_in(&come(&mut bench, "192.0.2.2:5").1));
}
