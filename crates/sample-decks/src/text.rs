use crate::scene::{Kind, Rect, Scene};
use crate::words::Word;
use crate::{Color, Face, Family};

/// How a paragraph is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) family: Family,
    pub(crate) is_bold: bool,
    pub(crate) size: f64,
    pub(crate) color: Color,
    /// The colour of words that carry evidence; they are also bold.
    pub(crate) strong: Color,
    pub(crate) paper: Color,
}

/// Line height as a multiple of the size.
pub(crate) const LEADING: f64 = 1.28;

impl Style {
    fn face(&self, word: &Word) -> Face {
        Face { family: self.family, is_bold: self.is_bold || word.is_strong }
    }

    /// Divides words into lines of at most `width`; a word wider than that stands alone.
    pub(crate) fn lines<'a>(&self, words: &'a [Word], width: f64) -> Vec<Vec<(f64, &'a Word)>> {
        let space = Face { family: self.family, is_bold: self.is_bold }.width(" ", self.size);
        let mut lines: Vec<Vec<(f64, &Word)>> = Vec::new();
        let mut x = 0.0;
        for word in words {
            let wide = self.face(word).width(&word.text, self.size);
            match lines.last_mut() {
                Some(line) if x + wide <= width => line.push((x, word)),
                _ => {
                    lines.push(vec![(0.0, word)]);
                    x = 0.0;
                }
            }
            x += wide + space;
        }
        lines
    }

    /// Height of the words set in `width`.
    pub(crate) fn height(&self, words: &[Word], width: f64) -> f64 {
        self.lines(words, width).len() as f64 * self.size * LEADING
    }

    /// Draws words from the upper left corner `at`; returns their height.
    pub(crate) fn draw(
        &self,
        scene: &mut Scene,
        kind: Kind,
        at: (f64, f64),
        width: f64,
        words: &[Word],
    ) -> f64 {
        let lines = self.lines(words, width);
        let mut widest: f64 = 0.0;
        for (row, line) in lines.iter().enumerate() {
            let baseline = at.1 + self.size * (0.95 + LEADING * row as f64);
            for run in runs(line) {
                let (x, first) = run[0];
                let text = run.iter().map(|(_, word)| word.text.as_str()).collect::<Vec<_>>().join(" ");
                let color = if first.is_strong { self.strong } else { self.color };
                let drawn = scene.text((at.0 + x, baseline), self.size, self.face(first), color, &text);
                widest = widest.max(x + drawn);
            }
        }
        let height = lines.len() as f64 * self.size * LEADING;
        if !lines.is_empty() {
            let area = Rect::new(at.0, at.1, widest, height);
            scene.note(kind, area, self.size, self.color.contrast(self.paper));
        }
        height
    }
}

/// Neighbours of equal weight are one run, so that a PDF holds whole phrases.
fn runs<'a, 'b>(line: &'b [(f64, &'a Word)]) -> Vec<&'b [(f64, &'a Word)]> {
    line.chunk_by(|(_, a), (_, b)| a.is_strong == b.is_strong).collect()
}

/// Plain words.
pub(crate) fn plain(text: &str) -> Vec<Word> {
    text.split_whitespace().map(|word| Word { text: word.to_owned(), is_strong: false }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_to_their_width_and_lose_no_word() {
        let style = Style {
            family: Family::Roboto,
            is_bold: false,
            size: 20.0,
            color: Color::INK,
            strong: Color::INK,
            paper: Color::WHITE,
        };
        let words = plain("one message seen at a glance by everyone who sits in the last row of the room");
        let lines = style.lines(&words, 180.0);
        assert!(lines.len() > 3);
        assert_eq!(lines.iter().map(Vec::len).sum::<usize>(), words.len());
        for line in &lines {
            let (x, word) = line.last().unwrap();
            assert!(x + style.face(word).width(&word.text, 20.0) <= 180.0);
        }
    }
}
