//! Templates: texts in which `${name}` stands for a variable's value, and `$${` for `${`. Pure.

use std::collections::BTreeMap;

/// A text that cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TemplateError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// `text` with every `${name}` replaced. What a value holds is not looked at again.
///
/// # Errors
/// [`TemplateError`] for a name that has no value, and for `${` without a name and `}`.
pub fn fill(text: &str, values: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find("${") {
        let line = text[..text.len() - rest.len() + place].matches('\n').count() + 1;
        let wrong = |what: String| TemplateError { line, what };
        if rest[..place].ends_with('$') {
            filled.push_str(&rest[..place - 1]);
            filled.push_str("${");
            rest = &rest[place + 2..];
            continue;
        }
        filled.push_str(&rest[..place]);
        let inner = &rest[place + 2..];
        let name: String = inner
            .chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
            .collect();
        if name.is_empty() || !inner[name.len()..].starts_with('}') {
            return Err(wrong("expected ${name}; for the two signs themselves write $${".into()));
        }
        let value = values.get(&name).ok_or_else(|| wrong(format!("no variable {name:?}")))?;
        filled.push_str(value);
        rest = &inner[name.len() + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        let values = [("port", "22"), ("odd", "${port} $${")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        fill(text, &values.into()).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_replaced_once_and_signs_can_be_kept() {
        assert_eq!(filled("Port ${port}\n${port}${port}").unwrap(), "Port 22\n2222");
        assert_eq!(filled("$${port} $port $1 ${odd}").unwrap(), "${port} $port $1 ${port} $${");
        assert_eq!(filled("").unwrap(), "");
    }

    #[test]
    fn a_fault_is_told_with_its_line() {
        assert_eq!(filled("a\n${prot}").unwrap_err(), "line 2: no variable \"prot\"");
        for text in ["${", "${}", "${port", "${port:-1}", "é\n${a b}"] {
            assert!(filled(text).unwrap_err().contains("expected ${name}"), "{text}");
        }
    }

    #[test]
    fn no_text_panics() {
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let _ = filled(&String::from_utf8_lossy(bytes));
        });
    }
}
