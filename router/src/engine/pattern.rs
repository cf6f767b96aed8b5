//! Patterns for channel names: `*` stands for any run of characters, `?` for one.

/// Does `text` match `pattern`? Linear in the length of `text` times the number of stars.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where to go back to: behind the last star, and the text it does not cover yet.
    let mut retry: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                retry = Some((at_pattern + 1, at_text));
                at_pattern += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => {
                let Some((behind_star, covered)) = retry else { return false };
                retry = Some((behind_star, covered + 1));
                at_pattern = behind_star;
                at_text = covered + 1;
            }
        }
    }
    pattern[at_pattern..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        assert!(matches("*", "anything"));
        assert!(matches("chat:*", "chat:1"));
        assert!(matches("*:?", "chat:1"));
        assert!(matches("a*b*c", "axxbxxbc"));
        assert!(!matches("chat:*", "news:1"));
        assert!(!matches("", "x"));
        assert!(matches("", ""));
        assert!(!matches(&"*a".repeat(40), &"b".repeat(255)));
    }
}
