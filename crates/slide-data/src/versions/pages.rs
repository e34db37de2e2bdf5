//! Which pages of two versions of a deck are the same.

use super::PageMatch;
use super::gaps::{longest_rise, pair_in_gaps};
use super::page::Page;
use crate::DuplicateThresholds;

/// The share of common runs from which on two pages are one page, reworked.
const SAID: f64 = 0.5;

/// Matches the pages of two versions of a deck: those of the newer one in their order, then those that only the older one has.
///
/// Near-duplicates are one page. Of the others those are one page that say much the same; last, what stands between the same pages and
/// looks alike, or stands there in equal number.
pub fn match_pages(before: &[Page], after: &[Page], thresholds: &DuplicateThresholds) -> Vec<PageMatch> {
    let mut matched = Matched { of_before: vec![None; before.len()], of_after: vec![None; after.len()] };
    matched.nearest_first(before, after, &|old, new| old.duplicates(new, thresholds));
    let same = matched.pairs();
    matched.nearest_first(before, after, &|old, new| old.says(new).filter(|share| *share >= SAID));
    for (old, new) in pair_in_gaps(before, after, &matched.pairs()) {
        matched.join(old, new);
    }
    let in_order = longest_rise(&same);
    let of_after = |(new, old): (usize, &Option<usize>)| match *old {
        None => PageMatch::Added(new),
        Some(old) if in_order.contains(&(old, new)) => PageMatch::Kept(old, new),
        Some(old) if same.contains(&(old, new)) => PageMatch::Moved(old, new),
        Some(old) => PageMatch::Changed(old, new),
    };
    let removed = (0..before.len()).filter(|old| matched.of_before[*old].is_none()).map(PageMatch::Removed);
    matched.of_after.iter().enumerate().map(of_after).chain(removed).collect()
}

struct Matched {
    of_before: Vec<Option<usize>>,
    of_after: Vec<Option<usize>>,
}

impl Matched {
    fn join(&mut self, old: usize, new: usize) {
        self.of_before[old] = Some(new);
        self.of_after[new] = Some(old);
    }

    /// Pairs in the order of the newer version.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let pair = |(new, old): (usize, &Option<usize>)| old.map(|old| (old, new));
        self.of_after.iter().enumerate().filter_map(pair).collect()
    }

    /// Joins open pages for which `likeness` has a value, the likest first, of equals those nearest in place.
    fn nearest_first(
        &mut self,
        before: &[Page],
        after: &[Page],
        likeness: &dyn Fn(&Page, &Page) -> Option<f64>,
    ) {
        let open = |of: &[Option<usize>]| (0..of.len()).filter(|at| of[*at].is_none()).collect::<Vec<_>>();
        let (olds, news) = (open(&self.of_before), open(&self.of_after));
        let all = news.iter().flat_map(|&new| olds.iter().map(move |&old| (old, new)));
        let mut found: Vec<(f64, usize, usize)> =
            all.filter_map(|(old, new)| Some((likeness(&before[old], &after[new])?, old, new))).collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.abs_diff(a.2).cmp(&b.1.abs_diff(b.2))));
        for (_, old, new) in found {
            if self.of_before[old].is_none() && self.of_after[new].is_none() {
                self.join(old, new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TextPrint;
    use image::{Rgb, RgbImage, imageops};

    /// A header and lines of strokes that depend on `seed`.
    fn slide(seed: u32) -> RgbImage {
        RgbImage::from_fn(960, 540, |x, y| {
            let line = seed.wrapping_mul(2_654_435_761) ^ (y / 60).wrapping_mul(0x9e37_79b9);
            let length = 150 + line.wrapping_mul(0x85eb_ca6b) % 700;
            match y {
                0..70 => Rgb([20, 40, 90]),
                _ if y % 60 < 24 && (60..length).contains(&x) && x % 12 < 5 => Rgb([30; 3]),
                _ => Rgb([252, 252, 250]),
            }
        })
    }

    fn page(seed: u32) -> Page {
        Page::of(&slide(seed), None)
    }

    fn said(seed: u32, text: &str) -> Page {
        Page::of(&slide(seed), TextPrint::of(text))
    }

    fn matched(before: &[Page], after: &[Page]) -> Vec<PageMatch> {
        match_pages(before, after, &DuplicateThresholds::default())
    }

    #[test]
    fn slides_are_kept_moved_changed_added_and_removed() {
        use PageMatch::{Added, Changed, Kept, Moved, Removed};
        let before: Vec<Page> = (0..6).map(page).collect();
        let half = imageops::resize(&slide(1), 480, 270, imageops::FilterType::Triangle);
        let after = [page(0), Page::of(&half, None), page(40), page(4), page(3), page(5)];
        let expected = [Kept(0, 0), Kept(1, 1), Changed(2, 2), Kept(4, 3), Moved(3, 4), Kept(5, 5)];
        let found = matched(&before, &after);
        // Of two that changed places either may be called the one that moved.
        let swapped = [Kept(0, 0), Kept(1, 1), Changed(2, 2), Moved(4, 3), Kept(3, 4), Kept(5, 5)];
        assert!(found == expected || found == swapped, "{found:?}");
        assert_eq!(matched(&before[..2], &[page(0), page(1), page(7)]), [Kept(0, 0), Kept(1, 1), Added(2)]);
        assert_eq!(matched(&before[..3], &[page(0), page(2)]), [Kept(0, 0), Kept(2, 1), Removed(1)]);
        assert_eq!(matched(&[], &before[..1]), [Added(0)]);
        assert_eq!(matched(&before[..1], &[]), [Removed(0)]);
    }

    #[test]
    fn a_page_that_says_the_same_is_found_wherever_it_went() {
        use PageMatch::{Changed, Kept};
        let text = "Fifty firms sell tickets for buses and none of them sells all that a traveller needs";
        let before = [page(0), said(1, text), page(2), page(3)];
        let after = [page(0), page(2), page(3), said(9, &text.replace("Fifty", "Sixty"))];
        assert_eq!(matched(&before, &after), [Kept(0, 0), Kept(2, 1), Kept(3, 2), Changed(1, 3)]);
    }

    #[test]
    fn two_decks_that_share_nothing_are_not_taken_for_versions() {
        let dark = |seed: u32| {
            let mut image = slide(seed);
            image.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|value| 255 - value));
            Page::of(&imageops::rotate180(&image), None)
        };
        let (before, after) = ([page(0), page(1)], [dark(20), dark(21)]);
        let found = matched(&before, &after);
        let is_matched = |found: &PageMatch| !matches!(found, PageMatch::Added(_) | PageMatch::Removed(_));
        assert!(!found.iter().any(is_matched), "{found:?}");
    }
}
