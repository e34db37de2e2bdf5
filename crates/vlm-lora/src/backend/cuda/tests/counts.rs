//! What a step of the released geometry asks of a GPU: launches, products, copies, waits.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::bytes;
use crate::backend::cuda::Cuda;
use crate::backend::cuda::device::{Address, CudaDtype, Device, Launch, Matmul};
use crate::model::Model;
use crate::train::{Dataset, LrSchedulerType, Observer, StepReport, Trainer, TrainingConfig};
use crate::{Checkpoint, LoraConfig, ModelConfig, OneOrMany, PeftAdapter, Result, Sample, Target, Tiles};

/// What has been asked of the device so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// By kernel.
    pub(crate) launches: BTreeMap<String, usize>,
    pub(crate) products: usize,
    /// That kernels, products, copies and fills move between the GPU's memory and its cores.
    pub(crate) moved: usize,
    /// Copies to the device, and their bytes.
    pub(crate) writes: usize,
    pub(crate) written: usize,
    /// Those of them that are copied while the device computes.
    pub(crate) beside: usize,
    /// Copies and fills on the device.
    pub(crate) copies: usize,
    pub(crate) allocations: usize,
    /// Times that the CPU waits for queued work.
    pub(crate) waits: usize,
    /// Whether something is queued since the last wait.
    is_busy: bool,
}

impl Counts {
    /// Everything that is put into the queue.
    pub(super) fn queued(&self) -> usize {
        self.launches.values().sum::<usize>() + self.products + self.writes + self.copies
    }

    pub(super) fn since(&self, earlier: &Self) -> Self {
        let of = |name: &String| earlier.launches.get(name).copied().unwrap_or(0);
        Self {
            launches: self.launches.iter().map(|(name, count)| (name.clone(), count - of(name))).collect(),
            products: self.products - earlier.products,
            moved: self.moved - earlier.moved,
            writes: self.writes - earlier.writes,
            written: self.written - earlier.written,
            beside: self.beside - earlier.beside,
            copies: self.copies - earlier.copies,
            allocations: self.allocations - earlier.allocations,
            waits: self.waits - earlier.waits,
            is_busy: self.is_busy,
        }
    }
}

/// A device that computes nothing and counts what it is asked; what is read from it is zero.
pub(crate) struct Counter {
    counts: Arc<Mutex<Counts>>,
    next: AtomicU64,
    /// What was written last to each address, of what is small.
    words: Mutex<BTreeMap<Address, Vec<u32>>>,
}

impl Counter {
    fn new(counts: &Arc<Mutex<Counts>>) -> Self {
        Self { counts: Arc::clone(counts), next: AtomicU64::new(1 << 20), words: Mutex::default() }
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.lock().expect("no test panics with it");
        counts.is_busy = true;
        change(&mut counts);
    }
}

impl Device for Counter {
    type Mark = ();

    fn name(&self) -> String {
        "counter".to_owned()
    }

    fn allocate(&self, bytes: usize) -> Result<Address> {
        self.counts.lock().expect("no test panics with it").allocations += 1;
        Ok(self.next.fetch_add(bytes.next_multiple_of(256) as u64, Ordering::Relaxed))
    }

    fn free(&self, _: Address) {}

    fn write(&self, to: Address, bytes: &[u8]) -> Result<()> {
        if bytes.len() < SMALL {
            let words = bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word)).collect();
            self.words.lock().expect("no test panics with it").insert(to, words);
        }
        self.count(|counts| {
            counts.writes += 1;
            counts.written += bytes.len();
        });
        Ok(())
    }

    fn read(&self, _: Address, bytes: &mut [u8]) -> Result<()> {
        let mut counts = self.counts.lock().expect("no test panics with it");
        counts.waits += usize::from(std::mem::take(&mut counts.is_busy));
        bytes.fill(0);
        Ok(())
    }

    fn copy(&self, _: Address, _: Address, bytes: usize) -> Result<()> {
        self.count(|counts| {
            counts.copies += 1;
            counts.moved += 2 * bytes;
        });
        Ok(())
    }

    fn clear(&self, _: Address, bytes: usize) -> Result<()> {
        self.count(|counts| {
            counts.copies += 1;
            counts.moved += bytes;
        });
        Ok(())
    }

    fn mark(&self) -> Result<()> {
        Ok(())
    }

    fn write_async(&self, to: Address, bytes: &[u8], (): &()) -> Result<()> {
        let result = self.write(to, bytes);
        self.counts.lock().expect("no test panics with it").beside += bytes.len();
        result
    }

    fn wait_for(&self, (): &()) -> Result<()> {
        Ok(())
    }

    fn launch(&self, launch: Launch<'_>) -> Result<()> {
        let words = self.words.lock().expect("no test panics with it");
        let of = |address: Address| words.get(&address).cloned().expect("indices that were written");
        let moved = bytes::of_kernel(launch.kernel, launch.arguments, of);
        self.count(|counts| {
            *counts.launches.entry(launch.kernel.to_owned()).or_default() += 1;
            counts.moved += moved;
        });
        Ok(())
    }

    fn matmul(&self, product: Matmul) -> Result<()> {
        self.count(|counts| {
            counts.products += 1;
            counts.moved += bytes::of_product(&product);
        });
        Ok(())
    }

    fn matmul_to_gelu(&self, product: Matmul) -> Result<bool> {
        self.count(|counts| {
            counts.products += 1;
            counts.moved += bytes::of_product(&product);
        });
        Ok(true)
    }
}

/// Bytes of a copy whose numbers are kept.
const SMALL: usize = 1 << 16;

/// The released geometry, whose layers [`with_layers`] counts.
const RELEASED: &str = r#"{"model_type": "idefics3", "image_token_id": 49190, "scale_factor": 4, "tie_word_embeddings": false,
    "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": VISION, "num_attention_heads": 12,
                      "image_size": 512, "patch_size": 16, "layer_norm_eps": 1e-6},
    "text_config": {"model_type": "llama", "vocab_size": 49280, "hidden_size": 960, "intermediate_size": 2560,
                    "num_hidden_layers": TEXT, "num_attention_heads": 15, "num_key_value_heads": 5, "head_dim": 64,
                    "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "max_position_embeddings": 8192}}"#;

/// Layers of the vision tower and of the text model, and what is dropped of the inputs of adapters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layers {
    pub(super) vision: usize,
    pub(super) text: usize,
    pub(super) dropout: f64,
}

fn with_layers(layers: Layers) -> String {
    let (vision, text) = (layers.vision.to_string(), layers.text.to_string());
    RELEASED.replace("VISION", &vision).replace("TEXT", &text)
}

/// A checkpoint of zeros that takes no room on disk.
fn checkpoint(dir: &Path, layers: Layers) -> Checkpoint {
    std::fs::write(dir.join("config.json"), with_layers(layers)).unwrap();
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (tensor, shape) in ModelConfig::open(dir).unwrap().tensors() {
        let start = end;
        end += shape.iter().product::<usize>() * 2;
        let entry = serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]});
        header.insert(tensor, entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = File::create(dir.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
    Checkpoint::open(dir).unwrap()
}

/// A slide of 13 tiles with 110 tokens of prompt and 40 of answer, again and again.
struct Slides(usize);

impl Dataset for Slides {
    fn len(&self) -> usize {
        self.0
    }

    fn sample(&self, _: usize) -> Result<Sample> {
        let tiles = Arc::new(Tiles { rows: 3, cols: 4, side: 512, data: vec![0; 13 * 512 * 512 * 3] });
        let mut input_ids = vec![49190; 13 * 64];
        input_ids.extend(0..150);
        let prompt = input_ids.len() - 40;
        let targets = (prompt..prompt + 40).map(|position| Target {
            position,
            tokens: vec![(input_ids[position], 1.0)],
            weight: 1.0,
        });
        Ok(Sample { targets: targets.collect(), input_ids, tiles })
    }

    fn fingerprint(&self) -> String {
        "slides".to_owned()
    }
}

/// Looks at the counts at the end of each step.
struct Watch {
    counts: Arc<Mutex<Counts>>,
    steps: Arc<Mutex<Vec<Counts>>>,
}

impl Observer for Watch {
    fn on_step(&mut self, _: &StepReport) {
        let now = self.counts.lock().unwrap().clone();
        self.steps.lock().unwrap().push(now);
    }
}

/// The counts of the third and fourth step, whose buffers are there already, with this many samples at once.
pub(super) fn count(layers: Layers, batch: usize, accumulation: usize) -> Vec<Counts> {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(dir.path(), layers);
    let counts = Arc::<Mutex<Counts>>::default();
    let device = Counter::new(&counts);
    let mut model = Model::load(Arc::new(Cuda::on(device, CudaDtype::Bfloat16, false)), &checkpoint).unwrap();
    let targets = r".*text_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)";
    let config = LoraConfig {
        r: 16,
        lora_dropout: layers.dropout,
        target_modules: OneOrMany::One(targets.to_owned()),
        ..LoraConfig::default()
    };
    model.attach_adapter(&PeftAdapter::init(&config, &checkpoint, 0).unwrap()).unwrap();
    let training = TrainingConfig {
        max_steps: 4,
        per_device_train_batch_size: batch,
        gradient_accumulation_steps: accumulation,
        lr_scheduler_type: LrSchedulerType::Constant,
        warmup_ratio: 0.0,
        save_steps: 4,
        eval_steps: 4,
        output_dir: dir.path().join("run"),
        ..TrainingConfig::default()
    };
    let steps = Arc::<Mutex<Vec<Counts>>>::default();
    let watch = Watch { counts, steps: Arc::clone(&steps) };
    Trainer::new(&mut model, training).unwrap().observer(watch).run(&Slides(batch * accumulation)).unwrap();
    let steps = steps.lock().unwrap();
    steps.windows(2).skip(1).map(|pair| pair[1].since(&pair[0])).collect()
}

#[test]
fn a_step_waits_once_and_allocates_nothing() {
    for (batch, accumulation) in [(1, 1), (2, 1), (1, 2), (8, 1)] {
        let steps = count(Layers { vision: 12, text: 32, dropout: 0.0 }, batch, accumulation);
        for step in &steps {
            assert_eq!((step.waits, step.allocations), (1, 0), "batch {batch}, {accumulation} batches");
            let pixels = batch * accumulation * 13 * 512 * 512 * 3;
            assert!(step.written < pixels + (1 << 16), "{} bytes beside the pixels", step.written - pixels);
        }
        // While the third step is computed the fourth one's pixels arrive; there is no fifth.
        assert!(steps[0].beside >= 13 * 512 * 512 * 3 * batch, "{} bytes beside", steps[0].beside);
        let step = &steps[1];
        eprintln!(
            "batch {batch} × {accumulation}: {} in the queue, {} kernels, {} products, {} copies to the GPU of {} KiB, {} on it, {} MB moved",
            step.queued(),
            step.launches.values().sum::<usize>(),
            step.products,
            step.writes,
            step.written >> 10,
            step.copies,
            step.moved / 1_000_000
        );
        eprintln!("  {:?}", step.launches);
    }
}
