//! What becomes of a file, as text.

use std::fmt::Write;
use std::path::Path;

use slide_label::exchange::{ColumnPlan, Notice, PersonPlan, Plan, Problem};

/// So many lines of a kind are shown; `--json` has all.
const MAX_LINES: usize = 50;

fn unknown(slide: &str, count: usize) -> Problem {
    let reason =
        format!("it is not in the manifest: {} left out (`--keep-unknown` takes them)", ratings(count));
    Problem { place: format!("slide `{slide}`"), reason }
}

/// The tables of `pq-label import`: columns, people, what is taken otherwise than it stands, what is not taken.
pub(crate) fn text(plan: &Plan, file: &Path) -> String {
    let mut text =
        format!("{}: {}, {} rows\n", shown(&file.display().to_string()), shown(&plan.format), plan.rows);
    columns(&mut text, &plan.columns);
    people(&mut text, &plan.people);
    notices(&mut text, plan);
    problems(&mut text, "a later row stands for these", &plan.replaced);
    let unknown: Vec<Problem> =
        plan.unknown_slides.iter().map(|(slide, count)| unknown(slide, *count)).collect();
    problems(&mut text, "slides that are not there", &unknown);
    problems(&mut text, "left out", &plan.left_out);
    text.push('\n');
    text
}

fn columns(text: &mut String, columns: &[ColumnPlan]) {
    if columns.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{:<28}{:<32}{:>8}{:>10}", "column", "taken as", "filled", "left out");
    for column in columns {
        let (name, becomes) = (shown(&column.name), column.becomes.to_string());
        let left_out = if column.left_out == 0 { String::new() } else { column.left_out.to_string() };
        let line =
            format!("{name:<27} {becomes:<31} {:>8}{left_out:>10}  {}", column.filled, shown(&column.reason));
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

fn people(text: &mut String, people: &[PersonPlan]) {
    if people.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\n{:<28}{:<24}{:>8}{:>8}{:>10}",
        "person in the file", "name here", "ratings", "skips", "final"
    );
    for person in people.iter().take(MAX_LINES) {
        let found = if person.found.is_empty() { "(nobody)".to_owned() } else { shown(&person.found) };
        let counts = [person.ratings, person.skips, person.final_words];
        let [ratings, skips, finals] =
            counts.map(|count| if count == 0 { String::new() } else { count.to_string() });
        let line = format!("{found:<27} {:<23} {ratings:>8}{skips:>8}{finals:>10}", shown(&person.name));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    more(text, people.len());
}

fn notices(text: &mut String, plan: &Plan) {
    let counted = [
        (plan.drafts, "drafts that nobody submitted are not taken"),
        (plan.predictions, "predictions of a model are not taken"),
        (plan.empty_rows, "rows say nothing of their slide"),
    ];
    let counted =
        counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let said = |notice: &Notice| match (notice.count, notice.first.as_str()) {
        (1, "") => notice.what.clone(),
        (1, first) => format!("{} ({first})", notice.what),
        (count, first) => format!("{} ({count} times, first in {first})", notice.what),
    };
    let lines: Vec<String> = counted.chain(plan.notices.iter().map(said)).collect();
    if !lines.is_empty() {
        text.push_str("\nto know\n");
    }
    for line in lines.iter().take(MAX_LINES) {
        let _ = writeln!(text, "  {}", shown(line));
    }
    more(text, lines.len());
}

fn problems(text: &mut String, head: &str, problems: &[Problem]) {
    if problems.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{head}");
    for problem in problems.iter().take(MAX_LINES) {
        let _ = writeln!(text, "  {}: {}", shown(&problem.place), shown(&problem.reason));
    }
    more(text, problems.len());
}

fn more(text: &mut String, count: usize) {
    if count > MAX_LINES {
        let _ = writeln!(text, "  and {} more (`--json` lists all)", count - MAX_LINES);
    }
}

fn ratings(count: usize) -> String {
    if count == 1 { "1 rating".to_owned() } else { format!("{count} ratings") }
}

/// Text of the file without what a terminal would obey.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
