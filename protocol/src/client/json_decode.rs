//! Commands from JSON: one per line, parsed in one pass, borrowing from the message.
//!
//! Strict where a mistake could change the meaning: a name that repeats, a number that is a string,
//! an array where an object belongs are refused. Lenient where SDKs differ: unknown names are
//! ignored, and `null` counts as absent, except as a payload, where it is the payload.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::command::{
    Command, CommandDraft, CommandKind, CommandViolation, Connect, History, Presence,
    PresenceStats, Publish, Refresh, Rpc, Send, StreamPosition, SubRefresh, Subscribe, Unsubscribe,
};
use super::payload::{JSON_DEPTH_MAX, depth_is_within};
use crate::limits::COMMANDS_PER_MESSAGE_MAX;

/// The commands of one text message, in order. One line feed at the end is allowed, an empty line
/// is not. After a violation there is nothing more, except behind
/// [`CommandViolation::FieldTooLong`].
#[derive(Clone, Debug)]
pub struct JsonCommands<'a> {
    /// What is not decoded; `None` at the end.
    rest: Option<&'a str>,
    decoded_count: usize,
}

impl<'a> JsonCommands<'a> {
    /// The commands of `message`.
    pub const fn new(message: &'a str) -> Self {
        Self { rest: Some(message), decoded_count: 0 }
    }

    /// What is not decoded yet, as it came.
    pub fn rest(&self) -> &'a [u8] {
        self.rest.unwrap_or_default().as_bytes()
    }

    fn decode_line(&mut self, rest: &'a str) -> Result<Command<'a>, CommandViolation> {
        if rest.is_empty() {
            return Err(CommandViolation::EmptyMessage);
        }
        if self.decoded_count == COMMANDS_PER_MESSAGE_MAX {
            return Err(CommandViolation::TooManyCommands);
        }
        self.decoded_count += 1;
        let (line, behind) = rest.split_once('\n').unwrap_or((rest, ""));
        self.rest = (!behind.is_empty()).then_some(behind);
        decode_command(line)
    }
}

impl<'a> Iterator for JsonCommands<'a> {
    type Item = Result<Command<'a>, CommandViolation>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        let decoded = self.decode_line(rest);
        if decoded.as_ref().is_err_and(|violation| violation.ends_message()) {
            self.rest = None;
        }
        Some(decoded)
    }
}

fn decode_command(line: &str) -> Result<Command<'_>, CommandViolation> {
    if !depth_is_within(line.as_bytes(), JSON_DEPTH_MAX) {
        return Err(CommandViolation::TooDeep);
    }
    let Draft(draft) = serde_json::from_str(line).map_err(|_| CommandViolation::Malformed)?;
    draft.finish()
}

struct Draft<'a>(CommandDraft<'a>);

impl<'de> Deserialize<'de> for Draft<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DraftVisitor)
    }
}

struct DraftVisitor;

impl<'de> Visitor<'de> for DraftVisitor {
    type Value = Draft<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut draft = CommandDraft::default();
        let mut id = None;
        while let Some(Text(name)) = map.next_key()? {
            if name == "id" {
                let Plain(value) = map.next_value()?;
                if id.replace(value).is_some() {
                    return Err(A::Error::duplicate_field("id"));
                }
            } else if let Some(kind) = read_request(&name, &mut map)? {
                draft.request(kind);
            }
        }
        draft.id = id.unwrap_or_default();
        Ok(Draft(draft))
    }
}

/// The request under `name`; nothing if the name is unknown or the value `null`.
fn read_request<'de, A: MapAccess<'de>>(
    name: &str,
    map: &mut A,
) -> Result<Option<CommandKind<'de>>, A::Error> {
    Ok(match name {
        "connect" => map.next_value::<Option<_>>()?.map(CommandKind::Connect),
        "subscribe" => map.next_value::<Option<_>>()?.map(CommandKind::Subscribe),
        "unsubscribe" => map.next_value::<Option<_>>()?.map(CommandKind::Unsubscribe),
        "publish" => map.next_value::<Option<_>>()?.map(CommandKind::Publish),
        "presence" => map.next_value::<Option<_>>()?.map(CommandKind::Presence),
        "presence_stats" => map.next_value::<Option<_>>()?.map(CommandKind::PresenceStats),
        "history" => map.next_value::<Option<_>>()?.map(CommandKind::History),
        "ping" => map.next_value::<Option<Fieldless>>()?.map(|_| CommandKind::Ping),
        "send" => map.next_value::<Option<_>>()?.map(CommandKind::Send),
        "rpc" => map.next_value::<Option<_>>()?.map(CommandKind::Rpc),
        "refresh" => map.next_value::<Option<_>>()?.map(CommandKind::Refresh),
        "sub_refresh" => map.next_value::<Option<_>>()?.map(CommandKind::SubRefresh),
        _ => {
            map.next_value::<IgnoredAny>()?;
            None
        }
    })
}

/// How a value is read into a field.
trait Reader<'de>: Deserialize<'de> {
    type Field: Default;

    fn into_field(self) -> Self::Field;
}

/// Implements `Deserialize` for a struct of which every field has a JSON name and a [`Reader`].
///
/// serde's derive is not used because it would also accept an array of the fields in order.
macro_rules! object {
    ($target:ident { $( $name:literal => $field:ident: $reader:ty, )+ }) => {
        impl<'de> Deserialize<'de> for $target<'de> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ObjectVisitor;

                impl<'de> Visitor<'de> for ObjectVisitor {
                    type Value = $target<'de>;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("an object ", stringify!($target)))
                    }

                    fn visit_map<A: MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<Self::Value, A::Error> {
                        $( let mut $field = None; )+
                        while let Some(Text(name)) = map.next_key()? {
                            match &*name {
                                $( $name => {
                                    let field = map.next_value::<$reader>()?.into_field();
                                    if $field.replace(field).is_some() {
                                        return Err(A::Error::duplicate_field($name));
                                    }
                                } )+
                                _ => drop(map.next_value::<IgnoredAny>()?),
                            }
                        }
                        Ok($target { $( $field: $field.unwrap_or_default(), )+ })
                    }
                }

                deserializer.deserialize_map(ObjectVisitor)
            }
        }

        impl<'de> Reader<'de> for $target<'de> {
            type Field = Self;

            fn into_field(self) -> Self {
                self
            }
        }
    };
}

object!(Connect {
    "token" => token: Text<'de>,
    "data" => data: Raw<'de>,
    "subs" => subs: Entries<'de, Nullable<Subscribe<'de>>>,
    "name" => name: Text<'de>,
    "version" => version: Text<'de>,
    "headers" => headers: Entries<'de, Text<'de>>,
});

object!(Subscribe {
    "channel" => channel: Text<'de>,
    "token" => token: Text<'de>,
    "recover" => recover: Plain<bool>,
    "epoch" => epoch: Text<'de>,
    "offset" => offset: Plain<u64>,
    "data" => data: Raw<'de>,
    "positioned" => positioned: Plain<bool>,
    "recoverable" => recoverable: Plain<bool>,
    "join_leave" => join_leave: Plain<bool>,
    "delta" => delta: Text<'de>,
    "flag" => flag: Plain<i64>,
    "type" => subscription_type: Plain<i32>,
    "tf" => has_tag_filter: Given,
});

object!(Unsubscribe { "channel" => channel: Text<'de>, });

object!(Publish {
    "channel" => channel: Text<'de>,
    "data" => data: Raw<'de>,
    "type" => publication_type: Plain<i32>,
});

object!(Presence { "channel" => channel: Text<'de>, });

object!(PresenceStats { "channel" => channel: Text<'de>, });

object!(History {
    "channel" => channel: Text<'de>,
    "limit" => limit: Plain<i32>,
    "since" => since: Optional<StreamPosition<'de>>,
    "reverse" => reverse: Plain<bool>,
});

object!(StreamPosition {
    "offset" => offset: Plain<u64>,
    "epoch" => epoch: Text<'de>,
});

object!(Send { "data" => data: Raw<'de>, });

object!(Rpc {
    "data" => data: Raw<'de>,
    "method" => method: Text<'de>,
});

object!(Refresh { "token" => token: Text<'de>, });

object!(SubRefresh {
    "channel" => channel: Text<'de>,
    "token" => token: Text<'de>,
    "type" => refresh_type: Plain<i32>,
});

/// A string, borrowed unless it has escapes; `null` is the empty one.
///
/// `Cow`'s own `Deserialize` always copies.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed("")))
    }
}

impl<'de> Reader<'de> for Text<'de> {
    type Field = Cow<'de, str>;

    fn into_field(self) -> Self::Field {
        self.0
    }
}

/// A payload: the JSON text of any value, `null` included.
struct Raw<'a>(&'a RawValue);

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(Self)
    }
}

impl<'de> Reader<'de> for Raw<'de> {
    type Field = &'de [u8];

    fn into_field(self) -> Self::Field {
        self.0.get().as_bytes()
    }
}

/// A number or flag; `null` is zero or false.
struct Plain<T>(T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Plain<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<T>::deserialize(deserializer).map(|value| Self(value.unwrap_or_default()))
    }
}

impl<'de, T: Deserialize<'de> + Default> Reader<'de> for Plain<T> {
    type Field = T;

    fn into_field(self) -> T {
        self.0
    }
}

/// An object that may be `null`, which is the same as without fields.
type Nullable<T> = Plain<T>;

/// An object whose absence differs from one without fields.
struct Optional<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Optional<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self)
    }
}

impl<'de, T: Deserialize<'de>> Reader<'de> for Optional<T> {
    type Field = Option<T>;

    fn into_field(self) -> Option<T> {
        self.0
    }
}

/// Is there anything but `null`?
struct Given(bool);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<IgnoredAny>::deserialize(deserializer).map(|value| Self(value.is_some()))
    }
}

impl<'de> Reader<'de> for Given {
    type Field = bool;

    fn into_field(self) -> bool {
        self.0
    }
}

/// An object whose names are data; a name that repeats is refused.
struct Entries<'de, R: Reader<'de>>(BTreeMap<Cow<'de, str>, R::Field>);

impl<'de, R: Reader<'de>> Deserialize<'de> for Entries<'de, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = deserializer.deserialize_any(EntriesVisitor::<R>(PhantomData))?;
        Ok(Self(entries))
    }
}

struct EntriesVisitor<R>(PhantomData<R>);

impl<'de, R: Reader<'de>> Visitor<'de> for EntriesVisitor<R> {
    type Value = BTreeMap<Cow<'de, str>, R::Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((Text(name), value)) = map.next_entry::<_, R>()? {
            if entries.insert(name, value.into_field()).is_some() {
                return Err(A::Error::custom("a name repeats"));
            }
        }
        Ok(entries)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }
}

impl<'de, R: Reader<'de>> Reader<'de> for Entries<'de, R> {
    type Field = BTreeMap<Cow<'de, str>, R::Field>;

    fn into_field(self) -> Self::Field {
        self.0
    }
}

/// An object of which no field is known.
struct Fieldless;

impl<'de> Deserialize<'de> for Fieldless {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldlessVisitor)
    }
}

struct FieldlessVisitor;

impl<'de> Visitor<'de> for FieldlessVisitor {
    type Value = Fieldless;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Fieldless)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Result<Command<'_>, CommandViolation> {
        let mut commands = JsonCommands::new(line);
        let command = commands.next().expect("a message has a command or a violation");
        assert!(commands.next().is_none());
        command
    }

    #[test]
    fn text_is_borrowed_unless_escaped() {
        let line = r#"{"id":1,"subscribe":{"channel":"a","token":"\u0062"}}"#;
        let Ok(Command { kind: CommandKind::Subscribe(subscribe), .. }) = one(line) else {
            panic!("a subscribe command");
        };
        assert!(matches!(subscribe.channel, Cow::Borrowed("a")));
        assert!(matches!(&subscribe.token, Cow::Owned(token) if token == "b"));
    }

    #[test]
    fn null_is_absent_but_a_payload() {
        let line = r#"{"id":1,"connect":null,"publish":{"channel":null,"data":null,"type":null}}"#;
        let publish = Publish { data: b"null", ..Publish::default() };
        assert_eq!(one(line), Ok(Command { id: 1, kind: CommandKind::Publish(publish) }));
        assert_eq!(one(r#"{"id":null}"#), Ok(Command { id: 0, kind: CommandKind::Pong }));
        let line = r#"{"id":1,"connect":{"subs":{"a":null},"headers":null}}"#;
        let subs = BTreeMap::from([(Cow::Borrowed("a"), Subscribe::default())]);
        let connect = Connect { subs, ..Connect::default() };
        assert_eq!(one(line), Ok(Command { id: 1, kind: CommandKind::Connect(connect) }));
    }

    #[test]
    fn commands_stand_on_lines() {
        let text = "{\"id\":1,\"ping\":{}}\n{}\n";
        let ids: Vec<_> = JsonCommands::new(text).map(|command| command.map(|c| c.id)).collect();
        assert_eq!(ids, [Ok(1), Ok(0)]);
        let gap = "{}\n\n{}";
        let kinds: Vec<_> = JsonCommands::new(gap).map(|command| command.map(|c| c.id)).collect();
        assert_eq!(kinds, [Ok(0), Err(CommandViolation::Malformed)]);
    }
}
