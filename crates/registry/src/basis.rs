use std::collections::BTreeMap;
use std::fmt::Write as _;

use durable_files::sha256_hex;
use project_files::{Basis, Lineage, RunFiles};
use toml::{Table, Value};

/// Settings that change nothing of what a model is asked or taught: where things lie, what computes, chance.
const INCIDENTAL: [(&str, &str); 4] =
    [("model", "name"), ("model", "device"), ("training", "seed"), ("training", "output_dir")];

/// What a run or a stored version was made from, as far as the number of a release depends on it.
pub(crate) fn basis(run: &RunFiles, lineage: &Lineage) -> Basis {
    let mut config = settings_that_count(run);
    let rubric = config
        .as_mut()
        .map(|config| config.remove("rubric").map_or_else(String::new, |rubric| canonical(&rubric)));
    let settings = config.map(|config| canonical(&Value::Table(config)));
    let is_of_base = |name: &str| name.starts_with("base_");
    let base: Vec<&str> =
        lineage.inputs.iter().filter(|(name, _)| is_of_base(name)).map(|(_, print)| print.as_str()).collect();
    let data: BTreeMap<&String, &String> =
        lineage.inputs.iter().filter(|(name, _)| !is_of_base(name)).collect();
    let hash = |text: Option<String>| text.map(|text| sha256_hex(text.as_bytes())).unwrap_or_default();
    Basis {
        base: if base.is_empty() { lineage.base_model.clone() } else { base.join(" ") },
        rubric: hash(rubric),
        data: hash((!data.is_empty()).then(|| format!("{data:?}"))),
        settings: hash(settings),
    }
}

/// The configuration of a run without what is incidental; `None` where there is none to read.
fn settings_that_count(run: &RunFiles) -> Option<Table> {
    let text = std::fs::read_to_string(run.config()).ok()?;
    let mut config = text.parse::<Table>().ok()?;
    for (table, key) in INCIDENTAL {
        if let Some(Value::Table(table)) = config.get_mut(table) {
            table.remove(key);
        }
    }
    Some(config)
}

/// One text for a value, however its file orders it.
fn canonical(value: &Value) -> String {
    match value {
        Value::Table(table) => {
            let sorted: BTreeMap<&String, &Value> = table.iter().collect();
            sorted.into_iter().fold(String::from("{"), |mut text, (key, value)| {
                let _ = write!(text, "{key:?}={},", canonical(value));
                text
            }) + "}"
        }
        Value::Array(values) => {
            values.iter().fold(String::from("["), |text, value| text + &canonical(value) + ",") + "]"
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use project_files::Change;

    fn of(config: &str, inputs: &[(&str, &str)]) -> Basis {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFiles::new(dir.path());
        std::fs::write(run.config(), config).unwrap();
        let inputs = inputs.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect();
        basis(&run, &Lineage { base_model: "a/b".to_owned(), inputs, parent: None })
    }

    #[test]
    fn what_is_incidental_changes_nothing() {
        let inputs = [("base_model", "1"), ("labels.json", "2")];
        let before = of("[model]\nname='/home/a'\n[training]\nseed=1\nlr=1\n[rubric]\nx=1\n", &inputs);
        for (config, inputs, change) in [
            ("[rubric]\nx=1\n[training]\nlr=1\nseed=2\n[model]\nname='/home/b'\n", inputs, Change::Patch),
            ("[model]\n[training]\nlr=2\n[rubric]\nx=1\n", inputs, Change::Minor),
            ("[model]\n[training]\nlr=1\n[rubric]\nx=2\n", inputs, Change::Major),
            ("[model]\n[training]\nlr=1\n[rubric]\nx=1\n", [inputs[0], ("labels.json", "3")], Change::Minor),
            ("[model]\n[training]\nlr=1\n[rubric]\nx=1\n", [("base_model", "9"), inputs[1]], Change::Major),
        ] {
            assert_eq!(before.change_to(&of(config, &inputs)), change, "{config}");
        }
    }
}
