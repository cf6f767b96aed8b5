//! What the store forgets.

use protocol::channels::ChannelOptions;

use crate::limits::KEY_TTL;

/// What of one channel is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Publications above this offset.
    pub above_offset: u64,
    /// Publications after this moment, in Unix milliseconds. Only from the oldest on: a younger
    /// publication ends the search, so that no hole appears when the clock went back.
    pub after_ms: u64,
    /// The position itself, if its last change was after this moment, in Unix milliseconds.
    pub position_after_ms: u64,
}

/// Decides for a channel that is at `offset`, by the options of its namespace.
///
/// `None`: forget nothing. A namespace that is not configured may be a slip of the pen, and what is
/// deleted does not come back.
pub fn keep(options: Option<&ChannelOptions>, offset: u64, unix_ms: u64) -> Option<Keep> {
    let options = options?;
    let ms = |time: core::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Some(Keep {
        above_offset: offset.saturating_sub(u64::from(options.history_size)),
        after_ms: unix_ms.saturating_sub(ms(options.history_ttl)),
        // With the position go its keys, which are promised for so long.
        position_after_ms: unix_ms.saturating_sub(ms(options.history_meta_ttl.max(KEY_TTL))),
    })
}

/// Keys of entries after this moment are answered and kept, in Unix milliseconds.
pub fn keys_after_ms(unix_ms: u64) -> u64 {
    unix_ms.saturating_sub(KEY_TTL.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn size_and_age_bound_a_channel() {
        let options = ChannelOptions {
            history_size: 10,
            history_ttl: Duration::from_secs(60),
            history_meta_ttl: Duration::from_secs(3600),
            ..ChannelOptions::default()
        };
        let kept = keep(Some(&options), 25, 10_000_000).unwrap();
        assert_eq!(kept.above_offset, 15);
        assert_eq!(kept.after_ms, 9_940_000);
        assert_eq!(kept.position_after_ms, 6_400_000);
        let brief = ChannelOptions { history_meta_ttl: Duration::from_secs(60), ..options.clone() };
        assert_eq!(keep(Some(&brief), 25, 10_000_000).unwrap().position_after_ms, 9_100_000);
        assert_eq!(keep(Some(&options), 5, 10).unwrap().above_offset, 0);
    }

    #[test]
    fn an_unknown_namespace_keeps_everything() {
        assert_eq!(keep(None, 25, 10_000_000), None);
    }
}
