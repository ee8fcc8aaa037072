//! Settings that are `auto`, `on` or `off`, for which a person may well write true or false.

use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde::de::Error;
use serde_json::Value;

/// Reads such a setting: true is `on`, false is `off`.
///
/// # Errors
/// The value is none of these; the error says which there are.
pub(super) fn or_bool<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = match Value::deserialize(deserializer)? {
        Value::Bool(true) => Value::from("on"),
        Value::Bool(false) => Value::from("off"),
        value => value,
    };
    serde_json::from_value(value.clone()).map_err(|_| {
        D::Error::custom(format!("expected \"auto\", \"on\" or \"off\", found {value}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::schema::sections::InterfaceMode;

    #[test]
    fn true_and_false_are_on_and_off_and_others_are_told_what_there_is() {
        let read = |value: Value| or_bool::<_, InterfaceMode>(value);
        assert_eq!(read(json!(false)).unwrap(), InterfaceMode::Off);
        assert_eq!(read(json!(true)).unwrap(), InterfaceMode::On);
        assert_eq!(read(json!("auto")).unwrap(), InterfaceMode::Auto);
        let error = read(json!(3)).unwrap_err().to_string();
        assert_eq!(error, "expected \"auto\", \"on\" or \"off\", found 3");
    }
}
