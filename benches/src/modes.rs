//! What is measured.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use protocol::websocket::Opcode;
use serde_json::{Value, json};

use crate::Dialect;
use crate::clients::{Clients, Script};
use crate::wire;

/// Where the load goes.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Which of our addresses clients come from; `None`: the system's choice.
    pub(crate) source: Option<IpAddr>,
    pub(crate) connections: usize,
    pub(crate) server_pid: Option<u32>,
    /// Speaks TLS, as this says.
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
}

/// A measurement that takes longer has failed.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Settings of the echo mode.
pub(crate) struct Echo {
    pub(crate) path: String,
    pub(crate) depth: usize,
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

/// CPU time of a process, in nanoseconds.
fn cpu_ns(pid: u32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let read = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    tasks.flatten().filter_map(read).sum()
}

/// CPU use of both sides since a moment.
pub(crate) struct Usage {
    pub(crate) since: Instant,
    server_pid: Option<u32>,
    server_ns: u64,
    own_ns: u64,
}

impl Usage {
    pub(crate) fn start(server_pid: Option<u32>) -> Self {
        Self {
            since: Instant::now(),
            server_pid,
            server_ns: server_pid.map_or(0, cpu_ns),
            own_ns: cpu_ns(std::process::id()),
        }
    }

    pub(crate) fn report(&self, events: u64) -> Value {
        let elapsed = self.since.elapsed().as_nanos() as f64;
        let server = self.server_pid.map(|pid| (cpu_ns(pid) - self.server_ns) as f64);
        let own = (cpu_ns(std::process::id()) - self.own_ns) as f64;
        json!({
            "server_cpu": server.map(|ns| (ns / elapsed * 1000.0).round() / 10.0),
            "server_ns_per": server.map(|ns| (ns / events.max(1) as f64).round()),
            "load_cpu": (own / elapsed * 1000.0).round() / 10.0,
        })
    }
}

pub(crate) fn merge(mut report: Value, more: Value) -> Value {
    if let (Some(report), Value::Object(more)) = (report.as_object_mut(), more) {
        report.extend(more);
    }
    report
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

pub(crate) fn quantiles(histogram: &Histogram<u64>) -> Value {
    json!({
        "p50_us": histogram.value_at_quantile(0.5),
        "p99_us": histogram.value_at_quantile(0.99),
        "p999_us": histogram.value_at_quantile(0.999),
        "max_us": histogram.max(),
        "samples": histogram.len(),
    })
}

/// Messages there and back.
pub(crate) fn echo(target: &Target, settings: &Echo) -> io::Result<Value> {
    let script = |_| Script {
        upgrade: wire::upgrade(&settings.path, None),
        greeting: Vec::new(),
        greeting_frames: 0,
    };
    let mut clients = Clients::connect(target, script)?;
    let one = wire::frame(Opcode::Binary, &vec![b'x'; settings.bytes]);
    let many: Vec<u8> = one.iter().copied().cycle().take(one.len() * settings.depth).collect();
    let mut sent_at = vec![Instant::now(); target.connections];
    for client in &mut clients.all {
        client.send(&many)?;
    }
    let warm = Duration::from_millis(500);
    let mut usage = Usage::start(target.server_pid);
    let (mut messages, mut latency, mut is_warm) = (0_u64, histogram(), false);
    let mut failed = None;
    loop {
        clients.turn(Duration::from_millis(100), |index, client, bytes| {
            let ended = client.frames.feed(bytes) as usize;
            if ended == 0 {
                return;
            }
            messages += ended as u64;
            let micros = sent_at[index].elapsed().as_micros() as u64;
            let _ = latency.record(micros.max(1));
            sent_at[index] = Instant::now();
            if let Err(error) = client.send(&many[..one.len() * ended.min(settings.depth)]) {
                failed = Some(error);
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if !is_warm && usage.since.elapsed() > warm {
            (is_warm, messages) = (true, 0);
            latency.reset();
            usage = Usage::start(target.server_pid);
        }
        if is_warm && usage.since.elapsed() > settings.time {
            break;
        }
    }
    let per_second = messages as f64 / usage.since.elapsed().as_secs_f64();
    let report = json!({
        "mode": "echo",
        "connections": target.connections,
        "depth": settings.depth,
        "per_second": per_second.round(),
    });
    Ok(merge(merge(report, usage.report(messages)), quantiles(&latency)))
}

/// Settings of the fan-out mode.
pub(crate) struct Fanout {
    pub(crate) dialect: Dialect,
    pub(crate) outstanding: usize,
    pub(crate) rounds: usize,
    pub(crate) channel: String,
    pub(crate) bystander: Option<String>,
}

impl Fanout {
    /// The script of client `index`: the first publishes, the last may be the bystander.
    fn script(&self, index: usize, count: usize) -> Script {
        let is_bystander = self.bystander.is_some() && index == count - 1;
        if let (true, Some(path)) = (is_bystander, &self.bystander) {
            let (upgrade, greeting) = (wire::upgrade(path, None), Vec::new());
            return Script { upgrade, greeting, greeting_frames: 0 };
        }
        let Some(format) = wire::format_of(self.dialect) else {
            let path = if index == 0 { "/pub" } else { "/chat" };
            let (upgrade, greeting) = (wire::upgrade(path, None), Vec::new());
            return Script { upgrade, greeting, greeting_frames: 0 };
        };
        let channel = (index > 0).then_some(self.channel.as_str());
        Script {
            upgrade: wire::upgrade("/connection/websocket", Some(format.subprotocol())),
            greeting: wire::greeting(format, channel),
            greeting_frames: if index > 0 { 2 } else { 1 },
        }
    }

    fn publication(&self, number: usize) -> Vec<u8> {
        match wire::format_of(self.dialect) {
            None => wire::frame(Opcode::Binary, &[b'b'; 128]),
            Some(format) => {
                let data = format!("\"{number:020}\"");
                wire::publish(format, number as u32 + 10, &self.channel, data.as_bytes())
            }
        }
    }
}

/// Publications to everyone.
pub(crate) fn fanout(target: &Target, settings: &Fanout) -> io::Result<Value> {
    let count = target.connections;
    let mut clients = Clients::connect(target, |index| settings.script(index, count))?;
    let bystander = settings.bystander.as_ref().map(|_| count - 1);
    let receivers = (count - 1 - usize::from(bystander.is_some())) as u64;
    let ping = wire::frame(Opcode::Binary, b"ping");
    let mut frames_seen = vec![0_u32; count];
    let mut sent_at: Vec<Instant> = Vec::with_capacity(settings.rounds);
    let (mut delivered, mut latency, mut round_trips) = (0_u64, histogram(), histogram());
    let (mut pinged_at, mut ping_is_out) = (Instant::now(), false);
    let usage = Usage::start(target.server_pid);
    while delivered < settings.rounds as u64 * receivers {
        if usage.since.elapsed() > TIME_MAX {
            let text = format!("{delivered} deliveries, then time was up");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        let complete = (delivered / receivers) as usize;
        while sent_at.len() < settings.rounds && sent_at.len() - complete < settings.outstanding {
            let publication = settings.publication(sent_at.len());
            sent_at.push(Instant::now());
            clients.all[0].send(&publication)?;
        }
        let is_due = !ping_is_out && pinged_at.elapsed() > Duration::from_millis(1);
        if let Some(index) = bystander.filter(|_| is_due) {
            (pinged_at, ping_is_out) = (Instant::now(), true);
            clients.all[index].send(&ping)?;
        }
        clients.turn(Duration::from_millis(1), |index, client, bytes| {
            let ended = client.frames.feed(bytes);
            if Some(index) == bystander {
                if ended > 0 {
                    let _ = round_trips.record(pinged_at.elapsed().as_micros().max(1) as u64);
                    ping_is_out = false;
                }
                return;
            }
            if index == 0 {
                return;
            }
            let now = Instant::now();
            for _ in 0..ended {
                if let Some(sent_at) = sent_at.get(frames_seen[index] as usize) {
                    let _ = latency.record(now.duration_since(*sent_at).as_micros().max(1) as u64);
                }
                frames_seen[index] += 1;
            }
            delivered += u64::from(ended);
        })?;
    }
    let seconds = usage.since.elapsed().as_secs_f64();
    let report = json!({
        "mode": "fanout",
        "connections": count,
        "outstanding": settings.outstanding,
        "rounds": settings.rounds,
        "per_second": (delivered as f64 / seconds).round(),
        "bystander": bystander.map(|_| quantiles(&round_trips)),
    });
    Ok(merge(merge(report, usage.report(delivered)), quantiles(&latency)))
}

/// Proportional set size of a process, in bytes.
fn pss(pid: u32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("smaps_rollup has no Pss"))
}

/// Clients that stay.
pub(crate) fn idle(
    target: &Target,
    dialect: Dialect,
    path: &str,
    hold: Duration,
) -> io::Result<Value> {
    let before = target.server_pid.map(pss).transpose()?;
    let script = |_| match wire::format_of(dialect) {
        Some(format) => Script {
            upgrade: wire::upgrade("/connection/websocket", Some(format.subprotocol())),
            greeting: wire::greeting(format, None),
            greeting_frames: 1,
        },
        None => Script {
            upgrade: wire::upgrade(path, None),
            greeting: wire::frame(Opcode::Binary, &[b'x'; 64]),
            greeting_frames: 1,
        },
    };
    let started = Instant::now();
    let mut clients = Clients::connect(target, script)?;
    let connected = started.elapsed();
    let until = Instant::now() + hold;
    while Instant::now() < until {
        clients.turn(Duration::from_millis(50), |_, _, _| {})?;
    }
    let after = target.server_pid.map(pss).transpose()?;
    let per_connection = before.zip(after).map(|(before, after)| {
        (after.saturating_sub(before) as f64 / target.connections as f64).round()
    });
    Ok(json!({
        "mode": "idle",
        "connections": target.connections,
        "connects_per_second": (target.connections as f64 / connected.as_secs_f64()).round(),
        "pss_before": before,
        "pss": after,
        "pss_per_connection": per_connection,
    }))
}
