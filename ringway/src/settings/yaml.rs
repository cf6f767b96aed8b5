//! YAML with positions. Anchors and aliases work; tags and merge keys do not.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use crate::limits;
use crate::settings::document::{Entry, Fault, Node, Position, Value, repeated_key};

/// Reads a YAML document.
pub(crate) fn read(text: &str) -> Result<Node, Fault> {
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes_count: 0 };
    let (event, span) = loop {
        match reader.event()? {
            (Event::StreamStart | Event::DocumentStart(_), _) => {}
            other => break other,
        }
    };
    if matches!(event, Event::StreamEnd) {
        return Ok(Node { at: position(span), value: Value::Null });
    }
    let root = reader.node(event, span, limits::NESTING_MAX)?;
    loop {
        match reader.event()? {
            (Event::StreamEnd, _) => return Ok(root),
            (Event::DocumentStart(_), span) => {
                return Err(fault(span, "a second document is not read; keep one per file"));
            }
            _ => {}
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
    nodes_count: usize,
}

impl<'a> Reader<'a> {
    fn event(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(Fault {
                at: Position { line: error.marker().line(), column: error.marker().col() + 1 },
                sentence: format!("this is not YAML: {}", error.info()),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, levels: u32) -> Result<Node, Fault> {
        let at = position(span);
        if levels == 0 {
            return Err(fault(span, "the file is nested too deeply"));
        }
        self.count(1, span)?;
        let (value, anchor) = match event {
            Event::Scalar(text, ScalarStyle::Plain, anchor, _) => (plain(&text), anchor),
            Event::Scalar(text, _, anchor, _) => (Value::Text(text.into_owned()), anchor),
            Event::SequenceStart(anchor, _) => (self.list(levels - 1)?, anchor),
            Event::MappingStart(anchor, _) => (self.table(levels - 1)?, anchor),
            Event::Alias(anchor) => return self.alias(anchor, span),
            _ => return Err(fault(span, "a value is missing here")),
        };
        let node = Node { at, value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// A copy of what the anchor names. Copies count, so that aliases of aliases cannot grow
    /// without end.
    fn alias(&mut self, anchor: usize, span: Span) -> Result<Node, Fault> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(fault(span, "an alias cannot stand inside its own anchor"));
        };
        self.count(nodes_count(&node), span)?;
        Ok(node)
    }

    fn list(&mut self, levels: u32) -> Result<Value, Fault> {
        let mut nodes = Vec::new();
        loop {
            match self.event()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(nodes)),
                (event, span) => nodes.push(self.node(event, span, levels)?),
            }
        }
    }

    fn table(&mut self, levels: u32) -> Result<Value, Fault> {
        let mut entries = Vec::new();
        loop {
            let (key, at) = match self.event()? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(text, ..), span) => (text.into_owned(), position(span)),
                (_, span) => return Err(fault(span, "the name of an option must be a word")),
            };
            let (event, span) = self.event()?;
            entries.push(Entry { key, at, node: self.node(event, span, levels)? });
        }
        repeated_key(&entries).map_or(Ok(Value::Table(entries)), Err)
    }

    fn count(&mut self, nodes_count: usize, span: Span) -> Result<(), Fault> {
        self.nodes_count += nodes_count;
        if self.nodes_count > limits::NODES_MAX {
            return Err(fault(span, "the file has too many values"));
        }
        Ok(())
    }
}

fn nodes_count(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(nodes) => nodes.iter().map(nodes_count).sum(),
        Value::Table(entries) => entries.iter().map(|entry| nodes_count(&entry.node)).sum(),
        _ => 0,
    }
}

/// YAML 1.2.2, 10.3.2: what a plain scalar means in the core schema. `yes` and `no` are text.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Flag(true),
        "false" | "False" | "FALSE" => Value::Flag(false),
        _ => integer(text).map_or_else(
            || match text.parse::<f64>() {
                Ok(_) if text.starts_with(|c: char| "+-.0123456789".contains(c)) => {
                    Value::Other(text.to_owned())
                }
                _ => Value::Text(text.to_owned()),
            },
            Value::Integer,
        ),
    }
}

fn integer(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8).ok();
    }
    text.parse().ok()
}

fn position(span: Span) -> Position {
    Position { line: span.start.line().max(1), column: span.start.col() + 1 }
}

fn fault(span: Span, sentence: &str) -> Fault {
    Fault { at: position(span), sentence: sentence.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::document::tests::shape;

    #[test]
    fn every_key_knows_its_position() {
        let text = "shards: 2\nclient:\n  insecure: true\nchannel:\n  namespaces:\n    \
                    - name: 'a'\n      history_ttl: 5s\n    - {name: b, x: 1.5, y: ~}\n";
        assert_eq!(
            shape(&read(text).unwrap()),
            "{shards@1:1=Integer(2),client@2:1={insecure@3:3=Flag(true)},\
             channel@4:1={namespaces@5:3=[{name@6:7=Text(\"a\"),history_ttl@7:7=Text(\"5s\")},\
             {name@8:8=Text(\"b\"),x@8:17=Other(\"1.5\"),y@8:25=Null}]}}"
        );
    }

    #[test]
    fn aliases_are_copies_and_bounded() {
        let text = "a: &x {b: 1}\nc: *x\n";
        assert_eq!(
            shape(&read(text).unwrap()),
            "{a@1:1={b@1:8=Integer(1)},c@2:1={b@1:8=Integer(1)}}"
        );
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let before = level - 1;
            let items = vec![format!("*a{before}"); 10].join(",");
            bomb += &format!("a{level}: &a{level} [{items}]\n");
        }
        assert!(read(&bomb).unwrap_err().sentence.contains("too many"));
        assert!(read(&"[".repeat(100)).is_err());
    }

    #[test]
    fn what_is_wrong_is_placed_and_not_repeated() {
        let fault = read("a: 1\nkey: hunter2\n b: [\n").unwrap_err();
        assert!(fault.at.line >= 2, "{fault:?}");
        assert!(!fault.sentence.contains("hunter2"), "{}", fault.sentence);
        assert!(read("a: 1\na: 2\n").unwrap_err().sentence.contains("given twice"));
        assert!(read("a: 1\n---\nb: 2\n").unwrap_err().sentence.contains("second document"));
    }
}
