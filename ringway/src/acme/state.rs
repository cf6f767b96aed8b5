//! How it stands with the certificate, for whoever looks at metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::engine::Failure;

/// Written by one task, read by any thread.
#[derive(Debug, Default)]
pub struct AcmeState {
    expires_at: AtomicU64,
    next_attempt_at: AtomicU64,
    has_failed: AtomicBool,
    issued: AtomicU64,
    refused: AtomicU64,
    unreachable: AtomicU64,
}

impl AcmeState {
    /// When the certificate expires, in seconds since 1970; zero: there is none.
    pub fn expires_at(&self) -> u64 {
        self.expires_at.load(Ordering::Relaxed)
    }

    /// When one is asked for next, in seconds since 1970.
    pub fn next_attempt_at(&self) -> u64 {
        self.next_attempt_at.load(Ordering::Relaxed)
    }

    /// Did the last attempt fail?
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Attempts since the start, by how they ended.
    pub fn attempts(&self) -> [(&'static str, u64); 3] {
        [
            ("issued", self.issued.load(Ordering::Relaxed)),
            ("refused", self.refused.load(Ordering::Relaxed)),
            ("unreachable", self.unreachable.load(Ordering::Relaxed)),
        ]
    }

    pub(super) fn held(&self, expires_at: u64) {
        self.expires_at.store(expires_at, Ordering::Relaxed);
    }

    pub(super) fn waits_until(&self, at: u64) {
        self.next_attempt_at.store(at, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, end: Result<(), Failure>) {
        let counter = match end {
            Ok(()) => &self.issued,
            Err(Failure::Refused) => &self.refused,
            Err(Failure::Unreachable) => &self.unreachable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.has_failed.store(end.is_err(), Ordering::Relaxed);
    }
}
