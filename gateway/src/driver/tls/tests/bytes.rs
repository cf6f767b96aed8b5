//! Whatever bytes come, and whatever the server does meanwhile: nothing panics, nothing is kept
//! beyond its bound, and what is whole is understood however it is cut into records.

use std::io::Write as _;

use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::version::{TLS12, TLS13};

use super::super::config::{RecordLayer, TlsOptions};
use super::*;
use crate::limits::{TLS_HANDSHAKE_BYTES_MAX, TLS_KEPT_BYTES_MAX};

/// What happens to the bytes of a client.
#[derive(Clone, Debug)]
enum Harm {
    Flip { at: usize, bit: u8 },
    Cut { at: usize },
    Insert { at: usize, bytes: Vec<u8> },
    Repeat { from: usize, count: usize },
    Drop { from: usize, count: usize },
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        (any::<usize>(), 0..8_u8).prop_map(|(at, bit)| Harm::Flip { at, bit }),
        any::<usize>().prop_map(|at| Harm::Cut { at }),
        (any::<usize>(), prop::collection::vec(any::<u8>(), 1..20))
            .prop_map(|(at, bytes)| Harm::Insert { at, bytes }),
        (any::<usize>(), 1..300_usize).prop_map(|(from, count)| Harm::Repeat { from, count }),
        (any::<usize>(), 1..30_usize).prop_map(|(from, count)| Harm::Drop { from, count }),
    ]
}

fn harmed(mut bytes: Vec<u8>, harm: &Harm) -> Vec<u8> {
    let length = bytes.len().max(1);
    let range = |from: usize, count: usize| {
        let from = from % length;
        from..(from + count).min(length)
    };
    match harm {
        _ if bytes.is_empty() => {}
        Harm::Flip { at, bit } => bytes[at % length] ^= 1 << bit,
        Harm::Cut { at } => bytes.truncate(at % length),
        Harm::Insert { at, bytes: inserted } => {
            let at = at % length;
            bytes.splice(at..at, inserted.iter().copied());
        }
        Harm::Repeat { from, count } => {
            let range = range(*from, *count);
            let again = bytes[range.clone()].to_vec();
            bytes.splice(range.end..range.end, again);
        }
        Harm::Drop { from, count } => drop(bytes.drain(range(*from, *count))),
    }
    bytes
}

/// What the server does between two receives.
fn act(server: &mut Server, deed: u8) {
    match deed {
        0 => {
            // Whatever became of the connection, it is told.
            let _ = server.tls.seal(CONNECTION, SendBuffer::owned(b"answer".to_vec()));
            server.flush();
        }
        1 => {
            server.tls.end_writing(CONNECTION);
            server.flush();
        }
        2 => drop(server.tls.last_words(CONNECTION)),
        _ => {}
    }
}

fn ways() -> Vec<(Arc<TlsConfig>, ClientConfig)> {
    let suites = || default_provider().cipher_suites;
    let own = testing::options();
    let theirs = TlsOptions { record_layer: RecordLayer::Rustls, ..own.clone() };
    let config = |options: &TlsOptions| Arc::new(TlsConfig::new(options).unwrap());
    vec![
        (config(&own), testing::client(suites(), &[&TLS13])),
        (config(&theirs), testing::client(suites(), &[&TLS13])),
        (config(&own), testing::client(suites(), &[&TLS12])),
    ]
}

/// The same bytes of the handshake in records of at most `size`, as far as they are not sealed.
fn fragmented(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut rest = bytes;
    let mut fragments = Vec::new();
    while let Some((&[kind, major, minor, high, low], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (content, after) = after.split_at(length);
        let size = if kind == 22 { size } else { length };
        for part in content.chunks(size) {
            fragments.extend_from_slice(&[kind, major, minor, 0, 0]);
            let header = fragments.len() - 2;
            fragments[header..].copy_from_slice(&(part.len() as u16).to_be_bytes());
            fragments.extend_from_slice(part);
        }
        rest = after;
    }
    fragments
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn harmed_bytes_do_no_harm(
        way in 0..3_usize,
        flight in 0..4_usize,
        harms in prop::collection::vec(harm(), 1..4),
        step in prop_oneof![1..40_usize, Just(2048)],
        deeds in prop::collection::vec(0..12_u8, 1..20),
        size in prop_oneof![1..60_usize, Just(1 << 14)],
    ) {
        let (server, client) = ways().swap_remove(way);
        let mut pair = Pair::new(server, client);
        for number in 0..4 {
            // A client that gave up goes on with nothing.
            let _ = pair.take_in();
            if !pair.client.is_handshaking() {
                let _ = pair.client.writer().write_all(b"data of the client");
            }
            let bytes = pair.outgoing();
            let is_plain = number == 0;
            let bytes = if is_plain { fragmented(&bytes, size) } else { bytes };
            let bytes = match number == flight {
                true => harms.iter().fold(bytes, harmed),
                false => bytes,
            };
            for (part, deed) in bytes.chunks(step).zip(deeds.iter().cycle()) {
                pair.server.receive(part);
                act(&mut pair.server, *deed);
                let kept = pair.server.tls.kept_bytes(CONNECTION);
                assert!(kept <= TLS_KEPT_BYTES_MAX.max(TLS_HANDSHAKE_BYTES_MAX), "{kept} bytes");
            }
        }
        pair.server.tls.closed(CONNECTION);
        assert_eq!(pair.server.counters().handshakes_now, 0);
    }
}

#[test]
fn a_hello_in_many_records_is_understood() {
    for (server, client) in ways() {
        let (server, client) = (server, Arc::new(client));
        for (size, step) in [(1, 2048), (4, 1), (7, 13), (100, 100)] {
            let mut pair = Pair::with(server.clone(), client.clone(), "one.example");
            let hello = pair.outgoing();
            for part in fragmented(&hello, size).chunks(step) {
                pair.server.receive(part);
            }
            let mut pair = pair.shaken();
            pair.write(b"data");
            pair.run(2048).unwrap();
            assert_eq!(pair.server.data, b"data", "records of {size}");
        }
    }
}
