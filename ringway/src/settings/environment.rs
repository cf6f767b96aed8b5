//! Options in environment variables: `RINGWAY_CLIENT_PING_INTERVAL=10s`.
//!
//! Lists of text are separated by blanks. Namespaces are a JSON list in
//! `RINGWAY_CHANNEL_NAMESPACES`, or single options of one that exists:
//! `RINGWAY_CHANNEL_NAMESPACES_CHAT_HISTORY_SIZE=10`.

use crate::settings::document::Position;
use crate::settings::json;
use crate::settings::nearest;
use crate::settings::options::{self, OptionRow};
use crate::settings::problem::Place;
use crate::settings::reading::{Reading, Said, Speaker, namespace_path};

const PREFIX: &str = "RINGWAY_";
const NAMESPACES: &str = "CHANNEL_NAMESPACES";
const WITHOUT_NAMESPACE: &str = "CHANNEL_WITHOUT_NAMESPACE_";

/// Do these variables bring credentials? Then they are a configuration even without a file.
pub(crate) fn bring_credentials(variables: &[(String, String)]) -> bool {
    variables.iter().any(|(name, _)| {
        name.strip_prefix(PREFIX).is_some_and(|name| {
            name.starts_with("CLIENT_TOKEN_")
                || ["CLIENT_INSECURE", "HTTP_API_KEY", "HTTP_API_KEY_FILE", "HTTP_API_INSECURE"]
                    .contains(&name)
        })
    })
}

/// Reads every variable that is ours.
pub(crate) fn read(reading: &mut Reading, variables: &[(String, String)]) {
    let mut ours: Vec<(&str, &str)> = variables
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.as_str())))
        .collect();
    // Sorted, the list of all namespaces comes before options of single ones.
    ours.sort_unstable();
    for (name, value) in ours {
        read_variable(reading, name, value);
    }
}

fn read_variable(reading: &mut Reading, name: &str, value: &str) {
    let place = Place::Environment(format!("{PREFIX}{name}"));
    let said = Said::Words(value);
    if name == NAMESPACES {
        read_namespaces(reading, &place, value);
    } else if let Some(option) = name.strip_prefix(WITHOUT_NAMESPACE) {
        let Some(row) = channel_row(option) else { return unknown(reading, &place, name) };
        let path = format!("{}.{}", options::CHANNELS_WITHOUT_NAMESPACE, row.path);
        if let Some(given) = reading.offer(row, &path, &place, said) {
            reading.values.without.give(row, given);
        }
    } else if let Some(rest) = name.strip_prefix("CHANNEL_NAMESPACES_") {
        let Some((index, row)) = namespace_option(reading, rest) else {
            let sentence = "no namespace of the configuration has this option";
            return reading.problem(&place, "", sentence);
        };
        let path =
            format!("{}.{}", namespace_path(&reading.values.namespaces[index].name), row.path);
        if let Some(given) = reading.offer(row, &path, &place, said) {
            reading.values.namespaces[index].options.give(row, given);
        }
    } else if let Some(row) = global_row(name) {
        if let Some(given) = reading.offer(row, row.path, &place, said) {
            reading.values.global.give(row, given);
        }
    } else if !is_of_kubernetes(name, value) {
        unknown(reading, &place, name);
    }
}

fn read_namespaces(reading: &mut Reading, place: &Place, value: &str) {
    let Place::Environment(name) = place else { return };
    match json::read(value) {
        Ok(node) => reading.read_namespaces(&Speaker::Environment(name.clone()), &node),
        Err(fault) => {
            let Position { line, column } = fault.at;
            let sentence = format!("{} (line {line}, column {column} of it)", fault.sentence);
            reading.problem(place, options::NAMESPACES, sentence);
        }
    }
}

fn global_row(name: &str) -> Option<&'static OptionRow> {
    options::all().find(|row| shouted(row.path) == name).or_else(|| {
        options::all().find(|row| {
            let below = name.strip_prefix(&shouted(row.path));
            row.is_subtree() && below.is_some_and(|below| below.starts_with('_'))
        })
    })
}

fn channel_row(name: &str) -> Option<&'static OptionRow> {
    options::of_channels().iter().find(|row| shouted(row.path) == name)
}

/// The namespace and the option of `CHAT_HISTORY_SIZE`. Of several namespaces, the longest name
/// wins.
fn namespace_option(reading: &Reading, rest: &str) -> Option<(usize, &'static OptionRow)> {
    let namespaces = reading.values.namespaces.iter().enumerate();
    let matching = namespaces.filter_map(|(index, namespace)| {
        let name = shouted(&namespace.name);
        let option = rest.strip_prefix(name.as_str())?.strip_prefix('_')?;
        Some((name.len(), index, channel_row(option)?))
    });
    matching.max_by_key(|(length, ..)| *length).map(|(_, index, row)| (index, row))
}

fn unknown(reading: &mut Reading, place: &Place, name: &str) {
    // Only what would be taken is worth being proposed.
    let channel_names = options::of_channels()
        .iter()
        .filter(|row| row.is_served())
        .map(|row| format!("{WITHOUT_NAMESPACE}{}", shouted(row.path)));
    let served = options::all().filter(|row| row.is_served());
    let names: Vec<String> = served.map(|row| shouted(row.path)).chain(channel_names).collect();
    let nearest = nearest::nearest(name, names.iter().map(String::as_str));
    reading.unknown(place, "", nearest.map(|nearest| format!("{PREFIX}{nearest}")));
}

/// A Kubernetes service called `ringway` puts variables of its own into every container.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let port_of = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    name.contains("SERVICE_HOST")
        || name.contains("SERVICE_PORT")
        || name.split_once("PORT_").is_some_and(|(_, rest)| port_of(rest))
        || (name.ends_with("PORT") && value.contains("://"))
}

fn shouted(path: &str) -> String {
    path.replace(['.', '-'], "_").to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(variables: &[(&str, &str)]) -> Reading {
        let owned: Vec<_> =
            variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let mut reading = Reading::new(false);
        read(&mut reading, &owned);
        reading
    }

    #[test]
    fn variables_set_options() {
        let reading = read_all(&[
            ("RINGWAY_CHANNEL_NAMESPACES_A_B_HISTORY_SIZE", "7"),
            ("RINGWAY_CHANNEL_NAMESPACES", "[{\"name\":\"a\"},{\"name\":\"a-b\"}]"),
            ("RINGWAY_CHANNEL_WITHOUT_NAMESPACE_PRESENCE", "true"),
            ("RINGWAY_CLIENT_ALLOWED_ORIGINS", "https://a https://b"),
            ("RINGWAY_ADMIN_ENABLED", "false"),
            ("PATH", "/bin"),
        ]);
        assert_eq!(reading.problems, []);
        let namespace = &reading.values.namespaces[1];
        assert_eq!(namespace.options.integer::<u32>("history_size"), 7);
        assert!(reading.values.without.flag("presence"));
        assert_eq!(reading.values.global.texts("client.allowed_origins").len(), 2);
    }

    #[test]
    fn wrong_variables_are_problems() {
        for (name, value) in [
            ("RINGWAY_CLIENT_PING_INTERVALL", "1s"),
            ("RINGWAY_CLIENT_PING_INTERVAL", "1"),
            ("RINGWAY_ADMIN_PASSWORD", "x"),
            ("RINGWAY_CHANNEL_NAMESPACES", "{"),
            ("RINGWAY_CHANNEL_NAMESPACES_NOSUCH_PRESENCE", "true"),
            ("RINGWAY_CHANNEL_WITHOUT_NAMESPACE_PRESENSE", "true"),
        ] {
            assert_eq!(read_all(&[(name, value)]).problems.len(), 1, "{name}");
        }
        let reading = read_all(&[("RINGWAY_CLIENT_PING_INTERVALL", "1s")]);
        assert!(reading.problems[0].sentence.contains("`RINGWAY_CLIENT_PING_INTERVAL`"));
        let reading = read_all(&[("RINGWAY_ADMIM", "true")]);
        assert!(!reading.problems[0].sentence.contains("RINGWAY_ADMIN"), "it is not served");
    }

    #[test]
    fn variables_of_kubernetes_are_not_ours() {
        let reading = read_all(&[
            ("RINGWAY_PORT", "tcp://10.0.0.1:8000"),
            ("RINGWAY_PORT_8000_TCP_ADDR", "10.0.0.1"),
            ("RINGWAY_SERVICE_HOST", "10.0.0.1"),
            ("RINGWAY_API_SERVICE_PORT_HTTP", "8000"),
        ]);
        assert_eq!(reading.problems, []);
    }
}
