//! What a channel is called and what it may do.
//!
//! A name may carry a namespace before the first `:`, a leading `$` asks for a subscription token,
//! and user ids behind a `#` limit the channel to those users. Names and meanings of the options
//! are those that operators know from Centrifugo v6; `durability` and `slow_consumer` are ours.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::limits;

/// When a publication counts as accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Never stored.
    None,
    /// In the partition's recent window, if the channel has history.
    #[default]
    Memory,
    /// In the partition log.
    Log,
    /// In the database.
    Store,
}

/// What happens to a subscriber that reads more slowly than it is written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowConsumer {
    /// It is closed with 3008 and recovers when it comes back.
    #[default]
    Disconnect,
    /// Of what waits for it, only the newest publication of the channel is kept.
    Conflate,
    /// Publications are left out; it is told of the gap as soon as there is room.
    Drop,
}

/// The options of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelOptions {
    /// Keep who is in the channel.
    pub presence: bool,
    /// Tell subscribers who comes and goes, if they ask.
    pub join_leave: bool,
    /// Tell all subscribers.
    pub force_push_join_leave: bool,
    /// Publications of the channel's history; zero: no history, no offsets.
    pub history_size: u32,
    /// Age after which a publication leaves the history; zero: no history.
    pub history_ttl: Duration,
    /// How long a position outlives the last publication.
    pub history_meta_ttl: Duration,
    /// Check positions even if the client does not ask.
    pub force_positioning: bool,
    /// Check positions if the client asks.
    pub allow_positioning: bool,
    /// Recover even if the client does not ask.
    pub force_recovery: bool,
    /// Recover if the client asks.
    pub allow_recovery: bool,
    /// Any authenticated client may subscribe.
    pub allow_subscribe_for_client: bool,
    /// With the one above: clients without a user id too.
    pub allow_subscribe_for_anonymous: bool,
    /// Subscribers may publish.
    pub allow_publish_for_subscriber: bool,
    /// Any authenticated client may publish.
    pub allow_publish_for_client: bool,
    /// With one of the two above: clients without a user id too.
    pub allow_publish_for_anonymous: bool,
    /// Subscribers may ask who is there.
    pub allow_presence_for_subscriber: bool,
    /// Any authenticated client may ask who is there.
    pub allow_presence_for_client: bool,
    /// With one of the two above: clients without a user id too.
    pub allow_presence_for_anonymous: bool,
    /// Subscribers may read history.
    pub allow_history_for_subscriber: bool,
    /// Any authenticated client may read history.
    pub allow_history_for_client: bool,
    /// With one of the two above: clients without a user id too.
    pub allow_history_for_anonymous: bool,
    /// Names with `#` give access to the users they list.
    pub allow_user_limited_channels: bool,
    /// When a publication counts as accepted.
    pub durability: Durability,
    /// What happens to slow subscribers.
    pub slow_consumer: SlowConsumer,
    /// Since when the channels are durable without a break: the data directory counts up whenever
    /// they become durable. An epoch that was stored under another generation is over. Nobody
    /// configures it; zero where nothing is durable, and before the directory was asked.
    pub generation: u64,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self {
            presence: false,
            join_leave: false,
            force_push_join_leave: false,
            history_size: 0,
            history_ttl: Duration::ZERO,
            history_meta_ttl: HISTORY_META_TTL_DEFAULT,
            force_positioning: false,
            allow_positioning: false,
            force_recovery: false,
            allow_recovery: false,
            allow_subscribe_for_client: false,
            allow_subscribe_for_anonymous: false,
            allow_publish_for_subscriber: false,
            allow_publish_for_client: false,
            allow_publish_for_anonymous: false,
            allow_presence_for_subscriber: false,
            allow_presence_for_client: false,
            allow_presence_for_anonymous: false,
            allow_history_for_subscriber: false,
            allow_history_for_client: false,
            allow_history_for_anonymous: false,
            allow_user_limited_channels: false,
            durability: Durability::Memory,
            slow_consumer: SlowConsumer::Disconnect,
            generation: 0,
        }
    }
}

/// How long a position outlives the last publication, unless configured: 720 h.
pub const HISTORY_META_TTL_DEFAULT: Duration = Duration::from_secs(720 * 3600);

impl ChannelOptions {
    /// Does the channel count offsets and keep a window?
    pub fn has_history(&self) -> bool {
        self.history_size > 0 && !self.history_ttl.is_zero() && self.durability != Durability::None
    }

    /// Is every publication with an offset in the partition log before anybody hears of it?
    pub fn is_durable(&self) -> bool {
        self.has_history() && matches!(self.durability, Durability::Log | Durability::Store)
    }
}

/// What is wrong with a channel name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelViolation {
    /// No name at all.
    Empty,
    /// Longer than [`limits::CHANNEL_BYTES_MAX`].
    TooLong,
    /// A byte that is not visible ASCII.
    NotVisibleAscii,
}

/// Checks the name of a channel.
///
/// # Errors
///
/// The first rule it breaks.
pub fn check_name(channel: &str) -> Result<(), ChannelViolation> {
    if channel.is_empty() {
        return Err(ChannelViolation::Empty);
    }
    if channel.len() > limits::CHANNEL_BYTES_MAX {
        return Err(ChannelViolation::TooLong);
    }
    if !channel.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ChannelViolation::NotVisibleAscii);
    }
    Ok(())
}

/// Does the name ask for a subscription token?
pub fn is_private(channel: &str) -> bool {
    channel.starts_with('$')
}

/// The namespace of a channel, or `None` for one without.
pub fn namespace_of(channel: &str) -> Option<&str> {
    channel.strip_prefix('$').unwrap_or(channel).split_once(':').map(|(namespace, _)| namespace)
}

/// The users that the name lists behind `#`, or `None` if it lists none.
pub fn users_of(channel: &str) -> Option<impl Iterator<Item = &str>> {
    channel.rsplit_once('#').map(|(_, users)| users.split(','))
}

/// All namespaces of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Options of channels without a namespace.
    pub without: ChannelOptions,
    /// Options by name.
    pub named: BTreeMap<String, ChannelOptions>,
}

impl Namespaces {
    /// The options of a channel; `None` if its namespace does not exist.
    pub fn resolve(&self, channel: &str) -> Option<&ChannelOptions> {
        match namespace_of(channel) {
            None => Some(&self.without),
            Some(namespace) => self.named.get(namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(namespace_of("chat:lobby"), Some("chat"));
        assert_eq!(namespace_of("$chat:lobby"), Some("chat"));
        assert_eq!(namespace_of("lobby"), None);
        assert!(is_private("$secret"));
        let users: Vec<_> = users_of("dialog#42,43").unwrap().collect();
        assert_eq!(users, ["42", "43"]);
        assert!(users_of("plain").is_none());
    }

    #[test]
    fn names_that_could_confuse_others_are_refused() {
        assert_eq!(check_name(""), Err(ChannelViolation::Empty));
        assert_eq!(check_name(&"a".repeat(256)), Err(ChannelViolation::TooLong));
        for bad in ["a b", "a\r\nb", "a\0", "zoë", "\u{202e}"] {
            assert_eq!(check_name(bad), Err(ChannelViolation::NotVisibleAscii), "{bad:?}");
        }
        assert_eq!(check_name("$news:{a}*?#1,2"), Ok(()));
    }

    #[test]
    fn an_unknown_namespace_has_no_options() {
        let namespaces = Namespaces::default();
        assert!(namespaces.resolve("lobby").is_some());
        assert!(namespaces.resolve("nosuch:lobby").is_none());
    }
}
