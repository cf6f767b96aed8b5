//! Which sockets became ready, by monoio's epoll: one waker per place, one list that they fill, one
//! wait for all, until a time that is kept to the microsecond.
//!
//! A readiness future of monoio is polled once and dropped; if it was not ready, its waker stays
//! with the socket's registration and is called at the next edge (the portable driver of the server
//! relies on the same, and monoio is pinned to one version for that). monoio's own timers count
//! milliseconds, too coarse for a schedule: a timerfd(2) beside the sockets ends a wait.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use crossbeam_queue::SegQueue;
use monoio::net::TcpStream;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::clock::{SECOND_NS, now_ns};

/// Places whose wakers were called. Bounded: a waker is called once for each time it is armed.
pub(crate) struct ReadyList {
    shared: Arc<Shared>,
    timer: Timer,
}

/// The place that stands for the timer.
const TIMER: usize = usize::MAX;

// A waker must be `Send`, so this is made of what threads could share, though none does.
#[derive(Default)]
struct Shared {
    places: SegQueue<usize>,
    /// Wakes the runtime's loop. It is the same for every turn.
    turn: OnceLock<Waker>,
}

struct PlaceWaker {
    shared: Arc<Shared>,
    place: usize,
}

impl Wake for PlaceWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.shared.places.push(self.place);
        if let Some(turn) = self.shared.turn.get() {
            turn.wake_by_ref();
        }
    }
}

impl ReadyList {
    /// An empty list. Must be called inside the runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let waker = Arc::new(PlaceWaker { shared: shared.clone(), place: TIMER }).into();
        Ok(Self { shared, timer: Timer::new(waker)? })
    }

    pub(crate) fn waker(&self, place: usize) -> Waker {
        Arc::new(PlaceWaker { shared: self.shared.clone(), place }).into()
    }

    /// Takes the next place, if there is one.
    pub(crate) fn pop(&self) -> Option<usize> {
        loop {
            match self.shared.places.pop()? {
                TIMER => self.timer.silence(),
                place => return Some(place),
            }
        }
    }

    /// Puts a place on the list by hand.
    pub(crate) fn again(&self, place: usize) {
        self.shared.places.push(place);
    }

    /// Lets epoll collect events until there are any, or until this time.
    pub(crate) async fn wait(&self, until_ns: u64) -> io::Result<()> {
        let shared = &self.shared;
        poll_fn(|context| {
            shared.turn.get_or_init(|| context.waker().clone());
            Poll::Ready(())
        })
        .await;
        if until_ns <= now_ns() {
            look_once().await;
            return Ok(());
        }
        self.timer.set(until_ns)?;
        poll_fn(|_| if shared.places.is_empty() { Poll::Pending } else { Poll::Ready(()) }).await;
        Ok(())
    }
}

/// One epoll_wait that does not sleep: monoio makes it when a task is ready and the turn is not.
async fn look_once() {
    let mut has_looked = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_looked, true) {
            return Poll::Ready(());
        }
        let turn = context.waker().clone();
        drop(monoio::spawn(async move { turn.wake() }));
        Poll::Pending
    })
    .await;
}

/// Is there something to read, or an end? If not, `waker` is called when there is.
pub(crate) fn is_readable(socket: &TcpStream, waker: &Waker) -> bool {
    pin!(socket.readable(false)).poll(&mut Context::from_waker(waker)).is_ready()
}

/// Is there room to write, or an end? If not, `waker` is called when there is.
pub(crate) fn is_writable(socket: &TcpStream, waker: &Waker) -> bool {
    pin!(socket.writable(false)).poll(&mut Context::from_waker(waker)).is_ready()
}

/// A timer that epoll sees.
struct Timer {
    /// A second descriptor. monoio registers nothing but sockets, and asks a socket only what every
    /// descriptor can answer: is it readable?
    registered: TcpStream,
    timerfd: OwnedFd,
    waker: Waker,
}

impl Timer {
    fn new(waker: Waker) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timerfd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let registered = TcpStream::from_std(timerfd.try_clone()?.into())?;
        let timer = Self { registered, timerfd, waker };
        timer.silence();
        Ok(timer)
    }

    fn set(&self, at_ns: u64) -> io::Result<()> {
        let at = Timespec {
            tv_sec: (at_ns / SECOND_NS) as i64,
            // Zero would switch the timer off; a time of this clock is never zero.
            tv_nsec: (at_ns % SECOND_NS) as i64,
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&self.timerfd, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }

    /// Takes what has run out, and listens for the next time.
    fn silence(&self) {
        while is_readable(&self.registered, &self.waker) {
            if rustix::io::read(&self.timerfd, &mut [0; 8]).is_err() {
                return;
            }
        }
    }
}
