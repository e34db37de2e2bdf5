use super::*;
use crate::{Kind, merge, rebuild};
use slide_data::{Labels, Score};
use std::path::Path;

fn paths(dir: &Path) -> Layout {
    crate::layout_in(dir)
}

fn open(dir: &Path) -> Ledger {
    Ledger::open(&paths(dir), &Rubric::default(), ConsensusRule::Median).unwrap().0
}

fn rate(id: &str, slide: &str, annotator: &str, clarity: u8) -> Event {
    let mut event = Event::new(id, Kind::Rated, slide, annotator, Timestamp::UNIX_EPOCH);
    event.scores.insert("clarity".to_owned(), Score::new(clarity));
    event
}

fn labels_on_disk(dir: &Path) -> Labels {
    Labels::read_for(&paths(dir).labels(), &Rubric::default()).unwrap()
}

#[tokio::test]
async fn what_is_acknowledged_is_on_disk_and_in_the_labels() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(open(dir.path()));
    let mut running = tokio::task::JoinSet::new();
    for index in 0..200u32 {
        let ledger = ledger.clone();
        running.spawn(async move {
            let event =
                rate(&format!("e{index}"), &format!("s{}", index % 20), &format!("p{}", index / 20), 4);
            let acknowledged = ledger.submit(event).await.unwrap();
            assert!(!acknowledged.was_known);
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    let (events, defects) = Journal::read(&paths(dir.path()).journal()).unwrap();
    assert_eq!((events.len(), defects), (200, Defects::default()));
    drop(ledger);
    let labels = labels_on_disk(dir.path());
    assert_eq!(labels.slides.len(), 20);
    assert!(labels.slides.values().all(|label| label.annotators == 10));
}

#[tokio::test]
async fn of_two_tabs_that_act_at_once_one_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let (first, second) =
        tokio::join!(ledger.submit(rate("a", "s", "Ana", 2)), ledger.submit(rate("b", "s", "Ana", 5)));
    assert!(first.is_ok());
    assert!(matches!(second, Err(Error::Conflict { head: Some(head), .. }) if head == "a"));
    let (twice, again) =
        tokio::join!(ledger.submit(rate("c", "t", "Ana", 2)), ledger.submit(rate("c", "t", "Ana", 2)));
    assert!(!twice.unwrap().was_known && again.unwrap().was_known);
}

#[tokio::test]
async fn a_clock_set_back_does_not_reorder_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    let mut future = rate("a", "s", "Ana", 2);
    future.at = Timestamp::now().checked_add(48.hours()).unwrap();
    merge(&paths(dir.path()), &Rubric::default(), ConsensusRule::Median, vec![future]).unwrap();
    let ledger = open(dir.path());
    let mut next = rate("b", "s", "Ana", 5);
    next.base = Some("a".to_owned());
    ledger.submit(next).await.unwrap();
    assert_eq!(ledger.store().head("s", "Ana"), Some("b"));
}

#[test]
fn merging_twice_adds_once_and_an_edited_table_changes() {
    let dir = tempfile::tempdir().unwrap();
    let merge =
        |events| merge(&paths(dir.path()), &Rubric::default(), ConsensusRule::Median, events).unwrap();
    let events = vec![rate("a", "s", "Ana", 2), rate("b", "s", "Ben", 4)];
    assert_eq!(merge(events.clone()).added, 2);
    let again = merge(events);
    assert_eq!((again.added, again.known), (0, 2));
    let edited = merge(vec![rate("a", "s", "Ana", 5)]);
    assert_eq!((edited.added, edited.refused.len()), (1, 0));
    assert_eq!(merge(vec![rate("a", "s", "Ana", 5)]).known, 1);
    assert_eq!(labels_on_disk(dir.path()).slides["s"].distribution["clarity"], [0, 0, 0, 1, 1]);
    std::fs::remove_file(paths(dir.path()).labels()).unwrap();
    let rebuilt = rebuild(&paths(dir.path()), &Rubric::default(), ConsensusRule::Median).unwrap();
    assert_eq!(rebuilt, labels_on_disk(dir.path()));
}

#[test]
fn two_people_s_journals_merge_in_either_order_and_twice_to_the_same() {
    let ana = vec![rate("a1", "s", "Ana", 2), rate("a2", "t", "Ana", 5)];
    let mut undo = Event::new("b2", Kind::Undone, "s", "Ben", Timestamp::UNIX_EPOCH);
    undo.undoes = Some("b1".to_owned());
    let ben = vec![undo, rate("b1", "s", "Ben", 4), rate("b3", "t", "Ben", 3)];
    let merged = |order: &[&Vec<Event>]| {
        let dir = tempfile::tempdir().unwrap();
        for events in order {
            let events = (*events).clone();
            let merged =
                merge(&paths(dir.path()), &Rubric::default(), ConsensusRule::Median, events).unwrap();
            assert!(merged.refused.is_empty());
        }
        let mut events = Journal::read(&paths(dir.path()).journal()).unwrap().0;
        events.sort_by(|a, b| a.id.cmp(&b.id));
        let mut labels = labels_on_disk(dir.path());
        labels.slides.values_mut().for_each(|label| label.image_path.clear()); // names the folder
        (events, labels)
    };
    let one = merged(&[&ana, &ben]);
    assert_eq!(one.0.len(), 5);
    assert_eq!(one, merged(&[&ben, &ana]));
    assert_eq!(one, merged(&[&ben, &ana, &ben, &ana]));
}

#[tokio::test]
async fn a_second_ledger_on_the_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _held = open(dir.path());
    let second = Ledger::open(&paths(dir.path()), &Rubric::default(), ConsensusRule::Median);
    assert!(matches!(second.map(|_| ()), Err(Error::Locked { .. })));
}
