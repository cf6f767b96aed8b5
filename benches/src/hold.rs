//! Users who connect with a token, subscribe, and stay: what a node holds.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use protocol::client::Format;
use protocol::client::client_side::{Received, ReceivedReply, decode_replies};
use protocol::websocket::Opcode;
use protocol::websocket::client::ServerFrames;
use serde_json::{Value, json};

use crate::clients::{Client, Clients, Script};
use crate::modes::Target;
use crate::wire;

/// Settings of the hold mode.
pub(crate) struct Hold {
    /// Number of the first user: several processes have different ones.
    pub(crate) first: usize,
    /// The key that connection tokens are signed with (HS256).
    pub(crate) secret: String,
    /// Does each user subscribe to a channel of its own, a room and the channel of all?
    pub(crate) subscribes: bool,
    /// How long they stay once everybody is there.
    pub(crate) time: Duration,
}

/// Users in one room.
const ROOM_USERS: usize = 50;
/// Users whose subscriptions are under way at once.
const SUBSCRIBING_MAX: usize = 256;
/// All subscriptions must be there within this time.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a token is good for.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

#[derive(Default)]
struct User {
    frames: ServerFrames,
    /// Subscriptions that are not answered.
    owed: usize,
    pings: u32,
}

/// What happened to all users.
#[derive(Default)]
struct Seen {
    subscribed: usize,
    refused: usize,
    /// Users whose last subscription was answered.
    settled: usize,
    failed: Option<io::Error>,
}

impl User {
    fn hear(&mut self, client: &mut Client, mut bytes: &[u8], seen: &mut Seen) -> io::Result<()> {
        while let Some(frame) =
            self.frames.next(&mut bytes).map_err(|_| io::Error::other("framing"))?
        {
            if frame.opcode != Opcode::Text {
                continue;
            }
            let replies = decode_replies(Format::Json, frame.payload);
            for reply in replies.map_err(|_| io::Error::other("no reply"))? {
                match reply {
                    Received::Reply { body: ReceivedReply::Subscribe(_), .. } => {
                        seen.subscribed += 1;
                        self.owed -= 1;
                        seen.settled += usize::from(self.owed == 0);
                    }
                    Received::Reply { .. } => seen.refused += 1,
                    Received::Ping => {
                        self.pings += 1;
                        client.send(&wire::frame(Opcode::Text, b"{}"))?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// A user's name, as long as a UUID.
fn name(number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-{number:012x}")
}

/// A connection token of a user.
pub(crate) fn token(secret: &str, number: usize) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // With its quotes and names, 64 bytes.
    let info = json!({ "name": format!("{number:0>53}") });
    let claims = json!({ "sub": name(number), "info": info, "exp": (now + TOKEN_TTL).as_secs() });
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::default(), &claims, &key).expect("claims can be signed")
}

/// Connects, subscribes and stays. Prints one line when everybody is there, and returns another.
pub(crate) fn hold(target: &Target, settings: &Hold) -> io::Result<Value> {
    let script = |index| Script {
        upgrade: wire::upgrade("/connection/websocket", Some(Format::Json.subprotocol())),
        greeting: wire::connect(Format::Json, &token(&settings.secret, settings.first + index)),
        greeting_frames: 1,
    };
    let started = Instant::now();
    let mut clients = Clients::connect(target, script)?;
    let connected = started.elapsed();
    let mut users: Vec<User> = (0..target.connections).map(|_| User::default()).collect();
    let mut seen = Seen::default();
    if settings.subscribes {
        subscribe(&mut clients, &mut users, &mut seen, settings.first)?;
    }
    println!(
        "{}",
        json!({
            "mode": "hold",
            "connections": target.connections,
            "connects_per_second": (target.connections as f64 / connected.as_secs_f64()).round(),
            "subscriptions": seen.subscribed,
            "refused": seen.refused,
        })
    );
    let until = Instant::now() + settings.time;
    while Instant::now() < until {
        turn(&mut clients, &mut users, &mut seen)?;
    }
    let pinged = users.iter().filter(|user| user.pings > 0).count();
    Ok(json!({ "mode": "held", "connections": users.len(), "answered_a_ping": pinged }))
}

fn subscribe(
    clients: &mut Clients,
    users: &mut [User],
    seen: &mut Seen,
    first: usize,
) -> io::Result<()> {
    let deadline = Instant::now() + SUBSCRIBE_TIMEOUT;
    let mut waiting: VecDeque<usize> = (0..users.len()).collect();
    while seen.settled < users.len() {
        while users.len() - waiting.len() - seen.settled < SUBSCRIBING_MAX {
            let Some(index) = waiting.pop_front() else { break };
            let number = first + index;
            let channels = [
                format!("own:{}", name(number)),
                format!("room:{}", number / ROOM_USERS),
                "all:everybody".to_owned(),
            ];
            users[index].owed = channels.len();
            clients.all[index].send(&wire::subscribe(Format::Json, &channels))?;
        }
        turn(clients, users, seen)?;
        if seen.refused > 0 {
            return Err(io::Error::other("a subscription was refused"));
        }
        if Instant::now() > deadline {
            let text = format!("{} of {} users are subscribed", seen.settled, users.len());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
    }
    Ok(())
}

fn turn(clients: &mut Clients, users: &mut [User], seen: &mut Seen) -> io::Result<()> {
    clients.turn(Duration::from_millis(20), |index, client, bytes| {
        let heard = users[index].hear(client, bytes, seen);
        seen.failed = seen.failed.take().or(heard.err());
    })?;
    seen.failed.take().map_or(Ok(()), Err)
}
