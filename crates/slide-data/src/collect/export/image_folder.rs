use std::path::Path;

use serde_json::{Map, Value, json};

use super::target::Target;
use super::{Export, ExportSummary};
use crate::error::io_error;
use crate::{Result, write_atomic};

impl Export<'_> {
    /// Writes a Hugging Face image folder: `<out>/<split>/<slide-id>.png`, `<out>/<split>/metadata.jsonl` with `file_name`,
    /// provenance and labels, and the card. Images are hard links where the file system allows, else copies.
    ///
    /// # Errors
    /// When an image is missing, `out` holds other files, or it cannot be written; what was there before is then untouched.
    pub fn image_folder(&self, out: &Path) -> Result<ExportSummary> {
        let target = Target::new(out)?;
        let criteria = self.criteria();
        let mut summary = ExportSummary::default();
        for (split, rows) in self.rows() {
            let folder = target.partial.join(split);
            std::fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
            let mut lines = Vec::new();
            for row in &rows {
                let (image, copy) = (self.image(row), folder.join(row.file_name()));
                if std::fs::hard_link(&image, &copy).is_err() {
                    std::fs::copy(&image, &copy).map_err(io_error("copy", &image))?;
                }
                let mut line = Map::new();
                line.insert("file_name".to_owned(), json!(row.file_name()));
                let fields = row.fields(&criteria).into_iter();
                line.extend(fields.map(|(name, field)| (name, field.to_json())));
                lines.extend(Value::Object(line).to_string().into_bytes());
                lines.push(b'\n');
            }
            write_atomic(&folder.join("metadata.jsonl"), &lines)?;
            summary.files += rows.len();
            summary.slides.insert(split.to_owned(), rows.len());
        }
        target.finish(self.card)?;
        Ok(summary)
    }
}
