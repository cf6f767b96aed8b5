//! Lists of address prefixes, as operators write them: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`.

use core::fmt;
use core::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Addresses that are listed by their prefixes. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    listed: Box<[IpNet]>,
}

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixFault {
    /// Neither an address nor a prefix.
    Form,
    /// An address with a length that does not cover all of its bits; this is what it should be.
    HostBits(String),
    /// It covers every address of its family.
    Everything,
}

impl fmt::Display for PrefixFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str(
                "is neither an address nor a prefix; write it as \"10.0.0.0/8\", \
                 \"2001:db8::/32\" or \"192.0.2.7\"",
            ),
            Self::HostBits(right) => {
                write!(f, "has bits beyond its length; write \"{right}\"")
            }
            Self::Everything => f.write_str(
                "is every address, so that anybody could say to be anybody; list the addresses \
                 of the proxies",
            ),
        }
    }
}

/// Leading bits of `::ffff:0:0/96`, where IPv4 is mapped into IPv6 (RFC 4291, 2.5.5.2).
const MAPPED_BITS: u8 = 96;

impl Prefixes {
    /// A list of what [`Prefixes::parse`] made.
    pub fn new(listed: impl IntoIterator<Item = IpNet>) -> Self {
        Self { listed: listed.into_iter().collect() }
    }

    /// One prefix, or one address. Of IPv4, also where it is mapped into IPv6.
    ///
    /// # Errors
    ///
    /// Why it is none, for the operator.
    pub fn parse(text: &str) -> Result<IpNet, PrefixFault> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(IpNet::from(address.to_canonical()));
        }
        let mut net: IpNet = text.parse().map_err(|_| PrefixFault::Form)?;
        if let IpNet::V6(v6) = net
            && v6.prefix_len() >= MAPPED_BITS
            && let IpAddr::V4(v4) = IpAddr::V6(v6.addr()).to_canonical()
        {
            let bits = v6.prefix_len() - MAPPED_BITS;
            net = Ipv4Net::new(v4, bits).map_err(|_| PrefixFault::Form)?.into();
        }
        if net.prefix_len() == 0 {
            return Err(PrefixFault::Everything);
        }
        if net.trunc() != net {
            return Err(PrefixFault::HostBits(net.trunc().to_string()));
        }
        Ok(net)
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Is this address listed? One of IPv4 is the same where it is mapped into IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        !self.is_empty() && {
            let address = address.to_canonical();
            self.listed.iter().any(|prefix| prefix.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Prefixes {
        Prefixes::new(texts.iter().map(|text| Prefixes::parse(text).expect("a prefix")))
    }

    #[test]
    fn addresses_are_found_by_their_prefix() {
        let prefixes = list(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"]);
        let contains = |text: &str| prefixes.contains(text.parse().unwrap());
        for inside in ["10.1.2.3", "192.0.2.7", "2001:db8:1::2", "::1", "::ffff:10.9.9.9"] {
            assert!(contains(inside), "{inside}");
        }
        for outside in ["11.0.0.0", "192.0.2.8", "2001:db9::", "::2", "::ffff:192.0.2.6"] {
            assert!(!contains(outside), "{outside}");
        }
        assert!(!Prefixes::default().contains("10.0.0.1".parse().unwrap()));
        assert_eq!(list(&["::ffff:10.0.0.1"]), list(&["10.0.0.1"]));
        assert_eq!(list(&["::ffff:10.0.0.0/104"]), list(&["10.0.0.0/8"]));
    }

    #[test]
    fn what_is_no_prefix_is_explained() {
        for wrong in ["", "10.0.0.0/33", "10.0.0", "10.0.0.0/", "example.com", "10.0.0.1:80", "*"] {
            assert_eq!(Prefixes::parse(wrong), Err(PrefixFault::Form), "{wrong}");
        }
        let fault = Prefixes::parse("10.1.0.0/8").unwrap_err();
        assert_eq!(fault.to_string(), "has bits beyond its length; write \"10.0.0.0/8\"");
        assert_eq!(Prefixes::parse("0.0.0.0/0"), Err(PrefixFault::Everything));
        assert_eq!(Prefixes::parse("::/0"), Err(PrefixFault::Everything));
    }
}
