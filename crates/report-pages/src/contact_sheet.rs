use minijinja::{Value, context};
use slide_data::SlideRecord;

use crate::Result;
use crate::page::render;

/// What the measure of a quality flag is.
const MEANINGS: [(&str, &str); 15] = [
    ("blank", "share of background"),
    ("nearly_blank", "share of empty cells"),
    ("too_small", "shorter edge in pixels"),
    ("extreme_shape", "longer edge by shorter edge"),
    ("blurred", "steepness of edges"),
    ("cut_off", "strokes that run out of one side"),
    ("photograph", "share of texture"),
    ("handout", "slides that the page shows in small"),
    ("fonts_missing", "fonts that were not there"),
    ("fonts_substituted", "fonts that others stand in for"),
    ("fonts_unknown", "fonts of the original could not be read"),
    ("images_missing", "images that could not be decoded"),
    ("text_moved", "texts that left boxes which hold all of them in the program that made the slide"),
    ("text_overflows", "texts that leave their box or the page"),
    ("build_step", "share of the page that the next one adds"),
];

/// Flags that have no measure, and what they say.
const FACTS: [(&str, &str); 2] =
    [("replaced", "a new version of its file does not have it"), ("decided", "a person left it out")];

/// A page that shows which slides were flagged or found to repeat others, and why. Images are linked relative to the store's
/// folder, where the page belongs.
///
/// # Errors
/// When a template fails, which no input should cause.
pub fn render_contact_sheet(slides: &[SlideRecord]) -> Result<String> {
    let count = |is: fn(&SlideRecord) -> bool| slides.iter().filter(|slide| is(slide)).count();
    let mut sections: Vec<Value> =
        MEANINGS.iter().map(|(flag, meaning)| flagged(slides, flag, meaning, true)).collect();
    sections.extend(FACTS.iter().map(|(flag, fact)| flagged(slides, flag, fact, false)));
    sections.push(repeated(slides));
    render(
        "contact_sheet.html",
        context! {
            title => "Contact sheet",
            slides => slides.len(),
            flagged => count(|slide| !slide.quality.is_empty()),
            excluded => count(|slide| slide.excluded),
            repeated => count(|slide| slide.duplicate_of.is_some()),
            sections => sections,
        },
    )
}

fn flagged(slides: &[SlideRecord], flag: &str, meaning: &str, is_measured: bool) -> Value {
    let item = |slide: &SlideRecord| {
        let value = slide.quality.get(flag)?;
        let names = slide.missing_fonts.join(", ");
        let measure = match is_measured {
            true if flag.starts_with("fonts_") && !names.is_empty() => format!(": {names}"),
            true => format!(": {}", rounded(*value)),
            false => String::new(),
        };
        Some(context! { why => format!("{meaning}{measure}"), original => (), ..figure(slide) })
    };
    let figures: Vec<Value> = slides.iter().filter_map(item).collect();
    context! { title => flag.replace('_', " "), figures => figures }
}

fn repeated(slides: &[SlideRecord]) -> Value {
    let item = |slide: &SlideRecord| {
        let original = slide.duplicate_of.as_ref()?;
        Some(context! { why => "repeats", original => original, ..figure(slide) })
    };
    let figures: Vec<Value> = slides.iter().filter_map(item).collect();
    context! { title => "repeats another slide", figures => figures }
}

/// What each figure shows.
fn figure(slide: &SlideRecord) -> Value {
    context! {
        id => slide.slide_id,
        origin => slide.source.origin,
        number => slide.number,
        excluded => slide.excluded,
    }
}

fn rounded(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.3}") }
}
