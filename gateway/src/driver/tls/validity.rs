//! When a certificate is valid: the one thing about it that rustls does not tell its owner.
//!
//! ```text
//!  SEQUENCE certificate { SEQUENCE tbs { [0] version?, INTEGER serial, SEQUENCE algorithm,
//!                              SEQUENCE issuer, SEQUENCE validity { time, time }, … } … }
//! ```

/// From and until, both in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: u64,
    pub(super) until: u64,
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl Validity {
    /// Reads it out of a certificate in DER (RFC 5280, 4.1). `None`: it is none.
    pub(super) fn read(certificate: &[u8]) -> Option<Self> {
        let mut outer = certificate;
        let mut certificate = expect(&mut outer, SEQUENCE)?;
        let mut tbs = expect(&mut certificate, SEQUENCE)?;
        if tbs.first() == Some(&VERSION) {
            expect(&mut tbs, VERSION)?;
        }
        expect(&mut tbs, INTEGER)?;
        expect(&mut tbs, SEQUENCE)?;
        expect(&mut tbs, SEQUENCE)?;
        let mut validity = expect(&mut tbs, SEQUENCE)?;
        Some(Self { from: time(&mut validity)?, until: time(&mut validity)? })
    }
}

/// Takes one value of this tag.
fn expect<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, value) = take(rest)?;
    (found == tag).then_some(value)
}

/// Takes one value, whatever its tag.
fn take<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, first], after) = rest.split_first_chunk()?;
    let (length, after) = if first < 0x80 {
        (usize::from(first), after)
    } else {
        let count = usize::from(first & 0x7f);
        let (digits, after) = after.split_at_checked(count).filter(|_| count <= 3)?;
        let length = digits.iter().fold(0, |sum, digit| (sum << 8) | usize::from(*digit));
        (length, after)
    };
    let (value, after) = after.split_at_checked(length)?;
    *rest = after;
    Some((tag, value))
}

/// RFC 5280, 4.1.2.5: `YYMMDDHHMMSSZ`, the years 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(rest: &mut &[u8]) -> Option<u64> {
    let (tag, text) = take(rest)?;
    let digits = text.strip_suffix(b"Z")?;
    let pair = |at: usize| -> Option<u64> {
        match digits.get(at..at + 2)? {
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
                Some(u64::from(tens - b'0') * 10 + u64::from(ones - b'0'))
            }
            _ => None,
        }
    };
    let (year, at) = match (tag, digits.len()) {
        (UTC_TIME, 12) if pair(0)? < 50 => (2000 + pair(0)?, 2),
        (UTC_TIME, 12) => (1900 + pair(0)?, 2),
        (GENERALIZED_TIME, 14) => (pair(0)? * 100 + pair(2)?, 4),
        _ => return None,
    };
    let days = days_since_1970(year, pair(at)?, pair(at + 2)?)?;
    Some(((days * 24 + pair(at + 4)?) * 60 + pair(at + 6)?) * 60 + pair(at + 8)?)
}

/// Days of the civil calendar; times before 1970 count as 1970.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The year begins in March, so that a leap day is its last.
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let month = (month + 9) % 12;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some(days.saturating_sub(DAYS_TO_1970))
}

/// From the first of March of the year 0.
const DAYS_TO_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::super::testing::{self, NOW};
    use super::*;

    #[test]
    fn a_certificate_tells_its_days() {
        let der = testing::der(&["one.example"]);
        let validity = Validity::read(&der).unwrap();
        assert_eq!(validity, Validity { from: NOW - 86_400, until: NOW + 13 * 86_400 });
        for length in 0..der.len().min(200) {
            // Whatever is cut off, nothing panics; a certificate without its end may still tell.
            let _ = Validity::read(&der[..length]);
        }
        assert_eq!(Validity::read(b""), None);
        assert_eq!(Validity::read(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn times_are_read_as_the_rfc_writes_them() {
        let read = |tag, text: &[u8]| {
            let mut der = vec![tag, text.len() as u8];
            der.extend_from_slice(text);
            time(&mut &der[..])
        };
        assert_eq!(read(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(read(UTC_TIME, b"000229235959Z"), Some(951_868_799));
        assert_eq!(read(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(read(GENERALIZED_TIME, b"20500101000000Z"), Some(2_524_608_000));
        assert_eq!(read(GENERALIZED_TIME, b"99991231235959Z"), Some(253_402_300_799));
        for wrong in [&b"7001010000Z"[..], b"700101000000", b"701301000000Z", b"70010100000xZ"] {
            assert_eq!(read(UTC_TIME, wrong), None);
        }
    }
}
