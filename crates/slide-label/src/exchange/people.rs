//! A table of people: an id, an address or another name, and the name that their ratings get.

use std::path::Path;

use super::decode::{Content, decode};
use super::grid;
use crate::error::io_error;
use crate::{Error, Result};

pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>> {
    let bytes = std::fs::read(path).map_err(io_error("read", path))?;
    let not = |reason: String| Error::Import { path: path.to_owned(), what: "a table of people", reason };
    let rows = match decode(bytes).map_err(not)? {
        Content::Text(text, _) => grid::of_text(&text).map_err(not)?.rows,
        Content::Workbook(bytes) => super::workbook_of(bytes).map_err(not)?.rows,
    };
    let pair = |row: &grid::Line| match row.cells.as_slice() {
        [found, name, ..] if !found.trim().is_empty() && crate::clean_name(name).is_some() => {
            Ok((found.trim().to_owned(), name.trim().to_owned()))
        }
        _ => Err(not(format!("{} has not an id or address and a name, as in `3,Ana`", row.place))),
    };
    rows.iter().map(pair).collect()
}
