//! Our record layer against rustls' own: the same bytes lead to the same data and the same end.
//!
//! One client makes its handshake with one server; a second server, whose randomness is the same,
//! is shown the same bytes and so has the same keys. From then on both see the same records, whole
//! and mutilated.

use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::version::TLS13;
use rustls::{ClientConfig, SupportedCipherSuite};

use super::super::config::{RecordLayer, TlsOptions};
use super::super::counters::RecordFault;
use super::*;

const SUITES: [SupportedCipherSuite; 3] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// A client, and two servers that are in the same state.
struct Twins {
    pair: Pair,
    oracle: Server,
}

impl Twins {
    fn new(options: &TlsOptions, suite: SupportedCipherSuite) -> Self {
        let theirs = TlsOptions { record_layer: RecordLayer::Rustls, ..options.clone() };
        let client: ClientConfig = testing::client(vec![suite], &[&TLS13]);
        let pair = Pair::new(testing::repeatable(options), client).shaken();
        let mut oracle = Server::new(testing::repeatable(&theirs));
        oracle.receive(&pair.tape);
        assert_eq!(oracle.secured_count, 1, "the handshake was repeated");
        Self { pair, oracle }
    }

    /// Shows both the same bytes and compares what came of it.
    fn show(&mut self, bytes: &[u8], step: usize) -> Received {
        for part in bytes.chunks(step.max(1)) {
            self.pair.server.receive(part);
            self.oracle.receive(part);
        }
        let ours = &self.pair.server;
        if ours.end == Received::Failed && self.oracle.end == Received::Open {
            // We refuse a record by its header; rustls waits for the rest of it first.
            assert!(self.oracle.tls.is_unfinished(CONNECTION), "{:?}", self.faults());
            for _ in 0..10 {
                self.oracle.receive(&[0; 2048]);
            }
        }
        assert_eq!(ours.end, self.oracle.end, "{:?}", self.faults());
        assert!(ours.data == self.oracle.data, "the data differs");
        ours.end
    }

    fn forged(&self, ahead: u64, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        self.pair.server.tls.records(CONNECTION).forge(ahead, kind, content, padding)
    }

    /// What both have counted.
    fn faults(&self) -> [Vec<RecordFault>; 2] {
        [&self.pair.server, &self.oracle].map(|server| {
            let counted = server.counters().faults;
            RecordFault::ALL.into_iter().filter(|fault| counted[*fault as usize] > 0).collect()
        })
    }
}

fn options() -> TlsOptions {
    TlsOptions { min_version: super::super::TlsVersion::V1_3, ..testing::options() }
}

/// What happens to a record on its way. Its outer type stays: rustls does not look at it.
#[derive(Clone, Debug)]
enum Mutation {
    None,
    Flip { at: usize, bit: u8 },
    Cut { at: usize },
    Twice,
    Swap,
    Header { at: usize, byte: u8 },
    Insert { kind: u8, length: usize },
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        Just(Mutation::None),
        (any::<usize>(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        any::<usize>().prop_map(|at| Mutation::Cut { at }),
        Just(Mutation::Twice),
        Just(Mutation::Swap),
        (1..5_usize, any::<u8>()).prop_map(|(at, byte)| Mutation::Header { at, byte }),
        (any::<u8>(), 0..40_usize).prop_map(|(kind, length)| Mutation::Insert { kind, length }),
    ]
}

fn mutated(mut records: Vec<Vec<u8>>, which: usize, mutation: &Mutation) -> Vec<u8> {
    let which = which % records.len();
    let record = &mut records[which];
    match *mutation {
        Mutation::None => {}
        Mutation::Flip { at, bit } => {
            let at = 1 + at % (record.len() - 1);
            record[at] ^= 1 << bit;
        }
        Mutation::Cut { at } => record.truncate(at % record.len()),
        Mutation::Twice => {
            let again = record.clone();
            records.insert(which, again);
        }
        Mutation::Swap => {
            let other = (which + 1) % records.len();
            records.swap(which, other);
        }
        Mutation::Header { at, byte } => record[at] = byte,
        Mutation::Insert { kind, length } => {
            let mut inserted = vec![kind, 3, 3, 0, length as u8];
            inserted.resize(5 + length, 1);
            records.insert(which, inserted);
        }
    }
    records.concat()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn mutated_records_lead_to_the_same_data_and_the_same_end(
        suite in 0..3_usize,
        sizes in prop::collection::vec(prop_oneof![1..400_usize, 1..40_000_usize], 1..5),
        which in any::<usize>(),
        mutation in mutation(),
        step in prop_oneof![1..50_usize, Just(2048), Just(1 << 20)],
    ) {
        let mut twins = Twins::new(&options(), SUITES[suite]);
        let mut records = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            twins.pair.write(&vec![number as u8; *size]);
            records.extend(twins.pair.records());
        }
        let bytes = mutated(records, which, &mutation);
        twins.show(&bytes, step);
    }

    #[test]
    fn forged_records_lead_to_the_same_data_and_the_same_end(
        suite in 0..3_usize,
        records in prop::collection::vec(
            (
                prop_oneof![Just(23_u8), 20..25_u8, any::<u8>()],
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..40),
                    (0..2_u8).prop_map(|request| vec![24, 0, 0, 1, request]),
                    (any::<u8>(), any::<u8>()).prop_map(|(level, alert)| vec![level, alert]),
                    (16_300..16_420_usize).prop_map(|length| vec![1; length]),
                ],
                prop_oneof![Just(0), 0..300_usize],
            ),
            1..4,
        ),
        step in prop_oneof![1..50_usize, Just(1 << 20)],
    ) {
        let mut twins = Twins::new(&options(), SUITES[suite]);
        for (kind, content, padding) in records {
            // One at a time: a change of keys among them changes the keys of the next.
            if twins.pair.server.end != Received::Open {
                break;
            }
            let record = twins.forged(0, kind, &content, padding);
            let is_partial = kind == 22
                && (content.len() < 4 || content.len() < 4 + usize::from(content[3]));
            if is_partial {
                // rustls waits for the end of a message that we refuse by its first byte.
                break;
            }
            twins.show(&record, step);
        }
    }
}

#[test]
fn every_special_record_is_judged_as_rustls_judges_it() {
    type Case = (&'static str, u8, &'static [u8], usize, Option<RecordFault>);
    let cases: [Case; 17] = [
        ("data", 23, b"data", 0, None),
        ("padded data", 23, b"data", 200, None),
        ("no data", 23, b"", 0, None),
        ("largest data", 23, &[1; 1 << 14], 0, None),
        ("data that is too large", 23, &[1; (1 << 14) + 1], 0, Some(RecordFault::Oversized)),
        ("padding that is too large", 23, &[1; 1 << 14], 9, Some(RecordFault::Oversized)),
        ("nothing but padding", 0, b"", 30, Some(RecordFault::Unexpected)),
        ("an encrypted change_cipher_spec", 20, &[1], 0, Some(RecordFault::Unexpected)),
        ("a key update", 22, &[24, 0, 0, 1, 0], 0, None),
        ("a key update that asks for ours", 22, &[24, 0, 0, 1, 1], 0, None),
        ("a key update of no kind", 22, &[24, 0, 0, 1, 2], 0, Some(RecordFault::Malformed)),
        ("a finished message", 22, &[20, 0, 0, 1, 0], 0, Some(RecordFault::Unexpected)),
        (
            "two key updates in one record",
            22,
            &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0],
            0,
            Some(RecordFault::Unexpected),
        ),
        ("an alert that is fatal", 21, &[2, 40], 0, Some(RecordFault::PeerAlert)),
        ("an alert that is passed over", 21, &[1, 90], 0, None),
        ("an alert that is cut", 21, &[1], 0, Some(RecordFault::Malformed)),
        ("an unknown type", 99, b"x", 0, Some(RecordFault::Unexpected)),
    ];
    for (name, kind, content, padding, fault) in cases {
        for suite in SUITES {
            let mut twins = Twins::new(&options(), suite);
            let record = twins.forged(0, kind, content, padding);
            let end = twins.show(&record, record.len());
            let wanted = if fault.is_some() { Received::Failed } else { Received::Open };
            assert_eq!(end, wanted, "{name}");
            assert_eq!(twins.faults()[0], fault.into_iter().collect::<Vec<_>>(), "{name}");
        }
    }
}

#[test]
fn a_record_that_does_not_say_that_it_is_sealed_is_refused() {
    // RFC 8446, 5.2: the outer type is always 23, and it is what the tag vouches for.
    for kind in (0..=255_u8).filter(|kind| *kind != 23) {
        let mut twins = Twins::new(&options(), SUITES[0]);
        let mut record = twins.forged(0, 23, b"data", 0);
        record[0] = kind;
        twins.pair.server.receive(&record);
        assert_eq!(twins.pair.server.end, Received::Failed, "{kind}");
        assert!(twins.pair.server.data.is_empty());
    }
}

#[test]
fn a_key_update_in_pieces_is_put_together_and_nothing_may_come_between() {
    let mut twins = Twins::new(&options(), SUITES[0]);
    for (ahead, piece) in [[24].as_slice(), &[0, 0], &[1, 1]].into_iter().enumerate() {
        let record = twins.forged(0, 22, piece, 0);
        assert_eq!(twins.show(&record, 7), Received::Open, "piece {ahead}");
    }
    // Both go on with the new key.
    let record = twins.forged(0, 23, b"after", 0);
    assert_eq!(twins.show(&record, 1 << 20), Received::Open);
    assert_eq!(twins.pair.server.data, b"after");
    let mut twins = Twins::new(&options(), SUITES[0]);
    let record = [twins.forged(0, 22, &[24, 0], 0), twins.forged(1, 23, b"between", 0)].concat();
    assert_eq!(twins.show(&record, 1 << 20), Received::Failed);
    // RFC 8446, 5.1 forbids to send an empty fragment; rustls is more lenient here.
    let mut twins = Twins::new(&options(), SUITES[0]);
    let record = twins.forged(0, 22, &[], 0);
    twins.pair.server.receive(&record);
    assert_eq!(twins.pair.server.end, Received::Failed);
}

#[test]
fn floods_of_key_updates_and_warnings_end_alike() {
    let update = [24, 0, 0, 1, 1];
    let mut twins = Twins::new(&options(), SUITES[0]);
    let mut count = 0;
    while twins.pair.server.end == Received::Open {
        assert!(count <= 33, "{count} updates without data");
        let record = twins.forged(0, 22, &update, 0);
        twins.show(&record, 1 << 20);
        count += 1;
    }
    assert_eq!(twins.faults()[0], [RecordFault::KeyUpdateFlood]);
    let mut twins = Twins::new(&options(), SUITES[0]);
    for _ in 0..100 {
        let records = twins.forged(0, 22, &update, 0);
        assert_eq!(twins.show(&records, 1 << 20), Received::Open, "with data between");
        let records = twins.forged(0, 23, b"data", 0);
        assert_eq!(twins.show(&records, 1 << 20), Received::Open);
    }
    let mut twins = Twins::new(&options(), SUITES[0]);
    let records: Vec<u8> = (0..32).flat_map(|ahead| twins.forged(ahead, 23, b"", 0)).collect();
    assert_eq!(twins.show(&records, 1 << 20), Received::Open);
    let record = twins.forged(0, 23, b"", 0);
    assert_eq!(twins.show(&record, 1 << 20), Received::Failed, "one empty record too many");
    let mut twins = Twins::new(&options(), SUITES[0]);
    let records: Vec<u8> = (0..5).flat_map(|ahead| twins.forged(ahead, 21, &[1, 90], 0)).collect();
    assert_eq!(twins.show(&records, 1 << 20), Received::Failed);
}

#[test]
fn the_beginning_of_a_message_does_not_keep_the_server_from_writing() {
    let mut twins = Twins::new(&options(), SUITES[0]);
    let record = twins.forged(0, 22, &[24, 0], 0);
    assert_eq!(twins.show(&record, 1 << 20), Received::Open);
    for server in [&mut twins.pair.server, &mut twins.oracle] {
        server.send(b"answer");
        end_writing(server);
        assert!(server.is_shut);
    }
    assert_eq!(twins.pair.take_in(), Ok(true));
    assert_eq!(twins.pair.read, b"answer");
}
