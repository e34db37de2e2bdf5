use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use project_files::Storage;

use super::*;

/// A store in memory that fails when it is told to, before or after it did what it was asked.
#[derive(Default)]
pub(in crate::prediction_log) struct Memory {
    pub(in crate::prediction_log) objects: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Calls from now until one fails, and whether that one is done all the same.
    pub(in crate::prediction_log) fails: RefCell<Option<(u32, bool)>>,
}

impl Memory {
    fn step<T>(&self, what: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> Result<T> {
        let lost = || Error::Segment { path: "store".into(), reason: "no answer".to_owned() };
        let mut fails = self.fails.borrow_mut();
        match fails.as_mut() {
            Some((0, is_done)) => {
                if *is_done {
                    what(&mut self.objects.borrow_mut());
                }
                *fails = None;
                Err(lost())
            }
            Some((calls, _)) => {
                *calls -= 1;
                Ok(what(&mut self.objects.borrow_mut()))
            }
            None => Ok(what(&mut self.objects.borrow_mut())),
        }
    }

    fn create(&self, name: &str, content: &[u8]) -> Result<bool> {
        self.step(|objects| objects.entry(name.to_owned()).or_insert_with(|| content.to_vec()) == content)
    }
}

impl SegmentStore for Memory {
    type Error = Error;

    fn names(&self, folder: &str) -> Result<Vec<String>> {
        let within = |name: &String| {
            let rest = if folder.is_empty() { name } else { name.strip_prefix(folder)?.strip_prefix('/')? };
            Some(rest.split('/').next().unwrap_or(rest).to_owned())
        };
        let names = self.step(|objects| objects.keys().filter_map(within).collect::<BTreeSet<_>>())?;
        Ok(names.into_iter().rev().collect())
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.step(|objects| objects.get(name).cloned())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.step(|objects| drop(objects.remove(name)))
    }
}

/// The machines of two services and that of the monitor.
pub(in crate::prediction_log) struct Machines(tempfile::TempDir);

impl Machines {
    pub(in crate::prediction_log) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(in crate::prediction_log) fn layout(&self, machine: &str) -> Layout {
        let folder = self.0.path().join(machine);
        let (data_dir, monitoring_dir) = (folder.join("data"), folder.join("monitoring"));
        let storage = Storage { data_dir, monitoring_dir, ..Storage::default() };
        Layout::new(&storage, &folder.join("outputs"))
    }

    pub(in crate::prediction_log) fn log(&self, replica: &str, ids: impl IntoIterator<Item = usize>) {
        let lines: Vec<_> = ids.into_iter().map(|id| line(&format!("{replica}{id:06}"), id)).collect();
        Prediction::append(&self.layout(replica).replica_predictions(replica), &lines).unwrap();
    }

    pub(in crate::prediction_log) fn ship(&self, replica: &str, store: &Memory) -> Result<u64> {
        ship(&self.layout(replica), replica, |name, content| store.create(name, content))
    }

    /// The ids of all lines of the monitor's log, in order, also of those that are there twice.
    pub(in crate::prediction_log) fn ids(&self) -> Vec<String> {
        let log = std::fs::read(self.layout("monitor").predictions()).unwrap_or_default();
        let lines = log.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| Prediction::parse(Path::new("log"), None, line).unwrap().id.unwrap()).collect()
    }
}

fn line(id: &str, at: usize) -> Prediction {
    let scored_at = jiff::Timestamp::from_second(1_700_000_000 + at as i64).unwrap();
    Prediction { id: Some(id.to_owned()), scored_at, ..Prediction::sample(&format!("slide-{id}")) }
}

fn expected(counts: [usize; 2]) -> BTreeSet<String> {
    let of = |replica: &str, count: usize| {
        (0..count).map(move |id| format!("{replica}{id:06}")).collect::<Vec<_>>()
    };
    [of("a", counts[0]), of("b", counts[1])].concat().into_iter().collect()
}

#[test]
fn what_services_shipped_is_in_the_log_once_and_in_their_order() {
    let (machines, store) = (Machines::new(), Memory::default());
    assert_eq!(machines.ship("a", &store).unwrap(), 0, "it has not logged yet");
    machines.log("a", 0..3);
    machines.log("b", 0..2);
    assert_eq!(machines.ship("a", &store).unwrap(), 1);
    machines.log("a", 3..4);
    assert_eq!((machines.ship("a", &store).unwrap(), machines.ship("b", &store).unwrap()), (1, 1));
    assert_eq!(machines.ship("a", &store).unwrap(), 0, "nothing new");
    let monitor = machines.layout("monitor");
    let taken = take_in(&monitor, &ForgottenMarks::default(), &store).unwrap();
    assert_eq!((taken.segments, taken.lines, taken.refused.len()), (3, 6, 0));
    assert!(store.objects.borrow().is_empty(), "it is nowhere else now");
    let ids = machines.ids();
    assert_eq!(
        ids.iter().filter(|id| id.starts_with('a')).collect::<Vec<_>>(),
        ["a000000", "a000001", "a000002", "a000003"]
    );
    assert_eq!((ids.len(), ids.into_iter().collect::<BTreeSet<_>>()), (6, expected([4, 2])));
    assert_eq!(take_in(&monitor, &ForgottenMarks::default(), &store).unwrap(), TakenIn::default());
    assert!(std::fs::read_dir(monitor.replicas().join(".taken")).unwrap().next().is_none(), "no note stays");
}

/// Each call fails once, before and after it did its work; what is repeated ends with the same lines.
#[test]
fn nothing_is_lost_or_doubled_when_any_call_fails_and_is_repeated() {
    for (calls, is_done) in (0..24).flat_map(|calls| [(calls, false), (calls, true)]) {
        let (machines, store) = (Machines::new(), Memory::default());
        let monitor = machines.layout("monitor");
        *store.fails.borrow_mut() = Some((calls, is_done));
        for round in 0..3 {
            machines.log("a", round * 4..round * 4 + 4);
            machines.log("b", round..=round);
            for replica in ["a", "b"] {
                while machines.ship(replica, &store).is_err() {}
            }
            while take_in(&monitor, &ForgottenMarks::default(), &store).is_err() {}
        }
        let ids = machines.ids();
        assert_eq!(ids.len(), 15, "{calls} {is_done}: {ids:?}");
        assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), expected([12, 3]));
    }
}

/// A kill between two files: the state that it leaves is made, and the next run goes on from it.
#[test]
fn what_a_kill_leaves_half_done_is_ended_by_the_next_run() {
    let (machines, store) = (Machines::new(), Memory::default());
    let (service, monitor) = (machines.layout("a"), machines.layout("monitor"));
    let log = service.replica_predictions("a");
    // Killed after the lines were set aside and before they left the log.
    machines.log("a", 0..2);
    let before = std::fs::read(&log).unwrap();
    set_lines_aside(&log, &service.replica_segments("a"), ".jsonl").unwrap();
    std::fs::write(&log, [&before[..], b"{\"schema"].concat()).unwrap();
    assert_eq!(machines.ship("a", &store).unwrap(), 1, "the same lines are the same segment");
    assert_eq!(std::fs::read(&log).unwrap(), b"{\"schema", "what is unfinished stays");
    std::fs::write(&log, b"").unwrap();
    // Killed after the lines were in the monitor's log and before they were removed from the store.
    let objects = store.objects.borrow().clone();
    take_in(&monitor, &ForgottenMarks::default(), &store).unwrap();
    store.objects.borrow_mut().extend(objects.clone());
    let hash = hash_in(objects.keys().next().unwrap().split_once('/').unwrap().1).unwrap();
    std::fs::write(monitor.taken_segment(hash), b"").unwrap();
    assert_eq!(take_in(&monitor, &ForgottenMarks::default(), &store).unwrap(), TakenIn::default());
    assert!(store.objects.borrow().is_empty());
    // Killed before it was noted: the lines are there twice, and read once.
    store.objects.borrow_mut().extend(objects);
    take_in(&monitor, &ForgottenMarks::default(), &store).unwrap();
    assert_eq!(machines.ids().len(), 4);
    let log = super::super::PredictionLog::open(&monitor).unwrap();
    let mut read = 0;
    for day in log.days(..) {
        log.for_each_of(day, super::super::Columns::All, |_, _| {
            read += 1;
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(read, 2);
}

#[test]
fn what_is_cut_short_or_changed_or_foreign_is_left_where_it_is() {
    let (machines, store) = (Machines::new(), Memory::default());
    machines.log("a", 0..2);
    machines.ship("a", &store).unwrap();
    let (name, content) = store.objects.borrow().clone().pop_first().unwrap();
    let monitor = machines.layout("monitor");
    store.objects.borrow_mut().insert(name.clone(), content[..content.len() - 9].to_vec());
    store.objects.borrow_mut().insert("a/notes.txt".to_owned(), b"mine".to_vec());
    store.objects.borrow_mut().insert("readme".to_owned(), b"mine".to_vec());
    let taken = take_in(&monitor, &ForgottenMarks::default(), &store).unwrap();
    assert_eq!(taken, TakenIn { refused: vec![name.clone()], ..TakenIn::default() });
    assert!(machines.ids().is_empty() && store.objects.borrow().len() == 3);
    store.objects.borrow_mut().insert(name, content);
    assert_eq!(take_in(&monitor, &ForgottenMarks::default(), &store).unwrap().lines, 2);
    assert_eq!(store.objects.borrow().len(), 2);
    // A segment that is there with another content is not written over, and nothing is lost here.
    machines.log("a", 2..3);
    let log = machines.layout("a").replica_predictions("a");
    let name = format!("a/{}", name_of(&std::fs::read(log).unwrap(), ".jsonl"));
    store.objects.borrow_mut().insert(name, b"other".to_vec());
    assert!(machines.ship("a", &store).unwrap_err().to_string().contains("another content"));
    assert_eq!(files_in(&machines.layout("a").replica_segments("a")).unwrap().len(), 1);
}

#[test]
fn a_long_log_is_shipped_in_several_segments() {
    let (machines, store) = (Machines::new(), Memory::default());
    let lines = SEGMENT / serde_json::to_vec(&line("a000", 0)).unwrap().len() * 5 / 2;
    machines.log("a", 0..lines);
    assert_eq!(machines.ship("a", &store).unwrap(), 3);
    assert!(store.objects.borrow().values().all(|segment| segment.len() < SEGMENT + 10_000));
    take_in(&machines.layout("monitor"), &ForgottenMarks::default(), &store).unwrap();
    let ids = machines.ids();
    assert!(ids.len() == lines && ids.is_sorted(), "{}", ids.len());
}

#[test]
fn nothing_is_lost_of_what_is_logged_while_it_is_shipped() {
    let (machines, store) = (Machines::new(), Memory::default());
    std::thread::scope(|scope| {
        let log = machines.layout("a").replica_predictions("a");
        let writer = scope.spawn(move || {
            (0..80).for_each(|id| Prediction::append(&log, &[line(&format!("a{id:06}"), id)]).unwrap());
        });
        while !writer.is_finished() {
            machines.ship("a", &store).unwrap();
            take_in(&machines.layout("monitor"), &ForgottenMarks::default(), &store).unwrap();
        }
    });
    machines.ship("a", &store).unwrap();
    take_in(&machines.layout("monitor"), &ForgottenMarks::default(), &store).unwrap();
    assert_eq!(machines.ids().into_iter().collect::<BTreeSet<_>>(), expected([80, 0]));
    assert_eq!(machines.ids().len(), 80);
}
