//! Variables of provisioning modules: declared with a type, set in the configuration.

use std::collections::BTreeMap;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Longest value, in bytes, as a script gets it.
const VALUE_LENGTH_MAX: usize = 64 * 1024;

/// Names that mean something to a shell or a program loader: no module may set them.
const RESERVED: [&str; 8] = ["PATH", "IFS", "HOME", "ENV", "SHELL", "PWD", "LC_ALL", "BASH_ENV"];

/// Values by variable and module, as the configuration has them.
pub type Settings = BTreeMap<String, Map<String, Value>>;

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Any text.
    #[default]
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Texts; scripts get them in one text with `separator` between.
    List,
}

/// A variable. In a manifest a bare value declares its type and its default.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Variable {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it is while nobody sets it; without one it must be set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What it is for, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The texts that it may be; any when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// The least number that it may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// The greatest number that it may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// What stands between the texts of a list.
    pub separator: String,
}

/// The long form in a manifest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declaration {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    default: Option<Value>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    choices: Vec<String>,
    #[serde(default)]
    min: Option<i64>,
    #[serde(default)]
    max: Option<i64>,
    #[serde(default = "blank")]
    separator: String,
}

fn blank() -> String {
    " ".to_owned()
}

impl Variable {
    fn plain(kind: Kind, default: impl Into<Value>) -> Self {
        Self {
            kind,
            default: Some(default.into()),
            description: String::new(),
            choices: Vec::new(),
            min: None,
            max: None,
            separator: blank(),
        }
    }

    /// Says what is wrong with `value`, when something is.
    #[must_use]
    pub fn fault(&self, value: &Value) -> Option<String> {
        self.text_of(value).err()
    }

    /// The text that scripts get: of `given`, else of the default.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn text(&self, given: Option<&Value>) -> Result<String, String> {
        let value = given.filter(|value| !value.is_null()).or(self.default.as_ref());
        self.text_of(value.ok_or("it has no default and must be set")?)
    }

    fn text_of(&self, value: &Value) -> Result<String, String> {
        let expected = |what: &str| Err(format!("expected {what}, found {value}"));
        let text = match (self.kind, value) {
            (Kind::Text, Value::String(text)) => text.clone(),
            (Kind::Text, _) => return expected("a text"),
            (Kind::Boolean, Value::Bool(flag)) => flag.to_string(),
            (Kind::Boolean, _) => return expected("true or false"),
            (Kind::Integer, value) => {
                let Some(number) = value.as_i64() else { return expected("a whole number") };
                let (min, max) = (self.min.unwrap_or(i64::MIN), self.max.unwrap_or(i64::MAX));
                if !(min..=max).contains(&number) {
                    return expected(&format!("a number from {min} to {max}"));
                }
                number.to_string()
            }
            (Kind::List, Value::Array(items)) => {
                let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                let Some(texts) = texts else { return expected("a list of texts") };
                if let Some(other) = texts.iter().find(|text| !self.may_be(text)) {
                    return Err(format!("{other:?} is none of {}", self.choices.join(", ")));
                }
                texts.join(&self.separator)
            }
            (Kind::List, _) => return expected("a list of texts"),
        };
        if self.kind == Kind::Text && !self.may_be(&text) {
            return Err(format!("{text:?} is none of {}", self.choices.join(", ")));
        }
        if text.contains('\0') || text.len() > VALUE_LENGTH_MAX {
            return Err(format!("expected at most {VALUE_LENGTH_MAX} bytes and no NUL"));
        }
        Ok(text)
    }

    fn may_be(&self, text: &str) -> bool {
        self.choices.is_empty() || self.choices.iter().any(|choice| choice == text)
    }
}

/// Whether scripts can have a variable of this name.
#[must_use]
pub fn is_sound_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.len() <= 64
        && name.bytes().all(letters)
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && !name.starts_with("RAPTOR_")
        && !name.starts_with("LD_")
        && !RESERVED.contains(&name)
}

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VariableVisitor)
    }
}

struct VariableVisitor;

impl<'de> Visitor<'de> for VariableVisitor {
    type Value = Variable;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .write_str("a default, or { type = \"...\", default = ..., description = \"...\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Variable, E> {
        Ok(Variable::plain(Kind::Text, text))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Variable, E> {
        Ok(Variable::plain(Kind::Integer, number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Variable, E> {
        Ok(Variable::plain(Kind::Integer, number))
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Variable, E> {
        Ok(Variable::plain(Kind::Boolean, flag))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Variable, A::Error> {
        let items = Vec::<String>::deserialize(de::value::SeqAccessDeserializer::new(items))?;
        Ok(Variable::plain(Kind::List, items))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Variable, A::Error> {
        let said = Declaration::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let Declaration { kind, default, description, choices, min, max, separator } = said;
        Ok(Variable { kind, default, description, choices, min, max, separator })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variable(declared: Value) -> Variable {
        serde_json::from_value(declared).unwrap()
    }

    #[test]
    fn values_become_texts_by_their_types() {
        for (declared, given, text) in [
            (json!("a"), Value::Null, "a"),
            (json!("a"), json!("b c"), "b c"),
            (json!(22), json!(2222), "2222"),
            (json!(true), json!(false), "false"),
            (json!(["a", "b"]), Value::Null, "a b"),
            (json!({"type": "list", "default": [], "separator": ", "}), json!(["1", "2"]), "1, 2"),
            (json!({"type": "text", "choices": ["x", "y"], "default": "x"}), json!("y"), "y"),
        ] {
            assert_eq!(variable(declared).text(Some(&given)).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let number = json!({"type": "integer", "min": 1, "max": 9});
        for (declared, given, told) in [
            (json!("a"), json!(1), "expected a text, found 1"),
            (json!(1), json!("1"), "expected a whole number, found \"1\""),
            (json!(true), json!("yes"), "expected true or false"),
            (json!(["a"]), json!(["a", 1]), "expected a list of texts"),
            (number.clone(), json!(10), "expected a number from 1 to 9, found 10"),
            (number, Value::Null, "must be set"),
            (json!({"type": "text", "choices": ["x"]}), json!("y"), "\"y\" is none of x"),
            (json!("a"), json!("\0"), "no NUL"),
        ] {
            let error = variable(declared).text(Some(&given)).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        assert!(serde_json::from_value::<Variable>(json!({"type": "colour"})).is_err());
    }

    #[test]
    fn only_harmless_names_are_sound() {
        assert!(["port", "_a1", "Z"].into_iter().all(is_sound_name));
        for name in ["", "1a", "a-b", "PATH", "LD_PRELOAD", "RAPTOR_ROOT", "a=b", "é"] {
            assert!(!is_sound_name(name), "{name}");
        }
    }
}
