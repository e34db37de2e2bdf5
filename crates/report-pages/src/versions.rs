//! The part of a deck report that compares the deck with an older version of it.

use std::collections::BTreeMap;

use minijinja::{Value, context};
use slide_data::{DeckVersions, Rubric, ScoreDifference, SlideVersions, Tendency};

use crate::format::number;
use crate::image::Image;

/// An older version of a deck and what became of its slides.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OlderVersion {
    /// Its name.
    pub title: String,
    /// Which slides stayed and how those that changed differ.
    pub versions: DeckVersions,
    /// Its changed slides as images, by their places in it.
    pub images: BTreeMap<usize, Image>,
}

impl OlderVersion {
    /// What the template shows.
    ///
    /// `newer` gives the place among the page's slides and the image of a slide of the newer version.
    pub(crate) fn shown<'a>(
        &self,
        rubric: &Rubric,
        newer: &dyn Fn(usize) -> Option<(usize, Option<&'a Image>)>,
    ) -> Value {
        let DeckVersions { kept, moved, changed, added, removed, criteria } = &self.versions;
        let name = |key: &str| {
            let known = rubric.criteria.iter().find(|criterion| criterion.key == key);
            known.map_or_else(|| key.to_owned(), |criterion| criterion.name.clone())
        };
        let line = |found: &ScoreDifference| difference(found, &name(&found.criterion));
        let slide = |slide: &SlideVersions| {
            let (at, image) = newer(slide.after).unzip();
            context! {
                before => slide.before,
                after => slide.after,
                anchor => at.map(|at| at + 1),
                image_before => self.images.get(&slide.before).map(Image::data_uri),
                image_after => image.flatten().map(Image::data_uri),
                lines => slide.differences.iter().map(line).collect::<Vec<_>>(),
            }
        };
        let all = changed.iter().flat_map(|slide| &slide.differences).chain(criteria);
        context! {
            title => self.title,
            kept => kept.len(),
            moved => places(moved.iter().map(|place| place[1])),
            added => places(added.iter().copied()),
            removed => places(removed.iter().copied()),
            changed => changed.iter().map(slide).collect::<Vec<_>>(),
            criteria => criteria.iter().map(line).collect::<Vec<_>>(),
            is_measured => all.clone().any(|found| found.interval.is_some()) || all.count() == 0,
        }
    }
}

/// Numbers of slides in words, as in `3, 5 and 9`; empty for none.
fn places(numbers: impl Iterator<Item = usize>) -> String {
    let all: Vec<String> = numbers.map(|number| number.to_string()).collect();
    match all.as_slice() {
        [] | [_] => all.concat(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn difference(found: &ScoreDifference, name: &str) -> Value {
    let (tone, word) = match found.tendency {
        Tendency::Better => ("ok", "better"),
        Tendency::Worse => ("no", "worse"),
        Tendency::Unclear => ("soft", "cannot tell"),
    };
    context! {
        name => name,
        before => number(Some(found.before), 1),
        after => number(Some(found.after), 1),
        change => signed(found.after - found.before),
        interval => found.interval.map(|[low, high]| format!("{} to {}", signed(low), signed(high))),
        slides => found.slides,
        tone => tone,
        word => word,
    }
}

/// With its sign; nothing that rounds to nothing has one.
fn signed(value: f64) -> String {
    let text = number(Some(value.abs()), 1);
    let sign = if text.chars().all(|c| matches!(c, '0' | '.')) {
        ""
    } else if value < 0.0 {
        "−"
    } else {
        "+"
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_do() {
        assert_eq!(places([].into_iter()), "");
        assert_eq!(places([4].into_iter()), "4");
        assert_eq!(places([2, 4, 7].into_iter()), "2, 4 and 7");
        assert_eq!([signed(-0.04), signed(0.26), signed(-1.31)], ["0.0", "+0.3", "−1.3"]);
    }
}
