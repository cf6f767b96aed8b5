//! TOML with positions.

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use crate::limits;
use crate::settings::document::{Entry, Fault, Lines, Node, Position, Value};

/// Reads a TOML document.
pub(crate) fn read(text: &str) -> Result<Node, Fault> {
    let lines = Lines::of(text);
    let table = DeTable::parse(text).map_err(|error| Fault {
        at: lines.position(error.span().map_or(0, |span| span.start)),
        sentence: format!("this is not TOML: {}", error.message()),
    })?;
    let at = Position { line: 1, column: 1 };
    Ok(Node { at, value: table_value(table.get_ref(), &lines, limits::NESTING_MAX)? })
}

fn node(spanned: &Spanned<DeValue<'_>>, lines: &Lines<'_>, levels: u32) -> Result<Node, Fault> {
    let at = lines.position(spanned.span().start);
    if levels == 0 {
        return Err(Fault { at, sentence: "the file is nested too deeply".to_owned() });
    }
    let value = match spanned.get_ref() {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| Value::Other(integer.as_str().to_owned()), Value::Integer),
        DeValue::Float(float) => Value::Other(float.as_str().to_owned()),
        DeValue::Datetime(datetime) => Value::Other(datetime.to_string()),
        DeValue::Array(values) => {
            let nodes = values.iter().map(|value| node(value, lines, levels - 1));
            Value::List(nodes.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => table_value(table, lines, levels - 1)?,
    };
    Ok(Node { at, value })
}

fn table_value(table: &DeTable<'_>, lines: &Lines<'_>, levels: u32) -> Result<Value, Fault> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        entries.push(Entry {
            key: key.get_ref().clone().into_owned(),
            at: lines.position(key.span().start),
            node: node(value, lines, levels)?,
        });
    }
    entries.sort_by_key(|entry| entry.at);
    Ok(Value::Table(entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::document::tests::shape;

    #[test]
    fn every_key_knows_its_position() {
        let text = "shards = 0x10\n[client]\n  insecure = true\n\
                    [[channel.namespaces]]\nname = 'a'\nhistory_ttl = \"5s\"\n";
        assert_eq!(
            shape(&read(text).unwrap()),
            "{shards@1:1=Integer(16),client@2:2={insecure@3:3=Flag(true)},\
             channel@4:3={namespaces@4:11=[{name@5:1=Text(\"a\"),\
             history_ttl@6:1=Text(\"5s\")}]}}"
        );
    }

    #[test]
    fn what_is_wrong_is_placed_and_not_repeated() {
        let fault = read("a = 1\nkey = \"hunter2\" oops\n").unwrap_err();
        assert_eq!(fault.at.line, 2);
        assert!(!fault.sentence.contains("hunter2"), "{}", fault.sentence);
        assert!(read("a = 1\na = 2\n").unwrap_err().sentence.contains("duplicate"));
    }
}
