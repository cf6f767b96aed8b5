//! The one table of options: what there is, what it may say, and what Ringway does with it.
//!
//! Reading, checking, the environment, reload and docs/CONFIGURATION.md all follow this table.
//! Names and meanings of options that Centrifugo v6 has are Centrifugo's.

mod channel;
mod global;
mod kind;
mod tls;

pub(crate) use kind::{Kind, Typed, address, duration, socket_address};

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct OptionRow {
    /// Where it stands, with dots. Options of channels carry their last word only.
    pub path: &'static str,
    pub(crate) kind: Kind,
    /// What holds if nobody says anything, as the environment would say it.
    pub default: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// Centrifugo v6 has it under this name.
    pub in_centrifugo: bool,
    /// What Ringway does with it.
    pub service: Service,
}

/// What Ringway does with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Served; a reload applies it.
    Live,
    /// Served; a change needs a restart.
    Restart,
    /// Only these values are served; why.
    Fixed(&'static [&'static str], &'static str),
    /// Accepted without effect; why that does no harm.
    Ignored(&'static str),
    /// Known from Centrifugo and refused unless unsupported options are allowed; what to do
    /// instead.
    Unsupported(&'static str),
    /// Refused, whatever is allowed; why.
    Never(&'static str),
}

impl OptionRow {
    /// An option as Centrifugo has it, applied by a reload.
    const fn new(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Self {
        Self { path, kind, default, doc, in_centrifugo: true, service: Service::Live }
    }

    /// A known option, or everything below it, that is not served.
    const fn unsupported(path: &'static str, instead: &'static str) -> Self {
        Self::new(path, Kind::Anything, "", "").serving(Service::Unsupported(instead))
    }

    /// A known option, or everything below it, that has no effect here.
    const fn ignored(path: &'static str, why: &'static str) -> Self {
        Self::new(path, Kind::Anything, "", "").serving(Service::Ignored(why))
    }

    /// A known option of which one reading is served.
    const fn fixed(
        path: &'static str,
        allowed: &'static [&'static str],
        why: &'static str,
    ) -> Self {
        Self::new(path, Kind::Text, allowed[0], "").serving(Service::Fixed(allowed, why))
    }

    const fn serving(mut self, service: Service) -> Self {
        self.service = service;
        self
    }

    const fn restart(self) -> Self {
        self.serving(Service::Restart)
    }

    const fn ours(mut self) -> Self {
        self.in_centrifugo = false;
        self
    }

    /// Does a change of it reach a running server only by restart?
    pub fn needs_restart(&self) -> bool {
        self.service == Service::Restart
    }

    /// Is it read into the settings?
    pub fn is_served(&self) -> bool {
        matches!(self.service, Service::Live | Service::Restart)
    }

    /// Does the row speak for everything below its path as well?
    pub(crate) fn is_subtree(&self) -> bool {
        self.kind == Kind::Anything
    }

    /// The default as a value.
    pub(crate) fn default_value(&self) -> Typed {
        self.kind.parse(self.default).expect("a test parses every default of the table")
    }
}

/// All options outside of channels.
pub fn all() -> impl Iterator<Item = &'static OptionRow> {
    global::TABLES.iter().copied().flatten()
}

/// The options of a namespace and of channels without one.
pub fn of_channels() -> &'static [OptionRow] {
    channel::TABLE
}

/// The row of a path, or of the subtree that holds it.
pub(crate) fn find(path: &str) -> Option<&'static OptionRow> {
    all().find(|row| row.path == path).or_else(|| {
        all().find(|row| {
            row.is_subtree()
                && path.strip_prefix(row.path).is_some_and(|rest| rest.starts_with('.'))
        })
    })
}

/// The row of a channel option.
pub(crate) fn find_channel(name: &str) -> Option<&'static OptionRow> {
    let head = name.split('.').next().unwrap_or(name);
    of_channels().iter().find(|row| row.path == name || (row.is_subtree() && row.path == head))
}

/// Do options begin with `path` and a dot?
pub(crate) fn is_group(path: &str) -> bool {
    path == CHANNELS_WITHOUT_NAMESPACE
        || CHANNELS_WITHOUT_NAMESPACE.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
        || all().any(|row| row.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The table of channels without a namespace.
pub(crate) const CHANNELS_WITHOUT_NAMESPACE: &str = "channel.without_namespace";
/// The list of namespaces.
pub(crate) const NAMESPACES: &str = "channel.namespaces";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_default_is_a_value_of_its_option() {
        for row in all().chain(of_channels()) {
            assert!(row.kind.parse(row.default).is_ok(), "{}: {:?}", row.path, row.default);
            assert_eq!(row.is_served(), !row.doc.is_empty(), "{}", row.path);
        }
    }

    #[test]
    fn every_option_stands_once() {
        let mut seen = BTreeSet::new();
        for row in all() {
            assert!(seen.insert(row.path), "{}", row.path);
        }
        let mut seen = BTreeSet::new();
        for row in of_channels() {
            assert!(seen.insert(row.path), "{}", row.path);
        }
    }

    #[test]
    fn no_two_options_share_an_environment_name() {
        let mut seen = BTreeSet::new();
        for row in all() {
            assert!(seen.insert(row.path.replace('.', "_")), "{}", row.path);
        }
    }

    #[test]
    fn subtrees_speak_for_what_is_below_them() {
        assert_eq!(find("admin.password").map(|row| row.path), Some("admin"));
        assert_eq!(find("engine.type").map(|row| row.path), Some("engine.type"));
        assert_eq!(find("engine.redis.address").map(|row| row.path), Some("engine"));
        assert!(find("administration").is_none());
        assert_eq!(find_channel("map.mode").map(|row| row.path), Some("map"));
        assert!(is_group("client") && is_group("channel") && is_group("client.token"));
        assert!(!is_group("shards") && !is_group("cli"));
    }
}
