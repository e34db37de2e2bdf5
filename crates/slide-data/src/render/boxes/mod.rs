//! Text that leaves its box: where a presentation says that a text stands, against where its letters are drawn.

mod open_document;
mod presentation;

use super::letters::Letter;

pub(super) use open_document::open_boxes;
pub(super) use presentation::boxes;

/// Letters beyond its box that a text may have, as a share of their size: a box is measured with other fonts' ascents, and letters
/// are taken to be half as wide as high.
const TOLERANCE: f64 = 0.5;
/// Fewest letters and digits of a paragraph that is looked for; shorter ones stand in too many places.
const FEWEST: usize = 4;
/// Most places of one paragraph that are looked at.
const MOST_PLACES: usize = 20;

/// A rectangle on the page, in points from its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Area {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

/// How a box holds its text in the program that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Holds {
    /// Text may be longer than the box.
    #[default]
    Whatever,
    /// The box grows with its text, or the text shrinks with the box: it never is.
    All,
}

/// A box with its text.
#[derive(Debug, Clone, PartialEq)]
struct TextBox {
    area: Area,
    holds: Holds,
    /// Whether lines end at its sides.
    wraps: bool,
    /// Letters and digits of each paragraph, in lower case.
    paragraphs: Vec<String>,
}

/// The boxes of the slides of a presentation.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Boxes {
    /// Of each slide that is shown, in order.
    slides: Vec<Vec<TextBox>>,
}

/// Texts of a page that leave their boxes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaving {
    /// Boxes that hold their whole text in the program that made them: it was laid out otherwise there.
    pub(super) moved: usize,
    /// Other boxes, whose authors may see the same.
    pub(super) overflowing: usize,
}

impl Boxes {
    /// The texts of a page (from 0) of `pages` that leave their boxes. Nothing is known where pages and slides do not match.
    pub(super) fn leaving(&self, page: usize, pages: usize, letters: &[Letter]) -> Leaving {
        let mut leaving = Leaving::default();
        if self.slides.len() != pages {
            return leaving;
        }
        let drawn = DrawnText::of(letters);
        for text_box in self.slides.get(page).into_iter().flatten() {
            if !drawn.leaves(text_box) {
                continue;
            }
            match text_box.holds {
                Holds::All => leaving.moved += 1,
                Holds::Whatever => leaving.overflowing += 1,
            }
        }
        leaving
    }
}

/// The letters and digits of a text, in lower case.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The text of a page, with the place of each letter.
struct DrawnText<'a> {
    text: String,
    /// The letters and where each begins in the text.
    letters: Vec<(usize, &'a Letter)>,
}

impl<'a> DrawnText<'a> {
    fn of(letters: &'a [Letter]) -> Self {
        let mut drawn = Self { text: String::new(), letters: Vec::new() };
        for letter in letters.iter().filter(|letter| letter.character.is_alphanumeric()) {
            drawn.letters.push((drawn.text.len(), letter));
            drawn.text.extend(letter.character.to_lowercase());
        }
        drawn
    }

    fn leaves(&self, text_box: &TextBox) -> bool {
        let known = text_box.paragraphs.iter().filter(|text| text.chars().count() >= FEWEST);
        known.filter_map(|text| self.excess(text, text_box)).any(|excess| excess > TOLERANCE)
    }

    /// How far a paragraph stands out of its box, as a share of the letters' size; of several places that read the same the one
    /// that fits best.
    fn excess(&self, paragraph: &str, text_box: &TextBox) -> Option<f64> {
        let places = self.text.match_indices(paragraph).take(MOST_PLACES);
        let excesses = places.filter_map(|(at, _)| {
            let from = self.letters.partition_point(|(start, _)| *start < at);
            let to = self.letters.partition_point(|(start, _)| *start < at + paragraph.len());
            let letters = &self.letters[from..to];
            // Text that runs in another direction is laid out in ways that are not followed here.
            let is_level = letters.iter().all(|(_, letter)| letter.is_level);
            let beyond = letters.iter().map(|(_, letter)| text_box.excess(letter));
            is_level.then(|| beyond.fold(0.0, f64::max))
        });
        excesses.min_by(f64::total_cmp)
    }
}

impl TextBox {
    /// How far a letter stands out, as a share of its size.
    fn excess(&self, letter: &Letter) -> f64 {
        let Area { left, top, right, bottom } = self.area;
        let mut beyond = (top - (letter.y - 0.7 * letter.size)).max(letter.y + 0.2 * letter.size - bottom);
        if self.wraps {
            beyond = beyond.max(left - letter.x).max(letter.x + 0.5 * letter.size - right);
        }
        beyond / letter.size.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters of 20 points in lines of ten, from the upper left corner of a box at 100, 100.
    fn lines(text: &str) -> Vec<Letter> {
        let place = |(at, character)| {
            let (column, line) = ((at % 10) as f64, (at / 10) as f64);
            Letter { character, x: 100.0 + 10.0 * column, y: 118.0 + 24.0 * line, size: 20.0, is_level: true }
        };
        text.chars().enumerate().map(place).collect()
    }

    fn text_box(height: f64, holds: Holds) -> Boxes {
        let area = Area { left: 100.0, top: 100.0, right: 210.0, bottom: 100.0 + height };
        let paragraphs = vec![plain("The market is large & growing"), plain("R&D")];
        Boxes { slides: vec![vec![TextBox { area, holds, wraps: true, paragraphs }]] }
    }

    #[test]
    fn text_leaves_a_box_that_has_too_little_room() {
        let letters = lines("Market size The market is large & growing");
        let leaving = |height, holds| text_box(height, holds).leaving(0, 1, &letters);
        assert_eq!(leaving(130.0, Holds::All), Leaving::default(), "five lines");
        assert_eq!(leaving(70.0, Holds::All), Leaving { moved: 1, overflowing: 0 });
        assert_eq!(leaving(70.0, Holds::Whatever), Leaving { moved: 0, overflowing: 1 });
        assert_eq!(text_box(70.0, Holds::All).leaving(0, 2, &letters), Leaving::default(), "other pages");
    }

    #[test]
    fn a_text_that_stands_in_two_places_is_the_one_in_the_box() {
        let far = lines("the market is large growing")
            .into_iter()
            .map(|letter| Letter { y: letter.y + 300.0, ..letter });
        let letters: Vec<Letter> = far.chain(lines("the market is large growing")).collect();
        assert_eq!(text_box(90.0, Holds::All).leaving(0, 1, &letters), Leaving::default());
        assert_eq!(text_box(90.0, Holds::All).leaving(0, 1, &letters[..27]).moved, 1);
    }

    #[test]
    fn text_that_is_turned_or_not_there_is_not_judged() {
        let turned: Vec<Letter> = lines("the market is large growing")
            .into_iter()
            .map(|letter| Letter { y: 900.0, is_level: false, ..letter })
            .collect();
        assert_eq!(text_box(20.0, Holds::All).leaving(0, 1, &turned), Leaving::default());
        assert_eq!(text_box(20.0, Holds::All).leaving(0, 1, &lines("something else")), Leaving::default());
    }
}
