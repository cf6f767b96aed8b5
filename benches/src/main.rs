//! The load source: WebSocket clients by the thousand on one thread and epoll, which is another
//! engine than the server's.
//!
//! Every mode ends by itself, bounded in connections and time, and prints one line of JSON. It says
//! how busy its own core was: a load source near 100 % measured itself.

mod clients;
mod durable;
mod hold;
mod modes;
mod secure;
mod storm;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the peers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dialect {
    /// The Centrifuge client protocol in JSON, through a channel.
    Json,
    /// The same in Protobuf.
    Protobuf,
    /// Bare frames: `/pub` is broadcast to everyone on `/chat`, which also echoes.
    Bare,
}

#[derive(Debug, Parser)]
#[command(about = "Load for Ringway and its peers; loopback addresses only")]
struct Arguments {
    /// Where the server listens.
    #[arg(long, default_value = "127.0.0.1:8000")]
    address: SocketAddr,
    /// The loopback address that clients come from; each has 28,000 ports.
    #[arg(long)]
    source: Option<IpAddr>,
    /// Clients.
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// The server's process, whose CPU time and memory are reported too.
    #[arg(long)]
    server_pid: Option<u32>,
    /// Speak TLS with a server named `localhost`, and trust the certificates of this PEM file.
    #[arg(long)]
    tls: Option<PathBuf>,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Every client sends messages and waits until all of them came back.
    Echo {
        /// Path of the echo.
        #[arg(long, default_value = "/debug/echo")]
        path: String,
        /// Messages in flight per client.
        #[arg(long, default_value_t = 1)]
        depth: usize,
        /// Bytes of payload.
        #[arg(long, default_value_t = 64)]
        bytes: usize,
        /// Seconds to measure, behind half a second of warming up.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// One client publishes, all others receive.
    Fanout {
        /// What the peers speak.
        #[arg(long, value_enum, default_value_t = Dialect::Json)]
        dialect: Dialect,
        /// Publications that may be on their way at once.
        #[arg(long, default_value_t = 1)]
        outstanding: usize,
        /// Publications to measure.
        #[arg(long, default_value_t = 60)]
        rounds: usize,
        /// The channel.
        #[arg(long, default_value = "bench")]
        channel: String,
        /// An unrelated client on this path is pinged all along, and its round trips reported.
        #[arg(long)]
        bystander: Option<String>,
    },
    /// Clients publish into durable channels; an acknowledgement says that it is on disk.
    Durable {
        /// Publications that each client leaves unanswered.
        #[arg(long, default_value_t = 32)]
        depth: usize,
        /// Publications per second of all clients; 0: as many as are answered.
        #[arg(long, default_value_t = 0)]
        rate: u64,
        /// Bytes of payload.
        #[arg(long, default_value_t = 100)]
        bytes: usize,
        /// Seconds to measure.
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
        /// The namespace of the channels, one for each client.
        #[arg(long, default_value = "log")]
        channel: String,
    },
    /// Users connect with a token, subscribe to three channels, and stay.
    Hold {
        /// Number of the first user.
        #[arg(long, default_value_t = 0)]
        first: usize,
        /// The key of connection tokens (HS256).
        #[arg(long)]
        secret: String,
        /// Without subscriptions.
        #[arg(long)]
        bare: bool,
        /// Seconds to stay.
        #[arg(long, default_value_t = 30.0)]
        hold: f64,
    },
    /// Users in rooms are dropped at once and come back, each at a word on standard input.
    Storm {
        /// Number of the first user.
        #[arg(long, default_value_t = 0)]
        first: usize,
        /// The key of connection tokens (HS256).
        #[arg(long)]
        secret: String,
        /// The namespace of the rooms.
        #[arg(long, default_value = "room")]
        namespace: String,
    },
    /// Clients connect, say one thing, and stay.
    Idle {
        /// What the peers speak.
        #[arg(long, value_enum, default_value_t = Dialect::Json)]
        dialect: Dialect,
        /// Path for bare clients.
        #[arg(long, default_value = "/debug/echo")]
        path: String,
        /// Seconds to stay before the server's memory is read.
        #[arg(long, default_value_t = 3.0)]
        hold: f64,
    },
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.source.is_some_and(|source| !source.is_loopback()) {
        eprintln!("load: the source is not a loopback address");
        std::process::exit(2);
    }
    if !arguments.address.ip().is_loopback() {
        eprintln!("load: {} is not a loopback address; nothing is sent", arguments.address);
        std::process::exit(2);
    }
    let tls = arguments.tls.map(|file| {
        secure::trusting(&file).unwrap_or_else(|error| {
            eprintln!("load: --tls {}: {error}", file.display());
            std::process::exit(2);
        })
    });
    let target = modes::Target {
        tls,
        address: arguments.address,
        source: arguments.source,
        connections: arguments.connections,
        server_pid: arguments.server_pid,
    };
    let result = match arguments.mode {
        Mode::Echo { path, depth, bytes, seconds } => {
            let time = Duration::from_secs_f64(seconds.clamp(0.1, 60.0));
            modes::echo(&target, &modes::Echo { path, depth, bytes, time })
        }
        Mode::Fanout { dialect, outstanding, rounds, channel, bystander } => {
            let fanout = modes::Fanout { dialect, outstanding, rounds, channel, bystander };
            modes::fanout(&target, &fanout)
        }
        Mode::Durable { depth, rate, bytes, seconds, channel } => {
            let time = Duration::from_secs_f64(seconds.clamp(0.1, 600.0));
            let settings = durable::Durable { depth, rate, bytes, time, channel };
            durable::durable(&target, &settings)
        }
        Mode::Hold { first, secret, bare, hold } => {
            let time = Duration::from_secs_f64(hold.clamp(0.0, 3600.0));
            hold::hold(&target, &hold::Hold { first, secret, subscribes: !bare, time })
        }
        Mode::Storm { first, secret, namespace } => {
            storm::storm(&target, &storm::Storm { first, secret, namespace })
        }
        Mode::Idle { dialect, path, hold } => {
            let hold = Duration::from_secs_f64(hold.clamp(0.0, 600.0));
            modes::idle(&target, dialect, &path, hold)
        }
    };
    match result {
        Ok(report) => println!("{report}"),
        Err(error) => {
            eprintln!("load: {error}");
            std::process::exit(1);
        }
    }
}
