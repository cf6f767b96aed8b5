//! What the first bytes of a client say about the suites that it likes.

/// Does the client like ChaCha20 best? So does who has no instructions for AES (BoringSSL and NSS
/// put it first there).
///
/// Looks at the first record alone (RFC 8446, 4.1.2 and 5.1); where the list of suites is not in
/// it, or anything is not as it has to be, the answer is no. It says nothing about whether the
/// bytes are right: rustls does.
pub(super) fn prefers_chacha20(first: &[u8]) -> bool {
    first_suite(first).is_some_and(|suite| CHACHA20.contains(&suite))
}

/// TLS_CHACHA20_POLY1305_SHA256 (RFC 8446, B.4), and those of TLS 1.2 with ECDHE (RFC 7905, 2).
const CHACHA20: [u16; 3] = [0x1303, 0xcca9, 0xcca8];

/// A record's header, that of a message, and version and random of a `ClientHello`.
const SESSION_ID_AT: usize = 5 + 4 + 2 + 32;

fn first_suite(first: &[u8]) -> Option<u16> {
    let [22, ..] = first else { return None };
    let [1, ..] = first.get(5..)? else { return None };
    let (length, rest) = first.get(SESSION_ID_AT..)?.split_first()?;
    let (bytes, rest) = rest.get(usize::from(*length)..)?.split_first_chunk()?;
    let suites = rest.get(..usize::from(u16::from_be_bytes(*bytes)))?;
    let (suites, _) = suites.as_chunks();
    suites.iter().map(|bytes| u16::from_be_bytes(*bytes)).find(|suite| !is_grease(*suite))
}

/// A value that is there to be passed over (RFC 8701, 2).
fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0xf == 0xa
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(session_id_bytes: u8, suites: &[u16]) -> Vec<u8> {
        let mut hello = vec![22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
        hello.extend_from_slice(&[7; 32]);
        hello.push(session_id_bytes);
        hello.extend((0..session_id_bytes).map(|_| 9));
        hello.extend_from_slice(&(2 * suites.len() as u16).to_be_bytes());
        hello.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
        hello
    }

    #[test]
    fn the_first_that_means_something_counts() {
        for suite in CHACHA20 {
            assert!(prefers_chacha20(&hello(32, &[suite, 0x1301])));
            assert!(prefers_chacha20(&hello(0, &[0x4a4a, suite, 0x1301])));
            assert!(!prefers_chacha20(&hello(32, &[0x1301, suite])));
            assert!(!prefers_chacha20(&hello(32, &[0x4a4a, 0x1302, suite])));
        }
        assert!(!prefers_chacha20(&hello(32, &[])));
        assert!(!prefers_chacha20(&hello(32, &[0xfafa])));
        assert!(!is_grease(0x0a1a) && !is_grease(0x1303), "only the same byte twice");
    }

    #[test]
    fn a_hello_in_pieces_says_no() {
        let whole = hello(32, &[0x1303, 0x1301]);
        for length in 0..whole.len() {
            assert!(!prefers_chacha20(&whole[..length]), "{length}");
        }
        for (at, other) in [(0, 23), (5, 2)] {
            let mut changed = whole.clone();
            changed[at] = other;
            assert!(!prefers_chacha20(&changed), "no hello");
        }
    }
}
