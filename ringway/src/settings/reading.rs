//! From a document to values: every key is known, every value fits, or there is a problem.

use std::sync::Arc;

use crate::limits;
use crate::settings::document::{Entry, Node, Position, Value};
use crate::settings::nearest;
use crate::settings::options::{self, OptionRow, Service};
use crate::settings::problem::{Place, Problem};
use crate::settings::values::{Given, Namespace, Table, Values};

/// Collects values, problems and warnings from all sources.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) values: Values,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) allows_unsupported: bool,
}

/// What somebody says about an option.
#[derive(Clone, Copy)]
pub(crate) enum Said<'a> {
    Value(&'a Value),
    Words(&'a str),
}

/// Who speaks: a file, or JSON inside of an environment variable.
#[derive(Clone)]
pub(crate) enum Speaker {
    File(Arc<str>),
    Environment(String),
}

impl Speaker {
    pub(crate) fn place(&self, at: Position) -> Place {
        match self {
            Self::File(name) => Place::File(Arc::clone(name), at),
            Self::Environment(name) => Place::Environment(name.clone()),
        }
    }
}

impl Reading {
    pub(crate) fn new(allows_unsupported: bool) -> Self {
        Self {
            values: Values::default(),
            problems: Vec::new(),
            warnings: Vec::new(),
            allows_unsupported,
        }
    }

    pub(crate) fn problem(&mut self, place: &Place, path: &str, sentence: impl Into<String>) {
        self.problems.push(Problem::new(place, path, sentence));
    }

    /// Reads all options of a table of the document; `parent` is its path.
    pub(crate) fn read_table(&mut self, speaker: &Speaker, parent: &str, entries: &[Entry]) {
        for entry in entries {
            let path = join(parent, &entry.key);
            if path == options::NAMESPACES {
                self.read_namespaces(speaker, &entry.node);
            } else if path == options::CHANNELS_WITHOUT_NAMESPACE {
                let mut table = core::mem::replace(&mut self.values.without, Table::of_channels());
                self.read_channel_options(speaker, &path, (&entry.node, &mut table));
                self.values.without = table;
            } else if let Some(entries) = partly_served(&path, &entry.node.value) {
                self.read_table(speaker, &path, entries);
            } else if let Some(row) = options::find(&path) {
                let place = speaker.place(entry.at);
                if let Some(given) = self.offer(row, &path, &place, Said::Value(&entry.node.value))
                {
                    self.values.global.give(row, given);
                }
            } else if options::is_group(&path) {
                match &entry.node.value {
                    Value::Table(entries) => self.read_table(speaker, &path, entries),
                    Value::Null => {}
                    _ => {
                        let place = speaker.place(entry.node.at);
                        self.problem(&place, &path, "expected a table of options");
                    }
                }
            } else {
                let place = speaker.place(entry.at);
                self.unknown(&place, &path, nearest::option(parent, &entry.key));
            }
        }
    }

    /// Reads `channel.namespaces`, replacing what was said of it before.
    pub(crate) fn read_namespaces(&mut self, speaker: &Speaker, node: &Node) {
        let Value::List(nodes) = &node.value else {
            let place = speaker.place(node.at);
            self.problem(&place, options::NAMESPACES, "expected a list of namespaces");
            return;
        };
        if nodes.len() > limits::NAMESPACES_MAX {
            let sentence = format!("at most {} namespaces are read", limits::NAMESPACES_MAX);
            self.problem(&speaker.place(node.at), options::NAMESPACES, sentence);
            return;
        }
        self.values.namespaces.clear();
        for (index, node) in nodes.iter().enumerate() {
            self.read_namespace(speaker, index, node);
        }
    }

    fn read_namespace(&mut self, speaker: &Speaker, index: usize, node: &Node) {
        let by_index = format!("{}[{index}]", options::NAMESPACES);
        let entries = match &node.value {
            Value::Table(entries) => entries.as_slice(),
            _ => &[],
        };
        let named = entries.iter().find(|entry| entry.key == "name");
        let (name, place) = match named.map(|entry| (&entry.node.value, entry.node.at)) {
            Some((Value::Text(name), at)) => (name.clone(), speaker.place(at)),
            Some((_, at)) => {
                self.problem(&speaker.place(at), &by_index, "expected text as the name");
                (String::new(), speaker.place(at))
            }
            None => {
                let sentence = "a namespace must be a table with a \"name\"";
                self.problem(&speaker.place(node.at), &by_index, sentence);
                (String::new(), speaker.place(node.at))
            }
        };
        let path = if name.is_empty() { by_index } else { namespace_path(&name) };
        let mut options = Table::of_channels();
        self.read_channel_options(speaker, &path, (node, &mut options));
        if !name.is_empty() {
            self.values.namespaces.push(Namespace { name, place, options });
        } else if named.is_some_and(|entry| matches!(entry.node.value, Value::Text(_))) {
            self.problem(&place, &path, "the name of a namespace cannot be empty");
        }
    }

    fn read_channel_options(&mut self, speaker: &Speaker, path: &str, target: (&Node, &mut Table)) {
        let (node, table) = target;
        let Value::Table(entries) = &node.value else {
            let place = speaker.place(node.at);
            if node.value != Value::Null && path == options::CHANNELS_WITHOUT_NAMESPACE {
                self.problem(&place, path, "expected a table of options");
            }
            return;
        };
        let is_namespace = path != options::CHANNELS_WITHOUT_NAMESPACE;
        for entry in entries.iter().filter(|entry| !(is_namespace && entry.key == "name")) {
            let option_path = join(path, &entry.key);
            let place = speaker.place(entry.at);
            match options::find_channel(&entry.key) {
                Some(row) => {
                    let said = Said::Value(&entry.node.value);
                    if let Some(given) = self.offer(row, &option_path, &place, said) {
                        table.give(row, given);
                    }
                }
                None => {
                    let known = nearest::channel_option(&entry.key);
                    self.unknown(&place, &option_path, known);
                }
            }
        }
    }

    /// Somebody names an option that does not exist.
    pub(crate) fn unknown(&mut self, place: &Place, path: &str, nearest: Option<String>) {
        let sentence = match nearest {
            Some(known) => format!("unknown option; did you mean `{known}`?"),
            None => "unknown option; docs/CONFIGURATION.md lists all".to_owned(),
        };
        self.problem(place, path, sentence);
    }

    /// Somebody gives an option a value: what Ringway does with it follows from the table.
    pub(crate) fn offer(
        &mut self,
        row: &'static OptionRow,
        path: &str,
        place: &Place,
        said: Said<'_>,
    ) -> Option<Given> {
        match row.service {
            Service::Live | Service::Restart => {
                let typed = match said {
                    Said::Value(value) => row.kind.accept(value),
                    Said::Words(words) => row.kind.parse(words),
                };
                match typed {
                    Ok(typed) => return Some(Given { typed, place: place.clone() }),
                    Err(sentence) => self.problem(place, path, sentence),
                }
            }
            Service::Fixed(allowed, why) if !is_one_of(said, allowed) => {
                let sentence = format!("only \"{}\" is served: {why}", allowed[0]);
                self.unsupported(place, path, &sentence);
            }
            Service::Ignored(why) if asks_for_something(said) => {
                self.warnings.push(Problem::new(place, path, format!("has no effect here: {why}")));
            }
            Service::Unsupported(instead) if asks_for_something(said) => {
                self.unsupported(place, path, &format!("is not served by Ringway: {instead}"));
            }
            Service::Never(why) if asks_for_something(said) => {
                self.problem(place, path, format!("is refused: {why}"));
            }
            Service::Fixed(..)
            | Service::Ignored(_)
            | Service::Unsupported(_)
            | Service::Never(_) => {}
        }
        None
    }

    fn unsupported(&mut self, place: &Place, path: &str, sentence: &str) {
        if self.allows_unsupported {
            let sentence = format!("{sentence}; ignored, as --allow-unsupported says");
            self.warnings.push(Problem::new(place, path, sentence));
        } else {
            let sentence = format!("{sentence} (--allow-unsupported starts without it)");
            self.problem(place, path, sentence);
        }
    }
}

/// The entries of a table that is switched on and of which the options know more than its name.
fn partly_served<'a>(path: &str, value: &'a Value) -> Option<&'a [Entry]> {
    match value {
        Value::Table(entries) if options::is_group(path) && options::find(path).is_some() => {
            asks_for_something(Said::Value(value)).then_some(entries)
        }
        _ => None,
    }
}

/// The path of a namespace in messages.
pub(crate) fn namespace_path(name: &str) -> String {
    format!("{}[{name}]", options::NAMESPACES)
}

fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

fn is_one_of(said: Said<'_>, allowed: &[&str]) -> bool {
    match said {
        Said::Words(words) => allowed.contains(&words),
        Said::Value(Value::Text(text)) => allowed.contains(&text.as_str()),
        Said::Value(Value::Integer(integer)) => allowed.contains(&integer.to_string().as_str()),
        Said::Value(Value::Null) => true,
        Said::Value(_) => false,
    }
}

/// `false`, zero, nothing and switched-off parts are how a file says that it does not want
/// something.
fn asks_for_something(said: Said<'_>) -> bool {
    match said {
        Said::Words(words) => !matches!(words, "" | "false" | "0"),
        Said::Value(Value::Null | Value::Flag(false) | Value::Integer(0)) => false,
        Said::Value(Value::Text(text)) => !text.is_empty(),
        Said::Value(Value::Flag(_) | Value::Integer(_) | Value::Other(_)) => true,
        Said::Value(Value::List(nodes)) => {
            nodes.iter().any(|node| asks_for_something(Said::Value(&node.value)))
        }
        Said::Value(Value::Table(entries)) => {
            let is_off = entries
                .iter()
                .any(|entry| entry.key == "enabled" && entry.node.value == Value::Flag(false));
            !is_off && entries.iter().any(|e| asks_for_something(Said::Value(&e.node.value)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::document::Format;

    fn read(text: &str, allows_unsupported: bool) -> Reading {
        let mut reading = Reading::new(allows_unsupported);
        let node = Format::Yaml.read(text).unwrap();
        let Value::Table(entries) = &node.value else { unreachable!("a document is a table") };
        reading.read_table(&Speaker::File("f".into()), "", entries);
        reading
    }

    fn problems(text: &str) -> Vec<String> {
        read(text, false).problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn what_is_switched_off_is_not_asked_for() {
        let off = "admin: {enabled: false, password: x}\nengine: {type: memory}\n\
                   consumers: []\npid_file: ''\n\
                   client: {insecure_skip_token_signature_verify: false}";
        assert_eq!(problems(off), Vec::<String>::new());
    }

    #[test]
    fn unsupported_options_are_refused_or_warned_about() {
        let text = "admin: {enabled: true}\nengine: {type: redis}\n";
        let refused = problems(text);
        assert_eq!(refused.len(), 2, "{refused:?}");
        assert!(refused[0].starts_with("f:1:9: admin.enabled: is not served by Ringway"));
        assert!(refused[1].starts_with("f:2:10: engine.type: only \"memory\" is served"));
        let allowed = read(text, true);
        assert_eq!((allowed.problems.len(), allowed.warnings.len()), (0, 2));
    }

    #[test]
    fn some_things_are_never_allowed() {
        let text = "client: {insecure_skip_token_signature_verify: true}";
        assert!(read(text, true).problems[0].sentence.starts_with("is refused"));
    }

    #[test]
    fn shapes_are_checked() {
        let found = problems("client: 5\nchannel: {namespaces: {a: 1}, without_namespace: 7}");
        assert_eq!(found.len(), 3, "{found:?}");
        let found = problems("channel:\n  namespaces:\n  - {name: ''}\n  - 5\n  - {name: 7}\n");
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
