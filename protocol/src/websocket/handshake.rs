//! The upgrade from HTTP to WebSocket (RFC 6455, 4.2).

use crate::http::{BodyFraming, Header, HttpViolation, Method, Request};

/// An upgrade that may be answered with 101.
#[derive(Clone, Debug)]
pub struct Upgrade<'a> {
    /// The value of `Sec-WebSocket-Accept`, in ASCII.
    pub accept: [u8; ACCEPT_BYTES],
    /// The subprotocols that the client offers, in its order.
    pub subprotocols: Subprotocols<'a>,
}

/// Judges an upgrade request. Who may connect, and from which origin, is for the caller to say.
pub fn accept_upgrade<'a>(request: &'a Request<'_>) -> Result<Upgrade<'a>, HandshakeViolation> {
    // RFC 6455, 4.2.1: an HTTP/1.1 or higher GET request.
    if request.method != Method::Get {
        return Err(HandshakeViolation::NotGet);
    }
    if !request.version_1_1 {
        return Err(HandshakeViolation::NotHttp11);
    }
    let upgrade = only(request, "upgrade", HandshakeViolation::Upgrade)?;
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return Err(HandshakeViolation::Upgrade);
    }
    let connection = only(request, "connection", HandshakeViolation::Connection)?;
    let mut tokens = connection.split(',').map(str::trim_ascii);
    if !tokens.any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return Err(HandshakeViolation::Connection);
    }
    // What follows the head is frames. A body would be read as frames by us and as a body by a
    // proxy.
    if !matches!(request.body, BodyFraming::None | BodyFraming::Length(0)) {
        return Err(HandshakeViolation::Body);
    }
    if only(request, "sec-websocket-version", HandshakeViolation::Version)? != VERSION {
        return Err(HandshakeViolation::Version);
    }
    let key = only(request, "sec-websocket-key", HandshakeViolation::Key)?;
    if !is_key(key.as_bytes()) {
        return Err(HandshakeViolation::Key);
    }
    let subprotocols = Subprotocols { headers: request.headers.iter(), rest: None };
    Ok(Upgrade { accept: websocket_accept(key), subprotocols })
}

/// The first subprotocol of `offered`, in the client's order, that is in `supported`.
///
/// The answer is our own text, never the client's. At most [`SUBPROTOCOLS_OFFERED_MAX`] are looked
/// at.
pub fn choose_subprotocol<'a>(
    offered: impl IntoIterator<Item = &'a str>,
    supported: &[&'static str],
) -> Option<&'static str> {
    let offered = offered.into_iter().take(SUBPROTOCOLS_OFFERED_MAX);
    let mut known = offered.filter_map(|name| supported.iter().find(|known| **known == name));
    known.next().copied()
}

/// Appends the whole 101 response.
pub fn write_switching_protocols(
    accept: &[u8; ACCEPT_BYTES],
    subprotocol: Option<&'static str>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\n\
          Connection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept);
    if let Some(subprotocol) = subprotocol {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(subprotocol.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// The value of `Sec-WebSocket-Accept` for a key, which clients compute as well.
pub fn websocket_accept(key: &str) -> [u8; ACCEPT_BYTES] {
    // RFC 6455, 4.2.2: SHA-1 of the key as it stands in the header and a fixed GUID, in base64.
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = hash.digest().bytes();
    let mut accept = [b'='; ACCEPT_BYTES];
    for (group, text) in digest.chunks(3).zip(accept.as_chunks_mut::<4>().0) {
        let mut bytes = [0; 4];
        bytes[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bytes);
        // A group of n bytes has n + 1 characters; the last group has 2 bytes, and one sign of
        // padding.
        for (index, character) in text.iter_mut().enumerate().take(group.len() + 1) {
            *character = BASE64[(bits >> (18 - 6 * index) & 0x3f) as usize];
        }
    }
    accept
}

/// Offered subprotocols, in the client's order, over all `Sec-WebSocket-Protocol` headers.
#[derive(Clone, Debug)]
pub struct Subprotocols<'a> {
    headers: core::slice::Iter<'a, Header<'a>>,
    rest: Option<&'a str>,
}

impl<'a> Iterator for Subprotocols<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let Some(list) = self.rest else {
                let is_offer = |header: &&Header<'_>| header.is("sec-websocket-protocol");
                self.rest = self.headers.find(is_offer)?.text();
                continue;
            };
            let (name, rest) = match list.split_once(',') {
                Some((name, rest)) => (name, Some(rest)),
                None => (list, None),
            };
            self.rest = rest;
            if !name.trim_ascii().is_empty() {
                return Some(name.trim_ascii());
            }
        }
    }
}

/// Why a request is not an upgrade to WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeViolation {
    /// The method is not GET.
    NotGet,
    /// HTTP/1.0.
    NotHttp11,
    /// `Upgrade` is missing, there twice, or names another protocol, such as h2c.
    Upgrade,
    /// `Connection` is missing, there twice, or does not name the upgrade.
    Connection,
    /// The request has a body.
    Body,
    /// `Sec-WebSocket-Key` is missing, there twice, or not 16 bytes in base64.
    Key,
    /// `Sec-WebSocket-Version` is missing, there twice, or not 13.
    Version,
}

impl HandshakeViolation {
    /// The HTTP status of the refusal. With 426 goes [`VERSION_HEADER`].
    pub const fn status(self) -> u16 {
        self.http().status()
    }

    /// The same refusal as one of HTTP.
    pub const fn http(self) -> HttpViolation {
        match self {
            // RFC 6455, 4.2.2: 426 and the version that the server speaks.
            Self::Version => HttpViolation::UpgradeRequired,
            Self::NotGet
            | Self::NotHttp11
            | Self::Upgrade
            | Self::Connection
            | Self::Body
            | Self::Key => HttpViolation::BadUpgrade,
        }
    }
}

/// The value of the header `name`, which must be there once.
fn only<'a>(
    request: &'a Request<'_>,
    name: &str,
    violation: HandshakeViolation,
) -> Result<&'a str, HandshakeViolation> {
    request.header_once(name).ok().flatten().ok_or(violation)
}

/// Sixteen bytes in base64: 22 characters and two signs of padding.
///
/// Bits beyond the sixteenth byte are not looked at: RFC 6455, 4.1, itself shows a key where they
/// are set.
fn is_key(key: &[u8]) -> bool {
    key.len() == KEY_BYTES
        && key.ends_with(b"==")
        && key[..KEY_BYTES - 2].iter().all(|byte| BASE64.contains(byte))
}

/// Goes with a refusal of status 426.
pub const VERSION_HEADER: (&str, &str) = ("Sec-WebSocket-Version", VERSION);
/// Most offered subprotocols that are looked at.
pub const SUBPROTOCOLS_OFFERED_MAX: usize = 64;

const VERSION: &str = "13";
const ACCEPT_BYTES: usize = 28;
const KEY_BYTES: usize = 24;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::parse_head;

    fn upgrade(lines: &str) -> Result<([u8; 28], Vec<String>), HandshakeViolation> {
        let head = format!("{lines}\r\nHost: ringway\r\n\r\n");
        let (request, _) = parse_head(head.as_bytes()).expect("well-formed").expect("complete");
        let upgrade = accept_upgrade(&request)?;
        Ok((upgrade.accept, upgrade.subprotocols.map(str::to_owned).collect()))
    }

    const GOOD: &str = "GET /connection HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        // RFC 6455, 1.3.
        let (accept, offered) = upgrade(GOOD).unwrap();
        assert_eq!(&accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(offered.is_empty());
        // RFC 6455, 4.1: the key of the bytes 1 to 16, with bits set beyond the last.
        let loose = GOOD.replace("dGhlIHNhbXBsZSBub25jZQ==", "AQIDBAUGBwgJCgsMDQ4PEC==");
        assert!(upgrade(&loose).is_ok());
        let browser = GOOD.replace("Connection: Upgrade", "Connection: keep-alive, Upgrade");
        assert!(upgrade(&browser.replace(": websocket", ": WebSocket")).is_ok());
    }

    #[test]
    fn bad_upgrades_are_refused() {
        use HandshakeViolation::{Body, Connection, Key, NotGet, NotHttp11, Upgrade, Version};
        let cases = [
            ("GET ", "POST ", NotGet),
            ("GET ", "HEAD ", NotGet),
            ("HTTP/1.1", "HTTP/1.0", NotHttp11),
            ("Upgrade: websocket\r\n", "", Upgrade),
            ("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: websocket", Upgrade),
            ("Upgrade: websocket", "Upgrade: websocket\r\nupgrade: h2c", Upgrade),
            ("Upgrade: websocket", "Upgrade: h2c", Upgrade),
            ("Upgrade: websocket", "Upgrade: websocket, h2c", Upgrade),
            ("Upgrade: websocket", "Upgrade: websocket/13", Upgrade),
            ("Upgrade: websocket", "Upgrade:", Upgrade),
            ("Upgrade: websocket", "Upgrade: web socket", Upgrade),
            ("Connection: Upgrade\r\n", "", Connection),
            ("Connection: Upgrade", "Connection: keep-alive", Connection),
            ("Connection: Upgrade", "Connection: close", Connection),
            ("Connection: Upgrade", "Connection:", Connection),
            ("Connection: Upgrade", "Connection: Upgraded", Connection),
            ("Connection: Upgrade", "Connection: Upgrade\r\nConnection: Upgrade", Connection),
            ("Connection: Upgrade", "Connection: Upgrade\r\nContent-Length: 1", Body),
            ("Connection: Upgrade", "Connection: Upgrade\r\nTransfer-Encoding: chunked", Body),
            ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZ===", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQA=", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j====", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ==, x", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZ!==", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZ\u{e9}=", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", Key),
            (
                "dGhlIHNhbXBsZSBub25jZQ==",
                "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                Key,
            ),
            ("\r\nSec-WebSocket-Version: 13", "", Version),
            ("Version: 13", "Version: 8", Version),
            ("Version: 13", "Version: 99", Version),
            ("Version: 13", "Version: 013", Version),
            ("Version: 13", "Version: +13", Version),
            ("Version: 13", "Version: 13, 8", Version),
            ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", Version),
            ("Version: 13", "Version:", Version),
        ];
        for (good, bad, violation) in cases {
            assert_eq!(upgrade(&GOOD.replacen(good, bad, 1)).unwrap_err(), violation, "{bad}");
            assert_eq!(violation.status(), if violation == Version { 426 } else { 400 });
        }
    }

    #[test]
    fn subprotocols_keep_their_order_over_headers() {
        let offer = format!(
            "{GOOD}\r\nSec-WebSocket-Protocol: one, ,two,\r\nSec-WebSocket-Protocol: three"
        );
        assert_eq!(upgrade(&offer).unwrap().1, ["one", "two", "three"]);
    }

    #[test]
    fn the_first_known_subprotocol_of_the_client_wins() {
        let supported = ["centrifuge-json", "centrifuge-protobuf"];
        let choose = |offered: &[&str]| choose_subprotocol(offered.iter().copied(), &supported);
        assert_eq!(choose(&[]), None);
        assert_eq!(choose(&["x", "centrifuge-protobuf", "centrifuge-json"]), Some(supported[1]));
        assert_eq!(choose(&["Centrifuge-JSON"]), None);
        let mut many = vec!["x"; SUBPROTOCOLS_OFFERED_MAX - 1];
        many.extend(["centrifuge-json"; 2]);
        assert_eq!(choose(&many), Some(supported[0]));
        many[SUBPROTOCOLS_OFFERED_MAX - 1] = "x";
        assert_eq!(choose(&many), None);
    }

    #[test]
    fn the_response_is_complete() {
        let mut out = Vec::new();
        write_switching_protocols(&[b'a'; 28], Some("centrifuge-json"), &mut out);
        let text = core::str::from_utf8(&out).unwrap();
        assert_eq!(
            text,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\
             Sec-WebSocket-Protocol: centrifuge-json\r\n\r\n"
        );
    }
}
