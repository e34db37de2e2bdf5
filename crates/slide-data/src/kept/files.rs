use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use durable_files::{FileLock, io_error, write_atomic};
use image::RgbImage;
use jiff::{SignedDuration, Timestamp};
use project_files::{KeptFiles, Layout};

use super::{KeptConfig, KeptSlide};
use crate::imaging::{decode, encode_png, pixels_sha256};
use crate::{Audit, Contract as _, Correction, Error, Limits, Manifest, Reason, Result};

/// A slide that is scored again is noted anew after so many hours, so that it stays as long as one that is new.
const NOTED_FOR_HOURS: i64 = 24;

/// The kept slides of a project, for the one who scores. Several processes may keep slides at once.
#[derive(Debug)]
pub struct KeptSlides {
    files: KeptFiles,
    config: KeptConfig,
    known: BTreeMap<String, KeptSlide>,
}

impl KeptSlides {
    /// Reads which slides are kept.
    ///
    /// # Errors
    /// When their log cannot be read.
    pub fn open(files: KeptFiles, config: KeptConfig) -> Result<Self> {
        let known = Self::read(&files)?;
        Ok(Self { files, config, known })
    }

    /// The kept slides by id. Where nothing was kept yet there are none.
    ///
    /// # Errors
    /// When their log cannot be read.
    pub fn read(files: &KeptFiles) -> Result<BTreeMap<String, KeptSlide>> {
        let log = KeptSlide::read_shared_log_if_present(&files.index())?;
        Ok(log.entries.into_iter().map(|slide| (slide.slide_id.clone(), slide)).collect())
    }

    /// The slides that have yet to be brought into the store: corrected, or drawn to be rated.
    ///
    /// # Errors
    /// When a log or the manifest cannot be read.
    pub fn asked_for(layout: &Layout) -> Result<BTreeSet<String>> {
        let corrections = Correction::read_shared_log_if_present(&layout.corrections())?.entries;
        let audits = Audit::read_shared_log_if_present(&layout.audits())?.entries;
        let collected: BTreeSet<String> = if layout.slides().manifest().exists() {
            Manifest::read(layout.slides().root())?.slides.into_iter().map(|slide| slide.slide_id).collect()
        } else {
            BTreeSet::new()
        };
        let corrected = corrections.into_iter().map(|correction| correction.slide_id);
        let asked = corrected.chain(audits.into_iter().map(|audit| audit.slide_id));
        Ok(asked.filter(|slide| !collected.contains(slide)).collect())
    }

    /// The image of a kept slide, checked against its record.
    ///
    /// # Errors
    /// When it cannot be read, or is not the one that was scored.
    pub fn image(files: &KeptFiles, slide: &KeptSlide) -> Result<RgbImage> {
        let path = files.image(&slide.sha256);
        let unreadable = |reason| Error::unreadable(path.display().to_string(), reason);
        let bytes = std::fs::read(&path).map_err(io_error("read", &path))?;
        let image =
            decode(&bytes, &Limits { max_edge: u32::MAX, ..Limits::default() }).map_err(unreadable)?;
        if pixels_sha256(&image) == slide.sha256 {
            Ok(image)
        } else {
            Err(unreadable(Reason::Malformed("it is not the image that was scored".to_owned())))
        }
    }

    /// Keeps scored slides: first their images, then their lines. Returns once all are on disk.
    ///
    /// # Errors
    /// When they cannot be written; what was kept before stays.
    pub fn keep(&mut self, slides: &[(KeptSlide, &RgbImage)]) -> Result<()> {
        if !self.config.enabled || slides.is_empty() {
            return Ok(());
        }
        let _lock = self.lock()?;
        let mut new = Vec::new();
        for (slide, image) in slides {
            let path = self.files.image(&slide.sha256);
            let is_there = path.exists();
            if !is_there {
                let unreadable = |reason| Error::unreadable(slide.slide_id.clone(), reason);
                write_atomic(&path, &encode_png(image).map_err(unreadable)?)?;
            }
            if !(is_there && self.is_noted(slide)) {
                new.push(slide.clone());
            }
        }
        if !new.is_empty() {
            KeptSlide::append(&self.files.index(), &new)?;
        }
        self.known.extend(new.into_iter().map(|slide| (slide.slide_id.clone(), slide)));
        Ok(())
    }

    fn is_noted(&self, slide: &KeptSlide) -> bool {
        self.known.get(&slide.slide_id).is_some_and(|known| {
            let since = slide.scored_at.duration_since(known.scored_at);
            known.sha256 == slide.sha256 && since < SignedDuration::from_hours(NOTED_FOR_HOURS)
        })
    }

    /// Removes what is too old or too much, the slides scored longest ago first. `needed` names slides that stay; it is asked only where
    /// something is to be removed, and where it fails nothing is. Returns how many slides were removed.
    ///
    /// # Errors
    /// When `needed` fails, or the log cannot be read or written.
    pub fn prune<E: From<Error>>(
        &mut self,
        now: Timestamp,
        needed: impl FnOnce() -> std::result::Result<BTreeSet<String>, E>,
    ) -> std::result::Result<usize, E> {
        if !self.files.index().exists() {
            return Ok(0);
        }
        let _lock = self.lock().map_err(E::from)?;
        let all = Self::read(&self.files)?;
        if self.chosen(&all, now, &BTreeSet::new()).len() == all.len() {
            return Ok(0);
        }
        let stays = self.chosen(&all, now, &needed()?);
        let removed = all.len() - stays.len();
        if removed > 0 {
            let kept: Vec<&KeptSlide> =
                all.values().filter(|slide| stays.contains(&slide.slide_id)).collect();
            let index = self.files.index();
            KeptSlide::replace_shared_log(&index, kept.iter().copied()).map_err(Error::from)?;
            let newer = KeptSlide::newer_lines(&index).map_err(Error::from)?;
            let images = kept.iter().map(|slide| slide.sha256.as_str()).collect();
            self.remove_images(&images, &String::from_utf8_lossy(&newer));
        }
        self.known = all;
        self.known.retain(|id, _| stays.contains(id));
        Ok(removed)
    }

    /// The ids of the slides that stay.
    fn chosen(
        &self,
        all: &BTreeMap<String, KeptSlide>,
        now: Timestamp,
        needed: &BTreeSet<String>,
    ) -> BTreeSet<String> {
        let oldest = self.config.max_days * 86_400.0;
        let mut slides: Vec<&KeptSlide> = all.values().collect();
        slides.sort_by_key(|slide| (!needed.contains(&slide.slide_id), std::cmp::Reverse(slide.scored_at)));
        let (mut images, mut bytes) = (BTreeSet::new(), 0u64);
        let mut stays = BTreeSet::new();
        for slide in slides {
            let is_needed = needed.contains(&slide.slide_id);
            let is_fresh = now.duration_since(slide.scored_at).as_secs_f64() <= oldest;
            let size =
                if images.contains(&slide.sha256) { 0 } else { size(&self.files.image(&slide.sha256)) };
            if is_needed || is_fresh && bytes + size <= self.config.max_mib << 20 {
                bytes += size;
                images.insert(&slide.sha256);
                stays.insert(slide.slide_id.clone());
            }
        }
        stays
    }

    /// Removes the images of no kept slide, nor of one that a line of a newer version names. One that cannot be removed is tried again by
    /// the next.
    fn remove_images(&self, kept: &BTreeSet<&str>, newer: &str) {
        for entry in std::fs::read_dir(self.files.root()).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_image = path.extension().is_some_and(|extension| extension == "png");
            let is_kept = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .is_some_and(|stem| kept.contains(stem) || newer.contains(stem));
            if is_image && !is_kept {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// One adds or removes at a time: an image that a new line names must not be removed with an old one.
    fn lock(&self) -> Result<FileLock> {
        let root = self.files.root();
        std::fs::create_dir_all(root).map_err(io_error("create", root))?;
        Ok(FileLock::exclusive(root)?)
    }
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}
