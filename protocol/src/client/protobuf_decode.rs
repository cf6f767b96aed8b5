//! Commands from Protobuf: each behind its length, fields read by hand, nothing copied.
//!
//! Field numbers are those of client.proto. A nested message that repeats is merged, the last of a
//! repeated scalar wins, unknown fields are skipped: what the encoding demands.

use super::command::{
    Command, CommandDraft, CommandKind, CommandViolation, Connect, History, Presence,
    PresenceStats, Publish, Refresh, Rpc, Send, StreamPosition, SubRefresh, Subscribe, Unsubscribe,
};
use super::wire::{Field, WireFault, WireReader};
use crate::limits::COMMANDS_PER_MESSAGE_MAX;

/// The commands of one binary message, in order. After a violation there is nothing more, except
/// behind [`CommandViolation::FieldTooLong`].
#[derive(Clone)]
pub struct ProtobufCommands<'a> {
    rest: WireReader<'a>,
    decoded_count: usize,
    is_ended: bool,
}

impl<'a> ProtobufCommands<'a> {
    /// The commands of `message`.
    pub const fn new(message: &'a [u8]) -> Self {
        Self { rest: WireReader::new(message), decoded_count: 0, is_ended: false }
    }

    /// What is not decoded yet, as it came.
    pub fn rest(&self) -> &'a [u8] {
        self.rest.as_slice()
    }

    fn decode_next(&mut self) -> Result<Command<'a>, CommandViolation> {
        if self.rest.is_empty() {
            return Err(CommandViolation::EmptyMessage);
        }
        if self.decoded_count == COMMANDS_PER_MESSAGE_MAX {
            return Err(CommandViolation::TooManyCommands);
        }
        self.decoded_count += 1;
        let body = self.rest.delimited()?;
        decode_command(body)?.finish()
    }
}

impl<'a> Iterator for ProtobufCommands<'a> {
    type Item = Result<Command<'a>, CommandViolation>;

    fn next(&mut self) -> Option<Self::Item> {
        let is_behind_last = self.decoded_count > 0 && self.rest.is_empty();
        if self.is_ended || is_behind_last {
            return None;
        }
        let decoded = self.decode_next();
        self.is_ended = decoded.as_ref().is_err_and(|violation| violation.ends_message());
        Some(decoded)
    }
}

impl From<WireFault> for CommandViolation {
    fn from(_: WireFault) -> Self {
        Self::Malformed
    }
}

fn decode_command(body: &[u8]) -> Result<CommandDraft<'_>, WireFault> {
    let mut draft = CommandDraft::default();
    each_field(body, |field| {
        draft.request(match field.number {
            1 => {
                draft.id = field.uint32()?;
                return Ok(());
            }
            4 => CommandKind::Connect(read(field, connect_field)?),
            5 => CommandKind::Subscribe(read(field, subscribe_field)?),
            6 => CommandKind::Unsubscribe(read(field, unsubscribe_field)?),
            7 => CommandKind::Publish(read(field, publish_field)?),
            8 => CommandKind::Presence(read(field, presence_field)?),
            9 => CommandKind::PresenceStats(read(field, presence_stats_field)?),
            10 => CommandKind::History(read(field, history_field)?),
            11 => {
                read(field, |(): &mut (), _| Ok(()))?;
                CommandKind::Ping
            }
            12 => CommandKind::Send(read(field, send_field)?),
            13 => CommandKind::Rpc(read(field, rpc_field)?),
            14 => CommandKind::Refresh(read(field, refresh_field)?),
            15 => CommandKind::SubRefresh(read(field, sub_refresh_field)?),
            _ => return Ok(()),
        });
        Ok(())
    })?;
    Ok(draft)
}

fn each_field<'a>(
    body: &'a [u8],
    mut handle: impl FnMut(Field<'a>) -> Result<(), WireFault>,
) -> Result<(), WireFault> {
    let mut fields = WireReader::new(body);
    while let Some(field) = fields.field()? {
        handle(field)?;
    }
    Ok(())
}

/// Reads the message in `field`, each of its fields with `read_field`.
fn read<'a, T: Default>(
    field: Field<'a>,
    read_field: impl FnMut(&mut T, Field<'a>) -> Result<(), WireFault>,
) -> Result<T, WireFault> {
    let mut message = T::default();
    merge(&mut message, field, read_field)?;
    Ok(message)
}

/// Reads the message in `field` over what an earlier field of the same number brought.
fn merge<'a, T>(
    message: &mut T,
    field: Field<'a>,
    mut read_field: impl FnMut(&mut T, Field<'a>) -> Result<(), WireFault>,
) -> Result<(), WireFault> {
    each_field(field.bytes()?, |inner| read_field(message, inner))
}

fn connect_field<'a>(connect: &mut Connect<'a>, field: Field<'a>) -> Result<(), WireFault> {
    match field.number {
        1 => connect.token = field.text()?.into(),
        2 => connect.data = field.bytes()?,
        3 => {
            let (channel, subscribe) = map_entry(field, |value: &mut Subscribe<'a>, inner| {
                merge(value, inner, subscribe_field)
            })?;
            connect.subs.insert(channel.into(), subscribe);
        }
        4 => connect.name = field.text()?.into(),
        5 => connect.version = field.text()?.into(),
        6 => {
            let (name, value) = map_entry(field, |value: &mut &'a str, inner| {
                *value = inner.text()?;
                Ok(())
            })?;
            connect.headers.insert(name.into(), value.into());
        }
        _ => {}
    }
    Ok(())
}

/// A map is repeated messages of a key (1) and a value (2).
fn map_entry<'a, T: Default>(
    field: Field<'a>,
    mut read_value: impl FnMut(&mut T, Field<'a>) -> Result<(), WireFault>,
) -> Result<(&'a str, T), WireFault> {
    read(field, |(key, value): &mut (&'a str, T), inner| {
        match inner.number {
            1 => *key = inner.text()?,
            2 => read_value(value, inner)?,
            _ => {}
        }
        Ok(())
    })
}

fn subscribe_field<'a>(subscribe: &mut Subscribe<'a>, field: Field<'a>) -> Result<(), WireFault> {
    match field.number {
        1 => subscribe.channel = field.text()?.into(),
        2 => subscribe.token = field.text()?.into(),
        3 => subscribe.recover = field.flag()?,
        6 => subscribe.epoch = field.text()?.into(),
        7 => subscribe.offset = field.number()?,
        8 => subscribe.data = field.bytes()?,
        9 => subscribe.positioned = field.flag()?,
        10 => subscribe.recoverable = field.flag()?,
        11 => subscribe.join_leave = field.flag()?,
        12 => subscribe.delta = field.text()?.into(),
        13 => {
            field.bytes()?;
            subscribe.has_tag_filter = true;
        }
        14 => subscribe.flag = field.int64()?,
        15 => subscribe.subscription_type = field.int32()?,
        _ => {}
    }
    Ok(())
}

fn unsubscribe_field<'a>(
    unsubscribe: &mut Unsubscribe<'a>,
    field: Field<'a>,
) -> Result<(), WireFault> {
    if field.number == 1 {
        unsubscribe.channel = field.text()?.into();
    }
    Ok(())
}

fn publish_field<'a>(publish: &mut Publish<'a>, field: Field<'a>) -> Result<(), WireFault> {
    match field.number {
        1 => publish.channel = field.text()?.into(),
        2 => publish.data = field.bytes()?,
        3 => publish.publication_type = field.int32()?,
        _ => {}
    }
    Ok(())
}

fn presence_field<'a>(presence: &mut Presence<'a>, field: Field<'a>) -> Result<(), WireFault> {
    if field.number == 1 {
        presence.channel = field.text()?.into();
    }
    Ok(())
}

fn presence_stats_field<'a>(
    presence_stats: &mut PresenceStats<'a>,
    field: Field<'a>,
) -> Result<(), WireFault> {
    if field.number == 1 {
        presence_stats.channel = field.text()?.into();
    }
    Ok(())
}

fn history_field<'a>(history: &mut History<'a>, field: Field<'a>) -> Result<(), WireFault> {
    match field.number {
        1 => history.channel = field.text()?.into(),
        7 => history.limit = field.int32()?,
        8 => merge(history.since.get_or_insert_default(), field, stream_position_field)?,
        9 => history.reverse = field.flag()?,
        _ => {}
    }
    Ok(())
}

fn stream_position_field<'a>(
    position: &mut StreamPosition<'a>,
    field: Field<'a>,
) -> Result<(), WireFault> {
    match field.number {
        1 => position.offset = field.number()?,
        2 => position.epoch = field.text()?.into(),
        _ => {}
    }
    Ok(())
}

fn send_field<'a>(send: &mut Send<'a>, field: Field<'a>) -> Result<(), WireFault> {
    if field.number == 1 {
        send.data = field.bytes()?;
    }
    Ok(())
}

fn rpc_field<'a>(rpc: &mut Rpc<'a>, field: Field<'a>) -> Result<(), WireFault> {
    match field.number {
        1 => rpc.data = field.bytes()?,
        2 => rpc.method = field.text()?.into(),
        _ => {}
    }
    Ok(())
}

fn refresh_field<'a>(refresh: &mut Refresh<'a>, field: Field<'a>) -> Result<(), WireFault> {
    if field.number == 1 {
        refresh.token = field.text()?.into();
    }
    Ok(())
}

fn sub_refresh_field<'a>(
    sub_refresh: &mut SubRefresh<'a>,
    field: Field<'a>,
) -> Result<(), WireFault> {
    match field.number {
        1 => sub_refresh.channel = field.text()?.into(),
        2 => sub_refresh.token = field.text()?.into(),
        3 => sub_refresh.refresh_type = field.int32()?,
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_lengths_are_pongs() {
        let pong = Ok(Command { id: 0, kind: CommandKind::Pong });
        let commands: Vec<_> = ProtobufCommands::new(&[0, 0]).collect();
        assert_eq!(commands, [pong.clone(), pong]);
    }

    #[test]
    fn a_repeated_scalar_is_the_last_and_a_repeated_message_is_merged() {
        // history { channel "a", channel "b", since { offset 5 }, since { epoch "e" } }, id 1, id 2
        let bytes =
            b"\x15\x08\x01\x52\x0f\x0a\x01a\x0a\x01b\x42\x02\x08\x05\x42\x03\x12\x01e\x08\x02";
        let history = History {
            channel: "b".into(),
            since: Some(StreamPosition { offset: 5, epoch: "e".into() }),
            ..History::default()
        };
        let commands: Vec<_> = ProtobufCommands::new(bytes).collect();
        assert_eq!(commands, [Ok(Command { id: 2, kind: CommandKind::History(history) })]);
    }
}
