//! What happened on one shard since its start. Each shard counts for itself; readers add up.

use protocol::close::CloseReason;

/// Counters and gauges of one gateway shard.
#[derive(Clone, Debug)]
pub struct GatewayCounters {
    /// Connections accepted.
    pub accepted: u64,
    /// Requests that became WebSockets.
    pub upgraded: u64,
    /// Requests that were refused, by status class 4xx.
    pub requests_refused: u64,
    /// Requests handed to the HTTP service.
    pub requests_served: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Messages received from clients.
    pub messages_in: u64,
    /// Bytes sent, with framing.
    pub bytes_out: u64,
    /// Sends that the kernel completed.
    pub sends: u64,
    /// Commands answered with an error, by the place of its code.
    pub errors: [u64; 14],
    /// Closes by reason, in the order of [`CloseReason::ALL`].
    pub closes: Vec<u64>,
    /// Publications handed to outboxes.
    pub deliveries: u64,
    /// Publications that found no room on this shard.
    pub drops: u64,
    /// Connections now.
    pub connections: u64,
    /// Sessions now.
    pub sessions_now: u64,
    /// Channels with a subscription here, now.
    pub channels: u64,
    /// Subscriptions now.
    pub subscriptions: u64,
    /// Users at home here, now.
    pub users: u64,
    /// Bytes waiting in outboxes, now.
    pub outbox_bytes: u64,
}

impl Default for GatewayCounters {
    fn default() -> Self {
        Self {
            accepted: 0,
            upgraded: 0,
            requests_refused: 0,
            requests_served: 0,
            sessions: 0,
            messages_in: 0,
            bytes_out: 0,
            sends: 0,
            errors: [0; 14],
            closes: vec![0; CloseReason::ALL.len()],
            deliveries: 0,
            drops: 0,
            connections: 0,
            sessions_now: 0,
            channels: 0,
            subscriptions: 0,
            users: 0,
            outbox_bytes: 0,
        }
    }
}
