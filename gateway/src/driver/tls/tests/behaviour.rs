//! What a client of TLS may rely on, for both versions and both record layers.

use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, default_provider};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, Error, HandshakeKind};

use super::super::config::{RecordLayer, TlsOptions, TlsVersion};
use super::super::counters::{HandshakeEnd, RecordFault};
use super::*;
use crate::limits::{TLS_HANDSHAKE_BYTES_MAX, TLS_HANDSHAKE_STEPS_PER_TURN};

fn config(options: &TlsOptions) -> Arc<TlsConfig> {
    Arc::new(TlsConfig::new(options).unwrap())
}

fn client() -> ClientConfig {
    testing::client(default_provider().cipher_suites, &[&TLS12, &TLS13])
}

/// Each way of sealing: ours, rustls' for 1.3, and its for 1.2.
fn ways() -> [(Arc<TlsConfig>, ClientConfig); 3] {
    let own = testing::options();
    let theirs = TlsOptions { record_layer: RecordLayer::Rustls, ..own.clone() };
    let old = testing::client(default_provider().cipher_suites, &[&TLS12]);
    [(config(&own), client()), (config(&theirs), client()), (config(&own), old)]
}

fn count(pair: &Pair, end: HandshakeEnd) -> u64 {
    pair.server.counters().handshakes[end as usize]
}

#[test]
fn data_goes_both_ways_however_it_is_cut() {
    for (server, client) in ways() {
        let (server, client) = (server, Arc::new(client));
        for step in [1, 2, 3, 5, 6, 7, 100, 2048, 1 << 20] {
            let mut pair = Pair::with(server.clone(), client.clone(), "one.example");
            pair.run(step).unwrap();
            let large: Vec<u8> = (0..50_000_u32).map(|number| number as u8).collect();
            for message in [&b"x"[..], &large, b"end"] {
                pair.write(message);
                pair.run(step).unwrap();
                pair.server.send(message);
                pair.run(step).unwrap();
            }
            let whole = [b"x", &large[..], b"end"].concat();
            assert!(pair.server.data == whole, "steps of {step}");
            assert!(pair.read == whole, "steps of {step}");
            assert_eq!(pair.server.completed, [Some(1), Some(50_000), Some(3)]);
            assert!(!pair.server.tls.is_unfinished(CONNECTION));
        }
    }
}

#[test]
fn every_suite_works() {
    for suite in ALL_CIPHER_SUITES {
        let versions = [&TLS13, &TLS12];
        let client =
            testing::client(vec![*suite], &versions[usize::from(suite.tls13().is_none())..][..1]);
        // The certificate is not of RSA.
        if format!("{suite:?}").contains("RSA") {
            continue;
        }
        let mut pair = Pair::new(config(&testing::options()), client).shaken();
        pair.write(b"question");
        pair.run(1).unwrap();
        pair.server.send(b"answer");
        pair.run(1).unwrap();
        assert_eq!((&pair.server.data[..], &pair.read[..]), (&b"question"[..], &b"answer"[..]));
    }
}

#[test]
fn the_cheapest_suite_is_taken_unless_the_client_has_no_aes() {
    use rustls::crypto::aws_lc_rs::cipher_suite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 as AES_128_OLD,
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 as AES_256_OLD,
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 as CHACHA20_OLD,
        TLS13_AES_128_GCM_SHA256 as AES_128, TLS13_AES_256_GCM_SHA384 as AES_256,
        TLS13_CHACHA20_POLY1305_SHA256 as CHACHA20,
    };
    for (version, suites, taken) in [
        (&TLS13, [AES_256, AES_128, CHACHA20], AES_128),
        (&TLS13, [AES_256, CHACHA20, AES_128], AES_128),
        (&TLS13, [CHACHA20, AES_256, AES_128], CHACHA20),
        (&TLS12, [AES_256_OLD, AES_128_OLD, CHACHA20_OLD], AES_128_OLD),
        (&TLS12, [CHACHA20_OLD, AES_128_OLD, AES_256_OLD], CHACHA20_OLD),
    ] {
        let client = testing::client(suites.to_vec(), &[version]);
        let pair = Pair::new(config(&testing::options()), client).shaken();
        assert_eq!(pair.client.negotiated_cipher_suite(), Some(taken), "{suites:?}");
    }
    let client = testing::client(vec![AES_256, CHACHA20], &[&TLS13]);
    let pair = Pair::new(config(&testing::options()), client).shaken();
    assert_eq!(pair.client.negotiated_cipher_suite(), Some(AES_256), "there is no AES-128");
}

#[test]
fn data_behind_the_handshake_in_the_same_bytes_is_read() {
    for (server, client) in ways() {
        let mut pair = Pair::new(server, client);
        let hello = pair.outgoing();
        pair.server.receive(&hello);
        pair.take_in().unwrap();
        // A client of 1.3 is done now, one of 1.2 after the next flight.
        if pair.client.is_handshaking() {
            let flight = pair.outgoing();
            pair.server.receive(&flight);
            pair.take_in().unwrap();
        }
        for message in [b"one", b"two"] {
            pair.write(message);
        }
        let mut bytes = pair.outgoing();
        pair.write(b"three");
        let cut = pair.outgoing();
        bytes.extend_from_slice(&cut[..cut.len() - 1]);
        pair.server.receive(&bytes);
        assert_eq!(pair.server.data, b"onetwo");
        assert!(pair.server.tls.is_unfinished(CONNECTION));
        pair.server.receive(&cut[cut.len() - 1..]);
        assert_eq!(pair.server.data, b"onetwothree");
        assert!(!pair.server.tls.is_unfinished(CONNECTION));
        assert_eq!(pair.server.secured_count, 1);
    }
}

#[test]
fn a_short_send_goes_on_where_it_stopped_and_seals_nothing_again() {
    for (server, client) in ways() {
        let mut pair = Pair::new(server, client).shaken();
        let sealing = pair.server.tls.seal(CONNECTION, SendBuffer::owned(vec![7; 100]));
        assert!(matches!(sealing, Sealing::Taken));
        let mut sends = 0;
        while let Some(Next::Send(buffer)) = pair.server.tls.next(CONNECTION) {
            assert!(pair.server.tls.next(CONNECTION).is_none(), "one send at a time");
            assert!(pair.server.completed.is_empty(), "not all of it has left");
            pair.server.sent.push(buffer.as_slice()[0]);
            pair.server.complete(buffer, Some(1));
            sends += 1;
        }
        assert!(sends > 100);
        assert_eq!(pair.server.completed, [Some(100)]);
        pair.run(2048).unwrap();
        assert_eq!(pair.read, [7; 100]);
    }
}

#[test]
fn what_tls_itself_says_finds_its_place_among_sends() {
    let mut pair = Pair::new(config(&testing::options()), client()).shaken();
    pair.server.tls.seal(CONNECTION, SendBuffer::owned(b"first".to_vec()));
    let Some(Next::Send(first)) = pair.server.tls.next(CONNECTION) else { panic!("it is sealed") };
    // While that is out, the client asks for new keys twice: one answer is enough.
    for _ in 0..2 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.write(b"x");
        let bytes = pair.outgoing();
        pair.server.receive(&bytes);
    }
    assert!(pair.server.sent.is_empty(), "one send at a time");
    pair.server.sent.extend_from_slice(first.as_slice());
    let all = first.bytes_count();
    pair.server.complete(first, Some(all));
    assert_eq!(pair.server.completed, [Some(5)]);
    pair.server.send(b"second");
    assert_eq!(pair.server.completed, [Some(5), Some(6)]);
    pair.run(2048).unwrap();
    assert_eq!(pair.read, b"firstsecond");
    pair.write(b"y");
    pair.run(2048).unwrap();
    assert_eq!(pair.server.data, b"xxy");
}

#[test]
fn our_own_keys_are_changed_before_they_are_used_up() {
    // The limit of tests is 64 records of AES-GCM.
    let mut pair = Pair::new(config(&testing::options()), client()).shaken();
    let mut sent = Vec::new();
    for number in 0..1000_u32 {
        let message = number.to_be_bytes();
        pair.server.send(&message);
        sent.extend_from_slice(&message);
        pair.run(2048).unwrap();
    }
    pair.server.send(&vec![9; 200 * 16_384]);
    sent.extend_from_slice(&vec![9; 200 * 16_384]);
    pair.run(2048).unwrap();
    assert!(pair.read == sent);
}

#[test]
fn a_failed_send_is_told_once() {
    for (server, client) in ways() {
        let mut pair = Pair::new(server, client).shaken();
        pair.server.tls.seal(CONNECTION, SendBuffer::owned(b"lost".to_vec()));
        let Some(Next::Send(buffer)) = pair.server.tls.next(CONNECTION) else { panic!("sealed") };
        pair.server.complete(buffer, None);
        assert_eq!(pair.server.completed, [None]);
        assert!(pair.server.tls.next(CONNECTION).is_none());
        let again = pair.server.tls.seal(CONNECTION, SendBuffer::owned(b"more".to_vec()));
        assert!(matches!(again, Sealing::Refused(_)));
    }
}

#[test]
fn the_server_says_goodbye_before_it_shuts_its_side() {
    for (server, client) in ways() {
        let mut pair = Pair::new(server, client).shaken();
        pair.server.send(b"last");
        end_writing(&mut pair.server);
        assert!(pair.server.is_shut);
        assert_eq!(pair.run(2048), Ok(true), "close_notify");
        assert_eq!(pair.read, b"last");
        let more = pair.server.tls.seal(CONNECTION, SendBuffer::owned(b"more".to_vec()));
        assert!(matches!(more, Sealing::Refused(_)));
        assert!(pair.server.tls.last_words(CONNECTION).is_none(), "it was said");
    }
}

#[test]
fn a_connection_that_is_cut_says_goodbye_unless_a_send_is_out() {
    for (server, client) in ways() {
        let mut pair = Pair::new(server.clone(), client.clone()).shaken();
        let last = pair.server.tls.last_words(CONNECTION).unwrap();
        pair.server.sent.extend_from_slice(last.as_slice());
        assert_eq!(pair.run(2048), Ok(true), "close_notify");
        let all = last.bytes_count();
        pair.server.complete(last, Some(all));
        assert!(pair.server.tls.next(CONNECTION).is_none(), "the socket is being closed");
        let mut pair = Pair::new(server, client).shaken();
        pair.server.tls.seal(CONNECTION, SendBuffer::owned(b"out".to_vec()));
        let Some(Next::Send(out)) = pair.server.tls.next(CONNECTION) else { panic!("sealed") };
        assert!(pair.server.tls.last_words(CONNECTION).is_none(), "one send at a time");
        pair.server.complete(out, Some(1));
        assert!(pair.server.tls.next(CONNECTION).is_none(), "the rest is not sent any more");
    }
}

#[test]
fn the_client_says_goodbye_and_what_it_sends_then_is_thrown_away() {
    for (server, client) in ways() {
        let mut pair = Pair::new(server, client).shaken();
        pair.write(b"data");
        pair.client.send_close_notify();
        pair.run(2048).unwrap();
        assert_eq!(pair.server.end, Received::Ended);
        assert_eq!(pair.server.data, b"data");
        pair.server.end = Received::Open;
        pair.server.receive(&[0xff; 4000]);
        assert_eq!((pair.server.end, pair.server.data.len()), (Received::Open, 4));
        // Its other side is still open.
        pair.server.send(b"answer");
        pair.run(2048).unwrap();
        assert_eq!(pair.read, b"answer");
    }
}

#[test]
fn a_client_without_tls_is_told_so_in_http() {
    let mut server = Server::new(config(&testing::options()));
    server.receive(b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n");
    assert_eq!(server.end, Received::PlainHttp);
    let sealing = server.tls.seal(CONNECTION, SendBuffer::owned(b"HTTP/1.1 400".to_vec()));
    let Sealing::Plain(buffer) = sealing else { panic!("{sealing:?}") };
    let completed = server.tls.sent(CONNECTION, buffer, Some(12));
    assert!(matches!(completed, Completed::Plain(_)), "{completed:?}");
    assert_eq!(server.tls.end_writing(CONNECTION), Ending::Now);
    assert!(server.tls.last_words(CONNECTION).is_none());
    assert_eq!(server.counters().handshakes[HandshakeEnd::PlainHttp as usize], 1);
}

#[test]
fn garbage_is_refused_with_an_alert() {
    let too_short = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01x";
    for garbage in [&[0; 100][..], &[0x16; 100], &[0xff; 100], too_short] {
        let mut server = Server::new(config(&testing::options()));
        server.receive(garbage);
        assert_eq!(server.end, Received::Failed, "{garbage:?}");
        assert_eq!(server.sent.first(), Some(&21), "an alert");
        assert_eq!(server.counters().handshakes[HandshakeEnd::Malformed as usize], 1);
        assert_eq!(server.counters().handshakes_now, 0);
    }
}

#[test]
fn a_handshake_has_bounded_bytes() {
    let mut server = Server::new(config(&testing::options()));
    // A hello that goes on and on, in records of the largest size.
    server.receive(&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff]);
    let mut received = 9;
    while server.end == Received::Open && received < 100_000 {
        server.receive(&[0; 2048]);
        received += 2048;
    }
    assert_eq!(server.end, Received::Failed);
    assert!(received <= TLS_HANDSHAKE_BYTES_MAX + 2048, "{received}");
    assert_eq!(server.counters().handshakes[HandshakeEnd::TooLong as usize], 1);
}

#[test]
fn handshakes_under_way_are_bounded() {
    let mut tls = Tls::new(Some(config(&testing::options())));
    let id = |slot| ConnectionId::new(ShardId(0), 0, Slot(slot), 1);
    let begin = |tls: &mut Tls, slot| {
        tls.open(id(slot));
        tls.begin_turn();
        tls.receive(id(slot), &mut [22, 3, 1], &mut |_| panic!("nothing arrives"))
    };
    for slot in 0..4 {
        assert_eq!(begin(&mut tls, slot), Received::Open);
    }
    assert_eq!(begin(&mut tls, 4), Received::Failed);
    assert_eq!(tls.counters().handshakes[HandshakeEnd::TooMany as usize], 1);
    // One goes away, cut or by itself: there is room again.
    tls.last_words(id(0));
    tls.closed(id(0));
    tls.closed(id(1));
    assert_eq!(tls.counters().handshakes_now, 2);
    assert_eq!(tls.counters().handshakes[HandshakeEnd::Unfinished as usize], 2);
    assert_eq!(begin(&mut tls, 5), Received::Open);
    assert_eq!(tls.end_writing(id(5)), Ending::Pointless);
}

#[test]
fn a_turn_has_a_share_of_handshakes_and_the_others_go_on_in_the_next() {
    let options = TlsOptions { handshakes_max: 100, ..testing::options() };
    let mut tls = Tls::new(Some(config(&options)));
    let id = |slot, generation| ConnectionId::new(ShardId(0), 0, Slot(slot), generation);
    let mut client =
        ClientConnection::new(Arc::new(client()), testing::host("one.example")).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let (first, second) = hello.split_at(100);
    let answered = |tls: &mut Tls, slot| matches!(tls.next(id(slot, 1)), Some(Next::Send(_)));
    tls.begin_turn();
    for slot in 0..100 {
        tls.open(id(slot, 1));
        for part in [first, second] {
            let end = tls.receive(id(slot, 1), &mut part.to_vec(), &mut |_| panic!("no data yet"));
            assert_eq!(end, Received::Open);
        }
    }
    let count = (0..100).filter(|slot| answered(&mut tls, *slot)).count();
    assert_eq!(count, TLS_HANDSHAKE_STEPS_PER_TURN as usize / 2, "two steps each");
    assert!(tls.next_waiting().is_none(), "not in this turn");
    // One of those that wait goes away, and its slot is used again.
    tls.closed(id(50, 1));
    tls.open(id(50, 2));
    let mut turns = 0;
    while tls.has_work() {
        tls.begin_turn();
        while let Some(connection) = tls.next_waiting() {
            assert_ne!(connection.slot(), Slot(50));
            tls.receive(connection, &mut [], &mut |_| panic!("no data yet"));
        }
        turns += 1;
    }
    assert_eq!(turns, (100 - count).div_ceil(TLS_HANDSHAKE_STEPS_PER_TURN as usize));
    let count = (0..100).filter(|slot| answered(&mut tls, *slot)).count();
    assert_eq!(count, 100 - TLS_HANDSHAKE_STEPS_PER_TURN as usize / 2 - 1);
}

#[test]
fn versions_and_protocols_must_agree() {
    let strict = TlsOptions { min_version: TlsVersion::V1_3, ..testing::options() };
    let old = testing::client(default_provider().cipher_suites, &[&TLS12]);
    let mut pair = Pair::new(config(&strict), old);
    let alert = pair.run(2048).unwrap_err();
    assert_eq!(alert, Error::AlertReceived(AlertDescription::ProtocolVersion));
    assert_eq!(count(&pair, HandshakeEnd::Incompatible), 1);
    let mut foreign = client();
    foreign.alpn_protocols = vec![b"h2".to_vec()];
    let mut pair = Pair::new(config(&strict), foreign);
    let alert = pair.run(2048).unwrap_err();
    assert_eq!(alert, Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    assert_eq!(count(&pair, HandshakeEnd::Alpn), 1);
    let mut both = client();
    both.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let pair = Pair::new(config(&strict), both).shaken();
    assert_eq!(pair.client.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn a_client_finds_its_certificate_by_name_and_a_reload_changes_the_next_handshake() {
    let second = testing::certificate(&["two.example"]);
    let mut options = testing::options();
    options.certificates.push(second);
    let shared = config(&options);
    let shown = |pair: &Pair| pair.client.peer_certificates().unwrap()[0].clone();
    let connect = |host| Pair::with(shared.clone(), Arc::new(client()), host).shaken();
    let (one, two, other) = (connect("one.example"), connect("two.example"), connect("x.example"));
    assert_ne!(shown(&one), shown(&two));
    assert_eq!(shown(&one), shown(&other), "the first certificate answers the others");
    let mut old = connect("one.example");
    let renewed = config(&testing::options());
    old.server.tls.replace(renewed.clone());
    old.write(b"still here");
    old.run(2048).unwrap();
    assert_eq!(old.server.data, b"still here");
    let new = Pair::with(renewed, Arc::new(client()), "one.example").shaken();
    assert_ne!(shown(&new), shown(&one));
}

#[test]
fn without_a_certificate_clients_are_refused_and_counted() {
    for version in [&TLS12, &TLS13] {
        let none = TlsOptions { certificates: Vec::new(), ..testing::options() };
        let client = testing::client(default_provider().cipher_suites, &[version]);
        let mut pair = Pair::new(config(&none), client);
        let alert = pair.run(2048).unwrap_err();
        assert_eq!(alert, Error::AlertReceived(AlertDescription::AccessDenied));
        assert_eq!(count(&pair, HandshakeEnd::NoCertificate), 1);
        assert_eq!(pair.server.end, Received::Failed);
    }
}

#[test]
fn an_authority_is_shown_its_proof_and_nothing_else() {
    let challenges = vec![testing::challenge("one.example"), testing::challenge("two.example")];
    let options = TlsOptions { challenges, ..testing::options() };
    for version in [&TLS12, &TLS13] {
        let mut authority = testing::client(default_provider().cipher_suites, &[version]);
        authority.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        let authority = Arc::new(authority);
        for host in ["one.example", "TWO.example"] {
            let mut pair = Pair::with(config(&options), authority.clone(), host);
            pair.run(2048).unwrap();
            assert!(!pair.client.is_handshaking());
            assert_eq!(pair.client.alpn_protocol(), Some(&b"acme-tls/1"[..]));
            let shown = pair.client.peer_certificates().unwrap()[0].clone();
            assert!(pair.server.data.is_empty() && pair.server.secured_count == 0);
            assert_eq!(pair.server.end, Received::Failed, "nothing follows the handshake");
            assert_eq!(count(&pair, HandshakeEnd::AcmeChallenge), 1);
            assert_eq!(pair.server.counters().handshakes_now, 0);
            // RFC 8737, 3: the extension with the digest of the key authorization.
            assert!(shown.windows(34).any(|part| part == [&[4, 32][..], &[7; 32]].concat()));
        }
        // Nobody asked for a proof of this host.
        let mut pair = Pair::with(config(&options), authority.clone(), "three.example");
        pair.run(2048).unwrap_err();
        assert_eq!(count(&pair, HandshakeEnd::NoCertificate), 1);
        // Nor of any host, at most times.
        let mut pair = Pair::with(config(&testing::options()), authority, "one.example");
        pair.run(2048).unwrap_err();
        assert_eq!(count(&pair, HandshakeEnd::NoCertificate), 1);
    }
    // Who speaks something else as well gets the certificate of everybody.
    let mut both = client();
    both.alpn_protocols = vec![b"acme-tls/1".to_vec(), b"http/1.1".to_vec()];
    let pair = Pair::new(config(&options), both).shaken();
    assert_eq!(pair.client.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn a_reload_in_the_middle_of_a_handshake_does_not_disturb_it() {
    let own = testing::options();
    let theirs = TlsOptions { record_layer: RecordLayer::Rustls, ..own.clone() };
    for (first, second) in [(&own, &theirs), (&theirs, &own)] {
        let mut pair = Pair::new(config(first), client());
        let hello = pair.outgoing();
        pair.server.receive(&hello);
        pair.server.tls.replace(config(second));
        let mut pair = pair.shaken();
        pair.write(b"data");
        pair.run(2048).unwrap();
        assert_eq!(pair.server.data, b"data");
    }
}

#[test]
fn whoever_has_the_secret_resumes() {
    for (_, client) in ways() {
        let client = Arc::new(client);
        let options = testing::options();
        let connect = |options: &TlsOptions| {
            let mut pair = Pair::with(config(options), client.clone(), "one.example").shaken();
            pair.write(b"hello");
            pair.run(2048).unwrap();
            assert_eq!(pair.server.data, b"hello");
            (pair.client.handshake_kind(), count(&pair, HandshakeEnd::Resumed))
        };
        assert_eq!(connect(&options), (Some(HandshakeKind::Full), 0));
        // Another shard, process or node: all that they share is the secret.
        assert_eq!(connect(&options), (Some(HandshakeKind::Resumed), 1));
        let other = TlsOptions { ticket_secret: b"another".to_vec(), ..options };
        assert_eq!(connect(&other), (Some(HandshakeKind::Full), 0));
    }
}

#[test]
fn a_changed_record_ends_the_connection_with_an_alert() {
    for (server, client) in ways() {
        let mut pair = Pair::new(server, client).shaken();
        pair.write(b"data");
        let mut bytes = pair.outgoing();
        *bytes.last_mut().unwrap() ^= 1;
        pair.server.receive(&bytes);
        assert_eq!(pair.server.end, Received::Failed);
        assert_eq!(pair.server.counters().faults[RecordFault::BadRecord as usize], 1);
        let alert = pair.take_in().unwrap_err();
        assert_eq!(alert, Error::AlertReceived(AlertDescription::BadRecordMac));
        assert!(pair.server.data.is_empty());
        pair.server.end = Received::Open;
        pair.server.receive(b"more");
        assert!(pair.server.data.is_empty(), "nothing more is read");
    }
}
