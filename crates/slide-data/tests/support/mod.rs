//! Draws small PDF decks and packs files, so that tests need none.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::write_with_newline,
    clippy::needless_for_each,
    reason = "each test file uses a part of it; a PDF's lines end as they are written"
)]

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use slide_data::image::{ImageFormat, RgbImage};

/// A ZIP archive of these entries.
pub(crate) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The file of an image.
pub(crate) fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A PDF of 16:9 pages; each page is a content stream in points of a 960 × 540 page with Helvetica as `/F1` and bold as `/F2`.
pub(crate) fn pdf(pages: &[String]) -> Vec<u8> {
    pdf_with(pages, "", "", &[])
}

/// As [`pdf`], with more entries in each page and in the catalog, and more objects, the first of which has the number
/// `5 + 2 · pages`.
pub(crate) fn pdf_with(
    pages: &[String],
    page_entries: &str,
    catalog_entries: &str,
    more: &[String],
) -> Vec<u8> {
    let mut objects = vec![format!("<< /Type /Catalog /Pages 2 0 R {catalog_entries} >>")];
    let kids: Vec<String> = (0..pages.len()).map(|page| format!("{} 0 R", 5 + 2 * page)).collect();
    objects.push(format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.join(" "), pages.len()));
    for font in ["Helvetica", "Helvetica-Bold"] {
        objects.push(format!("<< /Type /Font /Subtype /Type1 /BaseFont /{font} >>"));
    }
    for (index, content) in pages.iter().enumerate() {
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 960 540] {page_entries} /Contents {} 0 R \
             /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>",
            6 + 2 * index
        ));
        objects.push(format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()));
    }
    objects.extend(more.iter().cloned());
    write_objects(&objects)
}

/// A PDF of one page with files in it: a portfolio, whose page is the cover, or one with attachments.
pub(crate) fn pdf_of_files(files: &[(&str, &[u8])], is_portfolio: bool) -> Vec<u8> {
    let (mut names, mut objects) = (String::new(), Vec::new());
    for (name, bytes) in files {
        let specification = 7 + objects.len();
        let _ = write!(names, "({name}) {specification} 0 R ");
        objects.push(format!("<< /Type /Filespec /F ({name}) /EF << /F {} 0 R >> >>", specification + 1));
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let length = hex.len() + 1;
        objects.push(format!(
            "<< /Type /EmbeddedFile /Filter /ASCIIHexDecode /Length {length} >>\nstream\n{hex}>\nendstream"
        ));
    }
    let collection = if is_portfolio { "/Collection << /View /D >>" } else { "" };
    let catalog = format!("{collection} /Names << /EmbeddedFiles << /Names [{names}] >> >>");
    pdf_with(&[slide(1, 1)], "", &catalog, &objects)
}

/// A TIFF file of several pages, without compression.
pub(crate) fn tiff(pages: &[RgbImage]) -> Vec<u8> {
    let mut bytes = b"II*\0".to_vec();
    let mut link = bytes.len();
    bytes.extend([0; 4]);
    for page in pages {
        let strip = bytes.len() as u32;
        bytes.extend(page.as_raw());
        let depths = bytes.len() as u32;
        bytes.extend([8, 0, 8, 0, 8, 0]);
        let directory = bytes.len() as u32;
        bytes[link..link + 4].copy_from_slice(&directory.to_le_bytes());
        let fields: [(u16, u16, u32, u32); 9] = [
            (256, 4, 1, page.width()),
            (257, 4, 1, page.height()),
            (258, 3, 3, depths),
            (259, 3, 1, 1),
            (262, 3, 1, 2),
            (273, 4, 1, strip),
            (277, 3, 1, 3),
            (278, 4, 1, page.height()),
            (279, 4, 1, page.as_raw().len() as u32),
        ];
        bytes.extend((fields.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in fields {
            bytes.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
            bytes.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
        }
        link = bytes.len();
        bytes.extend([0; 4]);
    }
    bytes
}

fn write_objects(objects: &[String]) -> Vec<u8> {
    let mut text = String::from("%PDF-1.4\n");
    let mut offsets = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        offsets.push(text.len());
        let _ = write!(text, "{} 0 obj\n{object}\nendobj\n", index + 1);
    }
    let start = text.len();
    let _ = write!(text, "xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    offsets.iter().for_each(|offset| {
        let _ = write!(text, "{offset:010} 00000 n \n");
    });
    let _ =
        write!(text, "trailer << /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n", objects.len() + 1);
    text.into_bytes()
}

/// A small generator of repeatable numbers.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }

    /// One of the values.
    pub(crate) fn pick<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[self.roll(values.len())]
    }
}

const WORDS: [&str; 48] = [
    "market",
    "growth",
    "users",
    "revenue",
    "platform",
    "team",
    "problem",
    "solution",
    "pricing",
    "churn",
    "mobile",
    "cloud",
    "data",
    "security",
    "customers",
    "pilot",
    "margin",
    "sales",
    "launch",
    "Europe",
    "enterprise",
    "weekly",
    "engine",
    "model",
    "storage",
    "delivery",
    "health",
    "bank",
    "school",
    "travel",
    "energy",
    "logistics",
    "partner",
    "traction",
    "retention",
    "funding",
    "roadmap",
    "product",
    "competition",
    "design",
    "insight",
    "network",
    "orders",
    "subscription",
    "workflow",
    "hiring",
    "payments",
    "quality",
];

/// The content of one slide of a deck: the deck's theme (colours, header, footer) and the slide's own title, lines and chart.
pub(crate) fn slide(deck: u64, number: usize) -> String {
    slide_of(deck, deck, number)
}

/// As [`slide`], in the theme of another deck.
pub(crate) fn slide_of(template: u64, deck: u64, number: usize) -> String {
    let mut theme = Dice(template.wrapping_mul(7_919).wrapping_add(17));
    let mut own = Dice(deck.wrapping_mul(104_729).wrapping_add(number as u64 * 7 + 3));
    let mut colour = |low: usize, high: usize| {
        let channel = |dice: &mut Dice| (low + dice.roll(high - low)) as f64 / 255.0;
        format!("{:.3} {:.3} {:.3}", channel(&mut theme), channel(&mut theme), channel(&mut theme))
    };
    let (paper, ink, accent) = (colour(235, 256), colour(10, 70), colour(30, 200));
    let (header, margin) = (40 + theme.roll(50), 40 + theme.roll(60));
    let mut page = format!("{paper} rg 0 0 960 540 re f\n{accent} rg 0 {} 960 {header} re f\n", 540 - header);
    let _ = write!(page, "{accent} rg 0 0 960 14 re f\n");
    let mut words = |count: usize| (0..count).map(|_| *own.pick(&WORDS)).collect::<Vec<_>>().join(" ");
    let title = words(3);
    let _ = write!(page, "1 1 1 rg BT /F2 28 Tf {margin} {} Td ({title}) Tj ET\n", 540 - header + 12);
    let lines: Vec<String> = (0..3 + number % 4).map(|_| words(4)).collect();
    for (row, line) in lines.iter().enumerate() {
        let y = 540 - header - 60 - row * 44;
        let _ = write!(page, "{ink} rg BT /F1 22 Tf {margin} {y} Td (- {line}) Tj ET\n");
    }
    let bars = own.roll(3) * 3;
    for bar in 0..bars {
        let height = 20 + own.roll(110);
        let _ = write!(page, "{accent} rg {} 40 40 {height} re f\n", 520 + bar * 60);
    }
    page
}

/// A deck of `count` slides.
pub(crate) fn deck(seed: u64, count: usize) -> Vec<u8> {
    pdf(&(1..=count).map(|number| slide(seed, number)).collect::<Vec<_>>())
}

/// The same slide as another program draws it: other fonts, sizes and places, and lines that break elsewhere.
pub(crate) fn drawn_anew(page: &str) -> String {
    let mut anew = String::from("0.94 0 0 0.94 18 9 cm\n");
    for line in page.lines() {
        let line = line.replace("/F1 22 Tf", "/F2 19 Tf").replace("/F2 28 Tf", "/F1 33 Tf");
        let words: Vec<&str> = line.split(' ').collect();
        match words.iter().position(|word| *word == "Td").filter(|_| line.contains("(- ")) {
            Some(at) if words.len() > at + 4 => {
                let (first, rest) = words.split_at(at + 4);
                let _ = write!(anew, "{}) Tj 0 -20 Td ({}\n", first.join(" "), rest.join(" "));
            }
            _ => {
                let _ = write!(anew, "{line}\n");
            }
        }
    }
    anew
}
