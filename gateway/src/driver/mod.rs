//! What a gateway shard does: completions become events, actions become operations. No policy.

mod bodies;
mod clock;
mod control;
mod footprint;
mod notes;
mod pump;
mod receiving;
mod securing;
mod service;
pub mod tls;
mod transport;
mod uplink;

pub use bodies::Body;
pub use clock::{Clock, SystemClock};
pub use control::{AnswerList, Control, Inspection};
pub use footprint::idle_connection;
pub use pump::{Pump, PumpCounters, PumpParts};
pub use service::{Busy, Denial, HttpCall, NoService, Service};
pub use uplink::{Incoming, Uplink};
