//! Memory of socket buffers: of all of them, and of one.

use super::{About, NOT_MEASURED};
use crate::engine::host::Host;
use crate::engine::{Effect, Pain, Setting};
use crate::limits::{BUFFER_BYTES, BUFFER_MEMORY_PARTS, GATHER_BYTES_MAX};

const ALL: About = About {
    name: "net.ipv4.tcp_mem",
    reason: "pages that the buffers of all TCP sockets may take. Beyond the second number the \
             kernel makes every window smaller, beyond the third it refuses buffers. Wanted is \
             room for one gathered send (16 KiB) to each client at once, within a quarter of memory",
    effect: Effect {
        text: "10,000 idle sockets held 0 pages; what it does under load is unknown",
        source: "measured, Linux 6.18 (tuning/measure.py); ip-sysctl.rst of the kernel",
    },
    pain: Pain::Costs,
};

const RECEIVE: About = About {
    name: "net.ipv4.tcp_rmem",
    reason: "the third number is how far a receive buffer may grow by itself; a client with a \
             long way and much to say needs it. The other two are left alone",
    effect: Effect {
        text: "the second number costs nothing while nothing waits: 10,000 idle sockets held 0 \
               pages with 4096 as with 131072; the third is unknown",
        source: "measured, Linux 6.18 (tuning/measure.py)",
    },
    pain: Pain::Costs,
};

const SEND: About = About {
    name: "net.ipv4.tcp_wmem",
    reason: "the third number is how far a send buffer may grow by itself; a history over a long \
             way needs it. The other two are left alone",
    effect: Effect { text: "unknown", source: NOT_MEASURED },
    pain: Pain::Costs,
};

pub(super) fn settings(host: &Host, connections: u64) -> Vec<Setting> {
    vec![
        ALL.at_least(host, &pages(host, connections)),
        RECEIVE.at_least(host, &[0, 0, BUFFER_BYTES]),
        SEND.at_least(host, &[0, 0, BUFFER_BYTES]),
    ]
}

/// Pages to be careless below, to be careful from, and to refuse beyond: 3 to 4 to 6, as the
/// kernel's own defaults are.
fn pages(host: &Host, connections: u64) -> [u64; 3] {
    let page_bytes = host.page_bytes.max(1);
    let needed = connections.saturating_mul(GATHER_BYTES_MAX.div_ceil(page_bytes) + 1);
    let most = host.memory_bytes / BUFFER_MEMORY_PARTS / page_bytes;
    let pressure = needed.min(most / 3 * 2);
    [pressure / 4 * 3, pressure, pressure / 2 * 3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_connections_within_a_quarter_of_memory() {
        let host = Host { memory_bytes: 64 << 30, page_bytes: 4096, ..Host::default() };
        assert_eq!(pages(&host, 100_000), [375_000, 500_000, 750_000]);
        let [low, pressure, most] = pages(&host, 10_000_000);
        assert!(low < pressure && pressure < most, "{low} {pressure} {most}");
        assert!(most * 4096 <= 16 << 30, "{most}");
        let large_pages = Host { page_bytes: 65_536, ..host };
        assert_eq!(pages(&large_pages, 10_000), [15_000, 20_000, 30_000]);
    }
}
