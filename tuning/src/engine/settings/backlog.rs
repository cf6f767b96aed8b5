//! Queues that many clients at once stand in: before accept, before the handshake is over, and
//! packets at a core.

use super::queues::uses_packet_steering;
use super::{About, NOT_MEASURED};
use crate::engine::host::Host;
use crate::engine::{Effect, Pain, Setting, State};
use crate::limits::{BACKLOG_MIN, LISTEN_BACKLOG, PACKETS_QUEUED_MIN};

const ACCEPT: About = About {
    name: "net.core.somaxconn",
    reason: "when many clients return at once, the kernel drops those it cannot queue, and they \
             try again after a second. A shard asks for 16384 places, and gets no more than this",
    effect: Effect {
        text: "of 6,000 clients that came while a server was busy for 0.5 s, 4,975 were dropped \
               at 1024, 1,903 at 4096 and none at 16384; the last was in 1.5 to 2.5 s, 1.5 s and \
               at most 0.06 s after it, in two runs",
        source: "measured, Linux 6.18 (tuning/measure.py)",
    },
    pain: Pain::Costs,
};

const HANDSHAKE: About = About {
    name: "net.ipv4.tcp_max_syn_backlog",
    reason: "without SYN cookies the kernel drops clients when three quarters of it are taken",
    effect: Effect {
        text: "read only where net.ipv4.tcp_syncookies is 0; otherwise somaxconn is the bound",
        source: "tcp_conn_request in net/ipv4/tcp_input.c; not measured",
    },
    pain: Pain::Costs,
};

const PACKETS: About = About {
    name: "net.core.netdev_max_backlog",
    reason: "packets that one core hands to another (RPS) wait there; beyond it they are dropped. \
             A broadcast is answered by an acknowledgement of each client, all about at once",
    effect: Effect { text: "unknown", source: NOT_MEASURED },
    pain: Pain::Costs,
};

pub(super) fn settings(host: &Host, connections: u64) -> Vec<Setting> {
    let of_a_core = connections.div_ceil(host.cores_count());
    let queue = of_a_core.clamp(BACKLOG_MIN, LISTEN_BACKLOG);
    let packets = of_a_core.clamp(PACKETS_QUEUED_MIN, LISTEN_BACKLOG);
    vec![accept(host, queue), handshake(host, queue), backlog(host, packets)]
}

fn accept(host: &Host, wanted: u64) -> Setting {
    let setting = ACCEPT.at_least(host, &[wanted]);
    let current = host.number("/proc/sys/net/core/somaxconn");
    if setting.hurts() && current.is_some_and(|current| current < BACKLOG_MIN) {
        return Setting { state: State::Hurts(Pain::Loses), ..setting };
    }
    setting
}

fn handshake(host: &Host, wanted: u64) -> Setting {
    if host.number("/proc/sys/net/ipv4/tcp_syncookies") == Some(0) {
        return HANDSHAKE.at_least(host, &[wanted]);
    }
    HANDSHAKE.left_alone(host, "SYN cookies are on, and then the kernel does not look at it")
}

fn backlog(host: &Host, wanted: u64) -> Setting {
    if uses_packet_steering(host) {
        return PACKETS.at_least(host, &[wanted]);
    }
    PACKETS.left_alone(host, "no packet is handed from one core to another here (RPS is off)")
}
