use std::collections::{BTreeMap, HashSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use durable_files::sync_dir;
use jiff::Timestamp;
use project_files::SlideFiles;

use super::forgotten::Tombstones;
use super::redraw::{self, Redrawn};
use super::staying::Staying;
use super::worker::Staged;
use super::{sketches, texts};
use crate::error::io_error;
use crate::input_record::key;
pub use crate::input_record::{Drawn, InputRecord, Outcome};
use crate::render::{DeckName, InputFile};
use crate::{Contract, Error, Result, SlideRecord};

/// Size and time of change of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size_bytes: u64,
    pub(super) modified_ns: i128,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let modified = metadata.modified()?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).map(|d| d.as_nanos() as i128);
        Ok(Self {
            size_bytes: metadata.len(),
            modified_ns: since.unwrap_or_else(|e| -(e.duration().as_nanos() as i128)),
        })
    }
}

/// The folder of slides with its manifest; one run at a time holds it.
#[derive(Debug)]
pub struct Store {
    files: SlideFiles,
    /// The folder from the root.
    root: Option<PathBuf>,
    slides: Vec<SlideRecord>,
    known: HashSet<String>,
    numbers: HashSet<(String, usize)>,
    inputs: BTreeMap<String, InputRecord>,
    input_lines: usize,
    tombstones: Tombstones,
    /// When slides count as collected; nothing for when they are.
    collected_at: Option<Timestamp>,
    /// Whether some of the inputs are those of another store.
    is_shard: bool,
    _lock: File,
}

impl Store {
    /// Opens the store in `raw`, creates it if need be, and mends what an interrupted run left.
    ///
    /// # Errors
    /// When the folder cannot be written, another run holds it, or a file in it is damaged.
    pub fn open(raw: &Path) -> Result<Self> {
        Self::open_within(raw, raw)
    }

    /// Opens a store in a folder of its own whose inputs are those of the store in `whole`.
    pub(super) fn open_within(raw: &Path, whole: &Path) -> Result<Self> {
        let files = SlideFiles::new(raw);
        std::fs::create_dir_all(files.images()).map_err(io_error("create", raw))?;
        let lock_path = raw.join(".lock");
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&lock_path)
            .map_err(io_error("write", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { path: raw.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &lock_path)(source)),
        }
        let staging = raw.join(".staging");
        if staging.exists() {
            clear(&staging).map_err(io_error("clear", &staging))?;
        }
        let slides = SlideRecord::read_log_if_present(&files.manifest())?.entries;
        let lines = InputRecord::read_log_if_present(&files.inputs())?.entries;
        Ok(Self {
            root: whole.canonicalize().ok(),
            files,
            known: slides.iter().map(|slide| slide.slide_id.clone()).collect(),
            numbers: slides.iter().map(|slide| (slide.deck_id.clone(), slide.number)).collect(),
            slides,
            input_lines: lines.len(),
            tombstones: Tombstones::read(&SlideFiles::new(whole).forgotten())?,
            inputs: lines.into_iter().map(|line| (line.key(), line)).collect(),
            collected_at: None,
            is_shard: false,
            _lock: lock,
        })
    }

    /// Takes up what is known of the inputs of another store. Their lines stay there.
    pub(super) fn know(&mut self, inputs: &Path) -> Result<()> {
        let lines = InputRecord::read_log_if_present(inputs)?.entries;
        self.is_shard = true;
        let own = std::mem::take(&mut self.inputs);
        self.inputs = lines.into_iter().map(|line| (line.key(), line)).chain(own).collect();
        Ok(())
    }

    /// The folder.
    pub fn raw(&self) -> &Path {
        self.files.root()
    }

    /// Slides and files of this run count as collected at this time: two runs over the same files then write the same.
    pub fn collect_at(&mut self, time: Option<Timestamp>) {
        self.collected_at = time;
    }

    /// Brings new slides, which come as their readers end, into an order that follows from what they are.
    pub(super) fn order_new(&mut self) {
        self.slides.sort_by_cached_key(|slide| {
            let of_new = || {
                let source = &slide.source;
                (source.origin.clone(), source.page, slide.number, slide.slide_id.clone())
            };
            slide.group.is_empty().then(of_new)
        });
    }

    /// The slides in manifest order.
    pub fn slides(&self) -> &[SlideRecord] {
        &self.slides
    }

    /// What became of each input, in the order of their origins.
    pub fn inputs(&self) -> impl Iterator<Item = &InputRecord> {
        let mut inputs: Vec<&InputRecord> = self.inputs.values().collect();
        inputs.sort_by(|a, b| a.origin.cmp(&b.origin));
        inputs.into_iter()
    }

    pub(super) fn tombstones_mut(&mut self) -> &mut Tombstones {
        &mut self.tombstones
    }

    /// Notes which forgotten files were taken in again.
    pub(super) fn note_taken_again(&mut self) -> Result<()> {
        self.tombstones.note(&self.files.forgotten())
    }

    /// Keeps the inputs that `keep` says, which may change them; returns how many lines were dropped or changed.
    pub(super) fn forget_inputs(&mut self, mut keep: impl FnMut(&mut InputRecord) -> bool) -> Result<usize> {
        let log = self.files.inputs();
        let mut lines = InputRecord::read_log_if_present(&log)?.entries;
        let before = lines.clone();
        lines.retain_mut(&mut keep);
        let changed = before.len() - lines.len() + lines.iter().filter(|line| !before.contains(line)).count();
        if changed > 0 {
            InputRecord::replace_log(&log, &lines)?;
            self.input_lines = lines.len();
            self.inputs = lines.into_iter().map(|line| (line.key(), line)).collect();
        }
        Ok(changed)
    }

    pub(super) fn slides_mut(&mut self) -> &mut Vec<SlideRecord> {
        &mut self.slides
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.files.root().join(".staging")
    }

    /// What is known of an input whose size and time of change are still the same.
    pub(super) fn unchanged(&self, input: &InputFile, stamp: Stamp) -> Option<&InputRecord> {
        let is_same = |known: &&InputRecord| {
            known.size_bytes == stamp.size_bytes && known.modified_ns == stamp.modified_ns
        };
        self.known(input).filter(is_same)
    }

    /// Where an input lies on this machine; see [`InputRecord::place`].
    pub(super) fn place(&self, input: &InputFile) -> Option<String> {
        let inside = self.root.as_ref().and_then(|root| input.path.strip_prefix(root).ok());
        let path = inside.unwrap_or(&input.path);
        let bytes = path.as_os_str().as_encoded_bytes();
        let readable =
            || path.to_str().map_or_else(|| format!("\"{}\"", bytes.escape_ascii()), str::to_owned);
        (!input.origin.contains("://")).then(readable)
    }

    /// What is known of an input, changed or not. Records of an earlier version have no places.
    pub(super) fn known(&self, input: &InputFile) -> Option<&InputRecord> {
        let known = self.inputs.get(&key(self.place(input).as_deref(), &input.origin));
        known.or_else(|| self.inputs.get(&input.origin))
    }

    /// The hashes of what lay before in the place of an input that now holds `sha256`.
    pub(super) fn earlier(&self, input: &InputFile, sha256: &str) -> Vec<String> {
        let Some(known) = self.inputs.get(&key(self.place(input).as_deref(), &input.origin)) else {
            return Vec::new();
        };
        let before = known.earlier.iter().chain([&known.sha256]);
        let mut hashes: Vec<String> =
            before.filter(|hash| !hash.is_empty() && *hash != sha256).cloned().collect();
        hashes.sort();
        hashes.dedup();
        hashes
    }

    /// The files of this machine that gave slides and are no longer there, by origin.
    pub(super) fn missing(&self) -> Vec<String> {
        // A name that is not UTF-8 stands in quotation marks; where files of an earlier version lay is not known.
        let is_missing = |input: &&InputRecord| {
            let place = input.place.as_deref().filter(|place| !place.starts_with('"'));
            place.is_some_and(|place| !self.files.root().join(place).exists())
        };
        let collected = self.inputs().filter(|input| matches!(input.outcome, Outcome::Collected { .. }));
        collected.filter(is_missing).map(|input| input.origin.clone()).collect()
    }

    /// Gives images the deck that an earlier version, which named folders by their origin alone, put others of their folder into.
    pub(super) fn with_known_decks(&self, inputs: &[InputFile]) -> Vec<InputFile> {
        let decks: HashSet<&str> = self.slides.iter().map(|slide| slide.deck_id.as_str()).collect();
        let earlier = |input: &InputFile| {
            let deck = DeckName(input.origin.rsplit_once('/')?.0.to_owned());
            let stamp = Stamp::of(&input.path).ok()?;
            let known = self.unchanged(input, stamp)?;
            let is_known = known.place.is_none() && decks.contains(deck.id().as_str());
            (is_known && Path::new(&input.deck.0).is_absolute()).then(|| (input.deck.clone(), deck))
        };
        let earlier: BTreeMap<DeckName, DeckName> = inputs.iter().filter_map(earlier).collect();
        let deck = |input: &InputFile| earlier.get(&input.deck).unwrap_or(&input.deck).clone();
        inputs.iter().map(|input| InputFile { deck: deck(input), ..input.clone() }).collect()
    }

    /// Takes the staged slides of some inputs in: images first, then the manifest, then the inputs' own lines, so that after a
    /// crash at any point a listed slide has its image and an input that is not listed is read again.
    ///
    /// Slides that are known are drawn anew, unless `staying` holds them. Returns how many slides are new, and what became of the others.
    pub(super) fn commit(
        &mut self,
        batch: Vec<(Vec<Staged>, InputRecord)>,
        staying: &Staying,
    ) -> Result<(usize, Redrawn)> {
        let (slides, mut lines): (Vec<Vec<Staged>>, Vec<InputRecord>) = batch.into_iter().unzip();
        for line in &mut lines {
            line.at = self.collected_at.unwrap_or(line.at);
        }
        let is_known = |staged: &Staged| self.known.contains(&staged.record.slide_id);
        let (again, fresh): (Vec<Staged>, Vec<Staged>) = slides.into_iter().flatten().partition(is_known);
        let redrawn = self.draw_anew(again, staying)?;
        let mut new = self.move_all_in(fresh)?;
        if !new.is_empty() {
            SlideRecord::append(&self.files.manifest(), &new)?;
        }
        InputRecord::append(&self.files.inputs(), &lines)?;
        self.input_lines += lines.len();
        self.inputs.extend(lines.into_iter().map(|line| (line.key(), line)));
        let count = new.len();
        self.slides.append(&mut new);
        Ok((count, redrawn))
    }

    /// Puts new pictures in the place of those of slides that are known, then writes the manifest anew. A crash between leaves slides
    /// whose file has no new line yet: it is read again.
    fn draw_anew(&mut self, again: Vec<Staged>, staying: &Staying) -> Result<Redrawn> {
        if again.is_empty() {
            return Ok(Redrawn::default());
        }
        let files = &self.files;
        let (redrawn, taken) = redraw::take(&mut self.slides, &|slide| files.image(slide), again, staying)?;
        let said: Vec<_> =
            taken.iter().filter_map(|one| Some((one.record.sha256.clone(), one.text.clone()?))).collect();
        texts::append(self.files.root(), &said)?;
        if redrawn.drawn + redrawn.marked > 0 {
            let sketched: Vec<_> = taken.into_iter().map(|one| (one.record.sha256, one.sketch)).collect();
            sketches::append(self.files.root(), &sketched)?;
            sync_dir(&self.files.images())?;
            self.rewrite_manifest()?;
        }
        Ok(redrawn)
    }

    /// Takes staged slides in without listing them: until the manifest is written anew they are not part of the store.
    pub(super) fn admit(&mut self, staged: Vec<Staged>) -> Result<()> {
        let mut new = self.move_all_in(staged)?;
        self.slides.append(&mut new);
        Ok(())
    }

    /// Moves the images of slides that are not known yet to their places, and returns these.
    fn move_all_in(&mut self, staged: impl IntoIterator<Item = Staged>) -> Result<Vec<SlideRecord>> {
        let (mut new, mut sketched, mut said) = (Vec::new(), Vec::new(), Vec::new());
        for Staged { record, image, sketch, text } in staged {
            if let Some(slide) = self.move_in(record, &image)? {
                sketched.push((slide.sha256.clone(), sketch));
                said.extend(text.map(|text| (slide.sha256.clone(), text)));
                new.push(slide);
            }
        }
        sketches::append(self.files.root(), &sketched)?;
        texts::append(self.files.root(), &said)?;
        if !new.is_empty() {
            let folder = self.files.images();
            sync_dir(&folder)?;
        }
        Ok(new)
    }

    /// Moves the image of a slide that is not known yet to its place.
    fn move_in(&mut self, mut slide: SlideRecord, image: &Path) -> Result<Option<SlideRecord>> {
        if !self.known.insert(slide.slide_id.clone()) {
            let _ = std::fs::remove_file(image); // the same content came before
            return Ok(None);
        }
        let target = self.files.image(&slide.slide_id);
        std::fs::rename(image, &target).map_err(io_error("write", &target))?;
        slide.collected_at = self.collected_at.unwrap_or(slide.collected_at);
        while !self.numbers.insert((slide.deck_id.clone(), slide.number)) {
            slide.number += 1;
        }
        Ok(Some(slide))
    }

    /// Writes the manifest anew, atomically.
    pub(super) fn rewrite_manifest(&self) -> Result<()> {
        Ok(SlideRecord::replace_log(&self.files.manifest(), &self.slides)?)
    }

    /// Drops the lines of the inputs' journal that later ones replaced, once they are most of it.
    pub(super) fn compact(&mut self) -> Result<()> {
        if !self.is_shard && self.input_lines > 2 * self.inputs.len() + 16 {
            InputRecord::replace_log(&self.files.inputs(), self.inputs.values())?;
            self.input_lines = self.inputs.len();
        }
        Ok(())
    }
}

/// Removes what an interrupted run left behind; its readers may write for a moment longer than it lived.
fn clear(staging: &Path) -> std::io::Result<()> {
    let mut result = std::fs::remove_dir_all(staging);
    for _ in 0..100 {
        if !staging.exists() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        result = std::fs::remove_dir_all(staging);
    }
    result
}
