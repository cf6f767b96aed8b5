//! What is often recommended and does nothing for a server of WebSockets: shown, never changed.

use super::About;
use crate::engine::host::Host;
use crate::engine::{Effect, Pain, Setting};

const PORTS: About = About {
    name: "net.ipv4.ip_local_port_range",
    reason: "ports of connections that this machine opens itself: a load source needs it wide",
    effect: Effect { text: "none on accepted connections", source: "ip-sysctl.rst of the kernel" },
    pain: Pain::Costs,
};

const REUSE: About = About {
    name: "net.ipv4.tcp_tw_reuse",
    reason: "lets a new connection that this machine opens take the ports of one that ended",
    effect: Effect { text: "none on accepted connections", source: "ip-sysctl.rst of the kernel" },
    pain: Pain::Costs,
};

const KEEP_ALIVE: About = About {
    name: "net.ipv4.tcp_keepalive_time",
    reason: "how long a socket with SO_KEEPALIVE is silent before the kernel asks",
    effect: Effect {
        text: "none: Ringway does not set SO_KEEPALIVE, and asks by ping itself \
               (client.ping_interval)",
        source: "shard/src/sockets.rs",
    },
    pain: Pain::Costs,
};

const MAPPINGS: About = About {
    name: "vm.max_map_count",
    reason: "how many mappings a process may have",
    effect: Effect {
        text: "a server of two shards has 81 mappings after its start, and 81 with 9,000 sessions",
        source: "measured, Linux 6.18 (/proc/PID/maps)",
    },
    pain: Pain::Costs,
};

pub(super) fn settings(host: &Host) -> Vec<Setting> {
    vec![
        PORTS.left_alone(host, "for load sources; a server opens few connections"),
        REUSE.left_alone(host, "only for connections that this machine opens"),
        KEEP_ALIVE.left_alone(host, "Ringway asks silent clients itself"),
        MAPPINGS.left_alone(host, "the server has few mappings, however many clients"),
    ]
}
