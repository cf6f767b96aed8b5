//! What was read of a host: texts by path, and nothing that was judged.

use std::collections::BTreeMap;

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Its text.
    Text(String),
    /// There is none.
    Absent,
    /// It is there, and why it cannot be read.
    Unreadable(String),
}

/// A network interface that has a device, with its queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// As `ip link` shows it.
    pub name: String,
    /// Receive queues.
    pub receive_queues: usize,
    /// Transmit queues.
    pub transmit_queues: usize,
    /// Interrupts of its device: number and name, as /proc/interrupts has them.
    pub interrupts: Vec<(u32, String)>,
}

/// What was read of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Release of the kernel.
    pub kernel: String,
    /// Of this start of the machine; none where the kernel does not say it.
    pub boot_id: Option<String>,
    /// Cores that are online, in order; at least one.
    pub cores: Vec<usize>,
    /// All memory, in bytes.
    pub memory_bytes: u64,
    /// Size of a page, in bytes.
    pub page_bytes: u64,
    /// Texts by path. What is not in it was not there.
    pub texts: BTreeMap<String, Reading>,
    /// Interfaces with a device that are not down.
    pub interfaces: Vec<Interface>,
    /// Is there a unit of the service, which drop-ins can add to?
    pub has_unit: bool,
    /// The unit of the service and its drop-ins, in the order in which systemd reads them.
    pub unit_texts: Vec<String>,
    /// Is irqbalance started with the machine, or running?
    pub has_irqbalance: bool,
}

/// Files that say something whatever the host is.
pub const PATHS: [&str; 28] = [
    "/proc/self/limits",
    "/proc/sys/fs/file-max",
    "/proc/sys/fs/nr_open",
    "/proc/sys/kernel/io_uring_disabled",
    "/proc/sys/kernel/io_uring_group",
    "/proc/sys/net/core/busy_poll",
    "/proc/sys/net/core/busy_read",
    "/proc/sys/net/core/default_qdisc",
    "/proc/sys/net/core/netdev_max_backlog",
    "/proc/sys/net/core/somaxconn",
    "/proc/sys/net/ipv4/ip_local_port_range",
    "/proc/sys/net/ipv4/tcp_congestion_control",
    "/proc/sys/net/ipv4/tcp_keepalive_intvl",
    "/proc/sys/net/ipv4/tcp_keepalive_probes",
    "/proc/sys/net/ipv4/tcp_keepalive_time",
    "/proc/sys/net/ipv4/tcp_max_syn_backlog",
    "/proc/sys/net/ipv4/tcp_mem",
    "/proc/sys/net/ipv4/tcp_rmem",
    "/proc/sys/net/ipv4/tcp_slow_start_after_idle",
    "/proc/sys/net/ipv4/tcp_syncookies",
    "/proc/sys/net/ipv4/tcp_tw_reuse",
    "/proc/sys/net/ipv4/tcp_wmem",
    "/proc/sys/net/netfilter/nf_conntrack_count",
    "/proc/sys/net/netfilter/nf_conntrack_max",
    "/proc/sys/vm/max_map_count",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/devices/system/cpu/online",
    "/proc/meminfo",
];

impl Host {
    /// What a file says.
    pub fn reading(&self, path: &str) -> &Reading {
        self.texts.get(path).unwrap_or(&Reading::Absent)
    }

    /// The text of a file that could be read.
    pub fn text(&self, path: &str) -> Option<&str> {
        match self.reading(path) {
            Reading::Text(text) => Some(text),
            Reading::Absent | Reading::Unreadable(_) => None,
        }
    }

    /// The one number of a file.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.trim().parse().ok()
    }

    /// Cores, as a count.
    pub fn cores_count(&self) -> u64 {
        self.cores.len().max(1) as u64
    }
}

/// Where the governor of a core is chosen.
pub fn governor_path(core: usize) -> String {
    format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor")
}

/// Which governors a core offers.
pub fn governors_path(core: usize) -> String {
    format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_available_governors")
}

/// Which cores take packets of a receive queue.
pub fn receive_path(interface: &str, queue: usize) -> String {
    format!("/sys/class/net/{interface}/queues/rx-{queue}/rps_cpus")
}

/// Which cores send by a transmit queue.
pub fn transmit_path(interface: &str, queue: usize) -> String {
    format!("/sys/class/net/{interface}/queues/tx-{queue}/xps_cpus")
}

/// Which cores take an interrupt.
pub fn interrupt_path(interrupt: u32) -> String {
    format!("/proc/irq/{interrupt}/smp_affinity_list")
}

/// The paths of a name such as `net.core.somaxconn`.
pub fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}
