//! What a card must not say: looked for before anything of a release is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Something in a card that a stranger could not rely on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CardProblem {
    /// Something that was to be filled in.
    Placeholder {
        /// The card.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// A measured number in a part that does not say on how much it was measured.
    NumberWithoutSize {
        /// The card.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The number with what stands around it.
        text: String,
    },
    /// A link to a file that is not in the release.
    DeadLink {
        /// The card.
        file: String,
        /// The line, from 1.
        line: usize,
        /// Where the link leads.
        target: String,
    },
    /// A path of somebody's machine.
    LocalPath {
        /// The card.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The path.
        path: String,
    },
}

impl fmt::Display for CardProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placeholder { file, line, text } => write!(f, "{file}:{line} was not filled in: `{text}`"),
            Self::NumberWithoutSize { file, line, text } => {
                write!(f, "{file}:{line} does not say on how much it was measured: `{text}`")
            }
            Self::DeadLink { file, line, target } => {
                write!(f, "{file}:{line} leads to `{target}`, which is not in the release")
            }
            Self::LocalPath { file, line, path } => {
                write!(f, "{file}:{line} names a path of a machine: `{path}`")
            }
        }
    }
}

/// Words that stand for what was to be written, as whole words.
const PLACEHOLDERS: [&str; 9] =
    ["TODO", "TBD", "FIXME", "XXX", "NaN", "inf", "N/A", "[More Information Needed]", "lorem ipsum"];
/// What a size is counted in.
const UNITS: [&str; 8] = ["rating", "slide", "deck", "pair", "step", "token", "byte", "epoch"];
/// Where the paths of machines begin.
const ROOTS: [&str; 13] = [
    "/home/", "/Users/", "/root/", "/tmp/", "/var/", "/mnt/", "/opt/", "/data/", "/srv/", "/etc/", "~/",
    "../", "file://",
];

/// What is wrong with the cards of a release. `files` are the names of what the release holds.
pub fn lint(cards: &BTreeMap<String, String>, files: &BTreeSet<String>) -> Vec<CardProblem> {
    let mut problems = Vec::new();
    for (file, text) in cards {
        let body = Body::of(text);
        for line in &body.lines {
            problems.extend(placeholder(file, line));
            problems.extend(local_paths(file, line));
            problems.extend(dead_links(file, line, files));
        }
        problems.extend(sizes(file, &body));
    }
    problems
}

/// A line that is read, with its number.
struct Line<'a> {
    number: usize,
    text: &'a str,
    is_code: bool,
    is_metadata: bool,
}

struct Body<'a> {
    lines: Vec<Line<'a>>,
}

impl<'a> Body<'a> {
    fn of(text: &'a str) -> Self {
        let (mut is_code, mut is_metadata) = (false, false);
        let mut lines = Vec::new();
        for (at, text) in text.lines().enumerate() {
            let is_fence = text.trim_start().starts_with("```");
            let is_border = text == "---" && (at == 0 || is_metadata);
            if is_border {
                is_metadata = at == 0;
            } else if is_fence && !is_metadata {
                is_code = !is_code;
            } else {
                lines.push(Line { number: at + 1, text, is_code, is_metadata });
            }
        }
        Self { lines }
    }
}

fn placeholder(file: &str, line: &Line<'_>) -> Option<CardProblem> {
    let is_whole = |word: &str| {
        let at = line.text.match_indices(word).find(|(at, _)| {
            let before = line.text[..*at].chars().next_back();
            let after = line.text[at + word.len()..].chars().next();
            let ends =
                |letter: Option<char>| letter.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_');
            ends(before) && ends(after)
        });
        at.is_some()
    };
    let word = PLACEHOLDERS.into_iter().find(|word| is_whole(word));
    let template =
        ["{{", "<your", "<name>", "your-username"].into_iter().find(|part| line.text.contains(*part));
    let text = word.or(template.filter(|_| !line.is_code))?;
    Some(CardProblem::Placeholder { file: file.to_owned(), line: line.number, text: text.to_owned() })
}

fn local_paths(file: &str, line: &Line<'_>) -> Vec<CardProblem> {
    let is_part = |letter: char| !letter.is_whitespace() && !"\"'`()<>|,;=".contains(letter);
    let words = line.text.split(|letter| !is_part(letter)).filter(|word| !word.is_empty());
    let is_path = |word: &&str| {
        let is_drive = word.len() > 2
            && word.as_bytes()[0].is_ascii_alphabetic()
            && (word[1..].starts_with(":\\") || word[1..].starts_with(":/") && !word[1..].starts_with("://"));
        is_drive || word.starts_with("\\\\") || ROOTS.iter().any(|root| word.starts_with(root))
    };
    let path = |word: &str| CardProblem::LocalPath {
        file: file.to_owned(),
        line: line.number,
        path: word.trim_end_matches('.').to_owned(),
    };
    words.filter(is_path).map(path).collect()
}

fn dead_links(file: &str, line: &Line<'_>, files: &BTreeSet<String>) -> Vec<CardProblem> {
    if line.is_code || line.is_metadata {
        return Vec::new();
    }
    let targets = line.text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let is_dead = |target: &&str| {
        let is_elsewhere = target.contains("://") || target.starts_with("mailto:") || target.starts_with('#');
        let path = target.split(['#', '?']).next().unwrap_or_default();
        !is_elsewhere && !files.contains(path.trim_start_matches("./"))
    };
    let problem = |target: &str| CardProblem::DeadLink {
        file: file.to_owned(),
        line: line.number,
        target: target.to_owned(),
    };
    targets.filter(is_dead).map(problem).collect()
}

/// Parts (from one heading to the next of its rank or above) whose measured numbers stand without a size. Measured are numbers
/// with decimals and shares; settings, which are listed below a heading of their own, are not.
fn sizes(file: &str, body: &Body<'_>) -> Vec<CardProblem> {
    let mut problems = Vec::new();
    let mut part: Vec<&Line<'_>> = Vec::new();
    for line in body.lines.iter().filter(|line| !line.is_code && !line.is_metadata) {
        if line.text.starts_with('#') {
            problems.extend(number_without_size(file, &part));
            part.clear();
        }
        part.push(line);
    }
    problems.extend(number_without_size(file, &part));
    problems
}

/// The first measured number of a part, if nothing in it states a size.
fn number_without_size(file: &str, part: &[&Line<'_>]) -> Option<CardProblem> {
    if part.iter().any(|line| states_size(line.text)) {
        return None;
    }
    let line = part.iter().find(|line| has_interval(line.text))?;
    Some(CardProblem::NumberWithoutSize {
        file: file.to_owned(),
        line: line.number,
        text: line.text.trim().chars().take(80).collect(),
    })
}

/// `80 slides`, or a column of sizes with a number below it.
fn states_size(text: &str) -> bool {
    let words: Vec<&str> =
        text.split(|letter: char| letter.is_whitespace() || "().,;:|".contains(letter)).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let is_unit = |word: &str| UNITS.iter().any(|unit| word.trim_end_matches('s') == *unit);
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let counted = words.windows(2).any(|pair| is_number(pair[0]) && is_unit(pair[1]));
    let column = text.starts_with('|') && text.split('|').any(|cell| is_unit(cell.trim()));
    counted || column
}

/// `0.47 [0.46, 0.49]` or `98.0 %`: what was measured and not set.
fn has_interval(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let number: &str = &rest[at..];
        let end =
            number.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(number.len());
        let after = &number[end..];
        if number[..end].contains('.') && [" [", " %", "\u{a0}%"].iter().any(|unit| after.starts_with(unit)) {
            return true;
        }
        rest = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<CardProblem> {
        let files = ["run.json", "DATA_CARD.md"].map(str::to_owned).into();
        lint(&[("README.md".to_owned(), text.to_owned())].into(), &files)
    }

    #[test]
    fn a_card_of_facts_is_let_through() {
        let text = "---\nlicense: \"mit\"\n---\n# Rater\n\nOn 80 slides of 8 decks it errs by 0.47 [0.46, 0.49].\n\n\
            ## By criterion\n\n| criterion | ratings | error |\n| --- | ---: | ---: |\n| Clarity | 80 | 0.36 [0.23, 0.49] |\n\n\
            See [run.json](run.json), [the data](./DATA_CARD.md#sizes), [peft](https://example.org/peft), [above](#rater).\n\n\
            ## Settings\n\n| rate | 0.002 |\n\n```python\nrepo = \".\"\nx = a[0](b)\ny = {{1}}\n```\n";
        assert_eq!(problems(text), []);
    }

    #[test]
    fn what_was_not_filled_in_is_found() {
        for text in [
            "TODO",
            "licence: TBD",
            "[More Information Needed]",
            "errs by NaN",
            "{{ model_name }}",
            "by <your name>",
            "n: N/A",
            "---\nlicense: TODO\n---\n",
        ] {
            let found = problems(text);
            assert!(matches!(&found[..], [CardProblem::Placeholder { .. }]), "{text}: {found:?}");
        }
        assert_eq!(problems("information, Nantes, info, infer"), []);
    }

    #[test]
    fn a_number_without_its_size_is_found() {
        for text in [
            "It errs by 0.47 [0.46, 0.49].",
            "## A\n\n98.0 % of 3\n\n## B\n\n80 slides",
            "| mae |\n| --- |\n| 0.5 [0.4, 0.6] |",
        ] {
            let found = problems(text);
            assert!(matches!(&found[..], [CardProblem::NumberWithoutSize { .. }]), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_link_to_what_is_not_there_is_found() {
        for (text, target) in [
            ("[the report](report.html)", "report.html"),
            ("![curve](images/loss.png)", "images/loss.png"),
            ("[run](run.json) and [other](./other.json#x)", "./other.json#x"),
        ] {
            let problem =
                CardProblem::DeadLink { file: "README.md".to_owned(), line: 1, target: target.to_owned() };
            assert_eq!(problems(text), [problem]);
        }
    }

    #[test]
    fn a_path_of_a_machine_is_found_wherever_it_stands() {
        for text in [
            "base /home/ann/tiny",
            "`../models/tiny`",
            "(~/models)",
            "model: C:\\models\\tiny",
            "C:/models",
            "file:///a",
            "\\\\server\\share",
            "```sh\npq-score --adapter /tmp/x\n```",
            "---\nbase_model: \"/mnt/base\"\n---\n",
            "at \"/Users/ann\".",
        ] {
            let found = problems(text);
            assert!(matches!(&found[..], [CardProblem::LocalPath { .. }]), "{text}: {found:?}");
        }
        assert_eq!(problems("a/b and owner/name, https://example.org/home/x, 1/2, and/or"), []);
    }
}
