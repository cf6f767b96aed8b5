//! One gateway shard on a bench: a clock that is moved by hand, a router that is the test.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway::arrivals::Arrivals;
use gateway::config::GatewayConfig;
use gateway::engine::{
    Action, Event, GatewayShard, Listed, NoTokens, ShardOptions, ToPeer, TokenVerifier,
};
use protocol::channels::{ChannelOptions, Namespaces};
use protocol::http::parse_head;
use protocol::ids::{ConnectionId, ShardId, Slot};
use protocol::link::{
    Answer, Content, FromRouter, Position, Publication, ReplyTo, Request, RouterReply, Subscribed,
    ToRouter,
};
use protocol::time::{Moment, Now};
use protocol::websocket::client::ServerFrames;
use protocol::websocket::{Message, Opcode};
use shard::SendBuffer;

/// What a client asks that wants a session.
pub const UPGRADE: &str = "GET /connection/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

pub struct Bench {
    pub shard: GatewayShard,
    pub now: Now,
    pub to_router: VecDeque<ToRouter>,
    pub to_peers: VecDeque<(ShardId, ToPeer)>,
    pub cut: Vec<ConnectionId>,
    /// What was wanted done about receiving.
    pub receiving: Vec<Action>,
    /// Connections of which a header of a proxy is awaited.
    pub unnamed: Vec<ConnectionId>,
    /// Sends that the kernel has not completed.
    pub in_flight: BTreeMap<ConnectionId, SendBuffer>,
    /// Clients that take nothing.
    pub stalled: Vec<ConnectionId>,
    /// Answers to questions about connections, by number.
    pub listed: BTreeMap<u64, Option<Listed>>,
    received: BTreeMap<ConnectionId, Vec<u8>>,
    next_slot: u32,
}

/// Channels with history that anybody may use.
pub fn open_channels() -> ChannelOptions {
    ChannelOptions {
        history_size: 100,
        history_ttl: Duration::from_secs(300),
        force_recovery: true,
        ..ChannelOptions::default()
    }
}

pub fn insecure(options: ChannelOptions) -> GatewayConfig {
    let namespaces = Namespaces { without: options, ..Namespaces::default() };
    GatewayConfig { namespaces: Arc::new(namespaces), insecure: true, ..GatewayConfig::default() }
}

pub fn publication(offset: u64, text: &str) -> Arc<Publication> {
    let content = Content::classify(format!("\"{text}\"").as_bytes());
    Arc::new(Publication { offset, content, publisher: None, tags: None, time_ms: 0 })
}

/// Room of the bench's shard.
pub const CONNECTIONS_MAX: u32 = 8192;

impl Bench {
    pub fn new(config: GatewayConfig) -> Self {
        Self::with_tokens(config, Arc::new(NoTokens))
    }

    pub fn with_tokens(config: GatewayConfig, verifier: Arc<dyn TokenVerifier>) -> Self {
        let now = Now { moment: Moment::from_millis(1000), unix_ms: 1_700_000_000_000 };
        let options = ShardOptions {
            shard: ShardId(0),
            shards_count: 2,
            connections_max: CONNECTIONS_MAX,
            seed: 7,
        };
        Self {
            shard: GatewayShard::new(options, Arc::new(config), verifier, now),
            now,
            to_router: VecDeque::new(),
            to_peers: VecDeque::new(),
            cut: Vec::new(),
            receiving: Vec::new(),
            unnamed: Vec::new(),
            in_flight: BTreeMap::new(),
            stalled: Vec::new(),
            listed: BTreeMap::new(),
            received: BTreeMap::new(),
            next_slot: 0,
        }
    }

    /// Counts clients together with other shards.
    pub fn share(&mut self, arrivals: Arc<Arrivals>) {
        self.shard.share(arrivals);
    }

    /// Tells the shard of an event and does what it wants done.
    pub fn tell(&mut self, event: Event<'_>) {
        self.shard.handle(event, self.now);
        self.turn();
    }

    /// Time passes, in steps that a pump would make.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now.moment + time;
        while self.now.moment < until {
            self.now.moment = self.now.moment + Duration::from_millis(100);
            self.now.unix_ms += 100;
            self.turn();
        }
    }

    pub fn turn(&mut self) {
        loop {
            self.shard.tick(self.now);
            self.shard.fan_out(512, self.now);
            while let Some(action) = self.shard.poll_action() {
                self.act(action);
            }
            while let Some((connection, buffer)) = self.shard.next_send() {
                let earlier = self.in_flight.insert(connection, buffer);
                assert!(earlier.is_none(), "one send in flight");
            }
            let ready: Vec<ConnectionId> =
                self.in_flight.keys().filter(|id| !self.stalled.contains(id)).copied().collect();
            if ready.is_empty() && !self.shard.has_work() {
                return;
            }
            for connection in ready {
                self.complete(connection);
            }
        }
    }

    /// The kernel takes what is in flight.
    pub fn complete(&mut self, connection: ConnectionId) {
        let Some(buffer) = self.in_flight.remove(&connection) else { return };
        self.received.entry(connection).or_default().extend_from_slice(buffer.as_slice());
        let sent = Some(buffer.bytes_count());
        self.shard.handle(Event::Sent { connection, buffer, sent }, self.now);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::ToRouter(message) => self.to_router.push_back(message),
            Action::ToPeer { shard, message } => self.to_peers.push_back((shard, message)),
            Action::AwaitProxyHeader(connection) => self.unnamed.push(connection),
            Action::Cut(connection) => {
                self.cut.push(connection);
                if let Some(buffer) = self.in_flight.remove(&connection) {
                    let sent = None;
                    self.shard.handle(Event::Sent { connection, buffer, sent }, self.now);
                }
                self.shard.handle(Event::Closed { connection }, self.now);
            }
            Action::Receive(_) | Action::Rest(_) | Action::Pause(_) => self.receiving.push(action),
            Action::Listed { number, listed } => {
                self.listed.insert(number, listed.map(|listed| *listed));
            }
            Action::Note(_)
            | Action::ShutdownWrite(_)
            | Action::Become { .. }
            | Action::LoadKeys { .. } => {}
        }
    }

    pub fn accept(&mut self) -> ConnectionId {
        self.accept_from(None)
    }

    pub fn accept_from(&mut self, peer: Option<SocketAddr>) -> ConnectionId {
        let slot = Slot(self.next_slot);
        self.next_slot += 1;
        let connection = ConnectionId::new(ShardId(0), 0, slot, 1);
        self.tell(Event::Accepted { connection, peer });
        connection
    }

    pub fn request(&mut self, connection: ConnectionId, head: &str) {
        let (request, _) = parse_head(head.as_bytes()).unwrap().unwrap();
        self.tell(Event::Request { connection, request: &request });
    }

    pub fn upgraded(&mut self) -> ConnectionId {
        let connection = self.accept();
        self.request(connection, UPGRADE);
        let head = self.received.remove(&connection).unwrap_or_default();
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        connection
    }

    /// A client says something.
    pub fn say(&mut self, connection: ConnectionId, text: &str) {
        self.tell(Event::Message { connection, message: Message::Text(text) });
    }

    /// A session without a token.
    pub fn connected(&mut self) -> ConnectionId {
        let connection = self.upgraded();
        self.say(connection, r#"{"id":1,"connect":{}}"#);
        assert!(self.texts(connection)[0].contains(r#""connect":"#));
        connection
    }

    /// A session with a granted subscription, at this position of the channel.
    pub fn subscribed(&mut self, channel: &str, offset: u64) -> ConnectionId {
        let connection = self.connected();
        self.say(connection, &format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#));
        self.grant(offset);
        assert!(self.texts(connection)[0].contains(r#""subscribe":"#));
        connection
    }

    /// Answers the oldest subscribe request.
    pub fn grant(&mut self, offset: u64) {
        let message = self.to_router.pop_front().expect("the router was asked");
        assert!(matches!(message.request, Request::Subscribe(_)), "{message:?}");
        let position = Position { offset, epoch: "epoch".into() };
        let answer = Subscribed {
            position,
            was_recovering: false,
            recovered: false,
            publications: Vec::new(),
        };
        self.answer(&message, Ok(Answer::Subscribed(Box::new(answer))));
    }

    pub fn answer(
        &mut self,
        message: &ToRouter,
        result: Result<Answer, protocol::client::ErrorCode>,
    ) {
        let (channel, reply_to): (_, ReplyTo) = (message.channel.clone(), message.reply_to);
        let reply = RouterReply { channel, reply_to, result };
        self.tell(Event::FromRouter(FromRouter::Reply(Box::new(reply))));
    }

    /// A publication comes from the router.
    pub fn publish(&mut self, channel: &str, offset: u64, text: &str) {
        let (channel, publication) = (channel.into(), publication(offset, text));
        self.tell(Event::FromRouter(FromRouter::Publication { channel, publication }));
    }

    /// Frames that the client received since the last call: texts as they are, a close as `close
    /// N`.
    pub fn texts(&mut self, connection: ConnectionId) -> Vec<String> {
        let bytes = self.received.remove(&connection).unwrap_or_default();
        let (mut input, mut frames) = (&bytes[..], ServerFrames::new());
        let mut texts = Vec::new();
        while let Some(frame) = frames.next(&mut input).expect("frames by the rules") {
            texts.push(match frame.opcode {
                Opcode::Close => {
                    let code = u16::from_be_bytes([frame.payload[0], frame.payload[1]]);
                    format!("close {code}")
                }
                _ => String::from_utf8(frame.payload.to_vec()).expect("UTF-8"),
            });
        }
        texts
    }

    /// What an HTTP client received.
    pub fn response(&mut self, connection: ConnectionId) -> String {
        String::from_utf8(self.received.remove(&connection).unwrap_or_default()).expect("UTF-8")
    }
}
