//! A folder that stands for a host, and what is in it.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tuning::Report;
use tuning::driver::{self, Applied, Failure, Root, STATE};
use tuning::engine::{Form, Format, Plan, Setting, State};

pub const CONNECTIONS: u64 = 100_000;
pub const UNIT: &str = "/etc/systemd/system/ringway.service";
pub const PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// A host on which nothing hurts: four cores, and an interface of two receive and four transmit
/// queues.
pub const GOOD: [(&str, &str); 46] = [
    ("/proc/sys/kernel/osrelease", "6.12.0\n"),
    ("/proc/meminfo", "MemTotal:       65536000 kB\nMemFree: 1 kB\n"),
    (
        "/proc/self/limits",
        "Max locked memory  8388608 8388608 bytes\nMax open files  200000 200000 f\n",
    ),
    (
        "/proc/interrupts",
        "     CPU0 CPU1\n 40: 0 0 PCI-MSI 0-edge eth0-config\n 41: 1 2 PCI-MSI 1-edge eth0-TxRx-0\n 42: 3 4 PCI-MSI 2-edge eth0-TxRx-1\n",
    ),
    ("/proc/irq/40/smp_affinity_list", "0-3\n"),
    ("/proc/irq/41/smp_affinity_list", "0\n"),
    ("/proc/irq/42/smp_affinity_list", "1\n"),
    ("/proc/sys/fs/file-max", "9223372036854775807\n"),
    ("/proc/sys/fs/nr_open", "1048576\n"),
    ("/proc/sys/kernel/io_uring_disabled", "0\n"),
    ("/proc/sys/kernel/io_uring_group", "-1\n"),
    ("/proc/sys/net/core/busy_poll", "0\n"),
    ("/proc/sys/net/core/busy_read", "0\n"),
    ("/proc/sys/net/core/default_qdisc", "fq\n"),
    ("/proc/sys/net/core/netdev_max_backlog", "65536\n"),
    ("/proc/sys/net/core/somaxconn", "65535\n"),
    ("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
    ("/proc/sys/net/ipv4/tcp_congestion_control", "reno\n"),
    ("/proc/sys/net/ipv4/tcp_keepalive_time", "7200\n"),
    ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "128\n"),
    ("/proc/sys/net/ipv4/tcp_mem", "1500000\t2000000\t3000000\n"),
    ("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t33554432\n"),
    ("/proc/sys/net/ipv4/tcp_slow_start_after_idle", "0\n"),
    ("/proc/sys/net/ipv4/tcp_syncookies", "1\n"),
    ("/proc/sys/net/ipv4/tcp_tw_reuse", "2\n"),
    ("/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
    ("/proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
    ("/proc/sys/vm/max_map_count", "65530\n"),
    (PAGES, "always [madvise] never\n"),
    ("/sys/devices/system/cpu/online", "0-3\n"),
    ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
    ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_available_governors", "performance powersave\n"),
    ("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
    ("/sys/devices/system/cpu/cpu1/cpufreq/scaling_available_governors", "performance powersave\n"),
    ("/sys/class/net/eth0/operstate", "up\n"),
    ("/sys/class/net/eth0/queues/rx-0/rps_cpus", "5\n"),
    ("/sys/class/net/eth0/queues/rx-1/rps_cpus", "a\n"),
    ("/sys/class/net/eth0/queues/tx-0/xps_cpus", "1\n"),
    ("/sys/class/net/eth0/queues/tx-1/xps_cpus", "2\n"),
    ("/sys/class/net/eth0/queues/tx-2/xps_cpus", "00000000,00000004\n"),
    ("/sys/class/net/eth0/queues/tx-3/xps_cpus", "8\n"),
    ("/sys/class/net/eth0/device/msi_irqs/40", "msix\n"),
    ("/sys/class/net/eth0/device/msi_irqs/41", "msix\n"),
    ("/sys/class/net/eth0/device/msi_irqs/42", "msix\n"),
    (UNIT, "[Service]\nExecStart=/usr/bin/ringway serve\n"),
    ("/etc/hostname", "somewhere\n"),
];

/// What makes each setting hurt on that host: its name, and files with what they say then.
pub const BAD: [(&str, &[(&str, &str)]); 15] = [
    (
        "LimitNOFILE",
        &[("/proc/self/limits", "Max open files 1024 4096 f\nMax locked memory unlimited\n")],
    ),
    ("fs.nr_open", &[("/proc/sys/fs/nr_open", "65536\n")]),
    ("fs.file-max", &[("/proc/sys/fs/file-max", "100000\n")]),
    (
        "LimitMEMLOCK",
        &[("/proc/self/limits", "Max open files unlimited\nMax locked memory 65536 65536 bytes\n")],
    ),
    ("net.core.somaxconn", &[("/proc/sys/net/core/somaxconn", "128\n")]),
    ("net.ipv4.tcp_max_syn_backlog", &[("/proc/sys/net/ipv4/tcp_syncookies", "0\n")]),
    ("net.core.netdev_max_backlog", &[("/proc/sys/net/core/netdev_max_backlog", "1000\n")]),
    ("net.netfilter.nf_conntrack_max", &[("/proc/sys/net/netfilter/nf_conntrack_max", "65536\n")]),
    ("net.ipv4.tcp_mem", &[("/proc/sys/net/ipv4/tcp_mem", "190000\t600000\t700000\n")]),
    ("net.ipv4.tcp_rmem", &[("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t131072\n")]),
    ("net.ipv4.tcp_wmem", &[("/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t65536\n")]),
    (
        "net.ipv4.tcp_slow_start_after_idle",
        &[("/proc/sys/net/ipv4/tcp_slow_start_after_idle", "1\n")],
    ),
    (
        "net.core.default_qdisc",
        &[
            ("/proc/sys/net/ipv4/tcp_congestion_control", "bbr\n"),
            ("/proc/sys/net/core/default_qdisc", "pfifo_fast\n"),
        ],
    ),
    ("transparent_hugepage", &[(PAGES, "[always] madvise never\n")]),
    (
        "cpufreq.governor",
        &[("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n")],
    ),
];

/// What hurts and is never changed: the setting, its file, and what that says then.
pub const BY_HAND: [(&str, &str, &str); 3] = [
    ("kernel.io_uring_disabled", "/proc/sys/kernel/io_uring_disabled", "2\n"),
    ("net.core.busy_poll", "/proc/sys/net/core/busy_poll", "50\n"),
    ("net.core.busy_read", "/proc/sys/net/core/busy_read", "50\n"),
];

/// The same for settings of queues.
pub const BAD_QUEUES: [(&str, &[(&str, &str)]); 3] = [
    ("irq eth0", &[("/proc/irq/42/smp_affinity_list", "0-3\n")]),
    ("rps eth0", &[("/sys/class/net/eth0/queues/rx-1/rps_cpus", "0\n")]),
    ("xps eth0", &[("/sys/class/net/eth0/queues/tx-2/xps_cpus", "00000000\n")]),
];

/// Every directory with its mode, and every file with its mode and what is in it.
pub type Tree = BTreeMap<PathBuf, (u32, Option<Vec<u8>>)>;

pub struct FakeHost(TempDir);

impl FakeHost {
    pub fn good() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        for (path, text) in GOOD {
            host.put(path, text);
        }
        host
    }

    /// The good host, but with all of these.
    pub fn with(changes: &[(&str, &str)]) -> Self {
        let host = Self::good();
        for (path, text) in changes {
            host.put(path, text);
        }
        host
    }

    /// A host on which everything hurts at once.
    pub fn bad() -> Self {
        let all = BAD.iter().chain(&BAD_QUEUES).filter(|(id, _)| *id != "LimitNOFILE");
        let host = Self::with(&all.flat_map(|(_, changes)| changes.to_vec()).collect::<Vec<_>>());
        // Both limits are in one file. With bbr slow start does not matter, so reno it is.
        host.put("/proc/self/limits", "Max open files 1024 4096 f\nMax locked memory 1 1 bytes\n");
        host.put("/proc/sys/net/ipv4/tcp_congestion_control", "reno\n");
        host
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    pub fn root(&self) -> Root {
        Root::new(self.folder())
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.folder().join(path.trim_start_matches('/'))
    }

    pub fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A record that nobody else can write.
    pub fn put_state(&self, text: &str) {
        self.put(STATE, text);
        self.permit(STATE, 0o600);
        self.permit("/var/lib/ringway-tune", 0o755);
    }

    pub fn permit(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn text(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    pub fn check(&self) -> Report {
        Report::of(&driver::read(&self.root()), CONNECTIONS)
    }

    pub fn hurting(&self) -> Vec<String> {
        let settings = self.check().settings;
        settings.iter().filter(|setting| setting.hurts()).map(|one| one.id.clone()).collect()
    }

    pub fn setting(&self, id: &str) -> Setting {
        let mut settings = self.check().settings.into_iter();
        settings.find(|one| one.id == id).unwrap_or_else(|| panic!("no setting {id}"))
    }

    pub fn is_ok(&self, id: &str) -> bool {
        self.setting(id).state == State::Ok
    }

    pub fn plan(&self, connections: u64, form: Form) -> Result<Plan, Failure> {
        let host = driver::read(&self.root());
        let settings = Report::of(&host, connections).settings;
        driver::plan(&self.root(), &host, (&settings, connections), form)
    }

    pub fn apply(&self) -> Applied {
        self.apply_for(CONNECTIONS, Form::Files)
    }

    pub fn apply_for(&self, connections: u64, form: Form) -> Applied {
        let plan = self.plan(connections, form).unwrap();
        let applied = driver::apply(&self.root(), &plan).unwrap();
        assert_eq!(applied.failures, []);
        applied
    }

    /// Everything that is there. What the kernel shows with brackets is compared by its value,
    /// because nobody can write the brackets.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        walk(self.folder(), &mut tree);
        if let Some((_, Some(bytes))) = tree.get_mut(&self.at(PAGES)) {
            let text = String::from_utf8_lossy(bytes).into_owned();
            *bytes = Format::Chosen.normal(&text).into_bytes();
        }
        tree
    }
}

fn walk(folder: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        let bytes = metadata.is_file().then(|| fs::read(&path).unwrap());
        if metadata.is_dir() {
            walk(&path, tree);
        }
        tree.insert(path, (mode, bytes));
    }
}

/// What differs, for a message.
pub fn differences(one: &Tree, other: &Tree) -> Vec<String> {
    let paths = one.keys().chain(other.keys()).collect::<std::collections::BTreeSet<_>>();
    let changed = paths.into_iter().filter(|path| one.get(*path) != other.get(*path));
    changed.map(|path| path.display().to_string()).collect()
}
