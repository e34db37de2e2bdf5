//! Joins parts by copying their row groups.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use durable_files::{FileLock, sync_dir, write_atomic_with};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::KeyValue;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use project_files::Layout;

use super::super::compact::{name, recover, settle};
use super::super::day_of;
use super::super::failed;
use super::super::field::{Columns, Field, Keys};
use super::super::index::NEW;
use super::super::read::Segment;
use super::super::write::open_writer;
use super::part::new_file;
use super::survey::{Part, Survey};
use crate::error::io_error;
use crate::{Contract as _, Error, Result};

/// Where a joined file says what was scored, among its metadata.
const SCORING_KEY: &str = "pitchquest.scoring";

impl Survey {
    /// Writes all scored slides as one Parquet file, in the order of the manifest. It does not tell how many shards there were.
    ///
    /// # Errors
    /// When a shard is missing, or a file cannot be read or written; what was there stays.
    pub fn join(&self, path: &Path) -> Result<()> {
        if let Some(missing) = self.missing.first() {
            let reason = format!("cannot be made: shard {} is missing", missing.shard);
            return Err(Error::Segment { path: path.to_owned(), reason });
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        let file = new_file(folder, NEW)?;
        let criteria = self.plan.criteria.iter().cloned().collect();
        let keys = Keys { criteria, features: self.plan.features.iter().cloned().collect() };
        let mut writer = open_writer(file.path(), &Field::all(&keys))?;
        for part in self.parts.values() {
            append(&mut writer, part, path)?;
        }
        writer.append_key_value_metadata(KeyValue::new(SCORING_KEY.to_owned(), self.note(path)?));
        let written = writer.into_inner().map_err(failed(path, "cannot be written"))?;
        written.sync_all().map_err(io_error("write", path))?;
        file.persist(path).map_err(|error| io_error("write", path)(error.error))?;
        Ok(sync_dir(folder)?)
    }

    /// What was scored, whatever the number of shards, and what could not be.
    fn note(&self, path: &Path) -> Result<String> {
        let mut note = serde_json::to_value(&self.plan).unwrap_or_default();
        if let Some(fields) = note.as_object_mut() {
            fields.remove("shards");
            let left_out: Vec<_> = self.left_out().collect();
            fields.insert("left_out".to_owned(), serde_json::to_value(left_out).unwrap_or_default());
        }
        serde_json::to_string(&note)
            .map_err(|source| durable_files::Error::Encode { path: path.to_owned(), source }.into())
    }

    /// Takes a joined file into the log of scored slides, as the slides of its day. One that is there already is not taken again.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn log(&self, joined: &Path, layout: &Layout) -> Result<bool> {
        let folder = layout.segments();
        std::fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
        let _lock = FileLock::exclusive(&layout.segment_index())?;
        let mut index = recover(layout)?;
        let hash = durable_files::hash_file(joined)?;
        if self.scored() == 0 || index.parts.iter().any(|part| part.sha256 == hash.sha256) {
            return Ok(false);
        }
        let new = folder.join(format!("{NEW}joined"));
        std::fs::copy(joined, &new).map_err(io_error("write", &new))?;
        File::open(&new).and_then(|file| file.sync_all()).map_err(io_error("write", &new))?;
        let part = name(layout, &index, &[], &new, Some(day_of(self.plan.scored_at)), self.scored())?;
        index.parts.push(part);
        index.write(&layout.segment_index())?;
        settle(layout, &index)?;
        Ok(true)
    }

    /// Writes a joined file anew as lines of JSON, as the log of scored slides has them.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn write_lines(joined: &Path, path: &Path) -> Result<()> {
        let segment = Segment::open(joined)?;
        write_atomic_with(path, |out| {
            segment.for_each(Columns::All, None, |_, slide, _| {
                let encoded = serde_json::to_writer(&mut *out, slide);
                encoded.map_err(|source| durable_files::Error::Encode { path: path.to_owned(), source })?;
                out.write_all(b"\n").map_err(io_error("write", path))
            })
        })
    }
}

/// Copies the row groups of a part.
fn append(writer: &mut SerializedFileWriter<File>, part: &Part, to: &Path) -> Result<()> {
    let unreadable = || failed(&part.path, "cannot be read");
    let file = File::open(&part.path).map_err(io_error("read", &part.path))?;
    let reader = SerializedFileReader::new(file.try_clone().map_err(io_error("read", &part.path))?)
        .map_err(unreadable())?;
    let metadata = reader.metadata();
    if metadata.file_metadata().schema_descr().root_schema() != writer.schema_descr().root_schema() {
        let reason = "has other columns than the plan".to_owned();
        return Err(Error::Segment { path: part.path.clone(), reason });
    }
    for group in metadata.row_groups() {
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        let mut out = writer.next_row_group().map_err(failed(to, "cannot be written"))?;
        for column in group.columns() {
            let copied = ColumnCloseResult {
                bytes_written: u64::try_from(column.compressed_size()).unwrap_or(0),
                rows_written: rows,
                metadata: column.clone(),
                bloom_filter: None,
                column_index: None,
                offset_index: None,
            };
            out.append_column(&file, copied).map_err(failed(to, "cannot be written"))?;
        }
        out.close().map_err(failed(to, "cannot be written"))?;
    }
    Ok(())
}
