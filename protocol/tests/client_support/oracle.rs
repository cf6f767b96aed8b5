//! client.proto as prost sees it, and our values as these messages.
//!
//! Written from the public definition, not from our code; features that we leave out are left out.

use std::collections::BTreeMap;

use prost::Message;
use protocol::client::client_side::{
    Received, ReceivedClientInfo, ReceivedConnect, ReceivedPublication, ReceivedPush,
    ReceivedReply, ReceivedSubscribe,
};
use protocol::client::{
    Command as OurCommand, CommandKind, Connect as OurConnect, Subscribe as OurSubscribe,
};

/// Declares messages.
macro_rules! messages {
    ($( $name:ident { $( #[$($attribute:tt)+] $field:ident: $type:ty, )* } )+) => { $(
        #[derive(Clone, PartialEq, Message)]
        pub(crate) struct $name { $( #[$($attribute)+] pub $field: $type, )* }
    )+ };
}

messages! {
    Command {
        #[prost(uint32, tag = "1")] id: u32,
        #[prost(message, tag = "4")] connect: Option<ConnectRequest>,
        #[prost(message, tag = "5")] subscribe: Option<SubscribeRequest>,
        #[prost(message, tag = "6")] unsubscribe: Option<ChannelRequest>,
        #[prost(message, tag = "7")] publish: Option<PublishRequest>,
        #[prost(message, tag = "8")] presence: Option<ChannelRequest>,
        #[prost(message, tag = "9")] presence_stats: Option<ChannelRequest>,
        #[prost(message, tag = "10")] history: Option<HistoryRequest>,
        #[prost(message, tag = "11")] ping: Option<Empty>,
        #[prost(message, tag = "12")] send: Option<Data>,
        #[prost(message, tag = "13")] rpc: Option<RpcRequest>,
        #[prost(message, tag = "14")] refresh: Option<RefreshRequest>,
        #[prost(message, tag = "15")] sub_refresh: Option<SubRefreshRequest>,
    }
    Empty {}
    Data {
        #[prost(bytes, tag = "1")] data: Vec<u8>,
    }
    ChannelRequest {
        #[prost(string, tag = "1")] channel: String,
    }
    ConnectRequest {
        #[prost(string, tag = "1")] token: String,
        #[prost(bytes, tag = "2")] data: Vec<u8>,
        #[prost(btree_map = "string, message", tag = "3")] subs: BTreeMap<String, SubscribeRequest>,
        #[prost(string, tag = "4")] name: String,
        #[prost(string, tag = "5")] version: String,
        #[prost(btree_map = "string, string", tag = "6")] headers: BTreeMap<String, String>,
    }
    SubscribeRequest {
        #[prost(string, tag = "1")] channel: String,
        #[prost(string, tag = "2")] token: String,
        #[prost(bool, tag = "3")] recover: bool,
        #[prost(string, tag = "6")] epoch: String,
        #[prost(uint64, tag = "7")] offset: u64,
        #[prost(bytes, tag = "8")] data: Vec<u8>,
        #[prost(bool, tag = "9")] positioned: bool,
        #[prost(bool, tag = "10")] recoverable: bool,
        #[prost(bool, tag = "11")] join_leave: bool,
        #[prost(string, tag = "12")] delta: String,
        #[prost(bytes, optional, tag = "13")] tf: Option<Vec<u8>>,
        #[prost(int64, tag = "14")] flag: i64,
        #[prost(int32, tag = "15")] r#type: i32,
    }
    PublishRequest {
        #[prost(string, tag = "1")] channel: String,
        #[prost(bytes, tag = "2")] data: Vec<u8>,
        #[prost(int32, tag = "3")] r#type: i32,
    }
    HistoryRequest {
        #[prost(string, tag = "1")] channel: String,
        #[prost(int32, tag = "7")] limit: i32,
        #[prost(message, tag = "8")] since: Option<StreamPosition>,
        #[prost(bool, tag = "9")] reverse: bool,
    }
    StreamPosition {
        #[prost(uint64, tag = "1")] offset: u64,
        #[prost(string, tag = "2")] epoch: String,
    }
    RpcRequest {
        #[prost(bytes, tag = "1")] data: Vec<u8>,
        #[prost(string, tag = "2")] method: String,
    }
    RefreshRequest {
        #[prost(string, tag = "1")] token: String,
    }
    SubRefreshRequest {
        #[prost(string, tag = "1")] channel: String,
        #[prost(string, tag = "2")] token: String,
        #[prost(int32, tag = "3")] r#type: i32,
    }

    Reply {
        #[prost(uint32, tag = "1")] id: u32,
        #[prost(message, tag = "2")] error: Option<Error>,
        #[prost(message, tag = "4")] push: Option<Push>,
        #[prost(message, tag = "5")] connect: Option<ConnectResult>,
        #[prost(message, tag = "6")] subscribe: Option<SubscribeResult>,
        #[prost(message, tag = "7")] unsubscribe: Option<Empty>,
        #[prost(message, tag = "8")] publish: Option<Empty>,
        #[prost(message, tag = "9")] presence: Option<PresenceResult>,
        #[prost(message, tag = "10")] presence_stats: Option<PresenceStatsResult>,
        #[prost(message, tag = "11")] history: Option<HistoryResult>,
        #[prost(message, tag = "12")] ping: Option<Empty>,
        #[prost(message, tag = "13")] rpc: Option<Data>,
        #[prost(message, tag = "14")] refresh: Option<RefreshResult>,
        #[prost(message, tag = "15")] sub_refresh: Option<Expiry>,
    }
    Error {
        #[prost(uint32, tag = "1")] code: u32,
        #[prost(string, tag = "2")] message: String,
        #[prost(bool, tag = "3")] temporary: bool,
    }
    ConnectResult {
        #[prost(string, tag = "1")] client: String,
        #[prost(string, tag = "2")] version: String,
        #[prost(bool, tag = "3")] expires: bool,
        #[prost(uint32, tag = "4")] ttl: u32,
        #[prost(bytes, tag = "5")] data: Vec<u8>,
        #[prost(btree_map = "string, message", tag = "6")] subs: BTreeMap<String, SubscribeResult>,
        #[prost(uint32, tag = "7")] ping: u32,
        #[prost(bool, tag = "8")] pong: bool,
        #[prost(string, tag = "9")] session: String,
        #[prost(string, tag = "10")] node: String,
        #[prost(int64, tag = "11")] time: i64,
    }
    SubscribeResult {
        #[prost(bool, tag = "1")] expires: bool,
        #[prost(uint32, tag = "2")] ttl: u32,
        #[prost(bool, tag = "3")] recoverable: bool,
        #[prost(string, tag = "6")] epoch: String,
        #[prost(message, repeated, tag = "7")] publications: Vec<Publication>,
        #[prost(bool, tag = "8")] recovered: bool,
        #[prost(uint64, tag = "9")] offset: u64,
        #[prost(bool, tag = "10")] positioned: bool,
        #[prost(bytes, tag = "11")] data: Vec<u8>,
        #[prost(bool, tag = "12")] was_recovering: bool,
        #[prost(bool, tag = "13")] delta: bool,
    }
    PresenceResult {
        #[prost(btree_map = "string, message", tag = "1")] presence: BTreeMap<String, ClientInfo>,
    }
    PresenceStatsResult {
        #[prost(uint32, tag = "1")] num_clients: u32,
        #[prost(uint32, tag = "2")] num_users: u32,
    }
    HistoryResult {
        #[prost(message, repeated, tag = "1")] publications: Vec<Publication>,
        #[prost(string, tag = "2")] epoch: String,
        #[prost(uint64, tag = "3")] offset: u64,
    }
    RefreshResult {
        #[prost(string, tag = "1")] client: String,
        #[prost(string, tag = "2")] version: String,
        #[prost(bool, tag = "3")] expires: bool,
        #[prost(uint32, tag = "4")] ttl: u32,
    }
    Expiry {
        #[prost(bool, tag = "1")] expires: bool,
        #[prost(uint32, tag = "2")] ttl: u32,
    }

    Push {
        #[prost(string, tag = "2")] channel: String,
        #[prost(message, tag = "4")] publication: Option<Publication>,
        #[prost(message, tag = "5")] join: Option<Info>,
        #[prost(message, tag = "6")] leave: Option<Info>,
        #[prost(message, tag = "7")] unsubscribe: Option<Unsubscribe>,
        #[prost(message, tag = "8")] message: Option<Data>,
        #[prost(message, tag = "9")] subscribe: Option<Subscribe>,
        #[prost(message, tag = "10")] connect: Option<Connect>,
        #[prost(message, tag = "11")] disconnect: Option<Disconnect>,
        #[prost(message, tag = "12")] refresh: Option<Expiry>,
    }
    Info {
        #[prost(message, tag = "1")] info: Option<ClientInfo>,
    }
    ClientInfo {
        #[prost(string, tag = "1")] user: String,
        #[prost(string, tag = "2")] client: String,
        #[prost(bytes, tag = "3")] conn_info: Vec<u8>,
        #[prost(bytes, tag = "4")] chan_info: Vec<u8>,
    }
    Publication {
        #[prost(bytes, tag = "4")] data: Vec<u8>,
        #[prost(message, tag = "5")] info: Option<ClientInfo>,
        #[prost(uint64, tag = "6")] offset: u64,
        #[prost(btree_map = "string, string", tag = "7")] tags: BTreeMap<String, String>,
        #[prost(bool, tag = "8")] delta: bool,
        #[prost(int64, tag = "9")] time: i64,
    }
    Unsubscribe {
        #[prost(uint32, tag = "2")] code: u32,
        #[prost(string, tag = "3")] reason: String,
    }
    Subscribe {
        #[prost(bool, tag = "1")] recoverable: bool,
        #[prost(string, tag = "4")] epoch: String,
        #[prost(uint64, tag = "5")] offset: u64,
        #[prost(bool, tag = "6")] positioned: bool,
        #[prost(bytes, tag = "7")] data: Vec<u8>,
    }
    Connect {
        #[prost(string, tag = "1")] client: String,
        #[prost(string, tag = "2")] version: String,
        #[prost(bytes, tag = "3")] data: Vec<u8>,
        #[prost(btree_map = "string, message", tag = "4")] subs: BTreeMap<String, SubscribeResult>,
        #[prost(bool, tag = "5")] expires: bool,
        #[prost(uint32, tag = "6")] ttl: u32,
        #[prost(uint32, tag = "7")] ping: u32,
        #[prost(bool, tag = "8")] pong: bool,
        #[prost(string, tag = "9")] session: String,
        #[prost(string, tag = "10")] node: String,
        #[prost(int64, tag = "11")] time: i64,
    }
    Disconnect {
        #[prost(uint32, tag = "1")] code: u32,
        #[prost(string, tag = "2")] reason: String,
        #[prost(bool, tag = "3")] reconnect: bool,
    }
}

impl Command {
    /// Our commands know only that there was a tag filter.
    pub(crate) fn without_filter_contents(mut self) -> Self {
        let subs = self.connect.iter_mut().flat_map(|connect| connect.subs.values_mut());
        for subscribe in subs.chain(self.subscribe.as_mut()) {
            subscribe.tf.iter_mut().for_each(Vec::clear);
        }
        self
    }
}

impl From<&OurCommand<'_>> for Command {
    fn from(ours: &OurCommand<'_>) -> Self {
        let mut command = Self { id: ours.id, ..Self::default() };
        let channel_request = |channel: &str| Some(ChannelRequest { channel: channel.to_owned() });
        match &ours.kind {
            CommandKind::Pong => {}
            CommandKind::Connect(connect) => command.connect = Some(connect.into()),
            CommandKind::Subscribe(subscribe) => command.subscribe = Some(subscribe.into()),
            CommandKind::Unsubscribe(it) => command.unsubscribe = channel_request(&it.channel),
            CommandKind::Publish(publish) => {
                let (channel, data) = (publish.channel.to_string(), publish.data.to_vec());
                let r#type = publish.publication_type;
                command.publish = Some(PublishRequest { channel, data, r#type });
            }
            CommandKind::Presence(it) => command.presence = channel_request(&it.channel),
            CommandKind::PresenceStats(it) => command.presence_stats = channel_request(&it.channel),
            CommandKind::History(history) => {
                let since = history.since.as_ref().map(|since| StreamPosition {
                    offset: since.offset,
                    epoch: since.epoch.to_string(),
                });
                command.history = Some(HistoryRequest {
                    channel: history.channel.to_string(),
                    limit: history.limit,
                    since,
                    reverse: history.reverse,
                });
            }
            CommandKind::Ping => command.ping = Some(Empty {}),
            CommandKind::Send(send) => command.send = Some(Data { data: send.data.to_vec() }),
            CommandKind::Rpc(rpc) => {
                let (data, method) = (rpc.data.to_vec(), rpc.method.to_string());
                command.rpc = Some(RpcRequest { data, method });
            }
            CommandKind::Refresh(refresh) => {
                command.refresh = Some(RefreshRequest { token: refresh.token.to_string() });
            }
            CommandKind::SubRefresh(it) => {
                let (channel, token) = (it.channel.to_string(), it.token.to_string());
                let r#type = it.refresh_type;
                command.sub_refresh = Some(SubRefreshRequest { channel, token, r#type });
            }
        }
        command
    }
}

impl From<&OurConnect<'_>> for ConnectRequest {
    fn from(ours: &OurConnect<'_>) -> Self {
        let subs = ours.subs.iter().map(|(channel, sub)| (channel.to_string(), sub.into()));
        let headers =
            ours.headers.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Self {
            token: ours.token.to_string(),
            data: ours.data.to_vec(),
            subs: subs.collect(),
            name: ours.name.to_string(),
            version: ours.version.to_string(),
            headers: headers.collect(),
        }
    }
}

impl From<&OurSubscribe<'_>> for SubscribeRequest {
    fn from(ours: &OurSubscribe<'_>) -> Self {
        Self {
            channel: ours.channel.to_string(),
            token: ours.token.to_string(),
            recover: ours.recover,
            epoch: ours.epoch.to_string(),
            offset: ours.offset,
            data: ours.data.to_vec(),
            positioned: ours.positioned,
            recoverable: ours.recoverable,
            join_leave: ours.join_leave,
            delta: ours.delta.to_string(),
            tf: ours.has_tag_filter.then(Vec::new),
            flag: ours.flag,
            r#type: ours.subscription_type,
        }
    }
}

impl From<&Received> for Reply {
    fn from(entry: &Received) -> Self {
        match entry {
            Received::Ping => Self::default(),
            Received::Reply { id, body } => reply(*id, body.clone()),
            Received::Push { channel, body } => {
                Self { push: Some(push(channel.clone(), body.clone())), ..Self::default() }
            }
        }
    }
}

fn reply(id: u32, body: ReceivedReply) -> Reply {
    let mut reply = Reply { id, ..Reply::default() };
    match body {
        ReceivedReply::Error(it) => {
            let (code, message, temporary) = (it.code, it.message, it.temporary);
            reply.error = Some(Error { code, message, temporary });
        }
        ReceivedReply::Connect(it) => reply.connect = Some(connect_result(it)),
        ReceivedReply::Subscribe(it) => reply.subscribe = Some(subscribe_result(it)),
        ReceivedReply::Unsubscribe => reply.unsubscribe = Some(Empty {}),
        ReceivedReply::Publish => reply.publish = Some(Empty {}),
        ReceivedReply::Presence(clients) => {
            let presence = clients.into_iter().map(|(id, info)| (id, client_info(info)));
            reply.presence = Some(PresenceResult { presence: presence.collect() });
        }
        ReceivedReply::PresenceStats(it) => {
            let (num_clients, num_users) = (it.num_clients, it.num_users);
            reply.presence_stats = Some(PresenceStatsResult { num_clients, num_users });
        }
        ReceivedReply::History(it) => {
            let publications = it.publications.into_iter().map(publication).collect();
            let (epoch, offset) = (it.epoch, it.offset);
            reply.history = Some(HistoryResult { publications, epoch, offset });
        }
        ReceivedReply::Ping => reply.ping = Some(Empty {}),
        ReceivedReply::Rpc(data) => reply.rpc = Some(Data { data }),
        ReceivedReply::Refresh(it) => {
            let (client, version, expires, ttl) = (it.client, it.version, it.expires, it.ttl);
            reply.refresh = Some(RefreshResult { client, version, expires, ttl });
        }
        ReceivedReply::SubRefresh(it) => {
            reply.sub_refresh = Some(Expiry { expires: it.expires, ttl: it.ttl });
        }
    }
    reply
}

fn push(channel: String, body: ReceivedPush) -> Push {
    let mut push = Push { channel, ..Push::default() };
    match body {
        ReceivedPush::Publication(it) => push.publication = Some(publication(it)),
        ReceivedPush::Join(it) => push.join = Some(Info { info: Some(client_info(it)) }),
        ReceivedPush::Leave(it) => push.leave = Some(Info { info: Some(client_info(it)) }),
        ReceivedPush::Unsubscribe(it) => {
            push.unsubscribe = Some(Unsubscribe { code: it.code, reason: it.reason });
        }
        ReceivedPush::Message(data) => push.message = Some(Data { data }),
        ReceivedPush::Subscribe(it) => {
            push.subscribe = Some(Subscribe {
                recoverable: it.recoverable,
                epoch: it.epoch,
                offset: it.offset,
                positioned: it.positioned,
                data: it.data,
            });
        }
        ReceivedPush::Connect(it) => push.connect = Some(connect_push(it)),
        ReceivedPush::Disconnect(it) => {
            let (code, reason, reconnect) = (it.code, it.reason, it.reconnect);
            push.disconnect = Some(Disconnect { code, reason, reconnect });
        }
        ReceivedPush::Refresh(it) => {
            push.refresh = Some(Expiry { expires: it.expires, ttl: it.ttl });
        }
    }
    push
}

fn connect_result(it: ReceivedConnect) -> ConnectResult {
    ConnectResult {
        client: it.client,
        version: it.version,
        expires: it.expires,
        ttl: it.ttl,
        data: it.data,
        subs: it.subs.into_iter().map(|(name, sub)| (name, subscribe_result(sub))).collect(),
        ping: it.ping,
        pong: it.pong,
        session: it.session,
        node: it.node,
        time: it.time,
    }
}

fn connect_push(it: ReceivedConnect) -> Connect {
    Connect {
        client: it.client,
        version: it.version,
        data: it.data,
        subs: it.subs.into_iter().map(|(name, sub)| (name, subscribe_result(sub))).collect(),
        expires: it.expires,
        ttl: it.ttl,
        ping: it.ping,
        pong: it.pong,
        session: it.session,
        node: it.node,
        time: it.time,
    }
}

fn subscribe_result(it: ReceivedSubscribe) -> SubscribeResult {
    SubscribeResult {
        expires: it.expires,
        ttl: it.ttl,
        recoverable: it.recoverable,
        epoch: it.epoch,
        publications: it.publications.into_iter().map(publication).collect(),
        recovered: it.recovered,
        offset: it.offset,
        positioned: it.positioned,
        data: it.data,
        was_recovering: it.was_recovering,
        delta: it.delta,
    }
}

fn publication(it: ReceivedPublication) -> Publication {
    Publication {
        data: it.data,
        info: it.info.map(client_info),
        offset: it.offset,
        tags: it.tags,
        delta: it.delta,
        time: it.time,
    }
}

fn client_info(it: ReceivedClientInfo) -> ClientInfo {
    ClientInfo {
        user: it.user,
        client: it.client,
        conn_info: it.conn_info,
        chan_info: it.chan_info,
    }
}
