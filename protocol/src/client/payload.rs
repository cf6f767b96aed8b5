//! Payloads: what applications say, and how it crosses from one format to the other.
//!
//! In Protobuf a payload is bytes. In JSON it is JSON, embedded as it stands, in a message where a
//! line feed ends a command or reply. So that the hot path never looks into a payload again,
//! whoever brings it in classifies it once, and every encoder obeys the [`PayloadForm`].
//!
//! | form | when | in JSON |
//! |---|---|---|
//! | `AsIs` | JSON on one line | the bytes |
//! | `Compact` | JSON with line breaks | without whitespace outside strings |
//! | `Text` | a delta, or a full payload where deltas are used | a JSON string of the text |
//! | `Base64` | anything else | a JSON string of its base64 (RFC 4648, 4, padded) |

use serde_json::value::RawValue;

/// Deepest nesting of arrays and objects that we accept in JSON, from a client and in a payload.
///
/// Payloads are only passed on, but parsers of other languages end at some depth; 128 is the least
/// among common ones.
pub const JSON_DEPTH_MAX: usize = 128;

/// Bytes of an application, and how they are written in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payload<'a> {
    /// As they are written in Protobuf. Empty: the field is omitted in both formats.
    pub bytes: &'a [u8],
    /// How they are written in JSON.
    pub form: PayloadForm,
}

/// How a payload is written in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PayloadForm {
    /// The bytes are JSON without a line break.
    #[default]
    AsIs,
    /// The bytes are JSON with line breaks between its tokens; whitespace is removed.
    Compact,
    /// The bytes are text, written as a JSON string. Never the result of a classification: the
    /// subscription decides it. Bytes that are not UTF-8 lose what is not.
    Text,
    /// The bytes are not JSON; their base64 is written as a JSON string.
    Base64,
}

impl<'a> Payload<'a> {
    /// No payload.
    pub const EMPTY: Self = Self { bytes: &[], form: PayloadForm::AsIs };

    /// A payload whose form is known.
    pub const fn new(bytes: &'a [u8], form: PayloadForm) -> Self {
        Self { bytes, form }
    }

    /// Looks through `bytes` to find their form.
    pub fn classify(bytes: &'a [u8]) -> Self {
        Self::new(bytes, json_payload_form(bytes))
    }

    /// A payload that [`super::JsonCommands`] brought: known to be JSON without a line feed.
    pub fn from_json_command(bytes: &'a [u8]) -> Self {
        let form = if bytes.contains(&b'\r') { PayloadForm::Compact } else { PayloadForm::AsIs };
        Self::new(bytes, form)
    }
}

/// How `bytes` from any source are written in JSON.
///
/// A carriage return counts as a line break: server-sent events end a line there.
pub fn json_payload_form(bytes: &[u8]) -> PayloadForm {
    if bytes.is_empty() {
        return PayloadForm::AsIs;
    }
    if !depth_is_within(bytes, JSON_DEPTH_MAX)
        || serde_json::from_slice::<&RawValue>(bytes).is_err()
    {
        return PayloadForm::Base64;
    }
    // Inside a string a line break is escaped, so that a raw one stands between tokens.
    if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return PayloadForm::Compact;
    }
    PayloadForm::AsIs
}

/// Is JSON in `text` nested at most `depth_max` deep? Text that is not JSON gets any answer.
pub(super) fn depth_is_within(text: &[u8], depth_max: usize) -> bool {
    let mut depth = 0_usize;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'[' | b'{' => {
                depth += 1;
                if depth > depth_max {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Goes behind the closing quote of a string whose opening quote is passed.
fn skip_string(bytes: &mut core::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return,
            _ => {}
        }
    }
}

/// Writes a payload that is not empty into JSON.
pub(super) fn push_json_payload(out: &mut Vec<u8>, payload: Payload<'_>) {
    match payload.form {
        PayloadForm::AsIs => {
            debug_assert!(!payload.bytes.contains(&b'\n'), "a payload as is has one line");
            out.extend_from_slice(payload.bytes);
        }
        PayloadForm::Compact => push_compact(out, payload.bytes),
        PayloadForm::Text => push_json_string(out, &String::from_utf8_lossy(payload.bytes)),
        PayloadForm::Base64 => {
            out.push(b'"');
            push_base64(out, payload.bytes);
            out.push(b'"');
        }
    }
}

/// Writes JSON without whitespace outside strings.
fn push_compact(out: &mut Vec<u8>, json: &[u8]) {
    let mut rest = json.iter();
    let mut left = rest.as_slice();
    while let Some(byte) = rest.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'"' => {
                skip_string(&mut rest);
                out.extend_from_slice(&left[..left.len() - rest.as_slice().len()]);
            }
            _ => out.push(*byte),
        }
        left = rest.as_slice();
    }
}

/// Writes `text` as a JSON string (RFC 8259, 7).
pub(super) fn push_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..index]);
        copied = index + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX_DIGITS[usize::from(control >> 4)]);
                out.push(HEX_DIGITS[usize::from(control & 0xf)]);
            }
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

/// Base64 with the standard alphabet and padding (RFC 4648, 4).
fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let [first, second, third] = three;
        let group = u32::from_be_bytes([0, first, second, third]);
        for digit in 0..4 {
            let padding = digit > chunk.len();
            let index = (group >> (18 - 6 * digit) & 0x3f) as usize;
            out.push(if padding { b'=' } else { BASE64_DIGITS[index] });
        }
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";
const BASE64_DIGITS: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    fn written(payload: Payload<'_>) -> String {
        let mut out = Vec::new();
        push_json_payload(&mut out, payload);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn forms_are_found() {
        let table: &[(&[u8], PayloadForm, &str)] = &[
            (b"{\"a\": 1}", PayloadForm::AsIs, "{\"a\": 1}"),
            (b" [1, 2] ", PayloadForm::AsIs, " [1, 2] "),
            (b"null", PayloadForm::AsIs, "null"),
            (b"\"a\\nb\"", PayloadForm::AsIs, "\"a\\nb\""),
            (b"{\n \"a b\\\"\": [1,\r\n\t2]\n}\n", PayloadForm::Compact, "{\"a b\\\"\":[1,2]}"),
            (b"{\"a\":1}{}", PayloadForm::Base64, "\"eyJhIjoxfXt9\""),
            (b"hello", PayloadForm::Base64, "\"aGVsbG8=\""),
            (b"\"raw\nline\"", PayloadForm::Base64, "\"InJhdwpsaW5lIg==\""),
            (b"\"\xff\"", PayloadForm::Base64, "\"Iv8i\""),
            (b"\n", PayloadForm::Base64, "\"Cg==\""),
        ];
        for &(bytes, form, text) in table {
            assert_eq!(json_payload_form(bytes), form, "{}", bytes.escape_ascii());
            assert_eq!(written(Payload::classify(bytes)), text);
        }
        assert_eq!(json_payload_form(b""), PayloadForm::AsIs);
    }

    #[test]
    fn depth_is_counted_outside_strings() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_eq!(json_payload_form(&nested(JSON_DEPTH_MAX)), PayloadForm::AsIs);
        assert_eq!(json_payload_form(&nested(JSON_DEPTH_MAX + 1)), PayloadForm::Base64);
        let text = format!("\"\\\"{}\"", "[".repeat(1000));
        assert!(depth_is_within(text.as_bytes(), 0));
        let siblings = "[],".repeat(1000);
        assert!(depth_is_within(siblings.as_bytes(), 1));
    }

    #[test]
    fn strings_are_escaped() {
        let text = "a\"b\\c\n\r\t\u{0}\u{1f}\u{7f}é\u{2028}";
        let json = written(Payload::new(text.as_bytes(), PayloadForm::Text));
        assert_eq!(serde_json::from_str::<String>(&json).expect("valid"), text);
        assert_eq!(written(Payload::new(b"\xffa", PayloadForm::Text)), "\"\u{fffd}a\"");
    }

    #[test]
    fn carriage_returns_of_clients_are_compacted() {
        assert_eq!(Payload::from_json_command(b"[1]").form, PayloadForm::AsIs);
        assert_eq!(written(Payload::from_json_command(b"[1,\r2]")), "[1,2]");
    }
}
