//! The header X-Forwarded-For: a list to which each proxy appends whom it got the request from.
//!
//! No standard has it (RFC 7239 describes `Forwarded` in its place); this is what proxies do. Its
//! left part is whatever the client wrote, so it is read from the right, and only as far as proxies
//! that are trusted vouch for it.

use core::net::{IpAddr, SocketAddr};

use super::prefixes::Prefixes;
use crate::http::Request;

/// The right-most address of X-Forwarded-For that is not itself that of a trusted proxy; port 0
/// where none is said. Several headers are one list, in their order.
///
/// `None`: there is no such address, or something that is no address stands to the right of it.
/// Then whoever sent the request is all that is known. The caller has seen to it that the sender
/// is `trusted`.
pub fn forwarded_for(request: &Request<'_>, trusted: &Prefixes) -> Option<SocketAddr> {
    let headers = request.headers.iter().rev().filter(|header| header.is("x-forwarded-for"));
    // RFC 9110, 5.6.1: empty elements of a list mean nothing.
    let elements = headers
        .flat_map(|header| header.value.rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty());
    for element in elements {
        let address = address_of(element)?;
        if !trusted.contains(address.ip()) {
            return Some(address);
        }
    }
    None
}

/// An address, or one with a port, as some proxies write it; of IPv6 also in brackets.
fn address_of(element: &[u8]) -> Option<SocketAddr> {
    let text = core::str::from_utf8(element).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(text).parse::<IpAddr>() {
        let is_written_right = bare.is_none() || address.is_ipv6();
        return is_written_right.then(|| SocketAddr::new(address.to_canonical(), 0));
    }
    let address: SocketAddr = text.parse().ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::parse_head;

    fn peer(headers: &[&str]) -> Option<String> {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| Prefixes::parse(text).unwrap());
        let lines: String =
            headers.iter().map(|value| format!("x-FORWARDED-for: {value}\r\n")).collect();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let (request, _) = parse_head(head.as_bytes()).unwrap().unwrap();
        forwarded_for(&request, &Prefixes::new(trusted)).map(|address| address.to_string())
    }

    #[test]
    fn the_right_most_stranger_is_the_client() {
        let is = |headers: &[&str], expected: Option<&str>| {
            assert_eq!(peer(headers).as_deref(), expected, "{headers:?}");
        };
        is(&[], None);
        is(&["192.0.2.7"], Some("192.0.2.7:0"));
        is(&["198.51.100.1, 192.0.2.7"], Some("192.0.2.7:0"));
        is(&["192.0.2.7,10.1.1.1 , 10.2.2.2"], Some("192.0.2.7:0"));
        is(&["192.0.2.7", "10.1.1.1"], Some("192.0.2.7:0"));
        is(&["10.1.1.1", "192.0.2.7"], Some("192.0.2.7:0"));
        is(&["192.0.2.7, 2001:db8::1"], Some("192.0.2.7:0"));
        is(&["192.0.2.7:4711"], Some("192.0.2.7:4711"));
        is(&["[2001:db9::1]:4711"], Some("[2001:db9::1]:4711"));
        is(&["[2001:db9::1]"], Some("[2001:db9::1]:0"));
        is(&["2001:db9::1"], Some("[2001:db9::1]:0"));
        is(&["::ffff:192.0.2.7"], Some("192.0.2.7:0"));
        is(&["192.0.2.7, , ,"], Some("192.0.2.7:0"));
    }

    #[test]
    fn nobody_is_named_by_junk_or_by_proxies_alone() {
        for headers in [
            &["10.1.1.1"][..],
            &["10.1.1.1, 10.2.2.2"],
            &["unknown"],
            &["192.0.2.7, unknown"],
            &["192.0.2.7, _hidden, 10.1.1.1"],
            &["192.0.2.7; 10.1.1.1"],
            &["for=192.0.2.7"],
            &["192.0.2.7:99999"],
            &["[192.0.2.7]"],
            &["192.0.2.07"],
            &["\u{663}.1.1.1"],
            &[", ,"],
        ] {
            assert_eq!(peer(headers), None, "{headers:?}");
        }
    }

    proptest! {
        /// What a client writes to the left of what a proxy appended changes nothing.
        #[test]
        fn the_left_part_means_nothing(left in "[ -~]{0,60}", client: [u8; 4], hops in 0_u8..4) {
            let client = IpAddr::from(client);
            prop_assume!(!matches!(client, IpAddr::V4(v4) if v4.octets()[0] == 10));
            let hops: String = (0..hops).map(|hop| format!(", 10.0.0.{hop}")).collect();
            let found = peer(&[left.trim(), &format!("{client}{hops}")]);
            prop_assert_eq!(found, Some(format!("{client}:0")));
        }
    }
}
