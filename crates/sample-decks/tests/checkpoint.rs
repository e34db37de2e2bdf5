//! The tiny checkpoint and the sample decks as they are committed: complete, small, and one token for each score.

use std::path::PathBuf;

fn fixtures(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn json(path: &str) -> serde_json::Value {
    let bytes = std::fs::read(fixtures(path)).expect("the fixture is committed");
    serde_json::from_slice(&bytes).expect("the fixture is JSON")
}

#[test]
fn the_checkpoint_is_complete_and_at_most_eight_megabytes() {
    let files = [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    let sizes = files.map(|file| std::fs::metadata(fixtures("tiny-smolvlm").join(file)).expect(file).len());
    assert!(sizes.iter().sum::<u64>() <= 8_000_000, "{sizes:?}");
}

#[test]
fn configuration_and_processor_agree_on_the_tiles() {
    let (config, processor) = (json("tiny-smolvlm/config.json"), json("tiny-smolvlm/processor_config.json"));
    let vision = &config["vision_config"];
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let side = number(&vision["image_size"]);
    let grid = side / number(&vision["patch_size"]) / number(&config["scale_factor"]);
    assert_eq!(number(&processor["image_seq_len"]), grid * grid);
    assert_eq!(number(&processor["image_processor"]["max_image_size"]["longest_edge"]), side);
}

#[test]
fn each_score_and_each_marker_is_one_token() {
    let tokenizer = json("tiny-smolvlm/tokenizer.json");
    let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap();
    for score in ["1", "2", "3", "4", "5"] {
        assert!(vocabulary.contains_key(score), "{score}");
    }
    let added: Vec<&str> =
        tokenizer["added_tokens"].as_array().unwrap().iter().filter_map(|t| t["content"].as_str()).collect();
    for marker in [
        "<image>",
        "<global-img>",
        "<fake_token_around_image>",
        "<end_of_utterance>",
        "<row_1_col_1>",
        "<row_6_col_6>",
    ] {
        assert!(added.contains(&marker), "{marker}");
    }
}

#[test]
fn the_sample_decks_are_small_and_the_generators_own() {
    let dir = fixtures("decks");
    let mut total = 0;
    let mut decks = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pdf") {
            let bytes = std::fs::read(&path).unwrap();
            assert!(bytes.starts_with(b"%PDF"), "{}", path.display());
            (total, decks) = (total + bytes.len(), decks + 1);
        }
    }
    let latents = sample_decks::Latents::read(&dir.join(sample_decks::LATENTS_FILE)).unwrap();
    assert!(decks == latents.decks.len() && decks >= 3 && total < 1_000_000, "{decks} {total}");
}
