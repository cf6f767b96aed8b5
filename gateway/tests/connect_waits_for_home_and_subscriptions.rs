//! Goal: `connect` is answered when the user's home shard has admitted it and its server-side
//! subscriptions are granted; what comes behind it waits, in order.
//! Method: a verifier that takes every token for a user name; home and router are the test.

mod support;

use std::sync::Arc;

use gateway::config::GatewayConfig;
use gateway::engine::{
    ConnectClaims, Event, MemoryKind, SubscribeRefusal, SubscribeTokenClaims, ToPeer, TokenRefusal,
    TokenVerifier,
};
use protocol::ids::{ShardId, home_of};
use protocol::link::{
    Answer, Overrides, Position, Request, Subscribed, SubscriptionClaims, UserCommand,
};
use support::{Bench, insecure, open_channels};

#[derive(Debug)]
struct Trusting;

impl TokenVerifier for Trusting {
    fn connection(&self, token: &str, _: u64) -> Result<ConnectClaims, TokenRefusal> {
        let (user, channels) = token.split_once('/').unwrap_or((token, ""));
        let channels = channels.split_terminator(',').map(str::to_owned).collect();
        Ok(ConnectClaims { user: user.to_owned(), channels, ..ConnectClaims::default() })
    }

    fn subscription(&self, _: &str, _: u64) -> Result<SubscribeTokenClaims, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }
}

fn bench(user_connections_max: u32) -> Bench {
    let config = GatewayConfig { user_connections_max, ..insecure(open_channels()) };
    Bench::with_tokens(config, Arc::new(Trusting))
}

/// A user whose home is this shard of two.
fn user_of(home: ShardId) -> String {
    let names = (0..).map(|number| format!("user{number}"));
    names.into_iter().find(|name| home_of(name, 2) == home).expect("half of them are")
}

#[test]
fn a_user_at_home_elsewhere_waits_for_its_home() {
    let mut bench = bench(0);
    let connection = bench.upgraded();
    let user = user_of(ShardId(1));
    let first =
        format!("{{\"id\":1,\"connect\":{{\"token\":\"{user}\"}}}}\n{{\"id\":2,\"ping\":{{}}}}");
    bench.say(connection, &first);
    bench.say(connection, r#"{"id":3,"ping":{}}"#);
    assert!(bench.texts(connection).is_empty(), "nothing before home has answered");
    let (shard, asked) = bench.to_peers.pop_front().expect("home is asked");
    assert_eq!(shard, ShardId(1));
    assert!(matches!(asked, ToPeer::UserJoin { .. }));
    let is_admitted = true;
    bench.tell(Event::FromPeer(ToPeer::UserJoined { connection, is_admitted }));
    let texts = bench.texts(connection);
    let ids: Vec<&str> = texts.iter().map(|text| &text[..7]).collect();
    assert_eq!(ids, [r#"{"id":1"#, r#"{"id":2"#, r#"{"id":3"#], "in the order they came");
    bench.tell(Event::ReceiveEnded { connection, has_failed: false });
    let (_, left) = bench.to_peers.pop_front().expect("home is told of the end");
    assert!(matches!(left, ToPeer::UserLeave { .. }));
}

#[test]
fn what_waits_behind_a_connect_counts_against_the_budget() {
    let config = GatewayConfig { memory_bytes_max: 32 * 1024, ..insecure(open_channels()) };
    let mut bench = Bench::with_tokens(config, Arc::new(Trusting));
    let connection = bench.upgraded();
    let user = user_of(ShardId(1));
    bench.say(connection, &format!(r#"{{"id":1,"connect":{{"token":"{user}"}}}}"#));
    let data = "x".repeat(10_000);
    let command = format!(r#"{{"id":2,"rpc":{{"method":"m","data":"{data}"}}}}"#);
    (0..3).for_each(|_| bench.say(connection, &command));
    assert!(bench.texts(connection).is_empty(), "three are within it");
    assert!(bench.shard.memory().of(MemoryKind::Requests) > 30_000);
    bench.say(connection, &command);
    assert_eq!(bench.texts(connection), ["close 4008"]);
    assert_eq!(bench.shard.memory().of(MemoryKind::Requests), 0);
}

#[test]
fn answers_that_do_not_fit_the_budget_together_recover_nothing() {
    let options = open_channels();
    let config = GatewayConfig { memory_bytes_max: 256 * 1024, ..insecure(options) };
    let mut bench = Bench::with_tokens(config, Arc::new(Trusting));
    let connection = bench.upgraded();
    let user = user_of(ShardId(0));
    bench.say(connection, &format!(r#"{{"id":1,"connect":{{"token":"{user}/a,b"}}}}"#));
    for _ in 0..2 {
        let asked = bench.to_router.pop_front().expect("the router is asked for both");
        let answer = Subscribed {
            position: Position { offset: 1, epoch: "epoch".into() },
            was_recovering: true,
            recovered: true,
            publications: vec![support::publication(1, &"x".repeat(40_000))],
        };
        bench.answer(&asked, Ok(Answer::Subscribed(Box::new(answer))));
    }
    let texts = bench.texts(connection);
    assert_eq!(texts[0].matches(r#""recovered":true"#).count(), 1, "the first fits");
    assert!(texts[0].len() < 50_000 && texts.len() == 1, "{} bytes", texts[0].len());
}

#[test]
fn home_refuses_a_connection_too_many() {
    let mut bench = bench(2);
    let user = user_of(ShardId(0));
    let connect = format!(r#"{{"id":1,"connect":{{"token":"{user}"}}}}"#);
    let connections: Vec<_> = (0..3).map(|_| bench.upgraded()).collect();
    for &connection in &connections {
        bench.say(connection, &connect);
    }
    assert!(bench.texts(connections[0])[0].contains("connect"));
    assert!(bench.texts(connections[1])[0].contains("connect"));
    assert_eq!(bench.texts(connections[2]), ["close 3504"]);
    bench.tell(Event::ReceiveEnded { connection: connections[0], has_failed: true });
    let again = bench.upgraded();
    bench.say(again, &connect);
    assert!(bench.texts(again)[0].contains("connect"), "a place was given back");
}

#[test]
fn server_side_subscriptions_are_in_the_reply() {
    let mut bench = bench(0);
    let connection = bench.upgraded();
    let user = user_of(ShardId(0));
    bench.say(connection, &format!(r#"{{"id":1,"connect":{{"token":"{user}/one,two"}}}}"#));
    bench.grant(5);
    assert!(bench.texts(connection).is_empty(), "the second one is missing");
    bench.grant(9);
    let reply = bench.texts(connection).remove(0);
    assert!(reply.contains(r#""one":{"recoverable":true,"epoch":"epoch","offset":5"#), "{reply}");
    assert!(reply.contains(r#""two":{"recoverable":true,"epoch":"epoch","offset":9"#), "{reply}");
}

#[test]
fn publications_between_two_grants_come_behind_the_reply() {
    let mut bench = bench(0);
    let connection = bench.upgraded();
    let user = user_of(ShardId(0));
    bench.say(connection, &format!(r#"{{"id":1,"connect":{{"token":"{user}/one,two"}}}}"#));
    bench.grant(5);
    bench.publish("one", 6, "six");
    assert!(bench.texts(connection).is_empty(), "nothing before the reply");
    bench.grant(9);
    bench.publish("one", 7, "seven");
    let texts = bench.texts(connection);
    assert!(texts[0].contains(r#""connect":"#), "{texts:?}");
    assert!(texts[1].contains("six"), "{texts:?}");
    assert!(texts[2].contains("seven"), "{texts:?}");
}

#[test]
fn a_session_that_ends_gives_everything_back() {
    let mut bench = bench(0);
    let connection = bench.upgraded();
    let user = user_of(ShardId(0));
    bench.say(connection, &format!(r#"{{"id":1,"connect":{{"token":"{user}/one"}}}}"#));
    bench.grant(0);
    bench.say(connection, r#"{"id":2,"subscribe":{"channel":"asked"}}"#);
    bench.to_router.clear();
    let user: Arc<str> = user.as_str().into();
    let command = UserCommand::Disconnect {
        code: 4501,
        reason: "go".into(),
        client: None,
        except: Vec::new(),
    };
    bench.tell(Event::User { user, command });
    assert_eq!(bench.texts(connection).last().map(String::as_str), Some("close 4501"));
    let ended: Vec<_> = bench.to_router.drain(..).collect();
    assert_eq!(ended.len(), 2, "the granted one and the one that was only asked for");
    assert!(ended.iter().all(|one| matches!(one.request, Request::Unsubscribe { .. })));
    bench.tell(Event::ReceiveEnded { connection, has_failed: false });
    let counters = bench.shard.counters();
    let left = [
        counters.connections,
        counters.sessions_now,
        counters.channels,
        counters.subscriptions,
        counters.users,
        counters.outbox_bytes,
    ];
    assert_eq!(left, [0; 6], "nothing is left");
}

#[test]
fn a_late_answer_touches_no_other_connection() {
    let mut bench = bench(0);
    let first = bench.connected();
    bench.say(first, r#"{"id":2,"subscribe":{"channel":"room"}}"#);
    let asked = bench.to_router.pop_front().expect("the router was asked");
    bench.tell(Event::ReceiveEnded { connection: first, has_failed: true });
    let second = bench.connected();
    bench.answer(&asked, Err(protocol::client::ErrorCode::Internal));
    assert!(bench.texts(second).is_empty());
    assert_eq!(bench.shard.counters().subscriptions, 0);
}

/// What the API says of a channel.
fn subscribe_by_api(channel: &str) -> UserCommand {
    UserCommand::Subscribe {
        channel: channel.into(),
        claims: Box::default(),
        client: None,
        recover_since: None,
    }
}

#[test]
fn a_subscription_of_the_api_that_comes_during_connect_follows_the_reply() {
    let mut bench = bench(0);
    let connection = bench.upgraded();
    let user = user_of(ShardId(0));
    bench.say(connection, &format!(r#"{{"id":1,"connect":{{"token":"{user}/one"}}}}"#));
    let command = subscribe_by_api("two");
    bench.tell(Event::User { user: user.as_str().into(), command });
    bench.grant(5);
    assert!(bench.texts(connection)[0].contains(r#""connect""#));
    bench.grant(9);
    let texts = bench.texts(connection);
    assert!(texts[0].contains(r#""channel":"two","subscribe""#), "{texts:?}");
}

#[test]
fn a_subscription_of_the_api_that_cannot_be_is_counted() {
    let mut bench = Bench::with_tokens(
        GatewayConfig { channels_max: 1, ..insecure(open_channels()) },
        Arc::new(Trusting),
    );
    let connection = bench.upgraded();
    let user = user_of(ShardId(0));
    bench.say(connection, &format!(r#"{{"id":1,"connect":{{"token":"{user}/one"}}}}"#));
    bench.grant(5);
    bench.texts(connection);
    let command = subscribe_by_api("two");
    bench.tell(Event::User { user: user.as_str().into(), command });
    assert!(bench.to_router.is_empty());
    let refused = bench.shard.counters().subscribes_refused;
    assert_eq!(refused[SubscribeRefusal::ChannelLimit as usize], 1);
}

#[test]
fn what_a_token_says_of_visibility_reaches_the_router() {
    let options = protocol::channels::ChannelOptions { presence: true, ..open_channels() };
    let mut bench = Bench::with_tokens(insecure(options), Arc::new(Hiding));
    let connection = bench.connected();
    bench.say(connection, r#"{"id":2,"subscribe":{"channel":"room","token":"x"}}"#);
    let message = bench.to_router.pop_front().expect("the router is asked");
    let Request::Subscribe(request) = message.request else { panic!("{message:?}") };
    assert!(!request.visibility.presence, "the namespace's option is overridden");
    assert!(request.visibility.join_leave);
    assert!(request.member.is_some());
}

#[derive(Debug)]
struct Hiding;

impl TokenVerifier for Hiding {
    fn connection(&self, _: &str, _: u64) -> Result<ConnectClaims, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }

    fn subscription(&self, _: &str, _: u64) -> Result<SubscribeTokenClaims, TokenRefusal> {
        let overrides =
            Overrides { presence: Some(false), join_leave: Some(true), ..Overrides::default() };
        let subscription = SubscriptionClaims { overrides, ..SubscriptionClaims::default() };
        Ok(SubscribeTokenClaims { user: String::new(), channel: "room".into(), subscription })
    }
}

#[test]
fn a_subscription_that_ended_early_is_answered_once() {
    let mut bench = bench(0);
    let connection = bench.upgraded();
    let user = user_of(ShardId(0));
    bench.say(connection, &format!(r#"{{"id":1,"connect":{{"token":"{user}"}}}}"#));
    bench.texts(connection);
    bench.say(connection, r#"{"id":2,"subscribe":{"channel":"room"}}"#);
    let asked = bench.to_router.pop_front().expect("the router is asked");
    let command = UserCommand::Unsubscribe { channel: "room".into(), client: None };
    bench.tell(Event::User { user: user.as_str().into(), command });
    let texts = bench.texts(connection);
    assert!(texts[0].contains(r#""id":2,"error":{"code":110"#), "{texts:?}");
    bench.answer(&asked, Err(protocol::client::ErrorCode::LimitExceeded));
    assert!(bench.texts(connection).is_empty(), "there is one reply to a command");
}
