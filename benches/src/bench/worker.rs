//! One process of the generator: connects its clients, waits for the word, measures, and reports.
//!
//! ```text
//!  parent ── plan ─────────────► worker      lines of JSON on standard input and output
//!         ◄───────── progress ──             as often as a person looks
//!         ◄───────────── ready ──            the clients are there
//!         ── {"go": time} ─────►             all begin together
//!         ◄─────────── outcome ──            or the reason why not
//!         ── end of input ─────►             stop: report what there is
//! ```

use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use monoio::{LegacyDriver, RuntimeBuilder};
use serde::{Deserialize, Serialize};

use super::client::{Client, Event};
use super::clock::{MILLISECOND_NS, Schedule, core_wait_ns, cpu_ns, nanos_of, now_ns};
use super::load::{self, Load, Ramp, Step};
use super::outcome::Outcome;
use super::plan::Plan;
use super::swarm::Swarm;
use super::wire::Wish;

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// From 0 to 1, of connecting or of measuring.
    Progress {
        part: f64,
    },
    Ready,
    Outcome(Box<Outcome>),
    /// It did not work: a sentence.
    Failed(String),
}

/// What a worker is told, behind its plan.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    /// Begin at this time, in nanoseconds of CLOCK_MONOTONIC.
    Go(u64),
}

/// The longest that a worker takes to notice a word.
const LISTEN_NS: u64 = 20 * MILLISECOND_NS;
/// Whether the loop keeps its time is looked at so often per second, in every mode.
const HEARTBEATS_PER_SECOND: f64 = 100.0;
/// Nobody goes on looking at a worker that says nothing for longer.
const PROGRESS_NS: u64 = 200 * MILLISECOND_NS;

/// What the parent wants.
#[derive(Default)]
struct Wanted {
    /// Zero: not yet.
    start_ns: AtomicU64,
    is_stopped: AtomicBool,
}

/// Does what the plan on standard input says.
pub(crate) fn run() -> ExitCode {
    match begin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            say(&Said::Failed(sentence));
            ExitCode::FAILURE
        }
    }
}

fn say(said: &Said) {
    let line = serde_json::to_string(said).expect("results are text and numbers");
    // A parent that is gone cannot be told; the end of our input says so, too.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

fn begin() -> Result<(), String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| format!("no plan: {error}"))?;
    let plan: Plan = serde_json::from_str(&line).map_err(|error| format!("no plan: {error}"))?;
    let wanted = Arc::new(Wanted::default());
    let heard = wanted.clone();
    std::thread::spawn(move || listen(&heard));
    let runtime = RuntimeBuilder::<LegacyDriver>::new().build();
    let mut runtime = runtime.map_err(|error| format!("epoll: {error}"))?;
    runtime.block_on(async move {
        let mut worker = Worker::new(plan, wanted)?;
        let outcome = worker.run().await?;
        say(&Said::Outcome(Box::new(outcome)));
        worker.stay().await
    })
}

/// Hears the parent until it ends.
fn listen(wanted: &Wanted) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        if let Ok(Word::Go(start_ns)) = serde_json::from_str(&line) {
            wanted.start_ns.store(start_ns, Ordering::Relaxed);
        }
    }
    wanted.is_stopped.store(true, Ordering::Relaxed);
}

struct Worker {
    plan: Plan,
    swarm: Swarm,
    load: Box<dyn Load>,
    wanted: Arc<Wanted>,
    said_ns: u64,
}

impl Worker {
    fn new(plan: Plan, wanted: Arc<Wanted>) -> Result<Self, String> {
        let (swarm, load) = (Swarm::new(&plan)?, load::of(&plan));
        Ok(Self { plan, swarm, load, wanted, said_ns: 0 })
    }

    async fn run(&mut self) -> Result<Outcome, String> {
        if self.load.needs_clients() {
            self.gather().await?;
        }
        // From here on: who begins first may be heard by who begins last before it has begun.
        self.load.outcome().begin();
        say(&Said::Ready);
        while !self.is_stopped() && self.wanted.start_ns.load(Ordering::Relaxed) == 0 {
            self.swarm.turn(now_ns() + LISTEN_NS, self.load.as_mut()).await?;
        }
        // Who hears it late is late: what was due meanwhile counts from when it was due.
        let start_ns = match self.wanted.start_ns.load(Ordering::Relaxed) {
            0 => now_ns(),
            told_ns => told_ns,
        };
        while !self.is_stopped() && now_ns() < start_ns {
            self.swarm.turn(start_ns, self.load.as_mut()).await?;
        }
        self.measure(start_ns).await
    }

    /// Keeps the clients until the parent has looked at the server that holds them.
    async fn stay(&mut self) -> Result<(), String> {
        while !self.is_stopped() {
            self.swarm.turn(now_ns() + LISTEN_NS, self.load.as_mut()).await?;
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.wanted.is_stopped.load(Ordering::Relaxed)
    }

    fn show(&mut self, part: f64, now_ns: u64) {
        if now_ns > self.said_ns + PROGRESS_NS {
            self.said_ns = now_ns;
            say(&Said::Progress { part: part.clamp(0.0, 1.0) });
        }
    }

    /// Connects all clients. One that does not get there ends the run: what would be measured is
    /// not what was asked for.
    async fn gather(&mut self) -> Result<(), String> {
        let mut ramp = Ramp::new(&self.plan, now_ns());
        let give_up_ns = now_ns() + nanos_of(self.plan.connect_seconds_max);
        let mut gathering = Gathering { load: self.load.as_mut(), settled: 0, failed: 0 };
        let mut said_ns = 0;
        while gathering.settled < self.plan.clients {
            let now = now_ns();
            let connecting = ramp.begun() - gathering.settled - gathering.failed;
            let step = ramp.act(&mut self.swarm, &mut gathering, connecting, now);
            let until_ns = match step {
                Step::Until(at_ns) => at_ns.min(now + LISTEN_NS),
                Step::Done => now + LISTEN_NS,
            };
            self.swarm.turn(until_ns, &mut gathering).await?;
            if self.wanted.is_stopped.load(Ordering::Relaxed) {
                return Err("stopped while clients connected; nothing was measured".to_owned());
            }
            if gathering.failed > 0 || now > give_up_ns {
                let errors = &gathering.load.outcome().errors;
                let causes: Vec<_> =
                    errors.iter().map(|(kind, n)| format!("{kind} ({n})")).collect();
                let causes = match causes.is_empty() {
                    true => "time was up".to_owned(),
                    false => causes.join(", "),
                };
                return Err(format!(
                    "{} of {} clients of a process got there: {causes}",
                    gathering.settled, self.plan.clients
                ));
            }
            if now > said_ns + PROGRESS_NS {
                said_ns = now;
                say(&Said::Progress { part: gathering.settled as f64 / self.plan.clients as f64 });
            }
        }
        Ok(())
    }

    async fn measure(&mut self, start_ns: u64) -> Result<Outcome, String> {
        let used = self.usage(start_ns);
        let mut heartbeat = Schedule::new(start_ns, HEARTBEATS_PER_SECOND, u64::MAX);
        self.load.begin(&mut self.swarm, start_ns);
        // CPU and rate are of the planned time, or until the mode says that what it measures is
        // over: behind that, it waits for answers.
        let planned = self.plan.asking_seconds().map(|seconds| start_ns + nanos_of(seconds));
        let end_ns = planned.unwrap_or(u64::MAX);
        let mut usage = None;
        let is_stopped = loop {
            let now = now_ns();
            while let Some((_, due_ns)) = heartbeat.take(now) {
                if usage.is_none() {
                    self.load.outcome().heartbeats.record(due_ns, now);
                }
            }
            let step = self.load.act(&mut self.swarm, now);
            if usage.is_none() && (now >= end_ns || self.load.outcome().measured_ns > 0) {
                usage = Some(self.usage(now));
            }
            let Step::Until(at_ns) = step else { break false };
            if self.is_stopped() {
                break true;
            }
            let part = self.load.progress(now);
            self.show(part, now);
            let until_ns = at_ns.min(heartbeat.next_ns().unwrap_or(u64::MAX)).min(match usage {
                None => end_ns,
                Some(_) => u64::MAX,
            });
            self.swarm.turn(until_ns, self.load.as_mut()).await?;
        };
        let end = usage.unwrap_or_else(|| self.usage(now_ns()));
        self.load.finish(&mut self.swarm, now_ns(), is_stopped);
        let mut outcome = std::mem::take(self.load.outcome());
        outcome.is_interrupted = is_stopped;
        outcome.measured_ns = end.now_ns.saturating_sub(start_ns).max(1);
        outcome.done = end.done;
        outcome.cpu_ns = end.cpu_ns - used.cpu_ns;
        outcome.core_wait_ns = end.core_wait_ns.saturating_sub(used.core_wait_ns);
        Ok(outcome)
    }

    fn usage(&mut self, now_ns: u64) -> Usage {
        let done = self.load.outcome().count(self.plan.mode.first_count());
        Usage { now_ns, cpu_ns: cpu_ns(), core_wait_ns: core_wait_ns(), done }
    }
}

/// What a process has used and done by a time.
#[derive(Clone, Copy, Debug)]
struct Usage {
    now_ns: u64,
    cpu_ns: u64,
    core_wait_ns: u64,
    /// What the mode's rate is of.
    done: u64,
}

/// A load whose clients are being connected.
struct Gathering<'a> {
    load: &'a mut dyn Load,
    settled: usize,
    failed: usize,
}

impl Load for Gathering<'_> {
    fn wish(&self, index: usize) -> Option<Wish> {
        self.load.wish(index)
    }

    fn on(&mut self, client: &mut Client, event: Event, now_ns: u64) {
        match event {
            Event::Settled(_) => self.settled += 1,
            Event::Closed(_) => self.failed += 1,
            _ => {}
        }
        self.load.on(client, event, now_ns);
    }

    fn begin(&mut self, swarm: &mut Swarm, start_ns: u64) {
        self.load.begin(swarm, start_ns);
    }

    fn act(&mut self, swarm: &mut Swarm, now_ns: u64) -> Step {
        self.load.act(swarm, now_ns)
    }

    fn progress(&self, now_ns: u64) -> f64 {
        self.load.progress(now_ns)
    }

    fn finish(&mut self, swarm: &mut Swarm, now_ns: u64, is_stopped: bool) {
        self.load.finish(swarm, now_ns, is_stopped);
    }

    fn outcome(&mut self) -> &mut Outcome {
        self.load.outcome()
    }
}
