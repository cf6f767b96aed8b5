//! What a process of the generator is told to do.

use serde::{Deserialize, Serialize};

/// Everything one process needs to know; it arrives as one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) target: TargetPlan,
    /// Which of the processes this is.
    pub(crate) process: usize,
    pub(crate) processes: usize,
    /// Number of the first client of this process.
    pub(crate) first: usize,
    /// Clients of this process.
    pub(crate) clients: usize,
    /// Clients of all processes.
    pub(crate) clients_total: usize,
    /// New connections per second of this process; `None`: as fast as they are answered.
    pub(crate) connect_rate: Option<f64>,
    /// Connects of this process that are under way at once.
    pub(crate) connecting_max: usize,
    /// The clients must be there within this time.
    pub(crate) connect_seconds_max: f64,
    /// How long answers that are due are waited for once the time is up.
    pub(crate) patience_seconds: f64,
    pub(crate) mode: Mode,
}

/// Where the load goes, and as whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TargetPlan {
    pub(crate) url: String,
    pub(crate) is_protobuf: bool,
    pub(crate) trust: Trust,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) credentials: Credentials,
    /// Come from many loopback addresses, each with ports of its own.
    pub(crate) spreads_sources: bool,
}

/// Which certificates are believed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Trust {
    /// Those of the system's authorities.
    System,
    /// Those of the authorities in this PEM file.
    File(String),
    /// Any.
    Anything,
}

/// How clients say who they are.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Credentials {
    /// Not at all.
    Anonymous,
    /// All with the same token.
    Token(String),
    /// Each with a token of its own, signed with this secret (HS256).
    HmacSecret(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Token(_) => "Token(…)",
            Self::HmacSecret(_) => "HmacSecret(…)",
        })
    }
}

/// How fast things are asked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// So many per second of all processes, whether or not the ones before were answered.
    Rate(f64),
    /// So many are on their way at once: of each client, or of each process.
    Outstanding(usize),
}

/// The load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// Connect at a rate, stay, and be asked for a sign of life.
    Connect { hold_seconds: f64 },
    /// A request and its answer.
    Echo { request: Request, channel: String, bytes: usize, pace: Pace, seconds: f64 },
    /// Publications to all subscribers of their channel.
    Fanout(ChannelLoad),
    /// Publications that are acknowledged.
    Publish(ChannelLoad),
    /// All are dropped at once, and come back.
    Storm { channel: String, room_clients: usize, missed: usize, limit_seconds: f64 },
    /// Connections that come and go.
    Churn { rate: f64, seconds: f64 },
    /// Like a chat.
    Mixed(Mixed),
}

/// What an echo asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The `ping` of the client protocol.
    Ping,
    /// A publication into a channel of its own, until it is delivered.
    Publish,
}

/// Publications into channels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChannelLoad {
    pub(crate) channel: String,
    /// How many channels there are.
    pub(crate) channels: usize,
    pub(crate) bytes: usize,
    pub(crate) pace: Pace,
    pub(crate) seconds: f64,
    /// Whoever publishes is subscribed, too.
    pub(crate) publisher_subscribes: bool,
}

/// What a chat does per second, all clients together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mixed {
    pub(crate) channel: String,
    pub(crate) room_clients: usize,
    pub(crate) bytes: usize,
    pub(crate) seconds: f64,
    pub(crate) messages_per_second: f64,
    pub(crate) typing_per_second: f64,
    pub(crate) history_per_second: f64,
    pub(crate) reconnects_per_second: f64,
}

impl Plan {
    /// Seconds the measurement takes, as far as that is known before.
    pub(crate) fn seconds(&self) -> f64 {
        match &self.mode {
            Mode::Connect { hold_seconds } => {
                let rate = self.connect_rate.unwrap_or(f64::INFINITY);
                self.clients as f64 / rate + hold_seconds
            }
            Mode::Echo { seconds, .. } | Mode::Churn { seconds, .. } => *seconds,
            Mode::Fanout(load) | Mode::Publish(load) => load.seconds,
            Mode::Storm { limit_seconds, .. } => *limit_seconds,
            Mode::Mixed(mixed) => mixed.seconds,
        }
    }

    /// Seconds behind which only answers are waited for; `None` in a mode that says itself when it
    /// is over.
    pub(crate) fn asking_seconds(&self) -> Option<f64> {
        match &self.mode {
            Mode::Connect { .. } | Mode::Storm { .. } => None,
            _ => Some(self.seconds()),
        }
    }

    /// This process' part of a rate of all.
    pub(crate) fn share(&self, per_second: f64) -> f64 {
        per_second * self.clients as f64 / self.clients_total as f64
    }
}

/// The name of the mode.
impl Mode {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Echo { .. } => "echo",
            Self::Fanout(_) => "fanout",
            Self::Publish(_) => "publish",
            Self::Storm { .. } => "storm",
            Self::Churn { .. } => "churn",
            Self::Mixed(_) => "mixed",
        }
    }

    /// The latency that thresholds without a name and the check for lost samples are about.
    pub(crate) fn first_latency(&self) -> &'static str {
        match self {
            Self::Connect { .. } | Self::Churn { .. } => "connect",
            Self::Echo { .. } => "round_trip",
            Self::Fanout(_) | Self::Mixed(_) => "delivery",
            Self::Publish(_) => "acknowledged",
            Self::Storm { .. } => "back",
        }
    }

    /// The count whose rate is the mode's.
    pub(crate) fn first_count(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connected",
            Self::Echo { .. } => "answered",
            Self::Fanout(_) | Self::Mixed(_) => "delivered",
            Self::Publish(_) => "acknowledged",
            Self::Storm { .. } => "back",
            Self::Churn { .. } => "cycles",
        }
    }

    /// All its latencies, as thresholds name them.
    pub(crate) fn latencies(&self) -> &'static [&'static str] {
        match self {
            Self::Connect { .. } => &["connect", "ping"],
            Self::Echo { .. } => &["round_trip", "round_trip_as_seen"],
            Self::Fanout(_) => &["acknowledged", "delivery", "delivery_as_seen"],
            Self::Publish(_) => &["acknowledged", "acknowledged_as_seen"],
            Self::Storm { .. } => &["acknowledged", "back"],
            Self::Churn { .. } => &["connect", "cycle"],
            Self::Mixed(_) => &["acknowledged", "delivery", "history", "refused", "return"],
        }
    }

    /// All its counts; one that did not happen is not in the report and stands for zero.
    pub(crate) fn counts(&self) -> &'static [&'static str] {
        match self {
            Self::Connect { .. } => &["answered_a_ping", "connected", "pinged_by_the_server"],
            Self::Echo { .. } => &["answered", "asked"],
            Self::Fanout(_) | Self::Publish(_) => &["acknowledged", "delivered", "published"],
            Self::Storm { .. } => &["away_ms", "back", "caught_up", "recovered", "tried_again"],
            Self::Churn { .. } => &["cycles"],
            Self::Mixed(_) => {
                &["caught_up", "delivered", "published", "read_from_history", "returned"]
            }
        }
    }

    /// Must the clients be there before anything is measured?
    pub(crate) fn gathers(&self) -> bool {
        !matches!(self, Self::Connect { .. } | Self::Churn { .. })
    }

    /// Does a client connect more than once? Ports of those that left are not free at once.
    pub(crate) fn reconnects(&self) -> bool {
        matches!(self, Self::Storm { .. } | Self::Churn { .. } | Self::Mixed(_))
    }

    /// Does everybody wait for an answer before asking again?
    pub(crate) fn is_closed_loop(&self) -> bool {
        match self {
            Self::Echo { pace, .. } => matches!(pace, Pace::Outstanding(_)),
            Self::Fanout(load) | Self::Publish(load) => matches!(load.pace, Pace::Outstanding(_)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let secret = Credentials::HmacSecret("canary".to_owned());
        let token = Credentials::Token("canary".to_owned());
        assert!(!format!("{secret:?}{token:?}").contains("canary"));
    }
}
