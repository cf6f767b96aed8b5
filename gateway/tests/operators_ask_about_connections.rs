//! Goal: an operator finds every connection that is meant, once and in order, and may close them;
//! what that costs a turn is bounded, however many connections there are.
//! Method: one shard on a bench, asked; turns are counted by hand.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gateway::engine::{
    Action, ConnectClaims, ConnectionFilter, ConnectionRow, Event, Listed, Listing, ListingOrder,
    Phase, Purpose, Rank, SubscribeTokenClaims, TokenRefusal, TokenVerifier,
};
use gateway::limits::{
    LISTED_CLOSE_UNITS, LISTED_MAX, LISTING_UNITS_PER_TURN, LISTINGS_MAX, OUTBOX_BYTES_DEFAULT,
};
use protocol::channels::ChannelOptions;
use protocol::ids::{ConnectionId, ShardId, Slot};
use protocol::link::ClientId;
use protocol::proxies::Prefixes;
use support::{Bench, insecure};

fn bench() -> Bench {
    Bench::new(insecure(ChannelOptions::default()))
}

fn all() -> ConnectionFilter {
    ConnectionFilter::default()
}

fn list(filter: ConnectionFilter, order: ListingOrder, limit: usize) -> Listing {
    let purpose = Purpose::List { order, limit, after: None, shows_channels: true };
    Listing { filter, purpose }
}

fn closing(filter: ConnectionFilter, limit: usize) -> Listing {
    Listing { filter, purpose: Purpose::Close { code: 4500, reason: "away".into(), limit } }
}

fn asked(bench: &mut Bench, listing: Listing) -> Listed {
    let number = bench.listed.len() as u64;
    bench.tell(Event::List { number, listing: Box::new(listing) });
    bench.listed[&number].clone().expect("it is not refused")
}

fn ids(listed: &Listed) -> Vec<ConnectionId> {
    listed.rows.iter().map(|(_, row)| row.id).collect()
}

fn found(bench: &mut Bench, filter: ConnectionFilter) -> Vec<ConnectionId> {
    let listed = asked(bench, list(filter, ListingOrder::Id, LISTED_MAX));
    assert_eq!(listed.matched as usize, listed.rows.len());
    ids(&listed)
}

fn row(bench: &mut Bench, connection: ConnectionId) -> ConnectionRow {
    let filter = ConnectionFilter { connection: Some(connection), ..all() };
    let listed = asked(bench, list(filter, ListingOrder::Id, 1));
    listed.rows.into_iter().next().expect("it is there").1
}

/// A client that takes nothing, for whom at least so many bytes wait.
fn slow(bench: &mut Bench, channel: &str, bytes_count: usize) -> ConnectionId {
    let client = bench.subscribed(channel, 0);
    bench.stalled.push(client);
    bench.publish(channel, 1, "what the kernel has");
    bench.publish(channel, 2, &"x".repeat(bytes_count));
    client
}

#[test]
fn a_row_says_what_there_is_to_know() {
    let mut bench = bench();
    let client = slow(&mut bench, "room", 5_000);
    bench.pass(Duration::from_secs(3));
    let row = row(&mut bench, client);
    assert_eq!((row.id, row.phase), (client, Phase::Connected));
    assert!(row.client.is_some() && row.user.is_empty() && row.peer.is_none());
    assert!((5_000..6_000).contains(&row.outbox_bytes), "{row:?}");
    assert!(row.memory_bytes > row.outbox_bytes, "its subscription counts: {row:?}");
    assert!(row.memory_bytes < OUTBOX_BYTES_DEFAULT);
    assert_eq!(row.age, Some(Duration::from_secs(3)));
    assert_eq!(row.stalled, Duration::from_secs(3));
    assert_eq!(row.channels.iter().map(|name| &**name).collect::<Vec<_>>(), ["room"]);
    let newcomer = bench.accept();
    let row = self::row(&mut bench, newcomer);
    assert_eq!((row.phase, row.client, row.age), (Phase::Handshake, None, None));
}

#[test]
fn filters_hold_together() {
    let mut bench = bench();
    let near = bench.accept_from(Some("10.1.2.3:5000".parse().unwrap()));
    let far = bench.accept_from(Some("192.0.2.7:5000".parse().unwrap()));
    let listener = bench.subscribed("room", 0);
    let slow = slow(&mut bench, "loud", 30_000);
    bench.pass(Duration::from_millis(2_000));
    let addresses = |text| Prefixes::new([Prefixes::parse(text).unwrap()]);
    let near_by = || ConnectionFilter { addresses: addresses("10.0.0.0/8"), ..all() };
    assert_eq!(found(&mut bench, all()), [near, far, listener, slow]);
    assert_eq!(found(&mut bench, near_by()), [near]);
    let one = ConnectionFilter { addresses: addresses("192.0.2.7"), ..all() };
    assert_eq!(found(&mut bench, one), [far]);
    let in_phase = |phase| ConnectionFilter { phases: vec![phase], ..all() };
    assert_eq!(found(&mut bench, in_phase(Phase::Handshake)), [near, far]);
    assert_eq!(found(&mut bench, in_phase(Phase::Connected)), [listener, slow]);
    let both = ConnectionFilter { phases: vec![Phase::Connected], ..near_by() };
    assert_eq!(found(&mut bench, both), []);
    let of_channel = |name: &str| ConnectionFilter { channel: Some(name.into()), ..all() };
    assert_eq!(found(&mut bench, of_channel("room")), [listener]);
    assert_eq!(found(&mut bench, of_channel("nobody's")), []);
    let heavy = ConnectionFilter { outbox_bytes_min: 30_000, ..all() };
    assert_eq!(found(&mut bench, heavy), [slow]);
    let heavy = ConnectionFilter { memory_bytes_min: 512, ..all() };
    assert_eq!(found(&mut bench, heavy), [listener, slow]);
    let stalled = |millis| ConnectionFilter { stalled_min: Duration::from_millis(millis), ..all() };
    assert_eq!(found(&mut bench, stalled(2_000)), [slow]);
    assert_eq!(found(&mut bench, stalled(2_001)), []);
    let client = row(&mut bench, listener).client;
    let named = ConnectionFilter { client, ..all() };
    assert_eq!(found(&mut bench, named), [listener]);
    let named = ConnectionFilter { client: Some(ClientId(7)), ..all() };
    assert_eq!(found(&mut bench, named), []);
    let anonymous = ConnectionFilter { user: Some("".into()), ..all() };
    assert_eq!(found(&mut bench, anonymous), [listener, slow], "who has a session, without a user");
    let gone = ConnectionId::new(ShardId(0), 0, listener.slot(), 9);
    let former = ConnectionFilter { connection: Some(gone), ..all() };
    assert_eq!(found(&mut bench, former), [], "another one was in the slot");
    let beyond = ConnectionId::new(ShardId(0), 0, Slot(1 << 20), 1);
    let former = ConnectionFilter { connection: Some(beyond), ..all() };
    assert_eq!(found(&mut bench, former), []);
}

#[test]
fn pages_have_every_connection_once_and_in_order() {
    let mut bench = bench();
    for count in [500, 90, 7_000, 90, 2_000, 0, 40_000] {
        match count {
            0 => bench.connected(),
            some => slow(&mut bench, &format!("room{count}"), some),
        };
        bench.pass(Duration::from_secs(1));
    }
    let key = |order, row: &ConnectionRow| match order {
        ListingOrder::Id => row.id.as_u64(),
        ListingOrder::Outbox => u64::MAX - u64::from(row.outbox_bytes),
        ListingOrder::Memory => u64::MAX - u64::from(row.memory_bytes),
        ListingOrder::Stalled => u64::MAX - row.stalled.as_millis() as u64,
        ListingOrder::Oldest => u64::MAX - row.age.unwrap().as_secs(),
        ListingOrder::Newest => row.age.unwrap().as_secs(),
    };
    for order in [
        ListingOrder::Id,
        ListingOrder::Outbox,
        ListingOrder::Memory,
        ListingOrder::Stalled,
        ListingOrder::Oldest,
        ListingOrder::Newest,
    ] {
        for limit in 1..=8 {
            let (mut rows, mut after): (Vec<ConnectionRow>, Option<Rank>) = (Vec::new(), None);
            loop {
                let purpose = Purpose::List { order, limit, after, shows_channels: false };
                let listed = asked(&mut bench, Listing { filter: all(), purpose });
                assert_eq!(listed.matched, 7);
                after = listed.rows.last().map(|(rank, _)| *rank);
                rows.extend(listed.rows.into_iter().map(|(_, row)| row));
                if !listed.has_more {
                    break;
                }
            }
            assert!(rows.is_sorted_by_key(|row| key(order, row)), "{order:?}");
            let different: BTreeSet<_> = rows.iter().map(|row| row.id).collect();
            assert_eq!((rows.len(), different.len()), (7, 7), "{order:?} by {limit}");
        }
    }
}

#[test]
fn a_turn_looks_at_a_part_and_others_are_served_between() {
    let mut bench = bench();
    let client = bench.connected();
    let count = 2 * LISTING_UNITS_PER_TURN + 10;
    for _ in 1..count {
        bench.accept();
    }
    let listing = Box::new(list(all(), ListingOrder::Id, LISTED_MAX));
    bench.shard.handle(Event::List { number: 1, listing }, bench.now);
    let mut turns = 0;
    let listed = loop {
        assert!(bench.shard.has_work(), "a turn must not sleep over it");
        bench.shard.tick(bench.now);
        turns += 1;
        match bench.shard.poll_action() {
            Some(Action::Listed { number: 1, listed }) => break listed.expect("not refused"),
            None => {}
            Some(other) => panic!("{other:?}"),
        }
        assert!(turns < 100);
    };
    // What is listed costs twice what is only looked at.
    assert_eq!(turns, (count + LISTED_MAX as u32).div_ceil(LISTING_UNITS_PER_TURN));
    assert_eq!(listed.matched, u64::from(count));
    assert_eq!((listed.rows.len(), listed.has_more), (LISTED_MAX, true));
    assert!(!bench.shard.has_work());
    bench.say(client, r#"{"id":9,"ping":{}}"#);
    assert_eq!(bench.texts(client).len(), 1);
}

#[test]
fn too_many_questions_are_refused() {
    let mut bench = bench();
    bench.connected();
    for number in 0..=LISTINGS_MAX as u64 {
        let listing = Box::new(list(all(), ListingOrder::Id, 1));
        bench.shard.handle(Event::List { number, listing }, bench.now);
    }
    bench.turn();
    let refused: Vec<u64> =
        bench.listed.iter().filter(|one| one.1.is_none()).map(|one| *one.0).collect();
    assert_eq!(refused, [LISTINGS_MAX as u64]);
    assert_eq!(bench.listed.len(), LISTINGS_MAX + 1);
}

#[test]
fn those_who_are_meant_are_closed_and_no_more_than_asked() {
    let mut bench = bench();
    let rooms: Vec<_> = (0..5).map(|_| bench.subscribed("room", 0)).collect();
    let other = bench.subscribed("other", 0);
    let filter = || ConnectionFilter { channel: Some("room".into()), ..all() };
    let dry = asked(&mut bench, closing(filter(), 0));
    assert_eq!((dry.matched, dry.closed, dry.rows.len()), (5, 0, 0));
    assert!(rooms.iter().all(|client| bench.texts(*client).is_empty()));
    let some = asked(&mut bench, closing(filter(), 2));
    assert_eq!((some.matched, some.closed), (5, 2));
    let rest = asked(&mut bench, closing(filter(), 9));
    assert_eq!((rest.matched, rest.closed), (3, 3), "who is closing is not closed again");
    for client in rooms {
        assert_eq!(bench.texts(client), ["close 4500"]);
    }
    bench.publish("other", 1, "still here");
    assert!(bench.texts(other)[0].contains("still here"));
    assert_eq!(asked(&mut bench, closing(filter(), 9)).matched, 0);
}

#[test]
fn a_turn_closes_a_part() {
    let mut bench = bench();
    let count = 100;
    for _ in 0..count {
        bench.connected();
    }
    let per_turn = u64::from(LISTING_UNITS_PER_TURN.div_ceil(LISTED_CLOSE_UNITS + 1));
    let closed = |bench: &Bench| bench.shard.counters().closes.iter().sum::<u64>();
    let listing = Box::new(closing(all(), 1_000));
    bench.shard.handle(Event::List { number: 1, listing }, bench.now);
    bench.shard.tick(bench.now);
    assert_eq!(closed(&bench), per_turn);
    bench.turn();
    assert_eq!(closed(&bench), count);
    let listed = bench.listed[&1].clone().expect("not refused");
    assert_eq!((listed.matched, listed.closed), (count, count));
}

#[test]
fn a_close_costs_by_its_subscriptions() {
    let mut bench = bench();
    let (count, subscriptions) = (10, 100);
    for _ in 0..count {
        let client = bench.subscribed("room0", 0);
        for number in 1..subscriptions {
            let subscribe = format!(r#"{{"id":3,"subscribe":{{"channel":"room{number}"}}}}"#);
            bench.say(client, &subscribe);
            bench.grant(0);
        }
    }
    let units = LISTED_CLOSE_UNITS + 1 + subscriptions;
    let closed = |bench: &Bench| bench.shard.counters().closes.iter().sum::<u64>();
    let listing = Box::new(closing(all(), 1_000));
    bench.shard.handle(Event::List { number: 1, listing }, bench.now);
    bench.shard.tick(bench.now);
    assert_eq!(closed(&bench), u64::from(LISTING_UNITS_PER_TURN.div_ceil(units)));
    bench.turn();
    assert_eq!(closed(&bench), count);
}

#[test]
fn requests_are_closed_only_if_their_state_was_asked_for() {
    let mut bench = bench();
    let (browser, socket) = (bench.accept(), bench.upgraded());
    let listed = asked(&mut bench, closing(all(), 9));
    assert_eq!((listed.matched, listed.closed), (1, 1));
    assert_eq!(bench.texts(socket), ["close 4500"]);
    assert_eq!(row(&mut bench, browser).phase, Phase::Handshake);
    let filter = ConnectionFilter { phases: vec![Phase::Handshake], ..all() };
    assert_eq!(asked(&mut bench, closing(filter, 9)).closed, 1);
}

#[test]
fn every_connection_is_counted_where_it_is() {
    let mut bench = bench();
    let handshake = bench.accept();
    bench.upgraded();
    let gone = bench.connected();
    bench.connected();
    let by_phase = |bench: &Bench| {
        let counted = bench.shard.counters().connections_by_phase;
        let there = Phase::ALL.into_iter().zip(counted).filter(|(_, count)| *count > 0);
        there.collect::<Vec<_>>()
    };
    let expected = [(Phase::Handshake, 1), (Phase::Open, 1), (Phase::Connected, 2)];
    assert_eq!(by_phase(&bench), expected);
    bench.tell(Event::ReceiveEnded { connection: gone, has_failed: true });
    bench.tell(Event::ReceiveEnded { connection: handshake, has_failed: false });
    assert_eq!(by_phase(&bench), [(Phase::Open, 1), (Phase::Connected, 1)]);
}

/// Knows no key: whoever comes with a token waits.
#[derive(Debug)]
struct Waiting;

impl TokenVerifier for Waiting {
    fn connection(&self, _: &str, _: u64) -> Result<ConnectClaims, TokenRefusal> {
        Err(TokenRefusal::KeyUnknown)
    }

    fn subscription(&self, _: &str, _: u64) -> Result<SubscribeTokenClaims, TokenRefusal> {
        Err(TokenRefusal::KeyUnknown)
    }
}

#[test]
fn who_is_still_connecting_is_nobody_yet() {
    let config = insecure(ChannelOptions::default());
    let mut bench = Bench::with_tokens(config, Arc::new(Waiting));
    let anonymous = bench.connected();
    let connecting = bench.upgraded();
    // Its head names a key: {"alg":"ES256","kid":"new"}.
    let token = "eyJhbGciOiJFUzI1NiIsImtpZCI6Im5ldyJ9.e30.AA";
    bench.say(connecting, &format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
    assert_eq!(row(&mut bench, connecting).phase, Phase::Connecting);
    let of_nobody = ConnectionFilter { user: Some("".into()), ..all() };
    assert_eq!(found(&mut bench, of_nobody.clone()), [anonymous]);
    let unnamed = ConnectionFilter { client: Some(ClientId::default()), ..all() };
    assert_eq!(found(&mut bench, unnamed), []);
    assert_eq!(asked(&mut bench, closing(of_nobody, 9)).closed, 1);
    assert_eq!(row(&mut bench, connecting).phase, Phase::Connecting);
}
