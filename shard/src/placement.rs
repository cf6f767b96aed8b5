//! How many shards, and on which cores.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores this process may run on, and how many shards they are good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Cores of the process's cpuset, in order.
    pub cores: Vec<usize>,
    /// Shards to run: the cores, or fewer under a CPU quota.
    pub shards_count: usize,
}

impl Placement {
    /// Reads the affinity mask (cpuset, taskset) and the control group's CPU quota.
    pub fn of_this_process() -> Self {
        let mut cores = Vec::new();
        if let Ok(set) = sched_getaffinity(None) {
            cores.extend((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)));
        }
        if cores.is_empty() {
            cores.push(0);
        }
        let quota = quota_cores().unwrap_or(f64::INFINITY);
        let shards_count = shards_for(cores.len(), quota);
        Self { cores, shards_count }
    }

    /// The core for a shard. With more shards than cores, cores are shared.
    pub fn core_of(&self, shard: usize) -> usize {
        self.cores[shard % self.cores.len()]
    }
}

/// A quota of 2.5 cores is used by two shards: a third would be throttled with the others.
fn shards_for(cores_count: usize, quota_cores: f64) -> usize {
    let by_quota = if quota_cores.is_finite() { quota_cores.floor() as usize } else { usize::MAX };
    by_quota.clamp(1, cores_count.clamp(1, usize::from(u8::MAX)))
}

fn quota_cores() -> Option<f64> {
    // cgroup v2: "max 100000" or "250000 100000"; v1 has the two numbers in two files.
    if let Ok(text) = std::fs::read_to_string("/sys/fs/cgroup/cpu.max") {
        return parse_cpu_max(&text);
    }
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<f64>().ok();
    let quota = number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")?;
    let period = number("/sys/fs/cgroup/cpu/cpu.cfs_period_us")?;
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

fn parse_cpu_max(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota = words.next()?.parse::<f64>().ok()?;
    let period = words.next()?.parse::<f64>().ok()?;
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// Pins the calling thread to one core.
///
/// # Errors
///
/// The core is not in the process's cpuset any more.
pub fn pin_to(core: usize) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_round_down_but_leave_one_shard() {
        assert_eq!(shards_for(8, f64::INFINITY), 8);
        assert_eq!(shards_for(8, 2.5), 2);
        assert_eq!(shards_for(8, 0.5), 1);
        assert_eq!(shards_for(0, f64::INFINITY), 1);
    }

    #[test]
    fn cpu_max_is_read_as_the_kernel_writes_it() {
        assert_eq!(parse_cpu_max("max 100000\n"), None);
        assert_eq!(parse_cpu_max("250000 100000\n"), Some(2.5));
    }

    #[test]
    fn a_thread_can_be_pinned_where_it_may_run() {
        let placement = Placement::of_this_process();
        assert!(placement.shards_count >= 1);
        let core = placement.core_of(0);
        std::thread::spawn(move || {
            pin_to(core).unwrap();
            assert_eq!(Placement::of_this_process().cores, [core]);
        })
        .join()
        .unwrap();
    }
}
