//! Files of ratings as spreadsheets and annotation tools write them: of each, what is taken and what is said.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test program stops at the first surprise; tables of cases are long"
)]

mod json;
mod label_studio;
mod tables;

use slide_data::Rubric;
use slide_label::exchange::{self, Context, Imported, KnownSlides, Rules};
use slide_label::{Event, Kind, Store};

/// A file and what is to become of it.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    /// A line for each rating, `slide person: scores` with the kind where it is not a plain rating; nothing where the file is refused.
    taken: Option<&'static str>,
    /// Words that the plan or the refusal has.
    says: &'static [&'static str],
    /// What the command line says: mappings, a scale, people as `id=name`.
    told: &'static [&'static str],
}

fn case(
    name: &'static str,
    bytes: impl Into<Vec<u8>>,
    taken: &'static str,
    says: &'static [&'static str],
) -> Case {
    Case { name, bytes: bytes.into(), taken: Some(taken), says, told: &[] }
}

fn refused(name: &'static str, bytes: impl Into<Vec<u8>>, says: &'static [&'static str]) -> Case {
    Case { name, bytes: bytes.into(), taken: None, says, told: &[] }
}

impl Case {
    fn told(mut self, told: &'static [&'static str]) -> Self {
        self.told = told;
        self
    }

    fn rules(&self, rubric: &Rubric) -> Rules {
        let mut rules = Rules::default();
        for told in self.told {
            match told.split_once(' ').unwrap() {
                ("scale", scale) => rules.scale = Some(scale.parse().unwrap()),
                ("map", mapping) => rules.map(&mapping.parse().unwrap(), rubric).unwrap(),
                ("person", pair) => {
                    let (found, name) = pair.split_once('=').unwrap();
                    rules.name_person(found, name);
                }
                (other, _) => panic!("{other}"),
            }
        }
        rules
    }

    fn read(&self, dir: &std::path::Path) -> Result<Imported, String> {
        let path = dir.join(self.name);
        std::fs::write(&path, &self.bytes).unwrap();
        let rubric = Rubric::default();
        let known: KnownSlides = ["deck-p001", "deck-p002", "deck-p003"].into_iter().collect();
        let rules = self.rules(&rubric);
        let now = "2026-11-01T00:00:00Z".parse().unwrap();
        let context = Context { rubric: &rubric, annotator: None, now, slides: Some(&known), rules: &rules };
        exchange::read(&path, None, context).map_err(|error| error.to_string())
    }
}

fn line(event: &Event) -> String {
    let scores = event.scores.iter().map(|(key, score)| {
        format!(" {key}={}", score.map_or("na".to_owned(), |score| score.get().to_string()))
    });
    let kind = match event.kind {
        Kind::Skipped => " skipped",
        Kind::Adjudicated => " final",
        _ => "",
    };
    format!("{} {}{kind}:{}", event.slide_id, event.annotator, scores.collect::<String>())
}

fn check(cases: &[Case]) {
    let dir = tempfile::tempdir().unwrap();
    for case in cases {
        let name = case.name;
        match (case.read(dir.path()), case.taken) {
            (Ok(imported), Some(taken)) => {
                let mut found: Vec<String> = imported.events.iter().map(line).collect();
                found.sort();
                let mut expected: Vec<&str> =
                    taken.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
                expected.sort_unstable();
                let plan = serde_json::to_string(&imported.plan).unwrap();
                assert_eq!(found, expected, "{name}: {plan}");
                case.says
                    .iter()
                    .for_each(|word| assert!(plan.contains(word), "{name} does not say `{word}`: {plan}"));
                nothing_is_silent(name, &imported);
                let (store, broken) = Store::from_events(Rubric::default(), imported.events.clone());
                assert!(broken.is_empty(), "{name}: {broken:?}");
                assert_eq!(store.events().len(), imported.events.len(), "{name}: two ratings have one id");
                assert_eq!(
                    case.read(dir.path()).unwrap().events,
                    imported.events,
                    "{name}: another time, other events"
                );
            }
            (Err(error), None) => {
                case.says
                    .iter()
                    .for_each(|word| assert!(error.contains(word), "{name} does not say `{word}`: {error}"));
            }
            (found, _) => panic!("{name}: {found:?}"),
        }
    }
}

/// Whatever holds something is taken as something, or has a reason.
fn nothing_is_silent(name: &str, imported: &Imported) {
    use slide_label::exchange::Becomes;
    for column in &imported.plan.columns {
        let is_unused = matches!(column.becomes, Becomes::Ignored | Becomes::Refused);
        assert!(
            !is_unused || !column.reason.is_empty(),
            "{name}: `{}` is not taken and nothing is said",
            column.name
        );
    }
    let plan = &imported.plan;
    let taken = plan.ratings + plan.skips + plan.final_words + plan.other_events;
    assert_eq!(taken, imported.events.len(), "{name}");
    let accounted = taken
        + plan.empty_rows
        + plan.replaced.len()
        + plan.left_out_count()
        + plan.drafts
        + plan.predictions;
    assert!(
        accounted >= plan.rows || plan.format.starts_with("tasks"),
        "{name}: {accounted} of {} rows",
        plan.rows
    );
}

#[test]
fn tables() {
    check(&tables::cases());
}

#[test]
fn exports_of_label_studio() {
    check(&label_studio::cases());
}

#[test]
fn json_of_people_and_other_tools() {
    check(&json::cases());
}

#[test]
fn there_are_sixty_files_of_which_fifty_are_taken() {
    let all = [tables::cases(), label_studio::cases(), json::cases()].concat_cases();
    let taken = all.iter().filter(|case| case.taken.is_some_and(|taken| !taken.trim().is_empty())).count();
    assert!(all.len() >= 60 && taken >= 50, "{taken} of {}", all.len());
    let mut names: Vec<&str> = all.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len(), "two files have one name");
}

trait ConcatCases {
    fn concat_cases(self) -> Vec<Case>;
}

impl<const N: usize> ConcatCases for [Vec<Case>; N] {
    fn concat_cases(self) -> Vec<Case> {
        self.into_iter().flatten().collect()
    }
}
