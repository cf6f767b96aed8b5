//! One client: from its socket to what its messages say.
//!
//! ```text
//!  Away ─open()─► Connecting ─writable─► Upgrading ─101─► Open ─replies─► settled
//!   ▲                                                      │
//!   └──────────── the server ends it, or close() ──────────┘
//! ```

use std::io::{Read as _, Write as _};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use monoio::io::{AsyncReadRent as _, AsyncWriteRent as _};
use monoio::net::TcpStream;
use protocol::client::client_side::{
    Received, ReceivedPush, ReceivedReply, ReceivedSubscribe, decode_replies,
};
use protocol::client::{Command, CommandKind, Format};
use protocol::websocket::Opcode;
use protocol::websocket::client::ServerFrames;
use rustls::ClientConnection;

use super::clock::now_ns;
use super::load::Load;
use super::readiness::{is_readable, is_writable};
use super::swarm::Setup;
use super::wire::{self, CONNECT_ID, Mark, SUBSCRIBE_ID};

/// What happened to a client.
#[derive(Debug)]
pub(crate) enum Event {
    /// It is connected and subscribed as it wished; the answer to the subscription.
    Settled(Option<Box<ReceivedSubscribe>>),
    /// A publication of ours came.
    Delivery(Mark),
    /// A command was answered.
    Reply { id: u32, body: ReceivedReply },
    /// It is away, not by our doing: why, from a fixed list and the codes of the protocol.
    Closed(String),
}

/// Bytes that the socket does not take; whoever has more of them is cut off.
pub(crate) const UNSENT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the head of a response.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Reads of one client in a turn.
const READS_PER_TURN: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Away,
    Connecting,
    Upgrading,
    Open,
}

/// A place for a client, and the client in it.
pub(crate) struct Client {
    pub(crate) index: usize,
    /// When it was due to connect, or began to.
    pub(crate) due_ns: u64,
    pub(crate) is_settled: bool,
    /// It was settled when its connection ended.
    pub(crate) was_settled: bool,
    /// Pings of the server that it has answered.
    pub(crate) pongs: u32,
    stage: Stage,
    format: Format,
    stream: Option<TcpStream>,
    tls: Option<Box<ClientConnection>>,
    waker: Waker,
    head: Vec<u8>,
    frames: ServerFrames,
    /// Frames that go out at the end of the turn.
    out: Vec<u8>,
    /// Bytes on their way into the socket.
    unsent: Vec<u8>,
    has_wish: bool,
    answers_pings: bool,
}

impl Client {
    pub(crate) fn new(index: usize, format: Format, waker: Waker) -> Self {
        Self {
            index,
            due_ns: 0,
            is_settled: false,
            was_settled: false,
            pongs: 0,
            stage: Stage::Away,
            format,
            stream: None,
            tls: None,
            waker,
            head: Vec::new(),
            frames: ServerFrames::new(),
            out: Vec::new(),
            unsent: Vec::new(),
            has_wish: false,
            answers_pings: false,
        }
    }

    /// Takes a socket whose connect is under way.
    pub(crate) fn begin(
        &mut self,
        stream: TcpStream,
        tls: Option<Box<ClientConnection>>,
        due_ns: u64,
    ) {
        self.leave();
        (self.stream, self.tls, self.due_ns) = (Some(stream), tls, due_ns);
        self.stage = Stage::Connecting;
    }

    /// Is there a connection, or an attempt at one?
    pub(crate) fn is_present(&self) -> bool {
        self.stage != Stage::Away
    }

    /// Drops the connection without a word.
    pub(crate) fn leave(&mut self) {
        self.stream = None;
        self.tls = None;
        self.stage = Stage::Away;
        self.was_settled = std::mem::take(&mut self.is_settled);
        self.head = Vec::new();
        self.frames = ServerFrames::new();
        self.out = Vec::new();
        self.unsent = Vec::new();
    }

    /// Says goodbye (RFC 6455, 7.1.1) as far as the socket takes it at once, and leaves.
    pub(crate) fn close(&mut self) {
        if self.stage == Stage::Open {
            wire::push_frame(Opcode::Close, &1000_u16.to_be_bytes(), &mut self.out);
            // Whether it arrives makes no difference: the connection ends either way.
            let _ = self.flush();
        }
        self.leave();
    }

    /// Queues a command; it goes out at the end of the turn.
    pub(crate) fn command(&mut self, id: u32, kind: CommandKind<'_>) {
        wire::push_command(self.format, id, kind, &mut self.out);
    }

    /// Queues a publication.
    pub(crate) fn publish(&mut self, id: u32, channel: &str, data: &[u8]) {
        wire::push_publication(self.format, id, channel, data, &mut self.out);
    }

    /// Does what its socket is ready for. True: it is not done and wants another turn.
    pub(crate) fn serve(
        &mut self,
        setup: &Setup,
        buffer: &mut Vec<u8>,
        load: &mut dyn Load,
    ) -> bool {
        match self.exchange(setup, buffer, load) {
            Ok(wants_more) => wants_more,
            Err(cause) => {
                self.leave();
                load.on(self, Event::Closed(cause), now_ns());
                false
            }
        }
    }

    fn exchange(
        &mut self,
        setup: &Setup,
        buffer: &mut Vec<u8>,
        load: &mut dyn Load,
    ) -> Result<bool, String> {
        let Some(stream) = &self.stream else { return Ok(false) };
        if self.stage == Stage::Connecting {
            if !is_writable(stream, &self.waker) {
                return Ok(false);
            }
            self.stage = Stage::Upgrading;
            self.out.extend_from_slice(&setup.upgrade);
        }
        self.flush()?;
        for _ in 0..READS_PER_TURN {
            match self.read(buffer) {
                Poll::Pending => return self.flush().map(|()| false),
                Poll::Ready(Ok(0)) => return Err("ended by the server".to_owned()),
                Poll::Ready(Ok(count)) => self.take(&buffer[..count], setup, load)?,
                Poll::Ready(Err(error)) => return Err(named("connection", &error)),
            }
            let Some(stream) = &self.stream else { return Ok(false) };
            if !is_readable(stream, &self.waker) {
                return self.flush().map(|()| false);
            }
        }
        self.flush().map(|()| true)
    }

    /// Reads into the buffer; pending: there is nothing, and the waker is called when there is.
    fn read(&mut self, buffer: &mut Vec<u8>) -> Poll<std::io::Result<usize>> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        let mut context = Context::from_waker(&self.waker);
        match pin!(stream.read(std::mem::take(buffer))).poll(&mut context) {
            // The buffer went with the operation.
            Poll::Pending => {
                *buffer = Vec::with_capacity(READ_BYTES_MAX);
                Poll::Pending
            }
            Poll::Ready((result, taken)) => {
                *buffer = taken;
                Poll::Ready(result)
            }
        }
    }

    /// Takes bytes of the socket.
    fn take(&mut self, bytes: &[u8], setup: &Setup, load: &mut dyn Load) -> Result<(), String> {
        let Some(mut tls) = self.tls.take() else { return self.hear(bytes, setup, load) };
        let mut input = bytes;
        let mut plain = Vec::new();
        while !input.is_empty() {
            tls.read_tls(&mut input).map_err(|error| named("TLS", &error))?;
            tls.process_new_packets().map_err(|error| cut(format!("TLS: {error}")))?;
            match tls.reader().read_to_end(&mut plain) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(named("TLS", &error)),
            }
        }
        self.tls = Some(tls);
        self.hear(&plain, setup, load)
    }

    /// Takes bytes of HTTP or WebSocket.
    fn hear(&mut self, bytes: &[u8], setup: &Setup, load: &mut dyn Load) -> Result<(), String> {
        if self.stage != Stage::Upgrading {
            return self.hear_frames(bytes, load);
        }
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
            let is_long = self.head.len() > HEAD_BYTES_MAX;
            return if is_long { Err("a head without an end".to_owned()) } else { Ok(()) };
        };
        let head = std::mem::take(&mut self.head);
        if !head.starts_with(b"HTTP/1.1 101 ") {
            let status = head.get(9..12).map(String::from_utf8_lossy).unwrap_or_default();
            return Err(match status.bytes().all(|byte| byte.is_ascii_digit()) {
                true => format!("http {status}"),
                false => "no HTTP".to_owned(),
            });
        }
        self.stage = Stage::Open;
        let wish = load.wish(self.index);
        self.has_wish = wish.is_some();
        let token = setup.token(self.index);
        self.out.extend_from_slice(&wire::greeting(self.format, &token, wish.as_ref()));
        self.hear_frames(&head[end + 4..], load)
    }

    fn hear_frames(&mut self, mut bytes: &[u8], load: &mut dyn Load) -> Result<(), String> {
        let mut frames = std::mem::take(&mut self.frames);
        loop {
            let frame = frames.next(&mut bytes).map_err(|_| "broken framing".to_owned())?;
            let Some(frame) = frame else { break };
            match frame.opcode {
                Opcode::Text | Opcode::Binary => self.hear_message(frame.payload, load)?,
                Opcode::Ping => wire::push_frame(Opcode::Pong, frame.payload, &mut self.out),
                Opcode::Close => {
                    let code = frame.payload.first_chunk().map(|two| u16::from_be_bytes(*two));
                    return Err(format!("close {}", code.unwrap_or(1005)));
                }
                _ => {}
            }
            if self.stage == Stage::Away {
                // The load has closed it on what it heard.
                return Ok(());
            }
        }
        self.frames = frames;
        Ok(())
    }

    fn hear_message(&mut self, mut message: &[u8], load: &mut dyn Load) -> Result<(), String> {
        let now = now_ns();
        while let Some(entry) = wire::next_entry(self.format, &mut message) {
            if wire::is_push(self.format, entry)
                && let Some(mark) = Mark::find(entry)
            {
                load.on(self, Event::Delivery(mark), now);
                continue;
            }
            let replies = decode_replies(self.format, entry);
            for reply in replies.map_err(|_| "a message that is no reply".to_owned())? {
                match reply {
                    Received::Ping => self.answer_ping(),
                    Received::Reply { id, body } => self.hear_reply(id, body, load, now)?,
                    Received::Push { body: ReceivedPush::Disconnect(push), .. } => {
                        return Err(format!("disconnect {}", push.code));
                    }
                    Received::Push { body: ReceivedPush::Unsubscribe(push), .. } => {
                        return Err(format!("unsubscribed {}", push.code));
                    }
                    Received::Push { .. } => {}
                }
            }
        }
        Ok(())
    }

    fn hear_reply(
        &mut self,
        id: u32,
        body: ReceivedReply,
        load: &mut dyn Load,
        now: u64,
    ) -> Result<(), String> {
        match (id, body) {
            (CONNECT_ID, ReceivedReply::Connect(connect)) => {
                self.answers_pings = connect.pong;
                if !self.has_wish {
                    self.is_settled = true;
                    load.on(self, Event::Settled(None), now);
                }
            }
            (SUBSCRIBE_ID, ReceivedReply::Subscribe(answer)) => {
                self.is_settled = true;
                load.on(self, Event::Settled(Some(Box::new(answer))), now);
            }
            (CONNECT_ID, ReceivedReply::Error(error)) => {
                return Err(cut(format!("connect refused: {} {}", error.code, error.message)));
            }
            (SUBSCRIBE_ID, ReceivedReply::Error(error)) => {
                return Err(cut(format!("subscribe refused: {} {}", error.code, error.message)));
            }
            (id, body) => load.on(self, Event::Reply { id, body }, now),
        }
        Ok(())
    }

    fn answer_ping(&mut self) {
        if self.answers_pings {
            self.pongs = self.pongs.saturating_add(1);
            let pong = Command { id: 0, kind: CommandKind::Pong };
            wire::push_commands(self.format, &[pong], &mut self.out);
        }
    }

    /// Gives the socket what is queued, as much as it takes.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        if matches!(self.stage, Stage::Away | Stage::Connecting) {
            return Ok(());
        }
        match &mut self.tls {
            Some(tls) => {
                let written = tls.writer().write_all(&self.out);
                written.map_err(|error| named("TLS", &error))?;
                self.out.clear();
                while tls.wants_write() {
                    let sealed = tls.write_tls(&mut self.unsent);
                    sealed.map_err(|error| named("TLS", &error))?;
                }
            }
            None if self.unsent.is_empty() => std::mem::swap(&mut self.unsent, &mut self.out),
            None => self.unsent.append(&mut self.out),
        }
        while !self.unsent.is_empty() {
            let Some(stream) = &mut self.stream else { return Ok(()) };
            let bytes = Rc::new(std::mem::take(&mut self.unsent));
            let sent = {
                let mut context = Context::from_waker(&self.waker);
                let sent = pin!(stream.write(bytes.clone())).poll(&mut context);
                sent.map(|(result, _)| result)
            };
            let count = match sent {
                Poll::Pending => 0,
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Err(named("connection", &error)),
            };
            let mut bytes = Rc::try_unwrap(bytes).expect("the operation is over");
            bytes.drain(..count);
            self.unsent = bytes;
            if count == 0 {
                break;
            }
        }
        if self.unsent.len() > UNSENT_BYTES_MAX {
            return Err("the server does not read".to_owned());
        }
        Ok(())
    }
}

/// Bytes of one read.
pub(crate) const READ_BYTES_MAX: usize = 64 * 1024;

/// An error of the system, without what differs from one connection to the next.
pub(crate) fn named(what: &str, error: &std::io::Error) -> String {
    cut(format!("{what}: {}", error.kind()))
}

/// What errors are told apart by is short.
fn cut(mut text: String) -> String {
    const CHARACTERS_MAX: usize = 80;
    if let Some((end, _)) = text.char_indices().nth(CHARACTERS_MAX) {
        text.truncate(end);
    }
    text.retain(|letter| !letter.is_control());
    text
}
