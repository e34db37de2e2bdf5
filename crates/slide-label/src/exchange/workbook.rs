//! Excel workbooks as tables.

use std::io::Cursor;

use calamine::{DataRef, Reader, Xlsx};

use super::grid::{Grid, Line, check_size};

/// Puts a cell into the last row, or into a new one after it.
fn put(grid: &mut Grid, row: u32, column: usize, text: String) -> Result<(), String> {
    let place = format!("row {}", row + 1);
    if grid.rows.last().is_none_or(|line| line.place != place) {
        grid.rows.push(Line { place, cells: Vec::new() });
    }
    check_size(grid.rows.len(), column + 1)?;
    if let Some(line) = grid.rows.last_mut() {
        line.cells.resize(line.cells.len().max(column + 1), String::new());
        line.cells[column] = text;
    }
    Ok(())
}

/// Reads the first sheet that holds a table; the others are named.
pub(super) fn read(bytes: Vec<u8>) -> Result<Grid, String> {
    let wrong = |error: calamine::XlsxError| format!("a workbook that cannot be read: {error}");
    let mut workbook: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).map_err(wrong)?;
    let names = workbook.sheet_names();
    let mut grid = Grid::default();
    for name in &names {
        if !grid.rows.is_empty() {
            grid.notices.push(format!("the sheet `{name}` is not read: save it as a file of its own"));
            continue;
        }
        let mut cells = workbook.worksheet_cells_reader(name).map_err(wrong)?;
        while let Some(cell) = cells.next_cell().map_err(wrong)? {
            let (row, column) = cell.get_position();
            let text = text_of(cell.get_value());
            if !text.is_empty() {
                put(&mut grid, row, column as usize, text)?;
            }
        }
        grid.format = format!("the sheet `{name}` of a workbook");
    }
    Ok(grid)
}

fn text_of(cell: &DataRef<'_>) -> String {
    match cell {
        DataRef::Int(value) => value.to_string(),
        DataRef::Float(value) => value.to_string(),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => text.clone(),
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Bool(value) => value.to_string(),
        DataRef::DateTime(value) => value.as_f64().to_string(),
        DataRef::Error(error) => error.to_string(),
        DataRef::Empty => String::new(),
    }
}
