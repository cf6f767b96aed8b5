//! What bounds the memory of this process, and how what counts against each bound is read.
//!
//! Against the limit of a control group (`memory.max`, `memory.high`, of the first version
//! `memory.limit_in_bytes`) counts what the kernel counts there, without file cache that it can
//! take back. Against `memory.limit` and the machine's memory counts the group of the process if
//! nobody else is in it, and otherwise its resident memory.
//!
//! Resident memory lacks what the kernel keeps for sockets; a control group has it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::proc::kib;
use crate::limits::MEMORY_FILE_BYTES_MAX;

/// One bound.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Bytes.
    pub(crate) bytes: u64,
    source: Source,
    usage: Usage,
}

/// Who set a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Option,
    /// This file of a control group.
    Group(PathBuf),
    Machine,
}

impl fmt::Display for Bound {
    /// Where to change it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Option => f.write_str("memory.limit"),
            Source::Group(file) => write!(f, "{}", file.display()),
            Source::Machine => f.write_str("the machine's memory"),
        }
    }
}

/// How it is read what counts.
#[derive(Debug)]
enum Usage {
    /// `/proc/self/status`.
    Resident(File),
    Group {
        /// `memory.current` or `memory.usage_in_bytes`.
        current: File,
        /// `memory.stat`.
        stat: File,
        names: StatNames,
    },
}

/// Lines of `memory.stat`: pages of files, and those of them that must be written first.
type StatNames = &'static [(&'static str, bool)];

const STAT_V2: StatNames = &[
    ("inactive_file", true),
    ("active_file", true),
    ("file_dirty", false),
    ("file_writeback", false),
];
const STAT_V1: StatNames = &[
    ("total_inactive_file", true),
    ("total_active_file", true),
    ("total_dirty", false),
    ("total_writeback", false),
];

impl Bound {
    /// Every bound of this process. `option` is what the operator says in bytes, if anything.
    ///
    /// # Errors
    ///
    /// /proc cannot be read.
    pub(crate) fn of_this_process(option: Option<u64>) -> io::Result<Vec<Self>> {
        let machine_bytes = machine_bytes(&fs::read_to_string("/proc/meminfo")?);
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let group = Group::find(&own, &mounts);
        let mut bounds = group.as_ref().map_or_else(Vec::new, |group| group.bounds(machine_bytes));
        let own_bound = match option {
            Some(bytes) => Some((bytes, Source::Option)),
            None if bounds.is_empty() => Some((machine_bytes, Source::Machine)),
            None => None,
        };
        if let Some((bytes, source)) = own_bound {
            let alone = group.filter(|group| group.holds_only(std::process::id()));
            let usage = match alone.and_then(|group| group.usage(&group.leaf)) {
                Some(usage) => usage,
                None => Usage::Resident(File::open("/proc/self/status")?),
            };
            bounds.push(Self { bytes, source, usage });
        }
        Ok(bounds)
    }

    /// How much it is, and who says so.
    pub(crate) fn limit(&self) -> (u64, String) {
        (self.bytes, self.to_string())
    }

    /// Bytes that count against it now.
    ///
    /// # Errors
    ///
    /// The kernel's file cannot be read, or says something else than it did.
    pub(crate) fn used_bytes(&self) -> io::Result<u64> {
        let nonsense = || io::Error::other("the kernel says something else than it did");
        match &self.usage {
            Usage::Resident(file) => kib(&read(file)?, "VmRSS:").ok_or_else(nonsense),
            Usage::Group { current, stat, names } => {
                let used: u64 = read(current)?.trim().parse().map_err(|_| nonsense())?;
                Ok(used.saturating_sub(reclaimable(&read(stat)?, names)))
            }
        }
    }
}

/// The control group of this process that counts memory.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    is_v2: bool,
    /// Where the file system of groups is mounted.
    mount: PathBuf,
    /// The directory of the process's own group.
    leaf: PathBuf,
}

impl Group {
    /// From the texts of /proc/self/cgroup and /proc/self/mountinfo.
    fn find(own: &str, mounts: &str) -> Option<Self> {
        let lines = || own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let v1 = lines().find(|(names, _)| names.split(',').any(|name| name == "memory"));
        let is_v2 = v1.is_none();
        let (_, path) = v1.or_else(|| lines().find(|(names, _)| names.is_empty()))?;
        let (root, mount) = mounts.lines().find_map(|line| mounted(line, is_v2))?;
        // In a container the mount may show a part of the hierarchy only.
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        let mount = PathBuf::from(mount);
        let leaf = if below.as_os_str().is_empty() { mount.clone() } else { mount.join(below) };
        Some(Self { is_v2, mount, leaf })
    }

    /// Of the group and everything above it, where it is below that of the machine.
    fn bounds(&self, machine_bytes: u64) -> Vec<Bound> {
        let names: &[&str] =
            if self.is_v2 { &["memory.max", "memory.high"] } else { &["memory.limit_in_bytes"] };
        let folders = self.leaf.ancestors().take_while(|folder| folder.starts_with(&self.mount));
        let bound = |folder: &Path| {
            let limit = |name: &&str| {
                let file = folder.join(name);
                let bytes: u64 = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
                (bytes < machine_bytes).then_some((bytes, file))
            };
            let (bytes, file) = names.iter().filter_map(limit).min()?;
            let usage = self.usage(folder)?;
            Some(Bound { bytes, source: Source::Group(file), usage })
        };
        folders.filter_map(bound).collect()
    }

    fn usage(&self, folder: &Path) -> Option<Usage> {
        let (current, names) = match self.is_v2 {
            true => ("memory.current", STAT_V2),
            false => ("memory.usage_in_bytes", STAT_V1),
        };
        let current = File::open(folder.join(current)).ok()?;
        let stat = File::open(folder.join("memory.stat")).ok()?;
        Some(Usage::Group { current, stat, names })
    }

    fn holds_only(&self, process: u32) -> bool {
        let processes = fs::read_to_string(self.leaf.join("cgroup.procs")).unwrap_or_default();
        processes.trim() == process.to_string()
    }
}

/// Root and mount point of a line of mountinfo (proc(5)), if it mounts what is looked for.
fn mounted(line: &str, is_v2: bool) -> Option<(&str, &str)> {
    let (place, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let (name, options) = (kind.next()?, kind.nth(1).unwrap_or_default());
    let is_wanted = match is_v2 {
        true => name == "cgroup2",
        false => name == "cgroup" && options.split(',').any(|option| option == "memory"),
    };
    let mut place = place.split(' ').skip(3);
    is_wanted.then(|| Some((place.next()?, place.next()?)))?
}

/// Reads a file of the kernel from its beginning, which makes it new.
fn read(file: &File) -> io::Result<String> {
    let mut bytes = vec![0; MEMORY_FILE_BYTES_MAX];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    String::from_utf8(bytes).map_err(io::Error::other)
}

fn machine_bytes(meminfo: &str) -> u64 {
    kib(meminfo, "MemTotal:").unwrap_or(u64::MAX)
}

/// File cache that the kernel can take back without writing anything.
fn reclaimable(stat: &str, names: StatNames) -> u64 {
    let value = |wanted: &str| {
        let mut words = stat.lines().filter_map(|line| line.split_once(' '));
        let found = words.find(|(name, _)| *name == wanted);
        found.and_then(|(_, bytes)| bytes.trim().parse().ok()).unwrap_or(0_u64)
    };
    let sum = |is_cache| -> u64 {
        names.iter().filter(|one| one.1 == is_cache).map(|one| value(one.0)).sum()
    };
    sum(true).saturating_sub(sum(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "9:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/c\n0::/u\n";
    const V1_MOUNTS: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw shared:1 - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_group_is_found_in_both_versions() {
        let group = Group::find(V1, V1_MOUNTS).unwrap();
        let leaf = PathBuf::from("/sys/fs/cgroup/memory/a/b");
        assert_eq!((group.is_v2, group.leaf), (false, leaf));
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let group = Group::find("0::/system.slice/ringway.service\n", mounts).unwrap();
        let leaf = PathBuf::from("/sys/fs/cgroup/system.slice/ringway.service");
        assert_eq!((group.is_v2, group.leaf), (true, leaf));
        assert_eq!(Group::find("0::/x\n", ""), None);
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_mount() {
        let mounts = "30 23 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        for (own, leaf) in [
            ("0::/docker/1\n", ""),
            ("0::/docker/1/x\n", "/x"),
            ("0::/../..\n", ""),
            ("0::/\n", ""),
        ] {
            let group = Group::find(own, mounts).unwrap();
            assert_eq!(group.leaf, PathBuf::from(format!("/sys/fs/cgroup{leaf}")), "{own}");
        }
    }

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn every_group_above_counts_that_has_a_limit() {
        let stat = "anon 1\ninactive_file 300\nactive_file 50\nfile_dirty 40\nfile_writeback 10\n";
        let folder = tree(&[
            ("pod/memory.max", "4000\n"),
            ("pod/memory.current", "2000\n"),
            ("pod/memory.stat", stat),
            ("pod/free/memory.max", "max\n"),
            ("pod/free/own/memory.max", "3000\n"),
            ("pod/free/own/memory.high", "2500\n"),
            ("pod/free/own/memory.current", "1000\n"),
            ("pod/free/own/memory.stat", stat),
            ("pod/free/own/cgroup.procs", "17\n"),
        ]);
        let mount = folder.path().to_owned();
        let leaf = mount.join("pod/free/own");
        let group = Group { is_v2: true, mount, leaf };
        let bounds = group.bounds(1 << 30);
        let found: Vec<(u64, u64)> =
            bounds.iter().map(|one| (one.bytes, one.used_bytes().unwrap())).collect();
        assert_eq!(found, [(2500, 700), (4000, 1700)]);
        assert!(bounds[0].to_string().ends_with("pod/free/own/memory.high"), "{}", bounds[0]);
        assert_eq!(group.bounds(2000).len(), 0, "no limit is below the machine's memory");
        assert!(group.holds_only(17) && !group.holds_only(1));
    }

    #[test]
    fn the_first_version_has_other_names() {
        let stat = "inactive_file 7\ntotal_inactive_file 300\ntotal_active_file 0\ntotal_dirty 1\n";
        let folder = tree(&[
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("own/memory.limit_in_bytes", "5000\n"),
            ("own/memory.usage_in_bytes", "1000\n"),
            ("own/memory.stat", stat),
        ]);
        let mount = folder.path().to_owned();
        let leaf = mount.join("own");
        let bounds = Group { is_v2: false, mount, leaf }.bounds(1 << 30);
        assert_eq!(bounds.len(), 1);
        assert_eq!(bounds[0].used_bytes().unwrap(), 701);
    }

    #[test]
    fn this_process_has_a_bound_and_uses_some_of_it() {
        let option = 1 << 40;
        let bounds = Bound::of_this_process(Some(option)).unwrap();
        let own = bounds.last().unwrap();
        assert_eq!((own.bytes, own.to_string().as_str()), (option, "memory.limit"));
        let used = own.used_bytes().unwrap();
        assert!((1 << 20..1 << 40).contains(&used), "{used}");
        let bounds = Bound::of_this_process(None).unwrap();
        assert!(!bounds.is_empty());
    }
}
