//! The simulated disk, as slow as the world wants: every operation waits before it happens, and a
//! node can end in between.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use persistence::files::simulated::{SimulatedDisk, SimulatedSegment};
use persistence::files::{Files, Pace, SegmentFile, SegmentSource};
use protocol::time::Moment;

use crate::random::Random;

/// Where operations wait. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    state: Arc<Mutex<GateState>>,
}

#[derive(Debug)]
struct GateState {
    now: Moment,
    /// When what waits may go on.
    due: Moment,
    delay_max: Duration,
    /// Everything waits at least until then.
    hangs_until: Moment,
    /// Of a hundred operations of a store, so many fail.
    fails_percent: u64,
    is_open: bool,
    random: Random,
}

impl Gate {
    /// An open gate.
    pub fn new(random: Random) -> Self {
        let state = GateState {
            now: Moment::ZERO,
            due: Moment::ZERO,
            delay_max: Duration::ZERO,
            hangs_until: Moment::ZERO,
            fails_percent: 0,
            is_open: false,
            random,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long operations take at most, and how many of a hundred fail.
    pub fn set_weather(&self, delay_max: Duration, fails_percent: u64) {
        let mut state = self.lock();
        state.delay_max = delay_max;
        state.fails_percent = fails_percent;
    }

    /// Nothing ends before `until`.
    pub fn hang(&self, until: Moment) {
        self.lock().hangs_until = until;
    }

    /// From now on nothing waits and nothing fails.
    pub fn open(&self) {
        self.set_weather(Duration::ZERO, 0);
        let mut state = self.lock();
        (state.is_open, state.due) = (true, state.now);
        state.hangs_until = Moment::ZERO;
    }

    /// The time.
    pub fn set_now(&self, now: Moment) {
        self.lock().now = now;
    }

    /// When what waits may go on.
    pub fn due(&self) -> Moment {
        self.lock().due
    }

    /// Does this operation fail?
    pub fn fails(&self) -> bool {
        let mut state = self.lock();
        let percent = state.fails_percent;
        state.random.chance(percent, 100)
    }

    /// How long something takes.
    pub fn delay(&self) -> Duration {
        let mut state = self.lock();
        let longest_ns = state.delay_max.as_nanos() as u64;
        Duration::from_nanos(state.random.within(0, longest_ns))
    }

    /// When something that begins now is done.
    pub fn ready_at(&self) -> Moment {
        let delay = self.delay();
        let state = self.lock();
        (state.now + delay).max(state.hangs_until)
    }

    /// Waits as long as the world wants.
    pub async fn pass(&self) {
        let due = self.ready_at();
        poll_fn(|_| {
            let mut state = self.lock();
            if state.is_open || state.now >= due {
                return Poll::Ready(());
            }
            state.due = due;
            Poll::Pending
        })
        .await;
    }
}

/// A disk behind a gate. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SlowDisk {
    /// The disk.
    pub disk: SimulatedDisk,
    /// Where its operations wait.
    pub gate: Gate,
}

/// A segment on it.
#[derive(Debug)]
pub struct SlowSegment {
    segment: SimulatedSegment,
    gate: Gate,
}

impl SegmentFile for SlowSegment {
    async fn write_at(&self, bytes: Vec<u8>, position: u64) -> (io::Result<()>, Vec<u8>) {
        self.gate.pass().await;
        self.segment.write_at(bytes, position).await
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.gate.pass().await;
        self.segment.sync_data().await
    }
}

impl Files for SlowDisk {
    type File = SlowSegment;

    async fn create(&self, number: u64, bytes: u64, pace: Pace) -> io::Result<SlowSegment> {
        self.gate.pass().await;
        let segment = self.disk.create(number, bytes, pace).await?;
        Ok(SlowSegment { segment, gate: self.gate.clone() })
    }

    async fn delete(&self, number: u64) -> io::Result<()> {
        self.gate.pass().await;
        self.disk.delete(number).await
    }

    async fn sync_directory(&self) -> io::Result<()> {
        self.gate.pass().await;
        self.disk.sync_directory().await
    }

    async fn pause(&self, _: Duration) {}
}

impl SegmentSource for SlowDisk {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        self.disk.numbers()
    }

    fn read(&self, number: u64, position: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
        self.disk.read(number, position, bytes_max)
    }
}
