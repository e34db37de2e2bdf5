use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::ship::tests::{Machines, Memory};
use super::super::{TakenIn, take_in};
use super::*;
use crate::{FailedInput, ForgettingAct, Forgotten, Prediction, Score, Scores, SlideRecord};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn failed(id: &str, deck: &str) -> FailedInput {
    let of = FailedInput::of(&Error::NoSuchSlide(id.to_owned()), id.to_owned(), "v1");
    FailedInput { deck_id: Some(deck.to_owned()), failed_at: at(1), ..of }
}

fn kept(deck: &str, number: usize, pixels: u8, second: i64) -> KeptSlide {
    let record = SlideRecord::sample(deck, number);
    KeptSlide {
        schema_version: KeptSlide::VERSION,
        slide_id: record.slide_id,
        deck_id: deck.to_owned(),
        deck: format!("{deck}.pdf"),
        number,
        source: record.source,
        sha256: format!("{pixels:02x}").repeat(32),
        scored_at: at(second),
    }
}

fn correction(id: &str, slide: &KeptSlide, second: i64) -> Correction {
    Correction {
        schema_version: Correction::VERSION,
        id: id.to_owned(),
        slide_id: slide.slide_id.clone(),
        model_version: "v1".to_owned(),
        annotator: "Ana".to_owned(),
        corrected_at: at(second),
        predicted: BTreeMap::new(),
        scores: Scores::from([("clarity".to_owned(), Score::new(5))]),
        notes: String::new(),
    }
}

/// Keeps slides on a service's machine, each with an image of its own that names its pixels, and logs that they were scored.
fn score(machines: &Machines, replica: &str, slides: &[KeptSlide]) {
    let layout = machines.layout(replica);
    for slide in slides {
        let line = Prediction {
            id: Some(format!("{replica}-{}", slide.slide_id)),
            deck_id: slide.deck_id.clone(),
            scored_at: slide.scored_at,
            ..Prediction::sample(&slide.slide_id)
        };
        Prediction::append(&layout.replica_predictions(replica), &[line]).unwrap();
        write_atomic(&layout.kept().image(&slide.sha256), slide.sha256.as_bytes()).unwrap();
    }
    KeptSlide::append(&layout.kept().index(), slides).unwrap();
}

fn kept_at(machines: &Machines, machine: &str) -> Vec<KeptSlide> {
    KeptSlide::read_log_if_present(&machines.layout(machine).kept().index()).unwrap().entries
}

fn corrections_at(machines: &Machines, machine: &str) -> Vec<String> {
    let log = Correction::read_log_if_present(&machines.layout(machine).corrections()).unwrap();
    log.entries.into_iter().map(|one| one.id).collect()
}

fn images_at(machines: &Machines, machine: &str) -> usize {
    let folder = std::fs::read_dir(machines.layout(machine).kept().root());
    folder.map_or(0, |folder| {
        folder.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "png")).count()
    })
}

#[test]
fn kept_slides_and_corrections_come_with_the_log_and_kept_slides_leave() {
    let (machines, store) = (Machines::new(), Memory::default());
    // Two slides of one image, and one that was scored again.
    let slides = [kept("d", 1, 1, 0), kept("d", 2, 1, 1), kept("e", 1, 2, 2)];
    score(&machines, "a", &slides);
    Correction::append(&machines.layout("a").corrections(), &[correction("c1", &slides[0], 5)]).unwrap();
    assert_eq!(machines.ship("a", &store).unwrap(), 5);
    assert!(kept_at(&machines, "a").is_empty() && images_at(&machines, "a") == 0);
    let monitor = machines.layout("monitor");
    let taken = take_in(&monitor, &ForgottenMarks::default(), &store).unwrap();
    assert_eq!(taken, TakenIn { segments: 1, lines: 3, kept: 3, corrections: 1, ..TakenIn::default() });
    assert!(store.objects.borrow().is_empty());
    assert_eq!(kept_at(&machines, "monitor"), slides);
    assert_eq!(std::fs::read_to_string(monitor.kept().image(&slides[2].sha256)).unwrap(), slides[2].sha256);
    assert_eq!(machines.ship("a", &store).unwrap(), 0, "the same correction is not shipped again");
    Correction::append(&machines.layout("a").corrections(), &[correction("c2", &slides[1], 6)]).unwrap();
    assert_eq!(machines.ship("a", &store).unwrap(), 1);
    // A machine that lost its note ships all of them again, and each is there once.
    std::fs::remove_file(machines.layout("a").replica_corrections("a")).unwrap();
    assert_eq!(machines.ship("a", &store).unwrap(), 1);
    take_in(&monitor, &ForgottenMarks::default(), &store).unwrap();
    assert_eq!(corrections_at(&machines, "monitor"), ["c1", "c2"]);
    assert_eq!(corrections_at(&machines, "a"), ["c1", "c2"], "the service knows them by their ids");
}

/// Each call fails once, before and after it did its work.
#[test]
fn nothing_that_goes_with_the_log_is_lost_when_any_call_fails() {
    for (calls, is_done) in (0..16).flat_map(|calls| [(calls, false), (calls, true)]) {
        let (machines, store) = (Machines::new(), Memory::default());
        let monitor = machines.layout("monitor");
        *store.fails.borrow_mut() = Some((calls, is_done));
        for round in 0..2 {
            let slide = kept("d", round + 1, round as u8, round as i64);
            score(&machines, "a", std::slice::from_ref(&slide));
            let made = correction(&format!("c{round}"), &slide, 9);
            Correction::append(&machines.layout("a").corrections(), &[made]).unwrap();
            while machines.ship("a", &store).is_err() {}
            while take_in(&monitor, &ForgottenMarks::default(), &store).is_err() {}
        }
        let slides: BTreeSet<_> = kept_at(&machines, "monitor").into_iter().map(|one| one.slide_id).collect();
        assert_eq!((slides.len(), images_at(&machines, "monitor")), (2, 2), "{calls} {is_done}");
        assert_eq!(corrections_at(&machines, "monitor"), ["c0", "c1"], "{calls} {is_done}");
    }
}

#[test]
fn what_was_forgotten_meanwhile_does_not_come_back_and_is_gone_from_the_store() {
    let (machines, store) = (Machines::new(), Memory::default());
    let (gone, stays, later) = (kept("gone", 1, 1, 0), kept("stays", 1, 2, 0), kept("gone", 1, 3, 100));
    score(&machines, "a", &[gone.clone(), stays.clone()]);
    let corrections = [correction("c1", &gone, 1), correction("c2", &stays, 1)];
    Correction::append(&machines.layout("a").corrections(), &corrections).unwrap();
    let log = Layout::failures_beside(&machines.layout("a").replica_predictions("a"));
    FailedInput::append(&log, &[failed("1", "gone"), failed("2", "stays")]).unwrap();
    let whole = std::fs::read(&log).unwrap();
    std::fs::write(&log, [&whole[..], b"{\"schema"].concat()).unwrap();
    machines.ship("a", &store).unwrap();
    assert_eq!(std::fs::read(&log).unwrap(), b"{\"schema", "what is unfinished stays");
    let monitor = machines.layout("monitor");
    let receipt = Forgotten {
        schema_version: Forgotten::VERSION,
        id: "1".to_owned(),
        act: ForgettingAct::Forgotten,
        decks: [Forgotten::mark("gone")].into(),
        slides: [Forgotten::mark(&gone.slide_id)].into(),
        files: BTreeSet::new(),
        removed: BTreeMap::new(),
        runs: BTreeMap::new(),
        versions: BTreeSet::new(),
        left: 0,
        by: "Ana".to_owned(),
        why: String::new(),
        at: at(50),
    };
    Forgotten::append(&monitor.slides().forgotten(), &[receipt]).unwrap();
    let marks = ForgottenMarks::read(&monitor.slides().forgotten()).unwrap();
    let taken = take_in(&monitor, &marks, &store).unwrap();
    assert_eq!(
        taken,
        TakenIn {
            segments: 1,
            lines: 1,
            failures: 1,
            kept: 1,
            corrections: 1,
            forgotten: 4,
            ..TakenIn::default()
        }
    );
    let of_failures = FailedInput::read_log(&monitor.failures()).unwrap().entries;
    assert_eq!(of_failures, [failed("2", "stays")]);
    assert!(store.objects.borrow().is_empty());
    assert_eq!(kept_at(&machines, "monitor"), [stays]);
    assert_eq!(
        (images_at(&machines, "monitor"), corrections_at(&machines, "monitor")),
        (1, vec!["c2".to_owned()])
    );
    // Who sends the deck again after that means it.
    score(&machines, "a", std::slice::from_ref(&later));
    machines.ship("a", &store).unwrap();
    assert_eq!(take_in(&monitor, &marks, &store).unwrap().forgotten, 0);
    assert!(kept_at(&machines, "monitor").contains(&later));
}

#[test]
fn what_is_cut_short_is_left_where_it_is() {
    let (machines, store) = (Machines::new(), Memory::default());
    score(&machines, "a", &[kept("d", 1, 1, 0)]);
    machines.ship("a", &store).unwrap();
    let whole = store.objects.borrow().clone();
    let name = whole.keys().find(|name| name.ends_with(KEPT)).unwrap().clone();
    store.objects.borrow_mut().insert(name.clone(), whole[&name][..20].to_vec());
    let monitor = machines.layout("monitor");
    let taken = take_in(&monitor, &ForgottenMarks::default(), &store).unwrap();
    assert_eq!((taken.refused, taken.kept), (vec![name.clone()], 0));
    store.objects.borrow_mut().insert(name.clone(), whole[&name].clone());
    assert_eq!(take_in(&monitor, &ForgottenMarks::default(), &store).unwrap().kept, 1);
}

#[test]
fn what_a_newer_program_kept_or_noted_stops_no_shipping() {
    let (machines, store) = (Machines::new(), Memory::default());
    let (slide, newer) = (kept("d", 1, 1, 0), kept("d", 2, 2, 1));
    score(&machines, "a", &[slide.clone(), newer.clone()]);
    let index = machines.layout("a").kept().index();
    let of_newer =
        serde_json::to_string(&newer).unwrap().replace("\"schema_version\":1", "\"schema_version\":9");
    let text = std::fs::read_to_string(&index).unwrap();
    std::fs::write(&index, text.replace(&serde_json::to_string(&newer).unwrap(), &of_newer)).unwrap();
    assert_eq!(machines.ship("a", &store).unwrap(), 2);
    assert_eq!(std::fs::read_to_string(&index).unwrap(), format!("{of_newer}\n"));
    assert_eq!(images_at(&machines, "a"), 1, "that of the slide which waits for a newer program");
    let monitor = machines.layout("monitor");
    let noted = serde_json::to_string(&correction("c0", &slide, 1)).unwrap();
    let noted = noted.replace("\"schema_version\":1", "\"schema_version\":9");
    durable_files::write_atomic(&monitor.corrections(), format!("{noted}\n").as_bytes()).unwrap();
    Correction::append(&machines.layout("a").corrections(), &[correction("c1", &slide, 5)]).unwrap();
    machines.ship("a", &store).unwrap();
    let taken = take_in(&monitor, &ForgottenMarks::default(), &store).unwrap();
    assert_eq!((taken.kept, taken.corrections), (1, 1));
}
