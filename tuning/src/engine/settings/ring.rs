//! io_uring: whether it may be used, and how much memory its rings may lock.

use super::About;
use super::files::{directive, limit};
use crate::engine::host::Host;
use crate::engine::{Effect, Format, Pain, Setting, State};
use crate::limits::{LOCKED_BYTES_MIN, RING_LOCKED_BYTES};

const DISABLED: About = About {
    name: "kernel.io_uring_disabled",
    reason: "where io_uring is switched off the portable driver serves instead. Zero lets every \
             user have it; 1 with the service's group in kernel.io_uring_group lets only that",
    effect: Effect {
        text: "the portable driver does 0.85 to 0.95 of the ring's messages, for 8 to 31 % more \
               CPU each",
        source: "measured, Linux 6.18 (docs/SPECIFICATION.md: portable driver)",
    },
    pain: Pain::Costs,
};

const LOCKED: About = About {
    name: "LimitMEMLOCK",
    reason: "newer kernels count the memory of rings as locked memory of their user; a server \
             of an ordinary user does not start without it. Wanted is twice what one takes, for \
             one that is started before the other ends",
    effect: Effect {
        text: "as an ordinary user two shards do not start with 512 KiB, and do with 1 MiB",
        source: "measured, Linux 6.18",
    },
    pain: Pain::Loses,
};

const ASK: &str = "`apply` does not undo what somebody has switched off to be safer; if they agree, \
                   set it to 1 and kernel.io_uring_group to the service's group";

pub(super) fn settings(host: &Host) -> Vec<Setting> {
    vec![disabled(host), locked(host)]
}

fn disabled(host: &Host) -> Setting {
    let setting = DISABLED.exactly(host, "0");
    let group = host.text("/proc/sys/kernel/io_uring_group").map(|text| Format::Words.normal(text));
    let has_group = group.is_some_and(|group| group != "-1");
    if setting.current.as_deref() == Some("1") && has_group {
        return Setting { state: State::Ok, change: None, ..setting };
    }
    let by_hand = setting.hurts().then_some(ASK);
    Setting { change: None, by_hand, ..setting }
}

fn locked(host: &Host) -> Setting {
    let of_one_server = RING_LOCKED_BYTES * host.cores_count();
    let wanted = (2 * of_one_server).max(LOCKED_BYTES_MIN);
    let Some(current) = limit(host, "LimitMEMLOCK", "Max locked memory") else {
        let why = "neither ringway.service nor /proc/self/limits says it".to_owned();
        return LOCKED.setting(None, Some(format!("{wanted} or more")), State::Unknown(why));
    };
    let pain = if current.soft < of_one_server { LOCKED.pain } else { Pain::Costs };
    let line = match current.hard {
        u64::MAX => format!("{wanted}:infinity"),
        hard if hard > wanted => format!("{wanted}:{hard}"),
        _ => wanted.to_string(),
    };
    directive(&LOCKED, host, (current.soft, current.from), (wanted, line, pain))
}
