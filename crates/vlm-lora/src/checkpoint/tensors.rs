use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};

use crate::Stored;
use crate::files::{invalid_file, io_error, write_atomic_with};
use crate::fingerprint::Stamped;
use crate::{Error, Result};

const WHAT: &str = "safetensors file";
const LENGTH_BYTES: usize = 8;

/// Where a tensor stands in its file.
#[derive(Debug, Clone)]
pub(crate) struct TensorEntry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Byte range in the file.
    pub(crate) range: Range<usize>,
}

/// A memory-mapped safetensors file whose header was checked against its length.
#[derive(Debug)]
pub(crate) struct TensorFile {
    path: PathBuf,
    /// By what the file that was mapped is recognised.
    stamp: Option<Stamped>,
    map: Mmap,
    data_start: usize,
    entries: BTreeMap<String, TensorEntry>,
}

impl TensorFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(io_error("read", path))?;
        let metadata = file.metadata().map_err(io_error("read", path))?;
        let (length, stamp) = (metadata.len(), Stamped::of(path, &metadata));
        if length < LENGTH_BYTES as u64 {
            return Err(invalid_file(path, WHAT, format!("it has {length} bytes, less than a header")));
        }
        #[expect(unsafe_code, reason = "mapping a file is the way to read weights without copying them")]
        // SAFETY: the map is read-only and every byte pattern is a valid `u8`; that nobody shortens the file meanwhile is the
        // documented duty of whoever opens a checkpoint.
        let map = unsafe { Mmap::map(&file) }.map_err(io_error("map", path))?;
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|error| invalid_file(path, WHAT, error))?;
        let data_start = LENGTH_BYTES + header;
        let entries = metadata.tensors().into_iter().map(|(name, info)| {
            let range = data_start + info.data_offsets.0..data_start + info.data_offsets.1;
            (name, TensorEntry { dtype: info.dtype, shape: info.shape.clone(), range })
        });
        Ok(Self { path: path.to_owned(), stamp, data_start, entries: entries.collect(), map })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn stamp(&self) -> Option<&Stamped> {
        self.stamp.as_ref()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&TensorEntry> {
        self.entries.get(name)
    }

    /// Length prefix and header, as they stand.
    pub(crate) fn header_bytes(&self) -> &[u8] {
        &self.map[..self.data_start]
    }

    pub(crate) fn bytes(&self, entry: &TensorEntry) -> &[u8] {
        self.bytes_of(&entry.range)
    }

    pub(crate) fn bytes_of(&self, range: &Range<usize>) -> &[u8] {
        &self.map[range.clone()]
    }

    /// Lets the system take back the memory of a tensor's mapped pages; they are read again where they are wanted again.
    pub(crate) fn release(&self, entry: &TensorEntry) {
        self.release_range(&entry.range);
    }

    /// As [`release`](Self::release), of a part of the file.
    pub(crate) fn release_range(&self, range: &Range<usize>) {
        #[cfg(unix)]
        {
            use memmap2::UncheckedAdvice::DontNeed;
            let Range { start, end } = *range;
            #[expect(
                unsafe_code,
                reason = "dropping pages is the only way to keep a mapped file from filling memory"
            )]
            // SAFETY: the map is shared, read-only and backed by a file, so a dropped page comes back with the same bytes.
            let released = unsafe { self.map.unchecked_advise_range(DontNeed, start, end - start) };
            drop(released); // advice that is not taken costs memory alone
        }
    }

    /// The tensors in the order of their bytes, which cover the file without gaps.
    pub(crate) fn in_file_order(&self) -> Vec<(&str, &TensorEntry)> {
        let mut entries: Vec<_> = self.entries.iter().map(|(name, entry)| (name.as_str(), entry)).collect();
        entries.sort_by_key(|(_, entry)| (entry.range.start, entry.range.end));
        entries
    }

    pub(crate) fn stored(&self, name: &str, shape: &[usize]) -> Result<Stored<'_>> {
        let missing = || Error::Tensor { name: name.to_owned(), problem: "missing", path: self.path.clone() };
        let entry = self.entries.get(name).ok_or_else(missing)?;
        if entry.shape != shape {
            let (expected, actual) = (shape.to_vec(), entry.shape.clone());
            return Err(Error::Shape { name: name.to_owned(), expected, actual });
        }
        Ok(Stored { dtype: float_type(name, entry.dtype)?, bytes: self.bytes(entry) })
    }
}

fn float_type(name: &str, dtype: Dtype) -> Result<Dtype> {
    match dtype {
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(dtype),
        other => Err(Error::Unsupported { what: format!("the element type {other:?} of tensor `{name}`") }),
    }
}

/// Writes f32 tensors with the metadata `{"format": "pt"}`, atomically. Names are sorted, so equal content gives equal bytes.
pub(crate) fn write_f32(path: &Path, tensors: &F32Tensors<'_>) -> Result<()> {
    let header = header_of(tensors);
    write_atomic_with(path, |file| {
        let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(io_error("write", path));
        put(&(header.len() as u64).to_le_bytes())?;
        put(&header)?;
        for (_, values) in tensors.values() {
            for chunk in values.chunks(1 << 16) {
                put(&chunk.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
            }
        }
        Ok(())
    })
}

/// Shapes and values by name.
pub(crate) type F32Tensors<'a> = BTreeMap<String, (Vec<usize>, &'a [f32])>;

/// The header of a file of these tensors, filled up with blanks.
fn header_of(tensors: &F32Tensors<'_>) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!({"format": "pt"}));
    let mut end = 0;
    for (name, (shape, values)) in tensors {
        let start = end;
        end += size_of_val(*values);
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(LENGTH_BYTES), b' ');
    header
}
