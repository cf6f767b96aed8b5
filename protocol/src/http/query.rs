//! Query strings, in the encoding of HTML forms.

use std::borrow::Cow;

use super::violation::HttpViolation;

/// The value of the parameter `name`, which may be there once. Without `=`, it is empty.
pub fn query_parameter<'a>(
    query: &'a str,
    name: &str,
) -> Result<Option<Cow<'a, str>>, HttpViolation> {
    let mut found = None;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if percent_decode(key)? != name {
            continue;
        }
        // Two readers may each take another one.
        if found.is_some() {
            return Err(HttpViolation::DuplicateParameter);
        }
        found = Some(percent_decode(value)?);
    }
    Ok(found)
}

/// `%41` becomes `A` and `+` a space. Borrows `text` where there is nothing to decode.
pub fn percent_decode(text: &str) -> Result<Cow<'_, str>, HttpViolation> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let [high, low, after @ ..] = after else {
                    return Err(HttpViolation::PercentEncoding);
                };
                rest = after;
                hex_digit(*high)? << 4 | hex_digit(*low)?
            }
            byte => *byte,
        });
    }
    let decoded = String::from_utf8(decoded).map_err(|_| HttpViolation::PercentEncoding)?;
    Ok(Cow::Owned(decoded))
}

fn hex_digit(byte: u8) -> Result<u8, HttpViolation> {
    let digit = char::from(byte).to_digit(16).ok_or(HttpViolation::PercentEncoding)?;
    Ok(digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_and_decoded() {
        let find =
            |query, name| query_parameter(query, name).map(|value| value.map(Cow::into_owned));
        let some = |value: &str| Ok(Some(value.to_owned()));
        assert_eq!(find("", "a"), Ok(None));
        assert_eq!(find("ab=1&b=2", "a"), Ok(None));
        assert_eq!(find("a=1&b=2", "b"), some("2"));
        assert_eq!(find("a&b=2", "a"), some(""));
        assert_eq!(find("a=x=y", "a"), some("x=y"));
        assert_eq!(find("%61=%C3%9F+%2b", "a"), some("ß +"));
        assert_eq!(find("a=1&%61=1", "a"), Err(HttpViolation::DuplicateParameter));
    }

    #[test]
    fn malformed_escapes_are_refused() {
        for text in ["%", "%4", "%4g", "%+1", "%g1", "a%", "%ff", "%c0%af", "%ed%a0%80"] {
            assert_eq!(percent_decode(text), Err(HttpViolation::PercentEncoding), "{text}");
        }
        assert!(matches!(percent_decode("plain"), Ok(Cow::Borrowed("plain"))));
    }
}
