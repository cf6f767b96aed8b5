//! What files need from the kernel and `std` has no name for.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Begins to bring `bytes` of a file from `position` on to the disk, and does not wait until they
/// are there (`sync_file_range(2)`; where the disk's queue is full it waits for room). It says
/// nothing about what survives a power cut: only a sync does, and one that follows waits for less.
///
/// # Errors
///
/// What the system says: `ESPIPE` for what is no file, `ENOSYS` or `EPERM` where a sandbox forbids
/// the call. What the disk says is kept for the sync.
pub fn start_writing(file: &File, position: u64, bytes: u64) -> io::Result<()> {
    let position = libc::off64_t::try_from(position).map_err(io::Error::other)?;
    let bytes = libc::off64_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open while `file` is borrowed, and no memory is named.
    let begun = unsafe {
        libc::sync_file_range(file.as_raw_fd(), position, bytes, libc::SYNC_FILE_RANGE_WRITE)
    };
    if begun == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_take_it_and_sockets_refuse_it() {
        let path = std::env::temp_dir().join(format!("start-writing-{}", std::process::id()));
        std::fs::write(&path, [1; 8192]).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        start_writing(&file, 4096, 100).unwrap();
        file.sync_data().unwrap();
        assert!(start_writing(&file, u64::MAX, 1).is_err());
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = File::from(std::os::fd::OwnedFd::from(socket));
        assert_eq!(start_writing(&socket, 0, 1).unwrap_err().raw_os_error(), Some(libc::ESPIPE));
    }
}
