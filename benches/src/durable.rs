//! Publications that are acknowledged when they are on disk.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use protocol::client::Format;
use protocol::client::client_side::{Received, ReceivedReply, decode_replies};
use protocol::websocket::Opcode;
use protocol::websocket::client::ServerFrames;
use serde_json::{Value, json};

use crate::clients::{Clients, Script};
use crate::modes::{Target, Usage, histogram, merge, quantiles};
use crate::wire;

/// Settings of the durable mode.
pub(crate) struct Durable {
    /// Publications that each client leaves unanswered.
    pub(crate) depth: usize,
    /// Publications per second of all clients together; zero: as many as are answered.
    pub(crate) rate: u64,
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
    /// Each client publishes into a channel of its own behind this name.
    pub(crate) channel: String,
}

/// Id of a client's first publication; its greeting has 1.
const FIRST_ID: u32 = 2;

/// One client's publications on their way.
struct Publisher {
    frames: ServerFrames,
    channel: String,
    next_id: u32,
    sent_at: VecDeque<(u32, Instant)>,
    owes_pong: bool,
}

/// What came back.
struct Answers {
    acknowledged: u64,
    refused: u64,
    latency: hdrhistogram::Histogram<u64>,
}

impl Publisher {
    fn publish(&mut self, settings: &Durable, sent_at: Instant, out: &mut Vec<u8>) {
        let id = self.next_id;
        self.next_id += 1;
        self.sent_at.push_back((id, sent_at));
        let data = format!("\"{id:0width$}\"", width = settings.bytes);
        out.extend(wire::publish(Format::Json, id, &self.channel, data.as_bytes()));
    }

    /// Takes bytes; returns how many publications were answered.
    fn hear(&mut self, mut bytes: &[u8], answers: &mut Answers) -> io::Result<usize> {
        let mut count = 0;
        loop {
            let frame = self.frames.next(&mut bytes).map_err(|_| io::Error::other("framing"))?;
            let Some(frame) = frame else { return Ok(count) };
            if frame.opcode != Opcode::Text {
                continue;
            }
            let replies = decode_replies(Format::Json, frame.payload);
            for reply in replies.map_err(|_| io::Error::other("no reply"))? {
                let Received::Reply { id, body } = reply else {
                    self.owes_pong = true;
                    continue;
                };
                if id < FIRST_ID {
                    continue;
                }
                let at = self.sent_at.iter().position(|(sent, _)| *sent == id);
                let at = at.ok_or_else(|| io::Error::other("an answer to nothing"))?;
                let (_, sent_at) = self.sent_at.remove(at).expect("just found");
                let micros = sent_at.elapsed().as_micros().max(1) as u64;
                count += 1;
                match body {
                    ReceivedReply::Publish => {
                        answers.acknowledged += 1;
                        let _ = answers.latency.record(micros);
                    }
                    _ => answers.refused += 1,
                }
            }
        }
    }
}

/// Behind its time, a run at a rate waits so long for answers: longer than the server does for a
/// disk.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// One for each connection, with a channel of its own.
fn publishers(target: &Target, settings: &Durable) -> Vec<Publisher> {
    let publisher = |index| Publisher {
        frames: ServerFrames::new(),
        channel: format!("{}:{index}", settings.channel),
        next_id: FIRST_ID,
        sent_at: VecDeque::new(),
        owes_pong: false,
    };
    (0..target.connections).map(publisher).collect()
}

/// Publishes and waits for the acknowledgements.
pub(crate) fn durable(target: &Target, settings: &Durable) -> io::Result<Value> {
    let script = |_| Script {
        upgrade: wire::upgrade("/connection/websocket", Some(Format::Json.subprotocol())),
        greeting: wire::greeting(Format::Json, None),
        greeting_frames: 1,
    };
    let mut clients = Clients::connect(target, script)?;
    let mut publishers = publishers(target, settings);
    let mut answers = Answers { acknowledged: 0, refused: 0, latency: histogram() };
    let usage = Usage::start(target.server_pid);
    if settings.rate == 0 {
        for (client, publisher) in clients.all.iter_mut().zip(&mut publishers) {
            let mut out = Vec::new();
            (0..settings.depth).for_each(|_| publisher.publish(settings, Instant::now(), &mut out));
            client.send(&out)?;
        }
    }
    // At a rate it spins: a sleep of a millisecond would be part of what it measures.
    let patience = Duration::from_millis(u64::from(settings.rate == 0));
    // At a rate, all that were due are waited for: a stall at the end counts, too.
    let all = (settings.time.as_secs_f64() * settings.rate as f64) as u64;
    let is_answered = |answers: &Answers| answers.acknowledged + answers.refused >= all;
    let (mut issued, mut failed, give_up) = (0_u64, None, settings.time + ANSWER_PATIENCE);
    while usage.since.elapsed() < settings.time
        || settings.rate > 0 && !is_answered(&answers) && usage.since.elapsed() < give_up
    {
        // Behind schedule, the time counts from when it should have been sent.
        let due = usage.since.elapsed().as_secs_f64() * settings.rate as f64;
        while settings.rate > 0 && issued < all && issued as f64 <= due {
            let index = issued as usize % publishers.len();
            let planned = Duration::from_secs_f64(issued as f64 / settings.rate as f64);
            let mut out = Vec::new();
            publishers[index].publish(settings, usage.since + planned, &mut out);
            clients.all[index].send(&out)?;
            issued += 1;
        }
        clients.turn(patience, |index, client, bytes| {
            let publisher = &mut publishers[index];
            let again = publisher.hear(bytes, &mut answers).and_then(|count| {
                let mut out = Vec::new();
                if std::mem::take(&mut publisher.owes_pong) {
                    out.extend(wire::frame(Opcode::Text, b"{}"));
                }
                let now = Instant::now();
                let more = if settings.rate == 0 { count } else { 0 };
                (0..more).for_each(|_| publisher.publish(settings, now, &mut out));
                if out.is_empty() { Ok(()) } else { client.send(&out) }
            });
            failed = failed.take().or(again.err());
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    if settings.rate > 0 && !is_answered(&answers) {
        return Err(io::Error::other("publications were not answered"));
    }
    let seconds = usage.since.elapsed().as_secs_f64();
    let report = json!({
        "mode": "durable",
        "connections": target.connections,
        "depth": settings.depth,
        "rate": settings.rate,
        "seconds": seconds.round(),
        "per_second": (answers.acknowledged as f64 / seconds).round(),
        "acknowledged": answers.acknowledged,
        "refused": answers.refused,
    });
    let report = merge(report, usage.report(answers.acknowledged));
    Ok(merge(report, quantiles(&answers.latency)))
}
