//! What has been said, option by option, with the place that said it last.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::secret::Secret;
use crate::settings::options::{self, OptionRow, Typed};
use crate::settings::problem::Place;

/// A value and who gave it.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) typed: Typed,
    pub(crate) place: Place,
}

/// Values of one table of options.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    given: BTreeMap<&'static str, Given>,
    row: fn(&str) -> Option<&'static OptionRow>,
}

/// A namespace as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) options: Table,
}

/// All that has been said.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    pub(crate) global: Table,
    pub(crate) without: Table,
    pub(crate) namespaces: Vec<Namespace>,
}

impl Default for Values {
    fn default() -> Self {
        let global = Table { given: BTreeMap::new(), row: options::find };
        Self { global, without: Table::of_channels(), namespaces: Vec::new() }
    }
}

impl Table {
    pub(crate) fn of_channels() -> Self {
        Self { given: BTreeMap::new(), row: options::find_channel }
    }

    /// The last word counts: file, then environment, then flags.
    pub(crate) fn give(&mut self, row: &'static OptionRow, given: Given) {
        self.given.insert(row.path, given);
    }

    /// Who gave the value of `path`.
    pub(crate) fn place(&self, path: &str) -> Place {
        self.given.get(path).map_or(Place::Default, |given| given.place.clone())
    }

    /// Has anybody given a value?
    pub(crate) fn is_given(&self, path: &str) -> bool {
        self.given.contains_key(path)
    }

    pub(crate) fn value(&self, path: &str) -> Typed {
        let row = (self.row)(path).expect("settings ask for options of the table only");
        debug_assert!(row.is_served(), "{path} is not served");
        self.given.get(path).map_or_else(|| row.default_value(), |given| given.typed.clone())
    }

    pub(crate) fn flag(&self, path: &str) -> bool {
        match self.value(path) {
            Typed::Flag(flag) => flag,
            other => mismatch(path, &other),
        }
    }

    /// A number whose range in the table fits `T`.
    pub(crate) fn integer<T: TryFrom<i64>>(&self, path: &str) -> T {
        match self.value(path) {
            Typed::Integer(integer) => T::try_from(integer)
                .unwrap_or_else(|_| panic!("the table allows a {path} that its type cannot hold")),
            other => mismatch(path, &other),
        }
    }

    pub(crate) fn duration(&self, path: &str) -> Duration {
        match self.value(path) {
            Typed::Duration(duration) => duration,
            other => mismatch(path, &other),
        }
    }

    pub(crate) fn text(&self, path: &str) -> String {
        match self.value(path) {
            Typed::Text(text) => text,
            other => mismatch(path, &other),
        }
    }

    /// A text, or `None` if it is empty.
    pub(crate) fn text_if_any(&self, path: &str) -> Option<String> {
        Some(self.text(path)).filter(|text| !text.is_empty())
    }

    pub(crate) fn texts(&self, path: &str) -> Vec<String> {
        match self.value(path) {
            Typed::Texts(texts) => texts,
            other => mismatch(path, &other),
        }
    }

    /// A secret, or `None` if it is empty.
    pub(crate) fn secret_if_any(&self, path: &str) -> Option<Secret> {
        match self.value(path) {
            Typed::Secret(secret) => Some(secret).filter(|secret| !secret.expose().is_empty()),
            other => mismatch(path, &other),
        }
    }
}

fn mismatch(path: &str, found: &Typed) -> ! {
    panic!("the table gives {path} another type than the settings ask for: {found:?}")
}
