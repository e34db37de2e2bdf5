//! Tables, pictures and charts, as the service takes them: files of the run, which a history line points to.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::record::{Items, number};
use crate::tracking::{Cell, Picture, Table};

/// Where the files of tables go.
pub(super) struct Media<'a> {
    /// Whether pictures are among them.
    pub(super) shows_pictures: bool,
    /// Keeps a file under a name that tells its content, so that one that is there is the same.
    pub(super) keep: &'a dyn Fn(&str, &[u8]),
}

impl Media<'_> {
    /// Keeps a table as a file, its pictures too; what the line of a step says of it.
    pub(super) fn table(&self, step: u64, name: &str, table: &Table) -> Items {
        let row = |row: &Vec<Cell>| {
            let cells: Vec<String> = row.iter().map(|cell| self.cell(cell)).collect();
            format!("[{}]", cells.join(","))
        };
        let rows: Vec<String> = table.rows.iter().map(row).collect();
        let content = format!("{{\"columns\":{},\"data\":[{}]}}", json!(table.columns), rows.join(","));
        let sha256 = durable_files::sha256_hex(content.as_bytes());
        let path = format!("media/table/{}_{step}_{}.table.json", plain(name), &sha256[..20]);
        (self.keep)(&path, content.as_bytes());
        let reference = json!({"_type": "table-file", "path": path, "sha256": sha256, "size": content.len(),
            "ncols": table.columns.len(), "nrows": table.rows.len()});
        let mut items = Items::from([(name.to_owned(), reference.to_string())]);
        if let Some(pictures) = self.gallery(table) {
            items.insert(format!("{name}_pictures"), pictures.to_string());
        }
        items
    }

    /// A cell as a text of JSON.
    fn cell(&self, cell: &Cell) -> String {
        match cell {
            Cell::Missing => "null".to_owned(),
            Cell::Number(value) => number(*value),
            Cell::Text(text) => Value::String(text.clone()).to_string(),
            Cell::Picture(picture) => {
                self.picture(picture).map_or_else(|| "null".to_owned(), |object| object.to_string())
            }
        }
    }

    /// The pictures of a table, each with what its row says; `None` where there are none.
    fn gallery(&self, table: &Table) -> Option<Value> {
        let (mut filenames, mut captions, mut size) = (Vec::new(), Vec::new(), None);
        for row in &table.rows {
            let Some(picture) = row.iter().find_map(Cell::picture) else { continue };
            let Some(object) = self.picture(picture) else { continue };
            filenames.push(object["path"].clone());
            captions.push(table.caption(row));
            size.get_or_insert((picture.width, picture.height));
        }
        let (width, height) = size?;
        Some(json!({"_type": "images/separated", "width": width, "height": height, "format": "png",
            "count": filenames.len(), "filenames": filenames, "captions": captions}))
    }

    /// Keeps a picture as a file; `None` where pictures stay on the machine.
    fn picture(&self, picture: &Picture) -> Option<Value> {
        if !self.shows_pictures {
            return None;
        }
        let sha256 = durable_files::sha256_hex(&picture.png);
        let path = format!("media/images/{}.png", &sha256[..20]);
        (self.keep)(&path, &picture.png);
        Some(json!({"_type": "image-file", "path": path, "sha256": sha256, "size": picture.png.len(),
            "format": "png", "width": picture.width, "height": picture.height}))
    }
}

/// A name as a part of a path.
fn plain(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
    name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}

/// The panels of confusion matrices, by their names, for the configuration of a run.
pub(super) fn panels(charts: &[String]) -> Map<String, Value> {
    charts.iter().map(|name| (name.clone(), panel(name))).collect()
}

/// The name that the table of a chart is logged under.
pub(super) fn table_of_chart(name: &str) -> String {
    format!("{name}_table")
}

fn panel(name: &str) -> Value {
    let fields: Map<String, Value> = ["Actual", "Predicted", "nPredictions"]
        .map(|field| (field.to_owned(), json!(field)))
        .into_iter()
        .collect();
    let plain = |name: &str| json!({"name": name, "fields": []});
    let table = json!({"name": "summaryTable", "fields": [],
        "args": [{"name": "tableKey", "value": table_of_chart(name)}]});
    let query = json!({"name": "runSets", "args": [{"name": "runSets", "value": "${runSets}"}],
        "fields": [plain("id"), plain("name"), plain("_defaultColorIndex"), table]});
    json!({"panel_type": "Vega2", "panel_config": {"panelDefId": "wandb/confusion_matrix/v1", "fieldSettings": fields,
        "stringSettings": {"title": name}, "transform": {"name": "tableWithLeafColNames"},
        "userQuery": {"queryFields": [query]}}})
}

/// The configuration as the file `config.yaml` that the service's own client writes.
pub fn config_yaml<'a>(config: impl IntoIterator<Item = (&'a String, &'a Value)>) -> String {
    let mut text = String::new();
    for (key, value) in config {
        let _ = writeln!(text, "{}:\n    value: {}", Value::String(key.clone()), yaml(value));
    }
    text
}

/// JSON that every reader of YAML takes: numbers with an exponent have a point and a sign there.
fn yaml(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            format!("[{}]", values.iter().map(yaml).collect::<Vec<_>>().join(", "))
        }
        Value::Object(values) => {
            let entry =
                |(key, value): (&String, &Value)| format!("{}: {}", Value::String(key.clone()), yaml(value));
            format!("{{{}}}", values.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Number(value) => match value.to_string().split_once(['e', 'E']) {
            Some((mantissa, exponent)) => {
                let point = if mantissa.contains('.') { "" } else { ".0" };
                let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
                format!("{mantissa}{point}e{sign}{exponent}")
            }
            None => value.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_read_by_old_readers_too() {
        let config = [
            ("a".to_owned(), json!({"x": 1e-9, "y": [1, 2.5, 1e300, "no", null, true]})),
            ("b c".to_owned(), json!("say \"hi\": #1")),
        ];
        let text = config_yaml(config.iter().map(|(key, value)| (key, value)));
        let expected = "\"a\":\n    value: {\"x\": 1.0e-9, \"y\": [1, 2.5, 1.0e+300, \"no\", null, true]}\n\"b c\":\n    value: \"say \\\"hi\\\": #1\"\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn names_stay_inside_their_folder() {
        assert_eq!(plain("eval/..\\a b"), "eval/___a_b");
    }
}
