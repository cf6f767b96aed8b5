//! Who became ready: one waker per place, one list that they fill, one wait for all.
//!
//! A readiness future of monoio is polled once and dropped. If it was not ready, its waker stays
//! with the socket's registration and is called at the next edge; monoio is pinned to one version
//! for that, and the conformance tests would see it go. "Ready" is asked of the kernel by poll(2)
//! and not remembered from an edge, so a socket that was emptied, or that ended while it was being
//! emptied, is never mistaken.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use crossbeam_queue::SegQueue;
use monoio::net::TcpStream;
use protocol::ids::Slot;

use crate::io::Wait;

/// What a waker stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Bell,
    Listener,
    Place(Slot),
}

/// Tokens whose wakers were called. Bounded: a waker is called once for each time it is armed.
#[derive(Default)]
pub(super) struct ReadyList {
    shared: Arc<Shared>,
}

// A waker must be `Send`, so this is made of what threads could share, though none does.
#[derive(Default)]
struct Shared {
    tokens: SegQueue<Token>,
    /// Wakes the runtime's loop. It is the same for every turn.
    turn: OnceLock<Waker>,
}

struct TokenWaker {
    shared: Arc<Shared>,
    token: Token,
}

impl Wake for TokenWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.shared.tokens.push(self.token);
        if let Some(turn) = self.shared.turn.get() {
            turn.wake_by_ref();
        }
    }
}

impl ReadyList {
    pub(super) fn waker(&self, token: Token) -> Waker {
        Arc::new(TokenWaker { shared: self.shared.clone(), token }).into()
    }

    pub(super) fn pop(&self) -> Option<Token> {
        self.shared.tokens.pop()
    }

    /// Lets epoll collect events, for as long as allowed or until a waker was called.
    pub(super) async fn wait(&self, wait: Wait) {
        let shared = &self.shared;
        poll_fn(|context| {
            shared.turn.get_or_init(|| context.waker().clone());
            Poll::Ready(())
        })
        .await;
        match wait {
            Wait::No => look_once().await,
            Wait::AtMost(time) => {
                let mut sleep = pin!(monoio::time::sleep(time));
                poll_fn(|context| {
                    if !shared.tokens.is_empty() {
                        return Poll::Ready(());
                    }
                    sleep.as_mut().poll(context)
                })
                .await;
            }
        }
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
pub(super) fn is_readable(socket: &TcpStream, waker: &Waker) -> bool {
    pin!(socket.readable(false)).poll(&mut Context::from_waker(waker)).is_ready()
}

/// Is there room to write, or an end? If not, `waker` is called when there is.
pub(super) fn is_writable(socket: &TcpStream, waker: &Waker) -> bool {
    pin!(socket.writable(false)).poll(&mut Context::from_waker(waker)).is_ready()
}

/// The shard's bell, as epoll sees it.
pub(super) struct BellWatch {
    /// A second descriptor of the eventfd. monoio registers nothing but sockets, and asks a
    /// socket only what every descriptor can answer: is it readable?
    registered: TcpStream,
    eventfd: OwnedFd,
    waker: Waker,
}

impl BellWatch {
    /// Watches `eventfd`. Must be called inside the runtime.
    pub(super) fn new(eventfd: OwnedFd, waker: Waker) -> io::Result<Self> {
        let registered = TcpStream::from_std(eventfd.try_clone()?.into())?;
        let watch = Self { registered, eventfd, waker };
        watch.silence();
        Ok(watch)
    }

    /// Takes what was rung, and listens for the next time.
    pub(super) fn silence(&self) {
        while is_readable(&self.registered, &self.waker) {
            // The bell's owner is its only reader, so a readable eventfd does not block.
            let _ = rustix::io::read(&self.eventfd, &mut [0; 8]);
        }
    }
}
