//! When a thread gets its core.

use std::io;
use std::time::Duration;

/// Lets the calling thread, when it wakes, take its core from a thread with a longer slice at once
/// instead of waiting for the end of that slice (EEVDF, Linux 6.12 and later; 2.8 ms by default).
/// Its share of the core stays what it was, so this suits a thread that often waits and runs
/// briefly. `slice` is between 100 us and 100 ms; the kernel clamps it. Returns whether the kernel
/// keeps it: those before 6.12 take the call and do nothing.
///
/// # Errors
///
/// What the system says, which is `EPERM` where a seccomp profile forbids the call.
pub fn shorten_slice(slice: Duration) -> io::Result<bool> {
    let mut attributes = attributes()?;
    attributes.sched_runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the kernel reads as many bytes of the structure as it says it has; it lives.
    let written = unsafe {
        libc::syscall(libc::SYS_sched_setattr, THIS_THREAD, &raw const attributes, NO_FLAGS)
    };
    if written != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(self::attributes()?.sched_runtime != 0)
}

const THIS_THREAD: libc::pid_t = 0;
const NO_FLAGS: libc::c_uint = 0;

/// Policy, priority and slice of the calling thread.
fn attributes() -> io::Result<libc::sched_attr> {
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: all fields are integers, for which zero is a value.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most `size` bytes to the structure, which lives.
    let read = unsafe {
        libc::syscall(libc::SYS_sched_getattr, THIS_THREAD, &raw mut attributes, size, NO_FLAGS)
    };
    if read != 0 {
        return Err(io::Error::last_os_error());
    }
    attributes.size = size;
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_can_be_set_and_the_priority_stays() {
        std::thread::spawn(|| {
            rustix::process::setpriority_process(None, 3).expect("a thread may be nicer");
            let slice = Duration::from_micros(100);
            let is_kept = shorten_slice(slice).expect("no privilege is needed");
            let now = attributes().expect("it can be read");
            assert_eq!(now.sched_nice, 3);
            assert_eq!(now.sched_runtime, if is_kept { 100_000 } else { 0 });
        })
        .join()
        .expect("it ran");
    }
}
