//! Which known name an unknown one was meant to be.

use crate::settings::options;

/// The option nearest to an unknown key below `parent` (empty at the top), with its whole path.
pub(crate) fn option(parent: &str, key: &str) -> Option<String> {
    let prefix = if parent.is_empty() { String::new() } else { format!("{parent}.") };
    let siblings = options::all()
        .filter_map(|row| row.path.strip_prefix(prefix.as_str())?.split('.').next())
        .chain(channel_tables(parent));
    if let Some(sibling) = nearest(key, siblings) {
        return Some(format!("{prefix}{sibling}"));
    }
    // Older versions of Centrifugo had flat names, such as `token_hmac_secret_key`.
    let flat = key.replace('.', "_").to_ascii_lowercase();
    let moved = options::all().filter(|row| row.path.contains('.'));
    let moved = moved.map(|row| row.path).find(|path| {
        let path = path.replace('.', "_");
        path == flat || path.ends_with(&format!("_{flat}"))
    });
    moved.map(str::to_owned).or_else(|| {
        let channel = options::find_channel(key).filter(|row| row.is_served())?;
        Some(format!("{}.{}", options::CHANNELS_WITHOUT_NAMESPACE, channel.path))
    })
}

/// The two parts of `channel` that have a table of their own.
fn channel_tables(parent: &str) -> impl Iterator<Item = &'static str> {
    let is_channel = parent == "channel";
    ["without_namespace", "namespaces"].into_iter().filter(move |_| is_channel)
}

/// The channel option nearest to an unknown one.
pub(crate) fn channel_option(key: &str) -> Option<String> {
    let names = options::of_channels().iter().map(|row| row.path).chain(["name"]);
    // A `name` outside of a namespace is not meant to be itself.
    nearest(key, names.filter(|name| *name != key)).map(str::to_owned)
}

/// The nearest of `candidates`, unless all are too far to be meant.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let (candidate, distance) = candidates
        .map(|candidate| (candidate, distance(&word, &candidate.to_ascii_lowercase())))
        .min_by_key(|(_, distance)| *distance)?;
    let tolerance = 1 + word.chars().count().min(candidate.len()) / 3;
    (distance <= tolerance).then_some(candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![(0..=right.len()).collect::<Vec<_>>()];
    for (i, &a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in right.iter().enumerate() {
            let above = &rows[i];
            let mut least = (above[j] + usize::from(a != b)).min(above[j + 1] + 1).min(row[j] + 1);
            let swapped = i > 0 && j > 0 && a == right[j - 1] && left[i - 1] == b;
            if swapped {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_is_one_step() {
        assert_eq!(distance("insecure", "insecure"), 0);
        assert_eq!(distance("inescure", "insecure"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn names_are_found_near_and_far() {
        let client = |key| option("client", key).unwrap();
        assert_eq!(client("inescure"), "client.insecure");
        assert_eq!(client("alowed_origins"), "client.allowed_origins");
        assert_eq!(option("", "clients").as_deref(), Some("client"));
        assert_eq!(option("channel", "namespace").as_deref(), Some("channel.namespaces"));
        let flat = option("", "token_hmac_secret_key").unwrap();
        assert_eq!(flat, "client.token.hmac_secret_key");
        assert_eq!(option("", "history_size").unwrap(), "channel.without_namespace.history_size");
        assert_eq!(option("", "xylophone_quartet"), None);
        assert_eq!(channel_option("histroy_size").as_deref(), Some("history_size"));
    }
}
