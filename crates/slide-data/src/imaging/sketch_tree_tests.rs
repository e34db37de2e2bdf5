use repeatable_random::mix;

use super::*;

/// A sketch of some samples, each with room for a crop around it: `reach` is how much at most.
fn sketch(samples: impl Fn(usize) -> u8, reach: impl Fn(usize) -> u8) -> Sketch {
    let parts = [
        (0..SAMPLES).map(&samples).collect::<Vec<u8>>(),
        (0..SAMPLES).map(|at| samples(at).saturating_sub(reach(at))).collect(),
        (0..SAMPLES).map(|at| samples(at).saturating_add(reach(at))).collect(),
    ];
    Sketch::from_bytes(&parts.concat()).expect("three parts of samples")
}

fn noise(seed: u64, at: usize) -> u8 {
    mix(seed.wrapping_mul(1_000_003).wrapping_add(at as u64)) as u8
}

/// Slides of templates: each cell is the template's, but for some that are the slide's own, and shifted by a few grey levels.
fn of_template(seed: u64, templates: u64, own: u8) -> Sketch {
    let template = mix(seed) % templates;
    let samples = |at: usize| {
        let is_own = noise(seed, at + 5_000) < own;
        let value = if is_own { noise(seed, at) } else { noise(template + 77, at / 7) };
        value.saturating_add(noise(seed, 9_000) % 6)
    };
    sketch(samples, |at| noise(seed, at + 20_000) % 90)
}

/// What the tree finds for each sketch among those before it, against comparing with all; returns how many matches there were.
fn check(sketches: &[Option<Sketch>]) -> usize {
    let known: Vec<Option<&Sketch>> = sketches.iter().map(Option::as_ref).collect();
    let mut tree = SketchTree::new(&known);
    let mut count = 0;
    for (at, sketch) in sketches.iter().enumerate() {
        if let Some(sketch) = sketch {
            let may_match = |other: &usize| known[*other].is_none_or(|other| other.may_match(sketch));
            let expected: Vec<usize> = (0..at).filter(|other| other % 3 != 1).filter(may_match).collect();
            let mut found = tree.matches(sketch);
            found.sort_unstable();
            assert_eq!(found, expected, "sketch {at}");
            count += found.len();
        }
        if at % 3 != 1 {
            tree.insert(at);
            tree.insert(at);
        }
    }
    count
}

#[test]
fn what_is_found_is_what_comparing_with_all_finds() {
    for (templates, own) in [(1, 2), (1, 0), (3, 1), (40, 4), (400, 255), (1_000, 0)] {
        for seed in 0..3 {
            let some = |at: u64| {
                (noise(seed, at as usize) > 3).then(|| of_template(seed * 10_000 + at, templates, own))
            };
            let count = check(&(0..700).map(some).collect::<Vec<_>>());
            assert!(count > 0 || templates >= 40, "{templates} templates, {own} of 256 cells a slide's own");
        }
    }
}

#[test]
fn equal_sketches_and_the_ends_of_the_grey_levels_are_found() {
    let plain = |grey: u8| Some(sketch(|_| grey, |_| 0));
    assert_eq!(check(&vec![plain(90); 50]), (1..50).map(|at| at - (at + 1) / 3).sum::<usize>());
    // Neighbours of up to ten grey levels match.
    let steps: Vec<_> = (0..=255).chain((0..=255).rev()).map(plain).collect();
    assert!(check(&steps) > 3_000);
    assert_eq!(check(&[]), 0);
    assert_eq!(check(&[None, plain(3), None, plain(3)]), 1 + 3 - 1);
}

#[test]
fn parts_are_divided_to_the_end_whatever_lies_in_them() {
    let many: Vec<_> = (0..20_000).map(|at| of_template(at, 1, u8::from(at > 10))).collect();
    let known: Vec<_> = many.iter().map(Some).collect();
    let tree = SketchTree::new(&known);
    let undivided = tree.parts.iter().filter(|part| part.to > part.from);
    assert!(undivided.clone().all(|part| part.to - part.from <= LEAF as u32));
    assert_eq!(undivided.map(|part| part.to - part.from).sum::<u32>(), 20_000);
    let mut depths = vec![0];
    for part in &tree.parts[1..] {
        depths.push(part.parent.map_or(0, |parent| depths[parent as usize]) + 1);
    }
    assert!(depths.iter().max() < Some(&170), "a sixteenth is divided off at least");
}
