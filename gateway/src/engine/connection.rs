//! All connections of one shard: what each one has before, during and after its session.
//!
//! Owns: phase, outbox, deadline and session of every slot, and the list of those with something to
//! send.
//! Invariant: a connection with queued bytes and nothing in flight is in `dirty` exactly once.

use std::collections::VecDeque;
use std::net::SocketAddr;

use protocol::client::Format;
use protocol::ids::{ConnectionId, Slot};
use protocol::time::Moment;
use protocol::websocket::{FrameHead, Opcode, frame_head};
use shard::SendBuffer;

use super::activity::Activity;
use super::fanout::Share;
use super::ledger::{Charged, MemoryBytes, MemoryKind, counted_bytes};
use super::outbox::{Outbox, Pushed, SpareBuffers};
use super::phase::Phase;
use super::rate::Meter;
use super::session::Session;
use super::users::RECORD_BYTES;
use crate::limits::CONNECTION_PLACE_BYTES_MAX;

/// One slot.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub(crate) id: Option<ConnectionId>,
    pub(crate) outbox: Outbox,
    /// While `connect` is being answered: what must come behind the answer.
    pub(crate) behind_connect: Option<Box<Outbox>>,
    pub(crate) session: Option<Box<Session>>,
    pub(crate) peer: Option<Box<SocketAddr>>,
    /// When the phase runs out of time: handshake, `connect`, closing.
    pub(crate) phase_deadline: Moment,
    /// Since when the client has taken nothing while something waited; zero if it is not stalled.
    pub(crate) stalled_since: Moment,
    /// Since when a message of the client is unfinished; zero if none is.
    pub(crate) unfinished_since: Moment,
    pub(crate) control_frames: Meter,
    /// Bytes that count against the connection's budget, all but the outbox's: the session's, and
    /// the driver's unfinished heads, messages and bodies, with what waits behind them.
    beside_bytes: u32,
    /// Changed by [`Connections::enter`] alone, which counts.
    pub(crate) phase: Phase,
    pub(crate) format: Option<Format>,
    pub(crate) activity: Activity,
    is_dirty: bool,
    /// Publications were left out for want of room (`slow_consumer = drop`).
    pub(crate) has_gap: bool,
    /// A close of the WebSocket was sent; nothing may follow it.
    pub(crate) close_queued: bool,
    /// The peer will send nothing more, but what is queued is still sent.
    pub(crate) peer_ended: bool,
    /// Encrypted.
    pub(crate) is_secure: bool,
    /// A WebSocket, or one that was.
    is_upgraded: bool,
    /// Overflowed, or went over its budget, while something was under way; closed behind it.
    pub(crate) overflowed: bool,
}

/// Every slot, and what their outboxes share.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<Connection>,
    dirty: VecDeque<u32>,
    pub(crate) spare: SpareBuffers,
    /// Slots that began to wait for their client since the engine last looked.
    pub(crate) stalled: Vec<u32>,
    /// Slots whose outbox overflowed, or that went over their budget, since the engine last looked.
    pub(crate) overflowed: Vec<u32>,
    pub(crate) outbox_bytes_max: u32,
    /// Budget of each connection, in bytes.
    pub(crate) memory_bytes_max: u32,
    pub(crate) open_count: u32,
    /// Of those, the ones that became WebSockets.
    pub(crate) upgraded_count: u32,
    /// Those that are expected to send much.
    pub(crate) hot_count: u32,
    /// Open ones by where they are in their lives.
    by_phase: [u32; Phase::ALL.len()],
    /// What all outboxes take.
    outboxes: Weight<u64>,
    /// What all sessions are charged for memory.
    charged: Charged<u64>,
}

/// What an outbox takes, or all of them.
#[derive(Clone, Copy, Debug, Default)]
struct Weight<T = u32> {
    /// Of what waits, or is with the kernel.
    bytes: T,
    /// Of what keeps its order.
    order_bytes: T,
}

impl Weight {
    fn of(outbox: &Outbox) -> Self {
        Self { bytes: outbox.bytes(), order_bytes: outbox.order_bytes() }
    }
}

impl Weight<u64> {
    /// An outbox has changed.
    fn change(&mut self, before: Weight, after: Weight) {
        self.bytes = self.bytes + u64::from(after.bytes) - u64::from(before.bytes);
        self.change_order(before.order_bytes, after.order_bytes);
    }

    /// What keeps the order of an outbox has changed: with each message there is nothing to do,
    /// only where more than one waits.
    fn change_order(&mut self, before: u32, after: u32) {
        if before != after {
            self.order_bytes = self.order_bytes + u64::from(after) - u64::from(before);
        }
    }
}

impl Connection {
    /// Bytes that wait for the client, held ones too.
    pub(crate) fn bytes(&self) -> u32 {
        self.outbox.bytes() + self.behind_connect.as_ref().map_or(0, |behind| behind.bytes())
    }

    /// Bytes that count against its budget.
    pub(crate) fn budget_bytes(&self) -> u64 {
        let Weight { bytes, order_bytes } = self.weight();
        u64::from(bytes) + u64::from(order_bytes) + u64::from(self.beside_bytes)
    }

    fn weight(&self) -> Weight {
        let Some(behind) = &self.behind_connect else { return Weight::of(&self.outbox) };
        let (own, behind) = (Weight::of(&self.outbox), Weight::of(behind));
        Weight {
            bytes: own.bytes + behind.bytes,
            order_bytes: own.order_bytes + behind.order_bytes,
        }
    }

    /// Is it within its budget, with outboxes of this weight?
    fn is_within(&self, outboxes: Weight, memory_bytes_max: u32) -> bool {
        let Weight { bytes, order_bytes } = outboxes;
        u64::from(bytes) + u64::from(order_bytes) + u64::from(self.beside_bytes)
            <= u64::from(memory_bytes_max)
    }
}

impl Connections {
    pub(crate) fn new(outbox_bytes_max: u32, memory_bytes_max: u32) -> Self {
        Self { outbox_bytes_max, memory_bytes_max, ..Self::default() }
    }

    /// Bytes of memory of all connections. What the driver holds for them is its own to tell.
    pub(crate) fn memory(&self) -> MemoryBytes {
        debug_assert!(self.charged == self.recounted(), "sessions change between two weighings");
        let peers = self.open_count as usize * size_of::<SocketAddr>();
        let lists = self.dirty.capacity() + self.stalled.capacity() + self.overflowed.capacity();
        let tables = self.slots.len() * size_of::<Connection>() + lists * size_of::<u32>();
        let mut memory = MemoryBytes::default();
        memory.add(MemoryKind::Slot, (tables + peers) as u64);
        memory.add(MemoryKind::Identity, self.charged.identity);
        memory.add(MemoryKind::Subscriptions, self.charged.subscriptions);
        memory.add(MemoryKind::Requests, self.charged.waiting);
        memory.add(MemoryKind::Outbox, self.outboxes.bytes + self.outboxes.order_bytes);
        memory.add(MemoryKind::Outbox, self.spare.memory_bytes() as u64);
        memory
    }

    /// What all sessions take, by looking at each.
    fn recounted(&self) -> Charged<u64> {
        let mut all = Charged::default();
        for session in self.slots.iter().filter_map(|connection| connection.session.as_deref()) {
            all.change(Charged::default(), session.charged());
        }
        all
    }

    /// A session begins. The connection has none.
    pub(crate) fn begin_session(&mut self, slot: u32, session: Box<Session>) {
        let connection = &mut self.slots[slot as usize];
        assert!(connection.session.is_none(), "a session ends before the next begins");
        connection.session = Some(session);
        self.settle(slot, Charged::default());
    }

    /// A session ends, if there is one.
    pub(crate) fn end_session(&mut self, slot: u32) -> Option<Box<Session>> {
        let before = self.charged(slot);
        let session = self.slots[slot as usize].session.take()?;
        self.settle(slot, before);
        Some(session)
    }

    /// What the session of a slot is charged now, for [`Connections::settle`].
    pub(crate) fn charged(&self, slot: u32) -> Charged {
        let session = self.slots[slot as usize].session.as_deref();
        session.map_or_else(Charged::default, Session::charged)
    }

    /// The session of a slot was charged `before` it was changed: it is counted anew.
    pub(crate) fn settle(&mut self, slot: u32, before: Charged) {
        let connection = &mut self.slots[slot as usize];
        let after = connection.session.as_deref_mut().map_or_else(Charged::default, |session| {
            session.charge_member();
            session.charged()
        });
        self.charged.change(before, after);
        let driver_bytes = connection.beside_bytes.saturating_sub(before.budget());
        connection.beside_bytes = driver_bytes.saturating_add(after.budget());
        if !self.is_within_budget(slot) {
            self.note_overflow(slot);
        }
    }

    /// The driver holds so many bytes for a connection.
    pub(crate) fn hold(&mut self, id: ConnectionId, bytes_count: u32) {
        let slot = slot_of(id);
        let Some(connection) = self.find(id) else { return };
        let session = connection.session.as_deref();
        let session_bytes = session.map_or(0, |session| session.charged().budget());
        connection.beside_bytes = session_bytes.saturating_add(bytes_count);
        if !self.is_within_budget(slot) {
            self.note_overflow(slot);
        }
    }

    /// Bytes in all outboxes.
    pub(crate) fn outbox_bytes(&self) -> u64 {
        self.outboxes.bytes
    }

    /// Is the connection within its budget?
    pub(crate) fn is_within_budget(&self, slot: u32) -> bool {
        let connection = &self.slots[slot as usize];
        connection.is_within(connection.weight(), self.memory_bytes_max)
    }

    fn note_overflow(&mut self, slot: u32) {
        let connection = &mut self.slots[slot as usize];
        if !std::mem::replace(&mut connection.overflowed, true) {
            self.overflowed.push(slot);
        }
    }

    /// An outbox has changed from `before`.
    fn weigh(&mut self, slot: u32, before: Weight) {
        self.outboxes.change(before, self.slots[slot as usize].weight());
    }

    pub(crate) fn open(&mut self, id: ConnectionId, peer: Option<SocketAddr>, deadline: Moment) {
        let index = id.slot().index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Connection::default);
        }
        let connection = &mut self.slots[index];
        assert!(connection.id.is_none(), "the slot was reported closed before it is used again");
        let is_dirty = connection.is_dirty;
        *connection = Connection {
            id: Some(id),
            peer: peer.map(Box::new),
            phase_deadline: deadline,
            is_dirty,
            ..Connection::default()
        };
        self.by_phase[Phase::default() as usize] += 1;
        self.open_count += 1;
    }

    pub(crate) fn free(&mut self, id: ConnectionId) {
        if let Some(connection) = self.find(id) {
            let weight = connection.weight();
            let (is_dirty, was_upgraded) = (connection.is_dirty, connection.is_upgraded);
            let was_hot = connection.activity.is_hot;
            debug_assert!(connection.session.is_none(), "a session ends before its connection");
            let phase = connection.phase;
            *connection = Connection { is_dirty, ..Connection::default() };
            self.by_phase[phase as usize] -= 1;
            self.open_count -= 1;
            self.upgraded_count -= u32::from(was_upgraded);
            self.hot_count -= u32::from(was_hot);
            self.weigh(slot_of(id), weight);
        }
    }

    /// A connection moves on in its life.
    pub(crate) fn enter(&mut self, slot: u32, phase: Phase) {
        let connection = &mut self.slots[slot as usize];
        self.by_phase[connection.phase as usize] -= 1;
        self.by_phase[phase as usize] += 1;
        connection.phase = phase;
    }

    /// Open connections by where they are in their lives, in the order of [`Phase::ALL`].
    pub(crate) fn count_by_phase(&self) -> [u64; Phase::ALL.len()] {
        debug_assert!(
            self.by_phase.iter().sum::<u32>() == self.open_count,
            "every open connection is in one phase"
        );
        self.by_phase.map(u64::from)
    }

    /// The connection becomes a WebSocket.
    pub(crate) fn upgrade(&mut self, id: ConnectionId) {
        if let Some(connection) = self.find(id)
            && !std::mem::replace(&mut connection.is_upgraded, true)
        {
            self.upgraded_count += 1;
        }
    }

    /// The connection, if the slot still holds this generation of it.
    pub(crate) fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slots.get_mut(id.slot().index()).filter(|connection| connection.id == Some(id))
    }

    pub(crate) fn at(&mut self, slot: u32) -> &mut Connection {
        &mut self.slots[slot as usize]
    }

    pub(crate) fn id_at(&self, slot: u32) -> Option<ConnectionId> {
        self.slots.get(slot as usize).and_then(|connection| connection.id)
    }

    /// Slots that were ever in use.
    pub(crate) fn slots_count(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.slots.iter().filter_map(|connection| connection.id)
    }

    fn mark_dirty(&mut self, slot: u32) {
        let connection = &mut self.slots[slot as usize];
        let can_send = connection.outbox.has_queued() && !connection.outbox.is_sending();
        if !connection.is_dirty && can_send {
            connection.is_dirty = true;
            self.dirty.push_back(slot);
        }
    }

    fn note_pushed(&mut self, slot: u32, pushed: Pushed, before: Weight, now: Moment) -> Pushed {
        let connection = &mut self.slots[slot as usize];
        let after = connection.weight();
        self.outboxes.change(before, after);
        if !connection.is_within(after, self.memory_bytes_max) {
            self.note_overflow(slot);
        }
        let connection = &mut self.slots[slot as usize];
        match pushed {
            Pushed::Overflow => self.note_overflow(slot),
            Pushed::Queued if connection.outbox.is_sending() => {
                if connection.stalled_since == Moment::ZERO {
                    connection.stalled_since = now;
                    self.stalled.push(slot);
                }
            }
            Pushed::Queued => self.mark_dirty(slot),
        }
        pushed
    }

    /// Queues bytes as they are: a response of HTTP, or a frame with its head.
    pub(crate) fn push_raw(&mut self, slot: u32, parts: [&[u8]; 2], now: Moment) -> Pushed {
        let bytes_max = self.outbox_bytes_max;
        let connection = &mut self.slots[slot as usize];
        if connection.close_queued {
            return Pushed::Queued;
        }
        let before = connection.weight();
        let outbox = connection.behind_connect.as_deref_mut().unwrap_or(&mut connection.outbox);
        let pushed = outbox.push_copy(parts, bytes_max, &mut self.spare);
        self.note_pushed(slot, pushed, before, now)
    }

    /// Queues an answer of HTTP. One alone may be larger than what otherwise waits for a client.
    pub(crate) fn push_response(&mut self, slot: u32, bytes: &[u8], now: Moment) {
        let connection = &mut self.slots[slot as usize];
        let before = connection.weight();
        let bytes_max = if before.bytes == 0 { u32::MAX } else { self.outbox_bytes_max };
        let pushed = connection.outbox.push_copy([bytes, b""], bytes_max, &mut self.spare);
        self.note_pushed(slot, pushed, before, now);
    }

    /// `connect` is being answered: what is queued from now on comes behind the answer.
    pub(crate) fn hold_behind_connect(&mut self, slot: u32) {
        self.slots[slot as usize].behind_connect.get_or_insert_default();
    }

    /// Queues the answer to `connect`, and behind it what was held.
    pub(crate) fn answer_connect(&mut self, slot: u32, answer: &[u8], now: Moment) {
        let held = self.take_behind_connect(slot);
        self.push_message(slot, answer, now);
        self.append(slot, held, now);
    }

    /// `connect` is taken up anew: what was held behind it so far, control frames, goes out.
    pub(crate) fn release_behind_connect(&mut self, slot: u32, now: Moment) {
        let held = self.take_behind_connect(slot);
        self.append(slot, held, now);
    }

    /// What was held is not counted any more.
    fn take_behind_connect(&mut self, slot: u32) -> Option<Box<Outbox>> {
        let connection = &mut self.slots[slot as usize];
        let before = connection.weight();
        let held = connection.behind_connect.take();
        self.weigh(slot, before);
        held
    }

    /// Queues what is not counted any more.
    fn append(&mut self, slot: u32, held: Option<Box<Outbox>>, now: Moment) {
        let Some(held) = held.filter(|held| !held.is_empty()) else { return };
        let connection = &mut self.slots[slot as usize];
        let before = connection.weight();
        connection.outbox.append(*held);
        self.note_pushed(slot, Pushed::Queued, before, now);
    }

    /// Leaves out what has not begun to be sent, for a client that does not read anyway or whose
    /// memory is needed.
    pub(crate) fn drop_queued_if(&mut self, slot: u32, is_unwanted: bool) {
        if is_unwanted {
            let connection = &mut self.slots[slot as usize];
            let before = connection.weight();
            connection.outbox.drop_queued();
            self.weigh(slot, before);
        }
    }

    /// Queues the last bytes of a connection, whatever its budget.
    pub(crate) fn push_last(&mut self, slot: u32, bytes: &[u8], now: Moment) {
        let connection = &mut self.slots[slot as usize];
        let before = connection.weight();
        let pushed = connection.outbox.push_copy([bytes, b""], u32::MAX, &mut self.spare);
        connection.close_queued = true;
        self.note_pushed(slot, pushed, before, now);
    }

    /// Queues one WebSocket frame.
    pub(crate) fn push_frame(&mut self, slot: u32, opcode: Opcode, payload: &[u8], now: Moment) {
        let head: FrameHead = frame_head(opcode, payload.len());
        self.push_raw(slot, [head.as_slice(), payload], now);
    }

    /// Queues a message in the client's format.
    pub(crate) fn push_message(&mut self, slot: u32, message: &[u8], now: Moment) {
        let opcode = match self.slots[slot as usize].format {
            Some(Format::Protobuf) => Opcode::Binary,
            _ => Opcode::Text,
        };
        self.push_frame(slot, opcode, message, now);
    }

    /// Queues a part of frames that other subscribers get too. Returns also how many older
    /// publications were left out for it.
    pub(crate) fn push_shared(
        &mut self,
        slot: u32,
        share: &Share<'_>,
        policy: Overflow,
        now: Moment,
    ) -> (Pushed, u32) {
        let bytes_max = self.outbox_bytes_max;
        let connection = &mut self.slots[slot as usize];
        if connection.close_queued {
            return (Pushed::Queued, 0);
        }
        let Share { frames, range, items_count, .. } = *share;
        let before = connection.weight();
        let outbox = connection.behind_connect.as_deref_mut().unwrap_or(&mut connection.outbox);
        let (pushed, left_out) = match policy {
            Overflow::Conflate(channel) => {
                outbox.push_conflated(frames, range, (channel, items_count), bytes_max)
            }
            _ => (outbox.push_shared(frames, range.0, range.1, bytes_max), 0),
        };
        if pushed == Pushed::Overflow && policy == Overflow::Drop {
            connection.has_gap = true;
            return (pushed, left_out);
        }
        (self.note_pushed(slot, pushed, before, now), left_out)
    }

    /// The next send that can go out, of any connection.
    pub(crate) fn next_send(&mut self) -> Option<(ConnectionId, SendBuffer)> {
        while let Some(slot) = self.dirty.pop_front() {
            let connection = &mut self.slots[slot as usize];
            connection.is_dirty = false;
            let Some(id) = connection.id else { continue };
            if connection.phase == Phase::Cut {
                continue;
            }
            // What waits goes to the kernel, and is as much as before.
            let before = connection.outbox.order_bytes();
            let taken = connection.outbox.take(&mut self.spare);
            self.outboxes.change_order(before, connection.outbox.order_bytes());
            if let Some(buffer) = taken {
                return Some((id, buffer));
            }
        }
        None
    }

    /// Connections with something to send now.
    pub(crate) fn sends_waiting(&self) -> usize {
        self.dirty.len()
    }

    /// True if something can be sent.
    pub(crate) fn has_sends(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// A send of `id` is over. True if the outbox is empty now.
    pub(crate) fn sent(
        &mut self,
        id: ConnectionId,
        buffer: SendBuffer,
        sent: Option<u32>,
        now: Moment,
    ) -> bool {
        let Some(connection) = self.slots.get_mut(id.slot().index()) else { return false };
        if connection.id != Some(id) {
            return false;
        }
        let before = Weight::of(&connection.outbox);
        match sent {
            Some(count) => connection.outbox.completed(buffer, count, &mut self.spare),
            None => connection.outbox.abandon(),
        }
        let weight = Weight::of(&connection.outbox);
        self.outboxes.change(before, weight);
        let after = weight.bytes;
        if after > 0 && connection.stalled_since == Moment::ZERO {
            self.stalled.push(id.slot().0);
        }
        connection.stalled_since = if after == 0 { Moment::ZERO } else { now };
        let is_empty = connection.outbox.is_empty();
        if self.slots[id.slot().index()].outbox.has_queued() {
            self.mark_dirty(id.slot().0);
        }
        is_empty
    }
}

/// Bytes of an idle session and its place, whose user's name has so many bytes.
pub(crate) fn idle_session(name_bytes: usize) -> MemoryBytes {
    let mut memory = MemoryBytes::default();
    let place = size_of::<Connection>() + size_of::<SocketAddr>();
    memory.add(MemoryKind::Slot, place as u64);
    let session = size_of::<Session>() + counted_bytes(name_bytes) + RECORD_BYTES;
    memory.add(MemoryKind::Identity, session as u64);
    memory
}

/// What happens when a publication does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The connection is closed.
    Close,
    /// It replaces an older one of this channel, if one waits.
    Conflate(u32),
    /// It is left out and the connection is marked.
    Drop,
}

const _: () = assert!(size_of::<Connection>() <= CONNECTION_PLACE_BYTES_MAX);

/// The slot of a connection as a table index.
pub(crate) fn slot_of(id: ConnectionId) -> u32 {
    let Slot(slot) = id.slot();
    slot
}
