//! Goal: a gateway that sees a jump in a channel fetches what is missing before it delivers, and
//! says so when it cannot.
//! Method: publications are left out on the way from the router.

mod support;

use protocol::client::ErrorCode;
use protocol::ids::ConnectionId;
use protocol::link::{Answer, FromRouter, Position, Request, ToRouter};
use support::{Bench, insecure, open_channels, publication};

fn offsets(bench: &mut Bench, connection: ConnectionId) -> Vec<u64> {
    let texts = bench.texts(connection);
    let offset =
        |text: &String| text.rsplit_once(r#""offset":"#)?.1.split('}').next()?.parse().ok();
    texts.iter().filter_map(offset).collect()
}

/// A subscriber at offset 3, and the request for what is missing behind it once 6 has come.
fn with_a_gap() -> (Bench, ConnectionId, ToRouter) {
    let mut bench = Bench::new(insecure(open_channels()));
    let connection = bench.subscribed("room", 3);
    bench.publish("room", 6, "six");
    assert!(bench.texts(connection).is_empty(), "nothing is delivered across a gap");
    let fetch = bench.to_router.pop_front().expect("it asks");
    let Request::Fetch { since } = &fetch.request else { panic!("{fetch:?}") };
    assert_eq!((since.offset, &*since.epoch), (3, "epoch"));
    (bench, connection, fetch)
}

#[test]
fn what_was_missing_comes_first() {
    let (mut bench, connection, fetch) = with_a_gap();
    bench.publish("room", 7, "seven, and the answer has it too");
    assert!(bench.to_router.is_empty(), "it asks once");
    let publications = (4..=7).map(|offset| publication(offset, "fetched")).collect();
    let position = Position { offset: 7, epoch: "epoch".into() };
    bench.answer(&fetch, Ok(Answer::History { publications, position }));
    bench.publish("room", 8, "eight");
    assert_eq!(offsets(&mut bench, connection), [4, 5, 6, 7, 8]);
}

#[test]
fn repeats_are_delivered_once() {
    let mut bench = Bench::new(insecure(open_channels()));
    let connection = bench.subscribed("room", 0);
    for offset in [1, 1, 2, 1, 2, 3] {
        bench.publish("room", offset, "again");
    }
    assert_eq!(offsets(&mut bench, connection), [1, 2, 3]);
}

#[test]
fn what_is_gone_ends_subscriptions_with_2500() {
    let (mut bench, connection, fetch) = with_a_gap();
    bench.answer(&fetch, Err(ErrorCode::UnrecoverablePosition));
    let texts = bench.texts(connection);
    assert_eq!(texts.len(), 1);
    assert!(texts[0].contains(r#""unsubscribe":{"code":2500"#), "{}", texts[0]);
    let told = bench.to_router.pop_front().expect("the router is told");
    assert!(matches!(told.request, Request::Unsubscribe { .. }));
}

#[test]
fn a_gateway_that_was_left_behind_asks_when_told() {
    let mut bench = Bench::new(insecure(open_channels()));
    let connection = bench.subscribed("room", 3);
    bench.tell(gateway::engine::Event::FromRouter(FromRouter::Lagged { channel: "room".into() }));
    let fetch = bench.to_router.pop_front().expect("it asks");
    assert!(matches!(&fetch.request, Request::Fetch { since } if since.offset == 3));
    let publications = vec![publication(4, "late")];
    let position = Position { offset: 4, epoch: "epoch".into() };
    bench.answer(&fetch, Ok(Answer::History { publications, position }));
    assert_eq!(offsets(&mut bench, connection), [4]);
}
