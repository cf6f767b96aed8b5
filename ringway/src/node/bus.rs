//! The uplink of one process: lanes between shards, and partitions that live on their threads.
//!
//! Owns: this shard's ends of all lanes, the partitions it hosts, and what found no room on the
//! way.
//! Never: decides; partitions and the gateway engine do.
//! Invariant: to one target, nothing overtakes what waits in `overflow`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use gateway::driver::{Incoming, Uplink};
use gateway::engine::ToPeer;
use protocol::client::ErrorCode;
use protocol::ids::{ConnectionId, PartitionId, ShardId, partition_of};
use protocol::link::{
    Answer, FromRouter, GatewayId, LogEntry, LogLevel, ReplyTo, Request, ToRouter,
};
use protocol::time::{Moment, Now};
use router::engine::{Action, BusiestChannels, ChannelTraffic, Counters, Partition};
use shard::lanes::{Class, Endpoint, Inbox};

use super::log::{LogEvent, PartitionLog};

/// What travels between shards.
#[derive(Debug)]
pub enum ShardMessage {
    /// A gateway shard to a partition hosted on the target.
    ToRouter(ToRouter),
    /// A partition to the gateway shard that is the target.
    FromRouter(FromRouter),
    /// A gateway shard to another.
    ToPeer(ToPeer),
}

/// Takes the answer to one call.
pub type Answered = Box<dyn FnOnce(Result<Answer, ErrorCode>) + Send>;

/// What the API asks of the partitions of one shard.
pub enum RouterCall {
    /// A request to a partition, and who waits for the answer.
    Ask {
        /// Which one.
        partition: PartitionId,
        /// What; `reply_to` is filled in here.
        message: ToRouter,
        /// Who waits.
        answered: Answered,
    },
    /// New rules for all channels.
    SetNamespaces(std::sync::Arc<protocol::channels::Namespaces>),
    /// What the partitions here have counted.
    Inspect(Box<dyn FnOnce(Vec<Counters>) + Send>),
    /// Into which channels here most is published.
    Busiest(BusiestChannels, AnswerBusiest),
}

/// Takes the busiest channels of one shard. `None`: too many such questions wait already.
pub type AnswerBusiest = Box<dyn FnOnce(Option<Vec<ChannelTraffic>>) + Send>;

impl std::fmt::Debug for RouterCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ask { .. } => "Ask",
            Self::SetNamespaces(_) => "SetNamespaces",
            Self::Inspect(_) => "Inspect",
            Self::Busiest(..) => "Busiest",
        })
    }
}

/// Lane messages that one turn takes.
const MESSAGES_PER_TURN: usize = 2048;
/// How soon a full lane is tried again.
const RETRY: core::time::Duration = core::time::Duration::from_millis(1);
/// Final messages that may wait for one shard whose lane is full, before new subscriptions are
/// refused, and joins and leaves left out (the shard is told when it is back). What else is final
/// ends something or answers something, so that there is no more of it than connections hold: it is
/// always kept, and lanes are always emptied. Two shards that stopped reading until they could
/// write would wait for each other for ever.
const OVERFLOW_MAX: usize = 1 << 16;
/// Messages that have arrived and wait for the engine, before lanes are left to fill and messages
/// of clients are refused.
const INCOMING_MAX: usize = gateway::limits::LANE_MESSAGES_PER_TURN;

/// Searches for busy channels that may wait; further ones are refused.
const SEARCHES_MAX: usize = 8;
/// Places of channels that one turn looks at for them.
const SEARCHED_PER_TURN: usize = 1024;

/// One shard's part of the bus.
#[derive(Debug)]
pub struct LocalBus {
    endpoint: Endpoint<ShardMessage>,
    partitions_count: u16,
    /// By number; `None` where another shard is the host.
    partitions: Vec<Option<Partition>>,
    incoming: VecDeque<Incoming>,
    /// Subscriptions in `incoming` that were refused: no partition knows them, so that their end is
    /// not sent either.
    refused: HashMap<(ConnectionId, Arc<str>), u32>,
    overflow: Vec<VecDeque<ShardMessage>>,
    calls: Inbox<RouterCall>,
    waiting: Waiting,
    next_call: u64,
    searches: VecDeque<Search>,
    log: Option<Box<dyn PartitionLog>>,
    now: Moment,
    tick_at: Moment,
}

/// A search for the busiest channels, some places a turn.
struct Search {
    busiest: BusiestChannels,
    answer: AnswerBusiest,
    partition: usize,
    place: usize,
}

impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at {} of partition {}", self.place, self.partition)
    }
}

#[derive(Default)]
struct Waiting(HashMap<u64, Answered>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} calls", self.0.len())
    }
}

/// The shard that hosts a partition.
pub fn host_of(partition: PartitionId, shards_count: usize) -> ShardId {
    ShardId((usize::from(partition.0) % shards_count) as u8)
}

impl LocalBus {
    /// The bus of the shard whose end of the lanes this is; `partition` makes those it hosts.
    pub fn new(
        endpoint: Endpoint<ShardMessage>,
        partitions_count: u16,
        calls: Inbox<RouterCall>,
        mut partition: impl FnMut(PartitionId) -> Partition,
    ) -> Self {
        let shards_count = endpoint.shards_count();
        let here = endpoint.shard();
        let is_hosted = |id: PartitionId| host_of(id, shards_count) == here;
        let partitions = (0..partitions_count)
            .map(PartitionId)
            .map(|id| is_hosted(id).then(|| partition(id)))
            .collect();
        Self {
            endpoint,
            partitions_count,
            partitions,
            incoming: VecDeque::new(),
            refused: HashMap::new(),
            overflow: (0..shards_count).map(|_| VecDeque::new()).collect(),
            calls,
            waiting: Waiting::default(),
            next_call: 0,
            searches: VecDeque::new(),
            log: None,
            now: Moment::ZERO,
            tick_at: Moment::ZERO,
        }
    }

    /// With a log for the partitions that were made with one.
    pub fn with_log(mut self, log: Box<dyn PartitionLog>) -> Self {
        self.log = Some(log);
        self
    }

    fn here(&self) -> GatewayId {
        GatewayId(u16::from(self.endpoint.shard().0))
    }

    fn ask(&mut self, from: GatewayId, id: PartitionId, message: ToRouter, now: Now) {
        let partition = self.partitions[usize::from(id.0)].as_mut();
        let partition = partition.expect("messages go to the host of their partition");
        partition.handle(from, message, now);
        self.drain(id);
    }

    fn drain(&mut self, id: PartitionId) {
        let here = self.here();
        loop {
            let partition = self.partitions[usize::from(id.0)].as_mut().expect("hosted here");
            match partition.poll_action() {
                None => return,
                Some(Action::AnswerApi { call, result }) => {
                    if let Some(answered) = self.waiting.0.remove(&call) {
                        answered(result);
                    }
                }
                Some(Action::Tell { gateway, message }) if gateway == here => {
                    self.incoming.push_back(Incoming::FromRouter(message));
                }
                Some(Action::Tell { gateway, message }) => self.tell(id, gateway, message),
                Some(Action::Append { entry, awaits }) => self.append(id, *entry, awaits),
                Some(Action::AskStore { read, channel, question }) => {
                    self.log_mut().ask(id, read, channel, question);
                }
            }
        }
    }

    fn log_mut(&mut self) -> &mut dyn PartitionLog {
        self.log.as_deref_mut().expect("partitions with a log are given one")
    }

    fn append(&mut self, id: PartitionId, entry: LogEntry, awaits: LogLevel) {
        let sequence = entry.sequence;
        if self.log_mut().append(entry, awaits).is_err() {
            let partition = self.partitions[usize::from(id.0)].as_mut().expect("hosted here");
            partition.append_refused(sequence);
        }
    }

    /// Tells partitions what became of their entries and questions.
    fn take_log(&mut self, now: Now) {
        while let Some(event) = self.log.as_mut().and_then(|log| log.next_event()) {
            let (LogEvent::Progress(id, _)
            | LogEvent::Failed { partition: id, .. }
            | LogEvent::Available(id)
            | LogEvent::Answered { partition: id, .. }) = event;
            let partition = self.partitions[usize::from(id.0)].as_mut();
            let partition = partition.expect("a log speaks of partitions that are hosted here");
            match event {
                LogEvent::Progress(_, progress) => partition.log_progress(progress, now),
                LogEvent::Failed { is_available, .. } => partition.log_failed(is_available),
                LogEvent::Available(_) => partition.log_available(),
                LogEvent::Answered { read, answer, .. } => {
                    partition.store_answered(read, answer, now);
                }
            }
            self.drain(id);
        }
    }

    fn tell(&mut self, id: PartitionId, gateway: GatewayId, message: FromRouter) {
        let target = ShardId(gateway.0 as u8);
        let is_recoverable = message.is_recoverable();
        let is_presence = message.is_presence();
        let class = if is_recoverable { Class::Recoverable } else { Class::Final };
        let is_full = self.overflow[usize::from(gateway.0)].len() >= OVERFLOW_MAX;
        let pushed = match ShardMessage::FromRouter(message) {
            message if is_full && is_presence => Err(message),
            message => self.push(target, class, message),
        };
        if let Err(refused) = pushed {
            let ShardMessage::FromRouter(message) = refused else { unreachable!("as pushed") };
            let partition = self.partitions[usize::from(id.0)].as_mut().expect("hosted here");
            partition.refused(gateway, &message);
        }
    }

    /// Sends, or keeps what is final. `Err`: a recoverable message found no room.
    fn push(
        &mut self,
        target: ShardId,
        class: Class,
        message: ShardMessage,
    ) -> Result<(), ShardMessage> {
        let overflow = &mut self.overflow[usize::from(target.0)];
        let sent = if overflow.is_empty() {
            self.endpoint.send(target, class, message)
        } else {
            Err(message)
        };
        match sent {
            Err(message) if class == Class::Final => {
                overflow.push_back(message);
                Ok(())
            }
            other => other,
        }
    }

    fn retry_overflow(&mut self) {
        for (target, overflow) in self.overflow.iter_mut().enumerate() {
            while let Some(message) = overflow.pop_front() {
                let target = ShardId(target as u8);
                if let Err(message) = self.endpoint.send(target, Class::Final, message) {
                    overflow.push_front(message);
                    break;
                }
            }
        }
    }

    /// True if the subscription was refused, and nobody has heard of that yet.
    fn forget_refused(&mut self, connection: ConnectionId, channel: &Arc<str>) -> bool {
        if self.refused.is_empty() {
            return false;
        }
        let subscription = (connection, channel.clone());
        let Some(count) = self.refused.get_mut(&subscription) else { return false };
        *count -= 1;
        if *count == 0 {
            self.refused.remove(&subscription);
        }
        true
    }

    /// Tells gateways that were left behind, once their lanes have room.
    fn room_again(&mut self) {
        for target in 0..self.overflow.len() {
            let shard = ShardId(target as u8);
            let is_here = shard == self.endpoint.shard();
            if is_here || !self.overflow[target].is_empty() || !self.endpoint.has_room(shard) {
                continue;
            }
            for id in 0..self.partitions.len() {
                let Some(partition) = &mut self.partitions[id] else { continue };
                if partition.has_lagging() {
                    partition.room_again(GatewayId(u16::from(shard.0)));
                    self.drain(PartitionId(id as u16));
                }
            }
        }
    }

    fn take_lanes(&mut self, now: Now) {
        for _ in 0..MESSAGES_PER_TURN {
            if self.incoming.len() >= INCOMING_MAX {
                return;
            }
            let Some((source, message)) = self.endpoint.receive() else { return };
            match message {
                ShardMessage::ToRouter(message) => {
                    let id = partition_of(&message.channel, self.partitions_count);
                    self.ask(GatewayId(u16::from(source.0)), id, message, now);
                }
                ShardMessage::FromRouter(message) => {
                    self.incoming.push_back(Incoming::FromRouter(message));
                }
                ShardMessage::ToPeer(message) => {
                    self.incoming.push_back(Incoming::FromPeer(message));
                }
            }
        }
    }

    fn take_calls(&mut self, now: Now) {
        for _ in 0..MESSAGES_PER_TURN {
            if self.incoming.len() >= INCOMING_MAX {
                return;
            }
            match self.calls.receive() {
                None => return,
                Some(RouterCall::Ask { partition, mut message, answered }) => {
                    self.next_call += 1;
                    self.waiting.0.insert(self.next_call, answered);
                    message.reply_to = ReplyTo::Api(self.next_call);
                    self.ask(self.here(), partition, message, now);
                }
                Some(RouterCall::SetNamespaces(namespaces)) => {
                    for partition in self.partitions.iter_mut().flatten() {
                        partition.set_namespaces(namespaces.clone());
                    }
                }
                Some(RouterCall::Inspect(answer)) => {
                    let partitions = self.partitions.iter().flatten();
                    answer(partitions.map(Partition::counters).collect());
                }
                Some(RouterCall::Busiest(_, answer)) if self.searches.len() >= SEARCHES_MAX => {
                    answer(None);
                }
                Some(RouterCall::Busiest(busiest, answer)) => {
                    let (partition, place) = (0, 0);
                    self.searches.push_back(Search { busiest, answer, partition, place });
                }
            }
        }
    }

    /// This turn's part of the first search.
    fn search_some(&mut self) {
        let Some(mut search) = self.searches.pop_front() else { return };
        let mut places_left = SEARCHED_PER_TURN;
        while search.partition < self.partitions.len() && places_left > 0 {
            let Some(partition) = &self.partitions[search.partition] else {
                search.partition += 1;
                continue;
            };
            let Search { busiest, place, .. } = &mut search;
            let looked_at = partition.look_for_busiest(*place, places_left, busiest, self.now);
            *place += looked_at;
            // An empty partition counts for one place.
            places_left -= looked_at.max(1);
            if looked_at == 0 || *place >= partition.channel_places_count() {
                search.place = 0;
                search.partition += 1;
            }
        }
        if search.partition < self.partitions.len() {
            return self.searches.push_front(search);
        }
        (search.answer)(Some(search.busiest.into_rows()));
    }

    fn tick(&mut self, now: Now) {
        if self.tick_at > now.moment {
            return;
        }
        self.tick_at = now.moment + router::limits::TICK;
        for id in 0..self.partitions.len() {
            let Some(partition) = &mut self.partitions[id] else { continue };
            partition.tick(now);
            // What is overdue is answered now; nothing else may ever happen in the partition.
            self.drain(PartitionId(id as u16));
        }
    }
}

impl Uplink for LocalBus {
    fn to_router(&mut self, message: ToRouter, now: Now) {
        let id = partition_of(&message.channel, self.partitions_count);
        let target = host_of(id, self.endpoint.shards_count());
        let waiting = &self.overflow[usize::from(target.0)];
        let is_full = match message.request {
            Request::Unsubscribe { .. } => false,
            Request::Subscribe(_) => waiting.len() >= OVERFLOW_MAX,
            _ => self.incoming.len() >= INCOMING_MAX,
        };
        if let Request::Unsubscribe { connection } = message.request
            && self.forget_refused(connection, &message.channel)
        {
            return;
        }
        if is_full {
            if let Request::Subscribe(subscribe) = &message.request {
                let subscription = (subscribe.connection, message.channel.clone());
                *self.refused.entry(subscription).or_default() += 1;
            }
            return self.incoming.push_back(Incoming::Refused(message));
        }
        if target == self.endpoint.shard() {
            return self.ask(self.here(), id, message, now);
        }
        let class = if message.is_recoverable() { Class::Recoverable } else { Class::Final };
        match self.push(target, class, ShardMessage::ToRouter(message)) {
            Ok(()) => {}
            Err(ShardMessage::ToRouter(message)) => {
                self.incoming.push_back(Incoming::Refused(message));
            }
            Err(_) => unreachable!("it comes back as it was pushed"),
        }
    }

    fn to_peer(&mut self, shard: ShardId, message: ToPeer) {
        // A charge that finds no room is a charge less; everything else is kept.
        let is_recoverable = matches!(message, ToPeer::UserCharge { .. });
        let class = if is_recoverable { Class::Recoverable } else { Class::Final };
        let _ = self.push(shard, class, ShardMessage::ToPeer(message));
    }

    fn turn(&mut self, now: Now) {
        self.now = now.moment;
        self.retry_overflow();
        self.take_log(now);
        self.take_lanes(now);
        self.take_calls(now);
        self.search_some();
        self.room_again();
        self.tick(now);
    }

    fn receive(&mut self) -> Option<Incoming> {
        let incoming = self.incoming.pop_front()?;
        if let Incoming::Refused(ToRouter { channel, request: Request::Subscribe(asked), .. }) =
            &incoming
        {
            self.forget_refused(asked.connection, channel);
        }
        Some(incoming)
    }

    fn flush(&mut self) {
        self.endpoint.flush();
    }

    fn has_work(&self) -> bool {
        let log_speaks = self.log.as_ref().is_some_and(|log| log.has_events());
        !self.incoming.is_empty()
            || !self.endpoint.is_empty()
            || !self.calls.is_empty()
            || !self.searches.is_empty()
            || log_speaks
    }

    fn lane_depth(&self) -> usize {
        self.endpoint.waiting_count() + self.incoming.len()
    }

    fn next_deadline(&self) -> Option<Moment> {
        let partitions = self.partitions.iter().flatten();
        let waits = self.overflow.iter().any(|overflow| !overflow.is_empty());
        let mut tick = None;
        for partition in partitions {
            if partition.has_lagging() || waits {
                return Some(self.now + RETRY);
            }
            if partition.has_state() {
                tick = Some(self.tick_at);
            }
        }
        tick.or(waits.then(|| self.now + RETRY))
    }
}
