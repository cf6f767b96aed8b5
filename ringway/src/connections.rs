//! `ringway connections`: who is connected to a server, and to send some of them away.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::{Args, Subcommand};

use crate::admin::client::{Asker, Fault, Reach, json_for, shown};
use crate::admin::model::{
    CloseQuestion, Closed, Connection, ConnectionQuestion, Connections, ConnectionsQuestion, Filter,
};

/// What can be done with connections.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ConnectionsCommand {
    /// List connections: all, or those for which every filter holds.
    List(ListArguments),
    /// Show all there is to know about one connection.
    Show(ShowArguments),
    /// Close the connections for which every filter holds. Says how many they are, and asks.
    Close(CloseArguments),
}

#[derive(Args, Clone, Debug, Default)]
struct FilterArguments {
    /// Of this user; an empty one: sessions without a user (to close those: --anonymous).
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// With this client id.
    #[arg(long, value_name = "UUID")]
    client: Option<String>,
    /// From this address, or from addresses with this prefix, such as 10.0.0.0/8.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Subscribed to this channel.
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// In this state: handshake, open, connecting, connected, closing, …
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// For whom at least so many bytes wait.
    #[arg(long, value_name = "BYTES")]
    min_outbox: Option<u32>,
    /// Who take at least so many bytes of client.memory_limit.
    #[arg(long, value_name = "BYTES")]
    min_memory: Option<u32>,
    /// Who have taken nothing for so long while something waited.
    #[arg(long, value_name = "MILLISECONDS")]
    min_stalled: Option<u32>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    filter: FilterArguments,
    /// Who comes first: id, outbox, memory, stalled, oldest or newest.
    #[arg(long, value_name = "ORDER", default_value = "id")]
    order: String,
    /// Most connections on one page, 1 to 1000.
    #[arg(long, value_name = "N", default_value = "100")]
    limit: u64,
    /// The page behind this one, as the last line of the page before says.
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ShowArguments {
    #[command(flatten)]
    reach: Reach,
    /// The connection's id, as `list` has it, or its client id.
    #[arg(value_name = "ID")]
    id: String,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CloseArguments {
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    filter: FilterArguments,
    /// Sessions without a user.
    #[arg(long, conflicts_with = "user")]
    anonymous: bool,
    /// Every connection, instead of a filter.
    #[arg(long)]
    all: bool,
    /// Close code, 3000 to 4999. From 3500 to 3999 and from 4500 on clients do not come back.
    #[arg(long, value_name = "CODE", default_value = "3503")]
    code: u16,
    /// Text that clients get with it.
    #[arg(long, value_name = "TEXT", default_value = "force disconnect")]
    reason: String,
    /// Most connections that are closed, 1 to 10000.
    #[arg(long, value_name = "N", default_value = "1000")]
    limit: u64,
    /// Say how many they are, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Print the answer as JSON. Asks nobody: needs --yes or --dry-run.
    #[arg(long)]
    json: bool,
}

impl FilterArguments {
    fn filter(&self) -> Filter {
        let own = self.clone();
        Filter {
            user: own.user,
            client: own.client,
            address: own.from,
            channel: own.channel,
            state: own.state,
            min_outbox_bytes: own.min_outbox,
            min_memory_bytes: own.min_memory,
            min_stalled_ms: own.min_stalled,
        }
    }
}

/// Does what the operator typed. True if all of it was done.
///
/// # Errors
///
/// Why it was not.
pub(crate) fn run(command: &ConnectionsCommand) -> Result<bool, Fault> {
    match command {
        ConnectionsCommand::List(arguments) => list(arguments),
        ConnectionsCommand::Show(arguments) => show(arguments),
        ConnectionsCommand::Close(arguments) => close(arguments),
    }
}

fn list(arguments: &ListArguments) -> Result<bool, Fault> {
    let question = ConnectionsQuestion {
        filter: arguments.filter.filter(),
        order: Some(arguments.order.clone()),
        limit: Some(arguments.limit),
        after: arguments.after.clone(),
    };
    let answer: Connections = Asker::new(&arguments.reach)?.ask("connections", &question)?;
    if arguments.json {
        print_json(&answer);
    } else {
        print_text(&table(&answer.connections));
        let (shown, matched) = (answer.connections.len(), answer.matched);
        print_text(&format!("{shown} of {matched}\n"));
        if let Some(next) = &answer.next {
            print_text(&format!("more: --after {next}\n"));
        }
    }
    Ok(warn_of_silent(&answer.silent_shards))
}

fn show(arguments: &ShowArguments) -> Result<bool, Fault> {
    let mut question = ConnectionQuestion::default();
    let id = Some(arguments.id.clone());
    if arguments.id.contains('.') {
        question.id = id;
    } else {
        question.client = id;
    }
    let answer: Connections = Asker::new(&arguments.reach)?.ask("connection", &question)?;
    let is_complete = warn_of_silent(&answer.silent_shards);
    let Some(connection) = answer.connections.first() else {
        return Err(Fault::Refused(format!("there is no connection {}", shown(&arguments.id))));
    };
    if arguments.json {
        print_json(connection);
    } else {
        print_text(&details(connection));
    }
    Ok(is_complete)
}

fn close(arguments: &CloseArguments) -> Result<bool, Fault> {
    let mut filter = arguments.filter.filter();
    if filter.user.as_deref() == Some("") {
        let sentence =
            "error: --user is empty; sessions without a user are closed with --anonymous";
        return Err(Fault::Usage(sentence.to_owned()));
    }
    if arguments.anonymous {
        filter.user = Some(String::new());
    }
    let asker = Asker::new(&arguments.reach)?;
    let mut question = CloseQuestion {
        filter,
        all: arguments.all,
        code: Some(arguments.code),
        reason: Some(arguments.reason.clone()),
        limit: Some(arguments.limit),
        dry_run: true,
    };
    let dry: Closed = asker.ask("close", &question)?;
    if arguments.dry_run && arguments.json {
        print_json(&dry);
        return Ok(warn_of_silent(&dry.silent_shards));
    }
    if !arguments.json {
        print_text(&what_would_be(arguments, &dry));
    }
    if arguments.dry_run || (dry.matched == 0 && !arguments.json) {
        return Ok(warn_of_silent(&dry.silent_shards));
    }
    if !arguments.yes {
        // Whoever says yes must know who was not counted.
        warn_of_silent(&dry.silent_shards);
        if arguments.json || !is_confirmed() {
            let sentence = "nothing was closed; confirm at a terminal, or with --yes".to_owned();
            return Err(Fault::Refused(sentence));
        }
        question.limit = Some(confirmed_limit(arguments, &dry));
    }
    question.dry_run = false;
    let done: Closed = asker.ask("close", &question)?;
    if arguments.json {
        print_json(&done);
    } else {
        let left = done.matched.saturating_sub(done.closed);
        let rest = if left > 0 { format!(", {left} are left") } else { String::new() };
        print_text(&format!("{} closed{rest}\n", done.closed));
    }
    Ok(warn_of_silent(&done.silent_shards))
}

fn what_would_be(arguments: &CloseArguments, dry: &Closed) -> String {
    let returns = match protocol::close::reconnects(arguments.code) {
        true => "come back",
        false => "stay away",
    };
    let most = confirmed_limit(arguments, dry);
    format!(
        "{} connections match; {most} would be closed with {} ({}), after which clients {returns}\n",
        dry.matched,
        arguments.code,
        shown(&arguments.reason)
    )
}

/// Most that may be closed after a yes: no more than it was said of.
fn confirmed_limit(arguments: &CloseArguments, dry: &Closed) -> u64 {
    arguments.limit.min(dry.matched)
}

/// Asks at a terminal. Elsewhere nobody can answer.
fn is_confirmed() -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    print!("Close them? [y/N] ");
    let mut answer = String::new();
    // Without an answer, for whatever reason, nothing is confirmed.
    let has_answer =
        io::stdout().flush().is_ok() && io::stdin().lock().read_line(&mut answer).is_ok();
    has_answer && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// True if every shard answered.
fn warn_of_silent(silent: &[u64]) -> bool {
    if !silent.is_empty() {
        let list = silent.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        eprintln!("warning: shards did not answer in time, and are missing here: {list}");
    }
    silent.is_empty()
}

/// Who reads along may have gone.
fn print_text(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn print_json(value: &impl serde::Serialize) {
    print_text(&json_for(value, io::stdout().is_terminal()));
}

const HEADINGS: [&str; 10] =
    ["ID", "STATE", "USER", "CLIENT", "ADDRESS", "AGE", "OUTBOX", "MEMORY", "STALLED", "CHANNELS"];
/// Widest column of users, in characters.
const USER_COLUMNS_MAX: usize = 32;
/// Columns of numbers stand to the right.
const FIRST_NUMBER: usize = 5;

/// One line for each connection, in columns as wide as they have to be.
fn table(connections: &[Connection]) -> String {
    let mut rows: Vec<[String; 10]> = vec![HEADINGS.map(str::to_owned)];
    rows.extend(connections.iter().map(cells));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEADINGS.len()).map(|at| width(at).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column >= FIRST_NUMBER {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn cells(one: &Connection) -> [String; 10] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let user = if one.user.is_empty() { "-".to_owned() } else { cut(shown(&one.user)) };
    [
        one.id.clone(),
        one.state.clone(),
        user,
        or_dash(one.client.clone()),
        or_dash(one.address.clone()),
        or_dash(one.age_seconds.map(duration)),
        one.outbox_bytes.to_string(),
        one.memory_bytes.to_string(),
        stalled(one.stalled_ms),
        one.subscriptions.to_string(),
    ]
}

/// Not wider than the column of users may be; `show` has all of it.
fn cut(text: String) -> String {
    if text.chars().count() <= USER_COLUMNS_MAX {
        return text;
    }
    text.chars().take(USER_COLUMNS_MAX - 1).chain(['…']).collect()
}

fn stalled(milliseconds: u64) -> String {
    match milliseconds {
        0 => "-".to_owned(),
        some => format!("{}.{}s", some / 1000, some % 1000 / 100),
    }
}

/// Seconds in the two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

fn details(one: &Connection) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let mut text = String::new();
    let user = if one.user.is_empty() { "-".to_owned() } else { shown(&one.user) };
    for (name, value) in [
        ("id", one.id.clone()),
        ("state", one.state.clone()),
        ("user", user),
        ("client", or_dash(one.client.clone())),
        ("address", or_dash(one.address.clone())),
        ("TLS", yes(one.tls)),
        ("format", or_dash(one.format.clone())),
        ("sends much", yes(one.hot)),
        ("session for", or_dash(one.age_seconds.map(duration))),
        ("token expires", or_dash(one.expires_at.map(|at| format!("{at} (Unix time)")))),
        ("outbox", format!("{} bytes", one.outbox_bytes)),
        ("memory", format!("{} bytes of client.memory_limit", one.memory_bytes)),
        ("stalled for", stalled(one.stalled_ms)),
        ("channels", one.subscriptions.to_string()),
    ] {
        let _ = writeln!(text, "{name:<14} {value}");
    }
    for channel in one.channels.iter().flatten() {
        let _ = writeln!(text, "  {}", shown(channel));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        let seconds = [0, 59, 60, 3599, 3600, 86_399, 86_400, 1_000_000];
        let expected = ["0s", "59s", "1m00s", "59m59s", "1h00m", "23h59m", "1d00h", "11d13h"];
        assert_eq!(seconds.map(duration), expected);
    }

    #[test]
    fn no_more_is_closed_than_was_said() {
        let arguments = |limit| {
            #[derive(clap::Parser)]
            struct Line {
                #[command(flatten)]
                close: CloseArguments,
            }
            let limit = format!("--limit={limit}");
            <Line as clap::Parser>::parse_from(["close", "--all", &limit]).close
        };
        let dry = Closed { matched: 7, ..Closed::default() };
        assert_eq!(confirmed_limit(&arguments(5), &dry), 5);
        assert_eq!(confirmed_limit(&arguments(1000), &dry), 7);
    }

    #[test]
    fn a_long_user_is_cut() {
        assert_eq!(cut("x".repeat(32)), "x".repeat(32));
        assert_eq!(cut("x".repeat(33)), "x".repeat(31) + "…");
    }

    #[test]
    fn a_table_is_as_wide_as_it_has_to_be() {
        let one = Connection {
            id: "0.0.1.1".into(),
            state: "connected".into(),
            user: "a\u{1b}b".into(),
            outbox_bytes: 12,
            stalled_ms: 9250,
            ..Connection::default()
        };
        let text = table(&[one]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("0.0.1.1  connected  a\\u{1b}b  -"), "{text}");
        let end = |line: &str, word: &str| line.find(word).map(|at| at + word.len());
        assert_eq!(end(lines[0], "STALLED"), end(lines[1], "9.2s"), "{text}");
    }
}
