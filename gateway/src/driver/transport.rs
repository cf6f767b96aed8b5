//! What each connection speaks, and bytes of it that are not complete yet.
//!
//! ```text
//!  Head ──► whole head ──► engine says ──► WebSocket
//!   ▲                                 └──► Body ──► whole body ──► Waiting ──► answered ─┐
//!   └────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use protocol::http::{
    BodyFraming, Chunk, ChunkedDecoder, HeadScan, HttpViolation, Request, parse_head,
};
use protocol::ids::ConnectionId;
use protocol::limits::HTTP_BODY_BYTES_MAX;
use protocol::time::Now;
use protocol::websocket::{Decoder, DecoderLimits};

use super::bodies::{Bodies, Body, NoRoom};
use super::service::{Denial, HttpCall, Service};
use crate::engine::{Action, Event, GatewayShard, Transport};
use crate::limits::{PIPELINED_BYTES_MAX, READER_BYTES_MAX};

/// One connection's reading side.
#[derive(Debug, Default)]
pub(super) enum Reader {
    /// A request head, of which these bytes have come.
    Head(Option<Box<PartialHead>>),
    /// A request whose body is on its way.
    Body(Box<PartialCall>),
    /// A request is with the service; what follows waits here.
    Waiting(Held),
    /// WebSocket frames.
    WebSocket { decoder: Decoder, message_bytes_max: u32, was_unfinished: bool },
    /// Nothing more is read.
    #[default]
    Silent,
}

const _: () = assert!(size_of::<Reader>() <= READER_BYTES_MAX);

/// Bytes behind a request that is not answered yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// Was the connection paused for want of room?
    is_paused: bool,
    /// Bytes of memory that the body of the request takes.
    body_bytes: u32,
}

/// Bytes of memory that a reader holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HeldBytes {
    /// Parts of heads and messages, and what waits behind a request.
    pub(super) parts: usize,
    /// The body of a request, until it is answered. [`Bodies`] counts it, too.
    pub(super) body: usize,
}

impl HeldBytes {
    /// All of it.
    pub(super) fn bytes_count(self) -> u32 {
        u32::try_from(self.parts + self.body).unwrap_or(u32::MAX)
    }
}

#[derive(Debug, Default)]
pub(super) struct PartialHead {
    scan: HeadScan,
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct PartialCall {
    call: HttpCall,
    framing: PartialBody,
}

#[derive(Debug)]
enum PartialBody {
    Length(usize),
    Chunked(ChunkedDecoder),
}

/// What reading led to, beside events.
pub(super) enum Outcome {
    /// Everything was taken.
    Taken,
    /// A request is complete.
    Call(Box<HttpCall>),
}

/// Everything a reader needs beside the bytes.
pub(super) struct Reading<'a> {
    pub(super) connection: ConnectionId,
    pub(super) engine: &'a mut GatewayShard,
    /// Who answers requests.
    pub(super) service: &'a dyn Service,
    /// What bodies take.
    pub(super) bodies: &'a Bodies,
    /// Actions that came out on the way and are not for the reader.
    pub(super) actions: &'a mut std::collections::VecDeque<Action>,
    pub(super) now: Now,
}

impl Reader {
    /// A connection that was just accepted.
    pub(super) fn new() -> Self {
        Self::Head(None)
    }

    /// Takes all of `bytes`, except what waits behind a request.
    pub(super) fn read(&mut self, mut bytes: &mut [u8], reading: &mut Reading<'_>) -> Outcome {
        while !bytes.is_empty() {
            match self {
                Self::WebSocket { .. } => {
                    self.read_messages(bytes, reading);
                    return Outcome::Taken;
                }
                Self::Head(_) => {
                    let Some(taken) = self.read_head(bytes, reading) else {
                        return Outcome::Taken;
                    };
                    bytes = &mut bytes[taken..];
                    if let Some(call) = self.finish_call(reading) {
                        self.wait_with(bytes, reading);
                        return Outcome::Call(call);
                    }
                }
                Self::Body(_) => {
                    let Some(taken) = self.read_body(bytes, reading) else {
                        return Outcome::Taken;
                    };
                    bytes = &mut bytes[taken..];
                    if let Some(call) = self.finish_call(reading) {
                        self.wait_with(bytes, reading);
                        return Outcome::Call(call);
                    }
                }
                Self::Waiting(_) => {
                    self.wait_with(bytes, reading);
                    return Outcome::Taken;
                }
                Self::Silent => return Outcome::Taken,
            }
        }
        Outcome::Taken
    }

    /// The request was answered: reads what waited behind it.
    pub(super) fn read_on(&mut self, reading: &mut Reading<'_>) -> Outcome {
        let Self::Waiting(held) = self else { return Outcome::Taken };
        let Held { mut bytes, is_paused, .. } = std::mem::take(held);
        *self = Self::Head(None);
        let outcome = self.read(&mut bytes, reading);
        if is_paused && !self.is_paused() {
            reading.actions.push_back(Action::Rest(reading.connection));
        }
        outcome
    }

    /// Nothing more is read for a purpose. True if receiving was paused.
    pub(super) fn silence(&mut self) -> bool {
        let was_paused = self.is_paused();
        *self = Self::Silent;
        was_paused
    }

    /// Has something begun that is not complete?
    pub(super) fn is_unfinished(&self) -> bool {
        match self {
            Self::Head(partial) => partial.is_some(),
            Self::WebSocket { was_unfinished, .. } => *was_unfinished,
            Self::Body(_) | Self::Waiting(_) | Self::Silent => false,
        }
    }

    /// Bytes of memory that it holds, without its place in the table.
    pub(super) fn held_bytes(&self) -> HeldBytes {
        match self {
            Self::WebSocket { decoder, .. } => HeldBytes { parts: decoder.held_bytes(), body: 0 },
            Self::Head(Some(partial)) => {
                let parts = size_of::<PartialHead>() + partial.bytes.capacity();
                HeldBytes { parts, body: 0 }
            }
            Self::Body(partial) => {
                let body = partial.call.body.memory_bytes();
                HeldBytes { parts: size_of::<PartialCall>(), body }
            }
            Self::Waiting(held) => {
                HeldBytes { parts: held.bytes.capacity(), body: held.body_bytes as usize }
            }
            Self::Head(None) | Self::Silent => HeldBytes::default(),
        }
    }

    fn is_paused(&self) -> bool {
        matches!(self, Self::Waiting(held) if held.is_paused)
    }

    fn read_messages(&mut self, mut bytes: &mut [u8], reading: &mut Reading<'_>) {
        let Self::WebSocket { decoder, message_bytes_max, was_unfinished } = self else { return };
        let limits: DecoderLimits = Transport::decoder_limits(*message_bytes_max);
        let connection = reading.connection;
        loop {
            match decoder.next(&mut bytes, &limits) {
                Ok(Some(message)) => {
                    reading.engine.handle(Event::Message { connection, message }, reading.now);
                }
                Ok(None) => break,
                Err(violation) => {
                    let reason = violation.close_reason();
                    reading.engine.handle(Event::Violation { connection, reason }, reading.now);
                    *self = Self::Silent;
                    return;
                }
            }
        }
        let is_unfinished = decoder.is_unfinished();
        if is_unfinished != *was_unfinished {
            *was_unfinished = is_unfinished;
            reading.engine.handle(Event::Unfinished { connection, is_unfinished }, reading.now);
        }
    }

    /// Reads of a head. `Some`: it is complete, and this many of the bytes belonged to it.
    fn read_head(&mut self, bytes: &[u8], reading: &mut Reading<'_>) -> Option<usize> {
        let Self::Head(partial) = self else { return None };
        let (before, scan) = match partial {
            Some(partial) => (partial.bytes.len(), &mut partial.scan),
            None => (0, &mut partial.get_or_insert_default().scan),
        };
        let found = match scan.feed(bytes) {
            Ok(found) => found,
            Err(violation) => return self.refuse(violation, reading),
        };
        let Some(head_bytes) = found else {
            partial.get_or_insert_default().bytes.extend_from_slice(bytes);
            note_unfinished(true, reading);
            return None;
        };
        if before > 0 {
            note_unfinished(false, reading);
        }
        let taken = head_bytes - before;
        let mut whole = partial.take().unwrap_or_default().bytes;
        let head = if before == 0 {
            &bytes[..head_bytes]
        } else {
            whole.extend_from_slice(&bytes[..taken]);
            &whole
        };
        match parse_head(head) {
            Ok(Some((request, _))) => self.begin(&request, reading),
            Ok(None) => unreachable!("the scan found the end of the head"),
            Err(violation) => return self.refuse(violation, reading),
        }
        Some(taken)
    }

    /// Asks the engine what a request becomes, and becomes it.
    fn begin(&mut self, request: &Request<'_>, reading: &mut Reading<'_>) {
        let connection = reading.connection;
        reading.engine.handle(Event::Request { connection, request }, reading.now);
        *self = Self::Silent;
        while let Some(action) = reading.engine.poll_action() {
            match action {
                Action::Become { connection: of, transport } if of == connection => {
                    self.become_(transport, request, reading);
                }
                other => reading.actions.push_back(other),
            }
        }
    }

    fn become_(&mut self, transport: Transport, request: &Request<'_>, reading: &mut Reading<'_>) {
        *self = match transport {
            Transport::WebSocket { message_bytes_max } => Self::WebSocket {
                decoder: Decoder::new(),
                message_bytes_max,
                was_unfinished: false,
            },
            Transport::Silent => Self::Silent,
            Transport::Service => {
                if request.body != BodyFraming::None
                    && let Err(Denial { status, text }) = reading.service.admit(request)
                {
                    return self.deny(status, text, reading);
                }
                if request.expect_continue && request.body != BodyFraming::None {
                    let connection = reading.connection;
                    reading.engine.handle(Event::Continue { connection }, reading.now);
                }
                let framing = match request.body {
                    BodyFraming::None => PartialBody::Length(0),
                    BodyFraming::Length(length) => PartialBody::Length(length as usize),
                    BodyFraming::Chunked => {
                        PartialBody::Chunked(ChunkedDecoder::new(HTTP_BODY_BYTES_MAX))
                    }
                };
                let call = call_of(request, reading.connection, reading.bodies.begin());
                Self::Body(Box::new(PartialCall { call, framing }))
            }
        };
    }

    fn read_body(&mut self, bytes: &[u8], reading: &mut Reading<'_>) -> Option<usize> {
        let Self::Body(partial) = self else { return None };
        let PartialCall { call, framing } = &mut **partial;
        let mut rest = bytes;
        match framing {
            PartialBody::Length(length) => {
                let taken = (*length - call.body.len()).min(bytes.len());
                if call.body.extend(&bytes[..taken]) == Err(NoRoom) {
                    self.deny(503, NO_ROOM, reading);
                    return None;
                }
                return Some(taken);
            }
            PartialBody::Chunked(decoder) => loop {
                match decoder.next(&mut rest) {
                    Ok(Chunk::Data(data)) => {
                        if call.body.extend(data) == Err(NoRoom) {
                            self.deny(503, NO_ROOM, reading);
                            return None;
                        }
                    }
                    Ok(Chunk::Starved | Chunk::End) => break,
                    Err(violation) => return self.refuse(violation, reading),
                }
            },
        }
        Some(bytes.len() - rest.len())
    }

    /// The call, if its body is complete.
    fn finish_call(&mut self, reading: &mut Reading<'_>) -> Option<Box<HttpCall>> {
        let Self::Body(partial) = self else { return None };
        let is_complete = match &mut partial.framing {
            PartialBody::Length(length) => partial.call.body.len() == *length,
            PartialBody::Chunked(decoder) => {
                matches!(decoder.next(&mut &[][..]), Ok(Chunk::End))
            }
        };
        if !is_complete {
            return None;
        }
        let connection = reading.connection;
        reading.engine.handle(Event::RequestComplete { connection }, reading.now);
        let body_bytes = partial.call.body.memory_bytes() as u32;
        let held = Held { body_bytes, ..Held::default() };
        match std::mem::replace(self, Self::Waiting(held)) {
            Self::Body(partial) => Some(Box::new(partial.call)),
            _ => None,
        }
    }

    fn wait_with(&mut self, bytes: &[u8], reading: &mut Reading<'_>) {
        let Self::Waiting(held) = self else { return };
        held.bytes.extend_from_slice(bytes);
        if held.bytes.len() > PIPELINED_BYTES_MAX && !held.is_paused {
            held.is_paused = true;
            reading.actions.push_back(Action::Pause(reading.connection));
        }
    }

    fn refuse(&mut self, violation: HttpViolation, reading: &mut Reading<'_>) -> Option<usize> {
        self.deny(violation.status(), violation.text(), reading);
        None
    }

    fn deny(&mut self, status: u16, text: &'static str, reading: &mut Reading<'_>) {
        *self = Self::Silent;
        let connection = reading.connection;
        reading.engine.handle(Event::BadRequest { connection, status, text }, reading.now);
    }
}

/// What a client reads whose body finds no room.
const NO_ROOM: &str = "too many bodies are being received; try again";

fn note_unfinished(is_unfinished: bool, reading: &mut Reading<'_>) {
    let connection = reading.connection;
    reading.engine.handle(Event::Unfinished { connection, is_unfinished }, reading.now);
}

fn call_of(request: &Request<'_>, connection: ConnectionId, body: Body) -> HttpCall {
    let target = match request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.to_owned(),
    };
    let headers = request.headers.iter();
    HttpCall {
        connection,
        method: request.method,
        target,
        headers: headers.map(|header| (header.name.to_owned(), header.value.to_vec())).collect(),
        body,
        peer: None,
        keep_alive: request.keep_alive,
    }
}
