use super::*;
use crate::Event;
use jiff::Timestamp;
use slide_data::{Rubric, SlideRecord};

fn manifest(decks: usize, slides: usize) -> Manifest {
    let record = |deck: usize, number: usize| SlideRecord::sample(&format!("d{deck}"), number);
    Manifest {
        slides: (0..decks).flat_map(|deck| (1..=slides).map(move |number| record(deck, number))).collect(),
    }
}

struct Room {
    queue: Queue,
    store: Store,
    now: Instant,
    events: usize,
}

impl Room {
    fn new(decks: usize, slides: usize, config: &LabelConfig) -> Self {
        let store = Store::new(Rubric::default());
        let slides = manifest(decks, slides);
        let calibration = Calibration::of("nowhere".as_ref(), &slides, &store, config).unwrap();
        let queue = Queue::new(&slides, &store, config, &calibration);
        Self { queue, store, now: Instant::now(), events: 0 }
    }

    fn give(&mut self, slide: &str, who: &str, clarity: u8) {
        self.events += 1;
        let at = Timestamp::from_second(self.events as i64).unwrap();
        let mut event = Event::new(format!("e{}", self.events), Kind::Rated, slide, who, at);
        event.scores.insert("clarity".to_owned(), Score::new(clarity));
        self.store.apply(event);
        self.queue.update(&self.store, slide, who);
    }

    fn next(&mut self, who: &str) -> Option<String> {
        self.queue.next(who, &[], &[], 1, self.now).pop()
    }
}

fn config(raters: usize, calibration: usize) -> LabelConfig {
    LabelConfig { raters_per_slide: raters, calibration_slides: calibration, ..LabelConfig::default() }
}

#[test]
fn everybody_starts_with_the_calibration_slides_and_every_slide_gets_its_raters() {
    let mut room = Room::new(5, 6, &config(2, 4));
    let people = ["Ana", "Ben", "Cleo"];
    let mut seen: HashMap<&str, Vec<String>> = HashMap::new();
    let mut is_open = true;
    while is_open {
        is_open = false;
        for who in people {
            if let Some(slide) = room.next(who) {
                assert!(!seen.entry(who).or_default().contains(&slide), "{who} met {slide} twice");
                seen.entry(who).or_default().push(slide.clone());
                room.give(&slide, who, 3);
                is_open = true;
            }
        }
    }
    let firsts: Vec<std::collections::BTreeSet<_>> =
        people.iter().map(|who| seen[who][..4].iter().cloned().collect()).collect();
    assert!(firsts[0] == firsts[1] && firsts[1] == firsts[2], "{firsts:?}");
    for (slide, ratings) in room.store.rated_slides() {
        let expected = if firsts[0].contains(slide) { 3 } else { 2 };
        assert_eq!(ratings.len(), expected, "{slide}");
    }
    assert_eq!(room.queue.complete(), 30);
    assert_eq!(room.queue.progress("Ana", room.now).open, 0);
}

#[test]
fn a_slide_that_was_handed_out_is_kept_until_its_time_is_over() {
    let mut room = Room::new(1, 2, &config(1, 0));
    let first = room.next("Ana").unwrap();
    assert_eq!(room.next("Ana"), Some(first.clone()), "the same slide, until it is rated");
    let second = room.next("Ben").unwrap();
    assert_ne!(first, second);
    assert_eq!(room.next("Cleo"), None);
    room.now += Duration::from_mins(31);
    assert!(room.next("Cleo").is_some());
}

#[test]
fn slides_of_one_deck_do_not_follow_each_other() {
    let mut room = Room::new(4, 5, &config(1, 5));
    let mut decks = Vec::new();
    while let Some(slide) = room.next("Ana") {
        decks.push(slide.split('-').next().unwrap().to_owned());
        room.give(&slide, "Ana", 3);
    }
    assert_eq!(decks.len(), 20);
    let in_a_row = decks.windows(2).filter(|pair| pair[0] == pair[1]).count();
    // The last slides may all be of one deck; before that there is always another.
    assert!(in_a_row <= 3 && decks[..12].windows(2).all(|pair| pair[0] != pair[1]), "{decks:?}");
}

#[test]
fn disagreement_calls_for_another_rater() {
    let mut room = Room::new(2, 3, &config(2, 0));
    for (who, clarity) in [("Ana", 1), ("Ben", 5)] {
        room.give("d0-1", who, clarity);
    }
    for who in ["Ana", "Ben"] {
        room.give("d1-1", who, 3);
    }
    assert_eq!(room.next("Cleo").as_deref(), Some("d0-1"));
    room.give("d0-1", "Cleo", 1);
    assert_eq!(room.next("Dan").as_deref(), Some("d0-1"));
    room.give("d0-1", "Dan", 1);
    assert!(room.next("Eve").is_some_and(|slide| slide != "d0-1" && slide != "d1-1"), "four are the most");
}

#[test]
fn the_model_s_doubt_chooses_where_wanted_and_undo_reopens() {
    let mut room = Room::new(8, 1, &LabelConfig { uncertain_share: 1.0, ..config(1, 0) });
    room.queue.set_uncertainty("d5-1", 2.0);
    assert_eq!(room.next("Ana").as_deref(), Some("d5-1"));
    room.give("d5-1", "Ana", 4);
    assert_eq!(room.queue.progress("Ana", room.now).rated, 1);
    let mut undo = Event::new("u", Kind::Undone, "d5-1", "Ana", Timestamp::from_second(99).unwrap());
    undo.undoes = Some("e1".to_owned());
    room.store.apply(undo);
    room.queue.update(&room.store, "d5-1", "Ana");
    assert_eq!(room.queue.progress("Ana", room.now), Progress { rated: 0, skipped: 0, open: 8 });
}

#[test]
fn slides_a_page_holds_stay_its_own_after_a_restart() {
    let mut room = Room::new(6, 1, &config(1, 0));
    let assigned = room.queue.next("Ana", &[], &[], 3, room.now);
    let mut again = Room::new(6, 1, &config(1, 0));
    assert_eq!(again.queue.next("Ana", &assigned, &[], 3, again.now), assigned);
    let others = again.queue.next("Ben", &[], &[], 6, again.now);
    assert!(others.len() == 3 && others.iter().all(|slide| !assigned.contains(slide)));
}

#[test]
fn a_share_at_random_leaves_neither_class_nor_doubt_a_say() {
    let config = LabelConfig { uncertain_share: 0.5, random_share: 0.5, ..config(1, 0) };
    let mut room = Room::new(200, 1, &config);
    (0..100).for_each(|deck| room.queue.set_uncertainty(&format!("d{deck}-1"), 1.0));
    let mut unsure = 0;
    for _ in 0..100 {
        let slide = room.next("Ana").unwrap();
        let deck: usize = slide[1..].split('-').next().unwrap().parse().unwrap();
        unsure += usize::from(deck < 100);
        room.give(&slide, "Ana", 3);
    }
    // Half the turns go to the hundred unsure slides, the others to any that is left: about 50 + 20.
    assert!((60..=85).contains(&unsure), "{unsure} of 100");
    let config = LabelConfig { uncertain_share: 0.7, random_share: 0.4, ..config };
    assert!(config.validate().unwrap_err().to_string().contains("label.random_share"));
}

#[test]
fn a_page_left_open_does_not_keep_slides_that_others_have_rated() {
    let mut room = Room::new(3, 4, &config(2, 0));
    let held = room.queue.next("Ana", &[], &[], 5, room.now);
    assert_eq!(held.len(), 5);
    room.now += Duration::from_mins(31);
    // Two others rate three of her five, one the fourth.
    for slide in &held[..3] {
        room.give(slide, "Ben", 3);
        room.give(slide, "Cleo", 3);
    }
    room.give(&held[3], "Ben", 3);
    let again = room.queue.next("Ana", &held, &[], 5, room.now);
    assert_eq!(again[..2], held[3..], "what still wants a rater stays hers, in its order");
    assert!(held[..3].iter().all(|slide| !again.contains(slide)), "{again:?}");
}

#[test]
fn what_a_page_has_done_or_another_holds_is_not_handed_out_again() {
    let mut room = Room::new(3, 4, &config(2, 0));
    let first = room.queue.next("Ana", &[], &[], 5, room.now);
    let second = room.queue.next("Ana", &[], &first, 5, room.now);
    assert!(second.len() == 5 && second.iter().all(|slide| !first.contains(slide)), "{first:?} {second:?}");
    let third = room.queue.next("Ana", &[], &[first, second].concat(), 5, room.now);
    assert_eq!(third.len(), 2, "twelve slides in all");
}

#[test]
fn slides_that_are_collected_later_leave_what_was_handed_out() {
    let mut room = Room::new(3, 4, &config(1, 0));
    let held = room.queue.next("Ana", &[], &[], 5, room.now);
    let mut larger = Queue::new(&manifest(6, 4), &room.store, &config(1, 0), &Calibration::default());
    larger.inherit(&room.queue);
    let others = larger.next("Ben", &[], &[], 24, room.now);
    assert_eq!(others.len(), 24 - 5);
    assert!(held.iter().all(|slide| !others.contains(slide)));
}
