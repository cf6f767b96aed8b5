//! What is wrong with a configuration, for the operator: where, what, and how to mend it.

use std::fmt;
use std::sync::Arc;

use crate::settings::document::Position;

/// Where something was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the configuration file.
    File(Arc<str>, Position),
    /// The configuration file as a whole.
    WholeFile(Arc<str>),
    /// In an environment variable.
    Environment(String),
    /// By a flag of the command line.
    Flag(&'static str),
    /// Nowhere: development mode or a default said it.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name, at) => write!(f, "{name}:{at}"),
            Self::WholeFile(name) => f.write_str(name),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One problem or warning. Its text never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The option, with dots; empty if it concerns the whole file.
    pub path: String,
    /// One sentence.
    pub sentence: String,
}

impl Problem {
    pub(crate) fn new(place: &Place, path: &str, sentence: impl Into<String>) -> Self {
        Self { place: place.clone(), path: path.to_owned(), sentence: sentence.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}: {}", self.place, self.sentence)
        } else {
            write!(f, "{}: {}: {}", self.place, self.path, self.sentence)
        }
    }
}

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Refusal {}

/// By position in the file; what no file says comes after it, as it was found.
pub(crate) fn sort(problems: &mut [Problem]) {
    problems.sort_by_key(|problem| match &problem.place {
        Place::WholeFile(_) => (0, Position::default()),
        Place::File(_, at) => (0, *at),
        Place::Environment(_) => (1, Position::default()),
        Place::Flag(_) => (2, Position::default()),
        Place::Default => (3, Position::default()),
    });
}
