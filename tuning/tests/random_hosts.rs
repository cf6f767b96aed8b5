//! Goal: whatever a host says, `apply` helps, lowers nothing, and goes back to the byte.
//! Method: a folder for each of many random hosts: values large, small, damaged and missing,
//! any number of cores, queues and connections.

mod support;

use proptest::prelude::*;
use support::{FakeHost, GOOD, UNIT, differences};
use tuning::Report;
use tuning::driver::{self, revert};
use tuning::engine::{Form, State};

/// What a file says: what a good host's does, or anything else.
fn value() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        4 => any::<u32>().prop_map(|number| Some(format!("{number}\n"))),
        2 => (0..100_000_u64).prop_map(|number| Some(format!("{number}\n"))),
        2 => prop::collection::vec(0..3_000_000_u64, 3).prop_map(|numbers| {
            Some(numbers.iter().map(u64::to_string).collect::<Vec<_>>().join("\t") + "\n")
        }),
        1 => "[ -~]{0,20}\n".prop_map(Some),
        1 => Just(Some("[always] madvise never\n".to_owned())),
        1 => Just(Some("bbr\n".to_owned())),
        1 => Just(Some("powersave\n".to_owned())),
        1 => Just(None),
    ]
}

/// Numbers of all files of the kernel that have nothing else.
fn numbers(host: &FakeHost) -> Vec<(String, Vec<u64>)> {
    let paths = GOOD.iter().map(|(path, _)| *path).filter(|path| path.starts_with("/proc/sys/"));
    // Not limits: a switch, and a name.
    let limits = paths.filter(|path| !path.contains("_idle") && !path.contains("qdisc"));
    limits
        .filter_map(|path| {
            let text = std::fs::read_to_string(host.at(path)).ok()?;
            let all: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
            Some((path.to_owned(), all.ok()?))
        })
        .collect()
}

/// What a limit of the service is, soft and hard: the last line that the unit and its drop-in have
/// for it, or what systemd gives where they have none.
fn limits(host: &FakeHost, name: &str, default: (u64, u64)) -> (u64, u64) {
    let drop_in = format!("{UNIT}.d/90-ringway.conf");
    let texts = [UNIT, &drop_in].map(|path| std::fs::read(host.at(path)).unwrap_or_default());
    let text = texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
    let number = |text: &str| text.parse().unwrap_or(u64::MAX);
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    lines.next_back().map_or(default, |line| {
        let (soft, hard) = line.split_once(':').unwrap_or((line, line));
        (number(soft), number(hard))
    })
}

/// All limits of the service.
fn service_limits(host: &FakeHost) -> [(u64, u64); 2] {
    let locked = 8 << 20;
    let (files, locked) = ((1_024, 524_288), (locked, locked));
    [limits(host, "LimitNOFILE", files), limits(host, "LimitMEMLOCK", locked)]
}

/// A limit as a unit has it.
fn limit() -> impl Strategy<Value = String> {
    let number = || prop_oneof![0..2_000_000_u64, any::<u64>().prop_map(|n| n >> 20)];
    prop_oneof![
        number().prop_map(|both| both.to_string()),
        (number(), number()).prop_map(|(a, b)| format!("{}:{}", a.min(b), a.max(b))),
        number().prop_map(|soft| format!("{soft}:infinity")),
        Just("infinity".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_host(
        changes in prop::collection::vec((0..GOOD.len(), value()), 0..30),
        cores in 1..70_usize,
        receive in 1..6_usize,
        transmit in 1..6_usize,
        connections in 1..=(1_u64 << 32),
        is_tuned: bool,
        files in prop::option::of(limit()),
        locked in prop::option::of(limit()),
    ) {
        let host = FakeHost::good();
        host.put("/sys/devices/system/cpu/online", format!("0-{}\n", cores - 1));
        for queue in 0..receive {
            host.put(&format!("/sys/class/net/eth0/queues/rx-{queue}/rps_cpus"), "00000000\n");
        }
        for queue in 0..transmit {
            host.put(&format!("/sys/class/net/eth0/queues/tx-{queue}/xps_cpus"), "0\n");
        }
        let line = |name, limit: &Option<String>| {
            limit.as_ref().map_or(String::new(), |limit| format!("{name}={limit}\n"))
        };
        let (files, locked) = (line("LimitNOFILE", &files), line("LimitMEMLOCK", &locked));
        host.put(UNIT, format!("[Service]\n{files}{locked}"));
        for (place, text) in &changes {
            let path = GOOD[*place].0;
            match text {
                Some(text) => host.put(path, text),
                None => drop(std::fs::remove_file(host.at(path))),
            }
        }
        let form = if is_tuned { Form::Tuned } else { Form::Files };
        let before = host.tree();
        let (were, limits_were) = (numbers(&host), service_limits(&host));
        let read = driver::read(&host.root());
        let report = Report::of(&read, connections);
        prop_assert!(report.to_string().contains("examined for"));
        let judged = (&report.settings[..], connections);
        let plan = driver::plan(&host.root(), &read, judged, form).unwrap();
        let applied = driver::apply(&host.root(), &plan).unwrap();
        prop_assert_eq!(&applied.failures, &vec![]);
        let after = Report::of(&driver::read(&host.root()), connections);
        for setting in &after.settings {
            let is_left = matches!(setting.state, State::Hurts(_)) && setting.by_hand.is_none();
            prop_assert!(!is_left, "{}", after);
        }
        for ((path, was), (_, is)) in were.iter().zip(numbers(&host)) {
            let is_lower = was.iter().zip(&is).any(|(was, is)| is < was);
            prop_assert!(!is_lower, "{}: {:?} to {:?}", path, was, is);
        }
        for ((soft, hard), (soft_is, hard_is)) in limits_were.iter().zip(&service_limits(&host)) {
            prop_assert!(soft <= soft_is && hard <= hard_is, "{limits_were:?}");
        }
        let once = host.tree();
        prop_assert_eq!(host.apply_for(connections, form).written_count, 0);
        prop_assert_eq!(differences(&once, &host.tree()), Vec::<String>::new());
        if !plan.is_empty() {
            let reverted = revert(&host.root(), false).unwrap();
            prop_assert!(reverted.is_complete(), "{:?}", reverted);
        }
        prop_assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
    }
}
