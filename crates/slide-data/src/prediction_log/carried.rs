//! What goes to the monitor's machine with the log of a scoring service: the slides that it kept, without which neither a correction teaches
//! nor a drawn slide can be rated, and the corrections that its users made.
//!
//! A kept slide is one object: its line, then the image's file. It leaves the service's machine when it is there, so that a deck which is
//! forgotten is not kept elsewhere. Corrections are copied: the service knows by them what was sent before.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use durable_files::{FileLock, sha256_hex, write_atomic};
use project_files::{KeptFiles, Layout};

use crate::error::io_error;
use crate::{Contract as _, Correction, Error, ForgottenMarks, KeptSlide, Result};

/// How the names of these objects end.
pub(super) const KEPT: &str = ".kept";
pub(super) const CORRECTIONS: &str = ".corrections";

/// Slides that are shipped before they leave this machine.
const AT_ONCE: usize = 64;

/// What was taken in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TakenIn {
    /// Segments.
    pub segments: u64,
    /// Lines of them.
    pub lines: u64,
    /// Files and pages that could not be scored.
    pub failures: u64,
    /// Slides that were kept.
    pub kept: u64,
    /// Corrections.
    pub corrections: u64,
    /// What is of decks that were forgotten, and went with them: lines, slides and corrections.
    pub forgotten: u64,
    /// Objects that are not what their names say, and stay where they are.
    pub refused: Vec<String>,
}

/// Ships what is there; how many objects it was.
pub(super) fn ship<E: From<Error>>(
    layout: &Layout,
    replica: &str,
    create: &mut impl FnMut(&str, &[u8]) -> std::result::Result<bool, E>,
) -> std::result::Result<u64, E> {
    let mut put = |time: jiff::Timestamp, end: &str, content: &[u8]| {
        let name = format!("{:015}-{}{end}", time.as_millisecond().max(0), sha256_hex(content));
        if create(&format!("{replica}/{name}"), content)? {
            return Ok(());
        }
        let reason = "is there already with another content".to_owned();
        Err(E::from(Error::Segment { path: PathBuf::from(name), reason }))
    };
    let mut shipped = 0;
    if let Some(new) = New::of(layout, replica)? {
        put(new.time, CORRECTIONS, &new.lines)?;
        new.note()?;
        shipped += 1;
    }
    let kept = layout.kept();
    let slides = KeptSlide::read_shared_log_if_present(&kept.index()).map_err(Error::from)?.entries;
    for slides in slides.chunks(AT_ONCE) {
        for slide in slides {
            if let Some(content) = packed(&kept, slide)? {
                put(slide.scored_at, KEPT, &content)?;
                shipped += 1;
            }
        }
        let_go(&kept, slides)?;
    }
    Ok(shipped)
}

/// The line and the image of a kept slide; none where the image is gone.
fn packed(kept: &KeptFiles, slide: &KeptSlide) -> Result<Option<Vec<u8>>> {
    let path = kept.image(&slide.sha256);
    match std::fs::read(&path) {
        Ok(image) => Ok(Some([line_of(slide)?, image].concat())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", &path)(error)),
    }
}

fn line_of(slide: &KeptSlide) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(slide).map_err(|error| Error::Segment {
        path: PathBuf::from(&slide.slide_id),
        reason: error.to_string(),
    })?;
    line.push(b'\n');
    Ok(line)
}

fn lock(kept: &KeptFiles) -> Result<FileLock> {
    let root = kept.root();
    std::fs::create_dir_all(root).map_err(io_error("create", root))?;
    Ok(FileLock::exclusive(root)?)
}

/// Takes kept slides off this machine, and their images where no other slide shows them.
fn let_go(kept: &KeptFiles, slides: &[KeptSlide]) -> Result<()> {
    let _lock = lock(kept)?;
    let mut all = KeptSlide::read_shared_log_if_present(&kept.index())?.entries;
    all.retain(|other| !slides.contains(other));
    KeptSlide::replace_shared_log(&kept.index(), &all)?;
    let shown: BTreeSet<&str> = all.iter().map(|slide| slide.sha256.as_str()).collect();
    let of_newer = KeptSlide::newer_lines(&kept.index())?;
    let of_newer = String::from_utf8_lossy(&of_newer);
    let is_shown = |sha256: &str| shown.contains(sha256) || of_newer.contains(sha256);
    for image in slides.iter().filter(|slide| !is_shown(&slide.sha256)) {
        let image = kept.image(&image.sha256);
        if image.exists() {
            std::fs::remove_file(&image).map_err(io_error("remove", &image))?;
        }
    }
    Ok(())
}

/// Keeps a slide that another machine kept.
pub(super) fn keep(
    layout: &Layout,
    forgotten: &ForgottenMarks,
    content: &[u8],
    taken: &mut TakenIn,
) -> Result<bool> {
    let Some(end) = content.iter().position(|&byte| byte == b'\n') else { return Ok(false) };
    let (line, image) = (&content[..end], &content[end + 1..]);
    let Ok(slide) = KeptSlide::parse(Path::new(""), None, line) else { return Ok(false) };
    if [&slide.deck_id, &slide.slide_id].into_iter().any(|id| forgotten.hold(id, slide.scored_at)) {
        taken.forgotten += 1;
        return Ok(true);
    }
    let kept = layout.kept();
    let _lock = lock(&kept)?;
    if !kept.image(&slide.sha256).exists() {
        write_atomic(&kept.image(&slide.sha256), image)?;
    }
    KeptSlide::append(&kept.index(), &[slide])?; // of several lines of a slide the last one holds
    taken.kept += 1;
    Ok(true)
}

/// Corrections that were not shipped yet.
struct New {
    time: jiff::Timestamp,
    lines: Vec<u8>,
    /// Where it is noted how far the file is shipped, and what is to be noted.
    note: PathBuf,
    until: usize,
}

impl New {
    /// Those behind what is noted; none where there are none.
    fn of(layout: &Layout, replica: &str) -> Result<Option<Self>> {
        let (path, note) = (layout.corrections(), layout.replica_corrections(replica));
        if !path.exists() {
            return Ok(None);
        }
        let all = {
            let _lock = FileLock::shared(&path);
            std::fs::read(&path).map_err(io_error("read", &path))?
        };
        let noted = std::fs::read_to_string(&note).ok().and_then(|text| text.trim().parse().ok());
        let whole = all.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        // A file that became shorter was written anew: what is shipped again is known by its ids.
        let from = noted.filter(|&from: &usize| from <= whole).unwrap_or(0);
        let lines = all[from..whole].to_vec();
        let first = lines.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let time =
            Correction::parse(&path, None, first).map_or(jiff::Timestamp::UNIX_EPOCH, |one| one.corrected_at);
        Ok((!lines.is_empty()).then_some(Self { time, lines, note, until: whole }))
    }

    fn note(&self) -> Result<()> {
        let folder = self.note.parent().unwrap_or(Path::new(""));
        std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        Ok(write_atomic(&self.note, self.until.to_string().as_bytes())?)
    }
}

/// Adds corrections that another machine took, each once.
pub(super) fn correct(
    layout: &Layout,
    forgotten: &ForgottenMarks,
    content: &[u8],
    taken: &mut TakenIn,
) -> Result<bool> {
    let lines = content.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let parsed = lines.map(|line| Correction::parse(Path::new(""), None, line)).collect();
    let parsed: std::result::Result<Vec<Correction>, _> = parsed;
    let Ok(mut corrections) = parsed else { return Ok(false) };
    let all = corrections.len();
    corrections.retain(|one| !forgotten.hold(&one.slide_id, one.corrected_at));
    taken.forgotten += (all - corrections.len()) as u64;
    let known = Correction::read_shared_log_if_present(&layout.corrections())?.entries;
    let mut known: BTreeSet<String> = known.into_iter().map(|one| one.id).collect();
    corrections.retain(|one| known.insert(one.id.clone()));
    if !corrections.is_empty() {
        Correction::append(&layout.corrections(), &corrections)?;
    }
    taken.corrections += corrections.len() as u64;
    Ok(true)
}

#[cfg(test)]
#[path = "carried_tests.rs"]
mod tests;
