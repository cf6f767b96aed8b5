//! JSON objects read strictly: a name may stand once, and values stay text until somebody asks for
//! them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use protocol::client::{Payload, PayloadForm};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// It is not what it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The members of one object, by their name after escapes are resolved.
#[derive(Debug)]
pub(super) struct Object<'a> {
    members: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

impl<'a> Object<'a> {
    /// Reads a whole document, which must be an object. Its depth is bounded, its text is UTF-8.
    pub(super) fn parse(document: &'a [u8]) -> Result<Self, Malformed> {
        // Text that is no JSON, or deeper than any JSON of a client may be, would travel as Base64.
        if Payload::classify(document).form == PayloadForm::Base64 {
            return Err(Malformed);
        }
        serde_json::from_slice(document).map_err(|_| Malformed)
    }

    /// Reads an object inside a document.
    pub(super) fn nested(value: &'a RawValue) -> Result<Self, Malformed> {
        serde_json::from_str(value.get()).map_err(|_| Malformed)
    }

    /// A member's text. `null` is no member: many backends write absent values that way.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.members.get(name).copied().filter(|value| value.get() != "null")
    }

    /// A member of any type, where `null` is a wrong type too.
    pub(super) fn value<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, Malformed> {
        let Some(value) = self.members.get(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map(Some).map_err(|_| Malformed)
    }

    /// A text; `None` if it is absent or `null`.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Malformed> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map(Some).map_err(|_| Malformed)
    }

    /// Members that are lists; absent and `null` ones are empty.
    pub(super) fn list<T: Deserialize<'a>>(&self, name: &str) -> Result<Vec<T>, Malformed> {
        let Some(value) = self.raw(name) else { return Ok(Vec::new()) };
        serde_json::from_str(value.get()).map_err(|_| Malformed)
    }

    /// A member that is an object.
    pub(super) fn object(&self, name: &str) -> Result<Option<Object<'a>>, Malformed> {
        self.raw(name).map(Object::nested).transpose()
    }

    /// Is there such a member, whatever its value?
    pub(super) fn contains(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// All members, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

/// A name that borrows from the document unless it holds an escape.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object in which each name stands once")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(Name(name)) = map.next_key()? {
            // RFC 7519, 4: a parser rejects repeated claim names or takes the last one. Two parsers
            // that choose differently see two tokens.
            if members.insert(name, map.next_value()?).is_some() {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(Object { members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_stand_once() {
        for (document, good) in [
            (r#"{}"#, true),
            (r#" {"a":1,"b":[1,{"x":1,"x":2}]} "#, true),
            (r#"{"a":1,"a":1}"#, false),
            (r#"{"a":1,"\u0061":1}"#, false),
            (r#"{"a":1}}"#, false),
            (r#"{"a":1} {}"#, false),
            (r#"[]"#, false),
            (r#"null"#, false),
            (r#"{"a":01}"#, false),
            (r#"{"a":"\x"}"#, false),
            (r#"{'a':1}"#, false),
            ("", false),
        ] {
            assert_eq!(Object::parse(document.as_bytes()).is_ok(), good, "{document}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_err());
        assert!(Object::parse("[".repeat(100_000).as_bytes()).is_err());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(Object::parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn null_is_absent_only_where_it_may_be() {
        let object = Object::parse(br#"{"a":null,"b":"x","c":5}"#).expect("it is an object");
        assert_eq!(object.text("a"), Ok(None));
        assert_eq!(object.text("b"), Ok(Some("x".to_owned())));
        assert_eq!(object.text("c"), Err(Malformed));
        assert_eq!(object.value::<u64>("a"), Err(Malformed));
        assert_eq!(object.value::<u64>("c"), Ok(Some(5)));
        assert_eq!(object.value::<u64>("d"), Ok(None));
        assert!(object.contains("a"));
    }
}
