//! Goal: two shards that have more final messages for each other than their lanes hold still
//! deliver all of them, in order.
//! Method: two buses, each filled past its lane and past every bound before it takes a message.

use std::sync::Arc;

use gateway::driver::{Incoming, Uplink};
use gateway::engine::ToPeer;
use protocol::channels::Namespaces;
use protocol::ids::{ConnectionId, ShardId, Slot};
use protocol::time::{Moment, Now};
use ringway::node::bus::LocalBus;
use router::engine::{Partition, PartitionOptions};
use shard::lanes::{Bell, Inbox, LaneSize, mesh};

/// More than a lane and the bound of its overflow together.
const MESSAGES: u32 = 75_000;
const TURNS_MAX: u64 = 1000;

fn buses() -> Vec<LocalBus> {
    let bells: Vec<Bell> = (0..2).map(|_| Bell::new().expect("an eventfd")).collect();
    let ends = mesh(&bells, LaneSize::default());
    let bus = |(end, bell): (_, &Bell)| {
        let namespaces = Arc::new(Namespaces::default());
        LocalBus::new(end, 64, Inbox::new(bell.clone()), move |id| {
            Partition::new(PartitionOptions::new(id, namespaces.clone(), 1))
        })
    };
    ends.into_iter().zip(&bells).map(bus).collect()
}

#[test]
fn everything_arrives_in_order() {
    let mut buses = buses();
    let user: Arc<str> = "user".into();
    for here in 0..2_u8 {
        for number in 0..MESSAGES {
            let connection = ConnectionId::new(ShardId(here), 0, Slot(number), 1);
            let message = ToPeer::UserLeave { connection, user: user.clone() };
            buses[usize::from(here)].to_peer(ShardId(1 - here), message);
        }
    }
    let mut received = [0_u32; 2];
    for turn in 0..TURNS_MAX {
        for (bus, received) in buses.iter_mut().zip(&mut received) {
            bus.turn(Now { moment: Moment::from_millis(1000 + turn), unix_ms: turn });
            while let Some(incoming) = bus.receive() {
                let Incoming::FromPeer(ToPeer::UserLeave { connection, .. }) = incoming else {
                    panic!("nothing else was sent: {incoming:?}")
                };
                assert_eq!(connection.slot(), Slot(*received), "in the order it was sent");
                *received += 1;
            }
        }
    }
    assert_eq!(received, [MESSAGES; 2]);
}
