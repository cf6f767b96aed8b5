//! What an operator may want to read about single clients, for the driver to write down.
//!
//! Nothing here is made unless the driver asked for it: a client costs no note when nobody reads
//! them. A note never holds a token.

use std::net::SocketAddr;
use std::sync::Arc;

use protocol::close::CloseReason;
use protocol::ids::ConnectionId;
use protocol::proxies::ProxyFault;

use super::claims::TokenRefusal;
use super::event::Action;
use super::shard::GatewayShard;

/// Something worth a line.
#[derive(Clone, Debug)]
pub struct Note {
    /// Where the client is.
    pub peer: Option<SocketAddr>,
    /// Who it is, if it has a session; as the token says, and so of any characters.
    pub user: Option<Arc<str>>,
    /// What happened.
    pub what: Noted,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// A token was refused.
    TokenRefused(TokenFault),
    /// A request was refused: status and text.
    RequestRefused(u16, &'static str),
    /// The header of a proxy was refused, and the connection closed.
    ProxyHeaderRefused(ProxyFault),
    /// A connection was closed with a code; `None`: without one.
    Closed(CloseReason, Option<u16>),
}

/// Why a token was refused: the labels of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// It is not a token, its signature or algorithm is wrong, or a claim has a wrong form.
    Invalid,
    /// It was good once, or will be.
    Expired,
    /// It names a key that is not there.
    KeyUnknown,
    /// It is good, for another user or channel.
    Foreign,
    /// There is none where one is needed.
    Missing,
}

impl TokenFault {
    /// Every fault, in the order of the enum.
    pub const ALL: [Self; 5] =
        [Self::Invalid, Self::Expired, Self::KeyUnknown, Self::Foreign, Self::Missing];

    /// The label under which it is counted.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::KeyUnknown => "key_unknown",
            Self::Foreign => "foreign",
            Self::Missing => "missing",
        }
    }
}

impl From<TokenRefusal> for TokenFault {
    fn from(refusal: TokenRefusal) -> Self {
        match refusal {
            TokenRefusal::Invalid => Self::Invalid,
            TokenRefusal::Expired => Self::Expired,
            TokenRefusal::KeyUnknown => Self::KeyUnknown,
        }
    }
}

impl GatewayShard {
    /// Makes notes from now on, or none.
    pub fn make_notes(&mut self, wants: bool) {
        self.makes_notes = wants;
    }

    /// Counts and notes a token that is refused, and hands the result on.
    pub(super) fn accepted<T>(
        &mut self,
        id: ConnectionId,
        checked: Result<T, TokenRefusal>,
    ) -> Result<T, TokenRefusal> {
        if let Err(refusal) = &checked {
            self.note_token(id, TokenFault::from(*refusal));
        }
        checked
    }

    pub(super) fn note_token(&mut self, id: ConnectionId, fault: TokenFault) {
        self.counters.tokens_refused[fault as usize] += 1;
        self.note(id, Noted::TokenRefused(fault));
    }

    pub(super) fn note_closed(&mut self, id: ConnectionId, reason: CloseReason, code: Option<u16>) {
        self.counters.closes[reason.index()] += 1;
        self.note(id, Noted::Closed(reason, code));
    }

    pub(super) fn note(&mut self, id: ConnectionId, what: Noted) {
        if !self.makes_notes {
            return;
        }
        let Some(connection) = self.connections.find(id) else { return };
        let peer = connection.peer.as_deref().copied();
        let user = connection.session.as_ref().map(|session| session.user.clone());
        self.actions.push_back(Action::Note(Box::new(Note { peer, user, what })));
    }
}
