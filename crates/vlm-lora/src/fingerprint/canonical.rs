use serde_json::{Map, Value};

/// JSON with sorted keys, without spaces and with floating-point numbers as the text of their bits (`f64:3fb999999999999a`):
/// equal values give equal text, whatever order their fields have in the source and however a library writes a number.
pub(crate) fn canonical_json(value: Value) -> String {
    sorted(value).to_string()
}

/// Replaces floating-point numbers and sorts the keys, which `serde_json` does by itself unless another crate of the build asks it to keep their order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>())
        }
        Value::Number(number) if number.is_f64() => {
            let bits = number.as_f64().unwrap_or_default().to_bits();
            Value::String(format!("f64:{bits:016x}"))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_does_not_matter_and_that_of_lists_does() {
        let text = |json: &str| canonical_json(serde_json::from_str(json).unwrap());
        let expected = r#"{"a":[{"x":1,"y":null},2],"b":"f64:3fb999999999999a"}"#;
        assert_eq!(text(r#" {"b": 0.1, "a": [{"y": null, "x": 1}, 2]}"#), expected);
        assert_ne!(text(r#" {"b": 0.1, "a": [2, {"y": null, "x": 1}]}"#), expected);
    }
}
