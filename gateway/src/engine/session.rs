//! What a connection has once its client said who it is.

use std::sync::Arc;

use protocol::link::{ClientId, Content, Member, Overrides, Position, Subscribed, UserCommand};
use protocol::time::Moment;

use super::ledger::{Charged, counted_bytes};
use super::rate::Meter;
use crate::limits;

/// One subscription of a session.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// Index in the table of channels.
    pub(crate) channel: u32,
    /// Place among the channel's subscribers, once granted.
    pub(crate) place: u32,
    /// The command that asked for it; zero if the server did.
    pub(crate) command: u32,
    pub(crate) flags: Flags,
    /// Unix seconds at which its token expires; zero: never. Enough until 2106.
    expires_at: u32,
    /// What its token hands to the client, until the router has answered.
    pub(crate) data: Option<Box<Content>>,
}

impl Subscription {
    /// One that is asked for. `expires_at` in Unix seconds; zero: never.
    pub(crate) fn new(
        command: u32,
        flags: Flags,
        expires_at: u64,
        data: Option<Box<Content>>,
    ) -> Self {
        let mut new = Self { channel: 0, place: 0, command, flags, expires_at: 0, data };
        new.set_expires_at(expires_at);
        new
    }

    /// Unix seconds; zero: never.
    pub(crate) fn expires_at(&self) -> u64 {
        self.expires_at.into()
    }

    /// Bytes of what its token hands to the client.
    pub(crate) fn data_bytes(&self) -> u32 {
        self.data.as_ref().map_or(0, |data| data.bytes.len() as u32)
    }

    pub(crate) fn set_expires_at(&mut self, unix_seconds: u64) {
        self.expires_at = u32::try_from(unix_seconds).unwrap_or(u32::MAX);
    }
}

/// What holds for a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// The router has answered.
    pub(crate) granted: bool,
    /// The client is told its position.
    pub(crate) positioned: bool,
    /// The client may recover.
    pub(crate) recoverable: bool,
    /// The client is told who comes and goes.
    pub(crate) joins: bool,
    /// The server subscribed it.
    pub(crate) server_side: bool,
    /// It began after the connect reply: the client is told by a push.
    pub(crate) pushed: bool,
}

/// A server-side subscription that the connect reply will name.
#[derive(Debug)]
pub(crate) struct ConnectSubscription {
    pub(crate) channel: Arc<str>,
    pub(crate) flags: Flags,
    pub(crate) info: Option<Content>,
    pub(crate) overrides: Overrides,
    pub(crate) data: Option<Content>,
    pub(crate) expires_at: u64,
    pub(crate) recover: Option<Position>,
    pub(crate) answer: Option<Box<Subscribed>>,
}

/// Why the token of a `connect` was not looked at yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// The turn had checked enough of them.
    Turn,
    /// Its key is not known.
    Keys,
}

/// A `connect` that is not answered yet.
#[derive(Debug, Default)]
pub(crate) struct PendingConnect {
    /// The command to answer.
    pub(crate) command: u32,
    /// Commands behind it, as they came.
    pub(crate) held: Vec<Vec<u8>>,
    pub(crate) held_bytes: usize,
    /// Payload of the publications in answers to its subscriptions.
    pub(crate) answer_bytes: usize,
    /// What its token waits for; `held` begins with the command itself.
    pub(crate) awaits: Option<Awaits>,
    /// Waits for the user's home shard.
    pub(crate) awaits_home: bool,
    /// Subscriptions that the API asked for meanwhile, taken up behind the answer.
    pub(crate) commands: Vec<UserCommand>,
    pub(crate) subscriptions: Vec<ConnectSubscription>,
    /// Of those, not answered yet.
    pub(crate) unanswered_count: usize,
}

impl PendingConnect {
    /// Bytes of memory of what is held and of answers.
    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.held_bytes + self.answer_bytes
    }
}

/// One client's session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: ClientId,
    /// Empty: anonymous.
    pub(crate) user: Arc<str>,
    pub(crate) info: Option<Content>,
    /// Unix seconds; zero: never. Enough until 2106.
    expires_at: u32,
    /// When its `connect` came, in whole seconds of the monotonic clock.
    pub(crate) begun_at: u32,
    pub(crate) subscriptions: Vec<Subscription>,
    /// When the next ping is due.
    pub(crate) ping_at: Moment,
    /// By when the last ping must be answered; zero: it was.
    pub(crate) pong_by: Moment,
    /// Until when the user's rate is used up.
    pub(crate) throttled_until: Moment,
    pub(crate) commands: Meter,
    /// The publication that is being timed; zero: none.
    pub(crate) timed_command: u32,
    /// Since when.
    pub(crate) timed_since: Moment,
    /// Commands that wait for the router.
    pub(crate) in_flight: u16,
    pub(crate) errors: u16,
    /// Its home shard counts it.
    pub(crate) is_registered: bool,
    pub(crate) pending: Option<Box<PendingConnect>>,
    /// As others see it, without what a subscription adds.
    member: Option<Arc<Member>>,
    is_member_charged: bool,
    /// Bytes of data that tokens hand to subscriptions which are not answered yet.
    data_bytes: u32,
}

const _: () = assert!(size_of::<Session>() <= limits::SESSION_BYTES_MAX);

impl Session {
    pub(crate) fn new(client: ClientId, pending: PendingConnect, now: Moment) -> Self {
        Self {
            client,
            user: "".into(),
            info: None,
            expires_at: 0,
            begun_at: u32::try_from(now.as_millis() / 1000).unwrap_or(u32::MAX),
            subscriptions: Vec::new(),
            ping_at: Moment::ZERO,
            pong_by: Moment::ZERO,
            throttled_until: Moment::ZERO,
            commands: Meter::default(),
            timed_command: 0,
            timed_since: Moment::ZERO,
            in_flight: 0,
            errors: 0,
            is_registered: false,
            pending: Some(Box::new(pending)),
            member: None,
            is_member_charged: false,
            data_bytes: 0,
        }
    }

    /// When its token expires, in Unix seconds; zero: never.
    pub(crate) fn expires_at(&self) -> u64 {
        self.expires_at.into()
    }

    pub(crate) fn set_expires_at(&mut self, unix_seconds: u64) {
        self.expires_at = u32::try_from(unix_seconds).unwrap_or(u32::MAX);
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.user.is_empty()
    }

    /// The subscription to a channel of the table, asked for or granted.
    pub(crate) fn find(&mut self, channel: u32) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|subscription| subscription.channel == channel)
    }

    /// Takes a subscription in. The list grows by one while it is short: most clients have a few,
    /// and doubling would leave half of it empty.
    pub(crate) fn add(&mut self, subscription: Subscription) {
        if self.subscriptions.len() < limits::SUBSCRIPTIONS_GROWN_SINGLY {
            self.subscriptions.reserve_exact(1);
        }
        self.data_bytes += subscription.data_bytes();
        self.subscriptions.push(subscription);
    }

    /// What the token of a subscription hands to the client, which is told now.
    pub(crate) fn take_data(&mut self, channel: u32) -> Option<Box<Content>> {
        let subscription = self.find(channel)?;
        let bytes_count = subscription.data_bytes();
        let data = subscription.data.take();
        self.data_bytes -= bytes_count;
        data
    }

    /// Takes the subscription to a channel of the table out.
    pub(crate) fn remove(&mut self, channel: u32) -> Option<Subscription> {
        let position = self.subscriptions.iter().position(|one| one.channel == channel)?;
        let subscription = self.subscriptions.swap_remove(position);
        self.data_bytes -= subscription.data_bytes();
        Some(subscription)
    }

    /// Bytes of memory by what they are for. To be asked before it is changed, and
    /// [`Connections::settle`](super::connection::Connections::settle) to be told behind it.
    pub(crate) fn charged(&self) -> Charged {
        let info = self.info.as_ref().map_or(0, |info| counted_bytes(info.bytes.len()));
        let member = if self.is_member_charged { counted_bytes(size_of::<Member>()) } else { 0 };
        let identity = size_of::<Self>() + counted_bytes(self.user.len()) + info + member;
        let list = self.subscriptions.capacity() * size_of::<Subscription>();
        let pending = self.pending.as_deref().map_or(0, PendingConnect::memory_bytes);
        let bounded = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Charged {
            identity: bounded(identity),
            subscriptions: bounded(list),
            waiting: bounded(self.data_bytes as usize + pending),
            subscriptions_count: bounded(self.subscriptions.len()),
        }
    }

    /// Its [`Member`] is made by who needs it first, and charged from now on.
    pub(crate) fn charge_member(&mut self) {
        self.is_member_charged = self.member.is_some();
    }

    /// As others see it.
    pub(crate) fn member(&mut self) -> Arc<Member> {
        let member = self.member.get_or_insert_with(|| {
            Arc::new(Member {
                user: self.user.clone(),
                client: self.client,
                connection_info: self.info.clone(),
                channel_info: None,
            })
        });
        member.clone()
    }

    /// As others see it in one channel.
    pub(crate) fn member_in_channel(&mut self, info: Option<Content>) -> Arc<Member> {
        match info {
            None => self.member(),
            Some(info) => Arc::new(Member {
                user: self.user.clone(),
                client: self.client,
                connection_info: self.info.clone(),
                channel_info: Some(info),
            }),
        }
    }

    /// Who it is has changed.
    pub(crate) fn forget_member(&mut self) {
        self.member = None;
    }

    /// When the session or one of its subscriptions has been expired for as long as it may be, in
    /// Unix seconds; the delays are in seconds.
    pub(crate) fn next_expiry(&self, delay: u64, subscription_delay: u64) -> Option<u64> {
        let ends = |at: u64, delay: u64| (at > 0).then(|| at.saturating_add(delay));
        let subscriptions = self.subscriptions.iter();
        let subscriptions = subscriptions.map(|one| ends(one.expires_at(), subscription_delay));
        subscriptions.chain([ends(self.expires_at(), delay)]).flatten().min()
    }
}
