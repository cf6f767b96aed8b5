//! Messages between threads: bounded lock-free queues and one wake per batch.
//!
//! Owns: a queue per ordered pair of shards, an inbox per shard for threads outside the cores, a
//! bell per shard.
//! Never: blocks, allocates after start, or wakes a thread that is awake (a wake costs its sender 7
//! to 11 µs, a message 20 to 40 ns).
//!
//! A lane keeps order. Its last places are reserved for *final* messages, which nobody would
//! repeat, so that *recoverable* ones cannot push them out. One queue with a reserve, rather than a
//! queue for each class, keeps a channel's publications and the answers about it in one order.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::{fmt, io};

use crossbeam_queue::ArrayQueue;
use protocol::ids::ShardId;
use rustix::event::{EventfdFlags, eventfd};

use crate::limits;
use crate::sleep::SleepFlag;

/// What the loss of a message would mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Its receiver notices and asks again.
    Recoverable,
    /// Nobody would repeat it.
    Final,
}

/// Wakes one shard from any thread.
#[derive(Clone)]
pub struct Bell {
    shared: Arc<BellState>,
}

struct BellState {
    flag: SleepFlag,
    eventfd: OwnedFd,
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").field("flag", &self.shared.flag).finish_non_exhaustive()
    }
}

impl Bell {
    /// A bell with an eventfd of its own, on which its owner sleeps.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self { shared: Arc::new(BellState { flag: SleepFlag::default(), eventfd }) })
    }

    /// A message was queued for the owner: wakes it if it sleeps.
    pub fn ring(&self) {
        if self.shared.flag.must_wake() {
            // Fails only if the counter is full, and then the owner is being woken already.
            let _ = rustix::io::write(&self.shared.eventfd, &1_u64.to_ne_bytes());
        }
    }

    /// The owner is about to sleep and looks at its queues after this.
    pub fn announce_sleep(&self) {
        self.shared.flag.announce();
    }

    /// Has the owner announced its sleep, and nobody woken it since?
    pub fn is_asleep(&self) -> bool {
        self.shared.flag.is_announced()
    }

    /// The owner is awake.
    pub fn announce_awake(&self) {
        self.shared.flag.retract();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.eventfd.as_fd()
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.eventfd.as_raw_fd()
    }
}

/// One shard's end of all lanes.
#[derive(Debug)]
pub struct Endpoint<T> {
    shard: ShardId,
    /// To shard `index`; the one to itself is there and unused.
    outgoing: Vec<Arc<ArrayQueue<T>>>,
    /// From shard `index`.
    incoming: Vec<Arc<ArrayQueue<T>>>,
    bells: Vec<Bell>,
    /// Shards that were sent something since the last [`Endpoint::flush`].
    touched: Vec<bool>,
    next_source: usize,
    reserved: usize,
}

/// How large lanes are.
#[derive(Clone, Copy, Debug)]
pub struct LaneSize {
    /// Messages in one lane.
    pub messages_max: usize,
    /// Of those, places that only final messages may take.
    pub reserved: usize,
}

impl Default for LaneSize {
    fn default() -> Self {
        Self { messages_max: limits::LANE_MESSAGES_MAX, reserved: limits::LANE_RESERVED_FOR_FINAL }
    }
}

/// Lanes between `bells.len()` shards, an end for each.
pub fn mesh<T>(bells: &[Bell], size: LaneSize) -> Vec<Endpoint<T>> {
    let count = bells.len();
    assert!(count > 0 && count <= usize::from(u8::MAX));
    assert!(size.messages_max > size.reserved);
    let lane = |source: usize, target: usize| {
        let places = if source == target { 1 } else { size.messages_max };
        Arc::new(ArrayQueue::new(places))
    };
    let lanes: Vec<Vec<_>> =
        (0..count).map(|source| (0..count).map(|target| lane(source, target)).collect()).collect();
    (0..count)
        .map(|shard| Endpoint {
            shard: ShardId(shard as u8),
            outgoing: lanes[shard].clone(),
            incoming: lanes.iter().map(|from| from[shard].clone()).collect(),
            bells: bells.to_vec(),
            touched: vec![false; count],
            next_source: 0,
            reserved: size.reserved,
        })
        .collect()
}

impl<T> Endpoint<T> {
    /// Whose end this is.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Shards in the mesh.
    pub fn shards_count(&self) -> usize {
        self.bells.len()
    }

    /// Queues a message for another shard, which is woken by the next [`Endpoint::flush`].
    ///
    /// # Errors
    ///
    /// The lane has no place for this class of message; it is handed back.
    pub fn send(&mut self, target: ShardId, class: Class, message: T) -> Result<(), T> {
        assert!(target != self.shard, "what stays on the shard takes no lane");
        let lane = &self.outgoing[usize::from(target.0)];
        let open = lane.capacity() - self.reserved;
        if class == Class::Recoverable && lane.len() >= open {
            return Err(message);
        }
        lane.push(message)?;
        self.touched[usize::from(target.0)] = true;
        Ok(())
    }

    /// Wakes every shard that was sent something, once.
    pub fn flush(&mut self) {
        for (target, touched) in self.touched.iter_mut().enumerate() {
            if std::mem::take(touched) {
                self.bells[target].ring();
            }
        }
    }

    /// The next message from any shard, round robin.
    pub fn receive(&mut self) -> Option<(ShardId, T)> {
        let count = self.incoming.len();
        for step in 0..count {
            let source = (self.next_source + step) % count;
            if let Some(message) = self.incoming[source].pop() {
                self.next_source = (source + 1) % count;
                return Some((ShardId(source as u8), message));
            }
        }
        None
    }

    /// True if nothing waits to be received.
    pub fn is_empty(&self) -> bool {
        self.incoming.iter().all(|lane| lane.is_empty())
    }

    /// Messages that wait to be received.
    pub fn waiting_count(&self) -> usize {
        self.incoming.iter().map(|lane| lane.len()).sum()
    }

    /// Has the lane to `target` places for recoverable messages, and more than a few?
    pub fn has_room(&self, target: ShardId) -> bool {
        let lane = &self.outgoing[usize::from(target.0)];
        lane.len() < (lane.capacity() - self.reserved) / 2
    }

    /// Messages that wait in the lane to `target`.
    pub fn queued_count(&self, target: ShardId) -> usize {
        self.outgoing[usize::from(target.0)].len()
    }
}

/// A shard's inbox for threads outside the cores. Clones are senders.
#[derive(Debug)]
pub struct Inbox<T> {
    queue: Arc<ArrayQueue<T>>,
    bell: Bell,
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), bell: self.bell.clone() }
    }
}

impl<T> Inbox<T> {
    /// An inbox whose owner is woken by `bell`.
    pub fn new(bell: Bell) -> Self {
        Self { queue: Arc::new(ArrayQueue::new(limits::INBOX_MESSAGES_MAX)), bell }
    }

    /// Queues a message and wakes the owner.
    ///
    /// # Errors
    ///
    /// The inbox is full; the message is handed back.
    pub fn send(&self, message: T) -> Result<(), T> {
        self.queue.push(message)?;
        self.bell.ring();
        Ok(())
    }

    /// The next message. For the owner.
    pub fn receive(&self) -> Option<T> {
        self.queue.pop()
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Messages that wait.
    pub fn waiting_count(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bells(count: usize) -> Vec<Bell> {
        (0..count).map(|_| Bell::new().unwrap()).collect()
    }

    #[test]
    fn recoverable_messages_cannot_take_the_reserve() {
        let capacity = 30;
        let size = LaneSize { messages_max: capacity, reserved: 20 };
        let mut ends = mesh::<usize>(&bells(2), size);
        let target = ShardId(1);
        let mut accepted = 0;
        while ends[0].send(target, Class::Recoverable, accepted).is_ok() {
            accepted += 1;
        }
        assert_eq!(accepted, 10);
        for number in 0..20 {
            ends[0].send(target, Class::Final, 10 + number).unwrap();
        }
        assert_eq!(ends[0].send(target, Class::Final, 7), Err(7), "full is full");
        for expected in 0..capacity {
            assert_eq!(ends[1].receive(), Some((ShardId(0), expected)), "order is kept");
        }
        assert!(ends[1].is_empty());
    }

    #[test]
    fn sources_take_turns() {
        let mut ends = mesh::<u8>(&bells(3), LaneSize::default());
        for number in 0..2 {
            ends[0].send(ShardId(2), Class::Final, number).unwrap();
            ends[1].send(ShardId(2), Class::Final, 10 + number).unwrap();
        }
        let order: Vec<u8> = std::iter::from_fn(|| ends[2].receive()).map(|(_, m)| m).collect();
        assert_eq!(order, [0, 10, 1, 11]);
    }

    #[test]
    fn a_sleeper_is_woken_once() {
        let bell = Bell::new().unwrap();
        let inbox = Inbox::new(bell.clone());
        inbox.send(1).unwrap();
        bell.announce_sleep();
        inbox.send(2).unwrap();
        inbox.send(3).unwrap();
        let mut count = [0; 8];
        rustix::io::read(&bell.shared.eventfd, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1, "one wake for two messages, none while awake");
    }
}
