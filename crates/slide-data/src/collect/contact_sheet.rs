use std::fmt::Write as _;

use crate::SlideRecord;

const STYLE: &str = "body{font:15px/1.4 system-ui,sans-serif;margin:2rem;color:#1c2430;background:#f6f7f9}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}\
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:14px}\
figure{margin:0;background:#fff;border:1px solid #d8dde4;border-radius:6px;padding:8px}\
figure img{width:100%;height:150px;object-fit:contain;background:#eceff3}\
figcaption{font-size:12.5px;overflow-wrap:anywhere}b.out{color:#a11}.why{color:#7a4b00}";

/// A page that shows which slides were flagged or found to repeat others, and why. Images are linked relative to the store's
/// folder, where the page belongs.
pub fn contact_sheet(slides: &[SlideRecord]) -> String {
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Contact sheet</title><style>{STYLE}</style>\
         <h1>Contact sheet</h1>"
    );
    let flagged = slides.iter().filter(|slide| !slide.quality.is_empty()).count();
    let repeated = slides.iter().filter(|slide| slide.duplicate_of.is_some()).count();
    let excluded = slides.iter().filter(|slide| slide.excluded).count();
    let _ = write!(
        page,
        "<p>{} slides, {flagged} flagged (of these {excluded} left out by the rules of <code>data.toml</code>), \
         {repeated} repeat another. Nothing was deleted.</p>",
        slides.len()
    );
    for (flag, meaning) in MEANINGS {
        let hits: Vec<_> = slides.iter().filter(|slide| slide.quality.contains_key(flag)).collect();
        section(&mut page, &format!("{} ({})", flag.replace('_', " "), hits.len()), &hits, |slide| {
            let out = if slide.excluded { " · <b class=out>left out</b>" } else { "" };
            format!("<span class=why>{meaning}: {}</span>{out}", rounded(slide.quality[flag]))
        });
    }
    let hits: Vec<_> = slides.iter().filter(|slide| slide.duplicate_of.is_some()).collect();
    section(&mut page, &format!("repeats another slide ({})", hits.len()), &hits, |slide| {
        let original = slide.duplicate_of.as_deref().unwrap_or_default();
        format!("<span class=why>repeats <a href=\"slides/{0}.png\">{0}</a></span>", escape(original))
    });
    page.push_str("</html>\n");
    page
}

const MEANINGS: [(&str, &str); 7] = [
    ("blank", "share of background"),
    ("nearly_blank", "share of empty cells"),
    ("too_small", "shorter edge in pixels"),
    ("extreme_shape", "longer edge by shorter edge"),
    ("blurred", "steepness of edges"),
    ("cut_off", "strokes that run out of one side"),
    ("photograph", "share of texture"),
];

fn section(page: &mut String, title: &str, slides: &[&SlideRecord], why: impl Fn(&SlideRecord) -> String) {
    if slides.is_empty() {
        return;
    }
    let _ = write!(page, "<h2>{title}</h2><div class=grid>");
    for slide in slides {
        let id = escape(&slide.slide_id);
        let _ = write!(
            page,
            "<figure><a href=\"slides/{id}.png\"><img loading=lazy src=\"slides/{id}.png\" alt=\"{id}\"></a>\
             <figcaption>{}<br>{} · slide {}<br>{id}</figcaption></figure>",
            why(slide),
            escape(&slide.source.origin),
            slide.number
        );
    }
    page.push_str("</div>");
}

fn rounded(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.3}") }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
