//! Goal: behind listed proxies the client's address is the peer, and nobody else can say who it is.
//! Method: a shard on the bench; peers are looked up after a header of the PROXY protocol or a
//! request with X-Forwarded-For.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use gateway::config::GatewayConfig;
use gateway::engine::Event;
use protocol::channels::ChannelOptions;
use protocol::close::CloseReason;
use protocol::ids::ConnectionId;
use protocol::proxies::{Prefixes, ProxyFault, Source};
use support::{Bench, UPGRADE, insecure};

fn listed(texts: &[&str]) -> Prefixes {
    Prefixes::new(texts.iter().map(|text| Prefixes::parse(text).unwrap()))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn bench() -> Bench {
    Bench::new(GatewayConfig {
        proxy_protocol: listed(&["10.0.0.0/8"]),
        forwarded_for: listed(&["172.16.0.0/12"]),
        ..insecure(ChannelOptions::default())
    })
}

fn peer(bench: &mut Bench, connection: ConnectionId) -> String {
    bench.shard.peer_of(connection).map_or("unknown".to_owned(), |peer| peer.to_string())
}

fn get(bench: &mut Bench, connection: ConnectionId, forwarded: &str) {
    let head = format!("GET /x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {forwarded}\r\n\r\n");
    bench.request(connection, &head);
}

fn answered(bench: &mut Bench, connection: ConnectionId) {
    bench.tell(Event::RequestComplete { connection });
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    bench.tell(Event::Response { connection, bytes, is_last: false });
}

#[test]
fn only_listed_proxies_are_asked_for_a_header() {
    let mut bench = bench();
    let client = bench.accept_from(Some(address("192.0.2.1:5")));
    let unknown = bench.accept_from(None);
    assert!(bench.unnamed.is_empty(), "{client} {unknown}");
    let proxied = bench.accept_from(Some(address("10.1.2.3:5")));
    assert_eq!(bench.unnamed, [proxied]);
    let client = Source::Client(address("192.0.2.7:4711"));
    bench.tell(Event::ProxyHeader { connection: proxied, header: Ok(client) });
    assert_eq!(peer(&mut bench, proxied), "192.0.2.7:4711");
    let checked = bench.accept_from(Some(address("10.1.2.3:6")));
    bench.tell(Event::ProxyHeader { connection: checked, header: Ok(Source::Socket) });
    assert_eq!(peer(&mut bench, checked), "10.1.2.3:6");
}

#[test]
fn a_wrong_header_and_a_late_one_end_the_connection() {
    let mut bench = bench();
    let wrong = bench.accept_from(Some(address("10.1.2.3:5")));
    bench.tell(Event::ProxyHeader { connection: wrong, header: Err(ProxyFault::Version) });
    assert_eq!(bench.cut, [wrong]);
    let late = bench.accept_from(Some(address("10.1.2.3:6")));
    let named = bench.accept_from(Some(address("10.1.2.3:7")));
    bench.tell(Event::ProxyHeader { connection: named, header: Ok(Source::Socket) });
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.cut, [wrong]);
    bench.pass(Duration::from_millis(1_500));
    assert!(bench.cut.contains(&late), "{:?}", bench.cut);
    assert_eq!(bench.response(late), "", "it may speak TLS: there is nothing to say");
    let counters = bench.shard.counters();
    assert_eq!(counters.closes[CloseReason::ProxyHeader.index()], 2);
    assert_eq!(counters.proxy_headers_refused[ProxyFault::Version as usize], 1);
    assert_eq!(counters.proxy_headers_refused[ProxyFault::Incomplete as usize], 1);
}

#[test]
fn forwarded_for_is_believed_of_listed_proxies_alone() {
    let mut bench = bench();
    for (sender, header, expected) in [
        ("172.16.0.1:5", "192.0.2.7", "192.0.2.7:0"),
        ("172.16.0.1:5", "198.51.100.1, 192.0.2.7, 172.31.0.9", "192.0.2.7:0"),
        ("172.16.0.1:5", "192.0.2.7, unknown", "172.16.0.1:5"),
        ("172.16.0.1:5", "172.16.0.9", "172.16.0.1:5"),
        ("192.0.2.1:5", "192.0.2.7", "192.0.2.1:5"),
        // To be asked for a PROXY header is not to be believed a request's.
        ("10.0.0.1:5", "192.0.2.7", "10.0.0.1:5"),
    ] {
        let connection = bench.accept_from(Some(address(sender)));
        get(&mut bench, connection, header);
        assert_eq!(peer(&mut bench, connection), expected, "{sender} {header}");
    }
}

#[test]
fn each_request_of_a_proxy_has_its_own_client() {
    let mut bench = bench();
    let connection = bench.accept_from(Some(address("172.16.0.1:5")));
    for client in ["192.0.2.7", "192.0.2.8", "172.16.0.9", "192.0.2.9"] {
        get(&mut bench, connection, client);
        let expected = match client {
            "172.16.0.9" => "172.16.0.1:5".to_owned(),
            client => format!("{client}:0"),
        };
        assert_eq!(peer(&mut bench, connection), expected);
        answered(&mut bench, connection);
    }
    bench.request(connection, UPGRADE);
    assert_eq!(peer(&mut bench, connection), "172.16.0.1:5", "this request named nobody");
}

#[test]
fn a_client_of_both_kinds_of_proxy_is_found() {
    let mut bench = bench();
    let connection = bench.accept_from(Some(address("10.1.2.3:5")));
    let inner = Source::Client(address("172.16.0.1:80"));
    bench.tell(Event::ProxyHeader { connection, header: Ok(inner) });
    get(&mut bench, connection, "192.0.2.7");
    assert_eq!(peer(&mut bench, connection), "192.0.2.7:0");
}
