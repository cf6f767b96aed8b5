//! Texts of /proc that say how memory is used.

/// The text of a file, empty if it cannot be read.
pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of a line `Name:  123 kB`, in bytes. `name` is with its colon.
pub(crate) fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_in_bytes() {
        let text = "Rss:\t      12 kB\nPss:         8 kB\nPss_Anon:    many kB\n";
        assert_eq!((kib(text, "Rss:"), kib(text, "Pss:")), (Some(12_288), Some(8_192)));
        assert_eq!((kib(text, "Pss_Anon:"), kib(text, "Swap:")), (None, None));
    }
}
