//! The PROXY protocol, version 2: one binary header in front of a connection's first byte.
//!
//! Source: HAProxy, "The PROXY protocol, versions 1 & 2", 2.2. Version 1, which is text, is not
//! read.
//!
//! ```text
//!   0             11   12        13         14  15   16                            16 + length
//! ┌─────────────────┬─────────┬───────────┬────────┬────────────┬──────────────────┐
//! │ 12 bytes, fixed │ 2 │ cmd │ fam│trans │ length │ addresses  │ TLVs, skipped    │ data …
//! └─────────────────┴─────────┴───────────┴────────┴────────────┴──────────────────┘
//! ```

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::PROXY_HEADER_BYTES_MAX;

/// A header while its bytes arrive. Of additions (TLVs) only the length is looked at, so that the
/// state has one size, whatever is sent.
#[derive(Clone, Debug)]
pub struct ProxyHeader {
    /// The fixed part and the addresses, of which `seen_bytes` have come.
    kept: [u8; FIXED_BYTES + INET6_BYTES],
    seen_bytes: u16,
}

/// Whom a header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The proxy itself (LOCAL, such as a health check), or somebody whose address cannot be said
    /// (AF_UNSPEC): the addresses of the socket hold.
    Socket,
    /// This client.
    Client(SocketAddr),
}

/// Why a header is refused: the labels of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFault {
    /// The bytes do not begin as a header of version 2.
    Signature,
    /// Another version than 2.
    Version,
    /// Neither LOCAL nor PROXY.
    Command,
    /// Neither TCP over IPv4 nor over IPv6 nor unspecified.
    Family,
    /// Too short for its addresses, or longer than [`PROXY_HEADER_BYTES_MAX`].
    Length,
    /// It was not complete in time.
    Incomplete,
}

impl ProxyFault {
    /// Every fault, in the order of the enum.
    pub const ALL: [Self; 6] = [
        Self::Signature,
        Self::Version,
        Self::Command,
        Self::Family,
        Self::Length,
        Self::Incomplete,
    ];

    /// The label under which it is counted.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Version => "version",
            Self::Command => "command",
            Self::Family => "family",
            Self::Length => "length",
            Self::Incomplete => "incomplete",
        }
    }
}

impl Default for ProxyHeader {
    fn default() -> Self {
        Self { kept: [0; FIXED_BYTES + INET6_BYTES], seen_bytes: 0 }
    }
}

impl ProxyHeader {
    /// Looks at the bytes that arrived since the last call.
    ///
    /// `Some` once the header is complete: how many of `arrived` belong to it, and whom it names.
    /// What follows is data of the connection. Nothing may be fed behind that or behind a fault.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, as soon as it has arrived.
    pub fn feed(&mut self, arrived: &[u8]) -> Result<Option<(usize, Source)>, ProxyFault> {
        let mut taken = 0;
        // At most three rounds: the fixed part, the addresses, what is skipped.
        loop {
            let seen = usize::from(self.seen_bytes);
            let wanted = match seen {
                ..FIXED_BYTES => FIXED_BYTES,
                _ => self.whole_bytes(),
            };
            let room = wanted - seen;
            let piece = &arrived[taken..][..room.min(arrived.len() - taken)];
            let kept_end = self.kept.len().min(seen + piece.len());
            if let Some(kept) = self.kept.get_mut(seen..kept_end) {
                kept.copy_from_slice(&piece[..kept.len()]);
            }
            taken += piece.len();
            // Both are at most the bound, which fits.
            self.seen_bytes = (seen + piece.len()) as u16;
            self.check()?;
            let seen = usize::from(self.seen_bytes);
            if seen < wanted {
                return Ok(None);
            }
            if seen >= FIXED_BYTES && seen == self.whole_bytes() {
                return Ok(Some((taken, self.source())));
            }
        }
    }

    /// Everything that can be said of what has come.
    fn check(&self) -> Result<(), ProxyFault> {
        let seen = usize::from(self.seen_bytes);
        let signature_bytes = seen.min(SIGNATURE.len());
        if self.kept[..signature_bytes] != SIGNATURE[..signature_bytes] {
            return Err(ProxyFault::Signature);
        }
        let (version, command) = (self.kept[12] >> 4, self.kept[12] & 0x0f);
        if seen > 12 && version != 2 {
            return Err(ProxyFault::Version);
        }
        if seen > 12 && command > COMMAND_PROXY {
            return Err(ProxyFault::Command);
        }
        // 2.2: what a LOCAL header says of its family must be ignored.
        let addresses_bytes = match (command, self.kept[13]) {
            (COMMAND_LOCAL, _) | (_, UNSPECIFIED) => 0,
            (_, TCP_OVER_IPV4) => INET_BYTES,
            (_, TCP_OVER_IPV6) => INET6_BYTES,
            _ if seen > 13 => return Err(ProxyFault::Family),
            _ => 0,
        };
        if seen < FIXED_BYTES {
            return Ok(());
        }
        let whole = self.whole_bytes();
        match whole < FIXED_BYTES + addresses_bytes || whole > PROXY_HEADER_BYTES_MAX {
            true => Err(ProxyFault::Length),
            false => Ok(()),
        }
    }

    /// The length of the whole header, which its fixed part says.
    fn whole_bytes(&self) -> usize {
        FIXED_BYTES + usize::from(u16::from_be_bytes([self.kept[14], self.kept[15]]))
    }

    fn source(&self) -> Source {
        let octets = |at: usize| self.kept[FIXED_BYTES + at];
        let port = |at: usize| u16::from_be_bytes([octets(at), octets(at + 1)]);
        let (address, port) = match (self.kept[12] & 0x0f, self.kept[13]) {
            (COMMAND_PROXY, TCP_OVER_IPV4) => {
                (IpAddr::from(Ipv4Addr::from(core::array::from_fn(octets))), port(8))
            }
            (COMMAND_PROXY, TCP_OVER_IPV6) => {
                (IpAddr::from(Ipv6Addr::from(core::array::from_fn(octets))), port(32))
            }
            _ => return Source::Socket,
        };
        Source::Client(SocketAddr::new(address.to_canonical(), port))
    }
}

/// 2.2: chosen so that no other protocol begins with it.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;
/// Source and target address, source and target port.
const INET_BYTES: usize = 4 + 4 + 2 + 2;
const INET6_BYTES: usize = 16 + 16 + 2 + 2;
const COMMAND_LOCAL: u8 = 0;
const COMMAND_PROXY: u8 = 1;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

const _: () = assert!(FIXED_BYTES + INET6_BYTES <= PROXY_HEADER_BYTES_MAX);
const _: () = assert!(PROXY_HEADER_BYTES_MAX <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the drawing of the specification, for 192.0.2.7:4711 to 10.0.0.1:8000.
    const GOLDEN: &[u8] = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x0c\
        \xc0\x00\x02\x07\x0a\x00\x00\x01\x12\x67\x1f\x40";

    fn header(command: u8, family: u8, addresses: &[u8], tlvs: &[u8]) -> Vec<u8> {
        let length = (addresses.len() + tlvs.len()) as u16;
        let fixed = [&SIGNATURE[..], &[0x20 | command, family], &length.to_be_bytes()].concat();
        [&fixed, addresses, tlvs].concat()
    }

    fn read(bytes: &[u8]) -> Result<Option<(usize, Source)>, ProxyFault> {
        ProxyHeader::default().feed(bytes)
    }

    #[test]
    fn a_header_is_read() {
        let client = Source::Client("192.0.2.7:4711".parse().unwrap());
        assert_eq!(read(GOLDEN), Ok(Some((28, client))));
        let with_data = [GOLDEN, b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(read(&with_data), Ok(Some((28, client))));
        (0..28).for_each(|length| assert_eq!(read(&GOLDEN[..length]), Ok(None), "{length}"));
    }

    #[test]
    fn addresses_of_ipv6_and_those_mapped_into_it() {
        let mut addresses = [0_u8; INET6_BYTES];
        addresses[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        addresses[32..34].copy_from_slice(&4711_u16.to_be_bytes());
        let client = Source::Client("[2001:db8::7]:4711".parse().unwrap());
        let bytes = header(COMMAND_PROXY, TCP_OVER_IPV6, &addresses, b"");
        assert_eq!(read(&bytes), Ok(Some((52, client))));
        let mapped = "::ffff:192.0.2.7".parse::<Ipv6Addr>().unwrap();
        addresses[..16].copy_from_slice(&mapped.octets());
        let bytes = header(COMMAND_PROXY, TCP_OVER_IPV6, &addresses, b"");
        let client = Source::Client("192.0.2.7:4711".parse().unwrap());
        assert_eq!(read(&bytes), Ok(Some((52, client))));
    }

    #[test]
    fn who_cannot_be_named_keeps_the_socket() {
        for bytes in [
            header(COMMAND_LOCAL, UNSPECIFIED, b"", b""),
            header(COMMAND_LOCAL, TCP_OVER_IPV4, &[1; INET_BYTES], b""),
            // 2.2: even a family that nobody knows.
            header(COMMAND_LOCAL, 0xff, b"abc", b""),
            header(COMMAND_PROXY, UNSPECIFIED, b"", b"anything"),
        ] {
            assert_eq!(read(&bytes), Ok(Some((bytes.len(), Source::Socket))), "{bytes:?}");
        }
    }

    #[test]
    fn additions_are_skipped_up_to_the_bound() {
        let addresses = &GOLDEN[16..];
        let client = Source::Client("192.0.2.7:4711".parse().unwrap());
        let room = PROXY_HEADER_BYTES_MAX - 28;
        let bytes = header(COMMAND_PROXY, TCP_OVER_IPV4, addresses, &vec![0xee; room]);
        assert_eq!(read(&bytes), Ok(Some((PROXY_HEADER_BYTES_MAX, client))));
        let bytes = header(COMMAND_PROXY, TCP_OVER_IPV4, addresses, &vec![0xee; room + 1]);
        assert_eq!(read(&bytes[..16]), Err(ProxyFault::Length), "before any of it is awaited");
    }

    #[test]
    fn faults_are_named_as_soon_as_they_are_there() {
        let fault_at = |bytes: &[u8], at: usize| {
            assert_eq!(read(&bytes[..at - 1]), Ok(None), "{bytes:?}");
            read(&bytes[..at]).unwrap_err()
        };
        let mut wrong = GOLDEN.to_vec();
        wrong[4] = 1;
        assert_eq!(fault_at(&wrong, 5), ProxyFault::Signature);
        assert_eq!(fault_at(b"GET / HTTP/1.1\r\n", 1), ProxyFault::Signature);
        assert_eq!(fault_at(b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", 1), ProxyFault::Signature);
        for (byte, fault) in [
            (0x11, ProxyFault::Version),
            (0x31, ProxyFault::Version),
            (0x01, ProxyFault::Version),
            (0x22, ProxyFault::Command),
            (0x2f, ProxyFault::Command),
        ] {
            let mut wrong = GOLDEN.to_vec();
            wrong[12] = byte;
            assert_eq!(fault_at(&wrong, 13), fault, "{byte:#x}");
        }
        // Datagrams do not come through TCP, and a path of a UNIX socket is nobody's address.
        for family in [0x01, 0x10, 0x12, 0x13, 0x22, 0x31, 0x32, 0x41, 0xff] {
            let mut wrong = GOLDEN.to_vec();
            wrong[13] = family;
            assert_eq!(fault_at(&wrong, 14), ProxyFault::Family, "{family:#x}");
        }
        for (family, least) in [(TCP_OVER_IPV4, INET_BYTES), (TCP_OVER_IPV6, INET6_BYTES)] {
            let short = header(COMMAND_PROXY, family, &vec![0; least - 1], b"");
            assert_eq!(fault_at(&short, 16), ProxyFault::Length);
        }
    }

    #[test]
    fn labels_are_distinct() {
        let labels: std::collections::BTreeSet<_> =
            ProxyFault::ALL.iter().map(|fault| fault.label()).collect();
        assert_eq!(labels.len(), ProxyFault::ALL.len());
    }

    proptest! {
        /// However a header is cut, it names the same client and takes the same bytes.
        #[test]
        fn cuts_change_nothing(
            address: [u8; 16],
            port: u16,
            is_ipv4: bool,
            tlvs in proptest::collection::vec(any::<u8>(), 0..400),
            data in proptest::collection::vec(any::<u8>(), 0..40),
            piece in 1_usize..80,
        ) {
            let (family, source, expected) = match is_ipv4 {
                true => {
                    let octets: [u8; 4] = core::array::from_fn(|at| address[at]);
                    (TCP_OVER_IPV4, octets.to_vec(), IpAddr::from(octets))
                }
                false => (TCP_OVER_IPV6, address.to_vec(), IpAddr::from(address).to_canonical()),
            };
            let addresses =
                [&source[..], &source, &port.to_be_bytes(), &80_u16.to_be_bytes()].concat();
            let bytes = header(COMMAND_PROXY, family, &addresses, &tlvs);
            let stream = [&bytes[..], &data].concat();
            let (mut state, mut given) = (ProxyHeader::default(), 0);
            for chunk in stream.chunks(piece) {
                let outcome = state.feed(chunk).expect("it is by the rules");
                if let Some((taken, source)) = outcome {
                    prop_assert_eq!(given + taken, bytes.len());
                    prop_assert_eq!(source, Source::Client(SocketAddr::new(expected, port)));
                    return Ok(());
                }
                given += chunk.len();
            }
            prop_assert!(false, "the header did not end");
        }
    }
}
