use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::TypePtr;
use serde_json::{Map, Value, json};

use super::row::{Field, Row};
use super::target::Target;
use super::{Export, ExportSummary};
use crate::error::io_error;
use crate::{Result, Score};

/// Slides of a row group, which is what is held in memory at once; the Hub's viewer likes about a hundred images.
const ROW_GROUP: usize = 100;

impl Export<'_> {
    /// Writes Parquet as `datasets` lays it out: `<out>/data/<split>-00000-of-00003.parquet` of about `shard_bytes` each, with the
    /// images (as PNG files) in the column `image`, beside them provenance and labels, and the card.
    ///
    /// # Errors
    /// When an image is missing, `out` holds other files, or it cannot be written; what was there before is then untouched.
    pub fn parquet(&self, out: &Path, shard_bytes: u64) -> Result<ExportSummary> {
        let target = Target::new(out)?;
        let folder = target.partial.join("data");
        std::fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
        let criteria = self.criteria();
        let mut summary = ExportSummary::default();
        for (split, rows) in self.rows() {
            let shards = self.shards(&rows, shard_bytes)?;
            for (at, shard) in shards.iter().enumerate() {
                let path = folder.join(format!("{split}-{at:05}-of-{:05}.parquet", shards.len()));
                self.write_shard(&path, shard, &criteria)?;
            }
            summary.files += shards.len();
            summary.slides.insert(split.to_owned(), rows.len());
        }
        target.finish(self.card)?;
        Ok(summary)
    }

    /// Divides rows so that the images of each part take about as many bytes as asked for.
    fn shards<'r>(&self, rows: &'r [Row<'r>], shard_bytes: u64) -> Result<Vec<&'r [Row<'r>]>> {
        let (mut shards, mut start, mut bytes) = (Vec::new(), 0, 0);
        for (at, row) in rows.iter().enumerate() {
            let image = self.image(row);
            let size = std::fs::metadata(&image).map_err(io_error("read", &image))?.len();
            if at > start && bytes + size > shard_bytes {
                shards.push(&rows[start..at]);
                (start, bytes) = (at, 0);
            }
            bytes += size;
        }
        shards.push(&rows[start..]);
        Ok(shards)
    }

    fn write_shard(&self, path: &Path, rows: &[Row<'_>], criteria: &[String]) -> Result<()> {
        let failed = |error: ParquetError| io_error("write", path)(std::io::Error::other(error));
        let columns = rows.first().map(|row| row.fields(criteria)).unwrap_or_default();
        let file = File::create(path).map_err(io_error("write", path))?;
        let schema = schema(&columns).map_err(failed)?;
        let mut writer = SerializedFileWriter::new(file, schema, properties(&columns)).map_err(failed)?;
        for part in rows.chunks(ROW_GROUP) {
            let images = part.iter().map(|row| {
                let image = self.image(row);
                std::fs::read(&image).map_err(io_error("read", &image))
            });
            let images: Vec<Vec<u8>> = images.collect::<Result<_>>()?;
            let group = writer.next_row_group().map_err(failed)?;
            write_group(group, part, images, criteria).map_err(failed)?;
        }
        let file = writer.into_inner().map_err(failed)?;
        file.sync_all().map_err(io_error("write", path))
    }
}

fn schema(columns: &[(String, Field)]) -> parquet::errors::Result<TypePtr> {
    let lines: Vec<String> = columns
        .iter()
        .map(|(name, field)| match field {
            Field::Text(_) => format!("optional binary {name} (STRING);"),
            Field::Number(_) => format!("optional int32 {name};"),
            Field::Counts(_) => {
                format!(
                    "optional group {name} (LIST) {{ repeated group list {{ optional int32 element; }} }}"
                )
            }
        })
        .collect();
    let text = format!(
        "message schema {{ optional group image {{ optional binary bytes; optional binary path (STRING); }} {} }}",
        lines.join(" ")
    );
    parse_message_type(&text).map(Arc::new)
}

/// Says to `datasets` which column is an image. PNG files are compressed already, and statistics of them are worth nothing.
fn properties(columns: &[(String, Field)]) -> WriterPropertiesPtr {
    let mut features = Map::new();
    features.insert("image".to_owned(), json!({ "_type": "Image" }));
    for (name, field) in columns {
        let value = |dtype: &str| json!({ "dtype": dtype, "_type": "Value" });
        let feature = match field {
            Field::Text(_) => value("string"),
            Field::Number(_) => value("int32"),
            Field::Counts(_) => json!({ "feature": value("int32"), "_type": "Sequence" }),
        };
        features.insert(name.clone(), feature);
    }
    let info = json!({ "info": { "features": Value::Object(features) } }).to_string();
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_key_value_metadata(Some(vec![KeyValue::new("huggingface".to_owned(), info)]));
    Arc::new(properties.build())
}

/// One column's values with their definition and repetition levels.
struct Column<T> {
    values: Vec<T>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl<T> Column<T> {
    /// A column whose values, where present, have this definition level.
    fn flat(values: impl Iterator<Item = Option<T>>, level: i16) -> Self {
        let mut column = Self { values: Vec::new(), definition: Vec::new(), repetition: Vec::new() };
        for value in values {
            column.definition.push(if value.is_some() { level } else { 0 });
            column.values.extend(value);
        }
        column
    }
}

impl Column<i32> {
    /// A column of lists: level 0 is no list, 3 an element; a repetition of 1 goes on with the list.
    fn lists(lists: impl Iterator<Item = Option<[i32; Score::LEVELS]>>) -> Self {
        let mut column = Self { values: Vec::new(), definition: Vec::new(), repetition: Vec::new() };
        for list in lists {
            let Some(list) = list else {
                column.definition.push(0);
                column.repetition.push(0);
                continue;
            };
            column.values.extend(list);
            column.definition.extend([3; Score::LEVELS]);
            column.repetition.push(0);
            column.repetition.extend([1; Score::LEVELS - 1]);
        }
        column
    }
}

type Group<'a> = SerializedRowGroupWriter<'a, File>;

fn write_group(
    mut group: Group<'_>,
    rows: &[Row<'_>],
    images: Vec<Vec<u8>>,
    criteria: &[String],
) -> parquet::errors::Result<()> {
    let bytes = images.into_iter().map(|image| Some(ByteArray::from(image)));
    write_column::<ByteArrayType>(&mut group, &Column::flat(bytes, 2))?;
    let paths = rows.iter().map(|row| Some(ByteArray::from(row.file_name().into_bytes())));
    write_column::<ByteArrayType>(&mut group, &Column::flat(paths, 2))?;
    let mut cells: Vec<_> = rows.iter().map(|row| row.fields(criteria).into_iter()).collect();
    loop {
        let next: Vec<Field> = cells.iter_mut().filter_map(|row| Some(row.next()?.1)).collect();
        match next.first() {
            None => break,
            Some(Field::Text(_)) => {
                let values = next.into_iter().map(|field| match field {
                    Field::Text(text) => text.map(|text| ByteArray::from(text.into_bytes())),
                    _ => None,
                });
                write_column::<ByteArrayType>(&mut group, &Column::flat(values, 1))?;
            }
            Some(Field::Number(_)) => {
                let values =
                    next.into_iter().map(|field| if let Field::Number(n) = field { n } else { None });
                write_column::<Int32Type>(&mut group, &Column::flat(values, 1))?;
            }
            Some(Field::Counts(_)) => {
                let values =
                    next.into_iter().map(|field| if let Field::Counts(c) = field { c } else { None });
                write_column::<Int32Type>(&mut group, &Column::lists(values))?;
            }
        }
    }
    group.close().map(|_| ())
}

fn write_column<T: DataType>(group: &mut Group<'_>, column: &Column<T::T>) -> parquet::errors::Result<()> {
    let Some(mut writer) = group.next_column()? else {
        return Err(ParquetError::General("more columns than the schema has".to_owned()));
    };
    let repetition = (!column.repetition.is_empty()).then_some(column.repetition.as_slice());
    writer.typed::<T>().write_batch(&column.values, Some(&column.definition), repetition)?;
    writer.close()
}
