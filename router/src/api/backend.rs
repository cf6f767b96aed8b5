//! The seam between the API and whoever holds partitions and connections.

use std::future::Future;
use std::sync::Arc;

use protocol::channels::Namespaces;
use protocol::client::ErrorCode;
use protocol::link::{Answer, ToRouter, UserCommand};

/// One node, as `info` shows it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// A name that is different at every start.
    pub uid: String,
    /// The configured name.
    pub name: String,
    /// Version of the server.
    pub version: String,
    /// Sessions.
    pub clients: u64,
    /// Different users.
    pub users: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Channels with subscribers.
    pub channels: u64,
    /// Seconds since the start.
    pub uptime: u64,
}

/// What the API needs of the rest of the process.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Asks the partition of the message's channel.
    fn ask(&self, message: ToRouter) -> impl Future<Output = Result<Answer, ErrorCode>> + Send;

    /// Asks every partition for channels that match a pattern.
    fn channels(
        &self,
        pattern: Arc<str>,
    ) -> impl Future<Output = Result<Vec<(Arc<str>, u32)>, ErrorCode>> + Send;

    /// Has something done to all connections of a user.
    ///
    /// # Errors
    ///
    /// 100: too much waits already; the caller tries again.
    fn user(&self, user: Arc<str>, command: UserCommand) -> Result<(), ErrorCode>;

    /// All nodes.
    fn info(&self) -> impl Future<Output = Vec<NodeInfo>> + Send;

    /// The rules of all channels.
    fn namespaces(&self) -> Arc<Namespaces>;
}
