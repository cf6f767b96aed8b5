//! What a shard has counted about TLS. Every label is of a closed set.

use rustls::Error;

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeEnd {
    /// With new keys and a certificate.
    Full,
    /// A ticket was taken.
    Resumed,
    /// The client spoke HTTP without TLS.
    PlainHttp,
    /// No version, suite or curve in common.
    Incompatible,
    /// The client wants a protocol that is not HTTP/1.1 (RFC 7301).
    Alpn,
    /// There is no certificate to show, or no proof that an authority asks for.
    NoCertificate,
    /// A certificate authority was shown the proof that it asked for (RFC 8737).
    AcmeChallenge,
    /// What came is no TLS, or breaks its rules.
    Malformed,
    /// The client sent an alert: most often it does not trust the certificate.
    PeerAlert,
    /// More bytes than a handshake needs.
    TooLong,
    /// Too many handshakes were under way on the shard.
    TooMany,
    /// The connection ended, or its time did.
    Unfinished,
    /// We could not go on.
    Internal,
}

impl HandshakeEnd {
    /// Every end, in the order of the enum.
    pub const ALL: [Self; 13] = [
        Self::Full,
        Self::Resumed,
        Self::PlainHttp,
        Self::Incompatible,
        Self::Alpn,
        Self::NoCertificate,
        Self::AcmeChallenge,
        Self::Malformed,
        Self::PeerAlert,
        Self::TooLong,
        Self::TooMany,
        Self::Unfinished,
        Self::Internal,
    ];

    /// The label under which it is counted.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::PlainHttp => "plain_http",
            Self::Incompatible => "incompatible",
            Self::Alpn => "alpn",
            Self::NoCertificate => "no_certificate",
            Self::AcmeChallenge => "acme_challenge",
            Self::Malformed => "malformed",
            Self::PeerAlert => "peer_alert",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
            Self::Unfinished => "unfinished",
            Self::Internal => "internal",
        }
    }
}

/// Why a connection was given up after its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// A record cannot be decrypted: it was changed, or the keys differ.
    BadRecord,
    /// A record is larger than the protocol allows.
    Oversized,
    /// A message that has no place here.
    Unexpected,
    /// A message that cannot be read.
    Malformed,
    /// Keys were changed again and again without data.
    KeyUpdateFlood,
    /// The client sent an alert.
    PeerAlert,
    /// We could not go on.
    Internal,
}

impl RecordFault {
    /// Every fault, in the order of the enum.
    pub const ALL: [Self; 7] = [
        Self::BadRecord,
        Self::Oversized,
        Self::Unexpected,
        Self::Malformed,
        Self::KeyUpdateFlood,
        Self::PeerAlert,
        Self::Internal,
    ];

    /// The label under which it is counted.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadRecord => "bad_record",
            Self::Oversized => "oversized",
            Self::Unexpected => "unexpected",
            Self::Malformed => "malformed",
            Self::KeyUpdateFlood => "key_update_flood",
            Self::PeerAlert => "peer_alert",
            Self::Internal => "internal",
        }
    }
}

impl From<&Error> for HandshakeEnd {
    fn from(error: &Error) -> Self {
        match error {
            Error::NoApplicationProtocol => Self::Alpn,
            // rustls has no other word for it; a test holds it to this one.
            Error::General(text) if text == NO_CERTIFICATE => Self::NoCertificate,
            Error::PeerIncompatible(_) => Self::Incompatible,
            Error::AlertReceived(_) => Self::PeerAlert,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord
            | Error::DecryptError => Self::Malformed,
            _ => Self::Internal,
        }
    }
}

impl From<&Error> for RecordFault {
    fn from(error: &Error) -> Self {
        use rustls::{InvalidMessage, PeerMisbehaved};
        match error {
            Error::DecryptError => Self::BadRecord,
            Error::PeerSentOversizedRecord
            | Error::InvalidMessage(InvalidMessage::MessageTooLarge) => Self::Oversized,
            Error::AlertReceived(_) => Self::PeerAlert,
            Error::PeerMisbehaved(PeerMisbehaved::TooManyKeyUpdateRequests) => Self::KeyUpdateFlood,
            Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_) => Self::Unexpected,
            Error::InvalidMessage(_) => Self::Malformed,
            _ => Self::Internal,
        }
    }
}

/// What rustls says where its resolver has nothing to show.
const NO_CERTIFICATE: &str = "no server certificate chain resolved";

/// What a shard has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsCounters {
    /// Handshakes that ended, by [`HandshakeEnd::ALL`].
    pub handshakes: [u64; HandshakeEnd::ALL.len()],
    /// Connections given up after the handshake, by [`RecordFault::ALL`].
    pub faults: [u64; RecordFault::ALL.len()],
    /// Handshakes under way, now.
    pub handshakes_now: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_the_order_of_their_enums() {
        for (index, end) in HandshakeEnd::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, index);
        }
        for (index, fault) in RecordFault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
        }
    }
}
