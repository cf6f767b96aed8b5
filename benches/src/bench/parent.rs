//! The process that the operator started: it starts the workers, shows how far they are, and puts
//! their results together. It sends nothing to the server itself.

use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use super::clock::{MILLISECOND_NS, now_ns};
use super::outcome::Outcome;
use super::plan::Plan;
use super::report::Report;
use super::server::ServerProcess;
use super::worker::{Said, Word};

/// Between the word and the beginning: each worker has heard it by then, or is late.
const HEAD_START_NS: u64 = 300 * MILLISECOND_NS;
/// How much longer than planned a worker may take before it is given up.
const GRACE: Duration = Duration::from_secs(30);
/// How long workers that were stopped may take to say what they have.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);

/// One process of the generator.
struct Worker {
    child: Child,
    /// Its end says that it is to stop.
    stdin: Option<ChildStdin>,
    outcome: Option<Outcome>,
    part: f64,
    is_ready: bool,
    /// It will not say anything more.
    is_over: bool,
}

/// What a worker said; `None`: its output has ended.
type Heard = (usize, Option<Said>);

/// Runs the plans, one process each.
///
/// # Errors
///
/// It could not be measured: a sentence.
pub(crate) fn run(plans: &[Plan], server: Option<ServerProcess>) -> Result<Report, String> {
    let interrupts = catch_interrupts()?;
    let (sender, heard) = mpsc::channel();
    let mut crew = Crew { workers: Vec::new(), heard, interrupts, bar: bar(), server };
    for (index, plan) in plans.iter().enumerate() {
        crew.workers.push(start(index, plan, sender.clone())?);
    }
    drop(sender);
    let bar = crew.bar.clone();
    let report = crew.run(&plans[0]);
    bar.finish_and_clear();
    report
}

/// A bar on a terminal, and nothing elsewhere.
fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:>12} [{bar:40}] {percent:>3} % {elapsed}");
    let bar = ProgressBar::new(1_000);
    bar.set_style(style.expect("the template is fixed"));
    bar
}

/// Counts SIGINT and SIGTERM.
fn catch_interrupts() -> Result<Arc<AtomicU32>, String> {
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| format!("signals: {error}"))?;
    let signals = runtime.block_on(async {
        io::Result::Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    });
    let (mut interrupt, mut terminate) = signals.map_err(|error| format!("signals: {error}"))?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
    Ok(count)
}

fn start(index: usize, plan: &Plan, sender: Sender<Heard>) -> Result<Worker, String> {
    let cannot = |error: io::Error| format!("a process of the generator does not start: {error}");
    let mut child = Command::new(std::env::current_exe().map_err(cannot)?)
        .args(["bench", "worker"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A group of its own: Ctrl-C is ours to hear and to pass on.
        .process_group(0)
        .spawn()
        .map_err(cannot)?;
    let stdout = child.stdout.take().expect("piped");
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(said) = serde_json::from_str(&line)
                && sender.send((index, Some(said))).is_err()
            {
                return;
            }
        }
        let _ = sender.send((index, None));
    });
    let mut stdin = child.stdin.take().expect("piped");
    let line = serde_json::to_string(plan).expect("a plan is text and numbers");
    let told = writeln!(stdin, "{line}");
    let mut worker = Worker {
        child,
        stdin: Some(stdin),
        outcome: None,
        part: 0.0,
        is_ready: false,
        is_over: false,
    };
    if let Err(error) = told {
        worker.end();
        return Err(cannot(error));
    }
    Ok(worker)
}

impl Worker {
    fn tell(&mut self, word: &Word) {
        let line = serde_json::to_string(word).expect("a word is text and numbers");
        // One that has ended is noticed by its output.
        let _ = self.stdin.as_mut().map(|stdin| writeln!(stdin, "{line}"));
    }

    /// Ends it, by force if it must be.
    fn end(&mut self) {
        self.stdin = None;
        let give_up = Instant::now() + STOP_PATIENCE;
        while Instant::now() < give_up {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

/// All workers.
struct Crew {
    workers: Vec<Worker>,
    heard: Receiver<Heard>,
    interrupts: Arc<AtomicU32>,
    bar: ProgressBar,
    server: Option<ServerProcess>,
}

impl Crew {
    fn run(mut self, plan: &Plan) -> Result<Report, String> {
        self.bar.set_message("connecting");
        let connecting = Duration::from_secs_f64(plan.connect_seconds_max) + GRACE;
        self.listen(connecting, |worker| worker.is_ready)?;
        if self.workers.iter().any(|worker| worker.is_over) {
            return Err("a process of the generator ended while clients connected".to_owned());
        }
        if let Some(server) = &mut self.server {
            server.begin();
        }
        self.bar.set_message(plan.mode.name());
        let start_ns = now_ns() + HEAD_START_NS;
        for worker in &mut self.workers {
            worker.part = 0.0;
            worker.tell(&Word::Go(start_ns));
        }
        let time = plan.seconds().min(MEASUREMENT_SECONDS_MAX) + plan.patience_seconds;
        let mut measuring = Duration::from_secs_f64(time) + GRACE;
        if !plan.mode.gathers() {
            measuring += Duration::from_secs_f64(plan.connect_seconds_max);
        }
        self.listen(measuring, |worker| worker.outcome.is_some())?;
        let taken = self.server.as_ref().and_then(ServerProcess::taken);
        let outcomes: Vec<_> = self.workers.iter_mut().map(|one| one.outcome.take()).collect();
        // All hear that they may go before anybody waits for one of them.
        self.workers.iter_mut().for_each(|worker| worker.stdin = None);
        Ok(Report::new(plan, &outcomes, taken))
    }

    /// Hears the workers until each has done its part or has ended. One that is too late counts as
    /// ended.
    fn listen(
        &mut self,
        at_most: Duration,
        has_done: impl Fn(&Worker) -> bool,
    ) -> Result<(), String> {
        let mut give_up = Instant::now() + at_most;
        let mut interrupts = 0;
        loop {
            if self.workers.iter().all(|worker| has_done(worker) || worker.is_over) {
                return Ok(());
            }
            let count = self.interrupts.load(Ordering::Relaxed);
            if count > interrupts {
                interrupts = count;
                give_up = give_up.min(Instant::now() + STOP_PATIENCE);
                self.workers.iter_mut().for_each(|worker| worker.stdin = None);
            }
            if Instant::now() > give_up || interrupts > 1 {
                for worker in self.workers.iter_mut().filter(|worker| !has_done(worker)) {
                    worker.is_over = true;
                    let _ = worker.child.kill();
                }
                continue;
            }
            match self.heard.recv_timeout(LOOK) {
                Ok((index, said)) => self.hear(index, said)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.workers.iter_mut().for_each(|worker| worker.is_over = true);
                }
            }
        }
    }

    fn hear(&mut self, index: usize, said: Option<Said>) -> Result<(), String> {
        let worker = &mut self.workers[index];
        match said {
            Some(Said::Progress { part }) => worker.part = part,
            Some(Said::Ready) => worker.is_ready = true,
            Some(Said::Outcome(outcome)) => worker.outcome = Some(*outcome),
            Some(Said::Failed(sentence)) => return Err(sentence),
            None => worker.is_over = true,
        }
        let sum: f64 = self.workers.iter().map(|worker| worker.part).sum();
        self.bar.set_position((sum / self.workers.len() as f64 * 1_000.0) as u64);
        Ok(())
    }
}

/// No measurement is planned for longer than a day and its ramp.
const MEASUREMENT_SECONDS_MAX: f64 = 172_800.0;
