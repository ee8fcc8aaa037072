//! Quoting for the POSIX shell (POSIX.1-2024, XCU 2.2): the only way data gets into shell text.

/// Letters that mean nothing to a shell anywhere in a word.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_-./:,+@".contains(letter)
}

/// `text` as one shell word. A NUL cannot stand in a shell word; callers refuse it beforehand.
#[must_use]
pub fn quote(text: &str) -> String {
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The words of `argv`, quoted, with blanks between.
#[must_use]
pub fn quote_all<Word: AsRef<str>>(argv: &[Word]) -> String {
    argv.iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

    use super::*;

    fn echoed(words: &[String]) -> Vec<u8> {
        let text = format!("for word in {}; do printf '%s\\0' \"$word\"; done", quote_all(words));
        Command::new("sh").arg("-c").arg(text).output().unwrap().stdout
    }

    #[test]
    fn plain_words_stay_readable() {
        assert_eq!(quote("/usr/bin/env-2.0"), "/usr/bin/env-2.0");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn a_real_shell_gives_every_word_back(
            words in proptest::collection::vec(any::<String>(), 1..6)
        ) {
            let words: Vec<String> = words.iter().map(|word| word.replace('\0', "")).collect();
            let expected: Vec<u8> =
                words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
            prop_assert_eq!(echoed(&words), expected);
        }
    }
}
