//! Reads a host. Never writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Root;
use crate::engine::format::parse_list;
use crate::engine::host::{
    Host, Interface, PATHS, Reading, governor_path, governors_path, interrupt_path, receive_path,
    transmit_path,
};
use crate::engine::{FILES, Found, Ground, parents};
use crate::limits::{DROP_INS_MAX, FILE_BYTES_MAX, INTERFACES_MAX, QUEUES_MAX};

/// Places of the service's unit, the last one first that systemd would take.
const UNITS: [&str; 3] = [
    "/etc/systemd/system/ringway.service",
    "/usr/lib/systemd/system/ringway.service",
    "/lib/systemd/system/ringway.service",
];
const DROP_INS: &str = "/etc/systemd/system/ringway.service.d";
/// What is there where irqbalance runs, or is started with the machine.
const BALANCERS: [&str; 3] = [
    "/run/irqbalance",
    "/run/irqbalance.pid",
    "/etc/systemd/system/multi-user.target.wants/irqbalance.service",
];

/// Reads the host below a root.
pub fn read(root: &Root) -> Host {
    let mut texts: BTreeMap<String, Reading> = BTreeMap::new();
    for path in PATHS {
        texts.insert(path.to_owned(), reading(root, path));
    }
    let text = |path: &str| match texts.get(path) {
        Some(Reading::Text(text)) => text.as_str(),
        _ => "",
    };
    let cores: Vec<usize> = parse_list(text("/sys/devices/system/cpu/online"))
        .filter(|cores| !cores.is_empty())
        .map_or_else(|| vec![0], |cores| cores.into_iter().collect());
    let memory_bytes = memory_bytes(text("/proc/meminfo"));
    let interfaces = interfaces(root);
    for core in &cores {
        for path in [governor_path(*core), governors_path(*core)] {
            texts.insert(path.clone(), reading(root, &path));
        }
    }
    for path in interfaces.iter().flat_map(queue_paths) {
        let said = reading(root, &path);
        texts.insert(path, said);
    }
    Host {
        kernel: one_line(root, "/proc/sys/kernel/osrelease"),
        boot_id: boot_id(root),
        cores,
        memory_bytes,
        page_bytes: rustix::param::page_size() as u64,
        texts,
        interfaces,
        has_unit: UNITS.iter().any(|path| root.at(path).is_file()),
        unit_texts: unit_texts(root),
        has_irqbalance: BALANCERS.iter().any(|path| root.at(path).symlink_metadata().is_ok()),
    }
}

/// What is where `apply` may write.
pub(super) fn ground(root: &Root) -> Ground {
    let mut ground = Ground::default();
    for path in FILES {
        if let Some(found) = found(&root.at(path)) {
            ground.files.insert(path.to_owned(), found);
        }
        ground.directories.extend(parents(path).filter(|one| root.at(one).is_dir()));
    }
    ground
}

fn found(path: &Path) -> Option<Result<Found, String>> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(error.to_string())),
    };
    if !metadata.is_file() {
        return Some(Err("it is there and is no plain file".to_owned()));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Some(Err(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    Some(std::fs::read(path).map(|bytes| Found { bytes, mode }).map_err(|error| error.to_string()))
}

/// What a file of the host says.
pub(super) fn reading(root: &Root, path: &str) -> Reading {
    use std::io::ErrorKind;
    let mut text = String::new();
    let read = File::open(root.at(path))
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => Reading::Text(text),
        // Attributes that a device does not have are there, and say ENOENT when they are read.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Reading::Absent
        }
        Err(error) => Reading::Unreadable(format!("{path}: {error}")),
    }
}

/// Which start of the machine this is.
pub(super) fn boot_id(root: &Root) -> Option<String> {
    Some(one_line(root, "/proc/sys/kernel/random/boot_id")).filter(|id| !id.is_empty())
}

fn one_line(root: &Root, path: &str) -> String {
    match reading(root, path) {
        Reading::Text(text) => text.trim().to_owned(),
        Reading::Absent | Reading::Unreadable(_) => String::new(),
    }
}

fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Names in a directory, in order.
fn names(root: &Root, path: &str, most: usize) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.at(path)) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let sorted: BTreeSet<String> = names.take(most).collect();
    sorted.into_iter().collect()
}

fn interfaces(root: &Root) -> Vec<Interface> {
    let all_interrupts = interrupts(&one_line(root, "/proc/interrupts"));
    let mut found = Vec::new();
    for name in names(root, "/sys/class/net", INTERFACES_MAX) {
        let folder = format!("/sys/class/net/{name}");
        let is_down = one_line(root, &format!("{folder}/operstate")) == "down";
        if is_down || !root.at(&format!("{folder}/device")).exists() {
            continue;
        }
        let queues = names(root, &format!("{folder}/queues"), 2 * QUEUES_MAX);
        let count = |kind: &str| queues.iter().filter(|queue| queue.starts_with(kind)).count();
        // A virtio device has its interrupts at the PCI device above it.
        let mut numbers = names(root, &format!("{folder}/device/msi_irqs"), 2 * QUEUES_MAX);
        if numbers.is_empty() {
            numbers = names(root, &format!("{folder}/device/../msi_irqs"), 2 * QUEUES_MAX);
        }
        let own = numbers.iter().filter_map(|number| {
            let number = number.parse().ok()?;
            Some((number, all_interrupts.get(&number)?.clone()))
        });
        let interrupts = own.collect();
        let (receive_queues, transmit_queues) = (count("rx-"), count("tx-"));
        found.push(Interface { name, receive_queues, transmit_queues, interrupts });
    }
    found
}

/// Names of interrupts by number, of lines such as ` 38: 0 7 PCI-MSIX 1-edge eth0-TxRx-0`.
fn interrupts(text: &str) -> BTreeMap<u32, String> {
    let of = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        Some((number.trim().parse().ok()?, rest.split_whitespace().last()?.to_owned()))
    };
    text.lines().filter_map(of).collect()
}

fn queue_paths(interface: &Interface) -> Vec<String> {
    let name = &interface.name;
    let receive = (0..interface.receive_queues).map(|queue| receive_path(name, queue));
    let transmit = (0..interface.transmit_queues).map(|queue| transmit_path(name, queue));
    let interrupts = interface.interrupts.iter().map(|(number, _)| interrupt_path(*number));
    receive.chain(transmit).chain(interrupts).collect()
}

fn unit_texts(root: &Root) -> Vec<String> {
    let text = |path: &str| match reading(root, path) {
        Reading::Text(text) => Some(text),
        Reading::Absent | Reading::Unreadable(_) => None,
    };
    let mut texts: Vec<String> = UNITS.iter().find_map(|path| text(path)).into_iter().collect();
    let drop_ins = names(root, DROP_INS, DROP_INS_MAX);
    let drop_ins = drop_ins.iter().filter(|name| name.ends_with(".conf"));
    texts.extend(drop_ins.filter_map(|name| text(&format!("{DROP_INS}/{name}"))));
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_kernel_are_read() {
        assert_eq!(memory_bytes("MemTotal:       24682416 kB\nMemFree: 1 kB\n"), 24_682_416 << 10);
        assert_eq!(memory_bytes("nothing"), 0);
        let text =
            "           CPU0\n 38:  0  7 PCI-MSIX-0000:00:03.0   1-edge  eth0-TxRx-0\nNMI: 0 x\n";
        assert_eq!(interrupts(text), [(38, "eth0-TxRx-0".to_owned())].into());
    }
}
