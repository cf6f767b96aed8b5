//! `ringway serve`: settings in, a node that runs until it is told to end.

mod announce;
mod durable;
mod jwks;
mod logs;
mod reload;
pub(crate) mod tls;
mod tokens;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, RwLock};

use axum::Router;
use gateway::driver::Control;
use gateway::engine::TokenVerifier;
use persistence::Persistence;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shard::placement::Placement;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::acme::driver::Acme;
use crate::admin::AdminAccess;
use crate::limits::{KEYS_ASKED_MAX, PORT_PATIENCE, PORT_RETRY};
use crate::memory;
use crate::node::backend::LocalBackend;
use crate::node::driver::Driver;
use crate::node::http::{ClientRoutes, client_port, operator_port};
use crate::node::metrics::Own;
use crate::node::service::TowerService;
use crate::node::{Node, NodeOptions, ShardHandle, can_listen, deliver};
use crate::settings::{Settings, Sources};
use reload::Reloading;
use router::api::{ApiAccess, ApiKeys, SharedAccess};

/// Runs all tiers in this process until it is told to end. A reload reads `sources` again.
///
/// # Errors
///
/// One sentence: why the server could not start or had to stop.
pub fn serve(settings: Settings, sources: Sources) -> Result<(), String> {
    logs::start(settings.log_level);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // The API is far from the hot path; the cores belong to the shards.
        .worker_threads(2)
        .thread_name("service")
        .enable_all()
        .build()
        .map_err(|error| format!("no threads for the HTTP service: {error}"))?;
    runtime.block_on(run(settings, sources))
}

async fn run(mut settings: Settings, sources: Sources) -> Result<(), String> {
    let signals = Signals::listen()?;
    let verifier = tokens::verifier(&settings)?;
    let operators = match bind_operators(settings.metrics).await {
        Ok(operators) => operators,
        Err(sentence) => {
            // With both ports taken, most likely by another Ringway, the clients' is the news.
            can_listen(settings.listen).map_err(|error| error.to_string())?;
            return Err(sentence);
        }
    };
    wait_for_port(settings.listen).await?;
    let (acme, parts) = tls::open(&settings)?;
    let tls = parts.as_ref().map(tls::Parts::config).transpose()?;
    let source = tokens::key_source(&settings, verifier.clone())?;
    let options = node_options(&settings, verifier)?;
    // The last that settings can be wrong for: it writes down which channels are durable.
    let (persistence, log) = durable::open(&mut settings)?.unzip();
    let gateway = Arc::new(settings.gateway.clone());
    let options = NodeOptions { log, tls, gateway, ..options };
    let routes: Arc<OnceLock<Router>> = Arc::default();
    let (keys_wanted, keys_asked) = tokio::sync::mpsc::channel(KEYS_ASKED_MAX);
    let runtime = tokio::runtime::Handle::current();
    let access: SharedAccess = Arc::new(RwLock::new(api_access(&settings)));
    let admin_access: AdminAccess = Arc::new(RwLock::new(admin_access_of(&settings)));
    let api = settings.api.enabled.then(|| access.clone());
    let shard_api = api.clone();
    let shard_routes = routes.clone();
    let service = move |_, shard: &ShardHandle| {
        let _entered = runtime.enter();
        TowerService::start(shard_routes.clone(), shard_api.clone(), shard.gateway.clone())
    };
    // A full channel means that keys are being asked for already; who waits is told with the
    // others.
    let load_keys = move |key_id| {
        let _ = keys_wanted.try_send(key_id);
    };
    let node = Node::start(&options, service, load_keys).map_err(|error| error.to_string())?;
    let shards = node.shards.clone();
    let backend = backend_of(&settings, shards.clone())?;
    let serves = ClientRoutes { api, page: true, health: settings.health };
    // Set once, here: the shards answered 503 until now.
    drop(routes.set(client_port(&backend, serves)));
    let memory = memory::watch(settings.memory, shards.clone());
    let acme_state = acme.as_ref().map(Acme::state);
    let tls = tls::start(parts, acme, &shards, &backend);
    if let Some(listener) = operators.listener {
        let durable = persistence.as_ref().map(persistence::Persistence::counters);
        let own = Own { driver: options.driver, durable, memory, acme: acme_state };
        let router = operator_port(&backend, own, admin_access.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
    let (key_sources, sources_seen) = tokio::sync::watch::channel(source.clone());
    tokio::spawn(jwks::Keys::new(source, shards.clone()).run(keys_asked, sources_seen));
    announce::started(&settings, &options, node.address, operators.address);
    let reloading = Reloading {
        settings,
        arrivals: node.arrivals.clone(),
        sources,
        backend,
        shards,
        key_sources,
        access,
        admin_access,
        persistence,
        tls,
    };
    until_told_to_end(node, reloading, signals).await
}

/// What an operator says to the process. Listened to before anybody can know that it runs, because
/// a signal that nobody listens to ends it at once.
struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, String> {
        let listen =
            |kind| signal(kind).map_err(|error| format!("signals cannot be received: {error}"));
        Ok(Self {
            hang_up: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }
}

/// The operators' listener, bound before clients are let in.
struct Operators {
    listener: Option<tokio::net::TcpListener>,
    address: Option<SocketAddr>,
}

async fn bind_operators(address: Option<SocketAddr>) -> Result<Operators, String> {
    let Some(address) = address else {
        return Ok(Operators { listener: None, address: None });
    };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
        format!(
            "{address} (metrics.address) cannot be bound: {error}; set another address \
             (without a file: RINGWAY_METRICS_ADDRESS=127.0.0.1:9001), or none by \
             `metrics.address = \"\"`"
        )
    })?;
    let address = listener.local_addr().ok();
    Ok(Operators { listener: Some(listener), address })
}

fn node_options(
    settings: &Settings,
    verifier: Arc<dyn TokenVerifier>,
) -> Result<NodeOptions, String> {
    let placement = Placement::of_this_process();
    let shards = settings.shards.unwrap_or(placement.shards_count);
    let shards_count =
        u8::try_from(shards).map_err(|_| format!("{shards} shards are more than 255"))?;
    let driver = Driver::of_this_host(settings.io)?;
    let connections_per_table = driver.connections_per_table(files_allowed(), shards_count);
    Ok(NodeOptions {
        address: settings.listen,
        shards_count,
        partitions_count: settings.partitions,
        driver,
        connections_per_table,
        tables_per_shard: driver.tables_per_shard(connections_per_table),
        // With a core of its own each; a shard that shares one is better left to the scheduler.
        pins: usize::from(shards_count) <= placement.cores.len() && placement.cores.len() > 1,
        gateway: Arc::new(settings.gateway.clone()),
        tls: None,
        verifier,
        seed: random_seed()?,
        addresses_seed: random_seed()?,
        log: None,
    })
}

/// What reaches these shards, under a name that is different at every start.
fn backend_of(settings: &Settings, shards: Vec<ShardHandle>) -> Result<LocalBackend, String> {
    let uid = format!("{:016x}", random_seed()?);
    let name = settings.gateway.node_name.to_string();
    let namespaces = settings.gateway.namespaces.clone();
    Ok(LocalBackend::new(shards, settings.partitions, namespaces, name, uid))
}

/// Raises RLIMIT_NOFILE as far as this process may; what it is then.
fn files_allowed() -> u32 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u32::try_from(allowed).unwrap_or(u32::MAX)
}

fn random_seed() -> Result<u64, String> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(u64::from_ne_bytes(bytes))
}

fn api_access(settings: &Settings) -> ApiAccess {
    if settings.api.insecure {
        return ApiAccess::Everybody;
    }
    let keys = settings.api.keys.iter().map(|key| key.expose().as_bytes().to_vec());
    let keys = ApiKeys::new(keys.collect(), gateway::auth::constant_time_eq);
    ApiAccess::Keys(Arc::new(keys))
}

/// Who may call the admin API; `None`: nobody, because there is no key.
fn admin_access_of(settings: &Settings) -> Option<ApiAccess> {
    let key = settings.admin_key.as_ref()?.expose().as_bytes().to_vec();
    let keys = ApiKeys::new(vec![key], gateway::auth::constant_time_eq);
    Some(ApiAccess::Keys(Arc::new(keys)))
}

/// Reloads on SIGHUP, drains on SIGTERM and SIGINT, ends with the node.
async fn until_told_to_end(
    node: Node,
    mut reloading: Reloading,
    signals: Signals,
) -> Result<(), String> {
    let Signals { mut hang_up, mut terminate, mut interrupt } = signals;
    let shards = node.shards.clone();
    let mut ended = tokio::task::spawn_blocking(move || node.join());
    loop {
        tokio::select! {
            result = &mut ended => {
                close(reloading.persistence).await;
                return end_of(result);
            }
            _ = hang_up.recv() => reloading.reload().await,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    let drain = reloading.settings.drain;
    let timeout = reloading.settings.shutdown_timeout;
    tracing::info!(drain_seconds = drain.as_secs_f64(), "shutting down: clients are sent away");
    // A shard that takes nothing must not keep the others, or the operator, from ending.
    tokio::spawn(async move {
        for shard in &shards {
            deliver(&shard.gateway, Control::Drain(drain)).await;
        }
    });
    let persistence = reloading.persistence.take();
    let end = async {
        tokio::select! {
            result = &mut ended => {
                close(persistence).await;
                tracing::info!("shut down");
                end_of(result)
            }
            () = tokio::time::sleep(timeout) => {
                tracing::warn!("clients are left after shutdown.timeout; ending without them");
                close(persistence).await;
                std::process::exit(0);
            }
        }
    };
    tokio::select! {
        result = end => result,
        _ = terminate.recv() => std::process::exit(1),
        _ = interrupt.recv() => std::process::exit(1),
    }
}

/// A server that was killed keeps its port until the kernel has taken its ring apart, for some
/// milliseconds.
async fn wait_for_port(address: SocketAddr) -> Result<(), String> {
    let give_up = tokio::time::Instant::now() + PORT_PATIENCE;
    loop {
        match can_listen(address) {
            Ok(()) => return Ok(()),
            Err(error) if tokio::time::Instant::now() >= give_up => return Err(error.to_string()),
            Err(_) => tokio::time::sleep(PORT_RETRY).await,
        }
    }
}

/// Writes what waits for the journal, and lets the store catch up for a while.
async fn close(persistence: Option<Persistence>) {
    let Some(persistence) = persistence else { return };
    let closed = tokio::task::spawn_blocking(move || persistence.shutdown()).await;
    if let Err(error) = closed {
        tracing::error!("the journal was not closed in order: {error}; the next start mends it");
    }
}

fn end_of(result: Result<std::io::Result<()>, tokio::task::JoinError>) -> Result<(), String> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("a shard ended: {error}; restart the server")),
        Err(error) => Err(format!("a shard ended: {error}; restart the server")),
    }
}
