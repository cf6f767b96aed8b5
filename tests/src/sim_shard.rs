//! One shard of the world: the real pump, engine and bus over the simulated ring.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;

use gateway::config::{GatewayConfig, PersonalChannel};
use gateway::driver::{Clock, Control, NoService, Pump, PumpParts, Uplink};
use gateway::engine::{
    ConnectClaims, GatewayShard, ShardOptions, SubscribeTokenClaims, TokenRefusal, TokenVerifier,
};
use gateway::limits::TurnLimits;
use protocol::client::ErrorCode;
use protocol::ids::{PartitionId, ShardId, partition_of};
use protocol::link::{Answer, ReplyTo, Request, ToRouter};
use protocol::time::Moment;
use ringway::node::bus::{self, LocalBus, RouterCall, ShardMessage};
use ringway::node::log::{LogSource, NodeLog};
use router::engine::{Partition, PartitionOptions};
use shard::Wait;
use shard::lanes::{Bell, Endpoint, Inbox};

use crate::channels::{PERSONAL, namespaces};
use crate::clock::SimClock;
use crate::plants::{Early, Plant, PlantedIo, PlantedUplink};
use crate::random::Random;
use crate::sim_io::SimIo;
use crate::sim_log::{PlantedLog, Tap};

/// The pump of a simulated shard.
pub type SimPump = Pump<PlantedIo<SimIo>, PlantedUplink<LocalBus>, NoService, SimClock>;

/// What a shard is made of.
pub struct ShardParts {
    /// Its ring.
    pub io: SimIo,
    /// Its end of the lanes.
    pub endpoint: Endpoint<ShardMessage>,
    /// Its bell.
    pub bell: Bell,
    /// Partitions of the world.
    pub partitions_count: u16,
    /// Bytes that may wait for one client.
    pub outbox_bytes_max: u32,
    /// Seconds between pings, and for their answers.
    pub pings: (u64, u64),
    /// The log of its partitions.
    pub log: Arc<LogSource>,
    /// Watches the log.
    pub tap: Rc<Tap>,
    /// The fault that is planted.
    pub plant: Option<Plant>,
}

/// One shard.
pub struct SimShard {
    /// Its pump.
    pub pump: SimPump,
    /// Says things to its gateway.
    pub inbox: Inbox<Control>,
    /// Says things to its partitions.
    pub calls: Inbox<RouterCall>,
    /// It gets no turn before this.
    pub stalled_until: Moment,
    /// Since when something waits for it in a lane or an inbox.
    pub waiting_since: Option<Moment>,
    /// Since when it could have had a turn.
    pub runnable_since: Option<Moment>,
    bell: Bell,
    clock: SimClock,
    wait: Wait,
    wake_at: Moment,
}

/// A token is the name of its user.
#[derive(Debug)]
struct NamesAreTokens;

impl TokenVerifier for NamesAreTokens {
    fn connection(&self, token: &str, _: u64) -> Result<ConnectClaims, TokenRefusal> {
        Ok(ConnectClaims { user: token.to_owned(), ..ConnectClaims::default() })
    }

    fn subscription(&self, _: &str, _: u64) -> Result<SubscribeTokenClaims, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }
}

fn config(outbox_bytes_max: u32, pings: (u64, u64)) -> Arc<GatewayConfig> {
    Arc::new(GatewayConfig {
        namespaces: namespaces(),
        outbox_bytes_max,
        ping_interval: std::time::Duration::from_secs(pings.0),
        pong_timeout: std::time::Duration::from_secs(pings.1),
        personal_channel: Some(PersonalChannel { namespace: PERSONAL.to_owned() }),
        ..GatewayConfig::default()
    })
}

impl SimShard {
    /// A shard that accepts clients from its first turn on.
    pub fn new(parts: ShardParts, clock: SimClock, random: &mut Random) -> Self {
        let ShardParts { io, endpoint, bell, partitions_count, plant, .. } = parts;
        let (outbox_bytes_max, pings, source) = (parts.outbox_bytes_max, parts.pings, parts.log);
        let (shard, shards_count) = (endpoint.shard(), endpoint.shards_count() as u8);
        let options =
            ShardOptions { shard, shards_count, connections_max: u32::MAX, seed: random.bits() };
        let verifier = Arc::new(NamesAreTokens);
        let engine =
            GatewayShard::new(options, config(outbox_bytes_max, pings), verifier, clock.now());
        // So few that a fan-out to the handful of clients here is cut into several turns, and that
        // those who come together wait for each other.
        let few = TurnLimits { sends: 1 + random.below(4), accepts: 1, ends: 1, connects: 1 };
        let turn = if random.chance(1, 2) { few } else { TurnLimits::default() };
        let (inbox, calls) = (Inbox::new(bell.clone()), Inbox::new(bell.clone()));
        let (epochs, now) = (random.bits(), clock.now());
        let partition = |id: PartitionId| {
            let mut options = PartitionOptions::new(id, namespaces(), epochs);
            options.log = Some(source.progress(id));
            source.replayed(Partition::new(options), now)
        };
        let bus = LocalBus::new(endpoint, partitions_count, calls.clone(), partition);
        let hosted = (0..partitions_count)
            .map(PartitionId)
            .filter(|id| bus::host_of(*id, usize::from(shards_count)) == shard);
        let early = (plant == Some(Plant::DeliveredEarly)).then(Early::default);
        let log = NodeLog::new(source.clone(), hosted, bell.clone());
        let bus = bus.with_log(Box::new(PlantedLog::new(log, parts.tap, early.clone())));
        let uplink = PlantedUplink::new(bus, plant, random.fork());
        let uplink = uplink.with_early(early.unwrap_or_default());
        let pump = Pump::new(PumpParts {
            io: PlantedIo::new(io, plant, random.fork()),
            uplink,
            service: NoService,
            clock: clock.clone(),
            engine,
            inbox: inbox.clone(),
            bell: bell.clone(),
        })
        .with_turn_limits(turn);
        Self {
            pump,
            inbox,
            calls,
            stalled_until: Moment::ZERO,
            waiting_since: None,
            runnable_since: None,
            bell,
            clock,
            wait: Wait::No,
            wake_at: Moment::ZERO,
        }
    }

    /// Its ring.
    pub fn io(&mut self) -> &mut SimIo {
        self.pump.io_mut().inner_mut()
    }

    /// Would it wake up now, if it gets the processor?
    pub fn is_runnable(&mut self) -> bool {
        if self.pump.is_done() {
            return false;
        }
        let now = self.clock.moment();
        let is_awake = self.wait == Wait::No || !self.bell.is_asleep() || now >= self.wake_at;
        now >= self.stalled_until && (is_awake || self.io().has_something())
    }

    /// What it waits for, in words.
    pub fn describe(&mut self) -> String {
        let (wait, wake_at) = (self.wait, self.wake_at.as_millis());
        let sleeps = if self.bell.is_asleep() { "sleeps" } else { "is awake" };
        let runs = if self.is_runnable() { "can run" } else { "cannot run" };
        format!("and {sleeps}, {runs}, waits {wait:?} until {wake_at} ms")
    }

    /// When it will wake up by itself.
    pub fn due_at(&mut self) -> Moment {
        if self.pump.is_done() {
            return Moment::ZERO;
        }
        let kernel = self.io().ready_at().unwrap_or(self.wake_at);
        self.wake_at.min(kernel).max(self.stalled_until)
    }

    /// Does anything wait for it in a lane or an inbox?
    pub fn has_mail(&mut self) -> bool {
        !self.pump.is_done() && self.has_letters()
    }

    fn has_letters(&mut self) -> bool {
        self.pump.uplink_mut().has_work() || !self.inbox.is_empty() || !self.calls.is_empty()
    }

    /// One turn, up to where it falls asleep again.
    pub fn turn(&mut self) {
        self.pump.turn(self.wait).expect("a simulated ring does not fail");
        self.wait = self.pump.wait();
        self.io().enter();
        self.wake_at = match self.wait {
            Wait::No => self.clock.moment(),
            Wait::AtMost(time) => self.clock.moment() + time,
        };
    }

    /// Asks a partition that lives here, as the API does.
    pub fn ask(
        &self,
        channel: &str,
        partitions_count: u16,
        request: Request,
    ) -> mpsc::Receiver<Result<Answer, ErrorCode>> {
        let (answer, answered) = mpsc::channel();
        let message = ToRouter { channel: channel.into(), reply_to: ReplyTo::Nobody, request };
        let call = RouterCall::Ask {
            partition: partition_of(channel, partitions_count),
            message,
            answered: Box::new(move |result| drop(answer.send(result))),
        };
        self.calls.send(call).expect("the inbox has room");
        answered
    }
}

/// The shard that hosts a channel.
pub fn host_of(channel: &str, partitions_count: u16, shards_count: usize) -> usize {
    let partition = partition_of(channel, partitions_count);
    let ShardId(shard) = ringway::node::bus::host_of(partition, shards_count);
    usize::from(shard)
}
