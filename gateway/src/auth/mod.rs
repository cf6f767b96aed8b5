//! Tokens: who a client is and what it may have, signed by a backend.
//!
//! Owns: keys, the strict reading of tokens, the rules of an operator, when to fetch published
//! keys.
//! Never: reads a clock, opens a file or a socket. Time and documents come in as arguments.
//!
//! A token is read in this order, and the first thing that is wrong ends it (RFC 7519, 7.2):
//!
//! ```text
//! length -> three parts -> header (alg, kid, no crit) -> key -> signature
//!        -> claims -> aud, iss -> time
//! ```
//!
//! Nothing behind the signature is looked at before the signature is good. The algorithm is a
//! property of a key: the header must name an algorithm that belongs to the kind of the key found
//! for it, so that a public key never serves as an HMAC secret.
//!
//! Where Centrifugo v6 leaves a choice to the token, this module takes the strict one. What
//! differs:
//!
//! * A repeated name in header, claims, `subs` or `override` refuses the token.
//! * `exp`, `nbf` and `expire_at` are whole seconds from zero; `null`, a fraction or a text refuse
//!   the token.
//! * A `null` user refuses the token; a missing one is the anonymous user, as in Centrifugo.
//! * A subscription token that is bound to one connection (claim `client`) is refused: nothing
//!   checks it here.
//! * An RSA key has at least 2048 bits. P-521 is not served. Ed25519 may be configured without a
//!   key set.
//!
//! `iat` is not looked at, as in Centrifugo: `nbf` is the claim for a token of the future, and a
//! backend whose clock runs ahead must not lock its users out. `jti` is not looked at: a token may
//! be used again.

mod algorithm;
mod claims;
mod jwks;
mod jwks_cache;
mod keys;
pub mod limits;
mod mint;
mod object;
mod rules;
mod token;
mod verifier;

pub use algorithm::Algorithm;
pub use jwks::{KeySet, KeySetFault, SkipReason};
pub use jwks_cache::{
    FetchFailed, FetchId, Fetched, JwksAction, JwksCache, JwksPolicy, UnknownKey,
};
pub use keys::{KeyFault, StaticKeys, VerifyingKey};
pub use mint::{ConnectionToken, MintFault, SigningKey, SubscriptionToken};
pub use mint::{mint_connection, mint_subscription};
pub use rules::{Keys, RulesFault, TokenRules};
pub use token::key_id;
pub use verifier::Verifier;

/// Are both the same? Takes as long for a wrong key as for a right one of the same length.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}
