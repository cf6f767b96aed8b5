//! Text that is never shown.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::limits;

/// A key or password. Prints as `***`, wherever it is printed.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// A new random secret of 256 bits.
    pub fn generated() -> Self {
        let mut bytes = [0; limits::GENERATED_SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).expect("the kernel's random numbers do not fail");
        Self::new(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The text itself. Whoever asks must not print it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Is `candidate` this secret? Takes the same time wherever they differ.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), candidate).is_ok()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars_and_compares_as_text() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert!(secret.matches(b"hunter2"));
        assert!(!secret.matches(b"hunter"));
        assert_eq!(secret, Secret::new("hunter2"));
        assert_ne!(Secret::generated(), Secret::generated());
    }
}
