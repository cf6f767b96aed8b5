//! What an option may say: types, ranges, and the sentence for everything else.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::fmt;

use crate::limits;
use crate::secret::Secret;
use crate::settings::document::Value;

/// The type of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Flag,
    /// A whole number and its unit.
    Integer {
        min: i64,
        max: i64,
        unit: &'static str,
    },
    /// `"300s"`, `"1h30m"`; zero is allowed where `min_ms` is zero.
    Duration {
        min_ms: u64,
    },
    Text,
    Secret,
    /// The path of a file whose content is a secret.
    SecretFile,
    /// The path of a file that may be shown.
    File,
    Texts,
    /// Names of hosts: a list, or one text with commas between them, as Centrifugo has it.
    Hosts,
    Choice(&'static [&'static str]),
    /// An address to listen on; empty: every IPv4 interface.
    Address,
    /// An address with a port; empty: none.
    SocketAddress,
    /// Never read: the option is not served.
    Anything,
}

/// A value that fits its [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    Flag(bool),
    Integer(i64),
    Duration(Duration),
    Text(String),
    Secret(Secret),
    Texts(Vec<String>),
}

impl Kind {
    pub(crate) const DURATION: Self = Self::Duration { min_ms: 0 };

    pub(crate) const fn integer(min: i64, max: i64, unit: &'static str) -> Self {
        Self::Integer { min, max, unit }
    }

    /// May a message repeat the value?
    pub(crate) fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::SecretFile | Self::Anything)
    }

    /// The value of an option in a file, or a sentence: what was expected, what was found.
    pub(crate) fn accept(self, value: &Value) -> Result<Typed, String> {
        let wrong = || self.wrong(&found(value, self.is_secret()));
        match (self, value) {
            (Self::Anything, _) => Ok(Typed::Text(String::new())),
            (Self::Flag, Value::Flag(flag)) => Ok(Typed::Flag(*flag)),
            (Self::Integer { min, max, .. }, Value::Integer(integer)) => match *integer {
                integer if integer < min => Err(wrong() + ", which is too small"),
                integer if integer > max => Err(wrong() + ", which is too large"),
                integer => Ok(Typed::Integer(integer)),
            },
            (Self::Duration { min_ms: 0 }, Value::Integer(0)) => {
                Ok(Typed::Duration(Duration::ZERO))
            }
            (Self::Duration { .. }, Value::Integer(_)) => {
                Err(wrong() + "; a number alone has no unit")
            }
            (Self::Flag | Self::Integer { .. }, Value::Text(_)) => Err(wrong()),
            (Self::Texts | Self::Hosts, Value::List(nodes)) => {
                let texts = nodes.iter().map(|node| match &node.value {
                    Value::Text(text) => Ok(text.clone()),
                    other => Err(self.wrong(&format!("{} in it", found(other, false)))),
                });
                texts.collect::<Result<_, _>>().map(Typed::Texts)
            }
            (Self::Texts, _) => Err(wrong()),
            (_, Value::Text(text)) => self.parse(text),
            (Self::Text | Self::Secret, Value::Integer(_) | Value::Other(_)) => {
                Err(wrong() + "; put it in quotes")
            }
            _ => Err(wrong()),
        }
    }

    /// The value of an option as the environment, a flag or the table writes it.
    pub(crate) fn parse(self, text: &str) -> Result<Typed, String> {
        // Words have no type: a number among them is judged as the number it is.
        if let (Self::Integer { .. }, Ok(integer)) = (self, text.parse::<i64>()) {
            return self.accept(&Value::Integer(integer));
        }
        let wrong = || self.wrong(&found(&Value::Text(text.to_owned()), self.is_secret()));
        let typed = match self {
            Self::Flag => match text {
                "true" | "1" => Some(Typed::Flag(true)),
                "false" | "0" => Some(Typed::Flag(false)),
                _ => None,
            },
            // A number was judged above.
            Self::Integer { .. } => None,
            Self::Duration { min_ms } => {
                let least = Duration::from_millis(min_ms);
                duration(text).filter(|duration| *duration >= least).map(Typed::Duration)
            }
            Self::Secret => Some(Typed::Secret(Secret::new(text))),
            Self::Texts => Some(Typed::Texts(text.split_whitespace().map(str::to_owned).collect())),
            Self::Hosts => {
                let names = text.split([',', ' ']).filter(|name| !name.is_empty());
                Some(Typed::Texts(names.map(str::to_owned).collect()))
            }
            Self::Choice(choices) => choices.contains(&text).then(|| Typed::Text(text.to_owned())),
            Self::Address => address(text).map(|_| Typed::Text(text.to_owned())),
            Self::SocketAddress => (text.is_empty() || socket_address(text).is_some())
                .then(|| Typed::Text(text.to_owned())),
            Self::Text | Self::File | Self::SecretFile | Self::Anything => {
                Some(Typed::Text(text.to_owned()))
            }
        };
        typed.ok_or_else(wrong)
    }

    fn wrong(self, found: &str) -> String {
        format!("expected {self}, found {found}")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Integer { min, max, unit: "" } => write!(f, "a whole number, {min} to {max}"),
            Self::Integer { min, max, unit } => write!(f, "a number of {unit}, {min} to {max}"),
            Self::Duration { min_ms: 0 } => f.write_str("a duration such as \"25s\" or \"1h30m\""),
            Self::Duration { min_ms } => {
                write!(f, "a duration of at least {min_ms}ms such as \"25s\" or \"1h30m\"")
            }
            Self::Text => f.write_str("text"),
            Self::Secret => f.write_str("text (a secret)"),
            Self::File | Self::SecretFile => f.write_str("the path of a file"),
            Self::Texts => f.write_str("a list of texts"),
            Self::Hosts => f.write_str("a list of hosts"),
            Self::Choice(choices) => write!(f, "one of \"{}\"", choices.join("\", \"")),
            Self::Address => f.write_str("an IP address, \"localhost\" or \"\" for all interfaces"),
            Self::SocketAddress => {
                f.write_str("an address with a port such as \"127.0.0.1:9000\", or \"\" for none")
            }
            Self::Anything => f.write_str("anything"),
        }
    }
}

/// What stands there, for a sentence. Of a secret, only its type.
fn found(value: &Value, is_secret: bool) -> String {
    let (article_and_type, text) = match value {
        Value::Null => return "nothing (null)".to_owned(),
        Value::Flag(flag) => ("the value", flag.to_string()),
        Value::Integer(integer) => ("the number", integer.to_string()),
        Value::Other(text) => ("the value", text.clone()),
        Value::Text(text) => ("the text", format!("{text:?}")),
        Value::List(_) => return "a list".to_owned(),
        Value::Table(_) => return "a table of options".to_owned(),
    };
    if is_secret {
        return "something else (not shown, it may be secret)".to_owned();
    }
    let mut short: String = text.chars().take(limits::QUOTED_CHARACTERS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{article_and_type} {short}")
}

/// Reads a duration as Go writes it: `1h30m`, `2.5s`, `300ms`. A bare `0` is zero.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_bytes = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_bytes);
        let unit_bytes = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_bytes);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number = number.parse::<f64>().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = tail;
    }
    let most = Duration::from_secs(limits::DURATION_SECONDS_MAX);
    (!text.is_empty() && total <= most).then_some(total)
}

/// Reads an address to listen on.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    match text {
        "" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => text.trim_matches(['[', ']']).parse().ok(),
    }
}

/// Reads an address with a port.
pub(crate) fn socket_address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    Some(SocketAddr::new(address(host)?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let ms = |text| duration(text).map(|duration| duration.as_millis());
        assert_eq!(ms("300s"), Some(300_000));
        assert_eq!(ms("720h"), Some(720 * 3_600_000));
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("1.5s"), Some(1_500));
        assert_eq!(ms("1000ms"), Some(1_000));
        assert_eq!(ms("0"), Some(0));
        assert_eq!(ms("0s"), Some(0));
        for wrong in ["", "5", "s", "5 s", "-5s", "5d", "5s5", "..s", "1e3s", "99999999h", "5sm"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_wrong_value_is_explained() {
        let port = Kind::integer(1, 65_535, "");
        assert_eq!(
            port.accept(&Value::Text("80".into())).unwrap_err(),
            "expected a whole number, 1 to 65535, found the text \"80\""
        );
        assert_eq!(
            Kind::DURATION.accept(&Value::Integer(25)).unwrap_err(),
            "expected a duration such as \"25s\" or \"1h30m\", found the number 25; \
             a number alone has no unit"
        );
        assert_eq!(
            port.parse("99999").unwrap_err(),
            "expected a whole number, 1 to 65535, found the number 99999, which is too large"
        );
        assert_eq!(
            port.parse("0").unwrap_err(),
            "expected a whole number, 1 to 65535, found the number 0, which is too small"
        );
        let hosts = Typed::Texts(vec!["a.example".into(), "b.example".into()]);
        assert_eq!(Kind::Hosts.parse("a.example, b.example"), Ok(hosts));
        assert!(!Kind::Secret.accept(&Value::Integer(12_345)).unwrap_err().contains("12345"));
        let long = Kind::Flag.accept(&Value::Text("x".repeat(500))).unwrap_err();
        assert!(long.len() < 120, "{long}");
    }

    #[test]
    fn addresses_are_numbers_or_localhost() {
        assert_eq!(address("localhost"), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert!(address("::1").is_some() && address("[::1]").is_some());
        assert_eq!(address("example.com"), None);
        assert_eq!(socket_address("127.0.0.1:9000"), Some(([127, 0, 0, 1], 9000).into()));
        assert_eq!(socket_address("127.0.0.1"), None);
        assert_eq!(socket_address("127.0.0.1:99999"), None);
    }
}
