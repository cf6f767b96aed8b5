//! What the server takes, if its process is on this machine and was named.

use std::io;
use std::time::Instant;

use rustix::param::clock_ticks_per_second;

/// A server's process.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    pid: u32,
    since: Instant,
    cpu_ns: u64,
    pss_bytes: u64,
}

/// What it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ServerUse {
    /// Proportional set size at the end (proc(5), smaps_rollup).
    pub(crate) pss_bytes: u64,
    /// The same before the first client.
    pub(crate) pss_before_bytes: u64,
    /// Cores that it kept busy while it was measured.
    pub(crate) cpu_cores: f64,
}

impl ServerProcess {
    /// Looks at it for the first time.
    ///
    /// # Errors
    ///
    /// There is no such process, or it belongs to somebody else: a sentence.
    pub(crate) fn find(pid: u32) -> Result<Self, String> {
        let look = || io::Result::Ok((cpu_ns(pid)?, pss_bytes(pid)?));
        let (cpu_ns, pss_bytes) = look().map_err(|error| {
            format!("--server-pid {pid}: {error}; name a process of this host that you may look at")
        })?;
        Ok(Self { pid, since: Instant::now(), cpu_ns, pss_bytes })
    }

    /// The measurement begins.
    pub(crate) fn begin(&mut self) {
        if let Ok(cpu_ns) = cpu_ns(self.pid) {
            (self.since, self.cpu_ns) = (Instant::now(), cpu_ns);
        }
    }

    /// What it took since. `None`: it is gone.
    pub(crate) fn taken(&self) -> Option<ServerUse> {
        let used_ns = cpu_ns(self.pid).ok()?.saturating_sub(self.cpu_ns) as f64;
        Some(ServerUse {
            pss_bytes: pss_bytes(self.pid).ok()?,
            pss_before_bytes: self.pss_bytes,
            cpu_cores: used_ns / self.since.elapsed().as_nanos().max(1) as f64,
        })
    }
}

/// CPU time of all threads, also of those that have ended (proc(5), utime and stime of `stat`),
/// in whole ticks: 10 ms, as a rule.
fn cpu_ns(pid: u32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks_of(&text).ok_or_else(|| io::Error::other("stat has no times"))?;
    Ok((u128::from(ticks) * 1_000_000_000 / u128::from(clock_ticks_per_second())) as u64)
}

/// Ticks of user and system time. The name of the process, in parentheses, may hold anything.
fn ticks_of(stat: &str) -> Option<u64> {
    // Fields 14 and 15 of all, of which the first two end with the name.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

fn pss_bytes(pid: u32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("smaps_rollup has no Pss"))
}

#[cfg(test)]
mod tests {
    use super::super::clock::{MILLISECOND_NS, cpu_ns as process_cpu_ns};
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 10 0 0 0 7 5 1 1 20 0 3 0 100";
        assert_eq!(ticks_of(stat), Some(12));
        assert_eq!(ticks_of("42 (a) S 1"), None);
    }

    /// Uses 50 ms of CPU, however busy the machine is.
    fn work() {
        let until_ns = process_cpu_ns() + 50 * MILLISECOND_NS;
        while process_cpu_ns() < until_ns {}
    }

    #[test]
    fn our_own_process_takes_something_also_in_threads_that_ended() {
        let mut server = ServerProcess::find(std::process::id()).unwrap();
        server.begin();
        let before_ns = cpu_ns(std::process::id()).unwrap();
        std::thread::spawn(work).join().unwrap();
        let used_ns = cpu_ns(std::process::id()).unwrap() - before_ns;
        assert!(used_ns >= 30 * MILLISECOND_NS, "{used_ns}");
        let taken = server.taken().unwrap();
        assert!(taken.cpu_cores > 0.0, "{}", taken.cpu_cores);
        assert!(taken.pss_bytes > 100_000, "{}", taken.pss_bytes);
    }

    #[test]
    fn a_process_that_is_not_there_is_refused() {
        let sentence = ServerProcess::find(u32::MAX).unwrap_err();
        assert!(sentence.contains("--server-pid 4294967295"), "{sentence}");
    }
}
