//! The configuration: read once, turned into typed values or a clear refusal, immutable from then
//! on.
//!
//! ```text
//! file ──► document (tree with positions) ─┐
//! environment ─────────────────────────────┼─► reading ─► values ─► building ─► Settings
//! flags ───────────────────────────────────┘      ▲                    │
//!                                              options              relations
//! ```
//!
//! All problems are reported, not only the first. [`options`] is the one table that says what
//! exists.

mod autocert;
mod building;
mod development;
mod difference;
mod document;
mod environment;
mod json;
mod keys;
mod nearest;
pub mod options;
mod problem;
mod reading;
pub mod reference;
mod relations;
mod tls;
mod toml;
mod values;
mod yaml;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use gateway::config::GatewayConfig;
use persistence::JournalIo;

pub use difference::{Change, Difference};
pub use document::Position;
pub use keys::TokenKeys;
pub use problem::{Place, Problem, Refusal};
pub use tls::TlsSettings;

use crate::limits;
use crate::memory::MemorySettings;
use crate::secret::Secret;
use difference::Effective;
use document::{Format, Value};
use reading::{Reading, Said, Speaker};

/// Everything an operator decided, with defaults for everything else.
#[derive(Clone, Debug)]
pub struct Settings {
    /// No file and no credentials were given: loopback only, with secrets made up at start.
    pub development: bool,
    /// The client port (`http_server.address`, `http_server.port`). Port zero: any free one.
    pub listen: SocketAddr,
    /// TLS on the client port (`http_server.tls`); `None`: there is none.
    pub tls: Option<TlsSettings>,
    /// Where operators find metrics and health (`metrics.address`); `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Least important messages that are written (`log.level`).
    pub log_level: LogLevel,
    /// What concerns clients, for every gateway shard.
    pub gateway: GatewayConfig,
    /// Keys and rules of connection tokens (`client.token`).
    pub connection_tokens: TokenKeys,
    /// Keys and rules of subscription tokens: those of `client.subscription_token` if it is
    /// enabled, those of `client.token` otherwise.
    pub subscription_tokens: TokenKeys,
    /// The HTTP API.
    pub api: ApiSettings,
    /// Key of the admin API (`admin.key`); `None`: it is not served.
    pub admin_key: Option<Secret>,
    /// Was that key made up for this start, so that nobody knows it yet?
    pub is_admin_key_made_up: bool,
    /// Serve `/health` on the client port as well (`health.enabled`).
    pub health: bool,
    /// Shards (`shards`); `None`: one per core that this process may use.
    pub shards: Option<usize>,
    /// What drives sockets (`io`).
    pub io: IoChoice,
    /// Router partitions (`partitions`).
    pub partitions: u16,
    /// Where durable channels are kept (`persistence`); `None`: nowhere, and no channel is durable.
    pub persistence: Option<PersistenceSettings>,
    /// When memory runs out (`memory`).
    pub memory: MemorySettings,
    /// Clients are sent away over this time (`shutdown.drain`).
    pub drain: Duration,
    /// The process ends after this time (`shutdown.timeout`), at least [`Self::drain`].
    pub shutdown_timeout: Duration,
    /// Each option as it holds, for [`Settings::difference`].
    effective: BTreeMap<String, Effective>,
}

/// Least important messages that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// What shall drive sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring where the host permits it, the portable driver elsewhere.
    Auto,
    /// io_uring, or no start.
    Ring,
    /// epoll.
    Portable,
}

/// The HTTP API of backends (`http_api`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSettings {
    /// Serve it at all.
    pub enabled: bool,
    /// A caller must send one of these. Without any, only [`Self::insecure`] lets callers in.
    pub keys: Vec<Secret>,
    /// Callers need no key.
    pub insecure: bool,
}

/// The data directory (`persistence`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistenceSettings {
    /// The directory, made if it is not there.
    pub directory: PathBuf,
    /// What the journal writes through.
    pub journal_io: JournalIo,
    /// Size of one segment of the journal.
    pub segment_bytes: u64,
    /// Bytes of changes that may wait for the store.
    pub backlog_bytes_max: u64,
}

impl Settings {
    /// Is there a channel whose changes go to the log?
    pub fn has_durable_channels(&self) -> bool {
        let namespaces = &self.gateway.namespaces;
        namespaces.without.is_durable() || namespaces.named.values().any(|one| one.is_durable())
    }
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// Variables of the environment; those that do not begin with `RINGWAY_` are left alone.
    pub environment: Vec<(String, String)>,
    /// Flags of the command line, which have the last word.
    pub flags: Flags,
    /// Start without the options of Centrifugo that Ringway does not serve.
    pub allows_unsupported: bool,
}

/// Options that the command line may set.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--address`.
    pub address: Option<String>,
    /// `--port`.
    pub port: Option<String>,
    /// `--data-dir`.
    pub data_dir: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
    /// `--io`.
    pub io: Option<String>,
    /// `--dev-tls`.
    pub dev_tls: bool,
}

/// Settings and what there is to remark about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What is accepted, but not without a remark.
    pub warnings: Vec<Problem>,
}

impl Sources {
    /// The sources of this process.
    pub fn of_this_process(file: Option<PathBuf>, flags: Flags) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file, environment, flags, allows_unsupported: false }
    }
}

impl Settings {
    /// Reads all sources.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, in the order of the file.
    pub fn load(sources: &Sources) -> Result<Loaded, Refusal> {
        let mut reading = Reading::new(sources.allows_unsupported);
        let is_development =
            sources.file.is_none() && !environment::bring_credentials(&sources.environment);
        if is_development {
            development::give(&mut reading.values);
        }
        if let Some(file) = &sources.file {
            read_file(&mut reading, file);
        }
        environment::read(&mut reading, &sources.environment);
        read_flags(&mut reading, &sources.flags);
        if is_development {
            development::make_durable(&mut reading.values);
        }
        let folder = sources.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let mut settings = building::build(&mut reading, folder, is_development);
        if sources.flags.dev_tls {
            let address = settings.listen.ip();
            settings.tls = tls::development(&mut reading, settings.tls, address);
        }
        problem::sort(&mut reading.problems);
        problem::sort(&mut reading.warnings);
        if reading.problems.is_empty() {
            Ok(Loaded { settings, warnings: reading.warnings })
        } else {
            Err(Refusal { problems: reading.problems })
        }
    }

    /// What changed from `old` to `new`, for a reload.
    pub fn difference(old: &Self, new: &Self) -> Difference {
        difference::between(&old.effective, &new.effective)
    }
}

fn read_file(reading: &mut Reading, path: &Path) {
    let name = path.display().to_string();
    let speaker = Speaker::File(name.as_str().into());
    let text = match read_limited(path) {
        Ok(text) => text,
        Err(sentence) => {
            let place = Place::WholeFile(name.as_str().into());
            return reading.problem(&place, "", sentence);
        }
    };
    match Format::of(path, &text).read(&text) {
        Ok(node) => {
            let Value::Table(entries) = &node.value else { unreachable!("a document is a table") };
            reading.read_table(&speaker, "", entries);
        }
        Err(fault) => reading.problem(&speaker.place(fault.at), "", fault.sentence),
    }
}

/// The text of a file of at most [`limits::FILE_BYTES_MAX`], or why there is none.
pub(crate) fn read_limited(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    file.take(limits::FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > limits::FILE_BYTES_MAX {
        return Err(format!("is larger than {} bytes", limits::FILE_BYTES_MAX));
    }
    Ok(text)
}

fn read_flags(reading: &mut Reading, flags: &Flags) {
    let said = [
        ("--address", "http_server.address", &flags.address),
        ("--port", "http_server.port", &flags.port),
        ("--data-dir", "persistence.data_dir", &flags.data_dir),
        ("--log-level", "log.level", &flags.log_level),
        ("--io", "io", &flags.io),
    ];
    for (flag, path, words) in said {
        let Some(words) = words else { continue };
        let row = options::find(path).expect("the table has every option that a flag sets");
        if let Some(given) = reading.offer(row, path, &Place::Flag(flag), Said::Words(words)) {
            reading.values.global.give(row, given);
        }
    }
}
