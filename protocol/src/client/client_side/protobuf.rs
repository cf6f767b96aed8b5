//! Replies and pushes from Protobuf, with the same reader of fields as the server's decoder.

use super::ReplyViolation;
use super::received::{
    Received, ReceivedClientInfo, ReceivedConnect, ReceivedDisconnect, ReceivedError,
    ReceivedExpiry, ReceivedHistory, ReceivedPresenceStats, ReceivedPublication, ReceivedPush,
    ReceivedRefresh, ReceivedReply, ReceivedSubscribe, ReceivedUnsubscribe,
};
use crate::client::wire::{Field, WireFault, WireReader};

type Outcome<T> = Result<T, WireFault>;

/// Everything in `message`, each entry behind its length.
pub(super) fn decode_replies(message: &[u8]) -> Result<Vec<Received>, ReplyViolation> {
    let mut entries = WireReader::new(message);
    let mut replies = Vec::new();
    while !entries.is_empty() {
        let entry = entries.delimited().map_err(|_| ReplyViolation)?;
        let parts = reply_parts(entry).map_err(|_| ReplyViolation)?;
        replies.push(match (parts.id, parts.push, parts.body) {
            (0, None, None) => Received::Ping,
            (0, Some((channel, Some(body))), None) => Received::Push { channel, body },
            (id @ 1.., None, Some(body)) => Received::Reply { id, body },
            _ => return Err(ReplyViolation),
        });
    }
    Ok(replies)
}

#[derive(Default)]
struct ReplyParts {
    id: u32,
    push: Option<(String, Option<ReceivedPush>)>,
    body: Option<ReceivedReply>,
}

fn reply_parts(entry: &[u8]) -> Outcome<ReplyParts> {
    message(entry, |parts: &mut ReplyParts, field| {
        let body = match field.number {
            1 => {
                parts.id = field.uint32()?;
                return Ok(());
            }
            2 => ReceivedReply::Error(error(field.bytes()?)?),
            4 => {
                parts.push = Some(push(field.bytes()?)?);
                return Ok(());
            }
            5 => ReceivedReply::Connect(message(field.bytes()?, connect_result_field)?),
            6 => ReceivedReply::Subscribe(subscribe_result(field.bytes()?)?),
            7 => ReceivedReply::Unsubscribe,
            8 => ReceivedReply::Publish,
            9 => ReceivedReply::Presence(message(field.bytes()?, |presence, entry| {
                let (client, info) = map_entry(entry, |value| client_info(value.bytes()?))?;
                std::collections::BTreeMap::insert(presence, client, info);
                Ok(())
            })?),
            10 => ReceivedReply::PresenceStats(presence_stats(field.bytes()?)?),
            11 => ReceivedReply::History(history(field.bytes()?)?),
            12 => ReceivedReply::Ping,
            13 => ReceivedReply::Rpc(data(field.bytes()?)?),
            14 => ReceivedReply::Refresh(refresh(field.bytes()?)?),
            15 => ReceivedReply::SubRefresh(expiry(field.bytes()?)?),
            _ => return Ok(()),
        };
        parts.body = Some(body);
        Ok(())
    })
}

fn push(bytes: &[u8]) -> Outcome<(String, Option<ReceivedPush>)> {
    message(bytes, |(channel, body): &mut (String, Option<ReceivedPush>), field| {
        *body = Some(match field.number {
            2 => {
                *channel = field.text()?.to_owned();
                return Ok(());
            }
            4 => ReceivedPush::Publication(publication(field.bytes()?)?),
            5 => ReceivedPush::Join(join_or_leave(field.bytes()?)?),
            6 => ReceivedPush::Leave(join_or_leave(field.bytes()?)?),
            7 => ReceivedPush::Unsubscribe(unsubscribe(field.bytes()?)?),
            8 => ReceivedPush::Message(data(field.bytes()?)?),
            9 => ReceivedPush::Subscribe(message(field.bytes()?, subscribe_push_field)?),
            10 => ReceivedPush::Connect(message(field.bytes()?, connect_push_field)?),
            11 => ReceivedPush::Disconnect(disconnect(field.bytes()?)?),
            12 => ReceivedPush::Refresh(expiry(field.bytes()?)?),
            _ => return Ok(()),
        });
        Ok(())
    })
}

fn error(bytes: &[u8]) -> Outcome<ReceivedError> {
    message(bytes, |error: &mut ReceivedError, field| {
        match field.number {
            1 => error.code = field.uint32()?,
            2 => error.message = field.text()?.to_owned(),
            3 => error.temporary = field.flag()?,
            _ => {}
        }
        Ok(())
    })
}

fn connect_result_field(connect: &mut ReceivedConnect, field: Field<'_>) -> Outcome<()> {
    match field.number {
        3 => connect.expires = field.flag()?,
        4 => connect.ttl = field.uint32()?,
        5 => connect.data = field.bytes()?.to_vec(),
        6 => connect_sub(connect, field)?,
        _ => connect_shared_field(connect, field)?,
    }
    Ok(())
}

fn connect_push_field(connect: &mut ReceivedConnect, field: Field<'_>) -> Outcome<()> {
    match field.number {
        3 => connect.data = field.bytes()?.to_vec(),
        4 => connect_sub(connect, field)?,
        5 => connect.expires = field.flag()?,
        6 => connect.ttl = field.uint32()?,
        _ => connect_shared_field(connect, field)?,
    }
    Ok(())
}

/// Fields that have the same number in the reply and in the push.
fn connect_shared_field(connect: &mut ReceivedConnect, field: Field<'_>) -> Outcome<()> {
    match field.number {
        1 => connect.client = field.text()?.to_owned(),
        2 => connect.version = field.text()?.to_owned(),
        7 => connect.ping = field.uint32()?,
        8 => connect.pong = field.flag()?,
        9 => connect.session = field.text()?.to_owned(),
        10 => connect.node = field.text()?.to_owned(),
        11 => connect.time = field.int64()?,
        _ => {}
    }
    Ok(())
}

fn connect_sub(connect: &mut ReceivedConnect, field: Field<'_>) -> Outcome<()> {
    let (channel, result) = map_entry(field, |value| subscribe_result(value.bytes()?))?;
    connect.subs.insert(channel, result);
    Ok(())
}

fn subscribe_result(bytes: &[u8]) -> Outcome<ReceivedSubscribe> {
    message(bytes, |result: &mut ReceivedSubscribe, field| {
        match field.number {
            1 => result.expires = field.flag()?,
            2 => result.ttl = field.uint32()?,
            3 => result.recoverable = field.flag()?,
            6 => result.epoch = field.text()?.to_owned(),
            7 => result.publications.push(publication(field.bytes()?)?),
            8 => result.recovered = field.flag()?,
            9 => result.offset = field.number()?,
            10 => result.positioned = field.flag()?,
            11 => result.data = field.bytes()?.to_vec(),
            12 => result.was_recovering = field.flag()?,
            13 => result.delta = field.flag()?,
            _ => {}
        }
        Ok(())
    })
}

fn subscribe_push_field(subscribe: &mut ReceivedSubscribe, field: Field<'_>) -> Outcome<()> {
    match field.number {
        1 => subscribe.recoverable = field.flag()?,
        4 => subscribe.epoch = field.text()?.to_owned(),
        5 => subscribe.offset = field.number()?,
        6 => subscribe.positioned = field.flag()?,
        7 => subscribe.data = field.bytes()?.to_vec(),
        _ => {}
    }
    Ok(())
}

fn presence_stats(bytes: &[u8]) -> Outcome<ReceivedPresenceStats> {
    message(bytes, |stats: &mut ReceivedPresenceStats, field| {
        match field.number {
            1 => stats.num_clients = field.uint32()?,
            2 => stats.num_users = field.uint32()?,
            _ => {}
        }
        Ok(())
    })
}

fn history(bytes: &[u8]) -> Outcome<ReceivedHistory> {
    message(bytes, |history: &mut ReceivedHistory, field| {
        match field.number {
            1 => history.publications.push(publication(field.bytes()?)?),
            2 => history.epoch = field.text()?.to_owned(),
            3 => history.offset = field.number()?,
            _ => {}
        }
        Ok(())
    })
}

fn refresh(bytes: &[u8]) -> Outcome<ReceivedRefresh> {
    message(bytes, |refresh: &mut ReceivedRefresh, field| {
        match field.number {
            1 => refresh.client = field.text()?.to_owned(),
            2 => refresh.version = field.text()?.to_owned(),
            3 => refresh.expires = field.flag()?,
            4 => refresh.ttl = field.uint32()?,
            _ => {}
        }
        Ok(())
    })
}

fn expiry(bytes: &[u8]) -> Outcome<ReceivedExpiry> {
    message(bytes, |expiry: &mut ReceivedExpiry, field| {
        match field.number {
            1 => expiry.expires = field.flag()?,
            2 => expiry.ttl = field.uint32()?,
            _ => {}
        }
        Ok(())
    })
}

fn publication(bytes: &[u8]) -> Outcome<ReceivedPublication> {
    message(bytes, |publication: &mut ReceivedPublication, field| {
        match field.number {
            4 => publication.data = field.bytes()?.to_vec(),
            5 => publication.info = Some(client_info(field.bytes()?)?),
            6 => publication.offset = field.number()?,
            7 => {
                let (name, value) = map_entry(field, |value| value.text().map(str::to_owned))?;
                publication.tags.insert(name, value);
            }
            8 => publication.delta = field.flag()?,
            9 => publication.time = field.int64()?,
            _ => {}
        }
        Ok(())
    })
}

fn join_or_leave(bytes: &[u8]) -> Outcome<ReceivedClientInfo> {
    message(bytes, |info: &mut ReceivedClientInfo, field| {
        if field.number == 1 {
            *info = client_info(field.bytes()?)?;
        }
        Ok(())
    })
}

fn client_info(bytes: &[u8]) -> Outcome<ReceivedClientInfo> {
    message(bytes, |info: &mut ReceivedClientInfo, field| {
        match field.number {
            1 => info.user = field.text()?.to_owned(),
            2 => info.client = field.text()?.to_owned(),
            3 => info.conn_info = field.bytes()?.to_vec(),
            4 => info.chan_info = field.bytes()?.to_vec(),
            _ => {}
        }
        Ok(())
    })
}

fn unsubscribe(bytes: &[u8]) -> Outcome<ReceivedUnsubscribe> {
    message(bytes, |unsubscribe: &mut ReceivedUnsubscribe, field| {
        match field.number {
            2 => unsubscribe.code = field.uint32()?,
            3 => unsubscribe.reason = field.text()?.to_owned(),
            _ => {}
        }
        Ok(())
    })
}

fn disconnect(bytes: &[u8]) -> Outcome<ReceivedDisconnect> {
    message(bytes, |disconnect: &mut ReceivedDisconnect, field| {
        match field.number {
            1 => disconnect.code = field.uint32()?,
            2 => disconnect.reason = field.text()?.to_owned(),
            3 => disconnect.reconnect = field.flag()?,
            _ => {}
        }
        Ok(())
    })
}

/// The payload of a message that has nothing else.
fn data(bytes: &[u8]) -> Outcome<Vec<u8>> {
    message(bytes, |data: &mut Vec<u8>, field| {
        if field.number == 1 {
            *data = field.bytes()?.to_vec();
        }
        Ok(())
    })
}

/// Reads a message, each of its fields with `read_field`.
fn message<'a, T: Default>(
    bytes: &'a [u8],
    mut read_field: impl FnMut(&mut T, Field<'a>) -> Outcome<()>,
) -> Outcome<T> {
    let mut fields = WireReader::new(bytes);
    let mut target = T::default();
    while let Some(field) = fields.field()? {
        read_field(&mut target, field)?;
    }
    Ok(target)
}

/// A map is repeated messages of a key (1) and a value (2).
fn map_entry<'a, T: Default>(
    field: Field<'a>,
    read_value: impl Fn(Field<'a>) -> Outcome<T>,
) -> Outcome<(String, T)> {
    message(field.bytes()?, |(key, value): &mut (String, T), inner| {
        match inner.number {
            1 => *key = inner.text()?.to_owned(),
            2 => *value = read_value(inner)?,
            _ => {}
        }
        Ok(())
    })
}
