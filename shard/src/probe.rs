//! Can this process use io_uring, and does the kernel know every operation we need?

use std::fmt;

use io_uring::{IoUring, Probe, opcode};

/// Why the ring cannot be used, as one sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingRefusal {
    /// `kernel.io_uring_disabled` forbids it.
    DisabledBySysctl(u8),
    /// A seccomp profile (or a kernel built without) refuses the system call.
    NotPermitted,
    /// The kernel has no io_uring.
    NotBuilt,
    /// The kernel is older than what the ring needs.
    Lacks(&'static str),
    /// Anything else, with the system's words.
    Failed(String),
}

impl fmt::Display for RingRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DisabledBySysctl(value) => write!(
                f,
                "io_uring is switched off on this host (kernel.io_uring_disabled = {value}); \
                 run `sysctl kernel.io_uring_disabled=0`, or 1 with this user in \
                 kernel.io_uring_group"
            ),
            Self::NotPermitted => write!(
                f,
                "io_uring is not permitted here, most likely by a container's seccomp profile; \
                 allow io_uring_setup, io_uring_enter and io_uring_register in it"
            ),
            Self::NotBuilt => write!(f, "this kernel was built without io_uring (CONFIG_IO_URING)"),
            Self::Lacks(what) => {
                write!(f, "this kernel's io_uring has no {what}; Linux 6.7 or newer is needed")
            }
            Self::Failed(error) => write!(f, "io_uring cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for RingRefusal {}

/// Makes a small ring, asks it for every operation that [`crate::ring`] uses, and drops it.
///
/// # Errors
///
/// The first thing that is missing.
pub fn probe() -> Result<(), RingRefusal> {
    let ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(8)
        .map_err(|error| refusal(&error))?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| RingRefusal::Failed(error.to_string()))?;
    let needed = [
        (opcode::AcceptMulti::CODE, "accept"),
        (opcode::RecvMulti::CODE, "receive"),
        (opcode::Send::CODE, "send"),
        (opcode::Shutdown::CODE, "shutdown"),
        (opcode::Close::CODE, "close"),
        (opcode::AsyncCancel::CODE, "cancel"),
        (opcode::Read::CODE, "read"),
        (opcode::PollAdd::CODE, "poll"),
        (opcode::SetSockOpt::CODE, "socket command"),
    ];
    for (code, name) in needed {
        if !probe.is_supported(code) {
            return Err(RingRefusal::Lacks(name));
        }
    }
    ring.submitter()
        .register_files_sparse(8)
        .map_err(|_| RingRefusal::Lacks("sparse table of direct descriptors"))?;
    crate::buffers::BufferRing::register(&ring.submitter(), 8, 64)
        .map(drop)
        .map_err(|_| RingRefusal::Lacks("provided buffer ring"))
}

fn refusal(error: &std::io::Error) -> RingRefusal {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    let disabled = disabled.and_then(|text| text.trim().parse::<u8>().ok()).unwrap_or(0);
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if disabled > 0 => RingRefusal::DisabledBySysctl(disabled),
        Some(libc::EPERM | libc::EACCES) => RingRefusal::NotPermitted,
        Some(libc::ENOSYS) => RingRefusal::NotBuilt,
        Some(libc::EINVAL) => RingRefusal::Lacks("deferred task work"),
        _ => RingRefusal::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_passes() {
        assert_eq!(probe(), Ok(()));
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let errno = std::io::Error::from_raw_os_error;
        assert!(refusal(&errno(libc::ENOSYS)).to_string().contains("CONFIG_IO_URING"));
        assert!(refusal(&errno(libc::EINVAL)).to_string().contains("Linux 6.7"));
        let denied = refusal(&errno(libc::EPERM)).to_string();
        assert!(denied.contains("seccomp") || denied.contains("io_uring_disabled"));
    }
}
