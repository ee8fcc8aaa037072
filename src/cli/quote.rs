//! Words quoted for an option of `ssh`.

use crate::ssh::quote::quote;

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
    fn tokens_of_ssh_are_disarmed() {
        assert_eq!(quote_for_ssh_option("/a%h/b c"), "'/a%%h/b c'");
    }
}
