//! Reads the slides of a segment, and only the columns that are asked for.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;

use super::failed;
use super::field::{Columns, Field, Keys, Kind, Value, set};
use super::write::VERSION_KEY;
use crate::error::io_error;
use crate::{Contract as _, Error, Prediction, Result, Score};

/// Slides that are decoded at once.
const BATCH: usize = 1024;

/// A segment that is open.
pub(super) struct Segment<'a> {
    path: &'a Path,
    reader: SerializedFileReader<File>,
    keys: Keys,
}

impl<'a> Segment<'a> {
    /// Opens one, whose version this program knows.
    pub(super) fn open(path: &'a Path) -> Result<Self> {
        let file = File::open(path).map_err(io_error("read", path))?;
        let reader = SerializedFileReader::new(file).map_err(failed(path, "cannot be read"))?;
        let metadata = reader.metadata().file_metadata();
        let stated = metadata.key_value_metadata().into_iter().flatten().find(|pair| pair.key == VERSION_KEY);
        let version = stated.and_then(|pair| pair.value.as_ref()?.parse::<u32>().ok());
        let refused = |reason: String| Error::Segment { path: path.to_owned(), reason };
        match version {
            None => return Err(refused("is no segment of a log of scored slides".to_owned())),
            Some(version) if version > Prediction::VERSION => {
                let known = Prediction::VERSION;
                return Err(refused(format!(
                    "is of version {version}, and this program knows up to version {known}: update it"
                )));
            }
            Some(_) => {}
        }
        let keys = keys(metadata.schema_descr());
        Ok(Self { path, reader, keys })
    }

    /// How many slides it says that it holds.
    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.reader.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// The keys of its slides.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Hands out the slides with their places, one after another in the same memory, and their lines where these are kept; where `wanted`
    /// is given, only those.
    pub(super) fn for_each(
        &self,
        columns: Columns,
        wanted: Option<&BTreeSet<usize>>,
        mut take: impl FnMut(usize, &Prediction, Option<&str>) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0;
        for number in 0..self.reader.num_row_groups() {
            let of_group = self.reader.metadata().row_group(number).num_rows();
            let count = usize::try_from(of_group).unwrap_or(0);
            let is_wanted =
                |from: usize, to: usize| wanted.is_none_or(|wanted| wanted.range(from..to).next().is_some());
            if is_wanted(first, first + count) {
                let group = self.reader.get_row_group(number).map_err(failed(self.path, "cannot be read"))?;
                let mut group = Group::open(group.as_ref(), &self.keys, columns)
                    .map_err(failed(self.path, "cannot be read"))?;
                let mut start = 0;
                while start < count {
                    let size = BATCH.min(count - start);
                    let from = first + start;
                    if is_wanted(from, from + size) {
                        group.read(size, self.path, |at, slide, line| {
                            let place = from + at;
                            let takes = wanted.is_none_or(|wanted| wanted.contains(&place));
                            if takes { take(place, slide, line) } else { Ok(()) }
                        })?;
                    } else {
                        group.skip(size).map_err(failed(self.path, "cannot be read"))?;
                    }
                    start += size;
                }
            }
            first += count;
        }
        Ok(())
    }
}

/// The keys that the names of columns tell.
fn keys(schema: &SchemaDescriptor) -> Keys {
    let mut keys = Keys::default();
    for column in schema.columns() {
        let name = column.name();
        if let Some(key) = name.strip_prefix("expected.") {
            keys.criteria.insert(key.to_owned());
        } else if let Some(key) = name.strip_prefix("features.") {
            keys.features.insert(key.to_owned());
        }
    }
    keys
}

/// A row group with the columns that are read.
struct Group {
    fields: Vec<(Field, Source)>,
    slide: Prediction,
}

impl Group {
    fn open(
        group: &(dyn RowGroupReader + '_),
        keys: &Keys,
        columns: Columns,
    ) -> parquet::errors::Result<Self> {
        let schema = group.metadata().schema_descr_ptr();
        let place_of = |name: &str| schema.columns().iter().position(|column| column.name() == name);
        let mut fields = Vec::new();
        for field in Field::all(keys).into_iter().filter(|field| field.is_in(columns)) {
            let places: Option<Vec<usize>> = field.names().iter().map(|name| place_of(name)).collect();
            match places {
                Some(places) => {
                    let source = Source::open(group, &field, &places)?;
                    fields.push((field, source));
                }
                // A column that a later program wrote no more, or an earlier one did not yet.
                None if !field.is_required() => {}
                None => {
                    return Err(ParquetError::General(format!("there is no column `{}`", field.names()[0])));
                }
            }
        }
        let mut slide = Prediction::sample("");
        slide.latency_ms = 0.0;
        Ok(Self { fields, slide })
    }

    /// Decodes the next rows and hands them out.
    fn read(
        &mut self,
        count: usize,
        path: &Path,
        mut take: impl FnMut(usize, &Prediction, Option<&str>) -> Result<()>,
    ) -> Result<()> {
        let refused = |what: String| Error::Segment {
            path: path.to_owned(),
            reason: format!("cannot be read: {what}"),
        };
        for (_, source) in &mut self.fields {
            source.fill(count).map_err(failed(path, "cannot be read"))?;
        }
        for at in 0..count {
            let mut line = None;
            for (field, source) in &mut self.fields {
                let value = source.next(at).map_err(&refused)?;
                if *field == Field::Line {
                    if let Some(Value::Bytes(bytes)) = value {
                        line = Some(std::str::from_utf8(bytes).map_err(|error| refused(error.to_string()))?);
                    }
                } else if !set(field, &mut self.slide, value) {
                    let name = field.names().swap_remove(0);
                    return Err(refused(format!("column `{name}` holds what no scored slide has")));
                }
            }
            take(at, &self.slide, line)?;
        }
        Ok(())
    }

    /// Passes over the next rows, mostly without decoding them.
    fn skip(&mut self, count: usize) -> parquet::errors::Result<()> {
        self.fields.iter_mut().try_for_each(|(_, source)| source.skip(count))
    }
}

/// Where the values of a field come from.
enum Source {
    Bytes(Cells<ByteArrayType>),
    Time(Cells<Int64Type>),
    Double(Cells<DoubleType>),
    Doubles(Vec<Cells<DoubleType>>),
    Float(Cells<FloatType>),
    Integer(Cells<Int32Type>),
    Integers(Vec<Cells<Int32Type>>),
}

impl Source {
    fn open(
        group: &(dyn RowGroupReader + '_),
        field: &Field,
        places: &[usize],
    ) -> parquet::errors::Result<Self> {
        let is_required = field.is_required();
        let place = places.first().copied().unwrap_or_default();
        Ok(match field.kind() {
            Kind::Text | Kind::Bytes => Self::Bytes(Cells::open(group, place, is_required)?),
            Kind::Time => Self::Time(Cells::open(group, place, is_required)?),
            Kind::Double if places.len() == 1 => Self::Double(Cells::open(group, place, is_required)?),
            Kind::Double => Self::Doubles(all(group, places, is_required)?),
            Kind::Float => Self::Float(Cells::open(group, place, is_required)?),
            Kind::Integer if places.len() == 1 => Self::Integer(Cells::open(group, place, is_required)?),
            Kind::Integer => Self::Integers(all(group, places, is_required)?),
        })
    }

    fn fill(&mut self, count: usize) -> parquet::errors::Result<()> {
        match self {
            Self::Bytes(cells) => cells.fill(count),
            Self::Time(cells) => cells.fill(count),
            Self::Double(cells) => cells.fill(count),
            Self::Doubles(all) => all.iter_mut().try_for_each(|cells| cells.fill(count)),
            Self::Float(cells) => cells.fill(count),
            Self::Integer(cells) => cells.fill(count),
            Self::Integers(all) => all.iter_mut().try_for_each(|cells| cells.fill(count)),
        }
    }

    fn skip(&mut self, count: usize) -> parquet::errors::Result<()> {
        match self {
            Self::Bytes(cells) => cells.skip(count),
            Self::Time(cells) => cells.skip(count),
            Self::Double(cells) => cells.skip(count),
            Self::Doubles(all) => all.iter_mut().try_for_each(|cells| cells.skip(count)),
            Self::Float(cells) => cells.skip(count),
            Self::Integer(cells) => cells.skip(count),
            Self::Integers(all) => all.iter_mut().try_for_each(|cells| cells.skip(count)),
        }
    }

    /// The value of the row at this place of the batch; rows are asked for one after another.
    fn next(&mut self, at: usize) -> std::result::Result<Option<Value<'_>>, String> {
        Ok(match self {
            Self::Bytes(cells) => cells.next(at)?.map(|bytes| Value::Bytes(bytes.data())),
            Self::Time(cells) => cells.next(at)?.map(|time| Value::Time(*time)),
            Self::Double(cells) => cells.next(at)?.map(|value| Value::Double(*value)),
            Self::Doubles(all) => {
                let mut shares = [0.0; Score::LEVELS];
                together(all, at, &mut shares)?.then_some(Value::Doubles(shares))
            }
            Self::Float(cells) => cells.next(at)?.map(|value| Value::Float(*value)),
            Self::Integer(cells) => cells.next(at)?.map(|value| Value::Integer(*value)),
            Self::Integers(all) => {
                let mut ends = [0; 2];
                together(all, at, &mut ends)?.then_some(Value::Integers(ends))
            }
        })
    }
}

/// Values that belong together: all of them, or none.
fn together<T: DataType>(
    all: &mut [Cells<T>],
    at: usize,
    into: &mut [T::T],
) -> std::result::Result<bool, String>
where
    T::T: Copy,
{
    let mut found = 0;
    for (cells, into) in all.iter_mut().zip(into) {
        if let Some(value) = cells.next(at)? {
            *into = *value;
            found += 1;
        }
    }
    if found == 0 || found == all.len() { Ok(found > 0) } else { Err("a value is there in part".to_owned()) }
}

fn all<T: DataType>(
    group: &(dyn RowGroupReader + '_),
    places: &[usize],
    is_required: bool,
) -> parquet::errors::Result<Vec<Cells<T>>> {
    places.iter().map(|place| Cells::open(group, *place, is_required)).collect()
}

/// A physical column, decoded a batch at a time.
struct Cells<T: DataType> {
    reader: ColumnReaderImpl<T>,
    values: Vec<T::T>,
    levels: Vec<i16>,
    is_required: bool,
    /// The next value that was not handed out.
    place: usize,
}

impl<T: DataType> Cells<T> {
    fn open(
        group: &(dyn RowGroupReader + '_),
        place: usize,
        is_required: bool,
    ) -> parquet::errors::Result<Self> {
        let column = group.metadata().column(place);
        if column.column_type() != T::get_physical_type() {
            let name = column.column_descr().name();
            return Err(ParquetError::General(format!("column `{name}` is of another type")));
        }
        let reader = get_typed_column_reader::<T>(group.get_column_reader(place)?);
        Ok(Self { reader, values: Vec::new(), levels: Vec::new(), is_required, place: 0 })
    }

    fn fill(&mut self, count: usize) -> parquet::errors::Result<()> {
        self.values.clear();
        self.levels.clear();
        self.place = 0;
        let mut read = 0;
        while read < count {
            let levels = (!self.is_required).then_some(&mut self.levels);
            let (records, _, _) = self.reader.read_records(count - read, levels, None, &mut self.values)?;
            if records == 0 {
                return Err(ParquetError::EOF("a column ends before its rows do".to_owned()));
            }
            read += records;
        }
        Ok(())
    }

    fn skip(&mut self, count: usize) -> parquet::errors::Result<()> {
        let skipped = self.reader.skip_records(count)?;
        if skipped < count {
            return Err(ParquetError::EOF("a column ends before its rows do".to_owned()));
        }
        Ok(())
    }

    fn next(&mut self, at: usize) -> std::result::Result<Option<&T::T>, String> {
        if !self.is_required && self.levels.get(at) == Some(&0) {
            return Ok(None);
        }
        let value = self.values.get(self.place).ok_or("a column holds fewer values than rows")?;
        self.place += 1;
        Ok(Some(value))
    }
}
