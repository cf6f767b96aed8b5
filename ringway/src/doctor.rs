//! What on this host will hurt, worst first: reading the host is one part, judging it another.

use std::fmt;
use std::net::{SocketAddr, TcpListener};

use rustix::process::{Resource, getrlimit};
use shard::limits::RINGS_PER_SHARD_MAX;
use shard::placement::Placement;
use shard::probe::RingRefusal;

use crate::doctor_memory::Forecast;
use crate::doctor_tuning::{LIMIT_OF_FILES, SWITCH_OF_RING};
use crate::limits::{CONNECTIONS_EXPECTED, FILES_BESIDE};
use crate::memory::proc::{kib, text};
use crate::memory::{MemorySettings, Room};
use crate::node::driver::{Driver, PORTABLE_COSTS};
use crate::settings::{IoChoice, Settings};

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    host: Host,
    needs: Needs,
    findings: Vec<Finding>,
}

/// One thing that hurts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much.
    pub pain: Pain,
    /// What is so.
    pub what: String,
    /// Why it hurts.
    pub why: &'static str,
    /// What to do.
    pub fix: String,
}

/// How much something hurts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pain {
    /// The server does not start.
    Stops,
    /// Connections, or what clients send, are refused or lost.
    Loses,
    /// It works, at a price.
    Costs,
}

/// What the judgement rests on.
#[derive(Clone, Debug)]
struct Host {
    kernel: String,
    ring_refusal: Option<RingRefusal>,
    files_soft: u64,
    files_hard: u64,
    memory_bytes: u64,
    available_bytes: u64,
    room: Option<Room>,
    cores_count: usize,
    shards_count: usize,
}

/// Who says how many connections there will be.
#[derive(Clone, Copy, Debug)]
enum Source {
    Asked,
    Configured,
    Assumed,
}

/// What a configuration asks of the host.
#[derive(Clone, Debug)]
struct Needs {
    connections: u64,
    source: Source,
    shards_count: usize,
    io: IoChoice,
    is_secure: bool,
    listeners: Vec<(&'static str, SocketAddr)>,
}

/// Examines this host for a server with these settings, and for this many connections if they are
/// given.
pub fn examine(settings: &Settings, connections: Option<u64>) -> Report {
    let host = Host::read(settings.memory);
    let needs = Needs::of(settings, &host, connections);
    let mut findings = judge(&host, &needs);
    findings.extend(needs.listeners.iter().filter_map(|(option, address)| {
        let error = TcpListener::bind(address).err()?;
        Some(Finding {
            pain: Pain::Stops,
            what: format!("{address} ({option}) cannot be listened on: {error}"),
            why: "the server needs the port for itself",
            fix: format!("stop what holds it (`ss -ltnp`), or change {option}"),
        })
    }));
    findings.extend(settings.persistence.iter().flat_map(crate::doctor_disk::examine));
    if let Some(acme) = settings.tls.as_ref().and_then(|tls| tls.acme.as_ref()) {
        findings.extend(crate::doctor_acme::examine(acme, settings.listen.port()));
    }
    findings.extend(crate::doctor_tuning::examine(needs.connections, &said(&host, &needs)));
    findings.sort_by_key(|finding| finding.pain);
    Report { host, needs, findings }
}

impl Report {
    /// Will the server start and keep its connections?
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.pain == Pain::Costs)
    }

    /// Which driver would win, and why.
    fn driver_line(&self) -> String {
        let why = match (self.needs.io, &self.host.ring_refusal) {
            (IoChoice::Portable, _) => "as io says".to_owned(),
            (IoChoice::Ring, _) => "as io says, and nothing else will do".to_owned(),
            (IoChoice::Auto, None) => "this host permits it".to_owned(),
            (IoChoice::Auto, Some(refusal)) => refusal.to_string(),
        };
        match self.host.driver(&self.needs) {
            Some(driver) => format!("sockets would be driven by: {driver} ({why})"),
            None => format!("no driver: io_uring is to be used ({why}), and cannot be"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        writeln!(
            f,
            "Linux {}, {} cores for {} shards, {} MiB of memory ({} MiB available), \
             {} files ({} at most)",
            host.kernel,
            host.cores_count,
            self.needs.shards_count,
            host.memory_bytes >> 20,
            host.available_bytes >> 20,
            host.files_soft,
            host.files_hard,
        )?;
        let source = match self.needs.source {
            Source::Asked => "as --connections says",
            Source::Configured => "as client.connection_limit says",
            Source::Assumed => "assumed: nothing limits them; --connections N examines for others",
        };
        writeln!(f, "examined for {} connections ({source})", self.needs.connections)?;
        writeln!(f, "{}", self.driver_line())?;
        writeln!(f, "{}", host.forecast(&self.needs))?;
        for (index, finding) in self.findings.iter().enumerate() {
            let pain = match finding.pain {
                Pain::Stops => "stops the server",
                Pain::Loses => "loses connections or data",
                Pain::Costs => "costs something",
            };
            writeln!(f, "{}. {} ({pain})", index + 1, finding.what)?;
            writeln!(f, "   why: {}", finding.why)?;
            writeln!(f, "   fix: {}", finding.fix)?;
        }
        if self.findings.is_empty() {
            writeln!(f, "Nothing here will hurt.")?;
        }
        Ok(())
    }
}

impl Needs {
    fn of(settings: &Settings, host: &Host, asked: Option<u64>) -> Self {
        let (connections, source) = match (asked, settings.gateway.connections_max) {
            (Some(asked), _) => (asked, Source::Asked),
            (None, 0) => (CONNECTIONS_EXPECTED, Source::Assumed),
            (None, limit) => (u64::from(limit), Source::Configured),
        };
        let mut listeners = vec![("http_server.port", settings.listen)];
        listeners.extend(settings.metrics.map(|address| ("metrics.address", address)));
        let shards_count = settings.shards.unwrap_or(host.shards_count);
        let is_secure = settings.tls.is_some();
        Self { connections, source, shards_count, io: settings.io, is_secure, listeners }
    }
}

impl Host {
    fn driver(&self, needs: &Needs) -> Option<Driver> {
        let probed = self.ring_refusal.clone().map_or(Ok(()), Err);
        Driver::choose(needs.io, probed).ok()
    }

    fn forecast(&self, needs: &Needs) -> Forecast {
        let driver = self.driver(needs).unwrap_or(Driver::Ring);
        Forecast::new(needs.connections, driver, needs.is_secure)
    }

    fn read(memory_settings: MemorySettings) -> Self {
        let files = getrlimit(Resource::Nofile);
        let memory = text("/proc/meminfo");
        let placement = Placement::of_this_process();
        Self {
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            ring_refusal: shard::probe::probe().err(),
            files_soft: files.current.unwrap_or(u64::MAX),
            files_hard: files.maximum.unwrap_or(u64::MAX),
            memory_bytes: kib(&memory, "MemTotal:").unwrap_or(u64::MAX),
            available_bytes: kib(&memory, "MemAvailable:").unwrap_or(u64::MAX),
            room: memory_settings.room(),
            cores_count: placement.cores.len(),
            shards_count: placement.shards_count,
        }
    }
}

fn judge(host: &Host, needs: &Needs) -> Vec<Finding> {
    let checks = [ring, files, memory, too_many_shards];
    checks.iter().filter_map(|check| check(host, needs)).collect()
}

/// Settings, by their names in `ringway tune`, of which these findings speak already.
fn said(host: &Host, needs: &Needs) -> Vec<&'static str> {
    let is_switched_off = matches!(host.ring_refusal, Some(RingRefusal::DisabledBySysctl(_)));
    let all = [
        (LIMIT_OF_FILES, files(host, needs).is_some()),
        (SWITCH_OF_RING, is_switched_off && ring(host, needs).is_some()),
    ];
    all.into_iter().filter(|(_, is_said)| *is_said).map(|(id, _)| id).collect()
}

fn ring(host: &Host, needs: &Needs) -> Option<Finding> {
    let refusal = host.ring_refusal.as_ref()?.to_string();
    let (what, fix) = refusal.split_once("; ").unwrap_or((&refusal, "run a newer kernel"));
    let (pain, why) = match needs.io {
        IoChoice::Portable => return None,
        IoChoice::Auto => (Pain::Costs, PORTABLE_COSTS),
        IoChoice::Ring => (Pain::Stops, "io says that every socket is driven by io_uring"),
    };
    Some(Finding { pain, what: what.to_owned(), why, fix: fix.to_owned() })
}

/// Places that each table of a shard must have.
fn connections_per_table(needs: &Needs) -> u64 {
    let per_shard = needs.connections.div_ceil(needs.shards_count as u64);
    per_shard.div_ceil(RINGS_PER_SHARD_MAX.into())
}

fn files(host: &Host, needs: &Needs) -> Option<Finding> {
    // A ring's table of direct descriptors may have as many entries as the process may have files,
    // and a shard may have many rings; without rings, all connections together are files of the
    // process.
    let (needed, why) = match host.driver(needs) {
        Some(Driver::Portable) => (
            needs.connections + FILES_BESIDE,
            "without io_uring RLIMIT_NOFILE limits all connections; further ones are refused",
        ),
        _ => (
            connections_per_table(needs) + FILES_BESIDE,
            "RLIMIT_NOFILE limits a ring's table of sockets, and a shard has 64 rings at most; \
             further connections are refused",
        ),
    };
    (host.files_soft < needed).then(|| Finding {
        pain: Pain::Loses,
        what: format!(
            "this process may have {} files, and {} connections on {} shards need {needed}",
            host.files_soft, needs.connections, needs.shards_count
        ),
        why,
        fix: if host.files_hard >= needed {
            format!("run `ulimit -n {needed}` first, or set LimitNOFILE={needed} in the unit")
        } else {
            format!(
                "the hard limit is {}: set LimitNOFILE={needed} in the unit, or `nofile` in \
                 /etc/security/limits.conf",
                host.files_hard
            )
        },
    })
}

fn memory(host: &Host, needs: &Needs) -> Option<Finding> {
    host.forecast(needs).judge(host.available_bytes, host.room.as_ref())
}

fn too_many_shards(host: &Host, needs: &Needs) -> Option<Finding> {
    (needs.shards_count > host.shards_count).then(|| Finding {
        pain: Pain::Costs,
        what: format!(
            "{} shards are configured, and cores or quota are good for {}",
            needs.shards_count, host.shards_count
        ),
        why: "shards that share a core wait for each other",
        fix: "set shards to 0".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good_host() -> Host {
        Host {
            kernel: "6.12.0".to_owned(),
            ring_refusal: None,
            files_soft: 1_048_576,
            files_hard: 1_048_576,
            memory_bytes: 8 << 30,
            available_bytes: 8 << 30,
            room: None,
            cores_count: 4,
            shards_count: 4,
        }
    }

    fn needs() -> Needs {
        Needs {
            connections: 100_000,
            source: Source::Assumed,
            shards_count: 4,
            io: IoChoice::Auto,
            is_secure: false,
            listeners: Vec::new(),
        }
    }

    #[test]
    fn a_good_host_has_no_findings() {
        assert_eq!(judge(&good_host(), &needs()), []);
    }

    #[test]
    fn everything_that_hurts_is_said_with_its_fix() {
        let host = Host {
            ring_refusal: Some(RingRefusal::NotPermitted),
            files_soft: 1_024,
            files_hard: 4_096,
            available_bytes: 1 << 20,
            shards_count: 2,
            ..good_host()
        };
        let findings = judge(&host, &Needs { io: IoChoice::Ring, ..needs() });
        assert_eq!(findings.len(), 4);
        assert!(findings.iter().all(|finding| !finding.fix.is_empty()));
        assert_eq!(findings[0].pain, Pain::Stops);
        assert!(findings[0].what.contains("not permitted"), "{:?}", findings[0]);
        assert!(findings[1].fix.contains("LimitNOFILE=1415"), "{:?}", findings[1]);
    }

    #[test]
    fn settings_that_a_finding_speaks_of_are_known() {
        let refusal = Some(RingRefusal::DisabledBySysctl(1));
        let host = Host { ring_refusal: refusal, files_soft: 1_024, ..good_host() };
        assert_eq!(said(&good_host(), &needs()), [""; 0]);
        assert_eq!(said(&host, &needs()), ["LimitNOFILE", "kernel.io_uring_disabled"]);
        let portable = Needs { io: IoChoice::Portable, ..needs() };
        assert_eq!(said(&host, &portable), ["LimitNOFILE"]);
        let elsewise = Host { ring_refusal: Some(RingRefusal::NotPermitted), ..good_host() };
        assert_eq!(said(&elsewise, &needs()), [""; 0]);
    }

    #[test]
    fn the_driver_that_would_win_is_named_and_judged() {
        let host = Host { ring_refusal: Some(RingRefusal::NotBuilt), ..good_host() };
        let told = |io, host: &Host| {
            let needs = Needs { io, ..needs() };
            let findings = judge(host, &needs);
            let report = Report { host: host.clone(), needs, findings };
            (report.driver_line(), report.findings.first().map(|finding| finding.pain))
        };
        let (line, pain) = told(IoChoice::Auto, &good_host());
        assert_eq!(line, "sockets would be driven by: io_uring (this host permits it)");
        assert_eq!(pain, None);
        let (line, pain) = told(IoChoice::Auto, &host);
        assert!(line.contains("portable") && line.contains("CONFIG_IO_URING"), "{line}");
        assert_eq!(pain, Some(Pain::Costs));
        let (line, pain) = told(IoChoice::Ring, &host);
        assert!(line.starts_with("no driver"), "{line}");
        assert_eq!(pain, Some(Pain::Stops));
        assert_eq!(told(IoChoice::Portable, &host).1, None);
        let few = Host { files_soft: 50_000, ..host };
        let findings = judge(&few, &needs());
        assert!(findings[1].fix.contains("101024"), "{findings:?}");
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        let memory = MemorySettings { limit_bytes: None, refuse_percent: 80, shed_percent: 90 };
        let host = Host::read(memory);
        assert!(host.room.as_ref().is_some_and(|room| room.bytes < host.memory_bytes));
        assert!(host.memory_bytes > 0 && host.cores_count > 0 && !host.kernel.is_empty());
    }
}
