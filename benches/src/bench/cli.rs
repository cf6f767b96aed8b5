//! What the operator types.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::client::UNSENT_BYTES_MAX;
use super::parent;
use super::plan::{ChannelLoad, Credentials, Mixed, Mode, Pace, Plan, Request, TargetPlan, Trust};
use super::server::ServerProcess;
use super::target::{PORTS_PER_SOURCE, Target};
use super::threshold::Threshold;
use super::wire::Mark;
use super::worker;

/// The load, and what is measured.
///
/// Exit codes: 0 it was measured, 1 it was not, 2 the command line is wrong, 3 a --fail-if holds,
/// 4 the generator was the bottleneck or lost samples, 130 it was interrupted.
#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// Clients come at a rate and stay; then each must answer.
    Connect(ConnectArguments),
    /// A request and its answer, by each client on its own.
    Echo(EchoArguments),
    /// Publications, from when they were due until each subscriber has them.
    Fanout(FanoutArguments),
    /// Publications until they are acknowledged: durable ones, once they are on disk.
    Publish(PublishArguments),
    /// All clients are cut off at once and come back with their positions.
    Storm(StormArguments),
    /// Clients that come and go.
    Churn(ChurnArguments),
    /// Like a chat: rooms, typing, reconnects, history.
    Mixed(MixedArguments),
    /// One process of the generator; its plan comes on standard input.
    #[command(hide = true)]
    Worker,
}

/// What all modes take.
#[derive(Args, Clone, Debug)]
pub(crate) struct CommonArguments {
    /// The server: ws:// or wss://, with the path of its WebSockets.
    #[arg(default_value = "ws://127.0.0.1:8000/connection/websocket")]
    url: String,
    /// Clients.
    #[arg(long, short = 'n', default_value_t = 1_000, value_parser = count(CLIENTS_MAX))]
    connections: u64,
    /// New connections per second; 0: as fast as they are answered.
    #[arg(long, value_name = "PER_SECOND", default_value = "1000", value_parser = rate_or_zero)]
    connect_rate: f64,
    /// Connects that are under way at once, of one process.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = count(CLIENTS_MAX))]
    connecting: u64,
    /// All clients must be there within this time [default: 60, and 1.5 times what the rate takes].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    connect_limit: Option<f64>,
    /// Processes of the generator [default: as many as their open files ask for].
    #[arg(long, value_name = "N", value_parser = count(PROCESSES_MAX))]
    processes: Option<u64>,
    /// Speak Protobuf, not JSON.
    #[arg(long)]
    protobuf: bool,
    /// Believe any certificate.
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Believe the authorities in this PEM file, not the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// All clients connect with this token; @FILE reads it from a file.
    #[arg(long, value_name = "TOKEN", conflicts_with = "hmac_secret")]
    token: Option<String>,
    /// Mint a token for each client (users bench-0, bench-1 …), signed with this secret (HS256);
    /// @FILE reads it from a file, where other users of this host do not see it.
    #[arg(long, value_name = "SECRET")]
    hmac_secret: Option<String>,
    /// A further header of each handshake, as 'Name: value'.
    #[arg(long, value_name = "HEADER", value_parser = header)]
    header: Vec<(String, String)>,
    /// The server's process on this host: its memory and CPU are reported.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// How long answers are waited for once the time is up.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    patience: f64,
    /// Fail, with exit code 3, if this holds: 'p99>5ms', 'errors>1%', 'rate<10000' …
    #[arg(long, value_name = "EXPRESSION")]
    fail_if: Vec<Threshold>,
    /// Report also when the generator was the bottleneck, with a mark.
    #[arg(long)]
    allow_saturated: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// See [`BenchCommand::Connect`].
#[derive(Args, Clone, Debug)]
pub struct ConnectArguments {
    #[command(flatten)]
    common: CommonArguments,
    /// How long they stay before each is asked for a sign of life.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds_or_zero)]
    hold: f64,
}

/// What an echo asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RequestArgument {
    /// The ping of the client protocol.
    Ping,
    /// A publication into a channel of the client's own, until it is delivered to it.
    Publish,
}

/// See [`BenchCommand::Echo`].
#[derive(Args, Clone, Debug)]
pub struct EchoArguments {
    #[command(flatten)]
    common: CommonArguments,
    /// What is asked.
    #[arg(long, value_enum, default_value_t = RequestArgument::Ping)]
    request: RequestArgument,
    /// The beginning of the channels' names, for --request publish.
    #[arg(long, default_value = "bench")]
    channel: String,
    /// Bytes of a publication.
    #[arg(long, default_value_t = 128, value_parser = count(BYTES_MAX))]
    bytes: u64,
    /// Requests per second of all clients together [default: 1000].
    #[arg(long, value_name = "PER_SECOND", value_parser = rate, conflicts_with = "depth")]
    rate: Option<f64>,
    /// No rate: each client leaves so many unanswered, all along.
    #[arg(long, value_name = "N", value_parser = count(DEPTH_MAX))]
    depth: Option<u64>,
    /// How long it is measured.
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: f64,
}

/// See [`BenchCommand::Fanout`].
#[derive(Args, Clone, Debug)]
pub struct FanoutArguments {
    #[command(flatten)]
    common: CommonArguments,
    /// The channel; with several, the beginning of their names.
    #[arg(long, default_value = "bench")]
    channel: String,
    /// How many channels the clients are spread over.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(CLIENTS_MAX))]
    channels: u64,
    /// Bytes of a publication.
    #[arg(long, default_value_t = 128, value_parser = count(BYTES_MAX))]
    bytes: u64,
    /// Publications per second, into all channels together [default: 10].
    #[arg(long, value_name = "PER_SECOND", value_parser = rate, conflicts_with = "outstanding")]
    rate: Option<f64>,
    /// No rate: so many publications of each process are on their way to its subscribers, all
    /// along. The channels' names then end with the process.
    #[arg(long, value_name = "N", value_parser = count(DEPTH_MAX))]
    outstanding: Option<u64>,
    /// How long it is measured.
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: f64,
}

/// See [`BenchCommand::Publish`].
#[derive(Args, Clone, Debug)]
pub struct PublishArguments {
    #[command(flatten)]
    common: CommonArguments,
    /// The channel; with several, the beginning of their names.
    #[arg(long, default_value = "bench")]
    channel: String,
    /// How many channels the clients publish into.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(CLIENTS_MAX))]
    channels: u64,
    /// Bytes of a publication.
    #[arg(long, default_value_t = 128, value_parser = count(BYTES_MAX))]
    bytes: u64,
    /// Publications per second of all clients together [default: 1000].
    #[arg(long, value_name = "PER_SECOND", value_parser = rate, conflicts_with = "depth")]
    rate: Option<f64>,
    /// No rate: each client leaves so many unacknowledged, all along.
    #[arg(long, value_name = "N", value_parser = count(DEPTH_MAX))]
    depth: Option<u64>,
    /// Each client subscribes to its channel, too: some servers let nobody else publish.
    #[arg(long)]
    subscribe: bool,
    /// How long it is measured.
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: f64,
}

/// See [`BenchCommand::Storm`].
#[derive(Args, Clone, Debug)]
pub struct StormArguments {
    #[command(flatten)]
    common: CommonArguments,
    /// The beginning of the rooms' names; their history must be recoverable.
    #[arg(long, default_value = "bench")]
    channel: String,
    /// Clients in a room.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = count(CLIENTS_MAX))]
    room: u64,
    /// Publications into each room while its clients are away.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(MISSED_MAX))]
    missed: u64,
    /// All must be back within this time.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    limit: f64,
}

/// See [`BenchCommand::Churn`].
#[derive(Args, Clone, Debug)]
pub struct ChurnArguments {
    #[command(flatten)]
    common: CommonArguments,
    /// Cycles of connecting, a ping and closing per second; `--connections` bounds how many are
    /// under way.
    #[arg(long, value_name = "PER_SECOND", default_value = "200", value_parser = rate)]
    rate: f64,
    /// How long it is measured.
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: f64,
}

/// See [`BenchCommand::Mixed`].
#[derive(Args, Clone, Debug)]
pub struct MixedArguments {
    #[command(flatten)]
    common: CommonArguments,
    /// The beginning of the rooms' names; their history must be recoverable.
    #[arg(long, default_value = "bench")]
    channel: String,
    /// Clients in a room.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = count(CLIENTS_MAX))]
    room: u64,
    /// Bytes of a message.
    #[arg(long, default_value_t = 128, value_parser = count(BYTES_MAX))]
    bytes: u64,
    /// Messages per second of all clients together.
    #[arg(long, value_name = "PER_SECOND", default_value = "50", value_parser = rate)]
    messages: f64,
    /// Notices of somebody typing per second: small publications.
    #[arg(long, value_name = "PER_SECOND", default_value = "100", value_parser = rate)]
    typing: f64,
    /// Reads of a room's history per second.
    #[arg(long, value_name = "PER_SECOND", default_value = "10", value_parser = rate)]
    history: f64,
    /// Clients per second that lose their connection and come back.
    #[arg(long, value_name = "PER_SECOND", default_value = "10", value_parser = rate)]
    reconnects: f64,
    /// How long it is measured.
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: f64,
}

/// Clients of one run.
const CLIENTS_MAX: u64 = 2_000_000;
/// Processes of one run.
const PROCESSES_MAX: u64 = 200;
/// Bytes of a publication.
const BYTES_MAX: u64 = 64 * 1024;
/// What a client leaves unanswered.
const DEPTH_MAX: u64 = 10_000;
/// Publications that a client catches up with: what servers recover at once.
const MISSED_MAX: u64 = 300;
/// A day.
const SECONDS_MAX: f64 = 86_400.0;
/// Anything per second.
const RATE_MAX: f64 = 100_000_000.0;
/// Files a process opens besides its sockets.
const OTHER_FILES: u64 = 64;

fn count(most: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=most)
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    // A number that is none compares false with everything.
    if number >= least && number <= most {
        return Ok(number);
    }
    Err(format!("give a number between {least} and {most}"))
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.1, SECONDS_MAX)
}

fn seconds_or_zero(text: &str) -> Result<f64, String> {
    number(text, 0.0, SECONDS_MAX)
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.001, RATE_MAX)
}

fn rate_or_zero(text: &str) -> Result<f64, String> {
    number(text, 0.0, RATE_MAX)
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as 'Name: value'")?;
    let is_token = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if name.is_empty() || !name.chars().all(is_token) || value.chars().any(char::is_control) {
        return Err(
            "a name has letters, digits, -, _ and ., and a value no control characters".into()
        );
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

/// Does what the operator typed.
pub fn run(command: BenchCommand) -> ExitCode {
    let (common, mode) = match command {
        BenchCommand::Worker => return worker::run(),
        command => command.parts(),
    };
    match measure(&common, mode) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("error: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

struct Failure {
    code: u8,
    text: String,
}

const NOT_MEASURED: u8 = 1;
const USAGE: u8 = 2;
const THRESHOLD: u8 = 3;
const SATURATED: u8 = 4;
/// As shells say it of SIGINT.
const INTERRUPTED: u8 = 130;

fn measure(common: &CommonArguments, mode: Mode) -> Result<u8, Failure> {
    let usage = |text| Failure { code: USAGE, text };
    for threshold in &common.fail_if {
        threshold.check(&mode, common.server_pid.is_some()).map_err(usage)?;
    }
    let plans = plans(common, mode).map_err(usage)?;
    let server = common.server_pid.map(ServerProcess::find).transpose().map_err(usage)?;
    let failed = |text| Failure { code: NOT_MEASURED, text };
    let report = parent::run(&plans, server).map_err(failed)?;
    if let Some(sentence) = report.why_not_measured() {
        return Err(failed(sentence));
    }
    if !report.health.is_good() && !common.allow_saturated {
        let complaints = report.health.complaints.join(".\n  ");
        let text = format!(
            "nothing is reported, because this run measured the generator:\n  {complaints}.\n\
             --allow-saturated reports it with a mark"
        );
        return Err(Failure { code: SATURATED, text });
    }
    if common.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    let mut fails = false;
    for threshold in &common.fail_if {
        if let Some(failure) = threshold.failure(&report) {
            eprintln!("failed: {failure}");
            fails = true;
        }
    }
    Ok(match (fails, report.whole.is_interrupted) {
        (true, _) => THRESHOLD,
        (false, true) => INTERRUPTED,
        (false, false) => 0,
    })
}

/// One plan for each process.
fn plans(common: &CommonArguments, mode: Mode) -> Result<Vec<Plan>, String> {
    let clients = common.connections as usize;
    let processes = processes(common)?;
    let spreads_sources = clients > PORTS_PER_SOURCE || mode.reconnects();
    let target = target(common, spreads_sources)?;
    // Whatever is wrong with the address is said once, and not by each process.
    Target::resolve(&target)?;
    let rate = common.connect_rate;
    let needed = if rate > 0.0 { clients as f64 / rate * 1.5 } else { clients as f64 / 500.0 };
    let connect_seconds_max = common.connect_limit.unwrap_or(CONNECT_SECONDS + needed);
    if rate > 0.0 && clients as f64 / rate > connect_seconds_max {
        return Err(format!(
            "{clients} clients at --connect-rate {rate} are not due within --connect-limit \
             {connect_seconds_max}; give a limit of more than {:.0} s, or a higher rate",
            (clients as f64 / rate).ceil()
        ));
    }
    let plan = |process: usize| {
        let (first, end) = (clients * process / processes, clients * (process + 1) / processes);
        let share = (end - first) as f64 / clients as f64;
        Plan {
            target: target.clone(),
            process,
            processes,
            first,
            clients: end - first,
            clients_total: clients,
            connect_rate: (rate > 0.0).then_some(rate * share),
            connecting_max: common.connecting as usize,
            connect_seconds_max,
            patience_seconds: common.patience,
            mode: mode.clone(),
        }
    };
    let plans: Vec<_> = (0..processes).map(plan).collect();
    plans.iter().try_for_each(fits_unsent)?;
    if let Mode::Storm { room_clients, .. } = &mode {
        // The first of each room stays.
        let returning = |plan: &Plan| plan.clients - plan.clients.div_ceil(*room_clients);
        if plans.iter().all(|plan| returning(plan) == 0) {
            return Err("one of each room stays, and nobody else is in any; give more \
                        --connections, a --room of 2 or more, or fewer --processes"
                .to_owned());
        }
    }
    Ok(plans)
}

/// Refuses what a client would be cut off for: all that it may leave unanswered is sent at once.
fn fits_unsent(plan: &Plan) -> Result<(), String> {
    let (option, pace, each, bytes, channel) = match &plan.mode {
        Mode::Echo { request: Request::Publish, channel, bytes, pace, .. } => {
            ("--depth", pace, 1, *bytes, channel)
        }
        Mode::Publish(load) => ("--depth", &load.pace, 1, load.bytes, &load.channel),
        Mode::Fanout(load) => {
            // All publishers of a process together, one for each channel.
            let publishers = load.channels.min(plan.clients);
            ("--outstanding", &load.pace, publishers, load.bytes, &load.channel)
        }
        _ => return Ok(()),
    };
    let Pace::Outstanding(depth) = pace else { return Ok(()) };
    let depth_max = UNSENT_BYTES_MAX / Mark::sent_bytes(bytes, channel) * each;
    if *depth <= depth_max {
        return Ok(());
    }
    Err(format!(
        "{option} {depth} with --bytes {bytes} is more than the {UNSENT_BYTES_MAX} bytes that a \
         client may have on its way out; give {option} {depth_max} at most, or fewer --bytes"
    ))
}

/// How long clients may take to get there, besides the time that their rate asks for.
const CONNECT_SECONDS: f64 = 60.0;

/// As many as were asked for, or as many as need to be, so that each may open its sockets.
fn processes(common: &CommonArguments) -> Result<usize, String> {
    let files = raise_files();
    let sockets = files.saturating_sub(OTHER_FILES).max(1);
    let needed = common.connections.div_ceil(sockets);
    if let Some(processes) = common.processes {
        if processes > common.connections {
            return Err(format!("--processes {processes} are more than there are clients"));
        }
        if processes < needed {
            return Err(format!(
                "{} clients in --processes {processes}: a process may open {files} files; give \
                 {needed} processes, or raise the limit (ulimit -n)",
                common.connections
            ));
        }
        return Ok(processes as usize);
    }
    match needed <= PROCESSES_MAX {
        true => Ok(needed as usize),
        false => Err(format!("a process may open {files} files; raise the limit (ulimit -n)")),
    }
}

/// Raises the limit of open files as far as it goes, for us and our workers.
fn raise_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let current = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => current.unwrap_or(u64::MAX),
    }
}

fn target(common: &CommonArguments, spreads_sources: bool) -> Result<TargetPlan, String> {
    let trust = match (&common.ca, common.insecure) {
        (_, true) => Trust::Anything,
        (Some(file), _) => Trust::File(file.clone()),
        (None, false) => Trust::System,
    };
    let credentials = match (&common.token, &common.hmac_secret) {
        (Some(token), _) => Credentials::Token(secret("--token", token)?),
        (None, Some(text)) => Credentials::HmacSecret(secret("--hmac-secret", text)?),
        (None, None) => Credentials::Anonymous,
    };
    Ok(TargetPlan {
        url: common.url.clone(),
        is_protobuf: common.protobuf,
        trust,
        headers: common.header.clone(),
        credentials,
        spreads_sources,
    })
}

/// The text itself, or what the file behind an `@` has.
fn secret(option: &str, text: &str) -> Result<String, String> {
    let Some(file) = text.strip_prefix('@') else { return Ok(text.to_owned()) };
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{option} @{file}: {error}"))?;
    Ok(text.trim_end().to_owned())
}

fn pace(rate: Option<f64>, depth: Option<u64>, default_rate: f64) -> Pace {
    depth.map_or(Pace::Rate(rate.unwrap_or(default_rate)), |n| Pace::Outstanding(n as usize))
}

impl BenchCommand {
    /// What all modes have, and the mode.
    fn parts(self) -> (CommonArguments, Mode) {
        match self {
            Self::Worker => unreachable!("a worker has its plan from its parent"),
            Self::Connect(a) => (a.common, Mode::Connect { hold_seconds: a.hold }),
            Self::Echo(a) => {
                let request = match a.request {
                    RequestArgument::Ping => Request::Ping,
                    RequestArgument::Publish => Request::Publish,
                };
                let pace = pace(a.rate, a.depth, 1_000.0);
                let (channel, bytes, seconds) = (a.channel, a.bytes as usize, a.seconds);
                (a.common, Mode::Echo { request, channel, bytes, pace, seconds })
            }
            Self::Fanout(a) => {
                let load = ChannelLoad {
                    channel: a.channel,
                    channels: a.channels.min(a.common.connections) as usize,
                    bytes: a.bytes as usize,
                    pace: pace(a.rate, a.outstanding, 10.0),
                    seconds: a.seconds,
                    publisher_subscribes: true,
                };
                (a.common, Mode::Fanout(load))
            }
            Self::Publish(a) => {
                let load = ChannelLoad {
                    channel: a.channel,
                    channels: a.channels as usize,
                    bytes: a.bytes as usize,
                    pace: pace(a.rate, a.depth, 1_000.0),
                    seconds: a.seconds,
                    publisher_subscribes: a.subscribe,
                };
                (a.common, Mode::Publish(load))
            }
            Self::Storm(a) => {
                let (room_clients, missed) = (a.room as usize, a.missed as usize);
                let (channel, limit_seconds) = (a.channel, a.limit);
                (a.common, Mode::Storm { channel, room_clients, missed, limit_seconds })
            }
            Self::Churn(a) => (a.common, Mode::Churn { rate: a.rate, seconds: a.seconds }),
            Self::Mixed(a) => {
                let mixed = Mixed {
                    channel: a.channel,
                    room_clients: a.room as usize,
                    bytes: a.bytes as usize,
                    seconds: a.seconds,
                    messages_per_second: a.messages,
                    typing_per_second: a.typing,
                    history_per_second: a.history,
                    reconnects_per_second: a.reconnects,
                };
                (a.common, Mode::Mixed(mixed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: BenchCommand,
    }

    fn parse(line: &str) -> Result<(CommonArguments, Mode), String> {
        let words = std::iter::once("bench").chain(line.split(' '));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(line.command.parts())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn clients_are_divided_among_processes() {
        let (common, mode) = parse("connect -n 1003 --processes 4 --connect-rate 100").unwrap();
        let plans = plans(&common, mode).unwrap();
        assert_eq!(plans.iter().map(|plan| plan.clients).sum::<usize>(), 1003);
        for pair in plans.windows(2) {
            assert_eq!(pair[0].first + pair[0].clients, pair[1].first);
        }
        let rate: f64 = plans.iter().filter_map(|plan| plan.connect_rate).sum();
        assert!((rate - 100.0).abs() < 0.001);
    }

    #[test]
    fn a_storm_of_nobody_is_refused() {
        for line in ["storm -n 9 --room 1", "storm -n 1", "storm -n 3 --processes 3"] {
            let (common, mode) = parse(line).unwrap();
            let sentence = plans(&common, mode).unwrap_err();
            assert!(sentence.contains("--room of 2 or more"), "{line}: {sentence}");
        }
        let (common, mode) = parse("storm -n 2").unwrap();
        assert_eq!(plans(&common, mode).unwrap().len(), 1);
    }

    #[test]
    fn more_than_a_client_may_send_at_once_is_refused() {
        let refusal = |line| {
            let (common, mode) = parse(line).unwrap();
            plans(&common, mode).err().unwrap_or_default()
        };
        for line in [
            "publish --depth 100 --bytes 16384",
            "publish --depth 10000",
            "echo --request publish --depth 20 --bytes 65536",
            "fanout --outstanding 100 --bytes 16384",
        ] {
            let sentence = refusal(line);
            assert!(sentence.contains("at most, or fewer --bytes"), "{line}: {sentence}");
        }
        assert!(refusal("publish --depth 100 --bytes 16384").contains("--depth 63 at most"));
        for line in [
            "publish --depth 63 --bytes 16384",
            "echo --depth 10000",
            "publish --rate 1000 --bytes 65536",
            "fanout --outstanding 100 --bytes 16384 --channels 2",
        ] {
            assert_eq!(refusal(line), "", "{line}");
        }
    }

    #[test]
    fn a_limit_that_the_rate_cannot_keep_is_refused() {
        let (common, mode) = parse("connect -n 100 --connect-rate 10 --connect-limit 5").unwrap();
        let sentence = plans(&common, mode).unwrap_err();
        assert!(sentence.contains("give a limit of more than 10 s"), "{sentence}");
    }

    #[test]
    fn processes_follow_the_limit_of_open_files() {
        let files = raise_files();
        let (mut common, mode) = parse("connect").unwrap();
        common.connections = (files - OTHER_FILES) * 2;
        if common.connections <= CLIENTS_MAX {
            assert_eq!(plans(&common, mode.clone()).unwrap().len(), 2);
            common.processes = Some(1);
            let sentence = plans(&common, mode.clone()).unwrap_err();
            assert!(sentence.contains("give 2 processes"), "{sentence}");
        }
        (common.connections, common.processes) = (3, Some(4));
        assert!(plans(&common, mode).unwrap_err().contains("more than there are clients"));
    }

    #[test]
    fn bad_lines_are_refused() {
        for (line, mark) in [
            ("echo --rate 0", "between 0.001 and"),
            ("echo --rate NaN", "between 0.001 and"),
            ("echo --rate 5 --depth 1", "cannot be used with"),
            ("echo --seconds 1e9", "between 0.1 and"),
            ("connect -n 0", "0 is not in 1..=2000000"),
            ("connect --fail-if p99>5", "units us, ms and s"),
            ("connect --header X-No-Value", "Name: value"),
            ("connect --header X:a\nInjected", "no control characters"),
            ("connect --token a --hmac-secret b", "cannot be used with"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(mark), "{line}: {error}");
        }
    }

    #[test]
    fn a_secret_may_be_in_a_file() {
        let file = std::env::temp_dir().join(format!("ringway-bench-{}", std::process::id()));
        std::fs::write(&file, "hidden\n").unwrap();
        let text = format!("@{}", file.display());
        assert_eq!(secret("--token", &text).unwrap(), "hidden");
        std::fs::remove_file(&file).unwrap();
        assert!(secret("--token", &text).unwrap_err().starts_with("--token @"));
        assert_eq!(secret("--token", "plain").unwrap(), "plain");
    }
}
