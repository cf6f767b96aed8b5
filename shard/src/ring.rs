//! The real ring: one io_uring instance, its table of direct descriptors and its receive buffers.
//!
//! Owns: sockets as direct descriptors, the buffer ring, the bytes of every send in flight.
//! Never: knows a protocol, keeps time, or shares anything with another thread.
//!
//! # How long the kernel looks at which memory
//!
//! Every `unsafe` of this crate that hands memory to the kernel rests on one of these:
//!
//! 1. **Sends.** The bytes are in the slot's [`SendBuffer`] from submission to completion. The
//!    buffer is moved (a counted pointer or a `Vec`), its bytes are not. A slot's buffer leaves
//!    only when the completion of its send has arrived; a slot is closed only when it has none.
//! 2. **Receives.** The kernel writes to buffers in the buffer ring. A buffer is ours from the
//!    completion that names it until it is pushed again; [`crate::buffers`] counts both.
//! 3. **Peer addresses and the bell.** Both are read into boxes that live as long as the ring.
//! 4. **The end.** `Drop` cancels everything and waits until no operation is in flight. Should the
//!    kernel not finish in time, the memory is leaked rather than freed under it.
//!
//! A completion carries its slot's generation. One whose generation is not the slot's belongs to a
//! connection that is gone, and only gives its receive buffer back.

mod accepting;
mod receiving;

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::{IoUring, squeue, types};
use protocol::ids::{ConnectionId, ShardId, Slot};

use crate::buffers::BufferRing;
use crate::entries::{self, Operation, PeerStorage, Tag};
use crate::io::{Chunk, Completion, Errno, Io, SendBuffer, Wait};
use crate::lanes::Bell;
use crate::limits;
use crate::slots::{Life, SlotState, Slots};

/// What a ring is made of.
#[derive(Clone, Copy, Debug)]
pub struct RingOptions {
    /// The shard that drives the ring.
    pub shard: ShardId,
    /// Which of the shard's rings this is.
    pub ring: u8,
    /// The slot by which the first place of its table is known: those of a shard's rings differ.
    pub first_slot: u32,
    /// Places in the table of direct descriptors; at most RLIMIT_NOFILE.
    pub connections_max: u32,
    /// Most receive buffers; a power of two.
    pub buffers_count: u16,
    /// Bytes in each.
    pub buffer_bytes: u32,
    /// Look up where clients come from?
    pub peer_addresses: bool,
}

impl RingOptions {
    /// The usual ring for `shard`, with room for `connections_max` connections.
    pub fn new(shard: ShardId, connections_max: u32) -> Self {
        Self {
            shard,
            ring: 0,
            first_slot: 0,
            connections_max,
            buffers_count: limits::RECEIVE_BUFFERS_COUNT,
            buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
            peer_addresses: true,
        }
    }
}

/// Counters of one ring since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct RingCounters {
    /// Turns, which is calls of `io_uring_enter`.
    pub turns: u64,
    /// Operations submitted.
    pub submissions: u64,
    /// Completions seen.
    pub completions: u64,
    /// Receives that ended because no buffer was free.
    pub receives_parked: u64,
    /// Completions whose connection was gone.
    pub completions_stale: u64,
    /// Times the kernel had to keep completions in its overflow list.
    pub completion_overflows: u64,
    /// Bytes that the tables of slots take, now.
    pub slot_bytes: u64,
    /// Bytes of receive buffers in use, now.
    pub receive_buffer_bytes: u64,
}

impl RingCounters {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            turns: self.turns + other.turns,
            submissions: self.submissions + other.submissions,
            completions: self.completions + other.completions,
            receives_parked: self.receives_parked + other.receives_parked,
            completions_stale: self.completions_stale + other.completions_stale,
            completion_overflows: self.completion_overflows + other.completion_overflows,
            slot_bytes: self.slot_bytes + other.slot_bytes,
            receive_buffer_bytes: self.receive_buffer_bytes + other.receive_buffer_bytes,
        }
    }
}

/// Bytes of a place in the table of slots.
pub const SLOT_BYTES: usize = size_of::<SlotState>();

/// One io_uring instance and everything in it.
pub struct Ring {
    options: RingOptions,
    ring: IoUring,
    /// What the kernel writes to. Freed by `Drop` alone, and only when nothing is in flight.
    memory: ManuallyDrop<KernelMemory>,
    slots: Slots,
    /// Completions of this turn, not yet asked for.
    arrived: VecDeque<Arrived>,
    /// Receives that ended for want of buffers.
    parked: VecDeque<(Slot, u32)>,
    listener: Option<OwnedFd>,
    /// One operation accepts all clients.
    accept_armed: bool,
    /// Operations that accept one client each.
    accepts_single: u32,
    /// That one operation is being cancelled.
    accept_cancelled: bool,
    /// Accepting has ended for want of places, and nobody was told.
    is_full: bool,
    /// The kernel would give out places far behind those that are in use.
    has_strayed: bool,
    /// Length of a peer's address.
    address_bytes: u32,
    lookups_free: Vec<u8>,
    lookups_waiting: VecDeque<(Slot, u32)>,
    /// Those of a shard but its first have none: the kernel rings the shard's when they have news.
    bell: Option<Bell>,
    bell_armed: bool,
    /// Operations with the kernel that touch memory of ours.
    in_flight_count: u64,
    counters: RingCounters,
}

/// Memory that operations in flight write to.
struct KernelMemory {
    buffers: BufferRing,
    lookups: Box<[PeerStorage; limits::PEER_LOOKUPS_MAX]>,
    bell_count: Box<u64>,
}

#[derive(Clone, Copy)]
struct Arrived {
    tag: Tag,
    result: i32,
    flags: u32,
}

impl Ring {
    /// Makes a ring on the calling thread, which alone may use it.
    ///
    /// # Errors
    ///
    /// io_uring is not there or not allowed, or lacks something; [`crate::probe`] says which in
    /// words.
    pub fn new(options: RingOptions, listener: Option<OwnedFd>, bell: Bell) -> io::Result<Self> {
        Self::make(options, listener, Some(bell))
    }

    /// A further ring of a shard that sleeps on its first: what happens here rings `bell`.
    pub(crate) fn further(
        options: RingOptions,
        listener: Option<OwnedFd>,
        bell: &Bell,
    ) -> io::Result<Self> {
        let ring = Self::make(options, listener, None)?;
        ring.ring.submitter().register_eventfd(bell.as_raw_fd())?;
        Ok(ring)
    }

    fn make(
        options: RingOptions,
        listener: Option<OwnedFd>,
        bell: Option<Bell>,
    ) -> io::Result<Self> {
        assert!(options.connections_max <= limits::CONNECTIONS_PER_RING_MAX);
        let ring: IoUring = IoUring::builder()
            .setup_clamp()
            .setup_cqsize(limits::COMPLETIONS_MAX)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(limits::SUBMISSIONS_MAX)?;
        // Only a shortcut for the kernel: without it every call looks the ring up.
        let _ = ring.submitter().register_ring_fd();
        ring.submitter().register_files_sparse(options.connections_max)?;
        let buffers =
            BufferRing::register(&ring.submitter(), options.buffers_count, options.buffer_bytes)?;
        Ok(Self {
            address_bytes: listener.as_ref().map_or(0, PeerStorage::address_bytes),
            options,
            ring,
            memory: ManuallyDrop::new(KernelMemory {
                buffers,
                lookups: Box::new([PeerStorage::default(); limits::PEER_LOOKUPS_MAX]),
                bell_count: Box::new(0),
            }),
            slots: Slots::default(),
            arrived: VecDeque::with_capacity(limits::COMPLETIONS_MAX as usize),
            parked: VecDeque::new(),
            listener,
            accept_armed: false,
            accepts_single: 0,
            accept_cancelled: false,
            is_full: false,
            has_strayed: false,
            lookups_free: (0..limits::PEER_LOOKUPS_MAX as u8).collect(),
            lookups_waiting: VecDeque::new(),
            bell,
            bell_armed: false,
            in_flight_count: 0,
            counters: RingCounters::default(),
        })
    }

    /// What happened since the start.
    pub fn counters(&self) -> RingCounters {
        RingCounters {
            slot_bytes: self.slots.memory_bytes() as u64,
            receive_buffer_bytes: self.memory.buffers.given_bytes() as u64,
            ..self.counters
        }
    }

    /// Did completions arrive that were not taken?
    pub(crate) fn has_arrived(&self) -> bool {
        !self.arrived.is_empty() || self.is_full
    }

    /// Looks for completions once more within a turn, and submits what was queued.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        self.enter(0, None)?;
        self.collect();
        Ok(())
    }

    /// Memory for receive buffers, in bytes.
    pub fn buffer_memory_bytes(&self) -> usize {
        self.memory.buffers.memory_bytes()
    }

    fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: every entry comes from `entries`, and the memory it names lives until its
            // completion by the four rules at the top of this module.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            if pushed.is_ok() {
                self.counters.submissions += 1;
                return;
            }
            self.enter(0, None).expect("the kernel takes submissions when the queue is full");
        }
    }

    fn enter(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        self.counters.turns += 1;
        let timespec = timeout.map(types::Timespec::from).unwrap_or_default();
        let mut args = types::SubmitArgs::new();
        if timeout.is_some() {
            args = args.timespec(&timespec);
        }
        let submitter = self.ring.submitter();
        let entered = if want > 0 {
            submitter.submit_with_args(want as usize, &args)
        } else {
            // Deferred task work, and with it completions, happens only on an enter with GETEVENTS.
            const GETEVENTS: u32 = 1;
            // SAFETY: no argument is passed, and the entries were pushed by `push`.
            unsafe {
                let queued = self.ring.submission_shared().len() as u32;
                submitter.enter::<libc::sigset_t>(queued, 0, GETEVENTS, None)
            }
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Out of time, a signal, or completions to be taken first: each is a turn that
                // ended early.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn collect(&mut self) {
        if self.ring.submission().cq_overflow() {
            self.counters.completion_overflows += 1;
        }
        let completions = self.ring.completion();
        for entry in completions {
            self.counters.completions += 1;
            let tag = Tag::from_bits(entry.user_data()).expect("only our own tags are submitted");
            let (result, flags) = (entry.result(), entry.flags());
            self.arrived.push_back(Arrived { tag, result, flags });
        }
    }

    fn arm_bell(&mut self) {
        if let Some(bell) = &self.bell
            && !self.bell_armed
        {
            self.bell_armed = true;
            self.in_flight_count += 1;
            let into = &raw mut *self.memory.bell_count;
            let entry = entries::read_bell(bell.as_raw_fd(), into);
            self.push(entry);
        }
    }

    fn id(&self, slot: Slot, generation: u32) -> ConnectionId {
        let slot = Slot(self.options.first_slot + slot.0);
        ConnectionId::new(self.options.shard, self.options.ring, slot, generation)
    }

    /// The place of a connection in this ring's table.
    fn place(&self, connection: ConnectionId) -> Slot {
        Slot(connection.slot().0 - self.options.first_slot)
    }

    fn dispatch(&mut self, arrived: Arrived) -> Option<Completion> {
        match arrived.tag.operation {
            Operation::Receive => self.on_receive(arrived),
            Operation::Watch => self.on_watch(arrived),
            Operation::Send => self.on_send(arrived),
            Operation::Accept => self.on_accept(arrived),
            Operation::Peer => self.on_peer(arrived),
            Operation::Close => self.on_close(arrived),
            Operation::Bell => {
                self.in_flight_count -= 1;
                self.bell_armed = false;
                None
            }
            Operation::Shutdown => self.on_shutdown(arrived),
            Operation::Cancel => None,
        }
    }

    fn on_shutdown(&mut self, arrived: Arrived) -> Option<Completion> {
        let Tag { slot, generation, .. } = arrived.tag;
        let state = self.slots.get(slot, generation).expect("a slot outlives its shutdown");
        state.shutdowns_count -= 1;
        self.finish_if_quiet(slot, generation);
        None
    }

    fn shut_down(&mut self, connection: ConnectionId, how: i32) {
        let (slot, generation) = (self.place(connection), connection.generation());
        let Some(state) = self.slots.get(slot, generation) else { return };
        state.shutdowns_count += 1;
        self.push(entries::shutdown(Tag::new(Operation::Shutdown, slot, generation), how));
    }

    fn on_send(&mut self, arrived: Arrived) -> Option<Completion> {
        let Tag { slot, generation, .. } = arrived.tag;
        self.in_flight_count -= 1;
        let state = self.slots.get(slot, generation).expect("a slot outlives its send");
        let buffer = state.send.take().expect("a send completes once");
        let result = match arrived.result {
            0 => Err(Errno(libc::EPIPE)),
            sent if sent > 0 => Ok(sent as u32),
            failed => Err(Errno(-failed)),
        };
        let connection = self.id(slot, generation);
        self.finish_if_quiet(slot, generation);
        Some(Completion::Sent { connection, result, buffer })
    }

    fn on_close(&mut self, arrived: Arrived) -> Option<Completion> {
        let Tag { slot, generation, .. } = arrived.tag;
        // A slot that was accepted again meanwhile has another generation and stays as it is.
        self.slots.free(slot, generation);
        self.watch_places(slot);
        Some(Completion::Closed { connection: self.id(slot, generation) })
    }

    fn finish_if_quiet(&mut self, slot: Slot, generation: u32) {
        let Some(state) = self.slots.get(slot, generation) else { return };
        if state.life == Life::Closing && state.is_quiet() {
            state.life = Life::Last;
            self.push(entries::close(Tag::new(Operation::Close, slot, generation)));
        }
    }

    /// The open slot of a connection.
    fn open(&mut self, connection: ConnectionId) -> &mut SlotState {
        let (slot, generation) = (self.place(connection), connection.generation());
        let state = self.slots.get(slot, generation);
        let state = state.expect("operations name connections that are not closed");
        assert!(state.life == Life::Open, "a connection that is being closed is not used");
        state
    }
}

impl Io for Ring {
    fn turn(&mut self, wait: Wait) -> io::Result<()> {
        assert!(self.arrived.is_empty(), "all completions are taken before the next turn");
        // Begins at its first place again: a queue that goes around touches all of its memory.
        self.arrived.clear();
        if !self.parked.is_empty() {
            self.memory.buffers.grow();
        }
        self.unpark();
        self.memory.buffers.publish();
        self.arm_bell();
        self.use_first_places()?;
        match wait {
            Wait::No => self.enter(0, None)?,
            Wait::AtMost(time) => self.enter(1, Some(time))?,
        }
        self.collect();
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        while let Some(arrived) = self.arrived.pop_front() {
            if let Some(completion) = self.dispatch(arrived) {
                return Some(completion);
            }
        }
        let is_full = std::mem::take(&mut self.is_full);
        is_full.then_some(Completion::AcceptEnded(Errno(libc::ENFILE)))
    }

    fn bytes(&mut self, chunk: &Chunk) -> &mut [u8] {
        self.memory.buffers.bytes(chunk.buffer, chunk.bytes_count)
    }

    fn recycle(&mut self, chunk: Chunk) {
        self.memory.buffers.push(chunk.buffer);
    }

    fn accept(&mut self) {
        self.begin_accepting();
    }

    fn stop_accepting(&mut self) {
        self.end_accepting();
    }

    fn receive(&mut self, connection: ConnectionId) {
        self.begin_receiving(connection, false);
    }

    fn rest(&mut self, connection: ConnectionId) {
        self.begin_receiving(connection, true);
    }

    fn pause(&mut self, connection: ConnectionId) {
        self.end_receiving(connection);
    }

    fn send(&mut self, connection: ConnectionId, buffer: SendBuffer) {
        let tag = Tag::new(Operation::Send, self.place(connection), connection.generation());
        let state = self.open(connection);
        assert!(state.send.is_none(), "two sends on one socket may reorder");
        let buffer = state.send.insert(buffer);
        assert!(buffer.bytes_count() > 0, "an empty send would look like a failure");
        let entry = entries::send(tag, buffer.as_slice());
        self.in_flight_count += 1;
        self.push(entry);
    }

    fn shutdown_write(&mut self, connection: ConnectionId) {
        self.open(connection);
        self.shut_down(connection, libc::SHUT_WR);
    }

    fn close(&mut self, connection: ConnectionId) {
        let state = self.open(connection);
        state.life = Life::Closing;
        state.wanted = false;
        if state.is_quiet() {
            self.finish_if_quiet(self.place(connection), connection.generation());
        } else {
            // Ends an armed receive with EOF, a watch with a hang-up and a waiting send with EPIPE.
            self.shut_down(connection, libc::SHUT_RDWR);
        }
    }
}

/// How long `Drop` waits for the kernel.
const DROP_WAIT: Duration = Duration::from_secs(2);

impl Drop for Ring {
    fn drop(&mut self) {
        let started = Instant::now();
        while self.in_flight_count > 0 && started.elapsed() < DROP_WAIT {
            let _ = self.ring.submitter().register_sync_cancel(None, types::CancelBuilder::any());
            for (_, state) in self.slots.iter_open() {
                state.wanted = false;
            }
            self.listener = None;
            if self.enter(0, None).is_err() {
                break;
            }
            self.collect();
            while let Some(arrived) = self.arrived.pop_front() {
                let chunk = self.dispatch(arrived);
                if let Some(Completion::Received { chunk, .. }) = chunk {
                    self.recycle(chunk);
                }
            }
        }
        if self.in_flight_count > 0 {
            // Rule 4: better a leak than memory freed under the kernel.
            for (_, state) in self.slots.iter_open() {
                std::mem::forget(state.send.take());
            }
            return;
        }
        // SAFETY: `memory` is not used again, and no operation that writes to it is in flight.
        unsafe { ManuallyDrop::drop(&mut self.memory) };
    }
}
