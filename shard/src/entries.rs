//! Submission entries, and the 64 bits by which a completion is recognised.
//!
//! ```text
//!  63      56 55      48 47              24 23               0
//! ┌──────────┬──────────┬──────────────────┬──────────────────┐
//! │operation │   aux    │    generation    │       slot       │
//! └──────────┴──────────┴──────────────────┴──────────────────┘
//! ```
//!
//! The generation is in every completion, so that a late one can never touch a newer connection.

use std::os::fd::OwnedFd;

use io_uring::{opcode, squeue, types};
use protocol::ids::Slot;

use crate::buffers::BUFFER_GROUP;

/// What was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Operation {
    /// An accept into direct descriptors, of many clients or (with `aux` 1) of one.
    Accept = 1,
    /// A receive: a multishot one, or one that does not wait.
    Receive,
    /// A send.
    Send,
    /// A shutdown of one or both directions. Its result does not matter.
    Shutdown,
    /// The close of a direct descriptor.
    Close,
    /// A cancellation. Its result does not matter.
    Cancel,
    /// A look-up of a peer address; `aux` is its place among the look-ups.
    Peer,
    /// A read of the bell's eventfd.
    Bell,
    /// A poll for something to receive, or the end.
    Watch,
}

/// The user data of one submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) operation: Operation,
    pub(crate) aux: u8,
    pub(crate) slot: Slot,
    pub(crate) generation: u32,
}

const FIELD_MASK: u64 = (1 << protocol::ids::SLOT_BITS) - 1;

impl Tag {
    pub(crate) fn new(operation: Operation, slot: Slot, generation: u32) -> Self {
        Self { operation, aux: 0, slot, generation }
    }

    /// The tag of an operation that belongs to no connection.
    pub(crate) fn of(operation: Operation) -> Self {
        Self::new(operation, Slot(0), 0)
    }

    pub(crate) fn to_bits(self) -> u64 {
        (self.operation as u64) << 56
            | u64::from(self.aux) << 48
            | u64::from(self.generation) << 24
            | u64::from(self.slot.0)
    }

    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        let operation = match (bits >> 56) as u8 {
            1 => Operation::Accept,
            2 => Operation::Receive,
            3 => Operation::Send,
            4 => Operation::Shutdown,
            5 => Operation::Close,
            6 => Operation::Cancel,
            7 => Operation::Peer,
            8 => Operation::Bell,
            9 => Operation::Watch,
            _ => return None,
        };
        Some(Self {
            operation,
            aux: (bits >> 48) as u8,
            slot: Slot((bits & FIELD_MASK) as u32),
            generation: (bits >> 24 & FIELD_MASK) as u32,
        })
    }
}

pub(crate) fn accept(listener: i32) -> squeue::Entry {
    opcode::AcceptMulti::new(types::Fd(listener))
        .allocate_file_index(true)
        .build()
        .user_data(Tag::of(Operation::Accept).to_bits())
}

/// Accepts one client.
pub(crate) fn accept_one(listener: i32) -> squeue::Entry {
    let tag = Tag { aux: ONE_CLIENT, ..Tag::of(Operation::Accept) };
    opcode::Accept::new(types::Fd(listener), core::ptr::null_mut(), core::ptr::null_mut())
        .file_index(Some(types::DestinationSlot::auto_target()))
        .build()
        .user_data(tag.to_bits())
}

/// Of an accept that ends with its first client.
pub(crate) const ONE_CLIENT: u8 = 1;

pub(crate) fn receive(tag: Tag) -> squeue::Entry {
    opcode::RecvMulti::new(types::Fixed(tag.slot.0), BUFFER_GROUP).build().user_data(tag.to_bits())
}

/// Receives what there is, and fails with EAGAIN if there is nothing.
pub(crate) fn receive_once(tag: Tag) -> squeue::Entry {
    // As many bytes as the buffer has.
    let (into, bytes_max) = (core::ptr::null_mut(), 0);
    opcode::Recv::new(types::Fixed(tag.slot.0), into, bytes_max)
        .buf_group(BUFFER_GROUP)
        .flags(libc::MSG_DONTWAIT)
        .build()
        .flags(squeue::Flags::BUFFER_SELECT)
        .user_data(tag.to_bits())
}

/// Completes when there is something to receive, or the end of it.
pub(crate) fn watch(tag: Tag) -> squeue::Entry {
    let events = libc::POLLIN | libc::POLLRDHUP;
    opcode::PollAdd::new(types::Fixed(tag.slot.0), events as u32).build().user_data(tag.to_bits())
}

/// `bytes` must stay alive and unchanged until the completion.
pub(crate) fn send(tag: Tag, bytes: &[u8]) -> squeue::Entry {
    // MSG_WAITALL makes the kernel finish a short send itself instead of waking us for the rest.
    opcode::Send::new(types::Fixed(tag.slot.0), bytes.as_ptr(), bytes.len() as u32)
        .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
        .build()
        .user_data(tag.to_bits())
}

pub(crate) fn shutdown(tag: Tag, how: i32) -> squeue::Entry {
    opcode::Shutdown::new(types::Fixed(tag.slot.0), how).build().user_data(tag.to_bits())
}

pub(crate) fn close(tag: Tag) -> squeue::Entry {
    opcode::Close::new(types::Fixed(tag.slot.0)).build().user_data(tag.to_bits())
}

pub(crate) fn cancel(target: Tag) -> squeue::Entry {
    let tag = Tag { operation: Operation::Cancel, ..target };
    opcode::AsyncCancel::new(target.to_bits()).build().user_data(tag.to_bits())
}

/// Cancels every operation with this tag.
pub(crate) fn cancel_all(target: Tag) -> squeue::Entry {
    let tag = Tag { operation: Operation::Cancel, ..target };
    opcode::AsyncCancel2::new(types::CancelBuilder::user_data(target.to_bits()).all())
        .build()
        .user_data(tag.to_bits())
}

/// `into` must stay alive until the completion.
pub(crate) fn read_bell(eventfd: i32, into: *mut u64) -> squeue::Entry {
    opcode::Read::new(types::Fd(eventfd), into.cast(), 8)
        .build()
        .user_data(Tag::of(Operation::Bell).to_bits())
}

/// `SOCKET_URING_OP_GETSOCKOPT` of the kernel's `enum io_uring_socket_op`.
const SOCKET_URING_OP_GETSOCKOPT: u32 = 2;

/// Asks for the peer's address by SO_PEERNAME: multishot accept would overwrite its address with
/// that of the next client. `address` must stay alive until the completion, whose result is its
/// length.
///
/// `address_bytes` is the length of an address of the listener's family: asked for more than that,
/// the kernel refuses (`sk_getsockopt`, SO_PEERNAME), and of less it gives a part.
pub(crate) fn peer_name(tag: Tag, address: *mut PeerStorage, address_bytes: u32) -> squeue::Entry {
    debug_assert!(address_bytes as usize <= size_of::<PeerStorage>());
    let mut entry = opcode::SetSockOpt::new(
        types::Fixed(tag.slot.0),
        libc::SOL_SOCKET as u32,
        libc::SO_PEERNAME as u32,
        address.cast(),
        address_bytes,
    )
    .build()
    .user_data(tag.to_bits());
    // The crate has no builder for getsockopt. The two commands differ in `cmd_op` alone, which is
    // the 32-bit field at byte 8 of an entry (io_uring(7), struct io_uring_sqe).
    const { assert!(size_of::<squeue::Entry>() == 64) };
    // SAFETY: an `Entry` is the kernel's 64-byte `io_uring_sqe`, plain integers without padding or
    // niche; byte 8 to 12 is the `cmd_op` that `SetSockOpt` has just written, aligned to 4. The
    // reference ends with the statement.
    unsafe {
        (&raw mut entry).cast::<u32>().add(2).write(SOCKET_URING_OP_GETSOCKOPT);
    }
    entry
}

/// `struct sockaddr_in` and `struct sockaddr_in6` of the kernel.
const SOCKADDR_IN_BYTES: u32 = 16;
const SOCKADDR_IN6_BYTES: u32 = 28;

/// Room for an IPv4 or IPv6 socket address as the kernel writes it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub(crate) struct PeerStorage {
    bytes: [u8; 32],
}

impl PeerStorage {
    /// How long an address of the listener's family is.
    pub(crate) fn address_bytes(listener: &OwnedFd) -> u32 {
        let is_ipv6 = rustix::net::getsockname(listener)
            .is_ok_and(|address| address.address_family() == rustix::net::AddressFamily::INET6);
        if is_ipv6 { SOCKADDR_IN6_BYTES } else { SOCKADDR_IN_BYTES }
    }

    /// Reads what SO_PEERNAME wrote; `None` for other families.
    pub(crate) fn address(&self) -> Option<std::net::SocketAddr> {
        let bytes = &self.bytes;
        let family = i32::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        match family {
            libc::AF_INET => {
                let octets: [u8; 4] = bytes[4..8].try_into().ok()?;
                Some((octets, port).into())
            }
            libc::AF_INET6 => {
                let octets: [u8; 16] = bytes[8..24].try_into().ok()?;
                let address = std::net::Ipv6Addr::from(octets);
                // A client that came by IPv4 to an IPv6 socket is an IPv4 client.
                let ip = address.to_ipv4_mapped().map_or(address.into(), std::net::IpAddr::from);
                Some((ip, port).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_survive_the_kernel() {
        for operation in 1..=9_u64 {
            let bits = operation << 56 | 0x7f << 48 | 0xab_cdef << 24 | 0x12_3456;
            let tag = Tag::from_bits(bits).unwrap();
            assert_eq!(tag.to_bits(), bits);
            assert_eq!(tag.slot, Slot(0x12_3456));
            assert_eq!(tag.generation, 0xab_cdef);
            assert_eq!(tag.aux, 0x7f);
        }
        assert_eq!(Tag::from_bits(0), None);
        assert_eq!(Tag::from_bits(10 << 56), None);
    }
}
