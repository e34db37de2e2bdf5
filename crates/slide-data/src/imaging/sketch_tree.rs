//! Which of many sketches can be variants of one, without comparing it with all.
//!
//! A sketch is a point (its samples) and a box around it (what a crop can move there); two sketches may match if each point lies in the
//! other's box. So the sketches are divided again and again at the sample, and the grey level, that the fewest boxes lie on both
//! sides of, and each part knows the bounds of its points and of its boxes. A part whose bounds exclude a match is passed over with all that is in it: what is found is exactly what comparing with all would find.

use super::sketch::{SAMPLES, Sketch, TOLERANCE};

/// Sketches of a part that is not divided further.
const LEAF: usize = 8;
/// Sketches of a part that are asked where to divide it.
const ASKED: usize = 96;
/// Grey levels from one division that is tried to the next.
const STEP: usize = 8;
const LEVELS: usize = 256 / STEP;
/// The least share of a part that is divided off.
const LEAST: usize = 16;

/// Sketches by what they show. All that are ever asked for are told at the beginning; they are found from when they were
/// [inserted](Self::insert).
#[derive(Debug)]
pub struct SketchTree<'a> {
    sketches: &'a [Option<&'a Sketch>],
    /// In the order of a walk: a part, then the parts that it is divided into.
    parts: Vec<Part>,
    bounds: Vec<Bounds>,
    /// The positions of the sketches, those of a part side by side.
    order: Vec<u32>,
    /// The undivided part of each position; none where there is no sketch.
    part_of: Vec<Option<u32>>,
    inserted: Vec<bool>,
    /// What was inserted without a sketch, which may match everything.
    unknown: Vec<usize>,
}

#[derive(Debug)]
struct Part {
    parent: Option<u32>,
    /// The next part in the walk that does not lie in this one.
    next: u32,
    /// Where its sketches lie in the order, if it is not divided; else empty.
    from: u32,
    to: u32,
    /// How many of its sketches were inserted.
    inserted: u32,
}

/// The least and the greatest sample of several sketches, the darkest and the brightest value that a crop moves there.
#[derive(Debug)]
struct Bounds([[u8; SAMPLES]; 4]);

impl Bounds {
    fn of<'s>(sketches: impl Iterator<Item = &'s Sketch>) -> Self {
        let mut bounds = [[u8::MAX; SAMPLES], [0; SAMPLES], [u8::MAX; SAMPLES], [0; SAMPLES]];
        for sketch in sketches {
            let [samples, darkest, brightest] = sketch.parts();
            let [least, greatest, dark, bright] = &mut bounds;
            for (bound, value) in least.iter_mut().zip(samples).chain(dark.iter_mut().zip(darkest)) {
                *bound = (*bound).min(*value);
            }
            for (bound, value) in greatest.iter_mut().zip(samples).chain(bright.iter_mut().zip(brightest)) {
                *bound = (*bound).max(*value);
            }
        }
        Self(bounds)
    }

    /// Whether a sketch within the bounds can match another one.
    fn may_hold(&self, sketch: &Sketch) -> bool {
        let [samples, darkest, brightest] = sketch.parts();
        let [least, greatest, dark, bright] = &self.0;
        let mut outside = 0;
        for at in 0..SAMPLES {
            let point = least[at].saturating_sub(brightest[at]).max(darkest[at].saturating_sub(greatest[at]));
            let own = dark[at].saturating_sub(samples[at]).max(samples[at].saturating_sub(bright[at]));
            outside = outside.max(point.max(own));
        }
        outside <= TOLERANCE
    }
}

impl<'a> SketchTree<'a> {
    /// Prepares for sketches, none of which counts as inserted yet.
    pub fn new(sketches: &'a [Option<&'a Sketch>]) -> Self {
        let positions = 0..u32::try_from(sketches.len()).unwrap_or(u32::MAX);
        let mut tree = Self {
            sketches,
            parts: Vec::new(),
            bounds: Vec::new(),
            order: positions.filter(|&at| sketches[at as usize].is_some()).collect(),
            part_of: vec![None; sketches.len()],
            inserted: vec![false; sketches.len()],
            unknown: Vec::new(),
        };
        let mut order = std::mem::take(&mut tree.order);
        tree.divide(&mut order, 0, None);
        tree.order = order;
        tree
    }

    /// Adds the part of some positions, which begin at `from` in the order, and the parts that it is divided into.
    fn divide(&mut self, order: &mut [u32], from: u32, parent: Option<u32>) {
        let (own, length) = (self.parts.len() as u32, order.len() as u32);
        let sketches = self.sketches;
        self.bounds.push(Bounds::of(order.iter().filter_map(|&at| sketches[at as usize])));
        self.parts.push(Part { parent, next: 0, from, to: from + length, inserted: 0 });
        if order.len() > LEAF {
            let middle = separate(sketches, order);
            let (left, right) = order.split_at_mut(middle);
            self.parts[own as usize].to = from;
            self.divide(left, from, Some(own));
            self.divide(right, from + middle as u32, Some(own));
        } else {
            for &at in order.iter() {
                self.part_of[at as usize] = Some(own);
            }
        }
        self.parts[own as usize].next = self.parts.len() as u32;
    }

    /// The sample, and its least grey level on the one side, at which these sketches meet the fewest of those on the other side; none where
    /// no division spares a comparison. A tree asks some of each part.
    pub fn division(asked: &[&Sketch]) -> Option<(usize, u8)> {
        division(asked)
    }

    /// From now on the sketch at a position is found. What has no sketch is found always.
    pub fn insert(&mut self, at: usize) {
        if std::mem::replace(&mut self.inserted[at], true) {
            return;
        }
        let mut part = self.part_of[at];
        if part.is_none() {
            self.unknown.push(at);
        }
        while let Some(number) = part {
            let found = &mut self.parts[number as usize];
            found.inserted += 1;
            part = found.parent;
        }
    }

    /// The positions of all that were inserted.
    pub fn inserted(&self) -> Vec<usize> {
        (0..self.inserted.len()).filter(|&at| self.inserted[at]).collect()
    }

    /// The positions of all that were inserted and [may match](Sketch::may_match) a sketch, in no order.
    pub fn matches(&self, sketch: &Sketch) -> Vec<usize> {
        let mut matches = self.unknown.clone();
        let mut at = 0;
        while let Some(part) = self.parts.get(at) {
            if part.inserted == 0 || !self.bounds[at].may_hold(sketch) {
                at = part.next as usize;
                continue;
            }
            let own = self.order[part.from as usize..part.to as usize].iter().map(|&at| at as usize);
            let may_match = |&at: &usize| self.sketches[at].is_some_and(|other| other.may_match(sketch));
            matches.extend(own.filter(|&at| self.inserted[at]).filter(may_match));
            at += 1;
        }
        matches
    }
}

/// Brings the positions in an order in which two parts stand one after the other; returns where the second begins.
fn separate(sketches: &[Option<&Sketch>], order: &mut [u32]) -> usize {
    let sketch = |at: &u32| sketches[*at as usize];
    let asked: Vec<&Sketch> = order.iter().step_by(order.len().div_ceil(ASKED)).filter_map(sketch).collect();
    let Some((cell, level)) = division(&asked) else { return order.len() / 2 };
    let is_left = |at: &u32| sketch(at).is_some_and(|sketch| sketch.parts()[0][cell] < level);
    let count = order.iter().filter(|at| is_left(at)).count();
    if count < order.len() / LEAST || count > order.len() - order.len() / LEAST || count % order.len() == 0 {
        return order.len() / 2;
    }
    order.sort_by_key(|at| !is_left(at));
    count
}

/// The sample, and its least grey level on the one side, at which the asked sketches would meet the fewest of the others; none where
/// no division spares a comparison.
fn division(asked: &[&Sketch]) -> Option<(usize, u8)> {
    let all = asked.len() as u32;
    let mut best = (all * all, None);
    for cell in 0..SAMPLES {
        let mut counts = [[0u32; 3]; LEVELS];
        for sketch in asked {
            let [samples, darkest, brightest] = sketch.parts().map(|part| part[cell]);
            let values = [samples, darkest.saturating_sub(TOLERANCE), brightest.saturating_add(TOLERANCE)];
            (0..3).for_each(|part| counts[values[part] as usize / STEP][part] += 1);
        }
        // Sketches whose sample, whose darkest and whose brightest value is below the level.
        let mut below = [0u32; 3];
        for (at, counts) in counts.iter().enumerate().take(LEVELS - 1) {
            (0..3).for_each(|part| below[part] += counts[part]);
            let [left, reach_left, stay_left] = below;
            let meetings = left * reach_left + (all - left) * (all - stay_left);
            let least = all / LEAST as u32;
            if meetings < best.0 && left > least && left < all - least {
                best = (meetings, Some((cell, ((at + 1) * STEP) as u8)));
            }
        }
    }
    best.1
}

#[cfg(test)]
#[path = "sketch_tree_tests.rs"]
mod tests;
