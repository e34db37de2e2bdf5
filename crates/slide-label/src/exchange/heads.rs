//! What a head of a table, a key of a record or the name of a control means.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use slide_data::Rubric;

use super::cell::Scale;
use super::plan::Becomes;

/// What the command line says of columns, scales and people.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// By normalized name.
    columns: BTreeMap<String, Target>,
    /// The scale of every criterion that has none of its own.
    pub scale: Option<Scale>,
    /// By a person's id, address or name in lower case.
    people: HashMap<String, String>,
    /// Whether ratings of slides that the manifest does not have are taken, too.
    pub keeps_unknown: bool,
}

/// What a person says that a column is: `COLUMN=KEY`, as in `Overall=clarity`, `Wer=annotator`, `Score=ignored`.
#[derive(Debug, Clone)]
pub struct Mapping {
    column: String,
    target: String,
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once('=').map(|(column, target)| (column.trim(), target.trim()));
        let (column, target) = parts
            .filter(|(column, target)| !normal(column).is_empty() && !target.is_empty())
            .ok_or("not COLUMN=KEY, as in `Overall=clarity`, `Who=annotator` or `Remarks=ignored`")?;
        Ok(Self { column: column.to_owned(), target: target.to_owned() })
    }
}

#[derive(Debug, Clone)]
struct Target {
    becomes: Becomes,
    scale: Option<Scale>,
}

impl Rules {
    /// Without mappings and people: a scale for all scores, and whether ratings of slides that nobody collected are taken.
    pub fn new(scale: Option<Scale>, keeps_unknown: bool) -> Self {
        Self { scale, keeps_unknown, ..Self::default() }
    }

    /// Takes up what a person says of a column. A criterion's key may be followed by a scale: `Impact=clarity:1-10`.
    ///
    /// # Errors
    /// Where the key is neither a criterion nor a field of a rating.
    pub fn map(&mut self, mapping: &Mapping, rubric: &Rubric) -> Result<(), String> {
        let (key, scale) = match mapping.target.split_once(':') {
            Some((key, scale)) => (key, Some(scale.parse()?)),
            None => (mapping.target.as_str(), None),
        };
        let becomes = criterion(key, rubric)
            .or_else(|| field(key))
            .or_else(|| (normal(key) == "ignored").then_some(Becomes::Ignored));
        let becomes = becomes.ok_or_else(|| {
            let keys = rubric.keys().collect::<Vec<_>>().join(", ");
            format!("`{key}` is neither a criterion ({keys}) nor slide_id, annotator, notes, rated_at, kind, seconds or ignored")
        })?;
        self.columns.insert(normal(&mapping.column), Target { becomes, scale });
        Ok(())
    }

    /// Takes up a person's name: `found` is an id, an address or another name of theirs in the file.
    pub fn name_person(&mut self, found: &str, name: &str) {
        self.people.insert(found.trim().to_lowercase(), name.trim().to_owned());
    }

    /// Reads a table of people: an id, an address or another name, and the name that their ratings get.
    ///
    /// # Errors
    /// Where a line has not two cells, or the file is no text.
    pub fn read_people(&mut self, path: &std::path::Path) -> crate::Result<()> {
        super::people::read(path)?.iter().for_each(|(found, name)| self.name_person(found, name));
        Ok(())
    }

    /// The name that somebody gets whom a file names in these ways.
    pub(super) fn person(&self, found: &[String]) -> Option<&str> {
        found.iter().find_map(|found| self.people.get(&found.trim().to_lowercase())).map(String::as_str)
    }

    /// What a name means: as the command line says, else a criterion or a field of a rating by its usual names, else nothing.
    pub(super) fn meaning(&self, name: &str, rubric: &Rubric) -> Becomes {
        let mapped = self.columns.get(&normal(name)).map(|target| target.becomes.clone());
        mapped.or_else(|| criterion(name, rubric)).or_else(|| field(name)).unwrap_or(Becomes::Ignored)
    }

    pub(super) fn is_mapped(&self, name: &str) -> bool {
        self.columns.contains_key(&normal(name))
    }

    pub(super) fn scale_of(&self, name: &str) -> Option<Scale> {
        self.columns.get(&normal(name)).and_then(|target| target.scale).or(self.scale)
    }
}

/// Letters and digits alone, in lower case: `Data visualization` and `data_visualization` are one name.
pub(super) fn normal(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The criterion that a name means, by its key or its name, or that it does not apply (`<key>_na`).
pub(super) fn criterion(name: &str, rubric: &Rubric) -> Option<Becomes> {
    let find = |wanted: &str| {
        let is_it = |c: &&slide_data::Criterion| normal(&c.key) == wanted || normal(&c.name) == wanted;
        rubric.criteria.iter().find(is_it).map(|criterion| criterion.key.clone())
    };
    let wanted = normal(name);
    let without_na = || {
        let stem = ["notapplicable", "na"].iter().find_map(|end| wanted.strip_suffix(end))?;
        find(stem).map(Becomes::NotApplicable)
    };
    find(&wanted).map(Becomes::Criterion).or_else(without_na)
}

const FIELDS: [(Becomes, &[&str]); 9] = [
    (
        Becomes::Slide,
        &[
            "slideid",
            "slide",
            "image",
            "img",
            "imageid",
            "imagepath",
            "imageurl",
            "imagefile",
            "filename",
            "file",
            "picture",
            "slidename",
            "slideimage",
            "slidefile",
            "imagename",
        ],
    ),
    (
        Becomes::Annotator,
        &[
            "annotator",
            "rater",
            "ratedby",
            "annotatorname",
            "ratername",
            "annotatorid",
            "raterid",
            "person",
            "user",
            "username",
            "userid",
            "reviewer",
            "labeler",
            "labeller",
            "completedby",
            "email",
            "emailaddress",
        ],
    ),
    (Becomes::Notes, &["notes", "note", "comment", "comments", "remark", "remarks", "feedback"]),
    (
        Becomes::Time,
        &[
            "ratedat",
            "updatedat",
            "submittedat",
            "createdat",
            "timestamp",
            "datetime",
            "date",
            "time",
            "completedat",
            "starttime",
        ],
    ),
    (Becomes::Kind, &["kind"]),
    (Becomes::EventId, &["eventid"]),
    (Becomes::Seconds, &["seconds", "leadtime", "duration"]),
    (Becomes::ModelVersion, &["modelversion"]),
    (Becomes::OurRatings, &["pitchquest"]),
];

/// The field of a rating that a name means.
fn field(name: &str) -> Option<Becomes> {
    let wanted = normal(name);
    FIELDS.iter().find(|(_, names)| names.contains(&wanted.as_str())).map(|(becomes, _)| becomes.clone())
}

/// How good a name is for what it means, 0 the best: of several columns for one field the best is taken.
pub(super) fn rank(name: &str) -> usize {
    let wanted = normal(name);
    FIELDS.iter().find_map(|(_, names)| names.iter().position(|known| *known == wanted)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_by_letters_and_digits() {
        let (rules, rubric) = (Rules::default(), Rubric::default());
        let key = |key: &str| Becomes::Criterion(key.to_owned());
        for (name, expected) in [
            ("Slide ID", Becomes::Slide),
            ("Data visualization", key("data_visualization")),
            (" DATA-Visualization ", key("data_visualization")),
            ("Clarity", key("clarity")),
            ("clarity_na", Becomes::NotApplicable("clarity".to_owned())),
            ("Clarity not applicable", Becomes::NotApplicable("clarity".to_owned())),
            ("created_at", Becomes::Time),
            ("overall", Becomes::Ignored),
            ("", Becomes::Ignored),
        ] {
            assert_eq!(rules.meaning(name, &rubric), expected, "{name}");
        }
    }

    #[test]
    fn the_command_line_says_what_a_column_is() {
        let (mut rules, rubric) = (Rules::default(), Rubric::default());
        for text in ["Klarheit=Clarity:1-10", "Wer=annotator", "design=ignored", "a=b=notes"] {
            rules.map(&text.parse().unwrap(), &rubric).unwrap();
        }
        assert_eq!(rules.meaning("klarheit", &rubric), Becomes::Criterion("clarity".to_owned()));
        assert_eq!(rules.scale_of("Klarheit"), "1-10".parse().ok());
        assert_eq!(rules.meaning("wer", &rubric), Becomes::Annotator);
        assert_eq!(rules.meaning("Design", &rubric), Becomes::Ignored);
        assert_eq!(rules.meaning("a=b", &rubric), Becomes::Notes);
        assert!(rules.map(&"x=clearness".parse().unwrap(), &rubric).unwrap_err().contains("clarity"));
        assert!("nothing".parse::<Mapping>().is_err() && "=clarity".parse::<Mapping>().is_err());
    }
}
