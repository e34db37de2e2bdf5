use serde_json::{Value, json};

use crate::{Label, Score, SlideRecord};

/// One exported slide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) slide: &'a SlideRecord,
    pub(super) label: Option<&'a Label>,
    /// Whether names of files and people's notes are left out.
    pub(super) public: bool,
}

/// The value of one column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field {
    Text(Option<String>),
    Number(Option<i32>),
    /// How many raters gave each score.
    Counts(Option<[i32; Score::LEVELS]>),
}

impl Row<'_> {
    pub(super) fn file_name(&self) -> String {
        format!("{}.png", self.slide.slide_id)
    }

    /// The columns beside the image: provenance, then notes, number of raters, and for each criterion the score and how many
    /// raters gave each. Every row has the same columns in the same order.
    pub(super) fn fields(&self, criteria: &[String]) -> Vec<(String, Field)> {
        let Self { slide, label, public } = self;
        let text = |value: &str| Field::Text(Some(value.to_owned()));
        let number = |value: u32| Field::Number(i32::try_from(value).ok());
        let kind = json!(slide.source.kind).as_str().map(str::to_owned);
        let named = [
            ("slide_id", text(&slide.slide_id)),
            ("deck_id", text(&slide.deck_id)),
            ("group", text(&slide.group)),
            ("number", number(slide.number as u32)),
            ("width", number(slide.width)),
            ("height", number(slide.height)),
            ("sha256", text(&slide.sha256)),
            ("source_kind", Field::Text(kind)),
            ("origin", text(&slide.source.origin)),
            ("origin_sha256", text(&slide.source.sha256)),
            ("page", slide.source.page.map_or(Field::Number(None), |page| number(page as u32))),
            ("license", Field::Text(slide.source.license.clone())),
            ("collected_at", text(&slide.collected_at.to_string())),
            ("tool_version", text(&slide.tool_version)),
            ("notes", Field::Text(label.map(|label| label.notes.clone()))),
            ("annotators", Field::Number(label.map(|label| label.annotators as i32))),
        ];
        let is_shown = |name: &&str| !public || !["origin", "notes"].contains(name);
        let named = named.into_iter().filter(|(name, _)| is_shown(name));
        let mut fields: Vec<_> = named.map(|(name, field)| (name.to_owned(), field)).collect();
        for key in criteria {
            let score = label.and_then(|label| label.score(key));
            fields.push((key.clone(), Field::Number(score.map(|score| i32::from(score.get())))));
            let counts = label.and_then(|label| label.distribution.get(key));
            let counts = counts.map(|counts| counts.map(|count| i32::try_from(count).unwrap_or(i32::MAX)));
            fields.push((format!("{key}_ratings"), Field::Counts(counts)));
        }
        fields
    }
}

impl Field {
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Text(value) => json!(value),
            Self::Number(value) => json!(value),
            Self::Counts(value) => json!(value),
        }
    }
}
