//! The tables and keys that every command knows are those of the types that they are read into, and the files that ship use
//! no others.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pq_cli::{FILES, Layout, ProjectConfig, Storage};
use serde::de::DeserializeOwned;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The keys of a type: what it says it expected when it meets one that it does not have.
fn keys_of<T: DeserializeOwned>() -> BTreeSet<String> {
    let Err(error) = toml::from_str::<T>("no_such_key_anywhere = 1") else {
        panic!("the type takes unknown keys")
    };
    let message = error.message().to_owned();
    let (_, expected) = message.split_once("expected").unwrap_or_else(|| panic!("{message}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn known_keys_are_those_of_the_types() {
    let types: BTreeMap<&str, BTreeSet<String>> = [
        ("storage", keys_of::<Storage>()),
        ("limits", keys_of::<slide_data::Limits>()),
        ("quality", keys_of::<slide_data::imaging::QualityThresholds>()),
        ("duplicates", keys_of::<slide_data::DuplicateThresholds>()),
        ("splits", keys_of::<slide_data::SplitConfig>()),
        ("sources", keys_of::<slide_data::collect::SourcesConfig>()),
        ("label", keys_of::<slide_label::LabelConfig>()),
        ("processor", keys_of::<slide_scorer::ProcessorSettings>()),
        ("rubric", keys_of::<slide_data::Rubric>()),
        ("model", keys_of::<vlm_lora::BaseModelConfig>()),
        ("lora", keys_of::<vlm_lora::LoraConfig>()),
        ("training", keys_of::<vlm_lora::TrainingConfig>()),
        ("wandb", keys_of::<registry::wandb::WandbConfig>()),
        ("tensorboard", keys_of::<registry::tracking::TensorboardConfig>()),
        ("registry", keys_of::<registry::RegistryConfig>()),
        ("serve", keys_of::<slide_scorer::ServeConfig>()),
        ("processes", keys_of::<slide_scorer::ProcessesConfig>()),
        ("kept_slides", keys_of::<slide_data::KeptConfig>()),
        ("drift", keys_of::<drift::DriftConfig>()),
        ("performance", keys_of::<drift::PerformanceConfig>()),
        ("triggers", keys_of::<drift::TriggerConfig>()),
    ]
    .into();
    let known: BTreeMap<&str, BTreeSet<String>> = FILES
        .iter()
        .flat_map(|file| file.tables)
        .map(|(table, keys)| (*table, keys.iter().map(ToString::to_string).collect()))
        .collect();
    assert_eq!(known.keys().collect::<Vec<_>>(), types.keys().collect::<Vec<_>>());
    for (table, keys) in &types {
        assert_eq!(&known[table], keys, "[{table}]");
    }
    let tables = FILES.iter().flat_map(|file| file.tables).count();
    assert_eq!(tables, known.len(), "a table's name stands for one table in all files");
}

#[test]
fn the_files_that_ship_use_known_tables_and_the_layout_is_the_default() {
    for folder in ["config", "fixtures/demo/config"] {
        let folder = root().join(folder);
        let names: BTreeSet<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let known: BTreeSet<String> = FILES.iter().map(|file| format!("{}.toml", file.name)).collect();
        assert!(names.is_subset(&known), "{names:?}");
        let layout = ProjectConfig::load(&folder, true, &[]).unwrap().layout().unwrap();
        let output_dir = vlm_lora::TrainingConfig::default().output_dir;
        assert_eq!(layout, Layout::new(&Storage::default(), &output_dir), "{}", folder.display());
    }
}
