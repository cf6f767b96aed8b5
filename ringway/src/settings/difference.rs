//! What a reload changes, without ever showing a secret.

use std::collections::BTreeMap;
use std::fmt;

use crate::secret::Secret;
use crate::settings::options::{self, OptionRow, Typed};
use crate::settings::values::{Table, Values};
use crate::settings::{Settings, TokenKeys};

/// An option as it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effective {
    /// What is compared, and shown unless it is secret. The content of files counts, not their
    /// names.
    value: Shown,
    needs_restart: bool,
    /// Namespaces are entries of their own, so that a new one is one line and not thirty.
    is_namespace: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shown {
    Text(String),
    Hidden(Secret),
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Hidden(secret) => write!(f, "{secret}"),
        }
    }
}

/// All that changed between two configurations, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The changed options.
    pub changes: Vec<Change>,
}

/// One changed option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The option, with dots; namespaces by name.
    pub path: String,
    /// The old value, the new value: `25s -> 10s`. Secrets are `***`.
    pub description: String,
    /// A running server keeps the old value until it is restarted.
    pub needs_restart: bool,
}

impl Difference {
    /// Did nothing change?
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Paths of all changes, as a list to print.
    pub fn lines(&self) -> Vec<String> {
        self.changes.iter().map(Change::to_string).collect()
    }

    /// The changes that wait for a restart.
    pub fn waiting_for_restart(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.needs_restart)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let note = if self.needs_restart { " (after a restart)" } else { "" };
        write!(f, "{}: {}{note}", self.path, self.description)
    }
}

/// Compares two configurations.
pub(crate) fn between(
    old: &BTreeMap<String, Effective>,
    new: &BTreeMap<String, Effective>,
) -> Difference {
    let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let changes = paths.into_iter().filter_map(|path| {
        let description = match (old.get(path), new.get(path)) {
            (Some(old), Some(new)) if old.value != new.value => {
                format!("{} -> {}", old.value, new.value)
            }
            (None, Some(new)) if new.is_namespace => "added".to_owned(),
            (Some(old), None) if old.is_namespace => "removed".to_owned(),
            _ => return None,
        };
        let needs_restart = new.get(path).is_some_and(|effective| effective.needs_restart);
        Some(Change { path: path.clone(), description, needs_restart })
    });
    Difference { changes: changes.collect() }
}

/// Every served option as it holds.
pub(crate) fn effective(
    values: &Values,
    settings: &Settings,
    own_tokens: &TokenKeys,
) -> BTreeMap<String, Effective> {
    let mut effective = BTreeMap::new();
    for row in options::all().filter(|row| row.is_served()) {
        effective.insert(row.path.to_owned(), of_row(row, &values.global));
    }
    let api_key = settings.api.keys.first();
    replace_value(&mut effective, "http_api.key", api_key.map(Secret::expose), true);
    let admin_key = settings.admin_key.as_ref();
    replace_value(&mut effective, "admin.key", admin_key.map(Secret::expose), true);
    for (parent, keys) in
        [("client.token", &settings.connection_tokens), ("client.subscription_token", own_tokens)]
    {
        let hmac = keys.hmac.as_ref().map(Secret::expose);
        replace_value(&mut effective, &format!("{parent}.hmac_secret_key"), hmac, true);
        for (name, content) in [
            ("rsa_public_key", &keys.rsa_public_key),
            ("ecdsa_public_key", &keys.ecdsa_public_key),
            ("eddsa_public_key", &keys.eddsa_public_key),
            ("jwks_file", &keys.jwks),
        ] {
            let hide = name == "jwks_file";
            replace_value(&mut effective, &format!("{parent}.{name}"), content.as_deref(), hide);
        }
    }
    for (path, contents) in tls_contents(settings) {
        replace_value(&mut effective, path, Some(&contents), true);
    }
    insert_channel(&mut effective, options::CHANNELS_WITHOUT_NAMESPACE, &values.without);
    for namespace in &values.namespaces {
        let path = format!("{}.{}", options::NAMESPACES, namespace.name);
        insert_channel(&mut effective, &path, &namespace.options);
        let value = Shown::Text("present".to_owned());
        effective.insert(path, Effective { value, needs_restart: false, is_namespace: true });
    }
    effective
}

/// Puts in what was read from a file. Key sets are hidden because nobody wants to see them whole.
fn replace_value(
    effective: &mut BTreeMap<String, Effective>,
    path: &str,
    content: Option<&str>,
    hide: bool,
) {
    let Some(entry) = effective.get_mut(path) else { return };
    let content = content.unwrap_or_default();
    entry.value = if hide {
        Shown::Hidden(Secret::new(content))
    } else {
        Shown::Text(format!("{content:?}"))
    };
}

/// What the files of certificates and keys hold, by the option that names them.
fn tls_contents(settings: &Settings) -> BTreeMap<&'static str, String> {
    let mut by_path: BTreeMap<&'static str, String> = BTreeMap::new();
    for (path, content) in settings.tls.iter().flat_map(|tls| &tls.contents) {
        by_path.entry(path).or_default().push_str(content.expose());
    }
    by_path
}

fn insert_channel(effective: &mut BTreeMap<String, Effective>, parent: &str, table: &Table) {
    for row in options::of_channels().iter().filter(|row| row.is_served()) {
        effective.insert(format!("{parent}.{}", row.path), of_row(row, table));
    }
}

fn of_row(row: &OptionRow, table: &Table) -> Effective {
    let value = match table.value(row.path) {
        Typed::Flag(flag) => Shown::Text(flag.to_string()),
        Typed::Integer(integer) => Shown::Text(integer.to_string()),
        Typed::Duration(duration) => Shown::Text(format!("{duration:?}")),
        Typed::Text(text) => Shown::Text(format!("{text:?}")),
        Typed::Texts(texts) => Shown::Text(format!("{texts:?}")),
        Typed::Secret(secret) => Shown::Hidden(secret),
    };
    Effective { value, needs_restart: row.needs_restart(), is_namespace: false }
}
