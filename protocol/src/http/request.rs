//! Request heads: what they say, if they say it in exactly one way.

use super::head_scan::HeadScan;
use super::violation::HttpViolation;
use crate::limits::{HTTP_BODY_BYTES_MAX, HTTP_HEADERS_MAX};

/// The head of one request, borrowed from the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The target without its query: begins with `/`, or is `*`. Not percent-decoded.
    pub path: &'a str,
    /// What follows the first `?` of the target. Not percent-decoded.
    pub query: Option<&'a str>,
    /// HTTP/1.1, not HTTP/1.0.
    pub version_1_1: bool,
    /// All headers, in the order of the request.
    pub headers: Vec<Header<'a>>,
    /// How the body is framed.
    pub body: BodyFraming,
    /// The client wants to send a further request on this connection.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
}

/// Reads a request head from the start of `bytes`, and says how many bytes it has.
///
/// `None`: the head is not complete. Each call begins at the first byte, so feed a [`HeadScan`]
/// while bytes arrive, and call this once, when it has found the end.
pub fn parse_head(bytes: &[u8]) -> Result<Option<(Request<'_>, usize)>, HttpViolation> {
    let Some(head_bytes) = HeadScan::new().feed(bytes)? else { return Ok(None) };
    let head = &bytes[..head_bytes];
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(parsed_bytes)) if parsed_bytes == head_bytes => {}
        Ok(_) => return Err(HttpViolation::RequestLine),
        Err(error) => return Err(violation_of(error, head)),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(HttpViolation::RequestLine);
    };
    let headers: Vec<_> = parsed
        .headers
        .iter()
        .map(|header| Header { name: header.name, value: header.value })
        .collect();
    refuse_underscore_twins(&headers)?;
    let mut request = Request {
        method: Method::of(method)?,
        path: target,
        query: None,
        version_1_1: version == 1,
        headers,
        body: BodyFraming::None,
        keep_alive: false,
        expect_continue: false,
    };
    let host = request.host()?;
    (request.path, request.query) = split_target(target, request.method, host)?;
    request.body = request.body_framing()?;
    request.keep_alive = request.wants_keep_alive();
    request.expect_continue = request.wants_continue()?;
    Ok(Some((request, head_bytes)))
}

/// One header. The name is a token; the value has no control characters, and no white space around
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name, as the client spelled it.
    pub name: &'a str,
    /// The value, which need not be UTF-8.
    pub value: &'a [u8],
}

impl<'a> Header<'a> {
    /// Is this header called `name`? Names have no case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value, if it is UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        core::str::from_utf8(self.value).ok()
    }
}

/// Where the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// Where [`super::ChunkedDecoder`] says.
    Chunked,
}

/// A method that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// OPTIONS.
    Options,
}

impl Method {
    /// As it is written in a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    /// Methods are case-sensitive (RFC 9110, 9.1). CONNECT and TRACE are for proxies.
    fn of(name: &str) -> Result<Self, HttpViolation> {
        match name {
            "GET" => Ok(Self::Get),
            "HEAD" => Ok(Self::Head),
            "POST" => Ok(Self::Post),
            "PUT" => Ok(Self::Put),
            "PATCH" => Ok(Self::Patch),
            "DELETE" => Ok(Self::Delete),
            "OPTIONS" => Ok(Self::Options),
            _ => Err(HttpViolation::MethodUnknown),
        }
    }
}

impl<'a> Request<'a> {
    /// The value of the first header `name`, if there is one and it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers_named(name).next()?.text()
    }

    /// The value of the header `name`, which may be there once, and must be UTF-8.
    pub fn header_once(&self, name: &str) -> Result<Option<&'a str>, HttpViolation> {
        let mut named = self.headers_named(name);
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some(header), None) => header.text().map(Some).ok_or(HttpViolation::HeaderValue),
            (Some(_), Some(_)) => Err(HttpViolation::DuplicateHeader),
        }
    }

    /// All headers `name`, in the order of the request.
    pub fn headers_named(&self, name: &str) -> impl Iterator<Item = &Header<'a>> {
        self.headers.iter().filter(move |header| header.is(name))
    }

    /// The host that the request is for. RFC 9112, 3.2: an HTTP/1.1 request names exactly one.
    fn host(&self) -> Result<&'a str, HttpViolation> {
        let host = match self.header_once("host") {
            Ok(Some(host)) => host,
            Ok(None) if self.version_1_1 => return Err(HttpViolation::HostMissing),
            Ok(None) => return Ok(""),
            Err(HttpViolation::DuplicateHeader) => return Err(HttpViolation::HostDuplicate),
            Err(_) => return Err(HttpViolation::HostInvalid),
        };
        let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(&byte);
        match !host.is_empty() && host.bytes().all(is_host_byte) {
            true => Ok(host),
            false => Err(HttpViolation::HostInvalid),
        }
    }

    /// RFC 9112, 6: what two readers could understand differently is an attempt to smuggle.
    fn body_framing(&self) -> Result<BodyFraming, HttpViolation> {
        let mut codings = self.headers_named("transfer-encoding");
        let mut lengths = self.headers_named("content-length");
        let (coding, length) = (codings.next(), lengths.next());
        match (coding, length) {
            (None, None) => Ok(BodyFraming::None),
            (Some(_), Some(_)) => Err(HttpViolation::LengthAndTransferEncoding),
            (Some(coding), None) => {
                let is_chunked = coding.value == b"chunked" && self.version_1_1;
                match is_chunked && codings.next().is_none() {
                    true => Ok(BodyFraming::Chunked),
                    false => Err(HttpViolation::TransferEncoding),
                }
            }
            (None, Some(_)) if lengths.next().is_some() => {
                Err(HttpViolation::ContentLengthDuplicate)
            }
            (None, Some(length)) => content_length(length.value).map(BodyFraming::Length),
        }
    }

    /// RFC 9112, 9.3.
    fn wants_keep_alive(&self) -> bool {
        let has = |wanted: &str| {
            self.headers_named("connection")
                .filter_map(Header::text)
                .flat_map(|value| value.split(','))
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted))
        };
        !has("close") && (self.version_1_1 || has("keep-alive"))
    }

    /// RFC 9110, 10.1.1. A client of HTTP/1.0 cannot mean it.
    fn wants_continue(&self) -> Result<bool, HttpViolation> {
        let mut expectations = self.headers_named("expect");
        let known = expectations.all(|header| header.value.eq_ignore_ascii_case(b"100-continue"));
        match known || !self.version_1_1 {
            true => Ok(self.version_1_1 && self.headers_named("expect").next().is_some()),
            false => Err(HttpViolation::Expectation),
        }
    }
}

/// Path and query of a target (RFC 9112, 3.2).
fn split_target<'a>(
    target: &'a str,
    method: Method,
    host: &str,
) -> Result<(&'a str, Option<&'a str>), HttpViolation> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(HttpViolation::Target);
    }
    if target == "*" && method == Method::Options {
        return Ok((target, None));
    }
    let origin_form = match target.starts_with('/') {
        true => target,
        false => origin_form_of(target, host)?,
    };
    Ok(match origin_form.split_once('?') {
        Some(("", query)) => ("/", Some(query)),
        Some((path, query)) => (path, Some(query)),
        None if origin_form.is_empty() => ("/", None),
        None => (origin_form, None),
    })
}

/// What follows the host in an absolute address, which must be the host of the request.
fn origin_form_of<'a>(target: &'a str, host: &str) -> Result<&'a str, HttpViolation> {
    let (scheme, address) = target.split_once("://").ok_or(HttpViolation::Target)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(HttpViolation::Target);
    }
    let (authority, origin_form) =
        address.split_at(address.find(['/', '?']).unwrap_or(address.len()));
    match !authority.is_empty() && authority.eq_ignore_ascii_case(host) {
        true => Ok(origin_form),
        false => Err(HttpViolation::TargetAuthority),
    }
}

fn content_length(value: &[u8]) -> Result<u64, HttpViolation> {
    // Digits only: `parse` alone would take a plus sign.
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(HttpViolation::ContentLengthInvalid);
    }
    let length = core::str::from_utf8(value).map_err(|_| HttpViolation::ContentLengthInvalid)?;
    // All digits, so what does not fit in 64 bits is merely too large.
    match length.parse() {
        Ok(length) if length <= HTTP_BODY_BYTES_MAX as u64 => Ok(length),
        _ => Err(HttpViolation::BodyTooLarge),
    }
}

/// CGI and its heirs turn both `-` and `_` into `_`, so a proxy may read one header and they
/// another.
fn refuse_underscore_twins(headers: &[Header<'_>]) -> Result<(), HttpViolation> {
    for (index, header) in headers.iter().enumerate() {
        if !header.name.contains('_') {
            continue;
        }
        let is_twin = |name: &str| {
            let dashed = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
            name.len() == header.name.len()
                && name.bytes().map(dashed).eq(header.name.bytes().map(dashed))
        };
        let is_other = |(other, twin): (usize, &Header<'_>)| other != index && is_twin(twin.name);
        if GUARDED_HEADERS.iter().any(|name| is_twin(name))
            || headers.iter().enumerate().any(is_other)
        {
            return Err(HttpViolation::UnderscoreTwin);
        }
    }
    Ok(())
}

/// What `httparse` refuses after the scan agreed to the lines.
fn violation_of(error: httparse::Error, head: &[u8]) -> HttpViolation {
    match error {
        httparse::Error::HeaderName => HttpViolation::HeaderName,
        httparse::Error::HeaderValue => HttpViolation::HeaderValue,
        httparse::Error::TooManyHeaders => HttpViolation::TooManyHeaders,
        httparse::Error::Version if names_a_version(head) => HttpViolation::Version,
        httparse::Error::Version
        | httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token => HttpViolation::RequestLine,
    }
}

/// Is the request line well-formed but for a version, such as 2.0, that merely is not ours?
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or(head);
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    match (words.next().and_then(|word| word.strip_prefix(b"HTTP/")), words.next()) {
        (Some([major, b'.', minor]), None) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

/// Headers that we or a proxy act upon, so that nobody may smuggle one in under another spelling.
const GUARDED_HEADERS: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "content-type",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "x-api-key",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<Request<'_>, HttpViolation> {
        parse_head(head.as_bytes()).map(|request| request.expect("complete").0)
    }

    #[test]
    fn a_request_is_read_whole() {
        let bytes = b"POST /api/publish?a=b?c HTTP/1.1\r\nHost: ringway:8000\r\nX-API-KEY: k\r\n\
            Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello";
        let (request, head_bytes) = parse_head(bytes).unwrap().unwrap();
        assert_eq!(&bytes[head_bytes..], b"hello");
        assert_eq!((request.method, request.path), (Method::Post, "/api/publish"));
        assert_eq!((request.query, request.body), (Some("a=b?c"), BodyFraming::Length(5)));
        assert!(request.version_1_1 && request.keep_alive && request.expect_continue);
        assert_eq!(request.header("x-api-key"), Some("k"));
        assert_eq!(request.header_once("X-Api-Key"), Ok(Some("k")));
        assert_eq!(request.header_once("cookie"), Ok(None));
        for length in 0..head_bytes {
            assert_eq!(parse_head(&bytes[..length]), Ok(None));
        }
    }

    #[test]
    fn headers_that_may_be_there_once_are_counted() {
        let request = parse("GET / HTTP/1.1\r\nHost: a\r\nOrigin: x\r\norigin: y\r\n\r\n").unwrap();
        assert_eq!(request.header("origin"), Some("x"));
        assert_eq!(request.header_once("origin"), Err(HttpViolation::DuplicateHeader));
    }

    #[test]
    fn keep_alive_follows_version_and_connection() {
        let keeps = |version: &str, connection: &str| {
            let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n\r\n");
            parse(&head).unwrap().keep_alive
        };
        assert!(keeps("1.1", "Accept: */*"));
        assert!(!keeps("1.1", "Connection: close"));
        assert!(!keeps("1.1", "Connection: keep-alive, Close"));
        assert!(!keeps("1.0", "Accept: */*"));
        assert!(keeps("1.0", "Connection: Keep-Alive"));
    }

    #[test]
    fn targets_have_three_forms() {
        let target = |target: &str| {
            let head = format!("OPTIONS {target} HTTP/1.1\r\nHost: a:1\r\n\r\n");
            parse(&head).map(|request| (request.path.to_owned(), request.query.map(str::to_owned)))
        };
        let ok = |path: &str, query: Option<&str>| Ok((path.to_owned(), query.map(str::to_owned)));
        assert_eq!(target("*"), ok("*", None));
        assert_eq!(target("/a%20b?"), ok("/a%20b", Some("")));
        assert_eq!(target("http://a:1"), ok("/", None));
        assert_eq!(target("HTTP://A:1?x"), ok("/", Some("x")));
        assert_eq!(target("https://a:1/p?x"), ok("/p", Some("x")));
        assert_eq!(target("http://b/p"), Err(HttpViolation::TargetAuthority));
        assert_eq!(target("http://u@a:1/p"), Err(HttpViolation::TargetAuthority));
        assert_eq!(target("ftp://a:1/p"), Err(HttpViolation::Target));
        assert_eq!(target("/a#b"), Err(HttpViolation::Target));
        assert_eq!(target("a:1"), Err(HttpViolation::Target));
    }
}
