//! A project folder for tests of the commands: configuration, drawn slides, a manifest, labels, and a tiny base model.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "for tests, which fail by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use slide_data::image::{Rgb, RgbImage};
use slide_data::{Contract, Label, Labels, Rubric, Score, SlideRecord};

pub struct Project {
    dir: tempfile::TempDir,
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A tiny checkpoint with random weights.
pub fn base_model() -> PathBuf {
    repository().join("fixtures/parity/text-all/model")
}

impl Project {
    /// A project with `decks` decks of three rated slides each.
    pub fn new(decks: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("config")).unwrap();
        for file in ["data.toml", "model.toml", "training.toml", "monitoring.toml"] {
            std::fs::copy(repository().join("config").join(file), dir.path().join("config").join(file))
                .unwrap();
        }
        let project = Self { dir };
        // The rubric that the labels are made for: what ships may ask more.
        let mut model = project.read("config/model.toml").parse::<toml::Table>().unwrap();
        model.insert("rubric".to_owned(), toml::Value::try_from(Rubric::default()).unwrap());
        project.write("config/model.toml", &model.to_string());
        project.write_slides(decks);
        project
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn write(&self, relative: &str, text: &str) {
        crate::adverse::write_file(self.dir.path(), relative, text);
    }

    pub fn read(&self, relative: &str) -> String {
        std::fs::read_to_string(self.path(relative)).unwrap()
    }

    fn write_slides(&self, decks: usize) {
        let mut manifest = String::new();
        let mut labels = Labels::default();
        std::fs::create_dir_all(self.path("data/raw/slides")).unwrap();
        for deck in 0..decks {
            for number in 1..=3 {
                let slide_id = format!("deck{deck}-p{number:03}");
                let shade = (deck * 37 + number * 60) % 256;
                let image = RgbImage::from_fn(160, 90, |x, y| {
                    let value = if (x as usize * number / 20 + y as usize / 10).is_multiple_of(2) {
                        shade
                    } else {
                        255
                    };
                    Rgb([value as u8, shade as u8, 200])
                });
                image.save(self.path(&format!("data/raw/slides/{slide_id}.png"))).unwrap();
                let record = record(&slide_id, &format!("deck{deck}"), number);
                manifest.push_str(&serde_json::to_string(&record).unwrap());
                manifest.push('\n');
                let mut label = Label { annotators: 2, ..Label::default() };
                for (index, key) in Rubric::default().keys().enumerate() {
                    let score = (index != 2 || number != 1)
                        .then(|| Score::new((1 + (deck + number + index) % 5) as u8).unwrap());
                    label.scores.insert(key.to_owned(), score);
                }
                labels.slides.insert(slide_id, label);
            }
        }
        std::fs::write(self.path("data/raw/manifest.jsonl"), manifest).unwrap();
        Contract::write(&labels, &self.path("data/labeled/labels.json")).unwrap();
    }

    /// Runs a command in the project's folder on the tiny base.
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        self.command(program, args).output().unwrap()
    }

    /// The command that [`Self::run`] runs.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let base = format!("model.name={}", base_model().display());
        let mut command = self.bare_command(program);
        command
            .args(args)
            .args(["--set", &base, "--set", "processor.longest_edge=128", "--set", "training.eval_steps=2"])
            .args(["--set", "training.save_steps=2", "--set", "training.logging_steps=1"])
            .args(["--set", "training.gradient_accumulation_steps=1"]);
        command
    }

    /// A command in the project's folder, without arguments.
    pub fn bare_command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir.path())
            .env_remove("WANDB_API_KEY")
            .env_remove("HF_TOKEN")
            .env("HOME", self.dir.path());
        command
    }
}

fn record(slide_id: &str, deck_id: &str, number: usize) -> SlideRecord {
    let mut record = SlideRecord {
        slide_id: slide_id.to_owned(),
        sha256: slide_id.to_owned(),
        width: 160,
        height: 90,
        collected_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        ..SlideRecord::sample(deck_id, number)
    };
    record.source.origin = format!("{deck_id}.pdf");
    record.source.page = Some(number);
    record
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Whether a run came to its end: with status 0, or with 1 where it says that it has not learned, as a few steps on a base with
/// random weights do not.
pub fn trained(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stdout);
    code(output) == 0
        || (code(output) == 1 && (said.contains("has not learned") || said.contains("\"learned\":false")))
}

/// Copies of the tiny base in `name`, the second with the signs of three tensors of the vision tower turned, all of them behind
/// the first MiB of the file.
pub fn two_bases(project: &Project) -> [PathBuf; 2] {
    let [own, other] = ["base-a", "base-b"].map(|name| project.path(name));
    for dir in [&own, &other] {
        std::fs::create_dir_all(dir).unwrap();
        for entry in std::fs::read_dir(base_model()).unwrap().flatten() {
            std::fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
        }
    }
    let path = other.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..start]).unwrap();
    for name in [
        "post_layernorm.weight",
        "encoder.layers.0.self_attn.v_proj.weight",
        "encoder.layers.1.self_attn.v_proj.weight",
    ] {
        let tensor = &header[format!("model.vision_model.{name}")];
        assert_eq!(tensor["dtype"], "F32");
        let [from, to] = [0, 1].map(|at| start + tensor["data_offsets"][at].as_u64().unwrap() as usize);
        assert!(from > 1 << 20, "{name} begins at byte {from}");
        bytes[from..to].iter_mut().skip(3).step_by(4).for_each(|byte| *byte ^= 0x80);
    }
    std::fs::write(&path, bytes).unwrap();
    [own, other]
}

/// A run as pq-train leaves it, with an adapter made beforehand.
pub fn fake_run(project: &Project) {
    let run = project.path("outputs/run-1");
    std::fs::create_dir_all(&run).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(repository().join("fixtures/parity/text-all/adapter").join(file), run.join(file))
            .unwrap();
    }
    let training = project.read("config/training.toml").parse::<toml::Table>().unwrap();
    let mut settings = toml::Table::new();
    for table in ["model", "lora", "training"] {
        settings.insert(table.to_owned(), training[table].clone());
    }
    settings.insert("processor".to_owned(), toml::Value::Table(toml::toml! { longest_edge = 128 }));
    settings.insert("rubric".to_owned(), toml::Value::try_from(Rubric::default()).unwrap());
    settings["model"]["name"] = toml::Value::String(base_model().display().to_string());
    std::fs::write(run.join("config.toml"), settings.to_string()).unwrap();
    let splits: std::collections::BTreeMap<String, &str> =
        (0..6).map(|deck| (format!("deck{deck}"), if deck < 2 { "test" } else { "train" })).collect();
    let splits = serde_json::json!({"schema_version": 1, "groups": splits});
    project.write("data/labeled/splits.json", &splits.to_string());
}
