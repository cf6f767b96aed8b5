//! One process: shards with their gateways and partitions, put together and started.

mod acme_metrics;
pub mod backend;
pub mod bus;
pub mod driver;
mod durable_metrics;
pub mod http;
pub mod log;
pub mod metrics;
mod page;
pub mod process_memory;
pub mod service;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use gateway::arrivals::Arrivals;
use gateway::config::GatewayConfig;
use gateway::driver::Clock;
use gateway::driver::tls::TlsConfig;
use gateway::driver::{Control, Pump, PumpParts, Service, SystemClock};
use gateway::engine::{GatewayShard, ShardOptions, TokenVerifier};
use protocol::ids::{PartitionId, ShardId};
use router::engine::{Partition, PartitionOptions};
use shard::lanes::{Bell, Endpoint, Inbox, LaneSize, mesh};
use shard::placement::{Placement, pin_to};
use shard::{Io, Portable, RingOptions, Rings};

use crate::limits::{INBOX_RETRY, PLACES_TO_REFUSE};
use bus::{LocalBus, RouterCall, ShardMessage};
use driver::{Driver, Made};
use log::{LogSource, NodeLog};

/// What a node is made of.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Shards, at least one.
    pub shards_count: u8,
    /// Partitions, at least one.
    pub partitions_count: u16,
    /// What drives sockets.
    pub driver: Driver,
    /// Places in each table of sockets.
    pub connections_per_table: u32,
    /// Tables that a shard may have; one is made when those before it are full.
    pub tables_per_shard: u8,
    /// Pin each shard to a core?
    pub pins: bool,
    /// Settings of the gateway.
    pub gateway: Arc<GatewayConfig>,
    /// TLS with every client; `None`: with none.
    pub tls: Option<Arc<TlsConfig>>,
    /// Checks tokens.
    pub verifier: Arc<dyn TokenVerifier>,
    /// Random, different at every start.
    pub seed: u64,
    /// For the table of addresses: random, and told to nobody, so that nobody can choose addresses
    /// that meet in it.
    pub addresses_seed: u64,
    /// Where durable changes go; `None`: no channel is durable.
    pub log: Option<Arc<LogSource>>,
}

impl NodeOptions {
    /// Places for sockets that a shard has in all its tables.
    pub fn connections_per_shard(&self) -> u32 {
        self.connections_per_table * u32::from(self.tables_per_shard)
    }
}

/// How to reach one shard from other threads.
#[derive(Clone, Debug)]
pub struct ShardHandle {
    /// Its gateway.
    pub gateway: Inbox<Control>,
    /// Its partitions.
    pub router: Inbox<RouterCall>,
}

/// A node that runs.
#[derive(Debug)]
pub struct Node {
    /// Where it listens; the port is the real one.
    pub address: SocketAddr,
    /// Its shards, by number.
    pub shards: Vec<ShardHandle>,
    /// What all its shards count together. To be prepared for new limits before they get them.
    pub arrivals: Arc<Arrivals>,
    threads: Vec<JoinHandle<()>>,
    /// How each shard ended.
    ended: mpsc::Receiver<io::Result<()>>,
}

/// Why a node did not start: a sentence for the operator.
#[derive(Debug)]
pub struct StartError(pub String);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl Node {
    /// Starts all shards. `service` and `load_keys` are made once per shard, on its thread.
    ///
    /// # Errors
    ///
    /// The address cannot be bound, or a ring cannot be made.
    pub fn start<S: Service + 'static>(
        options: &NodeOptions,
        service: impl Fn(ShardId, &ShardHandle) -> S + Send + Sync + 'static,
        load_keys: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let count = usize::from(options.shards_count);
        let (address, listeners) = shard::sockets::listen(options.address, count)
            .map_err(|error| StartError(bind_sentence(options.address, &error)))?;
        let bells = (0..count).map(|_| Bell::new()).collect::<io::Result<Vec<_>>>();
        let bells = bells.map_err(|error| StartError(format!("no eventfd: {error}")))?;
        let endpoints = mesh(&bells, LaneSize::default());
        let shards: Vec<ShardHandle> = bells
            .iter()
            .map(|bell| ShardHandle {
                gateway: Inbox::new(bell.clone()),
                router: Inbox::new(bell.clone()),
            })
            .collect();
        let connections_max = connections_share(options).saturating_mul(count as u32);
        let arrivals = Arc::new(Arrivals::new(connections_max, options.addresses_seed));
        arrivals.prepare(&options.gateway.arrivals);
        let shared = Arc::new(Shared {
            options: options.clone(),
            arrivals: arrivals.clone(),
            placement: Placement::of_this_process(),
            clock: SystemClock::start(),
            service: Box::new(service),
            load_keys: Arc::new(load_keys),
            bells: bells.clone(),
            drained_count: AtomicUsize::new(0),
        });
        let (ready, started) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        let mut threads = Vec::with_capacity(count);
        let parts = listeners.into_iter().zip(endpoints).zip(bells).zip(shards.clone());
        for (index, (((listener, endpoint), bell), handle)) in parts.enumerate() {
            let listener = Some(listener);
            let birth = Birth { shard: ShardId(index as u8), listener, endpoint, bell, handle };
            let (shared, ready) = (shared.clone(), ready.clone());
            let end = End(ends.clone());
            let thread = std::thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || end.tell(run_shard(birth, &shared, &ready)))
                .map_err(|error| StartError(format!("no thread for shard {index}: {error}")))?;
            threads.push(thread);
        }
        drop(ready);
        for _ in 0..count {
            match started.recv() {
                Ok(Ok(())) => {}
                Ok(Err(sentence)) => return Err(StartError(sentence)),
                Err(_) => return Err(StartError("a shard ended while starting".to_owned())),
            }
        }
        Ok(Self { address, shards, arrivals, threads, ended })
    }

    /// Waits until every shard has ended, or one of them with an error: without its partitions
    /// the others serve half of the channels.
    ///
    /// # Errors
    ///
    /// A ring failed, or a shard panicked.
    pub fn join(self) -> io::Result<()> {
        for _ in &self.threads {
            let lost = || io::Error::other("a shard is lost");
            self.ended.recv().map_err(|_| lost())??;
        }
        for thread in self.threads {
            thread.join().map_err(|_| io::Error::other("a shard panicked"))?;
        }
        Ok(())
    }
}

/// Sends what must not be lost: a full inbox is waited for.
pub async fn deliver<T: Send>(inbox: &Inbox<T>, message: T) {
    let mut message = message;
    while let Err(back) = inbox.send(message) {
        message = back;
        tokio::time::sleep(INBOX_RETRY).await;
    }
}

/// Could a server listen there now?
///
/// # Errors
///
/// Why not, as it would say itself.
pub fn can_listen(address: SocketAddr) -> Result<(), StartError> {
    let listening = shard::sockets::listen(address, 1).map(drop);
    listening.map_err(|error| StartError(bind_sentence(address, &error)))
}

/// Makes the HTTP service of one shard, on its thread.
type MakeService<S> = Box<dyn Fn(ShardId, &ShardHandle) -> S + Send + Sync>;

struct Shared<S> {
    options: NodeOptions,
    arrivals: Arc<Arrivals>,
    placement: Placement,
    clock: SystemClock,
    service: MakeService<S>,
    load_keys: Arc<dyn Fn(String) + Send + Sync>,
    bells: Vec<Bell>,
    /// Shards whose clients are all gone.
    drained_count: AtomicUsize,
}

impl<S> Shared<S> {
    /// Called by a shard whose drain has ended, before each further turn. True once all have.
    fn may_end(&self, is_told: &mut bool) -> bool {
        if !std::mem::replace(is_told, true) {
            self.drained_count.fetch_add(1, Ordering::AcqRel);
            // The others may be asleep, waiting for the last of them.
            self.bells.iter().for_each(Bell::ring);
        }
        self.drained_count.load(Ordering::Acquire) == self.bells.len()
    }
}

/// Tells how a shard ended, also when it panics.
struct End(mpsc::Sender<io::Result<()>>);

impl End {
    fn tell(self, end: io::Result<()>) {
        // Nobody listens to a node that did not start.
        let _ = self.0.send(end);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(Err(io::Error::other("a shard panicked")));
        }
    }
}

/// What one shard's thread takes over.
struct Birth {
    shard: ShardId,
    listener: Option<OwnedFd>,
    endpoint: Endpoint<ShardMessage>,
    bell: Bell,
    handle: ShardHandle,
}

fn run_shard<S: Service>(
    mut birth: Birth,
    shared: &Shared<S>,
    ready: &mpsc::Sender<Result<(), String>>,
) -> io::Result<()> {
    let options = &shared.options;
    if options.pins {
        // A shard that cannot be pinned runs elsewhere, more slowly.
        let _ = pin_to(shared.placement.core_of(usize::from(birth.shard.0)));
    }
    let ring_options = RingOptions::new(birth.shard, options.connections_per_table);
    let listener = birth.listener.take();
    match options.driver {
        Driver::Ring => {
            let io =
                Rings::new(ring_options, options.tables_per_shard, listener, birth.bell.clone());
            run_pump(Made { io, counters: Rings::counters }, birth, shared, ready)
        }
        Driver::Portable => {
            let io = Portable::new(ring_options, listener, &birth.bell);
            run_pump(Made { io, counters: Portable::counters }, birth, shared, ready)
        }
    }
}

fn run_pump<I: Io, S: Service>(
    made: Made<I>,
    birth: Birth,
    shared: &Shared<S>,
    ready: &mpsc::Sender<Result<(), String>>,
) -> io::Result<()> {
    let Birth { shard, endpoint, bell, handle, .. } = birth;
    let options = &shared.options;
    let io = match made.io {
        Ok(io) => io,
        Err(error) => {
            let sentence = format!("shard {} has no {} driver: {error}", shard.0, options.driver);
            let _ = ready.send(Err(sentence));
            return Err(error);
        }
    };
    let service = (shared.service)(shard, &handle);
    let mut engine = GatewayShard::new(
        ShardOptions {
            shard,
            shards_count: options.shards_count,
            connections_max: connections_share(options),
            seed: options.seed ^ u64::from(shard.0).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        },
        options.gateway.clone(),
        options.verifier.clone(),
        shared.clock.now(),
    );
    engine.share(shared.arrivals.clone());
    let namespaces = &options.gateway.namespaces;
    let log = options.log.as_ref();
    let now = shared.clock.now();
    let partition = |id: PartitionId| {
        let mut partition = PartitionOptions::new(id, namespaces.clone(), options.seed);
        partition.history_publications_max = options.gateway.history_publications_max;
        partition.recovery_publications_max = options.gateway.recovery_publications_max;
        partition.log = log.map(|log| log.progress(id));
        let partition = Partition::new(partition);
        match log {
            Some(log) => log.replayed(partition, now),
            None => partition,
        }
    };
    let partitions = (0..options.partitions_count).map(PartitionId);
    let hosted =
        partitions.filter(|id| bus::host_of(*id, usize::from(options.shards_count)) == shard);
    let log = log.map(|log| NodeLog::new(log.clone(), hosted, bell.clone()));
    let mut uplink =
        LocalBus::new(endpoint, options.partitions_count, handle.router.clone(), partition);
    if let Some(log) = log {
        uplink = uplink.with_log(Box::new(log));
    }
    let load_keys = shared.load_keys.clone();
    let mut pump = Pump::new(PumpParts {
        io,
        uplink,
        service,
        clock: shared.clock,
        engine,
        inbox: handle.gateway,
        bell,
    })
    .with_tls(options.tls.clone())
    .on_load_keys(move |key_id| load_keys(key_id))
    .with_ring_counters(made.counters);
    let _ = ready.send(Ok(()));
    let mut is_told = false;
    pump.run(|| shared.may_end(&mut is_told))
}

/// A shard's share of the process's connection limit, within its table.
fn connections_share(options: &NodeOptions) -> u32 {
    let table = options.connections_per_shard().saturating_sub(PLACES_TO_REFUSE).max(1);
    match options.gateway.connections_max {
        0 => table,
        limit => limit.div_ceil(u32::from(options.shards_count)).min(table),
    }
}

fn bind_sentence(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{address} is in use, perhaps by another Ringway; stop it (`ss -ltnp 'sport = :{}'` \
             shows who it is) or choose another port with --port",
            address.port()
        ),
        io::ErrorKind::PermissionDenied => format!(
            "{address} may not be bound by this user; choose a port above 1023, or grant \
             CAP_NET_BIND_SERVICE"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is not an address of this machine (`ip addr` lists them)", address.ip())
        }
        _ => format!("{address} cannot be bound: {error}"),
    }
}
