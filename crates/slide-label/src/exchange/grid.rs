//! Tables as rows of text, from delimited text and from Excel workbooks.

/// The most rows of a table.
const MAX_ROWS: usize = 1_000_000;
/// The most columns of a table, and keys of a list of records.
pub(super) const MAX_COLUMNS: usize = 1_000;

/// A row and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) place: String,
    pub(super) cells: Vec<String>,
}

/// A table, its kind, and what is to be said of it as a whole.
#[derive(Debug, Default)]
pub(super) struct Grid {
    pub(super) format: String,
    pub(super) rows: Vec<Line>,
    pub(super) notices: Vec<String>,
    /// Rows that cannot be trusted, with the reason.
    pub(super) broken: Vec<(String, String)>,
}

impl Grid {
    /// Sets the last row aside if it runs over lines: its quotation mark is never closed.
    fn set_open_row_aside(&mut self) {
        let is_open = |row: &Line| row.cells.iter().any(|cell| cell.contains('\n'));
        if let Some(row) = self.rows.pop_if(|row| is_open(row)) {
            let lines: usize = row.cells.iter().map(|cell| cell.matches('\n').count()).sum();
            let reason = format!(
                "a quotation mark that opens here is never closed: {lines} lines after it are not read"
            );
            self.broken.push((row.place, reason));
        }
    }
}

/// Reads rows of any length, the first one too.
fn reader(text: &str, delimiter: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .flexible(true)
        .has_headers(false)
        .delimiter(delimiter)
        .from_reader(text.as_bytes())
}

fn name(delimiter: u8) -> &'static str {
    match delimiter {
        b',' => "commas",
        b';' => "semicolons",
        b'\t' => "tabs",
        _ => "bars",
    }
}

/// Reads text between commas, semicolons, tabs or bars, whichever the first lines have most of.
pub(super) fn of_text(text: &str) -> Result<Grid, String> {
    let (said, text, skipped) = separator_line(text);
    let delimiter = said.unwrap_or_else(|| delimiter(text));
    let mut grid = Grid { format: format!("a table with {}", name(delimiter)), ..Grid::default() };
    let mut reader = reader(text, delimiter);
    let has_open_quote = text.matches('"').count() % 2 == 1;
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|error| error.to_string())?;
        check_size(index, record.len())?;
        let line = record.position().map_or(index as u64 + 1, |position| line_of(text, position)) + skipped;
        let cells: Vec<String> = record.iter().map(str::to_owned).collect();
        grid.rows.push(Line { place: format!("line {line}"), cells });
    }
    if has_open_quote {
        grid.set_open_row_aside();
    }
    grid.rows.retain(|row| row.cells.iter().any(|cell| !cell.trim().is_empty()));
    Ok(grid)
}

/// The line of a record; the reader counts from the empty lines before it.
fn line_of(text: &str, position: &csv::Position) -> u64 {
    let rest = text.as_bytes().get(position.byte() as usize..).unwrap_or_default();
    let empty =
        rest.iter().take_while(|byte| [b'\r', b'\n'].contains(byte)).filter(|byte| **byte == b'\n').count();
    position.line() + empty as u64
}

pub(super) fn check_size(rows: usize, columns: usize) -> Result<(), String> {
    if rows >= MAX_ROWS {
        return Err(format!("more than {MAX_ROWS} rows: divide it"));
    }
    if columns > MAX_COLUMNS {
        return Err(format!("more than {MAX_COLUMNS} columns"));
    }
    Ok(())
}

/// `sep=;`, by which Excel is told of the delimiter: that, the text behind it and how many lines it took.
fn separator_line(text: &str) -> (Option<u8>, &str, u64) {
    let found = text.strip_prefix("sep=").and_then(|rest| {
        let (line, rest) = rest.split_once('\n')?;
        match line.trim_end_matches('\r').as_bytes() {
            [delimiter] if delimiter.is_ascii() => Some((*delimiter, rest)),
            _ => None,
        }
    });
    found.map_or((None, text, 0), |(delimiter, rest)| (Some(delimiter), rest, 1))
}

/// The delimiter that stands most often outside quotation marks in the first lines; commas where none does.
fn delimiter(text: &str) -> u8 {
    let mut counts = [(b',', 0usize), (b';', 0), (b'\t', 0), (b'|', 0)];
    let mut is_quoted = false;
    for byte in text.lines().filter(|line| !line.trim().is_empty()).take(3).flat_map(str::bytes) {
        is_quoted ^= byte == b'"';
        if let Some((_, count)) = counts.iter_mut().find(|(delimiter, _)| !is_quoted && *delimiter == byte) {
            *count += 1;
        }
    }
    // A tie goes to the first: decimal commas are never more than the delimiters beside them.
    counts
        .iter()
        .rev()
        .max_by_key(|(_, count)| *count)
        .filter(|(_, count)| *count > 0)
        .map_or(b',', |(delimiter, _)| *delimiter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_found() {
        for (text, expected) in [
            ("a,b\n1,2\n", b','),
            ("a;b;c\n1,5;2,5;3\n", b';'),
            ("a\tb\n1\t2\n", b'\t'),
            ("\"a,x,y\";b\n", b';'),
            ("a|b\n", b'|'),
            ("a\n1\n", b','),
        ] {
            assert_eq!(delimiter(text), expected, "{text}");
        }
        let grid = of_text("sep=;\r\na;b\r\n1;2\r\n").unwrap();
        assert_eq!(
            (grid.rows[1].place.as_str(), grid.rows[1].cells.as_slice()),
            ("line 3", &["1".to_owned(), "2".to_owned()][..])
        );
    }

    #[test]
    fn a_quotation_mark_that_is_never_closed_is_said() {
        let grid = of_text("a,b\n1,x\n2,\"y\n3,z\n4,z\n").unwrap();
        assert_eq!(grid.rows.len(), 2);
        assert!(
            grid.broken[0].0 == "line 3" && grid.broken[0].1.contains("never closed"),
            "{:?}",
            grid.broken
        );
        assert!(of_text("a,b\n1,5\" wide\n2,x\n").unwrap().broken.is_empty());
    }

    #[test]
    fn limits_hold() {
        assert!(of_text(&",".repeat(2000)).unwrap_err().contains("1000 columns"));
    }
}
