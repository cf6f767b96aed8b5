//! Where a client really is, as the proxies before us say it.
//!
//! A proxy is believed because of its own address, which an operator lists; from everybody else
//! the same words mean nothing. Two ways: a header of the PROXY protocol in front of the first byte
//! of a connection, and the header X-Forwarded-For of a request.

mod forwarded;
mod prefixes;
mod proxy_header;

pub use forwarded::forwarded_for;
pub use prefixes::{PrefixFault, Prefixes};
pub use proxy_header::{ProxyFault, ProxyHeader, Source};
