use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use walkdir::WalkDir;

/// Where systems keep fonts that everybody may use.
const FOLDERS: [&str; 5] = [
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "/opt/homebrew/share/fonts",
];
/// Most files that are looked at.
const MAX_FILES: usize = 20_000;

/// The scripts of East Asia, as the bits of `ulCodePageRange1` that say a font has their letters (OpenType, OS/2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::render) enum Script {
    Japanese = 17,
    SimplifiedChinese = 18,
    Korean = 19,
    TraditionalChinese = 20,
}

/// A face of an installed font.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Face {
    path: PathBuf,
    /// Its place in a collection.
    index: u32,
    /// Family, full and PostScript names, normalised, in all languages.
    names: Vec<String>,
    /// `ulCodePageRange1`.
    code_pages: u32,
}

/// The installed fonts.
#[derive(Debug, Default)]
pub(in crate::render) struct FontBook {
    faces: Vec<Face>,
    files: Mutex<BTreeMap<PathBuf, Arc<Vec<u8>>>>,
}

/// A name of a font in lower-case letters and digits, so that "DM Sans" and `DMSans` are one.
pub(in crate::render) fn normalised(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

impl FontBook {
    /// The fonts of this machine, looked for once.
    pub(in crate::render) fn installed() -> &'static Self {
        static INSTALLED: OnceLock<FontBook> = OnceLock::new();
        INSTALLED.get_or_init(|| Self::of(&FOLDERS.map(PathBuf::from)))
    }

    /// The fonts below some folders.
    fn of(folders: &[PathBuf]) -> Self {
        let files =
            folders.iter().flat_map(|folder| WalkDir::new(folder).follow_links(true).into_iter().flatten());
        let is_font = |path: &Path| {
            let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
            ["ttf", "otf", "ttc", "otc"].contains(&extension.as_str())
        };
        let paths = files.map(walkdir::DirEntry::into_path).filter(|path| is_font(path)).take(MAX_FILES);
        let mut faces: Vec<Face> = paths.flat_map(|path| faces(&path).unwrap_or_default()).collect();
        faces.sort_by(|a, b| (a.is_odd(), &a.path, a.index).cmp(&(b.is_odd(), &b.path, b.index)));
        Self { faces, files: Mutex::default() }
    }

    /// The beginning of the SHA-256 of all names: another one where fonts were installed or taken away.
    #[cfg(any(test, feature = "collect"))]
    pub(in crate::render) fn fingerprint(&self) -> String {
        let names: std::collections::BTreeSet<&str> =
            self.faces.iter().flat_map(|face| &face.names).map(String::as_str).collect();
        let text = names.into_iter().collect::<Vec<_>>().join("\n");
        crate::sha256_hex(text.as_bytes())[..16].to_owned()
    }

    /// Whether a font of this name is installed.
    pub(in crate::render) fn has(&self, name: &str) -> bool {
        let name = normalised(name);
        self.faces.iter().any(|face| face.names.contains(&name))
    }

    /// The face of this name.
    pub(in crate::render) fn named(&self, name: &str) -> Option<(Arc<Vec<u8>>, u32)> {
        let name = normalised(name);
        self.load(self.faces.iter().find(|face| face.names.contains(&name))?)
    }

    /// A face that has the letters of a script, upright and of usual weight where there is one.
    pub(in crate::render) fn for_script(&self, script: Script) -> Option<(Arc<Vec<u8>>, u32)> {
        self.load(self.face_for(script)?)
    }

    /// Whether there is such a face.
    pub(in crate::render) fn covers(&self, script: Script) -> bool {
        self.face_for(script).is_some()
    }

    fn face_for(&self, script: Script) -> Option<&Face> {
        self.faces.iter().find(|face| face.code_pages >> (script as u32) & 1 == 1)
    }

    fn load(&self, face: &Face) -> Option<(Arc<Vec<u8>>, u32)> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = files.get(&face.path) {
            return Some((bytes.clone(), face.index));
        }
        let bytes = Arc::new(std::fs::read(&face.path).ok()?);
        files.insert(face.path.clone(), bytes.clone());
        Some((bytes, face.index))
    }
}

impl Face {
    /// Whether it is bold, slanted, thin or of one width.
    fn is_odd(&self) -> bool {
        let odd = ["bold", "black", "heavy", "italic", "oblique", "thin", "light", "mono"];
        self.names.iter().any(|name| odd.iter().any(|word| name.contains(word)))
    }
}

/// The faces of a font file: only its tables of names and of kinds are read.
fn faces(path: &Path) -> std::io::Result<Vec<Face>> {
    let mut file = File::open(path)?;
    let head = read(&mut file, 0, 12)?;
    let offsets: Vec<u64> = if head.starts_with(b"ttcf") {
        let count = u64::from(number(&head, 8)).min(64);
        let table = read(&mut file, 12, 4 * count)?;
        table.chunks_exact(4).map(|field| u64::from(number(field, 0))).collect()
    } else {
        vec![0]
    };
    let mut faces = Vec::new();
    for (index, offset) in offsets.into_iter().enumerate() {
        let count = u64::from(number(&read(&mut file, offset, 12)?, 4) >> 16).min(256);
        let tables = read(&mut file, offset + 12, 16 * count)?;
        let table = |tag: &[u8; 4]| {
            let entry = tables.chunks_exact(16).find(|entry| entry.starts_with(tag))?;
            Some((u64::from(number(entry, 8)), u64::from(number(entry, 12))))
        };
        let Some((at, length)) = table(b"name") else { continue };
        let names = names(&read(&mut file, at, length.min(1 << 20))?);
        let kinds = table(b"OS/2").map(|(at, length)| read(&mut file, at, length.min(96))).transpose()?;
        let code_pages = kinds.filter(|kinds| kinds.len() >= 82).map_or(0, |kinds| number(&kinds, 78));
        faces.push(Face { path: path.to_owned(), index: index as u32, names, code_pages });
    }
    Ok(faces)
}

fn read(file: &mut File, at: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

/// The 32 bits at a place, 0 beyond the end.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |field| u32::from_be_bytes([field[0], field[1], field[2], field[3]]))
}

/// A name of platform 1 has a byte a letter, any other is UTF-16.
fn decoded(bytes: &[u8], platform: usize) -> String {
    if platform == 1 {
        return bytes.iter().map(|&byte| char::from(byte)).collect();
    }
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}

/// The names in a table `name` (OpenType): family, full, PostScript and typographic family.
fn names(table: &[u8]) -> Vec<String> {
    let short = |at: usize| {
        table.get(at..at + 2).map_or(0, |field| usize::from(u16::from_be_bytes([field[0], field[1]])))
    };
    let (count, strings) = (short(2), short(4));
    let mut found = Vec::new();
    for record in (0..count).map(|index| 6 + 12 * index) {
        if ![1, 4, 6, 16].contains(&short(record + 6)) {
            continue;
        }
        let start = strings + short(record + 10);
        let Some(bytes) = table.get(start..start + short(record + 8)) else { continue };
        let name = normalised(&decoded(bytes, short(record)));
        if !name.is_empty() && !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A font file with names and code pages, without letters.
    fn font(names: &[(u16, &str)], code_pages: u32) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut records = Vec::new();
        for (id, name) in names {
            let text: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
            let fields = [3, 1, 0x409, *id, text.len() as u16, strings.len() as u16];
            records.extend(fields.into_iter().flat_map(u16::to_be_bytes));
            strings.extend(text);
        }
        let head = [0, names.len() as u16, 6 + records.len() as u16];
        let name = [head.into_iter().flat_map(u16::to_be_bytes).collect(), records, strings].concat();
        let mut os2 = vec![0; 96];
        os2[78..82].copy_from_slice(&code_pages.to_be_bytes());
        let mut bytes = [&[0, 1, 0, 0], &2u16.to_be_bytes()[..], &[0; 6]].concat();
        let start = 12 + 2 * 16;
        for (tag, at, length) in [(b"OS/2", start, 96), (b"name", start + 96, name.len())] {
            bytes.extend(tag);
            bytes.extend([0, at as u32, length as u32].into_iter().flat_map(u32::to_be_bytes));
        }
        [bytes, os2, name].concat()
    }

    #[test]
    fn fonts_are_found_by_each_of_their_names_and_by_script() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("a.ttf", &font(&[(1, "Some Sans Bold"), (6, "SomeSans-Bold")], 1 << 17));
        write(
            "b.otf",
            &font(&[(1, "Some Sans"), (16, "Sömé 字体"), (6, "SomeSans-Regular")], 1 << 17 | 1 << 18),
        );
        write("broken.ttf", b"\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
        write("short.ttf", b"\0\x01");
        write("notes.txt", &font(&[(1, "Not A Font")], 0));
        let book = FontBook::of(&[dir.path().to_owned(), dir.path().join("none")]);
        for name in ["Some Sans", "some-sans", "SomeSans-Regular", "Sömé 字体", "Some Sans Bold"] {
            assert!(book.has(name), "{name}");
        }
        let before = book.fingerprint();
        assert_eq!(FontBook::of(&[dir.path().to_owned()]).fingerprint(), before);
        write("c.ttf", &font(&[(1, "Another")], 0));
        assert_ne!(FontBook::of(&[dir.path().to_owned()]).fingerprint(), before);
        assert!(!book.has("Some") && !book.has("Not A Font"));
        assert!(book.covers(Script::Japanese) && !book.covers(Script::Korean));
        let (bytes, index) = book.for_script(Script::Japanese).unwrap();
        assert_eq!(
            (bytes.as_slice(), index),
            (std::fs::read(dir.path().join("b.otf")).unwrap().as_slice(), 0)
        );
    }
}
