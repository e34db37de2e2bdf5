use super::*;
use proptest::prelude::*;
use slide_data::Score;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn rate(id: &str, annotator: &str, clarity: u8, second: i64, base: Option<&str>) -> Event {
    let mut event = Event::new(id, Kind::Rated, "s1", annotator, at(second));
    event.scores.insert("clarity".to_owned(), Score::new(clarity));
    event.base = base.map(str::to_owned);
    event
}

fn undo(id: &str, annotator: &str, target: &str, second: i64, base: &str) -> Event {
    let mut event = Event::new(id, Kind::Undone, "s1", annotator, at(second));
    event.undoes = Some(target.to_owned());
    event.base = Some(base.to_owned());
    event
}

fn store(events: Vec<Event>) -> Store {
    let (store, refused) = Store::from_events(Rubric::default(), events);
    assert!(refused.is_empty(), "{refused:?}");
    store
}

fn clarity(store: &Store, annotator: &str) -> Option<u8> {
    let event = store.current("s1", annotator)?;
    event.scores().get("clarity").copied().flatten().map(Score::get)
}

#[test]
fn undo_takes_back_and_undoing_the_undo_brings_back() {
    let mut events = vec![rate("a", "Ana", 2, 1, None), rate("b", "Ana", 5, 2, Some("a"))];
    assert_eq!(clarity(&store(events.clone()), "Ana"), Some(5));
    events.push(undo("c", "Ana", "b", 3, "b"));
    assert_eq!(clarity(&store(events.clone()), "Ana"), Some(2));
    events.push(undo("d", "Ana", "c", 4, "c"));
    assert_eq!(clarity(&store(events.clone()), "Ana"), Some(5));
    assert_eq!(store(events.clone()).head("s1", "Ana"), Some("d"));
    assert_eq!(store(events).history("s1").len(), 4, "history is kept");
}

#[test]
fn a_stale_page_cannot_overwrite() {
    let store = store(vec![rate("a", "Ana", 2, 1, None)]);
    let stale = rate("b", "Ana", 4, 2, None);
    let error = store.submit_check(&stale).unwrap_err();
    assert!(matches!(&error, Error::Conflict { head: Some(head), .. } if head == "a"), "{error}");
    assert_eq!(store.submit_check(&rate("b", "Ana", 4, 2, Some("a"))).unwrap(), Standing::New);
    assert_eq!(store.submit_check(&rate("b", "Ben", 4, 2, None)).unwrap(), Standing::New);
}

#[test]
fn the_same_event_again_is_known_and_another_under_its_id_is_refused() {
    let store = store(vec![rate("a", "Ana", 2, 1, None)]);
    assert_eq!(store.submit_check(&rate("a", "Ana", 2, 9, None)).unwrap(), Standing::Known);
    assert!(matches!(store.submit_check(&rate("a", "Ana", 3, 1, None)), Err(Error::IdTaken { .. })));
}

#[test]
fn nobody_undoes_what_another_person_did() {
    let store = store(vec![rate("a", "Ana", 2, 1, None)]);
    assert!(store.merge_check(&undo("b", "Ben", "a", 2, "a")).is_err());
    assert!(store.merge_check(&undo("b", "Ana", "zzz", 2, "a")).is_err());
}

#[test]
fn adjudication_stands_beside_the_ratings_and_can_be_undone_by_another_lead() {
    let mut adjudication = rate("f", "Lead", 3, 5, None);
    adjudication.kind = Kind::Adjudicated;
    let events = vec![rate("a", "Ana", 2, 1, None), rate("l", "Lead", 5, 2, None), adjudication];
    let with = store(events.clone());
    assert_eq!(with.adjudication("s1").map(|e| e.id()), Some("f"));
    assert_eq!(clarity(&with, "Lead"), Some(5), "the lead's own rating is kept");
    assert_eq!(with.ratings("s1").count(), 2);
    let undone = store([events, vec![undo("u", "Second lead", "f", 6, "f")]].concat());
    assert!(undone.adjudication("s1").is_none());
    assert_eq!(undone.adjudication_head("s1"), Some("u"));
}

#[test]
fn a_skip_is_no_rating() {
    let skip = Event::new("k", Kind::Skipped, "s1", "Ana", at(1));
    let store = store(vec![skip]);
    assert_eq!(store.ratings("s1").count(), 0);
    assert_eq!(store.current("s1", "Ana").map(|e| e.kind()), Some(Kind::Skipped));
}

/// Whatever becomes of the rubric, a rating keeps its scores of the criteria that are left; what does not count is counted.
#[test]
fn a_criterion_that_the_rubric_loses_takes_only_its_own_scores_along() {
    let both = |id: &str, annotator: &str, second: i64| {
        let mut event = rate(id, annotator, 2, second, None);
        event.scores.insert("design".to_owned(), Score::new(5));
        event
    };
    let mut only_design = rate("c", "Cleo", 1, 3, None);
    only_design.scores = [("design".to_owned(), Score::new(1))].into();
    let mut word = only_design.clone();
    (word.id, word.kind) = ("f".to_owned(), Kind::Adjudicated);
    let events = vec![both("a", "Ana", 1), both("b", "Ben", 2), only_design, word];
    let mut renamed = Rubric::default();
    renamed.criteria[1].key = "looks".to_owned();
    let mut removed = Rubric::default();
    removed.criteria.remove(1);
    for rubric in [renamed, removed] {
        let (store, refused) = Store::from_events(rubric, events.clone());
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(store.uncounted(), [("design".to_owned(), 4)].into());
        assert_eq!((clarity(&store, "Ana"), clarity(&store, "Ben")), (Some(2), Some(2)));
        assert_eq!(store.ratings("s1").count(), 2, "who rated nothing that is left has not rated");
        assert!(store.adjudication("s1").is_none(), "a final word on nothing is none");
        let kept: Vec<Event> = store.events().map(|event| event.to_event()).collect();
        assert_eq!(kept, events, "nothing is lost: the journal can be written anew");
        let (again, _) = Store::from_events(Rubric::default(), kept);
        assert!(again.uncounted().is_empty() && again.ratings("s1").count() == 3);
        let error = store.submit_check(&both("n", "Dana", 5)).unwrap_err().to_string();
        assert!(error.contains("`design` is not a criterion"), "new ratings are held to the rubric: {error}");
        assert_eq!(store.submit_check(&events[0]).unwrap(), Standing::Known, "a repetition is acknowledged");
    }
}

fn summary(store: &Store) -> Vec<String> {
    let people: Vec<_> = store.annotators().map(str::to_owned).collect();
    people
        .iter()
        .map(|who| format!("{who} {:?} {:?}", clarity(store, who), store.head("s1", who)))
        .chain([format!("{:?}", store.adjudication("s1").map(|e| e.id()))])
        .collect()
}

prop_compose! {
    /// A history of two people and a lead: ratings at arbitrary times, some of them undone.
    fn histories()(
        steps in proptest::collection::vec((0u8..3, 1u8..=5, 0i64..6, any::<bool>()), 1..12)
    ) -> Vec<Event> {
        let mut events = Vec::new();
        for (index, (who, score, second, undone)) in steps.into_iter().enumerate() {
            let mut event = rate(&format!("e{index}"), ["Ana", "Ben", "Lead"][usize::from(who)], score, second, None);
            if who == 2 {
                event.kind = Kind::Adjudicated;
            }
            if undone {
                let name = event.annotator.clone();
                events.push(undo(&format!("u{index}"), &name, &event.id, second + 1, &event.id));
            }
            events.push(event);
        }
        events
    }
}

proptest! {
    #[test]
    fn merging_is_commutative_and_idempotent(events in histories(), cut in 0usize..24, seed in any::<u64>()) {
        let whole = store(events.clone());
        let mut shuffled = events.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        prop_assert_eq!(summary(&whole), summary(&store(shuffled)));
        let cut = cut.min(events.len());
        let overlapping = [&events[cut..], &events[..], &events[..cut]].concat();
        prop_assert_eq!(summary(&whole), summary(&store(overlapping)));
    }
}
