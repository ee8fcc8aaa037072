//! Words quoted for a POSIX shell: for a `ProxyCommand`, and for commands shown to be copied.

/// One word, quoted where it needs to be (POSIX.1-2017, Shell Command Language, section 2.2).
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A command line.
#[must_use]
pub fn quote_all<S: AsRef<str>>(words: &[S]) -> String {
    words.iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// A word inside an option of `ssh`: quoted, and with `%` doubled, because `ssh` expands tokens
/// in `ProxyCommand` (`ssh_config(5)`, TOKENS).
#[must_use]
pub fn quote_for_ssh_option(word: &str) -> String {
    quote(&word.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_every_word() {
        let words = ["plain", "", "two words", "it's", "$HOME `id` \\ \"x\"", "a\nb", "-rf", "é*"];
        let script = format!("printf '%s\\0' {}", quote_all(&words));
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.split_terminator('\0').collect::<Vec<_>>(), words);
    }

    #[test]
    fn tokens_of_ssh_are_disarmed() {
        assert_eq!(quote_for_ssh_option("/a%h/b c"), "'/a%%h/b c'");
    }
}
