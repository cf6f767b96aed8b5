//! What connections will take of this machine's memory, by the figures of the server's own ledger.

use std::fmt;
use std::path::Path;

use gateway::driver::idle_connection;
use gateway::engine::{MemoryBytes, MemoryKind};

use crate::doctor::{Finding, Pain};
use crate::limits::{IDLE_NAME_BYTES, SERVER_BYTES};
use crate::node::driver::Driver;
use crate::node::process_memory::KernelCost;

/// What one idle session takes, and all of them.
#[derive(Clone, Debug)]
pub(crate) struct Forecast {
    connections: u64,
    plain: MemoryBytes,
    secure: MemoryBytes,
    kernel: KernelCost,
    is_secure: bool,
}

/// How much memory there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// That new processes may use now, in bytes (MemAvailable).
    pub(crate) available: u64,
    /// That the cgroup of this process has left, in bytes, if it has a bound.
    pub(crate) cgroup_left: Option<u64>,
}

impl Forecast {
    pub(crate) fn new(connections: u64, driver: Driver, is_secure: bool) -> Self {
        Self {
            connections,
            plain: idle_connection(IDLE_NAME_BYTES, false),
            secure: idle_connection(IDLE_NAME_BYTES, true),
            kernel: KernelCost::read(driver),
            is_secure,
        }
    }

    /// What the server takes for one connection. The ledger explains four fifths of it at least
    /// (tests/ledger); the rest is what the allocator rounds up and keeps beside.
    fn server_bytes(memory: &MemoryBytes) -> u64 {
        MemoryKind::ALL.iter().map(|kind| memory.of(*kind)).sum::<u64>() * 5 / 4
    }

    /// Server and kernel, for one connection.
    fn each(&self) -> u64 {
        let memory = if self.is_secure { &self.secure } else { &self.plain };
        Self::server_bytes(memory) + self.kernel.bytes()
    }

    fn needed(&self) -> u64 {
        SERVER_BYTES + self.connections * self.each()
    }

    pub(crate) fn judge(&self, memory: Memory) -> Option<Finding> {
        let (has, where_) = match memory.cgroup_left {
            Some(left) if left < memory.available => (left, "the cgroup of this process has left"),
            _ => (memory.available, "are available"),
        };
        let needed = self.needed();
        let fits = has.saturating_sub(SERVER_BYTES) / self.each();
        let raise = match memory.cgroup_left {
            Some(left) if left < needed => "raise memory.max of the cgroup (MemoryMax of the unit)",
            _ => "add memory",
        };
        (has < needed).then(|| Finding {
            pain: Pain::Loses,
            what: format!(
                "{} MiB of memory {where_}, and {} idle connections need {} MiB",
                has >> 20,
                self.connections,
                needed >> 20
            ),
            why: "without memory the kernel ends the server, and every connection with it",
            fix: format!("set client.connection_limit to {fits}, or {raise}"),
        })
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |each: u64| (self.connections * each) >> 20;
        for (name, memory) in [("plain", &self.plain), ("with TLS", &self.secure)] {
            let kinds = MemoryKind::ALL.iter().filter(|kind| memory.of(**kind) > 0);
            let kinds: Vec<String> =
                kinds.map(|kind| format!("{} {}", kind.label(), memory.of(*kind))).collect();
            let each = Self::server_bytes(memory);
            writeln!(
                f,
                "memory, {name}: {} MiB of the server for {} idle sessions, {each} bytes each ({}, \
                 and a quarter for the allocator)",
                all(each),
                self.connections,
                kinds.join(", ")
            )?;
        }
        writeln!(
            f,
            "memory of the kernel: about {} MiB, {} bytes each (socket {}, receive {}; {})",
            all(self.kernel.bytes()),
            self.kernel.bytes(),
            self.kernel.socket,
            self.kernel.receive,
            self.kernel.source()
        )
    }
}

/// What the cgroup of this process has left: the least of its own and its ancestors' (cgroup v2).
pub(crate) fn cgroup_left() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    left_below(Path::new("/sys/fs/cgroup"), path)
}

fn left_below(root: &Path, path: &str) -> Option<u64> {
    let number =
        |file: &Path| -> Option<u64> { std::fs::read_to_string(file).ok()?.trim().parse().ok() };
    let of = |directory: &Path| {
        // A bound that is "max" is none.
        let most = number(&directory.join("memory.max"))?;
        Some(most.saturating_sub(number(&directory.join("memory.current"))?))
    };
    let own = root.join(path);
    own.ancestors().take_while(|place| place.starts_with(root)).filter_map(of).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_what_fits() {
        let forecast = Forecast::new(100_000, Driver::Ring, false);
        let enough = Memory { available: forecast.needed(), cgroup_left: None };
        assert_eq!(forecast.judge(enough), None);
        let half = Memory { available: forecast.needed() / 2, ..enough };
        let finding = forecast.judge(half).expect("half is too little");
        assert!(finding.fix.starts_with("set client.connection_limit to 4"), "{finding:?}");
        assert!(finding.fix.ends_with("or add memory"), "{finding:?}");
        let bounded = Memory { cgroup_left: Some(1 << 20), ..enough };
        let finding = forecast.judge(bounded).expect("the cgroup has too little");
        assert!(finding.what.starts_with("1 MiB of memory the cgroup"), "{finding:?}");
        assert!(finding.fix.contains("limit to 0, or raise memory.max"), "{finding:?}");
        let secure = Forecast::new(100_000, Driver::Ring, true);
        assert!(secure.needed() > forecast.needed(), "keys take memory");
    }

    #[test]
    fn the_least_of_all_bounds_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join("a/b");
        std::fs::create_dir_all(&own).expect("it is empty");
        assert_eq!(left_below(folder.path(), "a/b"), None);
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("a/memory.max", "1000\n").expect("written");
        write("a/memory.current", "400\n").expect("written");
        write("a/b/memory.max", "max\n").expect("written");
        write("a/b/memory.current", "10\n").expect("written");
        assert_eq!(left_below(folder.path(), "a/b"), Some(600));
    }
}
