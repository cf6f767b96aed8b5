//! What the server takes, if its process is on this machine and was named.

use std::io;
use std::time::Instant;

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

/// CPU time of all threads (proc(5), schedstat).
fn cpu_ns(pid: u32) -> io::Result<u64> {
    let mut sum_ns = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum_ns += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum_ns)
}

fn pss_bytes(pid: u32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("smaps_rollup has no Pss"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_takes_something() {
        let mut server = ServerProcess::find(std::process::id()).unwrap();
        server.begin();
        let until = Instant::now() + std::time::Duration::from_millis(50);
        while Instant::now() < until {}
        let taken = server.taken().unwrap();
        assert!(taken.cpu_cores > 0.05, "{}", taken.cpu_cores);
        assert!(taken.pss_bytes > 100_000, "{}", taken.pss_bytes);
    }

    #[test]
    fn a_process_that_is_not_there_is_refused() {
        let sentence = ServerProcess::find(u32::MAX).unwrap_err();
        assert!(sentence.contains("--server-pid 4294967295"), "{sentence}");
    }
}
