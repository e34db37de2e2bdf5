use std::sync::LazyLock;

/// The type families that decks are set in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A humanist sans-serif.
    OpenSans,
    /// A geometric sans-serif.
    Roboto,
    /// A slab serif.
    RobotoSlab,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 3] = [Self::OpenSans, Self::Roboto, Self::RobotoSlab];
}

/// A family in one weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Face {
    /// The family.
    pub family: Family,
    /// Whether it is bold.
    pub is_bold: bool,
}

struct Parsed {
    data: &'static [u8],
    face: Option<ttf_parser::Face<'static>>,
}

macro_rules! fonts {
    ($($file:literal),*) => { [$(&include_bytes!(concat!("../fonts/", $file))[..]),*] };
}

static FONTS: LazyLock<Vec<Parsed>> = LazyLock::new(|| {
    let files: [&[u8]; Face::COUNT] = fonts![
        "OpenSans-Regular.ttf",
        "OpenSans-Bold.ttf",
        "Roboto-Regular.ttf",
        "Roboto-Bold.ttf",
        "RobotoSlab-Regular.otf",
        "RobotoSlab-Bold.otf"
    ];
    files.into_iter().map(|data| Parsed { data, face: ttf_parser::Face::parse(data, 0).ok() }).collect()
});

impl Face {
    /// How many faces there are.
    pub const COUNT: usize = 6;

    /// Position among all faces, in `0..COUNT`.
    pub fn index(self) -> usize {
        self.family as usize * 2 + usize::from(self.is_bold)
    }

    /// The font file of the face at `index`.
    pub fn data(index: usize) -> &'static [u8] {
        FONTS[index].data
    }

    fn parsed(self) -> Option<&'static ttf_parser::Face<'static>> {
        FONTS[self.index()].face.as_ref()
    }

    /// Width of `text` in units of the page, without kerning.
    pub fn width(self, text: &str, size: f64) -> f64 {
        let Some(face) = self.parsed() else { return 0.0 };
        let advances: f64 = text.chars().map(|c| advance(face, c)).sum();
        advances * size / f64::from(face.units_per_em())
    }

    /// Calls `draw` with each glyph's outline builder position: the glyph, its offset in page units, the scale.
    pub(crate) fn each_glyph(
        self,
        text: &str,
        size: f64,
        mut draw: impl FnMut(&ttf_parser::Face<'static>, ttf_parser::GlyphId, f64, f64),
    ) {
        let Some(face) = self.parsed() else { return };
        let scale = size / f64::from(face.units_per_em());
        let mut x = 0.0;
        for c in text.chars() {
            if let Some(glyph) = face.glyph_index(c) {
                draw(face, glyph, x, scale);
            }
            x += advance(face, c) * scale;
        }
    }
}

fn advance(face: &ttf_parser::Face<'_>, c: char) -> f64 {
    face.glyph_index(c).and_then(|glyph| face.glyph_hor_advance(glyph)).map_or(0.0, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_face_can_be_read_and_measured() {
        for family in Family::ALL {
            let [plain, bold] =
                [false, true].map(|is_bold| Face { family, is_bold }.width("Growth 42%", 20.0));
            assert!(plain > 80.0 && bold > plain && bold < 150.0, "{family:?} {plain} {bold}");
        }
    }
}
