//! What a GGUF file states, read back.

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;

use crate::Result;
use crate::json::invalid;

/// The keys of a file that was read.
pub(super) struct Keys<'a> {
    pub(super) path: &'a Path,
    pub(super) map: &'a HashMap<String, Value>,
}

impl<'a> Keys<'a> {
    pub(super) fn get<T>(&self, key: &str, what: &str, value: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let found = self.map.get(key).ok_or_else(|| invalid(self.path, format!("`{key}` is missing")))?;
        value(found).ok_or_else(|| invalid(self.path, format!("`{key}` is not {what}")))
    }

    pub(super) fn number(&self, key: &str) -> Result<u64> {
        self.get(key, "a whole number", |value| value.to_u64().ok())
    }

    /// A float as the shortest decimal that means it, so that `1e-5` in f32 does not become another f64.
    pub(super) fn float(&self, key: &str) -> Result<f64> {
        let value = self.get(key, "a number", |value| value.to_f32().ok())?;
        value.to_string().parse().map_err(|_| invalid(self.path, format!("`{key}` is {value}")))
    }

    pub(super) fn text(&self, key: &str) -> Result<&'a str> {
        let found = self.map.get(key).and_then(|value| value.to_string().ok());
        found.map(String::as_str).ok_or_else(|| invalid(self.path, format!("`{key}` is no text")))
    }

    pub(super) fn texts(&self, key: &str) -> Result<Vec<&'a str>> {
        let found = self.map.get(key).and_then(texts);
        found.ok_or_else(|| invalid(self.path, format!("`{key}` is no list of texts")))
    }

    pub(super) fn numbers(&self, key: &str) -> Result<Vec<i32>> {
        self.get(key, "a list of numbers", |value| {
            value.to_vec().ok()?.iter().map(|value| value.to_i32().ok()).collect()
        })
    }

    /// Refuses a file of another kind.
    pub(super) fn expect(&self, key: &str, expected: &str) -> Result<()> {
        match self.text(key)? {
            found if found == expected => Ok(()),
            found => Err(invalid(self.path, format!("`{key}` is `{found}`, not `{expected}`"))),
        }
    }
}

/// The texts of a list.
fn texts(value: &Value) -> Option<Vec<&str>> {
    value.to_vec().ok()?.iter().map(|value| value.to_string().ok().map(String::as_str)).collect()
}
