use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// What can go wrong while reading a configuration file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: std::io::Error },
    /// The file is not TOML.
    #[error("`{path}` is not valid TOML")]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
    /// A key that nobody knows.
    #[error("unknown key `{key}` in `{path}`{}", suggestion(nearest.as_deref()))]
    UnknownKey { path: PathBuf, key: String, nearest: Option<String> },
    /// A value of the wrong type or outside its domain.
    #[error("`[{section}]` in `{path}` cannot be used")]
    Section { path: PathBuf, section: String, source: Box<toml::de::Error> },
    /// An override that is not `table.key=value`, or whose table no file of this command has.
    #[error("`--set {text}` must read table.key=value, with a table of this command's files")]
    Override { text: String },
}

fn read(dir: &Path, name: &str) -> Result<(PathBuf, Table), ConfigError> {
    let path = dir.join(format!("{name}.toml"));
    let text =
        std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
    match text.parse() {
        Ok(table) => Ok((path, table)),
        Err(source) => Err(ConfigError::Parse { path, source: Box::new(source) }),
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

/// One configuration file: its tables are read one by one into the types of the crates they belong to.
#[derive(Debug, Clone)]
pub struct Config {
    path: PathBuf,
    table: Table,
}

impl Config {
    /// Reads `dir/name.toml`, refuses tables outside `known_tables`, and applies the overrides that name one of them.
    ///
    /// # Errors
    /// When the file is missing or is not TOML, names an unknown table, or an override cannot be read.
    pub fn load(
        dir: &Path,
        name: &str,
        known_tables: &[&str],
        overrides: &[String],
    ) -> Result<Self, ConfigError> {
        let (path, mut table) = read(dir, name)?;
        for text in overrides {
            apply(&mut table, text, known_tables)?;
        }
        if let Some(key) = table.keys().find(|key| !known_tables.contains(&key.as_str())) {
            let nearest = nearest(key, known_tables.iter().copied());
            return Err(ConfigError::UnknownKey { path, key: key.clone(), nearest });
        }
        Ok(Self { path, table })
    }

    /// Reads one table into its type; what the table leaves out takes the type's default.
    ///
    /// # Errors
    /// When the table holds a key that the type's default does not have, or a value that does not fit.
    pub fn section<T: DeserializeOwned + Default>(&self, section: &str) -> Result<T, ConfigError> {
        let value = self.table.get(section).cloned().unwrap_or_else(|| Value::Table(Table::new()));
        value.clone().try_into().map_err(|source: toml::de::Error| {
            self.unknown_key(section, &value, &source).unwrap_or(ConfigError::Section {
                path: self.path.clone(),
                section: section.to_owned(),
                source: Box::new(source),
            })
        })
    }

    /// serde reports an unknown key with the names it knows; this turns its words into the nearest of them.
    fn unknown_key(&self, section: &str, value: &Value, source: &toml::de::Error) -> Option<ConfigError> {
        let message = source.message();
        let rest = message.strip_prefix("unknown field `")?;
        let (key, expected) = rest.split_once('`')?;
        value.as_table()?;
        let known: BTreeSet<&str> = expected.split('`').skip(1).step_by(2).collect();
        Some(ConfigError::UnknownKey {
            path: self.path.clone(),
            key: format!("{section}.{key}"),
            nearest: nearest(key, known.into_iter()),
        })
    }
}

fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|name| (strsim::jaro_winkler(key, name), name))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}

/// Sets `a.b.c=value`; the value is read as TOML and, where that fails, as a plain string.
fn apply(table: &mut Table, text: &str, known_tables: &[&str]) -> Result<(), ConfigError> {
    let invalid = || ConfigError::Override { text: text.to_owned() };
    let (path, value) = text.split_once('=').ok_or_else(invalid)?;
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().filter(|key| !key.is_empty() && !keys.is_empty()).ok_or_else(invalid)?;
    if !known_tables.contains(&keys[0]) {
        return Ok(()); // it belongs to another of the command's files
    }
    let value = format!("v = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| Value::String(value.trim().to_owned()));
    let mut target = table;
    for key in keys {
        let entry = target.entry(key).or_insert_with(|| Value::Table(Table::new()));
        target = entry.as_table_mut().ok_or_else(invalid)?;
    }
    target.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Training {
        learning_rate: f64,
        seed: u64,
    }

    fn load(text: &str, overrides: &[&str]) -> Result<Training, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("training.toml"), text).unwrap();
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Config::load(dir.path(), "training", &["training"], &overrides)?.section("training")
    }

    #[test]
    fn an_override_wins_over_the_file() {
        let training =
            load("[training]\nlearning_rate = 1e-3\n", &["training.learning_rate=2e-4", "other.x=1"]);
        assert_eq!(training.unwrap(), Training { learning_rate: 2e-4, seed: 0 });
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let error = load("[training]\nlerning_rate = 1e-3\n", &[]).unwrap_err().to_string();
        assert!(error.contains("`training.lerning_rate`") && error.contains("`learning_rate`?"), "{error}");
    }

    #[test]
    fn an_unknown_table_is_refused() {
        let error = load("[trainin]\n", &[]).unwrap_err().to_string();
        assert!(error.contains("`trainin`") && error.contains("`training`?"), "{error}");
    }

    #[test]
    fn an_override_without_a_table_is_refused() {
        assert!(matches!(load("", &["seed=3"]), Err(ConfigError::Override { .. })));
    }
}
