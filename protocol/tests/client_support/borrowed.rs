//! Owned entries written by the encoders of the server, which want borrowed ones.

use std::collections::BTreeMap;

use protocol::client::client_side::{
    Received, ReceivedClientInfo, ReceivedConnect, ReceivedPublication, ReceivedPush,
    ReceivedReply, ReceivedSubscribe,
};
use protocol::client::{
    ClientInfo, ConnectResult, Disconnect, ErrorReply, Format, HistoryResult, Payload,
    PresenceResult, PresenceStatsResult, Publication, Push, PushBody, RefreshResult, Reply,
    ReplyBody, RpcResult, SubRefreshResult, SubscribePush, SubscribeResult, UnsubscribePush,
    encode_ping, encode_push, encode_reply,
};

/// Encodes `entry` as the server would.
pub(crate) fn encode_entry(format: Format, entry: &Received, out: &mut Vec<u8>) {
    match entry {
        Received::Ping => encode_ping(format, out),
        Received::Reply { id, body } => encode_body(format, *id, body, out),
        Received::Push { channel, body } => encode_push_body(format, channel, body, out),
    }
}

fn encode_body(format: Format, id: u32, body: &ReceivedReply, out: &mut Vec<u8>) {
    let mut reply = |body: ReplyBody<'_>| encode_reply(format, &Reply { id, body }, out);
    match body {
        ReceivedReply::Error(error) => reply(ReplyBody::Error(ErrorReply {
            code: error.code,
            message: &error.message,
            temporary: error.temporary,
        })),
        ReceivedReply::Connect(connect) => {
            with_connect(connect, |result| reply(ReplyBody::Connect(result)));
        }
        ReceivedReply::Subscribe(subscribe) => {
            let publications = Publications::of(&subscribe.publications);
            publications.with(|all| reply(ReplyBody::Subscribe(subscribe_result(subscribe, all))));
        }
        ReceivedReply::Unsubscribe => reply(ReplyBody::Unsubscribe),
        ReceivedReply::Publish => reply(ReplyBody::Publish),
        ReceivedReply::Presence(clients) => {
            let presence: Vec<_> =
                clients.iter().map(|(client, info)| (&**client, client_info(info))).collect();
            reply(ReplyBody::Presence(PresenceResult { presence: &presence }));
        }
        ReceivedReply::PresenceStats(stats) => {
            let (num_clients, num_users) = (stats.num_clients, stats.num_users);
            reply(ReplyBody::PresenceStats(PresenceStatsResult { num_clients, num_users }));
        }
        ReceivedReply::History(history) => {
            Publications::of(&history.publications).with(|publications| {
                let (epoch, offset) = (&*history.epoch, history.offset);
                reply(ReplyBody::History(HistoryResult { publications, epoch, offset }));
            });
        }
        ReceivedReply::Ping => reply(ReplyBody::Ping),
        ReceivedReply::Rpc(data) => {
            reply(ReplyBody::Rpc(RpcResult { data: Payload::classify(data) }));
        }
        ReceivedReply::Refresh(refresh) => reply(ReplyBody::Refresh(RefreshResult {
            client: &refresh.client,
            version: &refresh.version,
            expires: refresh.expires,
            ttl: refresh.ttl,
        })),
        ReceivedReply::SubRefresh(expiry) => {
            let (expires, ttl) = (expiry.expires, expiry.ttl);
            reply(ReplyBody::SubRefresh(SubRefreshResult { expires, ttl }));
        }
    }
}

fn encode_push_body(format: Format, channel: &str, body: &ReceivedPush, out: &mut Vec<u8>) {
    let mut push = |body: PushBody<'_>| encode_push(format, &Push { channel, body }, out);
    match body {
        ReceivedPush::Publication(value) => {
            Publications::of(std::slice::from_ref(value))
                .with(|all| push(PushBody::Publication(all[0])));
        }
        ReceivedPush::Join(info) => push(PushBody::Join(client_info(info))),
        ReceivedPush::Leave(info) => push(PushBody::Leave(client_info(info))),
        ReceivedPush::Unsubscribe(unsubscribe) => {
            let (code, reason) = (unsubscribe.code, &*unsubscribe.reason);
            push(PushBody::Unsubscribe(UnsubscribePush { code, reason }));
        }
        ReceivedPush::Message(data) => push(PushBody::Message(Payload::classify(data))),
        ReceivedPush::Subscribe(subscribe) => push(PushBody::Subscribe(SubscribePush {
            recoverable: subscribe.recoverable,
            epoch: &subscribe.epoch,
            offset: subscribe.offset,
            positioned: subscribe.positioned,
            data: Payload::classify(&subscribe.data),
        })),
        ReceivedPush::Connect(connect) => {
            with_connect(connect, |result| push(PushBody::Connect(result)));
        }
        ReceivedPush::Disconnect(disconnect) => push(PushBody::Disconnect(Disconnect {
            code: disconnect.code,
            reason: &disconnect.reason,
            reconnect: disconnect.reconnect,
        })),
        ReceivedPush::Refresh(expiry) => {
            let (expires, ttl) = (expiry.expires, expiry.ttl);
            push(PushBody::Refresh(SubRefreshResult { expires, ttl }));
        }
    }
}

fn with_connect(connect: &ReceivedConnect, use_it: impl FnOnce(ConnectResult<'_>)) {
    let missed: Vec<_> =
        connect.subs.values().map(|sub| Publications::of(&sub.publications)).collect();
    let borrowed: Vec<_> = missed.iter().map(Publications::borrowed).collect();
    let subs: Vec<_> = connect
        .subs
        .iter()
        .zip(&borrowed)
        .map(|((channel, sub), publications)| (&**channel, subscribe_result(sub, publications)))
        .collect();
    use_it(ConnectResult {
        client: &connect.client,
        version: &connect.version,
        expires: connect.expires,
        ttl: connect.ttl,
        data: Payload::classify(&connect.data),
        subs: &subs,
        ping: connect.ping,
        pong: connect.pong,
        session: &connect.session,
        node: &connect.node,
        time: connect.time,
    });
}

fn subscribe_result<'a>(
    subscribe: &'a ReceivedSubscribe,
    publications: &'a [Publication<'a>],
) -> SubscribeResult<'a> {
    SubscribeResult {
        expires: subscribe.expires,
        ttl: subscribe.ttl,
        recoverable: subscribe.recoverable,
        epoch: &subscribe.epoch,
        publications,
        recovered: subscribe.recovered,
        offset: subscribe.offset,
        positioned: subscribe.positioned,
        data: Payload::classify(&subscribe.data),
        was_recovering: subscribe.was_recovering,
        delta: subscribe.delta,
    }
}

/// Publications with their tags in slices.
struct Publications<'a>(Vec<(&'a ReceivedPublication, Vec<(&'a str, &'a str)>)>);

impl<'a> Publications<'a> {
    fn of(publications: &'a [ReceivedPublication]) -> Self {
        let with_tags = |publication: &'a ReceivedPublication| (publication, tags(publication));
        Self(publications.iter().map(with_tags).collect())
    }

    fn borrowed(&self) -> Vec<Publication<'_>> {
        self.0
            .iter()
            .map(|(from, tags)| Publication {
                data: Payload::classify(&from.data),
                info: from.info.as_ref().map(client_info),
                offset: from.offset,
                tags,
                delta: from.delta,
                time: from.time,
            })
            .collect()
    }

    fn with(&self, use_them: impl FnOnce(&[Publication<'_>])) {
        use_them(&self.borrowed());
    }
}

fn tags(publication: &ReceivedPublication) -> Vec<(&str, &str)> {
    let tags: &BTreeMap<String, String> = &publication.tags;
    tags.iter().map(|(name, value)| (&**name, &**value)).collect()
}

fn client_info(info: &ReceivedClientInfo) -> ClientInfo<'_> {
    ClientInfo {
        user: &info.user,
        client: &info.client,
        conn_info: Payload::classify(&info.conn_info),
        chan_info: Payload::classify(&info.chan_info),
    }
}
