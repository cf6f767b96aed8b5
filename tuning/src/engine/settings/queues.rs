//! Which core serves which queue of a network interface.

use std::collections::{BTreeMap, BTreeSet};

use super::About;
use crate::engine::format::{list, mask, parse_list, parse_mask};
use crate::engine::host::{Host, Interface, Reading, interrupt_path, receive_path, transmit_path};
use crate::engine::{Change, Effect, Format, Lasting, Live, Pain, Setting, State};

const INTERRUPTS: About = About {
    name: "irq",
    reason: "each queue's interrupt on a core of its own, so that cores share the packets as shards \
             share the clients",
    effect: Effect { text: "unknown", source: SCALING },
    pain: Pain::Costs,
};

const RECEIVE: About = About {
    name: "rps",
    reason: "fewer receive queues than cores: without RPS the cores of the queues do the receiving \
             of all clients",
    effect: Effect { text: "unknown", source: SCALING },
    pain: Pain::Costs,
};

const TRANSMIT: About = About {
    name: "xps",
    reason: "each core sends by a queue of its own, and waits for no other",
    effect: Effect { text: "unknown", source: SCALING },
    pain: Pain::Costs,
};

const BALANCER: About = About {
    name: "irqbalance",
    reason: "it moves interrupts every 10 s, also those that `apply` has put in their places",
    effect: Effect { text: "unknown", source: "not measured; irqbalance(1)" },
    pain: Pain::Costs,
};

const SCALING: &str = "not measured; recommended by scaling.rst of the kernel";
const ONE_CORE: &str = "there is one core";
const NO_INTERFACE: &str = "no interface with a device is up";
/// Interrupts of a device that are not those of a queue.
const NO_QUEUES: [&str; 8] =
    ["config", "async", "misc", "mgmnt", "mgmt", "control", "event", "fdir"];

pub(super) fn settings(host: &Host) -> Vec<Setting> {
    let mut all = Vec::new();
    for interface in host.interfaces.iter().filter(|one| is_plain(&one.name)) {
        all.push(interrupts(host, interface));
        all.push(receive(host, interface));
        all.push(transmit(host, interface));
    }
    if all.is_empty() {
        let none = State::NotApplicable(NO_INTERFACE);
        all.extend([INTERRUPTS, RECEIVE, TRANSMIT].map(|it| it.setting(None, None, none.clone())));
    }
    let is_moved = all.iter().any(|one| one.id.starts_with("irq ") && one.wanted.is_some());
    all.push(balancer(host, is_moved));
    all
}

/// Does one core hand packets to another, or will it?
pub(super) fn uses_packet_steering(host: &Host) -> bool {
    host.interfaces.iter().any(|interface| {
        let is_set =
            |queue| host.text(&receive_path(&interface.name, queue)).is_some_and(is_chosen);
        (0..interface.receive_queues).any(is_set) || receive(host, interface).hurts()
    })
}

/// A name that a script may hold as it is.
fn is_plain(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.:@-".contains(c);
    !name.is_empty() && name.chars().all(is_plain)
}

/// The cores that a queue is for: one each, and all cores over the queues there are.
fn cores_of(host: &Host, queue: usize, queues_count: usize) -> BTreeSet<usize> {
    let cores = &host.cores;
    if queues_count >= cores.len() {
        return cores.get(queue % cores.len().max(1)).copied().into_iter().collect();
    }
    cores
        .iter()
        .copied()
        .enumerate()
        .filter(|(at, _)| at % queues_count == queue)
        .map(|it| it.1)
        .collect()
}

/// For each of so many queues: where its cores are written, how, and which they are.
fn masks(
    host: &Host,
    count: usize,
    path: impl Fn(usize) -> String,
) -> Vec<(String, Format, String)> {
    let of = |queue| (path(queue), Format::Mask, mask(&cores_of(host, queue, count)));
    (0..count).map(of).collect()
}

fn receive(host: &Host, interface: &Interface) -> Setting {
    let count = interface.receive_queues;
    if host.cores.len() < 2 {
        return named(RECEIVE.setting(None, None, State::NotApplicable(ONE_CORE)), interface);
    }
    if count >= host.cores.len() || count == 0 {
        let why = "as many receive queues as cores: the device spreads packets itself";
        return named(RECEIVE.setting(None, None, State::NotApplicable(why)), interface);
    }
    let wanted = masks(host, count, |queue| receive_path(&interface.name, queue));
    named(steered(host, &RECEIVE, wanted, is_chosen), interface)
}

fn transmit(host: &Host, interface: &Interface) -> Setting {
    let count = interface.transmit_queues;
    if host.cores.len() < 2 || count < 2 {
        let why = "one transmit queue, or one core: there is nothing to choose";
        return named(TRANSMIT.setting(None, None, State::NotApplicable(why)), interface);
    }
    let wanted = masks(host, count, |queue| transmit_path(&interface.name, queue));
    named(steered(host, &TRANSMIT, wanted, is_chosen), interface)
}

fn interrupts(host: &Host, interface: &Interface) -> Setting {
    let queues: BTreeMap<u32, (usize, &str)> = interface
        .interrupts
        .iter()
        .filter_map(|(number, name)| Some((*number, (queue_of(name)?, name.as_str()))))
        .collect();
    let distinct: BTreeSet<usize> = queues.values().map(|(queue, _)| *queue).collect();
    if host.cores.len() < 2 || distinct.len() < 2 {
        let why = "one queue with an interrupt, or one core: there is nothing to choose";
        return named(INTERRUPTS.setting(None, None, State::NotApplicable(why)), interface);
    }
    let first = distinct.first().copied().unwrap_or_default();
    let place = |queue: usize| {
        let core = host.cores[(queue - first) % host.cores.len()];
        list(&[core].into())
    };
    let wanted = queues
        .iter()
        .map(|(number, (queue, _))| (interrupt_path(*number), Format::List, place(*queue)));
    let is_placed = |text: &str| is_pinned(host, text);
    let setting = steered(host, &INTERRUPTS, wanted.collect(), is_placed);
    // Numbers of interrupts may be others after the next start; names stay.
    let lines = |live: &[Live]| {
        let is_moved = |number: u32| live.iter().any(|one| one.path == interrupt_path(number));
        let moved = queues.iter().filter(|(number, _)| is_moved(**number));
        let line = |(queue, name): &(usize, &str)| format!("pin '{name}' {}", place(*queue));
        moved.map(|(_, queue)| Lasting::Queue(line(queue))).collect()
    };
    let change = setting.change.map(|it| Change { lasting: lines(&it.live), live: it.live });
    named(Setting { change, ..setting }, interface)
}

/// Is an interrupt kept from some core that is online? Then somebody has chosen its place already.
fn is_pinned(host: &Host, text: &str) -> bool {
    let cores = parse_list(text).unwrap_or_default();
    !cores.is_empty() && host.cores.iter().any(|core| !cores.contains(core))
}

/// The queue that an interrupt's name ends in, such as `eth0-TxRx-3` or `mlx5_comp3@pci:…`.
fn queue_of(name: &str) -> Option<usize> {
    let name = is_plain(name).then(|| name.split('@').next())??;
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (stem, number) = name.split_at(name.len() - digits);
    let is_other = NO_QUEUES.iter().any(|word| stem.contains(word));
    if is_other { None } else { number.parse().ok() }
}

fn balancer(host: &Host, is_moved: bool) -> Setting {
    if !is_moved {
        let why = "there are no interrupts of queues to put in their places";
        return BALANCER.setting(None, None, State::NotApplicable(why));
    }
    let wanted = Some("off, or told to leave these alone".to_owned());
    if !host.has_irqbalance {
        return BALANCER.setting(Some("off".to_owned()), wanted, State::Ok);
    }
    let by_hand = Some(
        "run `systemctl disable --now irqbalance`, or give it --banirq for each; `apply` stops no \
         services",
    );
    let state = State::Hurts(BALANCER.pain);
    Setting { by_hand, ..BALANCER.setting(Some("on".to_owned()), wanted, state) }
}

/// A setting of many files, each with its value, of which some are good as they are.
fn steered(
    host: &Host,
    about: &About,
    wanted: Vec<(String, Format, String)>,
    is_good: impl Fn(&str) -> bool,
) -> Setting {
    let shown = |values: Vec<String>| Some(values.join(" "));
    let all = shown(wanted.iter().map(|(_, _, value)| value.clone()).collect());
    let mut current = Vec::new();
    let mut live = Vec::new();
    for (path, format, value) in wanted {
        let text = match host.reading(&path) {
            Reading::Text(text) => text,
            other => return about.unread(other, all),
        };
        current.push(text.trim().to_owned());
        if !is_good(text) && !format.is_same(text, &value) {
            live.push(Live { path, format, value });
        }
    }
    let current = shown(current);
    if live.is_empty() {
        return about.setting(current, all, State::Ok);
    }
    let lines = live.iter().map(|one| Lasting::Queue(format!("put '{}' {}", one.path, one.value)));
    let lasting = lines.collect();
    let setting = about.setting(current, all, State::Hurts(about.pain));
    Setting { change: Some(Change { live, lasting }), ..setting }
}

/// A mask with any core in it: somebody has chosen already.
fn is_chosen(text: &str) -> bool {
    parse_mask(text).is_some_and(|cores| !cores.is_empty())
}

fn named(setting: Setting, interface: &Interface) -> Setting {
    Setting { id: format!("{} {}", setting.id, interface.name), ..setting }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_on_some_of_the_cores_was_put_there() {
        let host = Host { cores: vec![0, 1, 2, 3], ..Host::default() };
        for text in ["0\n", "3\n", "0-2\n", "1,3\n"] {
            assert!(is_pinned(&host, text), "{text}");
        }
        for text in ["0-3\n", "0-7\n", "\n", "many\n"] {
            assert!(!is_pinned(&host, text), "{text}");
        }
    }

    #[test]
    fn queues_are_found_by_the_names_of_their_interrupts() {
        assert_eq!(queue_of("eth0-TxRx-3"), Some(3));
        assert_eq!(queue_of("virtio2-input.0"), Some(0));
        assert_eq!(queue_of("mlx5_comp12@pci:0000:3b:00.0"), Some(12));
        assert_eq!(queue_of("mlx5_async0@pci:0000:3b:00.0"), None);
        assert_eq!(queue_of("virtio2-config"), None);
        assert_eq!(queue_of("eth0'; rm -3"), None);
    }

    #[test]
    fn every_core_has_a_queue_and_every_queue_a_core() {
        let host = Host { cores: vec![0, 1, 2, 5, 7], ..Host::default() };
        for count in 1..12 {
            let sets: Vec<_> = (0..count).map(|queue| cores_of(&host, queue, count)).collect();
            assert!(sets.iter().all(|cores| !cores.is_empty()), "{count}: {sets:?}");
            let all: BTreeSet<usize> = sets.iter().flatten().copied().collect();
            assert_eq!(all.len(), host.cores.len(), "{count}: {sets:?}");
        }
    }
}
