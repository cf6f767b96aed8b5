//! The firewall's table of connections.

use super::About;
use crate::engine::host::Host;
use crate::engine::{Effect, Pain, Setting, State};

const ENTRIES: About = About {
    name: "net.netfilter.nf_conntrack_max",
    reason: "the firewall drops packets of connections it has no entry for. Connections that end \
             keep theirs for a while, so twice as many are wanted; to exempt the client port \
             (NOTRACK) is better still",
    effect: Effect {
        text: "a full table drops new connections (\"nf_conntrack: table full, dropping packet\")",
        source: "nf_conntrack-sysctl.rst of the kernel; not measured",
    },
    pain: Pain::Costs,
};

pub(super) fn settings(host: &Host, connections: u64) -> Vec<Setting> {
    let path = "/proc/sys/net/netfilter/nf_conntrack_max";
    let setting = ENTRIES.at_least(host, &[connections * 2]);
    let state = match setting.state {
        State::NotApplicable(_) => State::NotApplicable("connections are not tracked here"),
        State::Hurts(_) if host.number(path).is_some_and(|entries| entries < connections) => {
            State::Hurts(Pain::Loses)
        }
        state => state,
    };
    vec![Setting { state, ..setting }]
}
