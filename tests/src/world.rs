//! The world: everything there is, and the scheduler that decides by the seed who is next.
//!
//! Owns: shards, clients, network, clock, ledger.
//! Invariant: time passes only when the seed says so, and never by much while somebody who could
//! run and is not stalled does not.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use gateway::driver::Control;
use protocol::client::{ErrorCode, Format};
use protocol::ids::{ShardId, home_of};
use protocol::link::{Answer, Content, PublishRequest, Request, UserCommand};
use protocol::time::Moment;
use shard::lanes::{Bell, LaneSize, mesh};

use crate::channels::Channels;
use crate::client::{Client, ClientOptions};
use crate::clock::SimClock;
use crate::faults::Faults;
use crate::ledger::{Ledger, Place};
use crate::network::{Network, SharedNetwork};
use crate::plants::Plant;
use crate::random::Random;
use crate::sim_io::{SimIo, SimIoOptions};
use crate::sim_log::{Death, SimLog};
use crate::sim_shard::{ShardParts, SimShard, host_of};

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// Turns and steps until the faults stop.
    pub events: u64,
    /// The fault that is planted.
    pub plant: Option<Plant>,
    /// Print what clients ask and are told?
    pub is_told: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first rule that was broken.
    pub violation: Option<String>,
    /// Which faults there were.
    pub faults: Faults,
    /// Turns and steps, the quiet end included.
    pub events: u64,
    /// Depends on everything that clients did and read, in order.
    pub trace: u64,
    /// Simulated time.
    pub time: Duration,
}

/// Sizes of one world.
pub(crate) struct Sizes {
    pub(crate) shards_count: usize,
    pub(crate) partitions_count: u16,
    pub(crate) users_count: usize,
    clients_count: usize,
    connections_max: u32,
    buffers_count: u16,
    buffer_bytes: usize,
    outbox_bytes_max: u32,
    pipe_bytes: usize,
    payload_bytes_max: usize,
    pings: (u64, u64),
    think_max: Duration,
}

impl Sizes {
    fn new(random: &mut Random) -> Self {
        let clients_count = 6 + random.below(13);
        let shards_count = 2 + random.below(2);
        let load = random.below(3);
        let is_tight = random.chance(1, 3);
        let share = if is_tight { clients_count * 5 / 4 / shards_count } else { clients_count * 2 };
        Self {
            shards_count,
            partitions_count: 3 + random.below(6) as u16,
            users_count: 2 + random.below(5),
            clients_count,
            connections_max: share as u32 + 1,
            buffers_count: 1 + random.below(6) as u16,
            buffer_bytes: *random.pick(&[64, 200, 1024]),
            // A recovery must fit: 50 publications of the largest sizes, and something behind them.
            outbox_bytes_max: [10 << 10, 96 << 10, 800 << 10][load],
            payload_bytes_max: [40, 3000, 12_000][load],
            pings: *random.pick(&[(6, 3), (25, 8), (0, 0)]),
            pipe_bytes: *random.pick(&[300, 2 << 10, 16 << 10]),
            think_max: Duration::from_millis(*random.pick(&[20, 150, 600])),
        }
    }
}

/// Takes the answer to one call.
pub(crate) type Answered = Receiver<Result<Answer, ErrorCode>>;

/// A publication under a key that is not acknowledged yet.
struct Keyed {
    number: usize,
    channel: usize,
    payload: Vec<u8>,
    answered: Answered,
    asked_at: Moment,
}

/// Everything there is.
pub struct World {
    pub(crate) clock: SimClock,
    pub(crate) ledger: Rc<RefCell<Ledger>>,
    pub(crate) shards: Vec<SimShard>,
    pub(crate) clients: Vec<Client>,
    pub(crate) sizes: Sizes,
    pub(crate) events: u64,
    pub(crate) random: Random,
    pub(crate) log: SimLog,
    network: SharedNetwork,
    keyed: Vec<Keyed>,
    has_deaths: bool,
    plant: Option<Plant>,
    api_session: u64,
    trace: u64,
}

/// Runs one world to its end.
pub fn run(plan: Plan) -> Outcome {
    let mut world = World::new(plan);
    while world.events < plan.events && world.is_well() {
        world.step();
    }
    if world.is_well() {
        world.become_quiet();
    }
    world.outcome()
}

/// Somebody who can run has his turn within this time.
const FAIR: Duration = Duration::from_millis(15);
/// What waits longer for a shard that is not stalled was lost.
const MAIL_WAITS_MAX: Duration = Duration::from_millis(100);
/// Somebody who publishes is answered within this time: that of a silent store, then that of a
/// silent log, and what a shard may stall meanwhile.
const ANSWER_WAITS_MAX: Duration = Duration::from_secs(18);
/// Lanes of the world, so small that they are full every now and then.
const LANES: LaneSize = LaneSize { messages_max: 8, reserved: 4 };

impl World {
    fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed);
        let sizes = Sizes::new(&mut random);
        let clock = SimClock::default();
        let channels = Rc::new(Channels::new(sizes.users_count));
        let ledger = Rc::new(RefCell::new(Ledger::new(channels, clock.clone())));
        let mut network = Network::new(clock.clone(), random.fork(), sizes.shards_count);
        network.weather.delay_max = Duration::from_millis(*random.pick(&[0, 2, 30]));
        network.weather.short_sends_percent = *random.pick(&[0, 5, 40]);
        let network = Rc::new(RefCell::new(network));
        ledger.borrow_mut().is_told = plan.is_told;
        let log_random = random.fork();
        let log = SimLog::new(sizes.partitions_count, plan.plant, clock.clone(), log_random);
        let mut world = Self {
            log,
            keyed: Vec::new(),
            has_deaths: random.chance(1, 2),
            plant: plan.plant,
            clock,
            ledger,
            shards: Vec::new(),
            clients: Vec::new(),
            sizes,
            events: 0,
            network,
            api_session: 0,
            trace: 0,
            random,
        };
        world.api_session = world.ledger.borrow_mut().begin_session();
        world.make_shards();
        world.make_clients();
        world
    }

    fn make_shards(&mut self) {
        let count = self.sizes.shards_count;
        let bells: Vec<_> = (0..count).map(|_| Bell::new().expect("an eventfd")).collect();
        let delay_max = Duration::from_millis(*self.random.pick(&[0, 1, 20]));
        for (index, endpoint) in mesh(&bells, LANES).into_iter().enumerate() {
            let options = SimIoOptions {
                shard: ShardId(index as u8),
                connections_max: self.sizes.connections_max,
                buffers_count: self.sizes.buffers_count,
                buffer_bytes: self.sizes.buffer_bytes,
                delay_max,
            };
            let (clock, network) = (self.clock.clone(), self.network.clone());
            let parts = ShardParts {
                io: SimIo::new(options, clock.clone(), network, self.random.fork()),
                endpoint,
                bell: bells[index].clone(),
                partitions_count: self.sizes.partitions_count,
                outbox_bytes_max: self.sizes.outbox_bytes_max,
                pings: self.sizes.pings,
                log: self.log.source.clone(),
                tap: self.log.tap.clone(),
                plant: self.plant,
            };
            self.shards.push(SimShard::new(parts, clock, &mut self.random));
        }
    }

    fn make_clients(&mut self) {
        for index in 0..self.sizes.clients_count {
            let options = ClientOptions {
                index,
                user: self.random.below(self.sizes.users_count),
                format: *self.random.pick(&Format::ALL),
                shards_count: self.sizes.shards_count,
                pipe_bytes: self.sizes.pipe_bytes,
                think_max: self.sizes.think_max,
                payload_bytes_max: self.sizes.payload_bytes_max,
            };
            let (clock, network) = (self.clock.clone(), self.network.clone());
            let (random, ledger) = (self.random.fork(), self.ledger.clone());
            self.clients.push(Client::new(options, random, clock, network, ledger));
        }
    }

    /// Has nobody broken a rule yet?
    pub(crate) fn is_well(&self) -> bool {
        self.ledger.borrow().violation().is_none()
    }

    /// One thing happens.
    pub(crate) fn step(&mut self) {
        self.watch();
        if !self.ledger.borrow().is_calm && self.random.chance(1, 300) {
            self.disturb();
        }
        let now = self.clock.moment();
        let shards_count = self.shards.len();
        let mut ready: Vec<usize> = Vec::new();
        let mut overdue = None;
        for (index, shard) in self.shards.iter_mut().enumerate() {
            if !shard.is_runnable() {
                shard.runnable_since = None;
                continue;
            }
            ready.push(index);
            if now.since(*shard.runnable_since.get_or_insert(now)) > FAIR {
                overdue = Some(index);
            }
        }
        for (index, client) in self.clients.iter().enumerate() {
            if client.due_at().is_some_and(|at| at <= now) {
                ready.push(shards_count + index);
            }
        }
        let log_at = shards_count + self.clients.len();
        if self.log.due_at().is_some_and(|at| at <= now) {
            ready.push(log_at);
        }
        if ready.is_empty() || (overdue.is_none() && self.random.chance(1, 3)) {
            return self.pass_time(ready.is_empty());
        }
        let actor = overdue.unwrap_or_else(|| *self.random.pick(&ready));
        self.events += 1;
        self.trace = (self.trace ^ actor as u64).wrapping_mul(0x100_0000_01b3) ^ now.as_nanos();
        if actor < shards_count {
            self.shards[actor].runnable_since = None;
            self.shards[actor].waiting_since = None;
            self.shards[actor].turn();
        } else if actor == log_at {
            self.log.step(&mut self.ledger.borrow_mut());
        } else {
            self.clients[actor - shards_count].step();
        }
    }

    fn pass_time(&mut self, all_wait: bool) {
        let now = self.clock.moment();
        let a_little = now + Duration::from_micros(self.random.within(1, 1500));
        let shards = self.shards.iter_mut().map(SimShard::due_at);
        let clients = self.clients.iter().filter_map(Client::due_at);
        let log = self.log.due_at();
        let next =
            shards.chain(clients).chain(log).filter(|&at| at > now).min().unwrap_or(a_little);
        let until = if all_wait { next } else { a_little.min(next) };
        self.clock.advance_to(until);
        self.watch();
    }

    /// Finds mail that lies in a lane or an inbox while its shard sleeps: a lost wake.
    fn watch(&mut self) {
        let now = self.clock.moment();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            if now < shard.stalled_until || !shard.has_mail() {
                shard.waiting_since = None;
                continue;
            }
            let since = *shard.waiting_since.get_or_insert(now);
            if now.since(since) > MAIL_WAITS_MAX {
                let state = shard.describe();
                let text =
                    format!("shard {index} has mail since {} ms, {state}", since.as_millis());
                self.ledger.borrow_mut().violated(|| text);
            }
        }
    }

    /// Something happens that is nobody's wish.
    fn disturb(&mut self) {
        self.ask_keyed_again();
        match self.random.below(9) {
            6 => {
                let fault = self.log.disturb();
                self.ledger.borrow().tell(|| fault.to_owned());
                self.ledger.borrow_mut().faults.note(fault);
            }
            7 if self.has_deaths => self.die(),
            8 => self.publish_keyed(),
            0 | 1 => self.stall_a_shard(),
            2 => self.restart_everybody(),
            3 => self.command_a_user(),
            _ => self.publish_by_api(),
        }
    }

    fn stall_a_shard(&mut self) {
        let longest_ms = if self.random.chance(1, 4) { 2500 } else { 200 };
        let time = Duration::from_millis(self.random.within(5, longest_ms));
        let shard = self.random.below(self.shards.len());
        self.shards[shard].stalled_until = self.clock.moment() + time;
        self.shards[shard].waiting_since = None;
        self.ledger.borrow().tell(|| format!("shard {shard} stalls for {time:?}"));
        self.ledger.borrow_mut().faults.note("shard stalled");
    }

    fn restart_everybody(&mut self) {
        if self.random.chance(1, 3) {
            self.clients.iter_mut().for_each(Client::restart);
        }
    }

    fn command_a_user(&mut self) {
        let user = format!("u{}", self.random.below(self.sizes.users_count));
        let command = if self.random.chance(1, 2) {
            let reason = "force reconnect".into();
            UserCommand::Disconnect { code: 3011, reason, client: None, except: Vec::new() }
        } else {
            let channels = self.ledger.borrow().channels.clone();
            let channel = self.random.below(channels.shared_count());
            let channel = channels.at(channel).name.as_str().into();
            UserCommand::Unsubscribe { channel, client: None }
        };
        self.ledger.borrow().tell(|| format!("API to {user}: {command:?}"));
        self.ledger.borrow_mut().forced.insert(user.clone());
        let ShardId(home) = home_of(&user, self.sizes.shards_count as u8);
        let control = Control::User { user: user.into(), command };
        self.shards[usize::from(home)].inbox.send(control).expect("the inbox has room");
    }

    fn publish_by_api(&mut self) {
        let count = 1 + self.random.below(20);
        let channels = self.ledger.borrow().channels.clone();
        let channel = self.random.below(channels.count());
        self.ledger.borrow_mut().faults.note("publication by the API");
        for _ in 0..count {
            self.publish(channel);
        }
    }

    /// The node dies, and another one begins with what is on disk.
    fn die(&mut self) {
        let (death, fault) = match self.random.chance(1, 2) {
            true => (Death::Kill, "node killed"),
            false => (Death::PowerCut, "power cut"),
        };
        self.ledger.borrow().tell(|| fault.to_owned());
        self.ledger.borrow_mut().faults.note(fault);
        self.count_rings();
        self.shards.clear();
        self.network.borrow_mut().restart_server();
        self.log.restart(death, &mut self.ledger.borrow_mut());
        self.make_shards();
        let back_at = self.clock.moment() + Duration::from_millis(self.random.within(0, 1500));
        for shard in &mut self.shards {
            shard.stalled_until = back_at;
        }
    }

    /// A publication of its own publisher, under a key.
    fn publish_keyed(&mut self) {
        let channels = self.ledger.borrow().channels.clone();
        let durable: Vec<usize> =
            (0..channels.count()).filter(|&index| channels.at(index).is_durable()).collect();
        let channel = *self.random.pick(&durable);
        let mut ledger = self.ledger.borrow_mut();
        let session = ledger.begin_session();
        let (number, payload) = ledger.issue(channel, session, 10);
        drop(ledger);
        let name = channels.at(channel).name.clone();
        let answered = self.ask_keyed(&name, number, &payload);
        let asked_at = self.clock.moment();
        self.keyed.push(Keyed { number, channel, payload, answered, asked_at });
    }

    fn ask_keyed(&self, name: &str, number: usize, payload: &[u8]) -> Answered {
        let request = PublishRequest {
            content: Content::classify(payload),
            publisher: None,
            tags: None,
            skip_history: false,
            idempotency_key: Some(number.to_string().into()),
        };
        self.ask(name, Request::Publish(Box::new(request)))
    }

    /// Whoever was not told that his publication is in the log says it again: it is there once.
    pub(crate) fn ask_keyed_again(&mut self) {
        for mut keyed in std::mem::take(&mut self.keyed) {
            match keyed.answered.try_recv() {
                Ok(Ok(Answer::Published(position))) => {
                    let mut ledger = self.ledger.borrow_mut();
                    let epoch = position.epoch.to_string();
                    let place = Place { epoch, offset: position.offset };
                    ledger.check_shown(keyed.channel, &place, keyed.number);
                    ledger.place(keyed.channel, place, keyed.number);
                    ledger.acknowledged(keyed.number);
                    continue;
                }
                Err(TryRecvError::Empty) => {
                    let waits = self.clock.moment().since(keyed.asked_at);
                    if waits > ANSWER_WAITS_MAX {
                        let number = keyed.number;
                        let text = format!("the API waits {waits:?} for an answer to {number}");
                        self.ledger.borrow_mut().violated(|| text);
                    }
                }
                Ok(_) | Err(TryRecvError::Disconnected) => {
                    self.ledger.borrow_mut().faults.note("publication under a key, again");
                    let name = self.ledger.borrow().channels.at(keyed.channel).name.clone();
                    keyed.asked_at = self.clock.moment();
                    keyed.answered = self.ask_keyed(&name, keyed.number, &keyed.payload);
                }
            }
            self.keyed.push(keyed);
        }
    }

    /// How many publications under keys are not acknowledged.
    pub(crate) fn keyed_count(&self) -> usize {
        self.keyed.len()
    }

    /// One publication by the API, which is one publisher.
    pub(crate) fn publish(&mut self, channel: usize) -> usize {
        let (number, payload) = self.ledger.borrow_mut().issue(channel, self.api_session, 10);
        let request = PublishRequest {
            content: Content::classify(&payload),
            publisher: None,
            tags: None,
            skip_history: false,
            idempotency_key: None,
        };
        let name = self.ledger.borrow().channels.at(channel).name.clone();
        let _ = self.ask(&name, Request::Publish(Box::new(request)));
        number
    }

    pub(crate) fn ask(&self, channel: &str, request: Request) -> Answered {
        let partitions_count = self.sizes.partitions_count;
        let host = host_of(channel, partitions_count, self.shards.len());
        self.shards[host].ask(channel, partitions_count, request)
    }

    /// The weather clears up: nothing is late or short, and everybody reads.
    pub(crate) fn calm_down(&mut self) {
        self.ledger.borrow_mut().calm_down();
        let mut network = self.network.borrow_mut();
        network.weather.delay_max = Duration::ZERO;
        network.weather.short_sends_percent = 0;
        self.log.calm_down();
        for shard in &mut self.shards {
            shard.stalled_until = Moment::ZERO;
            shard.io().set_delay_max(Duration::ZERO);
        }
        self.clients.iter_mut().for_each(Client::calm_down);
    }

    /// What the rings of this node counted.
    fn count_rings(&mut self) {
        let faults = &mut self.ledger.borrow_mut().faults;
        for shard in &mut self.shards {
            let counters = shard.io().counters;
            faults.add("completion late", counters.completions_late);
            faults.add("receive buffers exhausted", counters.receives_parked);
            faults.add("table of connections full", counters.table_full);
            faults.add("slot used again", counters.slots_reused);
            faults.add("clients accepted in a burst", u64::from(counters.accepted_at_once >= 3));
        }
    }

    fn outcome(mut self) -> Outcome {
        self.count_rings();
        let mut faults = self.ledger.borrow().faults.clone();
        let network = self.network.borrow().counters;
        faults.add("send taken in part", network.sends_short);
        faults.add("send blocked by its reader", network.sends_blocked);
        Outcome {
            violation: self.ledger.borrow().violation().map(str::to_owned),
            faults,
            events: self.events,
            trace: self.trace,
            time: self.clock.moment().since(SimClock::default().moment()),
        }
    }
}
