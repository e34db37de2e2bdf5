//! Teaches a model to caption images: a folder in which `NAME.txt` beside `NAME.png` or `NAME.jpg` holds the caption.
//!
//! ```text
//! cargo run --release -p vlm-lora --example finetune_captions -- MODEL_DIR IMAGES_DIR OUTPUT_DIR
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vlm_lora::backend::{Backend, OnDevice};
use vlm_lora::{
    BaseIdentity, BaseModelConfig, Checkpoint, ChosenDevice, Dataset, Error, FeatureCache, FeaturePrecision,
    FingerprintCache, GpuSettings, LoraConfig, Model, Observer, Processor, Result, Sample, StepReport,
    Trainer, TrainingConfig, WeightFormat,
};

const PROMPT: &str = "Describe this image.";

/// Images that are decoded in the background when their turn comes.
struct Captions {
    processor: Processor,
    images: Vec<(PathBuf, String)>,
}

impl Captions {
    fn open(processor: Processor, folder: &Path) -> std::io::Result<Self> {
        let mut images = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let is_image = path.extension().is_some_and(|e| e == "png" || e == "jpg" || e == "jpeg");
            if is_image && let Ok(caption) = std::fs::read_to_string(path.with_extension("txt")) {
                images.push((path, caption.trim().to_owned()));
            }
        }
        images.sort();
        Ok(Self { processor, images })
    }
}

impl Dataset for Captions {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn sample(&self, index: usize) -> Result<Sample> {
        let (path, caption) = &self.images[index];
        let image = image::open(path)
            .map_err(|error| Error::Image { reason: format!("{}: {error}", path.display()) })?;
        self.processor.sample(&Arc::new(self.processor.tiles(&image)?), PROMPT, Some(caption))
    }

    fn fingerprint(&self) -> String {
        format!("{:?}", self.images)
    }
}

struct Progress;

impl Observer for Progress {
    fn on_step(&mut self, step: &StepReport) {
        println!("step {}/{}  loss {:.4}  {:.1?}", step.step, step.total_steps, step.loss, step.elapsed);
    }
}

type AnyResult<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> AnyResult<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [model_dir, images, output_dir] = paths.as_slice() else {
        return Err("usage: finetune_captions MODEL_DIR IMAGES_DIR OUTPUT_DIR".into());
    };
    let checkpoint = Checkpoint::open(model_dir)?;
    let ChosenDevice { device, format, .. } =
        BaseModelConfig::default().open_device(&checkpoint, &GpuSettings::default())?;
    device.run(Finetuning { model_dir, images, output_dir, checkpoint, format })
}

/// A run on the device that was opened.
struct Finetuning<'a> {
    model_dir: &'a Path,
    images: &'a Path,
    output_dir: &'a Path,
    checkpoint: Checkpoint,
    format: WeightFormat,
}

impl OnDevice for Finetuning<'_> {
    type Output = AnyResult<()>;

    fn run<B: Backend>(self, backend: &Arc<B>) -> AnyResult<()> {
        let Self { model_dir, images, output_dir, checkpoint, format } = self;
        let mut model = Model::load(Arc::clone(backend), &checkpoint)?;
        let config = TrainingConfig {
            output_dir: output_dir.to_owned(),
            logging_steps: 1,
            ..TrainingConfig::default()
        };
        model.attach(&LoraConfig::default(), &checkpoint, config.seed)?;

        let data = Captions::open(Processor::open(model_dir, Some(512))?, images)?;
        let names = FingerprintCache::in_folder(output_dir);
        let base = BaseIdentity { checkpoint: names.checkpoint(&checkpoint)?, format };
        let cache = FeatureCache::new(base.fingerprint(), FeaturePrecision::Bfloat16)
            .on_disk(output_dir.join("features"));
        let trainer = Trainer::new(&mut model, config)?;
        let outcome = trainer.feature_cache(&cache).base_identity(base).observer(Progress).run(&data)?;
        println!(
            "{} values trained in {:.0} s: {}",
            outcome.trainable_parameters,
            outcome.train_seconds,
            output_dir.display()
        );
        Ok(())
    }
}
