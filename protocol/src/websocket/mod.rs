//! WebSocket (RFC 6455), the server's side, and as much of the client's as tests and load need.
//!
//! ```text
//! bytes ── handshake ──> upgraded
//! bytes ── decoder ──> Message    frame reads heads, mask unmasks, assembly joins fragments
//! bytes <── encoder ── payload
//! ```
//!
//! No extension is offered, so the reserved bits are always zero. Compression is left out on
//! purpose: it costs each connection tens of kilobytes, and a bomb is one more thing to bound.

mod assembly;
pub mod client;
mod decoder;
mod encoder;
mod frame;
mod handshake;
mod mask;
mod message;

pub use decoder::{Decoder, DecoderLimits};
pub use encoder::{
    CLOSE_REASON_BYTES_MAX, FrameHead, encode_close, encode_frame, encode_pong, frame_head,
};
pub use frame::{FrameViolation, Opcode};
pub use handshake::{
    HandshakeViolation, SUBPROTOCOLS_OFFERED_MAX, Subprotocols, Upgrade, VERSION_HEADER,
    accept_upgrade, choose_subprotocol, websocket_accept, write_switching_protocols,
};
pub use mask::unmask;
pub use message::{Message, is_close_code};
