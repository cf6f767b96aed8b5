//! JSON with positions.
//!
//! serde_json decides whether the text is JSON; this walk only notes where things stand.

use serde_json::Value as JsonValue;

use crate::limits;
use crate::settings::document::{Entry, Fault, Lines, Node, Position, Value, repeated_key};

/// Reads a JSON document.
pub(crate) fn read(text: &str) -> Result<Node, Fault> {
    if let Err(error) = serde_json::from_str::<JsonValue>(text) {
        let at = Position { line: error.line(), column: error.column().max(1) };
        let words = error.to_string();
        let words = words.split(" at line ").next().unwrap_or_default();
        return Err(Fault { at, sentence: format!("this is not JSON: {words}") });
    }
    Walk { text, lines: Lines::of(text), offset: 0 }.node(limits::NESTING_MAX)
}

struct Walk<'a> {
    text: &'a str,
    lines: Lines<'a>,
    offset: usize,
}

impl Walk<'_> {
    fn node(&mut self, levels: u32) -> Result<Node, Fault> {
        let first = self.next_byte();
        let at = self.lines.position(self.offset);
        if levels == 0 {
            return Err(Fault { at, sentence: "the file is nested too deeply".to_owned() });
        }
        let value = match first {
            b'{' => self.table(levels - 1)?,
            b'[' => self.list(levels - 1)?,
            b'"' => Value::Text(self.string()),
            _ => self.word(),
        };
        Ok(Node { at, value })
    }

    fn table(&mut self, levels: u32) -> Result<Value, Fault> {
        let mut entries = Vec::new();
        self.offset += 1;
        while self.next_byte() != b'}' {
            if self.next_byte() == b',' {
                self.offset += 1;
                self.next_byte();
            }
            let at = self.lines.position(self.offset);
            let key = self.string();
            self.next_byte();
            self.offset += 1; // The colon.
            entries.push(Entry { key, at, node: self.node(levels)? });
        }
        self.offset += 1;
        repeated_key(&entries).map_or(Ok(Value::Table(entries)), Err)
    }

    fn list(&mut self, levels: u32) -> Result<Value, Fault> {
        let mut nodes = Vec::new();
        self.offset += 1;
        while self.next_byte() != b']' {
            if self.next_byte() == b',' {
                self.offset += 1;
            }
            nodes.push(self.node(levels)?);
        }
        self.offset += 1;
        Ok(Value::List(nodes))
    }

    fn string(&mut self) -> String {
        let start = self.offset;
        let mut escaped = false;
        for (index, byte) in self.text.bytes().enumerate().skip(start + 1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.offset = index + 1;
                    break;
                }
                _ => {}
            }
        }
        serde_json::from_str(&self.text[start..self.offset]).expect("serde_json accepted it before")
    }

    fn word(&mut self) -> Value {
        let rest = &self.text[self.offset..];
        let length =
            rest.find(|character: char| ",]} \t\r\n".contains(character)).unwrap_or(rest.len());
        self.offset += length;
        match &rest[..length] {
            "null" => Value::Null,
            "true" => Value::Flag(true),
            "false" => Value::Flag(false),
            word => word.parse().map_or_else(|_| Value::Other(word.to_owned()), Value::Integer),
        }
    }

    /// Skips blanks. serde_json has seen the end of everything that is open, so there is a next
    /// byte.
    fn next_byte(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while matches!(bytes[self.offset], b' ' | b'\t' | b'\r' | b'\n') {
            self.offset += 1;
        }
        bytes[self.offset]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::document::tests::shape;

    #[test]
    fn every_key_knows_its_position() {
        let text =
            "{\n  \"a\": [1, -2.5e3, true],\n  \"b\" : {\"c\\u0064\":\"\\\"}\"}, \"e\":null\n}";
        assert_eq!(
            shape(&read(text).unwrap()),
            "{a@2:3=[Integer(1),Other(\"-2.5e3\"),Flag(true)],\
             b@3:3={cd@3:10=Text(\"\\\"}\")},e@3:28=Null}"
        );
    }

    #[test]
    fn what_is_wrong_is_placed_and_not_repeated() {
        let fault = read("{\"key\": \"hunter2\",\n oops}").unwrap_err();
        assert_eq!(fault.at.line, 2);
        assert!(!fault.sentence.contains("hunter2"));
        let fault = read("{\"a\": 1, \"b\": 2, \"a\": 3}").unwrap_err();
        assert_eq!(fault.sentence, "`a` is given twice, first at 1:2");
        assert_eq!(fault.at, Position { line: 1, column: 18 });
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert!(read(&deep).unwrap_err().sentence.contains("nested"));
        assert!(read("").is_err());
        assert!(read("{\"a\":[1,{\"b\":[]}],\"c\":{}}").is_ok());
    }
}
