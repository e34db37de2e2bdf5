use std::fmt::Write as _;
use std::sync::Arc;

/// A PNG file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Its bytes.
    pub png: Arc<[u8]>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

impl Picture {
    /// A picture of the bytes of a PNG file; `None` where they are none.
    pub fn of_png(png: &[u8]) -> Option<Self> {
        // The signature, then the first chunk: its length, its type, width and height.
        let header = png.get(..24)?;
        if !header.starts_with(b"\x89PNG\r\n\x1a\n") || header.get(12..16)? != b"IHDR" {
            return None;
        }
        let number = |at: usize| header.get(at..at + 4)?.try_into().map(u32::from_be_bytes).ok();
        Some(Self { png: png.into(), width: number(16)?, height: number(20)? })
    }
}

/// A value in a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// There is none.
    Missing,
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// A picture; it is not shown where pictures stay on the machine.
    Picture(Picture),
}

impl Cell {
    /// As a text; pictures and what is missing are empty.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Number(value) => value.to_string(),
            Self::Text(text) => text.clone(),
            Self::Missing | Self::Picture(_) => String::new(),
        }
    }

    /// The picture, where it is one.
    pub(crate) fn picture(&self) -> Option<&Picture> {
        match self {
            Self::Picture(picture) => Some(picture),
            _ => None,
        }
    }
}

/// Rows that are looked at side by side.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// As many cells each as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// What a picture of a row is labelled with: the rest of the row.
    pub(crate) fn caption(&self, row: &[Cell]) -> String {
        let named = self.columns.iter().zip(row).filter(|(_, cell)| cell.picture().is_none());
        let parts = named.map(|(name, cell)| format!("{name}: {}", cell.text()));
        parts.collect::<Vec<_>>().join(", ")
    }

    /// As a table of Markdown, without the columns of pictures.
    pub(crate) fn markdown(&self) -> String {
        let has_picture = |column: usize| {
            self.rows.iter().any(|row| row.get(column).is_some_and(|cell| cell.picture().is_some()))
        };
        let shown: Vec<usize> = (0..self.columns.len()).filter(|column| !has_picture(*column)).collect();
        let line = |texts: Vec<String>| {
            let escaped: Vec<String> =
                texts.iter().map(|text| text.replace('|', "\\|").replace(['\n', '\r'], " ")).collect();
            format!("| {} |\n", escaped.join(" | "))
        };
        let mut text = line(shown.iter().map(|column| self.columns[*column].clone()).collect());
        text += &line(shown.iter().map(|_| "---".to_owned()).collect());
        for row in &self.rows {
            let cells = shown.iter().map(|column| row.get(*column).map(Cell::text).unwrap_or_default());
            let _ = write!(text, "{}", line(cells.collect()));
        }
        text
    }
}

/// How often which class was taken for which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    /// The classes.
    pub classes: Vec<String>,
    /// For each class how often it was taken for each.
    pub counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// Nothing was counted yet.
    pub fn new(classes: Vec<String>) -> Self {
        let counts = vec![vec![0; classes.len()]; classes.len()];
        Self { classes, counts }
    }

    /// Counts one that is `actual` and was taken for `predicted`, by their places among the classes; others are not counted.
    pub fn count(&mut self, actual: usize, predicted: usize) {
        if let Some(count) = self.counts.get_mut(actual).and_then(|row| row.get_mut(predicted)) {
            *count += 1;
        }
    }

    /// One row for each pair of classes, as charts take it.
    pub(crate) fn pairs(&self) -> Table {
        let mut rows = Vec::new();
        for (actual, counts) in self.classes.iter().zip(&self.counts) {
            for (predicted, count) in self.classes.iter().zip(counts) {
                let names = [actual, predicted].map(|name| Cell::Text(name.clone()));
                rows.push(names.into_iter().chain([Cell::Number(*count as f64)]).collect());
            }
        }
        let columns = ["Actual", "Predicted", "nPredictions"].map(str::to_owned).into();
        Table { columns, rows }
    }

    /// One row for each actual class, as people read it.
    pub(crate) fn square(&self) -> Table {
        let first = "actual \\ predicted".to_owned();
        let columns = std::iter::once(first).chain(self.classes.iter().cloned()).collect();
        let row = |(name, counts): (&String, &Vec<u64>)| {
            let counts = counts.iter().map(|count| Cell::Number(*count as f64));
            std::iter::once(Cell::Text(name.clone())).chain(counts).collect()
        };
        Table { columns, rows: self.classes.iter().zip(&self.counts).map(row).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_known_by_its_header() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x03\0\0\x01\0".to_vec();
        let picture = Picture::of_png(&png).unwrap();
        assert_eq!((picture.width, picture.height, picture.png.len()), (3, 256, 24));
        assert_eq!(Picture::of_png(&png[..23]), None);
        png[1] = b'J';
        assert_eq!(Picture::of_png(&png), None);
    }

    #[test]
    fn markdown_leaves_out_pictures_and_escapes_what_would_break_it() {
        let picture = Picture { png: Arc::from(&b"png"[..]), width: 1, height: 1 };
        let table = Table {
            columns: ["slide", "note", "score"].map(str::to_owned).into(),
            rows: vec![
                vec![Cell::Picture(picture), Cell::Text("a|b\nc".to_owned()), Cell::Number(4.5)],
                vec![Cell::Missing, Cell::Missing, Cell::Missing],
            ],
        };
        assert_eq!(table.markdown(), "| note | score |\n| --- | --- |\n| a\\|b c | 4.5 |\n|  |  |\n");
        assert_eq!(table.caption(&table.rows[0]), "note: a|b\nc, score: 4.5");
    }

    #[test]
    fn what_is_confused_is_counted() {
        let mut confusion = Confusion::new(["1", "2"].map(str::to_owned).into());
        for (actual, predicted) in [(0, 0), (0, 1), (0, 1), (1, 1), (2, 0), (0, 2)] {
            confusion.count(actual, predicted);
        }
        assert_eq!(confusion.counts, [[1, 2], [0, 1]]);
        assert_eq!(confusion.pairs().rows.len(), 4);
        assert!(confusion.square().markdown().ends_with("| 1 | 1 | 2 |\n| 2 | 0 | 1 |\n"));
    }
}
