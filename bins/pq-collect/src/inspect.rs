use anyhow::Result;
use pq_cli::{Verdict, WithHint};
use slide_data::collect::{Store, verify};
use slide_data::{Error, Manifest, SlideRecord};

use crate::print;

pub(crate) fn show(store: &Store, slide_id: &str, json: bool) -> Result<Verdict> {
    let found = store.slides().iter().find(|slide| slide.slide_id == slide_id);
    let deck = slides_of(store, slide_id);
    if found.is_none() && !deck.is_empty() {
        return show_deck(&deck, json);
    }
    let slide = found.ok_or_else(|| Error::NoSuchSlide(slide_id.to_owned())).hint(
        "nothing to show",
        "give a slide's id (its file name in data/raw/slides, without `.png`), a deck's id, or the file that it came from",
    )?;
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(slide)?))?;
        return Ok(Verdict::Pass);
    }
    let page = slide.source.page.map(|page| format!(", page {page}")).unwrap_or_default();
    let flags: Vec<String> =
        slide.quality.iter().map(|(flag, value)| format!("{flag} ({value:.3})")).collect();
    let rows = [
        ("slide", slide.slide_id.clone()),
        ("picture", Manifest::image_path(store.raw(), &slide.slide_id).display().to_string()),
        ("deck", format!("{}, slide {}", slide.deck_id, slide.number)),
        ("source", format!("{:?} {}{page}", slide.source.kind, slide.source.origin)),
        ("file sha256", slide.source.sha256.clone()),
        ("licence", slide.source.license.clone().unwrap_or_else(|| "not stated".to_owned())),
        ("pixels", format!("{} × {}, sha256 {}", slide.width, slide.height, slide.sha256)),
        ("group", slide.group.clone()),
        ("repeats", slide.duplicate_of.clone().unwrap_or_else(|| "no other slide".to_owned())),
        ("flags", if flags.is_empty() { "none".to_owned() } else { flags.join(", ") }),
        (
            "fonts",
            if slide.missing_fonts.is_empty() {
                "none missing".to_owned()
            } else {
                format!("missing: {}", slide.missing_fonts.join(", "))
            },
        ),
        ("used", if slide.excluded || slide.duplicate_of.is_some() { "no" } else { "yes" }.to_owned()),
        ("collected", format!("{} by {}", slide.collected_at, slide.tool_version)),
    ];
    let lines: Vec<String> = rows.into_iter().map(|(name, value)| format!("{name:<12} {value}")).collect();
    print(&(lines.join("\n") + "\n"))?;
    Ok(Verdict::Pass)
}

/// A slide by its id, or the slides of a deck by its id or the name of its file or folder.
pub(crate) fn slides_of<'s>(store: &'s Store, name: &str) -> Vec<&'s SlideRecord> {
    let is_below = |origin: &str| {
        let folder = origin.strip_suffix(name).is_some_and(|above| above.is_empty() || above.ends_with('/'));
        folder || origin.strip_prefix(name).is_some_and(|below| below.starts_with(['/', '!']))
    };
    let is_asked = |slide: &&SlideRecord| {
        slide.slide_id == name || slide.deck_id == name || is_below(&slide.source.origin)
    };
    store.slides().iter().filter(is_asked).collect()
}

fn show_deck(slides: &[&SlideRecord], json: bool) -> Result<Verdict> {
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(slides)?))?;
        return Ok(Verdict::Pass);
    }
    let row = |slide: &&SlideRecord| {
        let flags: Vec<&str> = slide.quality.keys().map(String::as_str).collect();
        let state = match &slide.duplicate_of {
            Some(original) => format!("repeats {original}"),
            None if slide.excluded => "left out".to_owned(),
            None => "used".to_owned(),
        };
        let row = format!(
            "{}  {}, slide {}, {state}  {}",
            slide.slide_id,
            slide.source.origin,
            slide.number,
            flags.join(", ")
        );
        row.trim_end().to_owned() + "\n"
    };
    print(&slides.iter().map(row).collect::<String>())?;
    Ok(Verdict::Pass)
}

pub(crate) fn check(store: &Store, json: bool) -> Result<Verdict> {
    let findings = verify(store);
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&findings)?))?;
    } else if findings.is_empty() {
        print(&format!("{} slides: images, records and groups are whole\n", store.slides().len()))?;
    } else {
        let lines: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.subject, f.problem)).collect();
        print(&(lines.join("\n") + "\n"))?;
    }
    Ok(if findings.is_empty() { Verdict::Pass } else { Verdict::Fail })
}

pub(crate) fn contact_sheet(store: &Store) -> Result<Verdict> {
    crate::collect::write_contact_sheet(store)?;
    print(&format!("{}\n", store.raw().join("contact_sheet.html").display()))?;
    Ok(Verdict::Pass)
}
