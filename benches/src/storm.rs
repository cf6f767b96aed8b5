//! Everybody is dropped at once and comes back: how long that takes, and whether anything is
//! missed.

use std::io::{self, BufRead as _};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use protocol::client::Format;
use protocol::client::client_side::{Received, ReceivedReply, ReceivedSubscribe, decode_replies};
use protocol::websocket::client::ServerFrames;
use serde_json::{Value, json};

use crate::clients::{Client, Clients, Script};
use crate::hold::token;
use crate::modes::Target;
use crate::wire;

/// Settings of the storm mode.
pub(crate) struct Storm {
    /// Number of the first user: several processes have different ones.
    pub(crate) first: usize,
    /// The key that connection tokens are signed with (HS256).
    pub(crate) secret: String,
    /// The namespace of the rooms.
    pub(crate) namespace: String,
}

/// Users in one room.
const ROOM_USERS: usize = 50;
/// Clients whose connect is under way at once before the storm; in it, all of them.
const CONNECTING_MAX: usize = 256;
/// All clients must be there within this time, each time.
const TIME_MAX: Duration = Duration::from_secs(120);

#[derive(Default)]
struct User {
    frames: ServerFrames,
    /// Where its room was when it last heard.
    position: Option<(String, u64)>,
    /// The answer to the last `subscribe`, with its time.
    answer: Option<(ReceivedSubscribe, Instant)>,
}

impl User {
    fn hear(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(frame) =
            self.frames.next(&mut bytes).map_err(|_| io::Error::other("framing"))?
        {
            let replies = decode_replies(Format::Json, frame.payload);
            for reply in replies.map_err(|_| io::Error::other("no reply"))? {
                match reply {
                    Received::Reply { body: ReceivedReply::Subscribe(answer), .. } => {
                        self.position = Some((answer.epoch.clone(), answer.offset));
                        self.answer = Some((answer, Instant::now()));
                    }
                    Received::Reply { body: ReceivedReply::Error(error), .. } => {
                        return Err(io::Error::other(format!("refused: {error:?}")));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Connects everybody, and subscribes each as soon as it is connected, from where it was.
fn come(
    target: &Target,
    settings: &Storm,
    users: &mut [User],
    connecting_max: usize,
) -> io::Result<Clients> {
    let mut clients = Clients::none(target.connections)?;
    let script = |index| Script {
        upgrade: wire::upgrade("/connection/websocket", Some(Format::Json.subprotocol())),
        greeting: wire::connect(Format::Json, &token(&settings.secret, settings.first + index)),
        greeting_frames: 1,
    };
    let deadline = Instant::now() + TIME_MAX;
    let (mut ready, mut failed) = (0, None);
    while users.iter().any(|user| user.answer.is_none()) {
        clients.begin_some(target, clients.all.len() - ready, connecting_max, script)?;
        let came = clients.greet(|index, _: &mut Client, bytes| {
            failed = failed.take().or(users[index].hear(bytes).err());
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        ready += came.len();
        for index in came {
            let room = format!("{}:{}", settings.namespace, (settings.first + index) / ROOM_USERS);
            let position = users[index].position.as_ref();
            let since = position.map(|(epoch, offset)| (epoch.as_str(), *offset));
            clients.all[index].send(&wire::resubscribe(Format::Json, &room, since))?;
        }
        if Instant::now() > deadline {
            let there = users.iter().filter(|user| user.answer.is_some()).count();
            let text = format!("{there} of {} users are there", users.len());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
    }
    Ok(clients)
}

/// The same from a neighbouring address: the ports of the first are not free yet (TIME_WAIT), and
/// the search for one that is would take longer than the server.
fn elsewhere(target: &Target) -> Target {
    let mut target = target.clone();
    if let Some(IpAddr::V4(address)) = &mut target.source {
        let [a, b, c, d] = address.octets();
        *address = Ipv4Addr::new(a, b, c.wrapping_add(1), d);
    }
    target
}

/// Waits for a word on standard input.
fn wait_for(word: &str) -> io::Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    if line.trim() == word {
        return Ok(());
    }
    Err(io::Error::other(format!("{:?} came, not {word:?}", line.trim())))
}

/// Connects; drops all at the word `drop`; comes back at the word `return`; stays until `end`. Says
/// in a line each when that is done, and returns the last one. Times count from the drop.
pub(crate) fn storm(target: &Target, settings: &Storm) -> io::Result<Value> {
    let mut users: Vec<User> = (0..target.connections).map(|_| User::default()).collect();
    let clients = come(target, settings, &mut users, CONNECTING_MAX)?;
    println!("{}", json!({ "mode": "storm", "connections": users.len() }));
    wait_for("drop")?;
    let dropped = Instant::now();
    drop(clients);
    for user in &mut users {
        user.frames = ServerFrames::default();
        user.answer = None;
    }
    println!("{}", json!({ "mode": "dropped", "seconds": dropped.elapsed().as_secs_f64() }));
    wait_for("return")?;
    let clients = come(&elsewhere(target), settings, &mut users, target.connections)?;
    let mut back = Histogram::<u64>::new(3).expect("three digits");
    let (mut recovered, mut publications) = (0, 0);
    for (answer, at) in users.iter().flat_map(|user| &user.answer) {
        let _ = back.record(at.duration_since(dropped).as_micros() as u64);
        recovered += usize::from(answer.recovered);
        publications += answer.publications.len();
    }
    let seconds = |quantile| back.value_at_quantile(quantile) as f64 / 1e6;
    println!(
        "{}",
        json!({
            "mode": "back",
            "connections": users.len(),
            "recovered": recovered,
            "publications": publications,
            "p50_s": seconds(0.5),
            "p99_s": seconds(0.99),
            "max_s": seconds(1.0),
        })
    );
    wait_for("end")?;
    Ok(json!({ "mode": "end", "connections": clients.all.len() }))
}
