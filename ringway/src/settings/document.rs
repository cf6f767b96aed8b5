//! A configuration file as a tree whose every key and value knows its position.
//!
//! TOML, YAML and JSON end up in the same tree, so that everything behind it exists once.

use std::fmt;
use std::path::Path;

use crate::settings::{json, toml, yaml};

/// Line and column of a character, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// What a file may say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Flag(bool),
    Integer(i64),
    /// A number that is not a whole one of 64 bits, or a date: as it is written.
    Other(String),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// One key of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) node: Node,
}

/// Why a text is not a document. The sentence never repeats the text: it may hold secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: Position,
    pub(crate) sentence: String,
}

/// The three formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Toml,
    Yaml,
    Json,
}

impl Format {
    /// By extension, or by the first significant line if the extension says nothing.
    pub(crate) fn of(path: &Path, text: &str) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Self::Toml,
            Some("yaml" | "yml") => Self::Yaml,
            Some("json") => Self::Json,
            _ => Self::sniffed(text),
        }
    }

    fn sniffed(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim);
        let line = lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or("");
        let before_colon = line.split(':').next().unwrap_or("");
        if line.starts_with('{') {
            Self::Json
        } else if line.starts_with('[') || before_colon.contains('=') {
            Self::Toml
        } else {
            Self::Yaml
        }
    }

    /// Reads a document. Nothing at all is an empty table.
    pub(crate) fn read(self, text: &str) -> Result<Node, Fault> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let node = match self {
            Self::Toml => toml::read(text)?,
            Self::Yaml => yaml::read(text)?,
            Self::Json => json::read(text)?,
        };
        match node.value {
            Value::Table(_) => Ok(node),
            Value::Null => Ok(Node { at: node.at, value: Value::Table(Vec::new()) }),
            _ => Err(Fault {
                at: node.at,
                sentence: "the file must hold a table of options".to_owned(),
            }),
        }
    }
}

/// Where each line of a text begins, to turn offsets into positions.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let starts = core::iter::once(0)
            .chain(text.match_indices('\n').map(|(offset, _)| offset + 1))
            .collect();
        Self { text, starts }
    }

    /// The position of a byte. Offsets beyond the text are its end.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or("");
        Position { line, column: before.chars().count() + 1 }
    }
}

/// The key that stands twice among `entries`, if one does.
pub(crate) fn repeated_key(entries: &[Entry]) -> Option<Fault> {
    entries.iter().enumerate().find_map(|(index, entry)| {
        let first = entries[..index].iter().find(|earlier| earlier.key == entry.key)?;
        Some(Fault {
            at: entry.at,
            sentence: format!("`{}` is given twice, first at {}", entry.key, first.at),
        })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The tree as one line, without positions.
    pub(crate) fn shape(node: &Node) -> String {
        match &node.value {
            Value::List(nodes) => {
                format!("[{}]", nodes.iter().map(shape).collect::<Vec<_>>().join(","))
            }
            Value::Table(entries) => {
                let entries = entries
                    .iter()
                    .map(|entry| format!("{}@{}={}", entry.key, entry.at, shape(&entry.node)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_file_without_extension_is_recognised() {
        let format = |text| Format::of(Path::new("config"), text);
        assert_eq!(format("  {\"a\": 1}"), Format::Json);
        assert_eq!(format("# note\n[client]\n"), Format::Toml);
        assert_eq!(format("shards = 2\n"), Format::Toml);
        assert_eq!(format("---\nclient:\n  insecure: true"), Format::Yaml);
        assert_eq!(format("a: \"b=c\""), Format::Yaml);
        assert_eq!(Format::of(Path::new("a.json"), "a: 1"), Format::Json);
    }

    #[test]
    fn positions_count_characters() {
        let lines = Lines::of("äb\n\nc");
        assert_eq!(lines.position(2), Position { line: 1, column: 2 });
        assert_eq!(lines.position(4), Position { line: 2, column: 1 });
        assert_eq!(lines.position(5), Position { line: 3, column: 1 });
        assert_eq!(lines.position(99), Position { line: 3, column: 2 });
    }

    #[test]
    fn an_empty_file_is_an_empty_table() {
        for format in [Format::Toml, Format::Yaml] {
            assert_eq!(shape(&format.read("").unwrap()), "{}");
            assert_eq!(shape(&format.read("# nothing\n").unwrap()), "{}");
        }
        assert_eq!(shape(&Format::Json.read("{}").unwrap()), "{}");
        assert!(Format::Json.read("[]").is_err());
    }
}
