//! What the whole process takes, and about what the kernel keeps for its sockets.
//!
//! What /metrics tells of memory by kind is what the server knows of; beside PSS it shows how much
//! it does not. The kernel's part is an estimate: nobody tells it by process.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::driver::Driver;
use crate::memory::proc::{kib, text};

/// Bytes that the kernel keeps for one idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCost {
    /// Socket, inode, file and directory entry.
    pub socket: u64,
    /// What io_uring keeps of a poll that is armed; zero with epoll, whose part is not known.
    pub receive: u64,
    /// What it keeps more for a client that sends much, whose receive is armed.
    hot: u64,
    /// Are the sizes of objects those of the kernel that runs? Otherwise they are those that were
    /// measured.
    pub is_of_this_kernel: bool,
}

/// What /proc says of this process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessMemory {
    connections: u64,
    hot: u64,
    cost: KernelCost,
    pss: Option<u64>,
    rss: Option<u64>,
    socket_buffers: Option<u64>,
}

/// Caches that hold one object for each socket.
const SOCKET_CACHES: [&str; 4] = ["TCP", "sock_inode_cache", "filp", "dentry"];
/// What these, and what security modules keep beside them, took of Linux 6.18 for one socket
/// (differences in /proc/slabinfo with 15,000 and 100,000 connections).
const SOCKET_BYTES: u64 = 3_635;
/// What an armed poll takes of the same kernel: its request.
const WATCH_BYTES: u64 = 260;
/// What an armed receive takes more than that: the header of its message, and its poll.
const HOT_BYTES: u64 = 602;
/// Where these are from, as a label.
const MEASURED: &str = "measured";
/// Of that kernel and architecture.
const PAGE_BYTES: u64 = 4_096;

impl KernelCost {
    /// What one connection costs under a driver. Sizes are read from /proc/slabinfo, which most
    /// kernels show to root alone.
    pub fn read(driver: Driver) -> Self {
        Self::of(&text("/proc/slabinfo"), driver)
    }

    fn of(slabinfo: &str, driver: Driver) -> Self {
        let sizes: Option<Vec<u64>> =
            SOCKET_CACHES.iter().map(|cache| object_bytes(slabinfo, cache)).collect();
        let receive = match driver {
            Driver::Ring => WATCH_BYTES,
            Driver::Portable => 0,
        };
        let hot = if receive == 0 { 0 } else { HOT_BYTES };
        let is_of_this_kernel = sizes.is_some();
        let socket = sizes.map_or(SOCKET_BYTES, |sizes| sizes.iter().sum());
        Self { socket, receive, hot, is_of_this_kernel }
    }

    /// All of it, of one that sends little.
    pub fn bytes(self) -> u64 {
        self.socket + self.receive
    }

    /// Where the sizes are from.
    pub fn source(self) -> &'static str {
        if self.is_of_this_kernel { "slabinfo" } else { MEASURED }
    }
}

impl ProcessMemory {
    pub(super) fn read(driver: Driver, connections: u64, hot: u64) -> Self {
        let rollup = text("/proc/self/smaps_rollup");
        Self {
            connections,
            hot,
            cost: KernelCost::read(driver),
            pss: kib(&rollup, "Pss:"),
            rss: kib(&rollup, "Rss:"),
            socket_buffers: buffer_bytes(&text("/proc/net/sockstat")),
        }
    }
}

impl Collector for ProcessMemory {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let process = [
            ("process_pss_bytes", "Memory of the process, its share of shared pages", self.pss),
            ("process_rss_bytes", "Memory of the process, with all shared pages", self.rss),
        ];
        for (name, help, bytes) in process {
            let Some(bytes) = bytes else { continue };
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(bytes).encode(metric)?;
        }
        let help = "About what the kernel keeps: sockets and armed receives of this process by the \
                    sizes that source names, and buffers of all TCP in its network namespace";
        let name = "kernel_memory_bytes_estimated";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let receives = self.cost.receive * self.connections + self.cost.hot * self.hot;
        let kinds = [
            ("sockets", self.cost.source(), Some(self.cost.socket * self.connections)),
            ("receives", MEASURED, Some(receives)),
            ("buffers", "sockstat", self.socket_buffers),
        ];
        for (kind, source, bytes) in kinds {
            let Some(bytes) = bytes else { continue };
            let labels = [("kind", kind), ("source", source)];
            ConstGauge::new(bytes).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// What an object of a cache takes, with its share of what is left over of the pages (slabinfo(5):
/// name, objects in use, all objects, size of one, objects in a slab, pages of a slab).
fn object_bytes(slabinfo: &str, cache: &str) -> Option<u64> {
    let line = slabinfo.lines().find(|line| line.split_whitespace().next() == Some(cache))?;
    let mut numbers = line.split_whitespace().skip(4);
    let per_slab: u64 = numbers.next()?.parse().ok()?;
    let pages: u64 = numbers.next()?.parse().ok()?;
    (pages * PAGE_BYTES).checked_div(per_slab)
}

/// Buffers of all TCP sockets of the network namespace, which /proc/net/sockstat tells in pages.
fn buffer_bytes(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem").skip(1);
    Some(words.next()?.parse::<u64>().ok()? * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLABINFO: &str = "slabinfo - version: 2.1\n\
        # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\n\
        TCPv6                 12     12   2624   12    8 : tunables 0 0 0 : slabdata 1 1 0\n\
        TCP                   39     39   2368   13    8 : tunables 0 0 0 : slabdata 3 3 0\n\
        sock_inode_cache     195    195    832   39    8 : tunables 0 0 0 : slabdata 5 5 0\n\
        filp                2000   2000    192   21    1 : tunables 0 0 0 : slabdata 9 9 0\n\
        dentry              2000   2000    192   21    1 : tunables 0 0 0 : slabdata 9 9 0\n";

    #[test]
    fn sizes_are_those_of_the_kernel_that_tells_them() {
        let cost = KernelCost::of(SLABINFO, Driver::Ring);
        assert_eq!((cost.socket, cost.receive), (2520 + 840 + 195 + 195, WATCH_BYTES));
        assert_eq!(cost.source(), "slabinfo");
        let cost = KernelCost::of("", Driver::Portable);
        assert_eq!((cost.bytes(), cost.source()), (SOCKET_BYTES, "measured"));
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        let sockstat = "sockets: used 290\nTCP: inuse 6 orphan 0 tw 4 alloc 10 mem 3\n";
        assert_eq!(buffer_bytes(sockstat), Some(3 * PAGE_BYTES));
        let memory = ProcessMemory::read(Driver::Ring, 2, 1);
        assert!(memory.pss > Some(0) && memory.rss >= memory.pss, "{memory:?}");
    }
}
