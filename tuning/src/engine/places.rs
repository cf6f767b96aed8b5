//! The places that this program writes to. A record that names any other is not one of its own.

use super::host::PATHS;
use super::plan::{FILES, parents};
use super::record::Record;

const PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// The first path of a record that no `apply` writes to, if there is one. Whoever writes a record
/// by hand would otherwise have root write where they cannot.
pub fn place_of_others<'a>(record: &'a Record, state: &str) -> Option<&'a str> {
    let live = record.settings.iter().flat_map(|setting| &setting.live);
    let mut values = live.map(|live| live.path.as_str()).filter(|path| !is_value(path));
    let mut files = record.files.iter().map(|file| file.path.as_str());
    let is_made = |path: &str| {
        FILES.iter().chain([&state]).any(|file| parents(file).any(|parent| parent == path))
    };
    let mut directories = record.directories.iter().map(String::as_str);
    values
        .next()
        .or_else(|| files.find(|path| !FILES.contains(path)))
        .or_else(|| directories.find(|path| !is_made(path)))
}

/// A value of the running kernel that some setting changes.
fn is_value(path: &str) -> bool {
    let is_known = path.starts_with("/proc/sys/") && PATHS.contains(&path);
    is_known || path == PAGES || is_interrupt(path) || is_queue(path) || is_governor(path)
}

fn is_interrupt(path: &str) -> bool {
    between(path, "/proc/irq/", "/smp_affinity_list").is_some_and(is_number)
}

fn is_governor(path: &str) -> bool {
    between(path, "/sys/devices/system/cpu/cpu", "/cpufreq/scaling_governor").is_some_and(is_number)
}

fn is_queue(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/sys/class/net/") else { return false };
    let Some((interface, queue)) = rest.split_once('/') else { return false };
    let number = between(queue, "queues/rx-", "/rps_cpus")
        .or_else(|| between(queue, "queues/tx-", "/xps_cpus"));
    !interface.is_empty() && interface != "." && interface != ".." && number.is_some_and(is_number)
}

fn between<'a>(path: &'a str, start: &str, end: &str) -> Option<&'a str> {
    path.strip_prefix(start)?.strip_suffix(end)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_of_known_settings_are_taken() {
        for path in [
            "/proc/sys/net/core/somaxconn",
            "/proc/irq/41/smp_affinity_list",
            "/sys/class/net/eth0/queues/rx-0/rps_cpus",
            "/sys/class/net/eth0/queues/tx-12/xps_cpus",
            "/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor",
            PAGES,
        ] {
            assert!(is_value(path), "{path}");
        }
        for path in [
            "/etc/shadow",
            "/proc/meminfo",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/net/../kernel/core_pattern",
            "/proc/irq/../sys/kernel/smp_affinity_list",
            "/sys/class/net/../queues/rx-0/rps_cpus",
            "/sys/class/net/eth0/queues/rx-0/../../x/rps_cpus",
            "/sys/class/net//queues/rx-0/rps_cpus",
            "/sys/devices/system/cpu/cpu../cpufreq/scaling_governor",
            "",
        ] {
            assert!(!is_value(path), "{path}");
        }
    }
}
