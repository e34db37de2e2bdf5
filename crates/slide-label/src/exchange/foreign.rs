//! Files of other annotation tools that do not say which criterion an answer is of: named, with what to do.

use serde_json::{Map, Value};

/// What a record of another tool is and what to do with it, where it is one.
pub(super) fn name(record: &Map<String, Value>) -> Option<String> {
    let has = |key: &str| record.contains_key(key);
    let what = match () {
        () if has("_task_hash") || has("_input_hash") => {
            "a Prodigy dataset, whose answers do not say which criterion they are of: write a CSV with `slide_id`, `annotator` (Prodigy's \
             `_annotator_id`) and a column for each criterion"
        }
        () if !has("annotation_id")
            && (has("label") || has("labels") || has("cats"))
            && (has("text") || has("filename") || has("upload_name")) =>
        {
            "a doccano export, whose labels do not say which criterion they are of: write a CSV with `slide_id`, `annotator` and a column \
             for each criterion"
        }
        () if has("images") && has("annotations") && has("categories") => {
            "a COCO file, which holds boxes and no scores: there is nothing to import"
        }
        () => return None,
    };
    Some(what.to_owned())
}

/// Whether a record is one of Argilla's.
pub(super) fn is_argilla(record: &Map<String, Value>) -> bool {
    record.get("fields").is_some_and(Value::is_object) && record.contains_key("responses")
}
