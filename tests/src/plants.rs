//! Faults that are planted between the server's parts, so that a test can show that the ledger sees
//! them.
//!
//! Nothing in the server knows of them: they are wrapped around its uplink and its ring.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use gateway::driver::{Incoming, Uplink};
use gateway::engine::ToPeer;
use protocol::ids::{ConnectionId, ShardId, Slot};
use protocol::link::{
    Answer, Content, FromRouter, LogChange, LogEntry, Position, Publication, ReplyTo, Request,
    RouterReply, ToRouter,
};
use protocol::time::{Moment, Now};
use shard::{Chunk, Completion, Io, SendBuffer, Wait};

use crate::random::Random;

/// One kind of planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A publication does not reach a shard.
    Lost,
    /// A publication without an offset reaches a shard twice.
    Duplicated,
    /// Two publications without offsets reach a shard in the wrong order.
    Swapped,
    /// A publication that nobody issued reaches a shard.
    Phantom,
    /// Bytes of a connection that is gone are received under the next one in its slot.
    StaleGeneration,
    /// A shard does not wake those to whom it sent something.
    LostWake,
    /// Somebody leaves twice.
    DoubleLeave,
    /// A shard is told other content for an offset than others.
    ReusedOffset,
    /// A durable publication is acknowledged before it is synced.
    AcknowledgedEarly,
    /// A durable publication is delivered before it is synced.
    DeliveredEarly,
    /// The store says that it has rows which it does not have yet.
    CheckpointAhead,
}

/// Publications that are delivered although their log does not have them. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Early(Rc<RefCell<VecDeque<Incoming>>>);

impl Early {
    /// An entry was handed to the log.
    pub fn appended(&self, entry: &LogEntry) {
        if let LogChange::Published { publication, .. } = &entry.change {
            let (channel, publication) = (entry.channel.clone(), publication.clone());
            let early = FromRouter::Publication { channel, publication };
            self.0.borrow_mut().push_back(Incoming::FromRouter(early));
        }
    }
}

/// One in so many chances is taken.
const RARITY: u64 = 12;

/// An uplink with a fault, if one is planted.
#[derive(Debug)]
pub struct PlantedUplink<U> {
    inner: U,
    plant: Option<Plant>,
    random: Random,
    queue: VecDeque<Incoming>,
    early: Early,
    held: Option<(Arc<str>, Arc<Publication>)>,
    earlier: BTreeMap<Arc<str>, Arc<Publication>>,
}

impl<U: Uplink> PlantedUplink<U> {
    /// `inner`, with `plant`.
    pub fn new(inner: U, plant: Option<Plant>, random: Random) -> Self {
        Self {
            inner,
            plant,
            random,
            queue: VecDeque::new(),
            early: Early::default(),
            held: None,
            earlier: BTreeMap::new(),
        }
    }

    /// With publications that come before their time.
    pub fn with_early(mut self, early: Early) -> Self {
        self.early = early;
        self
    }

    /// Acknowledges at once what the log does not have.
    fn acknowledge(&mut self, message: &mut ToRouter) {
        let Request::Publish(_) = message.request else { return };
        let is_durable = ["log:", "store:"].iter().any(|name| message.channel.starts_with(name));
        if !is_durable || message.reply_to == ReplyTo::Nobody {
            return;
        }
        let position = Position { offset: 1, epoch: "early".into() };
        let reply = RouterReply {
            channel: message.channel.clone(),
            reply_to: std::mem::replace(&mut message.reply_to, ReplyTo::Nobody),
            result: Ok(Answer::Published(position)),
        };
        self.queue.push_back(Incoming::FromRouter(FromRouter::Reply(Box::new(reply))));
    }

    fn alter(&mut self, plant: Plant, incoming: Incoming) -> Option<Incoming> {
        match incoming {
            Incoming::FromRouter(FromRouter::Publication { channel, publication }) => {
                self.alter_publication(plant, channel, publication)
            }
            Incoming::FromRouter(FromRouter::Leave { channel, member })
                if plant == Plant::DoubleLeave && self.random.chance(1, RARITY) =>
            {
                let (again, who) = (channel.clone(), member.clone());
                let again = FromRouter::Leave { channel: again, member: who };
                self.queue.push_back(Incoming::FromRouter(again));
                Some(Incoming::FromRouter(FromRouter::Leave { channel, member }))
            }
            other => Some(other),
        }
    }

    fn alter_publication(
        &mut self,
        plant: Plant,
        channel: Arc<str>,
        publication: Arc<Publication>,
    ) -> Option<Incoming> {
        let deliver = |channel: &Arc<str>, publication: Arc<Publication>| {
            let channel = channel.clone();
            Incoming::FromRouter(FromRouter::Publication { channel, publication })
        };
        let is_plain = publication.offset == 0;
        let strikes = self.random.chance(1, RARITY);
        if let Some((held_in, held)) = self.held.take() {
            self.queue.push_back(deliver(&held_in, held));
        }
        match plant {
            Plant::Lost if strikes => return None,
            Plant::Duplicated if strikes && is_plain => {
                self.queue.push_back(deliver(&channel, publication.clone()));
            }
            Plant::Swapped if strikes && is_plain => {
                self.held = Some((channel, publication));
                return None;
            }
            Plant::Phantom if strikes => {
                let content = Content::classify(b"{\"n\":987654321,\"p\":\"boo\"}");
                let phantom = Publication { content, ..(*publication).clone() };
                return Some(deliver(&channel, Arc::new(phantom)));
            }
            Plant::ReusedOffset if !is_plain => {
                let earlier = self.earlier.insert(channel.clone(), publication.clone());
                if let Some(earlier) = earlier
                    && strikes
                {
                    let content = earlier.content.clone();
                    let reused = Publication { content, ..(*publication).clone() };
                    return Some(deliver(&channel, Arc::new(reused)));
                }
            }
            _ => {}
        }
        Some(deliver(&channel, publication))
    }
}

impl<U: Uplink> Uplink for PlantedUplink<U> {
    fn to_router(&mut self, mut message: ToRouter, now: Now) {
        if self.plant == Some(Plant::AcknowledgedEarly) {
            self.acknowledge(&mut message);
        }
        self.inner.to_router(message, now);
    }

    fn to_peer(&mut self, shard: ShardId, message: ToPeer) {
        self.inner.to_peer(shard, message);
    }

    fn turn(&mut self, now: Now) {
        self.inner.turn(now);
    }

    fn receive(&mut self) -> Option<Incoming> {
        let Some(plant) = self.plant else { return self.inner.receive() };
        loop {
            let early = self.early.0.borrow_mut().pop_front();
            if let Some(queued) = early.or_else(|| self.queue.pop_front()) {
                return Some(queued);
            }
            let incoming = self.inner.receive()?;
            if let Some(altered) = self.alter(plant, incoming) {
                return Some(altered);
            }
        }
    }

    fn flush(&mut self) {
        if self.plant == Some(Plant::LostWake) && self.random.chance(1, RARITY) {
            return;
        }
        self.inner.flush();
    }

    fn has_work(&self) -> bool {
        !self.queue.is_empty() || !self.early.0.borrow().is_empty() || self.inner.has_work()
    }

    fn lane_depth(&self) -> usize {
        self.inner.lane_depth()
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.inner.next_deadline()
    }
}

/// A ring with a fault, if one is planted.
#[derive(Debug)]
pub struct PlantedIo<I> {
    inner: I,
    is_planted: bool,
    random: Random,
    /// The last bytes of the connection in each slot, kept from it.
    kept: BTreeMap<Slot, (ConnectionId, Vec<u8>)>,
    stale: Option<(ConnectionId, Vec<u8>)>,
    stale_bytes: Vec<u8>,
}

/// Names the planted bytes among the buffers.
const STALE_BUFFER: u16 = u16::MAX;

impl<I: Io> PlantedIo<I> {
    /// `inner`, with `plant` if that is one of a ring.
    pub fn new(inner: I, plant: Option<Plant>, random: Random) -> Self {
        Self {
            inner,
            is_planted: plant == Some(Plant::StaleGeneration),
            random,
            kept: BTreeMap::new(),
            stale: None,
            stale_bytes: Vec::new(),
        }
    }

    /// The ring itself.
    pub fn inner(&self) -> &I {
        &self.inner
    }

    /// The ring itself.
    pub fn inner_mut(&mut self) -> &mut I {
        &mut self.inner
    }

    fn watch(&mut self, completion: &Completion) {
        if let Completion::Received { connection, chunk } = completion
            && self.random.chance(1, RARITY)
        {
            let bytes = self.inner.bytes(chunk).to_vec();
            self.kept.insert(connection.slot(), (*connection, bytes));
        }
    }
}

impl<I: Io> PlantedIo<I> {
    /// Another connection's bytes come to the next one in its place.
    fn deliver_stale(&mut self, connection: ConnectionId) {
        let slot = connection.slot();
        if self.kept.get(&slot).is_some_and(|(earlier, _)| *earlier != connection) {
            self.stale = self.kept.remove(&slot).map(|(_, bytes)| (connection, bytes));
        }
    }
}

impl<I: Io> Io for PlantedIo<I> {
    fn turn(&mut self, wait: Wait) -> std::io::Result<()> {
        self.inner.turn(wait)
    }

    fn next(&mut self) -> Option<Completion> {
        if let Some((connection, bytes)) = self.stale.take() {
            let chunk = Chunk::new(STALE_BUFFER, bytes.len() as u32);
            self.stale_bytes = bytes;
            return Some(Completion::Received { connection, chunk });
        }
        let completion = self.inner.next()?;
        if self.is_planted {
            self.watch(&completion);
        }
        Some(completion)
    }

    fn bytes(&mut self, chunk: &Chunk) -> &mut [u8] {
        if chunk.buffer() == STALE_BUFFER {
            return &mut self.stale_bytes;
        }
        self.inner.bytes(chunk)
    }

    fn recycle(&mut self, chunk: Chunk) {
        if chunk.buffer() != STALE_BUFFER {
            self.inner.recycle(chunk);
        }
    }

    fn accept(&mut self) {
        self.inner.accept();
    }

    fn stop_accepting(&mut self) {
        self.inner.stop_accepting();
    }

    fn receive(&mut self, connection: ConnectionId) {
        self.inner.receive(connection);
        self.deliver_stale(connection);
    }

    fn rest(&mut self, connection: ConnectionId) {
        self.inner.rest(connection);
        self.deliver_stale(connection);
    }

    fn pause(&mut self, connection: ConnectionId) {
        self.inner.pause(connection);
    }

    fn send(&mut self, connection: ConnectionId, buffer: SendBuffer) {
        self.inner.send(connection, buffer);
    }

    fn shutdown_write(&mut self, connection: ConnectionId) {
        self.inner.shutdown_write(connection);
    }

    fn close(&mut self, connection: ConnectionId) {
        self.inner.close(connection);
    }
}
