//! Tables of ratings, one a row: our own CSV, and those of spreadsheets and other tools.

use serde_json::Value;

use super::cell::text_of;
use super::grid::{Grid, Line};
use super::heads::rank;
use super::plan::Becomes;
use super::sheet::{Draft, Sheet};
use super::{Context, label_studio};
use crate::{EventRef, Kind, Store, code};

/// A cell that a spreadsheet would run as a formula is written with an apostrophe before it, which reading takes away again.
const GUARDED: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];

fn guard(text: &str) -> String {
    if text.starts_with(GUARDED) { format!("'{text}") } else { text.to_owned() }
}

fn unguard(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| rest.starts_with(GUARDED)).unwrap_or(text)
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Skipped => "skipped",
        Kind::Adjudicated => "adjudicated",
        Kind::Changed => "changed",
        _ => "rated",
    }
}

pub(super) fn write(store: &Store, annotator: Option<&str>) -> Result<String, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = ["slide_id", "annotator"].into_iter().chain(store.rubric().keys());
    let header = header.chain(["notes", "rated_at", "event_id", "kind", "seconds", "model_version"]);
    writer.write_record(header).map_err(|error| error.to_string())?;
    for event in store.current_events().filter(|event| annotator.is_none_or(|name| name == event.annotator()))
    {
        writer.write_record(record(event)).map_err(|error| error.to_string())?;
    }
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

fn record(event: EventRef<'_>) -> Vec<String> {
    let score = |&code: &u8| match code {
        code::UNSET => String::new(),
        code::NOT_APPLICABLE => "na".to_owned(),
        score => score.to_string(),
    };
    let mut cells = vec![guard(event.slide_id()), guard(event.annotator())];
    cells.extend(event.codes().iter().map(score));
    cells.push(guard(event.notes()));
    cells.extend([event.at().to_string(), event.id().to_owned(), kind_name(event.kind()).to_owned()]);
    cells.push(event.seconds().map(|seconds| seconds.to_string()).unwrap_or_default());
    cells.push(guard(event.model_version().unwrap_or_default()));
    cells
}

/// How many rows may stand before the heads.
const MAX_TITLES: usize = 20;

pub(super) fn read(grid: Grid, context: Context<'_>) -> Result<Sheet, String> {
    let mut sheet = Sheet::new(grid.format);
    grid.notices.into_iter().for_each(|notice| sheet.plan.notice(notice, ""));
    for (place, reason) in grid.broken {
        sheet.plan.leave_out(&place, reason);
    }
    let heads = head_row(&grid.rows, context).ok_or_else(|| no_heads(&grid.rows))?;
    if heads > 0 {
        let place = &grid.rows[heads].place;
        let notice = format!("what stands before the heads in {place} is passed over");
        sheet.plan.notice(notice, &grid.rows[0].place);
    }
    let (head, body) = (&grid.rows[heads], &grid.rows[heads + 1..]);
    add_columns(&mut sheet, head, context);
    slide_column(&mut sheet, body, context);
    sheet.one_column_each(|name| if context.rules.is_mapped(name) { 0 } else { rank(name) });
    check_columns(&sheet, context)?;
    let is_label_studio = head.cells.iter().any(|name| name.trim() == "annotation_id");
    for line in body {
        sheet.plan.rows += 1;
        if let Some(reason) = surplus(line, head) {
            sheet.plan.leave_out(&line.place, reason);
        } else {
            let draft = draft(&mut sheet, line, is_label_studio);
            sheet.drafts.push(draft);
        }
    }
    Ok(sheet)
}

fn add_columns(sheet: &mut Sheet, head: &Line, context: Context<'_>) {
    for (index, name) in head.cells.iter().enumerate() {
        let name = name.trim().trim_start_matches('\u{feff}');
        let shown = if name.is_empty() { format!("(column {})", index + 1) } else { name.to_owned() };
        sheet.add_column(&shown, context.rules.meaning(name, context.rubric));
    }
}

/// Why a line with more cells than heads is left out: an unquoted delimiter moves every cell after it to another column.
fn surplus(line: &Line, head: &Line) -> Option<String> {
    let (count, heads) = (line.cells.len(), head.cells.len());
    let extra = line.cells.iter().skip(heads).find(|cell| !cell.trim().is_empty())?;
    Some(format!(
        "{count} cells, but {heads} heads (`{}`): a delimiter without quotation marks?",
        extra.trim()
    ))
}

/// One line's cells, as far as there are heads.
fn draft(sheet: &mut Sheet, line: &Line, is_label_studio: bool) -> Draft {
    let mut draft = Draft { place: line.place.clone(), ..Draft::default() };
    for (column, cell) in line.cells.iter().take(sheet.plan.columns.len()).enumerate() {
        let is_notes = sheet.plan.columns[column].becomes == Becomes::Notes;
        if !cell.trim().is_empty() || (is_notes && !cell.is_empty()) {
            let text = cell_text(cell, &sheet.plan.columns[column].becomes, is_label_studio);
            sheet.fill(&mut draft, column, text);
        }
    }
    draft
}

/// Label Studio writes an answer into a cell as JSON, and a person by number.
fn cell_text(cell: &str, becomes: &Becomes, is_label_studio: bool) -> String {
    let trimmed = cell.trim();
    match becomes {
        Becomes::Criterion(_) | Becomes::NotApplicable(_) if trimmed.starts_with(['[', '{']) => {
            let value: Option<Value> = serde_json::from_str(trimmed).ok();
            value.and_then(|value| text_of(&value).ok()).unwrap_or_else(|| cell.to_owned())
        }
        Becomes::Notes if is_label_studio && trimmed.starts_with(['[', '{']) => serde_json::from_str(trimmed)
            .ok()
            .map_or_else(|| cell.to_owned(), |value| label_studio::notes_of(&value).join("\n")),
        Becomes::Annotator if is_label_studio => label_studio::person_of_text(trimmed),
        Becomes::Slide | Becomes::Annotator | Becomes::ModelVersion => unguard(trimmed).to_owned(),
        Becomes::Notes => unguard(cell).to_owned(),
        _ => cell.to_owned(),
    }
}

/// The first row that has a head for the slide, or two criteria; else the first row, where a column below it holds slides.
fn head_row(rows: &[Line], context: Context<'_>) -> Option<usize> {
    let means = |row: &Line, wanted: fn(&Becomes) -> bool| {
        row.cells.iter().filter(|name| wanted(&context.rules.meaning(name, context.rubric))).count()
    };
    let is_head = |row: &Line| {
        let criteria = means(row, |b| matches!(b, Becomes::Criterion(_)));
        criteria >= 2 || (means(row, |b| *b == Becomes::Slide) >= 1 && row.cells.len() > 1)
    };
    let found = rows.iter().take(MAX_TITLES).position(is_head);
    let has_slides = |row: &Line| {
        let known = context.slides?;
        row.cells.iter().any(|cell| known.find(cell).is_some()).then_some(())
    };
    found.or_else(|| rows.iter().skip(1).take(MAX_TITLES).any(|row| has_slides(row).is_some()).then_some(0))
}

fn no_heads(rows: &[Line]) -> String {
    let heads = rows
        .first()
        .map(|row| row.cells.iter().take(12).map(|cell| cell.trim()).collect::<Vec<_>>().join(", "));
    match heads {
        Some(heads) => format!(
            "its first line (`{heads}`) has no column `slide_id`: say which one it is, as in `--map Page=slide_id`"
        ),
        None => "it is empty".to_owned(),
    }
}

/// How many cells of each column are slides, in the first lines.
fn counts(columns: usize, body: &[Line], is_slide: impl Fn(&str) -> bool) -> Vec<usize> {
    let mut counts = vec![0usize; columns];
    for line in body.iter().take(1000) {
        for (count, cell) in counts.iter_mut().zip(&line.cells) {
            *count += usize::from(is_slide(cell));
        }
    }
    counts
}

/// Where no column is named for the slide, or none of its cells is a slide, the one that holds most slides is it.
fn slide_column(sheet: &mut Sheet, body: &[Line], context: Context<'_>) {
    let Some(known) = context.slides else { return };
    let is_slide = |cell: &str| known.find(unguard(cell.trim())).is_some();
    let counts = counts(sheet.plan.columns.len(), body, is_slide);
    let columns = &mut sheet.plan.columns;
    let is_said: Vec<bool> = columns.iter().map(|column| context.rules.is_mapped(&column.name)).collect();
    let named: Vec<usize> =
        (0..columns.len()).filter(|&index| columns[index].becomes == Becomes::Slide).collect();
    let is_good = named.iter().any(|&column| counts[column] > 0 || is_said[column]);
    let free =
        (0..columns.len()).filter(|&index| columns[index].becomes == Becomes::Ignored && !is_said[index]);
    let best =
        free.filter(|&index| counts[index] > 0).max_by_key(|&index| (counts[index], usize::MAX - index));
    if !is_good && best.is_none() {
        return; // the slides are not in the manifest, which is said of each
    }
    for &column in named.iter().filter(|&&column| counts[column] == 0 && !is_said[column]) {
        columns[column].becomes = Becomes::Ignored;
        "no cell is a slide of the manifest".clone_into(&mut columns[column].reason);
    }
    if let Some(best) = best.filter(|_| !is_good) {
        columns[best].becomes = Becomes::Slide;
        "its cells are slides of the manifest".clone_into(&mut columns[best].reason);
    }
}

fn check_columns(sheet: &Sheet, context: Context<'_>) -> Result<(), String> {
    let columns = &sheet.plan.columns;
    let names =
        || columns.iter().take(20).map(|column| format!("`{}`", column.name)).collect::<Vec<_>>().join(", ");
    if !columns.iter().any(|column| column.becomes == Becomes::Slide) {
        return Err(format!(
            "its first line has no column `slide_id` but {}: say which one it is, as in `--map Page=slide_id`",
            names()
        ));
    }
    if !columns
        .iter()
        .any(|column| matches!(column.becomes, Becomes::Criterion(_) | Becomes::NotApplicable(_)))
    {
        let keys = context.rubric.keys().collect::<Vec<_>>().join(", ");
        return Err(format!(
            "none of its columns ({}) is a criterion ({keys}): say which ones are, as in `--map Overall=clarity`",
            names()
        ));
    }
    Ok(())
}
