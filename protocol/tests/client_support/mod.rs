//! Random commands, replies and pushes for the tests of the client protocol.
//!
//! Payloads are picked from a list, so that commands can borrow them for ever.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use protocol::client::client_side::{
    Received, ReceivedClientInfo, ReceivedConnect, ReceivedDisconnect, ReceivedError,
    ReceivedExpiry, ReceivedHistory, ReceivedPresenceStats, ReceivedPublication, ReceivedPush,
    ReceivedRefresh, ReceivedReply, ReceivedSubscribe, ReceivedUnsubscribe,
};
use protocol::client::{
    Command, CommandKind, Connect, History, Presence, PresenceStats, Publish, Refresh, Rpc, Send,
    StreamPosition, SubRefresh, Subscribe, Unsubscribe,
};

pub(crate) mod borrowed;

/// Payloads to pick from.
pub(crate) type Payloads = &'static [&'static [u8]];

/// Anything.
pub(crate) const BINARY_PAYLOADS: Payloads = &[b"", b"\x00", b"{}", b"\xff\xfe\n\x80", &[7; 300]];

/// Any command that obeys the rules.
pub(crate) fn commands(payloads: Payloads) -> BoxedStrategy<Command<'static>> {
    let channel = || text().prop_map(Into::into);
    let with_id = prop_oneof![
        connects(payloads).prop_map(CommandKind::Connect),
        subscribes(payloads).prop_map(CommandKind::Subscribe),
        channel().prop_map(|channel| CommandKind::Unsubscribe(Unsubscribe { channel })),
        (channel(), select(payloads), any::<i32>()).prop_map(
            |(channel, data, publication_type)| {
                CommandKind::Publish(Publish { channel, data, publication_type })
            }
        ),
        channel().prop_map(|channel| CommandKind::Presence(Presence { channel })),
        channel().prop_map(|channel| CommandKind::PresenceStats(PresenceStats { channel })),
        histories().prop_map(CommandKind::History),
        Just(CommandKind::Ping),
        (select(payloads), channel())
            .prop_map(|(data, method)| CommandKind::Rpc(Rpc { data, method })),
        channel().prop_map(|token| CommandKind::Refresh(Refresh { token })),
        (channel(), channel(), any::<i32>()).prop_map(|(channel, token, refresh_type)| {
            CommandKind::SubRefresh(SubRefresh { channel, token, refresh_type })
        }),
    ];
    prop_oneof![
        10 => (1..=u32::MAX, with_id).prop_map(|(id, kind)| Command { id, kind }),
        1 => Just(Command { id: 0, kind: CommandKind::Pong }),
        1 => (any::<u32>(), select(payloads))
            .prop_map(|(id, data)| Command { id, kind: CommandKind::Send(Send { data }) }),
    ]
    .boxed()
}

fn connects(payloads: Payloads) -> impl Strategy<Value = Connect<'static>> {
    let subs = btree_map(text().prop_map(Into::into), subscribes(payloads), 0..3);
    let headers = btree_map(text().prop_map(Into::into), text().prop_map(Into::into), 0..3);
    (text(), select(payloads), subs, text(), text(), headers).prop_map(
        |(token, data, subs, name, version, headers)| Connect {
            token: token.into(),
            data,
            subs,
            name: name.into(),
            version: version.into(),
            headers,
        },
    )
}

fn subscribes(payloads: Payloads) -> impl Strategy<Value = Subscribe<'static>> {
    let flags = any::<[bool; 5]>();
    let texts = (text(), text(), text(), text());
    (texts, flags, any::<u64>(), select(payloads), any::<i64>(), any::<i32>()).prop_map(
        |((channel, token, epoch, delta), flags, offset, data, flag, subscription_type)| {
            let [recover, positioned, recoverable, join_leave, has_tag_filter] = flags;
            Subscribe {
                channel: channel.into(),
                token: token.into(),
                recover,
                epoch: epoch.into(),
                offset,
                data,
                positioned,
                recoverable,
                join_leave,
                delta: delta.into(),
                flag,
                subscription_type,
                has_tag_filter,
            }
        },
    )
}

fn histories() -> impl Strategy<Value = History<'static>> {
    let since = (any::<u64>(), text())
        .prop_map(|(offset, epoch)| StreamPosition { offset, epoch: epoch.into() });
    (text(), any::<i32>(), option::of(since), any::<bool>()).prop_map(
        |(channel, limit, since, reverse)| History {
            channel: channel.into(),
            limit,
            since,
            reverse,
        },
    )
}

/// Any ping, reply or push.
pub(crate) fn entries(payloads: Payloads) -> BoxedStrategy<Received> {
    prop_oneof![
        1 => Just(Received::Ping),
        10 => (1..=u32::MAX, replies(payloads)).prop_map(|(id, body)| Received::Reply { id, body }),
        10 => (text(), pushes(payloads))
            .prop_map(|(channel, body)| Received::Push { channel, body }),
    ]
    .boxed()
}

fn replies(payloads: Payloads) -> impl Strategy<Value = ReceivedReply> {
    let error = (any::<u32>(), text(), any::<bool>())
        .prop_map(|(code, message, temporary)| ReceivedError { code, message, temporary });
    let stats = any::<(u32, u32)>()
        .prop_map(|(num_clients, num_users)| ReceivedPresenceStats { num_clients, num_users });
    let history = (vec(publications(payloads), 0..3), text(), any::<u64>())
        .prop_map(|(publications, epoch, offset)| ReceivedHistory { publications, epoch, offset });
    let refresh = (text(), text(), any::<bool>(), any::<u32>()).prop_map(
        |(client, version, expires, ttl)| ReceivedRefresh { client, version, expires, ttl },
    );
    prop_oneof![
        error.prop_map(ReceivedReply::Error),
        connected(payloads).prop_map(ReceivedReply::Connect),
        subscribed(payloads).prop_map(ReceivedReply::Subscribe),
        Just(ReceivedReply::Unsubscribe),
        Just(ReceivedReply::Publish),
        btree_map(text(), client_infos(payloads), 0..3).prop_map(ReceivedReply::Presence),
        stats.prop_map(ReceivedReply::PresenceStats),
        history.prop_map(ReceivedReply::History),
        Just(ReceivedReply::Ping),
        select(payloads).prop_map(|data| ReceivedReply::Rpc(data.to_vec())),
        refresh.prop_map(ReceivedReply::Refresh),
        expiries().prop_map(ReceivedReply::SubRefresh),
    ]
}

fn pushes(payloads: Payloads) -> impl Strategy<Value = ReceivedPush> {
    let unsubscribe =
        (any::<u32>(), text()).prop_map(|(code, reason)| ReceivedUnsubscribe { code, reason });
    let disconnect = (any::<u32>(), text(), any::<bool>())
        .prop_map(|(code, reason, reconnect)| ReceivedDisconnect { code, reason, reconnect });
    let subscribe = subscribed(payloads).prop_map(|full| ReceivedSubscribe {
        recoverable: full.recoverable,
        epoch: full.epoch,
        offset: full.offset,
        positioned: full.positioned,
        data: full.data,
        ..ReceivedSubscribe::default()
    });
    prop_oneof![
        publications(payloads).prop_map(ReceivedPush::Publication),
        client_infos(payloads).prop_map(ReceivedPush::Join),
        client_infos(payloads).prop_map(ReceivedPush::Leave),
        unsubscribe.prop_map(ReceivedPush::Unsubscribe),
        select(payloads).prop_map(|data| ReceivedPush::Message(data.to_vec())),
        subscribe.prop_map(ReceivedPush::Subscribe),
        connected(payloads).prop_map(ReceivedPush::Connect),
        disconnect.prop_map(ReceivedPush::Disconnect),
        expiries().prop_map(ReceivedPush::Refresh),
    ]
}

fn connected(payloads: Payloads) -> impl Strategy<Value = ReceivedConnect> {
    let texts = (text(), text(), text(), text());
    let numbers = (any::<u32>(), any::<u32>(), any::<i64>());
    let subs = btree_map(text(), subscribed(payloads), 0..3);
    (texts, any::<[bool; 2]>(), numbers, select(payloads), subs).prop_map(
        |(texts, [expires, pong], (ttl, ping, time), data, subs)| {
            let (client, version, session, node) = texts;
            let data = data.to_vec();
            ReceivedConnect {
                client,
                version,
                expires,
                ttl,
                data,
                subs,
                ping,
                pong,
                session,
                node,
                time,
            }
        },
    )
}

fn subscribed(payloads: Payloads) -> impl Strategy<Value = ReceivedSubscribe> {
    let numbers = (any::<u32>(), any::<u64>());
    let missed = vec(publications(payloads), 0..3);
    (any::<[bool; 6]>(), numbers, text(), missed, select(payloads)).prop_map(
        |(flags, (ttl, offset), epoch, publications, data)| {
            let [expires, recoverable, recovered, positioned, was_recovering, delta] = flags;
            ReceivedSubscribe {
                expires,
                ttl,
                recoverable,
                epoch,
                publications,
                recovered,
                offset,
                positioned,
                data: data.to_vec(),
                was_recovering,
                delta,
            }
        },
    )
}

fn publications(payloads: Payloads) -> impl Strategy<Value = ReceivedPublication> {
    let info = option::of(client_infos(payloads));
    let tags: BoxedStrategy<BTreeMap<String, String>> = btree_map(text(), text(), 0..3).boxed();
    (select(payloads), info, any::<u64>(), tags, any::<bool>(), any::<i64>()).prop_map(
        |(data, info, offset, tags, delta, time)| ReceivedPublication {
            data: data.to_vec(),
            info,
            offset,
            tags,
            delta,
            time,
        },
    )
}

fn client_infos(payloads: Payloads) -> impl Strategy<Value = ReceivedClientInfo> {
    (text(), text(), select(payloads), select(payloads)).prop_map(
        |(user, client, conn_info, chan_info)| ReceivedClientInfo {
            user,
            client,
            conn_info: conn_info.to_vec(),
            chan_info: chan_info.to_vec(),
        },
    )
}

fn expiries() -> impl Strategy<Value = ReceivedExpiry> {
    any::<(bool, u32)>().prop_map(|(expires, ttl)| ReceivedExpiry { expires, ttl })
}

/// Text with everything that JSON must escape, within the limit of a channel.
fn text() -> impl Strategy<Value = String> {
    "[a-z\"\\\\\u{0}-\u{1f}é\u{2028}😀/<]{0,12}"
}
