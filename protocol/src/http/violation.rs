//! Why an HTTP request is refused. After any of these the connection is closed.

macro_rules! violations {
    ($( $(#[$doc:meta])* $name:ident = $status:literal, $text:literal; )*) => {
        /// A rule of HTTP, or a limit of ours, that a request broke.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum HttpViolation { $( $(#[$doc])* $name, )* }

        impl HttpViolation {
            /// The status of the response.
            pub const fn status(self) -> u16 {
                match self { $( Self::$name => $status, )* }
            }

            /// The body of the response: what was wrong, in our own words.
            pub const fn text(self) -> &'static str {
                match self { $( Self::$name => $text, )* }
            }
        }
    };
}

violations! {
    /// A line ends with LF alone.
    BareLf = 400, "a line ends without CR";
    /// CR that no LF follows.
    BareCr = 400, "CR without LF";
    /// NUL, another control character, or DEL; in the request line also a byte over 127.
    ControlByte = 400, "a control character in the head";
    /// A request line that is not `method SP target SP version`.
    RequestLine = 400, "malformed request line";
    /// A request line over `HTTP_REQUEST_LINE_BYTES_MAX`.
    RequestLineTooLong = 414, "request line too long";
    /// A head over `HTTP_HEAD_BYTES_MAX`.
    HeadTooLarge = 431, "request head too large";
    /// More than `HTTP_HEADERS_MAX` headers.
    TooManyHeaders = 431, "too many headers";
    /// A header line that begins with white space.
    ObsFold = 400, "folded header";
    /// A header name that is empty, is no token, or has white space before its colon.
    HeaderName = 400, "malformed header name";
    /// A header value with a byte that must not be there, or that should be text and is not.
    HeaderValue = 400, "malformed header value";
    /// A header that may be there once is there twice.
    DuplicateHeader = 400, "duplicate header";
    /// A header with an underscore that some readers take for one with a hyphen.
    UnderscoreTwin = 400, "ambiguous header name";
    /// Not HTTP/1.0 or HTTP/1.1.
    Version = 505, "HTTP version not supported";
    /// A method that we do not know.
    MethodUnknown = 501, "method not implemented";
    /// A method that this resource does not have.
    MethodNotAllowed = 405, "method not allowed";
    /// A target that is neither a path nor an absolute `http` address, or has a fragment.
    Target = 400, "malformed request target";
    /// An absolute target for another host than `Host` says.
    TargetAuthority = 400, "target and host differ";
    /// HTTP/1.1 without `Host`.
    HostMissing = 400, "host header missing";
    /// More than one `Host`.
    HostDuplicate = 400, "duplicate host header";
    /// A `Host` that is no host.
    HostInvalid = 400, "malformed host header";
    /// A `Content-Length` that is not a decimal number.
    ContentLengthInvalid = 400, "malformed content length";
    /// More than one `Content-Length`, equal or not.
    ContentLengthDuplicate = 400, "duplicate content length";
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndTransferEncoding = 400, "content length and transfer encoding";
    /// A `Transfer-Encoding` that is not exactly `chunked`, or one in HTTP/1.0.
    TransferEncoding = 400, "transfer encoding not supported";
    /// A resource that wants to know the length first.
    LengthRequired = 411, "length required";
    /// An `Expect` other than `100-continue`.
    Expectation = 417, "expectation failed";
    /// A body over the limit.
    BodyTooLarge = 413, "request body too large";
    /// A chunk size that is no hexadecimal number of at most 8 digits.
    ChunkSize = 400, "malformed chunk size";
    /// A chunk extension with control characters, or too many bytes of them.
    ChunkExtension = 400, "malformed chunk extension";
    /// A chunk that does not end where its size says.
    ChunkEnd = 400, "malformed chunk end";
    /// Anything after the last chunk: nothing may change a request that was judged already.
    Trailer = 400, "trailers not accepted";
    /// A `%` without two hexadecimal digits, or what they spell is not UTF-8.
    PercentEncoding = 400, "malformed percent encoding";
    /// A query parameter that may be there once is there twice.
    DuplicateParameter = 400, "duplicate query parameter";
    /// An upgrade request that is not one (RFC 6455, 4.2.1).
    BadUpgrade = 400, "malformed websocket upgrade";
    /// A WebSocket version other than 13.
    UpgradeRequired = 426, "websocket version not supported";
}
