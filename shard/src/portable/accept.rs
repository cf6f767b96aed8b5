//! The listener: clients come in here, as long as there is room for them.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as Plain};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use monoio::net::{TcpListener, TcpStream};

use super::State;
use super::readiness::Token;
use crate::io::{Completion, Errno};
use crate::limits;

/// The listener of a shard, if it has one.
pub(super) struct Door {
    listener: Option<TcpListener>,
    waker: Waker,
    /// Are clients wanted?
    is_open: bool,
    /// More clients wait than one turn lets in.
    pub(super) has_more: bool,
}

impl Door {
    /// A closed door. Must be called inside the runtime.
    pub(super) fn new(listener: Option<OwnedFd>, waker: Waker) -> io::Result<Self> {
        let register = |listener: OwnedFd| {
            let listener = Plain::from(listener);
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listener = listener.map(register).transpose()?;
        Ok(Self { listener, waker, is_open: false, has_more: false })
    }

    /// Opens it. True if it was closed and there is a listener.
    pub(super) fn open(&mut self) -> bool {
        self.listener.is_some() && !std::mem::replace(&mut self.is_open, true)
    }

    fn close(&mut self) {
        self.is_open = false;
        self.has_more = false;
    }

    /// Closes the listener, which makes the kernel refuse new clients at once. Must be called
    /// inside the runtime.
    pub(super) fn stop(&mut self) {
        self.close();
        self.listener = None;
    }

    /// The next client; none if nobody waits, and then the waker is called when somebody does.
    fn next(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        let listener = self.listener.as_ref().filter(|_| self.is_open)?;
        match pin!(listener.accept()).poll(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }
}

impl State {
    /// Lets clients in until nobody waits, the turn's share is used up, or there is no room.
    pub(super) fn accept_some(&mut self) {
        self.door.has_more = false;
        for _ in 0..limits::ACCEPTS_PER_TURN {
            let next = match self.table.is_full() {
                // Who comes now waits in the backlog until there is a place.
                true if self.door.is_open => Some(Err(io::Error::from_raw_os_error(libc::ENFILE))),
                true => None,
                false => self.door.next(),
            };
            let errno = match next {
                None => return,
                Some(Ok((socket, peer))) => {
                    self.let_in(socket, peer);
                    continue;
                }
                Some(Err(error)) => match error.raw_os_error() {
                    // The client went away in the queue; the next one is not affected.
                    Some(libc::ECONNABORTED | libc::EINTR) => continue,
                    errno => errno.unwrap_or(libc::EIO),
                },
            };
            self.door.close();
            self.arrived.push_back(Completion::AcceptEnded(Errno(errno)));
            return;
        }
        self.door.has_more = true;
    }

    fn let_in(&mut self, socket: TcpStream, peer: SocketAddr) {
        let ready = &self.ready;
        let slot = self.table.take(socket, |slot| ready.waker(Token::Place(slot)));
        let connection = self.table.at(slot).connection(&self.options, slot);
        let peer = self.options.peer_addresses.then(|| canonical(peer));
        self.arrived.push_back(Completion::Accepted { connection, peer });
    }
}

/// A client that came by IPv4 to an IPv6 socket is an IPv4 client.
fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip() {
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => (ip, peer.port()).into(),
            None => peer,
        },
        IpAddr::V4(_) => peer,
    }
}
