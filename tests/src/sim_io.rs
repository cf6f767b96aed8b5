//! The ring of a simulated shard: `shard::Io` over the simulated network, by the contract of that
//! trait.
//!
//! Owns: slots and generations, receive buffers, which operations are with the simulated kernel.
//! Never: decides by anything but the seed, or reads a real clock.
//!
//! Completions come late and in another order than the operations, as far as the contract allows
//! it: those of one connection keep their order, everything else is shuffled.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::ids::{ConnectionId, ShardId, Slot, next_generation};
use protocol::time::Moment;
use shard::{Chunk, Completion, Errno, Io, ReceiveEnd, SendBuffer, Wait};

use crate::clock::SimClock;
use crate::network::{ENFILE, Receipt, SharedNetwork, SocketId};
use crate::random::Random;

/// What a simulated ring is made of.
#[derive(Clone, Copy, Debug)]
pub struct SimIoOptions {
    /// The shard that drives it.
    pub shard: ShardId,
    /// Places for connections.
    pub connections_max: u32,
    /// Receive buffers.
    pub buffers_count: u16,
    /// Bytes in each.
    pub buffer_bytes: usize,
    /// How late a completion may be.
    pub delay_max: Duration,
}

/// What happened, for the list of faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimIoCounters {
    /// Receives that found no buffer.
    pub receives_parked: u64,
    /// Completions that came later than they could have.
    pub completions_late: u64,
    /// Connections in a slot that had one before.
    pub slots_reused: u64,
    /// Clients that found no place in the table.
    pub table_full: u64,
    /// Most connections accepted in one turn.
    pub accepted_at_once: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Free,
    /// The accept is on its way.
    Accepting,
    Open,
    Closing,
    /// `Closed` is on its way.
    Last,
}

#[derive(Debug, Default)]
struct SlotState {
    generation: u32,
    life: Life,
    socket: Option<SocketId>,
    wanted: bool,
    parked: bool,
    receive_ended: bool,
    /// Given to `send` and not yet to the kernel.
    submitted: bool,
    send: Option<SendBuffer>,
    fin: bool,
    /// Completions on their way.
    pending_count: u32,
    /// None of them is reported before this.
    floor: Moment,
}

#[derive(Debug)]
enum Event {
    Accepted,
    AcceptEnded(Errno),
    Received(Chunk),
    ReceiveEnded(ReceiveEnd),
    Sent(Result<u32, Errno>),
    Closed,
}

#[derive(Debug)]
struct Pending {
    at: Moment,
    slot: u32,
    event: Event,
}

/// The longest look-up of a peer's address.
const LOOKUP_US_MAX: u64 = 500;
/// No slot: of the listener.
const LISTENER: u32 = u32::MAX;

/// The simulated ring of one shard.
#[derive(Debug)]
pub struct SimIo {
    options: SimIoOptions,
    clock: SimClock,
    network: SharedNetwork,
    random: Random,
    slots: Vec<SlotState>,
    buffers: Vec<Box<[u8]>>,
    buffers_free: Vec<u16>,
    pending: VecDeque<Pending>,
    arrived: VecDeque<Pending>,
    accept_armed: bool,
    /// What happened so far.
    pub counters: SimIoCounters,
}

impl SimIo {
    /// A ring on `network`.
    pub fn new(
        options: SimIoOptions,
        clock: SimClock,
        network: SharedNetwork,
        random: Random,
    ) -> Self {
        let buffer = || vec![0; options.buffer_bytes].into_boxed_slice();
        Self {
            options,
            clock,
            network,
            random,
            slots: (0..options.connections_max).map(|_| SlotState::default()).collect(),
            buffers: (0..options.buffers_count).map(|_| buffer()).collect(),
            buffers_free: (0..options.buffers_count).collect(),
            pending: VecDeque::new(),
            arrived: VecDeque::new(),
            accept_armed: false,
            counters: SimIoCounters::default(),
        }
    }

    /// Makes completions come at once, or late again.
    pub fn set_delay_max(&mut self, delay_max: Duration) {
        self.options.delay_max = delay_max;
    }

    /// The socket of a connection.
    pub fn socket_of(&self, connection: ConnectionId) -> Option<SocketId> {
        self.slots[connection.slot().index()].socket
    }

    /// Connections whose slot is not free.
    pub fn connections_count(&self) -> usize {
        self.slots.iter().filter(|state| state.life != Life::Free).count()
    }

    /// Hands queued operations to the kernel, as a turn does before it sleeps.
    pub fn enter(&mut self) {
        for slot in 0..self.slots.len() {
            self.submit(slot);
        }
        self.gather();
    }

    /// True if a turn would find something now.
    pub fn has_something(&self) -> bool {
        self.ready_at().is_some_and(|at| at <= self.clock.moment())
    }

    /// When a turn will find something, as far as the kernel knows.
    pub fn ready_at(&self) -> Option<Moment> {
        let network = self.network.borrow();
        let now = self.clock.moment();
        let first = self.pending.iter().map(|pending| pending.at).min();
        let accept = self.accept_armed && network.has_backlog(self.shard());
        let accept = accept.then_some(now);
        let can_receive = !self.buffers_free.is_empty();
        let slots = self.slots.iter().filter_map(|state| {
            let socket = state.socket?;
            let receives = state.life == Life::Open && state.wanted && can_receive;
            let receive = if receives { network.receivable_at(socket) } else { None };
            let sent = network.has_sent(socket).then_some(now);
            receive.into_iter().chain(sent).min()
        });
        first.into_iter().chain(accept).chain(slots).min()
    }

    fn shard(&self) -> usize {
        usize::from(self.options.shard.0)
    }

    fn submit(&mut self, slot: usize) {
        let state = &mut self.slots[slot];
        let Some(socket) = state.socket else { return };
        let mut network = self.network.borrow_mut();
        if std::mem::take(&mut state.submitted)
            && let Some(buffer) = &state.send
        {
            network.begin_send(socket, buffer.as_slice());
        }
        if state.life == Life::Closing {
            network.close_by_server(socket);
        } else if std::mem::take(&mut state.fin) {
            network.finish(socket);
        }
    }

    /// Lets the kernel work: what can complete does, now or a little later.
    fn gather(&mut self) {
        self.gather_accepts();
        let count = self.slots.len();
        let first = self.random.below(count);
        for step in 0..count {
            let slot = (first + step) % count;
            self.gather_sent(slot);
            self.gather_received(slot);
            self.gather_closed(slot);
        }
    }

    fn gather_accepts(&mut self) {
        while self.accept_armed {
            let free = |state: &&SlotState| state.life == Life::Free;
            let free_count = self.slots.iter().filter(free).count();
            if free_count == 0 {
                self.counters.table_full += 1;
                self.accept_armed = false;
                self.complete(LISTENER, Event::AcceptEnded(ENFILE));
                return;
            }
            let Some(socket) = self.network.borrow_mut().take_backlog(self.shard()) else { return };
            let nth = if self.random.chance(1, 2) { 0 } else { self.random.below(free_count) };
            let slots = self.slots.iter().enumerate();
            let mut slots = slots.filter(|(_, state)| state.life == Life::Free);
            let slot = slots.nth(nth).expect("one is free").0;
            let state = &mut self.slots[slot];
            self.counters.slots_reused += u64::from(state.generation > 0);
            *state = SlotState {
                generation: next_generation(state.generation),
                life: Life::Accepting,
                socket: Some(socket),
                ..SlotState::default()
            };
            self.complete(slot as u32, Event::Accepted);
        }
    }

    fn gather_sent(&mut self, slot: usize) {
        let Some(socket) = self.slots[slot].socket else { return };
        let sent = self.network.borrow_mut().take_sent(socket);
        if let Some(result) = sent {
            self.complete(slot as u32, Event::Sent(result));
        }
    }

    fn gather_received(&mut self, slot: usize) {
        let state = &self.slots[slot];
        if state.life != Life::Open || !state.wanted || state.receive_ended {
            return;
        }
        let Some(socket) = state.socket else { return };
        loop {
            let now = self.clock.moment();
            let at = self.network.borrow().receivable_at(socket);
            if at.is_none_or(|at| at > now) {
                return;
            }
            let Some(buffer) = self.buffers_free.pop() else {
                self.counters.receives_parked += u64::from(!self.slots[slot].parked);
                self.slots[slot].parked = true;
                return;
            };
            self.slots[slot].parked = false;
            let into = &mut self.buffers[usize::from(buffer)];
            let bytes_max = 1 + self.random.below(into.len());
            let bytes_max = if self.random.chance(1, 4) { bytes_max } else { into.len() };
            let receipt = self.network.borrow_mut().receive(socket, &mut into[..bytes_max]);
            match receipt {
                Receipt::Bytes(count) => {
                    let chunk = Chunk::new(buffer, count as u32);
                    self.complete(slot as u32, Event::Received(chunk));
                }
                Receipt::Nothing => return self.buffers_free.push(buffer),
                Receipt::Ended(end) => {
                    self.buffers_free.push(buffer);
                    self.slots[slot].receive_ended = true;
                    self.slots[slot].wanted = false;
                    return self.complete(slot as u32, Event::ReceiveEnded(end));
                }
            }
        }
    }

    fn gather_closed(&mut self, slot: usize) {
        let state = &mut self.slots[slot];
        if state.life == Life::Closing && state.send.is_none() && state.pending_count == 0 {
            state.life = Life::Last;
            self.complete(slot as u32, Event::Closed);
        }
    }

    fn complete(&mut self, slot: u32, event: Event) {
        let mut at = self.clock.moment();
        if matches!(event, Event::Accepted) {
            // As in the real ring, the peer's address is looked up first, in a turn of its own.
            at = at + Duration::from_micros(self.random.within(1, LOOKUP_US_MAX));
        }
        if self.options.delay_max > Duration::ZERO && self.random.chance(1, 8) {
            let delay_ns = self.options.delay_max.as_nanos() as u64;
            at = at + Duration::from_nanos(self.random.within(1, delay_ns));
            self.counters.completions_late += 1;
        }
        if let Some(state) = self.slots.get_mut(slot as usize) {
            at = at.max(state.floor);
            state.floor = at;
            state.pending_count += 1;
        }
        self.pending.push_back(Pending { at, slot, event });
    }

    /// Takes what is due, shuffled, but in order for each slot.
    fn collect(&mut self) {
        let now = self.clock.moment();
        let mut queues: BTreeMap<u32, VecDeque<Pending>> = BTreeMap::new();
        for pending in std::mem::take(&mut self.pending) {
            if pending.at <= now {
                queues.entry(pending.slot).or_default().push_back(pending);
            } else {
                self.pending.push_back(pending);
            }
        }
        let mut queues: Vec<_> = queues.into_values().collect();
        let mut accepted = 0;
        while !queues.is_empty() {
            let place = self.random.below(queues.len());
            if let Some(pending) = queues[place].pop_front() {
                accepted += u64::from(matches!(pending.event, Event::Accepted));
                self.arrived.push_back(pending);
            } else {
                queues.swap_remove(place);
            }
        }
        self.counters.accepted_at_once = self.counters.accepted_at_once.max(accepted);
    }

    fn id(&self, slot: u32) -> ConnectionId {
        let generation = self.slots[slot as usize].generation;
        ConnectionId::new(self.options.shard, 0, Slot(slot), generation)
    }

    fn dispatch(&mut self, pending: Pending) -> Option<Completion> {
        if let Event::AcceptEnded(errno) = pending.event {
            return Some(Completion::AcceptEnded(errno));
        }
        let connection = self.id(pending.slot);
        let state = &mut self.slots[pending.slot as usize];
        state.pending_count -= 1;
        match pending.event {
            Event::Accepted => {
                state.life = Life::Open;
                let socket = state.socket.expect("an accepted slot has a socket");
                let peer = Some(self.network.borrow().address(socket));
                Some(Completion::Accepted { connection, peer })
            }
            Event::Received(chunk) if state.life == Life::Open => {
                Some(Completion::Received { connection, chunk })
            }
            Event::Received(chunk) => {
                self.recycle(chunk);
                None
            }
            Event::ReceiveEnded(end) => {
                (state.life == Life::Open).then_some(Completion::ReceiveEnded { connection, end })
            }
            Event::Sent(result) => {
                let buffer = state.send.take().expect("a send completes once");
                Some(Completion::Sent { connection, result, buffer })
            }
            Event::Closed => {
                state.life = Life::Free;
                state.socket = None;
                Some(Completion::Closed { connection })
            }
            Event::AcceptEnded(_) => unreachable!("of the listener, and returned above"),
        }
    }

    fn open(&mut self, connection: ConnectionId) -> &mut SlotState {
        assert_eq!(connection.shard(), self.options.shard, "connections stay on their shard");
        let state = &mut self.slots[connection.slot().index()];
        let is_this = state.generation == connection.generation() && state.life == Life::Open;
        assert!(is_this, "operations name connections that are open: {connection}");
        state
    }
}

impl Io for SimIo {
    fn turn(&mut self, _: Wait) -> std::io::Result<()> {
        assert!(self.arrived.is_empty(), "all completions are taken before the next turn");
        self.enter();
        self.collect();
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        while let Some(pending) = self.arrived.pop_front() {
            if let Some(completion) = self.dispatch(pending) {
                return Some(completion);
            }
        }
        None
    }

    fn bytes(&mut self, chunk: &Chunk) -> &mut [u8] {
        &mut self.buffers[usize::from(chunk.buffer())][..chunk.bytes_count() as usize]
    }

    fn recycle(&mut self, chunk: Chunk) {
        assert!(!self.buffers_free.contains(&chunk.buffer()), "a buffer is given back once");
        self.buffers_free.push(chunk.buffer());
    }

    fn accept(&mut self) {
        self.accept_armed = true;
    }

    fn stop_accepting(&mut self) {
        self.accept_armed = false;
        let shard = self.shard();
        self.network.borrow_mut().stop_listening(shard);
    }

    fn receive(&mut self, connection: ConnectionId) {
        let state = self.open(connection);
        state.wanted = !state.receive_ended;
    }

    fn rest(&mut self, connection: ConnectionId) {
        self.receive(connection);
    }

    fn pause(&mut self, connection: ConnectionId) {
        self.open(connection).wanted = false;
        // What is already on the way may still be reported.
        if self.random.chance(1, 2) {
            self.slots[connection.slot().index()].wanted = true;
            self.gather_received(connection.slot().index());
            self.slots[connection.slot().index()].wanted = false;
        }
    }

    fn send(&mut self, connection: ConnectionId, buffer: SendBuffer) {
        assert!(buffer.bytes_count() > 0, "an empty send would look like a failure");
        let state = self.open(connection);
        assert!(state.send.is_none(), "two sends on one socket may reorder");
        state.send = Some(buffer);
        state.submitted = true;
    }

    fn shutdown_write(&mut self, connection: ConnectionId) {
        self.open(connection).fin = true;
    }

    fn close(&mut self, connection: ConnectionId) {
        let state = self.open(connection);
        state.life = Life::Closing;
        state.wanted = false;
    }
}
