//! Goal: whoever publishes into a durable channel while the disk is silent is told so in time, even
//! if nothing else happens in that partition.
//! Method: a bus over a log that takes entries and never syncs one; only time passes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use gateway::driver::{Incoming, Uplink};
use protocol::channels::{ChannelOptions, Durability, Namespaces};
use protocol::client::ErrorCode;
use protocol::ids::PartitionId;
use protocol::link::{
    Content, FromRouter, LogEntry, LogLevel, LogProgress, PublishRequest, ReplyTo, Request,
    StoreAnswer, StoreQuestion, ToRouter,
};
use protocol::time::{Moment, Now};
use ringway::node::bus::LocalBus;
use ringway::node::log::{Full, LogEvent, PartitionLog};
use router::engine::{Partition, PartitionOptions};
use router::limits::{PUBLISH_TIMEOUT, TICK};
use shard::lanes::{Bell, Inbox, LaneSize, mesh};

/// Knows no channel, and syncs nothing.
#[derive(Debug, Default)]
struct Silent(VecDeque<LogEvent>);

impl PartitionLog for Silent {
    fn append(&mut self, _: LogEntry, _: LogLevel) -> Result<(), Full> {
        Ok(())
    }

    fn ask(&mut self, partition: PartitionId, read: u64, _: Arc<str>, _: StoreQuestion) {
        let answer = Ok(StoreAnswer::Newest { position: None, publications: Vec::new() });
        self.0.push_back(LogEvent::Answered { partition, read, answer });
    }

    fn next_event(&mut self) -> Option<LogEvent> {
        self.0.pop_front()
    }

    fn has_events(&self) -> bool {
        !self.0.is_empty()
    }
}

fn bus() -> LocalBus {
    let bell = Bell::new().expect("an eventfd");
    let end = mesh(std::slice::from_ref(&bell), LaneSize::default()).remove(0);
    let without = ChannelOptions {
        history_size: 10,
        history_ttl: Duration::from_secs(60),
        durability: Durability::Log,
        ..ChannelOptions::default()
    };
    let namespaces = Arc::new(Namespaces { without, ..Namespaces::default() });
    let bus = LocalBus::new(end, 1, Inbox::new(bell), move |id| {
        let mut options = PartitionOptions::new(id, namespaces.clone(), 1);
        options.log = Some(LogProgress::default());
        Partition::new(options)
    });
    bus.with_log(Box::new(Silent::default()))
}

#[test]
fn a_publication_is_answered_when_its_time_is_over() {
    let mut bus = bus();
    let now = Now { moment: Moment::from_millis(1000), unix_ms: 1 };
    let publish = PublishRequest {
        content: Content::classify(b"{}"),
        publisher: None,
        tags: None,
        skip_history: false,
        idempotency_key: None,
    };
    let request = Request::Publish(Box::new(publish));
    bus.to_router(ToRouter { channel: "room".into(), reply_to: ReplyTo::Gateway, request }, now);
    bus.turn(now);
    let later = now.moment + PUBLISH_TIMEOUT + TICK;
    bus.turn(Now { moment: later, unix_ms: 2 });
    let told = bus.receive();
    let Some(Incoming::FromRouter(FromRouter::Reply(reply))) = told else {
        panic!("nobody was told: {told:?}")
    };
    assert_eq!(reply.result.expect_err("it is not in the log"), ErrorCode::Internal);
}
