//! Many sockets on one epoll.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use protocol::websocket::Opcode;
use socket2::{Domain, Socket, Type};

use crate::modes::Target;
use crate::secure;
use crate::wire::{self, FrameCounter};

/// A ping of the client protocol in JSON, in its frame.
const PING: &[u8] = &[0x81, 2, b'{', b'}'];
/// Connects that are under way at once.
const CONNECTING_MAX: usize = 256;
/// All clients must be up within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);

/// One client.
pub(crate) struct Client {
    socket: secure::Socket,
    pub(crate) frames: FrameCounter,
    /// Frames to come before the client is ready; beyond them, frames of the measurement.
    pub(crate) greeting_left: u32,
    upgrade: Vec<u8>,
    is_upgraded: bool,
    waiting: Vec<u8>,
}

/// How a client begins.
pub(crate) struct Script {
    /// The upgrade request.
    pub(crate) upgrade: Vec<u8>,
    /// What it sends at once behind the upgrade.
    pub(crate) greeting: Vec<u8>,
    /// Frames that answer the greeting.
    pub(crate) greeting_frames: u32,
}

/// All clients.
pub(crate) struct Clients {
    poll: Poll,
    events: Events,
    pub(crate) all: Vec<Client>,
    buffer: Vec<u8>,
}

impl Clients {
    /// Connects clients by the scripts that `script` makes, and waits until all are ready.
    pub(crate) fn connect(target: &Target, script: impl Fn(usize) -> Script) -> io::Result<Self> {
        let mut clients = Self::none(target.connections)?;
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let mut ready = 0;
        while ready < target.connections {
            clients.begin_some(target, clients.all.len() - ready, CONNECTING_MAX, &script)?;
            ready += clients.greet(|_, _, _| {})?.len();
            if Instant::now() > deadline {
                let text = format!("only {ready} of {} clients are up", target.connections);
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
        }
        Ok(clients)
    }

    /// Nobody yet, and room for `count`.
    pub(crate) fn none(count: usize) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            all: Vec::with_capacity(count),
            buffer: vec![0; 256 * 1024],
        })
    }

    /// Begins a few clients, until all have begun or `connecting_max` are under way, where
    /// `connecting` are now. Only a few, because those that are connected must soon say something.
    pub(crate) fn begin_some(
        &mut self,
        target: &Target,
        connecting: usize,
        connecting_max: usize,
        script: impl Fn(usize) -> Script,
    ) -> io::Result<()> {
        let room = connecting_max.saturating_sub(connecting);
        for _ in 0..room.min(target.connections - self.all.len()).min(CONNECTING_MAX) {
            self.begin(target, &script(self.all.len()))?;
        }
        Ok(())
    }

    fn begin(&mut self, target: &Target, script: &Script) -> io::Result<()> {
        let mut stream = match target.source {
            None => TcpStream::connect(target.address)?,
            Some(source) => connect_from(source, target.address)?,
        };
        let token = Token(self.all.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token, interest)?;
        self.all.push(Client {
            socket: secure::Socket::new(stream, target.tls.as_ref())?,
            frames: FrameCounter::default(),
            greeting_left: script.greeting_frames,
            upgrade: script.upgrade.clone(),
            is_upgraded: false,
            waiting: script.greeting.clone(),
        });
        Ok(())
    }

    /// One round of greetings: which clients became ready. What those get who were ready before is
    /// handed to `received`.
    pub(crate) fn greet(
        &mut self,
        mut received: impl FnMut(usize, &mut Client, &[u8]),
    ) -> io::Result<Vec<usize>> {
        self.poll.poll(&mut self.events, Some(Duration::from_millis(100)))?;
        let mut ready = Vec::new();
        let events: Vec<_> =
            self.events.iter().map(|e| (e.token().0, e.is_readable(), e.is_writable())).collect();
        for (index, is_readable, is_writable) in events {
            if is_writable && !self.all[index].upgrade.is_empty() {
                let client = &mut self.all[index];
                client.socket.stream().set_nodelay(true)?;
                client.socket.write_all(&client.upgrade)?;
                client.upgrade = Vec::new();
            }
            if is_readable && self.greet_one(index, &mut received)? {
                ready.push(index);
            }
        }
        Ok(ready)
    }

    fn greet_one(
        &mut self,
        index: usize,
        received: &mut impl FnMut(usize, &mut Client, &[u8]),
    ) -> io::Result<bool> {
        let was_ready = self.all[index].is_upgraded && self.all[index].greeting_left == 0;
        loop {
            let client = &mut self.all[index];
            let count = match client.socket.read(&mut self.buffer) {
                Ok(0) => return Err(io::Error::other("the server closed a client")),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let mut bytes = &self.buffer[..count];
            if !client.is_upgraded {
                let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                    return Err(io::Error::other("a response head came in pieces"));
                };
                if !bytes.starts_with(b"HTTP/1.1 101") {
                    let head = String::from_utf8_lossy(&bytes[..end.min(200)]).into_owned();
                    return Err(io::Error::other(format!("no upgrade: {head}")));
                }
                client.is_upgraded = true;
                bytes = &bytes[end + 4..];
                let greeting = std::mem::take(&mut client.waiting);
                client.socket.write_all(&greeting)?;
            }
            if was_ready {
                received(index, client, bytes);
            }
            if was_ready && bytes == PING {
                // It waits for the others, and must not look dead meanwhile.
                client.socket.write_all(&wire::frame(Opcode::Text, b"{}"))?;
            }
            let frames = client.frames.feed(bytes);
            client.greeting_left = client.greeting_left.saturating_sub(frames);
        }
        let client = &self.all[index];
        Ok(!was_ready && client.is_upgraded && client.greeting_left == 0)
    }

    /// Waits, and hands everything that arrived to `received` as client and bytes.
    pub(crate) fn turn(
        &mut self,
        timeout: Duration,
        mut received: impl FnMut(usize, &mut Client, &[u8]),
    ) -> io::Result<()> {
        self.poll.poll(&mut self.events, Some(timeout))?;
        for event in &self.events {
            let index = event.token().0;
            if !event.is_readable() {
                continue;
            }
            let client = &mut self.all[index];
            loop {
                let count = match client.socket.read(&mut self.buffer) {
                    Ok(0) => return Err(io::Error::other("the server closed a client")),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                };
                received(index, client, &self.buffer[..count]);
                if count < self.buffer.len() && client.socket.short_reads_are_last() {
                    // A short read emptied the socket; epoll tells of what comes later.
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Connects from an address of ours: each has its own ports.
fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// What connect(2) says of a socket that does not wait (errno.h of Linux).
const EINPROGRESS: i32 = 115;

impl Client {
    /// Sends bytes at once. What the socket does not take is an error: nothing here sends that
    /// much.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }
}
