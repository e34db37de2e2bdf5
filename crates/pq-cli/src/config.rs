use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use project_files::{Layout, Storage};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::foreign;
use crate::keys::{ConfigFile, FILES};

/// The default of `training.output_dir`.
const OUTPUT_DIR: &str = "outputs";

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
    /// A value of the wrong type.
    #[error("`[{section}]` in `{path}` cannot be used")]
    Section { path: PathBuf, section: String, source: Box<toml::de::Error> },
    /// A value outside its domain, in the file or in an override.
    #[error("`[{section}]` of `{path}`, with the overrides of the command line, cannot be used")]
    Value { path: PathBuf, section: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// An override that does not have the form of one.
    #[error("`--set {text}` must read {expected}")]
    Override { text: String, expected: &'static str },
    /// An override of a table or key that nobody knows.
    #[error("unknown key `{key}` in `--set`{}", suggestion(nearest.as_deref()))]
    UnknownOverride { key: String, nearest: Option<String> },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

/// The configuration of a project: all of its files, read once, with every table and key known and the overrides applied.
///
/// A command reads the tables it needs with [`section`](Self::section); the others are checked all the same, so that what one
/// command refuses no other takes.
#[derive(Debug, Clone)]
pub struct ProjectConfig {
    tables: Table,
    dir: PathBuf,
}

impl ProjectConfig {
    /// Reads the configuration files of `dir`. A file that is not there holds the defaults; a folder that was `named` must be there.
    ///
    /// # Errors
    /// When a file cannot be read or is not TOML, or a file or an override names a table or key that nobody knows.
    pub fn load(dir: &Path, named: bool, overrides: &[String]) -> Result<Self, ConfigError> {
        if named && !dir.is_dir() {
            return Err(ConfigError::Read { path: dir.to_owned(), source: ErrorKind::NotFound.into() });
        }
        let mut tables = Table::new();
        for file in FILES {
            let path = path_of(dir, file.name);
            let Some(mut table) = read(&path)? else { continue };
            for (name, value) in &mut table {
                if let Some(table) = value.as_table_mut() {
                    foreign::adopt(name, table);
                }
            }
            check(file, &path, &table)?;
            tables.extend(table);
        }
        for text in overrides {
            apply(&mut tables, text)?;
        }
        Ok(Self { tables, dir: dir.to_owned() })
    }

    /// Reads one table into its type and checks its values; what the table leaves out takes the type's default.
    ///
    /// # Errors
    /// When a value does not fit its type or its domain, or a nested key is unknown.
    pub fn section<T, E>(
        &self,
        table: &str,
        check: impl FnOnce(&T) -> Result<(), E>,
    ) -> Result<T, ConfigError>
    where
        T: DeserializeOwned + Default,
        E: std::error::Error + Send + Sync + 'static,
    {
        let file = FILES.iter().find(|file| file.tables.iter().any(|(name, _)| *name == table));
        let path = file.map_or_else(|| self.dir.clone(), |file| path_of(&self.dir, file.name));
        let value = self.tables.get(table).cloned().unwrap_or_else(|| Value::Table(Table::new()));
        read_into(value, &path, table, check)
    }

    /// Reads all tables of one file into a type that has one field a table; otherwise as [`section`](Self::section).
    ///
    /// # Errors
    /// As [`section`](Self::section).
    pub fn file<T, E>(&self, name: &str, check: impl FnOnce(&T) -> Result<(), E>) -> Result<T, ConfigError>
    where
        T: DeserializeOwned + Default,
        E: std::error::Error + Send + Sync + 'static,
    {
        let tables = FILES.iter().filter(|file| file.name == name).flat_map(|file| file.tables);
        let of_file =
            tables.filter_map(|(table, _)| Some(((*table).to_owned(), self.tables.get(*table)?.clone())));
        read_into(Value::Table(of_file.collect()), &path_of(&self.dir, name), name, check)
    }

    /// Where the project's files lie.
    ///
    /// # Errors
    /// When `[storage]` or `training.output_dir` does not fit.
    pub fn layout(&self) -> Result<Layout, ConfigError> {
        let storage: Storage = self.section("storage", |_| Ok::<(), ConfigError>(()))?;
        let output_dir = match self.tables.get("training").and_then(|training| training.get("output_dir")) {
            None => PathBuf::from(OUTPUT_DIR),
            Some(Value::String(path)) => PathBuf::from(path),
            Some(other) => {
                let text = format!("training.output_dir={other}");
                return Err(ConfigError::Override { text, expected: "a path in quotation marks" });
            }
        };
        Ok(Layout::new(&storage, &output_dir))
    }
}

/// A value that was read elsewhere, with the overrides of its table: for settings that a run brings along.
///
/// # Errors
/// When an override names an unknown key, or does not fit the type.
pub fn with_overrides<T>(value: &T, table: &str, overrides: &[String]) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned,
{
    let invalid = |source: toml::de::Error| ConfigError::Section {
        path: PathBuf::from("--set"),
        section: table.to_owned(),
        source: Box::new(source),
    };
    let stored = Value::try_from(value).map_err(|error| invalid(serde::de::Error::custom(error)))?;
    let mut tables = Table::from_iter([(table.to_owned(), stored)]);
    let is_of_table = |text: &&String| text.trim_start().split('.').next().map(str::trim) == Some(table);
    for text in overrides.iter().filter(is_of_table) {
        apply(&mut tables, text)?;
    }
    tables.remove(table).unwrap_or_else(|| Value::Table(Table::new())).try_into().map_err(invalid)
}

fn read_into<T, E>(
    value: Value,
    path: &Path,
    section: &str,
    check: impl FnOnce(&T) -> Result<(), E>,
) -> Result<T, ConfigError>
where
    T: DeserializeOwned,
    E: std::error::Error + Send + Sync + 'static,
{
    let parsed: T = value.try_into().map_err(|source: toml::de::Error| {
        unknown_key(path, section, &source).unwrap_or_else(|| ConfigError::Section {
            path: path.to_owned(),
            section: section.to_owned(),
            source: Box::new(source),
        })
    })?;
    match check(&parsed) {
        Ok(()) => Ok(parsed),
        Err(source) => Err(ConfigError::Value {
            path: path.to_owned(),
            section: section.to_owned(),
            source: Box::new(source),
        }),
    }
}

fn path_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.toml"))
}

fn read(path: &Path) -> Result<Option<Table>, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            tracing::debug!("there is no `{}`: its defaults are used", path.display());
            return Ok(None);
        }
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    let invalid = |source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) };
    text.parse().map(Some).map_err(invalid)
}

/// Refuses tables and keys that nobody knows; what lies deeper is checked by the type that a table is read into.
fn check(file: &ConfigFile, path: &Path, table: &Table) -> Result<(), ConfigError> {
    let unknown = |key: String, nearest| ConfigError::UnknownKey { path: path.to_owned(), key, nearest };
    for (name, value) in table {
        let known = file.tables.iter().find(|(known, _)| known == name);
        let Some((_, keys)) = known else {
            return Err(unknown(name.clone(), nearest(name, file.tables.iter().map(|(known, _)| *known))));
        };
        let entries = value.as_table().into_iter().flatten();
        if let Some((key, _)) = entries.into_iter().find(|(key, _)| !keys.contains(&key.as_str())) {
            return Err(unknown(format!("{name}.{key}"), nearest(key, keys.iter().copied())));
        }
    }
    Ok(())
}

/// serde reports an unknown key with the names it knows; this turns its words into the nearest of them.
fn unknown_key(path: &Path, table: &str, source: &toml::de::Error) -> Option<ConfigError> {
    let rest = source.message().strip_prefix("unknown field `")?;
    let (key, expected) = rest.split_once('`')?;
    let known: BTreeSet<&str> = expected.split('`').skip(1).step_by(2).collect();
    let nearest = nearest(key, known.into_iter());
    Some(ConfigError::UnknownKey { path: path.to_owned(), key: format!("{table}.{key}"), nearest })
}

fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|name| (strsim::jaro_winkler(key, name), name))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}

/// Sets `table.key=value`, or a key that lies deeper; the value is read as TOML and, where that fails, as a plain string.
fn apply(tables: &mut Table, text: &str) -> Result<(), ConfigError> {
    let invalid = || ConfigError::Override { text: text.to_owned(), expected: "table.key=value" };
    let (path, value) = text.split_once('=').ok_or_else(invalid)?;
    let keys: Vec<&str> = path.trim().split('.').map(str::trim).collect();
    let [table, key, ..] = keys[..] else { return Err(invalid()) };
    if keys.iter().any(|key| key.is_empty()) {
        return Err(invalid());
    }
    let known = FILES.iter().flat_map(|file| file.tables);
    let unknown = |key: &str, nearest| ConfigError::UnknownOverride { key: key.to_owned(), nearest };
    let Some((_, known_keys)) = known.clone().find(|(known, _)| *known == table) else {
        return Err(unknown(table, nearest(table, known.map(|(known, _)| *known))));
    };
    let value = format!("v = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| Value::String(value.trim().to_owned()));
    if keys.len() == 2 && foreign::translate(table, key, &value).is_some() {
        let mut theirs = Table::from_iter([(key.to_owned(), value)]);
        foreign::adopt(table, &mut theirs);
        let own = tables.entry(table).or_insert_with(|| Value::Table(Table::new()));
        own.as_table_mut().ok_or_else(invalid)?.extend(theirs);
        return Ok(());
    }
    if !known_keys.contains(&key) {
        return Err(unknown(&format!("{table}.{key}"), nearest(key, known_keys.iter().copied())));
    }
    let (last, parents) = keys.split_last().ok_or_else(invalid)?;
    let mut target = tables;
    for key in parents {
        let entry = target.entry(*key).or_insert_with(|| Value::Table(Table::new()));
        target = entry.as_table_mut().ok_or_else(invalid)?;
    }
    target.insert((*last).to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Splits {
        val: f64,
        test: f64,
        seed: u64,
    }

    impl Default for Splits {
        fn default() -> Self {
            Self { val: 0.15, test: 0.15, seed: 42 }
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the shares leave nothing")]
    struct TooMuch;

    fn load(text: &str, overrides: &[&str]) -> Result<Splits, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("data.toml"), text).unwrap();
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        let check = |splits: &Splits| if splits.val + splits.test < 1.0 { Ok(()) } else { Err(TooMuch) };
        ProjectConfig::load(dir.path(), true, &overrides)?.section("splits", check)
    }

    #[test]
    fn an_override_wins_over_the_file() {
        let splits = load("[splits]\nval = 0.3\n", &["splits.val=0.25", "training.learning_rate=1"]);
        assert_eq!(splits.unwrap(), Splits { val: 0.25, ..Splits::default() });
    }

    #[test]
    fn what_nobody_knows_is_refused_with_the_nearest_name_wherever_it_stands() {
        for (text, overrides, named) in [
            ("[splits]\nvel = 0.3\n", &[][..], ["`splits.vel`", "`val`?"]),
            ("[split]\nval = 0.3\n", &[], ["`split`", "`splits`?"]),
            ("[storage]\ndata_dri = 'x'\n", &[], ["`storage.data_dri`", "`data_dir`?"]),
            ("", &["trigers.min_corrections=1000"], ["`trigers`", "`triggers`?"]),
            ("", &["triggers.min_correction=1000"], ["`triggers.min_correction`", "`min_corrections`?"]),
            ("", &["trainng.learning_rate=1"], ["`trainng`", "`training`?"]),
        ] {
            let error = load(text, overrides).unwrap_err().to_string();
            assert!(named.iter().all(|name| error.contains(name)), "{text}{overrides:?}: {error}");
        }
    }

    #[test]
    fn values_outside_their_domain_are_refused() {
        let error = load("", &["splits.val=0.9", "splits.test=0.9"]).unwrap_err();
        assert!(matches!(error, ConfigError::Value { .. }), "{error}");
        assert!(matches!(load("", &["splits.val=many"]), Err(ConfigError::Section { .. })));
    }

    #[test]
    fn an_override_has_a_table_a_key_and_a_value() {
        for text in ["seed=3", "splits.seed", "splits.=3", ".seed=3", "", "splits..seed=3"] {
            assert!(matches!(load("", &[text]), Err(ConfigError::Override { .. })), "{text}");
        }
    }

    #[test]
    fn a_folder_that_was_named_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("confg");
        assert!(matches!(ProjectConfig::load(&missing, true, &[]), Err(ConfigError::Read { .. })));
        let layout = ProjectConfig::load(&missing, false, &[]).unwrap().layout().unwrap();
        assert_eq!(layout, Layout::new(&Storage::default(), Path::new("outputs")));
    }

    #[test]
    fn the_layout_follows_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("data.toml"), "[storage]\ndata_dir = 'd'\nregistry_dir = 'r'\n")
            .unwrap();
        let overrides = ["training.output_dir=runs".to_owned(), "storage.monitoring_dir=m".to_owned()];
        let layout = ProjectConfig::load(dir.path(), true, &overrides).unwrap().layout().unwrap();
        assert_eq!(layout.labels(), Path::new("d/labeled/labels.json"));
        assert_eq!(layout.version_file(), Path::new("r/version.json"));
        assert_eq!(layout.predictions(), Path::new("m/predictions.jsonl"));
        assert_eq!(layout.run("a").dir(), Path::new("runs/a"));
    }
}
