//! A day's slides as a Parquet file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type};

use super::failed;
use super::field::{Field, Keys, Kind, Value, get, sketch_bytes};
use crate::error::io_error;
use crate::{Contract as _, Prediction, Result};

/// Slides of a row group, which is what is held in memory at once.
const ROW_GROUP: usize = 16_384;
/// The version of [`Prediction`] that a segment was written for, among its metadata.
pub(super) const VERSION_KEY: &str = "pitchquest.schema_version";

/// A slide with its line, where that says more than this program understands.
struct Row {
    slide: Prediction,
    sketch: Vec<u8>,
    line: Option<String>,
}

/// A segment that is being written.
pub(super) struct SegmentWriter {
    path: PathBuf,
    fields: Vec<Field>,
    writer: SerializedFileWriter<File>,
    rows: Vec<Row>,
    row_group: usize,
    written: u64,
}

impl SegmentWriter {
    pub(super) fn create(path: &Path, keys: &Keys) -> Result<Self> {
        let fields = Field::all(keys);
        let writer = open_writer(path, &fields)?;
        Ok(Self { path: path.to_owned(), fields, writer, rows: Vec::new(), row_group: ROW_GROUP, written: 0 })
    }

    /// Ends a row group after so many slides.
    pub(super) fn row_group(mut self, slides: usize) -> Self {
        self.row_group = slides.max(1);
        self
    }

    /// Says more of the file than of any segment.
    pub(super) fn note(&mut self, key: &str, value: String) {
        self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    /// Adds a slide, whose keys and time a segment can hold.
    pub(super) fn push(&mut self, slide: Prediction, line: Option<String>) -> Result<()> {
        let sketch = slide.vision.as_ref().map(|sketch| sketch_bytes(&sketch.values)).unwrap_or_default();
        self.rows.push(Row { slide, sketch, line });
        if self.rows.len() == self.row_group { self.flush() } else { Ok(()) }
    }

    /// Ends the row group, where there is anything in it.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let written = self.writer.next_row_group().and_then(|mut group| {
            for field in &self.fields {
                write_field(&mut group, field, &self.rows)?;
            }
            group.close()
        });
        written.map_err(failed(&self.path, "cannot be written"))?;
        self.written += self.rows.len() as u64;
        self.rows.clear();
        Ok(())
    }

    /// Returns once everything is on disk, and says how many slides there are.
    pub(super) fn finish(mut self) -> Result<u64> {
        self.flush()?;
        let file = self.writer.into_inner().map_err(failed(&self.path, "cannot be written"))?;
        file.sync_all().map_err(io_error("write", &self.path))?;
        Ok(self.written)
    }
}

/// A file for slides with these fields.
pub(super) fn open_writer(path: &Path, fields: &[Field]) -> Result<SerializedFileWriter<File>> {
    let file = File::create(path).map_err(io_error("write", path))?;
    let writer = schema(fields)
        .and_then(|schema| SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties(fields))));
    writer.map_err(failed(path, "cannot be written"))
}

fn schema(fields: &[Field]) -> parquet::errors::Result<Type> {
    let mut columns = Vec::new();
    for field in fields {
        let (physical, logical) = match field.kind() {
            Kind::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Bytes => (PhysicalType::BYTE_ARRAY, None),
            Kind::Time => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::NANOS))),
            Kind::Double => (PhysicalType::DOUBLE, None),
            Kind::Float => (PhysicalType::FLOAT, None),
            Kind::Integer => (PhysicalType::INT32, None),
        };
        let repetition = if field.is_required() { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        for name in field.names() {
            let column = Type::primitive_type_builder(&name, physical)
                .with_repetition(repetition)
                .with_logical_type(logical.clone());
            columns.push(Arc::new(column.build()?));
        }
    }
    Type::group_type_builder("scored_slides").with_fields(columns).build()
}

/// Numbers of a model hardly compress; ids that come again are kept once.
fn properties(fields: &[Field]) -> WriterProperties {
    let version = KeyValue::new(VERSION_KEY.to_owned(), Prediction::VERSION.to_string());
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_key_value_metadata(Some(vec![version]));
    for field in fields.iter().filter(|field| field.repeats()) {
        for name in field.names() {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), true);
        }
    }
    properties.build()
}

type Group<'a> = SerializedRowGroupWriter<'a, File>;

fn write_field(group: &mut Group<'_>, field: &Field, rows: &[Row]) -> parquet::errors::Result<()> {
    let all: Vec<Option<Value<'_>>> =
        rows.iter().map(|row| get(field, &row.slide, &row.sketch, row.line.as_deref())).collect();
    for place in 0..field.names().len() {
        match field.kind() {
            Kind::Text | Kind::Bytes => write::<ByteArrayType>(group, field, &all, |value| match value {
                Value::Bytes(bytes) => Some(ByteArray::from(bytes.to_vec())),
                _ => None,
            }),
            Kind::Time => write::<Int64Type>(group, field, &all, |value| match value {
                Value::Time(time) => Some(*time),
                _ => None,
            }),
            Kind::Double => write::<DoubleType>(group, field, &all, |value| match value {
                Value::Double(value) => Some(*value),
                Value::Doubles(values) => values.get(place).copied(),
                _ => None,
            }),
            Kind::Float => write::<FloatType>(group, field, &all, |value| match value {
                Value::Float(value) => Some(*value),
                _ => None,
            }),
            Kind::Integer => write::<Int32Type>(group, field, &all, |value| match value {
                Value::Integer(value) => Some(*value),
                Value::Integers(values) => values.get(place).copied(),
                _ => None,
            }),
        }?;
    }
    Ok(())
}

fn write<T: DataType>(
    group: &mut Group<'_>,
    field: &Field,
    rows: &[Option<Value<'_>>],
    of: impl Fn(&Value<'_>) -> Option<T::T>,
) -> parquet::errors::Result<()> {
    let found: Vec<Option<T::T>> = rows.iter().map(|value| value.as_ref().and_then(&of)).collect();
    let levels: Vec<i16> = found.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<T::T> = found.into_iter().flatten().collect();
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("more columns than the schema has".to_owned()));
    };
    let levels = (!field.is_required()).then_some(levels.as_slice());
    column.typed::<T>().write_batch(&values, levels, None)?;
    column.close()
}
