//! The program on a machine: releases beside each other, `current` names the one that runs. Pure.

use crate::ssh::quote::quote;

/// The name of a release: version and the start of the program's SHA-256.
#[must_use]
pub fn release_name(version: &str, sha256: &str) -> String {
    let version: String =
        version
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() || ".-+".contains(letter) { letter } else { '_' }
            })
            .collect();
    format!("{version}-{}", sha256.chars().take(8).collect::<String>())
}

/// Shell text that makes `release`, already in its place, the one that runs. It is tried first: a
/// program that cannot run here never becomes `current`.
#[must_use]
pub fn switch(release: &str) -> String {
    let release = quote(release);
    format!(
        "title install\n\
         must \"$library/releases/\"{release}/raptor version\n\
         if [ \"$(readlink \"$library/current\")\" != releases/{release} ]; then\n\
           changed=yes; must link releases/{release} \"$library/current\"\n\
         fi\n\
         if [ -L \"$command\" ] || [ ! -e \"$command\" ]; then\n\
           must link \"$program\" \"$command\"\n\
         fi"
    )
}

/// Shell text that removes every release but `keep`.
#[must_use]
pub fn prune(keep: &[&str]) -> String {
    let patterns: Vec<String> = keep.iter().map(|release| quote(release)).collect();
    format!(
        "for old in \"$library\"/releases/*; do\n\
         case ${{old##*/}} in {}) ;; *) rm -rf \"$old\" ;; esac; done",
        patterns.join("|")
    )
}
