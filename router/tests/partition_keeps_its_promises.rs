//! Goal: order, recovery, presence and idempotency as a gateway and a backend rely on them.
//! Method: one partition, driven by hand; the clock too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use protocol::channels::{ChannelOptions, Namespaces};
use protocol::client::ErrorCode;
use protocol::ids::{ConnectionId, PartitionId, ShardId, Slot};
use protocol::link::{
    Answer, ClientId, Content, FromRouter, GatewayId, HistoryRequest, Member, Position,
    PublishRequest, ReplyTo, Request, SubscribeRequest, Subscribed, ToRouter, Visibility,
};
use protocol::time::{Moment, Now};
use router::engine::{Action, Partition, PartitionOptions};

const HERE: GatewayId = GatewayId(0);
const THERE: GatewayId = GatewayId(1);

struct Bench {
    partition: Partition,
    now: Now,
    /// What gateways were told since the last look.
    told: Vec<(GatewayId, FromRouter)>,
    next_call: u64,
    channel: Arc<str>,
    visibility: Visibility,
}

fn options() -> ChannelOptions {
    ChannelOptions {
        presence: true,
        join_leave: true,
        history_size: 5,
        history_ttl: Duration::from_secs(60),
        history_meta_ttl: Duration::from_secs(3600),
        ..ChannelOptions::default()
    }
}

fn connection(slot: u32) -> ConnectionId {
    ConnectionId::new(ShardId(0), 0, Slot(slot), 1)
}

impl Bench {
    fn new(without: ChannelOptions) -> Self {
        let namespaces = Arc::new(Namespaces { without, ..Namespaces::default() });
        let now = Now { moment: Moment::from_millis(1), unix_ms: 1_000_000 };
        let partition = Partition::new(PartitionOptions::new(PartitionId(0), namespaces, 7));
        let visibility = Visibility { presence: true, join_leave: true };
        let channel = "room".into();
        Self { partition, now, told: Vec::new(), next_call: 0, channel, visibility }
    }

    fn send(
        &mut self,
        gateway: GatewayId,
        reply_to: ReplyTo,
        request: Request,
    ) -> Option<Answered> {
        let message = ToRouter { channel: self.channel.clone(), reply_to, request };
        self.partition.handle(gateway, message, self.now);
        self.drain()
    }

    fn drain(&mut self) -> Option<Answered> {
        let mut answered = None;
        while let Some(action) = self.partition.poll_action() {
            match action {
                Action::Tell { gateway, message } => self.told.push((gateway, message)),
                Action::AnswerApi { result, .. } => answered = Some(result),
                other => panic!("no channel here is durable: {other:?}"),
            }
        }
        answered
    }

    fn ask(&mut self, request: Request) -> Answered {
        self.next_call += 1;
        self.send(HERE, ReplyTo::Api(self.next_call), request).expect("an answer at once")
    }

    fn publish(&mut self, key: Option<&str>) -> Position {
        let request = PublishRequest {
            content: Content::classify(b"1"),
            publisher: None,
            tags: None,
            skip_history: false,
            idempotency_key: key.map(Into::into),
        };
        match self.ask(Request::Publish(Box::new(request))) {
            Ok(Answer::Published(position)) => position,
            other => panic!("{other:?}"),
        }
    }

    fn subscribe(
        &mut self,
        gateway: GatewayId,
        slot: u32,
        recover: Option<Position>,
    ) -> Subscribed {
        let member = Arc::new(Member {
            user: format!("user{}", slot % 2).as_str().into(),
            client: ClientId(u128::from(slot)),
            connection_info: None,
            channel_info: None,
        });
        let connection = connection(slot);
        let request = SubscribeRequest {
            connection,
            member: Some(member),
            visibility: self.visibility,
            recover,
            bytes_max: 1000,
        };
        let reply_to = ReplyTo::Subscription { connection, command: 1 };
        self.send(gateway, reply_to, Request::Subscribe(Box::new(request)));
        let is_reply =
            |(_, message): &(GatewayId, FromRouter)| matches!(message, FromRouter::Reply(_));
        let at = self.told.iter().position(is_reply).expect("an answer");
        let (_, FromRouter::Reply(reply)) = self.told.remove(at) else { unreachable!() };
        match reply.result {
            Ok(Answer::Subscribed(subscribed)) => *subscribed,
            other => panic!("{other:?}"),
        }
    }

    fn unsubscribe(&mut self, gateway: GatewayId, slot: u32) {
        let request = Request::Unsubscribe { connection: connection(slot) };
        self.send(gateway, ReplyTo::Nobody, request);
    }

    fn pass(&mut self, time: Duration) {
        self.now.moment = self.now.moment + time;
        self.now.unix_ms += time.as_millis() as u64;
        self.partition.tick(self.now);
        self.drain();
    }
}

type Answered = Result<Answer, ErrorCode>;

#[test]
fn offsets_count_from_one_without_a_gap() {
    let mut bench = Bench::new(options());
    let offsets: Vec<u64> = (0..10).map(|_| bench.publish(None).offset).collect();
    assert_eq!(offsets, (1..=10).collect::<Vec<_>>());
}

#[test]
fn each_gateway_is_told_once_whatever_it_holds() {
    let mut bench = Bench::new(options());
    bench.subscribe(HERE, 1, None);
    bench.subscribe(HERE, 2, None);
    bench.subscribe(THERE, 3, None);
    bench.told.clear();
    bench.publish(None);
    let told: Vec<GatewayId> = bench.told.iter().map(|(gateway, _)| *gateway).collect();
    assert_eq!(told, [HERE, THERE]);
    bench.unsubscribe(THERE, 3);
    bench.told.clear();
    bench.publish(None);
    assert!(bench.told.iter().all(|(gateway, _)| *gateway == HERE), "nobody listens there");
}

#[test]
fn recovery_is_everything_or_nothing() {
    let mut bench = Bench::new(options());
    let first = bench.publish(None);
    for _ in 0..6 {
        bench.publish(None);
    }
    let epoch = first.epoch.clone();
    let at = |offset| Some(Position { offset, epoch: epoch.clone() });
    let complete = bench.subscribe(HERE, 1, at(2));
    assert!(complete.recovered);
    let offsets: Vec<u64> = complete.publications.iter().map(|one| one.offset).collect();
    assert_eq!(offsets, [3, 4, 5, 6, 7]);
    let too_late = bench.subscribe(HERE, 2, at(1));
    assert!(too_late.was_recovering);
    assert!(!too_late.recovered);
    assert!(too_late.publications.is_empty());
    assert_eq!(too_late.position.offset, 7);
    let other = Some(Position { offset: 7, epoch: "another".into() });
    assert!(!bench.subscribe(HERE, 3, other).recovered);
    assert!(bench.subscribe(HERE, 4, at(7)).recovered, "nothing was missed");
    assert!(!bench.subscribe(HERE, 5, at(8)).recovered, "a position from nowhere");
}

#[test]
fn a_recovery_that_no_client_could_take_is_refused() {
    let mut bench = Bench::new(options());
    let large = format!("\"{}\"", "x".repeat(600));
    let publish = |bench: &mut Bench| {
        let request = PublishRequest {
            content: Content::classify(large.as_bytes()),
            publisher: None,
            tags: None,
            skip_history: false,
            idempotency_key: None,
        };
        bench.ask(Request::Publish(Box::new(request)))
    };
    let Ok(Answer::Published(first)) = publish(&mut bench) else { panic!() };
    publish(&mut bench).unwrap();
    publish(&mut bench).unwrap();
    let at = |offset| Some(Position { offset, epoch: first.epoch.clone() });
    assert!(bench.subscribe(HERE, 1, at(2)).recovered, "600 bytes of 1000");
    assert!(!bench.subscribe(HERE, 2, at(1)).recovered, "1200 bytes of 1000");
    let page = HistoryRequest { limit: 10, bytes_max: 1000, ..HistoryRequest::default() };
    let Ok(Answer::History { publications, .. }) = bench.ask(Request::History(Box::new(page)))
    else {
        panic!()
    };
    assert_eq!(publications.len(), 1, "a page ends before it is too large");
}

#[test]
fn the_window_forgets_by_age_and_the_position_stays() {
    let mut bench = Bench::new(options());
    let last = bench.publish(None);
    bench.pass(Duration::from_secs(61));
    let history = Request::History(Box::new(HistoryRequest { limit: 10, ..Default::default() }));
    let Ok(Answer::History { publications, position }) = bench.ask(history) else { panic!() };
    assert!(publications.is_empty());
    assert_eq!(position, last);
    bench.pass(Duration::from_secs(4000));
    assert_eq!(bench.partition.counters().channels, 0, "behind history_meta_ttl all is forgotten");
    assert_ne!(bench.publish(None).epoch, last.epoch, "and the next offsets are of another epoch");
}

#[test]
fn a_key_is_ordered_once_and_answered_the_same() {
    let mut bench = Bench::new(options());
    let first = bench.publish(Some("key"));
    assert_eq!(bench.publish(Some("key")), first);
    assert_eq!(bench.publish(Some("other")).offset, 2);
    bench.pass(Duration::from_secs(16 * 60));
    assert_eq!(bench.publish(Some("key")).offset, 3, "15 minutes are over");
}

#[test]
fn one_leave_for_each_join() {
    let mut bench = Bench::new(options());
    bench.subscribe(HERE, 1, None);
    bench.told.clear();
    bench.subscribe(THERE, 2, None);
    let joins = |bench: &Bench| {
        let joins = bench.told.iter().filter(|(_, told)| matches!(told, FromRouter::Join { .. }));
        joins.count()
    };
    assert_eq!(joins(&bench), 2, "one for each gateway that listens");
    let stats = bench.ask(Request::PresenceStats);
    assert!(matches!(stats, Ok(Answer::PresenceStats { clients: 2, users: 2 })), "{stats:?}");
    bench.told.clear();
    bench.unsubscribe(THERE, 2);
    bench.unsubscribe(THERE, 2);
    let leaves = bench.told.iter().filter(|(_, told)| matches!(told, FromRouter::Leave { .. }));
    assert_eq!(leaves.count(), 1, "and only where somebody is left to hear it");
}

#[test]
fn who_hides_is_neither_listed_nor_told() {
    let mut bench = Bench::new(options());
    bench.subscribe(HERE, 1, None);
    bench.told.clear();
    bench.visibility = Visibility { presence: false, join_leave: false };
    bench.subscribe(HERE, 2, None);
    bench.unsubscribe(HERE, 2);
    assert!(bench.told.is_empty(), "{:?}", bench.told);
    let stats = bench.ask(Request::PresenceStats);
    assert!(matches!(stats, Ok(Answer::PresenceStats { clients: 1, users: 1 })), "{stats:?}");
}

#[test]
fn a_leave_is_told_exactly_if_the_join_was() {
    let mut bench = Bench::new(options());
    bench.subscribe(HERE, 1, None);
    bench.subscribe(HERE, 2, None);
    bench.told.clear();
    let silent = ChannelOptions { join_leave: false, ..options() };
    let namespaces = Namespaces { without: silent, ..Namespaces::default() };
    bench.partition.set_namespaces(Arc::new(namespaces));
    bench.unsubscribe(HERE, 2);
    assert!(matches!(bench.told[..], [(HERE, FromRouter::Leave { .. })]), "{:?}", bench.told);
}

#[test]
fn a_gateway_that_missed_joins_is_told_once() {
    let mut bench = Bench::new(options());
    bench.subscribe(THERE, 1, None);
    bench.told.clear();
    bench.subscribe(HERE, 2, None);
    bench.unsubscribe(HERE, 2);
    for (gateway, message) in std::mem::take(&mut bench.told) {
        if gateway == THERE && message.is_presence() {
            bench.partition.refused(gateway, &message);
        }
    }
    bench.partition.room_again(THERE);
    bench.drain();
    let told: Vec<_> = bench.told.drain(..).collect();
    assert!(matches!(told[..], [(THERE, FromRouter::PresenceLagged { .. })]), "{told:?}");
}

#[test]
fn channels_are_listed_in_parts() {
    let mut bench = Bench::new(options());
    let count = router::limits::CHANNELS_SCANNED_MAX as u32 + 10;
    for slot in 0..count {
        bench.channel = format!("room{slot}").as_str().into();
        bench.subscribe(HERE, slot, None);
    }
    bench.channel = "room*".into();
    let (mut names, mut from) = (BTreeSet::new(), Some(0));
    while let Some(part) = from {
        let Ok(Answer::Channels { found, next }) = bench.ask(Request::Channels { from: part })
        else {
            panic!("a part")
        };
        assert!(found.len() <= router::limits::CHANNELS_SCANNED_MAX);
        names.extend(found.into_iter().map(|(name, _)| name));
        from = next;
    }
    assert_eq!(names.len() as u32, count);
}

#[test]
fn a_gateway_that_was_not_reached_is_told_to_fetch_once() {
    let mut bench = Bench::new(options());
    let at = bench.subscribe(THERE, 1, None).position;
    bench.publish(None);
    bench.publish(None);
    for (gateway, message) in std::mem::take(&mut bench.told) {
        if matches!(message, FromRouter::Publication { .. }) {
            bench.partition.refused(gateway, &message);
        }
    }
    assert!(bench.partition.has_lagging());
    bench.partition.room_again(THERE);
    bench.drain();
    let told: Vec<_> = bench.told.drain(..).collect();
    assert!(matches!(told[..], [(THERE, FromRouter::Lagged { .. })]), "{told:?}");
    let Ok(Answer::History { publications, .. }) = bench.ask(Request::Fetch { since: at }) else {
        panic!("the window has them")
    };
    assert_eq!(publications.len(), 2);
}

#[test]
fn without_history_nothing_is_kept() {
    let mut bench = Bench::new(ChannelOptions::default());
    assert_eq!(bench.publish(None), Position::default());
    assert_eq!(bench.partition.counters().channels, 0);
    bench.subscribe(HERE, 1, None);
    bench.unsubscribe(HERE, 1);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.partition.counters().channels, 0, "an empty channel is freed");
    let history = Request::History(Box::default());
    assert_eq!(bench.ask(history).unwrap_err(), ErrorCode::NotAvailable);
}

#[test]
fn bytes_that_leave_a_window_are_counted_out() {
    let ask_history = |bench: &mut Bench| {
        let request = HistoryRequest { limit: 1, ..HistoryRequest::default() };
        let _ = bench.ask(Request::History(Box::new(request)));
    };
    let subscribe = |bench: &mut Bench| drop(bench.subscribe(HERE, 1, None));
    for looks in [&ask_history as &dyn Fn(&mut Bench), &subscribe] {
        let mut bench = Bench::new(options());
        (0..3).for_each(|_| drop(bench.publish(None)));
        assert_eq!(bench.partition.counters().window_bytes, 3);
        bench.now.moment = bench.now.moment + Duration::from_secs(61);
        bench.now.unix_ms += 61_000;
        looks(&mut bench);
        assert_eq!(bench.partition.counters().window_bytes, 0, "all of it is too old");
    }
}
