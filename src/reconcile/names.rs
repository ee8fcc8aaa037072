//! Names for machines that were given none.

use std::collections::BTreeSet;

use crate::model::name::Name;

/// Longest stem: a DNS label of 63 less `-` and the digits of any number of machines.
const STEM_LENGTH_MAX: usize = 52;

/// The lowest free `STEM-1`, `STEM-2`, ... ; what is handed out is taken.
pub(super) fn next_free(stem: &str, taken: &mut BTreeSet<Name>) -> Name {
    let stem: String = stem.chars().take(STEM_LENGTH_MAX).collect();
    let mut number = 1u64;
    loop {
        // The stem comes from a valid name and is shortened, so this only joins what is sound.
        let name = Name::from_hostname(&format!("{stem}-{number}"));
        if taken.insert(name.clone()) {
            return name;
        }
        number += 1;
    }
}
