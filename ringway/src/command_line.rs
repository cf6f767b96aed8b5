//! What the operator types, and what it answers.
//!
//! Exit codes: 0 it worked, 1 it failed, 2 the command line or the configuration is wrong. Answers
//! go to standard output, everything else to standard error.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use benches::bench::BenchCommand;
use clap::{Args, Parser, Subcommand};

use crate::admin::client::Fault;
use crate::connections::{self, ConnectionsCommand};
use crate::settings::{Flags, Loaded, Place, Problem, Settings, Sources};
use crate::token::{self, Grant};
use crate::top::{self, TopArguments};
use crate::tune::{self, TuneCommand};
use crate::{doctor, limits, serve};

/// A real-time connection server that speaks the Centrifuge protocol.
#[derive(Clone, Debug, Parser)]
#[command(name = "ringway", version, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArguments,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Run all tiers in one process. The default.
    Serve(ServeArguments),
    /// Report everything that is wrong with a configuration.
    CheckConfig(ConfigArguments),
    /// Mint a token for a user, signed with the configured HMAC secret.
    Token(TokenArguments),
    /// Copy a data directory, also while its server runs.
    Backup(BackupArguments),
    /// Make a data directory out of a backup.
    Restore(RestoreArguments),
    /// Say what on this host will hurt, worst first.
    Doctor(DoctorArguments),
    /// Check, apply or revert this host's settings for many connections.
    #[command(subcommand)]
    Tune(TuneCommand),
    /// Put load on this server, or on any that speaks the Centrifuge protocol, and measure it.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Show what a running server does, in this terminal.
    Top(TopArguments),
    /// List, show or close the connections of a running server.
    #[command(subcommand)]
    Connections(ConnectionsCommand),
}

#[derive(Args, Clone, Debug)]
struct ConfigArguments {
    /// The configuration: TOML, YAML or JSON.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Start without the options of Centrifugo that Ringway does not serve.
    #[arg(long)]
    allow_unsupported: bool,
}

#[derive(Args, Clone, Debug)]
struct DoctorArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Examine the host for this many connections [default: client.connection_limit, or 100000].
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=limits::DOCTOR_CONNECTIONS_MAX))]
    connections: Option<u64>,
}

#[derive(Args, Clone, Debug)]
struct ServeArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Address of the client port (http_server.address).
    #[arg(long, short, value_name = "ADDRESS")]
    address: Option<String>,
    /// The client port (http_server.port).
    #[arg(long, short, value_name = "PORT")]
    port: Option<String>,
    /// Directory of the journal and the store (persistence.data_dir). In development mode it makes
    /// every channel durable.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Least important messages that are written (log.level).
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Speak TLS with a certificate that is made up for this start (ECDSA P-256, 14 days).
    #[arg(long)]
    dev_tls: bool,
    /// What drives sockets: auto, ring (io_uring) or portable (epoll) (io).
    #[arg(long, value_name = "DRIVER")]
    io: Option<String>,
}

#[derive(Args, Clone, Debug)]
struct BackupArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The data directory, if it is not the configured one (persistence.data_dir).
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// The new directory that the backup is written to.
    #[arg(value_name = "BACKUP")]
    target: PathBuf,
}

#[derive(Args, Clone, Debug)]
struct RestoreArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The data directory to make, if it is not the configured one (persistence.data_dir). It must
    /// be new or empty, and no server may use it.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// The directory that a backup was written to.
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
}

#[derive(Args, Clone, Debug)]
struct TokenArguments {
    /// The configuration that has the secret.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The user the token is for.
    #[arg(long, short)]
    user: String,
    /// Make a subscription token for this channel.
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// How long the token holds. Zero: without end.
    #[arg(long, value_name = "SECONDS or 1h30m", default_value = "3600", value_parser = token_ttl)]
    ttl: u64,
    /// Print a JSON object with the token and its end.
    #[arg(long)]
    json: bool,
}

/// Seconds, or a duration as the configuration has them.
fn token_ttl(text: &str) -> Result<u64, String> {
    let seconds = match text.parse() {
        Ok(seconds) => Some(seconds),
        Err(_) => crate::settings::options::duration(text).map(|duration| duration.as_secs()),
    };
    let most = limits::TOKEN_TTL_SECONDS_MAX;
    match seconds {
        Some(seconds) if seconds <= most => Ok(seconds),
        Some(_) => Err(format!("at most {most} seconds")),
        None => Err("give seconds, or a duration such as 90m or 12h".to_owned()),
    }
}

/// Why a command did not work: the exit code and what standard error gets.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

/// Does what the operator typed.
pub fn run(line: CommandLine) -> ExitCode {
    let done = match line.command.unwrap_or(Command::Serve(line.serve)) {
        Command::Serve(arguments) => serve_with(arguments),
        Command::CheckConfig(arguments) => check_config(arguments),
        Command::Token(arguments) => mint_token(&arguments),
        Command::Backup(arguments) => back_up(arguments),
        Command::Restore(arguments) => restore(arguments),
        Command::Doctor(arguments) => examine(arguments),
        Command::Tune(command) => tune(&command),
        Command::Bench(command) => return benches::bench::run(command),
        Command::Top(arguments) => complete(top::run(&arguments)),
        Command::Connections(command) => complete(connections::run(&command)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.text.lines() {
                eprintln!("{line}");
            }
            ExitCode::from(failure.code)
        }
    }
}

fn serve_with(arguments: ServeArguments) -> Result<(), Failure> {
    // A file's paths are beside the file; those of the command line are where it was typed.
    let data_dir = arguments.data_dir.map(|path| std::path::absolute(&path).unwrap_or(path));
    let flags = Flags {
        address: arguments.address,
        port: arguments.port,
        data_dir: data_dir.map(|path| path.to_string_lossy().into_owned()),
        log_level: arguments.log_level,
        io: arguments.io,
        dev_tls: arguments.dev_tls,
    };
    let sources = sources(arguments.config, flags);
    let loaded = load(&sources)?;
    warn(&loaded.warnings);
    serve::serve(loaded.settings, sources)
        .map_err(|sentence| Failure::failed(format!("error: {sentence}")))
}

fn check_config(arguments: ConfigArguments) -> Result<(), Failure> {
    let name = arguments.config.as_ref().map(|path| path.display().to_string());
    let loaded = load(&sources(arguments, Flags::default()))?;
    warn(&loaded.warnings);
    match name {
        Some(name) => println!("{name} is in order."),
        None => println!("The environment and the defaults are in order; no file was given."),
    }
    Ok(())
}

fn mint_token(arguments: &TokenArguments) -> Result<(), Failure> {
    let config = ConfigArguments { config: arguments.config.clone(), allow_unsupported: true };
    let settings = load(&sources(config, Flags::default()))?.settings;
    if settings.development {
        return Err(Failure::usage(
            "error: there is no secret to sign with; name the server's configuration with \
             --config, or set RINGWAY_CLIENT_TOKEN_HMAC_SECRET_KEY",
        ));
    }
    let keys = match arguments.channel {
        Some(_) => &settings.subscription_tokens,
        None => &settings.connection_tokens,
    };
    let issued_at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| Failure::failed("error: the clock of this host is before 1970; set it"))?
        .as_secs();
    let expires_at = (arguments.ttl > 0).then(|| issued_at + arguments.ttl);
    let channel = arguments.channel.as_deref();
    let grant = Grant { user: &arguments.user, channel, issued_at, expires_at };
    let token = token::mint(keys, grant).map_err(|token::NoHmacKey| {
        Failure::usage(
            "error: the configuration has no hmac_secret_key for these tokens; give one, or let \
             whoever holds the private key mint them",
        )
    })?;
    if arguments.json {
        println!("{}", serde_json::json!({ "token": token, "expires_at": expires_at }));
    } else {
        println!("{token}");
    }
    Ok(())
}

fn back_up(arguments: BackupArguments) -> Result<(), Failure> {
    let directory = data_directory(arguments.config, arguments.data_dir)?;
    let report = persistence::backup(&directory, &arguments.target).map_err(cannot)?;
    let target = arguments.target.display();
    println!("{target} is a backup of {}: {}", directory.display(), described(&report));
    Ok(())
}

fn restore(arguments: RestoreArguments) -> Result<(), Failure> {
    let directory = data_directory(arguments.config, arguments.data_dir)?;
    let report = persistence::restore(&arguments.backup, &directory).map_err(cannot)?;
    println!("{} is restored: {}", directory.display(), described(&report));
    Ok(())
}

fn cannot(error: persistence::BackupError) -> Failure {
    Failure::failed(format!("error: {error}"))
}

fn described(report: &persistence::BackupReport) -> String {
    let (entries, bytes) = (report.journal_entries, report.bytes);
    format!("{bytes} bytes, {entries} changes that the store did not have; all of it verified.")
}

/// The directory that was named, or else the configured one.
fn data_directory(config: ConfigArguments, named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        return Ok(named);
    }
    let settings = load(&sources(config, Flags::default()))?.settings;
    let persistence = settings.persistence.ok_or_else(|| {
        Failure::usage(
            "error: no data directory: name it with --data-dir, or the configuration that has \
             persistence.data_dir with --config",
        )
    })?;
    Ok(persistence.directory)
}

fn examine(arguments: DoctorArguments) -> Result<(), Failure> {
    let settings = load(&sources(arguments.config, Flags::default()))?.settings;
    let report = doctor::examine(&settings, arguments.connections);
    print!("{report}");
    if report.is_healthy() { Ok(()) } else { Err(Failure::failed("")) }
}

fn tune(command: &TuneCommand) -> Result<(), Failure> {
    match tune::run(command) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::failed("")),
        Err(sentence) => Err(Failure::failed(format!("error: {sentence}"))),
    }
}

fn complete(done: Result<bool, Fault>) -> Result<(), Failure> {
    match done.map_err(unanswered)? {
        true => Ok(()),
        // What is missing was said.
        false => Err(Failure::failed("")),
    }
}

fn unanswered(fault: Fault) -> Failure {
    let text = match &fault {
        Fault::Usage(lines) => lines.clone(),
        other => format!("error: {other}"),
    };
    Failure { code: fault.code(), text }
}

fn sources(arguments: ConfigArguments, flags: Flags) -> Sources {
    let sources = Sources::of_this_process(arguments.config, flags);
    Sources { allows_unsupported: arguments.allow_unsupported, ..sources }
}

fn load(sources: &Sources) -> Result<Loaded, Failure> {
    Settings::load(sources).map_err(|refusal| {
        let lines = refusal.problems.iter().map(|problem| format!("error: {problem}"));
        Failure::usage(lines.collect::<Vec<_>>().join("\n"))
    })
}

fn warn(warnings: &[Problem]) {
    for warning in warnings {
        if warning.place == Place::Default {
            eprintln!("warning: {}: {}", warning.path, warning.sentence);
        } else {
            eprintln!("warning: {warning}");
        }
    }
}

impl Failure {
    fn failed(text: impl Into<String>) -> Self {
        Self { code: 1, text: text.into() }
    }

    fn usage(text: impl Into<String>) -> Self {
        Self { code: 2, text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default() {
        let line = CommandLine::try_parse_from(["ringway", "--port", "9"]).unwrap();
        assert!(line.command.is_none());
        assert_eq!(line.serve.port.as_deref(), Some("9"));
        let line = CommandLine::try_parse_from(["ringway", "serve", "-c", "a.json"]).unwrap();
        assert!(matches!(line.command, Some(Command::Serve(_))));
    }
}
