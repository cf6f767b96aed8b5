//! What the API reaches: partitions and connections of this process, through the shards' inboxes.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use gateway::driver::{Control, Inspection};
use protocol::channels::Namespaces;
use protocol::client::ErrorCode;
use protocol::ids::{PartitionId, home_of, partition_of};
use protocol::link::{Answer, ReplyTo, Request, ToRouter, UserCommand};
use router::api::{Backend, NodeInfo};
use router::engine::Counters;
use tokio::sync::oneshot;

use super::bus::{RouterCall, host_of};
use super::{ShardHandle, deliver};
use crate::limits::{self, ANSWER_TIMEOUT};

/// All shards of this process.
#[derive(Clone, Debug)]
pub struct LocalBackend {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    shards: Vec<ShardHandle>,
    partitions_count: u16,
    namespaces: RwLock<Arc<Namespaces>>,
    name: String,
    uid: String,
    started: Instant,
}

impl LocalBackend {
    /// The shards of a node, which goes by `name`, and by `uid` until it ends.
    pub fn new(
        shards: Vec<ShardHandle>,
        partitions_count: u16,
        namespaces: Arc<Namespaces>,
        name: String,
        uid: String,
    ) -> Self {
        let started = Instant::now();
        let namespaces = RwLock::new(namespaces);
        let shared = Shared { shards, partitions_count, namespaces, name, uid, started };
        Self { shared: Arc::new(shared) }
    }

    /// New rules, for the API and all partitions.
    pub async fn set_namespaces(&self, namespaces: &Arc<Namespaces>) {
        *self.shared.namespaces.write().expect("no holder panics") = namespaces.clone();
        for shard in &self.shared.shards {
            // A full inbox at this moment means that thousands of API calls wait; they go first.
            deliver(&shard.router, RouterCall::SetNamespaces(namespaces.clone())).await;
        }
    }

    async fn ask_one(
        &self,
        partition: PartitionId,
        message: ToRouter,
    ) -> Result<Answer, ErrorCode> {
        let host = host_of(partition, self.shared.shards.len());
        let (sender, receiver) = oneshot::channel();
        let answered = Box::new(move |result| drop(sender.send(result)));
        let call = RouterCall::Ask { partition, message, answered };
        let shard = &self.shared.shards[usize::from(host.0)];
        shard.router.send(call).map_err(|_| ErrorCode::TooManyRequests)?;
        match tokio::time::timeout(ANSWER_TIMEOUT, receiver).await {
            Ok(Ok(result)) => result,
            _ => Err(ErrorCode::Internal),
        }
    }

    /// What every shard has counted, by its number. A shard that does not answer is left out.
    pub async fn inspect(&self) -> Vec<(usize, Inspection, Vec<Counters>)> {
        let mut all = Vec::with_capacity(self.shared.shards.len());
        for (index, shard) in self.shared.shards.iter().enumerate() {
            let (gateway, gateway_told) = oneshot::channel();
            let (router, router_told) = oneshot::channel();
            let tell = Box::new(move |inspection| drop(gateway.send(inspection)));
            let asked = shard.gateway.send(Control::Inspect(tell)).is_ok();
            let tell = Box::new(move |counters| drop(router.send(counters)));
            let asked = asked && shard.router.send(RouterCall::Inspect(tell)).is_ok();
            if !asked {
                continue;
            }
            let both = async { Some((gateway_told.await.ok()?, router_told.await.ok()?)) };
            if let Ok(Some((gateway, router))) = tokio::time::timeout(ANSWER_TIMEOUT, both).await {
                all.push((index, gateway, router));
            }
        }
        all
    }

    /// All shards, by number.
    pub fn shards(&self) -> &[ShardHandle] {
        &self.shared.shards
    }

    /// The configured name of the node, the one that is different at every start, and the time
    /// since then.
    pub fn about(&self) -> (&str, &str, Duration) {
        (&self.shared.name, &self.shared.uid, self.shared.started.elapsed())
    }

    /// How many shards there are.
    pub fn shards_count(&self) -> usize {
        self.shared.shards.len()
    }
}

impl Backend for LocalBackend {
    async fn ask(&self, message: ToRouter) -> Result<Answer, ErrorCode> {
        let partition = partition_of(&message.channel, self.shared.partitions_count);
        self.ask_one(partition, message).await
    }

    async fn channels(&self, pattern: Arc<str>) -> Result<Vec<(Arc<str>, u32)>, ErrorCode> {
        let mut all = Vec::new();
        for partition in (0..self.shared.partitions_count).map(PartitionId) {
            let mut from = Some(0);
            while let Some(part) = from {
                let (channel, reply_to) = (pattern.clone(), ReplyTo::Nobody);
                let request = Request::Channels { from: part };
                let message = ToRouter { channel, reply_to, request };
                let Answer::Channels { found, next } = self.ask_one(partition, message).await?
                else {
                    return Err(ErrorCode::Internal);
                };
                all.extend(found);
                from = next;
            }
            if all.len() > limits::CHANNELS_ANSWER_MAX {
                // A part would look like all.
                return Err(ErrorCode::LimitExceeded);
            }
        }
        Ok(all)
    }

    fn user(&self, user: Arc<str>, command: UserCommand) -> Result<(), ErrorCode> {
        let home = home_of(&user, self.shared.shards.len() as u8);
        let shard = &self.shared.shards[usize::from(home.0)];
        let control = Control::User { user, command };
        shard.gateway.send(control).map_err(|_| ErrorCode::TooManyRequests)
    }

    async fn info(&self) -> Vec<NodeInfo> {
        let mut info = NodeInfo {
            uid: self.shared.uid.clone(),
            name: self.shared.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.shared.started.elapsed().as_secs(),
            ..NodeInfo::default()
        };
        for (_, gateway, router) in self.inspect().await {
            info.clients += gateway.engine.sessions_now;
            info.users += gateway.engine.users;
            info.subscriptions += gateway.engine.subscriptions;
            info.channels += router.iter().map(|counters| counters.channels).sum::<u64>();
        }
        vec![info]
    }

    fn namespaces(&self) -> Arc<Namespaces> {
        self.shared.namespaces.read().expect("no holder panics").clone()
    }
}
