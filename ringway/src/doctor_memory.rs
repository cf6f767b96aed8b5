//! What connections will take of this machine's memory, by the figures of the server's own ledger.

use std::fmt;

use gateway::driver::idle_connection;
use gateway::engine::{MemoryBytes, MemoryKind};

use crate::doctor::{Finding, Pain};
use crate::limits::{IDLE_NAME_BYTES, SERVER_BYTES};
use crate::memory::Room;
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
        SERVER_BYTES.saturating_add(self.connections.saturating_mul(self.each()))
    }

    /// Is it enough that the machine has so many bytes available, and the server this room within
    /// its limits?
    pub(crate) fn judge(&self, available_bytes: u64, room: Option<&Room>) -> Option<Finding> {
        let room = room.filter(|room| room.bytes < available_bytes);
        let has = room.map_or(available_bytes, |room| room.bytes);
        let needed = self.needed();
        let (where_, why, raise) = match room {
            Some(Room { set_by, .. }) => (
                format!("are left within {set_by}"),
                "beyond that new clients are refused, others are closed, or the server is killed",
                format!("raise {set_by}"),
            ),
            None => (
                "are available".to_owned(),
                "without memory the kernel ends the server, and every connection with it",
                "add memory".to_owned(),
            ),
        };
        let fits = has.saturating_sub(SERVER_BYTES) / self.each();
        (has < needed).then(|| Finding {
            pain: Pain::Loses,
            what: format!(
                "{} MiB of memory {where_}, and {} idle connections need {} MiB",
                has >> 20,
                self.connections,
                needed >> 20
            ),
            why,
            fix: format!("set client.connection_limit to {fits}, or {raise}"),
        })
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |each: u64| self.connections.saturating_mul(each) >> 20;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_what_fits() {
        let forecast = Forecast::new(100_000, Driver::Ring, false);
        let enough = forecast.needed();
        assert_eq!(forecast.judge(enough, None), None);
        let finding = forecast.judge(enough / 2, None).expect("half is too little");
        assert!(finding.fix.starts_with("set client.connection_limit to 4"), "{finding:?}");
        assert!(finding.fix.ends_with("or add memory"), "{finding:?}");
        let room = Room { bytes: 1 << 20, set_by: "memory.limit".to_owned() };
        let finding = forecast.judge(enough, Some(&room)).expect("the limit is too low");
        assert!(finding.what.starts_with("1 MiB of memory are left within memory.limit"));
        assert!(finding.fix.ends_with("limit to 0, or raise memory.limit"), "{finding:?}");
        let room = Room { bytes: enough, ..room };
        assert_eq!(forecast.judge(enough, Some(&room)), None);
        let secure = Forecast::new(100_000, Driver::Ring, true);
        assert!(secure.needed() > forecast.needed(), "keys take memory");
    }
}
