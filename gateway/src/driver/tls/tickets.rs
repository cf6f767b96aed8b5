//! Session tickets that any shard, process or node of a cluster resumes (RFC 8446, 4.6.1; RFC
//! 5077).
//!
//! ```text
//!  epoch (4) │ nonce (12) │ AES-256-GCM (session state) │ tag (16)
//!  key = HKDF-SHA-256 (cluster secret, "ringway tls ticket" ‖ epoch)
//! ```
//!
//! Nothing is stored: who knows the secret knows the key of every epoch. A ticket is taken in the
//! epoch that made it and in the next one.

use core::time::Duration;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

/// How long the same key makes tickets, and how long a ticket is good at least.
const EPOCH: Duration = Duration::from_secs(12 * 3600);
const EPOCH_BYTES: usize = 4;
const LABEL: &[u8] = b"ringway tls ticket";

/// Makes and reads tickets. Random nonces bound one key to 2^32 tickets in 12 hours, which is
/// 99,000 a second for a whole cluster (NIST SP 800-38D, 8.3).
pub(super) struct Tickets {
    secret: Prk,
    unix_seconds: fn() -> u64,
}

impl Tickets {
    /// Tickets of everybody who has this secret.
    pub(super) fn of_cluster(secret: &[u8]) -> Self {
        let secret = Salt::new(HKDF_SHA256, b"").extract(secret);
        Self { secret, unix_seconds: now }
    }

    fn epoch(&self) -> u32 {
        u32::try_from((self.unix_seconds)() / EPOCH.as_secs()).unwrap_or(u32::MAX)
    }

    fn key(&self, epoch: u32) -> Option<LessSafeKey> {
        let info = [LABEL, &epoch.to_be_bytes()];
        let key = self.secret.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        EPOCH.as_secs() as u32
    }

    fn encrypt(&self, state: &[u8]) -> Option<Vec<u8>> {
        let epoch = self.epoch();
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = state.to_vec();
        let (nonce_used, aad) =
            (Nonce::assume_unique_for_key(nonce), Aad::from(epoch.to_be_bytes()));
        self.key(epoch)?.seal_in_place_append_tag(nonce_used, aad, &mut sealed).ok()?;
        let mut ticket = Vec::with_capacity(EPOCH_BYTES + NONCE_LEN + sealed.len());
        ticket.extend_from_slice(&epoch.to_be_bytes());
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(&sealed);
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (epoch, rest) = ticket.split_first_chunk::<EPOCH_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let made_in = u32::from_be_bytes(*epoch);
        let age = self.epoch().checked_sub(made_in)?;
        if age > 1 {
            return None;
        }
        let mut state = sealed.to_vec();
        let (nonce, aad) = (Nonce::assume_unique_for_key(*nonce), Aad::from(*epoch));
        let length = self.key(made_in)?.open_in_place(nonce, aad, &mut state).ok()?.len();
        state.truncate(length);
        Some(state)
    }
}

/// The secret never shows.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secret: &[u8], unix_seconds: fn() -> u64) -> Tickets {
        Tickets { unix_seconds, ..Tickets::of_cluster(secret) }
    }

    #[test]
    fn whoever_has_the_secret_reads_a_ticket_of_this_epoch_and_the_last() {
        const EPOCH_SECONDS: u64 = EPOCH.as_secs();
        let made = at(b"a secret", || 10 * EPOCH_SECONDS).encrypt(b"state").unwrap();
        let read = |secret: &[u8], now: fn() -> u64| at(secret, now).decrypt(&made);
        let same = Some(b"state".to_vec());
        assert_eq!(read(b"a secret", || 10 * EPOCH_SECONDS), same);
        assert_eq!(read(b"a secret", || 12 * EPOCH_SECONDS - 1), same);
        assert_eq!(read(b"a secret", || 12 * EPOCH_SECONDS), None, "too old");
        assert_eq!(read(b"a secret", || 10 * EPOCH_SECONDS - 1), None, "of the future");
        assert_eq!(read(b"another", || 10 * EPOCH_SECONDS), None, "of another cluster");
    }

    #[test]
    fn a_changed_ticket_is_none() {
        let tickets = Tickets::of_cluster(b"a secret");
        let made = tickets.encrypt(b"state").unwrap();
        assert_eq!(tickets.decrypt(&made).as_deref(), Some(&b"state"[..]));
        for at in 0..made.len() {
            let mut changed = made.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "byte {at}");
            assert_eq!(tickets.decrypt(&made[..at]), None, "cut at {at}");
        }
        assert_ne!(tickets.encrypt(b"state"), tickets.encrypt(b"state"), "nonces differ");
        assert_eq!(format!("{tickets:?}"), "Tickets(***)");
    }
}
