//! HTTP/1.1 (RFC 9112) as far as a client port needs it: heads, chunked bodies, short responses.
//!
//! Whoever stands before us (a proxy, a cache) must read the same requests out of the same bytes as
//! we do. So whatever two readers could understand differently is refused, and the connection
//! closed.

mod chunked;
mod head_scan;
mod query;
mod request;
mod response;
mod violation;

pub use chunked::{CHUNK_EXTENSION_BYTES_MAX, Chunk, ChunkedDecoder};
pub use head_scan::HeadScan;
pub use query::{percent_decode, query_parameter};
pub use request::{BodyFraming, Header, Method, Request, parse_head};
pub use response::{ResponseHead, write_response_head};
pub use violation::HttpViolation;
