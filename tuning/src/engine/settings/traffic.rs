//! How packets go out: windows after silence, pacing, and polling instead of interrupts.

use super::{About, NOT_MEASURED};
use crate::engine::host::Host;
use crate::engine::{Effect, Pain, Setting};

const IDLE: About = About {
    name: "net.ipv4.tcp_slow_start_after_idle",
    reason: "connections are silent most of the time; with it each burst after a silence begins \
             with the window of a new connection",
    effect: Effect {
        text: "with reno windows of 136 and 160 segments were 10 after 5 s of silence, and with 0 \
               they stayed; with bbr they stay either way",
        source: "measured, Linux 6.18 (tuning/measure.py)",
    },
    pain: Pain::Costs,
};

const CONTROL: About = About {
    name: "net.ipv4.tcp_congestion_control",
    reason: "which is best depends on the way to the clients, and not on how many they are",
    effect: Effect { text: "unknown; bbr and reno were not compared", source: NOT_MEASURED },
    pain: Pain::Costs,
};

const PACING: About = About {
    name: "net.core.default_qdisc",
    reason: "bbr spaces packets out; without fq the kernel does it with a timer of each socket. \
             Only interfaces that are set up afterwards get it: after a start, or by \
             `tc qdisc replace dev DEVICE root fq`",
    effect: Effect {
        text: "bbr \"may use more resources\" without it",
        source: "not measured; net/ipv4/tcp_bbr.c",
    },
    pain: Pain::Costs,
};

const POLL: About = About {
    name: "net.core.busy_poll",
    reason: "epoll then spins on a device before it sleeps; a shard has other connections to \
             serve meanwhile. io_uring spins only for rings that ask for it, which Ringway's do not",
    effect: Effect { text: "unknown", source: NOT_MEASURED },
    pain: Pain::Costs,
};

const READ: About = About {
    name: "net.core.busy_read",
    reason: "each receive that finds nothing then asks the device's queue once more, and a shard \
             receives until there is nothing",
    effect: Effect { text: "unknown", source: NOT_MEASURED },
    pain: Pain::Costs,
};

pub(super) fn settings(host: &Host) -> Vec<Setting> {
    let control = host.text("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    let is_bbr = control.trim() == "bbr";
    let (idle, pacing) = if is_bbr {
        let why = "bbr, which is chosen here, does not look at it";
        (IDLE.left_alone(host, why), PACING.exactly(host, "fq"))
    } else {
        let why = "only bbr paces, and it is not chosen here";
        (IDLE.exactly(host, "0"), PACING.left_alone(host, why))
    };
    vec![
        idle,
        pacing,
        CONTROL.left_alone(host, "a matter of the network's paths; nothing is wanted"),
        polled(host, &POLL),
        polled(host, &READ),
    ]
}

/// Somebody has chosen it for another program, if it is not zero: it is said, and left to them.
fn polled(host: &Host, about: &About) -> Setting {
    let setting = about.exactly(host, "0");
    let by_hand = setting.hurts().then_some(
        "`apply` does not change it: ask who has set it for what, and set it to 0 if nobody \
         needs it",
    );
    Setting { change: None, by_hand, ..setting }
}
