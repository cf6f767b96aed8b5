//! What happened on one shard since its start. Each shard counts for itself; readers add up.

use core::time::Duration;

use protocol::close::CloseReason;
use protocol::proxies::ProxyFault;

use super::entrance::UpgradeRefusal;
use super::notes::TokenFault;
use super::phase::Phase;

/// How long something took, by powers of two.
#[derive(Clone, Copy, Debug, Default)]
pub struct Durations {
    /// How often it took at most `Durations::bound_us(place)`, and more than the place before.
    pub counts: [u64; Self::PLACES],
    /// All of it, in nanoseconds.
    pub sum_ns: u64,
}

impl Durations {
    const PLACES: usize = 16;

    /// The upper bound of a place, in microseconds: 16 to 262,144, and everything in the last.
    pub fn bound_us(place: usize) -> Option<u64> {
        (place + 1 < Self::PLACES).then(|| 16 << place)
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let within = |place: &usize| Self::bound_us(*place).is_none_or(|bound| micros <= bound);
        let place = (0..Self::PLACES).find(within).unwrap_or(Self::PLACES - 1);
        self.counts[place] += 1;
        self.sum_ns += u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    }
}

/// Why publications, joins or leaves did not reach a client that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Too many waited for the channel's fan-out, and without offsets nobody can fetch them.
    QueueFull,
    /// Too many joins and leaves waited for the channel's fan-out.
    PresenceQueueFull,
    /// The client's budget was used up (`slow_consumer = drop`); it is told of the gap.
    SlowConsumer,
    /// A newer publication took the place (`slow_consumer = conflate`).
    Conflated,
}

impl DropReason {
    /// Every reason, in the order of [`Drops`].
    pub const ALL: [Self; 4] =
        [Self::QueueFull, Self::PresenceQueueFull, Self::SlowConsumer, Self::Conflated];

    /// As a label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::PresenceQueueFull => "presence_queue_full",
            Self::SlowConsumer => "slow_consumer",
            Self::Conflated => "conflated",
        }
    }
}

/// How many were left out, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    counts: [u64; DropReason::ALL.len()],
}

impl Drops {
    pub(crate) fn add(&mut self, reason: DropReason, count: u64) {
        self.counts[reason as usize] += count;
    }

    /// How many were left out for one reason.
    pub fn count(&self, reason: DropReason) -> u64 {
        self.counts[reason as usize]
    }
}

/// Why a subscription that the API asked for did not come about. The API has been answered by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeRefusal {
    /// The connection has as many channels as it may.
    ChannelLimit,
    /// No namespace has this name.
    UnknownChannel,
    /// The partition of the channel refused it, or could not be reached.
    Router,
    /// Too many waited for the connection's `connect` to be answered.
    Connecting,
}

impl SubscribeRefusal {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 4] =
        [Self::ChannelLimit, Self::UnknownChannel, Self::Router, Self::Connecting];

    /// As a label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::ChannelLimit => "channel_limit",
            Self::UnknownChannel => "unknown_channel",
            Self::Router => "router",
            Self::Connecting => "connecting",
        }
    }
}

/// Counters and gauges of one gateway shard.
#[derive(Clone, Debug)]
pub struct GatewayCounters {
    /// Connections accepted.
    pub accepted: u64,
    /// Requests that became WebSockets.
    pub upgraded: u64,
    /// Requests that were refused, by status class 4xx.
    pub requests_refused: u64,
    /// Upgrades refused with 503, in the order of [`UpgradeRefusal::ALL`].
    pub upgrades_refused: [u64; UpgradeRefusal::ALL.len()],
    /// Clients let in although their address could not be counted.
    pub addresses_uncounted: u64,
    /// Headers of proxies refused, in the order of [`ProxyFault::ALL`].
    pub proxy_headers_refused: [u64; ProxyFault::ALL.len()],
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
    /// Tokens refused, in the order of [`TokenFault::ALL`].
    pub tokens_refused: [u64; TokenFault::ALL.len()],
    /// Closes by reason, in the order of [`CloseReason::ALL`].
    pub closes: Vec<u64>,
    /// From the turn that read a publication of a client to the turn that queued its answer; one
    /// publication per connection is timed at once.
    pub publish_latency: Durations,
    /// Publications handed to outboxes.
    pub deliveries: u64,
    /// What did not reach clients that were there.
    pub drops: Drops,
    /// Subscriptions of the API that did not come about, in the order of
    /// [`SubscribeRefusal::ALL`].
    pub subscribes_refused: [u64; SubscribeRefusal::ALL.len()],
    /// Connections now.
    pub connections: u64,
    /// The same by where they are in their lives, in the order of [`Phase::ALL`].
    pub connections_by_phase: [u64; Phase::ALL.len()],
    /// Of those, the ones that are expected to send much, now.
    pub connections_hot: u64,
    /// Sessions now.
    pub sessions_now: u64,
    /// Channels with a subscription here, now.
    pub channels: u64,
    /// Subscriptions now.
    pub subscriptions: u64,
    /// Users at home here, now.
    pub users: u64,
    /// Connects whose token waits to be checked, now.
    pub connects_waiting: u64,
    /// Bytes waiting in outboxes, now.
    pub outbox_bytes: u64,
}

impl Default for GatewayCounters {
    fn default() -> Self {
        Self {
            accepted: 0,
            upgraded: 0,
            requests_refused: 0,
            upgrades_refused: [0; UpgradeRefusal::ALL.len()],
            addresses_uncounted: 0,
            proxy_headers_refused: [0; ProxyFault::ALL.len()],
            requests_served: 0,
            sessions: 0,
            messages_in: 0,
            bytes_out: 0,
            sends: 0,
            errors: [0; 14],
            tokens_refused: [0; TokenFault::ALL.len()],
            closes: vec![0; CloseReason::ALL.len()],
            publish_latency: Durations::default(),
            deliveries: 0,
            drops: Drops::default(),
            subscribes_refused: [0; SubscribeRefusal::ALL.len()],
            connections: 0,
            connections_by_phase: [0; Phase::ALL.len()],
            connections_hot: 0,
            sessions_now: 0,
            channels: 0,
            subscriptions: 0,
            users: 0,
            connects_waiting: 0,
            outbox_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_place_whose_bound_they_do_not_exceed() {
        let mut durations = Durations::default();
        for micros in [0, 16, 17, 32, 1_000_000_000] {
            durations.record(Duration::from_micros(micros));
        }
        assert_eq!(durations.counts[..3], [2, 2, 0]);
        assert_eq!(durations.counts[Durations::PLACES - 1], 1);
        assert_eq!(Durations::bound_us(0), Some(16));
        assert_eq!(Durations::bound_us(Durations::PLACES - 1), None);
    }
}
