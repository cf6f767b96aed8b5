//! May this client do that in this channel? Pure functions of options, name and session.

use protocol::channels::{ChannelOptions, is_private, users_of};
use protocol::client::ErrorCode;

/// What is asked of a channel, beside subscribing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Publish,
    Presence,
    History,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) user: &'a str,
    /// Has it a granted subscription to the channel?
    pub(crate) is_subscribed: bool,
    /// Has it every permission (`client.insecure`)?
    pub(crate) insecure: bool,
}

/// May a client without a subscription token subscribe?
pub(crate) fn may_subscribe(
    asker: Asker<'_>,
    channel: &str,
    options: &ChannelOptions,
) -> Result<(), ErrorCode> {
    if asker.insecure {
        return Ok(());
    }
    if is_private(channel) {
        return Err(ErrorCode::PermissionDenied);
    }
    if options.allow_user_limited_channels
        && let Some(mut users) = users_of(channel)
    {
        let listed = !asker.user.is_empty() && users.any(|user| user == asker.user);
        return if listed { Ok(()) } else { Err(ErrorCode::PermissionDenied) };
    }
    let known = !asker.user.is_empty() || options.allow_subscribe_for_anonymous;
    if options.allow_subscribe_for_client && known {
        return Ok(());
    }
    Err(ErrorCode::PermissionDenied)
}

/// May a client do `verb`?
pub(crate) fn may(verb: Verb, asker: Asker<'_>, options: &ChannelOptions) -> Result<(), ErrorCode> {
    if verb == Verb::Presence && !options.presence {
        return Err(ErrorCode::NotAvailable);
    }
    if verb == Verb::History && !options.has_history() {
        return Err(ErrorCode::NotAvailable);
    }
    if asker.insecure {
        return Ok(());
    }
    let (for_subscriber, for_client, for_anonymous) = match verb {
        Verb::Publish => (
            options.allow_publish_for_subscriber,
            options.allow_publish_for_client,
            options.allow_publish_for_anonymous,
        ),
        Verb::Presence => (
            options.allow_presence_for_subscriber,
            options.allow_presence_for_client,
            options.allow_presence_for_anonymous,
        ),
        Verb::History => (
            options.allow_history_for_subscriber,
            options.allow_history_for_client,
            options.allow_history_for_anonymous,
        ),
    };
    let known = !asker.user.is_empty() || for_anonymous;
    if known && (for_client || (for_subscriber && asker.is_subscribed)) {
        return Ok(());
    }
    Err(ErrorCode::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(user: &str) -> Asker<'_> {
        Asker { user, is_subscribed: false, insecure: false }
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let options = ChannelOptions::default();
        let denied = Err(ErrorCode::PermissionDenied);
        assert_eq!(may_subscribe(asker("u"), "c", &options), denied);
        assert_eq!(may(Verb::Publish, asker("u"), &options), denied);
        assert_eq!(may(Verb::History, asker("u"), &options), Err(ErrorCode::NotAvailable));
        let insecure = Asker { insecure: true, ..asker("") };
        assert_eq!(may_subscribe(insecure, "c", &options), Ok(()));
        assert_eq!(may(Verb::Publish, insecure, &options), Ok(()));
    }

    #[test]
    fn private_and_user_limited_names_outrank_options() {
        let options = ChannelOptions {
            allow_subscribe_for_client: true,
            allow_user_limited_channels: true,
            ..ChannelOptions::default()
        };
        assert!(may_subscribe(asker("42"), "open", &options).is_ok());
        assert!(may_subscribe(asker("42"), "$private", &options).is_err());
        assert!(may_subscribe(asker("42"), "dialog#41,42", &options).is_ok());
        assert!(may_subscribe(asker("43"), "dialog#41,42", &options).is_err());
        assert!(may_subscribe(asker(""), "dialog#", &options).is_err(), "nobody is not a user");
        assert!(may_subscribe(asker(""), "open", &options).is_err());
    }

    #[test]
    fn subscribers_may_what_is_for_subscribers() {
        let options =
            ChannelOptions { allow_publish_for_subscriber: true, ..ChannelOptions::default() };
        assert!(may(Verb::Publish, asker("u"), &options).is_err());
        let subscriber = Asker { is_subscribed: true, ..asker("u") };
        assert!(may(Verb::Publish, subscriber, &options).is_ok());
        let anonymous = Asker { is_subscribed: true, ..asker("") };
        assert!(may(Verb::Publish, anonymous, &options).is_err());
    }
}
